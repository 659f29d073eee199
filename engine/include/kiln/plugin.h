/* kiln/plugin.h - everything that a Kiln plugin sees. C11 and C++.
 *
 * A plugin is a shared object. It has an ELF note with the ABI version (read
 * before the object is opened) and one exported function that returns its
 * `kiln_plugin`. It may have two halves:
 *
 *   the engine half  the callbacks of `kiln_plugin`, called in the engine on
 *                    its one loop thread. It never runs a user's code and
 *                    never blocks.
 *   the worker half  `kiln_worker`, called in processes of its own. For a
 *                    language that can be embedded it is all one needs: the
 *                    engine does the zygote, the sessions, the confinement
 *                    and the frames, and the engine half can stay empty. It is
 *                    in the same object, or in a program of its own beside it,
 *                    NAME.worker, so that the engine need not load what only
 *                    workers use.
 *
 * Every function is marked with its thread:
 *   [loop]   the engine's loop thread
 *   [worker] the single thread of a worker process
 * Pointers that a callback receives are borrowed: valid until it returns.
 * Structs begin with `size` and only ever grow at their end; whoever reads a
 * struct reads no field beyond `size`. What is not there is 0. */
#ifndef KILN_PLUGIN_H
#define KILN_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The engine loads a plugin whose major equals its own and whose minor is not
 * newer. Minor grows when a struct grows or a constant is added. */
#define KILN_ABI_MAJOR 1
#define KILN_ABI_MINOR 3

/* ------------------------------------------------------------------ results */

typedef enum kiln_status {
    KILN_STATUS_OK = 0,          /* ran to its end */
    KILN_STATUS_ERROR = 1,       /* raised, or exited non-zero */
    KILN_STATUS_TIMEOUT = 2,     /* wall or CPU time was up */
    KILN_STATUS_LIMIT = 3,       /* memory, processes, disk or files: name says which */
    KILN_STATUS_CRASHED = 4,     /* died of a signal of its own, or without a verdict */
    KILN_STATUS_INTERRUPTED = 5, /* the caller cancelled */
    KILN_STATUS_DENIED = 6,      /* a policy refused; nothing ran */
    KILN_STATUS_SKIPPED = 7,     /* validated and planned; nothing ran */
    KILN_STATUS_UNAVAILABLE = 8, /* the engine or backend could not run it */
} kiln_status;

/* One execution in flight. A ticket whose execution has completed is stale;
 * calls that carry one are counted, logged and dropped. */
typedef struct kiln_ticket {
    uint32_t slot;
    uint32_t generation;
} kiln_ticket;

typedef enum kiln_stream {
    KILN_STDOUT = 1,
    KILN_STDERR = 2,
} kiln_stream;

typedef enum kiln_event_type {
    KILN_EVENT_STREAM = 1,   /* stream, data: raw bytes in order of arrival */
    KILN_EVENT_DISPLAY = 2,  /* json: {"data":{MIME:value},"metadata":{},"transient":{}?} */
    KILN_EVENT_RESULT = 3,   /* json: as display; the value of the last expression */
    KILN_EVENT_ERROR = 4,    /* json: {"name":"","value":"","traceback":[""],"errno":28?} */
    KILN_EVENT_UPDATE = 5,   /* json: as display, with transient.display_id: replaces */
    KILN_EVENT_CLEAR = 6,    /* json: {"wait":false}: forgets the outputs so far */
    KILN_EVENT_DECISION = 7, /* json: {"action":"","detail":""}: shown among the decisions */
} kiln_event_type;

/* Of a worker's event: nothing but the cell's end follows, so that it may be held back and
 * travel with it. */
#define KILN_EVENT_LAST 1u

typedef struct kiln_event {
    uint32_t size;
    uint32_t type;    /* kiln_event_type */
    uint32_t stream;  /* kiln_stream, for KILN_EVENT_STREAM */
    uint32_t flags;   /* KILN_EVENT_LAST */
    const char *data; /* stream bytes, or UTF-8 JSON text */
    size_t length;    /* bytes */
} kiln_event;

/* How an execution ended. */
typedef struct kiln_outcome {
    uint32_t size;
    uint32_t status; /* kiln_status */
    bool has_exit_code;
    int32_t exit_code;
    int32_t signal;         /* 0: none */
    const char *name;       /* errors[].name: the limit's or the error's name; may be NULL */
    const char *message;    /* errors[].message, one line; NULL: no entry in errors beyond
                               those that KILN_EVENT_ERROR made */
    double cpu_ms;          /* < 0: unknown */
    uint64_t max_rss_bytes; /* 0: unknown */
    double compile_ms;      /* < 0: there was no compile phase */
} kiln_outcome;

#define KILN_OUTCOME_INIT                                                                      \
    {                                                                                          \
        sizeof(kiln_outcome), KILN_STATUS_OK, false, 0, 0, NULL, NULL, -1.0, 0, -1.0           \
    }

/* -------------------------------------------------------------------- input */

/* 0 means "not limited here"; the engine has put in the smallest of what the
 * configuration, the policies and the request say. */
typedef struct kiln_limits {
    uint32_t size;
    uint64_t timeout_ms; /* wall clock, for the whole execution */
    uint64_t cpu_ms;     /* CPU time of the tree */
    uint64_t memory;     /* bytes, the whole tree with tmpfs */
    uint64_t processes;  /* processes and threads */
    uint64_t output;     /* bytes kept per stream */
    uint64_t disk;       /* bytes in the session's file system, at most half of memory */
    uint64_t files;      /* inodes in the session's file system */
    uint64_t open_files; /* descriptors a process */
    uint64_t file_size;  /* bytes of one file */
    uint64_t cpus;       /* share of the CPUs, in thousandths of one: 1500 is 1.5 */
} kiln_limits;

typedef struct kiln_input {
    uint32_t size;
    const char *session_id;
    const char *code; /* UTF-8, no NUL, also NUL-terminated */
    size_t code_length;
    const char *cell_id;    /* NULL: none */
    const char *language;   /* never NULL */
    const char *stdin_data; /* bytes; NULL: empty */
    size_t stdin_length;
    const char *const *args;        /* NULL-terminated, never NULL */
    const char *const *env;         /* "NAME=value", NULL-terminated, never NULL */
    const char *const *input_files; /* names in the work directory, NULL-terminated; they
                                       are there already when a backend sees this */
    uint64_t execution_count;       /* 1 for the first of the session */
    kiln_limits limits;
    bool transaction; /* since 1.1: what fails is undone; the engine sees to it */
} kiln_input;

/* --------------------------------------------------------------------- host */

typedef struct kiln_host kiln_host;       /* the table below */
typedef struct kiln_session kiln_session; /* the engine's, opaque, lives from
                                             session_open to session_close */
typedef struct kiln_process kiln_process; /* a confined process, the engine's */
typedef struct kiln_watch kiln_watch;
typedef struct kiln_timer kiln_timer;

typedef enum kiln_plugin_log_level {
    KILN_PLUGIN_LOG_ERROR = 0,
    KILN_PLUGIN_LOG_WARNING = 1,
    KILN_PLUGIN_LOG_INFO = 2,
    KILN_PLUGIN_LOG_DEBUG = 3,
} kiln_plugin_log_level;

enum { KILN_READABLE = 1, KILN_WRITABLE = 2 };

/* How a confined process ended. */
typedef struct kiln_exit {
    uint32_t size;
    bool exited; /* true: exit_code counts; false: signal counts */
    int32_t exit_code;
    int32_t signal;
    bool timed_out;    /* killed because the wall clock was up */
    bool cpu_exceeded; /* killed because CPU time was up */
    const char *limit; /* name of the limit that ended it ("memory", ...), or NULL */
    const char *error; /* it could not be started: why, one line; or NULL */
    double cpu_ms;     /* of the whole tree, as the kernel counted it */
    uint64_t max_rss_bytes;
    double wall_ms;
} kiln_exit;

/* A program to start, confined, inside a session's sandbox. */
typedef struct kiln_spawn {
    uint32_t size;
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH inside */
    const char *const *env;  /* "NAME=value" added to the small default environment */
    const char *stdin_data;
    size_t stdin_length;
    const kiln_limits *limits; /* NULL: the session's */
    void *user;
    /* [loop] Bytes of a stream, in order of arrival. */
    void (*on_output)(void *user, uint32_t stream, const char *data, size_t length);
    /* [loop] Called exactly once, last; the process and all its descendants are
     * gone and `process` is freed after it. */
    void (*on_exit)(void *user, const kiln_exit *exit);
} kiln_spawn;

struct kiln_host {
    uint32_t size;
    uint16_t abi_major;
    uint16_t abi_minor;

    /* since 1.0; all [loop]: nothing in the engine is locked against calls from another
     * thread (`kiln plugin-check` finds them). `host` is the pointer that init received.
     * What is passed stays the caller's and is copied where it must last. */

    /* One line for the engine's log, under the plugin's section; `level` is of
     * kiln_plugin_log_level. No code, input or secrets. Cannot fail. */
    void (*log)(const kiln_host *host, uint32_t level, const char *text);

    /* The effective value of one of the plugin's declared options, as text:
     * durations in milliseconds, sizes in bytes, booleans "true"/"false", lists
     * with one space between words. Valid until fini. NULL: no such option. */
    const char *(*option)(const kiln_host *host, const char *name);

    /* Appends an output to the execution. 0; -ESTALE: stale ticket, dropped. An event of
     * no known shape is told in the result, not here. */
    int (*emit)(const kiln_host *host, kiln_ticket ticket, const kiln_event *event);
    /* Ends the execution; exactly one for each execute that returned 0.
     * 0; -ESTALE: stale ticket, dropped. May be called from inside execute. The ticket is
     * stale from then on; the session's next execute may come from within the call. */
    int (*complete)(const kiln_host *host, kiln_ticket ticket, const kiln_outcome *outcome);

    /* Starts a program in the session's sandbox. *process is the engine's, valid until
     * on_exit has returned. 0; -ENOMEM; -EINVAL: no argv, no on_exit, or a session without
     * a sandbox; then nothing follows. Everything later is on_exit, never from within. */
    int (*spawn)(const kiln_host *host, kiln_session *session, const kiln_spawn *spawn,
                 kiln_process **process);
    /* Kills the program and all its descendants; on_exit still comes. Not after it. */
    void (*kill)(const kiln_host *host, kiln_process *process);

    /* Writes a file into the session's work directory, replacing it; `mode` as chmod has
     * it. 0; -EINVAL: the name is not one relative path, or there is no work directory;
     * -EISDIR, -ENOSPC, ...: why writing failed. */
    int (*write_file)(const kiln_host *host, kiln_session *session, const char *name,
                      const void *data, size_t length, uint32_t mode);

    /* Calls back while fd is ready (`events`: KILN_READABLE, KILN_WRITABLE); fd stays the
     * caller's and must outlive the watch. The watch is the engine's, until unwatch, which
     * may be called from within `ready`, or until fini. NULL: out of memory. Unwatch of NULL
     * does nothing. */
    kiln_watch *(*watch)(const kiln_host *host, int fd, int events,
                         void (*ready)(void *user, int fd, int events), void *user);
    void (*unwatch)(const kiln_host *host, kiln_watch *watch);

    /* Calls back once after `milliseconds`, never from within. The timer is freed before
     * its call, by cancel, or by fini; not to be cancelled after that. NULL: out of
     * memory. Cancel of NULL does nothing. */
    kiln_timer *(*timer)(const kiln_host *host, uint64_t milliseconds, void (*fire)(void *user),
                         void *user);
    void (*cancel)(const kiln_host *host, kiln_timer *timer);

    /* Growth: a table by name ("kiln.runtimes/1"), valid until fini, or NULL. */
    const void *(*extension)(const kiln_host *host, const char *id);

    /* since 1.1; [loop] */

    /* Answers a query; exactly one for each `query` that returned 0. `json` is UTF-8
     * JSON text, or NULL with `error`, one line. 0; -ESTALE: stale ticket, such as that
     * of a query that took too long. May be called from inside query. */
    int (*reply)(const kiln_host *host, kiln_ticket ticket, const char *json, size_t length,
                 const char *error);
};

/* Extension "kiln.runtimes/1": the [runtime LANGUAGE] sections. */
#define KILN_EXTENSION_RUNTIMES "kiln.runtimes/1"
typedef struct kiln_runtime {
    uint32_t size;
    const char *language;
    const char *extension;      /* the first, with its dot */
    const char *const *compile; /* argv, NULL: nothing to compile; words may hold
                                   {file} (the code) and {out} (the program) */
    const char *const *run;     /* argv, likewise */
} kiln_runtime;
typedef struct kiln_runtimes {
    uint32_t size;
    const kiln_runtime *(*find)(const kiln_host *host, const char *language); /* or NULL */
} kiln_runtimes;

/* Extension "kiln.files/1", since 1.1: for a backend with KILN_CAP_FILES. */
#define KILN_EXTENSION_FILES "kiln.files/1"
typedef struct kiln_files {
    uint32_t size;
    /* [loop] Ends a session_prepare, exactly once, possibly from within it. `work_fd` is
     * the directory that the code will have as its work directory: the engine puts input
     * files into it and takes output files from it. It stays the plugin's, and open until
     * session_close or the next session_prepare. The engine takes what is in it for
     * hostile: it opens nothing but beneath it, follows no link and crosses no mount. Where
     * it is the top of a file system, that is the session's, and its use is told.
     * -1, and `error` with why in one line: there is no place to run in.
     * 0; -ESTALE: nobody waits for it. The session's execute may come from within. */
    int (*prepared)(const kiln_host *host, kiln_session *session, int work_fd,
                    const char *error);
} kiln_files;

/* Extension "kiln.guest/1", since 1.1: the protocol of workers (engine/worker/frame.h), for
 * a worker that a plugin reaches by a stream of its own: in a container, on another
 * machine. The plugin carries bytes, and ends the worker; the engine encodes requests,
 * checks what comes as it does for its own workers, and hands outputs to the execution.
 * All [loop]. */
#define KILN_EXTENSION_GUEST "kiln.guest/1"
typedef struct kiln_remote kiln_remote; /* one such worker, the engine's */
typedef struct kiln_remote_callbacks {
    uint32_t size;
    /* Bytes for the worker, to be sent whole and in order; borrowed. */
    void (*send)(void *user, const char *data, size_t length);
    /* Its start is over, and it takes cells. */
    void (*ready)(void *user);
    /* The cell has ended, as the worker says: usage, too, is its own word. The plugin
     * completes the ticket, with this outcome or one that it knows better. */
    void (*done)(void *user, kiln_ticket ticket, const kiln_outcome *outcome);
    /* It broke the protocol or could not start; why, one line. It is of no more use. */
    void (*broken)(void *user, const char *why);
} kiln_remote_callbacks;
typedef struct kiln_guests {
    uint32_t size;
    /* NULL: out of memory. All callbacks must be there. */
    kiln_remote *(*open)(const kiln_host *host, const kiln_remote_callbacks *callbacks,
                         void *user);
    /* No callback follows; may be called from within one. An execution in flight is left
     * to the plugin to complete; a query in flight has failed. */
    void (*close)(kiln_remote *remote);
    /* Bytes from the worker; not from within a callback. 0; -EPROTO: broken. */
    int (*received)(kiln_remote *remote, const char *data, size_t length);
    /* Sends a cell. Its outputs go to the ticket, its end to `done`. One at a time: -EBUSY;
     * -EPIPE: broken; -EINVAL: it cannot be encoded; -ENOMEM. */
    int (*execute)(kiln_remote *remote, kiln_ticket ticket, const kiln_input *input);
    /* Asks the running cell or query to stop and keep the state; its end still comes. */
    void (*interrupt)(kiln_remote *remote);
    /* Hands a query on; the engine takes the reply for `ticket` from the worker, and the
     * plugin makes none. As execute. */
    int (*query)(kiln_remote *remote, kiln_ticket ticket, const char *name,
                 const char *arguments, size_t length);
} kiln_guests;

/* Extension "kiln.limits/1", since 1.1: what the configuration says, for what a plugin
 * prepares before it is asked (a pool). Borrowed, valid until the next call. */
#define KILN_EXTENSION_LIMITS "kiln.limits/1"
typedef struct kiln_default_limits {
    uint32_t size;
    const kiln_limits *(*get)(const kiln_host *host);
} kiln_default_limits;

/* Extension "kiln.check/1", since 1.3: what a plugin's `check` tells. */
#define KILN_EXTENSION_CHECK "kiln.check/1"
typedef enum kiln_finding {
    KILN_FINDING_OK = 0,
    KILN_FINDING_MISSING = 1, /* told, and no failure: what needs it says so, or gets it */
    KILN_FINDING_FAULT = 2,   /* nothing can be run without it */
} kiln_finding;
typedef struct kiln_checks {
    uint32_t size;
    /* [loop] One thing that was looked at, in a word or two ("image x"), and one line about
     * it. */
    void (*found)(const kiln_host *host, uint32_t finding, const char *what,
                  const char *detail);
    /* [loop] Ends the check, exactly once, possibly from within it. */
    void (*done)(const kiln_host *host);
} kiln_checks;

/* ----------------------------------------------------------------- queries */

/* Whatever a front end asks of a session that is not an execution. It changes nothing
 * that the code can see, is not counted and is in no history. Known names, arguments and
 * replies are those of Jupyter's messages (jupyter-client.readthedocs.io, "Messaging");
 * `code` is the cell so far, `cursor_pos` and the like count Unicode code points:
 *
 *   complete     {"code","cursor_pos"} ->
 *                {"matches":[""],"cursor_start","cursor_end","metadata":{}}
 *   inspect      {"code","cursor_pos","detail_level":0|1} ->
 *                {"found":bool,"data":{MIME:value},"metadata":{}}
 *   is_complete  {"code"} ->
 *                {"status":"complete"|"incomplete"|"invalid"|"unknown","indent":""}
 *   variables    {} -> [{"name","type","size":bytes|null,"shape":""?,"value":""}]
 *
 * A plugin may know others; one that it does not know it refuses by -ENOTSUP. */

/* ------------------------------------------------------------- worker half */

/* One cell, in a worker. */
typedef struct kiln_cell {
    uint32_t size;
    const char *code; /* UTF-8, also NUL-terminated */
    size_t code_length;
    const char *cell_id; /* NULL: none */
    uint64_t execution_count;
    const char *stdin_data; /* what input() reads; NULL: empty */
    size_t stdin_length;
    const char *const *args; /* NULL-terminated, never NULL */
    const char *const *env;  /* "NAME=value", never NULL */
} kiln_cell;

/* What a cell came to. */
typedef struct kiln_verdict {
    uint32_t size;
    uint32_t status;    /* KILN_STATUS_OK, _ERROR or _INTERRUPTED */
    bool has_exit_code; /* the code asked to exit (sys.exit(3)) */
    int32_t exit_code;
} kiln_verdict;

/* What a worker half may call. All [worker]. Every emit writes at once: what
 * was emitted survives the worker's death. */
typedef struct kiln_worker_host {
    uint32_t size;
    /* since 1.0 */
    void (*emit)(const kiln_event *event);
    /* As kiln_host.option. */
    const char *(*option)(const char *name);
    /* Before workers start: one line for the log, and for `kiln check`. */
    void (*log)(uint32_t level, const char *text);

    /* since 1.1 */

    /* Whether this process is the worker: false in a fork that the code has made. Costs no
     * system call. */
    bool (*owned)(void);
    /* Whether the running cell or query was to be interrupted before `interrupt` could take
     * it; true once. */
    bool (*interrupted)(void);

    /* since 1.2 */

    /* In a cell, from the thread that runs it: sends a call to the engine and waits for what
     * it returns, valid until the next call. Both are a value as engine/native/value.h has
     * it; a cell calls ["native", NAME, [ARGUMENTS]] and gets [true, [RESULTS]] or
     * [false, NAME, TEXT]. 0; -EINTR: a signal came first, call with NULL to wait on, or give
     * it up; -EPERM: no cell runs, or not here; -E2BIG, -ENOMEM. */
    int (*call)(const void *data, size_t length, const char **reply, size_t *reply_length);

    /* since 1.3: what is JSON elsewhere, for a worker that has none. In what is given each
     * byte that is not UTF-8 becomes U+FFFD. */

    /* Emits a KILN_EVENT_DISPLAY or _RESULT of one MIME type, which is text's. */
    void (*display)(uint32_t type, const char *mime, const char *text, size_t length);
    /* Emits a KILN_EVENT_ERROR. `value` counts to the end of its first line; `traceback` is
     * any number of lines, or NULL. */
    void (*error)(const char *name, const char *value, const char *traceback);
    /* In a query: one of its arguments, a text or a number in decimal digits, valid until it
     * returns. NULL: there is none of that name, or of another type. */
    const char *(*argument)(const char *name);
} kiln_worker_host;

typedef struct kiln_worker {
    uint32_t size;
    /* Once, in the zygote, inside the read-only root, without network: loads
     * what sessions share. Single-threaded before and after. 0, or negative
     * with *error set to one static line. */
    int (*preload)(const kiln_worker_host *host, const char **error);
    /* Once in each worker process, after the fork and fully confined, in the
     * work directory. */
    int (*start)(void);
    /* Runs one cell. `interrupt` asks it to stop and keep the state. */
    int (*execute)(const kiln_cell *cell, kiln_verdict *verdict);
    /* Optional. Tells of code without running it:
     * {"imports":["numpy"],"import_lines":["import numpy as np"],
     *  "names":[],"calls":["open","os.system"],"error":null|{"name","message","line","column"}}
     * *json is valid until the next call. */
    int (*analyze)(const char *code, size_t length, const char **json);

    /* since 1.1 */

    /* Optional. In a worker that waits for its session: runs what a first cell, or the
     * first use of a library, would have to pay for, mostly pages of the zygote's that are
     * written for the first time. `turn` counts from 0; outputs go nowhere. After the
     * `last` one nothing of it may be seen by the session: no name, no file, no number that
     * would be the same in another. Negative: the worker is thrown away. */
    int (*rehearse)(uint32_t turn, bool last);

    /* Optional. Answers a query, see above; `arguments` is a JSON object, also
     * NUL-terminated. `interrupt` asks it to give up and keep the state. 0: *json is the
     * reply;
     * -ENOTSUP: no such query; another negative errno: *json may be why, one line of
     * text. *json is valid until the next call. What is emitted meanwhile is dropped. */
    int (*query)(const char *name, const char *arguments, size_t length, const char **json);

    /* In a fork of a worker between two cells, which has its state and goes on by itself:
     * a branch, or what a failed transaction returns to. The fork has one thread; files
     * that were open are open again, at the same place; what else was open is not, in a
     * branch. As after fork(2): locks, process ids, random numbers. 0, or negative: the
     * fork ends. Without it sessions are not forked. */
    int (*branched)(void);
    /* Optional. Does what every cell does, and leaves no trace in the state. In a worker
     * that has been forked: memory that is shared is copied when it is written to, better
     * while nobody waits. */
    int (*touch)(void);
    /* Optional. What runs now, execute or query, is to stop; without it a cell cannot be
     * interrupted but by ending the worker. In a signal's handler: only what is safe there.
     * On the main thread, but for a fork that the code has made. False: not ready to take
     * it; host->interrupted tells of it later. */
    bool (*interrupt)(void);
} kiln_worker;

/* ------------------------------------------------------------------- plugin */

enum kiln_capability {
    KILN_CAP_EXECUTE = 1 << 0,   /* requires execute */
    KILN_CAP_SESSIONS = 1 << 1,  /* keeps state from execution to execution: requires
                                    session_open and session_close, or a worker */
    KILN_CAP_INTERRUPT = 1 << 2, /* requires interrupt, or a worker */
    KILN_CAP_WORKER = 1 << 3,    /* requires a worker with preload, start, execute */
    KILN_CAP_ANALYZE = 1 << 4,   /* requires a worker with analyze */
    KILN_CAP_PLAN = 1 << 5,      /* runs nothing: no sandbox is made for its sessions */
    KILN_CAP_QUERY = 1 << 6,     /* since 1.1: requires query, or a worker with query */
    KILN_CAP_BRANCH = 1 << 8,    /* since 1.1: its sessions can be branched, and cells undone:
                                    requires a worker with branched */
    KILN_CAP_FILES = 1 << 7,     /* since 1.1: runs code in a place and a file system of its
                                    own, no sandbox is made: requires session_open,
                                    session_close, session_prepare and kill */
};

typedef enum kiln_option_type {
    KILN_OPTION_STRING = 1,
    KILN_OPTION_BOOL = 2,
    KILN_OPTION_INTEGER = 3,
    KILN_OPTION_DURATION = 4, /* "30s"; read as milliseconds */
    KILN_OPTION_SIZE = 5,     /* "512M"; read as bytes */
    KILN_OPTION_LIST = 6,     /* words between spaces or commas */
} kiln_option_type;

/* A key of the plugin's own section, [backend NAME]. */
typedef struct kiln_option {
    const char *name;          /* NULL ends the list */
    uint32_t type;             /* kiln_option_type */
    const char *default_value; /* as it would stand in the file */
    const char *help;          /* one line */
} kiln_option;

/* Since 1.2: a function that the plugin exports, as a section [native NAME] does one of a
 * library: policies call kiln.native.PLUGIN.NAME(...), and code, as `flags` say. It is not
 * called in the engine but in a helper process, which opens the plugin's object for its sake:
 * nothing that init has done is there. */
typedef struct kiln_function {
    const char *name;      /* letters, digits and _ */
    const char *symbol;    /* exported by the object; NULL: as `name` */
    const char *signature; /* "uint64(uint64, bytes)": engine/native/signature.h */
    uint32_t flags;        /* enum kiln_function_flag */
} kiln_function;

enum kiln_function_flag {
    KILN_FUNCTION_POLICY = 1 << 0,
    KILN_FUNCTION_CODE = 1 << 1,
};

/* The languages that a backend runs: NULL-terminated; the single word "*" stands
 * for every [runtime] that is configured. */

typedef struct kiln_plugin {
    uint32_t size;
    uint16_t abi_major;
    uint16_t abi_minor;
    uint64_t capabilities; /* enum kiln_capability */
    const char *name;      /* the file's name without .so */
    const char *version;
    const char *summary; /* one line */
    const char *const *languages;
    const kiln_option *options; /* NULL: none */
    const kiln_worker *worker;  /* NULL: none, or with KILN_CAP_WORKER: in NAME.worker */

    /* [loop] Optional. Called once before anything else. `host` lives until fini
     * has returned. *self is handed to every other call. 0, or negative with
     * *error set to one static line; then fini is not called. */
    int (*init)(const kiln_host *host, void **self, const char **error);
    /* [loop] Optional. Paired with a successful init; no execution is in flight and no
     * session open. Watches and timers that are left end by themselves. */
    void (*fini)(void *self);

    /* [loop] Optional, in pairs. `session` is the engine's, valid until session_close has
     * returned; *state is the plugin's and handed to execute. 0, or negative errno: the
     * session is not opened. session_close comes once for each session_open that returned
     * 0; no execution is in flight. */
    int (*session_open)(void *self, kiln_session *session, void **state);
    void (*session_close)(void *self, void *state);

    /* [loop] Begins an execution and returns at once; `input` is valid until then. One at
     * a time in a session. 0: host->complete follows, exactly once; negative errno: it did
     * not begin, and nothing follows. */
    int (*execute)(void *self, kiln_ticket ticket, kiln_session *session, void *state,
                   const kiln_input *input);
    /* [loop] Asks a running execution to stop; it still completes, perhaps from within. May
     * come more than once, and for one that has just completed: then it does nothing. The
     * engine kills the session's processes when the grace is over. */
    void (*interrupt)(void *self, kiln_ticket ticket);

    /* since 1.1 */

    /* [loop] With KILN_CAP_FILES, before each execution: sees to it that there is a place
     * where `language` can be run. 0: kiln_files.prepared follows; else negative errno. */
    int (*session_prepare)(void *self, kiln_session *session, void *state, const char *language,
                           const kiln_limits *limits);
    /* [loop] With KILN_CAP_FILES: ends what the execution runs at once, and all that it
     * has started; it still completes. */
    void (*kill)(void *self, kiln_ticket ticket);

    /* [loop] Begins to answer a query (see "queries") and returns at once; no execution
     * is in flight in the session. 0: host->reply follows, exactly once, however late;
     * negative errno: nothing follows; -ENOTSUP: no such query. `interrupt`, where there
     * is one, may be called with its ticket, too. */
    int (*query)(void *self, kiln_ticket ticket, kiln_session *session, void *state,
                 const char *name, const char *arguments, size_t length);
    /* [loop] Optional. Forgets the state of a session and keeps its files; no execution is
     * in flight. Without it: session_close and session_open. 0, or negative errno. */
    int (*session_restart)(void *self, kiln_session *session, void *state);

    /* since 1.2 */

    /* Optional; ended by a NULL name. */
    const kiln_function *functions;

    /* since 1.3 */

    /* [loop] Optional. For `kiln check`, after init, with no session open: begins to find out
     * whether code can be run here, and returns at once. It changes nothing. 0: kiln_checks'
     * calls follow; negative errno: none does. */
    int (*check)(void *self);
} kiln_plugin;

/* ------------------------------------------------------------ entry and note */

#define KILN_PLUGIN_ENTRY "kiln_plugin_entry"
#define KILN_NOTE_NAME    "Kiln"
#define KILN_NOTE_TYPE    1

typedef struct kiln_note {
    uint32_t name_size, desc_size, type;
    char name[8];
    uint32_t abi_major, abi_minor;
} kiln_note;

#if defined(__GNUC__)
#define KILN_EXPORT __attribute__((visibility("default")))
#endif

/* At the end of the plugin's main file: KILN_PLUGIN(the_struct) */
#define KILN_PLUGIN(plugin_struct)                                                             \
    __attribute__((section(".note.kiln"), used,                                                \
                   aligned(4))) static const kiln_note kiln_plugin_note = {                    \
        sizeof(KILN_NOTE_NAME), 2 * sizeof(uint32_t), KILN_NOTE_TYPE,                          \
        KILN_NOTE_NAME,         KILN_ABI_MAJOR,       KILN_ABI_MINOR};                         \
    KILN_EXPORT const kiln_plugin *kiln_plugin_entry(void);                                    \
    KILN_EXPORT const kiln_plugin *kiln_plugin_entry(void)                                     \
    {                                                                                          \
        return &(plugin_struct);                                                               \
    }

/* In the sources of NAME.worker, which is linked with the engine's libkiln.a and
 * standalone_main.o: KILN_WORKER(the_struct) */
#define KILN_WORKER(worker_struct)                                                             \
    const kiln_worker *kiln_worker_entry(void);                                                \
    const kiln_worker *kiln_worker_entry(void)                                                 \
    {                                                                                          \
        return &(worker_struct);                                                               \
    }

#ifdef __cplusplus
}
#endif

#endif
