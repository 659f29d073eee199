/* Limits that an execution touched, told by the kernel's counters and by the error that
 * the code raised. Code may deal with a limit and go on: then its status is its own, and
 * a decision says that the limit was reached. */
#include "core/engine-t.h"

#include "base/cleanup.h"
#include "contract/limits.h"

#include <errno.h>
#include <string.h>

void kiln_core_apply_usage(kiln_result *result, const kiln_account *account)
{
    if (account->cpu_ms >= 0 && (!account->cpu_is_coarse || account->cpu_ms > result->cpu_ms)) {
        result->cpu_ms = account->cpu_ms;
    }
    if (account->max_memory_bytes > 0) {
        result->max_rss_bytes = account->max_memory_bytes;
    }
    result->processes = account->processes;
    result->disk_bytes = account->disk_bytes;
    result->has_disk = !account->disk_unknown;
}

int kiln_core_error_number(const kiln_event *event)
{
    auto_json json_t *json = json_loadb(event->data, event->length, JSON_ALLOW_NUL, NULL);
    json_int_t number = json_integer_value(json_object_get(json, "errno"));
    return number > 0 && number < 4096 ? (int)number : 0;
}

/* Is memory so near its limit that a refused allocation was due to it? */
static bool near_limit(const kiln_result *result, const kiln_limits *limits)
{
    return limits->memory > 0 && result->max_rss_bytes >= limits->memory / 8 * 7;
}

/* The limit that an uncaught error of that number was due to, or NULL. Only where nothing
 * else gives it: a socket gives EAGAIN, too, and a file larger than any may be EFBIG. */
static const char *limit_of(int error_number, const kiln_result *result,
                            const kiln_account *account, const kiln_limits *limits)
{
    switch (error_number) {
    case ENOSPC:
    case EDQUOT:
        return account->files_hit ? "files" : limits->disk > 0 ? "disk" : NULL;
    case EMFILE:
        return limits->open_files > 0 ? "open_files" : NULL;
    case EFBIG:
        return limits->file_size > 0 ? "file_size" : NULL;
    case EAGAIN:
        return account->processes_hit ? "processes" : NULL;
    case ENOMEM:
        return account->memory_hit || near_limit(result, limits) ? "memory" : NULL;
    default:
        return NULL;
    }
}

static bool is_named(const kiln_result *result, const char *name)
{
    size_t index;
    json_t *error;
    json_array_foreach(result->errors, index, error)
    {
        const char *kind = json_string_value(json_object_get(error, "kind"));
        const char *told = json_string_value(json_object_get(error, "name"));
        if (kind != NULL && told != NULL && strcmp(kind, "limit") == 0 &&
            strcmp(told, name) == 0) {
            return true;
        }
    }
    return false;
}

static void describe(const char *name, const kiln_limits *limits, char *text, size_t size)
{
    const kiln_limit_field *field = kiln_limit_find(name);
    char value[40];
    snprintf(text, size, "%s %s", name,
             kiln_limit_show(field, kiln_limit_get(limits, field), value, sizeof(value)));
}

void kiln_core_apply_limits(kiln_result *result, const kiln_account *account,
                            const kiln_limits *asked, int error_number)
{
    kiln_limits real = *asked;
    const kiln_limits *limits = &real;
    real.disk = account->disk_limit > 0 ? account->disk_limit : real.disk;
    real.files = account->files_limit > 0 ? account->files_limit : real.files;
    const struct {
        const char *name;
        bool hit;
    } counted[] = {{"memory", account->memory_hit},
                   {"processes", account->processes_hit},
                   {"disk", account->disk_hit},
                   {"files", account->files_hit}};
    const char *cause = result->status == KILN_STATUS_ERROR
                            ? limit_of(error_number, result, account, limits)
                            : NULL;
    char limit[80];
    char text[160];
    if (cause != NULL) {
        describe(cause, limits, limit, sizeof(limit));
        snprintf(text, sizeof(text), "the limit was reached: %s", limit);
        result->status = KILN_STATUS_LIMIT;
        kiln_result_add_error(result, "limit", cause, text, NULL);
    }
    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
        if (counted[i].hit && !is_named(result, counted[i].name)) {
            describe(counted[i].name, limits, limit, sizeof(limit));
            snprintf(text, sizeof(text), "%s was reached", limit);
            kiln_result_add_decision(result, "engine", "limit", text);
        }
    }
    if (!account->cpus_kept) {
        describe("cpus", limits, limit, sizeof(limit));
        snprintf(text, sizeof(text),
                 "%s is not kept: no cgroup with the cpu controller, see `kiln check`", limit);
        kiln_result_add_decision(result, "engine", "limit", text);
    }
}
