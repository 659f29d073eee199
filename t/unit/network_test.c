/* network_test.c - the proxy: its parts by themselves, then a whole one in this process,
 * between sockets that the tests hold at both ends. */
#include "network/address.h"
#include "network/decisions.h"
#include "network/proxy.h"
#include "network/request.h"

#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

/* ---- addresses */

static void addresses_that_are_not_public(void **state)
{
    (void)state;
    static const char *const special[] = {"0.0.0.0",
                                          "0.1.2.3",
                                          "10.0.0.0",
                                          "10.255.255.255",
                                          "100.64.0.1",
                                          "100.127.255.255",
                                          "127.0.0.1",
                                          "127.255.255.254",
                                          "169.254.169.254",
                                          "172.16.0.1",
                                          "172.31.255.255",
                                          "192.0.0.8",
                                          "192.0.2.1",
                                          "192.168.0.1",
                                          "192.168.255.255",
                                          "198.18.0.1",
                                          "198.19.255.255",
                                          "198.51.100.7",
                                          "203.0.113.9",
                                          "224.0.0.1",
                                          "239.255.255.255",
                                          "240.0.0.1",
                                          "255.255.255.255",
                                          "::",
                                          "::1",
                                          "::2",
                                          "::127.0.0.1",
                                          "::ffff:127.0.0.1",
                                          "::ffff:8.8.8.8",
                                          "64:ff9b::a00:1",
                                          "64:ff9b::808:808",
                                          "64:ff9b:1::1",
                                          "100::1",
                                          "2001::1",
                                          "2001:0:4136:e378::1",
                                          "2001:db8::1",
                                          "2002:a00:1::",
                                          "3fff::1",
                                          "fc00::1",
                                          "fd12::1",
                                          "fe80::1",
                                          "febf::1",
                                          "fec0::1",
                                          "ff02::1",
                                          "4000::1",
                                          "5f00::1",
                                          NULL};
    static const char *const public[] = {"1.1.1.1",
                                         "8.8.8.8",
                                         "9.255.255.255",
                                         "11.0.0.0",
                                         "100.63.255.255",
                                         "100.128.0.0",
                                         "126.255.255.255",
                                         "128.0.0.0",
                                         "169.253.255.255",
                                         "172.15.255.255",
                                         "172.32.0.0",
                                         "192.167.255.255",
                                         "192.169.0.0",
                                         "198.17.255.255",
                                         "198.20.0.0",
                                         "223.255.255.255",
                                         "2600::1",
                                         "2a00:1450::1",
                                         "2001:4860:4860::8888",
                                         "2606:4700::1111",
                                         NULL};
    for (int k = 0; k < 2; k++) {
        for (const char *const *text = k == 0 ? special : public; *text != NULL; text++) {
            struct sockaddr_in6 six = {.sin6_family = AF_INET6};
            struct sockaddr_in four = {.sin_family = AF_INET};
            const struct sockaddr *address = (const struct sockaddr *)&six;
            if (inet_pton(AF_INET, *text, &four.sin_addr) == 1) {
                address = (const struct sockaddr *)&four;
            } else {
                assert_int_equal(inet_pton(AF_INET6, *text, &six.sin6_addr), 1);
            }
            const char *what = kiln_address_special(address);
            if ((what != NULL) != (k == 0)) {
                fail_msg("%s: %s", *text, what != NULL ? what : "public");
            }
        }
    }
}

/* ---- targets and the list */

static void hosts_are_read_in_one_way(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host; /* NULL: refused */
        bool literal;
    } cases[] = {
        {"Example.ORG:443", "example.org", false},
        {"example.org.:443", "example.org", false},
        {"a_b-c.d:443", "a_b-c.d", false},
        {"127.0.0.1:443", "127.0.0.1", true},
        {"[::1]:443", "::1", true},
        {"[2001:DB8:0:0::1]:443", "2001:db8::1", true},
        {"[::ffff:10.0.0.1]:443", "::ffff:10.0.0.1", true},
        {"127.1:443", NULL, false},
        {"127.0.0.01:443", NULL, false},
        {"0x7f000001:443", NULL, false},
        {"2130706433:443", NULL, false},
        {"0177.0.0.1:443", NULL, false},
        {"10.0.0x1:443", NULL, false},
        {"127.0.0.1.:443", "127.0.0.1", true},
        {"[::1:443", NULL, false},
        {"[fe80::1%lo]:443", NULL, false},
        {"::1:443", NULL, false},
        {"a..b:443", NULL, false},
        {".a:443", NULL, false},
        {"a b:443", NULL, false},
        {"a@b:443", NULL, false},
        {"a/b:443", NULL, false},
        {"\xc3\xa4.org:443", NULL, false},
        {":443", NULL, false},
        {"a:", NULL, false},
        {"a:0", NULL, false},
        {"a:65536", NULL, false},
        {"a:-1", NULL, false},
        {"a:+80", NULL, false},
        {"a:000443", NULL, false},
        {"a", NULL, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        kiln_target target;
        kiln_error err = KILN_ERROR_INIT;
        int rc = kiln_target_parse(&target, cases[i].text, strlen(cases[i].text), 0, &err);
        if ((rc == 0) != (cases[i].host != NULL)) {
            fail_msg("%s: %s", cases[i].text, rc == 0 ? "accepted" : err.text);
        }
        if (rc == 0) {
            assert_string_equal(target.host, cases[i].host);
            assert_int_equal(target.port, 443);
            assert_int_equal(target.literal, cases[i].literal);
        } else {
            assert_true(err.code < 0 && err.text[0] != '\0');
        }
    }
    char longest[400];
    memset(longest, 'a', sizeof(longest));
    for (size_t length = 1; length < sizeof(longest); length++) {
        kiln_target target;
        kiln_error err = KILN_ERROR_INIT;
        int rc = kiln_target_set(&target, longest, length, 80, &err);
        assert_int_equal(rc == 0, length <= 63);
    }
}

static bool allows(const kiln_allow_list *list, const char *text)
{
    kiln_target target;
    kiln_error err = KILN_ERROR_INIT;
    assert_int_equal(kiln_target_parse(&target, text, strlen(text), 0, &err), 0);
    return kiln_allow_list_has(list, &target);
}

static void the_list_is_exact(void **state)
{
    (void)state;
    static const char *const words[] = {"Example.org:443", "*.example.net:443", "10.0.0.5:8080",
                                        "[fd00::5]:80", NULL};
    static const char *const yes[] = {"example.org:443",
                                      "EXAMPLE.ORG.:443",
                                      "a.example.net:443",
                                      "a.b.example.net:443",
                                      "10.0.0.5:8080",
                                      "[fd00:0::5]:80",
                                      NULL};
    static const char *const no[] = {
        "example.org:80",         "www.example.org:443", "example.org.evil.com:443",
        "evilexample.org:443",    "example.net:443",     "evilexample.net:443",
        "example.net.x:443",      "10.0.0.5:80",         "10.0.0.6:8080",
        "[::ffff:10.0.0.5]:8080", "[fd00::6]:80",        NULL};
    kiln_allow_list *list;
    kiln_error err = KILN_ERROR_INIT;
    assert_int_equal(kiln_allow_list_new(words, &list, &err), 0);
    for (const char *const *text = yes; *text != NULL; text++) {
        if (!allows(list, *text)) {
            fail_msg("%s is not allowed", *text);
        }
    }
    for (const char *const *text = no; *text != NULL; text++) {
        if (allows(list, *text)) {
            fail_msg("%s is allowed", *text);
        }
    }
    kiln_allow_list_free(list);
    static const char *const bad[] = {
        "example.org", "*:443",  "*.10.0.0.1:80", "a.*.b:80",      "*.*.b:80",
        "http://a:80", "a:http", "10.1:80",       "10.0.0.0/8:80", NULL};
    for (const char *const *text = bad; *text != NULL; text++) {
        const char *const one[] = {*text, NULL};
        if (kiln_allow_list_new(one, &list, &err) == 0) {
            fail_msg("%s is accepted", *text);
        }
        assert_non_null(strstr(err.text, "[sandbox] allow"));
        assert_non_null(strstr(err.text, *text));
    }
}

/* ---- requests */

typedef struct decoded {
    int rc;
    char status[64];
    kiln_buffer out;
    char target[KILN_TARGET_TEXT];
    bool complete, tunnels;
} decoded;

static decoded decode(const char *text, size_t length, size_t step)
{
    decoded result = {0};
    kiln_proxy_request *request = kiln_proxy_request_new();
    for (size_t at = 0; at < length && result.rc == 0; at += step) {
        kiln_error err = KILN_ERROR_INIT;
        size_t part = length - at < step ? length - at : step;
        char *copy = malloc(part); /* of the exact size, for ASan */
        memcpy(copy, text + at, part);
        result.rc = kiln_proxy_request_feed(request, copy, part, &result.out, &err);
        free(copy);
        if (result.rc < 0) {
            assert_true(err.code < 0 && err.text[0] != '\0');
        }
    }
    snprintf(result.status, sizeof(result.status), "%s", kiln_proxy_request_status(request));
    if (kiln_proxy_request_target(request) != NULL) {
        kiln_target_text(kiln_proxy_request_target(request), result.target);
    }
    result.complete = kiln_proxy_request_complete(request);
    result.tunnels = kiln_proxy_request_tunnels(request);
    kiln_proxy_request_free(request);
    return result;
}

static void requests_are_written_anew(void **state)
{
    (void)state;
    static const struct {
        const char *in, *target, *out;
    } cases[] = {
        {"GET http://Example.org/a?b=c#d HTTP/1.1\r\nHost: example.ORG\r\n"
         "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nX-A: 1\r\n"
         "Connection: keep-alive, x-b\r\nX-B: 2\r\nUpgrade: websocket\r\nTE: trailers\r\n\r\n",
         "example.org:80",
         "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nX-A: 1\r\nConnection: close\r\n\r\n"},
        {"GET http://a HTTP/1.0\r\n\r\n", "a:80",
         "GET / HTTP/1.0\r\nHost: a\r\nConnection: close\r\n\r\n"},
        {"GET http://a:81?q HTTP/1.1\r\nHost: a:81\r\n\r\n", "a:81",
         "GET /?q HTTP/1.1\r\nHost: a:81\r\nConnection: close\r\n\r\n"},
        {"GET HTTP://[::1]:81/ HTTP/1.1\r\nHost: [::1]:81\r\n\r\n", "[::1]:81",
         "GET / HTTP/1.1\r\nHost: [::1]:81\r\nConnection: close\r\n\r\n"},
        {"POST http://a/ HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n\r\nabc", "a:80",
         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"},
        /* The second request is nobody's. */
        {"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
         "GET http://b/ HTTP/1.1\r\nHost: b\r\n\r\n",
         "a:80",
         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"},
        {"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\nGET /secret HTTP/1.1\r\nHost: a\r\n\r\n",
         "a:80", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t step = 1; step < 300; step += step < 4 ? 1 : 250) {
            decoded got = decode(cases[i].in, strlen(cases[i].in), step);
            assert_int_equal(got.rc, 0);
            assert_true(got.complete && !got.tunnels);
            assert_string_equal(got.target, cases[i].target);
            assert_string_equal(got.out.data, cases[i].out);
            kiln_buffer_free(&got.out);
        }
    }
    static const char chunked[] =
        "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: x\r\n\r\n"
        "3;ext=1\r\nabc\r\n0\r\nx: GET / HTTP/1.1\r\n\r\nGET http://b/ HTTP/1.1\r\n\r\n";
    decoded got = decode(chunked, strlen(chunked), sizeof(chunked));
    assert_int_equal(got.rc, 0);
    assert_string_equal(got.out.data,
                        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                        "Connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    kiln_buffer_free(&got.out);
    static const char tunnel[] = "CONNECT a:443 HTTP/1.1\r\nHost: b:1\r\n\r\n\x16\x03 early";
    for (size_t step = 1; step < 100; step += 49) {
        got = decode(tunnel, strlen(tunnel), step);
        assert_int_equal(got.rc, 0);
        assert_true(got.tunnels);
        assert_string_equal(got.target, "a:443");
        assert_string_equal(got.out.data, "\x16\x03 early");
        kiln_buffer_free(&got.out);
    }
}

#define GET  "GET http://a/ HTTP/1.1\r\n"
#define POST "POST http://a/ HTTP/1.1\r\nHost: a\r\n"

static void requests_with_two_readings_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *in, *status;
    } cases[] = {
        {GET "Host: b\r\n\r\n", "400"},
        {GET "Host: a:81\r\n\r\n", "400"},
        {GET "Host: a\r\nHost: a\r\n\r\n", "400"},
        {GET "\r\n", "400"},
        {GET "Host: a\r\nHost : b\r\n\r\n", "400"},
        {GET "Host: a\r\nX Y: b\r\n\r\n", "400"},
        {GET "Host: a\r\n X: folded\x01\r\n\r\n", "400"},
        {GET "Host: a\r\nX: \x7f\r\n\r\n", "400"},
        {GET "Host: a, b\r\n\r\n", "400"},
        {"GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", "400"},
        {"GET http://a:80:80/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
        {"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
        {"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
        {"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
        {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
        {"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
        {"GET http://a/\x80 HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
        {"GET http://a/ HTTP/2.0\r\nHost: a\r\n\r\n", "505"},
        {"GET http://a/ HTTP/0.9\r\n\r\n", "505"},
        {"GET http://a/ HTTP/1.2\r\nHost: a\r\n\r\n", "505"},
        {"GET http://a/\r\n\r\n", "505"},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "501"},
        {"FOO http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "501"},
        {"\x16\x03\x01\x02\x00\x01\x00\x01", "501"},
        {"\x05\x01\x02", "501"}, /* SOCKS5 */
        {POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400"},
        {POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
        {POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", "400"},
        {POST "Content-Length: +3\r\n\r\nabc", "400"},
        {POST "Content-Length: 3, 3\r\n\r\nabc", "400"},
        {POST "Content-Length: 0x3\r\n\r\nabc", "400"},
        {POST "Content-Length:\r\n\r\n", "400"},
        {POST "Content-Length: 99999999999999999999999\r\n\r\n", "400"},
        {POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"},
        {POST "Transfer-Encoding: identity\r\n\r\n", "501"},
        {POST "Transfer-Encoding: xchunked\r\n\r\n", "501"},
        {POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "501"},
        {POST "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
        {POST "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "400"},
        {"POST http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
        {"CONNECT a HTTP/1.1\r\n\r\n", "400"},
        {"CONNECT http://a/ HTTP/1.1\r\n\r\n", "400"},
        {"CONNECT a:443 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "400"},
        {"CONNECT a:443/x HTTP/1.1\r\n\r\n", "400"},
        {"CONNECT u@a:443 HTTP/1.1\r\n\r\n", "400"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t step = 1; step <= 1000; step += 999) {
            decoded got = decode(cases[i].in, strlen(cases[i].in), step);
            if (got.rc == 0 || strncmp(got.status, cases[i].status, 3) != 0) {
                fail_msg("step %zu, %s: %s, expected %s", step, cases[i].in,
                         got.rc == 0 ? "accepted" : got.status, cases[i].status);
            }
            kiln_buffer_free(&got.out);
        }
    }
    static const char nul[] = GET "Host: a\r\nX: a\0b\r\n\r\n";
    decoded got = decode(nul, sizeof(nul) - 1, sizeof(nul));
    assert_true(got.rc < 0);
    kiln_buffer_free(&got.out);
}

static void heads_are_bounded(void **state)
{
    (void)state;
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    kiln_buffer_printf(&text, GET "Host: a\r\n");
    for (int i = 0; i < 127; i++) {
        kiln_buffer_printf(&text, "X-%d: y\r\n", i);
    }
    size_t fits = text.length;
    kiln_buffer_append(&text, "\r\n", 2);
    decoded got = decode(text.data, text.length, 7);
    assert_int_equal(got.rc, 0);
    assert_true(got.complete);
    kiln_buffer_free(&got.out);
    text.length = fits;
    kiln_buffer_printf(&text, "One: more\r\n\r\n");
    got = decode(text.data, text.length, 7);
    assert_true(got.rc < 0);
    assert_string_equal(got.status, "431 Request Header Fields Too Large");
    kiln_buffer_free(&got.out);
    text.length = 0;
    kiln_buffer_printf(&text, GET "X: ");
    while (text.length < 100000) {
        kiln_buffer_append(&text, "yyyyyyyy", 8);
    }
    for (size_t step = 1; step < 200000; step = step * 3 + 1) {
        got = decode(text.data, text.length, step);
        assert_true(got.rc < 0);
        assert_string_equal(got.status, "431 Request Header Fields Too Large");
        kiln_buffer_free(&got.out);
    }
    /* A body is not a head. */
    text.length = 0;
    kiln_buffer_printf(&text, POST "Content-Length: 100000\r\n\r\n");
    for (int i = 0; i < 100000; i++) {
        kiln_buffer_append(&text, "z", 1);
    }
    got = decode(text.data, text.length, 50000);
    assert_int_equal(got.rc, 0);
    assert_true(got.complete && got.out.length > 100000);
    kiln_buffer_free(&got.out);
}

/* ---- decisions */

static void keep_decision(void *user, const char *action, const char *detail)
{
    kiln_buffer_printf(user, "%s %s\n", action, detail);
}

static void decisions_are_bounded(void **state)
{
    (void)state;
    kiln_decisions *decisions = calloc(1, sizeof(*decisions));
    auto_buffer kiln_buffer told = KILN_BUFFER_INIT;
    kiln_decisions_add(decisions, "connect", "a:1");
    kiln_decisions_add(decisions, "refused", "a:1");
    kiln_decisions_add(decisions, "connect", "a:1");
    kiln_decisions_add(decisions, "refused", "\x1b[31m\xff:2");
    kiln_decisions_tell(decisions, keep_decision, &told);
    assert_string_equal(told.data, "connect a:1 (2 times)\nrefused a:1\nrefused ?[31m?:2\n");
    told.length = 0;
    for (int i = 0; i < 250; i++) {
        char text[20];
        snprintf(text, sizeof(text), "%d", i);
        kiln_decisions_add(decisions, "refused", text);
    }
    kiln_decisions_tell(decisions, keep_decision, &told);
    assert_null(strstr(told.data, "refused 100\n"));
    assert_non_null(
        strstr(told.data, "refused 99\nconnections 150 more that are not listed\n"));
    told.length = 0;
    kiln_decisions_tell(decisions, keep_decision, &told);
    assert_int_equal(told.length, 0);
    free(decisions);
}

/* ---- a whole proxy: its loop here, what is done to it in a thread */

typedef struct scene {
    uv_loop_t loop;
    uv_async_t over;
    kiln_proxy *proxy;
    kiln_allow_list *allow;
    int server; /* a listening socket of ours */
    uint16_t server_port, proxy_port;
    void (*act)(struct scene *scene);
    char failure[300];
    kiln_buffer told;
} scene;

/* In the thread: cmocka's own jump back to its caller's stack. */
#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            if (s->failure[0] == '\0') {                                                       \
                snprintf(s->failure, sizeof(s->failure), "line %d: %s", __LINE__, #condition); \
            }                                                                                  \
            return;                                                                            \
        }                                                                                      \
    } while (0)

static int listen_on_loopback(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static void set_deadline(int fd)
{
    struct timeval deadline = {.tv_sec = 30};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof(deadline));
}

static int client(const scene *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(s->proxy_port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set_deadline(fd);
    return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? fd : -1;
}

static int accepted(const scene *s)
{
    struct pollfd wait = {.fd = s->server, .events = POLLIN};
    int fd = poll(&wait, 1, 30000) == 1 ? accept4(s->server, NULL, NULL, SOCK_CLOEXEC) : -1;
    set_deadline(fd);
    return fd;
}

static bool say(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool say(int fd, const char *format, ...)
{
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return send(fd, text, (size_t)length, MSG_NOSIGNAL) == length;
}

/* Until its end, or until `until` has come. */
static bool hear(int fd, const char *until, char *text, size_t size)
{
    size_t length = 0;
    text[0] = '\0';
    while (length + 1 < size) {
        ssize_t n = recv(fd, text + length, until != NULL ? 1 : size - length - 1, 0);
        if (n <= 0) {
            return until == NULL && n == 0;
        }
        length += (size_t)n;
        text[length] = '\0';
        if (until != NULL && length >= strlen(until) &&
            strcmp(text + length - strlen(until), until) == 0) {
            return true;
        }
    }
    return false;
}

static void *in_thread(void *argument)
{
    scene *s = argument;
    s->act(s);
    uv_async_send(&s->over);
    return NULL;
}

static void on_over(uv_async_t *over)
{
    uv_stop(over->loop);
}

static int count_descriptors(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

/* `names` of the list; PORT stands for the server's port. */
static void play(void (*act)(scene *s), const char *names, const kiln_proxy_limits *limits)
{
    scene *s = calloc(1, sizeof(*s));
    kiln_error err = KILN_ERROR_INIT;
    char words[4][64];
    const char *list[5] = {NULL};
    char copy[256];
    int count = 0;
    int before = count_descriptors();
    s->act = act;
    s->server = listen_on_loopback(&s->server_port);
    snprintf(copy, sizeof(copy), "%s", names);
    for (char *save, *word = strtok_r(copy, " ", &save); word != NULL;
         word = strtok_r(NULL, " ", &save)) {
        char *port = strstr(word, "PORT");
        if (port != NULL) {
            *port = '\0';
        }
        snprintf(words[count], sizeof(words[0]), port != NULL ? "%s%u" : "%s", word,
                 s->server_port);
        list[count] = words[count];
        count++;
    }
    assert_int_equal(kiln_allow_list_new(list, &s->allow, &err), 0);
    uv_loop_init(&s->loop);
    uv_async_init(&s->loop, &s->over, on_over);
    int listener = listen_on_loopback(&s->proxy_port);
    assert_int_equal(kiln_proxy_new(&s->loop, listener, s->allow, limits, &s->proxy, &err), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, in_thread, s), 0);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    pthread_join(thread, NULL);
    kiln_proxy_report(s->proxy, keep_decision, &s->told);
    kiln_proxy_free(s->proxy); /* with whatever is open */
    uv_close((uv_handle_t *)&s->over, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    kiln_allow_list_free(s->allow);
    close(s->server);
    if (s->failure[0] != '\0') {
        fail_msg("%s; decisions: %s", s->failure, s->told.data != NULL ? s->told.data : "none");
    }
    kiln_buffer_free(&s->told);
    free(s);
    assert_int_equal(count_descriptors(), before);
}

static void act_get(scene *s)
{
    char text[4096];
    char want[200];
    auto_close int fd = client(s);
    /* The second request reaches nobody. */
    CHECK(say(fd,
              "GET http://127.0.0.1:%u/a HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n"
              "GET http://127.0.0.1:%u/b HTTP/1.1\r\nHost: evil\r\n\r\n",
              s->server_port, s->server_port, s->server_port));
    auto_close int server = accepted(s);
    CHECK(server >= 0 && hear(server, "\r\n\r\n", text, sizeof(text)));
    snprintf(want, sizeof(want),
             "GET /a HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: close\r\n\r\n",
             s->server_port);
    CHECK(strcmp(text, want) == 0);
    CHECK(say(fd, "GET /c HTTP/1.1\r\n\r\n"));
    CHECK(say(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
    CHECK(hear(fd, "hi", text, sizeof(text)));
    shutdown(server, SHUT_WR);
    CHECK(hear(fd, NULL, text, sizeof(text)) && text[0] == '\0');
    close(kiln_steal_fd(&fd));
    CHECK(hear(server, NULL, text, sizeof(text)) && text[0] == '\0'); /* not a byte more */
}

static void a_plain_request_is_one(void **state)
{
    (void)state;
    play(act_get, "127.0.0.1:PORT", NULL);
}

static void act_keep_alive(scene *s)
{
    char text[4096];
    auto_close int fd = client(s);
    CHECK(say(fd, "GET http://127.0.0.1:%u/a HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n",
              s->server_port, s->server_port));
    auto_close int server = accepted(s);
    CHECK(server >= 0 && hear(server, "\r\n\r\n", text, sizeof(text)));
    CHECK(say(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
    CHECK(hear(fd, "hi", text, sizeof(text)));
    /* The server did not close, and the client thinks that it may go on. */
    CHECK(say(fd, "GET http://127.0.0.1:%u/b HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n",
              s->server_port, s->server_port));
    CHECK(hear(server, NULL, text, sizeof(text)) && text[0] == '\0');
    CHECK(recv(fd, text, 1, 0) <= 0 && errno != EAGAIN);
}

static void a_connection_is_not_used_twice(void **state)
{
    (void)state;
    play(act_keep_alive, "127.0.0.1:PORT", NULL);
}

static void act_tunnel(scene *s)
{
    char text[4096];
    auto_close int fd = client(s);
    CHECK(say(fd, "CONNECT 127.0.0.1:%u HTTP/1.1\r\nHost: x\r\n\r\nearly", s->server_port));
    auto_close int server = accepted(s);
    CHECK(server >= 0 && hear(server, "early", text, sizeof(text)));
    CHECK(hear(fd, "\r\n\r\n", text, sizeof(text)) && strncmp(text, "HTTP/1.1 200 ", 13) == 0);
    CHECK(say(server, "one") && hear(fd, "one", text, sizeof(text)));
    CHECK(say(fd, "two") && hear(server, "two", text, sizeof(text)));
    /* One side's end, the other goes on. */
    shutdown(fd, SHUT_WR);
    CHECK(hear(server, NULL, text, sizeof(text)) && text[0] == '\0');
    CHECK(say(server, "three"));
    CHECK(hear(fd, "three", text, sizeof(text)));
    CHECK(say(server, "four"));
    close(kiln_steal_fd(&server));
    CHECK(hear(fd, NULL, text, sizeof(text)) && strcmp(text, "four") == 0);
}

static void a_tunnel_can_be_half_closed(void **state)
{
    (void)state;
    play(act_tunnel, "127.0.0.1:PORT", NULL);
}

static void act_half_closed_forever(scene *s)
{
    char text[4096];
    auto_close int fd = client(s);
    CHECK(say(fd, "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n", s->server_port));
    auto_close int server = accepted(s);
    CHECK(server >= 0 && hear(fd, "\r\n\r\n", text, sizeof(text)));
    shutdown(fd, SHUT_WR); /* and the server stays silent */
    CHECK(hear(server, NULL, text, sizeof(text)) && text[0] == '\0');
    CHECK(recv(fd, text, 1, 0) == 0 || errno == ECONNRESET);
}

static void a_half_closed_tunnel_ends(void **state)
{
    (void)state;
    const kiln_proxy_limits limits = {.half_closed_ms = 50};
    play(act_half_closed_forever, "127.0.0.1:PORT", &limits);
}

static bool refused_with(scene *s, const char *request, const char *status)
{
    char text[4096];
    auto_close int fd = client(s);
    return fd >= 0 && send(fd, request, strlen(request), MSG_NOSIGNAL) > 0 &&
           hear(fd, NULL, text, sizeof(text)) && strncmp(text, "HTTP/1.1 ", 9) == 0 &&
           strncmp(text + 9, status, 3) == 0 && strstr(text, "\r\n\r\nkiln: ") != NULL;
}

static void act_refused(scene *s)
{
    char text[200];
    CHECK(refused_with(s, "CONNECT example.org:443 HTTP/1.1\r\n\r\n", "403"));
    CHECK(refused_with(s, "GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
                       "403"));
    snprintf(text, sizeof(text), "CONNECT [::ffff:127.0.0.1]:%u HTTP/1.1\r\n\r\n",
             s->server_port);
    CHECK(refused_with(s, text, "403"));
    snprintf(text, sizeof(text), "CONNECT 127.1:%u HTTP/1.1\r\n\r\n", s->server_port);
    CHECK(refused_with(s, text, "400"));
    /* A listed name is not its address. */
    snprintf(text, sizeof(text), "CONNECT localhost:%u HTTP/1.1\r\n\r\n", s->server_port);
    CHECK(refused_with(s, text, "403"));
    snprintf(text, sizeof(text), "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n", s->server_port);
    CHECK(refused_with(s, text, "403"));
    struct pollfd wait = {.fd = s->server, .events = POLLIN};
    CHECK(poll(&wait, 1, 0) == 0);
}

static void what_is_not_listed_is_refused(void **state)
{
    (void)state;
    play(act_refused, "localhost:PORT", NULL);
}

static void act_listed_twice(scene *s)
{
    char text[200];
    auto_close int fd = client(s);
    CHECK(say(fd, "CONNECT localhost:%u HTTP/1.1\r\n\r\n", s->server_port));
    CHECK(hear(fd, "\r\n\r\n", text, sizeof(text)) && strncmp(text, "HTTP/1.1 200 ", 13) == 0);
}

static void a_name_may_stand_for_a_listed_address(void **state)
{
    (void)state;
    play(act_listed_twice, "localhost:PORT 127.0.0.1:PORT", NULL);
}

static void act_slow(scene *s)
{
    char text[400];
    auto_close int fd = client(s);
    CHECK(say(fd, "GET http://"));
    CHECK(hear(fd, NULL, text, sizeof(text)) && strncmp(text, "HTTP/1.1 408 ", 13) == 0);
}

static void a_slow_head_is_cut_off(void **state)
{
    (void)state;
    const kiln_proxy_limits limits = {.head_ms = 50};
    play(act_slow, "127.0.0.1:PORT", &limits);
}

static void act_idle(scene *s)
{
    char text[400];
    auto_close int fd = client(s);
    CHECK(say(fd, "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n", s->server_port));
    CHECK(hear(fd, "\r\n\r\n", text, sizeof(text)));
    CHECK(hear(fd, NULL, text, sizeof(text)));
}

static void an_idle_tunnel_is_closed(void **state)
{
    (void)state;
    const kiln_proxy_limits limits = {.idle_ms = 50};
    play(act_idle, "127.0.0.1:PORT", &limits);
}

static void act_huge(scene *s)
{
    char text[4096];
    static char much[100000];
    auto_close int fd = client(s);
    memset(much, 'x', sizeof(much));
    CHECK(say(fd, "GET http://127.0.0.1:%u/ HTTP/1.1\r\nX: ", s->server_port));
    send(fd, much, sizeof(much), MSG_NOSIGNAL);
    CHECK(hear(fd, NULL, text, sizeof(text)) && strncmp(text, "HTTP/1.1 431 ", 13) == 0);
}

static void a_huge_head_is_refused(void **state)
{
    (void)state;
    play(act_huge, "127.0.0.1:PORT", NULL);
}

static void act_garbage(scene *s)
{
    uint32_t seed = 1;
    for (int i = 0; i < 200; i++) {
        char text[600];
        char answer[4096];
        size_t length = 1 + (size_t)i * 2;
        for (size_t k = 0; k < length; k++) {
            seed = seed * 1664525 + 1013904223;
            text[k] = (char)(seed >> 24);
        }
        auto_close int fd = client(s);
        CHECK(fd >= 0);
        send(fd, text, length, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        hear(fd, NULL, answer, sizeof(answer));
    }
    /* And it still works. */
    CHECK(refused_with(s, "CONNECT example.org:443 HTTP/1.1\r\n\r\n", "403"));
}

static void garbage_does_no_harm(void **state)
{
    (void)state;
    play(act_garbage, "127.0.0.1:PORT", NULL);
}

static void act_nobody_there(scene *s)
{
    char text[200];
    close(kiln_steal_fd(&s->server));
    snprintf(text, sizeof(text), "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n", s->server_port);
    CHECK(refused_with(s, text, "502"));
}

static void nobody_at_the_other_end(void **state)
{
    (void)state;
    play(act_nobody_there, "127.0.0.1:PORT", NULL);
}

enum { MANY = 100 };

static void act_many(scene *s)
{
    char text[400];
    struct pollfd clients[MANY];
    for (int i = 0; i < MANY; i++) {
        clients[i] = (struct pollfd){.fd = client(s), .events = POLLIN};
        CHECK(clients[i].fd >= 0);
        CHECK(say(clients[i].fd, "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n", s->server_port));
    }
    /* No more than eight come through at a time; each that ends lets another in. */
    for (int round = 0; round < MANY; round++) {
        auto_close int server = accepted(s);
        CHECK(server >= 0 && say(server, "%03d", round));
        shutdown(server, SHUT_WR);
        int ready = -1;
        while (ready < 0) {
            CHECK(poll(clients, MANY, 30000) > 0);
            for (int i = 0; i < MANY && ready < 0; i++) {
                ready = clients[i].revents != 0 ? i : -1;
            }
        }
        CHECK(hear(clients[ready].fd, NULL, text, sizeof(text)));
        CHECK(strncmp(text, "HTTP/1.1 200 ", 13) == 0 && strstr(text, "\r\n\r\n0") != NULL);
        close(clients[ready].fd);
        clients[ready].fd = -1;
    }
}

static void a_hundred_wait_their_turn(void **state)
{
    (void)state;
    const kiln_proxy_limits limits = {.connections = 8};
    play(act_many, "127.0.0.1:PORT", &limits);
}

static void act_bounded(scene *s)
{
    int fds[MANY];
    int seen = 0;
    for (int i = 0; i < MANY; i++) {
        fds[i] = client(s);
        CHECK(fds[i] >= 0);
        CHECK(say(fds[i], "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n", s->server_port));
    }
    int servers[MANY];
    struct pollfd wait = {.fd = s->server, .events = POLLIN};
    while (seen < MANY && poll(&wait, 1, seen < 8 ? 30000 : 200) == 1) {
        servers[seen++] = accept4(s->server, NULL, NULL, SOCK_CLOEXEC);
    }
    for (int i = 0; i < seen; i++) {
        close(servers[i]);
    }
    for (int i = 0; i < MANY; i++) {
        close(fds[i]);
    }
    CHECK(seen == 8);
}

static void connections_are_bounded(void **state)
{
    (void)state;
    const kiln_proxy_limits limits = {.connections = 8};
    play(act_bounded, "127.0.0.1:PORT", &limits);
}

enum { LOAD = 24 << 20 };

/* Pushes LOAD bytes in at one end and takes them out of the other, both ways at once;
 * the reader is always late. */
static void act_load(scene *s)
{
    static char out[65536], in[65536];
    char text[400];
    auto_close int fd = client(s);
    CHECK(say(fd, "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n", s->server_port));
    auto_close int server = accepted(s);
    CHECK(server >= 0 && hear(fd, "\r\n\r\n", text, sizeof(text)));
    int ends[2] = {fd, server};
    size_t sent[2] = {0, 0}, received[2] = {0, 0};
    for (size_t i = 0; i < sizeof(out); i++) {
        out[i] = (char)(i * 7 + (i >> 8));
    }
    bool stalled[2] = {false, false};
    while (received[0] < LOAD || received[1] < LOAD) {
        bool some = false;
        for (int i = 0; i < 2; i++) {
            while (sent[i] < LOAD) {
                size_t at = sent[i] % sizeof(out);
                ssize_t n =
                    send(ends[i], out + at, sizeof(out) - at, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (n < 0) {
                    CHECK(errno == EAGAIN);
                    stalled[i] = true;
                    break;
                }
                sent[i] += (size_t)n;
                some = true;
            }
        }
        for (int i = 0; i < 2; i++) {
            ssize_t n = recv(ends[i], in, sizeof(in), MSG_DONTWAIT);
            CHECK(n > 0 || (n < 0 && errno == EAGAIN));
            for (ssize_t k = 0; k < n; k++) {
                CHECK(in[k] == out[(received[i] + (size_t)k) % sizeof(out)]);
            }
            received[i] += n > 0 ? (size_t)n : 0;
            some = some || n > 0;
        }
        if (!some) {
            struct pollfd wait[2] = {{.fd = fd, .events = POLLIN},
                                     {.fd = server, .events = POLLIN}};
            CHECK(poll(wait, 2, 30000) > 0);
        }
    }
    CHECK(stalled[0] && stalled[1]); /* else there was no pressure to hold back */
}

/* Nobody reads: what is taken nevertheless is the kernel's buffers' (some 10 MB at most)
 * and one chunk of the proxy's. */
static void act_unread(scene *s)
{
    static char out[65536];
    char text[400];
    auto_close int fd = client(s);
    CHECK(say(fd, "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n", s->server_port));
    auto_close int server = accepted(s);
    CHECK(server >= 0 && hear(fd, "\r\n\r\n", text, sizeof(text)));
    for (int way = 0; way < 2; way++) {
        struct pollfd wait = {.fd = way == 0 ? fd : server, .events = POLLOUT};
        size_t sent = 0;
        while (sent < 4 * (size_t)LOAD && poll(&wait, 1, 300) == 1) {
            ssize_t n = send(wait.fd, out, sizeof(out), MSG_DONTWAIT | MSG_NOSIGNAL);
            CHECK(n > 0 || (n < 0 && errno == EAGAIN));
            sent += n > 0 ? (size_t)n : 0;
        }
        CHECK(sent < 2 * (size_t)LOAD);
    }
}

static void what_nobody_reads_is_not_kept(void **state)
{
    (void)state;
    play(act_unread, "127.0.0.1:PORT", NULL);
}

static void bytes_flow_under_pressure(void **state)
{
    (void)state;
    play(act_load, "127.0.0.1:PORT", NULL);
}

static void act_leave_open(scene *s)
{
    char text[400];
    for (int i = 0; i < 20; i++) {
        int fd = client(s); /* they stay open until the proxy is gone */
        CHECK(fd >= 0);
        CHECK(say(fd, i % 2 == 0 ? "CONNECT 127.0.0.1:%u HTTP/1.1\r\n\r\n" : "GET http:%u",
                  s->server_port));
        CHECK(i % 2 != 0 || hear(fd, "\r\n\r\n", text, sizeof(text)));
        shutdown(fd, SHUT_WR);
        close(fd);
    }
}

static void open_connections_end_with_it(void **state)
{
    (void)state;
    play(act_leave_open, "127.0.0.1:PORT", NULL);
}

/* libuv keeps a pipe for signals from its first loop on. */
static int warm_up(void **state)
{
    uv_loop_t loop;
    (void)state;
    return uv_loop_init(&loop) == 0 ? uv_loop_close(&loop) : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_that_are_not_public),
        cmocka_unit_test(hosts_are_read_in_one_way),
        cmocka_unit_test(the_list_is_exact),
        cmocka_unit_test(requests_are_written_anew),
        cmocka_unit_test(requests_with_two_readings_are_refused),
        cmocka_unit_test(heads_are_bounded),
        cmocka_unit_test(decisions_are_bounded),
        cmocka_unit_test(a_plain_request_is_one),
        cmocka_unit_test(a_connection_is_not_used_twice),
        cmocka_unit_test(a_tunnel_can_be_half_closed),
        cmocka_unit_test(a_half_closed_tunnel_ends),
        cmocka_unit_test(what_is_not_listed_is_refused),
        cmocka_unit_test(a_name_may_stand_for_a_listed_address),
        cmocka_unit_test(a_slow_head_is_cut_off),
        cmocka_unit_test(an_idle_tunnel_is_closed),
        cmocka_unit_test(a_huge_head_is_refused),
        cmocka_unit_test(garbage_does_no_harm),
        cmocka_unit_test(nobody_at_the_other_end),
        cmocka_unit_test(a_hundred_wait_their_turn),
        cmocka_unit_test(connections_are_bounded),
        cmocka_unit_test(bytes_flow_under_pressure),
        cmocka_unit_test(what_nobody_reads_is_not_kept),
        cmocka_unit_test(open_connections_end_with_it),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
