/* connection.c - a connection up to its relay: request, look-up, checks, connecting. */
#include "network/proxy-t.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "network/address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

enum {
    HEAD_CHUNK = 16 << 10,
    LINGER_MS = 2000, /* a client that is still sending would lose the answer to a reset */
};

/* Outlives its connection: the look-up runs in a thread that cannot be stopped. */
struct kiln_lookup {
    uv_getaddrinfo_t request;    /* first */
    kiln_connection *connection; /* NULL: gone */
};

static void on_client(void *user, int events);
static void on_server(void *user, int events);
static void on_alarm(void *user);
static void connect_next(kiln_connection *connection);

/* ---- life */

static void set_nodelay(int fd)
{
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

kiln_connection *kiln_connection_new(kiln_proxy *proxy, int fd)
{
    kiln_connection *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        close(fd);
        return NULL;
    }
    made->proxy = proxy;
    made->client.fd = fd;
    made->server.fd = -1;
    set_nodelay(fd);
    made->request = kiln_proxy_request_new();
    made->client.poll = kiln_poll_new(proxy->loop, fd, UV_READABLE, on_client, made);
    made->alarm = kiln_alarm_new(proxy->loop, proxy->limits.head_ms, on_alarm, made);
    made->next = proxy->connections;
    if (made->next != NULL) {
        made->next->previous = made;
    }
    proxy->connections = made;
    kiln_proxy_connection_came(made);
    if (made->request == NULL || made->client.poll == NULL || made->alarm == NULL) {
        kiln_connection_close(made);
        return NULL;
    }
    return made;
}

void kiln_connection_close(kiln_connection *connection)
{
    kiln_proxy *proxy = connection->proxy;
    *(connection->previous != NULL ? &connection->previous->next : &proxy->connections) =
        connection->next;
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    if (connection->lookup != NULL) {
        connection->lookup->connection = NULL;
        uv_cancel((uv_req_t *)&connection->lookup->request);
    }
    kiln_end_close(&connection->client);
    kiln_end_close(&connection->server);
    kiln_alarm_free(&connection->alarm);
    kiln_proxy_request_free(connection->request);
    kiln_proxy_connection_gone(connection);
    free(connection);
}

/* ---- the end */

static void linger(kiln_connection *connection)
{
    kiln_end *client = &connection->client;
    static char dropped[HEAD_CHUNK];
    if (!kiln_end_flush(client)) {
        kiln_connection_close(connection);
        return;
    }
    kiln_end_shut(client);
    for (int turn = 0; turn < 4 && !client->read_end; turn++) {
        ssize_t n = recv(client->fd, dropped, sizeof(dropped), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        client->read_end = n <= 0;
    }
    if (client->read_end && client->waiting.length == 0) {
        kiln_connection_close(connection);
        return;
    }
    kiln_poll_events(client->poll, (client->read_end ? 0 : UV_READABLE) |
                                       (client->waiting.length > 0 ? UV_WRITABLE : 0));
}

void kiln_connection_linger(kiln_connection *connection)
{
    connection->state = KILN_CONNECTION_LINGER;
    kiln_end_close(&connection->server);
    kiln_alarm_again(connection->alarm, LINGER_MS);
    linger(connection);
}

void kiln_connection_answer(kiln_connection *connection, const char *status, const char *why)
{
    kiln_buffer_free(&connection->client.waiting);
    if (kiln_buffer_printf(&connection->client.waiting,
                           "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
                           "Content-Length: %zu\r\nConnection: close\r\n\r\nkiln: %s\n",
                           status, strlen(why) + 7, why) < 0) {
        kiln_connection_close(connection);
        return;
    }
    kiln_connection_linger(connection);
}

static void refuse(kiln_connection *connection, const char *status, const char *why)
{
    kiln_decisions_add(&connection->proxy->decisions, "refused", why);
    kiln_connection_answer(connection, status, why);
}

static void on_alarm(void *user)
{
    kiln_connection *connection = user;
    switch (connection->state) {
    case KILN_CONNECTION_HEAD:
        kiln_connection_answer(connection, "408 Request Timeout",
                               "the head of the request took too long");
        break;
    case KILN_CONNECTION_LOOKUP:
    case KILN_CONNECTION_CONNECT:
        kiln_connection_answer(connection, "504 Gateway Timeout",
                               "the server could not be reached in time");
        break;
    default:
        kiln_connection_close(connection);
    }
}

/* ---- connecting */

static void begin_relay(kiln_connection *connection)
{
    static const char established[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    connection->state = KILN_CONNECTION_RELAY;
    kiln_alarm_again(connection->alarm, connection->proxy->limits.idle_ms);
    if (kiln_proxy_request_tunnels(connection->request) &&
        kiln_buffer_append(&connection->client.waiting, established, sizeof(established) - 1) <
            0) {
        kiln_connection_close(connection);
        return;
    }
    kiln_connection_relay(connection);
}

/* 0: under way; -errno: this address is not to be had. */
static int connect_to(kiln_connection *connection, const struct sockaddr_storage *address)
{
    kiln_end *server = &connection->server;
    server->fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (server->fd < 0) {
        return -errno;
    }
    set_nodelay(server->fd);
    socklen_t length = address->ss_family == AF_INET ? sizeof(struct sockaddr_in)
                                                     : sizeof(struct sockaddr_in6);
    if (connect(server->fd, (const struct sockaddr *)address, length) < 0 &&
        errno != EINPROGRESS) {
        return -errno;
    }
    server->poll =
        kiln_poll_new(connection->proxy->loop, server->fd, UV_WRITABLE, on_server, connection);
    return server->poll != NULL ? 0 : -ENOMEM;
}

static void close_server(kiln_connection *connection)
{
    kiln_buffer kept = connection->server.waiting; /* the request */
    connection->server.waiting = (kiln_buffer)KILN_BUFFER_INIT;
    kiln_end_close(&connection->server);
    connection->server.waiting = kept;
}

static void connect_next(kiln_connection *connection)
{
    connection->state = KILN_CONNECTION_CONNECT;
    while (connection->address_next < connection->address_count) {
        if (connect_to(connection, &connection->addresses[connection->address_next++]) == 0) {
            return;
        }
        close_server(connection);
    }
    kiln_connection_answer(connection, "502 Bad Gateway", "the server could not be reached");
}

static void on_connected(kiln_connection *connection)
{
    int failure = 0;
    socklen_t size = sizeof(failure);
    if (getsockopt(connection->server.fd, SOL_SOCKET, SO_ERROR, &failure, &size) < 0) {
        failure = errno;
    }
    if (failure != 0) {
        close_server(connection);
        connect_next(connection);
        return;
    }
    begin_relay(connection);
}

static void on_server(void *user, int events)
{
    kiln_connection *connection = user;
    (void)events;
    if (connection->state == KILN_CONNECTION_CONNECT) {
        on_connected(connection);
    } else {
        kiln_connection_relay(connection);
    }
}

/* ---- looking up */

static void allow(kiln_connection *connection)
{
    char text[KILN_TARGET_TEXT];
    kiln_target_text(kiln_proxy_request_target(connection->request), text);
    kiln_decisions_add(&connection->proxy->decisions, "connect", text);
    kiln_poll_events(connection->client.poll, 0);
    connect_next(connection);
}

/* Keeps the addresses that may be connected to. What is connected to is what was
 * checked: there is no second look-up that could say something else. */
static void take_addresses(kiln_connection *connection, const struct addrinfo *list)
{
    const kiln_target *target = kiln_proxy_request_target(connection->request);
    char why[KILN_TARGET_TEXT + INET6_ADDRSTRLEN + 200];
    char name[KILN_TARGET_TEXT];
    why[0] = '\0';
    kiln_target_text(target, name);
    for (; list != NULL && connection->address_count < KILN_ADDRESSES_MAX;
         list = list->ai_next) {
        struct sockaddr_storage *address = &connection->addresses[connection->address_count];
        if ((list->ai_family != AF_INET && list->ai_family != AF_INET6) ||
            list->ai_addrlen > sizeof(*address)) {
            continue;
        }
        *address = (struct sockaddr_storage){0};
        memcpy(address, list->ai_addr, list->ai_addrlen);
        if (list->ai_family == AF_INET) {
            ((struct sockaddr_in *)address)->sin_port = htons(target->port);
        } else {
            ((struct sockaddr_in6 *)address)->sin6_port = htons(target->port);
        }
        const struct sockaddr *checked = (const struct sockaddr *)address;
        const char *what = kiln_allow_list_has_address(connection->proxy->allow, checked)
                               ? NULL
                               : kiln_address_refuse(checked);
        if (what == NULL) {
            connection->address_count++;
        } else if (why[0] == '\0') {
            char number[INET6_ADDRSTRLEN];
            kiln_address_text(checked, number);
            snprintf(why, sizeof(why),
                     "%s: resolves to %s, %s; [sandbox] allow does not list it", name, number,
                     what);
        }
    }
    if (connection->address_count > 0) {
        allow(connection);
    } else if (why[0] != '\0') {
        refuse(connection, "403 Forbidden", why);
    } else {
        kiln_connection_answer(connection, "502 Bad Gateway", "the name has no address");
    }
}

static void on_looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    kiln_lookup *lookup = (kiln_lookup *)request;
    kiln_connection *connection = lookup->connection;
    if (connection != NULL) {
        connection->lookup = NULL;
        if (status < 0) {
            kiln_connection_answer(connection, "502 Bad Gateway", uv_strerror(status));
        } else {
            take_addresses(connection, list);
        }
    }
    uv_freeaddrinfo(list);
    free(lookup);
}

static void look_up(kiln_connection *connection, const char *name)
{
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    kiln_lookup *lookup = calloc(1, sizeof(*lookup));
    if (lookup == NULL || uv_getaddrinfo(connection->proxy->loop, &lookup->request,
                                         on_looked_up, name, NULL, &hints) < 0) {
        free(lookup);
        kiln_connection_answer(connection, "500 Internal Server Error", "out of memory");
        return;
    }
    lookup->connection = connection;
    connection->lookup = lookup;
    connection->state = KILN_CONNECTION_LOOKUP;
    kiln_poll_events(connection->client.poll, 0); /* no more of it until there is a server */
}

/* ---- the request */

static void on_target(kiln_connection *connection, const kiln_target *target)
{
    if (!kiln_allow_list_has(connection->proxy->allow, target)) {
        char name[KILN_TARGET_TEXT];
        char why[KILN_TARGET_TEXT + 40];
        kiln_target_text(target, name);
        snprintf(why, sizeof(why), "%s: not in [sandbox] allow", name);
        refuse(connection, "403 Forbidden", why);
        return;
    }
    kiln_alarm_again(connection->alarm, connection->proxy->limits.connect_ms);
    if (target->literal) {
        connection->addresses[connection->address_count++] = target->address;
        allow(connection);
    } else {
        look_up(connection, target->host);
    }
}

static void read_head(kiln_connection *connection)
{
    static char chunk[HEAD_CHUNK];
    kiln_error err = KILN_ERROR_INIT;
    ssize_t n = recv(connection->client.fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        kiln_connection_close(connection);
        return;
    }
    if (kiln_proxy_request_feed(connection->request, chunk, (size_t)n,
                                &connection->server.waiting, &err) < 0) {
        refuse(connection, kiln_proxy_request_status(connection->request), err.text);
        return;
    }
    const kiln_target *target = kiln_proxy_request_target(connection->request);
    if (target != NULL) {
        on_target(connection, target);
    }
}

static void on_client(void *user, int events)
{
    kiln_connection *connection = user;
    (void)events;
    switch (connection->state) {
    case KILN_CONNECTION_HEAD:
        read_head(connection);
        break;
    case KILN_CONNECTION_RELAY:
        kiln_connection_relay(connection);
        break;
    case KILN_CONNECTION_LINGER:
        linger(connection);
        break;
    default:
        break; /* not watched meanwhile */
    }
}
