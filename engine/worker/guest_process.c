/* guest_process.c - what a worker knows of its own process: whether it is the worker or a
 * fork that the code made, and which request a SIGINT is for. Neither costs a system call
 * a cell, but for one that puts the handler back. */
#include "worker/supervisor.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

/* A page that the kernel empties in every fork, however it was made. */
static volatile unsigned char *mark;
static pid_t worker_pid; /* where there is no such page */

static const kiln_worker *worker;
static pthread_t main_thread;
static volatile sig_atomic_t current; /* the request that is worked on; 0: none */
static volatile sig_atomic_t untaken; /* the one that a SIGINT was for, not taken yet */

void kiln_guest_process_prepare(void)
{
    long size = sysconf(_SC_PAGESIZE);
    void *page =
        mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return;
    }
    if (madvise(page, (size_t)size, MADV_WIPEONFORK) < 0) { /* before 4.14 */
        munmap(page, (size_t)size);
        return;
    }
    mark = page;
}

void kiln_guest_process_own(void)
{
    worker_pid = getpid();
    main_thread = pthread_self();
    if (mark != NULL) {
        *mark = 1;
    }
}

bool kiln_guest_owned(void)
{
    return mark != NULL ? *mark != 0 : getpid() == worker_pid;
}

/* ---- SIGINT */

/* The engine's carries the id of its request: one that is late must not stop the next one,
 * and one that has overtaken its request's frame must not be lost. Any other, by kill(), is
 * for what runs now. Any thread may get it. */
static void on_sigint(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (!kiln_guest_owned()) {
        worker->interrupt();
        return;
    }
    int id = info->si_code == SI_QUEUE ? info->si_value.sival_int : current;
    if (!pthread_equal(pthread_self(), main_thread)) { /* it may be asleep */
        int saved = errno;
        pthread_sigqueue(main_thread, number, (union sigval){.sival_int = id});
        errno = saved;
    } else if (id != current || id == 0 || !worker->interrupt()) {
        untaken = id;
    }
}

void kiln_guest_let_in(const kiln_worker *its_worker)
{
    struct sigaction action = {.sa_sigaction = on_sigint, .sa_flags = SA_SIGINFO};
    sigset_t interrupts;
    worker = its_worker;
    sigemptyset(&action.sa_mask);
    if (worker->interrupt == NULL) {
        action = (struct sigaction){.sa_handler = SIG_IGN};
    }
    sigaction(SIGINT, &action, NULL);
    sigemptyset(&interrupts);
    sigaddset(&interrupts, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &interrupts, NULL);
}

void kiln_guest_enter(uint32_t id)
{
    current = (int)id;
    if (untaken == current && worker->interrupt()) {
        untaken = 0;
    }
}

void kiln_guest_leave(void)
{
    current = 0;
}

bool kiln_guest_interrupted(void)
{
    if (untaken == 0 || untaken != current) {
        return false;
    }
    untaken = 0;
    return true;
}
