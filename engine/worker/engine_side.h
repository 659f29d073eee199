/* engine_side.h - how the engine's zygotes, sandboxes and runs hang together. Only
 * for engine_*.c of this folder; sandboxed.h is what others see.
 *
 * A zygote has sandboxes; a sandbox has at most one run (a program or a worker), since
 * the end of a run is the end of every process in its pid namespace. Callbacks may
 * call anything of sandboxed.h, closing included; whoever calls one holds a reference
 * meanwhile. */
#ifndef KILN_WORKER_ENGINE_SIDE_H
#define KILN_WORKER_ENGINE_SIDE_H

#include "worker/control.h"
#include "worker/linger.h"
#include "worker/poll.h"
#include "worker/sandboxed.h"

typedef struct kiln_run kiln_run;
typedef struct kiln_fork kiln_fork; /* a worker being forked */

typedef enum kiln_zygote_state {
    KILN_ZYGOTE_STARTING,
    KILN_ZYGOTE_READY,
    KILN_ZYGOTE_DEAD,
} kiln_zygote_state;

struct kiln_zygote {
    uv_loop_t *loop;
    char *executable;
    char *plugin;  /* or NULL */
    char *options; /* NUL-terminated strings, one after the other */
    size_t options_length;
    uint32_t option_count;
    kiln_sandbox_policy policy;
    kiln_log_level log_level;
    kiln_zygote_state state;
    char failure[1024]; /* why it is dead; "" while it is not */
    pid_t pid;          /* the stub: it ends when the zygote and all below it have ended */
    int pidfd;
    int zygote_pidfd; /* -1 until it has told */
    int control;
    kiln_poll *control_poll;
    kiln_alarm *start_alarm;
    kiln_linger *linger;     /* or NULL */
    kiln_sandbox *sandboxes; /* those that are closed and not yet gone, too */
    kiln_sandbox *last_sandbox;
};

typedef enum kiln_sandbox_state {
    KILN_SANDBOX_PENDING, /* the zygote has not been asked yet */
    KILN_SANDBOX_OPENING,
    KILN_SANDBOX_READY,
    KILN_SANDBOX_DEAD, /* the supervisor is gone or given up */
} kiln_sandbox_state;

struct kiln_sandbox {
    kiln_zygote *zygote;
    kiln_sandbox *next, *previous;
    kiln_sandbox_state state;
    bool closed; /* by the owner: only the remains are waited for */
    unsigned references;
    char *name;
    kiln_limits limits;
    kiln_limits cgroup_limits; /* as the cgroup has them now */
    uint32_t index;
    bool has_index;
    kiln_cgroup *cgroup;
    int control;
    int peer; /* the supervisor's end, until it is sent */
    int pidfd;
    int worker_pidfd; /* of one that the zygote forked for it; -1 */
    int root_fd;
    int listener; /* for the proxy; -1: none, or taken */
    kiln_poll *control_poll;
    kiln_alarm *open_alarm;
    kiln_poll *pidfd_poll; /* when closed: the end of the supervisor */
    void (*ready)(void *user, int root_fd, const kiln_error *err);
    void *user;
    void (*lost)(void *user); /* or NULL */
    void *lost_user;
    void (*adjusted)(void *user, const kiln_error *err); /* while ADJUSTED is awaited */
    void *adjusted_user;
    kiln_run *run;
    uint32_t last_id;
    kiln_sandbox *outer;            /* it is nested in; referenced; NULL: in none */
    unsigned nested;                /* how many are nested in it: it outlives its closing */
    int spaces[KILN_BRANCH_SPACES]; /* its namespaces, when it is nested; -1 */
    struct {
        kiln_limits limits;
        double cpu_from_ms;
        uint64_t peak_from;
        bool peak_is_fresh;
        bool kept; /* what was last seen, below, is what a next execution finds */
        uint64_t oom_kills, pids_refused; /* as last seen */
        bool disk_full, files_full;       /* likewise */
        pid_t pid;                        /* the supervisor's, once it was needed */
        kiln_alarm *watch;                /* without a cgroup */
        uint64_t processes_seen;          /* by it, at most */
    } account;
};

/* ---- engine_zygote.c */

/* Starts it again if it is dead. */
int kiln_zygote_revive(kiln_zygote *zygote, kiln_error *err);

/* ---- engine_sandbox.c */

/* Sends OPEN. 0; -EAGAIN: the zygote's socket is full. */
int kiln_sandbox_request(kiln_sandbox *sandbox);
/* The supervisor is gone, or has to be: ends the run, calls ready if that is due. */
void kiln_sandbox_fail(kiln_sandbox *sandbox, const char *why);
/* The zygote and all its processes are gone: frees what was waited for. */
void kiln_sandbox_bury(kiln_sandbox *sandbox);
/* Sends to the supervisor without blocking. */
int kiln_sandbox_send(kiln_sandbox *sandbox, kiln_control_type type, uint32_t id,
                      const void *payload, size_t length, const int *fds, int fd_count);

/* As kiln_sandbox_open, inside another: see engine_branch.c. */
int kiln_sandbox_open_nested(kiln_sandbox *outer, const char *name, const kiln_limits *limits,
                             void (*ready)(void *user, int root_fd, const kiln_error *err),
                             void *user, kiln_sandbox **sandbox, kiln_error *err);

/* ---- engine_guest.c, for engine_branch.c */

/* A worker that something else than the supervisor starts, not attached to `sandbox` yet;
 * theirs: 0, 1, 2 and frame socket of it, the caller's. */
int kiln_guest_prepare(kiln_sandbox *sandbox, const kiln_limits *limits,
                       const kiln_guest_callbacks *callbacks, void *user, int theirs[4],
                       kiln_guest **guest, kiln_error *err);
/* Frees one that was never attached. */
void kiln_guest_discard(kiln_guest *guest);
kiln_run *kiln_guest_run(kiln_guest *guest);
struct kiln_dialogue *kiln_guest_dialogue(kiln_guest *guest);
int kiln_guest_socket(const kiln_guest *guest);
/* Sends what the dialogue has appended. */
void kiln_guest_flush(kiln_guest *guest);
/* What happens to it is told to the fork, too; NULL: no more. */
void kiln_guest_set_fork(kiln_guest *guest, kiln_fork *fork);
kiln_fork *kiln_guest_fork_of(const kiln_guest *guest);

/* ---- engine_branch.c */

void kiln_fork_forkable(kiln_fork *fork, const char *refusal);
void kiln_fork_forked(kiln_fork *fork, int32_t pid, const char *error);
/* One of its two workers has said something, or has ended. */
void kiln_fork_progress(kiln_fork *fork);
/* The sandbox is closed or has failed: forks that need it end, and tell so. */
void kiln_fork_abandon(kiln_sandbox *sandbox, const char *why);
/* COPIED, SETTLED, ADOPTED, HELD of any sandbox. */
void kiln_fork_message(kiln_sandbox *sandbox, kiln_control_message *message);

/* ---- engine_run.c: what programs and workers have in common */

typedef struct kiln_fullness {
    bool disk, files;
} kiln_fullness;

struct kiln_run {
    kiln_sandbox *sandbox; /* NULL once it is over */
    uint32_t id;
    unsigned references;
    kiln_limits limits;
    struct {
        int fd;
        kiln_poll *poll;
    } streams[2]; /* stdout, stderr */
    kiln_alarm *deadline;
    kiln_alarm *kill_deadline;
    kiln_alarm *cpu_watch;
    uint64_t cpu_limit_ms; /* of cpu_watch */
    double cpu_from_ms;
    uint64_t started_ns;
    kiln_cgroup_usage before;
    kiln_fullness fullness; /* of the file system, before */
    bool killing;
    const char *over; /* the limit for which it is killed, or NULL */
    bool timed_out;
    bool cpu_exceeded;
    bool reported; /* `report` holds the supervisor's */
    kiln_control_exit report;
    char *error;
    void (*before_output)(kiln_run *run); /* or NULL; what has come another way goes first */
    void (*on_output)(kiln_run *run, uint32_t stream, const char *data, size_t length);
    void (*on_ending)(kiln_run *run); /* or NULL; before the streams' rest is read */
    void (*on_swept)(kiln_run *run, uint32_t id);          /* or NULL */
    void (*on_exit)(kiln_run *run, const kiln_exit *exit); /* once, last */
    void (*release)(kiln_run *run);                        /* frees what it is part of */
};

/* Makes the pipes and sends `type` with payload, whose front is a kiln_control_run
 * that this fills. stdin_fd and frame_fd (-1: none) are borrowed. On failure nothing
 * is left to clean up but what the caller made. */
int kiln_run_start(kiln_run *run, kiln_sandbox *sandbox, kiln_control_type type,
                   const kiln_limits *limits, kiln_buffer *payload, int stdin_fd, int frame_fd,
                   kiln_error *err);
/* For a process that is not forked by the supervisor: the same in two steps. Makes the
 * pipes; theirs are the caller's. The run counts as over until it is attached. */
int kiln_run_prepare(kiln_run *run, kiln_sandbox *sandbox, const kiln_limits *limits,
                     int theirs[2], kiln_error *err);
void kiln_run_attach(kiln_run *run, kiln_sandbox *sandbox, uint32_t id);
/* In place of attaching: frees it. */
void kiln_run_discard(kiln_run *run);
/* From now on: kills when the tree has used that much CPU time; 0: no more. Needs a
 * cgroup, without one only RLIMIT_CPU counts. 0 or -ENOMEM. */
int kiln_run_watch_cpu(kiln_run *run, kiln_sandbox *sandbox, uint64_t limit_ms);
/* The cgroup's limits, when they are not the same already. -EDQUOT: the session holds
 * more memory than that. */
int kiln_run_set_limits(kiln_sandbox *sandbox, const kiln_limits *limits, kiln_error *err);
/* From now on: what was reached before counts no more. */
void kiln_run_forget_hits(kiln_run *run, kiln_sandbox *sandbox);
/* A limit, by name, that was reached since then, or NULL. Whether it is why the code
 * failed is the caller's guess: code may have dealt with it. */
const char *kiln_run_limit_hit(const kiln_run *run);
/* Reads both streams until they are empty, at most about a pipe's content. */
void kiln_run_drain(kiln_run *run);
void kiln_run_kill(kiln_run *run);
/* From the sandbox: the supervisor's report; the supervisor is gone. */
void kiln_run_exited(kiln_run *run, const kiln_control_message *message);
void kiln_run_lost(kiln_run *run, const char *why);
/* A reference keeps the run's memory, not the run. */
void kiln_run_ref(kiln_run *run);
void kiln_run_unref(kiln_run *run);
static inline bool kiln_run_over(const kiln_run *run)
{
    return run->sandbox == NULL;
}

#endif
