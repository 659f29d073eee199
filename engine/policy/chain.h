/* chain.h - inside the policy folder: chains, and the executions that run in them.
 *
 * An execution is one coroutine. Policies are nested calls in it, each inside a
 * protected call of the glue (glue.c), so that a policy that fails gives the one
 * around it a result. What a policy awaits is a kiln_wait; a completion names it by a
 * ticket with a generation, so that a late or double one wakes nobody.
 * Thread: the loop's. */
#ifndef KILN_POLICY_CHAIN_H
#define KILN_POLICY_CHAIN_H

#include "policy/convert.h"
#include "policy/metric.h"
#include "policy/policy.h"
#include "policy/shared.h"
#include "policy/state.h"

enum {
    KILN_RUN_WAITS = 16,              /* backends that kiln.all and kiln.race start at once */
    KILN_RUN_AWAITS = 1000,           /* awaits of one execution, by default */
    KILN_RUN_RESULTS = 256,           /* results of one execution */
    KILN_RUN_RESULT_BYTES = 64 << 20, /* of all of them together, by default */
    KILN_RUN_HOLDS = 16,              /* places that one execution holds */
    KILN_RUN_DECISIONS = 256,         /* ctx:decide of one execution */
    KILN_WAIT_FUNCTIONS = 8,          /* functions given to one native call */
    KILN_IDLE_THREADS = 16,           /* coroutines kept for reuse, a chain */
};

/* ---- chains */

typedef struct kiln_policy {
    char *name;
    char *path;
    bool deny_on_failure;
    bool has_on_call;
    kiln_option *options; /* as kiln_option lists end: by a NULL name */
    size_t option_count;
    json_t *values; /* effective options, by name */
} kiln_policy;

/* What the scripts of a chain may take; 0: the default. */
typedef struct kiln_chain_budget {
    uint64_t burst_ms;
    uint64_t total_ms;
    size_t memory;
    unsigned awaits;
    size_t result_bytes;
} kiln_chain_budget;

typedef enum kiln_thread_state {
    KILN_THREAD_FREE,
    KILN_THREAD_RUNNING,
    KILN_THREAD_YIELDED,
    KILN_THREAD_DEAD,
} kiln_thread_state;

typedef struct kiln_thread {
    lua_State *L;
    int reference;
    kiln_thread_state state;
    unsigned generation; /* bumped on acquire and release */
    struct kiln_thread *next;
} kiln_thread;

typedef struct kiln_chain {
    kiln_policies *policies;
    char *name;
    kiln_lua *lua;
    kiln_chain_budget budget; /* none of it 0 */
    kiln_policy *list;
    size_t count;
    int main;      /* registry reference: the glue's function, an execution's body */
    int install;   /* registry reference: (level, name, function, options) */
    int on_call;   /* registry reference: the glue's, of one policy */
    int make_kiln; /* registry reference: () -> a script's kiln table */
    kiln_thread *idle;
    size_t idle_count;
    size_t runs;
    bool retired;     /* freed when the last run has ended */
    json_t *backends; /* what the table below was made from */
    int backends_table;
} kiln_chain;

/* What a chain's scripts sleep by, and what time it is for them. */
typedef struct kiln_policy_clock {
    void *user;
    uint64_t (*now)(void *user); /* milliseconds, never going back */
    /* 0 or -ENOMEM; done is called once, unless cancelled; perhaps at once. */
    int (*sleep)(void *user, uint64_t milliseconds, void (*done)(void *arg), void *arg,
                 void **handle);
    void (*cancel)(void *user, void *handle);
} kiln_policy_clock;
kiln_policy_clock kiln_policy_clock_uv(uv_loop_t *loop);

/* Where options come from: the configuration, or a test. */
typedef struct kiln_option_source {
    void *user;
    int (*declare)(void *user, const char *policy, const kiln_option *options, kiln_error *err);
    /* As kiln_host.option; NULL: none. */
    const char *(*value)(void *user, const char *policy, const kiln_option *option);
} kiln_option_source;

typedef struct kiln_policy_spec {
    const char *name;
    const char *path;
    bool deny_on_failure;
} kiln_policy_spec;

struct kiln_policies {
    kiln_policy_host host;
    kiln_policy_clock clock;
    kiln_chain **chains;
    size_t count;
    char *default_chain;
    char *scripts;
    char *default_backend;
    unsigned long serial; /* of the last execution */
    kiln_shared *shared;
    kiln_metrics *metrics;
    /* kiln.log; NULL: the engine's log */
    struct kiln_coverage *coverage; /* of `kiln test`, or NULL */
    void (*log)(void *user, const char *level, const char *policy, const char *text);
    void *log_user;
};

/* budget NULL: the defaults. */
int kiln_chain_new(kiln_policies *policies, const char *name, const kiln_chain_budget *budget,
                   const kiln_policy_spec *specs, size_t count,
                   const kiln_option_source *source, kiln_chain **chain, kiln_error *err);
void kiln_chain_free(kiln_chain *chain);
/* Frees it now, or when its last run ends. */
void kiln_chain_retire(kiln_chain *chain);

/* ---- executions */

typedef enum kiln_wait_type {
    KILN_WAIT_RUN,
    KILN_WAIT_ANALYZE,
    KILN_WAIT_IMPORTS,
    KILN_WAIT_SLEEP,
    KILN_WAIT_NATIVE,
} kiln_wait_type;

typedef struct kiln_wait {
    kiln_wait_type type;
    bool live; /* what it runs is what the caller sees as it comes */
    bool started;
    bool ended;
    void *ticket; /* while started and not ended */
    void *handle;
    kiln_request *request;
    char *backend;
    char *language; /* of a native call: the function's name */
    char *code;
    size_t code_length;
    uint64_t milliseconds;
    kiln_result *result;
    json_t *json;
    char *error;
    kiln_buffer values;                 /* of a native call: arguments, then results */
    int functions[KILN_WAIT_FUNCTIONS]; /* registry references */
    size_t function_count, functions_kept;
} kiln_wait;

typedef enum kiln_wait_mode {
    KILN_WAIT_ONE,
    KILN_WAIT_ALL,
    KILN_WAIT_RACE,
} kiln_wait_mode;

struct kiln_policy_run {
    kiln_chain *chain;
    kiln_policy_context context;
    kiln_request *request;
    void (*done)(void *user, kiln_result *result);
    void *user;
    bool *ended; /* execute's own, while it has not returned */
    unsigned long serial;
    kiln_thread *thread;
    size_t level; /* of the policy that runs, from 1; 0: none */
    uint64_t spent;
    kiln_wait *waits; /* cleared from wait_count on */
    size_t wait_count, wait_capacity;
    kiln_wait_mode mode;
    bool starting;
    bool cancelled;
    bool interrupted; /* cancelled while no backend ran: the end is `interrupted` */
    unsigned awaits;
    unsigned decisions;
    json_t *holds; /* names of places in the store, given back at the end; or NULL */
    size_t result_bytes;
    kiln_result **results;
    size_t result_count;
    kiln_result *fatal; /* total budget used up: the end of every policy around, too */
    kiln_result *result;
    json_t *traceback;
    size_t granted;
};

lua_State *kiln_policy_run_thread(const kiln_policy_run *run);
/* NULL: not a result of this run (or no run). */
const kiln_result *kiln_policy_run_result(const kiln_policy_run *run,
                                          const kiln_lua_result *box);
/* The run of a C function called from a policy; raises where there is none, or where L
 * is a coroutine of the script's own, in which nothing can be awaited. */
kiln_policy_run *kiln_policy_run_here(lua_State *L);
/* Keeps the reference to `result` and pushes it. Longjmps (then it is freed). */
int kiln_policy_run_push(lua_State *L, kiln_policy_run *run, kiln_result *result);
/* The policy that runs, or the chain. */
const char *kiln_policy_run_policy(const kiln_policy_run *run);
/* For `kiln trace`: adds {"event", "policy", ...detail} when the execution is traced. Takes
 * over `detail` (object, or NULL). */
void kiln_policy_run_note(kiln_policy_run *run, const char *event, json_t *detail);
/* A result in which nothing has run; one reference, NULL: out of memory. */
kiln_result *kiln_policy_run_refuse(kiln_policy_run *run, kiln_status status, const char *name,
                                    const char *message, json_t *traceback);

/* Makes the next await: `count` waits, cleared. NULL and a raised error past the
 * budget of awaits. Longjmps. */
kiln_wait *kiln_wait_prepare(lua_State *L, kiln_policy_run *run, size_t count,
                             kiln_wait_mode mode);
/* Begins what the coroutine has prepared; true: all is there, resume at once. */
bool kiln_wait_begin(kiln_policy_run *run);
/* Cancels what was begun and forgets all. */
void kiln_wait_clear(kiln_policy_run *run);
/* Cancels those that are no backends. True: nothing is left to wait for. */
bool kiln_wait_cancel_idle(kiln_policy_run *run);
bool kiln_wait_over(const kiln_policy_run *run);
/* Goes on with a coroutine whose waits are over. */
void kiln_policy_run_drive(kiln_policy_run *run);
/* Stale completions dropped so far. */
unsigned long kiln_wait_stale_count(void);

/* ---- what scripts see (api.c) */

/* Pushes the table of C functions for the glue. Longjmps. */
void kiln_api_push(lua_State *L);
/* Raises err at the policy's line: below are the C function and the glue. Longjmps. */
int kiln_api_raise(lua_State *L, const kiln_error *err);
/* Adds what the shared things are reached by (api_shared.c) to the table at the top. */
void kiln_api_push_shared(lua_State *L);
extern const char kiln_glue_lua[];
extern const char kiln_test_library_lua[]; /* of `kiln test` */
/* Adds the glue's own functions to the table at the top. Longjmps. */
void kiln_chain_push_glue_functions(lua_State *L);
/* Text of an option as a JSON value of its type; new reference or NULL. */
json_t *kiln_option_value(const kiln_option *option, const char *text);

#endif
