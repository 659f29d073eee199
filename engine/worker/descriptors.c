#include "worker/descriptors.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    KEPT_FLAGS = O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECTORY | O_PATH | O_SYNC | O_NOATIME,
};

static kiln_descriptor_kind kind_of(const struct stat *what)
{
    if (S_ISREG(what->st_mode) || S_ISDIR(what->st_mode)) {
        return what->st_nlink > 0 ? KILN_DESCRIPTOR_NAMED : KILN_DESCRIPTOR_UNNAMED;
    }
    return S_ISCHR(what->st_mode) ? KILN_DESCRIPTOR_DEVICE : KILN_DESCRIPTOR_CHANNEL;
}

static int describe(kiln_descriptor *made, int fd)
{
    char link[40];
    char path[PATH_MAX];
    struct stat what;
    if (fstat(fd, &what) < 0) {
        return -errno;
    }
    int cloexec = fcntl(fd, F_GETFD);
    *made = (kiln_descriptor){
        .fd = fd,
        .kind = kind_of(&what),
        .flags = fcntl(fd, F_GETFL),
        .cloexec = cloexec >= 0 && (cloexec & FD_CLOEXEC) != 0,
    };
    if (made->kind != KILN_DESCRIPTOR_NAMED) {
        return 0;
    }
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof(path) - 1);
    off_t place = lseek(fd, 0, SEEK_CUR);
    made->place = place < 0 ? 0 : place;
    if (length <= 0 || path[0] != '/') {
        made->kind = KILN_DESCRIPTOR_UNNAMED;
        return 0;
    }
    path[length] = '\0';
    made->path = strdup(path);
    return made->path == NULL ? -ENOMEM : 0;
}

static int add(kiln_descriptors *descriptors, int fd)
{
    kiln_descriptor *list =
        realloc(descriptors->list, (descriptors->count + 1) * sizeof(*list));
    if (list == NULL) {
        return -ENOMEM;
    }
    descriptors->list = list;
    int rc = describe(&list[descriptors->count], fd);
    descriptors->count += rc == 0;
    return rc == -EBADF ? 0 : rc;
}

int kiln_descriptors_list(kiln_descriptors *descriptors, int but, kiln_error *err)
{
    *descriptors = (kiln_descriptors){0};
    DIR *entries = opendir("/proc/self/fd");
    struct dirent *entry;
    int rc = entries == NULL ? -errno : 0;
    while (rc == 0 && (entry = readdir(entries)) != NULL) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (fd > 2 && fd != but && fd != dirfd(entries)) {
            rc = add(descriptors, fd);
        }
    }
    if (entries != NULL) {
        closedir(entries);
    }
    if (rc < 0) {
        kiln_descriptors_free(descriptors);
        kiln_error_errno(err, rc, "descriptors");
    }
    return rc;
}

static int open_again(const kiln_descriptor *old)
{
    int flags = (old->flags & KEPT_FLAGS) | O_CLOEXEC | O_NOCTTY;
    auto_close int fd = open(old->path, flags);
    if (fd < 0) {
        return -errno;
    }
    if ((old->flags & O_PATH) == 0 && old->place > 0 && lseek(fd, old->place, SEEK_SET) < 0) {
        return -errno;
    }
    return dup3(fd, old->fd, old->cloexec ? O_CLOEXEC : 0);
}

/* Reading and writing are refused as on one that is closed. */
static void invalidate(const kiln_descriptor *old)
{
    auto_close int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || dup3(fd, old->fd, O_CLOEXEC) < 0) {
        close(old->fd);
    }
}

void kiln_descriptors_renew(const kiln_descriptors *descriptors, bool apart)
{
    for (size_t i = 0; i < descriptors->count; i++) {
        const kiln_descriptor *old = &descriptors->list[i];
        if (old->kind == KILN_DESCRIPTOR_NAMED) {
            if (open_again(old) < 0) {
                invalidate(old);
            }
        } else if (apart && old->kind != KILN_DESCRIPTOR_DEVICE) {
            invalidate(old);
        }
    }
}

void kiln_descriptors_free(kiln_descriptors *descriptors)
{
    for (size_t i = 0; i < descriptors->count; i++) {
        free(descriptors->list[i].path);
    }
    free(descriptors->list);
    *descriptors = (kiln_descriptors){0};
}
