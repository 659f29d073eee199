#include "connection/cache.h"

#include "base/cleanup.h"
#include "base/write.h"
#include "connection/origin.h"
#include "files/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* 32 hexadecimal digits: no name of a ref or an address is a name of a file. */
static void short_hash(const char *text, char out[33])
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, (const unsigned char *)text, strlen(text));
    sodium_bin2hex(out, 33, hash, 16);
}

static int make_folders(char *path, kiln_error *err)
{
    for (char *slash = path + 1;; slash++) {
        slash = strchrnul(slash, '/');
        char kept = *slash;
        *slash = '\0';
        int failure = mkdir(path, 0700) < 0 && errno != EEXIST ? errno : 0;
        if (failure != 0) {
            return kiln_error_errno(err, failure, "the connections' cache %s", path);
        }
        *slash = kept;
        if (kept == '\0') {
            return 0;
        }
    }
}

/* What another user could change would become our code. */
static int check_owner(const char *path, kiln_error *err)
{
    struct stat st;
    if (lstat(path, &st) < 0) {
        return kiln_error_errno(err, errno, "the connections' cache %s", path);
    }
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
        return kiln_error_set(err, EPERM,
                              "the connections' cache %s: must be a folder of this user's that "
                              "nobody else can write",
                              path);
    }
    return 0;
}

int kiln_cache_open(kiln_cache *cache, const char *folder, const char *url, kiln_error *err)
{
    const char *base = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    char hash[33];
    int length;
    short_hash(url, hash);
    if (folder != NULL && folder[0] != '\0') {
        length = snprintf(cache->folder, sizeof(cache->folder), "%s/%s", folder, hash);
    } else if (base != NULL && base[0] == '/') {
        length = snprintf(cache->folder, sizeof(cache->folder), "%s/kiln/connections/%s", base,
                          hash);
    } else if (home != NULL && home[0] == '/') {
        length = snprintf(cache->folder, sizeof(cache->folder), "%s/.cache/kiln/connections/%s",
                          home, hash);
    } else {
        return kiln_error_set(err, ENOENT,
                              "the connections' cache: neither HOME nor XDG_CACHE_HOME is set; "
                              "name a folder by [connection NAME] cache");
    }
    if (length < 0 || (size_t)length >= sizeof(cache->folder)) {
        return kiln_error_set(err, ENAMETOOLONG, "the connections' cache: path is too long");
    }
    int rc = make_folders(cache->folder, err);
    return rc < 0 ? rc : check_owner(cache->folder, err);
}

bool kiln_cache_has(const kiln_cache *cache, const char *commit, char *path, size_t size)
{
    struct stat st;
    snprintf(path, size, "%s/%s.git", cache->folder, commit);
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *kiln_cache_begin(const kiln_cache *cache, kiln_error *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s/new-XXXXXX", cache->folder) < 0) {
        kiln_error_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    if (mkdtemp(path) == NULL) {
        kiln_error_errno(err, errno, "the connections' cache %s", cache->folder);
        free(path);
        return NULL;
    }
    return path;
}

void kiln_cache_drop(const char *begun)
{
    kiln_folder_remove(begun);
}

int kiln_cache_keep(const kiln_cache *cache, const char *begun, const char *commit,
                    kiln_error *err)
{
    char path[KILN_CACHE_PATH_MAX];
    if (kiln_cache_has(cache, commit, path, sizeof(path))) {
        kiln_cache_drop(begun);
        return 0;
    }
    if (rename(begun, path) == 0) {
        return 0;
    }
    if (errno == ENOTEMPTY || errno == EEXIST) {
        kiln_cache_drop(begun);
        return 0;
    }
    return kiln_error_errno(err, errno, "the connections' cache %s", path);
}

static __thread uint64_t largest; /* nftw hands nothing through */

static int look_at(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)path, (void)at;
    if (type == FTW_F && (uint64_t)st->st_size > largest) {
        largest = (uint64_t)st->st_size;
    }
    return 0;
}

bool kiln_cache_reached(const char *begun, uint64_t limit)
{
    largest = 0;
    nftw(begun, look_at, 16, FTW_PHYS);
    return largest >= limit;
}

static void ref_path(const kiln_cache *cache, const char *ref, char *path, size_t size)
{
    char hash[33];
    short_hash(ref, hash);
    snprintf(path, size, "%s/ref-%s", cache->folder, hash);
}

int kiln_cache_set_ref(const kiln_cache *cache, const char *ref, const char *commit,
                       kiln_error *err)
{
    char path[KILN_CACHE_PATH_MAX], fresh[KILN_CACHE_PATH_MAX + 8];
    ref_path(cache, ref, path, sizeof(path));
    snprintf(fresh, sizeof(fresh), "%s.XXXXXX", path);
    auto_close int fd = mkostemp(fresh, O_CLOEXEC);
    int rc = fd < 0 ? -errno : kiln_write_all(fd, commit, strlen(commit));
    if (rc == 0 && rename(fresh, path) < 0) {
        rc = -errno;
    }
    if (rc < 0) {
        if (fd >= 0) {
            unlink(fresh);
        }
        return kiln_error_errno(err, rc, "the connections' cache %s", path);
    }
    return 0;
}

bool kiln_cache_ref(const kiln_cache *cache, const char *ref, char commit[KILN_COMMIT_MAX + 1])
{
    char path[KILN_CACHE_PATH_MAX];
    ref_path(cache, ref, path, sizeof(path));
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t got = fd < 0 ? -1 : read(fd, commit, KILN_COMMIT_MAX);
    commit[got > 0 ? got : 0] = '\0';
    return got > 0 && kiln_ref_is_commit(commit);
}
