#include "eval/compare.h"

#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/write.h"
#include "files/beneath.h"
#include "files/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum {
    TEXT_MAX = 4 << 20, /* bytes of a text that is shown as a diff */
    DIFFS_MAX = 50,     /* files whose differences are shown */
};

typedef struct comparison {
    kiln_folder expected, actual;
    const kiln_normal *normal;
    const char *scratch;
    json_t *differences;
    unsigned saved;
} comparison;

int kiln_difference_add(json_t *differences, const char *file, const char *kind,
                        const char *detail)
{
    char shown[512];
    if (json_array_size(differences) >= KILN_COMPARE_TOLD_MAX) {
        return 0;
    }
    kiln_printable_name(file, shown, sizeof(shown));
    return json_array_append_new(differences, json_pack("{s:s, s:s, s:s}", "file", shown,
                                                        "kind", kind, "detail", detail));
}

static int out_of_memory(kiln_error *err)
{
    return kiln_error_set(err, ENOMEM, "out of memory");
}

static int save(const comparison *c, const char *side, const kiln_buffer *bytes,
                kiln_error *err)
{
    auto_free char *path = NULL;
    if (asprintf(&path, "%s/%u.%s", c->scratch, c->saved, side) < 0) {
        path = NULL;
        return out_of_memory(err);
    }
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = fd < 0 ? -errno : 0;
    if (rc == 0 && bytes->length > 0) {
        rc = kiln_write_all(fd, bytes->data, bytes->length);
    }
    return rc < 0 ? kiln_error_errno(err, rc, "%s", path) : 0;
}

/* Both sides for a later step, named by the entry's `key`. */
static int save_both(comparison *c, const char *key, const kiln_buffer *expected,
                     const kiln_buffer *actual, kiln_error *err)
{
    json_t *entry = json_array_get(c->differences, json_array_size(c->differences) - 1);
    int rc = save(c, "expected", expected, err);
    rc = rc < 0 ? rc : save(c, "actual", actual, err);
    if (rc == 0 && json_object_set_new(entry, key, json_integer(c->saved++)) < 0) {
        rc = out_of_memory(err);
    }
    return rc;
}

static bool is_text(const kiln_buffer *bytes)
{
    return bytes->length <= TEXT_MAX &&
           (bytes->length == 0 || (memchr(bytes->data, '\0', bytes->length) == NULL &&
                                   kiln_utf8_valid(bytes->data, bytes->length)));
}

static bool equal(const kiln_buffer *a, const kiln_buffer *b)
{
    return a->length == b->length &&
           (a->length == 0 || memcmp(a->data, b->data, a->length) == 0);
}

static size_t first_difference(const kiln_buffer *a, const kiln_buffer *b)
{
    size_t at = 0;
    while (at < a->length && at < b->length && a->data[at] == b->data[at]) {
        at++;
    }
    return at;
}

/* Two contents that differ, in the form in which they are compared. */
static int tell(comparison *c, const char *name, unsigned form, const kiln_buffer *expected,
                const kiln_buffer *actual, kiln_error *err)
{
    char detail[200];
    snprintf(detail, sizeof(detail), "from byte %zu on%s: %zu bytes, expected are %zu",
             first_difference(expected, actual) + 1,
             form != KILN_NORMAL_BYTES ? " (normalised)" : "", actual->length,
             expected->length);
    if (json_array_size(c->differences) >= KILN_COMPARE_TOLD_MAX) {
        return 0;
    }
    if (kiln_difference_add(c->differences, name, "differs", detail) < 0) {
        return out_of_memory(err);
    }
    return is_text(expected) && is_text(actual) && c->saved < DIFFS_MAX
               ? save_both(c, "diff", expected, actual, err)
               : 0;
}

static int compare_normalised(comparison *c, const char *name, unsigned form,
                              const kiln_buffer *expected, const kiln_buffer *actual,
                              kiln_error *err)
{
    auto_buffer kiln_buffer canonical = KILN_BUFFER_INIT, made = KILN_BUFFER_INIT;
    const char *side = "the expected file";
    int rc = kiln_normal_apply(c->normal, form, expected, &canonical, err);
    if (rc == 0) {
        side = "it";
        rc = kiln_normal_apply(c->normal, form, actual, &made, err);
    }
    if (rc == -ENOMEM) {
        return rc;
    }
    if (rc < 0) {
        char detail[400];
        snprintf(detail, sizeof(detail), "%s %.300s", side, err->text);
        return kiln_difference_add(c->differences, name, "differs", detail) < 0
                   ? out_of_memory(err)
                   : 0;
    }
    return equal(&canonical, &made) ? 0 : tell(c, name, form, &canonical, &made, err);
}

static int compare_file(comparison *c, const char *name, kiln_error *err)
{
    auto_buffer kiln_buffer expected = KILN_BUFFER_INIT, actual = KILN_BUFFER_INIT;
    unsigned form = kiln_normal_of(c->normal, name);
    int rc = kiln_folder_load(&c->expected, name, KILN_COMPARE_FILE_MAX, &expected, err);
    rc = rc < 0 ? rc : kiln_folder_load(&c->actual, name, KILN_COMPARE_FILE_MAX, &actual, err);
    if (rc < 0) {
        return rc;
    }
    if (equal(&expected, &actual)) {
        return 0;
    }
    if (form == KILN_NORMAL_PIXELS && json_array_size(c->differences) < KILN_COMPARE_TOLD_MAX) {
        return kiln_difference_add(c->differences, name, "differs", "as a picture") < 0
                   ? out_of_memory(err)
                   : save_both(c, "pixels", &expected, &actual, err);
    }
    return form == KILN_NORMAL_BYTES
               ? tell(c, name, form, &expected, &actual, err)
               : compare_normalised(c, name, form, &expected, &actual, err);
}

/* A file that only one side has, against nothing. */
static int tell_alone(comparison *c, const kiln_folder *side, const char *name,
                      const char *kind, const char *detail, kiln_error *err)
{
    auto_buffer kiln_buffer bytes = KILN_BUFFER_INIT;
    const kiln_buffer none = KILN_BUFFER_INIT;
    if (json_array_size(c->differences) >= KILN_COMPARE_TOLD_MAX) {
        return 0;
    }
    if (kiln_difference_add(c->differences, name, kind, detail) < 0) {
        return out_of_memory(err);
    }
    if (c->saved == DIFFS_MAX || kiln_folder_load(side, name, TEXT_MAX, &bytes, err) < 0 ||
        !is_text(&bytes)) {
        return 0;
    }
    bool made = side == &c->actual;
    return save_both(c, "diff", made ? &none : &bytes, made ? &bytes : &none, err);
}

static int compare_one(comparison *c, const kiln_folder_entry *expected,
                       const kiln_folder_entry *actual, kiln_error *err)
{
    char detail[120];
    int rc = 0;
    if (expected == NULL) {
        snprintf(detail, sizeof(detail), "%llu bytes that the canonical bundle does not have",
                 (unsigned long long)actual->size);
        return tell_alone(c, &c->actual, actual->name, "extra", detail, err);
    }
    const char *name = expected->name;
    if (expected->oddity != NULL) {
        snprintf(detail, sizeof(detail), "is %s in the expected folder: make it a regular file",
                 expected->oddity);
        rc = kiln_difference_add(c->differences, name, "odd", detail);
    } else if (actual == NULL) {
        snprintf(detail, sizeof(detail), "was not made; %llu bytes are expected",
                 (unsigned long long)expected->size);
        return tell_alone(c, &c->expected, name, "missing", detail, err);
    } else {
        return compare_file(c, name, err);
    }
    return rc < 0 ? out_of_memory(err) : 0;
}

static int compare_folders(comparison *c, kiln_error *err)
{
    size_t i = 0, k = 0;
    int rc = 0;
    while (rc == 0 && (i < c->expected.count || k < c->actual.count)) {
        const kiln_folder_entry *a = i < c->expected.count ? &c->expected.entries[i] : NULL;
        const kiln_folder_entry *b = k < c->actual.count ? &c->actual.entries[k] : NULL;
        int order = a == NULL ? 1 : b == NULL ? -1 : strcmp(a->name, b->name);
        rc = compare_one(c, order <= 0 ? a : NULL, order >= 0 ? b : NULL, err);
        i += order <= 0;
        k += order >= 0;
    }
    return rc;
}

int kiln_compare(const char *expected, const char *actual, const kiln_normal *normal,
                 const char *scratch, json_t *differences, kiln_error *err)
{
    comparison c = {.expected = KILN_FOLDER_INIT,
                    .actual = KILN_FOLDER_INIT,
                    .normal = normal,
                    .scratch = scratch,
                    .differences = differences};
    int rc = kiln_folder_read(expected, &c.expected, err);
    if (rc == -ENOENT && c.expected.fd < 0) { /* as if it were empty */
        rc = kiln_difference_add(differences, ".", "missing",
                                 "the expected folder is not there; --update makes it");
    }
    if (rc < 0) {
        kiln_error_wrap(err, "expected folder %s", expected);
    } else {
        rc = kiln_folder_read(actual, &c.actual, err);
        rc = rc < 0 ? kiln_error_wrap(err, "the bundle") : compare_folders(&c, err);
    }
    kiln_folder_free(&c.expected);
    kiln_folder_free(&c.actual);
    return rc;
}
