/* seccomp.c - the filter: a table of calls, and a look at the arguments of seven.
 *
 * The table is libseccomp's, exported once as BPF in a binary tree, so that loading is
 * one system call. The arguments are checked by a prelude of our own that goes before
 * it, for two reasons: the kernel looks at 32 bits of what is passed in 64, and a
 * comparison of all 64 (as libseccomp's) can be stepped around by setting the others;
 * and calls without a look at arguments stay in the kernel's cache of allowed ones. */
#include "base/cleanup.h"
#include "sandbox/steps.h"
#include "sandbox/syscalls.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOW(argument)  ((uint32_t)offsetof(struct seccomp_data, args[argument]))
#define HIGH(argument) (LOW(argument) + 4)
#else
#define LOW(argument)  ((uint32_t)offsetof(struct seccomp_data, args[argument]) + 4)
#define HIGH(argument) (LOW(argument) - 4)
#endif

enum { QUERY_PERSONALITY = -1, PROGRAM_MAX = 4096 /* BPF_MAXINSNS */ };

#define NEW_NAMESPACES                                                                         \
    ((uint32_t)(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |  \
                CLONE_NEWPID | CLONE_NEWNET))

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset))
#define REFUSE(code) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (code))
/* One instruction each; `skip` is how many of the next are left out. */
#define SKIP_IF(value, skip)     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), skip, 0)
#define SKIP_UNLESS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, skip)
#define SKIP_UNLESS_ANY(bits, skip)                                                            \
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(bits), 0, skip)

enum { PRELUDE = 42, SETNS_ANSWER = 2 };
#define TO_TABLE(index) (PRELUDE - (index)-1)

/* Numbers are those of the native architecture; another's reach the table's own check
 * of it, whatever they matched here: what they find before is a refusal. */
static const struct sock_filter prelude[] = {
    [0] = LOAD(offsetof(struct seccomp_data, nr)),

    /* Another namespace: refused, or in a worker that can branch asked of its supervisor,
     * which lets one through that it was told of; see listener.c. */
    [1] = SKIP_UNLESS(__NR_setns, 1),
    [SETNS_ANSWER] = REFUSE(EPERM),

    /* New namespaces. clone3 passes its flags in memory, where no filter sees them: it
     * is in neither table, answers ENOSYS, and libc falls back to clone. */
    [3] = SKIP_UNLESS(__NR_clone, 3),
    [4] = LOAD(LOW(0)),
    [5] = SKIP_UNLESS_ANY(NEW_NAMESPACES, TO_TABLE(5)),
    [6] = REFUSE(EPERM),

    /* Typing into a terminal's input. */
    [7] = SKIP_UNLESS(__NR_ioctl, 4),
    [8] = LOAD(LOW(1)),
    [9] = SKIP_IF(TIOCSTI, 1),
    [10] = SKIP_UNLESS(TIOCLINUX, TO_TABLE(10)),
    [11] = REFUSE(EPERM),

    /* Another personality, as one without address randomisation. */
    [12] = SKIP_UNLESS(__NR_personality, 4),
    [13] = LOAD(LOW(0)),
    [14] = SKIP_IF(0, TO_TABLE(14)),
    [15] = SKIP_IF(QUERY_PERSONALITY, TO_TABLE(15)),
    [16] = REFUSE(EPERM),

    /* Setting another process's limits: where all are one user, that is the supervisor's,
     * too, and Landlock has no say in it. A pointer counts with all its bits. */
    [17] = SKIP_UNLESS(__NR_prlimit64, 7),
    [18] = LOAD(LOW(0)),
    [19] = SKIP_IF(0, TO_TABLE(19)),
    [20] = LOAD(LOW(2)),
    [21] = SKIP_UNLESS(0, 2),
    [22] = LOAD(HIGH(2)),
    [23] = SKIP_IF(0, TO_TABLE(23)),
    [24] = REFUSE(EPERM),

    /* Families: Unix, the two internets, and routing netlink, which if_nameindex and
     * getaddrinfo ask and which knows nothing in an empty network. Not the other
     * netlinks: through NETLINK_USERSOCK sessions could talk to each other. */
    [25] = SKIP_IF(__NR_socketpair, 1),
    [26] = SKIP_UNLESS(__NR_socket, TO_TABLE(26)),
    [27] = LOAD(LOW(0)),
    [28] = SKIP_IF(AF_UNIX, TO_TABLE(28)),
    [29] = SKIP_IF(AF_INET, 5),
    [30] = SKIP_IF(AF_INET6, 4),
    [31] = SKIP_UNLESS(AF_NETLINK, 2),
    [32] = LOAD(LOW(2)),
    [33] = SKIP_IF(NETLINK_ROUTE, TO_TABLE(33)),
    [34] = REFUSE(EPERM),

    /* Of the internets' protocols the common ones. Landlock's rules for TCP do not see
     * MPTCP; SCTP, DCCP and the others are kernel modules that asking would load. The
     * answer is that of a kernel without them, after which programs take TCP. */
    [35] = LOAD(LOW(2)),
    [36] = SKIP_IF(0, TO_TABLE(36)),
    [37] = SKIP_IF(IPPROTO_TCP, TO_TABLE(37)),
    [38] = SKIP_IF(IPPROTO_UDP, TO_TABLE(38)),
    [39] = SKIP_IF(IPPROTO_ICMP, TO_TABLE(39)),
    [40] = SKIP_IF(IPPROTO_ICMPV6, TO_TABLE(40)),
    [41] = REFUSE(EPROTONOSUPPORT),
};
_Static_assert(sizeof(prelude) / sizeof(prelude[0]) == PRELUDE, "the jumps count on it");

static struct sock_filter *program;
static unsigned short program_length;

static int add(scmp_filter_ctx context, uint32_t action, int number, const char *name,
               kiln_error *err)
{
    int rc = seccomp_rule_add(context, action, number, 0);
    return rc < 0 ? kiln_error_errno(err, rc, "seccomp: rule for %s", name) : 0;
}

static int fill_table(scmp_filter_ctx context, kiln_error *err)
{
    for (size_t i = 0; kiln_syscalls_allowed[i] != NULL; i++) {
        int number = seccomp_syscall_resolve_name(kiln_syscalls_allowed[i]);
        /* Negative: not of this architecture, or not known to this libseccomp. */
        int rc = number < 0
                     ? 0
                     : add(context, SCMP_ACT_ALLOW, number, kiln_syscalls_allowed[i], err);
        if (rc < 0) {
            return rc;
        }
    }
    for (size_t i = 0; kiln_syscalls_newer[i].name != NULL; i++) {
        int rc = add(context, SCMP_ACT_ALLOW, kiln_syscalls_newer[i].number,
                     kiln_syscalls_newer[i].name, err);
        if (rc < 0) {
            return rc;
        }
    }
    for (size_t i = 0; kiln_syscalls_refused[i] != NULL; i++) {
        int number = seccomp_syscall_resolve_name(kiln_syscalls_refused[i]);
        int rc = number < 0 ? 0
                            : add(context, SCMP_ACT_ERRNO(EPERM), number,
                                  kiln_syscalls_refused[i], err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* libseccomp 2.5 exports to a descriptor only. */
static int read_back(scmp_filter_ctx context, struct sock_filter *into, size_t *count,
                     kiln_error *err)
{
    auto_close int fd = memfd_create("seccomp", MFD_CLOEXEC);
    int rc = fd < 0 ? -errno : seccomp_export_bpf(context, fd);
    if (rc < 0) {
        return kiln_error_errno(err, rc, "seccomp: exporting the filter");
    }
    ssize_t size = pread(fd, into, PROGRAM_MAX * sizeof(*into), 0);
    if (size <= 0 || (size_t)size % sizeof(*into) != 0) {
        return kiln_error_set(err, -EIO, "seccomp: reading the filter back");
    }
    *count = (size_t)size / sizeof(*into);
    return 0;
}

static int build(scmp_filter_ctx context, kiln_error *err)
{
    int rc = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (rc == 0) {
        rc = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    }
    if (rc < 0) {
        return kiln_error_errno(err, rc, "seccomp: attributes");
    }
    rc = fill_table(context, err);
    if (rc < 0) {
        return rc;
    }
    auto_free struct sock_filter *made = calloc(PRELUDE + PROGRAM_MAX, sizeof(*made));
    if (made == NULL) {
        return kiln_error_set(err, -ENOMEM, "seccomp: out of memory");
    }
    memcpy(made, prelude, sizeof(prelude));
    size_t count = 0;
    rc = read_back(context, made + PRELUDE, &count, err);
    if (rc < 0) {
        return rc;
    }
    if (PRELUDE + count > PROGRAM_MAX) {
        return kiln_error_set(err, -E2BIG, "seccomp: %zu instructions", PRELUDE + count);
    }
    program = kiln_steal(made);
    program_length = (unsigned short)(PRELUDE + count);
    return 0;
}

int kiln_sandbox_seccomp_prepare(kiln_error *err)
{
    if (program != NULL) {
        return 0;
    }
    scmp_filter_ctx context = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (context == NULL) {
        return kiln_error_set(err, -ENOMEM, "seccomp: no filter can be made");
    }
    int rc = build(context, err);
    seccomp_release(context);
    return rc;
}

int kiln_seccomp_load(kiln_error *err)
{
    int rc = kiln_sandbox_seccomp_prepare(err);
    if (rc < 0) {
        return rc;
    }
    struct sock_fprog filter = {program_length, program};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0) {
        return kiln_error_errno(err, errno, "seccomp: loading the filter");
    }
    return 0;
}

int kiln_seccomp_load_listening(int *listener, kiln_error *err)
{
    int rc = kiln_sandbox_seccomp_prepare(err);
    if (rc < 0) {
        return rc;
    }
    struct sock_filter answer = program[SETNS_ANSWER];
    program[SETNS_ANSWER].k = SECCOMP_RET_USER_NOTIF;
    struct sock_fprog filter = {program_length, program};
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                      &filter);
    program[SETNS_ANSWER] = answer;
    *listener = (int)fd;
    return fd < 0 ? kiln_seccomp_load(err) : 0; /* before Linux 5.0 */
}

int kiln_seccomp_verify(kiln_error *err)
{
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != SECCOMP_MODE_FILTER) {
        return kiln_error_set(err, -EPERM, "seccomp did not hold");
    }
    return 0;
}
