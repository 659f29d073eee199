#include "http.h"

#include <errno.h>
#include <http_parser.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    BODY_MAX = 8 << 20,    /* of an answer that is collected */
    QUEUE_MAX = 256 << 20, /* bytes that the engine has not taken: a large input */
    READ_BYTES = 64 << 10,
    READS_A_TURN = 8,
    CONNECT_AGAIN_MS = 20, /* its backlog is full */
};

typedef enum http_state {
    HTTP_CONNECTING,
    HTTP_OPEN,
    HTTP_STREAM, /* raw, both ways */
} http_state;

struct http {
    http *next, **place;
    backend *self;
    http_request request; /* method, path, body, header: used up */
    http_state state;
    int fd;
    int watched; /* events of `watch` */
    kiln_watch *watch;
    kiln_timer *timer;  /* the deadline of this step, or the next attempt to connect */
    kiln_timer *ending; /* for an end that was found in http_send */
    http_parser parser;
    char field[24]; /* the header's name, as far as it fits */
    size_t field_length;
    bool in_value;
    bool is_podman; /* as its headers say */
    int status;
    bool complete;  /* the whole answer is there */
    bool refused;   /* the parser was stopped by ours: `error` is set */
    bool end_input; /* shutdown when the queue is empty */
    bool end_input_done;
    bool cancelled;
    unsigned busy;
    char *out; /* queue */
    size_t out_length, out_at, out_capacity;
    char *body;
    size_t body_length, body_capacity;
    char error[400];
};

static void arm(http *request);

/* ---- the end */

static void destroy(http *request)
{
    const kiln_host *host = request->self->host;
    *request->place = request->next;
    if (request->next != NULL) {
        request->next->place = request->place;
    }
    host->unwatch(host, request->watch);
    if (request->timer != NULL) {
        host->cancel(host, request->timer);
    }
    if (request->ending != NULL) {
        host->cancel(host, request->ending);
    }
    if (request->fd >= 0) {
        close(request->fd);
    }
    free(request->out);
    free(request->body);
    free(request);
}

static bool leave(http *request)
{
    if (--request->busy == 0 && request->cancelled) {
        destroy(request);
        return false;
    }
    return !request->cancelled;
}

void http_cancel(http *request)
{
    if (request == NULL || request->cancelled) {
        return;
    }
    request->cancelled = true;
    if (request->busy == 0) {
        destroy(request);
    }
}

static void finish(http *request)
{
    if (request->cancelled) {
        return;
    }
    const http_answer answer = {
        .status = request->status,
        .error = request->error[0] != '\0' ? request->error : NULL,
        .body = request->body != NULL ? request->body : "",
        .length = request->body_length,
    };
    request->busy++;
    request->request.on_end(request->request.user, &answer);
    request->cancelled = true;
    leave(request);
}

__attribute__((format(printf, 2, 3))) static void fail(http *request, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(request->error, sizeof(request->error), format, arguments);
    va_end(arguments);
    if (!request->complete && request->state != HTTP_STREAM) {
        request->status = 0; /* half an answer is none */
    }
    finish(request);
}

/* ---- the answer */

static int append(char **data, size_t *length, size_t *capacity, const char *more, size_t count)
{
    if (*length + count + 1 > *capacity) {
        size_t wanted = (*length + count + 1) * 2;
        char *grown = realloc(*data, wanted);
        if (grown == NULL) {
            return -ENOMEM;
        }
        *data = grown;
        *capacity = wanted;
    }
    memcpy(*data + *length, more, count);
    *length += count;
    (*data)[*length] = '\0';
    return 0;
}

static int on_body(http_parser *parser, const char *data, size_t length)
{
    http *request = parser->data;
    if (request->request.on_data != NULL && parser->status_code / 100 == 2) {
        request->request.on_data(request->request.user, data, length);
        return request->cancelled;
    }
    if (request->body_length + length > BODY_MAX) {
        snprintf(request->error, sizeof(request->error), "its answer is longer than %d MB",
                 BODY_MAX >> 20);
        request->refused = true;
        return 1;
    }
    return append(&request->body, &request->body_length, &request->body_capacity, data,
                  length) < 0;
}

static int on_field(http_parser *parser, const char *data, size_t length)
{
    http *request = parser->data;
    request->field_length = request->in_value ? 0 : request->field_length;
    request->in_value = false;
    for (size_t i = 0; i < length; i++) {
        if (request->field_length < sizeof(request->field)) {
            request->field[request->field_length] = data[i];
        }
        request->field_length++;
    }
    return 0;
}

static int on_value(http_parser *parser, const char *data, size_t length)
{
    static const char libpod[] = "Libpod-API-Version";
    http *request = parser->data;
    (void)data;
    (void)length;
    request->in_value = true;
    request->is_podman =
        request->is_podman || (request->field_length == sizeof(libpod) - 1 &&
                               strncasecmp(request->field, libpod, sizeof(libpod) - 1) == 0);
    return 0;
}

static int on_headers(http_parser *parser)
{
    http *request = parser->data;
    if (parser->status_code < 100) {
        return -1; /* 0 is ours, for no answer */
    }
    request->self->kind = request->is_podman ? ENGINE_PODMAN : ENGINE_DOCKER;
    request->status = (int)parser->status_code;
    /* Docker answers 101, or 200 as before Upgrade was known to it: both are raw. */
    if (request->request.upgrade &&
        (parser->status_code == 101 ||
         (parser->status_code == 200 && !(parser->flags & F_CHUNKED) &&
          (parser->content_length == 0 || parser->content_length == ULLONG_MAX)))) {
        return 2;
    }
    return 0;
}

static int on_message(http_parser *parser)
{
    http *request = parser->data;
    if (parser->status_code / 100 == 1 && parser->status_code != 101) {
        return 0; /* the answer is still to come (RFC 9110, 15.2) */
    }
    request->complete = true;
    http_parser_pause(parser, 1); /* nothing that follows is asked for */
    return 0;
}

static const http_parser_settings parser_settings = {
    .on_body = on_body,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers,
    .on_message_complete = on_message,
};

static bool became_stream(const http *request)
{
    return request->request.upgrade && request->parser.upgrade &&
           (request->status == 101 || request->status == 200);
}

static void open_stream(http *request, const char *rest, size_t length)
{
    request->state = HTTP_STREAM;
    request->request.timeout_ms = 0;
    arm(request);
    request->request.on_stream(request->request.user);
    if (length > 0 && !request->cancelled) {
        request->request.on_data(request->request.user, rest, length);
    }
}

static void parse(http *request, const char *data, size_t length)
{
    if (request->state == HTTP_STREAM) {
        request->request.on_data(request->request.user, data, length);
        return;
    }
    size_t used = http_parser_execute(&request->parser, &parser_settings, data, length);
    if (request->cancelled) {
        return;
    }
    if (became_stream(request)) {
        open_stream(request, data + used, length - used);
    } else if (request->complete) {
        finish(request);
    } else if (request->refused) {
        request->status = 0;
        finish(request);
    } else if (HTTP_PARSER_ERRNO(&request->parser) != HPE_OK) {
        fail(request, "it does not speak HTTP: %s",
             http_errno_description(HTTP_PARSER_ERRNO(&request->parser)));
    }
}

static void on_closed(http *request)
{
    if (request->state == HTTP_STREAM) {
        finish(request);
        return;
    }
    http_parser_execute(&request->parser, &parser_settings, NULL, 0);
    if (request->cancelled) {
        return;
    }
    if (request->complete) {
        finish(request);
    } else {
        fail(request, request->status == 0 ? "it closed the connection without an answer"
                                           : "it closed the connection in mid-answer");
    }
}

/* ---- the socket */

static void read_some(http *request)
{
    static char chunk[READ_BYTES]; /* one loop thread, and no callback reads again */
    for (int count = 0; count < READS_A_TURN && !request->cancelled; count++) {
        ssize_t n = recv(request->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n < 0) {
            if (request->state == HTTP_STREAM) {
                on_closed(request);
            } else {
                fail(request, "reading its answer: %s", strerror(errno));
            }
            return;
        }
        if (n == 0) {
            on_closed(request);
            return;
        }
        parse(request, chunk, (size_t)n);
        if (!request->cancelled && request->timer != NULL) {
            arm(request);
        }
    }
}

static void write_some(http *request)
{
    while (request->out_at < request->out_length) {
        ssize_t n = send(request->fd, request->out + request->out_at,
                         request->out_length - request->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n < 0) { /* what it has said before it left is still to be read */
            request->out_at = request->out_length;
            return;
        }
        request->out_at += (size_t)n;
    }
    request->out_at = request->out_length = 0;
    if (request->out_capacity > READ_BYTES * 4) {
        free(request->out);
        request->out = NULL;
        request->out_capacity = 0;
    }
    if (request->end_input && !request->end_input_done && request->state == HTTP_STREAM) {
        request->end_input_done = true;
        shutdown(request->fd, SHUT_WR);
    }
}

static void on_ready(void *user, int fd, int events);

static void watch(http *request)
{
    const kiln_host *host = request->self->host;
    int wanted = KILN_READABLE | (request->out_at < request->out_length ? KILN_WRITABLE : 0);
    if (request->watch != NULL && request->watched == wanted) {
        return;
    }
    host->unwatch(host, request->watch);
    request->watch = host->watch(host, request->fd, wanted, on_ready, request);
    request->watched = wanted;
}

static void step(http *request, int events)
{
    request->busy++;
    if (events & KILN_WRITABLE) {
        write_some(request);
    }
    if (events & KILN_READABLE) {
        read_some(request);
    }
    if (!request->cancelled) {
        watch(request);
    }
    leave(request);
}

static void on_ready(void *user, int fd, int events)
{
    (void)fd;
    step(user, events);
}

static void on_deadline(void *user)
{
    http *request = user;
    request->timer = NULL;
    request->busy++;
    fail(request, "it did not answer within %llu s",
         (unsigned long long)(request->request.timeout_ms + 999) / 1000);
    leave(request);
}

/* The clock of the next step. */
static void arm(http *request)
{
    const kiln_host *host = request->self->host;
    if (request->timer != NULL) {
        host->cancel(host, request->timer);
        request->timer = NULL;
    }
    if (request->request.timeout_ms > 0) {
        request->timer = host->timer(host, request->request.timeout_ms, on_deadline, request);
    }
}

static void on_late_end(void *user)
{
    http *request = user;
    request->ending = NULL;
    finish(request);
}

/* http_send calls nobody back. */
static void fail_later(http *request)
{
    const kiln_host *host = request->self->host;
    request->ending = host->timer(host, 0, on_late_end, request);
}

static void connect_again(void *user);

/* 0: connected, or it will be tried again. */
static int try_connect(http *request)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = request->self->settings.socket;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(request->fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
        request->state = HTTP_OPEN;
        arm(request);
        write_some(request);
        watch(request);
        return 0;
    }
    if (errno == EAGAIN) {
        const kiln_host *host = request->self->host;
        request->timer = host->timer(host, CONNECT_AGAIN_MS, connect_again, request);
        return 0;
    }
    snprintf(request->error, sizeof(request->error), "cannot reach it: %s", strerror(errno));
    return -errno;
}

static void connect_again(void *user)
{
    http *request = user;
    request->timer = NULL;
    request->busy++;
    if (try_connect(request) < 0) {
        finish(request);
    }
    leave(request);
}

/* ---- calls */

static int compose(http *request, const http_request *what)
{
    char *head;
    int length = asprintf(
        &head,
        "%s %s HTTP/1.1\r\nHost: kiln\r\nUser-Agent: kiln\r\n%s%s%s%s%s%s"
        "Content-Length: %zu\r\n\r\n",
        what->method, what->path,
        what->upgrade ? "Connection: Upgrade\r\nUpgrade: tcp\r\n" : "Connection: close\r\n",
        what->body != NULL ? "Content-Type: " : "",
        what->body == NULL        ? ""
        : what->body_type != NULL ? what->body_type
                                  : "application/json",
        what->body != NULL ? "\r\n" : "", what->header != NULL ? what->header : "",
        what->header != NULL ? "\r\n" : "", what->body_length);
    if (length < 0) {
        return -ENOMEM;
    }
    int rc = append(&request->out, &request->out_length, &request->out_capacity, head,
                    (size_t)length);
    free(head);
    if (rc == 0 && what->body_length > 0) {
        rc = append(&request->out, &request->out_length, &request->out_capacity, what->body,
                    what->body_length);
    }
    return rc;
}

http *http_send(backend *self, const http_request *what)
{
    http *request = calloc(1, sizeof(*request));
    if (request == NULL) {
        return NULL;
    }
    request->self = self;
    request->request = *what;
    request->next = self->requests;
    request->place = &self->requests;
    if (request->next != NULL) {
        request->next->place = &request->next;
    }
    self->requests = request;
    http_parser_init(&request->parser, HTTP_RESPONSE);
    request->parser.data = request;
    request->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (request->fd < 0 || compose(request, what) < 0) {
        destroy(request);
        return NULL;
    }
    if (self->settings.socket[0] == '\0') {
        snprintf(request->error, sizeof(request->error), "%s", self->settings.no_socket);
        fail_later(request);
    } else if (try_connect(request) < 0) {
        fail_later(request);
    }
    return request;
}

int http_write(http *request, const char *data, size_t length)
{
    if (request->out_length - request->out_at + length > QUEUE_MAX) {
        return -ENOBUFS;
    }
    if (append(&request->out, &request->out_length, &request->out_capacity, data, length) < 0) {
        return -ENOMEM;
    }
    write_some(request);
    watch(request);
    return 0;
}

void http_end_input(http *request)
{
    request->end_input = true;
    write_some(request);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* What waits for a timer, which would not fire here, goes on at once. Whether one did. */
static bool finish_waiting(backend *self)
{
    for (http *request = self->requests; request != NULL; request = request->next) {
        const kiln_host *host = self->host;
        if (request->ending != NULL) {
            host->cancel(host, request->ending);
            request->ending = NULL;
            finish(request); /* may end any other */
            return true;
        }
        if (request->state == HTTP_CONNECTING && request->timer != NULL) {
            host->cancel(host, request->timer);
            connect_again(request);
            return true;
        }
    }
    return false;
}

/* Waits until one is ready, for a while, and lets it go on. */
static int finish_step(backend *self)
{
    nfds_t count = 0;
    for (const http *request = self->requests; request != NULL; request = request->next) {
        count++;
    }
    struct pollfd *fds = calloc(count + 1, sizeof(*fds));
    if (fds == NULL) {
        return -ENOMEM;
    }
    count = 0;
    for (const http *request = self->requests; request != NULL; request = request->next) {
        fds[count++] = (struct pollfd){
            .fd = request->state == HTTP_CONNECTING ? -1 : request->fd,
            .events = POLLIN | (request->out_at < request->out_length ? POLLOUT : 0)};
    }
    int rc = poll(fds, count, CONNECT_AGAIN_MS);
    http *request = self->requests;
    /* One at a time: a callback may end any other. */
    for (nfds_t i = 0; rc > 0 && i < count; i++, request = request->next) {
        if (fds[i].revents != 0) {
            step(request, (fds[i].revents & POLLOUT ? KILN_WRITABLE : 0) |
                              (fds[i].revents & ~POLLOUT ? KILN_READABLE : 0));
            break;
        }
    }
    free(fds);
    return rc < 0 && errno != EINTR ? -errno : 0;
}

void http_finish(backend *self, bool (*wanted)(backend *self), uint64_t milliseconds)
{
    uint64_t end = now_ms() + milliseconds;
    bool tried = false;
    while (wanted(self) && now_ms() < end) {
        if (!tried && finish_waiting(self)) {
            tried = true; /* it may have to wait again: the others first */
            continue;
        }
        tried = false;
        if (finish_step(self) < 0) {
            return;
        }
    }
}

bool http_encode(char *path, size_t size, const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    size_t used = strlen(path);
    for (; *text != '\0'; text++) {
        if (used + 4 > size) {
            return false;
        }
        if (strchr(plain, *text) != NULL) {
            path[used++] = *text;
        } else {
            used += (size_t)snprintf(path + used, size - used, "%%%02X", (unsigned char)*text);
        }
        path[used] = '\0';
    }
    return true;
}
