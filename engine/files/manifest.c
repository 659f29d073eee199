/* manifest.c - what stands in the work directory, so that later what was made or changed
 * can be told by size, mtime, ctime and inode.
 *
 * Times alone leave a hole: the kernel stamps with a clock that ticks every 1 to 4 ms, so
 * that a file written, listed, and written again with the same size within one tick looks
 * unchanged (git calls such an entry racily clean). Entries whose ctime is not older than
 * the clock when the walk began are marked; small ones are told by their content. A larger
 * one counts as unchanged then, as does a write through a mapping, for which tmpfs sets no
 * time. */
#include "files/manifest.h"

#include "base/cleanup.h"
#include "files/beneath.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RACY_HASH_BUDGET = 256 << 10 }; /* bytes read for hashing in one walk: < 1 ms */

typedef struct walk {
    kiln_manifest *manifest;
    struct timespec began;
    off_t hash_budget;
    char name[KILN_NAME_MAX + NAME_MAX + 2];
} walk;

static bool before_or_at(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec <= b->tv_nsec;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Only for small regular files. */
static int hash_file(int dir_fd, const char *name, off_t size, unsigned char hash[32])
{
    auto_close int fd = kiln_open_beneath(dir_fd, name, O_RDONLY, 0, true);
    struct stat st;
    if (fd < 0) {
        return fd;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return -EINVAL;
    }
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, 32);
    unsigned char chunk[16384];
    off_t left = size;
    while (left > 0) {
        size_t want = left < (off_t)sizeof(chunk) ? (size_t)left : sizeof(chunk);
        ssize_t got = read(fd, chunk, want);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        crypto_generichash_update(&state, chunk, (size_t)got);
        left -= got;
    }
    crypto_generichash_final(&state, hash, 32);
    return 0;
}

static kiln_manifest_entry *add_entry(kiln_manifest *manifest, const char *name,
                                      const struct stat *st)
{
    if (manifest->count == manifest->capacity) {
        size_t capacity = manifest->capacity > 0 ? manifest->capacity * 2 : 16;
        kiln_manifest_entry *entries =
            reallocarray(manifest->entries, capacity, sizeof(*entries));
        if (entries == NULL) {
            return NULL;
        }
        manifest->entries = entries;
        manifest->capacity = capacity;
    }
    kiln_manifest_entry *entry = &manifest->entries[manifest->count];
    *entry = (kiln_manifest_entry){
        .name = strdup(name),
        .mode = st->st_mode,
        .links = st->st_nlink,
        .inode = st->st_ino,
        .size = st->st_size,
        .mtime = st->st_mtim,
        .ctime = st->st_ctim,
    };
    if (entry->name == NULL) {
        return NULL;
    }
    manifest->count++;
    return entry;
}

static int walk_folder(walk *w, int folder_fd, size_t length, int depth);

/* `length` is that of walk->name, the folder's own ("" or "a/b/"). 0 or -ENOMEM. */
static int walk_entry(walk *w, int folder_fd, const char *name, size_t length, int depth)
{
    kiln_manifest *manifest = w->manifest;
    size_t added = strlen(name);
    memcpy(w->name + length, name, added + 1);
    struct stat st;
    if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return 0; /* gone again */
    }
    bool too_deep = depth >= KILN_COLLECT_DEPTH_MAX || length + added >= KILN_NAME_MAX;
    if (S_ISDIR(st.st_mode) && !too_deep) {
        auto_close int below =
            kiln_open_beneath(folder_fd, name, O_RDONLY | O_DIRECTORY, 0, true);
        if (below >= 0) {
            w->name[length + added] = '/';
            w->name[length + added + 1] = '\0';
            return walk_folder(w, below, length + added + 1, depth + 1);
        }
        manifest->unreadable = true; /* and it is listed, as what it is: a folder */
    }
    kiln_manifest_entry *entry = add_entry(manifest, w->name, &st);
    if (entry == NULL) {
        return -ENOMEM;
    }
    entry->racy = S_ISREG(st.st_mode) && before_or_at(&w->began, &st.st_ctim);
    if (entry->racy && st.st_size <= w->hash_budget) {
        w->hash_budget -= st.st_size;
        entry->hashed = hash_file(folder_fd, name, st.st_size, entry->hash) == 0;
    }
    return 0;
}

/* Without a DIR: for the empty folder of most cells its five system calls and 32 KiB would
 * be half of the cost. */
static int walk_folder(walk *w, int folder_fd, size_t length, int depth)
{
    enum { LISTING = 8192 }; /* on the stack, KILN_COLLECT_DEPTH_MAX times at most */
    _Alignas(struct dirent64) char listing[LISTING];
    ssize_t listed;
    while ((listed = getdents64(folder_fd, listing, sizeof(listing))) > 0) {
        for (ssize_t at = 0; at < listed;) {
            const struct dirent64 *found = (const struct dirent64 *)(listing + at);
            at += found->d_reclen;
            if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0) {
                continue;
            }
            if (w->manifest->count >= KILN_MANIFEST_ENTRIES_MAX) {
                w->manifest->cut = true;
                return 0;
            }
            int rc = walk_entry(w, folder_fd, found->d_name, length, depth);
            if (rc < 0) {
                return rc;
            }
        }
    }
    if (listed < 0) {
        w->manifest->unreadable = true;
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const kiln_manifest_entry *)a)->name,
                  ((const kiln_manifest_entry *)b)->name);
}

kiln_manifest *kiln_manifest_walk(int work_fd, bool hash, kiln_error *err)
{
    auto_manifest kiln_manifest *manifest = calloc(1, sizeof(*manifest));
    if (manifest == NULL) {
        kiln_error_set(err, -ENOMEM, "work directory: out of memory");
        return NULL;
    }
    manifest->work_fd = -1;
    walk w = {.manifest = manifest, .hash_budget = hash ? RACY_HASH_BUDGET : -1};
    clock_gettime(CLOCK_REALTIME_COARSE, &w.began); /* what the kernel stamps with */
    if (walk_folder(&w, work_fd, 0, 0) < 0) {
        kiln_error_set(err, -ENOMEM, "work directory: cannot list it: out of memory");
        return NULL;
    }
    if (manifest->count > 1) {
        qsort(manifest->entries, manifest->count, sizeof(*manifest->entries), by_name);
    }
    return kiln_steal(manifest);
}

kiln_manifest *kiln_manifest_take(int root_fd, const char *area, kiln_error *err)
{
    auto_close int work_fd = kiln_workdir_open(root_fd, area, err);
    if (work_fd < 0) {
        return NULL;
    }
    auto_manifest kiln_manifest *manifest = kiln_manifest_walk(work_fd, true, err);
    if (manifest != NULL && !kiln_manifest_own(manifest, &work_fd)) {
        kiln_error_set(err, errno, "session: cannot look at its %s/", area);
        return NULL;
    }
    return kiln_steal(manifest);
}

bool kiln_manifest_own(kiln_manifest *manifest, int *work_fd)
{
    struct stat st;
    if (fstat(*work_fd, &st) < 0) {
        return false;
    }
    manifest->work_fd = kiln_steal_fd(work_fd);
    manifest->device = st.st_dev;
    manifest->inode = st.st_ino;
    return true;
}

bool kiln_manifest_is_of(const kiln_manifest *manifest, int root_fd, const char *area)
{
    struct stat st;
    return manifest->work_fd >= 0 && fstatat(root_fd, area, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           st.st_dev == manifest->device && st.st_ino == manifest->inode &&
           (st.st_mode & 0700) == 0700; /* else kiln_workdir_open gives them back */
}

void kiln_manifest_free(kiln_manifest *manifest)
{
    if (manifest == NULL) {
        return;
    }
    for (size_t i = 0; i < manifest->count; i++) {
        free(manifest->entries[i].name);
    }
    if (manifest->work_fd >= 0) {
        close(manifest->work_fd);
    }
    free(manifest->entries);
    free(manifest);
}

const kiln_manifest_entry *kiln_manifest_find(const kiln_manifest *manifest, const char *name)
{
    if (manifest == NULL || manifest->count == 0) {
        return NULL;
    }
    /* The key is only read. */
    kiln_manifest_entry key = {.name = (char *)(uintptr_t)name};
    return bsearch(&key, manifest->entries, manifest->count, sizeof(key), by_name);
}

bool kiln_manifest_same(int work_fd, const kiln_manifest_entry *before,
                        const kiln_manifest_entry *now)
{
    if (before->inode != now->inode || before->size != now->size ||
        ((before->mode ^ now->mode) & S_IFMT) != 0 || !same_time(&before->mtime, &now->mtime) ||
        !same_time(&before->ctime, &now->ctime)) {
        return false;
    }
    unsigned char hash[32];
    if (before->hashed && hash_file(work_fd, now->name, now->size, hash) == 0) {
        return memcmp(hash, before->hash, sizeof(hash)) == 0;
    }
    return true;
}
