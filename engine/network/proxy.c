/* proxy.c - accepts a session's connections, as many as it may have. */
#include "network/proxy-t.h"

#include "base/cleanup.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum {
    CONNECTIONS = 64,
    HEAD_MS = 10000,
    CONNECT_MS = 30000,
    IDLE_MS = 600000,
    HALF_CLOSED_MS = 60000,
    ACCEPTS_A_TURN = 16,
    PAUSE_MS = 50,
};

/* Of all sessions: each takes two descriptors, and half of them are for other things. */
static unsigned all_connections;

static unsigned all_connections_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY) {
        return 16384;
    }
    return (unsigned)(limit.rlim_cur / 4);
}

static void accept_again(kiln_proxy *proxy)
{
    kiln_poll_events(proxy->listener_poll,
                     proxy->count < proxy->limits.connections ? UV_READABLE : 0);
}

static void on_pause_over(void *user)
{
    accept_again(user);
}

/* A listener stays readable: without a pause the loop would spin. */
static void pause_accepting(kiln_proxy *proxy)
{
    kiln_poll_events(proxy->listener_poll, 0);
    kiln_alarm_again(proxy->pause, PAUSE_MS);
}

static void on_listener(void *user, int events)
{
    kiln_proxy *proxy = user;
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN && proxy->count < proxy->limits.connections; i++) {
        if (all_connections >= all_connections_max()) {
            pause_accepting(proxy);
            return;
        }
        int fd = accept4(proxy->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) {
            continue;
        }
        if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            break;
        }
        if (fd < 0) {
            pause_accepting(proxy); /* EMFILE and the like: others may give some back */
            return;
        }
        if (kiln_connection_new(proxy, fd) == NULL) {
            pause_accepting(proxy);
            return;
        }
    }
    accept_again(proxy);
}

void kiln_proxy_connection_came(kiln_connection *connection)
{
    all_connections++;
    connection->proxy->count++;
}

void kiln_proxy_connection_gone(kiln_connection *connection)
{
    all_connections--;
    connection->proxy->count--;
    accept_again(connection->proxy);
}

static void set_defaults(kiln_proxy_limits *limits)
{
    limits->connections = limits->connections != 0 ? limits->connections : CONNECTIONS;
    limits->head_ms = limits->head_ms != 0 ? limits->head_ms : HEAD_MS;
    limits->connect_ms = limits->connect_ms != 0 ? limits->connect_ms : CONNECT_MS;
    limits->idle_ms = limits->idle_ms != 0 ? limits->idle_ms : IDLE_MS;
    limits->half_closed_ms =
        limits->half_closed_ms != 0 ? limits->half_closed_ms : HALF_CLOSED_MS;
}

int kiln_proxy_new(uv_loop_t *loop, int listener, const kiln_allow_list *allow,
                   const kiln_proxy_limits *limits, kiln_proxy **out, kiln_error *err)
{
    kiln_proxy *proxy = calloc(1, sizeof(*proxy));
    if (proxy == NULL) {
        close(listener);
        return kiln_error_set(err, ENOMEM, "proxy: out of memory");
    }
    proxy->loop = loop;
    proxy->listener = listener;
    proxy->allow = allow;
    proxy->limits = limits != NULL ? *limits : (kiln_proxy_limits){0};
    set_defaults(&proxy->limits);
    proxy->pause = kiln_alarm_new(loop, PAUSE_MS, on_pause_over, proxy);
    proxy->listener_poll = kiln_poll_new(loop, listener, UV_READABLE, on_listener, proxy);
    if (proxy->pause == NULL || proxy->listener_poll == NULL) {
        kiln_proxy_free(proxy);
        return kiln_error_set(err, ENOMEM, "proxy: out of memory");
    }
    *out = proxy;
    return 0;
}

void kiln_proxy_disconnect(kiln_proxy *proxy)
{
    while (proxy->connections != NULL) {
        kiln_connection_close(proxy->connections);
    }
}

void kiln_proxy_free(kiln_proxy *proxy)
{
    if (proxy == NULL) {
        return;
    }
    kiln_proxy_disconnect(proxy);
    kiln_poll_free(&proxy->listener_poll);
    kiln_alarm_free(&proxy->pause);
    close(proxy->listener);
    kiln_decisions_clear(&proxy->decisions);
    free(proxy);
}

void kiln_proxy_report(kiln_proxy *proxy,
                       void (*decision)(void *user, const char *action, const char *detail),
                       void *user)
{
    kiln_decisions_tell(&proxy->decisions, decision, user);
}
