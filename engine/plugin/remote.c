/* Extension kiln.guest/1: a worker that a plugin reaches by a stream of its own. What it
 * says is checked where that of a local worker is, in worker/dialogue.c. */
#include "plugin/backend-t.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "worker/dialogue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct kiln_remote {
    kiln_backend *backend;
    kiln_remote_callbacks callbacks;
    void *user;
    kiln_ticket ticket; /* of the cell in flight */
    bool told_ready;
    bool closed; /* by the plugin; freed when nothing of it is on the stack */
    unsigned busy;
    kiln_dialogue dialogue;
};

static void leave(kiln_remote *remote)
{
    if (--remote->busy == 0 && remote->closed) {
        kiln_dialogue_free(&remote->dialogue);
        free(remote);
    }
}

static void on_event(void *user, const kiln_event *event)
{
    kiln_remote *remote = user;
    kiln_ticket_entry *entry =
        kiln_ticket_find(&remote->backend->all->tickets, remote->backend, remote->ticket);
    if (entry != NULL) {
        entry->callbacks.on_event(entry->user, event);
    }
}

static void on_done(void *user, const kiln_verdict *verdict, double cpu_ms,
                    uint64_t max_rss_bytes)
{
    kiln_remote *remote = user;
    kiln_outcome outcome = KILN_OUTCOME_INIT;
    outcome.status = verdict->status;
    outcome.has_exit_code = verdict->has_exit_code;
    outcome.exit_code = verdict->exit_code;
    outcome.cpu_ms = cpu_ms;
    outcome.max_rss_bytes = max_rss_bytes;
    kiln_dialogue_settle(&remote->dialogue);
    remote->callbacks.done(remote->user, remote->ticket, &outcome);
}

/* Nobody asks it: an analysis is a local worker's. The dialogue refuses one unasked. */
static void on_analysis(void *user, json_t *analysis)
{
    (void)user, (void)analysis;
}

static void on_reply(void *user, json_t *reply, const char *error)
{
    kiln_remote *remote = user;
    kiln_ticket_entry *entry =
        kiln_ticket_find(&remote->backend->all->tickets, remote->backend, remote->ticket);
    kiln_dialogue_settle(&remote->dialogue);
    if (entry != NULL && kiln_binding_owns_query(entry->binding, remote->ticket)) {
        kiln_binding_ticket_reply(entry->binding, reply, error);
    }
}

static void flush(kiln_remote *remote);

static void answer(void *from, uint32_t number, const char *data, size_t length)
{
    kiln_remote *remote = from;
    if (kiln_dialogue_return(&remote->dialogue, number, data, length) < 0) {
        kiln_dialogue_break(&remote->dialogue, "", "out of memory for an answer");
        return;
    }
    remote->busy++;
    flush(remote);
    leave(remote);
}

static void on_call(void *user, uint32_t number, const char *data, size_t length)
{
    kiln_remote *remote = user;
    const kiln_caller caller = {answer, remote, number};
    kiln_ticket_entry *entry =
        kiln_ticket_find(&remote->backend->all->tickets, remote->backend, remote->ticket);
    if (entry != NULL && entry->callbacks.on_call != NULL) {
        entry->callbacks.on_call(entry->user, &caller, data, length);
    } else {
        kiln_dialogue_break(&remote->dialogue, "bad frame: ", "CALL, and nobody answers calls");
    }
}

static void on_call_over(void *user)
{
    kiln_remote *remote = user;
    kiln_ticket_entry *entry =
        kiln_ticket_find(&remote->backend->all->tickets, remote->backend, remote->ticket);
    if (entry != NULL && entry->callbacks.on_call_over != NULL) {
        entry->callbacks.on_call_over(entry->user);
    }
}

static void on_broken(void *user, const char *why)
{
    kiln_remote *remote = user;
    remote->callbacks.broken(remote->user, why);
}

static const kiln_dialogue_callbacks dialogue_callbacks = {
    .on_event = on_event,
    .on_done = on_done,
    .on_analysis = on_analysis,
    .on_reply = on_reply,
    .on_call = on_call,
    .on_call_over = on_call_over,
    .on_broken = on_broken,
};

static kiln_remote *remote_open(const kiln_host *host, const kiln_remote_callbacks *callbacks,
                                void *user)
{
    kiln_remote *remote = calloc(1, sizeof(*remote));
    if (remote == NULL || callbacks->size < sizeof(*callbacks)) {
        free(remote);
        return NULL;
    }
    remote->backend = kiln_backend_of(host);
    remote->callbacks = *callbacks;
    remote->user = user;
    remote->dialogue.callbacks = &dialogue_callbacks;
    remote->dialogue.user = remote;
    return remote;
}

static void remote_close(kiln_remote *remote)
{
    if (remote == NULL) {
        return;
    }
    bool asked = remote->dialogue.awaited == KILN_FRAME_REPLY;
    if (remote->dialogue.dropped > 0) {
        kiln_log(KILN_LOG_DEBUG, remote->backend->section,
                 "%llu outputs between cells were dropped",
                 (unsigned long long)remote->dialogue.dropped);
    }
    remote->busy++;
    remote->closed = true;
    remote->dialogue.closed = true;
    kiln_ticket_entry *entry = asked ? kiln_ticket_find(&remote->backend->all->tickets,
                                                        remote->backend, remote->ticket)
                                     : NULL;
    if (entry != NULL && kiln_binding_owns_query(entry->binding, remote->ticket)) {
        kiln_binding_ticket_reply(entry->binding, NULL, "the worker has ended");
    }
    if (remote->dialogue.calling) {
        remote->dialogue.calling = false;
        on_call_over(remote);
    }
    leave(remote);
}

static int remote_received(kiln_remote *remote, const char *data, size_t length)
{
    kiln_dialogue *dialogue = &remote->dialogue;
    if (dialogue->closed) {
        return -EPROTO;
    }
    if (dialogue->decoding) {
        return -EBUSY; /* callbacks borrow from the buffer */
    }
    remote->busy++;
    int rc = kiln_buffer_append(&dialogue->in, data, length) < 0
                 ? kiln_dialogue_break(dialogue, "", "out of memory for its output")
                 : kiln_dialogue_decode(dialogue);
    if (rc == 0 && dialogue->started && !remote->told_ready) {
        remote->told_ready = true;
        remote->callbacks.ready(remote->user);
    }
    leave(remote);
    return rc < 0 ? -EPROTO : 0;
}

static void flush(kiln_remote *remote)
{
    kiln_buffer out = remote->dialogue.out;
    remote->dialogue.out = (kiln_buffer)KILN_BUFFER_INIT;
    if (out.length > 0) {
        remote->callbacks.send(remote->user, out.data, out.length);
    }
    kiln_buffer_free(&out);
}

static int remote_execute(kiln_remote *remote, kiln_ticket ticket, const kiln_input *input)
{
    kiln_error err = KILN_ERROR_INIT;
    int rc = kiln_dialogue_execute(&remote->dialogue, input, &err);
    if (rc < 0) {
        kiln_log(KILN_LOG_WARNING, remote->backend->section, "%s", err.text);
        return rc;
    }
    remote->ticket = ticket;
    remote->busy++;
    flush(remote);
    leave(remote);
    return 0;
}

static int remote_query(kiln_remote *remote, kiln_ticket ticket, const char *name,
                        const char *arguments, size_t length)
{
    kiln_error err = KILN_ERROR_INIT;
    auto_json json_t *json = json_loadb(arguments, length, JSON_REJECT_DUPLICATES, NULL);
    int rc = json != NULL
                 ? kiln_dialogue_query(&remote->dialogue, name, json, &err)
                 : kiln_error_set(&err, EINVAL, "query %s: its arguments are not JSON", name);
    if (rc < 0) {
        kiln_log(KILN_LOG_WARNING, remote->backend->section, "%s", err.text);
        return rc;
    }
    remote->ticket = ticket;
    remote->busy++;
    flush(remote);
    leave(remote);
    return 0;
}

static void remote_interrupt(kiln_remote *remote)
{
    if (kiln_dialogue_interrupt(&remote->dialogue) == 0) {
        remote->busy++;
        flush(remote);
        leave(remote);
    }
}

const kiln_guests *kiln_guests_extension(void)
{
    static const kiln_guests guests = {
        .size = sizeof(guests),
        .open = remote_open,
        .close = remote_close,
        .received = remote_received,
        .execute = remote_execute,
        .interrupt = remote_interrupt,
        .query = remote_query,
    };
    return &guests;
}
