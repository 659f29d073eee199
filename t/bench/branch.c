/* branch KILN RUNS MEGABYTES - what a branch of a live session and a transactional cell
 * cost with that much state (numpy arrays), beside what the kernel takes: the worker's own
 * fork() to its child's first byte, and the same cell without. Run from the tree's root. */
#include "core/engine.h"
#include "measure.h"

static measure own_fork = {.name = "fork"};
static measure branched = {.name = "branch"};
static measure plain = {.name = "plain"};
static measure thinking = {.name = "thinking"};
static measure back_to_back = {.name = "back_to_back"};
static measure failed = {.name = "failed"};
static measure rolled_back = {.name = "rolled_back"};

static uv_loop_t loop;

typedef struct answer {
    bool done;
    kiln_session *session;
    double printed; /* the cell's output, as a number */
} answer;

static void on_done(void *user, kiln_result *result)
{
    answer *to = user;
    json_t *json = kiln_result_to_json(result);
    const char *text = json_string_value(json_object_get(json, "stdout"));
    if (result->status != KILN_STATUS_OK && result->status != KILN_STATUS_ERROR) {
        measure_fail("execute", json_dumps(json, 0));
    }
    to->printed = text != NULL ? strtod(text, NULL) : 0;
    to->done = true;
    json_decref(json);
}

static double execute(kiln_session *session, const char *code, bool transaction)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_request *request = kiln_request_new();
    if (request == NULL || kiln_request_set_code(request, code, strlen(code)) < 0) {
        measure_fail("request", "out of memory");
    }
    request->transaction = transaction;
    answer to = {false};
    const kiln_execute_options options = {.out_fd = -1, .on_done = on_done, .user = &to};
    kiln_execution *execution = NULL;
    if (kiln_execute(session, request, &options, &execution, &err) < 0) {
        measure_fail("execute", err.text);
    }
    measure_until(&loop, &to.done);
    return to.printed;
}

static void on_branch(void *user, kiln_session *session, const kiln_error *err)
{
    answer *to = user;
    if (err != NULL) {
        measure_fail("branch", err->text);
    }
    to->session = session;
    to->done = true;
}

/* Until it has answered on its own. */
static kiln_session *branch(kiln_session *session)
{
    kiln_error err = KILN_ERROR_INIT;
    answer to = {false};
    if (kiln_session_fork(session, NULL, on_branch, &to, &err) < 0) {
        measure_fail("branch", err.text);
    }
    measure_until(&loop, &to.done);
    execute(to.session, "1+1", false);
    return to.session;
}

/* What somebody needs to read a result; meanwhile the engine may work ahead. */
static void think(unsigned milliseconds)
{
    for (unsigned i = 0; i < milliseconds; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

static void fork_once(kiln_session *session)
{
    static const char code[] = "import os, time\nr, w = os.pipe(); t = time.perf_counter()\n"
                               "p = os.fork()\n"
                               "if p == 0: os.write(w, b'x'); os._exit(0)\n"
                               "os.read(r, 1); t = time.perf_counter() - t\n"
                               "os.waitpid(p, 0); os.close(r); os.close(w); print(t * 1e6)";
    measure_put(&own_fork, execute(session, code, false));
}

static void measured(measure *series, kiln_session *session, const char *code, bool transaction)
{
    double since = measure_now();
    execute(session, code, transaction);
    measure_add(series, since);
}

int main(int argc, char **argv)
{
    static const char read_cell[] = "float(a[0, :100].sum())";
    static const char fail_cell[] = "a[0, 0] = 5; 1 / 0";
    if (argc != 4) {
        measure_fail("usage", "branch KILN RUNS MEGABYTES");
    }
    int runs = atoi(argv[2]);
    kiln_error err = KILN_ERROR_INIT;
    kiln_paths paths = {0};
    snprintf(paths.executable, sizeof(paths.executable), "%s", argv[1]);
    const char *slash = strrchr(argv[1], '/');
    snprintf(paths.plugins, sizeof(paths.plugins), "%.*s/plugins",
             slash != NULL ? (int)(slash - argv[1]) : 1, slash != NULL ? argv[1] : ".");
    snprintf(paths.scripts, sizeof(paths.scripts), "scripts");
    snprintf(paths.conf, sizeof(paths.conf), "conf");
    static const char *const set[] = {"chain.default.policies=", "limits.memory=4G",
                                      "backend interpreter.preload=numpy", NULL};
    kiln_config_sources sources = {.file = "", .runtimes = "conf/runtimes.ini", .set = set};
    kiln_config *config = NULL;
    kiln_engine *engine = NULL;
    kiln_session *session = NULL;
    if (kiln_config_load(&sources, &config, &err) < 0) {
        measure_fail("config", err.text);
    }
    uv_loop_init(&loop);
    if (kiln_engine_open(&loop, config, &paths, "interpreter", &engine, &err) < 0 ||
        kiln_session_open(engine, NULL, &session, &err) < 0) {
        measure_fail("engine", err.text);
    }
    char state[200];
    snprintf(
        state, sizeof(state),
        "import numpy\na = numpy.ones((%s, 1 << 17)); open('notes.txt', 'w').write('x' * 999)",
        argv[3]);
    execute(session, state, false);
    for (int i = 0; i < runs; i++) {
        fork_once(session);
        double since = measure_now();
        kiln_session *made = branch(session);
        measure_add(&branched, since);
        kiln_session_close(made);
        think(10);
        measured(&plain, session, read_cell, false);
        execute(session, read_cell, true);
        think(30);
        measured(&thinking, session, read_cell, true);
        measured(&back_to_back, session, read_cell, true);
        think(30);
        measured(&rolled_back, session, fail_cell, true);
        think(30);
        measured(&failed, session, "1 / 0", false);
    }
    const measure *const all[] = {&own_fork,     &branched, &plain,       &thinking,
                                  &back_to_back, &failed,   &rolled_back, NULL};
    measure_print(all);
    kiln_session_close(session);
    kiln_engine_close(engine);
    uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
}
