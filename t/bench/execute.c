/* execute KILN RUNS - `1+1` from request to complete Result in the engine, through the
 * default chain. What the policies take of it is policy.c's. Run from the tree's root. */
#include "core/engine.h"
#include "measure.h"

static measure whole = {.name = "default_chain"};

typedef struct one {
    bool done;
} one;

static void on_done(void *user, kiln_result *result)
{
    if (!kiln_result_success(result)) {
        measure_fail("execute", kiln_status_name(result->status));
    }
    ((one *)user)->done = true;
}

static void execute(uv_loop_t *loop, kiln_session *session, const char *chain, const char *code)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_request *request = kiln_request_new();
    if (request == NULL || kiln_request_set_code(request, code, strlen(code)) < 0) {
        measure_fail("request", "out of memory");
    }
    one state = {false};
    kiln_execute_options options = {
        .chain = chain, .out_fd = -1, .on_done = on_done, .user = &state};
    kiln_execution *execution = NULL;
    if (kiln_execute(session, request, &options, &execution, &err) < 0) {
        measure_fail("execute", err.text);
    }
    measure_until(loop, &state.done);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        measure_fail("usage", "execute KILN RUNS");
    }
    int runs = atoi(argv[2]);
    kiln_error err = KILN_ERROR_INIT;
    kiln_paths paths = {0};
    /* Run from the tree's root; the plugins lie beside KILN. */
    snprintf(paths.executable, sizeof(paths.executable), "%s", argv[1]);
    const char *slash = strrchr(argv[1], '/');
    snprintf(paths.plugins, sizeof(paths.plugins), "%.*s/plugins",
             slash != NULL ? (int)(slash - argv[1]) : 1, slash != NULL ? argv[1] : ".");
    snprintf(paths.scripts, sizeof(paths.scripts), "scripts");
    snprintf(paths.conf, sizeof(paths.conf), "conf");

    kiln_config_sources sources = {.file = "conf/kiln.ini", .runtimes = "conf/runtimes.ini"};
    kiln_config *config = NULL;
    if (kiln_config_load(&sources, &config, &err) < 0) {
        measure_fail("config", err.text);
    }
    uv_loop_t loop;
    uv_loop_init(&loop);
    kiln_engine *engine = NULL;
    kiln_session *session = NULL;
    if (kiln_engine_open(&loop, config, &paths, "interpreter", &engine, &err) < 0 ||
        kiln_session_open(engine, NULL, &session, &err) < 0) {
        measure_fail("engine", err.text);
    }
    for (int i = -20; i < runs; i++) {
        char code[64];
        snprintf(code, sizeof(code), "1+%d", i + 20);
        double since = measure_now();
        execute(&loop, session, "default", code);
        if (i >= 0) {
            measure_add(&whole, since);
        }
    }
    const measure *const all[] = {&whole, NULL};
    measure_print(all);
    kiln_session_close(session);
    kiln_engine_close(engine);
    return 0;
}
