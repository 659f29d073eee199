/* The core with the backend that runs nothing: sessions, contexts, and that an
 * execution is left exactly once, on every path. */
#include "base/cleanup.h"
#include "core/engine.h"
#include "core/session.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef struct fixture {
    uv_loop_t loop;
    kiln_engine *engine;
} fixture;

typedef struct answer {
    int times;
    kiln_status status;
    char execution_id[37];
    size_t errors;
} answer;

static const char *build_folder(void)
{
    const char *folder = getenv("KILN_BUILD");
    return folder != NULL ? folder : "build";
}

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof(*f));
    kiln_paths paths = {.scripts = "scripts", .conf = "conf"};
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config = NULL;
    static const char *const set[] = {"engine.backends=noop", "engine.backend=noop",
                                      "chain.default.policies=deny", "policy.deny.patterns=bad",
                                      NULL};
    const kiln_config_sources sources = {
        .file = "", .runtimes = "conf/runtimes.ini", .set = set};
    snprintf(paths.plugins, sizeof(paths.plugins), "%s/plugins", build_folder());
    if (kiln_config_load(&sources, &config, &err) < 0 || uv_loop_init(&f->loop) < 0 ||
        kiln_engine_open(&f->loop, config, &paths, NULL, &f->engine, &err) < 0) {
        print_error("%s\n", err.text);
        free(f);
        return -1;
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    kiln_engine_close(f->engine);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&f->loop);
    free(f);
    return rc;
}

static void on_done(void *user, kiln_result *result)
{
    answer *a = user;
    a->times++;
    a->status = result->status;
    a->errors = json_array_size(result->errors);
    snprintf(a->execution_id, sizeof(a->execution_id), "%s", result->execution_id);
}

static int begin(kiln_session *session, const char *code, answer *a, kiln_execution **execution)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_request *request = kiln_request_new();
    kiln_request_set_code(request, code, strlen(code));
    const kiln_execute_options options = {.out_fd = -1, .on_done = on_done, .user = a};
    return kiln_execute(session, request, &options, execution, &err);
}

static answer execute(fixture *f, kiln_session *session, const char *code)
{
    answer a = {0};
    kiln_execution *execution;
    assert_int_equal(begin(session, code, &a, &execution), 0);
    assert_int_equal(a.times, 0); /* never from inside kiln_execute */
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(a.times, 1);
    return a;
}

static void session_ids(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_session *first, *second;
    static const char *const bad[] = {"", "a b", "../x", ".hidden", "\xff", NULL};
    for (const char *const *id = bad; *id != NULL; id++) {
        assert_int_equal(kiln_session_open(f->engine, *id, &first, &err), -EINVAL);
    }
    assert_int_equal(kiln_session_open(f->engine, "one", &first, &err), 0);
    assert_int_equal(kiln_session_open(f->engine, "one", &second, &err), -EEXIST);
    assert_int_equal(kiln_session_open(f->engine, NULL, &second, &err), 0);
    assert_int_equal(strlen(kiln_session_id(second)), 36);
    kiln_session_close(first);
    assert_int_equal(kiln_session_open(f->engine, "one", &first, &err), 0);
}

static void errors_are_reset_on_entering(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_session *session;
    assert_int_equal(kiln_session_open(f->engine, "s", &session, &err), 0);
    const kiln_core_session *core = kiln_session_core(session);

    answer denied = execute(f, session, "bad");
    assert_int_equal(denied.status, KILN_STATUS_DENIED);
    assert_int_equal(json_array_size(core->context.errors), 1);
    assert_int_equal(core->consecutive_failures, 1);
    assert_false(core->context.entered);

    answer planned = execute(f, session, "good");
    assert_int_equal(planned.status, KILN_STATUS_SKIPPED);
    assert_int_equal(json_array_size(core->context.errors), 0);
    assert_int_equal(core->consecutive_failures, 0);
    assert_false(core->context.entered);
    assert_string_not_equal(denied.execution_id, planned.execution_id);
    assert_int_equal(core->execution_count, 2);
    assert_int_equal(core->notebook.count, 2);
}

static void one_execution_at_a_time(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_session *session;
    kiln_execution *execution;
    answer first = {0}, second = {0};
    assert_int_equal(kiln_session_open(f->engine, "s", &session, &err), 0);
    assert_int_equal(begin(session, "1", &first, &execution), 0);
    assert_int_equal(begin(session, "2", &second, &execution), -EBUSY);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(first.times, 1);
    assert_int_equal(second.times, 0);
}

static void invalid_input_never_enters(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_session *session;
    kiln_execution *execution;
    answer a = {0};
    assert_int_equal(kiln_session_open(f->engine, "s", &session, &err), 0);
    assert_int_equal(begin(session, "\xff", &a, &execution), -EINVAL);
    assert_int_equal(kiln_session_core(session)->execution_count, 0);
    assert_false(kiln_session_core(session)->context.entered);
}

static void cancelled_is_left_too(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_session *session;
    kiln_execution *execution;
    answer a = {0};
    assert_int_equal(kiln_session_open(f->engine, "s", &session, &err), 0);
    assert_int_equal(begin(session, "1", &a, &execution), 0);
    kiln_execution_cancel(execution);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(a.times, 1);
    assert_false(kiln_session_core(session)->context.entered);
    assert_int_equal(execute(f, session, "2").status, KILN_STATUS_SKIPPED);
}

static void closing_waits_for_what_is_in_flight(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_session *session;
    kiln_execution *execution;
    static answer a;
    a = (answer){0};
    assert_int_equal(kiln_session_open(f->engine, "s", &session, &err), 0);
    assert_int_equal(begin(session, "1", &a, &execution), 0);
    kiln_engine_close(f->engine);
    f->engine = NULL;
    assert_int_equal(a.times, 1);
}

static void imports_of_the_notebook(void **state)
{
    (void)state;
    kiln_notebook notebook = {0};
    static const struct {
        kiln_status status;
        const char *lines;
    } cells[] = {{KILN_STATUS_OK, "[\"import a\",\"import b\"]"},
                 {KILN_STATUS_ERROR, "[\"import no\"]"},
                 {KILN_STATUS_OK, "[\"import b\",\"import c\"]"}};
    kiln_request *request = kiln_request_new();
    for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
        kiln_result *result = kiln_result_new();
        result->status = cells[i].status;
        assert_int_equal(kiln_notebook_add(&notebook, request, result), 0);
        notebook.cells[i].import_lines = json_loads(cells[i].lines, 0, NULL);
        kiln_result_unref(result);
    }
    kiln_request_free(request);
    auto_json json_t *lines = kiln_notebook_get_imports(&notebook);
    auto_json json_t *wanted = json_loads("[\"import a\",\"import b\",\"import c\"]", 0, NULL);
    assert_true(json_equal(lines, wanted));
    kiln_notebook_free(&notebook);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(session_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_are_reset_on_entering, setup, teardown),
        cmocka_unit_test_setup_teardown(one_execution_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(invalid_input_never_enters, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelled_is_left_too, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_waits_for_what_is_in_flight, setup, teardown),
        cmocka_unit_test(imports_of_the_notebook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
