#include "worker/zygote.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "worker/program.h"
#include "worker/schedule.h"
#include "worker/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* One that lives, and who wants to know its end. */
typedef struct birth {
    pid_t pid;
    int life;
} birth;

typedef struct zygote {
    const kiln_zygote_context *context;
    int socket;
    int signals;
    int frames_place; /* in a worker its frames' descriptor: the same number in all */
    int own_pidfd;    /* the way back to the own pid namespace */
    birth *births;
    size_t count, capacity;
} zygote;

/* ---- kiln_worker_host: its callbacks take no user pointer, a process has one plugin */

static char **options;
static pid_t zygote_pid;

static const char *host_option(const char *name)
{
    size_t length = strlen(name);
    for (char **option = options; option != NULL && *option != NULL; option++) {
        if (strncmp(*option, name, length) == 0 && (*option)[length] == '=') {
            return *option + length + 1;
        }
    }
    return NULL;
}

static void host_log(uint32_t level, const char *text)
{
    if (getpid() != zygote_pid) {
        return; /* a worker's descriptor 2 is the user's stream */
    }
    kiln_log(level <= KILN_PLUGIN_LOG_DEBUG ? (kiln_log_level)level : KILN_LOG_DEBUG, "worker",
             "%s", text);
}

static const kiln_worker_host worker_host = {
    .size = sizeof(kiln_worker_host),
    .emit = kiln_guest_emit,
    .option = host_option,
    .log = host_log,
    .owned = kiln_guest_owned,
    .interrupted = kiln_guest_interrupted,
    .call = kiln_guest_call,
    .display = kiln_guest_display,
    .error = kiln_guest_error,
    .argument = kiln_guest_argument,
};

/* ---- the worker, from its fork to its plugin's code */

static int say(int socket, kiln_control_type type, const kiln_error *err)
{
    size_t length = err != NULL ? strlen(err->text) : 0;
    return kiln_control_send(socket, type, 0, err != NULL ? err->text : NULL, length, NULL, 0,
                             MSG_DONTWAIT);
}

static int say_born(int life, kiln_error *err)
{
    auto_close int pidfd = pidfd_open(getpid(), 0);
    int rc = pidfd < 0 ? -errno
                       : kiln_control_send(life, KILN_CONTROL_BORN, (uint32_t)getpid(), NULL, 0,
                                           &pidfd, 1, MSG_DONTWAIT);
    return rc < 0 ? kiln_error_errno(err, rc, "zygote: telling of a worker") : 0;
}

/* The listener of its filter, to its supervisor. */
static void hand_over(int handover, int listener)
{
    if (listener >= 0) {
        kiln_control_send(handover, KILN_CONTROL_READY, 0, NULL, 0, &listener, 1, 0);
        close(listener);
    }
    close(handover);
}

/* Trusted until kiln_sandbox_lock, which closes what it holds of others. */
static void live(const zygote *self, const kiln_worker_request *request, int life)
{
    kiln_error err = KILN_ERROR_INIT;
    const kiln_zygote_context *context = self->context;
    int frames = request->frames;
    int handover = request->handover;
    int listener = -1;
    if (kiln_sandbox_join_session(request->spaces, &err) < 0 || say_born(life, &err) < 0 ||
        dup3(frames, self->frames_place, O_CLOEXEC) < 0) {
        say(life, KILN_CONTROL_FAILED, &err);
        _exit(127);
    }
    frames = self->frames_place;
    int keep[] = {frames, handover};
    if (handover >= 0 && handover < frames) {
        keep[0] = handover;
        keep[1] = frames;
    }
    const kiln_sandbox_lock_spec lock = {
        .limits = request->limits,
        .session_index = request->session_index,
        .cgroup_fds = request->cgroup_fds,
        .cgroup_count = request->cgroup_count,
        .landlock_fd = context->landlock_fd,
        .keep_fds = keep,
        .keep_count = handover < 0 ? 1 : 2,
        .required = context->policy.required,
        .listener = handover < 0 ? NULL : &listener,
    };
    if (kiln_program_connect(request->stdio, &err) < 0 ||
        kiln_sandbox_lock(&context->policy, &lock, &err) < 0) {
        kiln_guest_refuse(frames, err.text);
        _exit(127);
    }
    if (handover >= 0) {
        hand_over(handover, listener);
    }
    prctl(PR_SET_NAME, "kiln-guest");
    sigset_t mask = context->mask;
    sigaddset(&mask, SIGINT); /* kiln_guest_main lets it in */
    sigprocmask(SIG_SETMASK, &mask, NULL);
    _exit(kiln_guest_main(context->worker, frames));
}

/* ---- requests */

/* What travels of a request; its descriptors follow in its order, `life` first. */
typedef struct request_wire {
    kiln_limits limits;
    uint32_t session_index;
    uint32_t spaces; /* bit i: spaces[i] is there */
    bool handover;
} request_wire;

static int decode(const kiln_control_message *message, kiln_worker_request *request, int *life)
{
    request_wire wire;
    int at = 0;
    if (message->type != KILN_CONTROL_RUN_WORKER || message->length != sizeof(wire)) {
        return -EPROTO;
    }
    memcpy(&wire, message->payload, sizeof(wire));
    int fixed = 1 + 3 + 1 + (wire.handover ? 1 : 0) + __builtin_popcount(wire.spaces);
    if (message->fd_count < fixed || (wire.spaces >> KILN_SESSION_SPACES) != 0 ||
        (wire.spaces & (1U << KILN_SPACE_PID)) == 0) {
        return -EPROTO;
    }
    *request = (kiln_worker_request){
        .limits = wire.limits, .session_index = wire.session_index, .handover = -1};
    *life = message->fds[at++];
    for (int i = 0; i < KILN_SESSION_SPACES; i++) {
        request->spaces[i] = (wire.spaces & (1U << i)) != 0 ? message->fds[at++] : -1;
    }
    for (int i = 0; i < 3; i++) {
        request->stdio[i] = message->fds[at++];
    }
    request->frames = message->fds[at++];
    if (wire.handover) {
        request->handover = message->fds[at++];
    }
    request->cgroup_fds = message->fds + at;
    request->cgroup_count = message->fd_count - at;
    return 0;
}

static bool make_room(zygote *self)
{
    if (self->count < self->capacity) {
        return true;
    }
    size_t capacity = self->capacity != 0 ? 2 * self->capacity : 64;
    birth *births = realloc(self->births, capacity * sizeof(*births));
    if (births == NULL) {
        return false;
    }
    self->births = births;
    self->capacity = capacity;
    return true;
}

/* libc's fork, since a bare clone would leave glibc's idea of the thread id behind; into
 * the session's pid namespace and back costs 7 us. Negative: this process cannot go on. */
static int fork_worker(zygote *self, kiln_control_message *message)
{
    kiln_worker_request request;
    kiln_error err = KILN_ERROR_INIT;
    int life;
    int rc = decode(message, &request, &life);
    if (rc < 0) {
        return rc;
    }
    pid_t pid = -1;
    if (!make_room(self)) {
        kiln_error_errno(&err, ENOMEM, "zygote");
    } else if (setns(request.spaces[KILN_SPACE_PID], CLONE_NEWPID) < 0) {
        kiln_error_errno(&err, errno, "zygote: the session's pid namespace");
    } else {
        pid = fork();
        if (pid == 0) {
            live(self, &request, life);
        }
        if (pid < 0) {
            kiln_error_errno(&err, errno, "zygote: fork");
        }
        if (setns(self->own_pidfd, CLONE_NEWPID) < 0) {
            /* Nothing that is forked from here on would be where it belongs. */
            return kiln_error_errno(&err, errno, "zygote: return to the own pid namespace");
        }
    }
    if (pid < 0) {
        say(life, KILN_CONTROL_FAILED, &err);
        return 0;
    }
    self->births[self->count++] = (birth){.pid = pid, .life = kiln_steal_fd(&message->fds[0])};
    return 0;
}

/* Also of those that nobody asks about: their pid namespace cannot end before. */
static void reap(zygote *self)
{
    struct signalfd_siginfo ignored;
    struct rusage usage;
    int status;
    pid_t pid;
    while (read(self->signals, &ignored, sizeof(ignored)) > 0) {
    }
    while ((pid = wait4(-1, &status, WNOHANG | __WALL, &usage)) > 0) {
        kiln_worker_end end = {
            .status = status,
            .cpu_us = kiln_usage_cpu_us(&usage),
            .max_rss_bytes = kiln_usage_max_rss_bytes(&usage),
        };
        size_t i = 0;
        while (i < self->count && self->births[i].pid != pid) {
            i++;
        }
        if (i < self->count) {
            kiln_control_send(self->births[i].life, KILN_CONTROL_EXIT, 0, &end, sizeof(end),
                              NULL, 0, MSG_DONTWAIT);
            close(self->births[i].life);
            self->births[i] = self->births[--self->count];
        }
    }
}

static int serve(zygote *self)
{
    static kiln_control_message message;
    struct pollfd fds[] = {{.fd = self->socket, .events = POLLIN},
                           {.fd = self->signals, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0) {
            return -errno; /* every signal is blocked */
        }
        if (fds[1].revents != 0) {
            reap(self);
        }
        if (fds[0].revents == 0) {
            continue;
        }
        int rc = kiln_control_receive(self->socket, MSG_DONTWAIT, &message);
        if (rc > 0) {
            rc = fork_worker(self, &message);
            kiln_control_clear(&message);
        } else if (rc == 0) {
            return 0; /* the spawner and every supervisor are gone */
        }
        if (rc < 0 && rc != -EAGAIN) {
            return rc;
        }
    }
}

/* ---- start */

static int prepare(zygote *self, kiln_error *err)
{
    const char *why = NULL;
    sigset_t all;
    sigset_t child;
    zygote_pid = getpid();
    kiln_guest_process_prepare();
    if (self->context->worker->preload(&worker_host, &why) < 0) {
        return kiln_error_set(err, ECANCELED, "preload: %s", why != NULL ? why : "failed");
    }
    sigfillset(&all);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR || sigprocmask(SIG_SETMASK, &all, NULL) < 0) {
        return kiln_error_errno(err, errno, "zygote: signals");
    }
    self->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    self->own_pidfd = pidfd_open(zygote_pid, 0);
    self->frames_place = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return self->signals < 0 || self->own_pidfd < 0 || self->frames_place < 0
               ? kiln_error_errno(err, errno, "zygote: signalfd and pidfd")
               : 0;
}

/* Its socket takes the place of the spawner's, which it must not hold. */
static int zygote_main(const kiln_zygote_context *context, int socket)
{
    zygote self = {
        .context = context, .socket = KILN_CONTROL_FD, .signals = -1, .own_pidfd = -1};
    kiln_error err = KILN_ERROR_INIT;
    prctl(PR_SET_NAME, "kiln-zygote");
    kiln_schedule_promptly();
    if (dup3(socket, KILN_CONTROL_FD, O_CLOEXEC) < 0) {
        return 1;
    }
    close(socket);
    int rc = prepare(&self, &err);
    if (rc < 0) {
        say(self.socket, KILN_CONTROL_FAILED, &err);
        return 1;
    }
    /* Its number, so that it is not a plugin's preload that says it. */
    rc = kiln_control_send(self.socket, KILN_CONTROL_READY, (uint32_t)zygote_pid, NULL, 0, NULL,
                           0, MSG_DONTWAIT);
    rc = rc < 0 ? rc : serve(&self);
    if (rc < 0) {
        kiln_log(KILN_LOG_ERROR, "zygote", "%s", strerror(-rc));
        return 1;
    }
    return 0;
}

/* It has hung up. What hangs up and lives is killed with us, by the kernel. */
static int tell_death(pid_t pid, kiln_error *err)
{
    enum { PATIENCE_MS = 1000 };
    int status = 0;
    auto_close int pidfd = pidfd_open(pid, 0);
    struct pollfd end = {.fd = pidfd, .events = POLLIN};
    if (pidfd < 0 || poll(&end, 1, PATIENCE_MS) != 1 || waitpid(pid, &status, WNOHANG) != pid) {
        return kiln_error_set(err, ECANCELED,
                              "the worker process closed its socket while it started");
    }
    return WIFSIGNALED(status)
               ? kiln_error_set(err, ECANCELED, "the worker process died while it started (%s)",
                                strsignal(WTERMSIG(status)))
               : kiln_error_set(err, ECANCELED,
                                "the worker process ended while it started (status %d)",
                                WEXITSTATUS(status));
}

int kiln_zygote_fork(const kiln_zygote_context *context, char **its_options, pid_t *pid,
                     kiln_error *err)
{
    int pair[2];
    int rc = kiln_control_pair(pair, "zygote", err);
    if (rc < 0) {
        return rc;
    }
    auto_close int ours = pair[0];
    auto_close int theirs = pair[1];
    options = its_options;
    *pid = fork();
    if (*pid == 0) {
        close(ours);
        _exit(zygote_main(context, theirs));
    }
    return *pid < 0 ? kiln_error_errno(err, errno, "zygote: fork") : kiln_steal_fd(&ours);
}

int kiln_zygote_await(int socket, pid_t pid, kiln_error *err)
{
    static kiln_control_message message;
    int got = kiln_control_receive(socket, 0, &message);
    if (got == 0) {
        return tell_death(pid, err);
    }
    int rc = 0;
    if (got > 0 && message.type == KILN_CONTROL_FAILED) {
        rc = kiln_error_set(err, ECANCELED, "%.*s", (int)message.length, message.payload);
    } else if (got < 0 || message.type != KILN_CONTROL_READY || message.id != (uint32_t)pid) {
        rc = kiln_error_set(err, EPROTO, "the worker process sent what it should not");
    }
    if (got > 0) {
        kiln_control_clear(&message);
    }
    return rc;
}

/* ---- the supervisor's side */

pid_t kiln_zygote_ask(int socket, const kiln_worker_request *request, int *life, int *pidfd,
                      kiln_error *err)
{
    static kiln_control_message message;
    int pair[2];
    int fds[KILN_CONTROL_FDS];
    int count = 0;
    request_wire wire = {.limits = request->limits,
                         .session_index = request->session_index,
                         .handover = request->handover >= 0};
    int rc = kiln_control_pair(pair, "zygote", err);
    if (rc < 0) {
        return rc;
    }
    auto_close int ours = pair[0];
    auto_close int theirs = pair[1];
    fds[count++] = theirs;
    for (int i = 0; i < KILN_SESSION_SPACES; i++) {
        if (request->spaces[i] >= 0) {
            wire.spaces |= 1U << i;
            fds[count++] = request->spaces[i];
        }
    }
    memcpy(fds + count, request->stdio, sizeof(request->stdio));
    count += 3;
    fds[count++] = request->frames;
    if (wire.handover) {
        fds[count++] = request->handover;
    }
    if (request->cgroup_count > KILN_CONTROL_FDS - count) {
        return kiln_error_errno(err, E2BIG, "zygote: cgroups");
    }
    for (int i = 0; i < request->cgroup_count; i++) {
        fds[count++] = request->cgroup_fds[i];
    }
    rc = kiln_control_send(socket, KILN_CONTROL_RUN_WORKER, 0, &wire, sizeof(wire), fds, count,
                           0);
    close(kiln_steal_fd(&theirs));
    int got = rc < 0 ? rc : kiln_control_receive(ours, 0, &message);
    if (got <= 0) {
        return kiln_error_errno(err, got < 0 ? got : EPIPE, "zygote");
    }
    pid_t pid = (pid_t)message.id;
    if (message.type != KILN_CONTROL_BORN || message.fd_count != 1) {
        pid = kiln_error_set(err, ECANCELED, "%.*s", (int)message.length, message.payload);
    } else {
        *life = kiln_steal_fd(&ours);
        *pidfd = kiln_steal_fd(&message.fds[0]);
    }
    kiln_control_clear(&message);
    return pid;
}

int kiln_zygote_take_end(int *life, kiln_worker_end *end)
{
    static kiln_control_message message;
    auto_close int socket = kiln_steal_fd(life);
    int rc = -EPIPE;
    if (kiln_control_receive(socket, MSG_DONTWAIT, &message) > 0) {
        if (message.type == KILN_CONTROL_EXIT && message.length == sizeof(*end)) {
            memcpy(end, message.payload, sizeof(*end));
            rc = 0;
        }
        kiln_control_clear(&message);
    }
    return rc;
}
