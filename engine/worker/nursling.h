/* nursling.h - a process that is all but a program: forked, in its cgroup, locked with every
 * layer, waiting to be told what to execute. In the supervisor.
 *
 * What it is told narrows its rlimits further and nothing else; it executes with what it
 * has locked, which no message can undo. It is trusted until it has executed: its socket
 * closes with that. */
#ifndef KILN_WORKER_NURSLING_H
#define KILN_WORKER_NURSLING_H

#include "worker/supervisor.h"

typedef struct kiln_nursling {
    pid_t pid; /* 0: there is none */
    int socket;
} kiln_nursling;

#define KILN_NURSLING_INIT                                                                     \
    {                                                                                          \
        0, -1                                                                                  \
    }

/* Returns in the supervisor alone. */
int kiln_nursling_start(kiln_nursling *nursling, const kiln_zygote_context *context,
                        const kiln_sandbox_lock_spec *lock, kiln_error *err);
/* Hands it a RUN_PROGRAM and waits until it has executed, or could not: then err says why
 * and its end is still to be reaped. -EPIPE: there is none, or it has died before. There is
 * none afterwards. */
int kiln_nursling_run(kiln_nursling *nursling, const kiln_control_message *message,
                      kiln_error *err);
/* It has been reaped. */
void kiln_nursling_drop(kiln_nursling *nursling);

#endif
