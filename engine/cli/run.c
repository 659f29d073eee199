/* run.c - `kiln run`: a script, or every cell of a notebook. */
#include "cli/command.h"

#include "base/cleanup.h"
#include "cli/report.h"
#include "cli/runner.h"
#include "cli/setup.h"
#include "cli/source.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

typedef struct job {
    kiln_run_options options;
    char *name; /* of the source, for files that are made */
} job;

static int complain(const kiln_error *err, int status)
{
    fprintf(stderr, "kiln: %s\n", err->text);
    return status;
}

/* The backend that will most likely run it, so that its zygote starts at once. A wrong guess
 * costs a process that is not used. */
static const char *likely_backend(const kiln_runner *runner, const job *work,
                                  const kiln_config *config)
{
    if (work->options.backend != NULL) {
        return work->options.backend;
    }
    return strcmp(runner->source.language, "python") == 0
               ? kiln_config_string(config, "engine", "backend")
               : NULL;
}

static int run_script(kiln_runner *runner, const job *work)
{
    kiln_error err = KILN_ERROR_INIT;
    const kiln_source *source = &runner->source;
    kiln_request *request = kiln_runner_request(
        runner, source->language, source->code.length > 0 ? source->code.data : "",
        source->code.length);
    if (request == NULL) {
        kiln_error_set(&err, -ENOMEM, "out of memory");
        return complain(&err, KILN_EXIT_ENGINE);
    }
    int rc = kiln_source_add_inputs(&runner->gathered.inputs, request, &err);
    if (rc < 0) {
        kiln_request_free(request);
        return complain(&err, KILN_EXIT_USAGE);
    }
    rc = kiln_runner_execute(runner, request, &err);
    if (rc == -EINTR) {
        return complain(&err, KILN_EXIT_SIGNAL + runner->interrupt);
    }
    if (rc < 0) {
        bool refused = rc == -EINVAL || rc == -E2BIG;
        return complain(&err, refused ? KILN_EXIT_USAGE : KILN_EXIT_ENGINE);
    }
    if (work->options.json) {
        auto_json json_t *json = kiln_result_to_json(runner->result);
        rc = kiln_report_json(&runner->terminal, json);
        runner->broken_pipe = rc == -EPIPE;
        if (rc < 0 && rc != -EPIPE) {
            kiln_error_errno(&err, rc, "standard output");
            return complain(&err, KILN_EXIT_ENGINE);
        }
    } else if (!runner->broken_pipe) {
        kiln_report(&runner->terminal, runner->result, NULL, work->options.decisions);
    }
    return runner->broken_pipe ? KILN_EXIT_SIGNAL + SIGPIPE
                               : kiln_exit_status(runner->result, runner->interrupt);
}

/* With the engine open. Returns the exit status. */
static int run_job(kiln_runner *runner, job *work)
{
    kiln_error err = KILN_ERROR_INIT;
    auto_json json_t *backends = kiln_engine_plugins(runner->engine);
    if (kiln_language_check(runner->source.language, kiln_engine_config(runner->engine),
                            backends, &err) < 0) {
        return complain(&err, KILN_EXIT_USAGE);
    }
    int status;
    if (kiln_runner_begin(runner, work->name, &status, &err) < 0) {
        return complain(&err, status);
    }
    return runner->source.notebook != NULL
               ? kiln_run_notebook(runner, runner->source.notebook, runner->source.language,
                                   work->name)
               : run_script(runner, work);
}

static int run_with(kiln_runner *runner, job *work)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config;
    int status;
    if (kiln_setup(work->options.config, work->options.set, &runner->paths, &config, NULL,
                   &status, &err) < 0) {
        return complain(&err, status);
    }
    work->name = kiln_source_name(work->options.file);
    if (work->name == NULL) {
        kiln_config_free(config);
        kiln_error_set(&err, -ENOMEM, "out of memory");
        return complain(&err, KILN_EXIT_ENGINE);
    }
    /* Everything is read before anything is started. */
    if (kiln_source_gather(&work->options, config, &runner->gathered, &err) < 0 ||
        kiln_source_load(&work->options, config, &runner->source, &err) < 0) {
        kiln_config_free(config);
        return complain(&err, err.code == -ENOMEM ? KILN_EXIT_ENGINE : KILN_EXIT_USAGE);
    }
    if (kiln_runner_open(runner, &work->options, config, likely_backend(runner, work, config),
                         &status, &err) < 0) {
        return complain(&err, status);
    }
    return run_job(runner, work);
}

static int run(int argc, char **argv)
{
    kiln_error err = KILN_ERROR_INIT;
    job work = {0};
    kiln_runner runner = {.outdir = KILN_OUTDIR_INIT};
    int status;
    if (kiln_run_options_parse(argc, argv, &work.options, &err) < 0) {
        status = complain(&err, KILN_EXIT_USAGE);
    } else if (work.options.help) {
        fputs(kiln_run_help, stdout);
        status = fflush(stdout) == 0 ? KILN_EXIT_OK : KILN_EXIT_ENGINE;
    } else {
        status = run_with(&runner, &work);
    }
    kiln_runner_close(&runner, &status);
    free(work.name);
    kiln_run_options_free(&work.options);
    return status;
}

const kiln_command kiln_command_run = {
    "run",
    "runs a script, or every cell of a notebook",
    run,
};
