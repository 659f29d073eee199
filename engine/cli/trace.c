/* trace.c - `kiln trace`: what the policies would do with an input, without running it. */
#include "cli/command.h"

#include "base/cleanup.h"
#include "cli/report.h"
#include "cli/runner.h"
#include "cli/setup.h"
#include "cli/source.h"

#include <errno.h>
#include <string.h>

static const char help[] =
    "usage: kiln trace [OPTIONS] FILE|-|-c CODE\n\n"
    "Tells step by step what the chain of policies would do with the code, or with each cell\n"
    "of a notebook. Nothing is run: backends answer at once, with the status that they are\n"
    "given; nothing sleeps. What policies have parsed is parsed in earnest, in a confined\n"
    "process.\n\n"
    "  -c, --code CODE, -l, --language, -b, --backend, -s, --set, --config, --chain,\n"
    "  --client, --timeout, --limit, -i, --input, --stdin, --keep-going   as in kiln run\n"
    "      --result STATUS           what every backend answers: ok, error, crashed, timeout,\n"
    "      --result BACKEND=STATUS   limit, interrupted, unavailable; or one of them. Again\n"
    "                                for another; ok without it\n"
    "      --json                    "
    "{\"chain\",\"trace\":[{\"event\",\"policy\",...}],\"result\",\n"
    "                                \"metrics\"}; of a notebook {\"chain\",\"notebook\",\n"
    "                                \"cells\":[{\"id\",\"trace\",\"result\"}],\"metrics\"}\n\n"
    "exit status: 0 whatever the policies decide, 2 usage or configuration, 125 the engine\n"
    "failed.\n";

typedef struct trace_options {
    kiln_run_options run;
    json_t *answers;
} trace_options;

static int complain(const kiln_error *err, int status)
{
    /* What kiln run would say of its options. */
    const char *text = err->text;
    fprintf(stderr, "kiln: trace: %s\n", strncmp(text, "run: ", 5) == 0 ? text + 5 : text);
    return status;
}

static int take_answer(json_t *answers, const char *word, kiln_error *err)
{
    const char *equals = strchr(word, '=');
    const char *name = equals != NULL ? equals + 1 : word;
    kiln_status status;
    if (kiln_status_from_name(name, &status) < 0) {
        return kiln_error_set(err, -EINVAL, "--result %s: there is no status \"%s\"", word,
                              name);
    }
    auto_free char *backend = equals != NULL ? strndup(word, (size_t)(equals - word)) : NULL;
    if (json_object_set_new(answers, backend != NULL ? backend : "*", json_string(name)) < 0) {
        return kiln_error_set(err, -EINVAL, "--result %s: no name of a backend", word);
    }
    return 0;
}

/* Takes --result out of argv, which is shortened; the other options are those of run. */
static int take_own(int *argc, char **argv, trace_options *options, kiln_error *err)
{
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        char *word = argv[i];
        static const char name[] = "--result";
        const size_t length = sizeof(name) - 1;
        const char *value = NULL;
        if (strncmp(word, name, length) == 0 && (word[length] == '\0' || word[length] == '=')) {
            value = word[length] == '=' ? word + length + 1 : i + 1 < *argc ? argv[++i] : NULL;
            if (value == NULL) {
                return kiln_error_set(err, -EINVAL, "option \"%s\" needs a value", word);
            }
            if (take_answer(options->answers, value, err) < 0) {
                return -EINVAL;
            }
        }
        if (strcmp(word, "--") == 0) {
            while (i < *argc) {
                argv[kept++] = argv[i++];
            }
        } else if (value == NULL) {
            argv[kept++] = word;
        }
    }
    argv[kept] = NULL;
    *argc = kept;
    return 0;
}

/* ---- for people */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* Those that are not just the configuration's. */
static void print_limits(const json_t *limits, const json_t *usual)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)limits, name, value)
    {
        if (json_is_number(value) && !json_equal(value, json_object_get(usual, name))) {
            printf(" %s=%.15g", name, json_number_value(value));
        }
    }
}

static void print_run(const json_t *step, const kiln_limits *ceiling)
{
    auto_json json_t *usual = kiln_limits_to_json(ceiling);
    json_int_t timeout = json_integer_value(json_object_get(step, "timeout_ms"));
    printf(" on %s: %s, %lld bytes", text_of(step, "backend"), text_of(step, "language"),
           (long long)json_integer_value(json_object_get(step, "code_bytes")));
    if ((uint64_t)timeout != ceiling->timeout_ms) {
        printf(" timeout_ms=%lld", (long long)timeout);
    }
    print_limits(json_object_get(step, "limits"), usual);
}

static void print_step(const json_t *step, const kiln_limits *ceiling, int *depth)
{
    const char *event = text_of(step, "event");
    if (strcmp(event, "leave") == 0) {
        *depth -= *depth > 0;
        bool failed = json_object_get(step, "failure") != NULL;
        printf("%*s%s %s %s\n", 2 * *depth, "", text_of(step, "policy"),
               failed ? "failed:" : "gives", text_of(step, failed ? "failure" : "status"));
        return;
    }
    if (strcmp(event, "enter") == 0) {
        printf("%*s%s\n", 2 * (*depth)++, "", text_of(step, "policy"));
        return;
    }
    printf("%*s- %s", 2 * *depth, "", event);
    if (strcmp(event, "decide") == 0) {
        printf(" %s: %s", text_of(step, "action"), text_of(step, "detail"));
    } else if (strcmp(event, "run") == 0) {
        print_run(step, ceiling);
    } else if (strcmp(event, "answer") == 0) {
        printf(" of %s: %s", text_of(step, "backend"), text_of(step, "status"));
    } else if (strcmp(event, "analyze") == 0) {
        printf(" %s", text_of(step, "language"));
    } else if (strcmp(event, "sleep") == 0) {
        printf(" %lld ms",
               (long long)json_integer_value(json_object_get(step, "milliseconds")));
    } else if (strcmp(event, "log") == 0) {
        printf(" %s: %s", text_of(step, "level"), text_of(step, "text"));
    } else if (strcmp(event, "metric") == 0) {
        printf(" %s %.15g", text_of(step, "name"),
               json_number_value(json_object_get(step, "value")));
    }
    putchar('\n');
}

static void print_trace(const json_t *trace, const kiln_limits *ceiling,
                        const kiln_result *result)
{
    size_t index;
    json_t *step;
    int depth = 0;
    json_array_foreach(trace, index, step)
    {
        print_step(step, ceiling, &depth);
    }
    printf("result: %s", kiln_status_name(result->status));
    const json_t *error = json_array_get(result->errors, 0);
    if (error != NULL) {
        printf(": %s: %s", text_of(error, "name"), text_of(error, "message"));
    }
    printf("%s\n", result->backend != NULL ? "" : " (no backend)");
}

/* ---- */

typedef struct job {
    trace_options *options;
    kiln_runner runner; /* of it: the source and the request's parts */
    kiln_config *config;
    kiln_paths paths;
    uv_loop_t loop;
    kiln_engine *engine;
    kiln_session *session;
    kiln_result *result; /* of the last execution */
    json_t *cells;       /* of a notebook, for --json */
    bool inputs_put;     /* the input files went along with an execution */
} job;

static void on_done(void *user, kiln_result *result)
{
    job *work = user;
    kiln_result_unref(work->result);
    work->result = kiln_result_ref(result);
}

/* NULL: see err. */
static kiln_request *make_request(job *work, const char *code, size_t length, kiln_error *err)
{
    kiln_request *request =
        kiln_runner_request(&work->runner, work->runner.source.language, code, length);
    if (request == NULL) {
        kiln_error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    if (!work->inputs_put &&
        kiln_source_add_inputs(&work->runner.gathered.inputs, request, err) < 0) {
        kiln_request_free(request);
        return NULL;
    }
    work->inputs_put = true;
    return request;
}

/* 0: work->result is there, and the steps are in `trace`. -EINVAL, -E2BIG: no execution. */
static int execute(job *work, const char *code, size_t length, json_t *trace, kiln_error *err)
{
    kiln_execution *execution;
    const kiln_execute_options options = {
        .chain = work->options->run.chain,
        .client = kiln_client(work->options->run.client),
        .trace = trace,
        .answers = work->options->answers,
        .out_fd = -1,
        .on_done = on_done,
        .user = work,
    };
    kiln_request *request = make_request(work, code, length, err);
    if (request == NULL) {
        return err->code;
    }
    kiln_result_unref(kiln_steal(work->result));
    int rc = kiln_execute(work->session, request, &options, &execution, err);
    while (rc == 0 && work->result == NULL) {
        if (uv_run(&work->loop, UV_RUN_ONCE) == 0 && work->result == NULL) {
            return kiln_error_set(err, -EIO, "the engine lost the execution");
        }
    }
    return rc;
}

static const char *chain_name(const job *work)
{
    const char *chain = work->options->run.chain;
    return chain != NULL ? chain : kiln_config_string(work->config, "engine", "chain");
}

static int report_json(const job *work, json_t *document)
{
    kiln_terminal terminal;
    kiln_terminal_init(&terminal);
    auto_json json_t *metrics = kiln_engine_metrics(work->engine);
    if (document == NULL || json_object_set(document, "metrics", metrics) < 0) {
        return KILN_EXIT_ENGINE;
    }
    return kiln_report_json(&terminal, document) < 0 ? KILN_EXIT_ENGINE : KILN_EXIT_OK;
}

static int trace_code(job *work, kiln_error *err)
{
    const kiln_source *source = &work->runner.source;
    auto_json json_t *trace = json_array();
    int rc = execute(work, source->code.length > 0 ? source->code.data : "",
                     source->code.length, trace, err);
    if (rc < 0) {
        return rc;
    }
    if (!work->options->run.json) {
        const kiln_limits ceiling = kiln_config_limits(work->config);
        printf("chain %s\n", chain_name(work));
        print_trace(trace, &ceiling, work->result);
        return 0;
    }
    auto_json json_t *document =
        json_pack("{s:s, s:O, s:o}", "chain", chain_name(work), "trace", trace, "result",
                  kiln_result_to_json(work->result));
    return report_json(work, document) == KILN_EXIT_OK
               ? 0
               : kiln_error_set(err, -EIO, "the trace cannot be written");
}

/* *stop: kiln run would not go on after it. */
static int trace_cell(job *work, const kiln_ipynb_cell *cell, bool *stop, kiln_error *err)
{
    auto_json json_t *trace = json_array();
    int rc = execute(work, cell->source, cell->source_length, trace, err);
    if (rc < 0) {
        return rc == -EINVAL || rc == -E2BIG ? kiln_error_wrap(err, "cell %s", cell->id) : rc;
    }
    kiln_status status = work->result->status;
    *stop = status != KILN_STATUS_OK && status != KILN_STATUS_SKIPPED &&
            !(cell->raises_exception && status == KILN_STATUS_ERROR) &&
            !work->options->run.keep_going;
    if (!work->options->run.json) {
        const kiln_limits ceiling = kiln_config_limits(work->config);
        printf("\ncell %s\n", cell->id);
        print_trace(trace, &ceiling, work->result);
        return 0;
    }
    rc = json_array_append_new(work->cells,
                               json_pack("{s:s, s:O, s:o}", "id", cell->id, "trace", trace,
                                         "result", kiln_result_to_json(work->result)));
    return rc < 0 ? kiln_error_set(err, -ENOMEM, "out of memory") : 0;
}

/* All cells in one session, so that what counts executions or failures counts them. */
static int trace_notebook(job *work, kiln_error *err)
{
    const kiln_ipynb *notebook = work->runner.source.notebook;
    size_t runnable = 0, traced = 0;
    bool stop = false;
    int rc = 0;
    auto_json json_t *cells = json_array();
    work->cells = cells;
    for (size_t i = 0; i < notebook->count; i++) {
        runnable += kiln_ipynb_runnable(&notebook->cells[i]);
    }
    if (!work->options->run.json) {
        printf("chain %s\n", chain_name(work));
    }
    for (size_t i = 0; i < notebook->count && rc == 0 && !stop; i++) {
        if (kiln_ipynb_runnable(&notebook->cells[i])) {
            rc = trace_cell(work, &notebook->cells[i], &stop, err);
            traced++;
        }
    }
    if (rc < 0) {
        return rc;
    }
    if (!work->options->run.json) {
        if (traced < runnable) {
            printf("\n%zu of %zu cells: kiln run would stop here, without --keep-going\n",
                   traced, runnable);
        }
        return 0;
    }
    auto_json json_t *document = json_pack("{s:s, s:s, s:O}", "chain", chain_name(work),
                                           "notebook", work->options->run.file, "cells", cells);
    return report_json(work, document) == KILN_EXIT_OK
               ? 0
               : kiln_error_set(err, -EIO, "the trace cannot be written");
}

static int trace_source(job *work)
{
    kiln_error err = KILN_ERROR_INIT;
    int status = KILN_EXIT_USAGE;
    work->runner.options = &work->options->run;
    int rc = kiln_setup(work->options->run.config, work->options->run.set, &work->paths,
                        &work->config, NULL, &status, &err);
    if (rc < 0) {
        return complain(&err, status);
    }
    rc = kiln_source_gather(&work->options->run, work->config, &work->runner.gathered, &err);
    rc = rc < 0
             ? rc
             : kiln_source_load(&work->options->run, work->config, &work->runner.source, &err);
    status = KILN_EXIT_USAGE;
    if (rc == 0 && uv_loop_init(&work->loop) < 0) {
        status = KILN_EXIT_ENGINE;
        rc = kiln_error_set(&err, -EIO, "cannot make an event loop");
    }
    if (rc < 0) {
        kiln_config_free(work->config);
        return complain(&err, status);
    }
    rc = kiln_engine_open(&work->loop, work->config, &work->paths, NULL, &work->engine, &err);
    status = rc < 0 ? kiln_open_failure_status(rc) : KILN_EXIT_ENGINE;
    rc = rc < 0 ? rc : kiln_session_open(work->engine, NULL, &work->session, &err);
    if (rc == 0) {
        rc = work->runner.source.notebook != NULL ? trace_notebook(work, &err)
                                                  : trace_code(work, &err);
        status = rc == -EINVAL || rc == -E2BIG ? KILN_EXIT_USAGE : KILN_EXIT_ENGINE;
    }
    if (rc < 0) {
        complain(&err, status);
    } else {
        status = fflush(stdout) == 0 ? KILN_EXIT_OK : KILN_EXIT_ENGINE;
    }
    if (work->session != NULL && (rc == 0 || work->result != NULL)) {
        kiln_session_close(work->session);
    }
    kiln_result_unref(work->result);
    if (work->engine != NULL) {
        kiln_engine_close(work->engine);
    }
    uv_run(&work->loop, UV_RUN_DEFAULT);
    uv_loop_close(&work->loop);
    return status;
}

static int run(int argc, char **argv)
{
    kiln_error err = KILN_ERROR_INIT;
    auto_json json_t *answers = json_object();
    trace_options options = {.answers = answers};
    int rc = take_own(&argc, argv, &options, &err);
    rc = rc < 0 ? rc : kiln_run_options_parse(argc, argv, &options.run, &err);
    int status = KILN_EXIT_USAGE;
    if (rc < 0) {
        complain(&err, status);
    } else if (options.run.help) {
        fputs(help, stdout);
        status = fflush(stdout) == 0 ? KILN_EXIT_OK : KILN_EXIT_ENGINE;
    } else {
        job work = {.options = &options};
        status = trace_source(&work);
        kiln_source_free(&work.runner.source);
        kiln_gathered_free(&work.runner.gathered);
    }
    kiln_run_options_free(&options.run);
    return status;
}

const kiln_command kiln_command_trace = {
    "trace",
    "tells what the policies would do with code, without running it",
    run,
};
