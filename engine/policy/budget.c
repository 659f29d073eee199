#include "policy/budget.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* Debian's LuaJIT and libuv leave it alone, and its default action would be seen. */
#define TICK_SIGNAL SIGVTALRM
#define IDLE_TICKS  40 /* ticks without Lua before the timer is turned off */

/* One timer a process: a thread has one CPU clock, and one script runs at a time. */
static struct {
    timer_t timer;
    unsigned users;
    volatile sig_atomic_t armed;
    unsigned idle;
    uint64_t last; /* CPU time of the last tick */
} ticker;
static kiln_budget *volatile active;

static uint64_t thread_cpu_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Async-signal-safe. */
static void arm(bool on)
{
    long nanoseconds = on ? KILN_BUDGET_TICK_MS * 1000000L : 0;
    struct itimerspec period = {{0, nanoseconds}, {0, nanoseconds}};
    ticker.armed = on;
    ticker.idle = 0;
    ticker.last = thread_cpu_time();
    timer_settime(ticker.timer, 0, &period, NULL);
}

static void raise_overrun(kiln_budget *budget, lua_State *L, int level)
{
    if (budget->traceback == NULL) {
        budget->traceback = kiln_lua_traceback(L, level);
    }
    if (budget->tripped == KILN_OVERRUN_BURST) {
        luaL_error(L, "ran longer than %d ms of CPU time without a pause",
                   (int)(budget->burst_ns / 1000000u));
    }
    luaL_error(L, "used more than %d ms of CPU time in one execution",
               (int)(budget->total_ns / 1000000u));
}

static void on_instruction(lua_State *L, lua_Debug *where)
{
    kiln_budget *budget = active;
    if (budget == NULL || budget->tripped == KILN_OVERRUN_NONE) {
        return;
    }
    /* The glue must get through to where the failure is turned into a result. */
    if (lua_getinfo(L, "S", where) != 0 && strcmp(where->source, KILN_GLUE_CHUNK) == 0) {
        return;
    }
    raise_overrun(budget, L, 0);
}

static void on_tick(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    if (info->si_code != SI_TIMER || info->si_value.sival_ptr != &ticker) {
        return;
    }
    int saved = errno;
    uint64_t now = thread_cpu_time();
    uint64_t elapsed = now - ticker.last;
    kiln_budget *budget = active;
    ticker.last = now;
    if (budget == NULL) {
        if (++ticker.idle >= IDLE_TICKS) {
            arm(false);
        }
        errno = saved;
        return;
    }
    ticker.idle = 0;
    if (budget->seen != budget->serial) {
        budget->seen = budget->serial;
        budget->since = now;
    }
    *budget->spent += elapsed;
    if (budget->tripped == KILN_OVERRUN_NONE) {
        if (*budget->spent >= budget->total_ns) {
            budget->tripped = KILN_OVERRUN_TOTAL;
        } else if (now - budget->since >= budget->burst_ns) {
            budget->tripped = KILN_OVERRUN_BURST;
        }
    }
    if (budget->tripped != KILN_OVERRUN_NONE) {
        lua_sethook(budget->L, on_instruction, LUA_MASKCOUNT, 1);
    }
    errno = saved;
}

static int open_ticker(kiln_error *err)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART};
    action.sa_sigaction = on_tick;
    sigemptyset(&action.sa_mask);
    if (sigaction(TICK_SIGNAL, &action, NULL) < 0) {
        return kiln_error_errno(err, errno, "policy budget: sigaction");
    }
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = TICK_SIGNAL};
    event.sigev_value.sival_ptr = &ticker;
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &ticker.timer) < 0) {
        return kiln_error_errno(err, errno, "policy budget: timer_create");
    }
    ticker.armed = false;
    return 0;
}

int kiln_budget_open(kiln_budget *budget, lua_State *L, uint64_t burst_ms, uint64_t total_ms,
                     kiln_error *err)
{
    if (ticker.users == 0) {
        int rc = open_ticker(err);
        if (rc < 0) {
            return rc;
        }
    }
    ticker.users++;
    *budget = (kiln_budget){
        .L = L,
        .burst_ns = burst_ms * 1000000u,
        .total_ns = total_ms * 1000000u,
        .serial = 1,
    };
    return 0;
}

void kiln_budget_close(kiln_budget *budget)
{
    if (budget->L == NULL) {
        return;
    }
    json_decref(budget->traceback);
    budget->traceback = NULL;
    budget->L = NULL;
    if (--ticker.users == 0) {
        timer_delete(ticker.timer);
        /* One may be pending still; the default action would end the process. */
        signal(TICK_SIGNAL, SIG_IGN);
    }
}

void kiln_budget_set_hook(kiln_budget *budget, lua_Hook hook, int mask)
{
    budget->hook = hook;
    budget->hook_mask = mask;
    lua_sethook(budget->L, hook, mask, 0);
}

static void fresh(kiln_budget *budget)
{
    budget->serial++;
    budget->tripped = KILN_OVERRUN_NONE;
    json_decref(budget->traceback);
    budget->traceback = NULL;
    if (!ticker.armed) {
        arm(true);
    }
    active = budget;
}

void kiln_budget_begin(kiln_budget *budget, uint64_t *spent)
{
    budget->spent = spent;
    budget->outer = active;
    fresh(budget);
}

void kiln_budget_end(kiln_budget *budget)
{
    active = NULL; /* the handler must not set the hook while it is taken away */
    if (budget->tripped != KILN_OVERRUN_NONE) {
        lua_sethook(budget->L, budget->hook, budget->hook_mask, 0);
    }
    active = budget->outer;
}

void kiln_budget_renew(kiln_budget *budget)
{
    active = NULL;
    lua_sethook(budget->L, budget->hook, budget->hook_mask, 0);
    fresh(budget);
}

void kiln_budget_poll(kiln_budget *budget, lua_State *L)
{
    if (budget->tripped != KILN_OVERRUN_NONE) {
        raise_overrun(budget, L, 1);
    }
}

json_t *kiln_lua_traceback(lua_State *L, int level)
{
    json_t *lines = json_array();
    lua_Debug frame;
    for (; lines != NULL && json_array_size(lines) < KILN_TRACEBACK_MAX &&
           lua_getstack(L, level, &frame) != 0;
         level++) {
        char line[256];
        lua_getinfo(L, "Sln", &frame);
        if (frame.source[0] == '=') { /* C, the glue, the library's Lua part */
            continue;
        }
        if (frame.name != NULL) {
            snprintf(line, sizeof(line), "%s:%d: in function '%s'", frame.short_src,
                     frame.currentline, frame.name);
        } else {
            snprintf(line, sizeof(line), "%s:%d: in function at line %d", frame.short_src,
                     frame.currentline, frame.linedefined);
        }
        json_t *text = json_string(line);
        if (text != NULL) { /* NULL: a name that is not UTF-8 */
            json_array_append_new(lines, text);
        }
    }
    return lines;
}
