/* guest_main.c - the worker process: frames in, kiln_worker callbacks, frames out.
 *
 * The code may fork. A child that comes back into the loop ends quietly; what a child
 * emits in between goes to its descriptors 1 and 2, since two writers would cut each
 * other's frames. */
#include "worker/supervisor.h"
#include "worker/usage.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "worker/cell_frame.h"

#include <endian.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* kiln_worker_host.emit takes no user pointer: a process is one worker. */
static int frame_socket = -1;
static bool in_cell;
static uint32_t cell_id; /* of the cell that runs */
static uint32_t call_number;
static kiln_buffer replies; /* what came during calls of the cell, and is not taken yet */
static bool jammed;         /* this cell's pipes do not run dry */
static uint32_t linger_us;  /* for the next request, as the last one said */
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;

/* What is known to be a cell's last output waits for its DONE, so that both are one
 * message: the engine then wakes up once, and with everything in its hands. */
enum { HELD_BYTES = 4096 };
static char held[HELD_BYTES];
static size_t held_length;

/* An engine that is gone, or that has closed the socket on us, leaves nothing to do here. */
static void send_parts(struct iovec *parts, size_t count)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    while (message.msg_iovlen > 0) {
        ssize_t sent = sendmsg(frame_socket, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            _exit(1);
        }
        while (message.msg_iovlen > 0 && (size_t)sent >= message.msg_iov->iov_len) {
            sent -= (ssize_t)message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen > 0) {
            message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + sent;
            message.msg_iov->iov_len -= (size_t)sent;
        }
    }
}

/* What the code's programs have written to descriptors 1 and 2 goes before what comes now:
 * waits until the engine, which reads the frames first, has taken it. What grows again as
 * it is taken is a program that goes on writing, and would hold up each frame: then the
 * cell waits no more. What stays as it is waits for an engine that is busy. */
static void let_pipes_run_dry(void)
{
    enum { FLOODED = 500, STALLED = 20000, MUCH = 1 << 15 };
    static const struct timespec moment = {0, 20000}; /* 70 us with the kernel's slack */
    int flooded = 0, stalled = 0, before = 0, left = 0;
    for (int fd = 1; fd <= 2 && !jammed; fd++) {
        while (ioctl(fd, FIONREAD, &left) == 0 && left > 0) {
            struct stat what;
            if (fstat(fd, &what) < 0 || !S_ISFIFO(what.st_mode)) {
                break; /* the code has put something else there */
            }
            if (left != before || left >= MUCH) {
                flooded++;
            } else {
                stalled++;
            }
            before = left;
            if (flooded > FLOODED || stalled > STALLED) {
                jammed = true;
                break;
            }
            nanosleep(&moment, NULL);
        }
    }
}

static void write_frame(kiln_frame_type type, const void *payload, size_t length)
{
    unsigned char header[KILN_FRAME_HEADER];
    kiln_frame_header(header, type, (uint32_t)length);
    pthread_mutex_lock(&writing);
    struct iovec parts[3] = {
        {held, held_length},
        {header, sizeof(header)},
        {(void *)(uintptr_t)payload, length},
    };
    bool alone = held_length == 0;
    held_length = 0;
    send_parts(parts + alone, 3 - alone);
    pthread_mutex_unlock(&writing);
}

static void send_frame(kiln_frame_type type, const void *payload, size_t length)
{
    let_pipes_run_dry();
    write_frame(type, payload, length);
}

/* false: it does not fit, or something waits already. */
static bool hold_frame(kiln_frame_type type, const void *payload, size_t length)
{
    bool fits = false;
    pthread_mutex_lock(&writing);
    if (held_length == 0 && length <= HELD_BYTES - KILN_FRAME_HEADER) {
        kiln_frame_header((unsigned char *)held, type, (uint32_t)length);
        memcpy(held + KILN_FRAME_HEADER, payload, length);
        held_length = KILN_FRAME_HEADER + length;
        fits = true;
    }
    pthread_mutex_unlock(&writing);
    return fits;
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
    if (!kiln_guest_owned()) {
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
        } else if ((event->flags & KILN_EVENT_LAST) == 0 ||
                   !hold_frame(types[event->type], event->data, event->length)) {
            send_frame(types[event->type], event->data, event->length);
        }
    }
}

/* ---- calls to the engine */

/* 1: the frame is the RETURN that is waited for; 0: one of a call that was given up. */
static int take_return(const kiln_frame *frame)
{
    const unsigned char *at = (const unsigned char *)frame->payload;
    if (frame->type != KILN_FRAME_RETURN || frame->length < 4) {
        _exit(1); /* not what this engine sends */
    }
    uint32_t number =
        (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    return number == call_number;
}

static int await_return(const char **reply, size_t *reply_length)
{
    static kiln_buffer last;
    kiln_error err = KILN_ERROR_INIT;
    for (;;) {
        kiln_frame frame;
        size_t used;
        int rc = kiln_frame_decode(replies.data, replies.length, false, &frame, &used, &err);
        if (rc < 0) {
            _exit(1);
        }
        if (rc == 1) {
            bool ours = take_return(&frame);
            kiln_buffer_free(&last);
            if (ours && kiln_buffer_append(&last, frame.payload + 4, frame.length - 4) < 0) {
                return -ENOMEM;
            }
            kiln_buffer_consume(&replies, used);
            if (ours) {
                *reply = last.data != NULL ? last.data : "";
                *reply_length = last.length;
                return 0;
            }
            continue;
        }
        size_t room = used - replies.length < 16384 ? 16384 : used - replies.length;
        if (kiln_buffer_reserve(&replies, room) < 0) {
            return -ENOMEM;
        }
        ssize_t n = recv(frame_socket, replies.data + replies.length, room, 0);
        if (n < 0 && errno == EINTR) {
            return -EINTR;
        }
        if (n <= 0) {
            _exit(1);
        }
        replies.length += (size_t)n;
    }
}

int kiln_guest_call(const void *data, size_t length, const char **reply, size_t *reply_length)
{
    if (frame_socket < 0 || !in_cell || !kiln_guest_owned() || gettid() != getpid()) {
        return -EPERM;
    }
    if (data != NULL) {
        auto_buffer kiln_buffer payload = KILN_BUFFER_INIT;
        const uint32_t head[2] = {htole32(cell_id), htole32(++call_number)};
        if (length > KILN_FRAME_CALL_MAX - sizeof(head)) {
            return -E2BIG;
        }
        if (kiln_buffer_reserve(&payload, sizeof(head) + length) < 0) {
            return -ENOMEM;
        }
        kiln_buffer_append(&payload, head, sizeof(head)); /* both fit: reserved */
        kiln_buffer_append(&payload, data, length);
        send_frame(KILN_FRAME_CALL, payload.data, payload.length);
    }
    return await_return(reply, reply_length);
}

void kiln_guest_send(unsigned type, const void *payload, size_t length)
{
    send_frame((kiln_frame_type)type, payload, length);
}

void kiln_guest_became(int frames)
{
    kiln_guest_process_own();
    frame_socket = frames;
}

void kiln_guest_refuse(int frames, const char *text)
{
    frame_socket = frames;
    send_frame(KILN_FRAME_FAILED, text, strlen(text));
}

/* ---- requests */

/* What was used since the last call; where there is a cgroup, the engine knows better. */
static void measure(kiln_cell_done *done)
{
    static uint64_t before;
    struct rusage self;
    struct rusage children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    uint64_t now = kiln_usage_cpu_us(&self) + kiln_usage_cpu_us(&children);
    done->cpu_us = now > before ? now - before : 0;
    done->max_rss_bytes = (uint64_t)self.ru_maxrss * 1024;
    before = now;
}

/* A cell, or a rehearsal of one, which takes the same way. */
static int run(const kiln_worker *worker, uint32_t id, const kiln_cell *cell,
               const kiln_rehearsal *rehearsal)
{
    int rc = 0;
    kiln_cell_done done = {.id = id,
                           .verdict = {.size = sizeof(done.verdict), .status = KILN_STATUS_OK}};
    in_cell = true;
    cell_id = id;
    call_number = 0;
    jammed = false;
    kiln_guest_enter(id);
    if (cell != NULL) {
        rc = worker->execute(cell, &done.verdict);
    } else if (worker->rehearse != NULL) {
        rc = worker->rehearse(rehearsal->turn, rehearsal->last);
    }
    if (!kiln_guest_owned()) {
        _exit(0);
    }
    kiln_guest_leave();
    in_cell = false;
    if (rc < 0) {
        return rc; /* the plugin gave up: so does the worker */
    }
    unsigned char bytes[KILN_CELL_DONE_BYTES];
    measure(&done);
    let_pipes_run_dry();
    done.unread = jammed;
    kiln_cell_done_encode(&done, bytes);
    write_frame(KILN_FRAME_DONE, bytes, sizeof(bytes));
    kiln_guest_let_in(worker); /* while the engine works on what it has got */
    return 0;
}

static int run_cell(const kiln_worker *worker, const kiln_frame *frame)
{
    __attribute__((cleanup(kiln_cell_request_free))) kiln_cell_request request;
    int rc = kiln_cell_request_decode(frame->payload, frame->length, &request);
    if (rc < 0) {
        return rc;
    }
    linger_us = request.linger_us;
    return run(worker, request.id, &request.cell, NULL);
}

static int rehearse(const kiln_worker *worker, const kiln_frame *frame)
{
    kiln_rehearsal rehearsal;
    int rc = kiln_rehearsal_decode(frame->payload, frame->length, &rehearsal);
    return rc < 0 ? rc : run(worker, rehearsal.id, NULL, &rehearsal);
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

/* ---- queries */

/* What the code has put into its objects may be asked for their text, and a __repr__ can
 * return a gigabyte: that must fail there, not end the session by its memory limit. Gives
 * what the limit was. */
static struct rlimit hold_memory(void)
{
    enum { QUERY_MEMORY = 256 << 20 };
    struct rlimit before = {RLIM_INFINITY, RLIM_INFINITY};
    unsigned long long pages;
    auto_fclose FILE *statm = fopen("/proc/self/statm", "re");
    if (getrlimit(RLIMIT_AS, &before) == 0 && statm != NULL &&
        fscanf(statm, "%llu", &pages) == 1) {
        struct rlimit lowered = before;
        rlim_t most = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + QUERY_MEMORY;
        lowered.rlim_cur = lowered.rlim_cur < most ? lowered.rlim_cur : most;
        setrlimit(RLIMIT_AS, &lowered);
    }
    return before;
}

static void refuse_query(kiln_buffer *reply, json_int_t id, const char *why)
{
    auto_json json_t *error = json_string(why != NULL ? why : "the query failed");
    auto_free char *text =
        json_dumps(error != NULL ? error : json_null(), JSON_ENCODE_ANY | JSON_COMPACT);
    kiln_buffer_consume(reply, reply->length);
    kiln_buffer_printf(reply, "{\"id\":%lld,\"error\":%s}", (long long)id,
                       error != NULL && text != NULL ? text : "\"the query failed\"");
}

static int answer(const kiln_worker *worker, const kiln_frame *frame)
{
    auto_json json_t *json =
        json_loadb(frame->payload, frame->length, JSON_REJECT_DUPLICATES, NULL);
    json_int_t id;
    const char *name;
    json_t *arguments;
    if (json == NULL || json_unpack(json, "{s:I,s:s,s:o}", "id", &id, "name", &name,
                                    "arguments", &arguments) < 0) {
        return -EPROTO;
    }
    auto_free char *text = json_dumps(arguments, JSON_COMPACT);
    if (text == NULL) {
        return -ENOMEM;
    }
    struct rlimit memory = hold_memory();
    const char *said = NULL;
    kiln_guest_enter((uint32_t)id);
    kiln_guest_asked(arguments);
    int rc = worker->query != NULL ? worker->query(name, text, strlen(text), &said) : -ENOTSUP;
    if (!kiln_guest_owned()) {
        _exit(0);
    }
    kiln_guest_asked(NULL);
    kiln_guest_leave();
    setrlimit(RLIMIT_AS, &memory);
    auto_buffer kiln_buffer reply = KILN_BUFFER_INIT;
    if (rc == -ENOTSUP) {
        refuse_query(&reply, id, "this backend does not know such a query");
    } else if (rc < 0 || said == NULL) {
        refuse_query(&reply, id, said);
    } else if (kiln_buffer_printf(&reply, "{\"id\":%lld,\"reply\":%s}", (long long)id, said) <
               0) {
        return -ENOMEM;
    }
    if (reply.length > KILN_FRAME_REPLY_MAX) {
        refuse_query(&reply, id, "the reply is longer than 4 MiB");
    }
    send_frame(KILN_FRAME_REPLY, reply.data, reply.length);
    kiln_guest_let_in(worker); /* a __repr__ may have changed that, too */
    return 0;
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Stays awake for a while, as the engine said (see linger.h), then sleeps. */
static ssize_t receive(void *data, size_t length)
{
    uint64_t until_us = linger_us > 0 ? now_us() + linger_us : 0;
    while (until_us > 0 && now_us() < until_us) {
        ssize_t n = recv(frame_socket, data, length, MSG_DONTWAIT);
        if (n >= 0 || errno != EAGAIN) {
            return n;
        }
        sched_yield();
    }
    return recv(frame_socket, data, length, 0);
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
        ssize_t n = receive(input->data + input->length, room);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n == 0 ? 0 : -errno;
        }
        input->length += (size_t)n;
    }
}

/* Negative: the worker is of no more use. */
static int serve(const kiln_worker *worker, const kiln_frame *frame)
{
    switch (frame->type) {
    case KILN_FRAME_EXECUTE:
        return run_cell(worker, frame);
    case KILN_FRAME_ANALYZE:
        return analyze(worker, frame);
    case KILN_FRAME_QUERY:
        return answer(worker, frame);
    case KILN_FRAME_REHEARSE:
        return rehearse(worker, frame);
    case KILN_FRAME_FORK:
        return kiln_guest_fork(worker, frame, frame_socket);
    case KILN_FRAME_RESUME:
        kiln_guest_resumed();
        return 0;
    case KILN_FRAME_RETURN:
        return 0; /* of a call that its cell gave up */
    default:
        return -EPROTO;
    }
}

int kiln_guest_main(const kiln_worker *worker, int frames)
{
    auto_buffer kiln_buffer input = KILN_BUFFER_INIT;
    kiln_guest_process_own();
    frame_socket = frames;
    int rc = worker->start();
    if (!kiln_guest_owned()) {
        return 0;
    }
    if (rc < 0) {
        static const char text[] = "the plugin's start() failed in the worker";
        kiln_guest_refuse(frames, text);
        return 1;
    }
    kiln_guest_let_in(worker);
    kiln_cell_done start;
    measure(&start); /* no cell's */
    send_frame(KILN_FRAME_READY, NULL, 0);
    kiln_frame frame;
    size_t used;
    while ((rc = receive_frame(&input, &frame, &used)) == 1) {
        rc = serve(worker, &frame);
        if (rc < 0) {
            return 1;
        }
        kiln_buffer_consume(&input, used);
        if (replies.length > 0 &&
            kiln_buffer_append(&input, replies.data, replies.length) < 0) {
            return 1;
        }
        kiln_buffer_free(&replies);
        if (input.length == 0 && input.capacity > (1 << 20)) {
            kiln_buffer_free(&input); /* a big cell must not stay in every branch */
        }
    }
    return rc == 0 ? 0 : 1;
}
