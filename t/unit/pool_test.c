/* The pool of sandboxes made ahead, through the engine: what a session gets from it is what
 * a session gets without it, only sooner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "core/engine.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000 };

/* ---- an engine */

typedef struct fixture {
    uv_loop_t loop;
    kiln_engine *engine;
} fixture;

static kiln_engine *open_engine(uv_loop_t *loop, const char *const *set)
{
    const char *build = getenv("KILN_BUILD") != NULL ? getenv("KILN_BUILD") : "build";
    kiln_error err = KILN_ERROR_INIT;
    kiln_paths paths = {0};
    kiln_config *config = NULL;
    kiln_engine *engine = NULL;
    const kiln_config_sources sources = {
        .file = "conf/kiln.ini", .runtimes = "conf/runtimes.ini", .set = set};
    snprintf(paths.executable, sizeof(paths.executable), "%s/kiln", build);
    snprintf(paths.plugins, sizeof(paths.plugins), "%s/plugins", build);
    snprintf(paths.scripts, sizeof(paths.scripts), "scripts");
    snprintf(paths.conf, sizeof(paths.conf), "conf");
    if (kiln_config_load(&sources, &config, &err) < 0 ||
        kiln_engine_open(loop, config, &paths, NULL, &engine, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return engine;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Runs the loop until the pool holds that many. */
static void await_pool(fixture *f, const char *backend, size_t count)
{
    uint64_t until = now_ms() + PATIENCE_MS;
    while (kiln_engine_pooled(f->engine, backend) != count) {
        uv_run(&f->loop, UV_RUN_ONCE);
        if (now_ms() > until) {
            fail_msg("%s: %zu in the pool, not %zu", backend,
                     kiln_engine_pooled(f->engine, backend), count);
        }
    }
}

static void keep_pools(fixture *f)
{
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_engine_keep_pools(f->engine, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static fixture *setup_with(const char *const *set)
{
    fixture *f = calloc(1, sizeof(*f));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->engine = open_engine(&f->loop, set);
    return f;
}

#define PRELOAD "backend interpreter.preload=random tempfile uuid numpy"
static const char *const usual[] = {PRELOAD, "backend interpreter.pool=2",
                                    "backend exec.pool=0", "chain default.policies=", NULL};

static int setup(void **state)
{
    fixture *f = setup_with(usual);
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
    return rc; /* UV_EBUSY: a handle was forgotten */
}

/* ---- cells */

typedef struct answer {
    bool done;
    kiln_status status;
    uint64_t count;
    char text[8192]; /* of stdout, or of the errors */
} answer;

static void on_done(void *user, kiln_result *result)
{
    answer *got = user;
    char *errors = json_dumps(result->errors, 0);
    json_t *json = kiln_result_to_json(result);
    got->done = true;
    got->status = result->status;
    got->count = result->execution_count;
    snprintf(got->text, sizeof(got->text), "%s",
             result->status == KILN_STATUS_OK
                 ? json_string_value(json_object_get(json, "stdout"))
                 : errors);
    json_decref(json);
    free(errors);
}

static kiln_session *open_session(fixture *f)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_session *session = NULL;
    if (kiln_session_open(f->engine, NULL, &session, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return session;
}

static void begin(kiln_session *session, const char *code, const kiln_limits *limits,
                  answer *got)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_execution *execution;
    kiln_request *request = kiln_request_new();
    assert_non_null(request);
    assert_int_equal(kiln_request_set_code(request, code, strlen(code)), 0);
    if (limits != NULL) {
        request->limits = *limits;
    }
    *got = (answer){0};
    const kiln_execute_options options = {.out_fd = -1, .on_done = on_done, .user = got};
    if (kiln_execute(session, request, &options, &execution, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void end(fixture *f, answer *got)
{
    uint64_t until = now_ms() + PATIENCE_MS;
    while (!got->done) {
        uv_run(&f->loop, UV_RUN_ONCE);
        assert_true(now_ms() < until);
    }
    if (got->status != KILN_STATUS_OK) {
        fail_msg("%s", got->text);
    }
}

static void cell(fixture *f, kiln_session *session, const char *code, const kiln_limits *limits,
                 answer *got)
{
    begin(session, code, limits, got);
    end(f, got);
}

/* The answer of a session without a pool, then that of one from the pool. */
static void both(fixture *f, const char *code, const kiln_limits *limits, answer *cold,
                 answer *pooled)
{
    kiln_session *session = open_session(f);
    cell(f, session, code, limits, cold);
    kiln_session_close(session);
    keep_pools(f);
    await_pool(f, "interpreter", 2);
    session = open_session(f);
    begin(session, code, limits, pooled);
    assert_int_equal(kiln_engine_pooled(f->engine, "interpreter"), 1); /* it was taken */
    end(f, pooled);
    kiln_session_close(session);
}

/* ---- the tests */

static void none_is_made_unasked(void **state)
{
    fixture *f = *state;
    answer got;
    kiln_session *session = open_session(f);
    cell(f, session, "print(1)", NULL, &got);
    assert_string_equal(got.text, "1\n");
    assert_int_equal(kiln_engine_pooled(f->engine, "interpreter"), 0);
}

static void filled_again(void **state)
{
    fixture *f = *state;
    answer got;
    keep_pools(f);
    for (int i = 0; i < 3; i++) {
        await_pool(f, "interpreter", 2);
        kiln_session *session = open_session(f);
        cell(f, session, "print('x' in globals()); x = 1", NULL, &got);
        assert_string_equal(got.text, "False\n");
        cell(f, session, "print('x' in globals())", NULL, &got);
        assert_string_equal(got.text, "True\n"); /* it keeps its state as any other */
        kiln_session_close(session);
    }
    await_pool(f, "interpreter", 2);
}

static void no_trace_of_rehearsals(void **state)
{
    static const char probe[] =
        "import gc, linecache, os, sys, warnings\n"
        "print(sorted(globals()), In, Out, sys.argv, sys.path, os.getcwd())\n"
        "print([_, __, ___], __name__, '__annotations__' in globals())\n"
        "print(sorted(os.listdir('/work')), sorted(os.listdir('/tmp')), "
        "os.listdir('/dev/shm'))\n"
        "print([n for n in linecache.cache if n.startswith('Cell')], "
        "sorted(os.environ.items()))\n"
        "print([n for n in dir(sys) if n.startswith('last_')], sys.stdin.read(), "
        "sys.gettrace())\n"
        "print(sorted(os.listdir('/proc/self/fd')), warnings.filters == warnings.filters[:])\n"
        "print(sorted(e for e in os.listdir('/proc') if e.isdigit() and int(e) != "
        "os.getpid()))\n"
        "print([o for o in gc.get_objects() if type(o).__name__ == 'DataFrame'])\n";
    answer cold, pooled;
    both(*state, probe, NULL, &cold, &pooled);
    assert_string_equal(pooled.text, cold.text);
    assert_int_equal(pooled.count, 1);
}

/* Their workers are forked by one process, whose own these must not be. */
static void each_its_own_namespaces(void **state)
{
    static const char *const kinds[] = {"mnt", "ipc", "pid", "net"};
    fixture *f = *state;
    kiln_session *one = open_session(f);
    kiln_session *other = open_session(f);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char code[96];
        answer of_one, of_other;
        snprintf(code, sizeof(code), "import os; print(os.readlink('/proc/self/ns/%s'))",
                 kinds[i]);
        cell(f, one, code, NULL, &of_one);
        cell(f, other, code, NULL, &of_other);
        assert_non_null(strstr(of_one.text, kinds[i]));
        assert_string_not_equal(of_one.text, of_other.text);
    }
    kiln_session_close(one);
    kiln_session_close(other);
}

static void each_its_own_chance(void **state)
{
    static const char probe[] =
        "import numpy, os, random, tempfile, uuid\n"
        "print(random.random(), numpy.random.rand(), uuid.uuid4(), os.path.basename("
        "tempfile.mktemp()), os.getpid(), sep='\\n')";
    enum { SESSIONS = 4, LINES = 5 };
    fixture *f = *state;
    answer got[SESSIONS];
    keep_pools(f);
    for (int i = 0; i < SESSIONS; i++) {
        await_pool(f, "interpreter", 2);
        kiln_session *session = open_session(f);
        cell(f, session, probe, NULL, &got[i]);
        kiln_session_close(session);
    }
    for (int a = 0; a < SESSIONS; a++) {
        for (int b = 0; b < a; b++) {
            char *at[2] = {got[a].text, got[b].text};
            for (int line = 0; line < LINES; line++) {
                size_t length[2] = {strcspn(at[0], "\n"), strcspn(at[1], "\n")};
                assert_true(length[0] > 0 && length[1] > 0);
                if (length[0] == length[1] && memcmp(at[0], at[1], length[0]) == 0) {
                    fail_msg("line %d is the same: %.*s", line, (int)length[0], at[0]);
                }
                at[0] += length[0] + 1;
                at[1] += length[1] + 1;
            }
        }
    }
}

static const char show_limits[] =
    "import os, resource as r\n"
    "fs = os.statvfs('/work')\n"
    "print(fs.f_blocks * fs.f_frsize, fs.f_files)\n"
    "print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_FSIZE), "
    "r.getrlimit(r.RLIMIT_DATA),"
    " r.getrlimit(r.RLIMIT_NPROC), r.getrlimit(r.RLIMIT_CPU))\n"
    "try:\n"
    "    with open('/work/big', 'wb') as file:\n"
    "        file.write(bytes(1 << 20)); file.flush(); file.write(b'x'); file.flush()\n"
    "except OSError as error: print(error.errno)\n"
    "made = 0\n"
    "try:\n"
    "    while made < 1000:\n"
    "        open('/work/%d' % made, 'w').close(); made += 1\n"
    "except OSError as error: print(error.errno, made)\n";

static void narrower_limits_hold(void **state)
{
    const kiln_limits limits = {.size = sizeof(limits),
                                .memory = 256 << 20,
                                .processes = 9,
                                .disk = 4 << 20,
                                .files = 50,
                                .open_files = 21,
                                .file_size = 1 << 20};
    answer cold, pooled;
    both(*state, show_limits, &limits, &cold, &pooled);
    assert_string_equal(pooled.text, cold.text);
    assert_non_null(strstr(pooled.text, "4194304"));
    assert_non_null(strstr(pooled.text, "(21, 21)"));
}

static void a_share_of_the_processor_is_made_anew(void **state)
{
    const kiln_limits limits = {.size = sizeof(limits), .cpus = 500};
    fixture *f = *state;
    answer got;
    keep_pools(f);
    await_pool(f, "interpreter", 2);
    kiln_session *session = open_session(f);
    begin(session, "print(1)", &limits, &got);
    /* A cgroup that was made without one could not keep it. */
    assert_int_equal(kiln_engine_pooled(f->engine, "interpreter"), 2);
    end(f, &got);
}

/* ---- what dies */

static pid_t parent_of(pid_t pid, char name[64])
{
    char path[64];
    char text[512];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
    int parent = 0;
    if (length <= 0) {
        return 0;
    }
    text[length] = '\0';
    const char *open_ = strchr(text, '(');
    const char *close_ = strrchr(text, ')');
    if (open_ != NULL && close_ != NULL) {
        snprintf(name, 64, "%.*s", (int)(close_ - open_ - 1), open_ + 1);
        sscanf(close_, ") %*c %d", &parent);
    }
    return parent;
}

/* Descendants of `root`, of that name (NULL: all); how many. */
static size_t descendants(pid_t root, const char *wanted, pid_t *found, size_t most)
{
    size_t count = 0;
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    while (count < most && (entry = readdir(proc)) != NULL) {
        char name[64];
        char own[64] = "";
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        pid_t above = pid > 0 ? parent_of(pid, own) : 0;
        while (above > 1 && above != root) {
            above = parent_of(above, name);
        }
        if (above == root && (wanted == NULL || strcmp(own, wanted) == 0)) {
            found[count++] = pid;
        }
    }
    closedir(proc);
    return count;
}

static void kill_all(const char *name, size_t expected)
{
    pid_t pids[16];
    size_t count = descendants(getpid(), name, pids, 16);
    assert_int_equal(count, expected);
    for (size_t i = 0; i < count; i++) {
        kill(pids[i], SIGKILL);
    }
}

static void the_dead_are_replaced(void **state)
{
    fixture *f = *state;
    answer got;
    static const char *const victims[] = {"kiln-guest", "kiln-init", "kiln-zygote",
                                          "kiln-spawner"};
    keep_pools(f);
    for (size_t i = 0; i < 4; i++) {
        await_pool(f, "interpreter", 2);
        kill_all(victims[i], i < 2 ? 2 : 1);
        await_pool(f, "interpreter", 0);
        await_pool(f, "interpreter", 2);
        kiln_session *session = open_session(f);
        cell(f, session, "print(1)", NULL, &got);
        assert_string_equal(got.text, "1\n");
        kiln_session_close(session);
    }
}

/* The session's death is the session's alone. */
static void the_taken_are_gone_from_it(void **state)
{
    fixture *f = *state;
    answer got;
    keep_pools(f);
    await_pool(f, "interpreter", 2);
    kiln_session *session = open_session(f);
    begin(session, "import os; os.kill(os.getpid(), 9)", NULL, &got);
    while (!got.done) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(got.status, KILN_STATUS_CRASHED);
    cell(f, session, "print(2)", NULL, &got);
    assert_string_equal(got.text, "2\n");
    await_pool(f, "interpreter", 2);
}

/* What cannot start is not tried without end: the intervals grow. */
static void a_start_that_fails_is_not_hurried(void **state)
{
    (void)state;
    static const char *const set[] = {"engine.backends=bad_worker",
                                      "engine.backend=bad_worker",
                                      "backend bad_worker.do=start-fails",
                                      "chain default.policies=",
                                      NULL,
                                      NULL};
    char plugin[512];
    const char *given[6];
    const char *build = getenv("KILN_BUILD") != NULL ? getenv("KILN_BUILD") : "build";
    snprintf(plugin, sizeof(plugin), "backend bad_worker.plugin=%s/t/plugins/bad_worker.so",
             build);
    memcpy(given, set, sizeof(given));
    given[4] = plugin;

    /* The pool says each time that it failed. */
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
    int saved = dup(2);
    dup2(pipe_fds[1], 2);
    fixture *f = setup_with(given);
    keep_pools(f);
    uint64_t until = now_ms() + 1200;
    while (now_ms() < until) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    dup2(saved, 2);
    close(saved);
    static char told[65536];
    ssize_t length = read(pipe_fds[0], told, sizeof(told) - 1);
    assert_true(length > 0);
    told[length] = '\0';
    int attempts = 0;
    for (const char *at = told; (at = strstr(at, "next attempt in")) != NULL; at++) {
        attempts++;
    }
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    /* after 0, 100, 300, 700 ms, ... */
    assert_in_range(attempts, 1, 5);
    assert_non_null(strstr(told, "next attempt in 100 ms"));
    assert_int_equal(kiln_engine_pooled(f->engine, "bad_worker"), 0);
    void *taken = f;
    assert_int_equal(teardown(&taken), 0);
}

static void many_at_once(void **state)
{
    enum { SESSIONS = 8 };
    fixture *f = *state;
    answer got[SESSIONS];
    kiln_session *sessions[SESSIONS];
    keep_pools(f);
    await_pool(f, "interpreter", 2);
    for (int i = 0; i < SESSIONS; i++) {
        char code[64];
        sessions[i] = open_session(f);
        snprintf(code, sizeof(code), "x = %d", i);
        begin(sessions[i], code, NULL, &got[i]);
    }
    for (int i = 0; i < SESSIONS; i++) {
        end(f, &got[i]);
    }
    for (int i = 0; i < SESSIONS; i++) {
        char want[16];
        cell(f, sessions[i], "print(x)", NULL, &got[i]);
        snprintf(want, sizeof(want), "%d\n", i);
        assert_string_equal(got[i].text, want);
        kiln_session_close(sessions[i]);
    }
    await_pool(f, "interpreter", 2);
}

static void programs_have_one_too(void **state)
{
    (void)state;
    static const char *const set[] = {"backend interpreter.pool=0", "backend exec.pool=2",
                                      "engine.backend=exec", "chain default.policies=", NULL};
    const kiln_limits narrow = {.size = sizeof(narrow), .disk = 4 << 20, .open_files = 21};
    fixture *f = setup_with(set);
    answer got;
    keep_pools(f);
    assert_int_equal(kiln_engine_pooled(f->engine, "interpreter"), 0); /* nobody used it yet */
    for (int i = 0; i < 3; i++) {
        pid_t nurslings[4];
        char name[64] = "";
        await_pool(f, "exec", 2);
        while (descendants(getpid(), "kiln-nursling", nurslings, 4) < 2) {
            usleep(1000); /* made, and not told of */
        }
        kiln_session *session = open_session(f);
        begin(session, show_limits, &narrow, &got);
        assert_int_equal(kiln_engine_pooled(f->engine, "exec"), 1);
        end(f, &got);
        assert_non_null(strstr(got.text, "4194304"));
        assert_non_null(strstr(got.text, "(21, 21)"));
        kiln_session_close(session);
        /* One of them was the program. */
        assert_int_not_equal(parent_of(nurslings[0], name) == 0,
                             parent_of(nurslings[1], name) == 0);
    }
    void *taken = f;
    assert_int_equal(teardown(&taken), 0);
}

static void nothing_outlives_the_engine(void **state)
{
    (void)state;
    pid_t pids[64];
    int ready[2];
    char byte;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t engine = fork();
    if (engine == 0) {
        static const char *const set[] = {"backend interpreter.pool=2", "backend exec.pool=2",
                                          "engine.backend=exec",
                                          "chain default.policies=", NULL};
        fixture *f = setup_with(set);
        keep_pools(f);
        kiln_session *session = open_session(f);
        kiln_request *request = kiln_request_new();
        kiln_execution *execution;
        kiln_error err = KILN_ERROR_INIT;
        answer got = {0};
        const kiln_execute_options options = {.out_fd = -1, .on_done = on_done, .user = &got};
        request->backend = strdup("interpreter"); /* from now on it has a pool, too */
        if (kiln_request_set_code(request, "1", 1) < 0 ||
            kiln_execute(session, request, &options, &execution, &err) < 0) {
            _exit(1);
        }
        end(f, &got);
        await_pool(f, "interpreter", 2);
        await_pool(f, "exec", 2);
        (void)!write(ready[1], "x", 1);
        uv_run(&f->loop, UV_RUN_DEFAULT);
        pause();
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    size_t count = descendants(engine, NULL, pids, 64);
    assert_true(count >= 10); /* two stubs, zygotes, four supervisors, two workers */
    kill(engine, SIGKILL);
    waitpid(engine, NULL, 0);
    uint64_t until = now_ms() + PATIENCE_MS;
    for (size_t i = 0; i < count; i++) {
        char name[64] = "";
        while (parent_of(pids[i], name) != 0 && strncmp(name, "kiln", 4) == 0 &&
               now_ms() < until) {
            usleep(10000);
        }
        if (parent_of(pids[i], name) != 0 && strncmp(name, "kiln", 4) == 0) {
            fail_msg("process %d (%s) is left", (int)pids[i], name);
        }
    }
}

int main(void)
{
    kiln_log_set_level(KILN_LOG_ERROR);
    kiln_error err = KILN_ERROR_INIT;
    (void)err;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(none_is_made_unasked, setup, teardown),
        cmocka_unit_test_setup_teardown(filled_again, setup, teardown),
        cmocka_unit_test_setup_teardown(no_trace_of_rehearsals, setup, teardown),
        cmocka_unit_test_setup_teardown(each_its_own_namespaces, setup, teardown),
        cmocka_unit_test_setup_teardown(each_its_own_chance, setup, teardown),
        cmocka_unit_test_setup_teardown(narrower_limits_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(a_share_of_the_processor_is_made_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(the_dead_are_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(the_taken_are_gone_from_it, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
        cmocka_unit_test(a_start_that_fails_is_not_hurried),
        cmocka_unit_test(programs_have_one_too),
        cmocka_unit_test(nothing_outlives_the_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
