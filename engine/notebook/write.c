/* write.c - results into a notebook, and the notebook into a file. */
#include "notebook/ipynb.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/write.h"
#include "notebook/json_text.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>

/* nbformat's multi-line string: a list of lines that keep their ends. */
static json_t *lines_of(const char *text, size_t length)
{
    auto_json json_t *lines = json_array();
    while (length > 0) {
        const char *end = memchr(text, '\n', length);
        size_t line = end != NULL ? (size_t)(end - text) + 1 : length;
        if (json_array_append_new(lines, json_stringn(text, line)) < 0) {
            return NULL;
        }
        text += line;
        length -= line;
    }
    return kiln_steal(lines);
}

static bool is_json_type(const char *mime)
{
    size_t length = strlen(mime);
    return strcmp(mime, "application/json") == 0 ||
           (length > 5 && strncmp(mime, "application/", 12) == 0 &&
            strcmp(mime + length - 5, "+json") == 0);
}

static bool is_text_type(const char *mime)
{
    return strncmp(mime, "text/", 5) == 0 || strcmp(mime, "application/javascript") == 0 ||
           strcmp(mime, "image/svg+xml") == 0;
}

/* What the schema allows as the value of a MIME type: anything for JSON types, text for
 * the others. New reference. */
static json_t *data_value(const char *mime, json_t *value)
{
    if (is_json_type(mime)) {
        return json_incref(value);
    }
    if (json_is_string(value)) {
        return is_text_type(mime)
                   ? lines_of(json_string_value(value), json_string_length(value))
                   : json_incref(value);
    }
    auto_free char *text = json_dumps(value, JSON_ENCODE_ANY);
    return text != NULL ? lines_of(text, strlen(text)) : NULL;
}

/* New reference, or NULL. */
static json_t *data_bundle(const json_t *bundle)
{
    auto_json json_t *data = json_object();
    const char *mime;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)bundle, mime, value)
    {
        if (json_object_set_new(data, mime, data_value(mime, value)) < 0) {
            return NULL;
        }
    }
    return kiln_steal(data);
}

static json_t *object_or_empty(json_t *value)
{
    return json_is_object(value) ? json_incref(value) : json_object();
}

static json_t *text_or_empty(json_t *value)
{
    return json_is_string(value) ? json_incref(value) : json_string("");
}

static json_t *texts_only(const json_t *values)
{
    auto_json json_t *texts = json_array();
    size_t i;
    json_t *value;
    json_array_foreach(values, i, value)
    {
        if (json_is_string(value) && json_array_append(texts, value) < 0) {
            return NULL;
        }
    }
    return kiln_steal(texts);
}

/* Keys in alphabetical order, as nbformat writes them. Steals data and metadata. */
static json_t *display_output(const char *type, json_t *data, json_t *metadata,
                              const kiln_result *result)
{
    if (strcmp(type, "execute_result") == 0) {
        return json_pack("{s:o, s:I, s:o, s:s}", "data", data, "execution_count",
                         (json_int_t)result->execution_count, "metadata", metadata,
                         "output_type", type);
    }
    return json_pack("{s:o, s:o, s:s}", "data", data, "metadata", metadata, "output_type",
                     type);
}

static json_t *error_output(json_t *name, json_t *value, json_t *traceback)
{
    return json_pack("{s:o, s:o, s:s, s:o}", "ename", name, "evalue", value, "output_type",
                     "error", "traceback", traceback);
}

static json_t *stream_output(const char *name, const char *text, size_t length)
{
    return json_pack("{s:s, s:s, s:o}", "name", name, "output_type", "stream", "text",
                     lines_of(text, length));
}

/* One output of the result; NULL: out of memory. json null: a type that notebooks have not. */
static json_t *map_output(const json_t *output, const kiln_result *result)
{
    const char *type = json_string_value(json_object_get(output, "type"));
    if (type != NULL && strcmp(type, "stream") == 0) {
        const json_t *text = json_object_get(output, "text");
        const char *name = json_string_value(json_object_get(output, "name"));
        return stream_output(name != NULL ? name : "stdout",
                             json_is_string(text) ? json_string_value(text) : "",
                             json_string_length(text));
    }
    if (type != NULL &&
        (strcmp(type, "display_data") == 0 || strcmp(type, "execute_result") == 0)) {
        return display_output(type, data_bundle(json_object_get(output, "data")),
                              object_or_empty(json_object_get(output, "metadata")), result);
    }
    if (type != NULL && strcmp(type, "error") == 0) {
        return error_output(text_or_empty(json_object_get(output, "name")),
                            text_or_empty(json_object_get(output, "value")),
                            texts_only(json_object_get(output, "traceback")));
    }
    return json_null();
}

/* A cell that timed out, was denied or killed has raised nothing: the notebook must still
 * show why it stopped there. */
static json_t *status_output(const kiln_result *result)
{
    json_t *last = json_array_get(result->errors, json_array_size(result->errors) - 1);
    const char *status = kiln_status_name(result->status);
    json_t *name = json_object_get(last, "name");
    json_t *message = json_object_get(last, "message");
    auto_json json_t *line =
        json_sprintf("kiln: %s%s%s", status, json_is_string(message) ? ": " : "",
                     json_is_string(message) ? json_string_value(message) : "");
    return error_output(json_string_length(name) > 0 ? json_incref(name) : json_string(status),
                        json_is_string(message) ? json_incref(message) : json_string(status),
                        json_pack("[O]", line));
}

static int append_dropped(json_t *outputs, const char *what, uint64_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    char line[96];
    int length = snprintf(line, sizeof(line), "[kiln: %llu more bytes of %s were dropped]\n",
                          (unsigned long long)bytes, what);
    return json_array_append_new(outputs, stream_output("stderr", line, (size_t)length));
}

/* Whether an earlier cell shows something under that id; then it shows this. */
static bool update_earlier(const json_t *cells, const json_t *places, json_t *mapped)
{
    bool found = false;
    size_t i;
    json_t *place;
    json_array_foreach(places, i, place)
    {
        const json_t *cell =
            json_array_get(cells, (size_t)json_integer_value(json_array_get(place, 0)));
        json_t *shown = json_array_get(json_object_get(cell, "outputs"),
                                       (size_t)json_integer_value(json_array_get(place, 1)));
        if (json_object_get(shown, "data") != NULL) {
            found = true;
            json_object_set(shown, "data", json_object_get(mapped, "data"));
            json_object_set(shown, "metadata", json_object_get(mapped, "metadata"));
        }
    }
    return found;
}

static int note_place(json_t *displays, const char *id, size_t cell, size_t output)
{
    json_t *places = json_object_get(displays, id);
    if (places == NULL) {
        places = json_array();
        if (json_object_set_new(displays, id, places) < 0) {
            return -ENOMEM;
        }
    }
    return json_array_append_new(places,
                                 json_pack("[I, I]", (json_int_t)cell, (json_int_t)output));
}

/* Of the cell at `index`. `displays` may be NULL. */
static json_t *outputs_of(const kiln_result *result, size_t index, const json_t *cells,
                          json_t *displays)
{
    auto_json json_t *outputs = json_array();
    bool has_error = false;
    size_t i;
    json_t *output;
    json_array_foreach(result->outputs, i, output)
    {
        json_t *mapped = map_output(output, result);
        if (json_is_null(mapped)) {
            continue;
        }
        const char *id = json_string_value(json_object_get(output, "display_id"));
        if (displays != NULL && id != NULL) {
            if (json_is_true(json_object_get(output, "update")) &&
                update_earlier(cells, json_object_get(displays, id), mapped)) {
                json_decref(mapped);
                continue;
            }
            if (note_place(displays, id, index, json_array_size(outputs)) < 0) {
                json_decref(mapped);
                return NULL;
            }
        }
        if (json_array_append_new(outputs, mapped) < 0) {
            return NULL;
        }
        has_error = has_error || json_object_get(mapped, "ename") != NULL;
    }
    if (append_dropped(outputs, "stdout", result->truncated[KILN_STDOUT]) < 0 ||
        append_dropped(outputs, "stderr", result->truncated[KILN_STDERR]) < 0 ||
        append_dropped(outputs, "display data", result->truncated[0]) < 0) {
        return NULL;
    }
    if (!has_error && result->status != KILN_STATUS_OK &&
        json_array_append_new(outputs, status_output(result)) < 0) {
        return NULL;
    }
    return kiln_steal(outputs);
}

json_t *kiln_ipynb_outputs(const kiln_result *result)
{
    return outputs_of(result, 0, NULL, NULL);
}

static bool has_run(kiln_status status)
{
    return status != KILN_STATUS_DENIED && status != KILN_STATUS_SKIPPED &&
           status != KILN_STATUS_UNAVAILABLE;
}

int kiln_ipynb_fill(kiln_ipynb_cell *cell, json_t *cells, json_t *displays,
                    const kiln_result *result, kiln_error *err)
{
    json_t *count = has_run(result->status) ? json_integer((json_int_t)result->execution_count)
                                            : json_null();
    if (json_object_set_new(cell->json, "execution_count", count) < 0 ||
        json_object_set_new(cell->json, "outputs",
                            outputs_of(result, cell->index, cells, displays)) < 0) {
        return kiln_error_set(err, -ENOMEM, "notebook: cell %zu: out of memory", cell->index);
    }
    return 0;
}

static bool id_is_taken(const json_t *cells, const char *id)
{
    size_t i;
    json_t *cell;
    json_array_foreach(cells, i, cell)
    {
        const char *other = json_string_value(json_object_get(cell, "id"));
        if (other != NULL && strcmp(other, id) == 0) {
            return true;
        }
    }
    return false;
}

/* nbformat 4.5 requires them; some tools wrote 4.5 without. */
static int add_missing_ids(json_t *cells)
{
    size_t i;
    json_t *cell;
    json_array_foreach(cells, i, cell)
    {
        if (json_object_get(cell, "id") != NULL) {
            continue;
        }
        char id[48];
        snprintf(id, sizeof(id), "cell-%zu", i);
        for (int n = 2; id_is_taken(cells, id); n++) {
            snprintf(id, sizeof(id), "cell-%zu-%d", i, n);
        }
        if (json_object_set_new(cell, "id", json_string(id)) < 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

int kiln_ipynb_clear(kiln_ipynb *notebook, kiln_error *err)
{
    int rc = 0;
    if (notebook->minor >= 5) {
        rc = add_missing_ids(json_object_get(notebook->root, "cells"));
    }
    for (size_t i = 0; rc == 0 && i < notebook->count; i++) {
        json_t *cell = notebook->cells[i].json;
        if (json_object_get(cell, "metadata") == NULL &&
            json_object_set_new(cell, "metadata", json_object()) < 0) {
            rc = -ENOMEM;
        }
        if (notebook->cells[i].skip && json_object_get(cell, "outputs") != NULL) {
            continue;
        }
        if (json_object_set_new(cell, "execution_count", json_null()) < 0 ||
            json_object_set_new(cell, "outputs", json_array()) < 0) {
            rc = -ENOMEM;
        }
    }
    return rc < 0 ? kiln_error_set(err, rc, "notebook: out of memory") : 0;
}

int kiln_ipynb_write(const kiln_ipynb *notebook, const char *path, kiln_error *err)
{
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    if (kiln_json_write(notebook->root, JSON_INDENT(1), &text) < 0 ||
        kiln_buffer_append(&text, "\n", 1) < 0) {
        return kiln_error_set(err, -ENOMEM, "%s: out of memory", path);
    }
    const char *slash = strrchr(path, '/');
    int folder = slash != NULL ? (int)(slash - path) + 1 : 0;
    auto_free char *temporary = NULL;
    if (asprintf(&temporary, "%.*s.kiln-%08x%08x", folder, path, randombytes_random(),
                 randombytes_random()) < 0) {
        temporary = NULL;
        return kiln_error_set(err, -ENOMEM, "%s: out of memory", path);
    }
    auto_close int fd =
        open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) {
        return kiln_error_errno(err, errno, "%s: cannot write the executed notebook", path);
    }
    int rc = kiln_write_all(fd, text.data, text.length);
    if (rc == 0 && (close(kiln_steal_fd(&fd)) < 0 || rename(temporary, path) < 0)) {
        rc = -errno;
    }
    if (rc < 0) {
        unlink(temporary);
        return kiln_error_errno(err, rc, "%s: cannot write the executed notebook", path);
    }
    return 0;
}
