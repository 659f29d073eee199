/* session KILN INTERPRETER.so RUNS [OPTION...] - a session from nothing to its first
 * reply: fork, confine, `1+1` done; beside a bare fork to the child's first byte. The
 * zygote is there and has preloaded what the options say. */
#include "measure.h"

static measure fork_byte = {.name = "fork"};
static measure session = {.name = "session"};
static measure closing = {.name = "close"};

int main(int argc, char **argv)
{
    if (argc < 4) {
        measure_fail("usage", "session KILN INTERPRETER.so RUNS [OPTION...]");
    }
    int runs = atoi(argv[3]);
    kiln_error err = KILN_ERROR_INIT;
    (void)kiln_cgroup_init(&err);
    uv_loop_t loop;
    uv_loop_init(&loop);
    kiln_zygote *zygote =
        measure_zygote(&loop, argv[1], argv[2], (const char *const *)(void *)(argv + 4));
    for (int i = -3; i < runs; i++) {
        measure_sandbox sandbox;
        measure_guest guest;
        if (i >= 0) {
            measure_fork(&fork_byte);
        }
        double since = measure_now();
        measure_sandbox_open(&sandbox, zygote);
        measure_guest_start(&guest, sandbox.sandbox);
        measure_guest_cell(&guest, &loop, "1+1", 1);
        if (i >= 0) {
            measure_add(&session, since);
        }
        since = measure_now();
        kiln_sandbox_close(sandbox.sandbox);
        if (i >= 0) {
            measure_add(&closing, since);
        }
    }
    const measure *const all[] = {&fork_byte, &session, &closing, NULL};
    measure_print(all);
    kiln_zygote_stop(zygote);
    return 0;
}
