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
    "Tells step by step what the chain of policies would do with the code. Nothing is run:\n"
    "backends answer at once, with the status that they are given; nothing sleeps. What\n"
    "policies have parsed is parsed in earnest, in a confined process.\n\n"
    "  -c, --code CODE, -l, --language, -b, --backend, -s, --set, --config, --chain,\n"
    "  --timeout, --limit, -i, --input, --stdin   as in kiln run\n"
    "      --result STATUS           what every backend answers: ok, error, crashed, timeout,\n"
    "      --result BACKEND=STATUS   limit, interrupted, unavailable; or one of them. Again\n"
    "                                for another; ok without it\n"
    "      --client NAME             who asks, for policies that count by client\n"
    "      --json                    "
    "{\"chain\",\"trace\":[{\"event\",\"policy\",...}],\"result\",\n"
    "                                \"metrics\"}\n\n"
    "exit status: 0 whatever the policies decide, 2 usage or configuration, 125 the engine\n"
    "failed.\n";

typedef struct trace_options {
    kiln_run_options run;
    const char *client;
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

/* Takes its own options out of argv, which is shortened; the others are those of run. */
static int take_own(int *argc, char **argv, trace_options *options, kiln_error *err)
{
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        char *word = argv[i];
        static const char *const names[] = {"--result", "--client"};
        const char *value = NULL;
        size_t which = 0;
        for (; which < 2 && value == NULL; which++) {
            size_t length = strlen(names[which]);
            if (strncmp(word, names[which], length) != 0 ||
                (word[length] != '\0' && word[length] != '=')) {
                continue;
            }
            value = word[length] == '=' ? word + length + 1 : i + 1 < *argc ? argv[++i] : NULL;
            if (value == NULL) {
                return kiln_error_set(err, -EINVAL, "option \"%s\" needs a value", word);
            }
            if (which == 1) {
                options->client = value;
            } else if (take_answer(options->answers, value, err) < 0) {
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

static void print_trace(const char *chain, const json_t *trace, const kiln_limits *ceiling,
                        const kiln_result *result)
{
    size_t index;
    json_t *step;
    int depth = 0;
    printf("chain %s\n", chain);
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
    kiln_runner runner; /* of it: the request's parts */
    kiln_config *config;
    kiln_paths paths;
    kiln_buffer code;
    uv_loop_t loop;
    kiln_engine *engine;
    kiln_session *session;
    kiln_result *result;
} job;

static void on_done(void *user, kiln_result *result)
{
    ((job *)user)->result = kiln_result_ref(result);
}

static int read_code(job *work, kiln_error *err)
{
    const kiln_run_options *options = &work->options->run;
    if (options->code != NULL) {
        return kiln_buffer_append(&work->code, options->code, strlen(options->code)) < 0
                   ? kiln_error_set(err, -ENOMEM, "out of memory")
                   : 0;
    }
    if (kiln_is_notebook(options->file)) {
        return kiln_error_set(err, -EINVAL,
                              "%s: a notebook is traced cell by cell: hand in a cell's code",
                              options->file);
    }
    return kiln_source_read(options->file, "code", KILN_CODE_MAX, &work->code, err);
}

static int make_request(job *work, kiln_request **request, kiln_error *err)
{
    const kiln_run_options *options = &work->options->run;
    const char *code = work->code.length > 0 ? work->code.data : "";
    const char *language;
    int rc = 0;
    if (options->stdin_path != NULL) {
        rc = kiln_source_read(options->stdin_path, "standard input", 64 << 20,
                              &work->runner.stdin_data, err);
    }
    rc = rc < 0 ? rc
                : kiln_source_language(options, work->config, code, work->code.length,
                                       &language, err);
    if (rc < 0) {
        return rc;
    }
    *request = kiln_runner_request(&work->runner, language, code, work->code.length);
    if (*request == NULL) {
        return kiln_error_set(err, -ENOMEM, "out of memory");
    }
    rc = kiln_source_add_inputs(&work->runner.gathered.inputs, *request, err);
    if (rc < 0) {
        kiln_request_free(*request);
    }
    return rc;
}

static int execute(job *work, json_t *trace, kiln_error *err)
{
    kiln_request *request;
    kiln_execution *execution;
    const kiln_execute_options options = {
        .chain = work->options->run.chain,
        .client = work->options->client,
        .trace = trace,
        .answers = work->options->answers,
        .out_fd = -1,
        .on_done = on_done,
        .user = work,
    };
    int rc = make_request(work, &request, err);
    rc = rc < 0 ? rc : kiln_execute(work->session, request, &options, &execution, err);
    while (rc == 0 && work->result == NULL) {
        if (uv_run(&work->loop, UV_RUN_ONCE) == 0 && work->result == NULL) {
            return kiln_error_set(err, -EIO, "the engine lost the execution");
        }
    }
    return rc;
}

static int report(const job *work, const json_t *trace)
{
    const char *chain = work->options->run.chain;
    chain = chain != NULL ? chain : kiln_config_string(work->config, "engine", "chain");
    if (!work->options->run.json) {
        const kiln_limits ceiling = kiln_config_limits(work->config);
        print_trace(chain, trace, &ceiling, work->result);
        return fflush(stdout) == 0 ? KILN_EXIT_OK : KILN_EXIT_ENGINE;
    }
    kiln_terminal terminal;
    kiln_terminal_init(&terminal);
    auto_json json_t *document = json_pack("{s:s, s:O, s:o, s:o}", "chain", chain, "trace",
                                           trace, "result", kiln_result_to_json(work->result),
                                           "metrics", kiln_engine_metrics(work->engine));
    return kiln_report_json(&terminal, document) < 0 ? KILN_EXIT_ENGINE : KILN_EXIT_OK;
}

static int trace_code(job *work)
{
    kiln_error err = KILN_ERROR_INIT;
    int status = KILN_EXIT_USAGE;
    auto_json json_t *trace = json_array();
    work->runner.options = &work->options->run;
    int rc = kiln_setup(work->options->run.config, work->options->run.set, &work->paths,
                        &work->config, NULL, &status, &err);
    if (rc < 0) {
        return complain(&err, status);
    }
    rc = kiln_source_gather(&work->options->run, work->config, &work->runner.gathered, &err);
    rc = rc < 0 ? rc : read_code(work, &err);
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
        rc = execute(work, trace, &err);
        status = rc == -EINVAL || rc == -E2BIG ? KILN_EXIT_USAGE : KILN_EXIT_ENGINE;
    }
    status = rc < 0 ? complain(&err, status) : report(work, trace);
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
        status = trace_code(&work);
        kiln_buffer_free(&work.code);
        kiln_buffer_free(&work.runner.stdin_data);
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
