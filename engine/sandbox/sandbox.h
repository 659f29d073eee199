/* sandbox.h - how a process is confined. Linux; called in the process that is
 * to be confined, single-threaded, in this order:
 *
 *   spawner     kiln_sandbox_enter_root   once: user, pid, mount, net, ipc, uts
 *                                         namespaces, pivot_root onto the
 *                                         read-only root
 *   supervisor  kiln_sandbox_prepare_session  once a session: its own mount, pid
 *                                         (by the fork), ipc and network
 *                                         namespaces; /proc
 *               kiln_sandbox_enter_session  the session's tmpfs, users
 *   worker      kiln_sandbox_lock         last, irrevocable: cgroup, rlimits,
 *                                         descriptors, uid, capabilities,
 *                                         no_new_privs, Landlock, seccomp
 *
 * Nothing here is called in the engine but what stands under "engine side". */
#ifndef KILN_SANDBOX_SANDBOX_H
#define KILN_SANDBOX_SANDBOX_H

#include "base/error.h"

#include <jansson.h>
#include <kiln/plugin.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Layers, as [sandbox] require names them. */
typedef enum kiln_layer {
    KILN_LAYER_NAMESPACES = 1 << 0,   /* "namespaces": user, pid, mount, net, ipc, uts */
    KILN_LAYER_SECCOMP = 1 << 1,      /* "seccomp" */
    KILN_LAYER_NO_NEW_PRIVS = 1 << 2, /* "no_new_privs" */
    KILN_LAYER_LANDLOCK = 1 << 3,     /* "landlock" */
    KILN_LAYER_CGROUP = 1 << 4,       /* "cgroup" */
    KILN_LAYER_UIDS = 1 << 5,         /* "uids": a host uid a session */
} kiln_layer;
/* -EINVAL with a near match. */
int kiln_layer_from_name(const char *name, kiln_layer *layer, kiln_error *err);

/* [sandbox] network. */
typedef enum kiln_network {
    KILN_NETWORK_NONE = 0,
    KILN_NETWORK_HOST = 1,  /* the host's own: nothing of it is confined */
    KILN_NETWORK_PROXY = 2, /* one of the session's own, with a way out that the engine keeps */
} kiln_network;
enum { KILN_ROOT_MAX = 1024 };
/* Where code finds the proxy, on 127.0.0.1 of the session's own network. */
enum { KILN_PROXY_PORT = 3128 };

/* What the whole engine's sandboxes share. Made in the engine, copied by fork
 * or sent to the zygote. */
typedef struct kiln_sandbox_policy {
    unsigned required; /* kiln_layer bits: without one of them nothing runs */
    uid_t uid_base;    /* first host uid of the range, as root; 0: not root */
    uint32_t uid_count;
    bool private_network; /* a network namespace of each session's own */
    kiln_network network;
    char root[KILN_ROOT_MAX]; /* folder whose /usr, /etc, ... code sees; "": the host's */
} kiln_sandbox_policy;

/* A session's part. */
typedef struct kiln_sandbox_session {
    uint32_t index; /* picks the uid: distinct among live sessions */
    uint64_t disk;  /* bytes of its tmpfs */
    uint64_t files; /* inodes of its tmpfs */
    bool nested;    /* inside another session, see kiln_sandbox_nest */
} kiln_sandbox_session;

/* One process's part. */
typedef struct kiln_sandbox_lock_spec {
    kiln_limits limits;
    uint32_t session_index;
    const int *cgroup_fds; /* from kiln_cgroup_fds, to enter while single-threaded */
    int cgroup_count;
    int landlock_fd;     /* ruleset from kiln_sandbox_landlock, or -1 */
    const int *keep_fds; /* descriptors that stay open beside 0, 1, 2; ascending */
    int keep_count;
    unsigned required; /* layers that must hold */
    int *listener;     /* not NULL: becomes the descriptor that setns is asked of; see below */
} kiln_sandbox_lock_spec;

/* Where things are inside: names that lead to /run/session/work and /run/session/code. */
#define KILN_INSIDE_WORK "/work" /* the session's work directory */
#define KILN_INSIDE_CODE "/code" /* programs that a compile phase made */

/* Spawner. Returns in a CHILD of the calling process, which is pid 1 of the zygote's
 * own pid namespace: only a pid namespace that belongs to the user namespace can be
 * returned to by setns, as the spawner must after each unshare(CLONE_NEWPID). The
 * caller stays behind as a stub that holds no descriptor, dies with its own parent,
 * takes the zygote with it when killed and hands its exit status on (128+N for a
 * signal). When the zygote dies the kernel kills every session of it.
 *
 * After it: uid 0 of the new user namespace as root, uid 1000 as an ordinary user
 * (whose one id is mapped there, so that nothing that the kernel gives to a
 * namespace's root belongs to code), all capabilities in it, an empty bounding set,
 * not dumpable. Makes the root: /usr /bin /lib* /sbin read-only, a reduced /etc,
 * /dev, a /proc of the zygote's own, empty /work /tmp /code. */
int kiln_sandbox_enter_root(const kiln_sandbox_policy *policy, kiln_error *err);
/* A Landlock ruleset, after enter_root, for any number of later kiln_sandbox_lock calls;
 * -1 with *err.code 0 where the kernel has none. */
int kiln_sandbox_landlock(const kiln_sandbox_policy *policy, kiln_error *err);
/* Builds the seccomp program once in this process; later locks in it and in its
 * children load it. */
int kiln_sandbox_seccomp_prepare(kiln_error *err);

/* How many sessions can live at once: their indices are below it. */
uint32_t kiln_sandbox_session_max(const kiln_sandbox_policy *policy);
/* Whether sessions of one zygote must not share its empty network namespace:
 * abstract Unix sockets live in it, and only Landlock's scopes (ABI 6, Linux 6.12)
 * keep them apart. prepare_session obeys it, whatever the policy says. */
bool kiln_sandbox_needs_private_network(const kiln_sandbox_policy *policy);
/* The uid (and gid) inside, of session `index`; -ERANGE: the range is too small. */
int kiln_sandbox_session_uid(const kiln_sandbox_policy *policy, uint32_t index, uid_t *uid,
                             kiln_error *err);

/* Supervisor, pid 1 of the session's pid namespace, first: what no two sessions differ in,
 * their other namespaces, /proc, and a tmpfs with work, code, tmp and shm, which *fs is. It
 * need not know its session yet. */
int kiln_sandbox_prepare_session(const kiln_sandbox_policy *policy, bool nested, int *fs,
                                 kiln_error *err);
/* Supervisor, then: the tmpfs gets its size and owner, and *fs is closed; *root_fd is an
 * O_PATH|O_DIRECTORY descriptor of it (work/ and code/ are in it), for the engine. */
int kiln_sandbox_enter_session(const kiln_sandbox_policy *policy,
                               const kiln_sandbox_session *session, int *fs, int *root_fd,
                               kiln_error *err);

/* Supervisor, after kiln_sandbox_enter_session: another size for the session's tmpfs, as
 * disk and files say. -EINVAL: it holds more already. */
int kiln_sandbox_resize_session(const kiln_sandbox_session *session, kiln_error *err);
/* Supervisor: the rlimits of a process that it has locked, anew; narrower ones only. */
int kiln_sandbox_limit(const kiln_sandbox_policy *policy, pid_t pid, const kiln_limits *limits,
                       bool in_cgroup, kiln_error *err);

/* Supervisor, after kiln_sandbox_enter_session, for KILN_NETWORK_PROXY: a TCP socket
 * that listens on KILN_PROXY_PORT of the session's network, for the engine. */
int kiln_sandbox_listen(int *listener, kiln_error *err);

/* Descriptors of namespaces, in this order. */
enum {
    KILN_SPACE_USER,
    KILN_SPACE_MOUNT,
    KILN_SPACE_IPC,
    KILN_SPACE_PID,
    KILN_BRANCH_SPACES,
    KILN_SPACE_NETWORK = KILN_BRANCH_SPACES,
    KILN_SESSION_SPACES,
};

/* Supervisor, after kiln_sandbox_enter_session: opens what a worker that is forked elsewhere
 * must enter; -1 for what it shares with the zygote. */
int kiln_sandbox_session_spaces(const kiln_sandbox_policy *policy,
                                const kiln_sandbox_session *session,
                                int spaces[KILN_SESSION_SPACES], kiln_error *err);
/* Child of the zygote, already in the session's pid namespace: enters the others.
 * kiln_sandbox_lock must follow. */
int kiln_sandbox_join_session(const int spaces[KILN_SESSION_SPACES], kiln_error *err);

/* Worker or program, child of zygote or supervisor. Only returns 0 when every required
 * layer holds; the caller must _exit on failure. */
int kiln_sandbox_lock(const kiln_sandbox_policy *policy, const kiln_sandbox_lock_spec *spec,
                      kiln_error *err);

/* ---- branches: a worker's fork goes on in a session of its own, which is nested in the
 * first one: a user namespace below it, and in that a mount, pid and ipc namespace. The
 * network, and the uid, are the first one's. Only who is in the outer namespace and has
 * the session's uid may enter, and only through setns, which seccomp asks the supervisor. */

/* Supervisor of `outer`: returns in it, and with *child set in a child that is pid 1 of a
 * new pid namespace and root of a new user namespace, with all capabilities over it;
 * kiln_sandbox_enter_session follows there with `nested` set. What the child failed in is
 * returned in the child. */
int kiln_sandbox_nest(const kiln_sandbox_policy *policy, const kiln_sandbox_session *outer,
                      bool *child, kiln_error *err);
/* Nested supervisor: opens its namespaces. */
int kiln_sandbox_nested_spaces(int spaces[KILN_BRANCH_SPACES], kiln_error *err);
/* A process of the outer session: goes there. What it forks next stands in the new pid
 * namespace. It has every capability over the nested session then, until */
int kiln_sandbox_enter_nested(const int spaces[KILN_BRANCH_SPACES], kiln_error *err);
/* that fork, first of all, gives them up; in the new work directory. */
int kiln_sandbox_lock_nested(kiln_error *err);

/* What a supervisor has let be asked: each kind of namespace once. */
typedef struct kiln_setns_permit {
    unsigned left; /* CLONE_NEW* bits */
} kiln_setns_permit;
void kiln_setns_permit_arm(kiln_setns_permit *permit);
/* Answers one question of the listener. 0; -EAGAIN: there was none; -ENOENT: nobody is left
 * who could ask. */
int kiln_setns_answer(int listener, kiln_setns_permit *permit);

/* ---- cgroups, engine side */

typedef struct kiln_cgroup kiln_cgroup; /* one a session */
typedef struct kiln_cgroup_usage {
    double cpu_ms;             /* < 0: unknown */
    uint64_t max_memory_bytes; /* peak; 0: unknown */
    uint64_t oom_kills;
    uint64_t pids_refused;  /* forks that the processes limit refused */
    uint64_t max_processes; /* most at one time, ever; 0: unknown */
} kiln_cgroup_usage;

/* What the machine has: finds v2 with delegation, v1 or hybrid, or nothing. Once,
 * in the engine, before the first kiln_cgroup_create. 0, or why there is none. */
int kiln_cgroup_init(kiln_error *err);
/* Removes what earlier engines left that are no longer alive; returns how many. */
int kiln_cgroup_sweep(void);
/* A group named after this engine and `name`. NULL with *err.code 0: no cgroups. */
kiln_cgroup *kiln_cgroup_create(const char *name, const kiln_limits *limits, kiln_error *err);
/* Descriptors to enter by, single-threaded, writing "0" (cgroup.procs, v1: tasks); the
 * group's own. Who has one can move what it can name in there, until the group is destroyed
 * with all that is in it. */
const int *kiln_cgroup_fds(const kiln_cgroup *group, int *count);
/* What another process knows a group by. */
typedef struct kiln_cgroup_name {
    char text[80];
    int places; /* 0: there is no group */
} kiln_cgroup_name;
void kiln_cgroup_get_name(const kiln_cgroup *group, kiln_cgroup_name *name);
/* Any process: whether that one, of its /proc, is in. */
bool kiln_cgroup_holds(const kiln_cgroup_name *name, pid_t pid);
int kiln_cgroup_set_limits(kiln_cgroup *group, const kiln_limits *limits, kiln_error *err);
/* All of it, in five system calls. */
void kiln_cgroup_read(kiln_cgroup *group, kiln_cgroup_usage *usage);
/* Bytes that it has now; 0: unknown. */
uint64_t kiln_cgroup_memory(const kiln_cgroup *group);
/* Only oom_kills and pids_refused, in two system calls: cheap enough for every cell. */
void kiln_cgroup_read_hits(kiln_cgroup *group, kiln_cgroup_usage *usage);
/* From now on: the CPU time and the peak of memory that kiln_cgroup_measure tells, the
 * latter where the kernel can begin anew (returns whether it can). */
bool kiln_cgroup_begin(kiln_cgroup *group, kiln_cgroup_usage *usage);
/* Fills cpu_ms, max_memory_bytes, max_processes, in three system calls. */
void kiln_cgroup_measure(const kiln_cgroup *group, kiln_cgroup_usage *usage);
/* Whether the share that limits->cpus asked for is kept. A group that was made without
 * one cannot be given one later. */
bool kiln_cgroup_keeps_cpus(const kiln_cgroup *group);
/* Kills what is in it, removes it and frees. Does not block: what the kernel still
 * holds is left for the next sweep. */
void kiln_cgroup_destroy(kiln_cgroup *group);

/* ---- engine side */

/* Whether policy->root can be used: a folder with system folders in it, that sessions'
 * users can read and nobody but its owner can write. 0; or -errno and what to do. */
int kiln_sandbox_check_root(const kiln_sandbox_policy *policy, kiln_error *err);
/* Finds a program of policy->root (or of the host) as code does: `name` with a slash, or
 * in the default PATH. -ENOENT, or 0 and its name inside. */
int kiln_sandbox_find_program(const kiln_sandbox_policy *policy, const char *name, char *path,
                              size_t size);
/* What this machine can confine, layer by layer, found by trying it in children:
 * [{"layer","available":bool,"required":bool,"detail","advice":null|""}]. New
 * reference; NULL on failure. */
json_t *kiln_sandbox_probe(const kiln_sandbox_policy *policy, kiln_error *err);

#endif
