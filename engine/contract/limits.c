#include "contract/limits.h"

#include "contract/input.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

const kiln_limit_field kiln_limit_fields[] = {
    {"cpu", offsetof(kiln_limits, cpu_ms)},
    {"memory", offsetof(kiln_limits, memory)},
    {"processes", offsetof(kiln_limits, processes)},
    {"output", offsetof(kiln_limits, output)},
    {"disk", offsetof(kiln_limits, disk)},
    {"files", offsetof(kiln_limits, files)},
    {"open_files", offsetof(kiln_limits, open_files)},
    {"file_size", offsetof(kiln_limits, file_size)},
    {NULL, 0},
};

int kiln_limits_from_json(const json_t *json, kiln_limits *limits, kiln_error *err)
{
    if (!json_is_object(json)) {
        return kiln_error_set(err, EINVAL, "limits is not an object");
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)json, key, value)
    {
        const kiln_limit_field *field = kiln_limit_fields;
        while (field->name != NULL && strcmp(field->name, key) != 0) {
            field++;
        }
        if (field->name == NULL) {
            return kiln_error_set(err, EINVAL, "limits: unknown limit \"%s\"", key);
        }
        if (!json_is_integer(value) || json_integer_value(value) <= 0) {
            return kiln_error_set(err, EINVAL, "limits.%s is not a whole number above 0 (%s)",
                                  key,
                                  strcmp(key, "cpu") == 0 ? "milliseconds" : "bytes or count");
        }
        *kiln_limit_at(limits, field) = (uint64_t)json_integer_value(value);
    }
    return 0;
}

json_t *kiln_limits_to_json(const kiln_limits *limits)
{
    json_t *json = json_object();
    for (const kiln_limit_field *field = kiln_limit_fields; field->name != NULL; field++) {
        uint64_t value = kiln_limit_get(limits, field);
        if (value > 0) {
            json_object_set_new(json, field->name, json_integer((json_int_t)value));
        }
    }
    return json;
}

static uint64_t smaller(const char *name, uint64_t asked, uint64_t ceiling,
                        void (*clamped)(void *, const char *, uint64_t, uint64_t), void *user)
{
    if (ceiling == 0 || (asked > 0 && asked <= ceiling)) {
        return asked;
    }
    if (asked > 0 && clamped != NULL) {
        clamped(user, name, asked, ceiling);
    }
    return ceiling;
}

void kiln_limits_min(kiln_limits *limits, const kiln_limits *ceiling,
                     void (*clamped)(void *user, const char *name, uint64_t asked,
                                     uint64_t given),
                     void *user)
{
    for (const kiln_limit_field *field = kiln_limit_fields; field->name != NULL; field++) {
        uint64_t *value = kiln_limit_at(limits, field);
        *value = smaller(field->name, *value, kiln_limit_get(ceiling, field), clamped, user);
    }
    limits->timeout_ms =
        smaller("timeout_ms", limits->timeout_ms, ceiling->timeout_ms, clamped, user);
}
