#include "nudge.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id /* glibc before 2.38 has no name for it */
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { FIRST_MS = 5, LAST_MS = 2000, FACTOR = 4 };

static timer_t timer;
static pid_t prepared; /* the process whose timer it is: a fork has none */
static volatile sig_atomic_t next_ms;

/* The last one: code has little use for it. */
static int nudge_signal(void)
{
    return SIGRTMAX;
}

static void set_timer(long milliseconds)
{
    const struct itimerspec when = {
        .it_value = {milliseconds / 1000, milliseconds % 1000 * 1000000}};
    timer_settime(timer, 0, &when, NULL);
}

static void on_nudge(int signal_number)
{
    (void)signal_number;
    int saved = errno;
    if (next_ms > 0 && next_ms <= LAST_MS) {
        set_timer(next_ms);
        next_ms *= FACTOR;
    }
    errno = saved;
}

void kiln_nudge_prepare(pid_t process)
{
    if (prepared == process)
        return;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = nudge_signal()};
    event.sigev_notify_thread_id = gettid();
    /* Without one (the limit on pending signals), interrupts are as in any Python. */
    prepared = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 ? process : 0;
}

void kiln_nudge_start(void)
{
    if (prepared == 0)
        return;
    /* No SA_RESTART: that is what it is for. Anew, whatever the code has set. */
    struct sigaction action = {.sa_handler = on_nudge};
    sigemptyset(&action.sa_mask);
    sigaction(nudge_signal(), &action, NULL);
    next_ms = FIRST_MS * FACTOR;
    set_timer(FIRST_MS);
}

void kiln_nudge_stop(void)
{
    if (next_ms == 0)
        return;
    next_ms = 0;
    set_timer(0);
}
