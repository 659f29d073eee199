/* A worker against the engine as it runs: the engine's real sandbox, run, guest and
 * dialogue on a real loop and real sockets, and in the place of zygote and supervisor this
 * program, which sends what the input says: bytes, frames, streams, ends, in any order and
 * in any pieces.
 *
 * Whatever comes: a cell ends once, by on_done or with its worker's on_exit; on_exit comes
 * once, and nothing after it; output only while a cell runs; no handle, descriptor or byte
 * is left. What the supervisor says is right, as it is the engine's own; when it says it is
 * the input's choice. */
#include "worker/cell_frame.h"
#include "worker/dialogue.h"
#include "worker/engine_side.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define MUST(condition)                                                                        \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

/* ---- the input, eaten from its front */

typedef struct input {
    const uint8_t *at;
    size_t left;
} input;

static uint8_t byte(input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->at++;
}

/* At most `most` bytes; *length of them. */
static const char *bytes(input *in, size_t most, size_t *length)
{
    size_t want = byte(in) | (size_t)byte(in) << 8;
    want = want > most ? most : want;
    *length = want > in->left ? in->left : want;
    const char *start = (const char *)in->at;
    in->at += *length;
    in->left -= *length;
    return start;
}

/* ---- the engine's user */

typedef struct world {
    input in;
    uv_loop_t *loop;
    kiln_zygote zygote;
    kiln_sandbox *sandbox;
    kiln_guest *guest;
    bool cell, analysis, query; /* runs */
    bool calling;               /* a call is not answered */
    bool exited;
    bool close_in_callback, cell_in_callback;
    unsigned cells;
    int supervisor; /* our end of its control socket, -1: closed */
    int frames, out, error;
    bool running; /* a RUN was taken and its EXIT is not sent */
    uint32_t run_id;
    kiln_buffer requests; /* that the engine wrote and nobody read yet */
    uint32_t request_id;
} world;

static void start_cell(world *w)
{
    static const char *const strings[] = {"a", "b=c", NULL};
    const kiln_input cell = {.size = sizeof(cell),
                             .code = "code",
                             .code_length = 4,
                             .language = "python",
                             .cell_id = "id",
                             .execution_count = 1,
                             .args = strings,
                             .env = strings,
                             .stdin_data = "stdin",
                             .stdin_length = 5};
    kiln_error err = KILN_ERROR_INIT;
    if (w->guest == NULL || w->exited) {
        return;
    }
    bool busy = w->cell || w->analysis || w->query;
    int rc = kiln_guest_execute(w->guest, &cell, &err);
    MUST(rc == 0 || err.text[0] != '\0');
    MUST(rc < 0 || !busy);
    if (rc == 0) {
        w->cell = true;
        w->cells++;
    }
}

static void maybe_close(world *w)
{
    if (w->close_in_callback && w->sandbox != NULL) {
        kiln_sandbox *sandbox = w->sandbox;
        w->sandbox = NULL;
        kiln_sandbox_close(sandbox);
    }
}

static void on_event(void *user, const kiln_event *event)
{
    world *w = user;
    MUST(w->cell && !w->exited && event->size == sizeof(*event));
    char *copy = malloc(event->length > 0 ? event->length : 1); /* every byte is there */
    memcpy(copy, event->data, event->length);
    free(copy);
    maybe_close(w);
}

static void on_done(void *user, const kiln_verdict *verdict, double cpu_ms,
                    uint64_t max_rss_bytes)
{
    world *w = user;
    (void)max_rss_bytes;
    MUST(w->cell && !w->exited && cpu_ms >= 0);
    MUST(verdict->status == KILN_STATUS_OK || verdict->status == KILN_STATUS_ERROR ||
         verdict->status == KILN_STATUS_INTERRUPTED);
    MUST(!verdict->has_exit_code || (verdict->exit_code >= 0 && verdict->exit_code <= 255));
    w->cell = false;
    maybe_close(w);
    if (w->cell_in_callback && w->cells < 100) {
        start_cell(w);
    }
}

static void on_analysis(void *user, json_t *analysis)
{
    world *w = user;
    MUST(w->analysis && !w->exited && json_is_object(analysis));
    w->analysis = false;
    maybe_close(w);
}

static void on_reply(void *user, json_t *reply, const char *error)
{
    world *w = user;
    MUST(w->query && !w->exited && (reply != NULL || error != NULL));
    w->query = false;
    maybe_close(w);
}

/* Answered at once, or never: then the cell's end, or its worker's, gives it up. */
static void on_call(void *user, uint32_t number, const char *data, size_t length)
{
    world *w = user;
    MUST(w->cell && !w->exited && !w->calling && number > 0);
    w->calling = length % 2 != 0;
    if (!w->calling) {
        MUST(kiln_guest_return(w->guest, number, data, length) == 0);
    }
    maybe_close(w);
}

static void on_call_over(void *user)
{
    world *w = user;
    MUST(w->calling && !w->exited);
    w->calling = false;
}

static void on_exit_(void *user, const kiln_exit *exit)
{
    world *w = user;
    MUST(!w->exited && exit->size == sizeof(*exit));
    w->exited = true;
    w->cell = w->analysis = w->query = false; /* by this, if not before */
    w->guest = NULL;
    maybe_close(w);
}

/* ---- the zygote's and the supervisor's place */

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static void report_exit(world *w, int status)
{
    if (!w->running || w->supervisor < 0) {
        return;
    }
    const kiln_control_exit exit = {.status = status, .cpu_us = 7, .max_rss_bytes = 7};
    close_fd(&w->frames);
    close_fd(&w->out);
    close_fd(&w->error);
    w->running = false;
    kiln_control_send(w->supervisor, KILN_CONTROL_EXIT, w->run_id, &exit, sizeof(exit), NULL, 0,
                      MSG_DONTWAIT);
}

/* What the engine asks of a supervisor is done as one does it. */
static void serve(world *w, bool sweeps)
{
    static kiln_control_message message;
    while (w->supervisor >= 0) {
        int got = kiln_control_receive(w->supervisor, MSG_DONTWAIT, &message);
        if (got == -EAGAIN) {
            return;
        }
        if (got <= 0) {
            close_fd(&w->supervisor);
            return;
        }
        if (message.type == KILN_CONTROL_RUN_WORKER) {
            MUST(message.fd_count == 4 && !w->running);
            w->running = true;
            w->run_id = message.id;
            w->out = kiln_steal_fd(&message.fds[1]);
            w->error = kiln_steal_fd(&message.fds[2]);
            w->frames = kiln_steal_fd(&message.fds[3]);
            fcntl(w->frames, F_SETFL, O_NONBLOCK);
            fcntl(w->out, F_SETFL, O_NONBLOCK);
            fcntl(w->error, F_SETFL, O_NONBLOCK);
        } else if (message.type == KILN_CONTROL_KILL) {
            report_exit(w, SIGKILL);
        } else if (message.type == KILN_CONTROL_SWEEP && sweeps) {
            kiln_control_send(w->supervisor, KILN_CONTROL_SWEPT, message.id, NULL, 0, NULL, 0,
                              MSG_DONTWAIT);
        }
        kiln_control_clear(&message);
    }
}

static void turn(world *w)
{
    for (int i = 0; i < 3; i++) {
        serve(w, true);
        uv_run(w->loop, UV_RUN_NOWAIT);
    }
}

/* ---- the worker's */

static void send_bytes(world *w, const void *data, size_t length)
{
    if (w->frames >= 0) {
        (void)!send(w->frames, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

static void send_frame(world *w, kiln_frame_type type, const void *payload, size_t length)
{
    auto_buffer kiln_buffer out = KILN_BUFFER_INIT;
    MUST(kiln_frame_append(&out, type, payload, length) == 0);
    send_bytes(w, out.data, out.length);
}

/* What the engine wrote: always frames, and the id of its last request is remembered. */
static void read_requests(world *w)
{
    char chunk[4096];
    ssize_t n;
    while (w->frames >= 0 && (n = recv(w->frames, chunk, sizeof(chunk), MSG_DONTWAIT)) > 0) {
        MUST(kiln_buffer_append(&w->requests, chunk, (size_t)n) == 0);
    }
    for (;;) {
        kiln_frame frame;
        size_t used;
        kiln_error err = KILN_ERROR_INIT;
        int rc =
            kiln_frame_decode(w->requests.data, w->requests.length, false, &frame, &used, &err);
        MUST(rc >= 0);
        if (rc == 0) {
            return;
        }
        if (frame.type == KILN_FRAME_EXECUTE) {
            kiln_cell_request request;
            MUST(kiln_cell_request_decode(frame.payload, frame.length, &request) == 0);
            w->request_id = request.id;
            kiln_cell_request_free(&request);
        } else {
            json_t *json = json_loadb(frame.payload, frame.length, 0, NULL);
            MUST(json_is_integer(json_object_get(json, "id")));
            w->request_id = (uint32_t)json_integer_value(json_object_get(json, "id"));
            json_decref(json);
        }
        kiln_buffer_consume(&w->requests, used);
    }
}

/* An answer that is right but for what the input says of it. */
static void send_answer(world *w, uint8_t how)
{
    char text[256];
    read_requests(w);
    uint32_t id = how & 4 ? 4711 : w->request_id;
    if (how & 32) {
        int length = snprintf(text, sizeof(text), "{\"id\":%u,%s}", id,
                              how & 16 ? "\"error\":\"no\"" : "\"reply\":[1,2]");
        send_frame(w, KILN_FRAME_REPLY, text, (size_t)length);
        return;
    }
    if (how & 8) {
        int length =
            snprintf(text, sizeof(text), "{\"id\":%u,\"analysis\":{\"imports\":[]}}", id);
        send_frame(w, KILN_FRAME_ANALYSIS, text, (size_t)length);
        return;
    }
    unsigned char bytes_[KILN_CELL_DONE_BYTES];
    const kiln_cell_done done = {.id = id,
                                 .verdict = {.has_exit_code = (how & 16) != 0, .exit_code = 3},
                                 .cpu_us = 100,
                                 .max_rss_bytes = 5};
    kiln_cell_done_encode(&done, bytes_);
    bytes_[4] = how & 3; /* one of them is no status */
    send_frame(w, KILN_FRAME_DONE, bytes_, sizeof(bytes_));
}

static void act(world *w)
{
    static const kiln_frame_type types[] = {
        KILN_FRAME_STDOUT, KILN_FRAME_STDERR, KILN_FRAME_DISPLAY,  KILN_FRAME_RESULT,
        KILN_FRAME_ERROR,  KILN_FRAME_UPDATE, KILN_FRAME_CLEAR,    KILN_FRAME_DONE,
        KILN_FRAME_READY,  KILN_FRAME_FAILED, KILN_FRAME_ANALYSIS, KILN_FRAME_REPLY};
    size_t length;
    const char *data;
    kiln_error err = KILN_ERROR_INIT;
    uint8_t what = byte(&w->in);
    switch (what % 20) {
    case 0:
    case 1:
        data = bytes(&w->in, 8192, &length);
        send_bytes(w, data, length);
        break;
    case 2:
    case 3:
    case 4: {
        kiln_frame_type type = types[byte(&w->in) % (sizeof(types) / sizeof(types[0]))];
        data = bytes(&w->in, 8192, &length);
        send_frame(w, type, data, length);
        break;
    }
    case 5:
        send_frame(w, KILN_FRAME_READY, "", 0);
        break;
    case 6:
    case 7:
        send_answer(w, byte(&w->in));
        break;
    case 8:
    case 9:
        start_cell(w);
        break;
    case 10:
        if (w->guest != NULL && !w->exited && kiln_guest_analyze(w->guest, "x", 1, &err) == 0) {
            MUST(!w->cell && !w->analysis && !w->query);
            w->analysis = true;
        }
        if ((what & 0x40) != 0 && w->guest != NULL && !w->exited) {
            json_t *arguments = json_object();
            if (kiln_guest_query(w->guest, "complete", arguments, &err) == 0) {
                MUST(!w->cell && !w->analysis && !w->query);
                w->query = true;
            }
            json_decref(arguments);
        }
        break;
    case 11:
        data = bytes(&w->in, 4096, &length);
        if ((what & 0x20) != 0 ? w->out >= 0 : w->error >= 0) {
            (void)!write((what & 0x20) != 0 ? w->out : w->error, data, length);
        }
        break;
    case 12:
        close_fd(&w->frames);
        break;
    case 13:
        if (w->frames >= 0) {
            shutdown(w->frames, byte(&w->in) % 3);
        }
        break;
    case 14:
        report_exit(w, byte(&w->in) << (what & 0x40 ? 8 : 0));
        break;
    case 15:
        if (w->guest != NULL && !w->exited) {
            kiln_guest_interrupt(w->guest);
        }
        break;
    case 16:
        if (w->guest != NULL && !w->exited) {
            kiln_guest_sweep(w->guest);
        }
        break;
    case 17:
        if (w->guest != NULL && !w->exited && (what & 0x20) != 0) {
            kiln_guest_kill(w->guest);
        }
        break;
    case 18:
        serve(w, false);
        break;
    default:
        turn(w);
    }
}

/* ---- an engine's life */

static void take_supervisor(world *w, int zygote)
{
    static kiln_control_message message;
    int got = kiln_control_receive(zygote, MSG_DONTWAIT, &message);
    MUST(got == 1 && message.type == KILN_CONTROL_OPEN && message.fd_count == 1);
    w->supervisor = kiln_steal_fd(&message.fds[0]);
    kiln_control_clear(&message);
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder != NULL && readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

static uv_loop_t loop;
static bool warm; /* libuv and ASan have opened what they keep */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    kiln_log_set_level(KILN_LOG_ERROR);
    signal(SIGPIPE, SIG_IGN);
    MUST(uv_loop_init(&loop) == 0);
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    warm = true;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const kiln_guest_callbacks callbacks = {.on_event = on_event,
                                                   .on_done = on_done,
                                                   .on_analysis = on_analysis,
                                                   .on_exit = on_exit_,
                                                   .on_reply = on_reply,
                                                   .on_call = on_call,
                                                   .on_call_over = on_call_over};
    int pair[2];
    kiln_limits limits = {.memory = 0};
    kiln_error err = KILN_ERROR_INIT;
    world w = {.in = {data, size},
               .loop = &loop,
               .supervisor = -1,
               .frames = -1,
               .out = -1,
               .error = -1,
               .zygote = {.loop = &loop,
                          .state = KILN_ZYGOTE_READY,
                          .pidfd = -1,
                          .zygote_pidfd = -1,
                          .control = -1}};
    int before = open_descriptors();
    uint8_t flags = byte(&w.in);
    w.close_in_callback = (flags & 1) != 0 && (flags & 2) != 0;
    w.cell_in_callback = (flags & 4) != 0;
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    w.zygote.control = pair[0];
    MUST(kiln_sandbox_open(&w.zygote, "fuzz", &limits, NULL, NULL, &w.sandbox, &err) == 0);
    take_supervisor(&w, pair[1]);
    MUST(kiln_guest_start(w.sandbox, NULL, &callbacks, &w, &w.guest, &err) == 0);
    if ((flags & 8) == 0) { /* mostly a start that is well */
        turn(&w);
        send_frame(&w, KILN_FRAME_READY, "", 0);
        start_cell(&w);
    }
    while (w.in.left > 0 && w.sandbox != NULL) {
        act(&w);
    }
    turn(&w);

    /* The end: whatever is left to say is said, and then nothing may be left. */
    report_exit(&w, 0);
    turn(&w);
    if (w.sandbox != NULL) {
        kiln_sandbox_close(w.sandbox);
    }
    MUST(w.exited && !w.cell && !w.analysis);
    close_fd(&w.supervisor);
    close_fd(&w.frames);
    close_fd(&w.out);
    close_fd(&w.error);
    kiln_buffer_free(&w.requests);
    for (int i = 0; i < 1000 && uv_loop_alive(&loop); i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    MUST(!uv_loop_alive(&loop));
    MUST(w.zygote.sandboxes == NULL);
    close(pair[0]);
    close(pair[1]);
    MUST(!warm || open_descriptors() == before);
    return 0;
}
