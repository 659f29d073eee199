/* request.h - decodes what a client says to the proxy: one request, CONNECT or plain
 * HTTP in absolute form (RFC 9112 section 3.2), and nothing after it.
 *
 * http-parser reads; what goes on to the server is written anew from what was read, so
 * that no server can read another request out of the same bytes. Debian's http-parser
 * is built without its strict mode: whatever that would refuse is refused here. */
#ifndef KILN_NETWORK_REQUEST_H
#define KILN_NETWORK_REQUEST_H

#include "base/buffer.h"
#include "base/error.h"
#include "network/target.h"

#include <stdbool.h>

enum {
    KILN_REQUEST_HEAD_MAX = 32 << 10, /* bytes, request line included */
    KILN_REQUEST_FIELDS_MAX = 128,
};

typedef struct kiln_proxy_request kiln_proxy_request;

/* NULL: out of memory. */
kiln_proxy_request *kiln_proxy_request_new(void);
void kiln_proxy_request_free(kiln_proxy_request *request);

/* Takes bytes (1 or more) as they come from the client, and appends what is to go to the
 * server. 0; negative: the request is refused or not understood, kiln_proxy_request_status
 * tells the answer, and no more may be fed. */
int kiln_proxy_request_feed(kiln_proxy_request *request, const char *data, size_t length,
                            kiln_buffer *out, kiln_error *err);
/* The target once the head is complete, else NULL. */
const kiln_target *kiln_proxy_request_target(const kiln_proxy_request *request);
/* CONNECT: what is fed behind the head goes on as it is. */
bool kiln_proxy_request_tunnels(const kiln_proxy_request *request);
/* Plain HTTP: head and body have been read; what is fed from now on is dropped. */
bool kiln_proxy_request_complete(const kiln_proxy_request *request);
/* "400 Bad Request", for what was refused. */
const char *kiln_proxy_request_status(const kiln_proxy_request *request);

#endif
