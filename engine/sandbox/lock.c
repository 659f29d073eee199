/* lock.c - the order of the irrevocable steps, and the look back over them. */
#include "base/cleanup.h"
#include "sandbox/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int close_all_but(const int *keep, int count, int also, kiln_error *err)
{
    unsigned from = 3;
    bool passed_also = also < 3;
    for (int i = 0; i <= count; i++) {
        unsigned next = i < count ? (unsigned)keep[i] : ~0U;
        if (!passed_also && (unsigned)also <= next) {
            next = (unsigned)also;
            passed_also = true;
            i--;
        }
        if (next < from) {
            continue; /* 0, 1, 2, or the same twice */
        }
        if (next > from && close_range(from, next == ~0U ? next : next - 1, 0) < 0) {
            return kiln_error_errno(err, errno, "descriptors: closing from %u", from);
        }
        from = next + 1;
    }
    return 0;
}

static int enter_cgroups(const kiln_sandbox_lock_spec *spec, kiln_error *err)
{
    for (int i = 0; i < spec->cgroup_count; i++) {
        if (write(spec->cgroup_fds[i], "0", 1) != 1) {
            return kiln_error_errno(err, errno, "cgroup: entering");
        }
    }
    return 0;
}

/* A required layer that cannot be had: weaker than configured is refused. */
static int check_required(const kiln_sandbox_policy *policy, const kiln_sandbox_lock_spec *spec,
                          kiln_error *err)
{
    if ((spec->required & KILN_LAYER_CGROUP) != 0 && spec->cgroup_count == 0) {
        return kiln_error_set(err, -EPERM, "[sandbox] require names cgroup, and there is none");
    }
    if ((spec->required & KILN_LAYER_LANDLOCK) != 0 && spec->landlock_fd < 0) {
        return kiln_error_set(err, -EPERM,
                              "[sandbox] require names landlock, and the kernel has none");
    }
    if ((spec->required & KILN_LAYER_UIDS) != 0 && !kiln_uids_are_ranged(policy)) {
        return kiln_error_set(
            err, -EPERM,
            "[sandbox] require names uids, and the engine is not root or [sandbox] "
            "uids is empty");
    }
    return 0;
}

/* A namespace is proved by what it hides: a parent can only be pid 1, the supervisor, or
 * invisible, the zygote. */
static int verify_namespaces(kiln_error *err)
{
    if (getppid() > 1) {
        return kiln_error_set(err, -EPERM,
                              "pid namespace did not hold: the parent is in sight");
    }
    if (access("/run/session/passwd", F_OK) < 0 || access("/work", W_OK) < 0) {
        return kiln_error_errno(err, errno, "mount namespace did not hold");
    }
    return 0;
}

int kiln_sandbox_lock(const kiln_sandbox_policy *policy, const kiln_sandbox_lock_spec *spec,
                      kiln_error *err)
{
    uid_t uid;
    int rc = kiln_sandbox_session_uid(policy, spec->session_index, &uid, err);
    if (rc == 0) {
        rc = check_required(policy, spec, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (setsid() < 0 && getsid(0) != getpid()) {
        return kiln_error_errno(err, errno, "session: setsid");
    }
    rc = enter_cgroups(spec, err);
    if (rc < 0) {
        return rc;
    }
    if (spec->cgroup_count > 0 && unshare(CLONE_NEWCGROUP) < 0 && errno != EINVAL) {
        return kiln_error_errno(err, errno, "cgroup namespace: unshare");
    }
    /* Its own /proc files are the host root's while it is not dumpable. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
        return kiln_error_errno(err, errno, "dumpable");
    }
    rc = kiln_write_file_at(AT_FDCWD, "/proc/self/oom_score_adj", "1000");
    if (rc < 0) {
        return kiln_error_errno(err, rc, "oom_score_adj");
    }
    /* While it may still write where rlimits and Landlock will not let it. */
    umask(022);
    if (chdir(KILN_INSIDE_WORK) < 0) {
        return kiln_error_errno(err, errno, "%s", KILN_INSIDE_WORK);
    }
    rc = close_all_but(spec->keep_fds, spec->keep_count, spec->landlock_fd, err);
    if (rc == 0) {
        rc = kiln_privileges_drop(uid, err);
    }
    if (rc == 0) {
        /* After the change of uid: NPROC is counted for the uid that one then has. */
        rc = kiln_rlimits_apply(0, &spec->limits, spec->cgroup_count > 0,
                                kiln_processes_counted_apart(policy), err);
    }
    if (rc < 0) {
        return rc;
    }
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
        return kiln_error_errno(err, errno, "dumpable");
    }
    if (spec->landlock_fd >= 0) {
        rc = kiln_landlock_restrict(spec->landlock_fd, err);
        if (rc < 0) {
            return rc;
        }
        close(spec->landlock_fd);
    }
    rc = spec->listener != NULL ? kiln_seccomp_load_listening(spec->listener, err)
                                : kiln_seccomp_load(err);
    if (rc < 0) {
        return rc;
    }
    rc = kiln_seccomp_verify(err);
    if (rc == 0) {
        rc = kiln_privileges_verify(uid, err);
    }
    if (rc == 0 && (spec->required & KILN_LAYER_NAMESPACES) != 0) {
        rc = verify_namespaces(err);
    }
    return rc;
}
