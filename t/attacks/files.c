/* Files of the host, of the machine and of pid 1. Nothing is written even where
 * opening for it succeeds: the host may be the one that suffers. */
#include "attack.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#ifndef HOST_FILE
#define HOST_FILE "/etc/shadow"
#endif

static void reading(const char *path)
{
    char name[512];
    char byte;
    snprintf(name, sizeof(name), "read %s", path);
    errno = 0;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, &byte, 1);
    tell(name, got < 0 && errno != EISDIR ? -1 : 0);
    if (fd >= 0) {
        close(fd);
    }
}

static void opening(const char *path, int flags, const char *how)
{
    char name[512];
    snprintf(name, sizeof(name), "%s %s", how, path);
    errno = 0;
    int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC, 0600);
    tell(name, fd);
    if (fd >= 0) {
        close(fd);
    }
}

static void listing(const char *path)
{
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    dprintf(STDOUT_FILENO, "list %s:", path);
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            dprintf(STDOUT_FILENO, " %s", entries[i]->d_name);
        }
        free(entries[i]);
    }
    dprintf(STDOUT_FILENO, "%s\n", count < 0 ? " nothing" : "");
    free(entries);
}

/* The program that runs and what it has mapped, through the kernel's links to them:
 * in the interpreter that is the engine's own file (as in CVE-2019-5736). */
static void own_program(void)
{
    int path_only = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    char again[64];
    snprintf(again, sizeof(again), "/proc/self/fd/%d", path_only);
    int fd = open(again, O_WRONLY | O_CLOEXEC);
    tell("write the program through a descriptor", fd);
    DIR *maps = opendir("/proc/self/map_files");
    bool opened = false;
    int failure = ENOENT;
    for (struct dirent *entry; maps != NULL && (entry = readdir(maps)) != NULL;) {
        if (entry->d_name[0] != '.') {
            fd = openat(dirfd(maps), entry->d_name, O_RDWR | O_CLOEXEC);
            opened = opened || fd >= 0;
            failure = errno;
        }
    }
    errno = failure;
    tell("write a mapped file", opened ? 0 : -1);
    if (maps != NULL) {
        closedir(maps);
    }
}

static void kernel_addresses(void)
{
    FILE *file = fopen("/proc/kallsyms", "re");
    char line[256];
    bool seen = false;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        seen = seen || strncmp(line, "0000000000000000 ", 17) != 0;
    }
    dprintf(STDOUT_FILENO, "kernel addresses: %s\n", seen ? "seen" : "none");
    if (file != NULL) {
        fclose(file);
    }
}

int main(void)
{
    static const char *const read_paths[] = {"/proc/1/environ",
                                             "/proc/1/mem",
                                             "/proc/1/maps",
                                             "/proc/1/cmdline",
                                             "/proc/1/fd",
                                             "/proc/1/root",
                                             "/proc/1/cwd",
                                             "/proc/1/exe",
                                             "/proc/1/ns/mnt",
                                             "/proc/1/status",
                                             "/proc/1/root/etc/shadow",
                                             "/proc/kcore",
                                             "/proc/kmsg",
                                             "/proc/kpageflags",
                                             "/proc/slabinfo",
                                             "/proc/timer_list",
                                             "/proc/vmallocinfo",
                                             "/proc/sched_debug",
                                             "/sys",
                                             "/sys/fs/cgroup",
                                             "/sys/kernel/debug",
                                             "/sys/class/net",
                                             "/sys/firmware",
                                             "/dev/mem",
                                             "/dev/kmsg",
                                             "/dev/port",
                                             "/dev/vda",
                                             "/dev/sda",
                                             "/dev/kvm",
                                             "/dev/fuse",
                                             "/dev/net/tun",
                                             "/dev/tty",
                                             "/dev/tty0",
                                             "/dev/pts",
                                             "/dev/ptmx",
                                             "/dev/console",
                                             "/dev/mqueue",
                                             "/dev/userfaultfd",
                                             "/dev/hugepages",
                                             "/etc/shadow",
                                             "/etc/gshadow",
                                             "/etc/sudoers",
                                             "/etc/hostname",
                                             "/etc/machine-id",
                                             "/etc/ssh",
                                             "/etc/ssl/private",
                                             "/etc/kiln",
                                             "/root",
                                             "/boot",
                                             "/mnt",
                                             "/media",
                                             "/srv",
                                             "/lost+found",
                                             "/var/lib",
                                             "/var/log",
                                             "/var/run",
                                             "/run/docker.sock",
                                             "/run/kiln",
                                             "/run/lock",
                                             "/run/user",
                                             HOST_FILE,
                                             "/work/../../../.." HOST_FILE,
                                             NULL};
    static const char *const write_paths[] = {"/proc/sys/kernel/core_pattern",
                                              "/proc/sys/kernel/modprobe",
                                              "/proc/sys/kernel/hostname",
                                              "/proc/sys/kernel/shmmax",
                                              "/proc/sys/kernel/msgmax",
                                              "/proc/sys/kernel/ns_last_pid",
                                              "/proc/sys/kernel/randomize_va_space",
                                              "/proc/sys/fs/mqueue/queues_max",
                                              "/proc/sys/fs/binfmt_misc/register",
                                              "/proc/sys/vm/overcommit_memory",
                                              "/proc/sys/vm/drop_caches",
                                              "/proc/sys/net/ipv4/ip_forward",
                                              "/proc/sys/net/ipv4/ping_group_range",
                                              "/proc/sys/user/max_user_namespaces",
                                              "/proc/sysrq-trigger",
                                              "/proc/irq/default_smp_affinity",
                                              "/proc/mtrr",
                                              "/proc/acpi/wakeup",
                                              "/proc/self/uid_map",
                                              "/proc/self/gid_map",
                                              "/proc/self/setgroups",
                                              "/proc/self/oom_score_adj",
                                              "/proc/self/loginuid",
                                              "/proc/self/mem",
                                              "/proc/self/exe",
                                              "/proc/self/attr/current",
                                              "/usr/bin/env",
                                              "/usr/lib/os-release",
                                              "/etc/passwd",
                                              "/etc/group",
                                              "/etc/ld.so.cache",
                                              "/etc/alternatives/README",
                                              "/etc/resolv.conf",
                                              "/run/session/passwd",
                                              NULL};
    static const char *const create_paths[] = {"/new",
                                               "/usr/new",
                                               "/usr/bin/new",
                                               "/etc/new",
                                               "/etc/ld.so.preload",
                                               "/etc/alternatives/new",
                                               "/dev/new",
                                               "/proc/new",
                                               "/run/new",
                                               "/run/session/new",
                                               "/var/new",
                                               "/var/tmp/new",
                                               "/home/new",
                                               NULL};
    for (int i = 0; read_paths[i] != NULL; i++) {
        reading(read_paths[i]);
    }
    for (int i = 0; write_paths[i] != NULL; i++) {
        opening(write_paths[i], O_WRONLY, "write");
    }
    for (int i = 0; create_paths[i] != NULL; i++) {
        opening(create_paths[i], O_WRONLY | O_CREAT, "create");
    }
    listing("/");
    listing("/dev");
    listing("/home");
    listing("/run");
    listing("/var");
    own_program();
    kernel_addresses();
    TRY("unlink", unlink("/usr/bin/env"));
    TRY("rename", rename("/usr/bin/env", "/work/env"));
    TRY("rename over", rename("/code", "/usr"));
    TRY("rename a mount point", rename("/work", "/tmp/work"));
    TRY("chmod", chmod("/usr/bin/env", 0777));
    TRY("chown", chown("/usr/bin/env", getuid(), getgid()));
    TRY("link out of /usr", link("/usr/bin/env", "/work/env"));
    TRY("chdir /proc/1/root", chdir("/proc/1/root"));
    TRY("chdir /proc/1/cwd", chdir("/proc/1/cwd"));
    TRY("device node", mknod("/work/disk", S_IFBLK | 0600, makedev(8, 0)));
    TRY("memory node", mknod("/tmp/mem", S_IFCHR | 0600, makedev(1, 1)));
    TRY("node in /dev", mknod("/dev/mem", S_IFCHR | 0600, makedev(1, 1)));

    /* A program of one's own gains nothing, whatever it is marked with. */
    static const unsigned char capabilities[20] = {0x01, 0, 0, 0x02, 0xff, 0xff, 0xff, 0xff};
    close(open("/work/own", O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
    TRY("file capabilities",
        setxattr("/work/own", "security.capability", capabilities, sizeof(capabilities), 0));
    TRY("trusted attribute", setxattr("/work/own", "trusted.kiln", "1", 1, 0));
    TRY("give a file to root", chown("/work/own", 0, 0));
    unlink("/work/own");
    dprintf(STDOUT_FILENO, "end\n");
    return 0;
}
