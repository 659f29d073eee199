#include "sandbox/syscalls.h"

#include <stddef.h>

/* The idea is that of container runtimes' default profiles: what ordinary programs
 * call, none of what only administers a machine. Arguments are looked at in seccomp.c. */
const char *const kiln_syscalls_allowed[] = {
    /* reading, writing */
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2",
    "pwritev2", "lseek", "_llseek", "sendfile", "sendfile64", "splice", "tee", "vmsplice",
    "copy_file_range", "readahead", "fadvise64", "fadvise64_64", "arm_fadvise64_64", "fsync",
    "fdatasync", "sync", "syncfs", "sync_file_range", "sync_file_range2", "ioctl", "fallocate",
    "ftruncate", "ftruncate64", "truncate", "truncate64", "flock", "fcntl", "fcntl64",
    /* descriptors */
    "open", "openat", "openat2", "creat", "close", "close_range", "dup", "dup2", "dup3", "pipe",
    "pipe2", "memfd_create", "eventfd", "eventfd2", "signalfd", "signalfd4", "timerfd_create",
    "timerfd_settime", "timerfd_gettime", "timerfd_settime64", "timerfd_gettime64",
    "inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch",
    /* waiting for descriptors */
    "poll", "ppoll", "ppoll_time64", "select", "_newselect", "pselect6", "pselect6_time64",
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_wait",
    "epoll_wait_old", "epoll_pwait", "epoll_pwait2",
    /* files and folders */
    "stat", "stat64", "fstat", "fstat64", "lstat", "lstat64", "newfstatat", "fstatat64", "statx",
    "statfs", "statfs64", "fstatfs", "fstatfs64", "access", "faccessat", "faccessat2", "chmod",
    "fchmod", "fchmodat", "chown", "chown32", "fchown", "fchown32", "lchown", "lchown32",
    "fchownat", "umask", "utime", "utimes", "utimensat", "utimensat_time64", "futimesat", "link",
    "linkat", "symlink", "symlinkat", "readlink", "readlinkat", "unlink", "unlinkat", "rename",
    "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "getdents",
    "getdents64", "chdir", "fchdir", "getcwd", "getxattr", "lgetxattr", "fgetxattr", "setxattr",
    "lsetxattr", "fsetxattr", "listxattr", "llistxattr", "flistxattr", "removexattr",
    "lremovexattr", "fremovexattr",
    /* asynchronous reading and writing, the old kind */
    "io_setup", "io_destroy", "io_submit", "io_cancel", "io_getevents", "io_pgetevents",
    "io_pgetevents_time64",
    /* memory */
    "brk", "mmap", "mmap2", "munmap", "mremap", "mprotect", "madvise", "mincore", "msync",
    "mlock", "mlock2", "munlock", "mlockall", "munlockall", "remap_file_pages", "membarrier",
    "pkey_alloc", "pkey_free", "pkey_mprotect", "get_mempolicy",
    /* processes and threads */
    "clone", "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid",
    "waitpid", "getpid", "getppid", "gettid", "getpgid", "getpgrp", "setpgid", "getsid", "setsid",
    "set_tid_address", "set_robust_list", "get_robust_list", "futex", "futex_time64", "futex_waitv",
    "rseq", "prctl", "arch_prctl", "set_thread_area", "get_thread_area", "personality",
    "pidfd_open", "pidfd_send_signal", "restart_syscall",
    /* signals */
    "kill", "tkill", "tgkill", "rt_sigaction", "rt_sigprocmask", "rt_sigpending",
    "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_sigsuspend", "rt_sigqueueinfo",
    "rt_tgsigqueueinfo", "rt_sigreturn", "sigaltstack", "sigaction", "sigprocmask", "sigpending",
    "sigsuspend", "sigreturn", "signal", "pause", "alarm",
    /* identity; changes nothing without capabilities */
    "getuid", "getuid32", "geteuid", "geteuid32", "getgid", "getgid32", "getegid", "getegid32",
    "getresuid", "getresuid32", "getresgid", "getresgid32", "getgroups", "getgroups32", "setuid",
    "setuid32", "setgid", "setgid32", "setreuid", "setreuid32", "setregid", "setregid32",
    "setresuid", "setresuid32", "setresgid", "setresgid32", "setgroups", "setgroups32",
    "setfsuid", "setfsuid32", "setfsgid", "setfsgid32", "capget", "capset",
    /* clocks and timers */
    "time", "gettimeofday", "clock_gettime", "clock_gettime64", "clock_getres",
    "clock_getres_time64", "clock_nanosleep", "clock_nanosleep_time64", "nanosleep", "times",
    "getitimer", "setitimer", "timer_create", "timer_settime", "timer_settime64", "timer_gettime",
    "timer_gettime64", "timer_getoverrun", "timer_delete",
    /* scheduling and accounting of oneself */
    "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_setparam",
    "sched_getscheduler", "sched_setscheduler", "sched_getattr", "sched_setattr",
    "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval",
    "sched_rr_get_interval_time64", "getpriority", "setpriority", "ioprio_get", "ioprio_set",
    "getrlimit", "setrlimit", "ugetrlimit", "prlimit64", "getrusage", "getcpu", "uname",
    "sysinfo", "getrandom",
    /* System V and POSIX ipc, in a namespace of the session's own */
    "shmget", "shmat", "shmdt", "shmctl", "semget", "semop", "semctl", "semtimedop",
    "semtimedop_time64", "msgget", "msgsnd", "msgrcv", "msgctl", "ipc", "mq_open", "mq_unlink",
    "mq_timedsend", "mq_timedsend_time64", "mq_timedreceive", "mq_timedreceive_time64",
    "mq_notify", "mq_getsetattr",
    /* sockets, in an empty network */
    "socket", "socketpair", "bind", "connect", "listen", "accept", "accept4", "getsockname",
    "getpeername", "getsockopt", "setsockopt", "send", "sendto", "sendmsg", "sendmmsg", "recv",
    "recvfrom", "recvmsg", "recvmmsg", "recvmmsg_time64", "shutdown", "socketcall",
    /* confining oneself further */
    "seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
    /* what architectures need */
    "cacheflush", "breakpoint", "set_tls", "get_tls", "riscv_flush_icache", "swapcontext",
    "sync_file_range2", "s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr",
    NULL,
};

const kiln_syscall_number kiln_syscalls_newer[] = {
    {"cachestat", 451},   {"fchmodat2", 452},  {"futex_wake", 454}, {"futex_wait", 455},
    {"futex_requeue", 456}, {"mseal", 462},    {NULL, 0},
};

const char *const kiln_syscalls_refused[] = {
    /* other processes' memory and descriptors */
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease",
    "pidfd_getfd", "kcmp",
    /* namespaces and mounts */
    "unshare", "setns", "mount", "umount", "umount2", "pivot_root", "chroot", "open_tree",
    "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
    /* interfaces of the kernel that were ways out of it */
    "io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "bpf",
    "perf_event_open", "add_key", "request_key", "keyctl", "memfd_secret", "modify_ldt",
    "fanotify_init", "fanotify_mark", "lookup_dcookie", "name_to_handle_at",
    "open_by_handle_at", "mbind", "set_mempolicy", "set_mempolicy_home_node", "migrate_pages",
    "move_pages", "vm86", "vm86old",
    /* the machine */
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
    "create_module", "query_module", "get_kernel_syms", "reboot", "swapon", "swapoff", "acct",
    "quotactl", "quotactl_fd", "settimeofday", "clock_settime", "clock_settime64", "stime",
    "adjtimex", "clock_adjtime", "clock_adjtime64", "sethostname", "setdomainname", "syslog",
    "iopl", "ioperm", "vhangup", "uselib", "ustat", "sysfs", "_sysctl", "nfsservctl",
    "vserver", "afs_syscall", "tuxcall", "getpmsg", "putpmsg", "security",
    NULL,
};
