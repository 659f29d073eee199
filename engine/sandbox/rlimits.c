/* rlimits.c - what the kernel counts for each process, and for each uid. */
#include "sandbox/steps.h"

#include <errno.h>
#include <sys/resource.h>

/* Lowers only: without capabilities raising fails, and above the hard limit that the
 * engine itself lives under nothing was promised. */
static int lower(pid_t pid, int resource, const char *name, rlim_t soft, rlim_t hard,
                 kiln_error *err)
{
    struct rlimit now;
    if (prlimit(pid, (__rlimit_resource_t)resource, NULL, &now) < 0) {
        return kiln_error_errno(err, errno, "rlimit %s", name);
    }
    struct rlimit wanted = {soft, hard};
    if (wanted.rlim_max > now.rlim_max) {
        wanted.rlim_max = now.rlim_max;
    }
    if (wanted.rlim_cur > wanted.rlim_max) {
        wanted.rlim_cur = wanted.rlim_max;
    }
    if (prlimit(pid, (__rlimit_resource_t)resource, &wanted, NULL) < 0) {
        return kiln_error_errno(err, errno, "rlimit %s", name);
    }
    return 0;
}

int kiln_rlimits_apply(pid_t pid, const kiln_limits *limits, bool in_cgroup, bool own_uid,
                       kiln_error *err)
{
    enum { STACK_SOFT = 8 << 20, STACK_HARD = 64 << 20, LOCKED = 64 << 10, QUEUE = 256 << 10 };
    struct {
        int resource;
        const char *name;
        rlim_t soft, hard;
    } wanted[12];
    int count = 0;
#define WANT(resource, soft, hard)                                                             \
    (wanted[count++] = (__typeof__(wanted[0])){RLIMIT_##resource, #resource, soft, hard})

    WANT(CORE, 0, 0);
    WANT(MEMLOCK, LOCKED, LOCKED);
    WANT(STACK, STACK_SOFT, STACK_HARD);
    WANT(MSGQUEUE, QUEUE, QUEUE);
    WANT(NICE, 0, 0);
    WANT(RTPRIO, 0, 0);
    if (limits->cpu_ms > 0) {
        /* SIGXCPU first, so that a program may say so; SIGKILL a second later. */
        rlim_t seconds = (limits->cpu_ms + 999) / 1000;
        WANT(CPU, seconds, seconds + 1);
    }
    if (limits->open_files > 0) {
        WANT(NOFILE, limits->open_files, limits->open_files);
    }
    if (limits->file_size > 0) {
        WANT(FSIZE, limits->file_size, limits->file_size);
    }
    if (limits->processes > 0 && own_uid) {
        /* The kernel counts by uid. A uid that sessions share would let one session
         * use up another's; there the cgroup, or nothing, must do. */
        /* The cgroup first, which counts what it refused, so that the result can tell. */
        rlim_t most = limits->processes + (in_cgroup ? 8 : 0);
        WANT(NPROC, most, most);
    }
    if (limits->memory > 0 && !in_cgroup) {
        /* DATA and not AS: it counts private writable memory, while runtimes reserve
         * address space by the gigabyte (V8, Go) that they never touch. Shared
         * memory and the sum over processes are for the engine's watch. */
        WANT(DATA, limits->memory, limits->memory);
    }
#undef WANT
    for (int i = 0; i < count; i++) {
        int rc =
            lower(pid, wanted[i].resource, wanted[i].name, wanted[i].soft, wanted[i].hard, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int kiln_sandbox_limit(const kiln_sandbox_policy *policy, pid_t pid, const kiln_limits *limits,
                       bool in_cgroup, kiln_error *err)
{
    return kiln_rlimits_apply(pid, limits, in_cgroup, kiln_processes_counted_apart(policy),
                              err);
}
