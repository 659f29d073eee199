/* zygote.h - the process that has loaded what workers need, and forks them.
 *
 * It stands beside the spawner, which forks supervisors: those stay small, and a session
 * costs one copy of the loaded memory, its worker's. A worker is the zygote's child, in the
 * namespaces of the supervisor that asked for it, and locked as that says. Each has a socket
 * pair for its life: on it come the process number, once, and the end, once.
 *
 * Only supervisors hold the socket that the zygote is asked through; no code of a user ever
 * does. */
#ifndef KILN_WORKER_ZYGOTE_H
#define KILN_WORKER_ZYGOTE_H

#include "worker/supervisor.h"

#include <stdint.h>
#include <sys/types.h>

typedef struct kiln_worker_request {
    kiln_limits limits;
    uint32_t session_index;
    int spaces[KILN_SESSION_SPACES]; /* of kiln_sandbox_session_spaces */
    int stdio[3];
    int frames;
    int handover; /* takes the listener, see kiln_supervisor_expect_listener; -1: none */
    const int *cgroup_fds;
    int cgroup_count;
} kiln_worker_request;

typedef struct kiln_worker_end {
    int32_t status;         /* as wait(2) gives it */
    uint64_t cpu_us;        /* of it and what it has reaped */
    uint64_t max_rss_bytes; /* of the largest of these */
} kiln_worker_end;

/* Spawner, confined: forks the zygote, which calls worker->preload with `options`
 * (NAME=VALUE, NULL at the end; they stay the caller's). Returns the socket that supervisors
 * ask through, which hangs up when the zygote ends; or -errno. */
int kiln_zygote_fork(const kiln_zygote_context *context, char **options, pid_t *pid,
                     kiln_error *err);
/* Waits until that is done. 0, or -errno with what preload said, or what ended it. */
int kiln_zygote_await(int socket, pid_t pid, kiln_error *err);

/* Supervisor: asks for a worker and waits until it is forked. Everything in the request is
 * borrowed. Returns its number in the caller's pid namespace, with *life readable once it
 * has ended, and *pidfd its own, both the caller's to close; or -errno. */
pid_t kiln_zygote_ask(int socket, const kiln_worker_request *request, int *life, int *pidfd,
                      kiln_error *err);
/* Takes its end from `life`, and closes it. 0, or -EPIPE: the zygote is gone. */
int kiln_zygote_take_end(int *life, kiln_worker_end *end);

#endif
