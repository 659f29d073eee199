/* measure.h - what the benchmark programs share: clock, medians, a zygote.
 *
 * Every program alternates what it compares within one run and prints one JSON
 * object {"NAME": [microseconds, ...]}; t/bench/bench.py makes the table. */
#ifndef KILN_BENCH_MEASURE_H
#define KILN_BENCH_MEASURE_H

#include "worker/sandboxed.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MEASURE_MAX = 20000 };

typedef struct measure {
    const char *name;
    size_t count;
    double values[MEASURE_MAX]; /* microseconds */
} measure;

static inline double measure_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static inline void measure_put(measure *series, double value)
{
    if (series->count < MEASURE_MAX) {
        series->values[series->count++] = value;
    }
}

static inline void measure_add(measure *series, double since)
{
    measure_put(series, measure_now() - since);
}

static inline void measure_print(const measure *const *all)
{
    printf("{");
    for (size_t i = 0; all[i] != NULL; i++) {
        printf("%s\"%s\": [", i > 0 ? ",\n " : "", all[i]->name);
        for (size_t n = 0; n < all[i]->count; n++) {
            printf("%s%.2f", n > 0 ? "," : "", all[i]->values[n]);
        }
        printf("]");
    }
    printf("}\n");
}

static inline void measure_fail(const char *what, const char *why) __attribute__((noreturn));
static inline void measure_fail(const char *what, const char *why)
{
    fprintf(stderr, "t/bench: %s: %s\n", what, why);
    exit(1);
}

/* From now on this process, and those that it starts, run on that processor. NULL: where the
 * kernel likes. */
static inline void measure_place(const char *processor)
{
    cpu_set_t only;
    CPU_ZERO(&only);
    if (processor != NULL) {
        CPU_SET((size_t)atoi(processor), &only);
        if (sched_setaffinity(0, sizeof(only), &only) < 0) {
            measure_fail("processor", strerror(errno));
        }
    }
}

/* The least that a new process can do: from fork() to its first byte. */
static inline void measure_fork(measure *series)
{
    int pipe_fds[2];
    char byte = 0;
    double since = measure_now();
    if (pipe(pipe_fds) < 0) {
        measure_fail("pipe", strerror(errno));
    }
    pid_t pid = fork();
    if (pid == 0) {
        _exit(write(pipe_fds[1], "x", 1) == 1 ? 0 : 1);
    }
    if (pid < 0 || read(pipe_fds[0], &byte, 1) != 1) {
        measure_fail("fork", "no byte came");
    }
    measure_add(series, since);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    waitpid(pid, NULL, 0);
}

/* Runs the loop until *done. */
static inline void measure_until(uv_loop_t *loop, const bool *done)
{
    while (!*done) {
        uv_run(loop, UV_RUN_ONCE);
    }
}

static inline kiln_limits measure_limits(void)
{
    kiln_limits limits = {.size = sizeof(limits),
                          .timeout_ms = 60000,
                          .memory = 1ULL << 30,
                          .processes = 128,
                          .output = 4 << 20,
                          .disk = 256 << 20,
                          .files = 20000,
                          .open_files = 256};
    return limits;
}

/* As [sandbox] has it by default. */
static inline kiln_zygote *measure_zygote(uv_loop_t *loop, const char *kiln, const char *plugin,
                                          const char *const *options)
{
    kiln_error err = KILN_ERROR_INIT;
    char program[4096] = ""; /* NAME.worker beside NAME.so, as the engine's loader has it */
    if (plugin != NULL) {
        snprintf(program, sizeof(program), "%.*s.worker", (int)strlen(plugin) - 3, plugin);
    }
    kiln_zygote_spec spec = {.loop = loop,
                             .executable = access(program, X_OK) == 0 ? program : kiln,
                             .plugin = plugin,
                             .options = options,
                             .policy = {.required = KILN_LAYER_NAMESPACES | KILN_LAYER_SECCOMP |
                                                    KILN_LAYER_NO_NEW_PRIVS,
                                        .uid_base = geteuid() == 0 ? 1900000000 : 0,
                                        .uid_count = geteuid() == 0 ? 65536 : 0,
                                        .private_network = true},
                             .log_level = KILN_LOG_WARNING};
    kiln_zygote *zygote = NULL;
    if (kiln_zygote_start(&spec, &zygote, &err) < 0) {
        measure_fail("zygote", err.text);
    }
    return zygote;
}

typedef struct measure_sandbox {
    kiln_sandbox *sandbox;
    bool ready;
} measure_sandbox;

static inline void measure_sandbox_ready(void *user, int root_fd, const kiln_error *err)
{
    measure_sandbox *one = user;
    if (root_fd < 0) {
        measure_fail("sandbox", err->text);
    }
    one->ready = true;
}

static inline void measure_sandbox_open(measure_sandbox *one, kiln_zygote *zygote)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_limits limits = measure_limits();
    one->ready = false;
    if (kiln_sandbox_open(zygote, "bench", &limits, measure_sandbox_ready, one, &one->sandbox,
                          &err) < 0) {
        measure_fail("sandbox", err.text);
    }
}

/* A worker and whether its cell has ended. */
typedef struct measure_guest {
    kiln_guest *guest;
    bool done;
    bool interrupted; /* that is how the cell is to end */
} measure_guest;

static inline void measure_guest_event(void *user, const kiln_event *event)
{
    (void)user, (void)event;
}
static inline void measure_guest_done(void *user, const kiln_verdict *verdict, double cpu_ms,
                                      uint64_t max_rss_bytes)
{
    (void)cpu_ms, (void)max_rss_bytes;
    const measure_guest *one = user;
    if (verdict->status != (one->interrupted ? KILN_STATUS_INTERRUPTED : KILN_STATUS_OK)) {
        measure_fail("cell", "it did not succeed");
    }
    ((measure_guest *)user)->done = true;
}
static inline void measure_guest_exit(void *user, const kiln_exit *how)
{
    (void)user;
    if (how->error != NULL) {
        measure_fail("worker", how->error);
    }
}

static inline void measure_guest_start(measure_guest *one, kiln_sandbox *sandbox)
{
    static const kiln_guest_callbacks callbacks = {.on_event = measure_guest_event,
                                                   .on_done = measure_guest_done,
                                                   .on_exit = measure_guest_exit};
    kiln_error err = KILN_ERROR_INIT;
    kiln_limits limits = measure_limits();
    if (kiln_guest_start(sandbox, &limits, &callbacks, one, &one->guest, &err) < 0) {
        measure_fail("worker", err.text);
    }
}

static inline void measure_guest_begin(measure_guest *one, const char *code, uint64_t count)
{
    static const char *const none[] = {NULL};
    kiln_error err = KILN_ERROR_INIT;
    kiln_input input = {.size = sizeof(input),
                        .session_id = "bench",
                        .code = code,
                        .code_length = strlen(code),
                        .language = "python",
                        .args = none,
                        .env = none,
                        .input_files = none,
                        .execution_count = count,
                        .limits = measure_limits()};
    one->done = false;
    if (kiln_guest_execute(one->guest, &input, &err) < 0) {
        measure_fail("cell", err.text);
    }
}

/* One cell, from the request to DONE. */
static inline void measure_guest_cell(measure_guest *one, uv_loop_t *loop, const char *code,
                                      uint64_t count)
{
    measure_guest_begin(one, code, count);
    measure_until(loop, &one->done);
}

#endif
