/* sandboxed.h - the engine's side of confined processes. Thread: loop.
 *
 * Four kinds of process stand behind it:
 *   spawner     `kiln worker [PLUGIN.so]`, one a plugin with a worker half and one
 *               bare one for programs; confined root, forks supervisors on request
 *   zygote      the spawner's child, has loaded what workers need, forks them when a
 *               supervisor asks; none for programs
 *   supervisor  pid 1 of a session's pid namespace; forks programs, reaps, reports,
 *               kills; never runs a user's code
 *   worker      a fork that runs the plugin's worker half, or a program (execve)
 * What the engine calls a zygote here is spawner and zygote together: either's end is the
 * other's.
 * When the engine dies, however, all of them die with it: each holds a parent-death
 * signal and a control socket whose end it notices.
 *
 * Everything is asynchronous and pipelined: requests may be made before the
 * processes exist. */
#ifndef KILN_WORKER_SANDBOXED_H
#define KILN_WORKER_SANDBOXED_H

#include "base/error.h"
#include "base/log.h"
#include "sandbox/sandbox.h"
#include "worker/frame.h"

#include <kiln/plugin.h>
#include <uv.h>

typedef struct kiln_zygote kiln_zygote;
typedef struct kiln_sandbox kiln_sandbox; /* a session's supervisor and file system */
typedef struct kiln_guest kiln_guest;     /* a worker: speaks frames, keeps state */
/* kiln_process (plugin.h) is a program: streams, exit */

typedef struct kiln_zygote_spec {
    uv_loop_t *loop;
    const char *executable;     /* of kiln itself */
    const char *plugin;         /* path of PLUGIN.so, NULL: bare */
    const char *const *options; /* "name=value" for kiln_worker_host.option, NULL-terminated */
    kiln_sandbox_policy policy;
    kiln_log_level log_level;
} kiln_zygote_spec;

/* Starts the process and returns; requests are queued until it is ready. If it
 * cannot start, every sandbox that was asked of it fails with the reason. A zygote
 * that dies is started again by the next request. */
int kiln_zygote_start(const kiln_zygote_spec *spec, kiln_zygote **zygote, kiln_error *err);
/* Kills it; sandboxes of it must be closed before. */
void kiln_zygote_stop(kiln_zygote *zygote);
/* The reason why it cannot be used, or NULL while it may be. */
const char *kiln_zygote_failure(const kiln_zygote *zygote);
/* True once it has told that it can fork sessions. */
bool kiln_zygote_ready(const kiln_zygote *zygote);

/* A session's sandbox. `name` is for the cgroup. limits.disk and .files size its
 * tmpfs; memory, processes go to its cgroup. `ready` is called once: root_fd >= 0
 * (the sandbox's own, O_PATH, to be used with openat2 beneath) or -1 with err. */
int kiln_sandbox_open(kiln_zygote *zygote, const char *name, const kiln_limits *limits,
                      void (*ready)(void *user, int root_fd, const kiln_error *err), void *user,
                      kiln_sandbox **sandbox, kiln_error *err);
/* False once its supervisor is gone: it can only be closed. */
bool kiln_sandbox_alive(const kiln_sandbox *sandbox);
/* -1 before ready. */
int kiln_sandbox_root_fd(const kiln_sandbox *sandbox);
/* With KILN_NETWORK_PROXY, once it is ready: the socket that listens inside; the
 * caller's from then on. -1: there is none. */
int kiln_sandbox_take_listener(kiln_sandbox *sandbox);
/* Called once when its supervisor is gone, from within whatever found that; NULL: nobody
 * wants to know. */
void kiln_sandbox_on_lost(kiln_sandbox *sandbox, void (*lost)(void *user), void *user);
/* Whether a sandbox that is ready, and an idle worker in it, can keep narrower limits than
 * it was opened with, or the same. */
bool kiln_sandbox_can_adjust(const kiln_sandbox *sandbox, const kiln_limits *limits);
/* Makes a process in it ahead that becomes its next program; `limits` as it was opened
 * with. Where that fails, a program is started as without it. */
void kiln_sandbox_nurse(kiln_sandbox *sandbox);
/* Another name and limits for it and for the worker in it: file system and rlimits; the
 * cgroup's come with each execution. `done` is called once, possibly at once, with NULL or
 * with why they cannot be kept: then it can only be closed. Not called after closing. */
void kiln_sandbox_adjust(kiln_sandbox *sandbox, const char *name, const kiln_limits *limits,
                         void (*done)(void *user, const kiln_error *err), void *user);
/* Kills everything in it and frees it; pending on_exit callbacks come first, from
 * within this call. Nothing of it is left: processes, mounts, cgroup, descriptors. */
void kiln_sandbox_close(kiln_sandbox *sandbox);
/* Kills every process in it but the supervisor. */
void kiln_sandbox_kill(kiln_sandbox *sandbox);
/* What its cgroup says; all unknown without one. */
void kiln_sandbox_usage(const kiln_sandbox *sandbox, kiln_cgroup_usage *usage);
/* Bytes of memory that it has now, its files included; 0: unknown. */
uint64_t kiln_sandbox_memory(const kiln_sandbox *sandbox);

/* ---- what an execution used, the whole tree of its processes, and what it touched */
typedef struct kiln_account {
    double cpu_ms;             /* < 0: unknown */
    bool cpu_is_coarse;        /* sum of the processes' ticks, no cgroup: a lower bound */
    uint64_t max_memory_bytes; /* peak, files in memory included; 0: unknown */
    uint64_t processes;        /* most at one time, of the session so far; 0: unknown */
    uint64_t disk_bytes;       /* in the session's file system, at the end */
    bool disk_unknown;         /* it has none of its own: what is about it is 0 */
    uint64_t disk_limit;       /* what that file system can hold; 0: unknown */
    uint64_t files_limit;      /* likewise: as the session began with, 0: any number */
    /* Limits that the kernel says were reached meanwhile. Of descriptors and of a file's
     * size it tells only the program. */
    bool memory_hit, processes_hit, disk_hit, files_hit;
    bool cpus_kept; /* false: this machine cannot keep limits.cpus */
} kiln_account;
/* Around each execution. Where there is no cgroup the tree is watched in between, and
 * killed when it has more memory, processes or CPU time than `limits` give. */
void kiln_sandbox_account_begin(kiln_sandbox *sandbox, const kiln_limits *limits);
void kiln_sandbox_account_end(kiln_sandbox *sandbox, kiln_account *account);
/* In place of the end, when nobody wants to know. */
void kiln_sandbox_account_stop(kiln_sandbox *sandbox);

/* ---- programs; spawn as in plugin.h. A sandbox runs one program or worker at a time,
 * since the end of one is the end of every process in it: -EBUSY otherwise; -EPIPE when
 * its supervisor is gone, and then only closing it and opening another helps.
 * limits.timeout_ms counts from this call. */
int kiln_process_spawn(kiln_sandbox *sandbox, const kiln_spawn *spawn, kiln_process **process,
                       kiln_error *err);
void kiln_process_kill(kiln_process *process);

/* ---- workers. limits.timeout_ms is the caller's affair; limits.cpu_ms is that of one
 * cell, and needs a cgroup to be counted. */
typedef struct kiln_guest_callbacks {
    /* Output frames 0x41-0x47, and bytes that the process wrote to descriptors 1 and
     * 2 itself (as STDOUT, STDERR). */
    void (*on_event)(void *user, const kiln_event *event);
    /* DONE: of the running cell; usage is the worker's own word. */
    void (*on_done)(void *user, const kiln_verdict *verdict, double cpu_ms,
                    uint64_t max_rss_bytes);
    /* ANALYSIS; borrowed. */
    void (*on_analysis)(void *user, json_t *analysis);
    /* The worker is gone (exit->error says so for a bad frame); once, last. */
    void (*on_exit)(void *user, const kiln_exit *exit);
    /* REPLY: reply, or NULL and why; both borrowed. May be NULL when nothing is queried. */
    void (*on_reply)(void *user, json_t *reply, const char *error);
    /* CALL, by the running cell: kiln_guest_return answers it, now or later; borrowed. NULL: a
     * worker that calls is broken. */
    void (*on_call)(void *user, uint32_t number, const char *data, size_t length);
    /* Nobody waits for the call any more: the cell has ended, or will not go on. NULL: it is
     * not to be told. */
    void (*on_call_over)(void *user);
} kiln_guest_callbacks;

int kiln_guest_start(kiln_sandbox *sandbox, const kiln_limits *limits,
                     const kiln_guest_callbacks *callbacks, void *user, kiln_guest **guest,
                     kiln_error *err);
/* False once its end has begun: on_exit is still to come, and a worker can only be
 * started after it. */
bool kiln_guest_usable(const kiln_guest *guest);
/* One cell at a time; -EBUSY otherwise. */
int kiln_guest_execute(kiln_guest *guest, const kiln_input *input, kiln_error *err);
/* Has it do what a first cell would have to wait for; on_done follows. Nothing of it is to
 * be seen in the session that gets the worker. The turns count from 0 on. */
int kiln_guest_rehearse(kiln_guest *guest, unsigned turn, bool last, kiln_error *err);
/* Another owner from now on; it is idle. `limits` as kiln_guest_start takes them. */
void kiln_guest_adopt(kiln_guest *guest, const kiln_limits *limits,
                      const kiln_guest_callbacks *callbacks, void *user);
int kiln_guest_analyze(kiln_guest *guest, const char *code, size_t length, kiln_error *err);
/* `arguments`: an object, borrowed. */
int kiln_guest_query(kiln_guest *guest, const char *name, json_t *arguments, kiln_error *err);
/* One that nobody waits for is dropped. 0, -ENOMEM, -E2BIG: nothing was sent. */
int kiln_guest_return(kiln_guest *guest, uint32_t number, const char *data, size_t length);
/* SIGINT, to the cell or query in flight. */
void kiln_guest_interrupt(kiln_guest *guest);
/* When the running cell ends, what it and earlier ones left running is killed before
 * on_done comes; the worker and its state stay. */
void kiln_guest_sweep(kiln_guest *guest);
/* In on_done, of a cell that failed: the limit (memory, processes, disk, files) that its
 * processes reached meanwhile, or NULL. Then they have been swept, too. */
const char *kiln_guest_limit(const kiln_guest *guest);
/* SIGKILL to all of its sandbox; on_exit still comes. `reason` becomes
 * exit->limit, or NULL; timed_out and cpu_exceeded are handed through. */
void kiln_guest_kill(kiln_guest *guest);

/* ---- a second worker with the state of a first. The first must be idle; it goes on, and
 * runs no cell before `done`, which comes once, possibly from within: with what was made,
 * or err. Refused, too, when its state could not be split or brought back: it has threads,
 * shared memory, ... */
typedef void (*kiln_fork_done)(void *user, kiln_sandbox *sandbox, kiln_guest *guest,
                               const kiln_error *err);
/* A worker in a session of its own, nested in the first one's, with a copy of the files:
 * `sandbox`, to be closed by the caller. The first one's can be closed before. */
int kiln_guest_branch(kiln_guest *guest, const char *name, const kiln_limits *limits,
                      const kiln_guest_callbacks *callbacks, void *guest_user,
                      kiln_fork_done done, void *user, kiln_error *err);
/* A worker that waits beside the first one, files included, one at a time. When the first
 * one ends the snapshot stays, until it is resumed or released. */
int kiln_guest_snapshot(kiln_guest *guest, const kiln_limits *limits,
                        const kiln_guest_callbacks *callbacks, void *guest_user,
                        kiln_fork_done done, void *user, kiln_error *err);
/* Its files become those of another sandbox, of which from_fd is the root; nothing runs in
 * either. */
int kiln_sandbox_copy(kiln_sandbox *sandbox, int from_fd, kiln_fork_done done, void *user,
                      kiln_error *err);
/* Whether it is still there. */
bool kiln_guest_waiting(kiln_guest *snapshot);
/* It is not needed; frees it. */
void kiln_guest_release(kiln_sandbox *sandbox, kiln_guest *snapshot);
/* After the first one's on_exit: the snapshot is the worker, and files are what they were.
 * Owns `snapshot`, which `done` gives back. */
int kiln_guest_resume(kiln_sandbox *sandbox, kiln_guest *snapshot, kiln_fork_done done,
                      void *user, kiln_error *err);

/* ---- the processes' own main functions, called by `kiln worker` */
/* argv[1] = PLUGIN.so or "-"; the control socket is descriptor 3. Returns the exit
 * status. */
int kiln_spawner_main(int argc, char **argv);

#endif
