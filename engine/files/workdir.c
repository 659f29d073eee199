/* workdir.c - files into a session's work directory. */
#include "files/workdir.h"

#include "base/cleanup.h"
#include "base/write.h"
#include "files/beneath.h"
#include "files/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

/* As root the engine is not the owner of the session's files: what it makes there must
 * belong to the session's uid, and no write of it may be a privileged one. The file system
 * uid does both at once (capabilities(7): leaving fsuid 0 drops CAP_DAC_OVERRIDE and its
 * kind until it is taken back), where a chown by path would be a hole. */
typedef struct identity {
    int uid, gid; /* to be taken back; -1: nothing was changed */
} identity;

static void restore_identity(identity *id)
{
    if (id->uid >= 0) {
        setfsuid((uid_t)id->uid);
        setfsgid((gid_t)id->gid);
    }
}

static identity become_owner(const struct stat *st)
{
    identity id = {-1, -1};
    if (geteuid() == 0 && st->st_uid != 0) {
        id.gid = setfsgid(st->st_gid);
        id.uid = setfsuid(st->st_uid);
    }
    return id;
}

int kiln_workdir_open(int root_fd, const char *area, kiln_error *err)
{
    struct stat st;
    auto_close int opened = kiln_open_beneath(root_fd, area, O_RDONLY | O_DIRECTORY, 0, true);
    int fd = opened;
    if (fd >= 0) {
        /* The code may have taken away its own permissions: what it writes there next, and
         * what we write as its user, needs them. */
        if (fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700) {
            (void)fchmod(fd, (st.st_mode & 07777) | 0700);
        }
        return kiln_steal_fd(&opened);
    }
    if (fd != -EACCES) {
        return kiln_error_errno(err, fd, "session: cannot open its %s/", area);
    }
    /* We are not root: the folder is still ours to give them back, through a descriptor
     * that names no other inode. */
    auto_close int path_fd = kiln_open_beneath(root_fd, area, O_PATH | O_DIRECTORY, 0, true);
    if (path_fd >= 0 && fstat(path_fd, &st) == 0 && st.st_uid == geteuid()) {
        char link[64];
        snprintf(link, sizeof(link), "/proc/self/fd/%d", path_fd);
        if (chmod(link, (st.st_mode & 07777) | 0700) == 0) {
            fd = kiln_open_beneath(root_fd, area, O_RDONLY | O_DIRECTORY, 0, true);
        }
    }
    return fd >= 0 ? fd : kiln_error_errno(err, fd, "session: cannot open its %s/", area);
}

/* The content of a file to be written: bytes, or a descriptor to read to its end. */
typedef struct source {
    const char *data;
    size_t length;
    int fd; /* -1: data */
} source;

/* Not sendfile: files of /proc and /sys, which one may well want to hand in, refuse it. */
static int copy_all(int to, int from)
{
    auto_free char *chunk = malloc(1 << 18);
    if (chunk == NULL) {
        return -ENOMEM;
    }
    for (;;) {
        ssize_t got = read(from, chunk, 1 << 18);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? -errno : 0;
        }
        int rc = kiln_write_all(to, chunk, (size_t)got);
        if (rc < 0) {
            return rc;
        }
    }
}

/* Makes a new inode in the place of whatever stands there: writing into an existing one
 * would follow the code's link, wait on its FIFO, or change a file that it has open. */
static int create_fresh(int parent_fd, const char *base, unsigned mode)
{
    int fd = -EEXIST;
    for (int attempt = 0; fd == -EEXIST && attempt < 8; attempt++) {
        if (unlinkat(parent_fd, base, 0) < 0 && errno != ENOENT) {
            return -errno;
        }
        fd = kiln_open_beneath(parent_fd, base, O_WRONLY | O_CREAT | O_EXCL, mode & 0777, true);
    }
    return fd;
}

static int write_file(int area_fd, const char *area, const char *name, const source *from,
                      unsigned mode, kiln_error *err)
{
    struct stat st;
    if (fstat(area_fd, &st) < 0) {
        return kiln_error_errno(err, errno, "session: cannot look at its %s/", area);
    }
    identity id __attribute__((unused, cleanup(restore_identity))) = become_owner(&st);
    const char *base = name;
    auto_close int parent = kiln_open_parent(area_fd, name, &base, true);
    if (parent < 0) {
        return kiln_error_errno(err, parent, "%s/%s: cannot make its folder", area, name);
    }
    auto_close int fd = create_fresh(parent, base, mode);
    if (fd == -EISDIR) {
        return kiln_error_set(err, fd, "%s/%s: a folder stands in its place", area, name);
    }
    if (fd < 0) {
        return kiln_error_errno(err, fd, "%s/%s: cannot make it", area, name);
    }
    /* The umask is the engine's, and not meant for the session. */
    int rc = fchmod(fd, mode & 0777) < 0 ? -errno : 0;
    if (rc == 0) {
        rc = from->fd >= 0 ? copy_all(fd, from->fd)
                           : kiln_write_all(fd, from->data, from->length);
    }
    if (rc < 0) {
        unlinkat(parent, base, 0);
        if (rc == -ENOSPC || rc == -EDQUOT) {
            return kiln_error_set(err, rc,
                                  "%s/%s: does not fit in the session's file system, "
                                  "raise [limits] disk or files",
                                  area, name);
        }
        return kiln_error_errno(err, rc, "%s/%s: cannot write it", area, name);
    }
    return 0;
}

int kiln_workdir_write(int root_fd, const char *area, const char *name, const void *data,
                       size_t length, unsigned mode, kiln_error *err)
{
    int rc = kiln_file_name_check(name, err);
    if (rc < 0) {
        return rc;
    }
    auto_close int area_fd = kiln_workdir_open(root_fd, area, err);
    if (area_fd < 0) {
        return area_fd;
    }
    source from = {data, length, -1};
    return write_file(area_fd, area, name, &from, mode, err);
}

/* The caller's own path: links are followed, but what is behind must be a plain file. */
static int open_host_file(const char *path, kiln_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0) {
        return kiln_error_errno(err, errno, "input file \"%s\"", path);
    }
    if (fstat(fd, &st) < 0) {
        return kiln_error_errno(err, errno, "input file \"%s\"", path);
    }
    if (S_ISDIR(st.st_mode)) {
        return kiln_error_set(err, -EISDIR,
                              "input file \"%s\": is a directory, name the files in it", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return kiln_error_set(err, -EINVAL, "input file \"%s\": is not a regular file", path);
    }
    return kiln_steal_fd(&fd);
}

int kiln_workdir_put(int root_fd, const char *area, const kiln_request *request,
                     kiln_error *err)
{
    if (request->input_file_count == 0) {
        return 0;
    }
    auto_close int area_fd = kiln_workdir_open(root_fd, area, err);
    if (area_fd < 0) {
        return area_fd;
    }
    for (size_t i = 0; i < request->input_file_count; i++) {
        const kiln_input_file *file = &request->input_files[i];
        int rc = kiln_file_name_check(file->name, err);
        if (rc < 0) {
            return rc;
        }
        source from = {file->content, file->length, -1};
        auto_close int host_fd = -1;
        if (file->path != NULL) {
            from.fd = host_fd = open_host_file(file->path, err);
            if (host_fd < 0) {
                return host_fd;
            }
        }
        rc = write_file(area_fd, "work", file->name, &from, 0644, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int kiln_workdir_read(int root_fd, const char *area, const char *name, kiln_error *err)
{
    struct stat st;
    int rc = kiln_file_name_check(name, err);
    if (rc < 0) {
        return rc;
    }
    auto_close int area_fd = kiln_workdir_open(root_fd, area, err);
    if (area_fd < 0) {
        return area_fd;
    }
    auto_close int fd = kiln_open_beneath(area_fd, name, O_RDONLY, 0, true);
    if (fd < 0) {
        return kiln_error_errno(err, fd, "%s", name);
    }
    if (fstat(fd, &st) < 0) {
        return kiln_error_errno(err, errno, "%s", name);
    }
    if (!S_ISREG(st.st_mode) || st.st_nlink != 1) {
        return kiln_error_set(err, EINVAL, "%s: is not a regular file with one link", name);
    }
    return kiln_steal_fd(&fd);
}

/* Opens the folder that `name` lies in, never makes one; *base as kiln_open_parent. */
static int open_folder_of(int area_fd, char *name, const char **base)
{
    char *slash = strrchr(name, '/');
    *base = slash != NULL ? slash + 1 : name;
    if (slash == NULL) {
        return kiln_open_beneath(area_fd, ".", O_PATH | O_DIRECTORY, 0, true);
    }
    *slash = '\0';
    int fd = kiln_open_beneath(area_fd, name, O_PATH | O_DIRECTORY, 0, true);
    *slash = '/';
    return fd;
}

/* Cuts `name` up. A folder that is not empty ends it. */
static int remove_file(int area_fd, char *name)
{
    int flags = 0;
    for (;;) {
        const char *base;
        auto_close int parent = open_folder_of(area_fd, name, &base);
        if (parent < 0 || unlinkat(parent, base, flags) < 0) {
            int failure = parent < 0 ? parent : -errno;
            return flags != 0 || failure == -ENOENT ? 0 : failure;
        }
        char *slash = strrchr(name, '/');
        if (slash == NULL) {
            return 0;
        }
        *slash = '\0';
        flags = AT_REMOVEDIR;
    }
}

int kiln_workdir_keep_only(int root_fd, const char *area, const json_t *names, kiln_error *err)
{
    struct stat st;
    auto_close int area_fd = kiln_workdir_open(root_fd, area, err);
    if (area_fd < 0) {
        return area_fd;
    }
    if (fstat(area_fd, &st) < 0) {
        return kiln_error_errno(err, errno, "session: cannot look at its %s/", area);
    }
    kiln_manifest *there = kiln_manifest_walk(area_fd, false, err);
    identity id __attribute__((unused, cleanup(restore_identity))) = become_owner(&st);
    int rc = there == NULL ? -ENOMEM : 0;
    for (size_t i = 0; rc == 0 && i < there->count; i++) {
        const kiln_manifest_entry *entry = &there->entries[i];
        if (S_ISREG(entry->mode) && json_object_get(names, entry->name) == NULL) {
            char shown[160];
            kiln_printable_name(entry->name, shown, sizeof(shown));
            auto_free char *name = strdup(entry->name);
            rc = name != NULL ? remove_file(area_fd, name) : -ENOMEM;
            rc = rc < 0 ? kiln_error_errno(err, rc, "%s: cannot be removed", shown) : 0;
        }
    }
    kiln_manifest_free(there);
    return rc;
}
