/* cell KILN INTERPRETER.so RUNS [HERE THERE] - a cell's round trip in a live session, beside
 * the least that two processes can do: a frame of the same size there and back over a
 * socketpair, with the same one read a side. */
#include "measure.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

static measure echo = {.name = "echo"};
static measure cell = {.name = "cell"};
static measure interrupt = {.name = "interrupt"};
static measure same_code = {.name = "cell_seen"};

enum { FRAME = 160 }; /* about the bytes of an EXECUTE frame of `1+1` */

/* From the interrupt to the reply; the cell has been in its loop for a while. */
static void interrupted_cell(measure_guest *guest, uv_loop_t *loop, uint64_t count)
{
    measure_guest_begin(guest, "while True: pass", count);
    for (double since = measure_now(); measure_now() - since < 2000;) {
        uv_run(loop, UV_RUN_NOWAIT);
    }
    double since = measure_now();
    guest->interrupted = true;
    kiln_guest_interrupt(guest->guest);
    measure_until(loop, &guest->done);
    measure_add(&interrupt, since);
    guest->interrupted = false;
}

static pid_t start_echo(int *fd)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        measure_fail("socketpair", strerror(errno));
    }
    pid_t pid = fork();
    if (pid < 0) {
        measure_fail("fork", strerror(errno));
    }
    if (pid == 0) {
        char frame[FRAME];
        close(pair[0]);
        ssize_t got = 0;
        while ((got = read(pair[1], frame, sizeof(frame))) > 0) {
            if (write(pair[1], frame, (size_t)got) != got) {
                break;
            }
        }
        _exit(0);
    }
    close(pair[1]);
    *fd = pair[0];
    return pid;
}

static void echo_once(int fd)
{
    char frame[FRAME] = {0};
    double since = measure_now();
    if (write(fd, frame, sizeof(frame)) != FRAME) {
        measure_fail("echo", "short write");
    }
    for (size_t got = 0; got < FRAME;) {
        ssize_t n = read(fd, frame, sizeof(frame));
        if (n <= 0) {
            measure_fail("echo", "the other side is gone");
        }
        got += (size_t)n;
    }
    measure_add(&echo, since);
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 6) {
        measure_fail("usage", "cell KILN INTERPRETER.so RUNS [HERE THERE]");
    }
    measure_place(argc > 5 ? argv[5] : NULL); /* the other side inherits it */
    int runs = atoi(argv[3]), echo_fd = -1;
    pid_t echo_pid = start_echo(&echo_fd);
    kiln_error err = KILN_ERROR_INIT;
    (void)kiln_cgroup_init(&err); /* without cgroups it runs by rlimits, as kiln does */

    uv_loop_t loop;
    uv_loop_init(&loop);
    static const char *const options[] = {NULL};
    kiln_zygote *zygote = measure_zygote(&loop, argv[1], argv[2], options);
    measure_sandbox sandbox;
    measure_guest guest;
    measure_sandbox_open(&sandbox, zygote);
    measure_guest_start(&guest, sandbox.sandbox);
    measure_place(argc > 5 ? argv[4] : NULL);
    uint64_t count = 1;
    for (int i = 0; i < 50; i++) {
        measure_guest_cell(&guest, &loop, "1+1", count++); /* warms both sides */
    }
    for (int i = 0; i < runs; i++) {
        echo_once(echo_fd);
        /* New text each time, so that no cache of compiled code helps. */
        char code[64];
        snprintf(code, sizeof(code), "1+%d", i);
        double since = measure_now();
        measure_guest_cell(&guest, &loop, code, count++);
        measure_add(&cell, since);
        echo_once(echo_fd);
        since = measure_now();
        measure_guest_cell(&guest, &loop, "1+1", count++);
        measure_add(&same_code, since);
    }
    for (int i = 0; i < runs / 10; i++) {
        interrupted_cell(&guest, &loop, count++);
    }
    const measure *const all[] = {&echo, &cell, &same_code, &interrupt, NULL};
    measure_print(all);
    kiln_sandbox_close(sandbox.sandbox);
    kiln_zygote_stop(zygote);
    close(echo_fd);
    waitpid(echo_pid, NULL, 0);
    return 0;
}
