/* collect.c - files out of a session's work directory. The folder they are copied to is the
 * user's; the folder they come from is the code's, and every name in it may become another
 * thing between two of our calls. */
#include "base/cleanup.h"
#include "base/write.h"
#include "files/beneath.h"
#include "files/manifest.h"
#include "files/workdir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
    REFUSED_LINES_MAX = 100,
    CHUNK = 256 << 10,
};
/* What is dense is bounded by the session's disk limit. Holes cost the code nothing, and us
 * as much as data. */
static const off_t FILE_SIZE_MAX = (off_t)1 << 30;
static const off_t HOLES_MAX = (off_t)256 << 20; /* of one execution */

typedef struct collector {
    int work_fd, out_fd;
    const char *out_path;
    json_t *output_files;
    void (*refused)(void *user, const char *name, const char *why);
    void *user;
    size_t collected, refusals, beyond;
    off_t holes_left;
    char *chunk;
} collector;

static void refuse(collector *c, const char *name, const char *why)
{
    char text[256];
    if (++c->refusals <= REFUSED_LINES_MAX && c->refused != NULL) {
        c->refused(c->user, kiln_printable_name(name, text, sizeof(text)), why);
    }
}

/* Why an entry of the listing is not collected, or NULL. */
static const char *refusal(const kiln_manifest_entry *entry)
{
    if (S_ISLNK(entry->mode)) {
        return "is a symbolic link, only regular files are collected";
    }
    if (S_ISFIFO(entry->mode)) {
        return "is a FIFO, only regular files are collected";
    }
    if (S_ISSOCK(entry->mode)) {
        return "is a socket, only regular files are collected";
    }
    if (S_ISCHR(entry->mode) || S_ISBLK(entry->mode)) {
        return "is a device, only regular files are collected";
    }
    if (S_ISDIR(entry->mode)) {
        return "is a folder that cannot be read or lies too deep";
    }
    if (!S_ISREG(entry->mode)) {
        return "is not a regular file";
    }
    if (entry->links > 1) {
        return "has several hard links";
    }
    if (!kiln_name_is_plain(entry->name)) {
        return "has a name with control characters or not in UTF-8";
    }
    kiln_error unused;
    if (kiln_file_name_check(entry->name, &unused) < 0) {
        return "has a name that cannot be a file's in a result";
    }
    return NULL;
}

static bool same_content_stamp(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* A file in the making, under a name of ours beside the one it will take. */
typedef struct new_file {
    int parent_fd, fd;
    const char *base;
    char temporary[32];
} new_file;

static void discard_new_file(new_file *file)
{
    if (file->fd >= 0) {
        unlinkat(file->parent_fd, file->temporary, 0);
        close(file->fd);
    }
    if (file->parent_fd >= 0) {
        close(file->parent_fd);
    }
}
#define auto_new_file __attribute__((cleanup(discard_new_file)))

static int begin_new_file(new_file *file, int out_fd, const char *name)
{
    file->parent_fd = kiln_open_parent(out_fd, name, &file->base, false);
    if (file->parent_fd < 0) {
        return file->parent_fd;
    }
    snprintf(file->temporary, sizeof(file->temporary), ".kiln-%08" PRIx32 "%08" PRIx32,
             randombytes_random(), randombytes_random());
    file->fd = kiln_open_beneath(file->parent_fd, file->temporary, O_WRONLY | O_CREAT | O_EXCL,
                                 0644, false);
    return file->fd < 0 ? file->fd : 0;
}

/* `flags` as renameat2's. */
static int finish_new_file(new_file *file, const char *base, unsigned flags)
{
    if (renameat2(file->parent_fd, file->temporary, file->parent_fd, base, flags) < 0) {
        /* NFS and a few others know no flags; a link is as exclusive. */
        if (errno != EINVAL || flags != RENAME_NOREPLACE ||
            linkat(file->parent_fd, file->temporary, file->parent_fd, base, 0) < 0) {
            return -errno;
        }
        unlinkat(file->parent_fd, file->temporary, 0);
    }
    close(kiln_steal_fd(&file->fd));
    return 0;
}

static void to_hex(const unsigned char hash[crypto_hash_sha256_BYTES],
                   char hex[crypto_hash_sha256_BYTES * 2 + 1])
{
    sodium_bin2hex(hex, crypto_hash_sha256_BYTES * 2 + 1, hash, crypto_hash_sha256_BYTES);
}

static int append_output_file(json_t *output_files, const char *out_path, const char *name,
                              const char *mime_type, int64_t size,
                              const unsigned char hash[crypto_hash_sha256_BYTES])
{
    char hex[crypto_hash_sha256_BYTES * 2 + 1];
    to_hex(hash, hex);
    auto_json json_t *path =
        out_path != NULL ? json_sprintf("%s/%s", out_path, name) : json_null();
    auto_json json_t *file =
        json_pack("{s:s, s:O, s:s, s:I, s:s}", "name", name, "path", path, "mime_type",
                  mime_type, "size", (json_int_t)size, "sha256", hex);
    return file == NULL || json_array_append(output_files, file) < 0 ? -ENOMEM : 0;
}

/* One pass reads, hashes and writes, so that the hash is of what was written, whatever
 * another process does to the file meanwhile. (copy_file_range would need a second one.) */
static const char *copy_and_hash(collector *c, int from, int to, off_t size,
                                 unsigned char hash[crypto_hash_sha256_BYTES])
{
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    off_t left = size;
    while (left > 0) {
        ssize_t got = read(from, c->chunk, left < CHUNK ? (size_t)left : CHUNK);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return "cannot be read";
        }
        if (got == 0) {
            return "was changed while it was read";
        }
        crypto_hash_sha256_update(&state, (const unsigned char *)c->chunk, (size_t)got);
        if (to >= 0 && kiln_write_all(to, c->chunk, (size_t)got) < 0) {
            return "cannot be written to the output folder";
        }
        left -= got;
    }
    crypto_hash_sha256_final(&state, hash);
    return NULL;
}

/* 0, 1 when refused (and told), or -ENOMEM. */
static int collect_file(collector *c, const kiln_manifest_entry *entry)
{
    /* O_NONBLOCK: a FIFO that took the file's place, or a lease, must not hold us. */
    auto_close int fd = kiln_open_beneath(c->work_fd, entry->name, O_RDONLY, 0, true);
    struct stat st, after;
    if (fd == -ENOENT) {
        return 1; /* gone again: not a result */
    }
    if (fd < 0) {
        refuse(c, entry->name,
               fd == -EACCES   ? "may not be read"
               : fd == -EAGAIN ? "is held by a lease"
                               : "was replaced while it was collected");
        return 1;
    }
    if (fstat(fd, &st) < 0) {
        refuse(c, entry->name, "cannot be looked at");
        return 1;
    }
    kiln_manifest_entry now = {.name = entry->name, .mode = st.st_mode, .links = st.st_nlink};
    const char *why = refusal(&now);
    char line[128];
    off_t holes = st.st_size - (off_t)st.st_blocks * 512;
    holes = holes > 0 ? holes : 0;
    if (why == NULL && st.st_size > FILE_SIZE_MAX) {
        snprintf(line, sizeof(line), "is too large: %" PRId64 " bytes, at most %" PRId64,
                 (int64_t)st.st_size, (int64_t)FILE_SIZE_MAX);
        why = line;
    } else if (why == NULL && holes > c->holes_left) {
        snprintf(line, sizeof(line), "is sparse: %" PRId64 " bytes of holes are too many",
                 (int64_t)holes);
        why = line;
    }
    if (why != NULL) {
        refuse(c, entry->name, why);
        return 1;
    }
    c->holes_left -= holes;

    auto_new_file new_file file = {-1, -1, NULL, ""};
    if (c->out_fd >= 0) {
        int rc = begin_new_file(&file, c->out_fd, entry->name);
        if (rc < 0) {
            snprintf(line, sizeof(line), "cannot be made in the output folder: %s",
                     strerror(-rc));
            refuse(c, entry->name, line);
            return 1;
        }
    }
    unsigned char hash[crypto_hash_sha256_BYTES];
    why = copy_and_hash(c, fd, file.fd, st.st_size, hash);
    if (why == NULL && (fstat(fd, &after) < 0 || !same_content_stamp(&st, &after))) {
        why = "was changed while it was read";
    }
    if (why == NULL && c->out_fd >= 0) {
        int rc = finish_new_file(&file, file.base, 0);
        if (rc < 0) {
            snprintf(line, sizeof(line), "cannot take its place in the output folder: %s",
                     strerror(-rc));
            why = line;
        }
    }
    if (why != NULL) {
        refuse(c, entry->name, why);
        return 1;
    }
    return append_output_file(c->output_files, c->out_fd >= 0 ? c->out_path : NULL, entry->name,
                              kiln_mime_type(entry->name), st.st_size, hash);
}

static int collect_changes(collector *c, const kiln_manifest *before, const kiln_manifest *now)
{
    for (size_t i = 0; i < now->count; i++) {
        const kiln_manifest_entry *entry = &now->entries[i];
        const kiln_manifest_entry *was = kiln_manifest_find(before, entry->name);
        if (was != NULL && kiln_manifest_same(c->work_fd, was, entry)) {
            continue;
        }
        const char *why = refusal(entry);
        if (why != NULL) {
            refuse(c, entry->name, why);
            continue;
        }
        if (c->collected >= KILN_COLLECT_FILES_MAX) {
            c->beyond++;
            continue;
        }
        int rc = collect_file(c, entry);
        if (rc < 0) {
            return rc;
        }
        c->collected += rc == 0;
    }
    return 0;
}

/* The counts that stand for what was not told line by line. */
static void tell_counts(const collector *c, const kiln_manifest *now)
{
    char line[160];
    if (c->refused == NULL) {
        return;
    }
    if (c->refusals > REFUSED_LINES_MAX) {
        snprintf(line, sizeof(line), "%zu more were refused", c->refusals - REFUSED_LINES_MAX);
        c->refused(c->user, "output files", line);
    }
    if (c->beyond > 0) {
        snprintf(line, sizeof(line), "%zu more than the %d that are collected were left",
                 c->beyond, KILN_COLLECT_FILES_MAX);
        c->refused(c->user, "output files", line);
    }
    if (now->cut) {
        snprintf(line, sizeof(line), "the work directory holds more than %d entries",
                 KILN_MANIFEST_ENTRIES_MAX);
        c->refused(c->user, "output files", line);
    }
}

/* As for most cells: told by the descriptor that is open already, without opening the folder
 * and giving it back its permissions. */
static bool was_and_is_empty(const kiln_manifest *before, kiln_error *err)
{
    if (before == NULL || before->count > 0 || before->unreadable || before->work_fd < 0 ||
        lseek(before->work_fd, 0, SEEK_SET) < 0) {
        return false;
    }
    auto_manifest kiln_manifest *now = kiln_manifest_walk(before->work_fd, false, err);
    return now != NULL && now->count == 0 && !now->unreadable;
}

int kiln_workdir_collect(int root_fd, const char *area, kiln_manifest **look, int out_fd,
                         const char *out_path, json_t *output_files,
                         void (*refused)(void *user, const char *name, const char *why),
                         void *user, kiln_error *err)
{
    auto_manifest kiln_manifest *before = kiln_steal(*look);
    if (was_and_is_empty(before, err)) {
        *look = kiln_steal(before);
        return 0;
    }
    auto_close int work_fd = kiln_workdir_open(root_fd, area, err);
    if (work_fd < 0) {
        return work_fd;
    }
    auto_manifest kiln_manifest *now = kiln_manifest_walk(work_fd, true, err);
    if (now == NULL) {
        return -ENOMEM;
    }
    auto_free char *chunk = malloc(CHUNK);
    int rc = chunk == NULL || sodium_init() < 0 ? -ENOMEM : 0;
    collector c = {
        .work_fd = work_fd,
        .out_fd = out_fd,
        .out_path = out_path,
        .output_files = output_files,
        .refused = refused,
        .user = user,
        .holes_left = HOLES_MAX,
        .chunk = chunk,
    };
    if (rc == 0) {
        rc = collect_changes(&c, before, now);
        tell_counts(&c, now);
    }
    if (rc < 0) {
        return kiln_error_set(err, rc, "output files: out of memory");
    }
    if (now->count <= KILN_MANIFEST_KEPT_MAX && !now->cut && !now->unreadable &&
        kiln_manifest_own(now, &work_fd)) {
        *look = kiln_steal(now);
    }
    return 0;
}

/* "plot.png" -> "plot-2.png" */
static int numbered_name(char *text, size_t size, const char *name, int number)
{
    const char *slash = strrchr(name, '/');
    const char *dot = strrchr(slash != NULL ? slash + 1 : name, '.');
    if (dot == NULL || dot == name || dot[-1] == '/') {
        dot = name + strlen(name);
    }
    int length = number < 2
                     ? snprintf(text, size, "%s", name)
                     : snprintf(text, size, "%.*s-%d%s", (int)(dot - name), name, number, dot);
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

static bool name_taken(const json_t *output_files, const char *name)
{
    size_t i;
    json_t *file;
    json_array_foreach(output_files, i, file)
    {
        const char *other = json_string_value(json_object_get(file, "name"));
        if (other != NULL && strcmp(other, name) == 0) {
            return true;
        }
    }
    return false;
}

int kiln_output_file_add(int out_fd, const char *out_path, const char *name,
                         const char *mime_type, const void *data, size_t length,
                         json_t *output_files, kiln_error *err)
{
    int rc = kiln_file_name_check(name, err);
    if (rc < 0) {
        return rc;
    }
    if (sodium_init() < 0) {
        return kiln_error_set(err, -EIO, "output file %s: no source of random numbers", name);
    }
    auto_new_file new_file file = {-1, -1, NULL, ""};
    if (out_fd >= 0) {
        rc = begin_new_file(&file, out_fd, name);
        rc = rc == 0 ? kiln_write_all(file.fd, data, length) : rc;
        if (rc < 0) {
            return kiln_error_errno(err, rc, "output file %s/%s: cannot write it", out_path,
                                    name);
        }
    }
    char taken[KILN_NAME_MAX + 16];
    for (int number = 1;; number++) {
        if (number > KILN_COLLECT_FILES_MAX) {
            return kiln_error_set(err, -EEXIST, "output file %s: %d files of that name exist",
                                  name, KILN_COLLECT_FILES_MAX);
        }
        rc = numbered_name(taken, sizeof(taken), name, number);
        if (rc < 0) {
            return kiln_error_errno(err, rc, "output file %s", name);
        }
        if (name_taken(output_files, taken)) {
            continue;
        }
        if (out_fd < 0) {
            break;
        }
        const char *slash = strrchr(taken, '/');
        rc = finish_new_file(&file, slash != NULL ? slash + 1 : taken, RENAME_NOREPLACE);
        if (rc == 0) {
            break;
        }
        if (rc != -EEXIST) {
            return kiln_error_errno(err, rc, "output file %s/%s: cannot make it", out_path,
                                    taken);
        }
    }
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, data, length);
    rc = append_output_file(output_files, out_fd >= 0 ? out_path : NULL, taken, mime_type,
                            (int64_t)length, hash);
    return rc < 0 ? kiln_error_set(err, rc, "output file %s: out of memory", name) : 0;
}
