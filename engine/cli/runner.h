/* runner.h - one engine, one session, executions one after the other; what run.c and
 * run_notebook.c share. Thread: loop. */
#ifndef KILN_CLI_RUNNER_H
#define KILN_CLI_RUNNER_H

#include "cli/options.h"
#include "cli/outdir.h"
#include "cli/source.h"
#include "cli/terminal.h"
#include "core/engine.h"

#include <stdbool.h>
#include <uv.h>

typedef struct kiln_runner {
    const kiln_run_options *options;
    uv_loop_t loop;
    uv_signal_t signals[3];
    uv_timer_t ticker; /* of the progress line */
    bool loop_open;
    kiln_paths paths;
    kiln_engine *engine;
    kiln_session *session;
    kiln_terminal terminal;
    kiln_outdir outdir;
    kiln_source source;     /* what is run */
    kiln_gathered gathered; /* input files */

    kiln_execution *execution; /* the one in flight, or NULL */
    kiln_result *result;       /* of the last one, one reference */
    int interrupt;             /* the signal that asked us to stop, 0: none */
    int interrupts;            /* how many came; the second one kills */
    bool broken_pipe;          /* nobody reads our stdout */
    char progress[160];        /* the line without its time; "": none */
    char told[160];            /* by a backend, until the code says something; "": nothing */
    uint64_t progress_since;
} kiln_runner;

/* Opens the engine: `config` is the runner's from then on. *status on failure. */
int kiln_runner_open(kiln_runner *runner, const kiln_run_options *options, kiln_config *config,
                     const char *prestart, int *status, kiln_error *err);
/* Opens the session and the output folder. -errno: usage (the folder). */
int kiln_runner_begin(kiln_runner *runner, const char *name, int *status, kiln_error *err);
/* A request with what the options say of every execution: args, stdin, timeout, backend,
 * language. NULL: out of memory. */
kiln_request *kiln_runner_request(const kiln_runner *runner, const char *language,
                                  const char *code, size_t length);
/* Runs it to its end; owns the request. 0: runner->result is there. -EINTR: a second signal
 * came. Otherwise it was refused before it began. */
int kiln_runner_execute(kiln_runner *runner, kiln_request *request, kiln_error *err);
/* Closes all; what the code made is in its place after it. *status is changed when the
 * output files could not be kept. */
void kiln_runner_close(kiln_runner *runner, int *status);

/* run_notebook.c: every cell. Returns the exit status. */
struct kiln_ipynb;
int kiln_run_notebook(kiln_runner *runner, struct kiln_ipynb *notebook, const char *language,
                      const char *name);

#endif
