#include "worker/engine_side.h"

#include "base/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

enum {
    OPEN_MS = 30000, /* a supervisor is there in 2 ms; a zygote may have many to make */
    INDEX_MAX = 65536,
};

/* ---- indices: they pick the host uid, so they are distinct over all zygotes */

static uint64_t taken_indices[INDEX_MAX / 64];
static uint32_t next_index;
static bool index_seeded;

static int take_index(const kiln_sandbox_policy *policy, uint32_t *index)
{
    uint32_t count = kiln_sandbox_session_max(policy);
    if (count > INDEX_MAX) {
        count = INDEX_MAX;
    }
    if (!index_seeded) {
        /* Two engines on one machine should not begin with the same uid. */
        next_index = (uint32_t)getpid() * 2654435761U;
        index_seeded = true;
    }
    for (uint32_t tried = 0; tried < count; tried++) {
        uint32_t at = next_index++ % count;
        if ((taken_indices[at / 64] & (UINT64_C(1) << (at % 64))) == 0) {
            taken_indices[at / 64] |= UINT64_C(1) << (at % 64);
            *index = at;
            return 0;
        }
    }
    return -EUSERS;
}

static void release_index(uint32_t index)
{
    taken_indices[index / 64] &= ~(UINT64_C(1) << (index % 64));
}

/* ---- life and end */

static void sandbox_unref(kiln_sandbox *sandbox)
{
    if (--sandbox->references == 0) {
        free(sandbox->name);
        free(sandbox);
    }
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static void close_control(kiln_sandbox *sandbox)
{
    kiln_alarm_free(&sandbox->open_alarm);
    kiln_poll_free(&sandbox->control_poll);
    close_fd(&sandbox->control);
    close_fd(&sandbox->peer);
}

static void await_end(kiln_sandbox *sandbox);

/* The last that is nested in a closed one takes it along. */
static void leave_outer(kiln_sandbox *sandbox)
{
    kiln_sandbox *outer = kiln_steal(sandbox->outer);
    if (outer == NULL) {
        return;
    }
    if (--outer->nested == 0 && outer->closed && outer->zygote != NULL) {
        await_end(outer);
    }
    sandbox_unref(outer);
}

void kiln_sandbox_bury(kiln_sandbox *sandbox)
{
    kiln_zygote *zygote = sandbox->zygote;
    if (zygote == NULL) {
        return; /* buried already */
    }
    close_control(sandbox);
    kiln_sandbox_account_stop(sandbox);
    kiln_poll_free(&sandbox->pidfd_poll);
    close_fd(&sandbox->pidfd);
    close_fd(&sandbox->worker_pidfd);
    close_fd(&sandbox->root_fd);
    close_fd(&sandbox->listener);
    if (sandbox->cgroup != NULL) {
        kiln_cgroup_destroy(sandbox->cgroup);
        sandbox->cgroup = NULL;
    }
    if (sandbox->has_index) {
        release_index(sandbox->index);
    }
    for (int i = 0; i < KILN_BRANCH_SPACES; i++) {
        close_fd(&sandbox->spaces[i]);
    }
    leave_outer(sandbox);
    *(sandbox->previous != NULL ? &sandbox->previous->next : &zygote->sandboxes) =
        sandbox->next;
    *(sandbox->next != NULL ? &sandbox->next->previous : &zygote->last_sandbox) =
        sandbox->previous;
    sandbox->zygote = NULL;
    sandbox_unref(sandbox);
}

static void on_supervisor_gone(void *user, int events)
{
    (void)events;
    kiln_sandbox_bury(user);
}

/* Closed, and the supervisor's pidfd is known: its end is the end of all. */
static void await_end(kiln_sandbox *sandbox)
{
    if (sandbox->pidfd_poll != NULL) {
        return;
    }
    close_control(sandbox);
    pidfd_send_signal(sandbox->pidfd, SIGKILL, NULL, 0);
    sandbox->pidfd_poll = kiln_poll_new(sandbox->zygote->loop, sandbox->pidfd, UV_READABLE,
                                        on_supervisor_gone, sandbox);
    if (sandbox->pidfd_poll == NULL) {
        kiln_sandbox_bury(sandbox); /* its cgroup is left to the next sweep */
    }
}

static void report_adjusted(kiln_sandbox *sandbox, const kiln_error *err)
{
    void (*adjusted)(void *, const kiln_error *) = sandbox->adjusted;
    sandbox->adjusted = NULL;
    if (adjusted != NULL) {
        adjusted(sandbox->adjusted_user, err);
    }
}

static void report_ready(kiln_sandbox *sandbox, int root_fd, const kiln_error *err)
{
    void (*ready)(void *, int, const kiln_error *) = sandbox->ready;
    sandbox->ready = NULL;
    if (ready != NULL) {
        ready(sandbox->user, root_fd, err);
    }
}

void kiln_sandbox_fail(kiln_sandbox *sandbox, const char *why)
{
    if (sandbox->closed) {
        if (sandbox->pidfd < 0) {
            kiln_sandbox_bury(sandbox);
        } else {
            await_end(sandbox);
        }
        return;
    }
    if (sandbox->state == KILN_SANDBOX_DEAD) {
        return;
    }
    kiln_error err = KILN_ERROR_INIT;
    kiln_error_set(&err, EPIPE, "%s", why);
    sandbox->state = KILN_SANDBOX_DEAD;
    close_control(sandbox);
    if (sandbox->pidfd >= 0) {
        pidfd_send_signal(sandbox->pidfd, SIGKILL, NULL, 0);
    }
    sandbox->references++;
    report_ready(sandbox, -1, &err);
    kiln_fork_abandon(sandbox, err.text);
    if (sandbox->run != NULL) {
        kiln_run_lost(sandbox->run, err.text);
    }
    report_adjusted(sandbox, &err);
    if (sandbox->lost != NULL) {
        sandbox->lost(sandbox->lost_user);
    }
    sandbox_unref(sandbox);
}

static void on_ready(kiln_sandbox *sandbox, kiln_control_message *message)
{
    bool nested = sandbox->outer != NULL;
    bool proxy = !nested && sandbox->zygote->policy.network == KILN_NETWORK_PROXY;
    if (message->fd_count != (nested ? 2 + KILN_BRANCH_SPACES : proxy ? 3 : 2)) {
        kiln_sandbox_fail(sandbox, "the sandbox's supervisor sent what it should not");
        return;
    }
    kiln_alarm_free(&sandbox->open_alarm);
    sandbox->pidfd = kiln_steal_fd(&message->fds[1]);
    if (sandbox->closed) {
        await_end(sandbox);
        return;
    }
    sandbox->root_fd = kiln_steal_fd(&message->fds[0]);
    if (proxy) {
        sandbox->listener = kiln_steal_fd(&message->fds[2]);
    }
    for (int i = 0; nested && i < KILN_BRANCH_SPACES; i++) {
        sandbox->spaces[i] = kiln_steal_fd(&message->fds[2 + i]);
    }
    sandbox->state = KILN_SANDBOX_READY;
    report_ready(sandbox, sandbox->root_fd, NULL);
}

static void on_message(kiln_sandbox *sandbox, kiln_control_message *message)
{
    kiln_error err = KILN_ERROR_INIT;
    if (message->type == KILN_CONTROL_READY && sandbox->pidfd < 0) {
        on_ready(sandbox, message);
    } else if (message->type == KILN_CONTROL_BORN && message->fd_count == 1) {
        close_fd(&sandbox->worker_pidfd);
        sandbox->worker_pidfd = kiln_steal_fd(&message->fds[0]);
    } else if (message->type == KILN_CONTROL_EXIT &&
               message->length >= sizeof(kiln_control_exit)) {
        if (sandbox->run != NULL && sandbox->run->id == message->id) {
            kiln_run_exited(sandbox->run, message);
        }
    } else if (message->type == KILN_CONTROL_SWEPT) {
        if (sandbox->run != NULL && sandbox->run->on_swept != NULL) {
            sandbox->run->on_swept(sandbox->run, message->id);
        }
    } else if (message->type == KILN_CONTROL_ADJUSTED && sandbox->adjusted != NULL) {
        kiln_error_set(&err, EINVAL, "%.*s", (int)message->length, message->payload);
        report_adjusted(sandbox, message->length > 0 ? &err : NULL);
    } else if (message->type == KILN_CONTROL_COPIED || message->type == KILN_CONTROL_SETTLED ||
               message->type == KILN_CONTROL_ADOPTED || message->type == KILN_CONTROL_HELD) {
        kiln_fork_message(sandbox, message);
    } else if (message->type == KILN_CONTROL_FAILED) {
        kiln_error_set(&err, ECANCELED, "%.*s", (int)message->length, message->payload);
        kiln_sandbox_fail(sandbox, err.text);
    } else {
        kiln_sandbox_fail(sandbox, "the sandbox's supervisor sent what it should not");
    }
}

static void on_control(void *user, int events)
{
    (void)events;
    static kiln_control_message message;
    kiln_sandbox *sandbox = user;
    int got = kiln_control_receive(sandbox->control, MSG_DONTWAIT, &message);
    if (got == -EAGAIN) {
        return;
    }
    sandbox->references++;
    if (got <= 0) {
        kiln_sandbox_fail(sandbox, "the sandbox's supervisor died");
    } else {
        on_message(sandbox, &message);
        kiln_control_clear(&message);
    }
    sandbox_unref(sandbox);
}

static void on_open_timeout(void *user)
{
    kiln_sandbox_fail(user, "the sandbox was not made within 30 s");
}

/* ---- making one */

/* Files are memory, and stay when processes are killed for it: were they to fill it, not
 * even the program that removes them could run. */
static uint64_t disk_size(const kiln_limits *limits)
{
    uint64_t most = limits->memory / 2;
    return most > 0 && (limits->disk == 0 || limits->disk > most) ? most : limits->disk;
}

int kiln_sandbox_request(kiln_sandbox *sandbox)
{
    kiln_zygote *zygote = sandbox->zygote;
    kiln_sandbox_session session = {
        .index = sandbox->index,
        .disk = disk_size(&sandbox->limits),
        .files = sandbox->limits.files,
        .nested = sandbox->outer != NULL,
    };
    int rc = kiln_control_send(session.nested ? sandbox->outer->control : zygote->control,
                               session.nested ? KILN_CONTROL_NEST : KILN_CONTROL_OPEN, 0,
                               &session, sizeof(session), &sandbox->peer, 1, MSG_DONTWAIT);
    if (rc < 0) {
        return rc;
    }
    close_fd(&sandbox->peer);
    sandbox->state = KILN_SANDBOX_OPENING;
    sandbox->open_alarm = kiln_alarm_new(zygote->loop, OPEN_MS, on_open_timeout, sandbox);
    return 0;
}

static void link_last(kiln_zygote *zygote, kiln_sandbox *sandbox)
{
    sandbox->zygote = zygote;
    sandbox->previous = zygote->last_sandbox;
    *(zygote->last_sandbox != NULL ? &zygote->last_sandbox->next : &zygote->sandboxes) =
        sandbox;
    zygote->last_sandbox = sandbox;
    sandbox->references++;
}

/* Those two: the other end's death will be seen and tells ready() why. */
static int check_sent(int rc, kiln_error *err)
{
    return rc == -EPIPE || rc == -ECONNRESET
               ? 0
               : (rc < 0 ? kiln_error_errno(err, rc, "sandbox: asking the worker process") : 0);
}

/* While the supervisor sets out: it takes as long. */
static int give_cgroup(kiln_sandbox *sandbox, kiln_error *err)
{
    kiln_error why = KILN_ERROR_INIT;
    sandbox->cgroup = kiln_cgroup_create(sandbox->name, &sandbox->limits, &why);
    sandbox->cgroup_limits = sandbox->limits;
    if (sandbox->cgroup != NULL) {
        int groups = 0;
        const int *entries = kiln_cgroup_fds(sandbox->cgroup, &groups);
        int rc = groups > KILN_CONTROL_FDS
                     ? -E2BIG
                     : kiln_control_send(sandbox->control, KILN_CONTROL_CGROUPS, 0, NULL, 0,
                                         entries, groups, MSG_DONTWAIT);
        return check_sent(rc, err);
    }
    if ((sandbox->zygote->policy.required & KILN_LAYER_CGROUP) != 0) {
        return kiln_error_set(err, why.code != 0 ? why.code : ENOTSUP,
                              "sandbox: the cgroup layer is required: %s",
                              why.code != 0 ? why.text : "this machine gives none");
    }
    if (why.code != 0) {
        kiln_log(KILN_LOG_WARNING, "sandbox", "no cgroup: %s", why.text);
    }
    return 0;
}

static int connect_supervisor(kiln_sandbox *sandbox, kiln_error *err)
{
    int pair[2];
    int rc = kiln_control_pair(pair, "sandbox", err);
    if (rc < 0) {
        return rc;
    }
    sandbox->control = pair[0];
    sandbox->peer = pair[1];
    sandbox->control_poll = kiln_poll_new(sandbox->zygote->loop, sandbox->control, UV_READABLE,
                                          on_control, sandbox);
    return sandbox->control_poll == NULL ? kiln_error_errno(err, ENOMEM, "sandbox") : 0;
}

/* A nested one is the same user, and has its number while it lives. */
static int identify(kiln_sandbox *sandbox, kiln_sandbox *outer, kiln_error *err)
{
    if (outer != NULL) {
        sandbox->outer = outer;
        sandbox->index = outer->index;
        outer->nested++;
        outer->references++;
        return 0;
    }
    int rc = take_index(&sandbox->zygote->policy, &sandbox->index);
    if (rc < 0) {
        return kiln_error_set(err, rc,
                              "sandbox: every uid of the range is in use; widen [sandbox] "
                              "uids or close sessions");
    }
    sandbox->has_index = true;
    return 0;
}

static int ask_for(kiln_sandbox *sandbox, bool queued, kiln_error *err)
{
    kiln_zygote *zygote = sandbox->zygote;
    if (sandbox->outer == NULL && (zygote->state != KILN_ZYGOTE_READY || queued)) {
        return 0; /* later */
    }
    int rc = kiln_sandbox_request(sandbox);
    if (rc == -EAGAIN && sandbox->outer == NULL) {
        kiln_poll_events(zygote->control_poll, UV_READABLE | UV_WRITABLE);
        return 0;
    }
    return check_sent(rc, err);
}

static int open_sandbox(kiln_zygote *zygote, kiln_sandbox *outer, const char *name,
                        const kiln_limits *limits,
                        void (*ready)(void *user, int root_fd, const kiln_error *err),
                        void *user, kiln_sandbox **sandbox, kiln_error *err)
{
    kiln_sandbox *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return kiln_error_errno(err, ENOMEM, "sandbox");
    }
    made->control = made->peer = made->root_fd = made->listener = -1;
    made->pidfd = made->worker_pidfd = -1;
    memset(made->spaces, 0xff, sizeof(made->spaces)); /* -1 */
    made->limits = *limits;
    made->ready = ready;
    made->user = user;
    bool queued =
        zygote->last_sandbox != NULL && zygote->last_sandbox->state == KILN_SANDBOX_PENDING;
    link_last(zygote, made);
    made->name = strdup(name);
    int rc = made->name == NULL ? kiln_error_errno(err, ENOMEM, "sandbox")
                                : identify(made, outer, err);
    if (rc == 0) {
        rc = connect_supervisor(made, err);
    }
    if (rc == 0) {
        rc = ask_for(made, queued, err);
    }
    if (rc == 0) {
        rc = give_cgroup(made, err);
    }
    if (rc < 0) {
        kiln_sandbox_bury(made);
        return rc;
    }
    *sandbox = made;
    return 0;
}

int kiln_sandbox_open(kiln_zygote *zygote, const char *name, const kiln_limits *limits,
                      void (*ready)(void *user, int root_fd, const kiln_error *err), void *user,
                      kiln_sandbox **sandbox, kiln_error *err)
{
    int rc = kiln_zygote_revive(zygote, err);
    return rc < 0 ? rc : open_sandbox(zygote, NULL, name, limits, ready, user, sandbox, err);
}

int kiln_sandbox_open_nested(kiln_sandbox *outer, const char *name, const kiln_limits *limits,
                             void (*ready)(void *user, int root_fd, const kiln_error *err),
                             void *user, kiln_sandbox **sandbox, kiln_error *err)
{
    if (outer->state != KILN_SANDBOX_READY || outer->closed) {
        return kiln_error_set(err, EPIPE, "branch: the session's sandbox has ended");
    }
    return open_sandbox(outer->zygote, outer, name, limits, ready, user, sandbox, err);
}

/* ---- handing one on */

void kiln_sandbox_on_lost(kiln_sandbox *sandbox, void (*lost)(void *user), void *user)
{
    sandbox->lost = lost;
    sandbox->lost_user = user;
}

/* 0 is no limit. */
static bool within(uint64_t wanted, uint64_t has)
{
    return has == 0 || (wanted != 0 && wanted <= has);
}

bool kiln_sandbox_can_adjust(const kiln_sandbox *sandbox, const kiln_limits *limits)
{
    const kiln_limits *has = &sandbox->limits;
    return sandbox->state == KILN_SANDBOX_READY && within(disk_size(limits), disk_size(has)) &&
           within(limits->files, has->files) && within(limits->memory, has->memory) &&
           within(limits->processes, has->processes) &&
           within(limits->open_files, has->open_files) &&
           within(limits->file_size, has->file_size) &&
           (limits->cpus == 0) == (has->cpus == 0); /* a cgroup is made with a share or none */
}

static bool same_limits(const kiln_limits *a, const kiln_limits *b)
{
    return disk_size(a) == disk_size(b) && a->files == b->files && a->memory == b->memory &&
           a->processes == b->processes && a->open_files == b->open_files &&
           a->file_size == b->file_size;
}

void kiln_sandbox_nurse(kiln_sandbox *sandbox)
{
    const kiln_control_run run = {.limits = sandbox->limits};
    int rc = kiln_sandbox_send(sandbox, KILN_CONTROL_NURSE, 0, &run, sizeof(run), NULL, 0);
    if (rc < 0) {
        kiln_log(KILN_LOG_DEBUG, "sandbox", "%s: no process made ahead: %s", sandbox->name,
                 strerror(-rc));
    }
}

void kiln_sandbox_adjust(kiln_sandbox *sandbox, const char *name, const kiln_limits *limits,
                         void (*done)(void *user, const kiln_error *err), void *user)
{
    bool same = same_limits(&sandbox->limits, limits);
    char *renamed = strdup(name);
    if (renamed != NULL) {
        free(sandbox->name);
        sandbox->name = renamed;
    }
    sandbox->limits = *limits;
    if (same) {
        done(user, NULL);
        return;
    }
    const kiln_control_adjust adjust = {
        .session = {.index = sandbox->index, .disk = disk_size(limits), .files = limits->files},
        .limits = *limits,
    };
    int rc =
        kiln_sandbox_send(sandbox, KILN_CONTROL_ADJUST, 0, &adjust, sizeof(adjust), NULL, 0);
    if (rc < 0) {
        kiln_error err = KILN_ERROR_INIT;
        kiln_error_errno(&err, rc, "sandbox: asking the supervisor");
        done(user, &err);
        return;
    }
    sandbox->adjusted = done;
    sandbox->adjusted_user = user;
}

bool kiln_sandbox_alive(const kiln_sandbox *sandbox)
{
    return sandbox->state != KILN_SANDBOX_DEAD;
}

int kiln_sandbox_root_fd(const kiln_sandbox *sandbox)
{
    return sandbox->root_fd;
}

int kiln_sandbox_take_listener(kiln_sandbox *sandbox)
{
    return kiln_steal_fd(&sandbox->listener);
}

void kiln_sandbox_close(kiln_sandbox *sandbox)
{
    if (sandbox->closed) {
        return;
    }
    sandbox->closed = true;
    kiln_sandbox_account_stop(sandbox);
    sandbox->ready = NULL;
    sandbox->lost = NULL;
    sandbox->adjusted = NULL;
    sandbox->references++;
    kiln_fork_abandon(sandbox, "the session was closed");
    if (sandbox->run != NULL) {
        sandbox->run->killing = true;
        kiln_run_lost(sandbox->run, "the sandbox was closed");
    }
    close_fd(&sandbox->root_fd);
    close_fd(&sandbox->listener);
    if (sandbox->pidfd >= 0 && sandbox->nested > 0 && sandbox->control >= 0) {
        /* Branches live inside: it stays for them, with nothing of its own. */
        kiln_sandbox_send(sandbox, KILN_CONTROL_KILL, 0, NULL, 0, NULL, 0);
    } else if (sandbox->pidfd >= 0) {
        await_end(sandbox);
    } else if (sandbox->state == KILN_SANDBOX_OPENING) {
        /* The supervisor may be on its way: it ends when it reads this end, and its
         * pidfd or the end of its socket tells us. */
        shutdown(sandbox->control, SHUT_WR);
    } else {
        kiln_sandbox_bury(sandbox);
    }
    sandbox_unref(sandbox);
}

int kiln_sandbox_send(kiln_sandbox *sandbox, kiln_control_type type, uint32_t id,
                      const void *payload, size_t length, const int *fds, int fd_count)
{
    if (sandbox->control < 0) {
        return -EPIPE;
    }
    return kiln_control_send(sandbox->control, type, id, payload, length, fds, fd_count,
                             MSG_DONTWAIT);
}

void kiln_sandbox_kill(kiln_sandbox *sandbox)
{
    if (sandbox->run != NULL) {
        kiln_run_kill(sandbox->run);
    } else {
        kiln_sandbox_send(sandbox, KILN_CONTROL_KILL, 0, NULL, 0, NULL, 0);
    }
}

uint64_t kiln_sandbox_memory(const kiln_sandbox *sandbox)
{
    return sandbox->cgroup != NULL ? kiln_cgroup_memory(sandbox->cgroup) : 0;
}

void kiln_sandbox_usage(const kiln_sandbox *sandbox, kiln_cgroup_usage *usage)
{
    *usage = (kiln_cgroup_usage){.cpu_ms = -1.0};
    if (sandbox->cgroup != NULL) {
        kiln_cgroup_read(sandbox->cgroup, usage);
    }
}
