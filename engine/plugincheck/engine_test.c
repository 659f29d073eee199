/* Workers, in an engine that is not made up: its zygote, its sandboxes, its sessions. */
#include "plugincheck/check-t.h"

#include "config/config.h"
#include "core/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CELL_MS = 8000, SETTINGS = 80 };

typedef struct real_engine {
    check_subject *subject;
    uv_loop_t loop;
    kiln_engine *engine;
    uv_timer_t deadline;
    bool late;
} real_engine;

/* What an execution, a query or a branch came to. */
typedef struct ending {
    bool ended;
    bool lost;    /* the worker of the session's last cell */
    bool unknown; /* a query that the worker does not know */
    kiln_status status;
    char why[1024];
    kiln_session *branch;
} ending;

static void on_deadline(uv_timer_t *timer)
{
    ((real_engine *)timer->data)->late = true;
}

/* One of "KEY=VALUE", in the caller's array. */
static int set(char *list[], size_t *count, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int set(char *list[], size_t *count, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = *count < SETTINGS - 1 ? vasprintf(&list[*count], format, arguments) : -1;
    va_end(arguments);
    *count += length >= 0;
    return length >= 0 ? 0 : -ENOMEM;
}

static int configure(check_subject *subject, const char *path, const kiln_paths *paths,
                     kiln_config **config, kiln_error *err)
{
    const char *name = subject->loaded->plugin.name;
    char *list[SETTINGS] = {NULL};
    size_t count = 0;
    int rc = set(list, &count, "engine.backends=%s", name);
    rc = rc < 0 ? rc : set(list, &count, "engine.backend=%s", name);
    rc = rc < 0 ? rc : set(list, &count, "backend %s.plugin=%s", name, path);
    rc = rc < 0 ? rc : set(list, &count, "chain default.policies=");
    rc = rc < 0 ? rc : set(list, &count, "engine.grace=500ms");
    rc = rc < 0 ? rc : set(list, &count, "engine.log_level=error");
    for (const char *const *word = subject->options->set; rc == 0 && word != NULL && *word;
         word++) {
        rc = set(list, &count, "backend %s.%s", name, *word);
    }
    char runtimes[sizeof(paths->conf) + 16]; /* for a plugin of all languages */
    snprintf(runtimes, sizeof(runtimes), "%s/runtimes.ini", paths->conf);
    const kiln_config_sources sources = {
        .file = "", .runtimes = runtimes, .set = (const char *const *)list};
    rc = rc < 0 ? kiln_error_set(err, rc, "out of memory")
                : kiln_config_load(&sources, config, err);
    for (size_t i = 0; i < count; i++) {
        free(list[i]);
    }
    return rc;
}

static void stop(real_engine *real)
{
    if (real->engine != NULL) {
        kiln_engine_close(real->engine);
    }
    uv_close((uv_handle_t *)&real->deadline, NULL);
    uv_run(&real->loop, UV_RUN_DEFAULT);
    uv_loop_close(&real->loop);
}

static int start(check_subject *subject, real_engine *real)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config = NULL;
    kiln_paths paths = {0};
    char path[PATH_MAX];
    *real = (real_engine){.subject = subject};
    uv_loop_init(&real->loop);
    uv_timer_init(&real->loop, &real->deadline);
    uv_unref((uv_handle_t *)&real->deadline);
    real->deadline.data = real;
    int rc = realpath(subject->path, path) == NULL
                 ? kiln_error_errno(&err, errno, "%s", subject->path)
                 : kiln_paths_find(&paths, &err);
    rc = rc < 0 ? rc : configure(subject, path, &paths, &config, &err);
    rc = rc < 0 ? rc : kiln_engine_open(&real->loop, config, &paths, NULL, &real->engine, &err);
    if (rc < 0) {
        check_failed(subject, "%s", err.text);
        stop(real);
    }
    return rc;
}

/* ---- one thing after the other */

/* The worker of an earlier cell was lost, and this one's is new. */
static const char *lost(const kiln_result *result)
{
    size_t index;
    json_t *decision;
    json_array_foreach(result->decisions, index, decision)
    {
        const char *action = json_string_value(json_object_get(decision, "action"));
        if (action != NULL && strcmp(action, "restart") == 0) {
            return json_string_value(json_object_get(decision, "detail"));
        }
    }
    return NULL;
}

static void on_done(void *user, kiln_result *result)
{
    ending *e = user;
    const char *restarted = lost(result);
    const char *why =
        json_string_value(json_object_get(json_array_get(result->errors, 0), "message"));
    e->ended = true;
    e->status = result->status;
    e->lost = restarted != NULL;
    snprintf(e->why, sizeof(e->why), "%s",
             restarted != NULL ? restarted
             : why != NULL     ? why
                               : "");
}

static void on_reply(void *user, json_t *reply, const kiln_error *err)
{
    ending *e = user;
    e->ended = true;
    e->unknown = err != NULL && strstr(err->text, "does not know such a query") != NULL;
    e->status = reply != NULL ? KILN_STATUS_OK : KILN_STATUS_ERROR;
    snprintf(e->why, sizeof(e->why), "%s", err != NULL ? err->text : "");
}

static void on_branch(void *user, kiln_session *branch, const kiln_error *err)
{
    ending *e = user;
    e->ended = true;
    e->branch = branch;
    snprintf(e->why, sizeof(e->why), "%s", err != NULL ? err->text : "");
}

static int wait_for(real_engine *real, const ending *e)
{
    real->late = false;
    uv_timer_start(&real->deadline, on_deadline, CELL_MS, 0);
    uv_ref((uv_handle_t *)&real->deadline);
    while (!e->ended && !real->late) {
        uv_run(&real->loop, UV_RUN_ONCE);
    }
    uv_unref((uv_handle_t *)&real->deadline);
    uv_timer_stop(&real->deadline);
    return e->ended ? 0 : -ETIMEDOUT;
}

static int open_session(real_engine *real, kiln_session **session)
{
    kiln_error err = KILN_ERROR_INIT;
    int rc = kiln_session_open(real->engine, NULL, session, &err);
    if (rc < 0) {
        check_failed(real->subject, "no session: %s", err.text);
    }
    return rc;
}

/* An empty cell: no language has another that all know. */
static int begin(real_engine *real, kiln_session *session, ending *e,
                 kiln_execution **execution)
{
    kiln_error err = KILN_ERROR_INIT;
    const char *const *languages = real->subject->loaded->plugin.languages;
    const kiln_execute_options options = {.out_fd = -1, .on_done = on_done, .user = e};
    kiln_request *request = kiln_request_new();
    *e = (ending){0};
    int rc = request == NULL ? -ENOMEM : kiln_request_set_code(request, "", 0);
    if (rc == 0 && languages[0] != NULL && strcmp(languages[0], "*") != 0) {
        rc = kiln_request_set_string(&request->language, languages[0]);
    }
    if (rc < 0) {
        kiln_request_free(request);
        kiln_error_set(&err, rc, "out of memory");
    } else {
        rc = kiln_execute(session, request, &options, execution, &err);
    }
    if (rc < 0) {
        check_failed(real->subject, "an empty cell was refused: %s", err.text);
    }
    return rc;
}

static int end(real_engine *real, const ending *e, const char *what)
{
    if (wait_for(real, e) < 0) {
        check_failed(real->subject, "%s did not end within %d s", what, CELL_MS / 1000);
        return -ETIMEDOUT;
    }
    if (e->lost) {
        check_failed(real->subject, "the worker was lost before %s: %s", what, e->why);
        return -EPIPE;
    }
    if (e->status != KILN_STATUS_OK && e->status != KILN_STATUS_ERROR &&
        e->status != KILN_STATUS_INTERRUPTED) {
        check_failed(real->subject, "%s ended as %s: %s", what, kiln_status_name(e->status),
                     e->why);
        return -EIO;
    }
    return 0;
}

static int cell(real_engine *real, kiln_session *session, const char *what)
{
    ending e;
    kiln_execution *execution;
    int rc = begin(real, session, &e, &execution);
    return rc < 0 ? rc : end(real, &e, what);
}

/* ---- the tests */

/* Runs `body` with an engine around the plugin and one open session. */
static check_verdict in_engine(check_subject *subject,
                               int (*body)(real_engine *real, kiln_session *session))
{
    real_engine real;
    kiln_session *session;
    if (!(subject->loaded->plugin.capabilities & KILN_CAP_WORKER)) {
        return check_skipped(subject, "it has no worker half");
    }
    if (start(subject, &real) < 0) {
        return CHECK_FAILED;
    }
    int rc = open_session(&real, &session);
    rc = rc < 0 ? rc : body(&real, session);
    stop(&real);
    return rc < 0 ? CHECK_FAILED : CHECK_OK;
}

static int cells_and_restart(real_engine *real, kiln_session *session)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < 3; i++) {
        rc = cell(real, session, "an empty cell");
    }
    kiln_session_restart(session);
    return rc < 0 ? rc : cell(real, session, "a cell after a restart");
}

static check_verdict cells(check_subject *subject)
{
    return in_engine(subject, cells_and_restart);
}

/* Whether one comes before, while or after the cell runs, the state stays; a second one ends
 * the worker, and another takes its place. */
static int interrupt_and_go_on(real_engine *real, kiln_session *session)
{
    ending e;
    kiln_execution *execution;
    int rc = cell(real, session, "an empty cell");
    for (int i = 0; rc == 0 && i < 3; i++) {
        rc = begin(real, session, &e, &execution);
        if (rc == 0) {
            kiln_execution_cancel(execution);
            rc = end(real, &e, "a cell that was interrupted");
        }
    }
    rc = rc < 0 ? rc : cell(real, session, "a cell after an interrupt");
    rc = rc < 0 ? rc : begin(real, session, &e, &execution);
    if (rc < 0) {
        return rc;
    }
    kiln_execution_cancel(execution);
    kiln_execution_cancel(execution);
    rc = end(real, &e, "a cell that was interrupted twice");
    rc = rc < 0 ? rc : begin(real, session, &e, &execution);
    if (rc == 0 && wait_for(real, &e) == 0) {
        e.lost = false; /* as it may be */
    }
    return rc < 0 ? rc : end(real, &e, "a cell after two interrupts");
}

static check_verdict interrupted_workers(check_subject *subject)
{
    return subject->loaded->plugin.capabilities & KILN_CAP_INTERRUPT
               ? in_engine(subject, interrupt_and_go_on)
               : check_skipped(subject, "it does not say INTERRUPT");
}

static int close_one(real_engine *real, kiln_session *session)
{
    ending first, second;
    kiln_execution *execution;
    kiln_session *other;
    int rc = open_session(real, &other);
    rc = rc < 0 ? rc : begin(real, session, &first, &execution);
    rc = rc < 0 ? rc : begin(real, other, &second, &execution);
    if (rc < 0) {
        return rc;
    }
    kiln_session_close(other);
    rc = end(real, &first, "a cell beside one whose session was closed");
    if (rc == 0 && wait_for(real, &second) < 0) {
        check_failed(real->subject, "a cell whose session was closed did not end");
        rc = -ETIMEDOUT;
    }
    /* and one is in flight when the engine ends */
    rc = rc < 0 ? rc : begin(real, session, &first, &execution);
    if (rc == 0) {
        kiln_engine_close(real->engine);
        real->engine = NULL;
        if (!first.ended) {
            check_failed(real->subject, "a cell in flight did not end with the engine");
            rc = -EIO;
        }
    }
    return rc;
}

static check_verdict closed_in_flight(check_subject *subject)
{
    return in_engine(subject, close_one);
}

/* A query that the worker does not know is none that fails. */
static int ask(real_engine *real, kiln_session *session, const char *name, const char *text)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_query *query;
    ending e = {0};
    json_t *arguments = json_loads(text, 0, NULL);
    int rc = kiln_session_query(session, NULL, name, arguments, on_reply, &e, &query, &err);
    json_decref(arguments);
    if (rc < 0) {
        check_failed(real->subject, "query %s: %s", name, err.text);
        return rc;
    }
    if (wait_for(real, &e) < 0) {
        check_failed(real->subject, "query %s: no reply", name);
        return -ETIMEDOUT;
    }
    if (e.status != KILN_STATUS_OK && !e.unknown) {
        check_failed(real->subject, "query %s: %s", name, e.why);
        return -EIO;
    }
    return 0;
}

static int ask_all(real_engine *real, kiln_session *session)
{
    int rc = cell(real, session, "an empty cell");
    for (size_t i = 0; rc == 0 && check_queries[i].name != NULL; i++) {
        rc = ask(real, session, check_queries[i].name, check_queries[i].arguments);
    }
    return rc < 0 ? rc : cell(real, session, "a cell after queries");
}

static check_verdict asked_workers(check_subject *subject)
{
    return subject->loaded->plugin.capabilities & KILN_CAP_QUERY
               ? in_engine(subject, ask_all)
               : check_skipped(subject, "it does not say QUERY");
}

static int branch_and_both(real_engine *real, kiln_session *session)
{
    kiln_error err = KILN_ERROR_INIT;
    ending e = {0};
    int rc = cell(real, session, "an empty cell");
    if (rc < 0) {
        return rc;
    }
    rc = kiln_session_fork(session, NULL, on_branch, &e, &err);
    if (rc < 0 || wait_for(real, &e) < 0 || e.branch == NULL) {
        check_failed(real->subject, "no branch: %s",
                     rc < 0     ? err.text
                     : !e.ended ? "nothing came of it"
                                : e.why);
        return -EIO;
    }
    rc = cell(real, e.branch, "a cell in a branch");
    return rc < 0 ? rc : cell(real, session, "a cell in what was branched");
}

static check_verdict branched_workers(check_subject *subject)
{
    return subject->loaded->plugin.capabilities & KILN_CAP_BRANCH
               ? in_engine(subject, branch_and_both)
               : check_skipped(subject, "it does not say BRANCH");
}

const check_test check_engine_tests[] = {
    {"its worker in a sandbox: cells, and a restart", cells},
    {"its worker in a sandbox: interrupts", interrupted_workers},
    {"its worker in a sandbox: ended with work in flight", closed_in_flight},
    {"its worker in a sandbox: queries", asked_workers},
    {"its worker in a sandbox: a branch", branched_workers},
    {NULL, NULL},
};
