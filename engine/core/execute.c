/* execute_code: the chain of policies around the backend, and nothing else. */
#include "core/engine-t.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "contract/limits.h"

#include <errno.h>
#include <string.h>

static void free_timer(uv_handle_t *handle)
{
    free(handle);
}

static void free_execution(kiln_execution *execution)
{
    if (execution->gone != NULL) {
        *execution->gone = true;
    }
    if (execution->deferred != NULL) {
        uv_close((uv_handle_t *)execution->deferred, free_timer);
    }
    kiln_request_free(execution->request);
    kiln_result_unref(execution->result);
    json_decref(execution->decisions);
    free(execution->out_path);
    free(execution);
}

/* What the policies decided, in order, then what the backend did. */
static void merge_decisions(kiln_execution *execution, kiln_result *result)
{
    json_t *all = json_copy(execution->decisions);
    json_array_extend(all, result->decisions);
    json_decref(result->decisions);
    result->decisions = all;
}

/* Leaving always happens, once, whatever the chain answered. */
static void leave(kiln_execution *execution)
{
    kiln_core_session *session = execution->session;
    kiln_result *result = execution->result;
    merge_decisions(execution, result);
    result->duration_ms = (double)(kiln_now_ns() - execution->started_ns) / 1e6;
    size_t index;
    json_t *error;
    json_array_foreach(result->errors, index, error)
    {
        kiln_context_add_error(&session->context, error);
    }
    if (kiln_notebook_add(&session->notebook, execution->request, result) < 0) {
        kiln_log(KILN_LOG_ERROR, "core", "session %s: out of memory for its notebook",
                 session->base.id);
    }
    bool failed = !kiln_result_success(result) && result->status != KILN_STATUS_SKIPPED;
    session->consecutive_failures = failed ? session->consecutive_failures + 1 : 0;
    kiln_context_leave(&session->context);
    session->execution = NULL;
    kiln_core_session_left(session);
}

static void report(kiln_execution *execution)
{
    kiln_execute_options options = execution->options;
    kiln_core_session *session = execution->session;
    kiln_result *result = kiln_result_ref(execution->result);
    session->pins++;
    if (!result->streamed) {
        kiln_execution_replay(execution, result);
    }
    leave(execution);
    free_execution(execution);
    if (options.on_done != NULL) {
        options.on_done(options.user, result);
    }
    kiln_result_unref(result);
    session->pins--;
    kiln_core_session_settle(session);
}

static void report_deferred(uv_timer_t *timer)
{
    report(timer->data);
}

/* What transactional cells did is kept, or undone, and that is the end. */
static void settled(void *user)
{
    kiln_execution *execution = user;
    if (execution->starting) {
        uv_timer_start(execution->deferred, report_deferred, 0, 0);
    } else {
        report(execution);
    }
}

/* When the chain has answered and nothing of the execution runs any more: what kiln.race
 * has cancelled, too, so that the session is free for the next one. */
static void report_when_over(kiln_execution *execution)
{
    kiln_session *session = &execution->session->base;
    if (execution->result == NULL || execution->runs != NULL || execution->settling) {
        return;
    }
    execution->settling = true;
    if (kiln_bindings_undecided(session)) {
        kiln_bindings_settle(session, kiln_result_success(execution->result), settled,
                             execution);
    } else {
        settled(execution);
    }
}

static void chain_done(void *user, kiln_result *result)
{
    kiln_execution *execution = user;
    execution->policy_run = NULL;
    execution->result = kiln_result_ref(result);
    report_when_over(execution);
}

void kiln_execution_run_over(kiln_execution *execution)
{
    report_when_over(execution);
}

void kiln_execution_note_clamped(void *user, const char *name, uint64_t asked, uint64_t given)
{
    kiln_execution *execution = user;
    char detail[128];
    const kiln_limit_field *field = kiln_limit_find(name); /* NULL: timeout_ms */
    char texts[2][40];
    if (field != NULL && field->unit == KILN_LIMIT_THOUSANDTHS) {
        snprintf(detail, sizeof(detail), "%s %s, asked for %s", name,
                 kiln_limit_show(field, given, texts[0], sizeof(texts[0])),
                 kiln_limit_show(field, asked, texts[1], sizeof(texts[1])));
    } else {
        snprintf(detail, sizeof(detail), "%s %llu, asked for %llu", name,
                 (unsigned long long)given, (unsigned long long)asked);
    }
    json_array_append_new(execution->decisions, json_pack("{s:s, s:s, s:s}", "policy", "engine",
                                                          "action", "limit", "detail", detail));
}

static int allocate(kiln_execution *execution, const kiln_execute_options *options)
{
    execution->options = *options;
    execution->decisions = json_array();
    execution->deferred = calloc(1, sizeof(*execution->deferred));
    if (options->out_path != NULL) {
        execution->out_path = strdup(options->out_path);
    }
    if (execution->decisions == NULL || execution->deferred == NULL ||
        (options->out_path != NULL && execution->out_path == NULL)) {
        free(execution->deferred);
        execution->deferred = NULL;
        return -ENOMEM;
    }
    uv_timer_init(execution->engine->loop, execution->deferred);
    execution->deferred->data = execution;
    return 0;
}

static int enter(kiln_execution *execution, kiln_error *err)
{
    kiln_core_session *session = execution->session;
    kiln_request *request = execution->request;
    auto_free const char **names = calloc(request->input_file_count + 1, sizeof(*names));
    if (names == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < request->input_file_count; i++) {
        names[i] = request->input_files[i].name;
    }
    int rc = kiln_context_enter(&session->context, &session->base, names);
    if (rc < 0) {
        return kiln_error_errno(err, rc, "session %s: entering an execution", session->base.id);
    }
    session->execution = execution;
    session->execution_count++;
    clock_gettime(CLOCK_REALTIME, &execution->started_at);
    execution->started_ns = kiln_now_ns();
    return 0;
}

int kiln_execute(kiln_session *session_, kiln_request *request,
                 const kiln_execute_options *options, kiln_execution **out, kiln_error *err)
{
    kiln_core_session *session = kiln_session_core(session_);
    int rc = kiln_request_validate(request, err);
    const char *chain = options->chain != NULL ? options->chain : request->chain;
    rc = rc < 0 ? rc : kiln_policies_find(session->engine->policies, chain, err);
    if (rc == 0 && session->execution != NULL) {
        rc = kiln_error_set(err, EBUSY, "session %s is busy: one execution at a time",
                            session->base.id);
    }
    if (rc == 0 && session->branching) {
        rc = kiln_error_set(err, EBUSY, "session %s is busy: it is being branched",
                            session->base.id);
    }
    rc = rc < 0 ? rc : kiln_core_check_memory(session->engine, err);
    kiln_execution *execution = rc == 0 ? calloc(1, sizeof(*execution)) : NULL;
    if (execution == NULL) {
        kiln_request_free(request);
        return rc < 0 ? rc : kiln_error_set(err, ENOMEM, "out of memory");
    }
    execution->engine = session->engine;
    execution->session = session;
    execution->request = request;
    if (allocate(execution, options) < 0) {
        free_execution(execution);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    rc = enter(execution, err);
    if (rc < 0) {
        free_execution(execution);
        return rc;
    }
    kiln_core_query_cut(session, "a cell was begun");
    kiln_limits_min(&request->limits, &execution->engine->ceiling, kiln_execution_note_clamped,
                    execution);
    const kiln_policy_context context = {
        .session_id = session->base.id,
        .execution_id = session->context.execution_id,
        .client = options->client,
        .execution_count = session->execution_count,
        .consecutive_failures = session->consecutive_failures,
        .decisions = execution->decisions,
        .trace = options->trace,
        .scenario = options->scenario,
        .execution = execution,
    };
    *out = execution;
    execution->starting = true;
    kiln_policies_execute(execution->engine->policies, chain, &context, request, chain_done,
                          execution, &execution->policy_run);
    execution->starting = false;
    return 0;
}

void kiln_execution_cancel(kiln_execution *execution)
{
    bool force = execution->cancels++ > 0;
    /* The policies first, so that none starts another run when this one has ended; they
     * wait for a backend that is running. Without one the execution ends in this call. */
    bool running = execution->runs != NULL;
    if (execution->policy_run != NULL) {
        kiln_policies_cancel(execution->policy_run);
    }
    if (running) {
        kiln_core_runs_interrupt(execution, force);
    }
}
