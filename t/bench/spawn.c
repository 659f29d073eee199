/* spawn KILN RUNS - starting a program: bare fork+exec, bubblewrap, and Kiln's spawn
 * in a session that is there and in one made for it and taken down again. */
#include "measure.h"

#include <spawn.h>
#include <sys/wait.h>

static measure bare_true = {.name = "bare_true"};
static measure bwrap_true = {.name = "bwrap_true"};
static measure kiln_true = {.name = "kiln_true"};
static measure whole_true = {.name = "kiln_true_whole_session"};
static measure nursery_true = {.name = "kiln_true_nursery"};
static measure bare_python = {.name = "bare_python"};
static measure bwrap_python = {.name = "bwrap_python"};
static measure kiln_python = {.name = "kiln_python"};

static const char *const true_argv[] = {"/bin/true", NULL};
static const char *const python_argv[] = {"/usr/bin/python3", "-c", "pass", NULL};
#define BWRAP                                                                                  \
    "bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"
static const char *const bwrap_true_argv[] = {BWRAP, "/bin/true", NULL};
static const char *const bwrap_python_argv[] = {BWRAP, "/usr/bin/python3", "-c", "pass", NULL};

static void bare(measure *series, const char *const *argv)
{
    double since = measure_now();
    pid_t pid = fork();
    if (pid < 0) {
        measure_fail("fork", strerror(errno));
    }
    if (pid == 0) {
        execvp(argv[0], (char *const *)(void *)argv);
        _exit(127);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (status != 0) {
        measure_fail(argv[0], "it did not succeed");
    }
    measure_add(series, since);
}

static void on_output(void *user, uint32_t stream, const char *data, size_t length)
{
    (void)user, (void)stream;
    fprintf(stderr, "%.*s", (int)length, data);
}

static void on_exit_(void *user, const kiln_exit *how)
{
    if (how->error != NULL || !how->exited || how->exit_code != 0) {
        measure_fail("program", how->error != NULL ? how->error : "it did not succeed");
    }
    *(bool *)user = true;
}

static void confined(uv_loop_t *loop, kiln_sandbox *sandbox, const char *const *argv)
{
    static const char *const none[] = {NULL};
    kiln_error err = KILN_ERROR_INIT;
    kiln_limits limits = measure_limits();
    kiln_process *process = NULL;
    bool done = false;
    kiln_spawn spawn = {.size = sizeof(spawn),
                        .argv = argv,
                        .env = none,
                        .limits = &limits,
                        .user = &done,
                        .on_output = on_output,
                        .on_exit = on_exit_};
    if (kiln_process_spawn(sandbox, &spawn, &process, &err) < 0) {
        measure_fail("spawn", err.text);
    }
    measure_until(loop, &done);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        measure_fail("usage", "spawn KILN RUNS");
    }
    int runs = atoi(argv[2]);
    kiln_error err = KILN_ERROR_INIT;
    (void)kiln_cgroup_init(&err);
    uv_loop_t loop;
    uv_loop_init(&loop);
    kiln_zygote *zygote = measure_zygote(&loop, argv[1], NULL, NULL);
    measure_sandbox live, own;
    measure_sandbox_open(&live, zygote);
    confined(&loop, live.sandbox, python_argv);
    confined(&loop, live.sandbox, true_argv);
    for (int i = 0; i < runs; i++) {
        bare(&bare_true, true_argv);
        bare(&bwrap_true, bwrap_true_argv);
        double since = measure_now();
        confined(&loop, live.sandbox, true_argv);
        measure_add(&kiln_true, since);
        since = measure_now();
        measure_sandbox_open(&own, zygote);
        confined(&loop, own.sandbox, true_argv);
        kiln_sandbox_close(own.sandbox);
        measure_add(&whole_true, since);
        measure_sandbox_open(&own, zygote);
        measure_until(&loop, &own.ready);
        kiln_sandbox_nurse(own.sandbox);
        usleep(3000); /* it is made off the hot path */
        since = measure_now();
        confined(&loop, own.sandbox, true_argv);
        measure_add(&nursery_true, since);
        kiln_sandbox_close(own.sandbox);
        bare(&bare_python, python_argv);
        bare(&bwrap_python, bwrap_python_argv);
        since = measure_now();
        confined(&loop, live.sandbox, python_argv);
        measure_add(&kiln_python, since);
    }
    const measure *const all[] = {&bare_true,    &bwrap_true,   &kiln_true,
                                  &whole_true,   &nursery_true, &bare_python,
                                  &bwrap_python, &kiln_python,  NULL};
    measure_print(all);
    kiln_sandbox_close(live.sandbox);
    kiln_zygote_stop(zygote);
    return 0;
}
