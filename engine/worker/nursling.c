#include "worker/nursling.h"

#include "base/cleanup.h"
#include "worker/program.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static kiln_control_message message; /* 16 KiB; a process of its own in parent and child */

static int become(const kiln_zygote_context *context, bool in_cgroup, int socket,
                  kiln_error *err)
{
    kiln_control_run run;
    size_t end;
    int got = kiln_control_receive(socket, 0, &message);
    if (got <= 0) {
        _exit(0); /* nobody needs it any more */
    }
    if (message.type != KILN_CONTROL_RUN_PROGRAM || message.length < sizeof(run) ||
        message.fd_count != 3) {
        return kiln_error_set(err, EPROTO, "control: malformed request");
    }
    memcpy(&run, message.payload, sizeof(run));
    char **argv = kiln_control_strings(&message, sizeof(run), run.argc, &end);
    char **env = argv != NULL ? kiln_control_strings(&message, end, run.envc, &end) : NULL;
    if (env == NULL || run.argc == 0) {
        return kiln_error_set(err, EPROTO, "control: malformed request");
    }
    int rc = kiln_sandbox_limit(&context->policy, 0, &run.limits, in_cgroup, err);
    rc = rc < 0 ? rc : kiln_program_connect(message.fds, err);
    if (rc < 0) {
        return rc;
    }
    sigprocmask(SIG_SETMASK, &context->mask, NULL);
    return kiln_program_execute(argv, env, err);
}

static void wait_and_become(const kiln_zygote_context *context, kiln_sandbox_lock_spec lock,
                            int socket)
{
    kiln_error err = KILN_ERROR_INIT;
    prctl(PR_SET_NAME, "kiln-nursling");
    lock.keep_fds = &socket;
    lock.keep_count = 1;
    if (context->worker != NULL) {
        kiln_program_reset_signals();
    }
    int rc = kiln_sandbox_lock(&context->policy, &lock, &err);
    if (rc == 0) {
        become(context, lock.cgroup_count > 0, socket, &err);
    }
    kiln_control_send(socket, KILN_CONTROL_FAILED, (uint32_t)-err.code, err.text,
                      strlen(err.text), NULL, 0, 0);
    _exit(127);
}

int kiln_nursling_start(kiln_nursling *nursling, const kiln_zygote_context *context,
                        const kiln_sandbox_lock_spec *lock, kiln_error *err)
{
    int pair[2];
    int rc = kiln_control_pair(pair, "nursling", err);
    if (rc < 0) {
        return rc;
    }
    auto_close int theirs = pair[1];
    pid_t pid = fork();
    if (pid == 0) {
        wait_and_become(context, *lock, theirs);
    }
    if (pid < 0) {
        int failure = errno;
        close(pair[0]);
        return kiln_error_errno(err, failure, "nursling: fork");
    }
    nursling->pid = pid;
    nursling->socket = pair[0];
    return 0;
}

int kiln_nursling_run(kiln_nursling *nursling, const kiln_control_message *request,
                      kiln_error *err)
{
    if (nursling->pid <= 0) {
        return -EPIPE;
    }
    int rc = kiln_control_send(nursling->socket, request->type, request->id, request->payload,
                               request->length, request->fds, request->fd_count, 0);
    /* Its end of the socket closes when it executes. */
    int got = rc == 0 ? kiln_control_receive(nursling->socket, 0, &message) : rc;
    if (got > 0) {
        rc = kiln_error_set(err, (int)message.id, "%.*s", (int)message.length, message.payload);
        kiln_control_clear(&message);
    } else {
        rc = got < 0 ? -EPIPE : 0;
    }
    kiln_nursling_drop(nursling);
    return rc;
}

void kiln_nursling_drop(kiln_nursling *nursling)
{
    if (nursling->socket >= 0) {
        close(nursling->socket);
    }
    *nursling = (kiln_nursling)KILN_NURSLING_INIT;
}
