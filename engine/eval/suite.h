/* suite.h - many scenarios, each run so many times, so many at once. Thread: loop. */
#ifndef KILN_EVAL_SUITE_H
#define KILN_EVAL_SUITE_H

#include "eval/task.h"
#include "eval/trial.h"

typedef struct kiln_suite kiln_suite;

typedef struct kiln_suite_spec {
    uv_loop_t *loop;
    kiln_engine *engine;
    const kiln_task *tasks;
    size_t count;
    unsigned jobs, repeat;
    const char *seed;
    const char *folder; /* the engine's own, empty */
    /* A scenario is over, in order of the list. Borrowed:
     * {"name","id","file","line","passed","status","reason","duration_ms","runs",
     *  "differences","stderr","unstable":[names whose content was not the same each time]}.
     * `bundle`: what its last run made, there until this returns. */
    void (*on_scenario)(void *user, size_t index, json_t *outcome, const char *bundle);
    void (*on_done)(void *user); /* once, last */
    void *user;
} kiln_suite_spec;

int kiln_suite_start(const kiln_suite_spec *spec, kiln_suite **suite, kiln_error *err);
/* Starts nothing more and interrupts what runs; on_done still comes. */
void kiln_suite_cancel(kiln_suite *suite);
/* For a progress line: how many are over, and the name of one that runs, or NULL. */
void kiln_suite_progress(const kiln_suite *suite, size_t *over, const char **running);

#endif
