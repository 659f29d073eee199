/* branch.c - a session's places on its backends, made a second time for a branch. */
#include "plugin/backend-t.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>

typedef struct branching {
    unsigned waiting;
    kiln_error error;
    void (*done)(void *user, const kiln_error *err);
    void *user;
} branching;

typedef struct one {
    branching *all;
    kiln_binding *from, *to;
} one;

static void finish_one(branching *all, const kiln_error *err)
{
    if (err != NULL && all->error.code == 0) {
        all->error = *err;
    }
    if (--all->waiting == 0) {
        branching copy = *all;
        free(all);
        copy.done(copy.user, copy.error.code != 0 ? &copy.error : NULL);
    }
}

static void on_branched(void *user, kiln_sandbox *sandbox, kiln_guest *guest,
                        const kiln_error *err)
{
    one *part = user;
    branching *all = part->all;
    kiln_binding *to = part->to;
    free(part);
    if (sandbox != NULL) {
        to->sandbox = sandbox;
        to->guest = guest;
        kiln_binding_sandbox_ready(to, kiln_sandbox_root_fd(sandbox), NULL);
    }
    finish_one(all, err);
}

/* Files only: the backend keeps nothing else of a session from one cell to the next. */
static void on_copied(void *user, kiln_sandbox *sandbox, kiln_guest *guest,
                      const kiln_error *err)
{
    one *part = user;
    branching *all = part->all;
    (void)sandbox;
    (void)guest;
    free(part);
    finish_one(all, err);
}

static void on_opened(void *user, kiln_binding *binding, int root_fd, const kiln_error *err)
{
    one *part = user;
    kiln_error own = KILN_ERROR_INIT;
    if (root_fd < 0) {
        on_copied(part, NULL, NULL, err);
    } else if (kiln_sandbox_copy(binding->sandbox, part->from->root_fd, on_copied, part, &own) <
               0) {
        on_copied(part, NULL, NULL, &own);
    }
}

static void branch_worker(void *user)
{
    one *part = user;
    kiln_error err = KILN_ERROR_INIT;
    int rc = part->from->guest == NULL
                 ? kiln_error_set(&err, EPIPE, "the worker has ended")
                 : kiln_guest_branch(part->from->guest, part->to->session->id,
                                     &part->from->limits, &kiln_binding_guest_callbacks,
                                     part->to, on_branched, part, &err);
    if (rc < 0) {
        on_branched(part, NULL, NULL, &err);
    }
}

static int branch_one(branching *all, kiln_binding *from, kiln_session *into, kiln_error *err)
{
    const kiln_plugin *plugin = &from->backend->loaded->plugin;
    if (plugin->capabilities & KILN_CAP_PLAN) {
        return 0;
    }
    if (from->running || from->transaction.resuming) {
        return kiln_error_set(err, EBUSY, "backend %s: the session is busy", plugin->name);
    }
    if ((plugin->capabilities & KILN_CAP_FILES) ||
        (from->guest != NULL && !(plugin->capabilities & KILN_CAP_BRANCH))) {
        return kiln_error_set(err, ENOTSUP, "backend %s: its sessions cannot be branched",
                              plugin->name);
    }
    one *part = calloc(1, sizeof(*part));
    if (part == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    *part = (one){.all = all, .from = from};
    all->waiting++;
    if (from->guest == NULL) {
        kiln_backend_bind(from->backend, into, "", &from->limits, on_opened, part);
        return 0;
    }
    int rc = kiln_binding_open(from->backend, into, &from->limits, &part->to, err);
    if (rc < 0) {
        all->waiting--;
        free(part);
        return kiln_error_wrap(err, "backend %s", plugin->name);
    }
    part->to->guest_limits = from->guest_limits;
    if (from->transaction.taking) { /* one fork of a worker at a time */
        from->transaction.then = branch_worker;
        from->transaction.then_user = part;
    } else {
        branch_worker(part);
    }
    return 0;
}

void kiln_bindings_branch(kiln_session *session, kiln_session *into,
                          void (*done)(void *user, const kiln_error *err), void *user)
{
    kiln_error err = KILN_ERROR_INIT;
    branching *all = calloc(1, sizeof(*all));
    if (all == NULL) {
        kiln_error_set(&err, ENOMEM, "out of memory");
        done(user, &err);
        return;
    }
    *all = (branching){.waiting = 1, .done = done, .user = user};
    for (kiln_binding *from = session->bindings; from != NULL && err.code == 0;
         from = from->next) {
        if (from->sandbox != NULL || from->guest != NULL ||
            (from->backend->loaded->plugin.capabilities & KILN_CAP_FILES)) {
            branch_one(all, from, into, &err);
        }
    }
    finish_one(all, err.code != 0 ? &err : NULL);
}
