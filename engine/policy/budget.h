/* budget.h - CPU time that Lua may take, enforced from outside the script.
 *
 * A timer on the loop thread's own CPU clock sends a signal to that thread; its
 * handler counts, and when a budget is used up it sets a hook that raises an error at
 * the next instruction, and at the next after that, until the script has let go:
 * pcall cannot swallow it. Waiting costs nothing, because the clock is CPU time. While
 * no script runs for long the timer is off.
 *
 * Two budgets: *burst* from one resume to the next yield, and *total* for one
 * execution. The handler samples: a burst overruns at most one tick late; total adds
 * up the ticks that met the execution running.
 * Thread: the loop's, all of it. */
#ifndef KILN_POLICY_BUDGET_H
#define KILN_POLICY_BUDGET_H

#include "base/error.h"

#include <jansson.h>
#include <lua.h>
#include <signal.h>
#include <stdint.h>

enum {
    KILN_BUDGET_BURST_MS = 50,
    KILN_BUDGET_TOTAL_MS = 500,
    KILN_BUDGET_TICK_MS = 5,
    KILN_TRACEBACK_MAX = 24, /* lines kept of a traceback */
};

typedef enum kiln_overrun {
    KILN_OVERRUN_NONE = 0,
    KILN_OVERRUN_BURST = 1,
    KILN_OVERRUN_TOTAL = 2,
} kiln_overrun;

typedef struct kiln_budget {
    lua_State *L;
    uint64_t burst_ns;
    uint64_t total_ns;
    uint64_t *spent;               /* nanoseconds of the execution that runs */
    uint64_t since;                /* CPU time of the first tick that met this burst */
    unsigned long serial;          /* counts bursts */
    unsigned long seen;            /* the burst that `since` belongs to */
    volatile sig_atomic_t tripped; /* kiln_overrun */
    struct kiln_budget *outer;     /* that is used inside of which (kiln test) */
    json_t *traceback;             /* where it was when it tripped; array */
    lua_Hook hook;                 /* that is set while no budget is used up, or NULL */
    int hook_mask;
} kiln_budget;

/* L is the state's main thread. The first one starts the process's timer. 0, or
 * -errno. Functions of the chunk KILN_GLUE_CHUNK are never stopped. */
int kiln_budget_open(kiln_budget *budget, lua_State *L, uint64_t burst_ms, uint64_t total_ms,
                     kiln_error *err);
void kiln_budget_close(kiln_budget *budget);

/* A hook of somebody else's; overruns take its place while they last. */
void kiln_budget_set_hook(kiln_budget *budget, lua_Hook hook, int mask);

/* Around every entry into Lua. *spent lives until end. */
void kiln_budget_begin(kiln_budget *budget, uint64_t *spent);
void kiln_budget_end(kiln_budget *budget);
/* After an overrun of the burst was dealt with, inside a burst: a fresh burst. */
void kiln_budget_renew(kiln_budget *budget);

/* For C loops inside Lua calls: raises as the hook would if a budget is used up.
 * Longjmps. */
void kiln_budget_poll(kiln_budget *budget, lua_State *L);

/* The chunk name of the glue, as lua_Debug.source gives it. */
#define KILN_GLUE_CHUNK "=[kiln]"

/* The stack of L as "scripts/x.lua:3: in function 'f'" lines, innermost first,
 * without the glue's own. New reference or NULL. Allocates nothing in Lua. */
json_t *kiln_lua_traceback(lua_State *L, int level);

#endif
