/* Interrupts and timeouts of Python cells on the engine's interface: what stops keeps its
 * session's state, what does not stop is killed after the grace, and the results say which.
 * A cell says "ready" when it is to be interrupted: nothing here waits for a time. */
#include "base/cleanup.h"
#include "core/engine.h"
#include "core/session.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef struct fixture {
    uv_loop_t loop;
    kiln_engine *engine;
    kiln_session *session;
} fixture;

typedef struct answer {
    bool done, ready;
    kiln_status status;
    char text[400]; /* stdout, the value's text, the name of the error: one after another */
    char message[400];
    char *decisions;
} answer;

static int setup_with(void **state, const char *grace)
{
    fixture *f = calloc(1, sizeof(*f));
    kiln_paths paths = {.scripts = "scripts", .conf = "conf"};
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config = NULL;
    const char *folder = getenv("KILN_BUILD") != NULL ? getenv("KILN_BUILD") : "build";
    char executable[PATH_MAX];
    const char *const set[] = {"engine.backends=interpreter", "engine.backend=interpreter",
                               "chain.default.policies=", grace, NULL};
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

static int patient(void **state)
{
    return setup_with(state, "engine.grace=60s");
}

static int impatient(void **state)
{
    return setup_with(state, "engine.grace=100ms");
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

/* ---- cells */

static void on_event(void *user, const kiln_event *event)
{
    answer *a = user;
    if (event->type == KILN_EVENT_STREAM && memmem(event->data, event->length, "ready", 5)) {
        a->ready = true;
    }
}

static void on_done(void *user, kiln_result *result)
{
    answer *a = user;
    size_t used = 0, i;
    json_t *output;
    json_array_foreach(result->outputs, i, output)
    {
        const char *parts[] = {
            json_string_value(json_object_get(output, "text")),
            json_string_value(json_object_get(json_object_get(output, "data"), "text/plain")),
            strcmp(json_string_value(json_object_get(output, "type")), "error") == 0
                ? json_string_value(json_object_get(output, "name"))
                : NULL};
        for (size_t k = 0; k < sizeof(parts) / sizeof(parts[0]) && used < sizeof(a->text);
             k++) {
            used += (size_t)snprintf(a->text + used, sizeof(a->text) - used, "%s",
                                     parts[k] != NULL ? parts[k] : "");
        }
    }
    json_t *last =
        json_array_get(result->errors, json_array_size(result->errors) - 1); /* the engine's */
    snprintf(a->message, sizeof(a->message), "%s",
             last != NULL ? json_string_value(json_object_get(last, "message")) : "");
    a->decisions = json_dumps(result->decisions, JSON_COMPACT);
    a->status = result->status;
    a->done = true;
}

/* Runs a cell; interrupts it `times` times once it is ready. The decisions are the
 * caller's to free. */
static answer run(fixture *f, const char *code, int times, uint64_t timeout_ms)
{
    answer a = {0};
    kiln_error err = KILN_ERROR_INIT;
    kiln_execution *execution;
    kiln_request *request = kiln_request_new();
    kiln_request_set_code(request, code, strlen(code));
    if (timeout_ms > 0) {
        request->limits.timeout_ms = timeout_ms;
    }
    const kiln_execute_options options = {
        .out_fd = -1, .on_event = on_event, .on_done = on_done, .user = &a};
    assert_int_equal(kiln_execute(f->session, request, &options, &execution, &err), 0);
    while (!a.done) {
        assert_true(uv_run(&f->loop, UV_RUN_ONCE) != 0 || a.done);
        while (a.ready && !a.done && times > 0) {
            times--;
            kiln_execution_cancel(execution);
        }
    }
    return a;
}

static void assert_contains(const char *text, const char *part, const char *of)
{
    if (strstr(text, part) == NULL) {
        fail_msg("no \"%s\" in \"%s\" of: %s", part, text, of);
    }
}

/* ---- what stops */

static const char *const stopping[] = {
    "print('ready')\nwhile True: pass",
    "import time\nprint('ready')\ntime.sleep(1000)",
    "import re\nprint('ready')\nre.match('(a+)+b', 'a' * 60)",
    "import asyncio\nasync def f():\n    print('ready')\n    await asyncio.sleep(1000)\nawait "
    "f()",
    "import asyncio\nasync def busy():\n    print('ready')\n    while True: pass\nawait busy()",
    "import asyncio\nasync def f():\n    print('ready')\n    await asyncio.sleep(1000)\n"
    "asyncio.run(f())",
    "import subprocess\nprint('ready')\nsubprocess.run(['sleep', '1000'])",
    "print('ready')\n!sleep 1000",
    "%%bash\necho ready; sleep 1000",
    "import os\nr, w = os.pipe()\nprint('ready')\nos.read(r, 1)",
    /* a handler of its own, and C that sleeps on after a signal, as one that comes just before
     * a system call lets it */
    "import ctypes, signal\ndef stop(*_): raise KeyboardInterrupt\n"
    "signal.signal(signal.SIGINT, stop)\nc = ctypes.CDLL(None)\nprint('ready')\n"
    "c.qsort((ctypes.c_int * 3)(), 3, 4, c.pause)",
    "class Slow:\n    def __del__(self):\n        print('ready')\n        while True: pass\n"
    "x = Slow()\ndel x\nwhile True: pass",
    "import threading\nprint('ready')\nthreading.Event().wait()",
    "import threading\nlock = threading.Lock(); lock.acquire()\nprint('ready')\nlock.acquire()",
    "import threading\nt = threading.Thread(target=threading.Event().wait, daemon=True); "
    "t.start()\nprint('ready')\nt.join()",
    /* once they wait: an interrupt in a Condition's own lines is another error in any Python */
    "import queue, threading\nthreading.Timer(0.02, print, ['ready']).start()\n"
    "queue.Queue().get()",
    "import socket\ns = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
    "print('ready')\ns.accept()",
    "import numpy\nprint('ready')\nwhile True: numpy.sort(numpy.random.rand(300000))",
    "import zlib\nprint('ready')\nwhile True: zlib.compress(b'abc' * 3000000)",
    "import sqlite3\nprint('ready')\nwhile True: sqlite3.connect(':memory:').execute(\n"
    "  'with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000) '\n"
    "  'select count(*) from n').fetchall()",
    "print('ready')\nwhile True:\n    try:\n        pass\n    except Exception:\n        pass",
    "try:\n    print('ready')\n    while True: pass\nfinally:\n    cleaned = True",
    "from multiprocessing import Pool\nimport time\nwith Pool(1) as pool:\n"
    "    print('ready')\n    pool.map(time.sleep, [1000])",
    "class Slow:\n    def __repr__(self):\n        print('ready')\n        while True: "
    "pass\nSlow()",
    "import concurrent.futures as c, threading\nstop = threading.Event()\n"
    "e = c.ThreadPoolExecutor(1)\nf = e.submit(stop.wait)\n"
    "threading.Timer(0.02, print, ['ready']).start()\n"
    "try:\n    f.result()\nfinally:\n    stop.set()",
};

static void what_stops_keeps_its_state(void **state)
{
    fixture *f = *state;
    free(run(f, "kept = 1", 0, 0).decisions);
    for (size_t i = 0; i < sizeof(stopping) / sizeof(stopping[0]); i++) {
        answer a = run(f, stopping[i], 1, 0);
        if (a.status != KILN_STATUS_INTERRUPTED) {
            fail_msg("%s: %s, \"%s\"", stopping[i], kiln_status_name(a.status), a.text);
        }
        assert_contains(a.text, "ready", stopping[i]);
        assert_contains(a.text, "KeyboardInterrupt", stopping[i]);
        assert_contains(a.message, "it was interrupted", stopping[i]);
        assert_null(strstr(a.decisions, "kill"));
        free(a.decisions);
        a = run(f, "kept", 0, 0);
        assert_contains(a.text, "1", stopping[i]);
        assert_null(strstr(a.decisions, "restart"));
        free(a.decisions);
    }
}

static void what_catches_it_goes_on(void **state)
{
    fixture *f = *state;
    answer a = run(f,
                   "try:\n    print('ready')\n    while True: pass\n"
                   "except KeyboardInterrupt:\n    print('caught')\n7",
                   1, 0);
    assert_int_equal(a.status, KILN_STATUS_OK);
    assert_string_equal(a.text, "ready\ncaught\n7");
    free(a.decisions);
}

/* ---- what does not */

/* Whatever comes after "ready" does not stop, wherever the interrupt finds it. */
static const char *const stubborn[] = {
    "import itertools\ntry:\n    print('ready')\n    sum(itertools.repeat(1))\n"
    "except KeyboardInterrupt:\n    sum(itertools.repeat(1))",
    "try:\n    print('ready')\n    while True: pass\nexcept KeyboardInterrupt:\n"
    "    while True: pass",
    "try:\n    print('ready')\n    while True: pass\nfinally:\n    while True: pass",
    "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('ready')\n"
    "while True: time.sleep(1000)",
    "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
    "print('ready')\nwhile True: time.sleep(1000)",
};

static void what_does_not_stop_is_killed_and_that_is_said(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < sizeof(stubborn) / sizeof(stubborn[0]); i++) {
        free(run(f, "kept = 1", 0, 0).decisions);
        answer a = run(f, stubborn[i], 1, 0);
        assert_int_equal(a.status, KILN_STATUS_INTERRUPTED);
        assert_contains(a.text, "ready", stubborn[i]);
        assert_contains(a.message, "killed", stubborn[i]);
        assert_contains(a.message, "state is lost", stubborn[i]);
        assert_contains(a.decisions, "it did not stop within 100 ms of the interrupt",
                        stubborn[i]);
        free(a.decisions);
        a = run(f, "kept", 0, 0);
        assert_string_equal(a.text, "NameError");
        assert_contains(a.decisions, "\"restart\"", stubborn[i]);
        assert_contains(a.decisions, "state is lost", stubborn[i]);
        free(a.decisions);
        a = run(f, "'on'", 0, 0);
        assert_null(strstr(a.decisions, "restart")); /* said once */
        free(a.decisions);
    }
}

static void a_second_interrupt_does_not_wait_for_the_grace(void **state)
{
    fixture *f = *state;
    answer a = run(f, stubborn[0], 2, 0);
    assert_int_equal(a.status, KILN_STATUS_INTERRUPTED);
    assert_contains(a.decisions, "it was interrupted twice", stubborn[0]);
    assert_contains(a.message, "state is lost", stubborn[0]);
    free(a.decisions);
}

/* ---- timeouts */

static void a_timeout_interrupts_first(void **state)
{
    fixture *f = *state;
    free(run(f, "kept = 1", 0, 0).decisions);
    answer a = run(f, "print('so far')\nwhile True: pass", 0, 300);
    assert_int_equal(a.status, KILN_STATUS_TIMEOUT);
    assert_contains(a.message, "wall time of 300 ms was up; it was interrupted", "a timeout");
    free(a.decisions);
    a = run(f, "kept", 0, 0);
    assert_string_equal(a.text, "1");
    free(a.decisions);
}

static void a_timeout_kills_after_the_grace(void **state)
{
    fixture *f = *state;
    free(run(f, "warm = 1", 0, 0).decisions);
    answer a = run(f, stubborn[1], 0, 1000);
    assert_int_equal(a.status, KILN_STATUS_TIMEOUT);
    assert_contains(a.message, "state is lost", "a timeout");
    assert_contains(a.decisions, "it did not stop within", "a timeout");
    free(a.decisions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_stops_keeps_its_state, patient, teardown),
        cmocka_unit_test_setup_teardown(what_catches_it_goes_on, patient, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_stop_is_killed_and_that_is_said,
                                        impatient, teardown),
        cmocka_unit_test_setup_teardown(a_second_interrupt_does_not_wait_for_the_grace, patient,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_timeout_interrupts_first, patient, teardown),
        cmocka_unit_test_setup_teardown(a_timeout_kills_after_the_grace, impatient, teardown),
    };
    return cmocka_run_group_tests_name("interrupts", tests, NULL, NULL);
}
