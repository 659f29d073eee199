/* backend-t.h - what the files of this folder share; nobody else includes it. */
#ifndef KILN_PLUGIN_BACKEND_T_H
#define KILN_PLUGIN_BACKEND_T_H

#include "plugin/backend.h"
#include "plugin/loader.h"
#include "plugin/ticket.h"
#include "worker/pool.h"
#include "worker/sandboxed.h"

/* A watch or timer that a plugin holds; those that it forgets end with it. */
typedef struct kiln_host_handle {
    struct kiln_host_handle *next, **place;
    uv_handle_t *handle;
} kiln_host_handle;

struct kiln_backend {
    kiln_host host; /* first: the host table's functions find the backend by it */
    kiln_backends *all;
    char section[80]; /* "backend NAME" */
    kiln_loaded_plugin *loaded;
    void *self; /* init's */
    bool initialised;
    kiln_zygote *zygote;              /* of its worker half; NULL until needed */
    kiln_pool *pool;                  /* of sandboxes made ahead, or NULL */
    kiln_analysis *analyses;          /* list of those in flight */
    struct kiln_guest_pool *analyzer; /* the idle analysis worker, see analysis.c */
    kiln_host_handle *handles;
    char **option_words; /* "name=value", NULL-terminated: the zygote's copy */
    struct {             /* see check.c */
        void (*found)(void *user, kiln_finding finding, const char *what, const char *detail);
        void *user;
        bool running;
        kiln_timer *late;
    } check;
};

/* That a plugin's pointer to its host table stands for. */
static inline kiln_backend *kiln_backend_of(const kiln_host *host)
{
    return (kiln_backend *)(uintptr_t)host; /* host is its first member */
}

struct kiln_backends {
    kiln_backends_spec spec;
    kiln_backend **list;
    size_t count;
    json_t *table;
    kiln_tickets tickets;
    kiln_zygote *programs; /* the bare zygote; NULL until needed */
    bool keep_pools;
    kiln_backends_listener listener;
};

typedef struct kiln_ready_waiter kiln_ready_waiter;

struct kiln_binding {
    kiln_binding *next;
    kiln_backend *backend;
    kiln_session *session;
    kiln_limits limits;       /* of the session's sandbox */
    kiln_limits guest_limits; /* that `guest` was started with */
    void *state;              /* session_open's */
    bool state_open;
    kiln_sandbox *sandbox; /* NULL for a backend that runs nothing */
    int root_fd;           /* the sandbox's */
    bool ready;
    bool preparing;             /* session_prepare has not been answered yet */
    char prepared_language[64]; /* of the last session_prepare */
    kiln_manifest *look;        /* of the work directory after the last cell; or NULL */
    bool disk_full, files_full; /* as last seen, of a plugin's own file system */
    kiln_ready_waiter *waiters;
    struct kiln_proxy *proxy; /* of KILN_NETWORK_PROXY */
    kiln_guest *guest;        /* the session's worker, for a plugin with a worker half */
    char lost[512];           /* how the last worker ended, until that is told, or "" */
    /* the execution in flight */
    bool running;
    kiln_ticket ticket;
    const kiln_input *pending; /* the core's; it waits for the last worker to be gone */
    bool starting;             /* inside the plugin's execute */
    bool completed;            /* from inside it: to be delivered by `deferred` */
    kiln_outcome outcome;
    char *outcome_name, *outcome_message;
    uv_timer_t *deferred;
    bool used;       /* a cell was given to it */
    bool discard;    /* the worker is ended on purpose: no loss is told */
    struct {         /* see query.c */
        bool flying; /* an answer is still to come, whether anybody waits for it or not */
        void (*done)(void *user, json_t *reply, const char *error); /* NULL: nobody does */
        void *user;
        bool ticketed; /* of a plugin's engine half */
        kiln_ticket ticket;
        char *name; /* with the next two: it waits for the last worker to be gone, or kept */
        json_t *arguments;
        kiln_limits limits;
        struct kiln_alarm *alarm; /* once it is to stop */
        unsigned nudges;
        bool killed; /* its worker was, for it did not stop */
    } query;
    struct {                  /* see transaction.c */
        bool wanted;          /* the last cell was one: the next probably will be */
        bool taking;          /* a snapshot is being made */
        bool active;          /* the cell that runs can be undone */
        bool undecided;       /* it has run well; the snapshot is kept until it is settled */
        bool resuming;        /* what comes next is what was before */
        kiln_guest *snapshot; /* of the state that the worker is in, or was before the cell */
        kiln_outcome outcome; /* of the cell that is being undone */
        char *name, *message; /* of that */
        void (*settled)(void *user);
        void *user;
        void (*then)(void *user); /* a branch waits for `taking` */
        void *then_user;
        void (*kept)(void *user, const kiln_error *err); /* the execution that waits */
        void *kept_user;
        kiln_limits limits; /* of that, for a worker that has to be started */
    } transaction;
};

static inline const kiln_plugin *kiln_binding_plugin(const kiln_binding *binding)
{
    return &binding->backend->loaded->plugin;
}
static inline bool kiln_binding_has_worker(const kiln_binding *binding)
{
    return kiln_binding_plugin(binding)->capabilities & KILN_CAP_WORKER;
}
static inline bool kiln_binding_has_files(const kiln_binding *binding)
{
    return kiln_binding_plugin(binding)->capabilities & KILN_CAP_FILES;
}

/* binding_execute.c: what a session's worker tells. */
extern const kiln_guest_callbacks kiln_binding_guest_callbacks;

/* files.c: a backend with a file system of its own */
const kiln_files *kiln_files_extension(void);
/* What that file system tells of an execution. */
void kiln_files_account(kiln_binding *binding, kiln_account *account);
/* binding.c: the end of session_prepare. */
void kiln_binding_prepared(kiln_binding *binding, int work_fd, const char *error);

/* check.c */
const kiln_checks *kiln_checks_extension(void);

/* remote.c */
const kiln_guests *kiln_guests_extension(void);

/* host.c: fills backend->host. */
void kiln_host_fill(kiln_backend *backend);
/* Ends the watches and timers that the plugin still holds. */
void kiln_host_release(kiln_backend *backend);
/* Delivers the end of the binding's execution to the core; the ticket is stale after. */
void kiln_binding_complete(kiln_binding *binding, const kiln_outcome *outcome);
/* The zygote that the backend's sandboxes come from, started if it is not. */
int kiln_backend_zygote(kiln_backend *backend, kiln_zygote **zygote, kiln_error *err);
/* Makes the backend's pool, if it is to have one and has none. */
int kiln_backend_keep_pool(kiln_backend *backend, kiln_error *err);
/* Closes the backend's analysis worker; analyses in flight fail. */
void kiln_backend_drop_analyzer(kiln_backend *backend);
/* kiln_exit as the outcome of a cell whose worker went away. `message` has room for 512. */
void kiln_outcome_of_exit(const kiln_exit *exit, kiln_outcome *outcome, char *message);
/* Starts the binding's worker when there is none. -EAGAIN: the last one is still ending. */
int kiln_binding_worker(kiln_binding *binding, const kiln_limits *limits, kiln_error *err);
/* Ends the worker on purpose: no loss is told. */
void kiln_binding_discard_worker(kiln_binding *binding);
/* Starts the execution that waits for a worker's or a query's end. */
void kiln_binding_start_pending(kiln_binding *binding);

/* query.c: kiln_guest_callbacks.on_reply */
void kiln_binding_on_reply(void *user, json_t *reply, const char *error);
/* host->reply with a ticket that the binding owns. */
bool kiln_binding_owns_query(const kiln_binding *binding, kiln_ticket ticket);
void kiln_binding_ticket_reply(kiln_binding *binding, json_t *reply, const char *error);
void kiln_binding_plugin_reply(kiln_binding *binding, const char *text, size_t length,
                               const char *error);
/* The worker is gone: asks the next one, or gives up with `lost` and starts what is
 * pending. false: there was no query. */
bool kiln_binding_query_resume(kiln_binding *binding, const char *lost);
/* A cell is to start: whether it has to wait for a query, which is asked to stop. */
bool kiln_binding_query_yields(kiln_binding *binding);
/* Why the worker was killed, when a query is the reason, else NULL; tells it once. */
const char *kiln_binding_query_blame(kiln_binding *binding);
/* The binding is closed. */
void kiln_binding_query_close(kiln_binding *binding);
/* A binding without a place to run in yet. */
int kiln_binding_open(kiln_backend *backend, kiln_session *session, const kiln_limits *limits,
                      kiln_binding **out, kiln_error *err);
/* The sandbox of a binding is there: tells who waits. */
void kiln_binding_sandbox_ready(void *user, int root_fd, const kiln_error *err);
/* A decision in the result of the execution in flight. */
void kiln_binding_decide(kiln_binding *binding, const char *action, const char *detail);

/* ---- transaction.c */

/* A cell is to start, the worker is there. 0; negative: refused. */
int kiln_transaction_begin(kiln_binding *binding, const kiln_input *input, kiln_error *err);
/* The cell has come to this. true: it is being undone, and completes then. */
bool kiln_transaction_ended(kiln_binding *binding, const kiln_outcome *outcome);
/* The binding's worker is gone. true: a snapshot takes its place. */
bool kiln_transaction_lost_worker(kiln_binding *binding);
/* `user` waits no longer for a checkpoint. */
void kiln_transaction_forget(kiln_binding *binding, const void *user);
/* The binding is closed. */
void kiln_transaction_close(kiln_binding *binding);
/* The binding of a session on this backend, or NULL. */
kiln_binding *kiln_binding_find(const kiln_session *session, const kiln_backend *backend);

#endif
