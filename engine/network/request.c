#include "network/request.h"

#include "base/cleanup.h"

#include <errno.h>
#include <http_parser.h>
#include <string.h>
#include <strings.h>

enum {
    HTTP_PORT = 80,
};

typedef struct field {
    size_t name, value; /* offsets into text, NUL-terminated there */
} field;

struct kiln_proxy_request {
    http_parser parser;
    kiln_buffer url;
    kiln_buffer text; /* names and values, one NUL behind each */
    field fields[KILN_REQUEST_FIELDS_MAX];
    size_t field_count;
    bool in_value;
    size_t head_bytes;
    bool head_complete;
    bool complete;
    bool chunked;
    kiln_target target;
    const char *status;
    kiln_buffer *out; /* of the feed that runs */
    kiln_error *err;
};

static const char bad_request[] = "400 Bad Request";

static int refuse(kiln_proxy_request *request, const char *status, const char *what)
{
    request->status = status;
    kiln_error_set(request->err, EPROTO, "%s", what);
    return -1;
}

static int append(kiln_proxy_request *request, kiln_buffer *buffer, const void *data,
                  size_t length)
{
    return kiln_buffer_append(buffer, data, length) < 0
               ? refuse(request, "500 Internal Server Error", "out of memory")
               : 0;
}

/* ---- fields */

static const char *name_of(const kiln_proxy_request *request, size_t i)
{
    return request->text.data + request->fields[i].name;
}

static const char *value_of(const kiln_proxy_request *request, size_t i)
{
    return request->text.data + request->fields[i].value;
}

/* The only field of this name; *count says how many there are. "" for none. */
static const char *only(const kiln_proxy_request *request, const char *name, size_t *count)
{
    const char *found = "";
    *count = 0;
    for (size_t i = 0; i < request->field_count; i++) {
        if (strcasecmp(name_of(request, i), name) == 0) {
            found = value_of(request, i);
            ++*count;
        }
    }
    return found;
}

/* RFC 9110 section 5.6.2. */
static bool is_token(const char *text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    if (*text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        bool letter = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                      (*text >= '0' && *text <= '9');
        if (!letter && strchr(others, *text) == NULL) {
            return false;
        }
    }
    return true;
}

/* No control character but tab: NUL, CR and LF are where readers differ. */
static bool is_value(const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

/* Is `name` among the words of a Connection field? */
static bool is_named(const kiln_proxy_request *request, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < request->field_count; i++) {
        if (strcasecmp(name_of(request, i), "Connection") != 0 &&
            strcasecmp(name_of(request, i), "Proxy-Connection") != 0) {
            continue;
        }
        for (const char *at = value_of(request, i); *at != '\0';) {
            at += strspn(at, " \t,");
            size_t word = strcspn(at, " \t,");
            if (word == length && strncasecmp(at, name, length) == 0) {
                return true;
            }
            at += word;
        }
    }
    return false;
}

/* What is between us and the client, or written anew. */
static bool is_ours(const kiln_proxy_request *request, size_t i)
{
    static const char *const names[] = {
        "Host",
        "Connection",
        "Proxy-Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Transfer-Encoding",
        "Content-Length",
        "Proxy-Authorization",
        "Proxy-Authenticate",
        "HTTP2-Settings",
    };
    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
        if (strcasecmp(name_of(request, i), names[k]) == 0) {
            return true;
        }
    }
    return is_named(request, name_of(request, i));
}

/* ---- the head */

static int check_fields(kiln_proxy_request *request)
{
    for (size_t i = 0; i < request->field_count; i++) {
        if (!is_token(name_of(request, i)) || !is_value(value_of(request, i))) {
            return refuse(request, bad_request, "malformed header field");
        }
    }
    return 0;
}

/* The length of the body has one reading, or there is no body. */
static int check_framing(kiln_proxy_request *request)
{
    size_t lengths, encodings;
    const char *length = only(request, "Content-Length", &lengths);
    const char *encoding = only(request, "Transfer-Encoding", &encodings);
    if (lengths > 1 || (lengths > 0 && encodings > 0) ||
        (lengths == 1 && (*length == '\0' || length[strspn(length, "0123456789")] != '\0'))) {
        return refuse(request, bad_request, "the length of the request's body is ambiguous");
    }
    if (encodings > 1 || (encodings == 1 && strcasecmp(encoding, "chunked") != 0)) {
        return refuse(request, "501 Not Implemented",
                      "Transfer-Encoding may only be \"chunked\"");
    }
    request->chunked = encodings == 1;
    if (request->chunked && request->parser.http_minor == 0) {
        return refuse(request, bad_request, "HTTP/1.0 knows no Transfer-Encoding");
    }
    if (request->parser.method == HTTP_CONNECT && (lengths > 0 || encodings > 0)) {
        return refuse(request, bad_request, "CONNECT has no body");
    }
    /* The parser, which reads the body, must have read the same. */
    bool parser_chunks = (request->parser.flags & F_CHUNKED) != 0;
    uint64_t expected = lengths == 1 ? strtoull(length, NULL, 10) : UINT64_MAX;
    if (parser_chunks != request->chunked ||
        (!request->chunked && request->parser.content_length != expected)) {
        return refuse(request, bad_request, "the length of the request's body is ambiguous");
    }
    return 0;
}

static int check_host(kiln_proxy_request *request)
{
    size_t count;
    const char *host = only(request, "Host", &count);
    kiln_target named;
    kiln_error why = KILN_ERROR_INIT;
    if (count > 1 || (count == 0 && request->parser.http_minor > 0)) {
        return refuse(request, bad_request, "one Host field is needed");
    }
    if (count == 0) {
        return 0;
    }
    if (kiln_target_parse(&named, host, strlen(host), HTTP_PORT, &why) < 0 ||
        named.port != request->target.port || strcmp(named.host, request->target.host) != 0) {
        return refuse(request, bad_request, "the Host field names another host than the URL");
    }
    return 0;
}

static int check_url_characters(kiln_proxy_request *request)
{
    const kiln_buffer *url = &request->url;
    for (size_t i = 0; i < url->length; i++) {
        if (url->data[i] <= 0x20 || url->data[i] >= 0x7f) {
            return refuse(request, bad_request, "malformed URL");
        }
    }
    return url->length > 0 ? 0 : refuse(request, bad_request, "malformed URL");
}

static int set_target(kiln_proxy_request *request, int rc, const kiln_error *why)
{
    return rc < 0 ? refuse(request, bad_request, why->text) : 0;
}

/* http://HOST[:PORT]/PATH?QUERY. *path is what stands behind the authority. */
static int split_url(kiln_proxy_request *request, const char **path, size_t *length)
{
    static const char scheme[] = "http://";
    const char *url = request->url.data;
    kiln_error why = KILN_ERROR_INIT;
    if (strncasecmp(url, scheme, sizeof(scheme) - 1) != 0) {
        return refuse(request, bad_request,
                      "only http:// URLs and CONNECT are served by this proxy");
    }
    url += sizeof(scheme) - 1;
    size_t authority = strcspn(url, "/?#");
    if (memchr(url, '@', authority) != NULL) {
        return refuse(request, bad_request, "a URL with a user name is not served");
    }
    *path = url + authority;
    *length = strcspn(*path, "#");
    return set_target(
        request, kiln_target_parse(&request->target, url, authority, HTTP_PORT, &why), &why);
}

static int write_head(kiln_proxy_request *request, const char *path, size_t path_length)
{
    auto_buffer kiln_buffer head = KILN_BUFFER_INIT;
    const http_parser *parser = &request->parser;
    char host[KILN_TARGET_TEXT];
    kiln_target_text(&request->target, host);
    if (request->target.port == HTTP_PORT) {
        *strrchr(host, ':') = '\0';
    }
    int rc = kiln_buffer_printf(&head, "%s %s%.*s HTTP/1.%d\r\nHost: %s\r\n",
                                http_method_str((enum http_method)parser->method),
                                path_length == 0 || *path != '/' ? "/" : "", (int)path_length,
                                path, parser->http_minor, host);
    for (size_t i = 0; rc >= 0 && i < request->field_count; i++) {
        if (!is_ours(request, i)) {
            rc = kiln_buffer_printf(&head, "%s: %s\r\n", name_of(request, i),
                                    value_of(request, i));
        }
    }
    size_t lengths;
    const char *length = only(request, "Content-Length", &lengths);
    if (rc >= 0 && lengths == 1) {
        rc = kiln_buffer_printf(&head, "Content-Length: %s\r\n", length);
    }
    if (rc >= 0 && request->chunked) {
        rc = kiln_buffer_printf(&head, "Transfer-Encoding: chunked\r\n");
    }
    if (rc >= 0) {
        rc = kiln_buffer_printf(&head, "Connection: close\r\n\r\n");
    }
    if (rc < 0) {
        return refuse(request, "500 Internal Server Error", "out of memory");
    }
    return append(request, request->out, head.data, head.length);
}

static int take_head(kiln_proxy_request *request)
{
    const http_parser *parser = &request->parser;
    if (parser->http_major != 1 || parser->http_minor > 1) {
        return refuse(request, "505 HTTP Version Not Supported", "only HTTP/1.0 and HTTP/1.1");
    }
    if (check_fields(request) < 0 || check_framing(request) < 0 ||
        check_url_characters(request) < 0) {
        return -1;
    }
    if (parser->method == HTTP_CONNECT) {
        kiln_error why = KILN_ERROR_INIT;
        return set_target(request,
                          kiln_target_parse(&request->target, request->url.data,
                                            request->url.length, 0, &why),
                          &why);
    }
    const char *path;
    size_t length;
    if (split_url(request, &path, &length) < 0 || check_host(request) < 0) {
        return -1;
    }
    return write_head(request, path, length);
}

/* ---- what http-parser calls; other than 0 stops it */

static int on_url(http_parser *parser, const char *at, size_t length)
{
    kiln_proxy_request *request = parser->data;
    return append(request, &request->url, at, length);
}

static int on_field(http_parser *parser, const char *at, size_t length)
{
    kiln_proxy_request *request = parser->data;
    if (request->head_complete) {
        return 0; /* a trailer: dropped */
    }
    if (request->in_value || request->field_count == 0) {
        if (request->field_count == KILN_REQUEST_FIELDS_MAX) {
            return refuse(request, "431 Request Header Fields Too Large",
                          "too many header fields");
        }
        if (request->field_count > 0 && append(request, &request->text, "", 1) < 0) {
            return -1;
        }
        request->fields[request->field_count++].name = request->text.length;
        request->in_value = false;
    }
    if (memchr(at, '\0', length) != NULL) {
        return refuse(request, bad_request, "malformed header field");
    }
    return append(request, &request->text, at, length);
}

static int on_value(http_parser *parser, const char *at, size_t length)
{
    kiln_proxy_request *request = parser->data;
    if (request->head_complete) {
        return 0;
    }
    if (!request->in_value) {
        if (append(request, &request->text, "", 1) < 0) {
            return -1;
        }
        request->fields[request->field_count - 1].value = request->text.length;
        request->in_value = true;
    }
    if (length > 0 && memchr(at, '\0', length) != NULL) {
        return refuse(request, bad_request, "malformed header field");
    }
    return append(request, &request->text, at, length);
}

static int on_headers_complete(http_parser *parser)
{
    kiln_proxy_request *request = parser->data;
    if (take_head(request) < 0) {
        return -1;
    }
    request->head_complete = true;
    /* Never mind an Upgrade: it is not passed on, and no response comes through here. */
    parser->upgrade = parser->method == HTTP_CONNECT;
    return 0;
}

static int on_body(http_parser *parser, const char *at, size_t length)
{
    kiln_proxy_request *request = parser->data;
    if (!request->chunked) {
        return append(request, request->out, at, length);
    }
    /* A chunk may come in parts; each goes on as a chunk of its own. */
    if (length == 0) {
        return 0;
    }
    return kiln_buffer_printf(request->out, "%zx\r\n", length) < 0
               ? refuse(request, "500 Internal Server Error", "out of memory")
           : append(request, request->out, at, length) < 0
               ? -1
               : append(request, request->out, "\r\n", 2);
}

static int on_message_complete(http_parser *parser)
{
    kiln_proxy_request *request = parser->data;
    if (parser->method == HTTP_CONNECT) {
        return 0;
    }
    request->complete = true;
    if (request->chunked && append(request, request->out, "0\r\n\r\n", 5) < 0) {
        return -1;
    }
    http_parser_pause(parser, 1); /* what follows is nobody's */
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- */

kiln_proxy_request *kiln_proxy_request_new(void)
{
    kiln_proxy_request *request = calloc(1, sizeof(*request));
    if (request != NULL) {
        http_parser_init(&request->parser, HTTP_REQUEST);
        request->parser.data = request;
        request->status = bad_request;
    }
    return request;
}

void kiln_proxy_request_free(kiln_proxy_request *request)
{
    if (request != NULL) {
        kiln_buffer_free(&request->url);
        kiln_buffer_free(&request->text);
        free(request);
    }
}

static int parse(kiln_proxy_request *request, const char *data, size_t length, size_t *used)
{
    *used = http_parser_execute(&request->parser, &settings, data, length);
    enum http_errno failure = HTTP_PARSER_ERRNO(&request->parser);
    if (failure == HPE_OK || (failure == HPE_PAUSED && request->complete)) {
        return 0;
    }
    if (request->err->code == 0) {
        request->status = failure == HPE_INVALID_METHOD ? "501 Not Implemented" : bad_request;
        kiln_error_set(request->err, EPROTO, "not an HTTP request: %s",
                       http_errno_description(failure));
    }
    return request->err->code;
}

int kiln_proxy_request_feed(kiln_proxy_request *request, const char *data, size_t length,
                            kiln_buffer *out, kiln_error *err)
{
    size_t used = 0;
    int rc = 0;
    request->out = out;
    request->err = err;
    err->code = 0;
    err->text[0] = '\0';
    if (!request->head_complete) {
        /* Bounded here as well as by http-parser, whose bound is all programs' and is
         * reset with each line. A head's last piece may bring some of the body along. */
        size_t room = KILN_REQUEST_HEAD_MAX - request->head_bytes;
        size_t part = length < room ? length : room;
        rc = parse(request, data, part, &used);
        request->head_bytes += part;
        if (rc == 0 && !request->head_complete &&
            request->head_bytes == KILN_REQUEST_HEAD_MAX) {
            request->status = "431 Request Header Fields Too Large";
            return kiln_error_set(err, E2BIG, "the head of the request is larger than %d bytes",
                                  KILN_REQUEST_HEAD_MAX);
        }
    }
    if (rc < 0 || used == length || !request->head_complete) {
        return rc;
    }
    if (kiln_proxy_request_tunnels(request)) {
        rc = append(request, out, data + used, length - used);
    } else if (!request->complete) {
        rc = parse(request, data + used, length - used, &used);
    }
    return rc < 0 ? err->code : 0;
}

const kiln_target *kiln_proxy_request_target(const kiln_proxy_request *request)
{
    return request->head_complete ? &request->target : NULL;
}

bool kiln_proxy_request_tunnels(const kiln_proxy_request *request)
{
    return request->head_complete && request->parser.method == HTTP_CONNECT;
}

bool kiln_proxy_request_complete(const kiln_proxy_request *request)
{
    return request->complete;
}

const char *kiln_proxy_request_status(const kiln_proxy_request *request)
{
    return request->status;
}
