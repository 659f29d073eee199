/* archive.c - pack and unpack, by libarchive: pax (POSIX.1-2001) within gzip. */
#include "operations.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARCHIVE "archive.tar.gz"

enum { FILES_MAX = 20000, TOLD_MAX = 100, NAME_MAX_BYTES = 1024 };

/* ---- pack */

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int copy_in(struct archive *to, const char *path)
{
    char buffer[65536];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t got = -1;
    while (fd >= 0 && (got = read(fd, buffer, sizeof(buffer))) > 0) {
        if (archive_write_data(to, buffer, (size_t)got) != got) {
            got = -1;
            break;
        }
    }
    if (fd >= 0)
        close(fd);
    return got == 0 ? 0 : -1;
}

/* Name and content are all that counts: no owner, no time, no mode. */
static int add_file(struct archive *to, const FTSENT *file, json_t *answer)
{
    const char *name = file->fts_path + strlen("in/");
    struct archive_entry *entry = archive_entry_new();
    if (entry == NULL)
        return bundle_fail(answer, "out of memory");
    archive_entry_set_pathname(entry, name);
    archive_entry_set_size(entry, file->fts_statp->st_size);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_mtime(entry, 0, 0);
    int rc = 0;
    if (archive_write_header(to, entry) != ARCHIVE_OK || copy_in(to, file->fts_path) < 0) {
        const char *why = archive_error_string(to);
        rc = bundle_fail(answer, "%s: %s", name, why != NULL ? why : strerror(errno));
    }
    archive_entry_free(entry);
    return rc;
}

static int add_files(struct archive *to, json_t *answer)
{
    char folder[] = "in";
    char *const paths[] = {folder, NULL};
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    FTSENT *file;
    int rc = tree != NULL ? 0 : bundle_fail(answer, "in: %s", strerror(errno));
    json_int_t count = 0;
    while (rc == 0 && (file = fts_read(tree)) != NULL) {
        if (file->fts_info == FTS_F) {
            count++;
            rc = add_file(to, file, answer);
        } else if (file->fts_info != FTS_D && file->fts_info != FTS_DP) {
            rc = bundle_fail(answer, "%s: is no regular file", file->fts_path);
        }
    }
    if (tree != NULL)
        fts_close(tree);
    json_object_set_new(answer, "files", json_integer(count));
    return rc;
}

int bundle_pack(json_t *answer)
{
    struct archive *to = archive_write_new();
    if (to == NULL)
        return bundle_fail(answer, "out of memory");
    int rc = 0;
    if (archive_write_set_format_pax_restricted(to) != ARCHIVE_OK ||
        archive_write_add_filter_gzip(to) != ARCHIVE_OK ||
        archive_write_set_options(to, "gzip:!timestamp") != ARCHIVE_OK ||
        archive_write_open_filename(to, ARCHIVE) != ARCHIVE_OK)
        rc = bundle_fail(answer, "%s", archive_error_string(to));
    else
        rc = add_files(to, answer);
    if (rc == 0 && archive_write_close(to) != ARCHIVE_OK)
        rc = bundle_fail(answer, "%s", archive_error_string(to));
    archive_write_free(to);
    return rc;
}

/* ---- unpack */

/* One relative path without "", ".", "..". */
static bool good_name(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > NAME_MAX_BYTES || name[0] == '/' || name[length - 1] == '/')
        return false;
    for (const char *part = name;; part++) {
        size_t part_length = strcspn(part, "/");
        if (part_length == 0 || (part_length == 1 && part[0] == '.') ||
            (part_length == 2 && strncmp(part, "..", 2) == 0))
            return false;
        part += part_length;
        if (*part == '\0')
            return true;
    }
}

/* Opens out/NAME, its folders made. Nothing but folders and files of ours is below out. */
static int open_out(const char *name)
{
    char path[NAME_MAX_BYTES + 8];
    snprintf(path, sizeof(path), "out/%s", name);
    for (char *slash = strchr(path + 4, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return -1;
        *slash = '/';
    }
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
}

static void leave_out(json_t *answer, const char *name, const char *why)
{
    json_t *list = json_object_get(answer, "left_out");
    if (json_array_size(list) < TOLD_MAX) {
        json_t *text = json_sprintf("%s: %s", name, why);
        json_array_append_new(list, text != NULL ? text : json_string("a name: not UTF-8"));
    }
}

static int take_file(struct archive *from, const char *name, json_t *answer)
{
    int fd = open_out(name);
    if (fd < 0) {
        if (errno != EEXIST && errno != ENOTDIR && errno != EISDIR)
            return bundle_fail(answer, "%s: %s", name, strerror(errno));
        leave_out(answer, name, "is there twice");
        return 0;
    }
    int rc = 0;
    if (archive_read_data_into_fd(from, fd) != ARCHIVE_OK) {
        const char *why = archive_error_string(from);
        rc = bundle_fail(answer, "%s: %s", name, why != NULL ? why : "cannot be read");
    }
    close(fd);
    json_int_t count = json_integer_value(json_object_get(answer, "files"));
    json_object_set_new(answer, "files", json_integer(count + 1));
    return rc;
}

static int take_entry(struct archive *from, struct archive_entry *entry, json_t *answer)
{
    const char *name = archive_entry_pathname(entry);
    if (name == NULL || !good_name(name)) {
        if (name == NULL || archive_entry_filetype(entry) != AE_IFDIR)
            leave_out(answer, name != NULL ? name : "a name", "is not allowed as a name");
        return 0;
    }
    if (archive_entry_hardlink(entry) != NULL || archive_entry_filetype(entry) != AE_IFREG) {
        if (archive_entry_filetype(entry) != AE_IFDIR)
            leave_out(answer, name, "is no regular file");
        return 0;
    }
    json_int_t count = json_integer_value(json_object_get(answer, "files"));
    if (count == FILES_MAX)
        return bundle_fail(answer, "holds more than %d files", FILES_MAX);
    return take_file(from, name, answer);
}

int bundle_unpack(json_t *answer)
{
    struct archive *from = archive_read_new();
    struct archive_entry *entry;
    int got = ARCHIVE_OK, rc = 0;
    json_object_set_new(answer, "left_out", json_array());
    json_object_set_new(answer, "files", json_integer(0));
    if (from == NULL || (mkdir("out", 0755) < 0 && errno != EEXIST))
        rc = bundle_fail(answer, "out: %s", strerror(errno));
    else if (archive_read_support_filter_gzip(from) != ARCHIVE_OK ||
             archive_read_support_format_tar(from) != ARCHIVE_OK ||
             archive_read_open_filename(from, ARCHIVE, 65536) != ARCHIVE_OK)
        rc = bundle_fail(answer, "%s", archive_error_string(from));
    while (rc == 0 && (got = archive_read_next_header(from, &entry)) == ARCHIVE_OK)
        rc = take_entry(from, entry, answer);
    if (rc == 0 && got != ARCHIVE_EOF)
        rc = bundle_fail(answer, "%s", archive_error_string(from));
    if (from != NULL)
        archive_read_free(from);
    return rc;
}
