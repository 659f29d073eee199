/* proxy.h - what a session with [sandbox] network = proxy reaches, it reaches through
 * here. Thread: loop.
 *
 * The session's supervisor listens in the session's own network namespace and hands
 * the listening socket to the engine, which accepts from it: there is no relay process,
 * and nothing of the host's inside. The engine resolves names, checks every address and
 * connects in its own network. It never blocks, and never runs a user's code. */
#ifndef KILN_NETWORK_PROXY_H
#define KILN_NETWORK_PROXY_H

#include "base/error.h"
#include "network/target.h"

#include <stdint.h>
#include <uv.h>

typedef struct kiln_proxy kiln_proxy; /* one a session's sandbox */

/* 0: the default. */
typedef struct kiln_proxy_limits {
    unsigned connections;    /* at a time; more wait in the socket's backlog */
    uint64_t head_ms;        /* from accept to the end of the request's head */
    uint64_t connect_ms;     /* look-up and connecting together */
    uint64_t idle_ms;        /* without a byte in either direction */
    uint64_t half_closed_ms; /* the same once one side has said its end */
} kiln_proxy_limits;

/* Owns `listener` on success and failure. `allow` is borrowed for life. */
int kiln_proxy_new(uv_loop_t *loop, int listener, const kiln_allow_list *allow,
                   const kiln_proxy_limits *limits, kiln_proxy **proxy, kiln_error *err);
/* Closes every connection and frees. */
void kiln_proxy_free(kiln_proxy *proxy);
/* Closes every connection: the processes that had them are gone. */
void kiln_proxy_disconnect(kiln_proxy *proxy);
/* Hands over what was allowed ("connect") and refused ("refused") since the last call:
 * the first 100 different ones, then a count. Strings are borrowed. */
void kiln_proxy_report(kiln_proxy *proxy,
                       void (*decision)(void *user, const char *action, const char *detail),
                       void *user);

#endif
