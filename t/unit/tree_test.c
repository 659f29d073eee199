/* What a tree of processes uses, read from /proc. */
#include "worker/tree.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

static void *rest(void *nothing)
{
    pause();
    return nothing;
}

static void burn(double milliseconds)
{
    struct timespec now;
    do {
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    } while ((double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6 < milliseconds);
}

static char *touched(size_t size, int flags)
{
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        _exit(9);
    }
    memset(memory, 1, size);
    return memory;
}

/* The root has a child with 32 MiB; that one has a thread, has waited for one that used
 * CPU time, and its thread has forked a grandchild that shares the 32 MiB. */
static void *fork_one(void *ready)
{
    if (fork() == 0) {
        touched(8 * MIB, MAP_SHARED);
        (void)!write(*(int *)ready, "", 1);
        pause();
        _exit(0);
    }
    return rest(NULL);
}

static void child(int ready)
{
    pthread_t thread;
    touched(32 * MIB, MAP_PRIVATE);
    pid_t burner = fork();
    if (burner == 0) {
        burn(100);
        _exit(0);
    }
    waitpid(burner, NULL, 0);
    if (pthread_create(&thread, NULL, fork_one, &ready) != 0) {
        _exit(8);
    }
    pause();
    _exit(0);
}

static void a_tree(void **state)
{
    (void)state;
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t root = fork();
    if (root == 0) {
        setpgid(0, 0);
        if (fork() == 0) {
            child(ready[1]);
        }
        pause();
        _exit(0);
    }
    setpgid(root, root);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    kiln_tree sum;
    kiln_tree exact;
    assert_int_equal(kiln_tree_measure(root, 0, false, &sum), 0);
    assert_int_equal(kiln_tree_measure(root, 0, true, &exact), 0);
    assert_int_equal(sum.processes, 3); /* two, one of them with a second thread */
    assert_int_equal(exact.processes, 3);
    assert_true(sum.cpu_ms >= 80);
    assert_true(sum.memory_bytes >= (32 + 32 + 8) * (uint64_t)MIB);
    assert_true(exact.memory_bytes >= 31 * (uint64_t)MIB);
    assert_true(exact.memory_bytes < 48 * (uint64_t)MIB); /* the 32 are there once */
    assert_true(exact.shared_bytes >= 7 * (uint64_t)MIB);
    assert_true(exact.shared_bytes < 16 * (uint64_t)MIB);
    int pidfd = pidfd_open(root, 0);
    assert_int_equal(kiln_tree_pid(pidfd), root);
    kill(-root, SIGKILL);
    waitpid(root, NULL, 0);
    assert_int_equal(kiln_tree_pid(pidfd), -ESRCH);
    close(pidfd);
    close(ready[0]);
    close(ready[1]);
}

/* A child of the root that is pid 1 of a namespace of its own: a branch's supervisor. */
static void branches_are_not_of_it(void **state)
{
    (void)state;
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t root = fork();
    if (root == 0) {
        setpgid(0, 0);
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        if (fork() == 0) { /* the session's own */
            touched(4 * MIB, MAP_PRIVATE);
            pause();
        }
        pid_t between = fork();
        if (between == 0) {
            bool apart = unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0;
            if (!apart || fork() != 0) {
                _exit(apart ? 0 : 1);
            }
            touched(32 * MIB, MAP_PRIVATE);
            (void)!write(ready[1], fork() == 0 ? "c" : "p", 1);
            pause();
        }
        int status = 0;
        waitpid(between, &status, 0);
        (void)!write(ready[1], status == 0 ? "0" : "x", 1);
        pause();
        _exit(0);
    }
    setpgid(root, root);
    bool apart = true;
    for (int i = 0; apart && i < 3; i++) {
        assert_int_equal(read(ready[0], &byte, 1), 1);
        apart = byte != 'x';
    }
    kiln_tree tree;
    int rc = kiln_tree_measure(root, 0, false, &tree);
    kill(-root, SIGKILL);
    waitpid(root, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    if (!apart) {
        skip(); /* no namespaces for us here */
    }
    assert_int_equal(rc, 0);
    assert_int_equal(tree.processes, 1);
    assert_true(tree.memory_bytes < 32 * (uint64_t)MIB);
}

static void nothing_there(void **state)
{
    (void)state;
    kiln_tree tree;
    pid_t gone = fork();
    if (gone == 0) {
        _exit(0);
    }
    waitpid(gone, NULL, 0);
    assert_true(kiln_tree_measure(gone, 0, false, &tree) < 0);
    assert_int_equal(kiln_tree_pid(0), -ESRCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree),
        cmocka_unit_test(branches_are_not_of_it),
        cmocka_unit_test(nothing_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
