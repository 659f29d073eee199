#include "unpack.h"

#include "tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 1024, DEPTH_MAX = 32 };

struct unpack {
    int folder;
    const char *prefix;
    uint64_t bytes_left, entries_left;
    tar_reader reader;
    char **seen; /* names that are in the archive */
    size_t seen_count, seen_capacity;
    size_t left_out;
    int file; /* the one that is being written, or -1 */
    uint64_t at;
    bool same; /* so far it is what is there already */
};

int tree_open(int folder_fd, const char *name, int flags, unsigned mode)
{
    struct open_how how = {
        .flags = (unsigned)flags | O_CLOEXEC | O_NOFOLLOW,
        .mode = flags & O_CREAT ? mode : 0,
        .resolve =
            RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    long fd = syscall(SYS_openat2, folder_fd, name, &how, sizeof(how));
    return fd < 0 ? -errno : (int)fd;
}

/* ---- taking away */

static int remove_deep(int folder_fd, const char *name, int depth)
{
    if (unlinkat(folder_fd, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    int below = errno == EISDIR || errno == EPERM
                    ? tree_open(folder_fd, name, O_RDONLY | O_DIRECTORY, 0)
                    : -errno;
    DIR *list = below >= 0 && depth > 0 ? fdopendir(below) : NULL;
    if (list == NULL) {
        if (below >= 0) {
            close(below);
        }
        return below < 0 ? below : -ELOOP;
    }
    int rc = 0;
    for (const struct dirent *entry; rc == 0 && (entry = readdir(list)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            rc = remove_deep(dirfd(list), entry->d_name, depth - 1);
        }
    }
    closedir(list);
    return rc == 0 && unlinkat(folder_fd, name, AT_REMOVEDIR) < 0 ? -errno : rc;
}

int tree_remove(int folder_fd, const char *name)
{
    return remove_deep(folder_fd, name, DEPTH_MAX + 1);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_seen(const struct unpack *unpack, const char *name)
{
    return unpack->seen_count > 0 && bsearch(&name, unpack->seen, unpack->seen_count,
                                             sizeof(*unpack->seen), by_name) != NULL;
}

/* `name` holds the folder's own, with its slash. */
static int take_away(const struct unpack *unpack, int folder_fd, char *name, int depth)
{
    size_t length = strlen(name);
    int copy = dup(folder_fd);
    DIR *list = copy >= 0 ? fdopendir(copy) : NULL;
    int rc = list == NULL ? -errno : 0;
    if (list == NULL && copy >= 0) {
        close(copy);
    }
    if (list != NULL) {
        rewinddir(list);
    }
    for (const struct dirent *entry; rc == 0 && (entry = readdir(list)) != NULL;) {
        size_t added = strlen(entry->d_name);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (length + added + 2 > NAME_MAX_BYTES + 2) {
            rc = -ENAMETOOLONG;
            break;
        }
        memcpy(name + length, entry->d_name, added + 1);
        if (!is_seen(unpack, name)) {
            rc = tree_remove(folder_fd, entry->d_name);
            continue;
        }
        int below = tree_open(folder_fd, entry->d_name, O_RDONLY | O_DIRECTORY, 0);
        if (below >= 0 && depth > 0) {
            memcpy(name + length + added, "/", 2);
            rc = take_away(unpack, below, name, depth - 1);
        }
        if (below >= 0) {
            close(below);
        }
    }
    name[length] = '\0';
    if (list != NULL) {
        closedir(list);
    }
    return rc;
}

/* ---- making */

/* "work/a/b" -> "a/b"; "" for the folder itself; NULL: it leads elsewhere. */
static const char *name_within(const struct unpack *unpack, char *name)
{
    size_t prefix = strlen(unpack->prefix), length = strlen(name);
    while (length > 0 && name[length - 1] == '/') {
        name[--length] = '\0';
    }
    if (strncmp(name, unpack->prefix, prefix) != 0 ||
        (name[prefix] != '/' && name[prefix] != '\0')) {
        return NULL;
    }
    if (name[prefix] == '\0') {
        return "";
    }
    const char *within = name + prefix + 1;
    for (const char *part = within;;) {
        size_t part_length = strcspn(part, "/");
        if (part_length == 0 || (part_length == 1 && part[0] == '.') ||
            (part_length == 2 && part[0] == '.' && part[1] == '.')) {
            return NULL;
        }
        if (part[part_length] == '\0') {
            return within;
        }
        part += part_length + 1;
    }
}

static bool is_too_long(const char *name)
{
    int depth = 0;
    for (const char *at = name; *at != '\0'; at++) {
        depth += *at == '/';
    }
    return depth >= DEPTH_MAX || strlen(name) > NAME_MAX_BYTES;
}

static int note_seen(struct unpack *unpack, const char *name)
{
    if (unpack->seen_count == unpack->seen_capacity) {
        size_t capacity = unpack->seen_capacity > 0 ? unpack->seen_capacity * 2 : 64;
        char **grown = reallocarray(unpack->seen, capacity, sizeof(*grown));
        if (grown == NULL) {
            return -ENOMEM;
        }
        unpack->seen = grown;
        unpack->seen_capacity = capacity;
    }
    unpack->seen[unpack->seen_count] = strdup(name);
    return unpack->seen[unpack->seen_count] != NULL ? (unpack->seen_count++, 0) : -ENOMEM;
}

/* The folder that it stands in; it came before, or it is no archive of a tree. */
static int open_parent(const struct unpack *unpack, const char *name, const char **base)
{
    const char *slash = strrchr(name, '/');
    char parent[NAME_MAX_BYTES + 1];
    *base = slash != NULL ? slash + 1 : name;
    if (slash == NULL) {
        return dup(unpack->folder);
    }
    snprintf(parent, sizeof(parent), "%.*s", (int)(slash - name), name);
    int fd = tree_open(unpack->folder, parent, O_RDONLY | O_DIRECTORY, 0);
    return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? -EPROTO : fd;
}

static int make_folder(int parent, const char *base)
{
    struct stat what;
    if (fstatat(parent, base, &what, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISDIR(what.st_mode)) {
            return 0;
        }
        if (unlinkat(parent, base, 0) < 0) {
            return -errno;
        }
    }
    return mkdirat(parent, base, 0700) < 0 ? -errno : 0;
}

/* What is there is compared first: a file that is the same is not written, and so is none
 * that the engine would take for an output. */
static int begin_file(struct unpack *unpack, int parent, const char *base, uint64_t size)
{
    struct stat what;
    unpack->file = tree_open(parent, base, O_RDWR, 0);
    if (unpack->file >= 0 && fstat(unpack->file, &what) == 0 && S_ISREG(what.st_mode) &&
        (uint64_t)what.st_size == size) {
        unpack->same = true;
        return 0;
    }
    if (unpack->file >= 0) {
        close(unpack->file);
    }
    unpack->same = false;
    int rc = tree_remove(parent, base);
    unpack->file = rc < 0 ? rc : tree_open(parent, base, O_RDWR | O_CREAT | O_EXCL, 0600);
    return unpack->file < 0 ? unpack->file : 0;
}

static int on_entry(void *user, const tar_entry *entry)
{
    struct unpack *unpack = user;
    char name[TAR_NAME_MAX + 1];
    const char *base;
    snprintf(name, sizeof(name), "%s", entry->name);
    const char *within = name_within(unpack, name);
    if (within == NULL) {
        return -EPROTO;
    }
    if (*within == '\0') {
        return entry->type == TAR_FOLDER ? 0 : -EPROTO;
    }
    if (unpack->entries_left == 0) {
        return -EMFILE;
    }
    unpack->entries_left--;
    if (entry->size > unpack->bytes_left) {
        return -EDQUOT;
    }
    unpack->bytes_left -= entry->size;
    if (entry->type == TAR_OTHER || is_too_long(within)) {
        unpack->left_out++;
        return 0;
    }
    int parent = open_parent(unpack, within, &base);
    if (parent < 0) {
        return parent;
    }
    int rc = note_seen(unpack, within);
    if (rc == 0) {
        unpack->at = 0;
        rc = entry->type == TAR_FOLDER ? make_folder(parent, base)
                                       : begin_file(unpack, parent, base, entry->size);
    }
    close(parent);
    return rc;
}

static int on_data(void *user, const char *data, size_t length)
{
    struct unpack *unpack = user;
    char there[4096];
    while (unpack->file >= 0 && length > 0) {
        size_t part = length < sizeof(there) ? length : sizeof(there);
        ssize_t n = unpack->same ? pread(unpack->file, there, part, (off_t)unpack->at)
                                 : pwrite(unpack->file, data, length, (off_t)unpack->at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (unpack->same && ((size_t)n != part || memcmp(there, data, part) != 0)) {
            unpack->same = false;
            continue;
        }
        unpack->at += (uint64_t)n;
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

static int on_file_end(void *user)
{
    /* What has this time is as it is inside: see mirror.c. */
    static const struct timespec in_step[2] = {{0, 0}, {0, 0}};
    struct unpack *unpack = user;
    int rc = 0;
    if (unpack->file >= 0) {
        rc = !unpack->same && futimens(unpack->file, in_step) < 0 ? -errno : 0;
        close(unpack->file);
        unpack->file = -1;
    }
    return rc;
}

static const tar_sink sink = {.entry = on_entry, .data = on_data, .end = on_file_end};

struct unpack *unpack_open(int folder_fd, const char *prefix, uint64_t bytes, uint64_t entries)
{
    struct unpack *unpack = calloc(1, sizeof(*unpack));
    if (unpack == NULL) {
        return NULL;
    }
    unpack->folder = folder_fd;
    unpack->prefix = prefix;
    unpack->bytes_left = bytes;
    unpack->entries_left = entries;
    unpack->file = -1;
    tar_open(&unpack->reader, &sink, unpack);
    return unpack;
}

int unpack_push(struct unpack *unpack, const char *data, size_t length)
{
    return tar_push(&unpack->reader, data, length);
}

int unpack_finish(struct unpack *unpack, size_t *left_out)
{
    char name[NAME_MAX_BYTES + 4] = "";
    if (!tar_close(&unpack->reader)) {
        return -EPROTO;
    }
    *left_out = unpack->left_out;
    if (unpack->seen_count > 1) {
        qsort(unpack->seen, unpack->seen_count, sizeof(*unpack->seen), by_name);
    }
    return take_away(unpack, unpack->folder, name, DEPTH_MAX);
}

void unpack_free(struct unpack *unpack)
{
    if (unpack == NULL) {
        return;
    }
    (void)tar_close(&unpack->reader);
    if (unpack->file >= 0) {
        close(unpack->file);
    }
    for (size_t i = 0; i < unpack->seen_count; i++) {
        free(unpack->seen[i]);
    }
    free(unpack->seen);
    free(unpack);
}
