/* read.c - from a notebook file to its code cells. */
#include "notebook/ipynb.h"

#include "base/buffer.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static void free_notebook(kiln_ipynb **notebook)
{
    kiln_ipynb_free(*notebook);
}

bool kiln_ipynb_runnable(const kiln_ipynb_cell *cell)
{
    return !cell->skip && strspn(cell->source, " \t\r\n\f\v") != cell->source_length;
}

void kiln_ipynb_free(kiln_ipynb *notebook)
{
    if (notebook == NULL) {
        return;
    }
    for (size_t i = 0; i < notebook->count; i++) {
        free(notebook->cells[i].id);
        free(notebook->cells[i].source);
    }
    free(notebook->cells);
    json_decref(notebook->displays);
    json_decref(notebook->root);
    free(notebook);
}

static bool has_tag(const json_t *cell, const char *tag)
{
    size_t i;
    json_t *word;
    json_array_foreach(json_object_get(json_object_get(cell, "metadata"), "tags"), i, word)
    {
        if (json_is_string(word) && strcmp(json_string_value(word), tag) == 0) {
            return true;
        }
    }
    return false;
}

/* A multi-line string: one string or a list of them. -EINVAL: neither. */
static int join(const json_t *value, kiln_buffer *text)
{
    if (json_is_string(value)) {
        return kiln_buffer_append(text, json_string_value(value), json_string_length(value));
    }
    if (!json_is_array(value)) {
        return -EINVAL;
    }
    int rc = kiln_buffer_append(text, "", 0);
    size_t i;
    json_t *line;
    json_array_foreach(value, i, line)
    {
        if (!json_is_string(line)) {
            return -EINVAL;
        }
        rc = rc < 0
                 ? rc
                 : kiln_buffer_append(text, json_string_value(line), json_string_length(line));
    }
    return rc;
}

/* The language that the metadata name: "language_info" is what a kernel wrote when the
 * notebook was last run, "kernelspec" what the author chose. */
static const char *find_language(const json_t *metadata)
{
    const json_t *info = json_object_get(metadata, "language_info");
    const json_t *kernel = json_object_get(metadata, "kernelspec");
    const char *language = json_string_value(json_object_get(info, "name"));
    if (language == NULL) {
        language = json_string_value(json_object_get(kernel, "language"));
    }
    if (language == NULL) {
        language = json_string_value(json_object_get(kernel, "name"));
    }
    /* Kernels of Python are called python3, and language_info of old ones ipython. */
    if (language == NULL || strcasecmp(language, "ipython") == 0 ||
        strncasecmp(language, "python", 6) == 0) {
        return "python";
    }
    return language;
}

static int read_code_cell(kiln_ipynb *notebook, const char *name, size_t index, json_t *cell,
                          kiln_error *err)
{
    auto_buffer kiln_buffer source = KILN_BUFFER_INIT;
    int rc = join(json_object_get(cell, "source"), &source);
    if (rc == -EINVAL) {
        return kiln_error_set(
            err, rc, "%s: cell %zu: \"source\" must be text or a list of texts", name, index);
    }
    const json_t *id = json_object_get(cell, "id");
    char made_up[32];
    snprintf(made_up, sizeof(made_up), "cell-%zu", index);
    bool has_id =
        json_string_length(id) > 0 && strlen(json_string_value(id)) == json_string_length(id);
    char *copy = strdup(has_id ? json_string_value(id) : made_up);
    if (rc < 0 || copy == NULL) {
        free(copy);
        return kiln_error_set(err, -ENOMEM, "%s: out of memory", name);
    }
    char *text = kiln_steal(source.data);
    notebook->cells[notebook->count++] = (kiln_ipynb_cell){
        .index = index,
        .json = cell,
        .id = copy,
        .source = text,
        .source_length = source.length,
        .skip = has_tag(cell, "skip-execution"),
        .raises_exception = has_tag(cell, "raises-exception"),
    };
    return 0;
}

/* Which nbformat it is, from the keys that every version has had. */
static int check_version(const json_t *root, const char *name, int *minor, kiln_error *err)
{
    if (!json_is_object(root)) {
        return kiln_error_set(err, -EINVAL, "%s: not a notebook: its JSON is not an object",
                              name);
    }
    const json_t *major = json_object_get(root, "nbformat");
    if (!json_is_integer(major)) {
        return kiln_error_set(err, -EINVAL, "%s: not a notebook: it has no \"nbformat\" number",
                              name);
    }
    if (json_integer_value(major) != 4) {
        return kiln_error_set(err, -EINVAL,
                              "%s: nbformat %lld is not supported, only 4: convert it with "
                              "\"jupyter nbconvert --to notebook\"",
                              name, (long long)json_integer_value(major));
    }
    const json_t *minor_json = json_object_get(root, "nbformat_minor");
    *minor = json_is_integer(minor_json) ? (int)json_integer_value(minor_json) : 0;
    return 0;
}

int kiln_ipynb_parse(const char *name, const char *text, size_t length, kiln_ipynb **notebook,
                     kiln_error *err)
{
    *notebook = NULL;
    kiln_ipynb *made __attribute__((cleanup(free_notebook))) = calloc(1, sizeof(*made));
    if (made == NULL) {
        return kiln_error_set(err, -ENOMEM, "%s: out of memory", name);
    }
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3; /* editors on Windows put a byte order mark first; JSON has none */
        length -= 3;
    }
    json_error_t json_error;
    made->root = json_loadb(text, length, JSON_ALLOW_NUL, &json_error);
    if (made->root == NULL) {
        return kiln_error_set(err, -EINVAL, "%s:%d: not a notebook: not JSON: %s", name,
                              json_error.line, json_error.text);
    }
    int rc = check_version(made->root, name, &made->minor, err);
    if (rc < 0) {
        return rc;
    }
    json_t *cells = json_object_get(made->root, "cells");
    if (!json_is_array(cells)) {
        return kiln_error_set(err, -EINVAL, "%s: not a notebook: it has no list \"cells\"",
                              name);
    }
    made->cells = calloc(json_array_size(cells) + 1, sizeof(*made->cells));
    made->displays = json_object();
    if (made->cells == NULL || made->displays == NULL) {
        return kiln_error_set(err, -ENOMEM, "%s: out of memory", name);
    }
    const json_t *metadata = json_object_get(made->root, "metadata");
    made->language = find_language(metadata);
    made->file_extension = json_string_value(
        json_object_get(json_object_get(metadata, "language_info"), "file_extension"));
    size_t i;
    json_t *cell;
    json_array_foreach(cells, i, cell)
    {
        const char *type = json_string_value(json_object_get(cell, "cell_type"));
        if (type == NULL) {
            return kiln_error_set(err, -EINVAL, "%s: cell %zu has no \"cell_type\"", name, i);
        }
        if (strcmp(type, "code") == 0) {
            rc = read_code_cell(made, name, i, cell, err);
            if (rc < 0) {
                return rc;
            }
        }
    }
    *notebook = kiln_steal(made);
    return 0;
}

int kiln_ipynb_read(const char *path, kiln_ipynb **notebook, kiln_error *err)
{
    *notebook = NULL;
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return kiln_error_set(err, S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL,
                              "%s: is not a regular file, name a notebook", path);
    }
    if (st.st_size > KILN_IPYNB_MAX) {
        return kiln_error_set(err, -E2BIG, "%s: %lld bytes, a notebook may have %d", path,
                              (long long)st.st_size, KILN_IPYNB_MAX);
    }
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    /* It may grow while it is read; what was there when we looked is what counts. */
    size_t size = (size_t)st.st_size;
    if (kiln_buffer_reserve(&text, size) < 0) {
        return kiln_error_set(err, -ENOMEM, "%s: out of memory", path);
    }
    while (text.length < size) {
        ssize_t got = read(fd, text.data + text.length, size - text.length);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return kiln_error_errno(err, errno, "%s", path);
        }
        if (got == 0) {
            break;
        }
        text.length += (size_t)got;
    }
    return kiln_ipynb_parse(path, text.data, text.length, notebook, err);
}
