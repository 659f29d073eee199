/* policy.h - chains of Lua functions (input, ctx, next) -> result.
 *
 * One LuaJIT state a chain; each execution is a coroutine in it. The core calls
 * kiln_policies_execute; the policies call the core back through
 * kiln_policy_host. Nothing here knows backends or sessions. Thread: loop. */
#ifndef KILN_POLICY_POLICY_H
#define KILN_POLICY_POLICY_H

#include "base/error.h"
#include "config/config.h"
#include "contract/input.h"
#include "contract/result.h"
#include "native/native.h"

#include <jansson.h>
#include <uv.h>

/* The execution that a chain is run for; the core's, borrowed for the chain's life. */
typedef struct kiln_policy_context {
    const char *session_id;
    const char *execution_id;
    const char *client;            /* who asked, as the door knows it; NULL: unknown */
    uint64_t execution_count;      /* 1 for the session's first */
    unsigned consecutive_failures; /* of the session, before this execution */
    json_t *decisions;             /* array; ctx:decide appends {policy,action,detail} */
    json_t *trace; /* array, or NULL: what each policy does is appended, and nothing sleeps */
    /* {"name","instruction","language"?,"source_of_truth":{"name","text"}?,"inputs":[]}, or
     * NULL: the code is there. Else the chain's first `instruct` is asked for it. */
    json_t *scenario;
    void *execution; /* handed back to kiln_policy_host */
} kiln_policy_context;

/* What the core does for policies. `core` and `execution` are handed back. Each
 * `done` is called exactly once, possibly before the call returns, and never after
 * cancel() of its handle has returned. */
typedef struct kiln_policy_host {
    void *core;
    /* Runs on a backend: `backend`, else request->backend, else the default. The
     * request is borrowed for the call; result is borrowed for done. Failing to
     * begin is a result too (unavailable). *handle is valid until done. live: the caller
     * sees its outputs as they come; else (one of several, of which one will count) only
     * those of the result that the chain answers with, at the end. */
    void (*run)(void *core, void *execution, const kiln_request *request, const char *backend,
                bool live, void (*done)(void *user, kiln_result *result), void *user,
                void **handle);
    /* analysis as plugin.h kiln_worker.analyze (borrowed), or NULL with error. */
    void (*analyze)(void *core, void *execution, const char *language, const char *code,
                    size_t length,
                    void (*done)(void *user, json_t *analysis, const char *error), void *user,
                    void **handle);
    /* The notebook's get_imports: import lines of the session's earlier cells that
     * succeeded, deduplicated, in order (array, borrowed), or NULL with error. */
    void (*notebook_imports)(void *core, void *execution,
                             void (*done)(void *user, json_t *lines, const char *error),
                             void *user, void **handle);
    /* Calls a native function that is exposed to policies; `callbacks` and `arguments` as
     * kiln_native_call_start has them. native_find NULL: there are none. */
    void (*native)(void *core, void *execution, const char *name, kiln_native_value *arguments,
                   const kiln_native_callbacks *callbacks, void *user, void **handle);
    kiln_native_found (*native_find)(void *core, const char *name);
    /* Stops what `handle` stands for; its done will not be called. */
    void (*cancel)(void *core, void *handle);
    /* {"interpreter":{"stateful":true,"languages":["python"]},...}; borrowed. */
    json_t *(*backends)(void *core);
    /* A result for this execution in which nothing has run; one reference. */
    kiln_result *(*result)(void *core, void *execution);
} kiln_policy_host;

typedef struct kiln_policies kiln_policies;
typedef struct kiln_policy_run kiln_policy_run;

/* Loads every chain of the config: [chain NAME] policies = a b c; script of policy
 * NAME is [policy NAME] script, else SCRIPTS/NAME.lua. Declares the scripts'
 * options to the config. -EINVAL: "scripts/x.lua:3: what". */
int kiln_policies_load(uv_loop_t *loop, kiln_config *config, const char *scripts,
                       const kiln_policy_host *host, kiln_policies **policies, kiln_error *err);
/* Builds and checks new chains from `config` first, then swaps: runs in flight end in
 * the old ones. On failure (as load, or a key that nobody declared) the chains stay as they
 * are. What is stored and counted stays; results that were remembered are forgotten. */
int kiln_policies_reload(kiln_policies *policies, kiln_config *config, const char *scripts,
                         kiln_error *err);
/* No run is in flight. */
void kiln_policies_free(kiln_policies *policies);

/* Whether there is that chain (NULL: the default): 0, or -EINVAL with a near match. */
int kiln_policies_find(const kiln_policies *policies, const char *chain, kiln_error *err);

/* Runs the chain around the request. done is called exactly once with a result
 * (borrowed; decisions are in the context, not yet in the result); a policy that
 * fails gives unavailable or denied ([policy NAME] on_failure), never a run.
 * `request` must live until done. chain NULL: [engine] chain. done may be called before
 * this returns; then *run is NULL. */
void kiln_policies_execute(kiln_policies *policies, const char *chain,
                           const kiln_policy_context *context, kiln_request *request,
                           void (*done)(void *user, kiln_result *result), void *user,
                           kiln_policy_run **run);
/* Code that the run has started calls a native function: every on_call of the chain's policies
 * is asked, the outermost first. 0; -EACCES: refused, err says by whom and why. Not from
 * within a script. */
int kiln_policies_on_call(kiln_policy_run *run, const char *name,
                          const kiln_native_value *arguments, kiln_error *err);
/* Cancels what the run waits for and ends it; done is called with interrupted,
 * unless a backend is running: then its own end comes first. */
void kiln_policies_cancel(kiln_policy_run *run);

/* [{"chain","policies":[{"name","script","options":{...}}]}]. New reference. */
json_t *kiln_policies_to_json(const kiln_policies *policies);
/* What the scripts counted by kiln.metric, as metric.h has it. New reference. */
json_t *kiln_policies_metrics(const kiln_policies *policies);

#endif
