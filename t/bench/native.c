/* native KILN RUNS - a call of zlib's crc32 of four bytes, microseconds each: by a policy and
 * by a Python cell, and by ctypes in that cell, which is confined with the code and no more.
 * Run from the tree's root. */
#include "measure_engine.h"

enum { CALLS = 50 };

static measure by_policy = {.name = "policy"};
static measure by_cell = {.name = "cell"};
static measure by_ctypes = {.name = "ctypes"};

static const char call_policy[] =
    "return function(input, ctx, next)\n"
    "  for _ = 1, tonumber(input.code) do kiln.native.zlib.crc32(0, 'text') end\n"
    "  return kiln.deny('measured')\n"
    "end\n";
static const char prepare[] =
    "import ctypes, time\nfrom kiln import native\n"
    "bare = ctypes.CDLL('libz.so.1').crc32\n"
    "def measure(call):\n"
    "    since = time.perf_counter()\n"
    "    for _ in range(50): call(0, b'text', 4) if call is bare else call(0, b'text')\n"
    "    print((time.perf_counter() - since) * 1e6 / 50)\n";

static double execute(uv_loop_t *loop, kiln_session *session, const char *chain,
                      const char *code)
{
    measure_execution one = {.want = chain != NULL ? KILN_STATUS_DENIED : KILN_STATUS_OK,
                             .chain = chain};
    double since = measure_now();
    measure_execute(session, &one, code);
    measure_until(loop, &one.done);
    return chain != NULL ? measure_now() - since : one.printed;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        measure_fail("usage", "native KILN RUNS");
    }
    char script[] = "/tmp/kiln-bench-XXXXXX.lua";
    int fd = mkstemps(script, 4);
    if (fd < 0 || write(fd, call_policy, sizeof(call_policy) - 1) < 0) {
        measure_fail(script, strerror(errno));
    }
    close(fd);
    char policy[80];
    snprintf(policy, sizeof(policy), "policy calls.script=%s", script);
    const char *const set[] = {policy,
                               "chain calls.policies=calls",
                               "chain default.policies=",
                               "native zlib.crc32.library=libz.so.1",
                               "native zlib.crc32.signature=uint64(uint64, bytes:uint32)",
                               "native zlib.crc32.expose=policy code",
                               NULL};
    uv_loop_t loop;
    uv_loop_init(&loop);
    kiln_engine *engine = measure_engine_open(&loop, argv[1], "interpreter", set);
    unlink(script);
    kiln_session *session = measure_session_open(engine);
    execute(&loop, session, NULL, prepare);
    execute(&loop, session, "calls", "1"); /* starts the helper */
    for (int i = 0; i < atoi(argv[2]); i++) {
        double none = execute(&loop, session, "calls", "0");
        measure_put(&by_policy, (execute(&loop, session, "calls", "50") - none) / CALLS);
        measure_put(&by_cell, execute(&loop, session, NULL, "measure(native.zlib.crc32)"));
        measure_put(&by_ctypes, execute(&loop, session, NULL, "measure(bare)"));
    }
    const measure *const all[] = {&by_policy, &by_cell, &by_ctypes, NULL};
    measure_print(all);
    kiln_session_close(session);
    kiln_engine_close(engine);
    return 0;
}
