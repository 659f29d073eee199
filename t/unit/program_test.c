/* program_test.c - the limits that an engine's own helper gets, and that the engine keeps
 * its own. */
#include "program/program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cmocka.h>

enum { MEMORY_MAX = 512 << 20 };

struct seen {
    int exit_code;
    char output[256];
};

static void on_done(void *user, kiln_program_end *end)
{
    struct seen *seen = user;
    seen->exit_code = end->signal != 0 ? 128 + end->signal : end->exit_code;
    snprintf(seen->output, sizeof(seen->output), "%.*s", (int)end->output->length,
             end->output->data);
}

/* What `script` wrote. It reads a line first: that comes when all limits are set. */
static struct seen run(const char *script)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    const char *const env[] = {"PATH=/usr/bin:/bin", NULL};
    const kiln_program_spec spec = {
        .argv = argv,
        .env = env,
        .input = "go\n",
        .input_length = 3,
        .output_max = 200,
        .timeout_ms = 60000,
        .file_max = 1 << 20,
        .memory_max = MEMORY_MAX,
    };
    struct seen seen = {-1, ""};
    kiln_program *program = NULL;
    kiln_error err = KILN_ERROR_INIT;
    uv_loop_t loop;
    struct rlimit before[2], after[2];
    assert_int_equal(uv_loop_init(&loop), 0);
    getrlimit(RLIMIT_AS, &before[0]);
    getrlimit(RLIMIT_FSIZE, &before[1]);
    assert_int_equal(kiln_program_start(&loop, &spec, on_done, &seen, &program, &err), 0);
    getrlimit(RLIMIT_AS, &after[0]);
    getrlimit(RLIMIT_FSIZE, &after[1]);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_memory_equal(before, after, sizeof(before));
    return seen;
}

static void test_limits(void **state)
{
    (void)state;
    struct seen seen = run("read line; ulimit -S -v; ulimit -S -f");
    assert_int_equal(seen.exit_code, 0);
    /* KiB, and blocks of 512 bytes. */
    assert_string_equal(seen.output, "524288\n2048\n");
}

/* An engine that is itself larger than the program may be. */
static void test_large_engine(void **state)
{
    (void)state;
    void *held = mmap(NULL, 2UL * MEMORY_MAX, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(held != MAP_FAILED);
    struct seen seen = run("read line; ulimit -S -v");
    munmap(held, 2UL * MEMORY_MAX);
    assert_int_equal(seen.exit_code, 0);
    assert_string_equal(seen.output, "524288\n");
}

static void test_memory(void **state)
{
    (void)state;
    struct seen seen = run("read line; exec dd if=/dev/zero of=/dev/null bs=700M count=1 2>&1");
    assert_int_not_equal(seen.exit_code, 0);
    assert_non_null(strstr(seen.output, "memory exhausted"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_large_engine),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
