/* trial.h - a scenario run once: in a session of its own, its bundle collected and compared.
 * Thread: loop. */
#ifndef KILN_EVAL_TRIAL_H
#define KILN_EVAL_TRIAL_H

#include "core/engine.h"
#include "eval/task.h"

#include <jansson.h>

typedef struct kiln_trial kiln_trial;

typedef struct kiln_trial_spec {
    uv_loop_t *loop;
    kiln_engine *engine;
    const kiln_task *task;
    const char *folder; /* empty and the engine's own; the bundle is put below it */
    const char *seed;   /* PYTHONHASHSEED */
} kiln_trial_spec;

/* `done` comes once, from the loop, with (borrowed)
 * {"passed":bool,"status":"ok","reason":null|"","duration_ms":1.2,"differences":[{"file",
 *  "kind","detail","diff":null|""}],"stderr":"","files":{NAME:sha256},"ran":bool}
 * "ran": it ended as it has to, so that its bundle may become the canonical one. */
int kiln_trial_start(const kiln_trial_spec *spec, void (*done)(void *user, json_t *report),
                     void *user, kiln_trial **trial, kiln_error *err);
/* Asks its code to stop; `done` still comes. */
void kiln_trial_cancel(kiln_trial *trial);
/* Where the bundle is, below spec.folder: a new string, or NULL. */
char *kiln_trial_bundle(const kiln_task *task, const char *folder);

#endif
