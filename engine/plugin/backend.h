/* backend.h - the configured plugins, and a session's place on each of them.
 *
 * The core knows a backend by its name and these calls; whether a plugin has an
 * engine half, a worker half or both is settled here. Thread: loop. */
#ifndef KILN_PLUGIN_BACKEND_H
#define KILN_PLUGIN_BACKEND_H

#include "base/error.h"
#include "config/config.h"
#include "files/workdir.h"
#include "sandbox/sandbox.h"
#include "worker/sandboxed.h"

#include <jansson.h>
#include <kiln/plugin.h>
#include <uv.h>

typedef struct kiln_backends kiln_backends; /* all of them */
typedef struct kiln_backend kiln_backend;   /* one plugin, loaded and initialised */
typedef struct kiln_binding kiln_binding;   /* one session on one backend */

/* The part of a session that plugins and workers need; the core's session has it. */
struct kiln_session {
    char id[65];
    kiln_binding *bindings; /* list */
};

typedef struct kiln_backends_spec {
    uv_loop_t *loop;
    kiln_config *config;
    const char *directory;  /* of NAME.so */
    const char *executable; /* for workers */
    kiln_sandbox_policy sandbox;
    const struct kiln_allow_list *allow; /* of KILN_NETWORK_PROXY; borrowed, NULL: none */
} kiln_backends_spec;

/* Is given what plugins tell at `info`, one line, also where the log does not have it. */
typedef struct kiln_backends_listener {
    void (*told)(void *user, const char *text); /* NULL: nobody listens */
    void *user;
} kiln_backends_listener;

/* Loads every backend of [engine] backends; the first that is refused refuses all. */
int kiln_backends_load(const kiln_backends_spec *spec, kiln_backends **backends,
                       kiln_error *err);
/* Declares their options to another configuration, so that it can be checked; they go on
 * with what they were loaded with. */
int kiln_backends_declare(const kiln_backends *backends, kiln_config *config, kiln_error *err);
void kiln_backends_listen(kiln_backends *backends, kiln_backends_listener listener);
/* fini of each; no session is bound. */
void kiln_backends_free(kiln_backends *backends);
/* The same without a later use: every plugin with its own error, for reports.
 * [{"name","file","version","abi","summary","capabilities":[],"languages":[],
 *   "error":null|""}]; new reference. */
json_t *kiln_backends_inspect(kiln_config *config, const char *directory);

/* Borrowed, or NULL. */
kiln_backend *kiln_backends_find(const kiln_backends *backends, const char *name);
/* One that can analyze code of the language, or NULL. */
kiln_backend *kiln_backends_analyzer(const kiln_backends *backends, const char *language);
/* {"interpreter":{"stateful":true,"languages":["python"]}}; borrowed. */
json_t *kiln_backends_table(const kiln_backends *backends);

const char *kiln_backend_name(const kiln_backend *backend);
/* From cell to cell. */
bool kiln_backend_keeps_state(const kiln_backend *backend);
/* The first that it says, "python" where it says any; borrowed. */
const char *kiln_backend_language(const kiln_backend *backend);
bool kiln_backend_speaks(const kiln_backend *backend, const char *language);
/* The functions that its plugin exports, ended by a NULL name, or NULL; *path is the object
 * that has them. Borrowed. */
const kiln_function *kiln_backend_functions(const kiln_backend *backend, const char **path);
/* Starts the worker process that its sessions are forked from, if it has one, so
 * that it warms up before the first session. */
int kiln_backend_prestart(kiln_backend *backend, kiln_error *err);
/* Whether that process has come up: 1, also where there is none to come up; 0: not yet;
 * negative: it failed, err says why. */
int kiln_backend_started(kiln_backend *backend, kiln_error *err);
/* Asks its plugin whether it can run code here, if the plugin has a way to tell, and runs the
 * loop until it has told. No session is bound. */
void kiln_backend_check(kiln_backend *backend,
                        void (*found)(void *user, kiln_finding finding, const char *what,
                                      const char *detail),
                        void *user);

/* From now on keeps as many sandboxes ready as [backend NAME] pool says: of the default
 * backend at once, of another when it has had its first session. For an engine that serves
 * many sessions: one that runs a single one would only pay for it. */
int kiln_backends_keep_pools(kiln_backends *backends, kiln_error *err);
/* How many are ready now. */
size_t kiln_backend_pooled(const kiln_backend *backend);

/* ---- a session on a backend */

/* Finds or makes the session's binding, in which `language` (borrowed until `ready`) can
 * be run; `ready` is called once, possibly at once: with the descriptor of the session's
 * file system (borrowed; -1 for a backend that runs nothing), or with err. Never called
 * after kiln_binding_forget. */
void kiln_backend_bind(kiln_backend *backend, kiln_session *session, const char *language,
                       const kiln_limits *limits,
                       void (*ready)(void *user, kiln_binding *binding, int root_fd,
                                     const kiln_error *err),
                       void *user);
/* Drops a waiting `ready`. */
/* The work directory's name beneath that descriptor. */
const char *kiln_binding_work(const kiln_binding *binding);
void kiln_binding_forget(kiln_session *session, void *user);
/* Ends the session on every backend: processes, files, plugin state. */
void kiln_bindings_close(kiln_session *session);

/* Who has called, and how it gets its answer: not after on_call_over. */
typedef struct kiln_caller {
    void (*answer)(void *from, uint32_t number, const char *data, size_t length);
    void *from;
    uint32_t number;
} kiln_caller;

typedef struct kiln_run_callbacks {
    void (*on_event)(void *user, const kiln_event *event);
    /* Exactly once, last. `account` is the kernel's word on the session's processes; NULL
     * for a backend that runs none. */
    void (*on_complete)(void *user, const kiln_outcome *outcome, const kiln_account *account);
    /* A file that the backend itself put into the work directory. */
    void (*on_file)(void *user, const char *name);
    /* The code calls the engine (CALL, see worker/frame.h); data is borrowed. NULL: what
     * calls is broken. */
    void (*on_call)(void *user, const kiln_caller *caller, const char *data, size_t length);
    /* Nobody waits for the answer any more. */
    void (*on_call_over)(void *user);
} kiln_run_callbacks;

/* Before an execution with input->transaction, and before its files: keeps what the session
 * is now, so that it can be had back. `done` once, possibly from within; with err nothing
 * may run. Never called after kiln_binding_forget. */
void kiln_binding_checkpoint(kiln_binding *binding, const kiln_limits *limits,
                             void (*done)(void *user, const kiln_error *err), void *user);
/* What stood in the work directory when the last cell there had ended, for the next one to
 * begin with: the caller's, it is kept no longer; NULL: not known. */
kiln_manifest *kiln_binding_take_look(kiln_binding *binding);
void kiln_binding_keep_look(kiln_binding *binding, kiln_manifest *look); /* takes it over */
/* Somebody else than a cell has changed its files: what is kept is no longer what it is. */
void kiln_bindings_changed(kiln_session *session);
/* One execution; one at a time in a binding. 0: on_complete follows, never from
 * within this call's frame before *ticket is set. Negative: nothing follows. */
int kiln_binding_execute(kiln_binding *binding, const kiln_input *input,
                         const kiln_run_callbacks *callbacks, void *user, kiln_ticket *ticket,
                         kiln_error *err);
/* Asks it to stop; false: the backend cannot be asked, only killed. */
bool kiln_binding_interrupt(kiln_binding *binding, kiln_ticket ticket);
/* When the cell of a worker ends, processes that were left running end with it. */
void kiln_binding_sweep(kiln_binding *binding);
/* Kills every process of the session on this backend; completion follows. */
void kiln_binding_kill(kiln_binding *binding);
/* Makes the ticket stale: whatever its backend still says is dropped. For one that
 * does not complete even after a kill. */
void kiln_binding_abandon(kiln_binding *binding, kiln_ticket ticket);

/* Over all its backends. Memory: 0 where no cgroup tells. */
uint64_t kiln_bindings_memory(const kiln_session *session);
typedef struct kiln_session_disk {
    uint64_t bytes, files;
} kiln_session_disk;
kiln_session_disk kiln_bindings_disk(const kiln_session *session);
json_t *kiln_bindings_names(const kiln_session *session); /* new reference */
/* The binding on that backend, or NULL: none (backend NULL: the one bound last); and the
 * file system of a binding, borrowed, -1: it has none. */
kiln_binding *kiln_bindings_find(const kiln_session *session, const kiln_backend *backend);
int kiln_binding_root(const kiln_binding *binding);

/* Forgets the session's state on every backend and keeps its files: a worker is ended, a
 * plugin is told. No execution is in flight. The first that fails is told. */
int kiln_bindings_restart(kiln_session *session, kiln_error *err);

/* ---- queries, see plugin.h. One at a time in a binding, none while a cell runs: -EBUSY. */

bool kiln_backend_answers(const kiln_backend *backend);
/* `limits` are for a worker, when one has to be started. 0: `done` follows once, possibly
 * from within: reply, or NULL and why; both borrowed. -ENOTSUP: no such query. */
int kiln_binding_query(kiln_binding *binding, const char *name, json_t *arguments,
                       const kiln_limits *limits,
                       void (*done)(void *user, json_t *reply, const char *error), void *user,
                       kiln_error *err);
/* Asks it to give up; `done` follows when it has. */
void kiln_binding_query_stop(kiln_binding *binding);
/* Likewise, but `done` will not be called. */
void kiln_binding_query_forget(kiln_binding *binding);

/* The execution is over: what its transactional cells did stays, or (`keep` false) the
 * session becomes what it was before them. `done` once, possibly from within. */
void kiln_bindings_settle(kiln_session *session, bool keep, void (*done)(void *user),
                          void *user);
/* Whether there is anything to settle. */
bool kiln_bindings_undecided(const kiln_session *session);

/* Gives `into`, a session without bindings that nothing else uses until then, what
 * `session`, which is idle and stays so, has on each backend: state, files, limits. `done`
 * once, possibly from within; with err `into` is to be closed. */
void kiln_bindings_branch(kiln_session *session, kiln_session *into,
                          void (*done)(void *user, const kiln_error *err), void *user);

/* Analysis of code by a worker of its own that never runs code. `done` once,
 * possibly before this returns: borrowed analysis, or NULL with why. *handle is set
 * before that and valid until then. */
typedef struct kiln_analysis kiln_analysis;
void kiln_backend_analyze(kiln_backend *backend, const char *code, size_t length,
                          void (*done)(void *user, json_t *analysis, const char *error),
                          void *user, kiln_analysis **handle);
/* `done` will not be called. */
void kiln_analysis_cancel(kiln_analysis *analysis);

#endif
