/* guest_main.c - the worker process: frames in, kiln_worker callbacks, frames out.
 *
 * SIGINT is blocked but while a cell runs, and carries the id of the cell that it is
 * meant for: one that was for an earlier cell is thrown away, one that overtook its
 * cell's frame is raised again when the cell begins. The disposition is the plugin's.
 *
 * The code may fork. A child that comes back into the loop ends quietly; what a child
 * emits in between goes to its descriptors 1 and 2, since two writers would cut each
 * other's frames. */
#include "worker/supervisor.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "worker/frame.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* kiln_worker_host.emit takes no user pointer: a process is one worker. */
static int frame_socket = -1;
static pid_t worker_pid;
static bool in_cell;
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;

/* One frame. An engine that is gone, or that has closed the socket on us, leaves
 * nothing to do here. */
static void send_frame(kiln_frame_type type, const void *payload, size_t length)
{
    unsigned char header[KILN_FRAME_HEADER];
    struct iovec parts[2] = {{header, sizeof(header)}, {(void *)(uintptr_t)payload, length}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    kiln_frame_header(header, type, (uint32_t)length);
    pthread_mutex_lock(&writing);
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t sent = sendmsg(frame_socket, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            _exit(1);
        }
        for (int i = 0; i < 2; i++) {
            size_t part = (size_t)sent < parts[i].iov_len ? (size_t)sent : parts[i].iov_len;
            parts[i].iov_base = (char *)parts[i].iov_base + part;
            parts[i].iov_len -= part;
            sent -= (ssize_t)part;
        }
    }
    pthread_mutex_unlock(&writing);
}

static void write_raw(const kiln_event *event)
{
    const char *data = event->data;
    size_t length = event->length;
    while (length > 0) {
        ssize_t n = write(event->stream == KILN_STDERR ? 2 : 1, data, length);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return; /* the child closed it: its own affair */
        }
        data += n;
        length -= (size_t)n;
    }
}

static void send_stream(const kiln_event *event)
{
    kiln_frame_type type = event->stream == KILN_STDERR ? KILN_FRAME_STDERR : KILN_FRAME_STDOUT;
    for (size_t at = 0; at < event->length;) {
        size_t part = event->length - at;
        if (part > KILN_FRAME_TO_ENGINE_MAX) {
            part = KILN_FRAME_TO_ENGINE_MAX;
        }
        send_frame(type, event->data + at, part);
        at += part;
    }
}

void kiln_guest_emit(const kiln_event *event)
{
    static const kiln_frame_type types[] = {
        [KILN_EVENT_DISPLAY] = KILN_FRAME_DISPLAY, [KILN_EVENT_RESULT] = KILN_FRAME_RESULT,
        [KILN_EVENT_ERROR] = KILN_FRAME_ERROR,     [KILN_EVENT_UPDATE] = KILN_FRAME_UPDATE,
        [KILN_EVENT_CLEAR] = KILN_FRAME_CLEAR,
    };
    if (frame_socket < 0 || !in_cell) {
        return; /* preloading, or a thread that prints between two cells */
    }
    bool stream = event->type == KILN_EVENT_STREAM;
    if (getpid() != worker_pid) {
        if (stream) {
            write_raw(event);
        }
    } else if (stream) {
        send_stream(event);
    } else if (event->type < sizeof(types) / sizeof(types[0]) && types[event->type] != 0) {
        if (event->length > KILN_FRAME_TO_ENGINE_MAX) {
            static const char why[] =
                "{\"name\":\"OutputTooLarge\",\"value\":\"an output of more than 32 MiB was "
                "dropped\",\"traceback\":[]}";
            send_frame(KILN_FRAME_ERROR, why, sizeof(why) - 1);
        } else {
            send_frame(types[event->type], event->data, event->length);
        }
    }
}

void kiln_guest_refuse(int frames, const char *text)
{
    frame_socket = frames;
    send_frame(KILN_FRAME_FAILED, text, strlen(text));
}

/* ---- requests. They come from the engine, which is trusted; still, nothing is
 * taken for granted that jansson does not check. */

typedef struct cell_request {
    json_int_t id;
    kiln_cell cell;
    const char **args; /* owned arrays of borrowed strings */
    const char **env;
    unsigned char *stdin_data;
} cell_request;

static void cell_request_free(cell_request *request)
{
    free(request->args);
    free(request->env);
    free(request->stdin_data);
}

static const char **string_array(json_t *array)
{
    size_t count = json_array_size(array);
    const char **strings = calloc(count + 1, sizeof(*strings));
    for (size_t i = 0; strings != NULL && i < count; i++) {
        strings[i] = json_string_value(json_array_get(array, i));
        if (strings[i] == NULL) {
            free(strings);
            return NULL;
        }
    }
    return strings;
}

static int decode_stdin(cell_request *request, const char *base64)
{
    size_t length = strlen(base64);
    request->stdin_data = malloc(length + 1);
    if (request->stdin_data == NULL) {
        return -ENOMEM;
    }
    size_t decoded;
    if (sodium_base642bin(request->stdin_data, length, base64, length, NULL, &decoded, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0) {
        return -EPROTO;
    }
    request->stdin_data[decoded] = '\0';
    request->cell.stdin_data = (const char *)request->stdin_data;
    request->cell.stdin_length = decoded;
    return 0;
}

static int decode_cell(json_t *json, cell_request *request)
{
    json_t *args;
    json_t *env;
    json_int_t count;
    size_t code_length;
    request->cell.size = sizeof(request->cell);
    if (json_unpack(json, "{s:I,s:s%,s:I,s:o,s:o}", "id", &request->id, "code",
                    &request->cell.code, &code_length, "execution_count", &count, "args", &args,
                    "env", &env) < 0) {
        return -EPROTO;
    }
    /* Both may be null. */
    request->cell.cell_id = json_string_value(json_object_get(json, "cell_id"));
    const char *base64 = json_string_value(json_object_get(json, "stdin"));
    request->cell.code_length = code_length;
    request->cell.execution_count = (uint64_t)count;
    request->args = string_array(args);
    request->env = string_array(env);
    if (request->args == NULL || request->env == NULL) {
        return -EPROTO;
    }
    request->cell.args = request->args;
    request->cell.env = request->env;
    return base64 != NULL ? decode_stdin(request, base64) : 0;
}

static uint64_t cpu_us(void)
{
    struct timespec self;
    struct rusage children;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    return (uint64_t)(self.tv_sec + children.ru_utime.tv_sec + children.ru_stime.tv_sec) *
               1000000 +
           (uint64_t)(self.tv_nsec / 1000 + children.ru_utime.tv_usec +
                      children.ru_stime.tv_usec);
}

static uint64_t max_rss_bytes(void)
{
    struct rusage self;
    getrusage(RUSAGE_SELF, &self);
    return (uint64_t)self.ru_maxrss * 1024;
}

/* Lets SIGINT in; one that is pending counts only if it is for this cell. */
static void allow_interrupts(const sigset_t *interrupts, json_int_t id)
{
    static const struct timespec now = {0, 0};
    sigset_t pending;
    siginfo_t info;
    if (sigpending(&pending) == 0 && sigismember(&pending, SIGINT) &&
        sigtimedwait(interrupts, &info, &now) == SIGINT && info.si_code == SI_QUEUE &&
        info.si_value.sival_int == (int)id) {
        raise(SIGINT);
    }
    sigprocmask(SIG_UNBLOCK, interrupts, NULL);
}

static int run_cell(const kiln_worker *worker, const kiln_frame *frame)
{
    auto_json json_t *json =
        json_loadb(frame->payload, frame->length, JSON_REJECT_DUPLICATES, NULL);
    __attribute__((cleanup(cell_request_free))) cell_request request = {0};
    if (json == NULL || decode_cell(json, &request) < 0) {
        return -EPROTO;
    }
    kiln_verdict verdict = {.size = sizeof(verdict), .status = KILN_STATUS_OK};
    sigset_t interrupts;
    sigemptyset(&interrupts);
    sigaddset(&interrupts, SIGINT);
    uint64_t before = cpu_us();
    in_cell = true;
    allow_interrupts(&interrupts, request.id);
    int rc = worker->execute(&request.cell, &verdict);
    sigprocmask(SIG_BLOCK, &interrupts, NULL);
    if (getpid() != worker_pid) {
        _exit(0);
    }
    in_cell = false;
    if (rc < 0) {
        return rc; /* the plugin gave up: so does the worker */
    }
    const char *status = verdict.status == KILN_STATUS_OK            ? "ok"
                         : verdict.status == KILN_STATUS_INTERRUPTED ? "interrupted"
                                                                     : "error";
    char code[16] = "null";
    if (verdict.has_exit_code) {
        snprintf(code, sizeof(code), "%d", (int)(verdict.exit_code & 0xff));
    }
    char done[256];
    uint64_t used = cpu_us() - before;
    /* No %f: the code may have set a locale with a decimal comma. */
    int length =
        snprintf(done, sizeof(done),
                 "{\"id\":%lld,\"status\":\"%s\",\"exit_code\":%s,"
                 "\"cpu_ms\":%llu.%03llu,\"max_rss_bytes\":%llu}",
                 (long long)request.id, status, code, (unsigned long long)(used / 1000),
                 (unsigned long long)(used % 1000), (unsigned long long)max_rss_bytes());
    send_frame(KILN_FRAME_DONE, done, (size_t)length);
    return 0;
}

static int analyze(const kiln_worker *worker, const kiln_frame *frame)
{
    static const char failed[] =
        "{\"error\":{\"name\":\"AnalysisError\",\"message\":\"the code could not be analysed\","
        "\"line\":0,\"column\":0}}";
    auto_json json_t *json =
        json_loadb(frame->payload, frame->length, JSON_REJECT_DUPLICATES, NULL);
    json_int_t id;
    const char *code;
    size_t length;
    if (json == NULL ||
        json_unpack(json, "{s:I,s:s%}", "id", &id, "code", &code, &length) < 0) {
        return -EPROTO;
    }
    const char *analysis = NULL;
    if (worker->analyze == NULL || worker->analyze(code, length, &analysis) < 0 ||
        analysis == NULL) {
        analysis = failed;
    }
    auto_buffer kiln_buffer reply = KILN_BUFFER_INIT;
    if (kiln_buffer_printf(&reply, "{\"id\":%lld,\"analysis\":%s}", (long long)id, analysis) <
        0) {
        return -ENOMEM;
    }
    if (reply.length > KILN_FRAME_TO_ENGINE_MAX) {
        kiln_buffer_consume(&reply, reply.length);
        kiln_buffer_printf(&reply, "{\"id\":%lld,\"analysis\":%s}", (long long)id, failed);
    }
    send_frame(KILN_FRAME_ANALYSIS, reply.data, reply.length);
    return 0;
}

/* 1: `input` begins with a whole frame of *used bytes; 0: the engine has closed. */
static int receive_frame(kiln_buffer *input, kiln_frame *frame, size_t *used)
{
    kiln_error err = KILN_ERROR_INIT;
    for (;;) {
        int rc = kiln_frame_decode(input->data, input->length, false, frame, used, &err);
        if (rc != 0) {
            return rc;
        }
        /* Mostly a frame is small and comes whole: one read takes it. */
        size_t room = *used - input->length;
        room = room < 16384 ? 16384 : room;
        if (kiln_buffer_reserve(input, room) < 0) {
            return -ENOMEM;
        }
        ssize_t n = recv(frame_socket, input->data + input->length, room, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n == 0 ? 0 : -errno;
        }
        input->length += (size_t)n;
    }
}

int kiln_guest_main(const kiln_worker *worker, int frames)
{
    auto_buffer kiln_buffer input = KILN_BUFFER_INIT;
    worker_pid = getpid();
    frame_socket = frames;
    int rc = worker->start();
    if (getpid() != worker_pid) {
        return 0;
    }
    if (rc < 0) {
        static const char text[] = "the plugin's start() failed in the worker";
        kiln_guest_refuse(frames, text);
        return 1;
    }
    send_frame(KILN_FRAME_READY, NULL, 0);
    kiln_frame frame;
    size_t used;
    while ((rc = receive_frame(&input, &frame, &used)) == 1) {
        rc = frame.type == KILN_FRAME_EXECUTE ? run_cell(worker, &frame)
                                              : analyze(worker, &frame);
        if (rc < 0) {
            return 1;
        }
        kiln_buffer_consume(&input, used);
        if (input.length == 0 && input.capacity > (1 << 20)) {
            kiln_buffer_free(&input); /* a big cell must not stay in every branch */
        }
    }
    return rc == 0 ? 0 : 1;
}
