/* relay.c - bytes between client and server, with back pressure. */
#include "network/proxy-t.h"

#include "base/cleanup.h"

#include <errno.h>
#include <sys/socket.h>

enum {
    CHUNK = 64 << 10,
    CHUNKS_A_TURN = 4, /* in each direction, then others of the loop have their turn */
};

bool kiln_end_flush(kiln_end *end)
{
    while (end->waiting.length > 0) {
        ssize_t n;
        if (end->deaf) {
            kiln_buffer_free(&end->waiting);
            break;
        }
        n = send(end->fd, end->waiting.data, end->waiting.length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno == EAGAIN || errno == EWOULDBLOCK;
        }
        kiln_buffer_consume(&end->waiting, (size_t)n);
    }
    kiln_buffer_free(&end->waiting); /* an idle connection keeps no memory */
    return true;
}

void kiln_end_shut(kiln_end *end)
{
    if (!end->shut && end->waiting.length == 0) {
        end->shut = true;
        shutdown(end->fd, SHUT_WR);
    }
}

void kiln_end_close(kiln_end *end)
{
    kiln_poll_free(&end->poll);
    if (end->fd >= 0) {
        close(end->fd);
        end->fd = -1;
    }
    kiln_buffer_free(&end->waiting);
}

/* > 0: bytes; 0: nothing now, or its end; -1: broken. */
static ssize_t receive(kiln_end *end, char *chunk)
{
    ssize_t n;
    do {
        n = recv(end->fd, chunk, CHUNK, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n == 0) {
        end->read_end = true;
    }
    return n >= 0 ? n : errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
}

typedef enum moved {
    MOVED_BROKEN = -1,
    MOVED_NOTHING = 0,
    MOVED_SOME = 1,
} moved;

/* What the client says goes through the decoder, but for a tunnel. */
static bool take_from_client(kiln_connection *connection, const char *chunk, size_t length)
{
    kiln_proxy_request *request = connection->request;
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_proxy_request_tunnels(request)) {
        return kiln_buffer_append(&connection->server.waiting, chunk, length) == 0;
    }
    if (kiln_proxy_request_complete(request)) {
        /* Another request: dropped while the answer is awaited, and once it has come
         * the client must see that nobody listens any more. */
        return !connection->answered;
    }
    if (kiln_proxy_request_feed(request, chunk, length, &connection->server.waiting, &err) <
        0) {
        kiln_decisions_add(&connection->proxy->decisions, "refused", err.text);
        return false;
    }
    return true;
}

static moved to_server(kiln_connection *connection)
{
    static char chunk[CHUNK];
    kiln_end *client = &connection->client;
    kiln_end *server = &connection->server;
    if (!kiln_end_flush(server)) {
        server->deaf = true; /* it may have answered nevertheless */
        kiln_buffer_free(&server->waiting);
    }
    if (client->read_end || server->waiting.length > 0) {
        return MOVED_NOTHING;
    }
    ssize_t n = receive(client, chunk);
    if (n < 0) {
        return MOVED_BROKEN;
    }
    if (n > 0) {
        if (!take_from_client(connection, chunk, (size_t)n)) {
            return MOVED_BROKEN;
        }
        if (!kiln_end_flush(server)) {
            server->deaf = true;
            kiln_buffer_free(&server->waiting);
        }
    }
    return n > 0 ? MOVED_SOME : MOVED_NOTHING;
}

static moved to_client(kiln_connection *connection)
{
    static char chunk[CHUNK];
    kiln_end *client = &connection->client;
    kiln_end *server = &connection->server;
    if (!kiln_end_flush(client)) {
        return MOVED_BROKEN;
    }
    if (server->read_end || client->waiting.length > 0) {
        return MOVED_NOTHING;
    }
    ssize_t n = receive(server, chunk);
    if (n < 0) {
        return MOVED_BROKEN;
    }
    if (n > 0) {
        connection->answered = true;
        if (kiln_buffer_append(&client->waiting, chunk, (size_t)n) < 0 ||
            !kiln_end_flush(client)) {
            return MOVED_BROKEN;
        }
    }
    return n > 0 ? MOVED_SOME : MOVED_NOTHING;
}

/* Passes ends on. Returns false when everything has been said. */
static bool pass_ends_on(kiln_connection *connection)
{
    kiln_end *client = &connection->client;
    kiln_end *server = &connection->server;
    bool tunnel = kiln_proxy_request_tunnels(connection->request);
    /* Behind a whole request some servers take the end for a cancellation. */
    if (client->read_end && (tunnel || !kiln_proxy_request_complete(connection->request))) {
        kiln_end_shut(server);
    }
    if (!server->read_end || client->waiting.length > 0) {
        return true;
    }
    kiln_end_shut(client);
    return tunnel && !client->read_end;
}

void kiln_connection_relay(kiln_connection *connection)
{
    kiln_end *client = &connection->client;
    kiln_end *server = &connection->server;
    bool some = false;
    for (int turn = 0; turn < CHUNKS_A_TURN; turn++) {
        moved up = to_server(connection);
        moved down = up != MOVED_BROKEN ? to_client(connection) : MOVED_BROKEN;
        if (down == MOVED_BROKEN) {
            kiln_connection_close(connection);
            return;
        }
        if (up == MOVED_NOTHING && down == MOVED_NOTHING) {
            break;
        }
        some = true;
    }
    if (!pass_ends_on(connection)) {
        kiln_connection_linger(connection);
        return;
    }
    bool half = client->read_end || server->read_end;
    if (some || half) {
        const kiln_proxy_limits *limits = &connection->proxy->limits;
        kiln_alarm_again(connection->alarm, half ? limits->half_closed_ms : limits->idle_ms);
    }
    kiln_poll_events(client->poll,
                     (!client->read_end && server->waiting.length == 0 ? UV_READABLE : 0) |
                         (client->waiting.length > 0 ? UV_WRITABLE : 0));
    kiln_poll_events(server->poll,
                     (!server->read_end && client->waiting.length == 0 ? UV_READABLE : 0) |
                         (server->waiting.length > 0 ? UV_WRITABLE : 0));
}
