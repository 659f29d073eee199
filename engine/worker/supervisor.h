/* supervisor.h - what zygote, supervisor and worker process hand to one another.
 * Each runs single-threaded in a process of its own; none is called in the engine. */
#ifndef KILN_WORKER_SUPERVISOR_H
#define KILN_WORKER_SUPERVISOR_H

#include "sandbox/sandbox.h"
#include "worker/control.h"

#include <kiln/plugin.h>
#include <signal.h>

struct kiln_frame; /* worker/frame.h */

/* What every session of a zygote shares. */
typedef struct kiln_zygote_context {
    kiln_sandbox_policy policy;
    const kiln_worker *worker; /* NULL: bare */
    int landlock_fd;           /* -1: none */
    int zygote;                /* what workers are asked through; -1: bare */
    sigset_t mask;             /* as workers and programs shall have it */
} kiln_zygote_context;

/* The spawner, from its start on: takes the configuration from KILN_CONTROL_FD, calls
 * `load` for a plugin other than "-", confines itself, preloads, serves. Returns the
 * exit status of the process. kiln_spawner_main with another loader, for tests. */
int kiln_spawner_run(const kiln_worker *(*load)(const char *plugin, kiln_error *err),
                     const char *plugin);

/* As pid 1 of a new pid namespace: makes what no two sessions differ in, takes its session
 * from `orders`, which it owns (the engine's OPEN), and serves that until the engine closes
 * its end of the session's control socket. `nested`: it stands in another session's
 * namespaces. `failed`: why there are none of its own, to be told to the engine; NULL: there
 * are. Returns the exit status of the process; the kernel then kills what is left. */
int kiln_supervisor_main(const kiln_zygote_context *context, int orders, bool nested,
                         const kiln_error *failed);

/* Serves cells from the frame socket; in the worker process, confined. Returns the
 * exit status of the process. */
int kiln_guest_main(const kiln_worker *worker, int frames);

/* ---- guest_process.c */

/* In the zygote, before workers are forked: what every worker would do again. */
void kiln_guest_process_prepare(void);
/* This process is a worker from now on. */
void kiln_guest_process_own(void);
/* kiln_worker_host.owned: false in a fork that the code made. */
bool kiln_guest_owned(void);
/* SIGINT goes to worker->interrupt from now on, whatever the code has set or blocked. */
void kiln_guest_let_in(const kiln_worker *worker);
/* The request that a SIGINT may be for. */
void kiln_guest_enter(uint32_t id);
void kiln_guest_leave(void);
/* kiln_worker_host.interrupted. */
bool kiln_guest_interrupted(void);

/* ---- guest_fork.c, and what it needs of guest_main.c */

/* FORK. 0: the worker goes on; 1: this is its fork, a worker of its own; negative: it ends. */
int kiln_guest_fork(const kiln_worker *worker, const struct kiln_frame *frame, int frames);
/* RESUME: the files are as they were, and so must be what is open. */
void kiln_guest_resumed(void);
/* One frame; ends the process when nobody is there to take it. */
void kiln_guest_send(unsigned type, const void *payload, size_t length);
/* This process is a worker, with that socket. */
void kiln_guest_became(int frames);

/* Tells the engine that the worker cannot start (FAILED). */
void kiln_guest_refuse(int frames, const char *text);
/* kiln_worker_host.emit of a worker; does nothing before kiln_guest_main. */
void kiln_guest_emit(const kiln_event *event);
/* kiln_worker_host.call, likewise. */
int kiln_guest_call(const void *data, size_t length, const char **reply, size_t *reply_length);

/* ---- guest_text.c: kiln_worker_host.display, .error and .argument */

void kiln_guest_display(uint32_t type, const char *mime, const char *text, size_t length);
void kiln_guest_error(const char *name, const char *value, const char *traceback);
const char *kiln_guest_argument(const char *name);
/* The query that is answered from now on, a JSON object, borrowed; NULL: none. */
void kiln_guest_asked(struct json_t *arguments);

#endif
