/* measure_engine.h - an engine as `kiln` opens it, with the tree's own configuration. Run
 * from the tree's root; the plugins lie beside KILN. */
#ifndef KILN_BENCH_MEASURE_ENGINE_H
#define KILN_BENCH_MEASURE_ENGINE_H

#include "core/engine.h"
#include "measure.h"

static inline kiln_engine *measure_engine_open(uv_loop_t *loop, const char *kiln,
                                               const char *prestart, const char *const *set)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_paths paths = {0};
    const char *slash = strrchr(kiln, '/');
    snprintf(paths.executable, sizeof(paths.executable), "%s", kiln);
    snprintf(paths.plugins, sizeof(paths.plugins), "%.*s/plugins",
             slash != NULL ? (int)(slash - kiln) : 1, slash != NULL ? kiln : ".");
    snprintf(paths.scripts, sizeof(paths.scripts), "scripts");
    snprintf(paths.conf, sizeof(paths.conf), "conf");
    const kiln_config_sources sources = {
        .file = "conf/kiln.ini", .runtimes = "conf/runtimes.ini", .set = set};
    kiln_config *config = NULL;
    kiln_engine *engine = NULL;
    if (kiln_config_load(&sources, &config, &err) < 0 ||
        kiln_engine_open(loop, config, &paths, prestart, &engine, &err) < 0) {
        measure_fail("engine", err.text);
    }
    return engine;
}

static inline kiln_session *measure_session_open(kiln_engine *engine)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_session *session = NULL;
    if (kiln_session_open(engine, NULL, &session, &err) < 0) {
        measure_fail("session", err.text);
    }
    return session;
}

typedef struct measure_execution {
    bool done;
    const char *language; /* NULL: the default */
    const char *chain;    /* NULL: the default */
    const char *backend;  /* NULL: the default */
    kiln_status want;
    unsigned *finished; /* counted up, or NULL */
    double printed;     /* the output, as a number */
} measure_execution;

static inline void measure_execution_done(void *user, kiln_result *result)
{
    measure_execution *one = user;
    if (result->status != one->want) {
        char *text = json_dumps(result->errors, 0);
        fprintf(stderr, "%s\n", text);
        measure_fail("execute", kiln_status_name(result->status));
    }
    const json_t *output = json_array_get(result->outputs, 0);
    const char *text = json_string_value(json_object_get(output, "text"));
    one->printed = text != NULL ? strtod(text, NULL) : 0;
    one->done = true;
    if (one->finished != NULL) {
        ++*one->finished;
    }
}

/* Begins one; measure_until(&one->done). */
static inline kiln_execution *measure_execute(kiln_session *session, measure_execution *one,
                                              const char *code)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_request *request = kiln_request_new();
    if (request == NULL || kiln_request_set_code(request, code, strlen(code)) < 0) {
        measure_fail("request", "out of memory");
    }
    if (one->backend != NULL) {
        request->backend = strdup(one->backend);
    }
    if (one->language != NULL) {
        free(request->language);
        request->language = strdup(one->language);
    }
    one->done = false;
    const kiln_execute_options options = {
        .chain = one->chain, .out_fd = -1, .on_done = measure_execution_done, .user = one};
    kiln_execution *execution = NULL;
    if (kiln_execute(session, request, &options, &execution, &err) < 0) {
        measure_fail("execute", err.text);
    }
    return execution;
}

static inline void measure_cell(uv_loop_t *loop, kiln_session *session, const char *code)
{
    measure_execution one = {.want = KILN_STATUS_OK};
    measure_execute(session, &one, code);
    measure_until(loop, &one.done);
}

/* Waits until the backend's pool is full. */
static inline void measure_fill_pool(uv_loop_t *loop, kiln_engine *engine, const char *backend,
                                     size_t size)
{
    double since = measure_now();
    while (kiln_engine_pooled(engine, backend) < size) {
        uv_run(loop, UV_RUN_ONCE);
        if (measure_now() - since > 60e6) {
            measure_fail("pool", "it is not full after 60 s");
        }
    }
}

#endif
