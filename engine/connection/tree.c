#include "connection/tree.h"

#include "base/cleanup.h"
#include "base/write.h"
#include "connection/fetch.h"
#include "contract/input.h"
#include "files/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 160 };

static int leave_out(kiln_tree *tree, const kiln_origin *origin, const char *name,
                     const char *why, kiln_error *err)
{
    char shown[SHOWN];
    kiln_printable_name(name, shown, sizeof(shown));
    if (!origin->folder) {
        return kiln_error_set(err, EINVAL, "%s %s", shown, why);
    }
    return json_array_append_new(tree->left_out,
                                 json_pack("{s:s, s:s}", "name", shown, "why", why)) < 0
               ? kiln_error_set(err, ENOMEM, "out of memory")
               : 0;
}

static const char *kind_of(const char *mode)
{
    return strncmp(mode, "120000", 6) == 0   ? "is a symbolic link, and is not followed"
           : strncmp(mode, "160000", 6) == 0 ? "is a submodule, and is not fetched"
           : strncmp(mode, "040000", 6) == 0 ? "is a folder: end its name with \"/\""
           : strncmp(mode, "100", 3) == 0    ? NULL
                                             : "is no regular file";
}

/* The name below the folder that was asked for, or of the file alone its last part. */
static const char *own_name(const kiln_origin *origin, const char *name)
{
    size_t prefix = strlen(origin->path);
    if (!origin->folder) {
        const char *slash = strrchr(name, '/');
        return slash != NULL ? slash + 1 : name;
    }
    return prefix > 0 && strncmp(name, origin->path, prefix) == 0 && name[prefix] == '/'
               ? name + prefix + 1
               : name;
}

static int add(kiln_tree *tree, const char *name, const char *id, size_t id_length,
               uint64_t size, uint64_t max_size, kiln_error *err)
{
    if (tree->count == KILN_FETCH_FILES_MAX) {
        return kiln_error_set(err, E2BIG, "has more than %d files", KILN_FETCH_FILES_MAX);
    }
    if (size > max_size - tree->total) {
        return kiln_error_set(err, E2BIG, "its files are more than max_size, %llu bytes",
                              (unsigned long long)max_size);
    }
    if (tree->count % 64 == 0) {
        kiln_tree_entry *grown = reallocarray(tree->entries, tree->count + 64, sizeof(*grown));
        if (grown == NULL) {
            return kiln_error_set(err, ENOMEM, "out of memory");
        }
        tree->entries = grown;
    }
    kiln_tree_entry *entry = &tree->entries[tree->count];
    *entry = (kiln_tree_entry){.name = strdup(name), .size = size};
    if (entry->name == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    memcpy(entry->id, id, id_length);
    tree->total += size;
    tree->count++;
    return 0;
}

/* One "MODE TYPE ID SIZE\tNAME". */
static int read_line(kiln_tree *tree, const kiln_origin *origin, const char *line,
                     uint64_t max_size, kiln_error *err)
{
    const char *tab = strchr(line, '\t');
    const char *type = strchr(line, ' ');
    const char *id = type != NULL ? strchr(type + 1, ' ') : NULL;
    const char *size = id != NULL ? strchr(id + 1, ' ') : NULL;
    size_t id_length = size != NULL ? (size_t)(size - id - 1) : 0;
    if (tab == NULL || size == NULL || size > tab || (id_length != 40 && id_length != 64) ||
        strspn(id + 1, "0123456789abcdef") != id_length) {
        return kiln_error_set(err, EIO, "git's listing has an unknown form");
    }
    const char *name = own_name(origin, tab + 1);
    const char *why = kind_of(line);
    kiln_error bad = KILN_ERROR_INIT;
    if (why == NULL && kiln_file_name_check(name, &bad) < 0) {
        why = "has a name that is not allowed";
    }
    if (why == NULL && !kiln_name_is_plain(name)) {
        why = "has a name with control characters, or not UTF-8";
    }
    if (why != NULL) {
        return leave_out(tree, origin, name, why, err);
    }
    size_t blanks = strspn(size, " "), digits = strspn(size + blanks, "0123456789");
    if (digits == 0 || digits > 18 || size + blanks + digits != tab) {
        return kiln_error_set(err, EIO, "git's listing has an unknown form");
    }
    uint64_t bytes = strtoull(size + blanks, NULL, 10);
    return add(tree, name, id + 1, id_length, bytes, max_size, err);
}

int kiln_tree_read(kiln_tree *tree, const kiln_origin *origin, const kiln_buffer *listing,
                   uint64_t max_size, kiln_error *err)
{
    const char *at = listing->data, *end = at + listing->length;
    if (listing->length == 0) {
        return kiln_error_set(err, ENOENT, "has no \"%s\" at %s", origin->path, origin->ref);
    }
    while (at < end) {
        size_t length = strlen(at); /* a buffer is always followed by a NUL */
        int rc = read_line(tree, origin, at, max_size, err);
        if (rc < 0) {
            return rc;
        }
        at += length + 1;
    }
    return 0;
}

int kiln_tree_ask(const kiln_tree *tree, kiln_buffer *asked, kiln_error *err)
{
    for (size_t i = 0; i < tree->count; i++) {
        if (kiln_buffer_printf(asked, "%s\n", tree->entries[i].id) < 0) {
            return kiln_error_set(err, ENOMEM, "out of memory");
        }
    }
    return 0;
}

static int write_file(int to_fd, const char *name, const char *data, size_t length,
                      kiln_error *err)
{
    const char *base;
    char shown[SHOWN];
    auto_close int parent = kiln_open_parent(to_fd, name, &base, true);
    auto_close int fd = -1;
    int rc = parent;
    if (parent >= 0) {
        fd = kiln_open_beneath(parent, base, O_WRONLY | O_CREAT | O_EXCL, 0644, true);
        rc = fd < 0 ? fd : kiln_write_all(fd, data, length);
    }
    return rc < 0 ? kiln_error_errno(err, rc, "%s",
                                     kiln_printable_name(name, shown, sizeof(shown)))
                  : 0;
}

int kiln_tree_write(const kiln_tree *tree, const kiln_buffer *contents, int to_fd,
                    json_t *names, kiln_error *err)
{
    const char *at = contents->data, *end = at + contents->length;
    for (size_t i = 0; i < tree->count; i++) {
        const kiln_tree_entry *entry = &tree->entries[i];
        char head[160];
        size_t length = (size_t)snprintf(head, sizeof(head), "%s blob %llu\n", entry->id,
                                         (unsigned long long)entry->size);
        if ((size_t)(end - at) < length || memcmp(at, head, length) != 0 ||
            (size_t)(end - at) - length <= entry->size) {
            return kiln_error_set(err, EIO, "an object is not what git's listing said");
        }
        int rc = write_file(to_fd, entry->name, at + length, entry->size, err);
        if (rc == 0 && json_array_append_new(names, json_string(entry->name)) < 0) {
            rc = kiln_error_set(err, ENOMEM, "out of memory");
        }
        if (rc < 0) {
            return rc;
        }
        at += length + entry->size + 1;
    }
    return 0;
}

void kiln_tree_free(kiln_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        free(tree->entries[i].name);
    }
    free(tree->entries);
    json_decref(tree->left_out);
}
