/* container KILN CONFIG RUNS [BYTES] - cells in containers beside those of the interpreter,
 * from request to complete Result, in one engine. CONFIG names the container engine's socket
 * and images, and has a pool. BYTES: the cells alone, in a work directory that holds a file of
 * so many. Run from the tree's root. */
#include "core/engine.h"
#include "measure.h"

enum { SESSIONS = 8, REFILL_MS = 4000 };

static measure interpreter = {.name = "interpreter"}, cell = {.name = "cell"},
               first = {.name = "first_from_pool"}, cold = {.name = "cold"},
               program = {.name = "exec"}, eight = {.name = "eight_sessions"};

typedef struct one {
    bool done;
    unsigned *left;
} one;

static void on_done(void *user, kiln_result *result)
{
    one *state = user;
    if (!kiln_result_success(result)) {
        char *text = json_dumps(result->errors, 0);
        measure_fail("execute", text != NULL ? text : kiln_status_name(result->status));
    }
    state->done = true;
    if (state->left != NULL) {
        --*state->left;
    }
}

static void begin(kiln_session *session, const char *backend, const char *language,
                  const char *code, uint64_t memory, one *state)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_request *request = kiln_request_new();
    if (request == NULL || kiln_request_set_code(request, code, strlen(code)) < 0) {
        measure_fail("request", "out of memory");
    }
    free(request->backend);
    free(request->language);
    request->backend = strdup(backend);
    request->language = strdup(language);
    request->limits.memory = memory;
    kiln_execute_options options = {
        .chain = "default", .out_fd = -1, .on_done = on_done, .user = state};
    kiln_execution *execution = NULL;
    state->done = false;
    if (kiln_execute(session, request, &options, &execution, &err) < 0) {
        measure_fail("execute", err.text);
    }
}

static void execute(uv_loop_t *loop, kiln_session *session, const char *backend,
                    const char *language, const char *code, uint64_t memory)
{
    one state = {0};
    begin(session, backend, language, code, memory, &state);
    measure_until(loop, &state.done);
}

static kiln_session *open_session(kiln_engine *engine)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_session *session = NULL;
    if (kiln_session_open(engine, NULL, &session, &err) < 0) {
        measure_fail("session", err.text);
    }
    return session;
}

static void on_timer(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* The pool refills beside everything else. */
static void wait_ms(uv_loop_t *loop, uint64_t milliseconds)
{
    static uv_timer_t timer;
    bool over = false;
    uv_timer_init(loop, &timer);
    timer.data = &over;
    uv_timer_start(&timer, on_timer, milliseconds, 0);
    measure_until(loop, &over);
}

static void round_trips(uv_loop_t *loop, kiln_engine *engine, int runs, const char *bytes)
{
    kiln_session *here = open_session(engine);
    kiln_session *there = open_session(engine);
    char hold[96];
    snprintf(hold, sizeof(hold), "open('held', 'wb').write(bytes(%s))", bytes);
    execute(loop, there, "container", "python", hold, 0);
    for (int i = -20; i < runs; i++) {
        char code[32];
        snprintf(code, sizeof(code), "1+%d", i + 20);
        double since = measure_now();
        execute(loop, here, "interpreter", "python", code, 0);
        if (i >= 0) {
            measure_add(&interpreter, since);
        }
        since = measure_now();
        execute(loop, there, "container", "python", code, 0);
        if (i >= 0) {
            measure_add(&cell, since);
        }
    }
    for (int i = -1; i < 6; i++) {
        double since = measure_now();
        execute(loop, there, "container", "bash", "true", 0);
        if (i >= 0) {
            measure_add(&program, since);
        }
    }
    kiln_session_close(here);
    kiln_session_close(there);
}

static void first_cells(uv_loop_t *loop, kiln_engine *engine, uint64_t other_memory)
{
    for (int i = 0; i < 5; i++) {
        wait_ms(loop, REFILL_MS);
        kiln_session *session = open_session(engine);
        double since = measure_now();
        execute(loop, session, "container", "python", "1+1", 0);
        measure_add(&first, since);
        kiln_session_close(session);
        wait_ms(loop, REFILL_MS / 4);
        session = open_session(engine);
        since = measure_now(); /* of other limits: there is none in the pool */
        execute(loop, session, "container", "python", "1+1", other_memory);
        measure_add(&cold, since);
        kiln_session_close(session);
    }
}

/* The time of one cell of each of eight sessions, all at once. */
static void many(uv_loop_t *loop, kiln_engine *engine, int runs)
{
    kiln_session *sessions[SESSIONS];
    one states[SESSIONS];
    for (int i = 0; i < SESSIONS; i++) {
        sessions[i] = open_session(engine);
        execute(loop, sessions[i], "container", "python", "1+1", 0);
    }
    for (int run = 0; run < runs; run++) {
        unsigned left = SESSIONS;
        double since = measure_now();
        for (int i = 0; i < SESSIONS; i++) {
            states[i].left = &left;
            begin(sessions[i], "container", "python", "1+1", 0, &states[i]);
        }
        for (int i = 0; i < SESSIONS; i++) {
            measure_until(loop, &states[i].done);
        }
        measure_add(&eight, since);
    }
    for (int i = 0; i < SESSIONS; i++) {
        kiln_session_close(sessions[i]);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5) {
        measure_fail("usage", "container KILN CONFIG RUNS [BYTES]");
    }
    int runs = atoi(argv[3]);
    kiln_error err = KILN_ERROR_INIT;
    kiln_paths paths = {0};
    snprintf(paths.executable, sizeof(paths.executable), "%s", argv[1]);
    const char *slash = strrchr(argv[1], '/');
    snprintf(paths.plugins, sizeof(paths.plugins), "%.*s/plugins",
             slash != NULL ? (int)(slash - argv[1]) : 1, slash != NULL ? argv[1] : ".");
    snprintf(paths.scripts, sizeof(paths.scripts), "scripts");
    snprintf(paths.conf, sizeof(paths.conf), "conf");
    kiln_config_sources sources = {.file = argv[2], .runtimes = "conf/runtimes.ini"};
    kiln_config *config = NULL;
    if (kiln_config_load(&sources, &config, &err) < 0) {
        measure_fail("config", err.text);
    }
    uint64_t memory = kiln_config_limits(config).memory;
    uv_loop_t loop;
    uv_loop_init(&loop);
    kiln_engine *engine = NULL;
    if (kiln_engine_open(&loop, config, &paths, "interpreter", &engine, &err) < 0) {
        measure_fail("engine", err.text);
    }
    round_trips(&loop, engine, runs, argc == 5 ? argv[4] : "0");
    if (argc == 4) {
        first_cells(&loop, engine, memory - (1 << 20));
        many(&loop, engine, runs / 4);
    }
    const measure *const all[] = {&interpreter, &cell, &first, &cold, &program, &eight, NULL};
    measure_print(all);
    kiln_engine_close(engine);
    return 0;
}
