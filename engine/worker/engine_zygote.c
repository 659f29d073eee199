#include "worker/engine_side.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum {
    START_MS = 60000, /* preloading everything takes about 1 s on a slow machine */
    STOP_MS = 3000,
};

/* Nothing of the engine's environment: what a worker inherits, a user's code sees.
 * OPENBLAS_NUM_THREADS: threads would not survive the fork (TARGETS.md). */
static char *const zygote_environment[] = {
    "PATH=/usr/local/bin:/usr/bin:/bin",
    "HOME=/tmp",
    "TMPDIR=/tmp",
    "LANG=C.UTF-8",
    "USER=kiln",
    "OPENBLAS_NUM_THREADS=1",
    NULL,
};

static void send_pending(kiln_zygote *zygote);

/* ---- end of a zygote */

/* A process that is dying while its zygote goes on, or starts again. */
typedef struct remains {
    pid_t pid;
    int pidfd;
    kiln_poll *poll;
} remains;

static void on_remains_gone(void *user, int events)
{
    (void)events;
    remains *dead = user;
    kiln_poll_free(&dead->poll);
    close(dead->pidfd);
    waitpid(dead->pid, NULL, 0);
    free(dead);
}

/* Waits for the process, at most `milliseconds`. */
static bool gone_within(int pidfd, int milliseconds)
{
    struct pollfd wait = {.fd = pidfd, .events = POLLIN};
    int rc;
    do {
        rc = poll(&wait, 1, milliseconds);
    } while (rc < 0 && errno == EINTR);
    return rc == 1;
}

static void reap_in_background(kiln_zygote *zygote)
{
    remains *dead = calloc(1, sizeof(*dead));
    if (dead != NULL) {
        dead->poll =
            kiln_poll_new(zygote->loop, zygote->pidfd, UV_READABLE, on_remains_gone, dead);
    }
    if (dead == NULL || dead->poll == NULL) {
        free(dead);
        gone_within(zygote->pidfd, STOP_MS);
        waitpid(zygote->pid, NULL, WNOHANG);
        close(zygote->pidfd);
    } else {
        dead->pid = zygote->pid;
        dead->pidfd = zygote->pidfd;
    }
    zygote->pid = 0;
    zygote->pidfd = -1;
}

static void close_control(kiln_zygote *zygote)
{
    kiln_alarm_free(&zygote->start_alarm);
    kiln_poll_free(&zygote->control_poll);
    if (zygote->control >= 0) {
        close(zygote->control);
        zygote->control = -1;
    }
}

/* The stub then ends by itself, when the kernel has ended every session. Before the
 * zygote has told its pidfd there is none, and the stub takes it along. */
static void kill_zygote(kiln_zygote *zygote)
{
    if (zygote->zygote_pidfd >= 0) {
        pidfd_send_signal(zygote->zygote_pidfd, SIGKILL, NULL, 0);
        close(zygote->zygote_pidfd);
        zygote->zygote_pidfd = -1;
    } else {
        pidfd_send_signal(zygote->pidfd, SIGKILL, NULL, 0);
    }
}

static void zygote_died(kiln_zygote *zygote, const char *why)
{
    zygote->state = KILN_ZYGOTE_DEAD;
    snprintf(zygote->failure, sizeof(zygote->failure), "%s", why);
    kiln_log(KILN_LOG_WARNING, "zygote", "%s: %s",
             zygote->plugin != NULL ? zygote->plugin : "programs", why);
    close_control(zygote);
    kill_zygote(zygote);
    reap_in_background(zygote);
    /* Whose supervisor lives will see it die with its namespace; the others were never
     * asked for. A callback may close any of them: begin anew after each. */
    for (kiln_sandbox *sandbox = zygote->sandboxes; sandbox != NULL;) {
        if (sandbox->state == KILN_SANDBOX_DEAD || sandbox->closed) {
            sandbox = sandbox->next;
            continue;
        }
        char text[sizeof(zygote->failure)];
        memcpy(text, why, strnlen(why, sizeof(text) - 1) + 1);
        kiln_sandbox_fail(sandbox, text);
        sandbox = zygote->state == KILN_ZYGOTE_DEAD ? zygote->sandboxes : NULL;
    }
}

/* ---- messages */

static void on_control(void *user, int events)
{
    static kiln_control_message message;
    kiln_zygote *zygote = user;
    if ((events & UV_WRITABLE) != 0) {
        kiln_poll_events(zygote->control_poll, UV_READABLE);
        send_pending(zygote);
    }
    if ((events & UV_READABLE) == 0) {
        return;
    }
    int got = kiln_control_receive(zygote->control, MSG_DONTWAIT, &message);
    if (got == -EAGAIN) {
        return;
    }
    if (got <= 0) {
        zygote_died(zygote, zygote->state == KILN_ZYGOTE_STARTING
                                ? "the worker process died while it started"
                                : "the worker process died");
        return;
    }
    if (message.type == KILN_CONTROL_STARTED && message.fd_count == 1 &&
        zygote->zygote_pidfd < 0) {
        zygote->zygote_pidfd = kiln_steal_fd(&message.fds[0]);
        kiln_control_clear(&message);
        return;
    }
    if (message.type == KILN_CONTROL_READY && zygote->state == KILN_ZYGOTE_STARTING) {
        kiln_control_clear(&message);
        kiln_alarm_free(&zygote->start_alarm);
        zygote->state = KILN_ZYGOTE_READY;
        send_pending(zygote);
        return;
    }
    kiln_error err = KILN_ERROR_INIT;
    if (message.type == KILN_CONTROL_FAILED) {
        kiln_error_set(&err, ECANCELED, "%.*s", (int)message.length, message.payload);
    } else {
        kiln_error_set(&err, EPROTO, "the worker process sent what it should not");
    }
    kiln_control_clear(&message);
    zygote_died(zygote, err.text);
}

static void on_start_timeout(void *user)
{
    zygote_died(user, "the worker process was not ready within 60 s");
}

static void send_pending(kiln_zygote *zygote)
{
    for (kiln_sandbox *sandbox = zygote->sandboxes; sandbox != NULL;) {
        kiln_sandbox *next = sandbox->next;
        if (sandbox->state == KILN_SANDBOX_PENDING && !sandbox->closed) {
            int rc = kiln_sandbox_request(sandbox);
            if (rc == -EAGAIN) {
                kiln_poll_events(zygote->control_poll, UV_READABLE | UV_WRITABLE);
                return;
            }
            if (rc < 0) {
                return; /* the socket's end will be seen, and tell everyone */
            }
        }
        sandbox = next;
    }
}

/* ---- start */

static int send_config(const kiln_zygote *zygote, kiln_error *err)
{
    auto_buffer kiln_buffer payload = KILN_BUFFER_INIT;
    kiln_control_config config = {
        .policy = zygote->policy,
        .log_level = (int32_t)zygote->log_level,
        .option_count = zygote->option_count,
    };
    if (kiln_buffer_append(&payload, &config, sizeof(config)) < 0 ||
        kiln_buffer_append(&payload, zygote->options, zygote->options_length) < 0) {
        return kiln_error_errno(err, ENOMEM, "zygote");
    }
    int rc = kiln_control_send(zygote->control, KILN_CONTROL_CONFIG, 0, payload.data,
                               payload.length, NULL, 0, MSG_DONTWAIT);
    return rc < 0 ? kiln_error_errno(err, rc, "zygote: control socket") : 0;
}

/* The environment, and what a sanitized build needs to be told. */
static char *const *environment(void)
{
#if defined(__SANITIZE_ADDRESS__)
    static char *with_options[sizeof(zygote_environment) / sizeof(zygote_environment[0]) + 3];
    static const char *const names[] = {"ASAN_OPTIONS=", "LSAN_OPTIONS=", "UBSAN_OPTIONS="};
    size_t count = 0;
    for (char *const *entry = zygote_environment; *entry != NULL; entry++) {
        with_options[count++] = *entry;
    }
    for (char **entry = environ; *entry != NULL; entry++) {
        for (size_t i = 0; i < 3; i++) {
            if (strncmp(*entry, names[i], strlen(names[i])) == 0) {
                with_options[count++] = *entry;
            }
        }
    }
    with_options[count] = NULL;
    return with_options;
#else
    return zygote_environment;
#endif
}

static int spawn(kiln_zygote *zygote, int control, kiln_error *err)
{
    char *argv[] = {zygote->executable, "worker", zygote->plugin != NULL ? zygote->plugin : "-",
                    NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all;
    sigset_t none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, control, KILN_CONTROL_FD);
    /* A session of its own: Ctrl-C at the terminal is the engine's to handle. */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETSID);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int rc = posix_spawn(&zygote->pid, zygote->executable, &actions, &attributes, argv,
                         environment());
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (rc != 0) {
        zygote->pid = 0;
        return kiln_error_errno(err, rc, "zygote: cannot start %s", zygote->executable);
    }
    return 0;
}

int kiln_zygote_revive(kiln_zygote *zygote, kiln_error *err)
{
    int pair[2];
    if (zygote->state != KILN_ZYGOTE_DEAD) {
        return 0;
    }
    int rc = kiln_control_pair(pair, "zygote", err);
    if (rc < 0) {
        return rc;
    }
    auto_close int theirs = pair[1];
    zygote->control = pair[0];
    rc = spawn(zygote, theirs, err);
    if (rc < 0) {
        goto failed;
    }
    zygote->pidfd = pidfd_open(zygote->pid, 0);
    if (zygote->pidfd < 0) {
        rc = kiln_error_errno(err, errno, "zygote: pidfd_open");
        goto failed;
    }
    rc = send_config(zygote, err);
    if (rc < 0) {
        goto failed;
    }
    zygote->control_poll =
        kiln_poll_new(zygote->loop, zygote->control, UV_READABLE, on_control, zygote);
    zygote->start_alarm = kiln_alarm_new(zygote->loop, START_MS, on_start_timeout, zygote);
    if (zygote->control_poll == NULL || zygote->start_alarm == NULL) {
        rc = kiln_error_errno(err, ENOMEM, "zygote");
        goto failed;
    }
    zygote->state = KILN_ZYGOTE_STARTING;
    zygote->failure[0] = '\0';
    return 0;

failed:
    snprintf(zygote->failure, sizeof(zygote->failure), "%s", err->text);
    close_control(zygote);
    if (zygote->pid > 0) {
        kill(zygote->pid, SIGKILL);
        waitpid(zygote->pid, NULL, 0);
        zygote->pid = 0;
    }
    if (zygote->pidfd >= 0) {
        close(zygote->pidfd);
        zygote->pidfd = -1;
    }
    return rc;
}

static void zygote_free(kiln_zygote *zygote)
{
    kiln_linger_free(&zygote->linger);
    free(zygote->executable);
    free(zygote->plugin);
    free(zygote->options);
    free(zygote);
}

static int copy_spec(kiln_zygote *zygote, const kiln_zygote_spec *spec)
{
    kiln_buffer options = KILN_BUFFER_INIT;
    zygote->loop = spec->loop;
    zygote->policy = spec->policy;
    zygote->log_level = spec->log_level;
    zygote->executable = strdup(spec->executable);
    zygote->plugin = spec->plugin != NULL ? strdup(spec->plugin) : NULL;
    if (zygote->executable == NULL || (spec->plugin != NULL && zygote->plugin == NULL)) {
        return -ENOMEM;
    }
    for (const char *const *option = spec->options; option != NULL && *option != NULL;
         option++) {
        if (kiln_buffer_append(&options, *option, strlen(*option) + 1) < 0) {
            kiln_buffer_free(&options);
            return -ENOMEM;
        }
        zygote->option_count++;
    }
    zygote->options = options.data;
    zygote->options_length = options.length;
    return 0;
}

int kiln_zygote_start(const kiln_zygote_spec *spec, kiln_zygote **zygote, kiln_error *err)
{
    kiln_zygote *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return kiln_error_errno(err, ENOMEM, "zygote");
    }
    made->state = KILN_ZYGOTE_DEAD;
    made->control = -1;
    made->pidfd = -1;
    made->zygote_pidfd = -1;
    made->linger = spec->plugin != NULL ? kiln_linger_new(spec->loop) : NULL;
    int rc = copy_spec(made, spec);
    if (rc < 0) {
        kiln_error_errno(err, rc, "zygote");
    } else {
        rc = kiln_zygote_revive(made, err);
    }
    if (rc < 0) {
        zygote_free(made);
        return rc;
    }
    *zygote = made;
    return 0;
}

void kiln_zygote_stop(kiln_zygote *zygote)
{
    close_control(zygote);
    if (zygote->pidfd >= 0) {
        kill_zygote(zygote);
        if (!gone_within(zygote->pidfd, STOP_MS)) {
            kiln_log(KILN_LOG_WARNING, "zygote", "process %d is slow to end", (int)zygote->pid);
            pidfd_send_signal(zygote->pidfd, SIGKILL, NULL, 0);
            gone_within(zygote->pidfd, STOP_MS);
        }
        waitpid(zygote->pid, NULL, WNOHANG);
        close(zygote->pidfd);
    }
    while (zygote->sandboxes != NULL) {
        kiln_sandbox_bury(zygote->sandboxes);
    }
    zygote_free(zygote);
}

const char *kiln_zygote_failure(const kiln_zygote *zygote)
{
    return zygote->state == KILN_ZYGOTE_DEAD ? zygote->failure : NULL;
}

bool kiln_zygote_ready(const kiln_zygote *zygote)
{
    return zygote->state == KILN_ZYGOTE_READY;
}
