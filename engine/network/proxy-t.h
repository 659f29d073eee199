/* proxy-t.h - what proxy.c, connection.c and relay.c share; nobody else includes it. */
#ifndef KILN_NETWORK_PROXY_T_H
#define KILN_NETWORK_PROXY_T_H

#include "base/buffer.h"
#include "network/decisions.h"
#include "network/proxy.h"
#include "network/request.h"
#include "worker/poll.h"

typedef struct kiln_connection kiln_connection;
typedef struct kiln_lookup kiln_lookup;

struct kiln_proxy {
    uv_loop_t *loop;
    int listener;
    kiln_poll *listener_poll;
    kiln_alarm *pause; /* accepting goes on when it fires */
    const kiln_allow_list *allow;
    kiln_proxy_limits limits;
    kiln_connection *connections;
    unsigned count;
    kiln_decisions decisions;
};

typedef enum kiln_connection_state {
    KILN_CONNECTION_HEAD,    /* the request is read */
    KILN_CONNECTION_LOOKUP,  /* its name is looked up */
    KILN_CONNECTION_CONNECT, /* the server is connected to */
    KILN_CONNECTION_RELAY,   /* bytes go both ways */
    KILN_CONNECTION_LINGER,  /* the answer is ours or complete: only the end is awaited */
} kiln_connection_state;

enum { KILN_ADDRESSES_MAX = 8 };

/* One end of a connection, and what waits to be sent to it. While something waits, the
 * other end is not read: that is all the back pressure there is. */
typedef struct kiln_end {
    int fd;
    kiln_poll *poll;
    kiln_buffer waiting;
    bool read_end; /* it said its end */
    bool shut;     /* we said ours */
    bool deaf;     /* it takes no more: what is meant for it is dropped */
} kiln_end;

struct kiln_connection {
    kiln_proxy *proxy;
    kiln_connection *next, *previous;
    kiln_connection_state state;
    kiln_end client, server;
    kiln_alarm *alarm;
    kiln_proxy_request *request;
    kiln_lookup *lookup;                                   /* in flight */
    struct sockaddr_storage addresses[KILN_ADDRESSES_MAX]; /* checked, with their port */
    int address_count, address_next;
    bool answered; /* the server has said something */
};

/* ---- connection.c */

/* Owns fd. NULL: out of memory, and fd is closed. */
kiln_connection *kiln_connection_new(kiln_proxy *proxy, int fd);
void kiln_connection_close(kiln_connection *connection);
/* Says no to the client and lingers; `why` is shown to it. */
void kiln_connection_answer(kiln_connection *connection, const char *status, const char *why);
/* Ends it well: what waits for the client is sent, then the connection is closed. */
void kiln_connection_linger(kiln_connection *connection);

/* ---- relay.c */

/* Moves what can be moved in either direction. May close the connection. */
void kiln_connection_relay(kiln_connection *connection);
/* Sends what waits. False: the end is broken. */
bool kiln_end_flush(kiln_end *end);
/* Says our end to it once nothing waits. */
void kiln_end_shut(kiln_end *end);
void kiln_end_close(kiln_end *end);

/* ---- proxy.c */

void kiln_proxy_connection_came(kiln_connection *connection);
void kiln_proxy_connection_gone(kiln_connection *connection);

#endif
