/* spawner.c - `kiln worker PLUGIN.so|-`: the process that forks sessions' supervisors.
 *
 * kiln_sandbox_enter_root makes it two processes: the engine's child, which stays
 * behind as a stub, and the spawner, pid 1 of a pid namespace. So the spawner's death,
 * for whatever reason, takes every session with it in the kernel, and when the stub
 * has ended, all of them are gone. What workers need loaded is loaded in a third, the
 * zygote: when that dies the spawner ends. */
#include "worker/sandboxed.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "plugin/loader.h"
#include "worker/control.h"
#include "worker/schedule.h"
#include "worker/supervisor.h"
#include "worker/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <unistd.h>

static void reset_signals(void)
{
    for (int number = 1; number < NSIG; number++) {
        signal(number, SIG_DFL); /* fails for KILL, STOP and glibc's own: as it should */
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int receive_config(kiln_zygote_context *context, char ***options, kiln_error *err)
{
    static kiln_control_message received; /* the options stay in it */
    kiln_control_message *message = &received;
    kiln_control_config config;
    int got = kiln_control_receive(KILN_CONTROL_FD, 0, message);
    if (got <= 0) {
        return kiln_error_set(err, got < 0 ? got : -EPIPE,
                              "descriptor %d is not an engine's control socket; this "
                              "command is only for the engine's own use",
                              KILN_CONTROL_FD);
    }
    if (message->type != KILN_CONTROL_CONFIG || message->length < sizeof(config)) {
        return kiln_error_set(err, EPROTO, "control: expected a configuration");
    }
    memcpy(&config, message->payload, sizeof(config));
    size_t end;
    *options = kiln_control_strings(message, sizeof(config), config.option_count, &end);
    if (*options == NULL) {
        return kiln_error_set(err, EPROTO, "control: malformed options");
    }
    context->policy = config.policy;
    kiln_log_set_level((kiln_log_level)config.log_level);
    return 0;
}

static int confine(kiln_zygote_context *context, kiln_error *err)
{
    int rc = kiln_sandbox_enter_root(&context->policy, err);
    if (rc < 0) {
        return rc;
    }
    context->landlock_fd = kiln_sandbox_landlock(&context->policy, err);
    if (context->landlock_fd < 0 && err->code != 0) {
        return err->code;
    }
    rc = kiln_sandbox_seccomp_prepare(err);
    if (rc < 0) {
        return rc;
    }
    return 0;
}

typedef struct spawner {
    const kiln_zygote_context *context;
    int own_pidfd; /* the way back */
    int spare;     /* where a supervisor that was made ahead waits for its session; or -1 */
} spawner;

/* Forks a supervisor into a pid namespace of its own. libc's fork, since a bare clone would
 * leave glibc's idea of the thread id behind; 7 us for the detour. -ENOTRECOVERABLE: this
 * process must end. */
static int fork_supervisor(spawner *self, kiln_error *err)
{
    int pair[2];
    int rc = kiln_control_pair(pair, "sandbox", err);
    if (rc < 0) {
        return rc;
    }
    auto_close int ours = pair[0];
    auto_close int theirs = pair[1];
    if (unshare(CLONE_NEWPID) < 0) {
        return kiln_error_errno(err, errno, "sandbox: a new pid namespace");
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(KILN_CONTROL_FD);
        close(self->own_pidfd);
        close(ours);
        _exit(kiln_supervisor_main(self->context, kiln_steal_fd(&theirs), false, NULL));
    }
    int failure = errno;
    if (setns(self->own_pidfd, CLONE_NEWPID) < 0) {
        /* Nothing that is forked from here on would be where it belongs. */
        return kiln_error_errno(err, ENOTRECOVERABLE, "the way back to the own pid namespace");
    }
    if (pid < 0) {
        return kiln_error_errno(err, failure, "sandbox: fork");
    }
    self->spare = kiln_steal_fd(&ours);
    return 0;
}

/* The session is its supervisor's from here on. */
static int open_session(spawner *self, const kiln_control_message *message)
{
    kiln_error err = KILN_ERROR_INIT;
    int rc = -EPIPE;
    for (int i = 0; rc == -EPIPE && i < 2; i++) { /* the spare one may have died */
        rc = self->spare < 0 ? fork_supervisor(self, &err) : 0;
        if (rc == 0) {
            auto_close int orders = kiln_steal_fd(&self->spare);
            rc = kiln_control_send(orders, KILN_CONTROL_OPEN, 0, message->payload,
                                   message->length, message->fds, message->fd_count, 0);
        }
    }
    if (rc < 0) {
        if (err.code == 0) {
            kiln_error_errno(&err, rc, "sandbox: a new supervisor");
        }
        kiln_control_send(message->fds[0], KILN_CONTROL_FAILED, 0, err.text, strlen(err.text),
                          NULL, 0, MSG_DONTWAIT);
    }
    return rc == -ENOTRECOVERABLE ? rc : 0;
}

/* Makes the next supervisor while nobody waits for one: its network takes longer than all
 * else. What fails here is told when there is a session. */
static int prepare(spawner *self)
{
    kiln_error err = KILN_ERROR_INIT;
    return fork_supervisor(self, &err) == -ENOTRECOVERABLE ? err.code : 0;
}

/* 1: there is something to receive; 0: not for a while; -EPIPE: the zygote has died, or says
 * what it should not: it has nothing to say any more. */
static int await(const spawner *self)
{
    enum { PAUSE_MS = 1 }; /* a session that starts has the processors for itself */
    struct pollfd fds[] = {{.fd = KILN_CONTROL_FD, .events = POLLIN},
                           {.fd = self->context->zygote, .events = POLLIN}};
    int rc;
    do {
        rc = poll(fds, 2, self->spare < 0 ? PAUSE_MS : -1);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : fds[1].revents != 0 ? -EPIPE : rc;
}

static int serve(spawner *self)
{
    static kiln_control_message message;
    signal(SIGCHLD, SIG_IGN); /* the kernel reaps supervisors */
    for (;;) {
        int rc = kiln_control_receive(KILN_CONTROL_FD, MSG_DONTWAIT, &message);
        if (rc == 0) {
            return 0; /* the engine is gone, or needs us no more */
        }
        if (rc == -EAGAIN) {
            rc = await(self);
            rc = rc == 0 ? prepare(self) : rc;
        } else if (rc > 0) {
            rc = message.type == KILN_CONTROL_OPEN && message.fd_count == 1
                     ? open_session(self, &message)
                     : -EPROTO;
            kiln_control_clear(&message);
        }
        if (rc == -EPIPE) {
            return 1; /* and with us all sessions, and the engine starts anew */
        }
        if (rc < 0) {
            kiln_log(KILN_LOG_ERROR, "spawner", "control: %s", strerror(-rc));
            return 1;
        }
    }
}

static int refuse(const kiln_error *err)
{
    int rc = kiln_control_send(KILN_CONTROL_FD, KILN_CONTROL_FAILED, 0, err->text,
                               strlen(err->text), NULL, 0, 0);
    if (rc < 0 && rc != -EPIPE) { /* else the engine has closed, and wants no more of us */
        kiln_log(KILN_LOG_ERROR, "spawner", "%s", err->text);
    }
    return 1;
}

/* The engine gets our pidfd before anything can hang. */
static int start(spawner *self, kiln_zygote_context *context, char **options, kiln_error *err)
{
    pid_t zygote = 0;
    prctl(PR_SET_NAME, "kiln-spawner");
    kiln_schedule_promptly();
    auto_close int pidfd = pidfd_open(getpid(), 0);
    if (pidfd < 0) {
        return kiln_error_errno(err, errno, "spawner: pidfd_open");
    }
    int rc = kiln_control_send(KILN_CONTROL_FD, KILN_CONTROL_STARTED, 0, NULL, 0, &pidfd, 1, 0);
    if (rc < 0) {
        return kiln_error_errno(err, rc, "spawner: control");
    }
    if (context->worker != NULL) {
        context->zygote = kiln_zygote_fork(context, options, &zygote, err);
        if (context->zygote < 0) {
            return err->code;
        }
    }
    self->own_pidfd = kiln_steal_fd(&pidfd);
    if (context->worker != NULL) {
        rc = prepare(self); /* while it loads */
        rc = rc < 0 ? kiln_error_errno(err, rc, "spawner") : 0;
        rc = rc < 0 ? rc : kiln_zygote_await(context->zygote, zygote, err);
        if (rc < 0) {
            return rc;
        }
    }
    rc = kiln_control_send(KILN_CONTROL_FD, KILN_CONTROL_READY, 0, NULL, 0, NULL, 0, 0);
    return rc < 0 ? kiln_error_errno(err, rc, "spawner: control") : 0;
}

/* Returns -errno when the engine is to be told why, else the exit status. */
static int run(const kiln_worker *(*load)(const char *, kiln_error *), const char *plugin,
               kiln_error *err)
{
    kiln_zygote_context context = {.landlock_fd = -1, .zygote = -1};
    char **options = NULL;
    int rc = receive_config(&context, &options, err);
    if (rc < 0) {
        kiln_log(KILN_LOG_ERROR, "worker", "%s", err->text);
        return 2;
    }
    if (strcmp(plugin, "-") != 0) {
        context.worker = load(plugin, err);
        if (context.worker == NULL) {
            return err->code;
        }
    }
    rc = confine(&context, err); /* returns in a child */
    if (rc < 0) {
        return rc;
    }
    sigprocmask(SIG_SETMASK, NULL, &context.mask);
    spawner self = {.context = &context, .own_pidfd = -1, .spare = -1};
    rc = start(&self, &context, options, err);
    return rc < 0 ? rc : serve(&self);
}

int kiln_spawner_run(const kiln_worker *(*load)(const char *plugin, kiln_error *err),
                     const char *plugin)
{
    kiln_error err = KILN_ERROR_INIT;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "kiln-stub");
    close_range(KILN_CONTROL_FD + 1, ~0U, 0);
    fcntl(KILN_CONTROL_FD, F_SETFD, FD_CLOEXEC);
    reset_signals();
    int rc = run(load, plugin, &err);
    return rc < 0 ? refuse(&err) : rc;
}

static const kiln_worker *load_plugin(const char *path, kiln_error *err)
{
    static kiln_loaded_plugin *loaded; /* for as long as the process lives */
    if (kiln_plugin_load(path, true, &loaded, err) < 0) {
        return NULL;
    }
    if (loaded->plugin.worker == NULL) {
        kiln_error_set(err, EINVAL, "%s: has no worker half", path);
        return NULL;
    }
    return loaded->plugin.worker;
}

int kiln_spawner_main(int argc, char **argv)
{
    if (argc != 2) {
        kiln_log(KILN_LOG_ERROR, "worker", "usage: kiln worker PLUGIN.so|-");
        return 2;
    }
    return kiln_spawner_run(load_plugin, argv[1]);
}
