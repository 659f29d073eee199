/* supervisor_branch.c - a supervisor's part in branches.
 *
 * A branch: this supervisor makes a second one, nested inside its session (NEST). That one
 * copies the files (COPY), since only it can make some that belong to its user namespace;
 * this one lets one process of the session go there (ARM), which the worker's fork does.
 * That is untrusted code with capabilities over the nested session for some hundred
 * microseconds; nothing is taken on its word. Once no process outside has any left
 * (SETTLE), the nested supervisor stops what it finds with itself, which must be one process
 * that has given up everything (ADOPT). */
#include "worker/supervisor-t.h"

#include "base/cleanup.h"
#include "worker/processes.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    STOP_MS = 500,   /* for processes to stop, which they do at their next system call */
    SETTLE_MS = 500, /* for the fork to give up its capabilities */
    SETTLE_PASSES = 1000,
};

/* ---- the listener of a worker's filter */

int kiln_supervisor_expect_listener(kiln_supervisor *self)
{
    int pair[2];
    kiln_error ignored = KILN_ERROR_INIT;
    if (self->context->worker->branched == NULL || self->listener_count == KILN_LISTENERS_MAX ||
        kiln_control_pair(pair, "branch", &ignored) < 0) {
        return -1; /* its branches are refused */
    }
    if (self->handover >= 0) {
        close(self->handover);
    }
    self->handover = pair[0];
    return pair[1];
}

void kiln_supervisor_take_listener(kiln_supervisor *self)
{
    static kiln_control_message message;
    int got = kiln_control_receive(self->handover, MSG_DONTWAIT, &message);
    if (got == -EAGAIN) {
        return;
    }
    close(self->handover);
    self->handover = -1;
    if (got > 0) {
        if (message.fd_count == 1 && self->listener_count < KILN_LISTENERS_MAX) {
            self->listeners[self->listener_count++] = kiln_steal_fd(&message.fds[0]);
        }
        kiln_control_clear(&message);
    }
}

void kiln_supervisor_answer(kiln_supervisor *self, int listener)
{
    if (kiln_setns_answer(listener, &self->permit) != -ENOENT) {
        return;
    }
    for (int i = 0; i < self->listener_count; i++) {
        if (self->listeners[i] == listener) {
            close(listener);
            self->listeners[i] = self->listeners[--self->listener_count];
        }
    }
}

/* ---- a nested session */

static void drop(kiln_supervisor *self)
{
    for (int i = 0; i < self->listener_count; i++) {
        close(self->listeners[i]);
    }
    kiln_nursling_drop(&self->nursling);
    close(self->control);
    close(self->signals);
    close(self->root_fd);
    for (int i = 0; i < self->cgroup_count; i++) {
        close(self->cgroup_fds[i]);
    }
    if (self->handover >= 0) {
        close(self->handover);
    }
    if (self->main_pidfd >= 0) {
        close(self->main_pidfd);
    }
    if (self->main_life >= 0) {
        close(self->main_life);
    }
    for (int i = 0; i < KILN_SESSION_SPACES; i++) {
        if (self->spaces[i] >= 0) {
            close(self->spaces[i]);
        }
    }
}

/* Because `asked`, or ahead of it. *nested: this is its end, in the process that was forked. */
static int fork_nested(kiln_supervisor *self, kiln_control_message *asked, bool *nested,
                       kiln_error *err)
{
    int pair[2];
    int rc = kiln_control_pair(pair, "branch", err);
    if (rc < 0) {
        return rc;
    }
    auto_close int ours = pair[0];
    auto_close int theirs = pair[1];
    self->nesting = true;
    rc = kiln_sandbox_nest(&self->context->policy, self->session, nested, err);
    if (*nested) {
        const kiln_zygote_context *context = self->context;
        drop(self);
        if (asked != NULL) {
            kiln_control_clear(asked);
        }
        close(kiln_steal_fd(&ours));
        kiln_supervisor_main(context, kiln_steal_fd(&theirs), true, rc < 0 ? err : NULL);
    } else if (rc == 0) {
        self->spare = kiln_steal_fd(&ours);
    }
    return rc;
}

bool kiln_supervisor_stand_ready(kiln_supervisor *self)
{
    bool nested = false;
    kiln_error err = KILN_ERROR_INIT;
    if (fork_nested(self, NULL, &nested, &err) < 0 && !nested) {
        self->branches = false; /* until the next one, which is told why */
    }
    return nested;
}

bool kiln_supervisor_nest(kiln_supervisor *self, kiln_control_message *message, bool *nested)
{
    kiln_error err = KILN_ERROR_INIT;
    int rc = -EPIPE;
    *nested = false;
    if (message->fd_count != 1 || message->length != sizeof(kiln_sandbox_session)) {
        return false;
    }
    for (int i = 0; rc == -EPIPE && i < 2; i++) { /* the spare one may have died */
        rc = self->spare < 0 ? fork_nested(self, message, nested, &err) : 0;
        if (*nested) {
            return true;
        }
        if (rc == 0) {
            auto_close int orders = kiln_steal_fd(&self->spare);
            rc = kiln_control_send(orders, KILN_CONTROL_OPEN, 0, message->payload,
                                   message->length, message->fds, 1, 0);
        }
    }
    if (rc < 0) {
        if (err.code == 0) {
            kiln_error_errno(&err, rc, "branch: a nested supervisor");
        }
        kiln_control_send(message->fds[0], KILN_CONTROL_FAILED, 0, err.text, strlen(err.text),
                          NULL, 0, 0);
    }
    self->branches = true;
    return true;
}

static bool copy(const kiln_supervisor *self, const kiln_control_message *message)
{
    kiln_error err = KILN_ERROR_INIT;
    if (message->fd_count != 1) {
        return false;
    }
    kiln_supervisor_copy_files(self, message->fds[0], &err);
    return kiln_supervisor_tell(self, KILN_CONTROL_COPIED, message->id, &err);
}

/* ---- who may be on the way there */

typedef enum capable_fate { CAPABLE_SPARED, CAPABLE_KILLED } capable_fate;

/* Whoever has a capability and runs code of a user is on the way into a nested session. */
static size_t find_capable(capable_fate fate)
{
    kiln_process_list list;
    kiln_process_facts facts;
    size_t found = 0;
    if (kiln_processes_begin(&list) < 0) {
        return 1;
    }
    while (kiln_processes_next(&list, &facts)) {
        if (facts.filtered && facts.capable && !facts.zombie) {
            if (fate == CAPABLE_KILLED) {
                kill(facts.pid, SIGKILL);
            }
            found++;
        }
    }
    kiln_processes_end(&list);
    return found;
}

/* What is waited for comes within microseconds, and a sleep is late by 50 of them. */
static void wait_a_little(int passes)
{
    static const struct timespec pause = {0, 200000};
    enum { AWAKE = 10 };
    if (passes < AWAKE) {
        sched_yield();
    } else {
        nanosleep(&pause, NULL);
    }
}

/* A worker's fork gives its capabilities up first of all, and needs a moment for it. */
static void await_incapable(void)
{
    for (int passes = 0; find_capable(CAPABLE_SPARED) > 0 && passes < SETTLE_MS * 5; passes++) {
        wait_a_little(passes);
    }
}

static bool settle(kiln_supervisor *self, uint32_t id)
{
    kiln_error err = KILN_ERROR_INIT;
    self->permit.left = 0;
    if (id == 0) {
        return true; /* a supervisor further out does the rest: it sees all processes */
    }
    await_incapable();
    int passes = 0;
    while (find_capable(CAPABLE_KILLED) > 0 && passes < SETTLE_PASSES) {
        if (++passes == SETTLE_PASSES / 2) {
            kill(-1, SIGSTOP); /* they fork faster than they are found */
        }
    }
    if (passes >= SETTLE_PASSES / 2) {
        kill(-1, SIGCONT);
    }
    if (passes == SETTLE_PASSES) {
        kiln_error_set(&err, EPERM, "branch: its processes kept capabilities");
    }
    return kiln_supervisor_tell(self, KILN_CONTROL_SETTLED, id, &err);
}

/* ---- the one that has entered */

static int refuse(kiln_error *err, const char *why)
{
    return kiln_error_set(err, EPERM, "branch: refused: the process that entered %s", why);
}

static int check(const kiln_supervisor *self, const kiln_process_facts *facts,
                 const kiln_cgroup_name *cgroup, kiln_error *err)
{
    static const char *const spaces[] = {"user", "mnt", "ipc"};
    uid_t uid;
    int rc = kiln_sandbox_session_uid(&self->context->policy, self->session->index, &uid, err);
    if (rc < 0) {
        return rc;
    }
    for (int i = 0; i < 4; i++) {
        if (facts->uids[i] != uid) {
            return refuse(err, "has another uid than the session's");
        }
    }
    if (facts->capable) {
        return refuse(err, "has kept capabilities");
    }
    if (!facts->no_new_privs || !facts->filtered) {
        return refuse(err, "has no filter");
    }
    if (facts->threads != 1 || !facts->own) {
        return refuse(err, "has threads, or a namespace of its own");
    }
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        if (!kiln_process_shares(facts->pid, spaces[i])) {
            return refuse(err, "is not in every namespace of the branch");
        }
    }
    /* Here, where it cannot fork: what it forks is where it is. */
    return kiln_cgroup_holds(cgroup, facts->pid) ? 0
                                                 : refuse(err, "is not in the branch's cgroup");
}

/* Reads the list of processes once; *moving: one of them can still fork. */
static int find_only(kiln_process_facts *only, bool *moving, kiln_error *err)
{
    kiln_process_list list;
    kiln_process_facts facts;
    int count = 0;
    int rc = kiln_processes_begin(&list);
    if (rc < 0) {
        return kiln_error_errno(err, rc, "branch: /proc");
    }
    *moving = false;
    while (kiln_processes_next(&list, &facts)) {
        if (!facts.zombie) { /* one that was killed on its way may wait to be reaped */
            *only = facts;
            *moving |= !facts.stopped;
            count++;
        }
    }
    kiln_processes_end(&list);
    return count == 1 ? 0
           : count == 0
               ? kiln_error_set(err, ESRCH, "branch: nobody entered it")
               : kiln_error_set(err, EPERM, "branch: refused: %d processes entered it, not one",
                                count);
}

static int find_stopped(kiln_process_facts *only, kiln_error *err)
{
    bool moving = true;
    for (int passes = 0; passes < STOP_MS * 5; passes++) {
        err->code = 0;
        kill(-1, SIGSTOP); /* an outer supervisor may have let all go on meanwhile */
        int rc = find_only(only, &moving, err);
        if (!moving) {
            return rc;
        }
        wait_a_little(passes);
    }
    return kiln_error_set(err, ETIMEDOUT, "branch: refused: its process does not stop");
}

static int adopt_entered(kiln_supervisor *self, const kiln_cgroup_name *cgroup, kiln_error *err)
{
    kiln_process_facts only = {0};
    int rc = find_stopped(&only, err);
    if (rc == 0) {
        rc = check(self, &only, cgroup, err);
    }
    if (rc == 0) {
        self->main_pidfd = pidfd_open(only.pid, 0);
        rc = self->main_pidfd < 0 ? kiln_error_errno(err, errno, "branch: pidfd") : 0;
    }
    if (rc < 0) {
        kill(-1, SIGKILL);
        return rc;
    }
    kill(-1, SIGCONT);
    self->main_pid = only.pid;
    return 0;
}

/* From Linux 6.15 on, once it is reaped, which our own parent does at once; elsewhere it is
 * told as a kill. */
static int status_of(int pidfd)
{
    static const struct timespec pause = {0, 200000};
    struct {
        uint64_t mask;
        uint64_t cgroup;
        uint32_t ids[11];
        int32_t exit_code;
        uint64_t rest[8];
    } info;
    enum { GET_INFO_NUMBER = 11, INFO_EXIT = 1 << 3 };
    for (int waited = 0; waited < KILN_PATIENCE_MS * 5; waited++) {
        memset(&info, 0, sizeof(info));
        info.mask = INFO_EXIT;
        if (ioctl(pidfd, _IOC(_IOC_READ | _IOC_WRITE, 0xff, GET_INFO_NUMBER, sizeof(info)),
                  &info) < 0 &&
            errno != ESRCH) {
            break;
        }
        if ((info.mask & INFO_EXIT) != 0) {
            return info.exit_code;
        }
        nanosleep(&pause, NULL);
    }
    return SIGKILL;
}

void kiln_supervisor_main_ended(kiln_supervisor *self)
{
    self->exit.status = status_of(self->main_pidfd);
    close(self->main_pidfd);
    self->main_pidfd = -1;
    self->main_pid = 0;
}

static bool adopt(kiln_supervisor *self, const kiln_control_message *message)
{
    kiln_control_adopt what;
    kiln_error err = KILN_ERROR_INIT;
    if (message->length != sizeof(what) || self->running) {
        return false;
    }
    memcpy(&what, message->payload, sizeof(what));
    self->id = message->id;
    self->exit = (kiln_control_exit){0};
    self->error = (kiln_error)KILN_ERROR_INIT;
    self->main_pidfd = -1;
    self->main_life = -1;
    self->running = (what.snapshot ? kiln_supervisor_adopt_snapshot(self, &err)
                                   : adopt_entered(self, &what.cgroup, &err)) == 0;
    return kiln_supervisor_tell(self, KILN_CONTROL_ADOPTED, message->id, &err);
}

bool kiln_supervisor_tell(const kiln_supervisor *self, kiln_control_type type, uint32_t id,
                          const kiln_error *err)
{
    size_t length = err->code != 0 ? strlen(err->text) : 0;
    return kiln_control_send(self->control, type, id, err->text, length, NULL, 0, 0) == 0;
}

bool kiln_supervisor_branch(kiln_supervisor *self, const kiln_control_message *message)
{
    switch (message->type) {
    case KILN_CONTROL_COPY:
        return copy(self, message);
    case KILN_CONTROL_ARM:
        kiln_setns_permit_arm(&self->permit);
        return true;
    case KILN_CONTROL_SETTLE:
        return settle(self, message->id);
    case KILN_CONTROL_ADOPT:
        return adopt(self, message);
    case KILN_CONTROL_HOLD:
        return kiln_supervisor_hold(self, message);
    case KILN_CONTROL_RELEASE:
        kiln_supervisor_release(self);
        return true;
    default:
        return false;
    }
}
