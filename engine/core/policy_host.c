/* What policies may ask of the core. */
#include "core/engine-t.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

/* What a handle given to a policy stands for. */
typedef struct policy_call {
    enum { CALL_RUN, CALL_ANALYZE, CALL_IMPORTS, CALL_NATIVE } kind;
    kiln_execution *execution;
    kiln_core_run *run;
    kiln_analysis *analysis;
    size_t cell; /* of the notebook, being analysed for its imports */
    void (*run_done)(void *user, kiln_result *result);
    kiln_native_call *native;
    kiln_native_callbacks callbacks;
    void (*json_done)(void *user, json_t *json, const char *error);
    void *user;
} policy_call;

static policy_call *new_call(int kind, kiln_execution *execution, void *user)
{
    policy_call *call = calloc(1, sizeof(*call));
    if (call != NULL) {
        call->kind = kind;
        call->execution = execution;
        call->user = user;
    }
    return call;
}

static void run_done(void *user, kiln_result *result)
{
    policy_call call = *(policy_call *)user;
    free(user);
    call.run_done(call.user, result);
}

static void host_run(void *core, void *execution_, const kiln_request *request,
                     const char *backend, bool live,
                     void (*done)(void *user, kiln_result *result), void *user, void **handle)
{
    kiln_engine *engine = core;
    kiln_execution *execution = execution_;
    policy_call *call = new_call(CALL_RUN, execution, user);
    if (call == NULL) {
        done(user, engine->out_of_memory);
        return;
    }
    call->run_done = done;
    *handle = call; /* before it runs: it may be done, and freed, before the call returns */
    kiln_core_run_start(execution, request, backend, live, run_done, call, &call->run);
}

static void json_done(policy_call *call, json_t *json, const char *error)
{
    policy_call copy = *call;
    free(call);
    copy.json_done(copy.user, json, error);
}

static void analysis_done(void *user, json_t *analysis, const char *error)
{
    json_done(user, analysis, error);
}

static kiln_backend *analyzer_for(kiln_engine *engine, const char *language, char *why,
                                  size_t size)
{
    kiln_backend *backend = kiln_backends_analyzer(engine->backends, language);
    if (backend == NULL) {
        snprintf(why, size, "no backend can analyze code in \"%s\"", language);
    }
    return backend;
}

static void host_analyze(void *core, void *execution, const char *language, const char *code,
                         size_t length,
                         void (*done)(void *user, json_t *analysis, const char *error),
                         void *user, void **handle)
{
    kiln_engine *engine = core;
    char why[128];
    kiln_backend *backend = analyzer_for(engine, language, why, sizeof(why));
    policy_call *call = backend != NULL ? new_call(CALL_ANALYZE, execution, user) : NULL;
    if (call == NULL) {
        done(user, NULL, backend == NULL ? why : "out of memory");
        return;
    }
    call->json_done = done;
    *handle = call;
    kiln_backend_analyze(backend, code, length, analysis_done, call, &call->analysis);
}

/* ---- the notebook's imports: cells are analysed once, when first asked for */

static void analyze_cells(policy_call *call);

static void cell_analysed(void *user, json_t *analysis, const char *error)
{
    policy_call *call = user;
    kiln_notebook_cell *cell = &call->execution->session->notebook.cells[call->cell];
    call->analysis = NULL;
    if (analysis == NULL) {
        json_done(call, NULL, error);
        return;
    }
    json_t *lines = json_object_get(analysis, "import_lines");
    cell->import_lines = json_is_array(lines) ? json_deep_copy(lines) : json_array();
    call->cell++;
    analyze_cells(call);
}

static void analyze_cells(policy_call *call)
{
    kiln_engine *engine = call->execution->engine;
    kiln_notebook *notebook = &call->execution->session->notebook;
    for (; call->cell < notebook->count; call->cell++) {
        kiln_notebook_cell *cell = &notebook->cells[call->cell];
        if (!cell->succeeded || cell->import_lines != NULL) {
            continue;
        }
        kiln_backend *backend = kiln_backends_analyzer(engine->backends, cell->language);
        if (backend == NULL) { /* a language without an analyzer has no imports to give */
            cell->import_lines = json_array();
            continue;
        }
        kiln_backend_analyze(backend, cell->code, cell->code_length, cell_analysed, call,
                             &call->analysis);
        return;
    }
    auto_json json_t *lines = kiln_notebook_get_imports(notebook);
    json_done(call, lines, NULL);
}

static void host_imports(void *core, void *execution,
                         void (*done)(void *user, json_t *lines, const char *error), void *user,
                         void **handle)
{
    (void)core;
    policy_call *call = new_call(CALL_IMPORTS, execution, user);
    if (call == NULL) {
        done(user, NULL, "out of memory");
        return;
    }
    call->json_done = done;
    *handle = call;
    analyze_cells(call);
}

/* ---- native functions */

static void native_done(void *user, const kiln_native_value *results,
                        const kiln_native_failure *failure)
{
    policy_call call = *(policy_call *)user;
    free(user);
    call.callbacks.done(call.user, results, failure);
}

static int native_callback(void *user, uint64_t which, const kiln_native_value *given,
                           kiln_native_value *returned, kiln_error *err)
{
    const policy_call *call = user;
    return call->callbacks.callback(call->user, which, given, returned, err);
}

static void host_native(void *core, void *execution, const char *name,
                        kiln_native_value *arguments, const kiln_native_callbacks *callbacks,
                        void *user, void **handle)
{
    static const kiln_native_callbacks ours = {native_done, native_callback};
    const kiln_native_failure failure = {"NativeError", "out of memory"};
    policy_call *call = new_call(CALL_NATIVE, execution, user);
    if (call == NULL) {
        callbacks->done(user, NULL, &failure);
        return;
    }
    call->callbacks = *callbacks;
    *handle = call;
    kiln_native_call_start(((kiln_engine *)core)->natives, name, KILN_NATIVE_TO_POLICY,
                           arguments, &ours, call, &call->native);
}

static kiln_native_found host_native_find(void *core, const char *name)
{
    return kiln_natives_find(((kiln_engine *)core)->natives, name, KILN_NATIVE_TO_POLICY);
}

static void host_cancel(void *core, void *handle)
{
    (void)core;
    policy_call *call = handle;
    if (call->kind == CALL_RUN) {
        kiln_core_run_cancel(call->run);
    } else if (call->kind == CALL_NATIVE) {
        kiln_native_call_cancel(call->native);
    } else if (call->analysis != NULL) {
        kiln_analysis_cancel(call->analysis);
    }
    free(call);
}

static json_t *host_backends(void *core)
{
    return kiln_backends_table(((kiln_engine *)core)->backends);
}

static kiln_result *host_result(void *core, void *execution)
{
    kiln_result *result = kiln_execution_result(execution);
    return result != NULL ? result : kiln_result_ref(((kiln_engine *)core)->out_of_memory);
}

void kiln_core_policy_host(kiln_engine *engine, kiln_policy_host *host)
{
    *host = (kiln_policy_host){
        .core = engine,
        .run = host_run,
        .analyze = host_analyze,
        .notebook_imports = host_imports,
        .native = host_native,
        .native_find = host_native_find,
        .cancel = host_cancel,
        .backends = host_backends,
        .result = host_result,
    };
}
