/* supervisor-t.h - what the supervisor's two files share; nobody else includes it. */
#ifndef KILN_WORKER_SUPERVISOR_T_H
#define KILN_WORKER_SUPERVISOR_T_H

#include "worker/nursling.h"
#include "worker/supervisor.h"

enum { KILN_LISTENERS_MAX = 16 }; /* of workers that branches still live from */

typedef struct kiln_supervisor {
    const kiln_zygote_context *context;
    const kiln_sandbox_session *session;
    int control;
    int signals;
    int root_fd;
    int cgroup_fds[KILN_CONTROL_FDS];
    int cgroup_count;
    bool running; /* a RUN was taken and its EXIT is not sent */
    uint32_t id;
    pid_t main_pid;                  /* 0: reaped, or never was */
    int main_pidfd;                  /* of one that we cannot reap, having entered; -1 */
    int main_life;                   /* of one that the zygote reaps: readable at its end; -1 */
    int spaces[KILN_SESSION_SPACES]; /* what the zygote enters by; opened for the first worker
                                      */
    kiln_nursling nursling;          /* becomes the next program */
    kiln_control_exit exit;
    kiln_error error; /* goes with exit.error */
    /* branches and snapshots */
    bool nesting;   /* a session was nested here: not all that we see is ours to kill */
    bool branches;  /* the engine has asked for one: it will for another */
    int spare;      /* where a nested supervisor waits for its session; -1 */
    pid_t snapshot; /* 0: none is held */
    int handover;   /* a worker that starts sends its listener through it; -1 */
    int listeners[KILN_LISTENERS_MAX];
    int listener_count;
    kiln_setns_permit permit;
} kiln_supervisor;

/* supervisor_branch.c */

/* Makes a nested supervisor ahead. true: this is it, and its main function has ended. */
bool kiln_supervisor_stand_ready(kiln_supervisor *self);
/* NEST. Returns in the nested supervisor with *nested set, as its main function ended. */
bool kiln_supervisor_nest(kiln_supervisor *self, kiln_control_message *message, bool *nested);
/* COPY, ARM, SETTLE, ADOPT, HOLD, RELEASE. false: the engine is gone. */
bool kiln_supervisor_branch(kiln_supervisor *self, const kiln_control_message *message);
/* Before a worker is forked: the end of the hand-over that is the worker's; -1: none. */
int kiln_supervisor_expect_listener(kiln_supervisor *self);
/* The hand-over, or a listener, is ready. */
void kiln_supervisor_take_listener(kiln_supervisor *self);
void kiln_supervisor_answer(kiln_supervisor *self, int listener);
/* The main process that is not our child has ended. */
void kiln_supervisor_main_ended(kiln_supervisor *self);
/* Sends KILL to what is ours, but the snapshot. Returns how many there still are. */
size_t kiln_supervisor_kill(const kiln_supervisor *self);
/* Kills and awaits what is ours but the main process and the snapshot. */
int kiln_supervisor_sweep(const kiln_supervisor *self);

#endif
