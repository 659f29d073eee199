/* execute KILN RUNS - `1+1` from request to complete Result in the engine, through the default
 * chain. What the policies take of it is policy.c's. Run from the tree's root. */
#include "measure_engine.h"

static measure whole = {.name = "default_chain"};

static void execute(uv_loop_t *loop, kiln_session *session, const char *code)
{
    measure_execution one = {.want = KILN_STATUS_OK};
    measure_execute(session, &one, code);
    measure_until(loop, &one.done);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        measure_fail("usage", "execute KILN RUNS");
    }
    int runs = atoi(argv[2]);
    uv_loop_t loop;
    uv_loop_init(&loop);
    kiln_engine *engine = measure_engine_open(&loop, argv[1], "interpreter", NULL);
    kiln_session *session = measure_session_open(engine);
    execute(&loop, session, "1");
    for (int i = -20; i < runs; i++) {
        char code[64];
        snprintf(code, sizeof(code), "1+%d", i + 20);
        double since = measure_now();
        execute(&loop, session, code);
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
