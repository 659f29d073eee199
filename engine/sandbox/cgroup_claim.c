#include "sandbox/cgroup_claim.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

bool kiln_cgroup_is_engines(const char *name)
{
    int pid = 0;
    unsigned long long started = 0;
    int used = 0;
    return sscanf(name, "kiln-%d-%llu%n", &pid, &started, &used) == 2 && pid > 0 &&
           (name[used] == '\0' || strcmp(name + used, KILN_CGROUP_LEAF) == 0);
}

/* Whether it is still what stands under its name: another engine may have locked it first
 * and taken it for a dead one's. */
static bool is_there(int parent, const char *name, int folder)
{
    struct stat held;
    struct stat named;
    return fstat(folder, &held) == 0 &&
           fstatat(parent, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

static int open_locked(int parent, const char *name)
{
    auto_close int folder =
        openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0 || flock(folder, LOCK_EX | LOCK_NB) < 0) {
        return -errno;
    }
    return is_there(parent, name, folder) ? kiln_steal_fd(&folder) : -ENOENT;
}

int kiln_cgroup_claim(int parent, const char *name)
{
    enum { TRIES = 10 };
    int rc = -EAGAIN;
    for (int i = 0; i < TRIES; i++) {
        if (mkdirat(parent, name, 0755) < 0) {
            return -errno;
        }
        rc = open_locked(parent, name);
        /* In between a sweep saw it without a lock: it removes it, and then all is as
         * before. */
        for (int k = 0; rc == -EWOULDBLOCK && k < 1000; k++) {
            rc = open_locked(parent, name);
        }
        if (rc != -ENOENT) {
            break;
        }
    }
    return rc;
}

int kiln_cgroup_take_over(int parent, const char *name)
{
    return open_locked(parent, name);
}

int kiln_cgroup_notes_open(void)
{
    char path[4096];
    const char *run = getenv("XDG_RUNTIME_DIR");
    struct stat what;
    bool root = geteuid() == 0;
    if (!root && (run == NULL || run[0] != '/')) {
        return -ENOENT;
    }
    snprintf(path, sizeof(path), "%s/kiln", root ? "/run" : run);
    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        return -errno;
    }
    auto_close int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0 || fstat(folder, &what) < 0) {
        return -errno;
    }
    /* What is in it says what is killed: nobody else may have written it. */
    if (what.st_uid != geteuid() || (what.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return -EPERM;
    }
    return kiln_steal_fd(&folder);
}

int kiln_cgroup_note_write(int notes, const char *name, const char *lines)
{
    auto_close int fd =
        openat(notes, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    ssize_t length = (ssize_t)strlen(lines);
    return write(fd, lines, (size_t)length) == length ? 0 : -EIO;
}

static bool all_gone(int notes, const char *name, bool (*gone)(void *, const char *),
                     void *user)
{
    char text[8192];
    auto_close int fd = openat(notes, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    bool all = length >= 0;
    text[length > 0 ? length : 0] = '\0';
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        all = (line[0] != '/' || gone(user, line)) && all;
    }
    return all;
}

void kiln_cgroup_notes_each(int notes, const char *own, bool (*gone)(void *, const char *),
                            void *user)
{
    int copy = openat(notes, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
    if (entries == NULL) {
        if (copy >= 0) {
            close(copy);
        }
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        if (kiln_cgroup_is_engines(entry->d_name) && strcmp(entry->d_name, own) != 0 &&
            all_gone(notes, entry->d_name, gone, user)) {
            unlinkat(notes, entry->d_name, 0);
        }
    }
    closedir(entries);
}
