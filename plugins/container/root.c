#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { OWN_INODES = 2 }; /* the folder itself, and the agent's socket */

static int open_beneath(int folder, const char *name, unsigned flags)
{
    struct open_how how = {
        .flags = flags | O_CLOEXEC | O_NOFOLLOW,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd = syscall(SYS_openat2, folder, name, &how, sizeof(how));
    return fd < 0 ? -errno : (int)fd;
}

/* An id inside as it is outside, through the process's map; -1: it has none. */
static long map_id(pid_t pid, const char *map, unsigned id)
{
    char path[64];
    unsigned long inside, outside, count;
    long found = -1;
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, map);
    FILE *file = fopen(path, "re");
    while (file != NULL && found < 0 &&
           fscanf(file, "%lu %lu %lu", &inside, &outside, &count) == 3) {
        if (id >= inside && id - inside < count) {
            found = (long)(outside + (id - inside));
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

/* The files must be ours to make as the code's user: as root we can be anyone, else we
 * have to be that user. */
static int give(int fd, pid_t pid, unsigned uid, unsigned gid, const char **why)
{
    struct stat what;
    long user = map_id(pid, "uid_map", uid);
    long group = map_id(pid, "gid_map", gid);
    if (user < 0 || group < 0 || fstat(fd, &what) < 0) {
        *why = "the container's user has no number on this host";
        return -EPERM;
    }
    if (geteuid() == 0) {
        if (fchown(fd, (uid_t)user, (gid_t)group) < 0 || fchmod(fd, 0700) < 0) {
            *why = "its work directory could not be given to its user";
            return -errno;
        }
        return 0;
    }
    *why = "its files belong to another user of this host";
    return what.st_uid == geteuid() && (uid_t)user == geteuid() ? 0 : -EPERM;
}

static int open_work(pid_t pid, const char **why)
{
    char path[64];
    struct statfs kind;
    struct stat root_is, work_is;
    snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
    int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        *why = "its processes are another user's";
        return -errno;
    }
    int work = open_beneath(root, "work", O_RDONLY | O_DIRECTORY);
    int rc = 0;
    if (work < 0) {
        *why = "its work directory cannot be opened from here";
        rc = work;
    } else if (fstatfs(work, &kind) < 0 || kind.f_type != TMPFS_MAGIC ||
               fstat(root, &root_is) < 0 || fstat(work, &work_is) < 0 ||
               root_is.st_dev == work_is.st_dev) {
        *why = "its work directory is no tmpfs that can be seen from here";
        rc = -EXDEV;
    }
    close(root);
    if (rc < 0) {
        if (work >= 0) {
            close(work);
        }
        return rc;
    }
    return work;
}

int root_open(pid_t pid, unsigned uid, unsigned gid, const char **why)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        *why = "its processes are not of this machine";
        return -errno;
    }
    int fd = open_work(pid, why);
    int rc = fd < 0 ? fd : give(fd, pid, uid, gid, why);
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    if (rc >= 0 && poll(&ended, 1, 0) != 0) {
        *why = "it ended meanwhile";
        rc = -ESRCH;
    }
    close(pidfd);
    if (rc < 0 && fd >= 0) {
        close(fd);
    }
    return rc < 0 ? rc : fd;
}

/* fsconfig(2): other options stay as they are. */
static bool limit_inodes(int mount_fd, uint64_t files)
{
    char number[32];
    snprintf(number, sizeof(number), "%llu", (unsigned long long)files + OWN_INODES);
    int context = fspick(mount_fd, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
    bool done = context >= 0 &&
                fsconfig(context, FSCONFIG_SET_STRING, "nr_inodes", number, 0) == 0 &&
                fsconfig(context, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) == 0;
    if (context >= 0) {
        close(context);
    }
    return done;
}

bool root_limit_files(pid_t pid, uint64_t files)
{
    static const char *const places[] = {"work", "code", "tmp", "var/tmp", "dev/shm"};
    char path[64];
    struct stat root_is, is;
    snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
    int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool all = root >= 0 && fstat(root, &root_is) == 0;
    for (size_t i = 0; all && i < sizeof(places) / sizeof(places[0]); i++) {
        struct statfs kind;
        int fd = open_beneath(root, places[i], O_RDONLY | O_DIRECTORY);
        all = fd >= 0 && fstatfs(fd, &kind) == 0 && kind.f_type == TMPFS_MAGIC &&
              fstat(fd, &is) == 0 && is.st_dev != root_is.st_dev && limit_inodes(fd, files);
        if (fd >= 0) {
            close(fd);
        }
    }
    if (root >= 0) {
        close(root);
    }
    return all;
}

int root_connect(int work_fd, const char *name)
{
    struct stat what;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int inode = open_beneath(work_fd, name, O_PATH);
    if (inode < 0) {
        return inode;
    }
    int rc = fstat(inode, &what) < 0 ? -errno : S_ISSOCK(what.st_mode) ? 0 : -ENOTSOCK;
    int fd = rc < 0 ? rc : socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* This names the inode that is open, whatever stands at its place now. */
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", inode);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        rc = -errno;
        close(fd);
        fd = rc;
    }
    close(inode);
    return fd < 0 && rc == 0 ? -errno : fd;
}
