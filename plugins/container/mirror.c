#include "mirror.h"

#include "unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "kiln-files-"

enum { NAME_MAX_BYTES = 1024, DEPTH_MAX = 40 };

/* What the container is known to have. */
typedef struct item {
    char *name;
    bool folder;
    ino_t inode;
    off_t size;
    struct timespec mtime, ctime;
    mode_t mode;
} item;

typedef struct items {
    item *list;
    size_t count, capacity;
} items;

struct mirror {
    int fd; /* locked as long as its engine lives */
    char path[512];
    items sent; /* by name */
};

/* ---- the folder */

static const char *place(void)
{
    const char *folder = getenv("TMPDIR");
    return folder != NULL && folder[0] == '/' ? folder : "/tmp";
}

static void free_items(items *all)
{
    for (size_t i = 0; i < all->count; i++) {
        free(all->list[i].name);
    }
    free(all->list);
    *all = (items){0};
}

/* A sweep may take it away before it is locked. */
static int make_folder(struct mirror *mirror)
{
    for (int attempt = 0; attempt < 8; attempt++) {
        struct stat what;
        snprintf(mirror->path, sizeof(mirror->path), "%.400s/" PREFIX "XXXXXX", place());
        if (mkdtemp(mirror->path) == NULL) {
            return -errno;
        }
        mirror->fd = open(mirror->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (mirror->fd >= 0 && flock(mirror->fd, LOCK_EX | LOCK_NB) == 0 &&
            fstat(mirror->fd, &what) == 0 && what.st_nlink > 0) {
            return 0;
        }
        if (mirror->fd >= 0) {
            close(mirror->fd);
        }
    }
    return -EAGAIN;
}

struct mirror *mirror_open(const char **why)
{
    struct mirror *mirror = calloc(1, sizeof(*mirror));
    int rc = mirror == NULL ? -ENOMEM : make_folder(mirror);
    if (rc < 0) {
        *why = rc == -ENOMEM ? "out of memory" : "no folder for them can be made in TMPDIR";
        free(mirror);
        return NULL;
    }
    return mirror;
}

static void remove_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char parent[512];
    snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
    int fd = open(parent[0] != '\0' ? parent : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        tree_remove(fd, slash + 1);
        close(fd);
    }
}

void mirror_free(struct mirror *mirror)
{
    if (mirror == NULL) {
        return;
    }
    remove_folder(mirror->path);
    close(mirror->fd);
    free_items(&mirror->sent);
    free(mirror);
}

int mirror_fd(const struct mirror *mirror)
{
    return mirror->fd;
}

void mirror_sweep(void)
{
    DIR *list = opendir(place());
    if (list == NULL) {
        return;
    }
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;) {
        struct stat what;
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0) {
            continue;
        }
        int fd =
            openat(dirfd(list), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && fstat(fd, &what) == 0 && what.st_uid == geteuid() &&
            flock(fd, LOCK_EX | LOCK_NB) == 0) {
            tree_remove(dirfd(list), entry->d_name);
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    closedir(list);
}

/* ---- what is in it */

static int add_item(items *all, const char *name, const struct stat *what)
{
    if (all->count == all->capacity) {
        size_t capacity = all->capacity > 0 ? all->capacity * 2 : 64;
        item *grown = reallocarray(all->list, capacity, sizeof(*grown));
        if (grown == NULL) {
            return -ENOMEM;
        }
        all->list = grown;
        all->capacity = capacity;
    }
    item *added = &all->list[all->count];
    *added = (item){
        .name = strdup(name),
        .folder = S_ISDIR(what->st_mode),
        .inode = what->st_ino,
        .size = what->st_size,
        .mtime = what->st_mtim,
        .ctime = what->st_ctim,
        .mode = what->st_mode & 0777,
    };
    if (added->name == NULL) {
        return -ENOMEM;
    }
    all->count++;
    return 0;
}

static int walk(items *all, int folder_fd, char *name, int depth)
{
    size_t length = strlen(name);
    int copy = tree_open(folder_fd, ".", O_RDONLY | O_DIRECTORY, 0);
    DIR *list = copy >= 0 ? fdopendir(copy) : NULL;
    if (list == NULL) {
        if (copy >= 0) {
            close(copy);
        }
        return copy < 0 ? copy : -ENOMEM;
    }
    int rc = 0;
    for (const struct dirent *entry; rc == 0 && (entry = readdir(list)) != NULL;) {
        struct stat what;
        size_t added = strlen(entry->d_name);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (length + added > NAME_MAX_BYTES || depth == 0 ||
            fstatat(dirfd(list), entry->d_name, &what, AT_SYMLINK_NOFOLLOW) < 0) {
            rc = -ENAMETOOLONG;
            break;
        }
        memcpy(name + length, entry->d_name, added + 1);
        rc = add_item(all, name, &what);
        int below = rc == 0 && S_ISDIR(what.st_mode)
                        ? tree_open(dirfd(list), entry->d_name, O_RDONLY | O_DIRECTORY, 0)
                        : -1;
        if (below >= 0) {
            memcpy(name + length + added, "/", 2);
            rc = walk(all, below, name, depth - 1);
            close(below);
        }
    }
    name[length] = '\0';
    closedir(list);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const item *)a)->name, ((const item *)b)->name);
}

/* By name, so that a folder comes before what is in it. */
static int look(const struct mirror *mirror, items *all)
{
    char name[NAME_MAX_BYTES + 4] = "";
    int rc = walk(all, mirror->fd, name, DEPTH_MAX);
    if (rc < 0) {
        free_items(all);
    } else if (all->count > 1) {
        qsort(all->list, all->count, sizeof(*all->list), by_name);
    }
    return rc;
}

static const item *find(const items *all, const char *name)
{
    const item key = {.name = (char *)(uintptr_t)name}; /* only read */
    return all->count == 0 ? NULL : bsearch(&key, all->list, all->count, sizeof(key), by_name);
}

/* Unpacking gives what it writes the time 0. What the engine writes has the time of now, and
 * is a new inode; what was packed is known by its stamps. */
static bool is_known(const items *sent, const item *now)
{
    const item *was = find(sent, now->name);
    if (now->folder) {
        return was != NULL && was->folder;
    }
    if (now->mtime.tv_sec == 0 && now->mtime.tv_nsec == 0) {
        return true;
    }
    return was != NULL && !was->folder && was->inode == now->inode && was->size == now->size &&
           memcmp(&was->mtime, &now->mtime, sizeof(now->mtime)) == 0 &&
           memcmp(&was->ctime, &now->ctime, sizeof(now->ctime)) == 0;
}

/* ---- packing */

static int read_all(int fd, char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = read(fd, data, length);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

static int pack_item(const struct mirror *mirror, const item *one, tar_owner owner,
                     tar_buffer *tar)
{
    uint64_t size = one->folder ? 0 : (uint64_t)one->size;
    int rc = tar_begin(tar, one->name, one->folder, one->folder ? 0755 : one->mode, owner, size,
                       one->mtime.tv_sec);
    if (rc < 0 || size == 0) {
        return rc;
    }
    char *content = tar_content(tar, (size_t)size);
    if (content == NULL) {
        return -ENOMEM;
    }
    int fd = tree_open(mirror->fd, one->name, O_RDONLY, 0);
    if (fd < 0) {
        return fd;
    }
    rc = read_all(fd, content, (size_t)size);
    close(fd);
    return rc;
}

static int list_gone(const items *sent, const items *now, char ***gone)
{
    size_t count = 0;
    char **names = calloc(sent->count + 1, sizeof(*names));
    if (names == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < sent->count; i++) {
        const item *is = find(now, sent->list[i].name);
        if (is == NULL || is->folder != sent->list[i].folder) {
            names[count] = strdup(sent->list[i].name);
            if (names[count] == NULL) {
                return -ENOMEM; /* the names are lost, as is everything then */
            }
            count++;
        }
    }
    if (count == 0) {
        free(names);
        names = NULL;
    }
    *gone = names;
    return 0;
}

int mirror_pack(struct mirror *mirror, tar_owner owner, uint64_t most, tar_buffer *tar,
                char ***gone)
{
    items now = {0};
    uint64_t total = 0;
    *gone = NULL;
    int rc = look(mirror, &now);
    for (size_t i = 0; rc == 0 && i < now.count; i++) {
        total += now.list[i].folder ? 0 : (uint64_t)now.list[i].size;
        rc = total > most ? -EDQUOT
             : !is_known(&mirror->sent, &now.list[i])
                 ? pack_item(mirror, &now.list[i], owner, tar)
                 : 0;
    }
    if (rc == 0 && tar->length > 0) {
        rc = tar_finish(tar);
    }
    if (rc == 0) {
        rc = list_gone(&mirror->sent, &now, gone);
    }
    free_items(&now);
    return rc;
}

int mirror_sent(struct mirror *mirror)
{
    items now = {0};
    int rc = look(mirror, &now);
    if (rc == 0) {
        free_items(&mirror->sent);
        mirror->sent = now;
    }
    return rc;
}
