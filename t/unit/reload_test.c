/* A running engine takes another configuration: whole or not at all, and no run is lost. */
#include "base/cleanup.h"
#include "base/log.h"
#include "core/engine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct fixture {
    uv_loop_t loop;
    kiln_engine *engine;
    kiln_session *session;
    char folder[64];
} fixture;

typedef struct answer {
    bool done;
    kiln_status status;
    char detail[128]; /* of the first decision */
} answer;

static void write_policy(const fixture *f, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/mine.lua", f->folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

/* `more`: further --set words, NULL-terminated. */
static kiln_config *configuration(const fixture *f, const char *const *more)
{
    char script[160];
    snprintf(script, sizeof(script), "policy.mine.script=%s/mine.lua", f->folder);
    /* exec: a backend with a pool, which is the engine's key beside the plugin's own */
    const char *set[12] = {"engine.backends=noop exec", "engine.backend=noop",
                           "chain.default.policies=mine", "backend exec.pool=1", script};
    for (size_t i = 5; more != NULL && *more != NULL; i++) {
        set[i] = *more++;
    }
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config = NULL;
    const kiln_config_sources sources = {
        .file = "", .runtimes = "conf/runtimes.ini", .set = set};
    if (kiln_config_load(&sources, &config, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return config;
}

static const char says_one[] = "return function(input, ctx, next)\n"
                               "  ctx:decide('says', 'one') return next(input)\nend";

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof(*f));
    kiln_error err = KILN_ERROR_INIT;
    kiln_paths paths = {.scripts = "scripts", .conf = "conf"};
    const char *build = getenv("KILN_BUILD");
    snprintf(paths.plugins, sizeof(paths.plugins), "%s/plugins",
             build != NULL ? build : "build");
    strcpy(f->folder, "/tmp/kiln-reload-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    write_policy(f, says_one);
    uv_loop_init(&f->loop);
    static const char *const quiet[] = {"engine.log_level=error", NULL};
    if (kiln_engine_open(&f->loop, configuration(f, quiet), &paths, NULL, &f->engine, &err) <
            0 ||
        kiln_session_open(f->engine, NULL, &f->session, &err) < 0) {
        fail_msg("%s", err.text);
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    char path[128];
    kiln_session_close(f->session);
    kiln_engine_close(f->engine);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    snprintf(path, sizeof(path), "%s/mine.lua", f->folder);
    unlink(path);
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}

static void on_done(void *user, kiln_result *result)
{
    answer *a = user;
    a->done = true;
    a->status = result->status;
    const char *detail =
        json_string_value(json_object_get(json_array_get(result->decisions, 0), "detail"));
    snprintf(a->detail, sizeof(a->detail), "%s", detail != NULL ? detail : "");
}

static void begin(fixture *f, answer *a)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_execution *execution;
    kiln_request *request = kiln_request_new();
    kiln_request_set_code(request, "1", 1);
    request->limits.memory = 512 << 20;
    const kiln_execute_options options = {.out_fd = -1, .on_done = on_done, .user = a};
    *a = (answer){0};
    if (kiln_execute(f->session, request, &options, &execution, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void finish(fixture *f, const answer *a)
{
    while (!a->done) {
        assert_true(uv_run(&f->loop, UV_RUN_ONCE) != 0 || a->done);
    }
}

static const char *says(fixture *f)
{
    static answer a;
    begin(f, &a);
    finish(f, &a);
    return a.detail;
}

static void reload(fixture *f, const char *const *more)
{
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_engine_reload(f->engine, configuration(f, more), &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void runs_in_flight_end_in_the_old_chain(void **state)
{
    fixture *f = *state;
    answer a;
    write_policy(f, "return function(input, ctx, next)\n"
                    "  kiln.sleep(30) ctx:decide('says', 'old') return next(input)\nend");
    reload(f, NULL);
    begin(f, &a);
    write_policy(f, "return function(input, ctx, next)\n"
                    "  ctx:decide('says', 'new') return next(input)\nend");
    for (int i = 0; i < 5; i++) { /* the chain that waits outlives several */
        reload(f, NULL);
    }
    assert_false(a.done);
    finish(f, &a);
    assert_string_equal(a.detail, "old");
    assert_int_equal(a.status, KILN_STATUS_SKIPPED);
    assert_string_equal(says(f), "new");
}

/* Cancelled after its chain was replaced, it still ends. */
static void cancel_in_a_retired_chain(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_execution *execution;
    answer a = {0};
    write_policy(f,
                 "return function(input, ctx, next) kiln.sleep('1h') return next(input) end");
    reload(f, NULL);
    kiln_request *request = kiln_request_new();
    kiln_request_set_code(request, "1", 1);
    const kiln_execute_options options = {.out_fd = -1, .on_done = on_done, .user = &a};
    assert_int_equal(kiln_execute(f->session, request, &options, &execution, &err), 0);
    write_policy(f, says_one);
    reload(f, NULL);
    kiln_execution_cancel(execution);
    finish(f, &a);
    assert_int_equal(a.status, KILN_STATUS_INTERRUPTED);
    assert_string_equal(says(f), "one");
}

static void refuses(fixture *f, const char *const *more, const char *why)
{
    kiln_error err = KILN_ERROR_INIT;
    assert_true(kiln_engine_reload(f->engine, configuration(f, more), &err) < 0);
    if (strstr(err.text, why) == NULL ||
        strncmp(err.text, "reload: all stays as it was: ", 29) != 0) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(says(f), "one");
}

static void a_bad_configuration_changes_nothing(void **state)
{
    fixture *f = *state;
    static const char *const smaller[] = {"limits.memory=256M", "policy.mine.wrod=x", NULL};
    static const char *const nobody[] = {"policy.other.key=x", NULL};
    static const char *const backend[] = {"engine.backend=interpreter",
                                          "engine.backends=noop exec interpreter", NULL};
    static const char *const budget[] = {"chain.default.burst=100ms",
                                         "chain.default.total=50ms", NULL};
    refuses(f, smaller, "wrod");
    refuses(f, nobody, "no such policy");
    refuses(f, backend, "it is not loaded");
    refuses(f, budget, "less than burst");
    write_policy(f, "\nreturn function(");
    refuses(f, NULL, "mine.lua:2: ");
    write_policy(f, "while true do end");
    refuses(f, NULL, "without a pause");
    write_policy(f, says_one);
    /* and the limits were not taken either */
    answer a;
    begin(f, &a);
    finish(f, &a);
    assert_string_equal(a.detail, "one");
}

static void limits_and_budgets_are_taken(void **state)
{
    fixture *f = *state;
    static const char *const smaller[] = {"limits.memory=256M", NULL};
    reload(f, smaller);
    assert_non_null(strstr(says(f), "memory 268435456, asked for 536870912"));
    static const char *const few[] = {"chain.default.awaits=1", NULL};
    write_policy(f, "return function(input, ctx, next)\n"
                    "  kiln.sleep(0) kiln.sleep(0) return next(input)\nend");
    reload(f, few);
    answer a;
    begin(f, &a);
    finish(f, &a);
    assert_int_equal(a.status, KILN_STATUS_UNAVAILABLE);
}

static void the_store_outlives_it(void **state)
{
    fixture *f = *state;
    write_policy(f, "return function(input, ctx, next)\n"
                    "  ctx:decide('n', kiln.store.incr('n') .. '') return next(input)\nend");
    reload(f, NULL);
    assert_string_equal(says(f), "1");
    reload(f, NULL);
    assert_string_equal(says(f), "2");
}

static void what_waits_for_a_restart_is_told(void **state)
{
    fixture *f = *state;
    json_t *waiting = kiln_engine_waits_for_restart(f->engine);
    assert_int_equal(json_array_size(waiting), 0);
    json_decref(waiting);
    kiln_log_set_level(KILN_LOG_ERROR);
    static const char *const changed[] = {"sandbox.network=host", "limits.memory=256M",
                                          "engine.log_level=error", NULL};
    reload(f, changed);
    waiting = kiln_engine_waits_for_restart(f->engine);
    assert_int_equal(json_array_size(waiting), 1);
    assert_string_equal(json_string_value(json_array_get(waiting, 0)), "[sandbox] network");
    json_decref(waiting);
    static const char *const quiet[] = {"engine.log_level=error", NULL};
    reload(f, quiet);
    waiting = kiln_engine_waits_for_restart(f->engine);
    assert_int_equal(json_array_size(waiting), 0);
    json_decref(waiting);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(runs_in_flight_end_in_the_old_chain),
        TEST(cancel_in_a_retired_chain),
        TEST(a_bad_configuration_changes_nothing),
        TEST(limits_and_budgets_are_taken),
        TEST(the_store_outlives_it),
        TEST(what_waits_for_a_restart_is_told),
    };
    return cmocka_run_group_tests_name("reload", tests, NULL, NULL);
}
