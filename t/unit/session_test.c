/* Sessions and their queries on the engine's interface: with a plugin whose engine half
 * answers (t/plugins/asker.c), and with real Python sessions whose code is hostile to
 * whoever asks. */
#include "base/cleanup.h"
#include "core/engine.h"
#include "core/session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
} fixture;

typedef struct answer {
    int times;
    json_t *reply; /* of a query */
    kiln_error err;
    kiln_status status; /* of a cell */
    char text[200];     /* stdout, or the result's text */
    char decisions[400];
    char files[200]; /* "a.txt b.txt " */
    uint64_t count;
} answer;

static int setup_with(void **state, const char *backend, const char *extra)
{
    fixture *f = calloc(1, sizeof(*f));
    kiln_paths paths = {.scripts = "scripts", .conf = "conf"};
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config = NULL;
    const char *folder = getenv("KILN_BUILD") != NULL ? getenv("KILN_BUILD") : "build";
    char backends[80], default_backend[80], plugin[PATH_MAX], executable[PATH_MAX];
    snprintf(backends, sizeof(backends), "engine.backends=%s noop", backend);
    snprintf(default_backend, sizeof(default_backend), "engine.backend=%s", backend);
    snprintf(plugin, sizeof(plugin), "backend.asker.plugin=%s/t/plugins/asker.so", folder);
    const char *const set[] = {backends,
                               default_backend,
                               "chain.default.policies=",
                               "session.query_timeout=1500ms",
                               "engine.grace=300ms",
                               extra != NULL ? extra : "session.max=5",
                               strcmp(backend, "asker") == 0 ? plugin : NULL,
                               NULL};
    const kiln_config_sources sources = {
        .file = "", .runtimes = "conf/runtimes.ini", .set = set};
    snprintf(paths.plugins, sizeof(paths.plugins), "%s/plugins", folder);
    snprintf(executable, sizeof(executable), "%s/kiln", folder);
    if (realpath(executable, paths.executable) == NULL ||
        kiln_config_load(&sources, &config, &err) < 0 || uv_loop_init(&f->loop) < 0 ||
        kiln_engine_open(&f->loop, config, &paths, NULL, &f->engine, &err) < 0 ||
        kiln_session_open(f->engine, "s", &f->session, &err) < 0) {
        print_error("%s\n", err.text);
        free(f);
        return -1;
    }
    *state = f;
    return 0;
}

static int with_asker(void **state)
{
    return setup_with(state, "asker", NULL);
}

static int with_python(void **state)
{
    return setup_with(state, "interpreter", NULL);
}

static int with_idle_life(void **state)
{
    return setup_with(state, "asker", "session.idle=150ms");
}

static int with_little_memory(void **state)
{
    return setup_with(state, "interpreter", "session.memory=1M");
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

/* ---- asking and executing */

static void on_reply(void *user, json_t *reply, const kiln_error *err)
{
    answer *a = user;
    a->times++;
    a->reply = json_incref(reply);
    assert_true((reply == NULL) == (err != NULL));
    if (err != NULL) {
        a->err = *err;
    }
}

static int ask(fixture *f, const char *name, json_t *arguments, answer *a, kiln_query **query)
{
    kiln_error err = KILN_ERROR_INIT;
    *a = (answer){0};
    int rc = kiln_session_query(f->session, NULL, name, arguments, on_reply, a, query, &err);
    json_decref(arguments);
    assert_int_equal(a->times, 0); /* never from inside */
    if (rc < 0) {
        a->err = err;
    }
    return rc;
}

static void wait_for(fixture *f, const answer *a)
{
    while (a->times == 0) {
        assert_true(uv_run(&f->loop, UV_RUN_ONCE) != 0 || a->times != 0);
    }
}

/* The reply as text, or why there is none. Static. */
static const char *reply(fixture *f, const char *name, json_t *arguments)
{
    static char text[20000];
    answer a;
    kiln_query *query;
    int rc = ask(f, name, arguments, &a, &query);
    if (rc == 0) {
        wait_for(f, &a);
        assert_int_equal(a.times, 1);
    }
    auto_free char *json =
        a.reply != NULL ? json_dumps(a.reply, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    snprintf(text, sizeof(text), "%s", json != NULL ? json : a.err.text);
    json_decref(a.reply);
    return text;
}

static json_t *code(const char *text)
{
    size_t points = 0;
    for (const char *p = text; *p != '\0'; p++) {
        points += ((unsigned char)*p & 0xc0) != 0x80;
    }
    return json_pack("{s:s, s:I}", "code", text, "cursor_pos", (json_int_t)points);
}

static void on_done(void *user, kiln_result *result)
{
    answer *a = user;
    size_t i;
    json_t *output;
    a->times++;
    a->status = result->status;
    a->count = result->execution_count;
    json_array_foreach(result->outputs, i, output)
    {
        const char *text = json_string_value(json_object_get(output, "text"));
        const char *value =
            json_string_value(json_object_get(json_object_get(output, "data"), "text/plain"));
        snprintf(a->text, sizeof(a->text), "%s",
                 text != NULL    ? text
                 : value != NULL ? value
                                 : "");
    }
    json_array_foreach(result->output_files, i, output)
    {
        size_t used = strlen(a->files);
        snprintf(a->files + used, sizeof(a->files) - used, "%s ",
                 json_string_value(json_object_get(output, "name")));
    }
    auto_free char *decisions = json_dumps(result->decisions, JSON_COMPACT);
    snprintf(a->decisions, sizeof(a->decisions), "%s", decisions);
}

static int begin(kiln_session *session, const char *text, answer *a, kiln_execution **execution)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_request *request = kiln_request_new();
    *a = (answer){0};
    kiln_request_set_code(request, text, strlen(text));
    const kiln_execute_options options = {.out_fd = -1, .on_done = on_done, .user = a};
    int rc = kiln_execute(session, request, &options, execution, &err);
    if (rc < 0) {
        a->err = err;
    }
    return rc;
}

static answer run(fixture *f, const char *text)
{
    answer a;
    kiln_execution *execution;
    int rc = begin(f->session, text, &a, &execution);
    if (rc < 0) {
        fail_msg("%s", a.err.text);
    }
    wait_for(f, &a);
    return a;
}

static void is(const char *got, const char *wanted)
{
    if (strstr(got, wanted) == NULL) {
        fail_msg("\"%s\" is not in: %s", wanted, got);
    }
}

/* ---- a plugin's engine half */

static void plugin_answers(void **state)
{
    fixture *f = *state;
    is(reply(f, "complete", code("x")), "\"matches\":[\"well\"]");
    is(reply(f, "later", json_object()), "{\"later\":true}");
    is(reply(f, "inside", json_object()), "17");
    is(reply(f, "twice", json_object()), "{\"later\":true}"); /* the second is stale */
    is(reply(f, "echo", json_pack("{s:s}", "a", "\xc3\xa9")), "{\"a\":\"\xc3\xa9\"}");
    is(reply(f, "error", json_object()), "the stars are wrong");
    is(reply(f, "broken", json_object()), "not JSON");
    is(reply(f, "is_complete", code("x")), "not of the shape");
    is(reply(f, "nonsense", json_object()), "knows no query \"nonsense\"");
    is(reply(f, "complete", json_object()), "must be a string");
    is(reply(f, "complete", json_pack("{s:s, s:i}", "code", "\xc3\xa9", "cursor_pos", 2)),
       "within the code");
    is(run(f, "").text, "9 queries, 0 restarts");
}

static void one_thing_at_a_time(void **state)
{
    fixture *f = *state;
    answer first, second, cell;
    kiln_query *query, *other;
    kiln_execution *execution;
    assert_int_equal(ask(f, "later", json_object(), &first, &query), 0);
    assert_int_equal(ask(f, "later", json_object(), &second, &other), -EBUSY);
    kiln_query_cancel(query);
    assert_int_equal(first.times, 1);
    assert_int_equal(first.err.code, -ECANCELED);
    assert_int_equal(begin(f->session, "", &cell, &execution), 0);
    assert_int_equal(ask(f, "later", json_object(), &second, &other), -EBUSY);
    wait_for(f, &cell);
    assert_int_equal(cell.status, KILN_STATUS_OK);
    assert_int_equal(cell.count, 1);
}

/* A cell comes first: what was asked is cut, and a plugin that does not answer even when
 * it is interrupted costs a second, not the session. */
static void a_cell_goes_first(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"yields", "never"};
    for (int i = 0; i < 2; i++) {
        answer a, cell;
        kiln_query *query;
        kiln_execution *execution;
        assert_int_equal(ask(f, names[i], json_object(), &a, &query), 0);
        assert_int_equal(begin(f->session, "", &cell, &execution), 0);
        assert_int_equal(a.times, 1);
        assert_int_equal(a.err.code, -ECANCELED);
        wait_for(f, &cell);
        assert_int_equal(cell.status, KILN_STATUS_OK);
    }
    is(reply(f, "never", json_object()), "took too long");
    is(reply(f, "complete", code("x")), "is busy"); /* it still owes that answer */
    is(run(f, "").text, "queries");
    is(reply(f, "complete", code("x")), "well");
}

static void closed_meanwhile(void **state)
{
    fixture *f = *state;
    answer a;
    kiln_query *query;
    kiln_error err = KILN_ERROR_INIT;
    assert_int_equal(ask(f, "never", json_object(), &a, &query), 0);
    kiln_session_close(f->session);
    assert_int_equal(a.times, 1);
    assert_int_equal(a.err.code, -ECANCELED);
    assert_null(kiln_session_find(f->engine, "s"));
    assert_int_equal(kiln_session_open(f->engine, "s", &f->session, &err), 0);
    assert_int_equal(ask(f, "later", json_object(), &a, &query), 0);
    kiln_engine_close(f->engine);
    f->engine = NULL;
    assert_int_equal(a.times, 1);
}

static void restarted_by_the_plugin(void **state)
{
    fixture *f = *state;
    assert_int_equal(run(f, "").count, 1);
    assert_int_equal(run(f, "").count, 2);
    kiln_session_restart(f->session);
    answer a = run(f, "");
    assert_int_equal(a.count, 1);
    is(a.text, "1 restarts");
}

static void no_more_than_max(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_session *session;
    for (int i = 1; i < 5; i++) {
        assert_int_equal(kiln_session_open(f->engine, NULL, &session, &err), 0);
    }
    assert_int_equal(kiln_session_open(f->engine, NULL, &session, &err), -EMFILE);
    is(err.text, "[session] max");
    kiln_session_close(f->session);
    assert_int_equal(kiln_session_open(f->engine, NULL, &session, &err), 0);
    auto_json json_t *list = kiln_sessions_list(f->engine);
    assert_int_equal(json_array_size(list), 5);
}

static void on_pause(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void idle_ones_are_closed(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_session *held;
    uv_timer_t pause;
    bool over = false;
    assert_int_equal(kiln_session_open(f->engine, "held", &held, &err), 0);
    kiln_session_hold(held, true);
    uv_timer_init(&f->loop, &pause);
    pause.data = &over;
    uv_timer_start(&pause, on_pause, 600, 0);
    while (!over) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&pause, NULL);
    assert_null(kiln_session_find(f->engine, "s"));
    assert_ptr_equal(kiln_session_find(f->engine, "held"), held);
    kiln_session_hold(held, false);
}

/* ---- Python */

static void python_answers(void **state)
{
    fixture *f = *state;
    is(reply(f, "complete", code("prin")), "[\"print\"]"); /* before the first cell */
    is(reply(f, "is_complete", code("for i in x:")), "\"incomplete\"");
    answer a = run(f, "\xc3\xa4pfel = {'rot': 1}\n_before = 5");
    assert_int_equal(a.count, 1);
    is(reply(f, "complete", code("\xc3\xa4pfel['r")), "\"cursor_start\":7");
    is(reply(f, "complete", code("\xc3\xa4pf")), "\xc3\xa4pfel");
    is(reply(f, "inspect", code("print")), "Prints the values");
    is(reply(f, "variables", json_object()), "\"value\":\"{'rot': 1}\"");
    is(reply(f, "nonsense", json_object()), "does not know such a query");
    a = run(f, "_before, In[-1][:7], len(Out)");
    is(a.text, "(5, '_before', 0)");
    assert_int_equal(a.count, 2); /* queries are not counted */
}

static void hostile_objects(void **state)
{
    fixture *f = *state;
    static const char classes[] =
        "class Loops:\n    def __dir__(self):\n        while True: pass\n"
        "class Raises:\n    def __dir__(self): raise SystemExit(3)\n"
        "    def __repr__(self): raise KeyError\n"
        "    def __getattr__(self, name): raise ZeroDivisionError\n"
        "class Exits:\n    def __dir__(self):\n        import os; os.write(1, b'dirt\\n'); "
        "return ['ok']\n"
        "class Big:\n    def __repr__(self): return 'x' * (1 << 30)\n"
        "    def __dir__(self): return ['x' * (1 << 30)]\n"
        "    def __sizeof__(self): return -1\n"
        "class Endless:\n    def __repr__(self):\n        while True: pass\n"
        "loops, raises, exits = Loops(), Raises(), Exits()\nkept = 7";
    /* ASan's allocator ends a process that gets no memory. */
    const bool no_memory = getenv("KILN_SANITIZE") == NULL;
    run(f, classes);
    run(f, no_memory ? "big = Big()" : "pass");
    is(reply(f, "complete", code("loops.")), "took too long");
    is(reply(f, "complete", code("raises.")), "it failed: SystemExit");
    is(reply(f, "complete", code("raises.a.")), "matches\":[]");
    is(reply(f, "complete", code("big.")), "matches\":[]"); /* none there: likewise */
    is(reply(f, "complete", code("exits.")), "\"ok\"");
    const char *variables = reply(f, "variables", json_object());
    if (no_memory) {
        is(variables, "\"value\":\"<MemoryError>\"");
    }
    is(variables, "\"value\":\"<KeyError>\"");
    is(variables, "\"name\":\"kept\"");
    answer a = run(f, "endless = Endless(); kept");
    is(a.text, "7"); /* nothing of what queries wrote, and the state is kept */
    assert_int_equal(a.count, 3);
    variables = reply(f, "variables", json_object()); /* interrupted, and goes on without it */
    is(variables, "<took too long>");
    is(variables, "\"name\":\"raises\"");
    is(run(f, "kept").text, "7");
}

/* One that swallows every interrupt: it costs its state, and the next cell says so. */
static void query_that_does_not_end(void **state)
{
    fixture *f = *state;
    run(f, "import signal\nclass Deaf:\n    def __dir__(self):\n"
           "        signal.signal(signal.SIGINT, signal.SIG_IGN)\n        while True: pass\n"
           "deaf = Deaf()");
    is(reply(f, "complete", code("deaf.")), "took too long");
    answer a = run(f, "'deaf' in globals()");
    is(a.text, "False");
    is(a.decisions, "a query did not end");
}

static void crash_in_a_query(void **state)
{
    fixture *f = *state;
    run(f,
        "class Dies:\n    def __dir__(self):\n        import os; os._exit(3)\ndies = Dies()");
    is(reply(f, "complete", code("dies.")), "the process exited with status 3");
    answer a = run(f, "1");
    assert_int_equal(a.status, KILN_STATUS_OK);
    is(a.decisions, "restart");
}

static void python_is_restarted(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    run(f, "x = 1; open('kept.txt', 'w').write('abc')");
    kiln_session_restart(f->session);
    is(reply(f, "complete", code("prin")), "print"); /* while the old worker ends */
    answer a = run(f, "'x' in globals(), open('kept.txt').read()");
    is(a.text, "(False, 'abc')");
    assert_int_equal(a.count, 1);
    assert_null(strstr(a.decisions, "restart")); /* it was asked for: no loss to tell */
    auto_json json_t *files = kiln_session_files(f->session, &err);
    assert_int_equal(json_array_size(files), 1);
    auto_close int fd = kiln_session_file_open(f->session, "kept.txt", &err);
    char text[4] = "";
    assert_int_equal(read(fd, text, 4), 3);
    assert_string_equal(text, "abc");
    assert_int_equal(kiln_session_file_open(f->session, "../../etc/passwd", &err), -EINVAL);
    run(f, "import os; os.symlink('/etc/passwd', 'link')");
    assert_true(kiln_session_file_open(f->session, "link", &err) < 0);
    assert_int_equal(kiln_session_file_put(f->session, "in.txt", "conf/kiln.ini", &err), 0);
    is(run(f, "open('in.txt').read(10)").text, "kiln.ini");

    kiln_execution *execution;
    assert_int_equal(begin(f->session, "import time; time.sleep(30)", &a, &execution), 0);
    kiln_session_restart(f->session);
    wait_for(f, &a);
    assert_int_equal(a.status, KILN_STATUS_INTERRUPTED);
    assert_int_equal(run(f, "1").count, 1);
}

/* A file is told by one cell: the first that ends when it is there. */
static void a_file_is_told_once(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    assert_string_equal(run(f, "1").files, "");
    assert_string_equal(run(f, "open('a.txt', 'w').write('x')").files, "a.txt ");
    assert_string_equal(run(f, "1").files, "");
    run(f, "import os, threading, time\n"
           "def later():\n"
           "    time.sleep(0.05)\n"
           "    open('late', 'w').write('x')\n"
           "    os.rename('late', 'late.txt')\n"
           "threading.Thread(target=later).start()");
    bool there = false;
    for (int i = 0; i < 20000 && !there;
         i++) { /* between two cells, by what was left running */
        auto_json json_t *files = kiln_session_files(f->session, &err);
        auto_free char *names = json_dumps(files, JSON_COMPACT);
        there = strstr(names, "late.txt") != NULL;
        usleep(1000);
    }
    assert_true(there);
    assert_string_equal(run(f, "1").files, "late.txt ");
    assert_string_equal(run(f, "1").files, "");
    assert_int_equal(kiln_session_file_put(f->session, "given.txt", "conf/kiln.ini", &err), 0);
    assert_string_equal(run(f, "1").files, ""); /* not made by code */
    assert_string_equal(run(f, "open('given.txt', 'a').write('x')").files, "given.txt ");
    assert_string_equal(run(f, "import os; os.remove('given.txt'); os.mkdir('b')").files, "");
    assert_string_equal(run(f, "open('b/c', 'w'); open('a.txt', 'w').write('y')").files,
                        "a.txt b/c ");
    kiln_session_restart(f->session);
    assert_string_equal(run(f, "1").files, "");
}

/* What is kept from cell to cell is bounded; past it the cell's own look tells. */
static void many_files_are_told_once(void **state)
{
    fixture *f = *state;
    run(f, "for i in range(1100): open(f'{i}.txt', 'w').close()");
    assert_string_equal(run(f, "1").files, "");
    assert_string_equal(run(f, "open('7.txt', 'w').write('x')").files, "7.txt ");
    assert_string_equal(run(f, "1").files, "");
}

static void closed_while_it_runs(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_execution *execution;
    answer a;
    assert_int_equal(begin(f->session, "import time; time.sleep(30)", &a, &execution), 0);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    kiln_session_close(f->session);
    assert_int_equal(kiln_session_open(f->engine, "s", &f->session, &err), 0);
    wait_for(f, &a);
    assert_int_equal(a.status, KILN_STATUS_INTERRUPTED);
    is(run(f, "6 * 7").text, "42");
    auto_json json_t *list = kiln_sessions_list(f->engine);
    assert_int_equal(json_array_size(list), 1);
    const json_t *only = json_array_get(list, 0);
    assert_string_equal(json_string_value(json_object_get(only, "state")), "idle");
    assert_int_equal(json_integer_value(json_object_get(only, "executions")), 1);
    assert_string_equal(json_string_value(json_array_get(json_object_get(only, "backends"), 0)),
                        "interpreter");
}

static void memory_of_all(void **state)
{
    fixture *f = *state;
    kiln_execution *execution;
    answer a;
    run(f, "x = bytearray(8 << 20)"); /* written to, unlike bytes */
    auto_json json_t *list = kiln_sessions_list(f->engine);
    if (json_is_null(json_object_get(json_array_get(list, 0), "memory_bytes"))) {
        skip(); /* no cgroup tells */
    }
    assert_int_equal(begin(f->session, "1", &a, &execution), -EDQUOT);
    is(a.err.text, "[session] memory");
    kiln_session_restart(f->session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plugin_answers, with_asker, teardown),
        cmocka_unit_test_setup_teardown(one_thing_at_a_time, with_asker, teardown),
        cmocka_unit_test_setup_teardown(a_cell_goes_first, with_asker, teardown),
        cmocka_unit_test_setup_teardown(closed_meanwhile, with_asker, teardown),
        cmocka_unit_test_setup_teardown(restarted_by_the_plugin, with_asker, teardown),
        cmocka_unit_test_setup_teardown(no_more_than_max, with_asker, teardown),
        cmocka_unit_test_setup_teardown(idle_ones_are_closed, with_idle_life, teardown),
        cmocka_unit_test_setup_teardown(python_answers, with_python, teardown),
        cmocka_unit_test_setup_teardown(hostile_objects, with_python, teardown),
        cmocka_unit_test_setup_teardown(query_that_does_not_end, with_python, teardown),
        cmocka_unit_test_setup_teardown(crash_in_a_query, with_python, teardown),
        cmocka_unit_test_setup_teardown(python_is_restarted, with_python, teardown),
        cmocka_unit_test_setup_teardown(a_file_is_told_once, with_python, teardown),
        cmocka_unit_test_setup_teardown(many_files_are_told_once, with_python, teardown),
        cmocka_unit_test_setup_teardown(closed_while_it_runs, with_python, teardown),
        cmocka_unit_test_setup_teardown(memory_of_all, with_little_memory, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
