/* run_notebook.c - every cell of a notebook, in one session, into an executed notebook. */
#include "cli/runner.h"

#include "base/cleanup.h"
#include "cli/command.h"
#include "cli/report.h"
#include "cli/source.h"
#include "notebook/ipynb.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

typedef struct progress {
    kiln_runner *runner;
    kiln_ipynb *notebook;
    const char *language;
    json_t *results; /* for --json */
    size_t runnable, ran, failed;
    bool inputs_put; /* the input files reached the work directory */
    bool stop;
    int status;          /* exit status: that of the first cell that failed */
    const char *outcome; /* its status, for --json */
} progress;

static void note_failure(progress *p, int status, const char *outcome)
{
    p->failed++;
    if (p->status == KILN_EXIT_OK) {
        p->status = status;
        p->outcome = outcome;
    }
    p->stop = p->stop || !p->runner->options->keep_going;
}

static int fill(progress *p, kiln_ipynb_cell *cell, const kiln_result *result, kiln_error *err)
{
    return kiln_ipynb_fill(cell, json_object_get(p->notebook->root, "cells"),
                           p->notebook->displays, result, err);
}

/* An input that was refused before it became an execution: shown in its cell like any
 * other failure. */
static int note_refused(progress *p, kiln_ipynb_cell *cell, const char *why, kiln_error *err)
{
    kiln_result *result = kiln_result_new();
    int rc = result == NULL ? -ENOMEM : 0;
    if (rc == 0) {
        rc = kiln_request_set_string(&result->cell_id, cell->id);
        rc = rc < 0 ? rc : kiln_request_set_string(&result->language, p->language);
        rc = rc < 0 ? rc : kiln_result_add_error(result, "user", "InvalidInput", why, NULL);
        rc = rc < 0 ? rc : fill(p, cell, result, err);
        if (rc == 0 && p->results != NULL) {
            rc = json_array_append_new(p->results, kiln_result_to_json(result));
        }
        kiln_result_unref(result);
    }
    note_failure(p, KILN_EXIT_USAGE, "unavailable");
    if (p->results == NULL) {
        kiln_terminal_note(&p->runner->terminal, "[%zu/%zu] cell %s: %s", p->ran, p->runnable,
                           cell->id, why);
    }
    return rc < 0 ? kiln_error_set(err, -ENOMEM, "out of memory") : 0;
}

static int take_result(progress *p, kiln_ipynb_cell *cell, kiln_error *err)
{
    kiln_runner *runner = p->runner;
    const kiln_result *result = runner->result;
    bool expected = cell->raises_exception && result->status == KILN_STATUS_ERROR;
    int rc = fill(p, cell, result, err);
    if (rc < 0) {
        return rc;
    }
    if (p->results != NULL) {
        if (json_array_append_new(p->results, kiln_result_to_json(result)) < 0) {
            return kiln_error_set(err, -ENOMEM, "out of memory");
        }
    } else if (!runner->broken_pipe) {
        char where[160];
        snprintf(where, sizeof(where), "[%zu/%zu] cell %.64s%s", p->ran, p->runnable, cell->id,
                 expected ? " (as its tag expects)" : "");
        kiln_report(&runner->terminal, result, where, runner->options->decisions);
    }
    p->inputs_put = p->inputs_put || (result->status != KILN_STATUS_DENIED &&
                                      result->status != KILN_STATUS_UNAVAILABLE);
    if (result->status != KILN_STATUS_OK && result->status != KILN_STATUS_SKIPPED &&
        !expected) {
        note_failure(p, kiln_exit_status(result, runner->interrupt),
                     kiln_status_name(result->status));
    }
    p->stop = p->stop || runner->interrupts > 0 || runner->broken_pipe;
    return 0;
}

static int run_cell(progress *p, kiln_ipynb_cell *cell, kiln_error *err)
{
    kiln_runner *runner = p->runner;
    kiln_request *request =
        kiln_runner_request(runner, p->language, cell->source, cell->source_length);
    if (request == NULL || kiln_request_set_string(&request->cell_id, cell->id) < 0) {
        kiln_request_free(request);
        return kiln_error_set(err, -ENOMEM, "out of memory");
    }
    if (!p->inputs_put) {
        int rc = kiln_source_add_inputs(&runner->gathered.inputs, request, err);
        if (rc < 0) {
            kiln_request_free(request);
            return rc;
        }
    }
    p->ran++;
    if (!runner->options->json) {
        snprintf(runner->progress, sizeof(runner->progress), "[%zu/%zu] cell %.64s", p->ran,
                 p->runnable, cell->id);
    }
    int rc = kiln_runner_execute(runner, request, err);
    if (rc == -EINVAL || rc == -E2BIG) {
        kiln_error refused = *err;
        return note_refused(p, cell, refused.text, err);
    }
    return rc < 0 ? rc : take_result(p, cell, err);
}

/* -o DIR: DIR/NAME.ipynb; else NAME.executed.ipynb here. Caller frees. */
static char *destination(const kiln_runner *runner, const char *name)
{
    char *path;
    int length = runner->options->out != NULL
                     ? asprintf(&path, "%s/%s.ipynb", runner->outdir.path, name)
                     : asprintf(&path, "%s.executed.ipynb", name);
    return length < 0 ? NULL : path;
}

static int fail(progress *p, const kiln_error *err, int status)
{
    kiln_terminal_hide_progress(&p->runner->terminal);
    fprintf(stderr, "kiln: %s\n", err->text);
    return status;
}

static int tell_end(progress *p, const char *path)
{
    kiln_runner *runner = p->runner;
    if (p->results != NULL) {
        auto_json json_t *json =
            json_pack("{s:s, s:b, s:s, s:O}", "notebook", path, "success",
                      p->status == KILN_EXIT_OK, "status", p->outcome, "results", p->results);
        int rc = json != NULL ? kiln_report_json(&runner->terminal, json) : -ENOMEM;
        runner->broken_pipe = runner->broken_pipe || rc == -EPIPE;
        if (rc < 0 && rc != -EPIPE) {
            return KILN_EXIT_ENGINE;
        }
    } else if (!runner->broken_pipe) {
        kiln_terminal_note(&runner->terminal,
                           "%zu of %zu cells run, %zu failed; executed notebook is %s", p->ran,
                           p->runnable, p->failed, path);
    }
    if (runner->broken_pipe) {
        return KILN_EXIT_SIGNAL + SIGPIPE;
    }
    /* Interrupted between two cells: no result says so. */
    return p->status == KILN_EXIT_OK && runner->interrupts > 0 && p->ran < p->runnable
               ? KILN_EXIT_SIGNAL + runner->interrupt
               : p->status;
}

int kiln_run_notebook(kiln_runner *runner, kiln_ipynb *notebook, const char *language,
                      const char *name)
{
    kiln_error err = KILN_ERROR_INIT;
    auto_json json_t *results = runner->options->json ? json_array() : NULL;
    auto_free char *path = destination(runner, name);
    progress p = {
        .runner = runner,
        .notebook = notebook,
        .language = language,
        .results = results,
        .outcome = "ok",
    };
    if (path == NULL) {
        kiln_error_set(&err, -ENOMEM, "out of memory");
        return fail(&p, &err, KILN_EXIT_ENGINE);
    }
    if (kiln_ipynb_clear(notebook, &err) < 0) {
        return fail(&p, &err, KILN_EXIT_ENGINE);
    }
    for (size_t i = 0; i < notebook->count; i++) {
        p.runnable += kiln_ipynb_runnable(&notebook->cells[i]);
    }
    int rc = 0;
    for (size_t i = 0; i < notebook->count && rc == 0 && !p.stop; i++) {
        if (kiln_ipynb_runnable(&notebook->cells[i])) {
            rc = run_cell(&p, &notebook->cells[i], &err);
        }
    }
    if (rc < 0) {
        int status = rc == -EINTR                  ? KILN_EXIT_SIGNAL + runner->interrupt
                     : p.ran == 0 && rc != -ENOMEM ? KILN_EXIT_USAGE
                                                   : KILN_EXIT_ENGINE;
        fail(&p, &err, status);
        p.status = status;
        p.outcome = rc == -EINTR ? "interrupted" : "unavailable";
    }
    /* What was run is written in any case, also after the engine failed. */
    if (p.ran > 0 || rc == 0) {
        kiln_error write_err = KILN_ERROR_INIT;
        if (kiln_ipynb_write(notebook, path, &write_err) < 0) {
            return fail(&p, &write_err, KILN_EXIT_ENGINE);
        }
        return tell_end(&p, path);
    }
    return p.status;
}
