/* An execution of a session on a backend: its begin, its outputs, its end. */
#include "plugin/backend-t.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "contract/limits.h"
#include "network/proxy.h"

#include <errno.h>
#include <string.h>

/* ---- the end of an execution */

static void tell_of_network(void *user, const char *action, const char *detail)
{
    const kiln_ticket_entry *entry = user;
    auto_json json_t *decision =
        json_pack("{s:s, s:s, s:s}", "policy", "network", "action", action, "detail", detail);
    auto_free char *text = json_dumps(decision, 0);
    if (text != NULL) {
        kiln_event event = {.size = sizeof(event),
                            .type = KILN_EVENT_DECISION,
                            .data = text,
                            .length = strlen(text)};
        entry->callbacks.on_event(entry->user, &event);
    }
}

/* A program's end is that of everything it started; a worker lives on with its
 * connections. */
static void settle_network(kiln_binding *binding, kiln_ticket_entry *entry)
{
    if (binding->proxy == NULL) {
        return;
    }
    if (binding->guest == NULL) {
        kiln_proxy_disconnect(binding->proxy);
    }
    kiln_proxy_report(binding->proxy, tell_of_network, entry);
}

static void deliver(kiln_binding *binding, const kiln_outcome *outcome)
{
    kiln_tickets *tickets = &binding->backend->all->tickets;
    kiln_ticket_entry *entry = kiln_ticket_find(tickets, binding->backend, binding->ticket);
    if (entry == NULL) {
        return;
    }
    kiln_ticket_entry copy = *entry;
    settle_network(binding, &copy);
    kiln_ticket_release(tickets, binding->ticket);
    binding->running = false;
    kiln_account account;
    bool accounted = binding->sandbox != NULL || kiln_binding_has_files(binding);
    if (binding->sandbox != NULL) {
        kiln_sandbox_account_end(binding->sandbox, &account);
    } else if (accounted) {
        kiln_files_account(binding, &account);
    }
    copy.callbacks.on_complete(copy.user, outcome, accounted ? &account : NULL);
}

static void deliver_deferred(uv_timer_t *timer)
{
    kiln_binding *binding = timer->data;
    auto_free char *name = kiln_steal(binding->outcome_name);
    auto_free char *message = kiln_steal(binding->outcome_message);
    kiln_outcome outcome = binding->outcome;
    outcome.name = name;
    outcome.message = message;
    binding->completed = false;
    deliver(binding, &outcome);
}

void kiln_binding_complete(kiln_binding *binding, const kiln_outcome *outcome)
{
    kiln_outcome whole = KILN_OUTCOME_INIT; /* an older plugin's is shorter */
    memcpy(&whole, outcome, outcome->size < sizeof(whole) ? outcome->size : sizeof(whole));
    if (whole.status > KILN_STATUS_UNAVAILABLE) {
        whole.status = KILN_STATUS_UNAVAILABLE;
        whole.name = "BadOutcome";
        whole.message = "the backend reported a status that does not exist";
    }
    if (!binding->starting) {
        deliver(binding, &whole);
        return;
    }
    /* The caller of execute does not have its ticket yet. */
    binding->completed = true;
    binding->outcome = whole;
    binding->outcome_name = whole.name != NULL ? strdup(whole.name) : NULL;
    binding->outcome_message = whole.message != NULL ? strdup(whole.message) : NULL;
    uv_timer_start(binding->deferred, deliver_deferred, 0, 0);
}

void kiln_outcome_of_exit(const kiln_exit *exit, kiln_outcome *outcome, char *message)
{
    *outcome = (kiln_outcome)KILN_OUTCOME_INIT;
    outcome->cpu_ms = exit->cpu_ms;
    outcome->max_rss_bytes = exit->max_rss_bytes;
    outcome->message = message;
    if (exit->limit != NULL) {
        outcome->status = KILN_STATUS_LIMIT;
        outcome->name = exit->limit;
        outcome->signal = exit->exited ? 0 : exit->signal;
        snprintf(message, 512, "the limit on %s was reached; the session's state is lost",
                 exit->limit);
    } else if (exit->cpu_exceeded) {
        outcome->status = KILN_STATUS_TIMEOUT;
        outcome->name = "cpu";
        snprintf(message, 512, "CPU time was up; the session's state is lost");
    } else if (exit->error != NULL) {
        outcome->status = KILN_STATUS_UNAVAILABLE;
        outcome->name = "WorkerFailed";
        snprintf(message, 512, "%s", exit->error);
    } else if (exit->exited) {
        outcome->status = KILN_STATUS_CRASHED;
        outcome->name = "WorkerExited";
        outcome->has_exit_code = true;
        outcome->exit_code = exit->exit_code;
        snprintf(message, 512,
                 "the process exited with status %d before the cell ended; the session's state "
                 "is lost",
                 exit->exit_code);
    } else {
        outcome->status = KILN_STATUS_CRASHED;
        outcome->name = "WorkerDied";
        outcome->signal = exit->signal;
        snprintf(message, 512,
                 "the process died of signal %d (%s); the session's state is lost",
                 exit->signal, sigabbrev_np(exit->signal) ? sigabbrev_np(exit->signal) : "?");
    }
}

/* ---- a worker's cells */

static void guest_event(void *user, const kiln_event *event)
{
    kiln_binding *binding = user;
    kiln_ticket_entry *entry = binding->running
                                   ? kiln_ticket_find(&binding->backend->all->tickets,
                                                      binding->backend, binding->ticket)
                                   : NULL;
    if (entry != NULL) {
        entry->callbacks.on_event(entry->user, event);
    }
}

static void guest_done(void *user, const kiln_verdict *verdict, double cpu_ms,
                       uint64_t max_rss_bytes)
{
    kiln_binding *binding = user;
    kiln_outcome outcome = KILN_OUTCOME_INIT;
    outcome.status = verdict->status;
    outcome.has_exit_code = verdict->has_exit_code;
    outcome.exit_code = verdict->exit_code;
    outcome.cpu_ms = cpu_ms;
    outcome.max_rss_bytes = max_rss_bytes;
    char message[128];
    const char *limit = kiln_guest_limit(binding->guest);
    if (limit != NULL) {
        outcome.status = KILN_STATUS_LIMIT;
        outcome.name = limit;
        outcome.message = message;
        snprintf(message, sizeof(message),
                 "the limit on %s was reached; the session's state is kept", limit);
    }
    if (binding->running && !kiln_transaction_ended(binding, &outcome)) {
        kiln_binding_complete(binding, &outcome);
    }
}

static int start_input(kiln_binding *binding, const kiln_input *input, kiln_error *err);

void kiln_binding_start_pending(kiln_binding *binding)
{
    kiln_error err = KILN_ERROR_INIT;
    if (start_input(binding, kiln_steal(binding->pending), &err) < 0) {
        kiln_outcome outcome = KILN_OUTCOME_INIT;
        outcome.status = KILN_STATUS_UNAVAILABLE;
        outcome.name = "BackendFailed";
        outcome.message = err.text;
        kiln_binding_complete(binding, &outcome);
    }
}

static void guest_exit(void *user, const kiln_exit *exit)
{
    kiln_binding *binding = user;
    kiln_outcome outcome;
    char message[512];
    const char *blame = kiln_binding_query_blame(binding);
    binding->guest = NULL;
    kiln_outcome_of_exit(exit, &outcome, message);
    if (binding->running && binding->pending == NULL) {
        (void)kiln_transaction_ended(binding, &outcome); /* one that is undone goes on below */
    }
    if (kiln_transaction_lost_worker(binding)) {
        return;
    }
    if (!binding->discard) {
        snprintf(binding->lost, sizeof(binding->lost), "%s", blame != NULL ? blame : message);
    }
    binding->discard = false;
    if (binding->running && binding->pending == NULL) {
        kiln_binding_complete(binding, &outcome);
        return;
    }
    if (!kiln_binding_query_resume(binding, message) && binding->pending != NULL) {
        kiln_binding_start_pending(binding);
    }
}

static void guest_answer(void *from, uint32_t number, const char *data, size_t length)
{
    if (kiln_guest_return(from, number, data, length) < 0) {
        kiln_guest_kill(from); /* no memory: its end is told in place of an answer */
    }
}

static kiln_ticket_entry *running_entry(kiln_binding *binding)
{
    return binding->running ? kiln_ticket_find(&binding->backend->all->tickets,
                                               binding->backend, binding->ticket)
                            : NULL;
}

static void guest_call(void *user, uint32_t number, const char *data, size_t length)
{
    kiln_binding *binding = user;
    const kiln_caller caller = {guest_answer, binding->guest, number};
    kiln_ticket_entry *entry = running_entry(binding);
    if (entry != NULL && entry->callbacks.on_call != NULL) {
        entry->callbacks.on_call(entry->user, &caller, data, length);
    } else {
        kiln_guest_kill(binding->guest); /* nobody is there to answer */
    }
}

static void guest_call_over(void *user)
{
    kiln_ticket_entry *entry = running_entry(user);
    if (entry != NULL && entry->callbacks.on_call_over != NULL) {
        entry->callbacks.on_call_over(entry->user);
    }
}

const kiln_guest_callbacks kiln_binding_guest_callbacks = {
    .on_event = guest_event,
    .on_done = guest_done,
    .on_exit = guest_exit,
    .on_reply = kiln_binding_on_reply,
    .on_call = guest_call,
    .on_call_over = guest_call_over,
};

void kiln_binding_decide(kiln_binding *binding, const char *action, const char *detail)
{
    auto_json json_t *decision = json_pack("{s:s, s:s}", "action", action, "detail", detail);
    auto_free char *text = json_dumps(decision, 0);
    if (text != NULL) {
        kiln_event event = {.size = sizeof(event),
                            .type = KILN_EVENT_DECISION,
                            .data = text,
                            .length = strlen(text)};
        guest_event(binding, &event);
    }
}

/* A session goes on with a fresh worker when its last one died: that its state is gone
 * must not stay unsaid. */
static void tell_lost(kiln_binding *binding)
{
    if (binding->lost[0] != '\0') {
        kiln_binding_decide(binding, "restart", binding->lost);
        binding->lost[0] = '\0';
    }
}

/* Some limits are those of the session's first execution (its file system's) or of its
 * worker's (rlimits): a later one that is to have others must not believe that it has. */
static void tell_fixed_limits(kiln_binding *binding, const kiln_limits *asked)
{
    static const struct {
        const char *name;
        bool of_worker;
    } fixed[] = {{"disk", false}, {"files", false}, {"open_files", true}, {"file_size", true}};
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        const kiln_limit_field *field = kiln_limit_find(fixed[i].name);
        uint64_t wanted = kiln_limit_get(asked, field);
        uint64_t now = kiln_limit_get(
            fixed[i].of_worker ? &binding->guest_limits : &binding->limits, field);
        char text[2][40];
        char detail[160];
        if (now == wanted || (fixed[i].of_worker && (!kiln_binding_has_worker(binding) ||
                                                     binding->pending != NULL))) {
            continue;
        }
        snprintf(detail, sizeof(detail), "%s %s since the session began, not %s", field->name,
                 now > 0 ? kiln_limit_show(field, now, text[0], sizeof(text[0])) : "unlimited",
                 wanted > 0 ? kiln_limit_show(field, wanted, text[1], sizeof(text[1]))
                            : "unlimited");
        kiln_binding_decide(binding, "limit", detail);
    }
}

int kiln_binding_worker(kiln_binding *binding, const kiln_limits *limits, kiln_error *err)
{
    if (binding->guest != NULL) {
        return kiln_guest_usable(binding->guest) ? 0 : -EAGAIN;
    }
    binding->guest_limits = *limits;
    int rc = kiln_guest_start(binding->sandbox, limits, &kiln_binding_guest_callbacks, binding,
                              &binding->guest, err);
    if (rc < 0) {
        binding->guest = NULL;
    }
    return rc;
}

void kiln_binding_discard_worker(kiln_binding *binding)
{
    binding->lost[0] = '\0';
    if (binding->guest != NULL) {
        binding->discard = true;
        kiln_guest_kill(binding->guest);
    }
}

static int start_cell(kiln_binding *binding, const kiln_input *input, kiln_error *err)
{
    const kiln_limits *now = &binding->guest_limits;
    if (binding->transaction.taking || binding->transaction.resuming) {
        binding->pending = input; /* likewise */
        return 0;
    }
    if (binding->guest != NULL && !binding->used && kiln_guest_usable(binding->guest) &&
        (now->open_files != input->limits.open_files ||
         now->file_size != input->limits.file_size)) {
        kiln_binding_discard_worker(binding); /* a query started it, with other limits */
    }
    int rc = kiln_binding_worker(binding, &input->limits, err);
    if (rc == -EAGAIN) {
        binding->pending = input; /* its end is a matter of milliseconds */
        return 0;
    }
    if (rc < 0) {
        return rc;
    }
    tell_lost(binding);
    binding->used = true;
    rc = kiln_transaction_begin(binding, input, err);
    return rc == 0 ? kiln_guest_execute(binding->guest, input, err) : rc;
}

static int start_plugin(kiln_binding *binding, const kiln_input *input, kiln_error *err)
{
    const kiln_plugin *plugin = kiln_binding_plugin(binding);
    int rc = plugin->execute(binding->backend->self, binding->ticket, binding->session,
                             binding->state, input);
    return rc < 0 ? kiln_error_errno(err, rc, "backend %s: execute", plugin->name) : 0;
}

static int start_input(kiln_binding *binding, const kiln_input *input, kiln_error *err)
{
    if (kiln_binding_has_worker(binding)) {
        return start_cell(binding, input, err);
    }
    binding->used = true;
    return start_plugin(binding, input, err);
}

int kiln_binding_execute(kiln_binding *binding, const kiln_input *input,
                         const kiln_run_callbacks *callbacks, void *user, kiln_ticket *ticket,
                         kiln_error *err)
{
    kiln_backends *all = binding->backend->all;
    if (binding->running) {
        return kiln_error_set(err, EBUSY, "session %s is busy on backend %s",
                              binding->session->id, kiln_backend_name(binding->backend));
    }
    if (binding->deferred == NULL) {
        binding->deferred = calloc(1, sizeof(*binding->deferred));
        if (binding->deferred == NULL) {
            return kiln_error_set(err, ENOMEM, "out of memory");
        }
        uv_timer_init(all->spec.loop, binding->deferred);
        binding->deferred->data = binding;
    }
    int rc = kiln_ticket_take(&all->tickets, binding->backend, binding, callbacks, user,
                              &binding->ticket);
    if (rc < 0) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    *ticket = binding->ticket;
    binding->running = true;
    binding->starting = true;
    if (binding->sandbox != NULL) {
        kiln_sandbox_account_begin(binding->sandbox, &input->limits);
    }
    if (kiln_binding_query_yields(binding)) {
        binding->pending = input;
    } else {
        rc = start_input(binding, input, err);
    }
    if (rc == 0 && binding->sandbox != NULL) {
        tell_fixed_limits(binding, &input->limits);
    }
    binding->starting = false;
    if (rc < 0 && binding->completed) {
        kiln_log(KILN_LOG_WARNING, binding->backend->section,
                 "completed an execution that it then refused: the completion is dropped");
        uv_timer_stop(binding->deferred);
        binding->completed = false;
    }
    if (rc < 0) {
        binding->pending = NULL;
        kiln_ticket_release(&all->tickets, binding->ticket);
        binding->running = false;
        if (binding->sandbox != NULL) {
            kiln_sandbox_account_stop(binding->sandbox);
        }
    }
    return rc;
}

bool kiln_binding_interrupt(kiln_binding *binding, kiln_ticket ticket)
{
    if (!binding->running || ticket.generation != binding->ticket.generation) {
        return true;
    }
    if (kiln_binding_has_worker(binding)) {
        if (binding->guest != NULL) {
            kiln_guest_interrupt(binding->guest);
        }
        return true;
    }
    if (binding->pending != NULL) { /* for a query's end: the plugin has not seen it yet */
        return true;
    }
    if ((kiln_binding_plugin(binding)->capabilities & KILN_CAP_INTERRUPT) == 0) {
        return false;
    }
    kiln_binding_plugin(binding)->interrupt(binding->backend->self, ticket);
    return true;
}

void kiln_binding_sweep(kiln_binding *binding)
{
    if (binding->guest != NULL) {
        kiln_guest_sweep(binding->guest);
    }
}

void kiln_binding_kill(kiln_binding *binding)
{
    if (binding->pending != NULL) { /* nothing of it runs yet */
        kiln_outcome outcome = KILN_OUTCOME_INIT;
        outcome.status = KILN_STATUS_INTERRUPTED;
        binding->pending = NULL;
        kiln_binding_complete(binding, &outcome);
        return;
    }
    if (binding->guest != NULL) {
        kiln_guest_kill(binding->guest);
    } else if (kiln_binding_has_files(binding)) {
        if (binding->running) {
            kiln_binding_plugin(binding)->kill(binding->backend->self, binding->ticket);
        }
    } else if (binding->sandbox != NULL) {
        kiln_sandbox_kill(binding->sandbox);
    }
}

void kiln_binding_abandon(kiln_binding *binding, kiln_ticket ticket)
{
    if (binding->running && ticket.slot == binding->ticket.slot &&
        ticket.generation == binding->ticket.generation) {
        kiln_ticket_release(&binding->backend->all->tickets, ticket);
        binding->running = false;
        binding->pending = NULL;
        binding->completed = false;
        if (binding->sandbox != NULL) {
            kiln_sandbox_account_stop(binding->sandbox);
        }
        uv_timer_stop(binding->deferred);
    }
}
