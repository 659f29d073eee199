/* steps.h - what the sandbox's own files share. One block a file. */
#ifndef KILN_SANDBOX_STEPS_H
#define KILN_SANDBOX_STEPS_H

#include "base/error.h"
#include "sandbox/sandbox.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    KILN_FIRST_UID = 1000, /* inside: session 0's, or an ordinary user's only one */
};

/* ---- namespaces.c */

/* True when a range of uids is mapped, so that each session has its own. */
bool kiln_uids_are_ranged(const kiln_sandbox_policy *policy);
/* Whether RLIMIT_NPROC counts one session alone. */
bool kiln_processes_counted_apart(const kiln_sandbox_policy *policy);
/* Becomes a member of new user, pid, mount, net, ipc, uts and cgroup namespaces;
 * returns in the child that is the pid namespace's first process. */
int kiln_namespaces_enter(const kiln_sandbox_policy *policy, kiln_error *err);
/* A network namespace of one's own with the loopback device up. */
int kiln_network_make_private(kiln_error *err);
/* Writes all of `text` with one write(2); 0 or -errno. */
int kiln_write_file_at(int dir_fd, const char *path, const char *text);

/* ---- session.c */

/* Whether it has a user namespace of its own, below the zygote's. */
bool kiln_session_has_own_users(const kiln_sandbox_policy *policy,
                                const kiln_sandbox_session *session);
/* An empty session keyring: the keys of whoever started the engine are not the code's. */
int kiln_join_keyring(kiln_error *err);

/* ---- root.c */

/* Of the host, or of [sandbox] root: what becomes the tree inside, where it is there.
 * NULL-terminated. */
extern const char *const kiln_root_folders[];

/* Below the root: where the session's tmpfs stands, and the folder of it, which holds
 * nothing else: for Landlock whatever is mounted there belongs to the session. */
#define KILN_SESSION_MOUNT  "/run/session"
#define KILN_SESSION_FOLDER "/run"

/* ---- privileges.c */

/* Clears the bounding set; nothing that is executed later can gain a capability. */
int kiln_bounding_drop(kiln_error *err);
/* To the session's uid and gid, no groups, no capabilities, locked securebits,
 * no_new_privs. Irrevocable. */
int kiln_privileges_drop(uid_t uid, kiln_error *err);
/* Asks the kernel whether kiln_privileges_drop holds. */
int kiln_privileges_verify(uid_t uid, kiln_error *err);

/* ---- rlimits.c */

/* pid 0: the caller's own. */
int kiln_rlimits_apply(pid_t pid, const kiln_limits *limits, bool in_cgroup, bool own_uid,
                       kiln_error *err);

/* ---- landlock.c */

/* The kernel's ABI, 0: none. Cached. */
int kiln_landlock_abi(void);
int kiln_landlock_restrict(int ruleset, kiln_error *err);

/* ---- seccomp.c */

int kiln_seccomp_load(kiln_error *err);
/* The same, but setns is asked of whoever holds *listener; -1: the kernel has no such
 * thing, and setns is refused. */
int kiln_seccomp_load_listening(int *listener, kiln_error *err);
/* 0, or -errno when this process has no filter. */
int kiln_seccomp_verify(kiln_error *err);

/* ---- cgroup.c */

/* Removes this process's own subtree; runs by itself at exit. */
void kiln_cgroup_leave(void);
/* "memory (v1), pids (v1)": what kiln_cgroup_init found. */
void kiln_cgroup_describe(char *text, size_t size);

#endif
