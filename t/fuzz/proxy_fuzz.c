/* The proxy's request decoder: whatever comes, in whatever pieces, it comes to the same;
 * and what goes on to a server is one request with one Host, whoever reads it. */
#include "network/request.h"

#include <http_parser.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct outcome {
    int rc;
    kiln_buffer out;
    kiln_target target;
    bool has_target, tunnels, complete, chunked;
} outcome;

static void decode(const char *data, size_t size, size_t step, outcome *result)
{
    kiln_proxy_request *request = kiln_proxy_request_new();
    for (size_t at = 0; at < size && result->rc == 0; at += step) {
        kiln_error err = KILN_ERROR_INIT;
        size_t part = size - at < step ? size - at : step;
        char *copy = malloc(part); /* of the exact size, so that one byte too far is seen */
        memcpy(copy, data + at, part);
        result->rc = kiln_proxy_request_feed(request, copy, part, &result->out, &err);
        free(copy);
        if (result->rc < 0 &&
            (err.text[0] == '\0' || strlen(kiln_proxy_request_status(request)) < 5)) {
            abort();
        }
    }
    const kiln_target *target = kiln_proxy_request_target(request);
    if (target != NULL) {
        result->has_target = true;
        result->target = *target;
    }
    result->tunnels = kiln_proxy_request_tunnels(request);
    result->complete = kiln_proxy_request_complete(request);
    kiln_proxy_request_free(request);
}

typedef struct reader {
    unsigned messages, hosts;
    bool in_host;
} reader;

static int on_field(http_parser *parser, const char *at, size_t length)
{
    reader *r = parser->data;
    r->in_host = length == 4 && strncasecmp(at, "host", 4) == 0;
    r->hosts += r->in_host;
    return 0;
}

static int on_message(http_parser *parser)
{
    ((reader *)parser->data)->messages++;
    return 0;
}

/* As a server reads it: to its last byte, and no second request in it. */
static void read_as_server(const outcome *result)
{
    static const http_parser_settings settings = {.on_header_field = on_field,
                                                  .on_message_complete = on_message};
    http_parser parser;
    reader r = {0};
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &r;
    size_t used = http_parser_execute(&parser, &settings, result->out.data, result->out.length);
    if (used != result->out.length || HTTP_PARSER_ERRNO(&parser) != HPE_OK || r.hosts != 1 ||
        r.messages != (result->complete ? 1U : 0U)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    outcome whole = {0};
    outcome pieces = {0};
    if (size < 1) {
        return 0;
    }
    size_t step = 1 + data[0] % 64;
    decode((const char *)data + 1, size - 1, size, &whole);
    decode((const char *)data + 1, size - 1, step, &pieces);
    if ((whole.rc < 0) != (pieces.rc < 0) || whole.tunnels != pieces.tunnels ||
        whole.complete != pieces.complete || whole.has_target != pieces.has_target) {
        abort();
    }
    if (whole.has_target && (whole.target.port != pieces.target.port ||
                             strcmp(whole.target.host, pieces.target.host) != 0)) {
        abort();
    }
    if (whole.rc == 0 && !whole.tunnels && whole.has_target) {
        read_as_server(&whole);
        read_as_server(&pieces);
    }
    if (!whole.has_target && whole.out.length > 0) {
        abort(); /* for nobody */
    }
    kiln_buffer_free(&whole.out);
    kiln_buffer_free(&pieces.out);
    return 0;
}
