/* Queries: what is asked of a session on a backend beside its executions. One at a time
 * in a binding. A cell has precedence: it asks the query to give up and waits for that;
 * a worker that does not give up is ended, and the cell gets a new one and says so. */
#include "plugin/backend-t.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "worker/poll.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    NUDGE_MS = 100,   /* between two interrupts: code may swallow one */
    NUDGES_MAX = 20,  /* nobody waits for the answer: then it is left alone */
    GIVE_UP_MS = 1000 /* for which a cell waits */
};

bool kiln_backend_answers(const kiln_backend *backend)
{
    return backend->loaded->plugin.capabilities & KILN_CAP_QUERY;
}

static bool is_worker(const kiln_binding *binding)
{
    return binding->backend->loaded->plugin.capabilities & KILN_CAP_WORKER;
}

static void free_words(kiln_binding *binding)
{
    free(kiln_steal(binding->query.name));
    json_decref(kiln_steal(binding->query.arguments));
}

/* The answer is there, or none will come. */
static void finish(kiln_binding *binding, json_t *reply, const char *error)
{
    void (*done)(void *, json_t *, const char *) = kiln_steal(binding->query.done);
    void *user = binding->query.user;
    binding->query.flying = false;
    kiln_alarm_free(&binding->query.alarm);
    free_words(binding);
    if (binding->pending != NULL) {
        kiln_binding_start_pending(binding);
    }
    if (done != NULL) {
        done(user, reply, error);
    }
}

void kiln_binding_on_reply(void *user, json_t *reply, const char *error)
{
    kiln_binding *binding = user;
    if (binding->query.flying) {
        finish(binding, reply, error);
    }
}

/* ---- the answer of an engine half */

static void plugin_event(void *user, const kiln_event *event)
{
    (void)user, (void)event; /* an emit with a query's ticket: outputs are an execution's */
}

static void plugin_complete(void *user, const kiln_outcome *outcome,
                            const kiln_account *account)
{
    (void)user, (void)outcome, (void)account;
}

static void plugin_file(void *user, const char *name)
{
    (void)user, (void)name;
}

bool kiln_binding_owns_query(const kiln_binding *binding, kiln_ticket ticket)
{
    return binding->query.flying && binding->query.ticketed &&
           binding->query.ticket.slot == ticket.slot &&
           binding->query.ticket.generation == ticket.generation;
}

static void release_ticket(kiln_binding *binding)
{
    if (binding->query.ticketed) {
        binding->query.ticketed = false;
        kiln_ticket_release(&binding->backend->all->tickets, binding->query.ticket);
    }
}

void kiln_binding_ticket_reply(kiln_binding *binding, json_t *reply, const char *error)
{
    release_ticket(binding);
    finish(binding, reply, error);
}

void kiln_binding_plugin_reply(kiln_binding *binding, const char *text, size_t length,
                               const char *error)
{
    auto_json json_t *reply =
        text != NULL && length <= KILN_FRAME_REPLY_MAX
            ? json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL)
            : NULL;
    if (reply == NULL && text != NULL) {
        error = "the backend's reply is not JSON, or longer than 4 MiB";
    } else if (reply == NULL && error == NULL) {
        error = "the backend gave no reply";
    }
    kiln_binding_ticket_reply(binding, reply, error);
}

static int ask_plugin(kiln_binding *binding, const char *name, json_t *arguments,
                      kiln_error *err)
{
    static const kiln_run_callbacks callbacks = {
        .on_event = plugin_event, .on_complete = plugin_complete, .on_file = plugin_file};
    const kiln_plugin *plugin = &binding->backend->loaded->plugin;
    auto_free char *text = json_dumps(arguments, JSON_COMPACT);
    if (text == NULL ||
        kiln_ticket_take(&binding->backend->all->tickets, binding->backend, binding, &callbacks,
                         binding, &binding->query.ticket) < 0) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    binding->query.ticketed = true;
    int rc = plugin->query(binding->backend->self, binding->query.ticket, binding->session,
                           binding->state, name, text, strlen(text));
    if (rc < 0) {
        release_ticket(binding);
    }
    return rc == -ENOTSUP ? kiln_error_set(err, ENOTSUP, "backend %s knows no query \"%s\"",
                                           plugin->name, name)
           : rc < 0       ? kiln_error_errno(err, rc, "backend %s: query", plugin->name)
                          : 0;
}

/* ---- a worker's */

static int ask_worker(kiln_binding *binding, const char *name, json_t *arguments,
                      const kiln_limits *limits, kiln_error *err)
{
    /* Its last cell may be just being kept, or it is just ending; then
     * kiln_binding_query_resume goes on. */
    int rc = binding->transaction.taking ? -EAGAIN : kiln_binding_worker(binding, limits, err);
    if (rc == -EAGAIN) {
        binding->query.name = strdup(name);
        binding->query.arguments = json_incref(arguments);
        binding->query.limits = *limits;
        return binding->query.name != NULL ? 0 : kiln_error_set(err, ENOMEM, "out of memory");
    }
    return rc < 0 ? rc : kiln_guest_query(binding->guest, name, arguments, err);
}

bool kiln_binding_query_resume(kiln_binding *binding, const char *lost)
{
    kiln_error err = KILN_ERROR_INIT;
    if (!binding->query.flying || binding->query.ticketed) {
        return false;
    }
    if (binding->query.name == NULL || binding->query.done == NULL ||
        binding->pending != NULL) {
        finish(binding, NULL, lost);
        return true;
    }
    auto_free char *name = kiln_steal(binding->query.name);
    auto_json json_t *arguments = kiln_steal(binding->query.arguments);
    if (ask_worker(binding, name, arguments, &binding->query.limits, &err) < 0) {
        finish(binding, NULL, err.text);
    }
    return true;
}

/* ---- asking and stopping */

int kiln_binding_query(kiln_binding *binding, const char *name, json_t *arguments,
                       const kiln_limits *limits,
                       void (*done)(void *user, json_t *reply, const char *error), void *user,
                       kiln_error *err)
{
    if (binding->running || binding->query.flying) {
        return kiln_error_set(err, EBUSY, "session %s is busy on backend %s",
                              binding->session->id, kiln_backend_name(binding->backend));
    }
    binding->query.flying = true;
    binding->query.done = done;
    binding->query.user = user;
    int rc = is_worker(binding) ? ask_worker(binding, name, arguments, limits, err)
                                : ask_plugin(binding, name, arguments, err);
    if (rc < 0) {
        binding->query.done = NULL;
        binding->query.flying = false;
        free_words(binding);
    }
    return rc;
}

static void interrupt(kiln_binding *binding)
{
    const kiln_plugin *plugin = &binding->backend->loaded->plugin;
    if (binding->guest != NULL) {
        kiln_guest_interrupt(binding->guest);
    } else if (binding->query.ticketed && (plugin->capabilities & KILN_CAP_INTERRUPT)) {
        plugin->interrupt(binding->backend->self, binding->query.ticket);
    }
}

/* The cell has waited for long enough. */
static void end_by_force(kiln_binding *binding)
{
    if (binding->guest != NULL) {
        binding->query.killed = true;
        kiln_guest_kill(binding->guest); /* kiln_binding_query_resume and the cell follow */
        return;
    }
    release_ticket(binding);
    finish(binding, NULL, "the backend did not end a query");
}

static void on_alarm(void *user)
{
    kiln_binding *binding = user;
    binding->query.nudges++;
    if (binding->pending != NULL && binding->query.nudges >= GIVE_UP_MS / NUDGE_MS) {
        end_by_force(binding);
    } else if (binding->query.nudges < NUDGES_MAX || binding->pending != NULL) {
        kiln_alarm_again(binding->query.alarm, NUDGE_MS);
        interrupt(binding); /* last: a plugin may answer from within */
    }
}

void kiln_binding_query_stop(kiln_binding *binding)
{
    if (!binding->query.flying) {
        return;
    }
    binding->query.nudges = 0;
    kiln_alarm_free(&binding->query.alarm);
    binding->query.alarm =
        kiln_alarm_new(binding->backend->all->spec.loop, NUDGE_MS, on_alarm, binding);
    interrupt(binding);
}

void kiln_binding_query_forget(kiln_binding *binding)
{
    binding->query.done = NULL;
    kiln_binding_query_stop(binding);
}

bool kiln_binding_query_yields(kiln_binding *binding)
{
    kiln_binding_query_stop(binding);
    return binding->query.flying;
}

const char *kiln_binding_query_blame(kiln_binding *binding)
{
    bool killed = binding->query.killed;
    binding->query.killed = false;
    return killed ? "a query did not end when it was interrupted, and its worker was killed; "
                    "the session's state is lost"
                  : NULL;
}

void kiln_binding_query_close(kiln_binding *binding)
{
    release_ticket(binding);
    binding->pending = NULL;
    if (binding->query.flying) {
        finish(binding, NULL, "the session was closed");
    }
}
