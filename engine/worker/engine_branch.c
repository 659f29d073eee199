/* engine_branch.c - a second worker with the state of a first: the engine's side.
 *
 *   branch     NEST to the supervisor and FORK to the worker, at once; when both agree, the
 *              files are copied (COPY), one entry is let through (ARM), the worker told to
 *              go; when it has forked: SETTLE, ADOPT, and READY of the fork
 *   snapshot   FORK; when it has, HOLD; it then waits, unattached
 *   files      COPY alone
 *   resume     ADOPT of a snapshot, once the worker that it is one of has ended
 *
 * Whatever fails on the way ends the fork alone. Only a worker that does not answer, when it
 * should have within milliseconds, is killed for it. */
#include "worker/dialogue.h"
#include "worker/engine_side.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum {
    FORK_MS = 20000, /* files may have to be copied */
    FORK_FDS = KILN_BRANCH_SPACES + KILN_FORK_CGROUPS_MAX + 4,
};

typedef enum fork_kind { FORK_BRANCH, FORK_SNAPSHOT, FORK_RESUME, FORK_FILES } fork_kind;

typedef enum fork_stage {
    STAGE_AGREEING, /* FORKABLE, and for a branch the nested sandbox, are awaited */
    STAGE_COPYING,
    STAGE_FORKING, /* FORKED */
    STAGE_SETTLING,
    STAGE_ADOPTING,
    STAGE_STARTING, /* READY of the fork, if it has not come yet */
    STAGE_HOLDING,
    STAGE_CANCELLING, /* FORKED is awaited, and then the end told */
} fork_stage;

struct kiln_fork {
    kiln_fork *next;
    uint32_t id; /* of its control messages; no run has it: the highest bit is set */
    fork_kind kind;
    fork_stage stage;
    kiln_guest *parent;    /* NULL: it has ended */
    kiln_guest *child;     /* NULL: given away */
    kiln_sandbox *sandbox; /* of the parent; referenced */
    kiln_sandbox *into;    /* of the child */
    int theirs[4];         /* 0, 1, 2, frame socket: the fork's */
    bool agreed, nested, forked;
    bool armed; /* supervisors let an entry through */
    bool lost;  /* `into` has ended */
    kiln_alarm *alarm;
    kiln_error error;
    kiln_fork_done done;
    void *user;
};

static kiln_fork *forks; /* those in flight */
static uint32_t last_id;

static void fork_free(kiln_fork *fork)
{
    kiln_fork **place = &forks;
    while (*place != fork) {
        place = &(*place)->next;
    }
    *place = fork->next;
    kiln_alarm_free(&fork->alarm);
    for (int i = 0; i < 4; i++) {
        if (fork->theirs[i] >= 0) {
            close(fork->theirs[i]);
        }
    }
    free(fork);
}

/* The worker's filter asks the supervisor that started the process which it is a fork of:
 * its own, or one further out. */
static int tell_all(const kiln_fork *fork, kiln_control_type type)
{
    int rc = 0;
    for (kiln_sandbox *at = fork->sandbox; rc == 0 && at != NULL; at = at->outer) {
        /* Only the outermost's answer is waited for: it sees every process. */
        rc = kiln_sandbox_send(at, type, at->outer == NULL ? fork->id : 0, NULL, 0, NULL, 0);
    }
    return rc;
}

/* The end, told once. */
static void finish(kiln_fork *fork)
{
    kiln_guest *child = kiln_steal(fork->child);
    kiln_sandbox *into = kiln_steal(fork->into);
    kiln_fork_done done = fork->done;
    void *user = fork->user;
    kiln_error err = fork->error;
    fork_kind kind = fork->kind;
    if (err.code != 0 && fork->stage == STAGE_HOLDING && !fork->sandbox->closed) {
        kiln_sandbox_send(fork->sandbox, KILN_CONTROL_RELEASE, 0, NULL, 0, NULL, 0);
    }
    if (fork->armed) {
        (void)tell_all(fork, KILN_CONTROL_SETTLE);
    }
    if (fork->parent != NULL) {
        kiln_guest_set_fork(fork->parent, NULL);
    }
    if (child != NULL) {
        kiln_guest_set_fork(child, NULL);
    }
    fork_free(fork);
    if (err.code != 0 && child != NULL && kiln_run_over(kiln_guest_run(child))) {
        kiln_guest_discard(child); /* never attached */
    }
    if (err.code != 0 && kind == FORK_BRANCH && into != NULL) {
        kiln_sandbox_close(into);
    }
    done(user, err.code == 0 ? into : NULL, err.code == 0 ? child : NULL,
         err.code == 0 ? NULL : &err);
}

/* The worker may still be about to fork: then it is called off first. */
static void fail(kiln_fork *fork, const kiln_error *err)
{
    if (fork->error.code == 0) {
        fork->error = *err;
        if (fork->error.code == 0) {
            fork->error.code = -ECANCELED;
        }
    }
    kiln_dialogue *dialogue = fork->parent != NULL ? kiln_guest_dialogue(fork->parent) : NULL;
    bool waits = dialogue != NULL && !dialogue->closed && fork->agreed && !fork->forked;
    if (waits && fork->stage == STAGE_CANCELLING) {
        return; /* likewise */
    } else if (waits && fork->stage < STAGE_FORKING) {
        static const char cancel = KILN_FORK_CANCEL;
        fork->stage = STAGE_CANCELLING;
        if (send(kiln_guest_socket(fork->parent), &cancel, 1, MSG_DONTWAIT | MSG_NOSIGNAL) ==
            1) {
            return; /* FORKED comes */
        }
    } else if (dialogue != NULL && !dialogue->closed &&
               dialogue->awaited == KILN_FRAME_FORKABLE && fork->stage == STAGE_AGREEING) {
        return; /* FORKABLE comes, and is answered by calling it off */
    }
    finish(fork);
}

static void fail_with(kiln_fork *fork, int code, const char *text)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_error_set(&err, code, "%s", text);
    fail(fork, &err);
}

static void send_control(kiln_fork *fork, kiln_sandbox *sandbox, kiln_control_type type,
                         const void *payload, size_t length, int fd)
{
    int rc = kiln_sandbox_send(sandbox, type, fork->id, payload, length, &fd, fd >= 0 ? 1 : 0);
    if (rc < 0) {
        kiln_error err = KILN_ERROR_INIT;
        kiln_error_errno(&err, rc, "branch: asking the supervisor");
        fail(fork, &err);
    }
}

/* ---- the steps */

static void adopt(kiln_fork *fork)
{
    kiln_control_adopt what = {.snapshot = fork->kind == FORK_RESUME};
    if (!what.snapshot && fork->into->cgroup != NULL) {
        kiln_cgroup_get_name(fork->into->cgroup, &what.cgroup);
    }
    fork->stage = STAGE_ADOPTING;
    send_control(fork, fork->into, KILN_CONTROL_ADOPT, &what, sizeof(what), -1);
}

/* The worker is told to fork, with what its fork shall have. */
static void go(kiln_fork *fork)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * FORK_FDS)];
    } room;
    int fds[FORK_FDS];
    int groups = 0;
    size_t count = 0;
    char what = fork->kind == FORK_BRANCH ? KILN_FORK_BRANCH : KILN_FORK_SNAPSHOT;
    for (int i = 0; fork->kind == FORK_BRANCH && i < KILN_BRANCH_SPACES; i++) {
        fds[count++] = fork->into->spaces[i];
    }
    const int *entries = fork->kind == FORK_BRANCH && fork->into->cgroup != NULL
                             ? kiln_cgroup_fds(fork->into->cgroup, &groups)
                             : NULL;
    for (int i = 0; i < groups && i < KILN_FORK_CGROUPS_MAX; i++) {
        fds[count++] = entries[i];
    }
    for (int i = 0; i < 4; i++) {
        fds[count++] = fork->theirs[i];
    }
    fork->stage = STAGE_FORKING;
    memset(&room, 0, sizeof(room));
    struct iovec part = {&what, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = room.bytes,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * count)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(head), fds, sizeof(int) * count);
    if (sendmsg(kiln_guest_socket(fork->parent), &message, MSG_DONTWAIT | MSG_NOSIGNAL) != 1) {
        fork->forked = true; /* it is not to be called off, it is gone */
        fail_with(fork, EPIPE, "branch: the worker has ended");
        return;
    }
    /* The end of the fork's socket must be seen. */
    for (int i = 0; i < 4; i++) {
        close(kiln_steal_fd(&fork->theirs[i]));
    }
}

static void arm_and_go(kiln_fork *fork)
{
    fork->armed = true;
    if (tell_all(fork, KILN_CONTROL_ARM) < 0) {
        fail_with(fork, EPIPE, "branch: the session's sandbox has ended");
        return;
    }
    go(fork);
}

static void hold(kiln_fork *fork, int32_t pid)
{
    const kiln_control_hold what = {.pid = pid};
    fork->stage = STAGE_HOLDING;
    send_control(fork, fork->sandbox, KILN_CONTROL_HOLD, &what, sizeof(what), -1);
}

/* Both the worker and its supervisor agree. */
static void begin(kiln_fork *fork)
{
    if (fork->kind == FORK_SNAPSHOT) {
        go(fork);
    } else if (fork->nested) {
        fork->stage = STAGE_COPYING;
        send_control(fork, fork->into, KILN_CONTROL_COPY, NULL, 0, fork->sandbox->root_fd);
    }
}

void kiln_fork_forkable(kiln_fork *fork, const char *refusal)
{
    kiln_error err = KILN_ERROR_INIT;
    if (refusal != NULL) {
        kiln_error_set(&err, EBUSY, "the worker cannot be forked: %s", refusal);
        fail(fork, &err);
        return;
    }
    fork->agreed = true;
    if (fork->error.code != 0) {
        fail(fork, &fork->error);
    } else {
        begin(fork);
    }
}

void kiln_fork_forked(kiln_fork *fork, int32_t pid, const char *error)
{
    kiln_error err = KILN_ERROR_INIT;
    fork->forked = true;
    if (fork->error.code != 0) {
        finish(fork);
    } else if (error != NULL) {
        kiln_error_set(&err, ECANCELED, "the worker cannot be forked: %s", error);
        fail(fork, &err);
    } else if (fork->kind == FORK_SNAPSHOT) {
        hold(fork, pid);
    } else {
        kiln_fork_progress(fork);
    }
}

/* The fork is its sandbox's main process. */
static void adopted(kiln_fork *fork)
{
    kiln_dialogue *dialogue = kiln_guest_dialogue(fork->child);
    fork->stage = STAGE_STARTING;
    if (!dialogue->started) {
        return;
    }
    kiln_run_attach(kiln_guest_run(fork->child), fork->into, fork->id);
    if (fork->kind == FORK_RESUME &&
        kiln_frame_append(&dialogue->out, KILN_FRAME_RESUME, "", 0) == 0) {
        kiln_guest_flush(fork->child);
    }
    finish(fork);
}

void kiln_fork_progress(kiln_fork *fork)
{
    kiln_dialogue *child = fork->child != NULL ? kiln_guest_dialogue(fork->child) : NULL;
    if (fork->parent != NULL && kiln_guest_dialogue(fork->parent)->closed) {
        kiln_guest_set_fork(fork->parent, NULL);
        fork->parent = NULL;
        if (!fork->forked || fork->kind == FORK_SNAPSHOT) {
            fork->forked = true;
            fail_with(fork, EPIPE, "the worker ended while it was forked");
            return;
        }
    }
    if (child != NULL && child->closed && fork->stage >= STAGE_FORKING &&
        fork->stage < STAGE_HOLDING) {
        const char *why = kiln_guest_run(fork->child)->error;
        fork->forked = true;
        fail_with(fork, ECANCELED, why != NULL ? why : "the fork ended before it was ready");
        return;
    }
    if (fork->kind == FORK_BRANCH && fork->stage == STAGE_FORKING && fork->forked) {
        /* Whether the fork has started or not: it is looked at from outside. */
        fork->stage = STAGE_SETTLING;
        fork->armed = false;
        if (tell_all(fork, KILN_CONTROL_SETTLE) < 0) {
            fail_with(fork, EPIPE, "branch: the session's sandbox has ended");
        }
    } else if (fork->stage == STAGE_STARTING) {
        adopted(fork);
    }
}

void kiln_fork_message(kiln_sandbox *sandbox, kiln_control_message *message)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_fork *fork = forks;
    while (fork != NULL && fork->id != message->id) {
        fork = fork->next;
    }
    if (fork == NULL || fork->error.code != 0) {
        return; /* it failed meanwhile */
    }
    if (message->length > 0) {
        kiln_error_set(&err, ECANCELED, "%.*s", (int)message->length, message->payload);
        fail(fork, &err);
        return;
    }
    switch (message->type) {
    case KILN_CONTROL_COPIED:
        if (fork->kind == FORK_FILES) {
            finish(fork);
        } else if (fork->stage == STAGE_COPYING) {
            arm_and_go(fork);
        }
        break;
    case KILN_CONTROL_SETTLED:
        if (fork->stage == STAGE_SETTLING) {
            adopt(fork);
        }
        break;
    case KILN_CONTROL_HELD:
        if (fork->stage == STAGE_HOLDING && !kiln_guest_waiting(fork->child)) {
            fail_with(fork, ECANCELED, "the snapshot has ended");
        } else if (fork->stage == STAGE_HOLDING) {
            finish(fork);
        }
        break;
    default:
        if (fork->stage == STAGE_ADOPTING && sandbox == fork->into) {
            adopted(fork);
        }
    }
}

static void on_alarm(void *user)
{
    kiln_fork *fork = user;
    kiln_guest *parent = fork->parent;
    kiln_dialogue *dialogue = parent != NULL ? kiln_guest_dialogue(parent) : NULL;
    bool silent = dialogue != NULL && !dialogue->closed && dialogue->awaited != 0;
    fork->agreed = false; /* nothing is called off any more */
    if (fork->error.code == 0) {
        kiln_error_set(&fork->error, ETIMEDOUT, "branch: it was not made within %d s",
                       FORK_MS / 1000);
    }
    finish(fork);
    if (silent) {
        kiln_dialogue_break(dialogue, "", "did not answer when it was to be forked");
    }
}

/* The branch's own sandbox is gone. The worker that was to be forked lives, and may wait for
 * the order to: then it is called off first. */
static void lose_branch(kiln_fork *fork, const char *why)
{
    kiln_guest *child = kiln_steal(fork->child);
    if (child != NULL) {
        kiln_guest_set_fork(child, NULL);
        if (kiln_run_over(kiln_guest_run(child))) {
            kiln_guest_discard(child);
        }
    }
    if (fork->into->closed) {
        fork->into = NULL;
    }
    fork->lost = true;
    fail_with(fork, EPIPE, why);
}

void kiln_fork_abandon(kiln_sandbox *sandbox, const char *why)
{
    kiln_fork *fork = forks;
    while (fork != NULL) {
        if (fork->sandbox == sandbox) {
            if (fork->error.code == 0) {
                kiln_error_set(&fork->error, EPIPE, "%s", why);
            }
            finish(fork);
            fork = forks; /* the list may have changed */
        } else if (fork->into == sandbox && !fork->lost) {
            lose_branch(fork, why);
            fork = forks;
        } else {
            fork = fork->next;
        }
    }
}

/* ---- from outside */

static kiln_fork *fork_new(fork_kind kind, kiln_guest *parent, kiln_sandbox *sandbox,
                           kiln_fork_done done, void *user, kiln_error *err)
{
    kiln_fork *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        kiln_error_errno(err, ENOMEM, "branch");
        return NULL;
    }
    made->kind = kind;
    made->id = ++last_id | 1U << 31;
    made->parent = parent;
    made->sandbox = sandbox;
    made->done = done;
    made->user = user;
    memset(made->theirs, 0xff, sizeof(made->theirs)); /* -1 */
    made->next = forks;
    forks = made;
    made->alarm = kiln_alarm_new(sandbox->zygote->loop, FORK_MS, on_alarm, made);
    if (made->alarm == NULL) {
        kiln_error_errno(err, ENOMEM, "branch");
        fork_free(made);
        return NULL;
    }
    return made;
}

static int ask_worker(kiln_fork *fork, kiln_error *err)
{
    int rc =
        kiln_dialogue_fork(kiln_guest_dialogue(fork->parent), fork->kind == FORK_SNAPSHOT, err);
    if (rc == 0) {
        kiln_guest_set_fork(fork->parent, fork);
        kiln_guest_set_fork(fork->child, fork);
        kiln_guest_flush(fork->parent);
    }
    return rc;
}

static int check_parent(kiln_guest *parent, kiln_error *err)
{
    if (!kiln_guest_usable(parent)) {
        return kiln_error_set(err, EPIPE, "the worker has ended");
    }
    return kiln_guest_fork_of(parent) != NULL
               ? kiln_error_set(err, EBUSY, "the worker is being forked already")
               : 0;
}

static void on_nested(void *user, int root_fd, const kiln_error *err)
{
    kiln_fork *fork = user;
    if (root_fd < 0) {
        fail(fork, err);
        return;
    }
    fork->nested = true;
    if (fork->agreed && fork->error.code == 0) {
        begin(fork);
    }
}

int kiln_guest_branch(kiln_guest *parent, const char *name, const kiln_limits *limits,
                      const kiln_guest_callbacks *callbacks, void *guest_user,
                      kiln_fork_done done, void *user, kiln_error *err)
{
    int rc = check_parent(parent, err);
    if (rc < 0) {
        return rc;
    }
    kiln_sandbox *sandbox = kiln_guest_run(parent)->sandbox;
    if (sandbox->zygote->policy.network == KILN_NETWORK_PROXY) {
        return kiln_error_set(err, ENOTSUP,
                              "a branch shares its session's network, and with [sandbox] "
                              "network = proxy each has its own way out: set network = none");
    }
    kiln_fork *fork = fork_new(FORK_BRANCH, parent, sandbox, done, user, err);
    if (fork == NULL) {
        return err->code;
    }
    rc = kiln_sandbox_open_nested(sandbox, name, limits, on_nested, fork, &fork->into, err);
    if (rc == 0) {
        rc = kiln_guest_prepare(fork->into, limits, callbacks, guest_user, fork->theirs,
                                &fork->child, err);
    }
    if (rc == 0) {
        rc = ask_worker(fork, err);
    }
    if (rc < 0) {
        if (fork->child != NULL) {
            kiln_guest_discard(fork->child);
        }
        if (fork->into != NULL) {
            kiln_sandbox_close(fork->into);
        }
        fork_free(fork);
    }
    return rc;
}

int kiln_guest_snapshot(kiln_guest *parent, const kiln_limits *limits,
                        const kiln_guest_callbacks *callbacks, void *guest_user,
                        kiln_fork_done done, void *user, kiln_error *err)
{
    int rc = check_parent(parent, err);
    if (rc < 0) {
        return rc;
    }
    kiln_sandbox *sandbox = kiln_guest_run(parent)->sandbox;
    kiln_fork *fork = fork_new(FORK_SNAPSHOT, parent, sandbox, done, user, err);
    if (fork == NULL) {
        return err->code;
    }
    rc = kiln_guest_prepare(sandbox, limits, callbacks, guest_user, fork->theirs, &fork->child,
                            err);
    if (rc == 0) {
        rc = ask_worker(fork, err);
    }
    if (rc < 0) {
        if (fork->child != NULL) {
            kiln_guest_discard(fork->child);
        }
        fork_free(fork);
    }
    return rc;
}

int kiln_sandbox_copy(kiln_sandbox *sandbox, int from_fd, kiln_fork_done done, void *user,
                      kiln_error *err)
{
    if (sandbox->closed || sandbox->state != KILN_SANDBOX_READY) {
        return kiln_error_set(err, EPIPE, "the sandbox has ended");
    }
    kiln_fork *fork = fork_new(FORK_FILES, NULL, sandbox, done, user, err);
    if (fork == NULL) {
        return err->code;
    }
    fork->stage = STAGE_COPYING;
    send_control(fork, sandbox, KILN_CONTROL_COPY, NULL, 0, from_fd);
    return 0;
}

bool kiln_guest_waiting(kiln_guest *snapshot)
{
    return !kiln_guest_dialogue(snapshot)->closed;
}

void kiln_guest_release(kiln_sandbox *sandbox, kiln_guest *snapshot)
{
    if (!sandbox->closed) {
        kiln_sandbox_send(sandbox, KILN_CONTROL_RELEASE, 0, NULL, 0, NULL, 0);
    }
    kiln_guest_discard(snapshot);
}

int kiln_guest_resume(kiln_sandbox *sandbox, kiln_guest *snapshot, kiln_fork_done done,
                      void *user, kiln_error *err)
{
    if (sandbox->closed || sandbox->state != KILN_SANDBOX_READY) {
        return kiln_error_set(err, EPIPE, "the sandbox has ended");
    }
    if (sandbox->run != NULL) {
        return kiln_error_set(err, EBUSY, "the worker has not ended");
    }
    kiln_fork *fork = fork_new(FORK_RESUME, NULL, sandbox, done, user, err);
    if (fork == NULL) {
        return err->code;
    }
    fork->child = snapshot;
    fork->into = sandbox;
    fork->forked = true;
    kiln_guest_set_fork(snapshot, fork);
    adopt(fork);
    return 0;
}
