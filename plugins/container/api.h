/* api.h - calls of the Docker Engine API (docs.docker.com/reference/api/engine), which
 * Podman serves, too. Paths carry no version: each engine takes them as its newest. */
#ifndef KILN_CONTAINER_API_H
#define KILN_CONTAINER_API_H

#include "backend.h"
#include "http.h"

#include <jansson.h>

typedef struct api_reply {
    int status;        /* of HTTP; 0: there was no answer */
    json_t *json;      /* borrowed; NULL: the body is none, or empty */
    const char *error; /* one line: "POST /containers/x/start: 404: no such container"; NULL
                          when the status is 2xx or 304 */
} api_reply;

typedef void api_done(void *user, const api_reply *reply);
typedef struct api_call api_call;

/* `done` once, not from within; not after api_cancel. `body` is consumed, NULL: none.
 * NULL: out of memory, and done is not called. */
api_call *api_start(backend *self, const char *method, const char *path, json_t *body,
                    uint64_t timeout_ms, api_done *done, void *user);
void api_cancel(api_call *call);

/* The error line for an answer: `what` is the request. "" when it is none. */
void api_explain(const backend *self, const char *what, const http_answer *answer, char *text,
                 size_t size);

#endif
