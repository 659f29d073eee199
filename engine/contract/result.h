/* result.h - what happened: an ordered log of outputs, and a summary of it.
 *
 * Reference-counted; immutable once the execution has ended. Thread: loop.
 * Shape in JSON: DESIGN "Result". */
#ifndef KILN_CONTRACT_RESULT_H
#define KILN_CONTRACT_RESULT_H

#include "base/buffer.h"
#include "base/error.h"

#include <jansson.h>
#include <kiln/plugin.h>
#include <stdbool.h>
#include <time.h>

typedef struct kiln_result {
    unsigned references;
    char *session_id;
    char *execution_id;
    char *cell_id; /* or NULL */
    uint64_t execution_count;
    char *language;
    char *backend; /* or NULL: none was chosen */
    kiln_status status;
    bool has_exit_code;
    int exit_code;
    int signal;                 /* 0: none */
    struct timespec started_at; /* CLOCK_REALTIME */
    double duration_ms;
    json_t *outputs;       /* array, in order */
    uint64_t truncated[3]; /* bytes dropped, by kiln_stream; [0]: display data */
    json_t *output_files;  /* array */
    json_t *errors;        /* array of {kind,name,message,traceback} */
    json_t *decisions;     /* array of {policy,action,detail} */
    double cpu_ms;         /* < 0: unknown */
    uint64_t max_rss_bytes;
    uint64_t processes;  /* most at one time, of the session so far; 0: unknown */
    uint64_t disk_bytes; /* in the session's file system, at the end */
    bool has_disk;
    double compile_ms; /* < 0: no compile phase */
    bool streamed;     /* the caller has had the outputs as they came; not in JSON */
} kiln_result;

/* One reference, status unavailable; NULL: out of memory. */
kiln_result *kiln_result_new(void);
kiln_result *kiln_result_ref(kiln_result *result);
void kiln_result_unref(kiln_result *result);

const char *kiln_status_name(kiln_status status);
/* -EINVAL: no such status. */
int kiln_status_from_name(const char *name, kiln_status *status);
/* "user", "limit", "policy", "system", or NULL for ok and skipped. */
const char *kiln_status_error_kind(kiln_status status);
static inline bool kiln_result_success(const kiln_result *result)
{
    return result->status == KILN_STATUS_OK;
}

/* Appends to errors; traceback (array, borrowed) may be NULL. 0 or -ENOMEM. */
int kiln_result_add_error(kiln_result *result, const char *kind, const char *name,
                          const char *message, json_t *traceback);
/* Appends to decisions. */
int kiln_result_add_decision(kiln_result *result, const char *policy, const char *action,
                             const char *detail);

/* All text of one stream, joined; appended to `text`. */
int kiln_result_stream(const kiln_result *result, kiln_stream stream, kiln_buffer *text);
/* "2026-11-22T20:00:00.123Z", or null for no time. New reference. */
json_t *kiln_time_to_json(const struct timespec *at);
/* New reference, the exact shape of the design. NULL: out of memory. */
json_t *kiln_result_to_json(const kiln_result *result);
/* The reverse, for tests' fake backends: missing keys get neutral values. */
int kiln_result_from_json(const json_t *json, kiln_result **result, kiln_error *err);

/* ---- the log of one running execution -> outputs */

enum { KILN_OUTPUTS_MAX = 10000 };
typedef struct kiln_output_log kiln_output_log;

/* Writes into result->outputs and ->truncated; keeps at most `limit` bytes a
 * stream, four times as much of display data, and KILN_OUTPUTS_MAX entries: past
 * those a stream's text goes on in one last entry of its own, out of order but not
 * lost. Borrowed result. */
kiln_output_log *kiln_output_log_new(kiln_result *result, uint64_t limit);
/* Bytes as they come; characters cut between two calls are put together, what
 * is not UTF-8 becomes U+FFFD; neighbours of the same stream become one output.
 * Returns what was accepted as text through `text` (may be NULL; borrowed until
 * the next call) so that a caller can stream it on. */
int kiln_output_log_stream(kiln_output_log *log, kiln_stream stream, const char *data,
                           size_t length, const char **text, size_t *text_length);
/* Display, result, error, update, clear: checked against the shape of plugin.h;
 * -EINVAL: not that shape (err says what); nothing is added. */
int kiln_output_log_event(kiln_output_log *log, const kiln_event *event, kiln_error *err);
/* Flushes cut characters and frees the log. */
void kiln_output_log_close(kiln_output_log *log);

#endif
