/* seccomp_program.c - the filter: a search for the call's number in the table, and a look at
 * the arguments of seven calls.
 *
 * Not libseccomp's, for three reasons. The kernel looks at 32 bits of what is passed in 64,
 * and a comparison of all 64 can be stepped around by setting the others. A kernel that is
 * given a filter walks it once for each number there is, to know which calls are always
 * allowed: with the shortest path to each, loading takes a third of the time. And each call
 * that is looked at more closely has its check where its number is found. Names and numbers
 * are libseccomp's. */
#include "sandbox/seccomp_program.h"

#include "base/cleanup.h"
#include "sandbox/syscalls.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOW(argument)  ((uint32_t)offsetof(struct seccomp_data, args[argument]))
#define HIGH(argument) (LOW(argument) + 4)
#else
#define LOW(argument)  ((uint32_t)offsetof(struct seccomp_data, args[argument]) + 4)
#define HIGH(argument) (LOW(argument) - 4)
#endif

#define NEW_NAMESPACES                                                                         \
    ((uint32_t)(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |  \
                CLONE_NEWPID | CLONE_NEWNET))

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset))
#define ANSWER(what) BPF_STMT(BPF_RET | BPF_K, what)
#define REFUSE(code) ANSWER(SECCOMP_RET_ERRNO | (code))
#define ALLOW        ANSWER(SECCOMP_RET_ALLOW)
/* One instruction each; `skip` is how many of the next are left out. */
#define SKIP_IF(value, skip)     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), skip, 0)
#define SKIP_UNLESS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, skip)
#define SKIP_UNLESS_ANY(bits, skip)                                                            \
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(bits), 0, skip)
#define SKIP_FROM(value, skip) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)(value), skip, 0)

/* ---- calls whose arguments count */

/* New namespaces. clone3 passes its flags in memory, where no filter sees them: it is in
 * neither table, answers ENOSYS, and libc falls back to clone. */
static const struct sock_filter check_clone[] = {
    LOAD(LOW(0)),
    SKIP_UNLESS_ANY(NEW_NAMESPACES, 1),
    REFUSE(EPERM),
    ALLOW,
};

/* Typing into a terminal's input. */
static const struct sock_filter check_ioctl[] = {
    LOAD(LOW(1)), SKIP_IF(TIOCSTI, 1), SKIP_UNLESS(TIOCLINUX, 1), REFUSE(EPERM), ALLOW,
};

/* Another personality than the own, as one without address randomisation. */
enum { QUERY_PERSONALITY = -1 };
static const struct sock_filter check_personality[] = {
    LOAD(LOW(0)), SKIP_IF(0, 2), SKIP_IF(QUERY_PERSONALITY, 1), REFUSE(EPERM), ALLOW,
};

/* Setting another process's limits: where all are one user, that is the supervisor's, too,
 * and Landlock has no say in it. A pointer counts with all its bits. */
static const struct sock_filter check_prlimit[] = {
    LOAD(LOW(0)),  SKIP_IF(0, 5), LOAD(LOW(2)),  SKIP_UNLESS(0, 2),
    LOAD(HIGH(2)), SKIP_IF(0, 1), REFUSE(EPERM), ALLOW,
};

/* Families: Unix, the two internets, and routing netlink, which if_nameindex and getaddrinfo
 * ask and which knows nothing in an empty network. Not the other netlinks: through
 * NETLINK_USERSOCK sessions could talk to each other.
 *
 * Of the internets' protocols the common ones. Landlock's rules for TCP do not see MPTCP;
 * SCTP, DCCP and the others are kernel modules that asking would load. The answer is that of
 * a kernel without them, after which programs take TCP. */
static const struct sock_filter check_socket[] = {
    LOAD(LOW(0)),
    SKIP_IF(AF_UNIX, 13),
    SKIP_IF(AF_INET, 5),
    SKIP_IF(AF_INET6, 4),
    SKIP_UNLESS(AF_NETLINK, 2),
    LOAD(LOW(2)),
    SKIP_IF(NETLINK_ROUTE, 8),
    REFUSE(EPERM),
    LOAD(LOW(2)),
    SKIP_IF(0, 5),
    SKIP_IF(IPPROTO_TCP, 4),
    SKIP_IF(IPPROTO_UDP, 3),
    SKIP_IF(IPPROTO_ICMP, 2),
    SKIP_IF(IPPROTO_ICMPV6, 1),
    REFUSE(EPROTONOSUPPORT),
    ALLOW,
};

#define CHECK(name)                                                                            \
    {                                                                                          \
        check_##name, sizeof(check_##name) / sizeof(check_##name[0])                           \
    }

static const struct {
    const struct sock_filter *code;
    size_t length;
} checks[] = {CHECK(clone), CHECK(ioctl), CHECK(personality), CHECK(prlimit), CHECK(socket)};

static const struct {
    uint32_t number;
    unsigned check; /* its place in checks */
} checked[] = {{__NR_clone, 0},     {__NR_ioctl, 1},  {__NR_personality, 2},
               {__NR_prlimit64, 3}, {__NR_socket, 4}, {__NR_socketpair, 4}};

/* ---- what is answered from a number on */

typedef enum verdict { UNKNOWN, ALLOWED, REFUSED, SETNS, FOREIGN, CHECKED } verdict;

typedef struct range {
    uint32_t from;
    unsigned verdict; /* CHECKED + i: checks[i] looks on */
} range;

enum { RANGES_MAX = 2048, CODE_MAX = BPF_MAXINSNS };

typedef struct builder {
    range calls[RANGES_MAX];
    range ranges[RANGES_MAX];
    size_t call_count, range_count;
    struct sock_filter *code; /* CODE_MAX of them */
    size_t length;
    size_t setns;
    bool full;
} builder;

static void add_call(builder *self, long number, unsigned what)
{
    if (number < 0) {
        return; /* not of this architecture, or not known to this libseccomp */
    }
    for (size_t i = 0; what == ALLOWED && i < sizeof(checked) / sizeof(checked[0]); i++) {
        if (checked[i].number == (uint32_t)number) {
            what = CHECKED + checked[i].check;
        }
    }
    if (self->call_count == RANGES_MAX) {
        self->full = true;
    } else {
        self->calls[self->call_count++] = (range){(uint32_t)number, what};
    }
}

static int by_number(const void *a, const void *b)
{
    const range *one = a;
    const range *other = b;
    return one->from < other->from ? -1 : one->from > other->from;
}

static void add_range(builder *self, uint32_t from, unsigned what)
{
    if (self->range_count > 0 && self->ranges[self->range_count - 1].from == from) {
        self->range_count--;
    }
    if (self->range_count > 0 && self->ranges[self->range_count - 1].verdict == what) {
        return; /* the one before goes on */
    }
    if (self->range_count == RANGES_MAX) {
        self->full = true;
    } else {
        self->ranges[self->range_count++] = (range){from, what};
    }
}

static void fill_table(builder *self)
{
    for (size_t i = 0; kiln_syscalls_allowed[i] != NULL; i++) {
        add_call(self, seccomp_syscall_resolve_name(kiln_syscalls_allowed[i]), ALLOWED);
    }
    for (size_t i = 0; kiln_syscalls_newer[i].name != NULL; i++) {
        add_call(self, kiln_syscalls_newer[i].number, ALLOWED);
    }
    for (size_t i = 0; kiln_syscalls_refused[i] != NULL; i++) {
        int number = seccomp_syscall_resolve_name(kiln_syscalls_refused[i]);
        /* In a worker that can branch it is asked of its supervisor, which lets one through
         * that it was told of; see listener.c. */
        add_call(self, number, number == __NR_setns ? SETNS : REFUSED);
    }
    qsort(self->calls, self->call_count, sizeof(self->calls[0]), by_number);
    add_range(self, 0, UNKNOWN);
    for (size_t i = 0; i < self->call_count; i++) {
        add_range(self, self->calls[i].from, self->calls[i].verdict);
        add_range(self, self->calls[i].from + 1, UNKNOWN);
    }
    if (seccomp_arch_native() == SCMP_ARCH_X86_64) {
        add_range(self, 0x40000000, FOREIGN); /* x32's */
        add_range(self, UINT32_MAX, UNKNOWN); /* no call at all */
    }
}

/* ---- the search */

static void emit(builder *self, struct sock_filter instruction)
{
    if (self->length == CODE_MAX) {
        self->full = true;
    } else {
        self->code[self->length++] = instruction;
    }
}

static void emit_verdict(builder *self, unsigned what)
{
    switch (what) {
    case ALLOWED:
        emit(self, (struct sock_filter)ALLOW);
        break;
    case SETNS:
        self->setns = self->length;
        emit(self, (struct sock_filter)REFUSE(EPERM));
        break;
    case REFUSED:
        emit(self, (struct sock_filter)REFUSE(EPERM));
        break;
    case UNKNOWN:
        emit(self, (struct sock_filter)REFUSE(ENOSYS));
        break;
    case FOREIGN:
        emit(self, (struct sock_filter)ANSWER(SECCOMP_RET_KILL_PROCESS));
        break;
    default:
        for (size_t i = 0; i < checks[what - CHECKED].length; i++) {
            emit(self, checks[what - CHECKED].code[i]);
        }
    }
}

/* Which of the ranges from `first` to before `end` the number is in, and what then. */
static void emit_search(builder *self, size_t first, size_t end) /* NOLINT(misc-no-recursion) */
{
    if (end - first == 1) {
        emit_verdict(self, self->ranges[first].verdict);
        return;
    }
    size_t middle = first + (end - first) / 2;
    size_t at = self->length;
    emit(self, (struct sock_filter)SKIP_FROM(self->ranges[middle].from, 0));
    emit_search(self, first, middle);
    size_t lower = self->length - at - 1;
    if (lower <= UINT8_MAX) {
        self->code[at].jt = (uint8_t)lower;
    } else { /* too far for a condition */
        emit(self, (struct sock_filter)ALLOW);
        if (self->full) {
            return;
        }
        memmove(self->code + at + 2, self->code + at + 1, lower * sizeof(*self->code));
        self->setns += self->setns > at;
        self->code[at].jf = 1;
        self->code[at + 1] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, (uint32_t)lower);
    }
    emit_search(self, middle, end);
}

int kiln_seccomp_build(kiln_seccomp_program *program, kiln_error *err)
{
    auto_free builder *self = calloc(1, sizeof(*self));
    auto_free struct sock_filter *code = calloc(CODE_MAX, sizeof(*code));
    if (self == NULL || code == NULL) {
        return kiln_error_set(err, -ENOMEM, "seccomp: no filter can be made");
    }
    self->code = code;
    emit(self, (struct sock_filter)LOAD(offsetof(struct seccomp_data, arch)));
    emit(self, (struct sock_filter)SKIP_IF(seccomp_arch_native(), 1));
    emit(self, (struct sock_filter)ANSWER(SECCOMP_RET_KILL_PROCESS));
    emit(self, (struct sock_filter)LOAD(offsetof(struct seccomp_data, nr)));
    fill_table(self);
    emit_search(self, 0, self->range_count);
    if (self->full) {
        return kiln_error_set(err, -E2BIG, "seccomp: the table has too many calls");
    }
    *program = (kiln_seccomp_program){
        .code = kiln_steal(code), .length = self->length, .setns = self->setns};
    return 0;
}
