/* rate KILN SECONDS - what comes and goes in a while, microseconds each: cells of one
 * session and of eight, sessions of numpy, pandas and pyplot that are opened, used once and
 * closed, programs in sessions of their own; everything with its teardown. Beside them what
 * the kernel does at least for a program: fork and exec. What it does at least for a session is
 * forks.py's. */
#include "measure_engine.h"

#include <sys/wait.h>

enum { MANY = 8 };

static double span_us;

static measure one_session = {.name = "cells_1"};
static measure many_sessions = {.name = "cells_8"};
static measure sessions = {.name = "sessions"};
static measure programs = {.name = "programs"};
static measure fork_exec = {.name = "fork_exec"};

static void settle(measure *series, double since, unsigned count)
{
    measure_put(series, (measure_now() - since) / (count > 0 ? count : 1));
}

/* Each session's next cell begins when its last one has ended. */
static void cells(uv_loop_t *loop, kiln_engine *engine, int width, measure *series)
{
    kiln_session *open[MANY];
    measure_execution running[MANY];
    unsigned finished = 0;
    for (int i = 0; i < width; i++) {
        open[i] = measure_session_open(engine);
        measure_cell(loop, open[i], "1+1");
        running[i] = (measure_execution){.want = KILN_STATUS_OK, .finished = &finished};
    }
    double since = measure_now();
    for (int i = 0; i < width; i++) {
        measure_execute(open[i], &running[i], "1+1");
    }
    while (measure_now() - since < span_us) {
        uv_run(loop, UV_RUN_ONCE);
        for (int i = 0; i < width; i++) {
            if (running[i].done) {
                measure_execute(open[i], &running[i], "1+1");
            }
        }
    }
    settle(series, since, finished);
    for (int i = 0; i < width; i++) {
        measure_until(loop, &running[i].done);
        kiln_session_close(open[i]);
    }
}

static void lives(uv_loop_t *loop, kiln_engine *engine, const char *backend,
                  const char *language, const char *code, measure *series)
{
    unsigned count = 0;
    double since = measure_now();
    while (measure_now() - since < span_us) {
        measure_execution one = {
            .want = KILN_STATUS_OK, .backend = backend, .language = language};
        kiln_session *session = measure_session_open(engine);
        measure_execute(session, &one, code);
        measure_until(loop, &one.done);
        kiln_session_close(session);
        count++;
    }
    settle(series, since, count);
}

static void bare(measure *series)
{
    static const char *const argv[] = {"/bin/true", NULL};
    unsigned count = 0;
    double since = measure_now();
    while (measure_now() - since < span_us / 2) {
        pid_t pid = fork();
        if (pid == 0) {
            execvp(argv[0], (char *const *)(void *)argv);
            _exit(127);
        }
        waitpid(pid, NULL, 0);
        count++;
    }
    settle(series, since, count);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        measure_fail("usage", "rate KILN SECONDS");
    }
    static const char *const set[] = {
        "backend interpreter.preload=numpy pandas matplotlib.pyplot", NULL};
    kiln_error err = KILN_ERROR_INIT;
    span_us = atof(argv[2]) * 1e6;
    bare(&fork_exec);
    uv_loop_t loop;
    uv_loop_init(&loop);
    kiln_engine *engine = measure_engine_open(&loop, argv[1], "interpreter", set);
    cells(&loop, engine, 1, &one_session);
    cells(&loop, engine, MANY, &many_sessions);
    if (kiln_engine_keep_pools(engine, &err) < 0) {
        measure_fail("pool", err.text);
    }
    measure_fill_pool(&loop, engine, "interpreter", 2);
    double longer = span_us;
    span_us = 1; /* the first one on a backend begins its pool */
    lives(&loop, engine, "exec", "bash", ":", &programs);
    span_us = longer;
    programs.count = 0;
    measure_fill_pool(&loop, engine, "exec", 2);
    lives(&loop, engine, NULL, NULL, "1+1", &sessions);
    lives(&loop, engine, "exec", "bash", ":", &programs);
    const measure *const all[] = {&one_session, &many_sessions, &sessions,
                                  &programs,    &fork_exec,     NULL};
    measure_print(all);
    kiln_engine_close(engine);
    return 0;
}
