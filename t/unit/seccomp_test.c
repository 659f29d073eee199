/* The filter alone, in a child that has nothing else: each call with the errno that it
 * must answer, with arguments that would do no harm if the filter let it through. */
#include "sandbox/sandbox.h"
#include "sandbox/seccomp_program.h"
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
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HIGH (1UL << 32) /* bits that the kernel drops and a filter must not trust */

static const struct {
    const char *name;
    long number;
    unsigned long arguments[3];
    int expected; /* errno, 0: allowed */
} calls[] = {
    {"getpid", SYS_getpid, {0}, 0},
    {"personality query", SYS_personality, {0xffffffffUL}, 0},
    {"personality 0", SYS_personality, {0}, 0},
    {"personality no randomisation", SYS_personality, {0x0040000}, EPERM},
    {"personality, high bits", SYS_personality, {HIGH | 0x0040000}, EPERM},
    {"AF_UNIX", SYS_socket, {AF_UNIX, SOCK_STREAM}, 0},
    {"AF_INET", SYS_socket, {AF_INET, SOCK_STREAM}, 0},
    {"TCP", SYS_socket, {AF_INET, SOCK_STREAM, IPPROTO_TCP}, 0},
    {"UDP", SYS_socket, {AF_INET, SOCK_DGRAM, IPPROTO_UDP}, 0},
    {"MPTCP", SYS_socket, {AF_INET, SOCK_STREAM, 262}, EPROTONOSUPPORT},
    {"MPTCP, high bits", SYS_socket, {AF_INET, SOCK_STREAM, HIGH | 262}, EPROTONOSUPPORT},
    {"SCTP", SYS_socket, {AF_INET6, SOCK_STREAM, IPPROTO_SCTP}, EPROTONOSUPPORT},
    {"DCCP", SYS_socket, {AF_INET, 6, 33}, EPROTONOSUPPORT},
    {"AF_NETLINK route", SYS_socket, {AF_NETLINK, SOCK_RAW, NETLINK_ROUTE}, 0},
    {"AF_NETLINK usersock", SYS_socket, {AF_NETLINK, SOCK_RAW, NETLINK_USERSOCK}, EPERM},
    {"AF_NETLINK, high bits", SYS_socket, {AF_NETLINK, SOCK_RAW, HIGH | NETLINK_AUDIT}, EPERM},
    {"AF_PACKET", SYS_socket, {AF_PACKET, SOCK_RAW}, EPERM},
    {"AF_VSOCK", SYS_socket, {AF_VSOCK, SOCK_STREAM}, EPERM},
    {"AF_VSOCK, high bits", SYS_socket, {HIGH | AF_VSOCK, SOCK_STREAM}, EPERM},
    {"AF_ALG", SYS_socket, {AF_ALG, SOCK_SEQPACKET}, EPERM},
    {"AF_KEY", SYS_socket, {AF_KEY, SOCK_RAW}, EPERM},
    {"socketpair AF_TIPC", SYS_socketpair, {AF_TIPC, SOCK_STREAM}, EPERM},
    {"TIOCSTI", SYS_ioctl, {99, TIOCSTI}, EPERM},
    {"TIOCSTI, high bits", SYS_ioctl, {99, HIGH | TIOCSTI}, EPERM},
    {"TIOCLINUX", SYS_ioctl, {99, TIOCLINUX}, EPERM},
    {"another ioctl", SYS_ioctl, {99, FIONREAD}, EBADF},
    {"own limits", SYS_prlimit64, {0, 7, 1}, EFAULT},
    {"limits of another", SYS_prlimit64, {1, 7, 1}, EPERM},
    {"limits of another, high bits", SYS_prlimit64, {1, 7, HIGH}, EPERM},
    {"clone NEWUSER", SYS_clone, {CLONE_NEWUSER | CLONE_THREAD}, EPERM},
    {"clone NEWNS", SYS_clone, {CLONE_NEWNS | CLONE_THREAD}, EPERM},
    {"clone NEWNET", SYS_clone, {CLONE_NEWNET | CLONE_THREAD}, EPERM},
    {"clone3", SYS_clone3, {0, 0}, ENOSYS},
    {"unshare", SYS_unshare, {0}, EPERM},
    {"setns", SYS_setns, {99, 0}, EPERM},
    {"mount", SYS_mount, {0, 0, 0}, EPERM},
    {"umount2", SYS_umount2, {0}, EPERM},
    {"pivot_root", SYS_pivot_root, {0, 0}, EPERM},
    {"chroot", SYS_chroot, {0}, EPERM},
    {"fsopen", SYS_fsopen, {0}, EPERM},
    {"open_tree", SYS_open_tree, {99, 0}, EPERM},
    {"move_mount", SYS_move_mount, {99, 0, 99}, EPERM},
    {"mount_setattr", SYS_mount_setattr, {99, 0}, EPERM},
    {"ptrace", SYS_ptrace, {99999}, EPERM},
    {"process_vm_readv", SYS_process_vm_readv, {0}, EPERM},
    {"process_vm_writev", SYS_process_vm_writev, {0}, EPERM},
    {"pidfd_getfd", SYS_pidfd_getfd, {99, 99}, EPERM},
    {"kcmp", SYS_kcmp, {0, 0, 99}, EPERM},
    {"io_uring_setup", SYS_io_uring_setup, {0}, EPERM},
    {"io_uring_enter", SYS_io_uring_enter, {99}, EPERM},
    {"io_uring_register", SYS_io_uring_register, {99}, EPERM},
    {"keyctl", SYS_keyctl, {9999}, EPERM},
    {"add_key", SYS_add_key, {0}, EPERM},
    {"request_key", SYS_request_key, {0}, EPERM},
    {"userfaultfd", SYS_userfaultfd, {~0UL}, EPERM},
    {"bpf", SYS_bpf, {9999}, EPERM},
    {"perf_event_open", SYS_perf_event_open, {0}, EPERM},
    {"name_to_handle_at", SYS_name_to_handle_at, {99}, EPERM},
    {"open_by_handle_at", SYS_open_by_handle_at, {99}, EPERM},
    {"fanotify_init", SYS_fanotify_init, {~0UL}, EPERM},
    {"quotactl", SYS_quotactl, {0}, EPERM},
    {"swapon", SYS_swapon, {0}, EPERM},
    {"acct", SYS_acct, {~0UL}, EPERM},
    {"kexec_load", SYS_kexec_load, {0, 99}, EPERM},
    {"init_module", SYS_init_module, {0}, EPERM},
    {"delete_module", SYS_delete_module, {0}, EPERM},
    {"reboot", SYS_reboot, {0}, EPERM},
    {"settimeofday", SYS_settimeofday, {1, 1}, EPERM},
    {"sethostname", SYS_sethostname, {0, ~0UL}, EPERM},
    {"syslog", SYS_syslog, {9999}, EPERM},
#ifdef __x86_64__
    {"modify_ldt", SYS_modify_ldt, {99}, EPERM},
    {"iopl", SYS_iopl, {99}, EPERM},
#endif
    {"never heard of", 1023, {0}, ENOSYS},
};
enum { CALLS = sizeof(calls) / sizeof(calls[0]) };

static void filtered(int fd, bool load)
{
    kiln_error err = KILN_ERROR_INIT;
    if (load && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || kiln_seccomp_load(&err) < 0 ||
                 kiln_seccomp_verify(&err) < 0)) {
        dprintf(fd, "%s\n", err.text);
        return;
    }
    for (int i = 0; i < CALLS; i++) {
        errno = 0;
        long rc = syscall(calls[i].number, calls[i].arguments[0], calls[i].arguments[1],
                          calls[i].arguments[2], 0, 0, 0);
        int got = rc < 0 ? errno : 0;
        if (got != calls[i].expected) {
            dprintf(fd, "%s: %s, expected %s\n", calls[i].name, strerror(got),
                    strerror(calls[i].expected));
        }
    }
    dprintf(fd, "END\n");
}

/* As the kernel runs it, what our filter has of it. */
static uint32_t answer(const kiln_seccomp_program *program, const struct seccomp_data *data)
{
    uint32_t a = 0;
    for (size_t at = 0; at < program->length; at++) {
        struct sock_filter i = program->code[at];
        bool taken = (i.code == (BPF_JMP | BPF_JEQ | BPF_K) && a == i.k) ||
                     (i.code == (BPF_JMP | BPF_JGE | BPF_K) && a >= i.k) ||
                     (i.code == (BPF_JMP | BPF_JSET | BPF_K) && (a & i.k) != 0);
        if (i.code == (BPF_RET | BPF_K)) {
            return i.k;
        }
        if (i.code == (BPF_LD | BPF_W | BPF_ABS)) {
            memcpy(&a, (const char *)data + i.k, sizeof(a));
        } else if (i.code == (BPF_JMP | BPF_JA)) {
            at += i.k;
        } else {
            assert_int_equal(BPF_CLASS(i.code), BPF_JMP);
            at += taken ? i.jt : i.jf;
        }
    }
    fail_msg("the program has no end");
    return 0;
}

static bool among(const char *const *names, int number)
{
    while (*names != NULL && seccomp_syscall_resolve_name(*names) != number) {
        names++;
    }
    return *names != NULL;
}

static bool among_newer(int number)
{
    const kiln_syscall_number *newer = kiln_syscalls_newer;
    while (newer->name != NULL && newer->number != number) {
        newer++;
    }
    return newer->name != NULL;
}

/* Also what no test may call. */
static void every_number(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_seccomp_program program = {0};
    assert_int_equal(kiln_seccomp_build(&program, &err), 0);
    struct seccomp_data data = {.arch = seccomp_arch_native()};
    int counts[3] = {0};
    for (int number = 0; number < 3000; number++) {
        data.nr = number;
        /* By zeros nothing is said about what a call is refused for, but of a family. */
        data.args[0] = number == SYS_socket || number == SYS_socketpair ? AF_UNIX : 0;
        bool allowed = among(kiln_syscalls_allowed, number) || among_newer(number);
        bool refused = among(kiln_syscalls_refused, number);
        uint32_t expected = allowed   ? SECCOMP_RET_ALLOW
                            : refused ? SECCOMP_RET_ERRNO | EPERM
                                      : SECCOMP_RET_ERRNO | ENOSYS;
        if (answer(&program, &data) != expected) {
            fail_msg("call %d: %#x, expected %#x", number, answer(&program, &data), expected);
        }
        counts[allowed ? 0 : refused ? 1 : 2]++;
    }
    assert_true(counts[0] > 250 && counts[1] > 50 && counts[2] > 2500);
    data.nr = -1;
    assert_int_equal(answer(&program, &data), SECCOMP_RET_ERRNO | ENOSYS);
    data.nr = SYS_getpid;
    data.arch ^= 1;
    assert_int_equal(answer(&program, &data), SECCOMP_RET_KILL_PROCESS);
    free(program.code);
}

static void run(bool load, char *text, size_t size)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        filtered(fds[1], load);
        _exit(0);
    }
    close(fds[1]);
    size_t got = 0;
    ssize_t more = 0;
    while (got < size - 1 && (more = read(fds[0], text + got, size - 1 - got)) > 0) {
        got += (size_t)more;
    }
    text[got] = '\0';
    close(fds[0]);
    waitpid(child, NULL, 0);
}

static void table(void **state)
{
    (void)state;
    char text[16384];
    run(true, text, sizeof(text));
    assert_string_equal(text, "END\n");
}

/* Without the filter nothing of this answers ENOSYS and high bits pass. As an ordinary
 * user, for whom the kernel's own EPERM stands in the way of the harmful ones. */
static void table_fails_without(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0)) {
            _exit(1);
        }
        int let_through = 0;
        static const char *const tried[] = {
            "TIOCSTI", "personality no randomisation", "AF_ALG", "ptrace", "keyctl", "unshare",
            "kcmp"};
        for (int i = 0; i < CALLS; i++) {
            for (size_t k = 0; k < sizeof(tried) / sizeof(tried[0]); k++) {
                if (strcmp(tried[k], calls[i].name) == 0) {
                    long rc = syscall(calls[i].number, calls[i].arguments[0],
                                      calls[i].arguments[1], calls[i].arguments[2], 0, 0, 0);
                    let_through += rc >= 0 || errno != EPERM;
                }
            }
        }
        _exit(let_through >= 5 ? 0 : 2);
    }
    int status = 0;
    close(fds[0]);
    close(fds[1]);
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

#ifdef __x86_64__
static int killed_by(void (*attempt)(void), bool load)
{
    pid_t child = fork();
    if (child == 0) {
        kiln_error err = KILN_ERROR_INIT;
        signal(SIGSEGV, SIG_DFL); /* cmocka's */
        if (load &&
            (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || kiln_seccomp_load(&err) < 0)) {
            _exit(9);
        }
        attempt();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void call_i386(void)
{
    long rc = 20; /* getpid there */
    __asm__ volatile("int $0x80" : "+a"(rc) : : "memory");
}

static void call_x32(void)
{
    syscall(0x40000000 | SYS_getpid);
}

static void foreign_i386(void **state)
{
    (void)state;
    if (killed_by(call_i386, false) != 0) {
        print_message("# skipped: needs a kernel with i386 emulation\n");
        return; /* cmocka writes a skip as "not ok", which prove counts as failed */
    }
    assert_int_equal(killed_by(call_i386, true), SIGSYS);
}

static void foreign_x32(void **state)
{
    (void)state;
    assert_int_equal(killed_by(call_x32, true), SIGSYS);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(every_number),
        cmocka_unit_test(table_fails_without),
#ifdef __x86_64__
        cmocka_unit_test(foreign_i386),
        cmocka_unit_test(foreign_x32),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
