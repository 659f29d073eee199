/* supervisor.c - pid 1 of a session: forks, reaps, kills, reports.
 *
 * It never runs a user's code, and the code cannot reach it: as pid 1 with every
 * signal blocked nothing from inside its namespace has an effect on it, it is not
 * dumpable, and kiln_sandbox_lock closes its descriptors in each child. */
#include "worker/program.h"
#include "worker/schedule.h"
#include "worker/supervisor-t.h"
#include "worker/usage.h"
#include "worker/zygote.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_UNPOISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#endif

typedef kiln_supervisor supervisor;

/* What a program's child needs; it shares our memory until it has executed. */
typedef struct launch {
    const kiln_zygote_context *context;
    kiln_sandbox_lock_spec lock;
    const int *stdio;
    char **argv;
    char **env;
    kiln_error error; /* written by the child */
} launch;

static char launch_stack[256 << 10] __attribute__((aligned(64)));

static int program_main(void *argument)
{
    launch *what = argument;
    if (what->context->worker != NULL) {
        kiln_program_reset_signals();
    }
    if (kiln_program_connect(what->stdio, &what->error) == 0 &&
        kiln_sandbox_lock(&what->context->policy, &what->lock, &what->error) == 0) {
        sigprocmask(SIG_SETMASK, &what->context->mask, NULL);
        kiln_program_execute(what->argv, what->env, &what->error);
    }
    _exit(127);
}

static kiln_sandbox_lock_spec lock_spec(const supervisor *self, const kiln_control_run *run)
{
    return (kiln_sandbox_lock_spec){
        .limits = run->limits,
        .session_index = self->session->index,
        .cgroup_fds = self->cgroup_fds,
        .cgroup_count = self->cgroup_count,
        .landlock_fd = self->context->landlock_fd,
        .required = self->context->policy.required,
    };
}

static void start_program(supervisor *self, const kiln_control_run *run,
                          const kiln_control_message *message)
{
    self->main_pid = self->nursling.pid;
    if (kiln_nursling_run(&self->nursling, message, &self->error) != -EPIPE) {
        return; /* it is the program now, or has ended with why it is not */
    }
    self->main_pid = 0;
    self->error = (kiln_error)KILN_ERROR_INIT;
    size_t end;
    auto_free char **argv = kiln_control_strings(message, sizeof(*run), run->argc, &end);
    auto_free char **env =
        argv != NULL ? kiln_control_strings(message, end, run->envc, &end) : NULL;
    if (env == NULL || run->argc == 0 || message->fd_count != 3) {
        kiln_error_set(&self->error, EPROTO, "control: malformed request");
        return;
    }
    launch what = {
        .context = self->context,
        .lock = lock_spec(self, run),
        .stdio = message->fds,
        .argv = argv,
        .env = env,
    };
    ASAN_UNPOISON_MEMORY_REGION(launch_stack, sizeof(launch_stack));
    /* As vfork, on a stack of its own: no page is copied, and the error comes back
     * through memory. We sleep until the child has executed or exited. */
    int pid = clone(program_main, launch_stack + sizeof(launch_stack),
                    CLONE_VM | CLONE_VFORK | SIGCHLD, &what);
    int failure = errno;
    /* Dumpable is a property of memory: the child's lock has made ours so, too. */
    prctl(PR_SET_DUMPABLE, 0);
    if (pid < 0) {
        kiln_error_errno(&self->error, failure, "fork");
        return;
    }
    self->main_pid = pid;
    self->error = what.error;
}

/* A process for the next program, as far as it can be made without knowing which. */
static void nurse(supervisor *self, const kiln_control_message *message)
{
    kiln_control_run run;
    kiln_error err = KILN_ERROR_INIT;
    if (self->running || self->nursling.pid > 0 || message->length != sizeof(run)) {
        return;
    }
    memcpy(&run, message->payload, sizeof(run));
    const kiln_sandbox_lock_spec lock = lock_spec(self, &run);
    if (kiln_nursling_start(&self->nursling, self->context, &lock, &err) < 0) {
        kiln_log(KILN_LOG_DEBUG, "sandbox", "%s", err.text); /* the program starts anew */
    }
}

static void start_worker(supervisor *self, const kiln_control_run *run,
                         const kiln_control_message *message)
{
    if (message->fd_count != 4 || self->context->worker == NULL) {
        kiln_error_set(&self->error, EPROTO, "control: malformed request");
        return;
    }
    if (self->spaces[KILN_SPACE_PID] < 0 &&
        kiln_sandbox_session_spaces(&self->context->policy, self->session, self->spaces,
                                    &self->error) < 0) {
        return;
    }
    auto_close int handover = kiln_supervisor_expect_listener(self);
    kiln_worker_request request = {
        .limits = run->limits,
        .session_index = self->session->index,
        .stdio = {message->fds[0], message->fds[1], message->fds[2]},
        .frames = message->fds[3],
        .handover = handover,
        .cgroup_fds = self->cgroup_fds,
        .cgroup_count = self->cgroup_count,
    };
    memcpy(request.spaces, self->spaces, sizeof(self->spaces));
    auto_close int pidfd = -1;
    pid_t pid = kiln_zygote_ask(self->context->zygote, &request, &self->main_life, &pidfd,
                                &self->error);
    self->main_pid = pid > 0 ? pid : 0;
    if (pid > 0 && self->cgroup_count == 0) { /* the engine counts by itself */
        kiln_control_send(self->control, KILN_CONTROL_BORN, 0, NULL, 0, &pidfd, 1, 0);
    }
}

static void start(supervisor *self, const kiln_control_message *message)
{
    kiln_control_run run;
    self->running = true;
    self->id = message->id;
    self->main_pid = 0;
    self->main_pidfd = -1;
    self->main_life = -1;
    self->exit = (kiln_control_exit){0};
    self->error = (kiln_error)KILN_ERROR_INIT;
    if (message->length < sizeof(run)) {
        kiln_error_set(&self->error, EPROTO, "control: malformed request");
        return;
    }
    memcpy(&run, message->payload, sizeof(run));
    if (message->type == KILN_CONTROL_RUN_PROGRAM) {
        start_program(self, &run, message);
    } else {
        start_worker(self, &run, message);
    }
}

/* The cell's id travels with the signal, so that a worker can tell an interrupt that
 * came before its cell from one that was meant for an earlier cell. */
static void interrupt(const supervisor *self, uint32_t id)
{
    if (self->running && self->main_pid > 0) {
        sigqueue(self->main_pid, SIGINT, (union sigval){.sival_int = (int)id});
    }
}

static int sweep(supervisor *self, uint32_t id)
{
    int rc = self->running && self->main_pid > 0 ? kiln_supervisor_sweep(self) : 0;
    return rc < 0
               ? rc
               : kiln_control_send(self->control, KILN_CONTROL_SWEPT, id, NULL, 0, NULL, 0, 0);
}

/* A session that gets a sandbox which was made ahead may have narrower limits than that. */
static int adjust(const supervisor *self, const kiln_control_message *message)
{
    kiln_control_adjust wanted;
    kiln_error err = KILN_ERROR_INIT;
    int rc = -EPROTO;
    if (message->length == sizeof(wanted)) {
        memcpy(&wanted, message->payload, sizeof(wanted));
        rc = kiln_sandbox_resize_session(&wanted.session, &err);
        if (rc == 0 && self->main_pid > 0) {
            wanted.limits.cpu_ms = 0; /* a worker's is that of a cell */
            rc = kiln_sandbox_limit(&self->context->policy, self->main_pid, &wanted.limits,
                                    self->cgroup_count > 0, &err);
        }
    }
    if (rc < 0 && err.text[0] == '\0') {
        kiln_error_errno(&err, rc, "control: ADJUST");
    }
    return kiln_control_send(self->control, KILN_CONTROL_ADJUSTED, 0, err.text,
                             strlen(err.text), NULL, 0, 0);
}

static int report(supervisor *self)
{
    struct {
        kiln_control_exit exit;
        char text[sizeof(self->error.text)];
    } body = {.exit = self->exit};
    size_t length = sizeof(body.exit);
    if (self->error.code != 0) {
        body.exit.error = self->error.code;
        size_t text = strlen(self->error.text);
        memcpy(body.text, self->error.text, text);
        length += text;
    }
    self->running = false;
    return kiln_control_send(self->control, KILN_CONTROL_EXIT, self->id, &body, length, NULL, 0,
                             0);
}

static void account(supervisor *self, uint64_t cpu_us, uint64_t rss_bytes)
{
    self->exit.cpu_us += cpu_us;
    if (rss_bytes > self->exit.max_rss_bytes) {
        self->exit.max_rss_bytes = rss_bytes;
    }
}

/* The zygote has reaped the worker. */
static void take_end(supervisor *self)
{
    kiln_worker_end end = {.status = SIGKILL};
    if (kiln_zygote_take_end(&self->main_life, &end) == 0) {
        account(self, end.cpu_us, end.max_rss_bytes);
    }
    self->main_pid = 0;
    self->exit.status = end.status;
}

/* The main process is gone, or there is none: so must be everything else. A fork in
 * progress cannot escape: the kernel fails it when it finds the signal pending. */
static int end_all(supervisor *self, bool children)
{
    size_t left = children ? kiln_supervisor_kill(self) : 0;
    if (left > 0) {
        return 100; /* SIGCHLD comes sooner */
    }
    return self->running && report(self) < 0 ? -2 : -1;
}

/* Takes what has ended. When the main process has, everything else is killed, and
 * when nothing is left, the end is reported. Returns poll's timeout, < -1 when the engine
 * is gone. */
static int reap(supervisor *self)
{
    for (int count = 0; count < 1000; count++) {
        struct rusage usage;
        int status;
        pid_t pid = wait4(-1, &status, WNOHANG | __WALL, &usage);
        if (pid <= 0) { /* ECHILD: nothing is left that was forked in the namespace */
            bool waits = pid == 0 && !self->running && self->nursling.pid > 0;
            return self->main_pid != 0 || waits ? -1 : end_all(self, pid == 0);
        }
        account(self, kiln_usage_cpu_us(&usage), kiln_usage_max_rss_bytes(&usage));
        if (pid == self->main_pid) {
            self->main_pid = 0;
            self->exit.status = status;
        } else if (pid == self->nursling.pid) {
            kiln_nursling_drop(&self->nursling);
        } else if (pid == self->snapshot) {
            self->snapshot = 0;
        }
    }
    return 0; /* a flood of orphans must not keep us from the engine */
}

/* Before anything runs. */
static void take_cgroups(supervisor *self, kiln_control_message *message)
{
    while (self->cgroup_count < message->fd_count) {
        self->cgroup_fds[self->cgroup_count] = kiln_steal_fd(&message->fds[self->cgroup_count]);
        self->cgroup_count++;
    }
}

/* Returns false when the engine is gone or not to be understood. */
static bool obey(supervisor *self, bool *any)
{
    static kiln_control_message message;
    bool go_on = true;
    int got = kiln_control_receive(self->control, MSG_DONTWAIT, &message);
    *any = got > 0;
    if (got <= 0) {
        return got == -EAGAIN;
    }
    switch (message.type) {
    case KILN_CONTROL_RUN_PROGRAM:
    case KILN_CONTROL_RUN_WORKER:
        go_on = !self->running;
        if (go_on) {
            start(self, &message);
        }
        break;
    case KILN_CONTROL_CGROUPS:
        take_cgroups(self, &message);
        break;
    case KILN_CONTROL_NURSE:
        nurse(self, &message);
        break;
    case KILN_CONTROL_KILL:
        kiln_supervisor_kill(self);
        break;
    case KILN_CONTROL_INTERRUPT:
        interrupt(self, message.id);
        break;
    case KILN_CONTROL_ADJUST:
        if (adjust(self, &message) < 0) {
            kiln_control_clear(&message);
            return false;
        }
        break;
    case KILN_CONTROL_SWEEP:
        go_on = sweep(self, message.id) >= 0;
        break;
    case KILN_CONTROL_NEST: {
        bool nested;
        go_on = kiln_supervisor_nest(self, &message, &nested) && !nested;
        break;
    }
    default:
        go_on = kiln_supervisor_branch(self, &message);
    }
    kiln_control_clear(&message);
    return go_on;
}

static int enter(supervisor *self, int *fs, kiln_error *err)
{
    int fds[2 + KILN_BRANCH_SPACES] = {-1, -1, -1, -1, -1, -1};
    int count = 2;
    sigset_t all;
    sigset_t child;
    const kiln_sandbox_policy *policy = &self->context->policy;
    bool nested = self->session->nested;
    int rc = kiln_sandbox_enter_session(policy, self->session, fs, &self->root_fd, err);
    if (rc < 0) {
        return rc;
    }
    sigfillset(&all);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    /* A nested one ends with its namespace: its parent is that of the outer session. */
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR || sigprocmask(SIG_SETMASK, &all, NULL) < 0 ||
        (!nested && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)) {
        return kiln_error_errno(err, errno, "signals");
    }
    self->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    fds[0] = self->root_fd;
    fds[1] = pidfd_open(getpid(), 0);
    if (self->signals < 0 || fds[1] < 0) {
        return kiln_error_errno(err, errno, "pidfd and signalfd");
    }
    if (nested) {
        rc = kiln_sandbox_nested_spaces(fds + count, err);
        count += KILN_BRANCH_SPACES;
    } else if (policy->network == KILN_NETWORK_PROXY) {
        rc = kiln_sandbox_listen(fds + count++, err);
    }
    if (rc == 0) {
        rc = kiln_control_send(self->control, KILN_CONTROL_READY, 0, NULL, 0, fds, count, 0);
        rc = rc < 0 ? kiln_error_errno(err, rc, "control") : 0;
    }
    for (int i = 1; i < count; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    return rc;
}

/* What can happen: a message, a child's end, a question, the end of a main process that
 * is not our child. */
static nfds_t wait_list(const supervisor *self, struct pollfd *fds)
{
    nfds_t count = 0;
    fds[count++] = (struct pollfd){.fd = self->control, .events = POLLIN};
    fds[count++] = (struct pollfd){.fd = self->signals, .events = POLLIN};
    fds[count++] = (struct pollfd){.fd = self->main_pidfd, .events = POLLIN};
    fds[count++] = (struct pollfd){.fd = self->main_life, .events = POLLIN};
    fds[count++] = (struct pollfd){.fd = self->handover, .events = POLLIN};
    for (int i = 0; i < self->listener_count; i++) {
        fds[count++] = (struct pollfd){.fd = self->listeners[i], .events = POLLIN};
    }
    return count;
}

/* false: the engine is gone. */
static bool handle(supervisor *self, const struct pollfd *fds, nfds_t count)
{
    bool any = false;
    if (fds[1].revents != 0) {
        struct signalfd_siginfo ignored;
        while (read(self->signals, &ignored, sizeof(ignored)) > 0) {
        }
    }
    if (fds[0].revents != 0 && !obey(self, &any)) {
        return false;
    }
    if (fds[2].revents != 0 && fds[2].fd == self->main_pidfd) {
        kiln_supervisor_main_ended(self);
    }
    if (fds[3].revents != 0 && fds[3].fd == self->main_life) {
        take_end(self);
    }
    if (fds[4].revents != 0 && fds[4].fd == self->handover) {
        kiln_supervisor_take_listener(self);
    }
    for (nfds_t i = 5; i < count; i++) {
        if (fds[i].revents != 0) {
            /* What the engine has sent before it let the code ask comes first. */
            do {
                if (!obey(self, &any)) {
                    return false;
                }
            } while (any);
            kiln_supervisor_answer(self, fds[i].fd);
        }
    }
    return true;
}

static int refuse(int control, kiln_error *err)
{
    kiln_error_wrap(err, "sandbox");
    kiln_control_send(control, KILN_CONTROL_FAILED, 0, err->text, strlen(err->text), NULL, 0,
                      0);
    return 1;
}

static int serve(const kiln_zygote_context *context, const kiln_sandbox_session *session,
                 int fs, int control)
{
    supervisor self = {
        .context = context,
        .session = session,
        .control = control,
        .signals = -1,
        .nursling = KILN_NURSLING_INIT,
        .root_fd = -1,
        .main_pidfd = -1,
        .main_life = -1,
        .spaces = {-1, -1, -1, -1, -1},
        .handover = -1,
        .spare = -1,
    };
    enum { SPARE_MS = 5 }; /* of quiet, before the next branch is prepared */
    kiln_error err = KILN_ERROR_INIT;
    prctl(PR_SET_NAME, "kiln-init");
    kiln_schedule_promptly();
    if (enter(&self, &fs, &err) < 0) {
        return refuse(control, &err);
    }
    int timeout = -1;
    for (;;) {
        struct pollfd fds[5 + KILN_LISTENERS_MAX];
        nfds_t count = wait_list(&self, fds);
        int ready = poll(fds, count, timeout);
        if (ready < 0) {
            if (errno != EINTR) {
                return 1;
            }
            continue;
        }
        if (ready == 0 && timeout == SPARE_MS && kiln_supervisor_stand_ready(&self)) {
            return 0;
        }
        if (!handle(&self, fds, count)) {
            return 0; /* and the kernel ends the namespace */
        }
        timeout = reap(&self);
        if (timeout < -1) {
            return 0;
        }
        if (timeout == -1 && self.branches && self.spare < 0) {
            timeout = SPARE_MS;
        }
    }
}

int kiln_supervisor_main(const kiln_zygote_context *context, int orders, bool nested,
                         const kiln_error *failed)
{
    static kiln_control_message message;
    kiln_sandbox_session session;
    kiln_error err = KILN_ERROR_INIT;
    prctl(PR_SET_NAME, "kiln-spare");
    int fs = -1;
    int rc;
    if (failed != NULL) {
        err = *failed;
        rc = err.code;
    } else {
        rc = kiln_sandbox_prepare_session(&context->policy, nested, &fs, &err);
    }
    int got = kiln_control_receive(orders, 0, &message);
    close(orders);
    if (got <= 0 || message.type != KILN_CONTROL_OPEN || message.fd_count != 1 ||
        message.length != sizeof(session)) {
        return got == 0 ? 0 : 1;
    }
    memcpy(&session, message.payload, sizeof(session));
    int control = kiln_steal_fd(&message.fds[0]);
    return rc < 0 ? refuse(control, &err) : serve(context, &session, fs, control);
}
