/* world.h - scenes on the engine's own interface with the real interpreter, each in a child
 * of its own, as root and as an ordinary user. A scene writes what is wrong to a pipe. */
#ifndef KILN_TEST_WORLD_H
#define KILN_TEST_WORLD_H

#include "base/cleanup.h"
#include "core/engine.h"
#include "sandbox/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOBODY = 65534 };

typedef struct world {
    uv_loop_t loop;
    kiln_engine *engine;
    int report;
} world;

static world w;

__attribute__((format(printf, 1, 2))) static void report(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vdprintf(w.report, format, args);
    va_end(args);
    dprintf(w.report, "\n");
}

#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            report("%d: %s", __LINE__, #condition);                                            \
        }                                                                                      \
    } while (0)

static const char *build_folder(void)
{
    const char *folder = getenv("KILN_BUILD");
    return folder != NULL ? folder : "build";
}

static void open_world(const char *const *set)
{
    static kiln_paths paths = {.scripts = "scripts", .conf = "conf"}; /* the engine keeps it */
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config = NULL;
    const char *all[32] = {NULL};
    size_t count = 0;
    while (count < sizeof(all) / sizeof(all[0]) - 2 && set[count] != NULL) {
        all[count] = set[count];
        count++;
    }
    /* ASan's shadow is charged, too, and its allocator ends who gets no memory. */
    all[count] = getenv("KILN_SANITIZE") != NULL ? "limits.memory=64T" : NULL;
    const kiln_config_sources sources = {
        .file = "", .runtimes = "conf/runtimes.ini", .set = all};
    snprintf(paths.plugins, sizeof(paths.plugins), "%s/plugins", build_folder());
    snprintf(paths.executable, sizeof(paths.executable), "%s/kiln", build_folder());
    if (kiln_config_load(&sources, &config, &err) < 0 || uv_loop_init(&w.loop) < 0 ||
        kiln_engine_open(&w.loop, config, &paths, NULL, &w.engine, &err) < 0) {
        report("engine: %s", err.text);
        _exit(1);
    }
}

/* ---- one step at a time */

static kiln_session *open_session(const char *id)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_session *session = NULL;
    if (kiln_session_open(w.engine, id, &session, &err) < 0) {
        report("open %s: %s", id, err.text);
        _exit(1);
    }
    return session;
}

typedef struct answer {
    bool came;
    json_t *result;
    kiln_session *session;
    char error[1024];
} answer;

static void on_done(void *user, kiln_result *result)
{
    answer *to = user;
    to->came = true;
    to->result = kiln_result_to_json(result);
}

static void await(const answer *to)
{
    while (!to->came && uv_run(&w.loop, UV_RUN_ONCE) != 0) {
    }
    if (!to->came) {
        report("nothing came");
        _exit(1);
    }
}

typedef struct manner {
    bool transaction;
    uint64_t timeout_ms;
    const char *backend, *chain, *file;
} manner;

static json_t *execute(kiln_session *session, const char *code, const manner *how)
{
    answer to = {false};
    kiln_error err = KILN_ERROR_INIT;
    kiln_execution *execution;
    const kiln_execute_options options = {
        .chain = how->chain, .out_fd = -1, .on_done = on_done, .user = &to};
    kiln_request *request = kiln_request_new();
    kiln_request_set_code(request, code, strlen(code));
    kiln_request_set_string(&request->backend, how->backend);
    request->transaction = how->transaction;
    request->limits.timeout_ms = how->timeout_ms;
    if (how->file != NULL) {
        kiln_request_add_file(request, how->file, NULL, "input", 5, NULL);
    }
    if (kiln_execute(session, request, &options, &execution, &err) < 0) {
        return json_pack("{s:s, s:s, s:[]}", "status", "refused", "stdout", err.text, "errors");
    }
    await(&to);
    return to.result;
}

static const char *text_of(const json_t *result, const char *key)
{
    const char *text = json_string_value(json_object_get(result, key));
    return text != NULL ? text : "";
}

static const char *message_of(const json_t *result)
{
    const json_t *errors = json_object_get(result, "errors");
    return text_of(json_array_get(errors, json_array_size(errors) - 1), "message");
}

/* Runs the code and reports what is not as expected; `out` NULL: any output. */
static void expect_how(int line, kiln_session *session, const char *code, const char *status,
                       const char *out, const manner *how)
{
    auto_json json_t *result = execute(session, code, how);
    if ((status != NULL && strcmp(text_of(result, "status"), status) != 0) ||
        (out != NULL && strcmp(text_of(result, "stdout"), out) != 0)) {
        report("%d: %s: %s, \"%s\" (%s %s); expected %s, \"%s\"", line, code,
               text_of(result, "status"), text_of(result, "stdout"), message_of(result),
               text_of(result, "stderr"), status != NULL ? status : "any",
               out != NULL ? out : "");
    }
}
#define EXPECT(session, code, status, out)                                                     \
    expect_how(__LINE__, session, code, status, out, &(manner){false, 0, NULL, NULL, NULL})
#define EXPECT_HOW(session, code, status, out, ...)                                            \
    expect_how(__LINE__, session, code, status, out, &(manner){__VA_ARGS__})

static void on_fork(void *user, kiln_session *session, const kiln_error *err)
{
    answer *to = user;
    to->came = true;
    to->session = session;
    snprintf(to->error, sizeof(to->error), "%s", err != NULL ? err->text : "");
}

__attribute__((unused)) static kiln_session *try_branch(kiln_session *session, const char *id,
                                                        char *why, size_t size)
{
    answer to = {false};
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_session_fork(session, id, on_fork, &to, &err) < 0) {
        snprintf(why, size, "%s", err.text);
        return NULL;
    }
    await(&to);
    snprintf(why, size, "%s", to.error);
    return to.session;
}

__attribute__((unused)) static kiln_session *branch(kiln_session *session, const char *id)
{
    char why[1024];
    kiln_session *made = try_branch(session, id, why, sizeof(why));
    if (made == NULL) {
        report("branch: %s", why);
        _exit(1);
    }
    return made;
}

/* ---- scenes in children */

static void run_scene(void (*scene)(void), const char *const *set, bool as_root)
{
    int fds[2];
    char text[8192];
    size_t length = 0;
    ssize_t got;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(fds[0]);
        w.report = fds[1];
        signal(SIGSEGV, SIG_DFL); /* cmocka's would go on with the next test, in here */
        signal(SIGABRT, SIG_DFL);
        if (!as_root && geteuid() == 0 && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)) {
            _exit(2);
        }
        alarm(60);
        open_world(set);
        scene();
        kiln_engine_close(w.engine);
        uv_run(&w.loop, UV_RUN_DEFAULT);
        kiln_cgroup_leave(); /* what exit() would do */
        _exit(0);
    }
    close(fds[1]);
    while (length < sizeof(text) - 1 &&
           (got = read(fds[0], text + length, sizeof(text) - 1 - length)) > 0) {
        length += (size_t)got;
    }
    text[length] = '\0';
    close(fds[0]);
    int status;
    waitpid(child, &status, 0);
    if (length > 0 || status != 0) {
        print_error("%s: status %d: %s\n", as_root ? "root" : "user", status, text);
    }
    assert_int_equal(length, 0);
    assert_int_equal(status, 0);
}

/* `settings`: what the file that uses it sets, "section.key=value", NULL-terminated. */
#define SCENE(name)                                                                            \
    static void name##_as_root(void **state)                                                   \
    {                                                                                          \
        (void)state;                                                                           \
        if (geteuid() != 0) {                                                                  \
            skip();                                                                            \
        }                                                                                      \
        run_scene(name, settings, true);                                                       \
    }                                                                                          \
    static void name##_as_user(void **state)                                                   \
    {                                                                                          \
        (void)state;                                                                           \
        run_scene(name, settings, false);                                                      \
    }
#define TESTS(name) cmocka_unit_test(name##_as_root), cmocka_unit_test(name##_as_user)

#endif
