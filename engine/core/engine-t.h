/* engine-t.h - what the core's files share; nobody else includes it. */
#ifndef KILN_CORE_ENGINE_T_H
#define KILN_CORE_ENGINE_T_H

#include "core/engine.h"
#include "core/session.h"
#include "files/workdir.h"
#include "native/native.h"
#include "plugin/backend.h"
#include "policy/policy.h"

struct kiln_engine {
    uv_loop_t *loop;
    kiln_config *config; /* the one in effect */
    kiln_config *boot;   /* that the engine was made with: backends keep to it */
    kiln_paths paths;
    kiln_backends *backends;
    kiln_policies *policies;
    kiln_natives *natives;
    kiln_core_session *sessions;
    kiln_limits ceiling;           /* [limits] */
    struct kiln_allow_list *allow; /* [sandbox] allow */
    char **proxy_env;  /* what tells code of the proxy, NULL-terminated; NULL: there is none */
    uint64_t grace_ms; /* from interrupt to kill */
    uint64_t idle_ms;  /* of a session, then it is closed; 0: never */
    uint64_t query_timeout_ms;
    uint64_t sessions_max;
    uint64_t sessions_memory; /* bytes, of all together; 0: any */
    uv_timer_t *idle_timer;
    kiln_result *out_of_memory; /* what is answered when no other result can be made */
};

typedef struct kiln_core_run kiln_core_run; /* one request on one backend, see run.c */

struct kiln_execution {
    kiln_engine *engine;
    kiln_core_session *session;
    kiln_request *request;
    kiln_execute_options options;
    char *out_path;
    json_t *decisions;
    kiln_result *result; /* the chain's answer */
    kiln_policy_run *policy_run;
    kiln_core_run *runs; /* in flight, list */
    struct timespec started_at;
    uint64_t started_ns; /* monotonic */
    unsigned cancels;
    bool settling; /* what its cells did is being kept or undone */
    bool starting; /* still inside kiln_execute */
    bool *gone;    /* set when it is freed; somebody's own, or NULL */
    uv_timer_t *deferred;
};

/* engine.c: what the engine keeps of its configuration in a form of its own. */
void kiln_engine_take_config(kiln_engine *engine);

/* policy_host.c: the core's side of kiln_policy_host. */
void kiln_core_policy_host(kiln_engine *engine, kiln_policy_host *host);

/* network.c */
int kiln_core_network_mode(const kiln_config *config, kiln_network *mode, kiln_error *err);
/* Sets allow and proxy_env. */
int kiln_core_network_open(kiln_engine *engine, kiln_network mode, kiln_error *err);
void kiln_core_network_close(kiln_engine *engine);

/* run.c */
/* As kiln_policy_host.run. */
void kiln_core_run_start(kiln_execution *execution, const kiln_request *request,
                         const char *backend, bool live,
                         void (*done)(void *user, kiln_result *result), void *user,
                         kiln_core_run **handle);
/* Its `done` will not be called; it ends by itself. */
void kiln_core_run_cancel(kiln_core_run *run);
/* Asks every run of the execution to stop, or with `force` kills them. The execution may be
 * over, and freed, when this returns. */
void kiln_core_runs_interrupt(kiln_execution *execution, bool force);
/* A result with the execution's identity, status unavailable. */
kiln_result *kiln_execution_result(kiln_execution *execution);

/* execute.c: a wish above the ceiling becomes a decision; for kiln_limits_min, with the
 * execution as user. */
void kiln_execution_note_clamped(void *user, const char *name, uint64_t asked, uint64_t given);

/* touched.c: what the kernel says of an execution, in the result. */
/* The kernel's word in place of the backend's, where there is one. */
void kiln_core_apply_usage(kiln_result *result, const kiln_account *account);
/* Which limits were touched: each is a decision unless an error names it already; and a
 * failure that was certainly due to one gets the status `limit`. error_number: errno of
 * the error that the code raised, 0: none or unknown. */
void kiln_core_apply_limits(kiln_result *result, const kiln_account *account,
                            const kiln_limits *limits, int error_number);
/* The "errno" of an error event, 0: none. */
int kiln_core_error_number(const kiln_event *event);

/* execute.c: a run has left the list: the last one's end may be what a chain that has
 * answered already waits for. */
void kiln_execution_run_over(kiln_execution *execution);

/* replay.c: the outputs of a result that the caller has not seen as they came. */
void kiln_execution_replay(const kiln_execution *execution, const kiln_result *result);

/* collect.c: what the session's file system and the outputs hold, as output files. */
void kiln_core_run_collect(kiln_execution *execution, kiln_result *result, int root_fd,
                           const char *area, kiln_manifest **look);

/* session.c */
/* Watches for idle ones; -ENOMEM. */
int kiln_core_sessions_open(kiln_engine *engine);
/* Reads [session], again and again. */
void kiln_core_sessions_configure(kiln_engine *engine);
/* Closes all, and waits for what is in flight in them. */
void kiln_core_sessions_close(kiln_engine *engine);
/* Whether the sessions hold less than [session] memory: 0 or -EDQUOT. */
int kiln_core_check_memory(const kiln_engine *engine, kiln_error *err);
void kiln_core_session_used(kiln_core_session *session);
/* An execution was left: what waited for it is done. */
void kiln_core_session_left(kiln_core_session *session);
/* Frees a session that is closed and that nothing is in flight in any more. */
void kiln_core_session_settle(kiln_core_session *session);

/* query.c: ends the session's query, if there is one; its `done` is called with why. */
void kiln_core_query_cut(kiln_core_session *session, const char *why);

uint64_t kiln_now_ns(void);

#endif
