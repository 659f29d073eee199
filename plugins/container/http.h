/* http.h - one request to the container engine over its Unix socket, and its answer; or,
 * when the engine agrees to it, a raw stream in both directions (attach, exec).
 *
 * http_parser parses. One connection a request: what a Unix socket saves by being kept is
 * less than the trouble of a stale one. Nothing blocks but http_finish. */
#ifndef KILN_CONTAINER_HTTP_H
#define KILN_CONTAINER_HTTP_H

#include "backend.h"

typedef struct http http;

typedef struct http_answer {
    int status;        /* 0: there was none, `error` says why in one line */
    const char *error; /* NULL with a status; but "closed" and the like may come after it */
    const char *body;  /* collected, NUL-terminated; "" where on_data took it */
    size_t length;
} http_answer;

typedef struct http_request {
    const char *method;
    const char *path; /* with its query, encoded */
    const char *body; /* or NULL */
    size_t body_length;
    const char *body_type; /* NULL: application/json */
    const char *header;    /* one more "Name: value", or NULL */
    uint64_t timeout_ms;   /* for each step: connecting, an answer, its next bytes; 0: none */
    bool upgrade;          /* asks for a raw stream */
    void *user;
    /* Bytes of a body with a status of 2xx, or of a raw stream. NULL: they are collected,
     * at most BODY_MAX. May call http_cancel. */
    void (*on_data)(void *user, const char *data, size_t length);
    /* The raw stream is there: http_write may be called. */
    void (*on_stream)(void *user);
    /* Once, last; the request is freed after it. Not after http_cancel. */
    void (*on_end)(void *user, const http_answer *answer);
} http_request;

/* NULL: out of memory; on_end is not called then. Never calls back from within. */
http *http_send(backend *self, const http_request *request);
/* Ends it without on_end; NULL is nothing. */
void http_cancel(http *request);
/* Bytes into a raw stream, queued as long as the engine does not take them. */
int http_write(http *request, const char *data, size_t length);
/* No more will be written: the other side sees the end of its input. */
void http_end_input(http *request);
/* Blocks while `wanted` says so, at most until the deadline: for fini, where no loop runs. */
void http_finish(backend *self, bool (*wanted)(backend *self), uint64_t milliseconds);

/* Appends text to a path's query, percent-encoded; false: it does not fit. */
bool http_encode(char *path, size_t size, const char *text);

#endif
