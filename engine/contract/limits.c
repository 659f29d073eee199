#include "contract/limits.h"

#include "contract/input.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

const kiln_limit_field kiln_limit_fields[] = {
    {"cpu", offsetof(kiln_limits, cpu_ms), KILN_LIMIT_MILLISECONDS},
    {"memory", offsetof(kiln_limits, memory), KILN_LIMIT_BYTES},
    {"processes", offsetof(kiln_limits, processes), KILN_LIMIT_COUNT},
    {"output", offsetof(kiln_limits, output), KILN_LIMIT_BYTES},
    {"disk", offsetof(kiln_limits, disk), KILN_LIMIT_BYTES},
    {"files", offsetof(kiln_limits, files), KILN_LIMIT_COUNT},
    {"open_files", offsetof(kiln_limits, open_files), KILN_LIMIT_COUNT},
    {"file_size", offsetof(kiln_limits, file_size), KILN_LIMIT_BYTES},
    {"cpus", offsetof(kiln_limits, cpus), KILN_LIMIT_THOUSANDTHS},
    {NULL, 0, KILN_LIMIT_COUNT},
};

const kiln_limit_field *kiln_limit_find(const char *name)
{
    const kiln_limit_field *field = kiln_limit_fields;
    while (field->name != NULL && strcmp(field->name, name) != 0) {
        field++;
    }
    return field->name != NULL ? field : NULL;
}

const char *kiln_limit_show(const kiln_limit_field *field, uint64_t value, char *text,
                            size_t size)
{
    static const char *const units[] = {[KILN_LIMIT_MILLISECONDS] = " ms",
                                        [KILN_LIMIT_BYTES] = " bytes",
                                        [KILN_LIMIT_COUNT] = ""};
    if (field->unit != KILN_LIMIT_THOUSANDTHS) {
        snprintf(text, size, "%" PRIu64 "%s", value, units[field->unit]);
        return text;
    }
    snprintf(text, size, "%" PRIu64 ".%03u", value / 1000, (unsigned)(value % 1000));
    for (char *end = strchr(text, '\0'); end[-1] == '0' || end[-1] == '.'; end--) {
        bool point = end[-1] == '.';
        end[-1] = '\0';
        if (point) {
            break;
        }
    }
    return text;
}

/* A share of the CPUs may have decimals; everything else is whole. */
static int take_value(const kiln_limit_field *field, const json_t *value, uint64_t *limit,
                      kiln_error *err)
{
    static const char *const units[] = {[KILN_LIMIT_MILLISECONDS] = "milliseconds",
                                        [KILN_LIMIT_BYTES] = "bytes",
                                        [KILN_LIMIT_COUNT] = "a count"};
    if (field->unit == KILN_LIMIT_THOUSANDTHS) {
        double number = json_number_value(value);
        if (!json_is_number(value) || !(number * 1000 >= KILN_CPUS_LEAST && number <= 1e6)) {
            return kiln_error_set(err, EINVAL,
                                  "limits.%s is not a number from 0.01 to 1000000 (CPUs)",
                                  field->name);
        }
        *limit = (uint64_t)(number * 1000 + 0.5);
        return 0;
    }
    if (!json_is_integer(value) || json_integer_value(value) <= 0) {
        return kiln_error_set(err, EINVAL, "limits.%s is not a whole number above 0 (%s)",
                              field->name, units[field->unit]);
    }
    *limit = (uint64_t)json_integer_value(value);
    return 0;
}

int kiln_limits_from_json(const json_t *json, kiln_limits *limits, kiln_error *err)
{
    if (!json_is_object(json)) {
        return kiln_error_set(err, EINVAL, "limits is not an object");
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)json, key, value)
    {
        const kiln_limit_field *field = kiln_limit_find(key);
        if (field == NULL) {
            return kiln_error_set(err, EINVAL, "limits: unknown limit \"%s\"", key);
        }
        int rc = take_value(field, value, kiln_limit_at(limits, field), err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

json_t *kiln_limits_to_json(const kiln_limits *limits)
{
    json_t *json = json_object();
    for (const kiln_limit_field *field = kiln_limit_fields; field->name != NULL; field++) {
        uint64_t value = kiln_limit_get(limits, field);
        if (value > 0) {
            json_object_set_new(json, field->name,
                                field->unit == KILN_LIMIT_THOUSANDTHS
                                    ? json_real((double)value / 1000)
                                    : json_integer((json_int_t)value));
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
