/* transaction.c - a cell that leaves nothing behind when it fails.
 *
 * The worker's state and files are kept by a snapshot of it (kiln_guest_snapshot), which
 * takes its place when the cell has failed. Where transactions are the habit the next
 * snapshot is made as soon as the last cell is settled, while its caller thinks; a cell that
 * comes sooner waits for it. A cell that is none makes it worthless. */
#include "plugin/backend-t.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>

static void release(kiln_binding *binding)
{
    if (binding->transaction.snapshot != NULL) {
        kiln_guest_release(binding->sandbox, kiln_steal(binding->transaction.snapshot));
    }
    binding->transaction.undecided = false;
}

/* ---- before the cell */

static void tell_kept(kiln_binding *binding, const kiln_error *err)
{
    void (*kept)(void *, const kiln_error *) = binding->transaction.kept;
    binding->transaction.kept = NULL;
    if (kept != NULL) {
        kept(binding->transaction.kept_user, err);
    }
}

static void refuse(kiln_binding *binding, const char *why)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_error_set(&err, EOPNOTSUPP, "the transaction was refused, nothing ran: %s", why);
    binding->transaction.wanted = false;
    tell_kept(binding, &err);
}

static void on_taken(void *user, kiln_sandbox *sandbox, kiln_guest *snapshot,
                     const kiln_error *err)
{
    kiln_binding *binding = user;
    (void)sandbox;
    binding->transaction.taking = false;
    binding->transaction.snapshot = snapshot;
    void (*then)(void *) = binding->transaction.then;
    binding->transaction.then = NULL;
    if (then != NULL) {
        then(binding->transaction.then_user);
        return; /* the session runs nothing meanwhile */
    }
    if (binding->query.name != NULL) { /* it came meanwhile; and a cell after it, perhaps */
        bool alone = binding->query.done != NULL;
        binding->transaction.wanted &= !alone || err == NULL;
        (void)kiln_binding_query_resume(binding, "a cell was begun");
        if (alone) {
            return;
        }
    }
    if (binding->pending != NULL) {
        /* A cell that is no transaction. When the worker ended, its end starts it. */
        if (binding->guest == NULL || kiln_guest_usable(binding->guest)) {
            kiln_binding_start_pending(binding);
        }
    } else if (err == NULL) {
        tell_kept(binding, NULL);
    } else if (binding->transaction.kept != NULL) {
        refuse(binding, err->text);
    } else {
        binding->transaction.wanted = false; /* in idle time: the next one is told why */
    }
}

static int take(kiln_binding *binding, kiln_error *err)
{
    binding->transaction.taking = true;
    int rc =
        kiln_guest_snapshot(binding->guest, &binding->guest_limits,
                            &kiln_binding_guest_callbacks, binding, on_taken, binding, err);
    if (rc < 0) {
        binding->transaction.taking = false;
    }
    return rc;
}

static void keep(kiln_binding *binding)
{
    kiln_error err = KILN_ERROR_INIT;
    if (binding->transaction.taking ||
        (binding->guest != NULL && !kiln_guest_usable(binding->guest))) {
        return; /* its end comes, and calls again */
    }
    if (binding->transaction.snapshot != NULL &&
        kiln_guest_waiting(binding->transaction.snapshot)) {
        tell_kept(binding, NULL);
        return;
    }
    release(binding); /* code has killed it, or memory ran out: another one */
    int rc = kiln_binding_worker(binding, &binding->transaction.limits, &err);
    if (rc == 0) {
        rc = take(binding, &err);
    }
    if (rc < 0) {
        refuse(binding, err.text);
    }
}

void kiln_binding_checkpoint(kiln_binding *binding, const kiln_limits *limits,
                             void (*done)(void *user, const kiln_error *err), void *user)
{
    const kiln_plugin *plugin = &binding->backend->loaded->plugin;
    char why[160];
    if (plugin->capabilities & KILN_CAP_PLAN) {
        done(user, NULL); /* nothing is changed by it */
        return;
    }
    binding->transaction.kept = done;
    binding->transaction.kept_user = user;
    binding->transaction.limits = *limits;
    if (!(plugin->capabilities & KILN_CAP_BRANCH)) {
        snprintf(why, sizeof(why), "backend %s cannot undo what code does", plugin->name);
        refuse(binding, why);
        return;
    }
    binding->transaction.wanted = true;
    keep(binding);
}

void kiln_transaction_forget(kiln_binding *binding, const void *user)
{
    if (binding->transaction.kept_user == user) {
        binding->transaction.kept = NULL;
    }
}

int kiln_transaction_begin(kiln_binding *binding, const kiln_input *input, kiln_error *err)
{
    binding->transaction.active = false;
    if (!input->transaction) {
        binding->transaction.wanted = false;
        release(binding); /* what comes now is not to be undone */
        return 0;
    }
    if (binding->transaction.snapshot == NULL) {
        return kiln_error_set(err, EOPNOTSUPP,
                              "the transaction was refused, nothing ran: there is no snapshot");
    }
    binding->transaction.active = true;
    return 0;
}

void kiln_bindings_changed(kiln_session *session)
{
    for (kiln_binding *binding = session->bindings; binding != NULL; binding = binding->next) {
        kiln_binding_keep_look(binding, NULL);
        if (!binding->transaction.undecided && !binding->running) {
            release(binding);
        }
    }
}

/* ---- after it */

/* The worker is what it was, or there is none: the failed cell completes. */
static void undone(kiln_binding *binding, const char *trouble)
{
    char text[700];
    auto_free char *name = kiln_steal(binding->transaction.name);
    auto_free char *message = kiln_steal(binding->transaction.message);
    kiln_outcome outcome = binding->transaction.outcome;
    void (*settled)(void *) = binding->transaction.settled;
    binding->transaction.resuming = false;
    binding->transaction.settled = NULL;
    if (trouble != NULL) {
        snprintf(binding->lost, sizeof(binding->lost),
                 "the cell could not be undone, the session's state is lost: %s", trouble);
    }
    if (settled != NULL) {
        settled(binding->transaction.user);
        return;
    }
    if (!binding->running || binding->pending != NULL) {
        if (binding->pending != NULL) {
            kiln_binding_start_pending(binding);
        }
        return;
    }
    outcome.name = name;
    outcome.message = message;
    if (trouble != NULL) {
        kiln_binding_decide(binding, "lost", binding->lost);
        binding->lost[0] = '\0';
    } else {
        kiln_binding_decide(binding, "undone", "the session is as it was before the cell");
    }
    if (message != NULL && strstr(message, "; the session's state is") != NULL) {
        snprintf(text, sizeof(text), "%.*s%s", (int)strcspn(message, ";"), message,
                 trouble != NULL ? "; the session's state is lost"
                                 : "; the session is as it was before the cell");
        outcome.message = text;
    }
    kiln_binding_complete(binding, &outcome);
}

static void on_resumed(void *user, kiln_sandbox *sandbox, kiln_guest *guest,
                       const kiln_error *err)
{
    kiln_binding *binding = user;
    (void)sandbox;
    binding->guest = guest;
    undone(binding, err != NULL ? err->text : NULL);
}

bool kiln_transaction_lost_worker(kiln_binding *binding)
{
    kiln_error err = KILN_ERROR_INIT;
    if (!binding->transaction.resuming) {
        release(binding); /* of a state that is gone */
        if (binding->transaction.kept != NULL) {
            keep(binding);
        }
        return false;
    }
    kiln_guest *snapshot = kiln_steal(binding->transaction.snapshot);
    if (snapshot == NULL || !kiln_guest_waiting(snapshot)) {
        if (snapshot != NULL) {
            kiln_guest_release(binding->sandbox, snapshot);
        }
        undone(binding, "code has ended its snapshot");
        return true;
    }
    if (kiln_guest_resume(binding->sandbox, snapshot, on_resumed, binding, &err) < 0) {
        kiln_guest_release(binding->sandbox, snapshot);
        undone(binding, err.text);
    }
    return true;
}

static void undo(kiln_binding *binding)
{
    kiln_binding_keep_look(binding, NULL); /* the files are put back, by no cell */
    binding->transaction.active = false;
    binding->transaction.undecided = false;
    binding->transaction.resuming = true;
    if (binding->guest != NULL) {
        kiln_guest_kill(binding->guest); /* its end calls kiln_transaction_lost_worker */
    }
}

bool kiln_transaction_ended(kiln_binding *binding, const kiln_outcome *outcome)
{
    if (binding->transaction.resuming) {
        return true;
    }
    if (!binding->transaction.active) {
        return false;
    }
    if (outcome->status == KILN_STATUS_OK && binding->guest != NULL) {
        binding->transaction.active = false;
        binding->transaction.undecided = true;
        return false;
    }
    binding->transaction.outcome = *outcome;
    binding->transaction.name = outcome->name != NULL ? strdup(outcome->name) : NULL;
    binding->transaction.message = outcome->message != NULL ? strdup(outcome->message) : NULL;
    undo(binding);
    return true;
}

void kiln_transaction_close(kiln_binding *binding)
{
    void (*settled)(void *) = binding->transaction.settled;
    if (binding->transaction.snapshot != NULL) {
        kiln_guest_release(binding->sandbox, kiln_steal(binding->transaction.snapshot));
    }
    free(kiln_steal(binding->transaction.name));
    free(kiln_steal(binding->transaction.message));
    binding->transaction.settled = NULL;
    binding->transaction.kept = NULL;
    if (settled != NULL) {
        settled(binding->transaction.user);
    }
}

/* ---- the end of the execution */

typedef struct settling {
    unsigned waiting;
    void (*done)(void *user);
    void *user;
} settling;

static void settled_one(void *user)
{
    settling *all = user;
    if (--all->waiting == 0) {
        settling copy = *all;
        free(all);
        copy.done(copy.user);
    }
}

bool kiln_bindings_undecided(const kiln_session *session)
{
    for (const kiln_binding *binding = session->bindings; binding != NULL;
         binding = binding->next) {
        if (binding->transaction.undecided || binding->transaction.wanted) {
            return true;
        }
    }
    return false;
}

static void keep_one(kiln_binding *binding)
{
    if (binding->transaction.undecided) {
        release(binding);
    }
    if (binding->transaction.wanted && binding->transaction.snapshot == NULL &&
        !binding->transaction.taking && !binding->running && binding->guest != NULL &&
        kiln_guest_usable(binding->guest)) {
        kiln_error err = KILN_ERROR_INIT;
        (void)take(binding, &err); /* in idle time: refused, the next cell asks again */
    }
}

void kiln_bindings_settle(kiln_session *session, bool keep, void (*done)(void *user),
                          void *user)
{
    settling *all = calloc(1, sizeof(*all));
    if (all == NULL) {
        keep = true; /* nobody could be told when it is undone */
    }
    settling here = {.waiting = 1, .done = done, .user = user};
    for (kiln_binding *binding = session->bindings; binding != NULL; binding = binding->next) {
        if (keep || !binding->transaction.undecided) {
            keep_one(binding);
            continue;
        }
        here.waiting++;
        binding->transaction.settled = settled_one;
        binding->transaction.user = all;
        undo(binding);
    }
    if (all == NULL) {
        done(user);
        return;
    }
    *all = here;
    settled_one(all);
}
