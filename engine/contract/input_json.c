/* The JSON shape of CodeExecutionInput. */
#include "contract/input.h"

#include "base/buffer.h"
#include "base/cleanup.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

static int wrong_type(kiln_error *err, const char *key, const char *wanted)
{
    return kiln_error_set(err, EINVAL, "input: \"%s\" is not %s", key, wanted);
}

/* C strings end at a NUL; what JSON can hold beyond it would be lost silently. */
static const char *plain_string(const json_t *value)
{
    return json_is_string(value) &&
                   strlen(json_string_value(value)) == json_string_length(value)
               ? json_string_value(value)
               : NULL;
}

static int take_string(char **field, const char *key, const json_t *value, kiln_error *err)
{
    if (json_is_null(value)) {
        return 0;
    }
    const char *text = plain_string(value);
    if (text == NULL) {
        return wrong_type(err, key, "a string without NUL");
    }
    return kiln_request_set_string(field, text) < 0
               ? kiln_error_set(err, ENOMEM, "out of memory")
               : 0;
}

static int take_file(kiln_request *request, size_t index, const json_t *value, kiln_error *err)
{
    const char *name = plain_string(json_object_get(value, "name"));
    const json_t *content = json_object_get(value, "content");
    const json_t *encoding = json_object_get(value, "encoding");
    const char *path = plain_string(json_object_get(value, "path"));
    const char *mime_type = plain_string(json_object_get(value, "mime_type"));
    if (name == NULL) {
        return kiln_error_set(err, EINVAL, "input: input_files[%zu] has no name", index);
    }
    if ((path == NULL) == (content == NULL) || (content != NULL && !json_is_string(content))) {
        return kiln_error_set(err, EINVAL,
                              "input: input_files[%zu] (\"%s\") needs either a content or a "
                              "path",
                              index, name);
    }
    const char *key;
    json_t *ignored;
    json_object_foreach((json_t *)value, key, ignored)
    {
        if (strcmp(key, "name") != 0 && strcmp(key, "content") != 0 &&
            strcmp(key, "path") != 0 && strcmp(key, "mime_type") != 0 &&
            strcmp(key, "encoding") != 0) {
            return kiln_error_set(err, EINVAL, "input: input_files[%zu]: unknown key \"%s\"",
                                  index, key);
        }
    }
    const char *data = content != NULL ? json_string_value(content) : NULL;
    size_t length = content != NULL ? json_string_length(content) : 0;
    auto_free unsigned char *decoded = NULL;
    if (encoding != NULL) {
        const char *text = plain_string(encoding);
        if (text == NULL || strcmp(text, "base64") != 0 || content == NULL) {
            return kiln_error_set(err, EINVAL,
                                  "input: input_files[%zu].encoding: only \"base64\" with a "
                                  "content is known",
                                  index);
        }
        decoded = malloc(length / 4 * 3 + 3);
        size_t decoded_length = 0;
        if (decoded == NULL) {
            return kiln_error_set(err, ENOMEM, "out of memory");
        }
        if (sodium_base642bin(decoded, length / 4 * 3 + 3, data, length, NULL, &decoded_length,
                              NULL, sodium_base64_VARIANT_ORIGINAL) != 0) {
            return kiln_error_set(err, EINVAL,
                                  "input: input_files[%zu] (\"%s\"): content is not base64",
                                  index, name);
        }
        data = (const char *)decoded;
        length = decoded_length;
    }
    return kiln_request_add_file(request, name, path, data, length, mime_type) < 0
               ? kiln_error_set(err, ENOMEM, "out of memory")
               : 0;
}

static int take_words(kiln_request *request, const json_t *value, kiln_error *err)
{
    size_t index;
    json_t *item;
    if (!json_is_array(value)) {
        return wrong_type(err, "args", "an array of strings");
    }
    json_array_foreach(value, index, item)
    {
        const char *text = plain_string(item);
        if (text == NULL) {
            return wrong_type(err, "args", "an array of strings without NUL");
        }
        if (kiln_request_add_arg(request, text) < 0) {
            return kiln_error_set(err, ENOMEM, "out of memory");
        }
    }
    return 0;
}

static int take_env(kiln_request *request, const json_t *value, kiln_error *err)
{
    const char *name;
    json_t *item;
    if (!json_is_object(value)) {
        return wrong_type(err, "env", "an object of strings");
    }
    json_object_foreach((json_t *)value, name, item)
    {
        const char *text = plain_string(item);
        if (text == NULL) {
            return wrong_type(err, "env", "an object of strings without NUL");
        }
        auto_buffer kiln_buffer assignment = KILN_BUFFER_INIT;
        if (kiln_buffer_printf(&assignment, "%s=%s", name, text) < 0 ||
            kiln_request_add_env(request, assignment.data) < 0) {
            return kiln_error_set(err, ENOMEM, "out of memory");
        }
    }
    return 0;
}

static int take_key(kiln_request *request, const char *key, const json_t *value,
                    kiln_error *err)
{
    if (strcmp(key, "code") == 0) {
        if (!json_is_string(value)) {
            return wrong_type(err, key, "a string");
        }
        return kiln_request_set_code(request, json_string_value(value),
                                     json_string_length(value)) < 0
                   ? kiln_error_set(err, ENOMEM, "out of memory")
                   : 0;
    }
    if (strcmp(key, "stdin") == 0) {
        if (!json_is_string(value) && !json_is_null(value)) {
            return wrong_type(err, key, "a string");
        }
        return json_is_string(value) &&
                       kiln_request_set_stdin(request, json_string_value(value),
                                              json_string_length(value)) < 0
                   ? kiln_error_set(err, ENOMEM, "out of memory")
                   : 0;
    }
    if (strcmp(key, "session_id") == 0) {
        return take_string(&request->session_id, key, value, err);
    }
    if (strcmp(key, "cell_id") == 0) {
        return take_string(&request->cell_id, key, value, err);
    }
    if (strcmp(key, "language") == 0) {
        return take_string(&request->language, key, value, err);
    }
    if (strcmp(key, "backend") == 0) {
        return take_string(&request->backend, key, value, err);
    }
    if (strcmp(key, "chain") == 0) {
        return take_string(&request->chain, key, value, err);
    }
    if (strcmp(key, "args") == 0) {
        return take_words(request, value, err);
    }
    if (strcmp(key, "env") == 0) {
        return take_env(request, value, err);
    }
    if (strcmp(key, "limits") == 0) {
        return kiln_limits_from_json(value, &request->limits, err);
    }
    if (strcmp(key, "transaction") == 0) {
        request->transaction = json_is_true(value);
        return json_is_boolean(value) ? 0 : wrong_type(err, key, "true or false");
    }
    if (strcmp(key, "timeout_ms") == 0) {
        if (!json_is_integer(value) || json_integer_value(value) <= 0) {
            return wrong_type(err, key, "a whole number above 0 (milliseconds)");
        }
        request->limits.timeout_ms = (uint64_t)json_integer_value(value);
        return 0;
    }
    if (strcmp(key, "input_files") == 0) {
        size_t index;
        json_t *item;
        if (!json_is_array(value)) {
            return wrong_type(err, key, "an array");
        }
        json_array_foreach(value, index, item)
        {
            int rc = take_file(request, index, item, err);
            if (rc < 0) {
                return rc;
            }
        }
        return 0;
    }
    return kiln_error_set(err, EINVAL, "input: unknown key \"%s\"", key);
}

int kiln_request_from_json(const json_t *json, kiln_request **result, kiln_error *err)
{
    if (!json_is_object(json)) {
        return kiln_error_set(err, EINVAL, "input is not a JSON object");
    }
    if (json_object_get(json, "code") == NULL) {
        return kiln_error_set(err, EINVAL, "input: \"code\" is missing");
    }
    kiln_request *request = kiln_request_new();
    if (request == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)json, key, value)
    {
        int rc = take_key(request, key, value, err);
        if (rc < 0) {
            kiln_request_free(request);
            return rc;
        }
    }
    *result = request;
    return 0;
}

static json_t *string_or_null(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

json_t *kiln_request_to_json(const kiln_request *request)
{
    json_t *args = json_array();
    for (size_t i = 0; request->args[i] != NULL; i++) {
        json_array_append_new(args, json_string(request->args[i]));
    }
    json_t *env = json_object();
    for (size_t i = 0; request->env[i] != NULL; i++) {
        const char *equals = strchr(request->env[i], '=');
        if (equals != NULL) {
            auto_free char *name = strndup(request->env[i], (size_t)(equals - request->env[i]));
            json_object_set_new(env, name, json_string(equals + 1));
        }
    }
    json_t *files = json_array();
    for (size_t i = 0; i < request->input_file_count; i++) {
        const kiln_input_file *file = &request->input_files[i];
        json_t *entry =
            json_pack("{s:s, s:o, s:o}", "name", file->name, "path", string_or_null(file->path),
                      "mime_type", string_or_null(file->mime_type));
        if (file->path == NULL) {
            json_object_set_new(entry, "size", json_integer((json_int_t)file->length));
        }
        json_array_append_new(files, entry);
    }
    json_t *stdin_text = request->stdin_data == NULL
                             ? json_null()
                             : json_stringn(request->stdin_data, request->stdin_length);
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "session_id",
        string_or_null(request->session_id), "code",
        json_stringn(request->code, request->code_length), "input_files", files, "cell_id",
        string_or_null(request->cell_id), "language", json_string(request->language), "stdin",
        stdin_text != NULL ? stdin_text : json_null(), "args", args, "env", env, "timeout_ms",
        request->limits.timeout_ms > 0 ? json_integer((json_int_t)request->limits.timeout_ms)
                                       : json_null(),
        "limits", kiln_limits_to_json(&request->limits), "backend",
        string_or_null(request->backend), "chain", string_or_null(request->chain),
        "transaction", request->transaction);
}
