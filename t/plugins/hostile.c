/* A worker half that sends every wrong thing. Its cells' code is the name of an attack;
 * its option `start` is one, too, before the first cell. What came of each is for
 * t/hostile.t to judge.
 *
 * The program hostile.worker is this file again with HOSTILE_WORKER, linked with the
 * engine's own frame functions. How a DONE looks inside is left to those: a real one is
 * recorded from a real worker loop, then sent twice, cut, or for another cell. */
#ifndef HOSTILE_WORKER
#include "bad.h"

static const kiln_option options[] = {
    {"start", KILN_OPTION_STRING, "", "an attack before the first cell"}, {0}};
static const kiln_plugin plugin = {BAD_FIELDS("hostile"),
                                   .capabilities = KILN_CAP_WORKER | KILN_CAP_SESSIONS |
                                                   KILN_CAP_INTERRUPT | KILN_CAP_ANALYZE,
                                   .options = options};
KILN_PLUGIN(plugin)

#else
#include "worker/dialogue.h"
#include "worker/supervisor.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const kiln_worker_host *host;

/* ---- the frame socket, and what is written to it */

static int frames(void)
{
    for (int fd = 4; fd < 256; fd++) {
        int type = 0;
        socklen_t size = sizeof(type);
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM) {
            return fd;
        }
    }
    return 3;
}

static void put(const void *data, size_t length)
{
    const char *at = data;
    while (length > 0) {
        ssize_t n = send(frames(), at, length, MSG_NOSIGNAL);
        if (n <= 0) {
            _exit(9);
        }
        at += n;
        length -= (size_t)n;
    }
}

/* A frame whose header may lie. */
static void lie(unsigned type, uint32_t claimed, const void *payload, size_t length)
{
    unsigned char header[KILN_FRAME_HEADER];
    kiln_frame_header(header, (kiln_frame_type)type, claimed);
    put(header, sizeof(header));
    put(payload, length);
}

static void frame(unsigned type, const void *payload, size_t length)
{
    lie(type, (uint32_t)length, payload, length);
}

static void text(unsigned type, const char *payload)
{
    frame(type, payload, strlen(payload));
}

static void header_byte(size_t at, unsigned char value)
{
    unsigned char header[KILN_FRAME_HEADER];
    kiln_frame_header(header, KILN_FRAME_STDOUT, 1);
    header[at] = value;
    put(header, sizeof(header));
    put("x", 1);
}

static void hang(void)
{
    for (;;) {
        pause();
    }
}

/* ---- a DONE for a worker's first cell, and one for a later one, as they really are */

static int nothing(void)
{
    return 0;
}

static int well(const kiln_cell *cell, kiln_verdict *verdict)
{
    (void)cell;
    verdict->status = KILN_STATUS_OK;
    return 0;
}

typedef struct recording {
    kiln_buffer done[2]; /* whole frames */
    int count;
} recording;

static void read_done(int fd, recording *made)
{
    auto_buffer kiln_buffer in = KILN_BUFFER_INIT;
    for (;;) {
        kiln_frame got;
        size_t used;
        kiln_error err = KILN_ERROR_INIT;
        int rc = kiln_frame_decode(in.data, in.length, true, &got, &used, &err);
        if (rc == 1 && got.type == KILN_FRAME_DONE) {
            kiln_buffer_append(&made->done[made->count++], in.data, used);
            return;
        }
        if (rc == 1) {
            kiln_buffer_consume(&in, used);
            continue;
        }
        kiln_buffer_reserve(&in, 4096);
        ssize_t n = rc == 0 ? recv(fd, in.data + in.length, 4096, 0) : -1;
        if (n <= 0) {
            _exit(8);
        }
        in.length += (size_t)n;
    }
}

static void record(recording *made)
{
    static const kiln_worker quiet = {.size = sizeof(quiet), .start = nothing, .execute = well};
    static const kiln_dialogue_callbacks none = {0};
    static const char *const empty[] = {NULL};
    const kiln_input input = {.size = sizeof(input),
                              .code = "",
                              .language = "python",
                              .execution_count = 1,
                              .args = empty,
                              .env = empty};
    kiln_dialogue dialogue = {.callbacks = &none};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) {
        _exit(8);
    }
    pid_t child = fork();
    if (child == 0) {
        close(pair[0]);
        _exit(kiln_guest_main(&quiet, pair[1]));
    }
    close(pair[1]);
    while (child > 0 && made->count < 2) {
        kiln_error err = KILN_ERROR_INIT;
        if (kiln_dialogue_execute(&dialogue, &input, &err) < 0 ||
            send(pair[0], dialogue.out.data, dialogue.out.length, 0) < 0) {
            _exit(8);
        }
        kiln_buffer_free(&dialogue.out);
        read_done(pair[0], made);
        kiln_dialogue_settle(&dialogue);
    }
    close(pair[0]);
    waitpid(child, NULL, 0);
    kiln_dialogue_free(&dialogue);
}

static void put_done(int which, long cut, long more)
{
    recording made = {0};
    record(&made);
    const kiln_buffer *done = &made.done[which];
    size_t length = done->length - KILN_FRAME_HEADER;
    char payload[4096] = {0};
    memcpy(payload, done->data + KILN_FRAME_HEADER, length);
    frame(KILN_FRAME_DONE, payload, length - (size_t)cut + (size_t)more);
    kiln_buffer_free(&made.done[0]);
    kiln_buffer_free(&made.done[1]);
}

/* ---- attacks. One that returns lets the cell end as if nothing had been. */

static void length_4_gib(void)
{
    lie(KILN_FRAME_STDOUT, UINT32_MAX, "x", 1);
    hang();
}
static void length_one_too_many(void)
{
    lie(KILN_FRAME_STDOUT, KILN_FRAME_TO_ENGINE_MAX + 1, "x", 1);
    hang();
}
static void length_0(void)
{
    frame(KILN_FRAME_DISPLAY, "", 0);
    hang();
}
static void long_done(void)
{
    static char much[4097];
    frame(KILN_FRAME_DONE, much, sizeof(much));
    hang();
}
static void long_ready(void)
{
    text(KILN_FRAME_READY, "x");
    hang();
}
static void no_end(void)
{
    lie(KILN_FRAME_STDOUT, 100000, "x", 1);
}
static void type_0(void)
{
    frame(0, "", 0);
    hang();
}
static void type_255(void)
{
    text(255, "x");
    hang();
}
static void execute_back(void)
{
    text(KILN_FRAME_EXECUTE, "{}");
    hang();
}
static void analyze_back(void)
{
    text(KILN_FRAME_ANALYZE, "{}");
    hang();
}
static void version_0(void)
{
    header_byte(5, 0);
    hang();
}
static void version_2(void)
{
    header_byte(5, 2);
    hang();
}
static void reserved(void)
{
    header_byte(6, 1);
    hang();
}
static void reserved_too(void)
{
    header_byte(7, 0x80);
    hang();
}
static void ready_again(void)
{
    frame(KILN_FRAME_READY, "", 0);
    hang();
}
/* The worker's own follows. */
static void ready_before(void)
{
    frame(KILN_FRAME_READY, "", 0);
}
static void failed_late(void)
{
    text(KILN_FRAME_FAILED, "it was not me");
    hang();
}
static void analysis(void)
{
    text(KILN_FRAME_ANALYSIS, "{\"id\":1,\"analysis\":{}}");
}
static void reply(void)
{
    text(KILN_FRAME_REPLY, "{\"id\":1,\"reply\":{}}");
}
static void done_empty(void)
{
    frame(KILN_FRAME_DONE, "", 0);
    hang();
}
static void done_garbage(void)
{
    static char garbage[256];
    for (size_t i = 0; i < sizeof(garbage); i++) {
        garbage[i] = (char)(255 - i);
    }
    frame(KILN_FRAME_DONE, garbage, sizeof(garbage));
    hang();
}
static void done_cut(void)
{
    put_done(0, 1, 0);
    hang();
}
static void done_half(void)
{
    put_done(0, 8, 0);
    hang();
}
static void done_longer(void)
{
    put_done(0, 0, 1);
    hang();
}
static void done_of_another(void)
{
    put_done(1, 0, 0);
    hang();
}
static void done_at_once(void)
{
    put_done(0, 0, 0);
    hang();
}
static void done_twice(void)
{
    put_done(0, 0, 0);
    put_done(0, 0, 0);
    hang();
}
/* The real one follows. */
static void done_before(void)
{
    put_done(0, 0, 0);
}
static void output_after_done(void)
{
    put_done(0, 0, 0);
    text(KILN_FRAME_STDOUT, "late");
    hang();
}
static void outputs_of_no_shape(void)
{
    static const unsigned types[] = {KILN_FRAME_DISPLAY, KILN_FRAME_RESULT, KILN_FRAME_ERROR,
                                     KILN_FRAME_UPDATE, KILN_FRAME_CLEAR};
    static const char *const shapes[] = {"{",
                                         "null",
                                         "7",
                                         "[]",
                                         "{\"data\":1}",
                                         "{\"name\":1}",
                                         "{\"data\":{\"text/plain\":7}}",
                                         "{\"data\":{},\"data\":{}}",
                                         "{\"wait\":\"\\ud800\"}",
                                         "\xff\xfe",
                                         "\"\\u0000\"",
                                         "{}x"};
    char deep[20000];
    memset(deep, '[', sizeof(deep));
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        for (size_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
            text(types[i], shapes[k]);
        }
        frame(types[i], deep, sizeof(deep));
    }
}
static void half_a_header(void)
{
    put("\1\0\0", 3);
    _exit(0);
}
static void half_a_frame(void)
{
    lie(KILN_FRAME_STDOUT, 10, "half", 4);
    _exit(7);
}
static void socket_closed(void)
{
    close(frames());
    hang();
}
static void socket_shut(void)
{
    shutdown(frames(), SHUT_RDWR);
    hang();
}
static void socket_deaf(void)
{
    shutdown(frames(), SHUT_RD);
}
static void socket_dumb(void)
{
    shutdown(frames(), SHUT_WR);
    hang();
}
static void garbage(void)
{
    static const char request[64] = "HTTP/1.1 200 OK\r\n\r\n";
    put(request, sizeof(request));
    hang();
}
static void leave(void)
{
    _exit(0);
}
static void byte_by_byte(void)
{
    static const char slow[5] = {'s', 'l', 'o', 'w', '\n'};
    unsigned char bytes[KILN_FRAME_HEADER + 5] = {0};
    kiln_frame_header(bytes, KILN_FRAME_STDOUT, 5);
    memcpy(bytes + KILN_FRAME_HEADER, slow, 5);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        put(bytes + i, 1);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}
static void flood(void)
{
    static char much[1 << 20];
    memset(much, 'x', sizeof(much));
    for (int i = 0; i < 256; i++) {
        frame(KILN_FRAME_STDOUT, much, sizeof(much));
    }
}
static void flood_of_nothing(void)
{
    static unsigned char headers[8192][KILN_FRAME_HEADER];
    for (size_t i = 0; i < 8192; i++) {
        kiln_frame_header(headers[i], KILN_FRAME_STDERR, 0);
    }
    for (int i = 0; i < 16; i++) {
        put(headers, sizeof(headers));
    }
}
static void flood_of_displays(void)
{
    static char much[(1 << 20) + 64];
    int used = snprintf(much, sizeof(much), "{\"data\":{\"text/plain\":\"");
    memset(much + used, 'x', 1 << 20);
    memcpy(much + used + (1 << 20), "\"}}", 4);
    for (int i = 0; i < 100; i++) {
        text(KILN_FRAME_DISPLAY, much);
    }
}
/* Descriptors beside the bytes: an engine that took them would run out of its own. */
static void descriptors(void)
{
    enum { EACH = 50 };
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(EACH * sizeof(int))];
    } control;
    memset(&control, 0, sizeof(control));
    for (int round = 0; round < 40; round++) {
        unsigned char header[KILN_FRAME_HEADER];
        struct iovec part = {header, sizeof(header)};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof(control)};
        struct cmsghdr *first = CMSG_FIRSTHDR(&message);
        first->cmsg_level = SOL_SOCKET;
        first->cmsg_type = SCM_RIGHTS;
        first->cmsg_len = CMSG_LEN(EACH * sizeof(int));
        int *fds = (int *)(void *)CMSG_DATA(first);
        for (int i = 0; i < EACH; i++) {
            fds[i] = null;
        }
        kiln_frame_header(header, KILN_FRAME_STDOUT, 0);
        while (sendmsg(frames(), &message, MSG_NOSIGNAL) < 0) {
            if (errno != ETOOMANYREFS) {
                _exit(9);
            }
            nanosleep(&(struct timespec){0, 1000000}, NULL); /* until some were taken, or not */
        }
    }
    close(null);
}
/* Each in one send: the frames of the other thread stay whole. */
static void *write_on(void *unused)
{
    static const char said[] = {'b', 'e', 't', 'w', 'e', 'e', 'n', '\n'};
    unsigned char whole[KILN_FRAME_HEADER + sizeof(said)];
    kiln_frame_header(whole, KILN_FRAME_STDOUT, sizeof(said));
    memcpy(whole + KILN_FRAME_HEADER, said, sizeof(said));
    for (;;) {
        put(whole, sizeof(whole));
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    return unused;
}
static void output_between_cells(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, write_on, NULL);
}

static const struct {
    const char *name;
    void (*attack)(void);
} attacks[] = {
    {"length of 4 GiB", length_4_gib},
    {"length one over the bound", length_one_too_many},
    {"length 0 where there must be some", length_0},
    {"DONE of 4,097 bytes", long_done},
    {"READY with a payload", long_ready},
    {"a frame without end", no_end},
    {"type 0", type_0},
    {"type 255", type_255},
    {"EXECUTE", execute_back},
    {"ANALYZE", analyze_back},
    {"version 0", version_0},
    {"version 2", version_2},
    {"reserved byte", reserved},
    {"other reserved byte", reserved_too},
    {"READY", ready_again},
    {"READY before its time", ready_before},
    {"FAILED", failed_late},
    {"ANALYSIS", analysis},
    {"REPLY", reply},
    {"DONE empty", done_empty},
    {"DONE of garbage", done_garbage},
    {"DONE one byte short", done_cut},
    {"DONE eight bytes short", done_half},
    {"DONE one byte long", done_longer},
    {"DONE of another cell", done_of_another},
    {"DONE and no end", done_at_once},
    {"DONE twice", done_twice},
    {"DONE before its time", done_before},
    {"output after DONE", output_after_done},
    {"outputs of no shape", outputs_of_no_shape},
    {"half a header, then the end", half_a_header},
    {"half a frame, then the end", half_a_frame},
    {"socket closed", socket_closed},
    {"socket shut down", socket_shut},
    {"socket shut for reading", socket_deaf},
    {"socket shut for writing", socket_dumb},
    {"garbage", garbage},
    {"the end without a word", leave},
    {"nothing, for ever", hang},
    {"a frame byte by byte", byte_by_byte},
    {"flood of output", flood},
    {"flood of empty frames", flood_of_nothing},
    {"flood of displays", flood_of_displays},
    {"descriptors", descriptors},
    {"output between cells", output_between_cells},
};

static bool attack_by_name(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
        if (strlen(attacks[i].name) == length && memcmp(attacks[i].name, name, length) == 0) {
            attacks[i].attack();
            return true;
        }
    }
    return false;
}

/* ---- the worker half */

static int preload(const kiln_worker_host *its_host, const char **error)
{
    (void)error;
    host = its_host;
    const char *what = host->option("start");
    if (what != NULL && strcmp(what, "garbage to the engine while it preloads") == 0) {
        (void)!send(KILN_CONTROL_FD, what, strlen(what), MSG_NOSIGNAL);
    }
    if (what != NULL && strcmp(what, "READY while it preloads") == 0) {
        kiln_control_send(KILN_CONTROL_FD, KILN_CONTROL_READY, 0, NULL, 0, NULL, 0, 0);
    }
    if (what != NULL && strcmp(what, "control socket closed while it preloads") == 0) {
        shutdown(KILN_CONTROL_FD, SHUT_RDWR);
    }
    return 0;
}

static int start(void)
{
    const char *what = host->option("start");
    if (what != NULL) {
        attack_by_name(what, strlen(what));
    }
    return 0;
}

static int execute(const kiln_cell *cell, kiln_verdict *verdict)
{
    verdict->status = KILN_STATUS_OK;
    if (!attack_by_name(cell->code, cell->code_length)) {
        host->emit(&(kiln_event){.size = sizeof(kiln_event),
                                 .type = KILN_EVENT_STREAM,
                                 .stream = KILN_STDOUT,
                                 .data = cell->code,
                                 .length = cell->code_length});
    }
    return 0;
}

/* The code is what the analysis is said to be. */
static int analyze(const char *code, size_t length, const char **json)
{
    static char copy[65536];
    snprintf(copy, sizeof(copy), "%.*s", (int)length, code);
    if (!attack_by_name(code, length)) {
        *json = copy;
    }
    return 0;
}

static const kiln_worker worker = {.size = sizeof(worker),
                                   .preload = preload,
                                   .start = start,
                                   .execute = execute,
                                   .analyze = analyze};
KILN_WORKER(worker)
#endif
