/* nest.c - a session inside a session: where a branch goes on.
 *
 * Who owns a user namespace has, from the one above it, every capability over it; that is
 * the kernel's rule, and what lets a worker without any enter it. The same rule lets the
 * outer session's code signal what is nested, and look at it in /proc. It has no effect
 * the other way: from inside nothing outside can be named. */
#include "base/cleanup.h"
#include "sandbox/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Root inside is no session's and not the outer root either: below KILN_FIRST_UID
 * nothing else of the range is used. */
enum { NESTED_ROOT = 1 };

static int become(uid_t uid)
{
    return setresgid((gid_t)-1, (gid_t)uid, (gid_t)-1) < 0 ||
                   setresuid((uid_t)-1, uid, (uid_t)-1) < 0
               ? -errno
               : 0;
}

static int refuse_space(int rc, const char *kind, kiln_error *err)
{
    return rc == -ENOSPC || rc == -EUSERS
               ? kiln_error_set(err, rc,
                                "branch: too deep: the kernel has 32 namespaces within one "
                                "another and no more, and each branch of a branch takes one: "
                                "branch an earlier session")
               : kiln_error_errno(err, rc, "branch: a nested %s namespace", kind);
}

/* The child: asks for its maps, and goes on once they are written. */
static int enter_user(const kiln_sandbox_policy *policy, uid_t uid, int maps, kiln_error *err)
{
    char byte;
    int rc = kiln_uids_are_ranged(policy) ? become(uid) : 0; /* the owner */
    if (rc < 0 || unshare(CLONE_NEWUSER) < 0) {
        return refuse_space(rc < 0 ? rc : -errno, "user", err);
    }
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 || write(maps, "", 1) != 1 ||
        read(maps, &byte, 1) != 1) {
        return kiln_error_errno(err, ECANCELED, "branch: waiting for the maps");
    }
    if (kiln_uids_are_ranged(policy) &&
        (setresgid(0, 0, 0) < 0 || setgroups(0, NULL) < 0 || setresuid(0, 0, 0) < 0)) {
        return kiln_error_errno(err, errno, "branch: becoming the nested root");
    }
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        return kiln_error_errno(err, errno, "branch: not dumpable");
    }
    rc = kiln_bounding_drop(err); /* a new namespace began with a full one */
    if (rc == 0 && unshare(CLONE_NEWPID) < 0) {
        rc = refuse_space(-errno, "pid", err);
    }
    return rc;
}

static int write_maps(const kiln_sandbox_policy *policy, uid_t uid, pid_t child, bool inner,
                      kiln_error *err)
{
    char map[96];
    char path[64];
    if (kiln_uids_are_ranged(policy)) {
        snprintf(map, sizeof(map), "0 %d 1\n%u %u 1\n", inner ? 0 : NESTED_ROOT, uid, uid);
    } else {
        snprintf(map, sizeof(map), "%u %u 1\n", uid, uid);
    }
    snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)child);
    int rc = kiln_write_file_at(AT_FDCWD, path, map);
    if (rc == 0) {
        snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)child);
        rc = kiln_write_file_at(AT_FDCWD, path, map);
    }
    return rc < 0 ? kiln_error_errno(err, rc, "branch: mapping uid %u", uid) : 0;
}

int kiln_sandbox_nest(const kiln_sandbox_policy *policy, const kiln_sandbox_session *outer,
                      bool *child, kiln_error *err)
{
    uid_t uid;
    int pair[2];
    char byte;
    *child = false;
    int rc = kiln_sandbox_session_uid(policy, outer->index, &uid, err);
    if (rc < 0) {
        return rc;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return kiln_error_errno(err, errno, "branch: socketpair");
    }
    auto_close int ours = pair[0];
    auto_close int theirs = pair[1];
    pid_t helper = fork();
    if (helper < 0) {
        return kiln_error_errno(err, errno, "branch: fork");
    }
    if (helper == 0) {
        *child = true;
        close(kiln_steal_fd(&ours));
        rc = enter_user(policy, uid, theirs, err);
        if (rc < 0) {
            return rc;
        }
        pid_t init = fork(); /* the helper is between two namespaces and of no more use */
        if (init != 0) {
            _exit(init > 0 ? 0 : 1);
        }
        return 0;
    }
    close(kiln_steal_fd(&theirs));
    if (read(ours, &byte, 1) != 1) {
        return 0; /* it tells why itself */
    }
    rc = write_maps(policy, uid, helper, outer->nested, err);
    if (rc == 0 && write(ours, "", 1) != 1) {
        rc = kiln_error_errno(err, EPIPE, "branch: its helper is gone");
    }
    return rc;
}

int kiln_sandbox_lock_nested(kiln_error *err)
{
    uid_t uid = geteuid();
    int rc = kiln_bounding_drop(err);
    if (rc == 0) {
        rc = kiln_privileges_drop(uid, err);
    }
    if (rc == 0 && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
        rc = kiln_error_errno(err, errno, "dumpable");
    }
    if (rc == 0) {
        rc = kiln_privileges_verify(uid, err);
    }
    if (rc == 0 && chdir(KILN_INSIDE_WORK) < 0) {
        rc = kiln_error_errno(err, errno, "%s", KILN_INSIDE_WORK);
    }
    return rc;
}
