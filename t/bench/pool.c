/* pool KILN RUNS - a session from the pool: its first cell beside the same cell in a warm
 * session, and a first DataFrame beside the second. numpy, pandas and pyplot are preloaded. */
#include "measure_engine.h"

static measure warm = {.name = "warm_cell"};
/* After the pause that the pool is filled in. */
static measure rested = {.name = "rested_cell"};
static measure first = {.name = "first_cell"};
static measure cold = {.name = "cold_first_cell"};
static measure frame_first = {.name = "frame_first"};
static measure frame_cold = {.name = "frame_cold"};
static measure frame_second = {.name = "frame_second"};

static const char frame_code[] =
    "import pandas as pd\n"
    "d = pd.DataFrame({'k': list('abcab'), 'v': range(5), 'w': [0.5] * 5})\n"
    "print(d)\n"
    "print(d.groupby('k').sum())\n"
    "d.groupby('k').mean()";

static void timed(uv_loop_t *loop, kiln_session *session, const char *code, measure *series)
{
    double since = measure_now();
    measure_cell(loop, session, code);
    measure_add(series, since);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        measure_fail("usage", "pool KILN RUNS");
    }
    static const char *const set[] = {
        "backend interpreter.preload=numpy pandas matplotlib.pyplot",
        "backend interpreter.pool=2", "backend exec.pool=0", NULL};
    int runs = atoi(argv[2]);
    kiln_error err = KILN_ERROR_INIT;
    uv_loop_t loop;
    uv_loop_init(&loop);
    kiln_engine *engine = measure_engine_open(&loop, argv[1], "interpreter", set);
    kiln_session *live = measure_session_open(engine);
    measure_cell(&loop, live, "1+1");

    for (int i = 0; i < runs; i++) { /* without a pool */
        kiln_session *session = measure_session_open(engine);
        timed(&loop, session, "1+1", &cold);
        timed(&loop, session, frame_code, &frame_cold);
        kiln_session_close(session);
    }
    if (kiln_engine_keep_pools(engine, &err) < 0) {
        measure_fail("pool", err.text);
    }
    for (int i = 0; i < runs; i++) {
        measure_fill_pool(&loop, engine, "interpreter", 2);
        timed(&loop, live, "1+1", &rested);
        timed(&loop, live, "1+1", &warm);
        kiln_session *session = measure_session_open(engine);
        timed(&loop, session, "1+1", &first);
        kiln_session_close(session);
        measure_fill_pool(&loop, engine, "interpreter", 2);
        session = measure_session_open(engine);
        timed(&loop, session, frame_code, &frame_first);
        timed(&loop, session, frame_code, &frame_second);
        kiln_session_close(session);
    }
    const measure *const all[] = {&warm,        &rested,       &first,      &cold,
                                  &frame_first, &frame_second, &frame_cold, NULL};
    measure_print(all);
    kiln_session_close(live);
    kiln_engine_close(engine);
    return 0;
}
