/* engine.h - the engine: sessions, and execute_code. Thread: loop, all of it. */
#ifndef KILN_CORE_ENGINE_H
#define KILN_CORE_ENGINE_H

#include "base/error.h"
#include "config/config.h"
#include "contract/input.h"
#include "contract/result.h"
#include "sandbox/sandbox.h"

#include <jansson.h>
#include <uv.h>

typedef struct kiln_engine kiln_engine;
typedef struct kiln_execution kiln_execution;
typedef struct kiln_query kiln_query;
/* kiln_session: plugin.h declares it, core/session.h holds it */

/* Where things are: beside build/kiln in the source tree, or PREFIX/share/kiln and
 * PREFIX/lib/kiln when installed. */
typedef struct kiln_paths {
    char executable[4096];
    char conf[4096]; /* kiln.ini, runtimes.ini */
    char scripts[4096];
    char plugins[4096];
} kiln_paths;
int kiln_paths_find(kiln_paths *paths, kiln_error *err);

/* Loads plugins and policies, clears what an earlier engine left, starts no
 * process that is not needed. Owns `config` from then on, also on failure; copies `paths`.
 * `prestart` names a backend whose zygote is started at once (NULL: none), so that
 * it warms up while the rest loads. */
int kiln_engine_open(uv_loop_t *loop, kiln_config *config, const kiln_paths *paths,
                     const char *prestart, kiln_engine **engine, kiln_error *err);
/* Closes every session, stops every process, waits for what is in flight. */
void kiln_engine_close(kiln_engine *engine);
/* From now on keeps as many sandboxes ready as [backend NAME] pool says, each with a worker
 * that is warm where the backend has one, so that a session begins without a fork: of the
 * default backend at once, of another when it has had its first session. For an engine that
 * serves many sessions: one that runs a single one would only pay for it. */
int kiln_engine_keep_pools(kiln_engine *engine, kiln_error *err);
/* `told` is called with what backends tell of themselves, such as how far an image's pull is:
 * one line, for a person who waits. */
void kiln_engine_listen(kiln_engine *engine, void (*told)(void *user, const char *text),
                        void *user);
/* How many are ready now; 0 for a backend that has none, or that there is not. */
size_t kiln_engine_pooled(const kiln_engine *engine, const char *backend);
/* The one in effect; borrowed until the next reload. */
const kiln_config *kiln_engine_config(const kiln_engine *engine);

/* Takes another configuration while executions are in flight: chains and policies, limits,
 * and [session],
 * of [engine] backend, chain, scripts, log_level and grace; what has begun ends under
 * the old one. Whole or not at all: negative (-EINVAL: "scripts/x.lua:3: what") and all is
 * as it was. Owns `config` from then on, also on failure. What else has changed waits for a
 * restart: it is logged, and told by the next. */
int kiln_engine_reload(kiln_engine *engine, kiln_config *config, kiln_error *err);
/* ["[sandbox] network",...]: keys that differ from those the engine was made with. New
 * reference. */
json_t *kiln_engine_waits_for_restart(const kiln_engine *engine);

/* ---- sessions. A session that nobody holds is closed when it has not been used for
 * [session] idle: a pointer to it is good until the loop goes on, an id can be looked up. */

/* id NULL: made up. -EEXIST, -EINVAL (id: [A-Za-z0-9._-], at most 64 bytes), -EMFILE
 * ([session] max), -EDQUOT ([session] memory). */
int kiln_session_open(kiln_engine *engine, const char *id, kiln_session **session,
                      kiln_error *err);
/* Borrowed, or NULL. */
kiln_session *kiln_session_find(const kiln_engine *engine, const char *id);
const char *kiln_session_id(const kiln_session *session);
/* The execution count: cells since it was opened or restarted. */
uint64_t kiln_session_executions(const kiln_session *session);
/* Processes, state and files are gone. An execution in flight is killed, and its on_done
 * still comes; a query's `done` comes from within. The id is free at once. */
void kiln_session_close(kiln_session *session);
/* State, notebook and execution count are as in a new session; id and work directory stay
 * as they are. An execution in flight is killed: the session is restarted when its on_done
 * is called. */
void kiln_session_restart(kiln_session *session);
/* A front end is attached to it (or, false, no longer): it is never idle meanwhile. */
void kiln_session_hold(kiln_session *session, bool hold);
/* In order of opening: [{"id","state":"idle"|"busy"|"closing","created_at","last_used_at",
 * "executions","memory_bytes":null|0,"disk_bytes","files","backends":[""]}]. `files` counts
 * folders, too. New reference. */
json_t *kiln_sessions_list(const kiln_engine *engine);

/* The work directory, on the backend that ran last. -ENOENT: there is none yet. */
/* [{"name","size"}], regular files by name; NULL with err. New reference. */
json_t *kiln_session_files(const kiln_session *session, kiln_error *err);
/* Opens a regular file to be read; the caller's descriptor. */
int kiln_session_file_open(const kiln_session *session, const char *name, kiln_error *err);
/* Copies the host's regular file `path` in; replaces. */
int kiln_session_file_put(kiln_session *session, const char *name, const char *path,
                          kiln_error *err);
/* Copies every file into the folder out_fd and appends them to `files` (a result's
 * output_files); what is refused and why as kiln_workdir_collect. */
int kiln_session_files_collect(const kiln_session *session, int out_fd, const char *out_path,
                               json_t *files,
                               void (*refused)(void *user, const char *name, const char *why),
                               void *user, kiln_error *err);
/* Removes every regular file whose name is no key of `names`, and the folders that are empty
 * then. Links and the like stay. */
int kiln_session_files_keep_only(kiln_session *session, const json_t *names, kiln_error *err);

/* A query (plugin.h): whatever is asked of a session's state that is not an execution. It
 * changes no count and no history. `backend` NULL: the one that ran last, else the default
 * one. `arguments`: an object, borrowed. 0: `done` follows once, not from inside this call:
 * the reply, checked and borrowed, or NULL with err: -ETIMEDOUT ([session] query_timeout, from
 * when the session has a place on the backend; the session goes on), -ECANCELED
 * (kiln_query_cancel, a cell came, the worker ended), -EPROTO (the reply had not the shape); or
 * why it has no such place. Negative: refused; -EBUSY: a cell or another query
 * is in flight; -ENOTSUP: the backend answers none; -EINVAL. */
int kiln_session_query(kiln_session *session, const char *backend, const char *name,
                       json_t *arguments,
                       void (*done)(void *user, json_t *reply, const kiln_error *err),
                       void *user, kiln_query **query, kiln_error *err);
/* `done` is called from within. */
void kiln_query_cancel(kiln_query *query);

/* A second session that begins where this one is: state, work directory (copied), limits,
 * notebook, counts. Both go on by themselves; closing one is nothing to the other. No
 * execution is in flight (-EBUSY), and none is begun in either before `done`, which comes
 * once, possibly from within: with the new session or why there is none. new_id as for
 * kiln_session_open. A branch shares the session's network (its loopback); its code cannot
 * reach the session, but the session's code can end its branches, and reach their files. */
int kiln_session_fork(kiln_session *session, const char *new_id,
                      void (*done)(void *user, kiln_session *session, const kiln_error *err),
                      void *user, kiln_error *err);

typedef struct kiln_execute_options {
    const char *chain;  /* NULL: the request's, else the default */
    const char *client; /* who asks, for policies that count by client; NULL: unknown */
    /* For `kiln trace`: an array, or NULL. What each policy does is appended; nothing runs,
     * and a backend answers at once with the status that `answers` ({"exec":"crashed",
     * "*":"ok"}; borrowed; NULL: ok) has for it. */
    json_t *trace;
    /* Borrowed until done, or NULL. Then the request's code does not count: the chain's first
     * policy with an `instruct` is asked for it. {"name","instruction","language"?,
     * "source_of_truth":{"name","text"}?,"inputs":[]} */
    json_t *scenario;
    const json_t *answers;
    int out_fd;           /* directory for output files, -1: only told, not kept */
    const char *out_path; /* its name, for output_files[].path */
    /* Outputs as they come, text already made valid UTF-8; may be NULL. */
    void (*on_event)(void *user, const kiln_event *event);
    /* Exactly once, unless execute returned negative; borrowed. Called from the
     * loop, never from inside kiln_execute. */
    void (*on_done)(void *user, kiln_result *result);
    void *user;
} kiln_execute_options;

/* execute_code: the chain of policies around the backend. Owns `request` on
 * success and failure. Negative only for what is refused before an execution
 * exists: invalid input (-EINVAL, -E2BIG), a session that is busy (-EBUSY), too much
 * memory of all sessions (-EDQUOT). A query in flight gives way. */
int kiln_execute(kiln_session *session, kiln_request *request,
                 const kiln_execute_options *options, kiln_execution **execution,
                 kiln_error *err);
/* Asks it to stop: interrupt, then kill after the grace. on_done still comes. */
void kiln_execution_cancel(kiln_execution *execution);

/* {"interpreter":{"stateful":true,"plan":false,"languages":["python"]}}. New
 * reference. */
json_t *kiln_engine_plugins(const kiln_engine *engine);
/* [{"chain","policies":[{"name","script","options":{}}]}]. New reference. */
json_t *kiln_engine_policies(const kiln_engine *engine);
/* [{"name","library","symbol","signature","expose":[""],"error":null|"why"}]: native functions,
 * each having been looked for in its library. Runs the loop meanwhile. New reference. */
json_t *kiln_engine_try_natives(kiln_engine *engine);
/* What the policies have counted by kiln.metric: policy/metric.h. New reference. */
json_t *kiln_engine_metrics(const kiln_engine *engine);
/* For `kiln plugins` and `kiln check`, without an engine and with every plugin's own
 * error: [{"name","file","version","abi","summary","capabilities":[],
 * "languages":[],"options":[],"error":null|""}]. New reference. */
json_t *kiln_plugins_inspect(kiln_config *config, const kiln_paths *paths);
/* Starts the worker process of each backend and runs the loop until it has come up.
 * `failed` is called for each that does not. */
void kiln_engine_try_backends(kiln_engine *engine,
                              void (*failed)(void *user, const char *backend, const char *why),
                              void *user);
/* What each backend says that can tell whether it can run code here:
 * [{"name","what","finding":"ok"|"missing"|"fault","detail"}]. Runs the loop meanwhile, before
 * anything else does: they change nothing. New reference. */
json_t *kiln_engine_check_backends(kiln_engine *engine);
/* [sandbox] as the layers need it; a root that cannot be used is an error. */
int kiln_engine_sandbox_policy(const kiln_config *config, kiln_sandbox_policy *policy,
                               kiln_error *err);
/* Language of a file by the runtimes' extensions, or NULL. Borrowed. */
const char *kiln_engine_language(const kiln_config *config, const char *file_name);

#endif
