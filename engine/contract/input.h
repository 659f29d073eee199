/* input.h - CodeExecutionInput: what is to be run.
 *
 * Owner: whoever holds the pointer; every string and array is the input's own.
 * Thread: one at a time. Shape in JSON: DESIGN "Input". */
#ifndef KILN_CONTRACT_INPUT_H
#define KILN_CONTRACT_INPUT_H

#include "base/error.h"

#include <jansson.h>
#include <kiln/plugin.h>
#include <stddef.h>

enum {
    KILN_CODE_MAX = 64 << 20, /* bytes of code */
    KILN_NAME_MAX = 1024,     /* bytes of a file's name, path included */
    KILN_ARGS_MAX = 4096,     /* entries of args and of env */
};

typedef struct kiln_input_file {
    char *name;      /* one relative path inside the work directory */
    char *path;      /* where the engine reads it, or NULL */
    char *content;   /* bytes, or NULL when path is set */
    size_t length;   /* bytes of content */
    char *mime_type; /* or NULL */
} kiln_input_file;

typedef struct kiln_request {
    char *session_id; /* or NULL: a session of its own */
    char *code;       /* UTF-8, NUL-terminated */
    size_t code_length;
    kiln_input_file *input_files;
    size_t input_file_count;
    char *cell_id;    /* or NULL */
    char *language;   /* never NULL; default "python" */
    char *stdin_data; /* bytes, or NULL */
    size_t stdin_length;
    char **args;        /* NULL-terminated, never NULL */
    char **env;         /* "NAME=value", NULL-terminated, never NULL */
    char *backend;      /* a wish, or NULL */
    char *chain;        /* of policies, or NULL: the default */
    kiln_limits limits; /* timeout_ms included; 0: not asked */
    bool transaction;   /* what fails leaves the session as it was */
} kiln_request;

/* NULL: out of memory. */
kiln_request *kiln_request_new(void);
kiln_request *kiln_request_copy(const kiln_request *request);
void kiln_request_free(kiln_request *request);
/* Setters copy; `value` may be NULL where the field may. 0 or -ENOMEM. */
int kiln_request_set_code(kiln_request *request, const char *code, size_t length);
int kiln_request_set_stdin(kiln_request *request, const char *data, size_t length);
int kiln_request_set_string(char **field, const char *value);
int kiln_request_add_arg(kiln_request *request, const char *arg);
int kiln_request_add_env(kiln_request *request, const char *assignment);
/* `path` is opened later, when the session has a work directory; or content. */
int kiln_request_add_file(kiln_request *request, const char *name, const char *path,
                          const void *content, size_t length, const char *mime_type);

/* Everything that can be refused before anything runs: NUL or bad UTF-8 in the
 * code, its size, names that are absolute, climb, are over-long, hold NUL or a
 * duplicate, malformed env. -EINVAL or -E2BIG with what and where. */
int kiln_request_validate(const kiln_request *request, kiln_error *err);
/* One relative path without "", ".", "..", NUL; at most KILN_NAME_MAX. */
int kiln_file_name_check(const char *name, kiln_error *err);

/* The JSON shape of the design; unknown keys and wrong types are refused. */
int kiln_request_from_json(const json_t *json, kiln_request **request, kiln_error *err);
/* New reference; input file contents are left out (name, path, mime_type, size stay). */
json_t *kiln_request_to_json(const kiln_request *request);

/* limits{} alone: cpu, memory, processes, output, disk, files, open_files,
 * file_size, cpus; numbers in milliseconds and bytes, cpus with decimals. */
int kiln_limits_from_json(const json_t *json, kiln_limits *limits, kiln_error *err);
json_t *kiln_limits_to_json(const kiln_limits *limits);
/* Each limit becomes the smaller of both, 0 counting as none. Calls `clamped`
 * (may be NULL) for each that `limits` asked above `ceiling`. */
void kiln_limits_min(kiln_limits *limits, const kiln_limits *ceiling,
                     void (*clamped)(void *user, const char *name, uint64_t asked,
                                     uint64_t given),
                     void *user);

#endif
