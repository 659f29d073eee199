/* supervisor-t.h - what the supervisor's files share; nobody else includes it. */
#ifndef KILN_WORKER_SUPERVISOR_T_H
#define KILN_WORKER_SUPERVISOR_T_H

#include "worker/nursling.h"
#include "worker/processes.h"
#include "worker/supervisor.h"

enum {
    KILN_LISTENERS_MAX = 16, /* of workers that branches still live from */
    KILN_PATIENCE_MS = 200,  /* for a process to end that was killed */
};

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
/* Answers request `id`: err's text, or nothing where it has none. false: the engine is gone. */
bool kiln_supervisor_tell(const kiln_supervisor *self, kiln_control_type type, uint32_t id,
                          const kiln_error *err);

/* supervisor_snapshot.c */

/* HOLD. false: the engine is gone. */
bool kiln_supervisor_hold(kiln_supervisor *self, const kiln_control_message *message);
/* ADOPT: the snapshot becomes the main process, and the files are what they were. */
int kiln_supervisor_adopt_snapshot(kiln_supervisor *self, kiln_error *err);
/* RELEASE: it ends, where there is one. */
void kiln_supervisor_release(kiln_supervisor *self);

/* supervisor_files.c */

/* All of a session's folders. `from`: the root of another session; 0 or negative errno. */
int kiln_supervisor_copy_files(const kiln_supervisor *self, int from, kiln_error *err);
/* To where code cannot reach, and back. */
int kiln_supervisor_save_files(const kiln_supervisor *self, kiln_error *err);
int kiln_supervisor_restore_files(const kiln_supervisor *self, kiln_error *err);

/* supervisor_kill.c */

/* Whether a process of the session is this supervisor's to kill: not one of a nested
 * session's, nor the snapshot. */
bool kiln_supervisor_owns(const kiln_supervisor *self, const kiln_process_facts *facts);
/* Sends KILL to all that it owns. Returns how many there still are. */
size_t kiln_supervisor_kill(const kiln_supervisor *self);
/* For a moment, one that was killed. */
void kiln_supervisor_await_end(pid_t pid);
/* What a cell left running, when its time was up or a limit was reached: kills and awaits
 * all that it owns but the main process. */
int kiln_supervisor_sweep(const kiln_supervisor *self);

#endif
