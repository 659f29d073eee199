/* The list of limits: as JSON, as text, in the configuration, the smaller of two; and
 * what a result says of those that were touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/units.h"
#include "contract/input.h"
#include "contract/limits.h"
#include "core/engine-t.h"

static int from_json(const char *text, kiln_limits *limits)
{
    kiln_error err = KILN_ERROR_INIT;
    auto_json json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    *limits = (kiln_limits){.size = sizeof(*limits)};
    return kiln_limits_from_json(json, limits, &err);
}

static void json_both_ways(void **state)
{
    (void)state;
    kiln_limits limits;
    assert_int_equal(
        from_json("{\"cpu\":1,\"memory\":2,\"processes\":3,\"output\":4,\"disk\":5,"
                  "\"files\":6,\"open_files\":7,\"file_size\":8,\"cpus\":1.5}",
                  &limits),
        0);
    assert_int_equal(limits.cpu_ms, 1);
    assert_int_equal(limits.file_size, 8);
    assert_int_equal(limits.cpus, 1500);
    auto_json json_t *again = kiln_limits_to_json(&limits);
    assert_int_equal(json_object_size(again), 9);
    assert_true(json_real_value(json_object_get(again, "cpus")) == 1.5);
    assert_int_equal(from_json("{\"cpus\":2}", &limits), 0);
    assert_int_equal(limits.cpus, 2000);
    static const char *const bad[] = {
        "{\"cpus\":0}",     "{\"cpus\":0.009}", "{\"cpus\":-1}",
        "{\"cpus\":1e300}", "{\"cpus\":\"1\"}", "{\"memory\":1.5}",
        "{\"memory\":0}",   "{\"speed\":1}",    "[]"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(from_json(bad[i], &limits), -EINVAL);
    }
}

static void shown(const char *name, uint64_t value, const char *text)
{
    char got[40];
    assert_string_equal(kiln_limit_show(kiln_limit_find(name), value, got, sizeof(got)), text);
}

static void as_text(void **state)
{
    (void)state;
    shown("cpus", 1500, "1.5");
    shown("cpus", 2000, "2");
    shown("cpus", 10, "0.01");
    shown("cpus", 10000, "10");
    shown("memory", 4096, "4096 bytes");
    shown("cpu", 300, "300 ms");
    shown("processes", 12, "12");
    assert_null(kiln_limit_find("timeout"));
    assert_null(kiln_limit_find(""));
}

static void decimals(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    uint64_t value;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},     {"2", 2000},    {"1.5", 1500},
                {"0.01", 10}, {"0.125", 125}, {"10.05", 10050}};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(kiln_units_decimal(good[i].text, &value, &err), 0);
        assert_int_equal(value, good[i].value);
    }
    static const char *const bad[] = {"",    "x",    "-1",    ".5",     "1.",
                                      "1,5", "1.5s", "1.5.5", "0.0001", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_true(kiln_units_decimal(bad[i], &value, &err) < 0);
    }
}

static void count_clamped(void *user, const char *name, uint64_t asked, uint64_t given)
{
    assert_true(asked > given);
    assert_non_null(name);
    ++*(int *)user;
}

static void the_smaller(void **state)
{
    (void)state;
    int clamped = 0;
    kiln_limits limits = {.timeout_ms = 10, .memory = 5, .cpus = 3000};
    const kiln_limits ceiling = {.timeout_ms = 20, .memory = 4, .cpus = 1500, .disk = 7};
    kiln_limits_min(&limits, &ceiling, count_clamped, &clamped);
    assert_int_equal(clamped, 2);
    assert_int_equal(limits.timeout_ms, 10);
    assert_int_equal(limits.memory, 4);
    assert_int_equal(limits.cpus, 1500);
    assert_int_equal(limits.disk, 7); /* not asked: the ceiling, and nothing to tell */
    assert_int_equal(limits.files, 0);
}

/* ---- what a result says */

static kiln_result *judged(kiln_status status, const kiln_account *account, int error_number)
{
    const kiln_limits limits = {.memory = 1 << 20,
                                .processes = 12,
                                .disk = 4096,
                                .files = 80,
                                .open_files = 40,
                                .cpus = 500};
    kiln_result *result = kiln_result_new();
    assert_non_null(result);
    result->status = status;
    kiln_core_apply_usage(result, account);
    kiln_core_apply_limits(result, account, &limits, error_number);
    return result;
}

static const char *limit_error(const kiln_result *result)
{
    const json_t *error = json_array_get(result->errors, json_array_size(result->errors) - 1);
    return json_string_value(json_object_get(error, "name"));
}

static const char *decision(const kiln_result *result)
{
    assert_int_equal(json_array_size(result->decisions), 1);
    return json_string_value(json_object_get(json_array_get(result->decisions, 0), "detail"));
}

static void certain_causes(void **state)
{
    (void)state;
    static const struct {
        int number;
        kiln_account account;
        const char *name; /* NULL: the error is the code's own */
    } cases[] = {
        {ENOSPC, {.cpus_kept = true}, "disk"},
        {EDQUOT, {.cpus_kept = true}, "disk"},
        {ENOSPC, {.cpus_kept = true, .files_hit = true}, "files"},
        {EMFILE, {.cpus_kept = true}, "open_files"},
        {EFBIG, {.cpus_kept = true}, NULL}, /* no limit of that kind here */
        {EAGAIN, {.cpus_kept = true, .processes_hit = true}, "processes"},
        {EAGAIN, {.cpus_kept = true}, NULL}, /* a socket's, perhaps */
        {ENOMEM, {.cpus_kept = true, .memory_hit = true}, "memory"},
        {ENOMEM, {.cpus_kept = true, .max_memory_bytes = 1 << 20}, "memory"},
        {ENOMEM, {.cpus_kept = true, .max_memory_bytes = 1 << 19}, NULL},
        {ENOENT, {.cpus_kept = true}, NULL},
        {0, {.cpus_kept = true}, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        kiln_result *result = judged(KILN_STATUS_ERROR, &cases[i].account, cases[i].number);
        if (cases[i].name != NULL) {
            assert_int_equal(result->status, KILN_STATUS_LIMIT);
            assert_string_equal(limit_error(result), cases[i].name);
        } else {
            assert_int_equal(result->status, KILN_STATUS_ERROR);
            assert_int_equal(json_array_size(result->errors), 0);
        }
        assert_int_equal(json_array_size(result->decisions), 0);
        kiln_result_unref(result);
    }
}

static void code_that_goes_on(void **state)
{
    (void)state;
    kiln_account account = {.cpu_ms = 3,
                            .cpus_kept = true,
                            .disk_hit = true,
                            .disk_limit = 2048,
                            .files_limit = 80};
    kiln_result *result = judged(KILN_STATUS_OK, &account, ENOSPC);
    assert_int_equal(result->status, KILN_STATUS_OK);
    assert_int_equal(json_array_size(result->errors), 0);
    assert_string_equal(decision(result),
                        "disk 2048 bytes was reached"); /* as large as it is */
    kiln_result_unref(result);

    account = (kiln_account){.cpus_kept = false};
    result = judged(KILN_STATUS_OK, &account, 0);
    assert_non_null(strstr(decision(result), "cpus 0.5 is not kept"));
    kiln_result_unref(result);
}

static void the_kernels_word(void **state)
{
    (void)state;
    kiln_result *result = kiln_result_new();
    assert_non_null(result);
    result->cpu_ms = 5;
    result->max_rss_bytes = 100;
    kiln_account account = {.cpu_ms = -1, .disk_bytes = 0};
    kiln_core_apply_usage(result, &account); /* it knows nothing */
    assert_true(result->cpu_ms == 5 && result->max_rss_bytes == 100);
    assert_true(result->has_disk && result->processes == 0);
    account = (kiln_account){.cpu_ms = 4, .cpu_is_coarse = true};
    kiln_core_apply_usage(result, &account);
    assert_true(result->cpu_ms == 5);
    account = (kiln_account){.cpu_ms = 4, .max_memory_bytes = 50, .processes = 2};
    kiln_core_apply_usage(result, &account);
    assert_true(result->cpu_ms == 4 && result->max_rss_bytes == 50 && result->processes == 2);
    kiln_result_unref(result);
}

static int number_of(const char *text)
{
    const kiln_event event = {
        .size = sizeof(event), .type = KILN_EVENT_ERROR, .data = text, .length = strlen(text)};
    return kiln_core_error_number(&event);
}

static void error_numbers(void **state)
{
    (void)state;
    assert_int_equal(number_of("{\"name\":\"OSError\",\"errno\":28}"), 28);
    assert_int_equal(number_of("{\"name\":\"OSError\"}"), 0);
    assert_int_equal(number_of("{\"errno\":\"28\"}"), 0);
    assert_int_equal(number_of("{\"errno\":-28}"), 0);
    assert_int_equal(number_of("{\"errno\":4294967324}"), 0);
    assert_int_equal(number_of("[28"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_both_ways),   cmocka_unit_test(as_text),
        cmocka_unit_test(decimals),         cmocka_unit_test(the_smaller),
        cmocka_unit_test(certain_causes),   cmocka_unit_test(code_that_goes_on),
        cmocka_unit_test(the_kernels_word), cmocka_unit_test(error_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
