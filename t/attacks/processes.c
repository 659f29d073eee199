/* Other processes: pid 1, and also one's own children, since what refuses there must
 * not depend on who asks; setuid programs; programs from memory. */
#include "attack.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static long traceme(void)
{
    return ptrace(PTRACE_TRACEME, 0, 0, 0);
}

static void others(pid_t child)
{
    char byte = 0;
    struct iovec mine = {&byte, 1};
    struct iovec theirs = {&byte, 1};
    try_apart("ptrace TRACEME", traceme);
    TRY("ptrace pid 1", ptrace(PTRACE_ATTACH, 1, 0, 0));
    TRY("ptrace a child", ptrace(PTRACE_SEIZE, child, 0, 0));
    TRY("process_vm_readv pid 1", process_vm_readv(1, &mine, 1, &theirs, 1, 0));
    TRY("process_vm_readv a child", process_vm_readv(child, &mine, 1, &theirs, 1, 0));
    TRY("process_vm_writev a child", process_vm_writev(child, &mine, 1, &theirs, 1, 0));
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    TRY("pidfd_getfd a child", syscall(SYS_pidfd_getfd, pidfd, 0, 0));
    close(pidfd);
    pidfd = (int)syscall(SYS_pidfd_open, 1, 0);
    TRY("pidfd_getfd pid 1", syscall(SYS_pidfd_getfd, pidfd, 0, 0));
    close(pidfd);
    TRY("process_madvise", syscall(SYS_process_madvise, pidfd, 0, 0, 0, 0));
    TRY("tgkill a child", syscall(SYS_tgkill, child, child, 0));
    struct rlimit none = {0, 0};
    TRY("prlimit pid 1", prlimit(1, RLIMIT_NOFILE, &none, NULL));
    TRY("renice pid 1", setpriority(PRIO_PROCESS, 1, 19));
    struct {
        int *lock;
        size_t size;
    } head = {NULL, 0};
    TRY("robust list of pid 1", syscall(SYS_get_robust_list, 1, &head.lock, &head.size));
}

/* Every process that can be signalled or seen: this one and its child. */
static void look_around(pid_t child)
{
    int signalled = 0;
    for (pid_t pid = 2; pid < 3000; pid++) {
        signalled += pid != getpid() && pid != child && kill(pid, 0) == 0 ? 1 : 0;
    }
    dprintf(STDOUT_FILENO, "others that can be signalled: %d\n", signalled);
    int seen = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc != NULL && (entry = readdir(proc)) != NULL;) {
        long pid = strtol(entry->d_name, NULL, 10);
        seen += pid > 0 && pid != getpid() && pid != child ? 1 : 0;
    }
    if (proc != NULL) {
        closedir(proc);
    }
    dprintf(STDOUT_FILENO, "others that can be seen: %d\n", seen);
}

/* The dynamic linker ignores LD_PRELOAD in a program that gained privileges: that this
 * prints at all tells that su did not, and the ids are told besides. */
static const char preloaded[] = "#include <stdio.h>\n#include <unistd.h>\n"
                                "__attribute__((constructor)) static void told(void)\n"
                                "{ printf(\"setuid program: %s\\n\", geteuid() == getuid() && "
                                "getuid() != 0 ? \"as oneself\" : "
                                "\"as root\"); fflush(stdout); _exit(0); }\n";

static void setuid_programs(void)
{
    FILE *file = fopen("/tmp/preload.c", "we");
    if (file == NULL || fputs(preloaded, file) < 0 || fclose(file) != 0) {
        tell("preload.c", -1);
        return;
    }
    if (system("gcc -shared -fPIC -o /tmp/preload.so /tmp/preload.c") != 0) {
        dprintf(STDOUT_FILENO, "gcc: failed\n");
        return;
    }
    (void)!system("LD_PRELOAD=/tmp/preload.so /usr/bin/su -c id </dev/null");
    dprintf(STDOUT_FILENO, "su: %d\n",
            WEXITSTATUS(system("/usr/bin/su -c true </dev/null >/dev/null 2>&1")));
    dprintf(STDOUT_FILENO, "mount: %d\n",
            WEXITSTATUS(system("/usr/bin/mount -t tmpfs none /tmp >/dev/null 2>&1")));
    unlink("/tmp/preload.c");
    unlink("/tmp/preload.so");
}

static void from_memory(void)
{
    int fd = memfd_create("sh", 0);
    int source = open("/bin/sh", O_RDONLY | O_CLOEXEC);
    char block[65536];
    ssize_t got;
    while ((got = read(source, block, sizeof(block))) > 0 &&
           write(fd, block, (size_t)got) == got) {
    }
    close(source);
    pid_t pid = fork();
    if (pid == 0) {
        char *argv[] = {"sh", "-c",
                        "exec grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status",
                        NULL};
        char *env[] = {"PATH=/usr/bin:/bin", NULL};
        syscall(SYS_execveat, fd, "", argv, env, AT_EMPTY_PATH);
        _exit(errno);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    close(fd);
    dprintf(STDOUT_FILENO, "memfd and execveat: %d\n", WEXITSTATUS(status));
}

int main(void)
{
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    others(child);
    look_around(child);
    setuid_programs();
    from_memory();
    TRY("kill pid 1", kill(1, SIGKILL));
    TRY("stop pid 1", kill(1, SIGSTOP));
    TRY("kill everything", kill(-1, SIGKILL));
    int status = 0;
    waitpid(child, &status, 0);
    dprintf(STDOUT_FILENO, "end\n");
    return 0;
}
