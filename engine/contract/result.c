#include "contract/result.h"

#include "base/cleanup.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    const char *error_kind;
} statuses[] = {
    [KILN_STATUS_OK] = {"ok", NULL},
    [KILN_STATUS_ERROR] = {"error", "user"},
    [KILN_STATUS_TIMEOUT] = {"timeout", "limit"},
    [KILN_STATUS_LIMIT] = {"limit", "limit"},
    [KILN_STATUS_CRASHED] = {"crashed", "user"},
    [KILN_STATUS_INTERRUPTED] = {"interrupted", "user"},
    [KILN_STATUS_DENIED] = {"denied", "policy"},
    [KILN_STATUS_SKIPPED] = {"skipped", NULL},
    [KILN_STATUS_UNAVAILABLE] = {"unavailable", "system"},
};
enum { STATUS_COUNT = sizeof(statuses) / sizeof(statuses[0]) };

const char *kiln_status_name(kiln_status status)
{
    return (unsigned)status < STATUS_COUNT ? statuses[status].name : "unavailable";
}

const char *kiln_status_error_kind(kiln_status status)
{
    return (unsigned)status < STATUS_COUNT ? statuses[status].error_kind : "system";
}

int kiln_status_from_name(const char *name, kiln_status *status)
{
    for (int i = 0; i < STATUS_COUNT; i++) {
        if (strcmp(statuses[i].name, name) == 0) {
            *status = (kiln_status)i;
            return 0;
        }
    }
    return -EINVAL;
}

kiln_result *kiln_result_new(void)
{
    kiln_result *result = calloc(1, sizeof(*result));
    if (result == NULL) {
        return NULL;
    }
    result->references = 1;
    result->status = KILN_STATUS_UNAVAILABLE;
    result->cpu_ms = -1;
    result->compile_ms = -1;
    result->outputs = json_array();
    result->output_files = json_array();
    result->errors = json_array();
    result->decisions = json_array();
    if (result->outputs == NULL || result->output_files == NULL || result->errors == NULL ||
        result->decisions == NULL) {
        kiln_result_unref(result);
        return NULL;
    }
    return result;
}

kiln_result *kiln_result_ref(kiln_result *result)
{
    result->references++;
    return result;
}

void kiln_result_unref(kiln_result *result)
{
    if (result == NULL || --result->references > 0) {
        return;
    }
    json_decref(result->outputs);
    json_decref(result->output_files);
    json_decref(result->errors);
    json_decref(result->decisions);
    free(result->session_id);
    free(result->execution_id);
    free(result->cell_id);
    free(result->language);
    free(result->backend);
    free(result);
}

int kiln_result_add_error(kiln_result *result, const char *kind, const char *name,
                          const char *message, json_t *traceback)
{
    json_t *error =
        json_pack("{s:s, s:s, s:s, s:o}", "kind", kind, "name", name, "message", message,
                  "traceback", traceback != NULL ? json_incref(traceback) : json_array());
    return json_array_append_new(result->errors, error) < 0 ? -ENOMEM : 0;
}

int kiln_result_add_decision(kiln_result *result, const char *policy, const char *action,
                             const char *detail)
{
    json_t *decision =
        json_pack("{s:s, s:s, s:s}", "policy", policy, "action", action, "detail", detail);
    return json_array_append_new(result->decisions, decision) < 0 ? -ENOMEM : 0;
}

int kiln_result_stream(const kiln_result *result, kiln_stream stream, kiln_buffer *text)
{
    const char *wanted = stream == KILN_STDERR ? "stderr" : "stdout";
    size_t index;
    json_t *output;
    json_array_foreach(result->outputs, index, output)
    {
        const char *type = json_string_value(json_object_get(output, "type"));
        const char *name = json_string_value(json_object_get(output, "name"));
        if (type != NULL && name != NULL && strcmp(type, "stream") == 0 &&
            strcmp(name, wanted) == 0) {
            const json_t *part = json_object_get(output, "text");
            if (kiln_buffer_append(text, json_string_value(part), json_string_length(part)) <
                0) {
                return -ENOMEM;
            }
        }
    }
    return 0;
}

static json_t *string_or_null(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

/* Microseconds are what the clock is good for; more digits are noise in a log. */
static json_t *milliseconds(double value)
{
    return value < 0 ? json_null() : json_real(round(value * 1000.0) / 1000.0);
}

static json_t *stream_text(const kiln_result *result, kiln_stream stream)
{
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    if (kiln_result_stream(result, stream, &text) < 0) {
        return NULL;
    }
    return json_stringn(text.data != NULL ? text.data : "", text.length);
}

static json_t *count_or_null(bool known, uint64_t value)
{
    return known ? json_integer((json_int_t)value) : json_null();
}

json_t *kiln_time_to_json(const struct timespec *at)
{
    struct tm utc;
    char text[40], full[64];
    if (at->tv_sec == 0 || gmtime_r(&at->tv_sec, &utc) == NULL) {
        return json_null();
    }
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(full, sizeof(full), "%s.%03ldZ", text, at->tv_nsec / 1000000);
    return json_string(full);
}

json_t *kiln_result_to_json(const kiln_result *result)
{
    json_t *json = json_object();
    json_object_set_new(json, "session_id", string_or_null(result->session_id));
    json_object_set_new(json, "execution_id", string_or_null(result->execution_id));
    json_object_set_new(json, "cell_id", string_or_null(result->cell_id));
    json_object_set_new(json, "execution_count",
                        json_integer((json_int_t)result->execution_count));
    json_object_set_new(json, "language", string_or_null(result->language));
    json_object_set_new(json, "backend", string_or_null(result->backend));
    json_object_set_new(json, "success", json_boolean(kiln_result_success(result)));
    json_object_set_new(json, "status", json_string(kiln_status_name(result->status)));
    json_object_set_new(json, "exit_code",
                        result->has_exit_code ? json_integer(result->exit_code) : json_null());
    json_object_set_new(json, "signal",
                        result->signal > 0 ? json_integer(result->signal) : json_null());
    json_object_set_new(json, "started_at", kiln_time_to_json(&result->started_at));
    json_object_set_new(json, "duration_ms", milliseconds(result->duration_ms));
    json_object_set(json, "outputs", result->outputs);
    json_object_set_new(json, "stdout", stream_text(result, KILN_STDOUT));
    json_object_set_new(json, "stderr", stream_text(result, KILN_STDERR));
    json_t *truncated =
        json_pack("{s:I, s:I}", "stdout", (json_int_t)result->truncated[KILN_STDOUT], "stderr",
                  (json_int_t)result->truncated[KILN_STDERR]);
    if (result->truncated[0] > 0) { /* display data: beyond the contract's two streams */
        json_object_set_new(truncated, "display",
                            json_integer((json_int_t)result->truncated[0]));
    }
    json_object_set_new(json, "truncated", truncated);
    json_object_set(json, "output_files", result->output_files);
    json_object_set(json, "errors", result->errors);
    json_object_set_new(
        json, "usage",
        json_pack("{s:o, s:o, s:o, s:o}", "cpu_ms", milliseconds(result->cpu_ms),
                  "max_rss_bytes",
                  count_or_null(result->max_rss_bytes > 0, result->max_rss_bytes), "processes",
                  count_or_null(result->processes > 0, result->processes), "disk_bytes",
                  count_or_null(result->has_disk, result->disk_bytes)));
    json_object_set_new(json, "phases",
                        json_pack("{s:o}", "compile", milliseconds(result->compile_ms)));
    json_object_set(json, "decisions", result->decisions);
    return json;
}

static int take_text(char **field, const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));
    return text == NULL ? 0 : (*field = strdup(text)) == NULL ? -ENOMEM : 0;
}

static void take_array(json_t **field, const json_t *json, const char *key)
{
    json_t *value = json_object_get(json, key);
    if (json_is_array(value)) {
        json_decref(*field);
        *field = json_deep_copy(value);
    }
}

/* A test writes `stdout = "x"` and means one stream output. */
static void take_stream(kiln_result *result, const json_t *json, const char *name)
{
    const json_t *text = json_object_get(json, name);
    if (json_is_string(text) && json_string_length(text) > 0 &&
        json_object_get(json, "outputs") == NULL) {
        json_array_append_new(result->outputs, json_pack("{s:s, s:s, s:O}", "type", "stream",
                                                         "name", name, "text", text));
    }
}

int kiln_result_from_json(const json_t *json, kiln_result **out, kiln_error *err)
{
    const char *status = json_string_value(json_object_get(json, "status"));
    kiln_result *result = kiln_result_new();
    if (result == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    result->status = KILN_STATUS_OK;
    if (!json_is_object(json) ||
        (status != NULL && kiln_status_from_name(status, &result->status) < 0)) {
        kiln_result_unref(result);
        return kiln_error_set(err, EINVAL, "result: not an object, or no status \"%s\"",
                              status != NULL ? status : "");
    }
    int rc = take_text(&result->session_id, json, "session_id");
    rc = rc < 0 ? rc : take_text(&result->execution_id, json, "execution_id");
    rc = rc < 0 ? rc : take_text(&result->cell_id, json, "cell_id");
    rc = rc < 0 ? rc : take_text(&result->language, json, "language");
    rc = rc < 0 ? rc : take_text(&result->backend, json, "backend");
    if (rc < 0) {
        kiln_result_unref(result);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    const json_t *exit_code = json_object_get(json, "exit_code");
    result->has_exit_code = json_is_integer(exit_code);
    result->exit_code = (int)json_integer_value(exit_code);
    result->signal = (int)json_integer_value(json_object_get(json, "signal"));
    result->duration_ms = json_number_value(json_object_get(json, "duration_ms"));
    result->execution_count =
        (uint64_t)json_integer_value(json_object_get(json, "execution_count"));
    take_array(&result->outputs, json, "outputs");
    take_array(&result->output_files, json, "output_files");
    take_array(&result->errors, json, "errors");
    take_array(&result->decisions, json, "decisions");
    take_stream(result, json, "stdout");
    take_stream(result, json, "stderr");
    *out = result;
    return 0;
}
