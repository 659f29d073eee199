/* System calls that only administer a machine, ways that led out of other sandboxes,
 * and the same calls by another architecture's numbers. */
#include "attack.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* Bits that the kernel drops from an int and that a comparison of 64 would see. */
#define HIGH       (1UL << 32)
#define CALL(name) TRY(#name, syscall(SYS_##name, 0, 0, 0, 0, 0, 0))

static const struct {
    const char *name;
    unsigned long flag;
} kinds[] = {
    {"mnt", CLONE_NEWNS},    {"cgroup", CLONE_NEWCGROUP},
    {"uts", CLONE_NEWUTS},   {"ipc", CLONE_NEWIPC},
    {"user", CLONE_NEWUSER}, {"pid", CLONE_NEWPID},
    {"net", CLONE_NEWNET},   {"time", 0x80 /* CLONE_NEWTIME */},
};

static void namespaces(void)
{
    char name[64];
    char path[64];
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        snprintf(name, sizeof(name), "unshare %s", kinds[i].name);
        TRY(name, unshare((int)kinds[i].flag));
        snprintf(name, sizeof(name), "setns %s", kinds[i].name);
        snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i].name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        TRY(name, setns(fd, 0));
        close(fd);
        if (kinds[i].flag == 0x80) {
            continue; /* to clone, part of the signal's number */
        }
        snprintf(name, sizeof(name), "clone %s", kinds[i].name);
        errno = 0;
        long pid = syscall(SYS_clone, kinds[i].flag | SIGCHLD | HIGH, 0, 0, 0, 0);
        if (pid == 0) {
            _exit(0);
        }
        tell(name, pid);
    }
    uint64_t arguments[11] = {CLONE_NEWUSER};
    arguments[4] = SIGCHLD;
    errno = 0;
    long pid = syscall(SYS_clone3, arguments, sizeof(arguments));
    if (pid == 0) {
        _exit(0);
    }
    tell("clone3", pid);
}

static void mounts(void)
{
    TRY("mount tmpfs", mount("none", "/tmp", "tmpfs", 0, NULL));
    TRY("mount proc", mount("none", "/proc", "proc", 0, NULL));
    TRY("remount", mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL));
    TRY("bind", mount("/usr", "/work", NULL, MS_BIND, NULL));
    TRY("umount", umount2("/proc", MNT_DETACH));
    TRY("pivot_root", syscall(SYS_pivot_root, ".", "."));
    TRY("chroot", chroot("/work"));
    TRY("chroot /proc/1/root", chroot("/proc/1/root"));
    TRY("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
    TRY("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    TRY("fspick", syscall(SYS_fspick, AT_FDCWD, "/", 0));
    CALL(fsconfig);
    CALL(fsmount);
    CALL(move_mount);
    CALL(mount_setattr);
}

static void odd_calls(void)
{
    CALL(io_uring_setup);
    CALL(io_uring_enter);
    CALL(io_uring_register);
    TRY("add_key", syscall(SYS_add_key, "user", "kiln", "x", 1, -3));
    TRY("request_key", syscall(SYS_request_key, "user", "kiln", NULL, -3));
    TRY("keyctl", syscall(SYS_keyctl, 0, -3, 0));
    CALL(userfaultfd);
    CALL(bpf);
    CALL(perf_event_open);
    CALL(memfd_secret);
    CALL(kcmp);
    CALL(fanotify_init);
    CALL(name_to_handle_at);
    CALL(open_by_handle_at);
    CALL(quotactl);
    CALL(syslog);
    CALL(reboot);
    CALL(kexec_load);
    CALL(init_module);
    CALL(finit_module);
    CALL(delete_module);
    CALL(swapon);
    CALL(acct);
    CALL(settimeofday);
    CALL(clock_settime);
    CALL(adjtimex);
    CALL(sethostname);
    CALL(setdomainname);
    CALL(vhangup);
    CALL(move_pages);
    CALL(migrate_pages);
    TRY("a call that there is not", syscall(0xffff));
    TRY("personality ADDR_NO_RANDOMIZE", syscall(SYS_personality, 0x0040000UL));
    TRY("personality READ_IMPLIES_EXEC", syscall(SYS_personality, 0x0400000UL | HIGH));
    TRY("TIOCSTI", syscall(SYS_ioctl, 0, (unsigned long)TIOCSTI, "x"));
    TRY("TIOCSTI with high bits", syscall(SYS_ioctl, 0, TIOCSTI | HIGH, "x"));
    TRY("TIOCLINUX", syscall(SYS_ioctl, 0, (unsigned long)TIOCLINUX, "\3"));
    TRY("TIOCSCTTY", ioctl(0, TIOCSCTTY, 0));
}

static void privileges(void)
{
    TRY("setuid 0", setuid(0));
    TRY("setgid 0", setgid(0));
    TRY("setuid of the next session", setuid(getuid() + 1));
    TRY("setgroups", syscall(SYS_setgroups, 0, NULL));
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{1U << CAP_SYS_ADMIN, 1U << CAP_SYS_ADMIN, 0},
                                             {0}};
    TRY("capset", syscall(SYS_capset, &header, data));
    TRY("ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0));
    TRY("securebits", prctl(PR_SET_SECUREBITS, 0, 0, 0, 0));
    TRY("keepcaps", prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
    TRY("no_new_privs off", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    TRY("seccomp off", prctl(PR_SET_SECCOMP, 0, 0, 0, 0));
    TRY("prctl mm", prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, 0, 0, 0));
    TRY("nice", setpriority(PRIO_PROCESS, 0, -20));
    struct sched_param real_time = {.sched_priority = 1};
    TRY("real time", sched_setscheduler(0, SCHED_FIFO, &real_time));
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max = limit.rlim_max + 1;
    TRY("more descriptors", setrlimit(RLIMIT_NOFILE, &limit));
    getrlimit(RLIMIT_NPROC, &limit);
    limit.rlim_cur = limit.rlim_max = RLIM_INFINITY;
    TRY("more processes", setrlimit(RLIMIT_NPROC, &limit));
}

static long x32(void)
{
    return syscall(0x40000000L | SYS_getpid);
}

static long i386(void)
{
#ifdef __x86_64__
    long rc = 20; /* getpid */
    __asm__ volatile("int $0x80" : "+a"(rc) : : "memory", "r8", "r9", "r10", "r11");
    return rc;
#else
    return raise(SIGSYS);
#endif
}

/* A 32-bit call hides behind a number that is harmless as a 64-bit one: 165 is
 * getresuid there and mount here, 21 is mount there and access here. */
static long i386_mount(void)
{
#ifdef __x86_64__
    long rc = 21;
    __asm__ volatile("int $0x80"
                     : "+a"(rc)
                     : "b"(0), "c"(0), "d"(0)
                     : "memory", "r8", "r9", "r10", "r11");
    return rc;
#else
    return raise(SIGSYS);
#endif
}

int main(void)
{
    namespaces();
    mounts();
    odd_calls();
    privileges();
    try_apart("x32", x32);
    try_apart("i386", i386);
    try_apart("i386 mount", i386_mount);
    dprintf(STDOUT_FILENO, "end\n");
    return 0;
}
