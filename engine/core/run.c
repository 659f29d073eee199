/* One request on one backend: the session's place there, files in, the cell with its
 * clock, files out, and the result of it. */
#include "core/call.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "files/workdir.h"

#include <errno.h>
#include <string.h>

/* After a kill, how long the kernel and the plugin may take to say so. */
enum { ABANDON_MS = 3000, REFUSED_OUTPUTS_TOLD = 20 };

typedef enum run_end {
    END_NONE,    /* nobody asked it to stop */
    END_TIMEOUT, /* the wall clock */
    END_CPU,     /* CPU time */
    END_CANCEL,  /* the caller */
} run_end;

struct kiln_core_run {
    kiln_core_run *next;
    kiln_execution *execution;
    kiln_request *request; /* a copy: the policy's table may change after the call */
    kiln_backend *backend;
    kiln_binding *binding; /* NULL until ready */
    kiln_ticket ticket;
    bool executing;
    int root_fd;
    const char *area;    /* the work directory in it */
    kiln_manifest *look; /* at the work directory before the cell, then after it */
    kiln_result *result;
    kiln_output_log *log;
    const char **file_names;
    const char **env; /* the proxy, [sandbox] env, the request's: the later of a name counts */
    kiln_input input;
    run_end end;
    bool queued;    /* waits for a cancelled run to be gone from its backend */
    bool live;      /* the caller sees its outputs as they come */
    unsigned asked; /* the round of kiln_core_runs_interrupt that it was told in */
    unsigned refused_outputs;
    bool killed;
    int error_number;    /* errno of the error that the code raised last, 0: none */
    kiln_core_call call; /* of its code, to the engine */
    uv_timer_t *timer;   /* deadline, then grace, then abandon */
    void (*done)(void *user, kiln_result *result); /* NULL: cancelled by its policy */
    void *user;
};

uint64_t kiln_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

kiln_result *kiln_execution_result(kiln_execution *execution)
{
    kiln_result *result = kiln_result_new();
    if (result == NULL) {
        return NULL;
    }
    result->session_id = strdup(execution->session->base.id);
    result->execution_id = strdup(execution->session->context.execution_id);
    result->language = strdup(execution->request->language);
    if (execution->request->cell_id != NULL) {
        result->cell_id = strdup(execution->request->cell_id);
    }
    result->execution_count = execution->session->execution_count;
    result->started_at = execution->started_at;
    return result;
}

static void free_timer(uv_handle_t *handle)
{
    free(handle);
}

static void begin_on_backend(kiln_core_run *run);

static void unlink_run(kiln_core_run *run)
{
    kiln_core_run **place = &run->execution->runs;
    while (*place != run) {
        place = &(*place)->next;
    }
    *place = run->next;
}

/* What a policy has cancelled still runs until its processes are dead; one run at a time
 * on a session's backend. */
static bool backend_is_ending(const kiln_core_run *run)
{
    const kiln_core_run *other = run->execution->runs;
    while (other != NULL &&
           (other == run || other->done != NULL || other->backend != run->backend)) {
        other = other->next;
    }
    return other != NULL;
}

/* The next that waited for such an end; it may be over, and the execution with it, when
 * this returns. False: none did. */
static bool begin_queued(kiln_execution *execution)
{
    kiln_core_run *run = execution->runs;
    while (run != NULL && (!run->queued || backend_is_ending(run))) {
        run = run->next;
    }
    if (run == NULL) {
        return false;
    }
    begin_on_backend(run);
    return true;
}

/* What stands there now is what the next cell finds: what is written in between, by threads
 * and processes that were left running, is told by that one. The binding may be gone:
 * a restart that fails closes it. */
static void keep_look(kiln_core_run *run)
{
    kiln_binding *binding = kiln_bindings_find(&run->execution->session->base, run->backend);
    if (run->look != NULL && binding != NULL) {
        kiln_binding_keep_look(binding, kiln_steal(run->look));
    }
}

/* Before the cell: what stands in the work directory, its own input files included. */
static int take_look(kiln_core_run *run, kiln_error *err)
{
    run->look = kiln_binding_take_look(run->binding);
    if (run->look != NULL && (run->request->input_file_count > 0 ||
                              !kiln_manifest_is_of(run->look, run->root_fd, run->area))) {
        kiln_manifest_free(kiln_steal(run->look));
    }
    if (run->look == NULL) {
        run->look = kiln_manifest_take(run->root_fd, run->area, err);
    }
    return run->look != NULL ? 0 : err->code;
}

/* Ends the run: the caller has filled the result. */
static void finish(kiln_core_run *run)
{
    kiln_core_call_over(&run->call);
    unlink_run(run);
    kiln_output_log_close(kiln_steal(run->log));
    if (run->timer != NULL) {
        uv_close((uv_handle_t *)run->timer, free_timer);
    }
    kiln_core_run_collect(run->execution, run->result, run->root_fd, run->area, &run->look);
    keep_look(run);
    run->result->duration_ms = (double)(kiln_now_ns() - run->execution->started_ns) / 1e6;
    run->result->streamed = run->live;
    if (run->done != NULL) {
        run->done(run->user, run->result);
    } else if (!begin_queued(run->execution)) {
        kiln_execution_run_over(run->execution);
    }
    kiln_manifest_free(run->look);
    kiln_result_unref(run->result);
    kiln_request_free(run->request);
    free(run->file_names);
    free(run->env);
    free(run);
}

static void refuse(kiln_core_run *run, const char *name, const char *message)
{
    run->result->status = KILN_STATUS_UNAVAILABLE;
    kiln_result_add_error(run->result, "system", name, message, NULL);
    finish(run);
}

/* ---- the end */

static void apply_outcome(kiln_result *result, const kiln_outcome *outcome)
{
    result->status = (kiln_status)outcome->status;
    result->has_exit_code = outcome->has_exit_code;
    result->exit_code = outcome->exit_code;
    result->signal = outcome->signal;
    result->cpu_ms = outcome->cpu_ms;
    result->max_rss_bytes = outcome->max_rss_bytes;
    result->compile_ms = outcome->compile_ms;
}

/* The backend reports how the process ended; why it had to is known here. */
static void apply_end(kiln_core_run *run, const kiln_outcome *outcome)
{
    kiln_result *result = run->result;
    const char *state = !run->killed ? "it was interrupted"
                        : kiln_backend_keeps_state(run->backend)
                            ? "its processes were killed and the session's state is lost"
                            : "its processes were killed";
    char message[200];
    if (run->end == END_TIMEOUT || run->end == END_CPU) {
        bool wall = run->end == END_TIMEOUT;
        result->status = KILN_STATUS_TIMEOUT;
        snprintf(message, sizeof(message), "%s time of %llu ms was up; %s",
                 wall ? "wall" : "CPU",
                 (unsigned long long)(wall ? run->request->limits.timeout_ms
                                           : run->request->limits.cpu_ms),
                 state);
        kiln_result_add_error(result, "limit", wall ? "timeout" : "cpu", message, NULL);
        return;
    }
    if (run->end == END_CANCEL && result->status != KILN_STATUS_OK) {
        result->status = KILN_STATUS_INTERRUPTED;
        snprintf(message, sizeof(message), "the caller cancelled; %s", state);
        kiln_result_add_error(result, "user", "Interrupted", message, NULL);
        return;
    }
    const char *kind = kiln_status_error_kind(result->status);
    if (kind == NULL) {
        return;
    }
    if (outcome->message != NULL) {
        kiln_result_add_error(result, kind, outcome->name != NULL ? outcome->name : "Error",
                              outcome->message, NULL);
    } else if (json_array_size(result->errors) == 0) {
        snprintf(message, sizeof(message), "exited with status %d", outcome->exit_code);
        kiln_result_add_error(
            result, kind, outcome->has_exit_code ? "ExitStatus" : "Error",
            outcome->has_exit_code ? message : kiln_status_name(result->status), NULL);
    }
}

static void on_complete(void *user, const kiln_outcome *outcome, const kiln_account *account)
{
    kiln_core_run *run = user;
    run->executing = false;
    apply_outcome(run->result, outcome);
    if (account != NULL) {
        kiln_core_apply_usage(run->result, account);
    }
    apply_end(run, outcome);
    if (account != NULL) {
        kiln_core_apply_limits(run->result, account, &run->request->limits,
                               run->end == END_NONE ? run->error_number : 0);
    }
    finish(run);
}

/* ---- the clock */

static void on_timer(uv_timer_t *timer);

static void set_timer(kiln_core_run *run, uint64_t milliseconds)
{
    uv_timer_start(run->timer, on_timer, milliseconds, 0);
}

static void stop(kiln_core_run *run, run_end end, bool force)
{
    if (run->end == END_NONE) {
        run->end = end;
    }
    if (!run->executing) { /* still waiting for its place: there is nothing to save */
        const kiln_outcome outcome = KILN_OUTCOME_INIT;
        kiln_binding_forget(&run->execution->session->base, run);
        run->result->status = KILN_STATUS_INTERRUPTED;
        apply_end(run, &outcome);
        finish(run);
        return;
    }
    if (!force) {
        /* first the timer: a backend may complete, and free the run, from within */
        set_timer(run, run->execution->engine->grace_ms);
        if (end == END_TIMEOUT || end == END_CPU) {
            kiln_binding_sweep(run->binding); /* its children's time was up, too */
        }
        if (kiln_binding_interrupt(run->binding, run->ticket)) {
            return;
        }
    }
    run->killed = true;
    set_timer(run, ABANDON_MS);
    kiln_binding_kill(run->binding);
}

/* The grace is over. */
static void kill_stubborn(kiln_core_run *run)
{
    char detail[100];
    snprintf(detail, sizeof(detail), "it did not stop within %llu ms of the interrupt",
             (unsigned long long)run->execution->engine->grace_ms);
    kiln_result_add_decision(run->result, "engine", "kill", detail);
    stop(run, run->end, true);
}

static void on_timer(uv_timer_t *timer)
{
    kiln_core_run *run = timer->data;
    if (run->end == END_NONE) {
        stop(run, END_TIMEOUT, false);
    } else if (!run->killed) {
        kill_stubborn(run);
    } else {
        kiln_log(KILN_LOG_ERROR, kiln_backend_name(run->backend),
                 "did not complete after a kill: abandoned");
        kiln_outcome outcome = KILN_OUTCOME_INIT;
        outcome.status = KILN_STATUS_UNAVAILABLE;
        outcome.name = "Abandoned";
        outcome.message = "the backend did not complete after its processes were killed";
        kiln_binding_abandon(run->binding, run->ticket);
        on_complete(run, &outcome, NULL);
    }
}

void kiln_core_runs_interrupt(kiln_execution *execution, bool force)
{
    bool gone = false;
    unsigned round = execution->cancels;
    // cppcheck-suppress autoVariables ; taken back below, unless the execution is gone
    execution->gone = &gone;
    kiln_core_run *run = execution->runs;
    while (run != NULL) {
        if (run->asked == round) {
            run = run->next;
            continue;
        }
        run->asked = round;
        if (force && run->executing && !run->killed) {
            kiln_result_add_decision(run->result, "engine", "kill", "it was interrupted twice");
        }
        stop(run, END_CANCEL, force); /* it may end in this call, and others with it */
        if (gone) {
            return;
        }
        run = execution->runs;
    }
    execution->gone = NULL;
}

void kiln_core_run_cancel(kiln_core_run *run)
{
    run->done = NULL;
    stop(run, END_CANCEL, true);
}

/* ---- the beginning */

/* An output that is not of the contract's shape: left out, and never silently. */
static void refuse_output(kiln_core_run *run, const char *why)
{
    if (run->refused_outputs++ < REFUSED_OUTPUTS_TOLD) {
        kiln_result_add_error(run->result, "user", "OutputRefused", why, NULL);
    }
}

static void on_event(void *user, const kiln_event *event)
{
    kiln_core_run *run = user;
    const kiln_execute_options *options = &run->execution->options;
    kiln_error err = KILN_ERROR_INIT;
    kiln_event shown = *event;
    int rc;
    if (event->type == KILN_EVENT_STREAM &&
        (event->stream == KILN_STDOUT || event->stream == KILN_STDERR)) {
        rc = kiln_output_log_stream(run->log, (kiln_stream)event->stream, event->data,
                                    event->length, &shown.data, &shown.length);
    } else {
        rc = kiln_output_log_event(run->log, event, &err);
    }
    if (rc < 0) {
        refuse_output(run, rc == -ENOMEM ? "out of memory" : err.text);
        return;
    }
    if (event->type == KILN_EVENT_ERROR) {
        run->error_number = kiln_core_error_number(event);
    }
    if (options->on_event != NULL && run->live && shown.length > 0) {
        options->on_event(options->user, &shown);
    }
}

/* The backend's own file (exec's main.py) is there before the code runs: it counts as
 * output only when the code changes it. */
static void on_file(void *user, const char *name)
{
    kiln_core_run *run = user;
    kiln_error err = KILN_ERROR_INIT;
    (void)name;
    kiln_manifest *again = kiln_manifest_take(run->root_fd, run->area, &err);
    if (again != NULL) {
        kiln_manifest_free(run->look);
        run->look = again;
    }
}

static void on_call(void *user, const kiln_caller *caller, const char *data, size_t length)
{
    kiln_core_run *run = user;
    kiln_core_call_begin(&run->call, run->execution, caller, data, length);
}

static void on_call_over(void *user)
{
    kiln_core_run *run = user;
    kiln_core_call_over(&run->call);
}

static void fill_input(kiln_core_run *run)
{
    const kiln_request *request = run->request;
    run->input = (kiln_input){
        .size = sizeof(kiln_input),
        .session_id = run->execution->session->base.id,
        .code = request->code,
        .code_length = request->code_length,
        .cell_id = request->cell_id,
        .language = request->language,
        .stdin_data = request->stdin_data,
        .stdin_length = request->stdin_length,
        .args = (const char *const *)request->args,
        .env = run->env,
        .input_files = run->file_names,
        .execution_count = run->execution->session->execution_count,
        .limits = request->limits,
        .transaction = request->transaction,
    };
}

/* Its place is there, and what has to be kept of it is: files in, and the cell. */
static void on_kept(void *user, const kiln_error *err)
{
    static const kiln_run_callbacks callbacks = {on_event, on_complete, on_file, on_call,
                                                 on_call_over};
    kiln_core_run *run = user;
    kiln_error own = KILN_ERROR_INIT;
    if (err != NULL) {
        refuse(run, "TransactionRefused", err->text);
        return;
    }
    if (run->root_fd >= 0) {
        if (kiln_workdir_put(run->root_fd, run->area, run->request, &own) < 0) {
            refuse(run, "InputFiles", own.text);
            return;
        }
        if (take_look(run, &own) < 0) {
            refuse(run, "WorkDirectory", own.text);
            return;
        }
    }
    fill_input(run);
    run->executing = true;
    int rc =
        kiln_binding_execute(run->binding, &run->input, &callbacks, run, &run->ticket, &own);
    if (rc < 0) {
        run->executing = false;
    }
    if (rc == -EDQUOT) { /* the session has more memory already than this one may have */
        run->result->status = KILN_STATUS_LIMIT;
        kiln_result_add_error(run->result, "limit", "memory", own.text, NULL);
        finish(run);
    } else if (rc < 0) {
        refuse(run, "BackendFailed", own.text);
    }
}

/* `kiln trace`: what it was told to answer, or ok. */
static void answer_made_up(kiln_core_run *run)
{
    const json_t *answers = run->execution->options.answers;
    const char *name = json_string_value(json_object_get(answers, run->result->backend));
    name = name != NULL ? name : json_string_value(json_object_get(answers, "*"));
    run->result->status = KILN_STATUS_OK;
    if (name != NULL) {
        kiln_status_from_name(name, &run->result->status);
    }
    const char *kind = kiln_status_error_kind(run->result->status);
    if (kind != NULL) {
        kiln_result_add_error(run->result, kind, "Trace", "made up: nothing was run", NULL);
    }
    finish(run);
}

static void on_ready(void *user, kiln_binding *binding, int root_fd, const kiln_error *err)
{
    kiln_core_run *run = user;
    if (binding == NULL) {
        refuse(run, "BackendFailed", err->text);
        return;
    }
    run->binding = binding;
    run->root_fd = root_fd;
    run->area = kiln_binding_work(binding);
    run->execution->session->last_backend = run->backend;
    snprintf(run->execution->session->language, sizeof(run->execution->session->language), "%s",
             run->request->language);
    if (run->request->transaction) {
        kiln_binding_checkpoint(binding, &run->request->limits, on_kept, run);
    } else {
        on_kept(run, NULL);
    }
}

static void choose_backend(kiln_core_run *run, const char *wish)
{
    kiln_engine *engine = run->execution->engine;
    char message[600];
    const char *name = wish != NULL ? wish : run->request->backend;
    name = name != NULL ? name : kiln_config_string(engine->config, "engine", "backend");
    free(run->result->backend);
    run->result->backend = NULL;
    run->backend = name != NULL ? kiln_backends_find(engine->backends, name) : NULL;
    if (run->backend == NULL) {
        const char *const *names = kiln_config_list(engine->boot, "engine", "backends");
        const char *near = name != NULL ? kiln_near_match(name, names) : NULL;
        snprintf(message, sizeof(message), "no backend \"%s\" in [engine] backends%s%s%s",
                 name != NULL ? name : "", near != NULL ? ": did you mean \"" : "",
                 near != NULL ? near : "", near != NULL ? "\"?" : "");
        refuse(run, "UnknownBackend", message);
        return;
    }
    run->result->backend = strdup(kiln_backend_name(run->backend));
    if (!kiln_backend_speaks(run->backend, run->request->language)) {
        snprintf(message, sizeof(message),
                 "backend \"%s\" does not run \"%s\": see `kiln plugins` for what does",
                 kiln_backend_name(run->backend), run->request->language);
        refuse(run, "UnknownLanguage", message);
        return;
    }
    if (run->execution->options.trace != NULL) {
        answer_made_up(run);
        return;
    }
    if (run->request->limits.timeout_ms > 0) {
        set_timer(run, run->request->limits.timeout_ms);
    }
    run->queued = backend_is_ending(run);
    if (!run->queued) {
        begin_on_backend(run);
    }
}

static void begin_on_backend(kiln_core_run *run)
{
    run->queued = false;
    kiln_backend_bind(run->backend, &run->execution->session->base, run->request->language,
                      &run->request->limits, on_ready, run);
}

static size_t count_words(const char *const *words)
{
    size_t count = 0;
    while (words[count] != NULL) {
        count++;
    }
    return count;
}

static int join_env(kiln_core_run *run)
{
    const kiln_engine *engine = run->execution->engine;
    const char *const *lists[] = {
        (const char *const *)engine->proxy_env,
        kiln_config_list(engine->boot, "sandbox", "env"),
        (const char *const *)run->request->env,
    };
    size_t counts[3], total = 0;
    for (int i = 0; i < 3; i++) {
        counts[i] = lists[i] != NULL ? count_words(lists[i]) : 0;
        total += counts[i];
    }
    run->env = calloc(total + 1, sizeof(*run->env));
    if (run->env == NULL) {
        return -ENOMEM;
    }
    const char **at = run->env;
    for (int i = 0; i < 3; i++) {
        for (size_t k = 0; k < counts[i]; k++) {
            *at++ = lists[i][k];
        }
    }
    return 0;
}

static int allocate(kiln_core_run *run, const kiln_request *request)
{
    run->root_fd = -1;
    run->request = kiln_request_copy(request);
    run->result = kiln_execution_result(run->execution);
    run->timer = calloc(1, sizeof(*run->timer));
    if (run->request == NULL || run->result == NULL || run->timer == NULL) {
        return -ENOMEM;
    }
    uv_timer_init(run->execution->engine->loop, run->timer);
    run->timer->data = run;
    /* The request's are below the configuration's already: a policy may lower them. */
    kiln_limits_min(&run->request->limits, &run->execution->request->limits,
                    kiln_execution_note_clamped, run->execution);
    run->log = kiln_output_log_new(run->result, run->request->limits.output);
    run->file_names = calloc(run->request->input_file_count + 1, sizeof(*run->file_names));
    if (run->log == NULL || run->file_names == NULL || join_env(run) < 0) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < run->request->input_file_count; i++) {
        run->file_names[i] = run->request->input_files[i].name;
    }
    free(run->result->language); /* a policy may have changed it */
    run->result->language = strdup(run->request->language);
    return 0;
}

static void free_unstarted(kiln_core_run *run)
{
    kiln_output_log_close(run->log);
    kiln_result_unref(run->result);
    kiln_request_free(run->request);
    if (run->timer != NULL && run->timer->data != NULL) {
        uv_close((uv_handle_t *)run->timer, free_timer);
    } else {
        free(run->timer);
    }
    free(run->file_names);
    free(run->env);
    free(run);
}

void kiln_core_run_start(kiln_execution *execution, const kiln_request *request,
                         const char *backend, bool live,
                         void (*done)(void *user, kiln_result *result), void *user,
                         kiln_core_run **handle)
{
    kiln_core_run *run = calloc(1, sizeof(*run));
    if (run != NULL) {
        run->execution = execution;
        if (allocate(run, request) < 0) {
            free_unstarted(run);
            run = NULL;
        }
    }
    if (run == NULL) {
        done(user, execution->engine->out_of_memory);
        return;
    }
    run->done = done;
    run->user = user;
    run->live = live;
    run->next = execution->runs;
    execution->runs = run;
    *handle = run;
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_request_validate(run->request, &err) < 0) { /* a policy may have rewritten it */
        refuse(run, "InvalidInput", err.text);
        return;
    }
    choose_backend(run, backend);
}
