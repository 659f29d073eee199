/* session KILN INTERPRETER.so RUNS [OPTION...] - a session from nothing to its first
 * reply: fork, confine, `1+1` done; beside a bare fork to the child's first byte, and beside
 * `unconfined`: a worker's plain fork(), with the same memory, that does `1+1` and writes it
 * to a pipe. The zygote is there and has preloaded what the options say. */
#include "measure.h"

static measure fork_byte = {.name = "fork"};
static measure unconfined = {.name = "unconfined"};
static measure session = {.name = "session"};

/* By libc's own fork, as the zygote forks: without Python's handlers around it. */
static const char prepare[] =
    "import ctypes, os\n"
    "fork = ctypes.PyDLL(None).fork\n"
    "def spawn():\n"
    "    global child\n"
    "    reader, writer = os.pipe()\n"
    "    child = fork()\n"
    "    if child == 0:\n"
    "        os.write(writer, repr(eval(compile('1+1', 'cell', 'eval'))).encode())\n"
    "        os._exit(0)\n"
    "    os.read(reader, 9)\n"
    "    os.close(reader)\n"
    "    os.close(writer)\n";
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
    measure_sandbox forking_sandbox;
    measure_guest forking;
    uint64_t cells = 0;
    measure_sandbox_open(&forking_sandbox, zygote);
    measure_guest_start(&forking, forking_sandbox.sandbox);
    measure_guest_cell(&forking, &loop, prepare, ++cells);
    for (int i = -3; i < runs; i++) {
        measure_sandbox sandbox;
        measure_guest guest;
        if (i >= 0) {
            measure_fork(&fork_byte);
        }
        double since = measure_now();
        measure_guest_cell(&forking, &loop, "spawn()", ++cells);
        if (i >= 0) {
            measure_add(&unconfined, since);
        }
        measure_guest_cell(&forking, &loop, "_ = os.waitpid(child, 0)", ++cells);
        since = measure_now();
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
    const measure *const all[] = {&fork_byte, &unconfined, &session, &closing, NULL};
    measure_print(all);
    kiln_sandbox_close(forking_sandbox.sandbox);
    kiln_zygote_stop(zygote);
    return 0;
}
