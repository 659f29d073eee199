#include "files/folder.h"

#include "base/cleanup.h"
#include "files/beneath.h"
#include "files/read.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *oddity_of(mode_t mode)
{
    return S_ISREG(mode)    ? NULL
           : S_ISLNK(mode)  ? "a symbolic link"
           : S_ISFIFO(mode) ? "a pipe"
           : S_ISSOCK(mode) ? "a socket"
                            : "a device";
}

static int add(kiln_folder *folder, const char *name, const struct stat *st, kiln_error *err)
{
    if (folder->count == KILN_FOLDER_FILES_MAX) {
        return kiln_error_set(err, E2BIG, "holds more than %d files", KILN_FOLDER_FILES_MAX);
    }
    if (folder->count % 64 == 0) {
        kiln_folder_entry *grown =
            reallocarray(folder->entries, folder->count + 64, sizeof(*grown));
        if (grown == NULL) {
            return kiln_error_set(err, ENOMEM, "out of memory");
        }
        folder->entries = grown;
    }
    char *own = strdup(name);
    if (own == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    folder->entries[folder->count++] =
        (kiln_folder_entry){own, (uint64_t)st->st_size, oddity_of(st->st_mode)};
    return 0;
}

static int walk(kiln_folder *folder, int fd, const char *prefix, int depth, kiln_error *err);

static int enter(kiln_folder *folder, int parent, const char *base, const char *name, int depth,
                 kiln_error *err)
{
    auto_close int fd = openat(parent, base, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return kiln_error_errno(err, errno, "%s", name);
    }
    return walk(folder, fd, name, depth + 1, err);
}

static int walk(kiln_folder *folder, int fd, const char *prefix, int depth, kiln_error *err)
{
    if (depth > KILN_FOLDER_DEPTH_MAX) {
        return kiln_error_set(err, ELOOP, "%s: is more than %d folders deep", prefix,
                              KILN_FOLDER_DEPTH_MAX);
    }
    int own = dup(fd);
    DIR *dir = own < 0 ? NULL : fdopendir(own);
    if (dir == NULL) {
        int failure = errno;
        if (own >= 0) {
            close(own);
        }
        return kiln_error_errno(err, failure, "%s", prefix);
    }
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir)) != NULL;) {
        auto_free char *name = NULL;
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (asprintf(&name, "%s%s%s", prefix, prefix[0] != '\0' ? "/" : "", entry->d_name) <
            0) {
            name = NULL;
            rc = kiln_error_set(err, ENOMEM, "out of memory");
        } else if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            rc = kiln_error_errno(err, errno, "%s", name);
        } else if (S_ISDIR(st.st_mode)) {
            rc = enter(folder, fd, entry->d_name, name, depth, err);
        } else {
            rc = add(folder, name, &st, err);
        }
    }
    closedir(dir);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const kiln_folder_entry *)a)->name, ((const kiln_folder_entry *)b)->name);
}

int kiln_folder_read(const char *path, kiln_folder *folder, kiln_error *err)
{
    *folder = (kiln_folder)KILN_FOLDER_INIT;
    folder->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->fd < 0) {
        return kiln_error_errno(err, errno, "cannot be read");
    }
    int rc = walk(folder, folder->fd, "", 0, err);
    if (folder->count > 0) {
        qsort(folder->entries, folder->count, sizeof(*folder->entries), by_name);
    }
    return rc;
}

const kiln_folder_entry *kiln_folder_find(const kiln_folder *folder, const char *name)
{
    kiln_folder_entry key = {.name = (char *)(uintptr_t)name};
    return folder->count > 0 ? bsearch(&key, folder->entries, folder->count,
                                       sizeof(*folder->entries), by_name)
                             : NULL;
}

int kiln_folder_load(const kiln_folder *folder, const char *name, size_t max,
                     kiln_buffer *bytes, kiln_error *err)
{
    char shown[160];
    kiln_printable_name(name, shown, sizeof(shown));
    int opened = kiln_open_beneath(folder->fd, name, O_RDONLY, 0, false);
    auto_close int fd = opened;
    if (fd < 0) {
        return kiln_error_errno(err, opened, "%s", shown);
    }
    return kiln_read_descriptor(fd, max, bytes, err) < 0 ? kiln_error_wrap(err, "%s", shown)
                                                         : 0;
}

void kiln_folder_free(kiln_folder *folder)
{
    for (size_t i = 0; i < folder->count; i++) {
        free(folder->entries[i].name);
    }
    free(folder->entries);
    if (folder->fd >= 0) {
        close(folder->fd);
    }
    *folder = (kiln_folder)KILN_FOLDER_INIT;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    remove(path);
    return 0;
}

void kiln_folder_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
