/* The contract's types without an engine: input, limits, the log of outputs, result. */
#include "base/cleanup.h"
#include "base/utf8.h"
#include "contract/input.h"
#include "contract/result.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* ---- UTF-8 */

static void replaced(const char *bytes, size_t length, const char *wanted)
{
    auto_buffer kiln_buffer out = KILN_BUFFER_INIT;
    assert_int_equal(kiln_utf8_append(&out, bytes, length, false), (long)length);
    assert_string_equal(out.data, wanted);
}

static void utf8_maximal_subparts(void **state)
{
    (void)state;
    /* Unicode 15, section 3.9, table 3-8 */
    replaced("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", 9,
             "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
             "\xef\xbf\xbd\xef\xbf\xbd"
             "A");
    replaced("\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* a surrogate */
    replaced("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", 9,
             "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
             "A"
             "\xef\xbf\xbd\xef\xbf\xbd"
             "B");
    replaced("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", 9,
             "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
             "A");
    replaced("plain \xc3\xa9\xe2\x82\xac\xf0\x9f\x94\xa5", 15,
             "plain \xc3\xa9\xe2\x82\xac\xf0\x9f\x94\xa5");
    assert_true(kiln_utf8_valid("12345678\xc3\xa9", 10));
    assert_false(kiln_utf8_valid("12345678\xc3", 9));
}

/* ---- input */

static kiln_request *request_with_files(const char *const *names)
{
    kiln_request *request = kiln_request_new();
    for (; *names != NULL; names++) {
        assert_int_equal(kiln_request_add_file(request, *names, NULL, "x", 1, NULL), 0);
    }
    return request;
}

static void file_names(void **state)
{
    (void)state;
    static const char *const bad[] = {"/etc/passwd", "../x",        "a/../b",   "",
                                      ".",           "a//b",        "a/",       "a/./b",
                                      "..",          "line\nbreak", "\xff.txt", NULL};
    static const char *const good[] = {"a",   "d/b.txt",      "...", "-rf",
                                       "a b", "\xc3\xa9.csv", NULL};
    kiln_error err = KILN_ERROR_INIT;
    for (const char *const *name = bad; *name != NULL; name++) {
        const char *names[] = {*name, NULL};
        kiln_request *request = request_with_files(names);
        assert_int_equal(kiln_request_validate(request, &err), -EINVAL);
        assert_null(strchr(err.text, '\n'));
        kiln_request_free(request);
    }
    kiln_request *request = request_with_files(good);
    assert_int_equal(kiln_request_validate(request, &err), 0);
    kiln_request_free(request);
    char *over = malloc(2000);
    memset(over, 'x', 1999);
    over[1999] = '\0';
    assert_int_equal(kiln_file_name_check(over, &err), -EINVAL);
    over[300] = '\0';
    assert_int_equal(kiln_file_name_check(over, &err), -EINVAL);
    free(over);
}

static void file_names_collide(void **state)
{
    (void)state;
    static const char *const twice[] = {"b", "a", "b", NULL};
    static const char *const folder[] = {"a", "a-x", "a/b", NULL};
    kiln_error err = KILN_ERROR_INIT;
    kiln_request *request = request_with_files(twice);
    assert_int_equal(kiln_request_validate(request, &err), -EINVAL);
    assert_non_null(strstr(err.text, "twice"));
    kiln_request_free(request);
    request = request_with_files(folder);
    assert_int_equal(kiln_request_validate(request, &err), -EINVAL);
    assert_non_null(strstr(err.text, "folder"));
    kiln_request_free(request);
}

static void code_is_text(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_request *request = kiln_request_new();
    kiln_request_set_code(request, "a\0b", 3);
    assert_int_equal(kiln_request_validate(request, &err), -EINVAL);
    assert_non_null(strstr(err.text, "offset 1"));
    kiln_request_set_code(request, "a\xff", 2);
    assert_int_equal(kiln_request_validate(request, &err), -EINVAL);
    kiln_request_set_code(request, "", 0);
    assert_int_equal(kiln_request_validate(request, &err), 0);
    char *huge = malloc(KILN_CODE_MAX + 1);
    memset(huge, ' ', KILN_CODE_MAX + 1);
    kiln_request_set_code(request, huge, KILN_CODE_MAX + 1);
    free(huge);
    assert_int_equal(kiln_request_validate(request, &err), -E2BIG);
    kiln_request_free(request);
}

static void secrets_stay_out_of_errors(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_request *request = kiln_request_new();
    kiln_request_add_env(request, "BAD NAME=hunter2");
    assert_int_equal(kiln_request_validate(request, &err), -EINVAL);
    assert_null(strstr(err.text, "hunter2"));
    kiln_request_free(request);
}

static void input_from_json(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_request *request = NULL;
    auto_json json_t *json = json_loads(
        "{\"code\":\"1\",\"language\":\"bash\",\"args\":[\"a\"],\"env\":{\"A\":\"b\"},"
        "\"stdin\":\"in\",\"timeout_ms\":5,\"limits\":{\"memory\":7},\"input_files\":["
        "{\"name\":\"x\",\"content\":\"aGk=\",\"encoding\":\"base64\"}]}",
        0, NULL);
    assert_int_equal(kiln_request_from_json(json, &request, &err), 0);
    assert_string_equal(request->language, "bash");
    assert_string_equal(request->env[0], "A=b");
    assert_int_equal(request->limits.memory, 7);
    assert_int_equal(request->limits.timeout_ms, 5);
    assert_string_equal(request->input_files[0].content, "hi");
    kiln_request *copy = kiln_request_copy(request);
    auto_json json_t *first = kiln_request_to_json(request);
    auto_json json_t *second = kiln_request_to_json(copy);
    assert_true(json_equal(first, second));
    kiln_request_free(copy);
    kiln_request_free(request);

    static const char *const bad[] = {
        "[]",
        "{}",
        "{\"code\":1}",
        "{\"code\":\"\",\"cod\":1}",
        "{\"code\":\"\",\"limits\":{\"memroy\":1}}",
        "{\"code\":\"\",\"limits\":{\"memory\":-1}}",
        "{\"code\":\"\",\"timeout_ms\":0}",
        "{\"code\":\"\",\"args\":[1]}",
        "{\"code\":\"\",\"env\":{\"A\":1}}",
        "{\"code\":\"\",\"language\":\"a\\u0000b\"}",
        "{\"code\":\"\",\"input_files\":[{\"name\":\"a\"}]}",
        "{\"code\":\"\",\"input_files\":[{\"name\":\"a\",\"content\":\"\",\"x\":1}]}",
        "{\"code\":\"\",\"input_files\":[{\"name\":\"a\",\"content\":\"%\",\"encoding\":"
        "\"base64\"}]}",
        NULL};
    for (const char *const *text = bad; *text != NULL; text++) {
        auto_json json_t *wrong = json_loads(*text, JSON_ALLOW_NUL, NULL);
        err.text[0] = '\0';
        assert_int_equal(kiln_request_from_json(wrong, &request, &err), -EINVAL);
        assert_true(strlen(err.text) > 5);
    }
}

static void count_clamped(void *user, const char *name, uint64_t asked, uint64_t given)
{
    (void)name;
    assert_true(asked > given);
    ++*(int *)user;
}

static void smallest_limit_wins(void **state)
{
    (void)state;
    int clamped = 0;
    kiln_limits asked = {.size = sizeof(asked), .memory = 100, .output = 5, .timeout_ms = 9};
    const kiln_limits ceiling = {
        .size = sizeof(ceiling), .memory = 50, .output = 10, .processes = 3};
    kiln_limits_min(&asked, &ceiling, count_clamped, &clamped);
    assert_int_equal(asked.memory, 50);
    assert_int_equal(asked.output, 5);
    assert_int_equal(asked.processes, 3);
    assert_int_equal(asked.timeout_ms, 9);
    assert_int_equal(clamped, 1);
}

/* ---- outputs */

static void stream(kiln_output_log *log, kiln_stream which, const char *text)
{
    assert_int_equal(kiln_output_log_stream(log, which, text, strlen(text), NULL, NULL), 0);
}

static const char *text_at(const kiln_result *result, size_t index, const char *key)
{
    return json_string_value(json_object_get(json_array_get(result->outputs, index), key));
}

static int event(kiln_output_log *log, kiln_event_type type, const char *json)
{
    kiln_error err = KILN_ERROR_INIT;
    const kiln_event e = {
        .size = sizeof(e), .type = type, .data = json, .length = strlen(json)};
    return kiln_output_log_event(log, &e, &err);
}

static void outputs_keep_their_order(void **state)
{
    (void)state;
    kiln_result *result = kiln_result_new();
    kiln_output_log *log = kiln_output_log_new(result, 1000);
    stream(log, KILN_STDOUT, "a");
    stream(log, KILN_STDOUT, "b");
    stream(log, KILN_STDERR, "c");
    stream(log, KILN_STDOUT, "d");
    assert_int_equal(event(log, KILN_EVENT_RESULT, "{\"data\":{\"text/plain\":\"2\"}}"), 0);
    kiln_output_log_close(log);
    assert_int_equal(json_array_size(result->outputs), 4);
    assert_string_equal(text_at(result, 0, "text"), "ab");
    assert_string_equal(text_at(result, 1, "name"), "stderr");
    assert_string_equal(text_at(result, 2, "text"), "d");
    assert_string_equal(text_at(result, 3, "type"), "execute_result");
    kiln_result_unref(result);
}

static void cut_characters_are_joined(void **state)
{
    (void)state;
    kiln_result *result = kiln_result_new();
    kiln_output_log *log = kiln_output_log_new(result, 1000);
    stream(log, KILN_STDOUT, "\xf0\x9f");
    stream(log, KILN_STDERR, "!");
    stream(log, KILN_STDOUT, "\x94\xa5");
    stream(log, KILN_STDOUT, "\xe2\x82"); /* never completed */
    kiln_output_log_close(log);
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    kiln_result_stream(result, KILN_STDOUT, &text);
    assert_string_equal(text.data, "\xf0\x9f\x94\xa5\xef\xbf\xbd");
    kiln_result_unref(result);
}

static void floods_are_cut_and_counted(void **state)
{
    (void)state;
    kiln_result *result = kiln_result_new();
    kiln_output_log *log = kiln_output_log_new(result, 10);
    stream(log, KILN_STDOUT,
           "12345678\xe2\x82\xac"
           "9"); /* the euro sign would be cut */
    stream(log, KILN_STDOUT, "x");
    stream(log, KILN_STDERR, "kept");
    kiln_output_log_close(log);
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    kiln_result_stream(result, KILN_STDOUT, &text);
    assert_string_equal(text.data, "12345678");
    assert_int_equal(result->truncated[KILN_STDOUT], 5);
    assert_int_equal(result->truncated[KILN_STDERR], 0);
    kiln_result_unref(result);
}

static void entries_are_bounded(void **state)
{
    (void)state;
    kiln_result *result = kiln_result_new();
    kiln_output_log *log = kiln_output_log_new(result, 1 << 20);
    for (int i = 0; i < 2 * KILN_OUTPUTS_MAX; i++) {
        stream(log, i % 2 ? KILN_STDERR : KILN_STDOUT, i % 2 ? "e" : "o");
    }
    kiln_output_log_close(log);
    assert_true(json_array_size(result->outputs) <= KILN_OUTPUTS_MAX + 3);
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    kiln_result_stream(result, KILN_STDERR, &text);
    assert_int_equal(text.length, KILN_OUTPUTS_MAX);
    kiln_result_unref(result);
}

static void displays_are_checked_updated_cleared(void **state)
{
    (void)state;
    kiln_result *result = kiln_result_new();
    kiln_output_log *log = kiln_output_log_new(result, 1000);
    static const char *const bad[] = {"",
                                      "[]",
                                      "{}",
                                      "{\"data\":1}",
                                      "{\"data\":{\"x\":\"1\"}}",
                                      "{\"data\":{\"text/plain\":1}}",
                                      "{\"data\":{},\"metadata\":1}",
                                      NULL};
    for (const char *const *json = bad; *json != NULL; json++) {
        assert_int_equal(event(log, KILN_EVENT_DISPLAY, *json), -EINVAL);
    }
    assert_int_equal(event(log, KILN_EVENT_ERROR, "{\"name\":\"E\",\"value\":\"v\"}"), -EINVAL);
    assert_int_equal(json_array_size(result->outputs), 0);
    assert_int_equal(
        event(log, KILN_EVENT_DISPLAY,
              "{\"data\":{\"text/plain\":\"1\"},\"transient\":{\"display_id\":\"d\"}}"),
        0);
    assert_int_equal(
        event(log, KILN_EVENT_UPDATE,
              "{\"data\":{\"text/plain\":\"2\"},\"transient\":{\"display_id\":\"d\"}}"),
        0);
    assert_int_equal(json_array_size(result->outputs), 1);
    assert_string_equal(
        json_string_value(json_object_get(
            json_object_get(json_array_get(result->outputs, 0), "data"), "text/plain")),
        "2");
    assert_false(
        json_boolean_value(json_object_get(json_array_get(result->outputs, 0), "update")));
    assert_int_equal(
        event(log, KILN_EVENT_UPDATE,
              "{\"data\":{\"text/plain\":\"3\"},\"transient\":{\"display_id\":\"e\"}}"),
        0); /* of an earlier execution */
    assert_true(
        json_boolean_value(json_object_get(json_array_get(result->outputs, 1), "update")));
    assert_string_equal(text_at(result, 1, "display_id"), "e");
    json_array_remove(result->outputs, 1);
    assert_int_equal(event(log, KILN_EVENT_CLEAR, "{\"wait\":true}"), 0);
    assert_int_equal(json_array_size(result->outputs), 1);
    stream(log, KILN_STDOUT, "new");
    assert_int_equal(
        event(log, KILN_EVENT_ERROR, "{\"name\":\"E\",\"value\":\"v\",\"traceback\":[\"t\"]}"),
        0);
    kiln_output_log_close(log);
    assert_int_equal(json_array_size(result->outputs), 2);
    assert_string_equal(text_at(result, 0, "text"), "new");
    assert_int_equal(json_array_size(result->errors), 1);
    kiln_result_unref(result);
}

static void result_has_the_designs_shape(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "session_id", "execution_id", "cell_id", "execution_count", "language",
        "backend",    "success",      "status",  "exit_code",       "signal",
        "started_at", "duration_ms",  "outputs", "stdout",          "stderr",
        "truncated",  "output_files", "errors",  "usage",           "phases",
        "decisions"};
    kiln_result *result = kiln_result_new();
    result->started_at = (struct timespec){.tv_sec = 1795377600, .tv_nsec = 123456789};
    auto_json json_t *json = kiln_result_to_json(result);
    void *at = json_object_iter(json);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) { /* in this order */
        assert_non_null(at);
        assert_string_equal(json_object_iter_key(at), keys[i]);
        at = json_object_iter_next(json, at);
    }
    assert_null(at);
    assert_string_equal(json_string_value(json_object_get(json, "started_at")),
                        "2026-11-22T20:00:00.123Z");
    assert_true(json_is_null(json_object_get(json_object_get(json, "usage"), "cpu_ms")));
    assert_true(json_is_null(json_object_get(json_object_get(json, "phases"), "compile")));
    kiln_result_unref(result);
    for (kiln_status s = KILN_STATUS_OK; s <= KILN_STATUS_UNAVAILABLE; s++) {
        kiln_status back;
        assert_int_equal(kiln_status_from_name(kiln_status_name(s), &back), 0);
        assert_int_equal(back, s);
    }
}

static void errors_are_one_line(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    assert_int_equal(kiln_error_set(&err, EINVAL, "a\nb\x1b[31m"), -EINVAL);
    assert_string_equal(err.text, "a b?[31m");
    kiln_error_wrap(&err, "outer %d", 1);
    assert_string_equal(err.text, "outer 1: a b?[31m");
    char big[3000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    kiln_error_set(&err, EINVAL, "%s", big);
    kiln_error_wrap(&err, "context");
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_string_equal(err.text + sizeof(err.text) - 4, "...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_maximal_subparts),
        cmocka_unit_test(file_names),
        cmocka_unit_test(file_names_collide),
        cmocka_unit_test(code_is_text),
        cmocka_unit_test(secrets_stay_out_of_errors),
        cmocka_unit_test(input_from_json),
        cmocka_unit_test(smallest_limit_wins),
        cmocka_unit_test(outputs_keep_their_order),
        cmocka_unit_test(cut_characters_are_joined),
        cmocka_unit_test(floods_are_cut_and_counted),
        cmocka_unit_test(entries_are_bounded),
        cmocka_unit_test(displays_are_checked_updated_cleared),
        cmocka_unit_test(result_has_the_designs_shape),
        cmocka_unit_test(errors_are_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
