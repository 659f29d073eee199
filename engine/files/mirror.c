#include "files/mirror.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CHUNK = 128 << 10,
    FOLDER = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
    FILE_FLAGS = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
};

/* A file that has several names, by the first of them that was met. */
typedef struct twin {
    ino_t inode; /* in `from` */
    ino_t made;  /* in `to` */
    char *path;  /* below `to` */
} twin;

typedef struct mirror {
    int root; /* `to` */
    int trash;
    char path[PATH_MAX]; /* below it, of what is being made */
    size_t path_length;
    twin *twins;
    size_t twin_count;
    uid_t uid;
    gid_t gid;
    uint64_t moved; /* into the trash: names of its own */
    unsigned entries;
    char chunks[2][CHUNK];
} mirror;

static bool is_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* The stream owns its descriptor. */
static DIR *read_folder(int folder)
{
    auto_close int again = openat(folder, ".", FOLDER);
    DIR *stream = again >= 0 ? fdopendir(again) : NULL;
    if (stream != NULL) {
        kiln_steal_fd(&again);
    }
    return stream;
}

static void close_folder(DIR **stream)
{
    if (*stream != NULL) {
        closedir(*stream);
    }
}
#define auto_closedir __attribute__((cleanup(close_folder)))

/* ---- what is there and should not be */

/* A folder that is not empty goes into the trash, so that depth costs nothing. */
static int discard(mirror *self, int folder, const char *name)
{
    char moved[32];
    if (unlinkat(folder, name, 0) == 0 || errno == ENOENT ||
        unlinkat(folder, name, AT_REMOVEDIR) == 0) {
        return 0;
    }
    snprintf(moved, sizeof(moved), "%llu", (unsigned long long)self->moved++);
    return renameat(folder, name, self->trash, moved) < 0 ? -errno : 0;
}

static int discard_all(mirror *self, int folder)
{
    auto_closedir DIR *entries = read_folder(folder);
    struct dirent *entry;
    int rc = entries == NULL ? -errno : 0;
    while (rc == 0 && (entry = readdir(entries)) != NULL) {
        rc = is_entry(entry) ? discard(self, folder, entry->d_name) : 0;
    }
    return rc;
}

/* Folders in the trash hold none that were not moved up beside them. */
static int empty_trash(mirror *self)
{
    for (uint64_t i = 0; i < self->moved; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%llu", (unsigned long long)i);
        auto_close int folder = openat(self->trash, name, FOLDER);
        if (folder < 0) {
            return -errno;
        }
        int rc = discard_all(self, folder);
        if (rc < 0) {
            return rc;
        }
        if (unlinkat(self->trash, name, AT_REMOVEDIR) < 0) {
            return -errno;
        }
    }
    self->moved = 0;
    return 0;
}

static int discard_others(mirror *self, int from, int to)
{
    auto_closedir DIR *entries = read_folder(to);
    struct dirent *entry;
    int rc = entries == NULL ? -errno : 0;
    while (rc == 0 && (entry = readdir(entries)) != NULL) {
        struct stat a;
        struct stat b;
        if (!is_entry(entry)) {
            continue;
        }
        bool kept = fstatat(from, entry->d_name, &a, AT_SYMLINK_NOFOLLOW) == 0 &&
                    fstatat(to, entry->d_name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
                    (a.st_mode & S_IFMT) == (b.st_mode & S_IFMT);
        rc = kept ? 0 : discard(self, to, entry->d_name);
    }
    return rc;
}

/* ---- files */

static off_t next_data(int fd, off_t at, off_t size)
{
    off_t data = lseek(fd, at, SEEK_DATA);
    return data < 0 || data > size ? size : data;
}

static ssize_t read_at(int fd, char *into, off_t at, off_t size)
{
    size_t wanted = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
    ssize_t got = pread(fd, into, wanted, at);
    return got < 0 ? -errno : got == 0 ? -EIO : got;
}

static int write_at(int fd, const char *data, ssize_t length, off_t at)
{
    while (length > 0) {
        ssize_t written = pwrite(fd, data, (size_t)length, at);
        if (written < 0) {
            return -errno;
        }
        data += written;
        at += written;
        length -= written;
    }
    return 0;
}

/* 1: the same, 0: not. */
static int same_content(mirror *self, int a, int b, off_t size)
{
    for (off_t at = 0; at < size;) {
        off_t next[2] = {next_data(a, at, size), next_data(b, at, size)};
        at = next[0] < next[1] ? next[0] : next[1];
        if (at >= size) {
            break;
        }
        ssize_t got = read_at(a, self->chunks[0], at, size);
        ssize_t other = read_at(b, self->chunks[1], at, size);
        if (got < 0 || other < 0) {
            return (int)(got < 0 ? got : other);
        }
        got = got < other ? got : other;
        if (memcmp(self->chunks[0], self->chunks[1], (size_t)got) != 0) {
            return 0;
        }
        at += got;
    }
    return 1;
}

static int copy_content(mirror *self, int from, int to, off_t size)
{
    if (ftruncate(to, 0) < 0 || ftruncate(to, size) < 0) {
        return -errno;
    }
    for (off_t at = next_data(from, 0, size); at < size; at = next_data(from, at, size)) {
        off_t hole = lseek(from, at, SEEK_HOLE);
        ssize_t got =
            read_at(from, self->chunks[0], at, hole > at && hole < size ? hole : size);
        int rc = got < 0 ? (int)got : write_at(to, self->chunks[0], got, at);
        if (rc < 0) {
            return rc;
        }
        at += got;
    }
    return 0;
}

static const twin *find_twin(const mirror *self, ino_t inode)
{
    for (size_t i = 0; i < self->twin_count; i++) {
        if (self->twins[i].inode == inode) {
            return &self->twins[i];
        }
    }
    return NULL;
}

static bool is_made(const mirror *self, ino_t inode)
{
    for (size_t i = 0; i < self->twin_count; i++) {
        if (self->twins[i].made == inode) {
            return true;
        }
    }
    return false;
}

static int remember_twin(mirror *self, ino_t inode, ino_t made)
{
    twin *twins = realloc(self->twins, (self->twin_count + 1) * sizeof(*twins));
    if (twins == NULL) {
        return -ENOMEM;
    }
    self->twins = twins;
    twins[self->twin_count] = (twin){inode, made, strndup(self->path, self->path_length)};
    return twins[self->twin_count++].path == NULL ? -ENOMEM : 0;
}

static int mirror_twin(mirror *self, const twin *first, int to, const char *name)
{
    struct stat now;
    if (fstatat(to, name, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_ino == first->made) {
        return 0;
    }
    int rc = discard(self, to, name);
    if (rc < 0) {
        return rc;
    }
    return linkat(self->root, first->path, to, name, 0) < 0 ? -errno : 0;
}

/* Names that a file should not have must not be written through. */
static int separate(mirror *self, const struct stat *source, int to, const char *name)
{
    struct stat now;
    return fstatat(to, name, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_nlink > 1 &&
                   (now.st_nlink != source->st_nlink || is_made(self, now.st_ino))
               ? discard(self, to, name)
               : 0;
}

static int mirror_file(mirror *self, int from, int to, const char *name)
{
    struct stat a;
    struct stat b;
    auto_close int source = openat(from, name, O_RDONLY | FILE_FLAGS);
    if (source < 0 || fstat(source, &a) < 0) {
        return -errno;
    }
    const twin *first = a.st_nlink > 1 ? find_twin(self, a.st_ino) : NULL;
    int rc = first != NULL ? mirror_twin(self, first, to, name) : separate(self, &a, to, name);
    if (rc < 0 || first != NULL) {
        return rc;
    }
    auto_close int target = openat(to, name, O_RDWR | O_CREAT | FILE_FLAGS, 0600);
    if (target < 0 || fstat(target, &b) < 0) {
        return -errno;
    }
    if (a.st_nlink > 1) {
        rc = remember_twin(self, a.st_ino, b.st_ino);
        if (rc < 0) {
            return rc;
        }
    }
    int same = a.st_size == b.st_size ? same_content(self, source, target, a.st_size) : 0;
    if (same < 0) {
        return same;
    }
    if (same == 0) {
        rc = copy_content(self, source, target, a.st_size);
        if (rc < 0) {
            return rc;
        }
    }
    const struct timespec times[2] = {a.st_atim, a.st_mtim};
    return fchown(target, self->uid, self->gid) < 0 || fchmod(target, a.st_mode & 07777) < 0 ||
                   futimens(target, times) < 0
               ? -errno
               : 0;
}

static int mirror_link(mirror *self, int from, int to, const char *name,
                       const struct stat *what)
{
    char text[2][PATH_MAX];
    ssize_t length = readlinkat(from, name, text[0], PATH_MAX - 1);
    ssize_t other = readlinkat(to, name, text[1], PATH_MAX - 1);
    if (length < 0) {
        return -errno;
    }
    text[0][length] = '\0';
    if (length != other || memcmp(text[0], text[1], (size_t)length) != 0) {
        int rc = discard(self, to, name);
        if (rc < 0) {
            return rc;
        }
        if (symlinkat(text[0], to, name) < 0) {
            return -errno;
        }
    }
    const struct timespec times[2] = {what->st_atim, what->st_mtim};
    return fchownat(to, name, self->uid, self->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
                   utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0
               ? -errno
               : 0;
}

static int mirror_fifo(mirror *self, int to, const char *name, const struct stat *what)
{
    if (mkfifoat(to, name, 0600) < 0 && errno != EEXIST) {
        return -errno;
    }
    return fchownat(to, name, self->uid, self->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
                   fchmodat(to, name, what->st_mode & 07777, 0) < 0
               ? -errno
               : 0;
}

/* ---- folders */

static int mirror_folder(mirror *self, int from, int to, int depth);

static int mirror_subfolder(mirror *self, int from, int to, const char *name,
                            const struct stat *what, int depth)
{
    if (mkdirat(to, name, 0700) < 0 && errno != EEXIST) {
        return -errno;
    }
    auto_close int source = openat(from, name, FOLDER);
    auto_close int target = openat(to, name, FOLDER);
    if (source < 0 || target < 0) {
        return -errno;
    }
    int rc = mirror_folder(self, source, target, depth + 1);
    if (rc < 0) {
        return rc;
    }
    const struct timespec times[2] = {what->st_atim, what->st_mtim};
    return fchown(target, self->uid, self->gid) < 0 ||
                   fchmod(target, what->st_mode & 07777) < 0 || futimens(target, times) < 0
               ? -errno
               : 0;
}

static int mirror_entry(mirror *self, int from, int to, const char *name, int depth)
{
    struct stat what;
    if (fstatat(from, name, &what, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    switch (what.st_mode & S_IFMT) {
    case S_IFREG:
        return mirror_file(self, from, to, name);
    case S_IFDIR:
        return mirror_subfolder(self, from, to, name, &what, depth);
    case S_IFLNK:
        return mirror_link(self, from, to, name, &what);
    case S_IFIFO:
        return mirror_fifo(self, to, name, &what);
    default:
        return 0;
    }
}

static int push(mirror *self, const char *name)
{
    size_t room = sizeof(self->path) - self->path_length;
    int length = snprintf(self->path + self->path_length, room, "%s%s",
                          self->path_length > 0 ? "/" : "", name);
    if (length < 0 || (size_t)length >= room) {
        return -E2BIG;
    }
    self->path_length += (size_t)length;
    return 0;
}

static int mirror_folder(mirror *self, int from, int to, int depth)
{
    if (depth > KILN_MIRROR_DEPTH_MAX) {
        return -E2BIG;
    }
    int rc = discard_others(self, from, to);
    auto_closedir DIR *entries = rc == 0 ? read_folder(from) : NULL;
    struct dirent *entry;
    rc = rc == 0 && entries == NULL ? -errno : rc;
    while (rc == 0 && (entry = readdir(entries)) != NULL) {
        if (!is_entry(entry)) {
            continue;
        }
        size_t before = self->path_length;
        rc = ++self->entries > KILN_MIRROR_ENTRIES_MAX ? -E2BIG : push(self, entry->d_name);
        rc = rc == 0 ? mirror_entry(self, from, to, entry->d_name, depth) : rc;
        self->path_length = before;
    }
    return rc;
}

static int fail(int rc, kiln_error *err)
{
    switch (rc) {
    case -E2BIG:
        return kiln_error_set(err, rc, "files: deeper than %d folders, or more than %d of them",
                              KILN_MIRROR_DEPTH_MAX, KILN_MIRROR_ENTRIES_MAX);
    case -ENOSPC:
        return kiln_error_set(
            err, rc, "files: no room for a copy of them; raise [limits] disk or files");
    default:
        return kiln_error_errno(err, rc, "files: copying them");
    }
}

static int start(mirror **self, int to, int trash)
{
    struct stat owner;
    mirror *made = malloc(sizeof(*made));
    if (made == NULL) {
        return -ENOMEM;
    }
    if (fstat(to, &owner) < 0) {
        free(made);
        return -errno;
    }
    made->root = to;
    made->trash = trash;
    made->path_length = 0;
    made->twins = NULL;
    made->twin_count = 0;
    made->moved = 0;
    made->entries = 0;
    made->uid = owner.st_uid;
    made->gid = owner.st_gid;
    *self = made;
    return 0;
}

static void end(mirror **self)
{
    for (size_t i = 0; *self != NULL && i < (*self)->twin_count; i++) {
        free((*self)->twins[i].path);
    }
    free(*self != NULL ? (*self)->twins : NULL);
    free(*self);
}
#define auto_end __attribute__((cleanup(end)))

int kiln_mirror(int from, int to, int trash, kiln_error *err)
{
    auto_end mirror *self = NULL;
    struct stat what;
    int rc = start(&self, to, trash);
    if (rc == 0) {
        rc = mirror_folder(self, from, to, 0);
    }
    int cleared = self != NULL ? empty_trash(self) : 0;
    rc = rc < 0 ? rc : cleared;
    if (rc == 0) {
        /* The folder itself: code may have shut it. */
        rc = fstat(from, &what) < 0 || fchmod(to, what.st_mode & 07777) < 0 ? -errno : 0;
    }
    return rc < 0 ? fail(rc, err) : 0;
}

int kiln_mirror_clear(int folder, int trash, kiln_error *err)
{
    auto_end mirror *self = NULL;
    int rc = start(&self, folder, trash);
    if (rc == 0) {
        rc = discard_all(self, folder);
    }
    int cleared = self != NULL ? empty_trash(self) : 0;
    rc = rc < 0 ? rc : cleared;
    return rc < 0 ? fail(rc, err) : 0;
}
