/* engine_guest.c - a worker, as the engine sees it: hostile. Every frame is checked
 * for type, size, order and shape; the first bad one ends the worker alone. */
#include "worker/engine_side.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/socket.h>

enum {
    READ_BYTES = 64 << 10,
    READS_A_TURN = 4,
    KEEP_BYTES = 1 << 20, /* of an empty input buffer */
    SWEEP_MS = 1000,
};

typedef enum guest_state {
    GUEST_STARTING, /* READY is awaited; a request may be in the socket already */
    GUEST_ALIVE,
    GUEST_ENDING, /* nothing more is read */
} guest_state;

struct kiln_guest {
    kiln_run run; /* first: kiln_run * is kiln_guest * */
    kiln_guest_callbacks callbacks;
    void *user;
    guest_state state;
    kiln_frame_type awaited; /* KILN_FRAME_DONE, _ANALYSIS, or 0: idle */
    uint32_t request_id;
    uint64_t cpu_limit_ms; /* of a cell */
    bool sweep;            /* at the cell's end */
    const char *limit;     /* that the cell reached, once it has failed */
    struct {
        bool pending; /* SWEPT is awaited, then this is told */
        kiln_verdict verdict;
        double cpu_ms;
        uint64_t max_rss_bytes;
        kiln_alarm *alarm;
    } done;
    uint64_t dropped; /* output frames and bytes of nobody's cell */
    int socket;
    kiln_poll *poll;
    bool decoding;
    kiln_buffer in;
    kiln_buffer out; /* what the socket did not take */
};

/* ---- streams and end */

static void deliver(kiln_guest *guest, const kiln_event *event)
{
    if (guest->awaited != KILN_FRAME_DONE || guest->done.pending) {
        guest->dropped++; /* a thread, or a child, that writes on between cells */
        return;
    }
    guest->callbacks.on_event(guest->user, event);
}

static void on_output(kiln_run *run, uint32_t stream, const char *data, size_t length)
{
    deliver((kiln_guest *)run, &(kiln_event){.size = sizeof(kiln_event),
                                             .type = KILN_EVENT_STREAM,
                                             .stream = stream,
                                             .data = data,
                                             .length = length});
}

static void close_socket(kiln_guest *guest)
{
    guest->state = GUEST_ENDING;
    kiln_alarm_free(&guest->done.alarm);
    kiln_poll_free(&guest->poll);
    if (guest->socket >= 0) {
        close(guest->socket);
        guest->socket = -1;
    }
}

static void on_exit_(kiln_run *run, const kiln_exit *exit)
{
    kiln_guest *guest = (kiln_guest *)run;
    close_socket(guest);
    if (guest->dropped > 0) {
        kiln_log(KILN_LOG_DEBUG, "worker", "%llu outputs between cells were dropped",
                 (unsigned long long)guest->dropped);
    }
    guest->callbacks.on_exit(guest->user, exit);
}

static void release(kiln_run *run)
{
    kiln_guest *guest = (kiln_guest *)run;
    kiln_buffer_free(&guest->in);
    kiln_buffer_free(&guest->out);
    free(run->error);
    free(guest);
}

/* Ends the worker with a reason of ours. */
static int condemn(kiln_guest *guest, const char *prefix, const char *why)
{
    kiln_error err = KILN_ERROR_INIT;
    close_socket(guest);
    kiln_error_set(&err, EPROTO, "%s%s", prefix, why);
    if (guest->run.error == NULL) {
        guest->run.error = strdup(err.text);
    }
    kiln_run_kill(&guest->run);
    return -EPROTO;
}

static int bad_frame(kiln_guest *guest, const char *why)
{
    return condemn(guest, "bad frame: ", why);
}

/* ---- shapes */

static bool is_number(const json_t *value)
{
    return json_is_number(value) && json_number_value(value) >= 0 &&
           json_number_value(value) <= 1e18;
}

static json_t *parse_reply(const kiln_guest *guest, const kiln_frame *frame)
{
    json_t *json = json_loadb(frame->payload, frame->length, JSON_REJECT_DUPLICATES, NULL);
    json_t *id = json_object_get(json, "id");
    if (!json_is_integer(id) || json_integer_value(id) != (json_int_t)guest->request_id) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static bool decode_done(const json_t *json, kiln_verdict *verdict, double *cpu_ms,
                        uint64_t *max_rss_bytes)
{
    static const struct {
        const char *name;
        kiln_status status;
    } statuses[] = {
        {"ok", KILN_STATUS_OK},
        {"error", KILN_STATUS_ERROR},
        {"interrupted", KILN_STATUS_INTERRUPTED},
    };
    const char *name = json_string_value(json_object_get(json, "status"));
    json_t *code = json_object_get(json, "exit_code");
    json_t *cpu = json_object_get(json, "cpu_ms");
    json_t *rss = json_object_get(json, "max_rss_bytes");
    if (json_object_size(json) != 5 || name == NULL || !is_number(cpu) ||
        !json_is_integer(rss) || json_integer_value(rss) < 0 ||
        !(json_is_null(code) || (json_is_integer(code) && json_integer_value(code) >= 0 &&
                                 json_integer_value(code) <= 255))) {
        return false;
    }
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (strcmp(name, statuses[i].name) == 0) {
            *verdict = (kiln_verdict){
                .size = sizeof(*verdict),
                .status = statuses[i].status,
                .has_exit_code = json_is_integer(code),
                .exit_code = (int32_t)json_integer_value(code),
            };
            *cpu_ms = json_number_value(cpu);
            *max_rss_bytes = (uint64_t)json_integer_value(rss);
            return true;
        }
    }
    return false;
}

static bool is_string_array(const json_t *value)
{
    size_t i;
    json_t *entry;
    if (!json_is_array(value)) {
        return false;
    }
    json_array_foreach(value, i, entry)
    {
        if (!json_is_string(entry)) {
            return false;
        }
    }
    return true;
}

static bool is_analysis(const json_t *analysis)
{
    static const char *const lists[] = {"imports", "import_lines", "names", "calls"};
    if (!json_is_object(analysis)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        const json_t *list = json_object_get(analysis, lists[i]);
        if (list != NULL && !is_string_array(list)) {
            return false;
        }
    }
    const json_t *error = json_object_get(analysis, "error");
    return error == NULL || json_is_null(error) ||
           (json_is_string(json_object_get(error, "name")) &&
            json_is_string(json_object_get(error, "message")) &&
            (json_is_null(json_object_get(error, "line")) ||
             json_is_integer(json_object_get(error, "line"))) &&
            (json_is_null(json_object_get(error, "column")) ||
             json_is_integer(json_object_get(error, "column"))));
}

/* ---- frames */

static void tell_done(kiln_guest *guest)
{
    guest->awaited = 0;
    guest->callbacks.on_done(guest->user, &guest->done.verdict, guest->done.cpu_ms,
                             guest->done.max_rss_bytes);
}

static void on_sweep_unanswered(void *user)
{
    kiln_guest *guest = user;
    kiln_log(KILN_LOG_WARNING, "worker",
             "%s: what a cell left was not killed within %d ms; "
             "killing the worker, too",
             guest->run.sandbox->name, SWEEP_MS);
    kiln_run_kill(&guest->run);
}

/* The cell has not ended before its processes have: the next one would be swept. */
static int begin_sweep(kiln_guest *guest)
{
    kiln_sandbox *sandbox = guest->run.sandbox;
    guest->done.pending = true;
    guest->done.alarm =
        kiln_alarm_new(sandbox->zygote->loop, SWEEP_MS, on_sweep_unanswered, guest);
    if (guest->done.alarm == NULL ||
        kiln_sandbox_send(sandbox, KILN_CONTROL_SWEEP, guest->request_id, NULL, 0, NULL, 0) <
            0) {
        kiln_run_kill(&guest->run); /* its end is told in place of the cell's */
    }
    return 0;
}

static void on_swept(kiln_run *run, uint32_t id)
{
    kiln_guest *guest = (kiln_guest *)run;
    if (!guest->done.pending || id != guest->request_id) {
        return;
    }
    guest->done.pending = false;
    kiln_alarm_free(&guest->done.alarm);
    if (guest->state != GUEST_ENDING) {
        tell_done(guest);
    }
}

static int on_done(kiln_guest *guest, const kiln_frame *frame)
{
    kiln_verdict verdict;
    double cpu_ms;
    uint64_t max_rss_bytes;
    auto_json json_t *json = parse_reply(guest, frame);
    if (json == NULL || !decode_done(json, &verdict, &cpu_ms, &max_rss_bytes)) {
        return bad_frame(guest, "DONE of another shape or id");
    }
    /* What the code wrote to descriptors 1 and 2 itself lies in the pipes. */
    kiln_run_drain(&guest->run);
    if (kiln_run_over(&guest->run)) {
        return -EPIPE;
    }
    kiln_run_watch_cpu(&guest->run, guest->run.sandbox, 0);
    guest->done.verdict = verdict;
    guest->done.cpu_ms = cpu_ms;
    guest->done.max_rss_bytes = max_rss_bytes;
    guest->limit = verdict.status == KILN_STATUS_ERROR ? kiln_run_limit_hit(&guest->run) : NULL;
    if (guest->sweep || guest->limit != NULL) {
        return begin_sweep(guest);
    }
    tell_done(guest);
    return 0;
}

static int on_analysis(kiln_guest *guest, const kiln_frame *frame)
{
    auto_json json_t *json = parse_reply(guest, frame);
    json_t *analysis = json_object_get(json, "analysis");
    if (json_object_size(json) != 2 || !is_analysis(analysis)) {
        return bad_frame(guest, "ANALYSIS of another shape or id");
    }
    guest->awaited = 0;
    guest->callbacks.on_analysis(guest->user, analysis);
    return 0;
}

static int on_output_frame(kiln_guest *guest, const kiln_frame *frame)
{
    static const kiln_event_type types[] = {
        KILN_EVENT_STREAM, KILN_EVENT_STREAM, KILN_EVENT_DISPLAY, KILN_EVENT_RESULT,
        KILN_EVENT_ERROR,  KILN_EVENT_UPDATE, KILN_EVENT_CLEAR,
    };
    kiln_event event = {
        .size = sizeof(event),
        .type = types[frame->type - KILN_FRAME_STDOUT],
        .stream = frame->type == KILN_FRAME_STDERR   ? KILN_STDERR
                  : frame->type == KILN_FRAME_STDOUT ? KILN_STDOUT
                                                     : 0,
        .data = frame->payload,
        .length = frame->length,
    };
    deliver(guest, &event);
    return 0;
}

static int on_frame(kiln_guest *guest, const kiln_frame *frame)
{
    if (guest->state == GUEST_STARTING) {
        if (frame->type == KILN_FRAME_READY) {
            guest->state = GUEST_ALIVE;
            return 0;
        }
        if (frame->type == KILN_FRAME_FAILED) {
            kiln_error err = KILN_ERROR_INIT;
            kiln_error_set(&err, ECANCELED, "%.*s", (int)frame->length, frame->payload);
            return condemn(guest, "", err.text);
        }
        return bad_frame(guest, "something before READY");
    }
    switch (frame->type) {
    case KILN_FRAME_STDOUT:
    case KILN_FRAME_STDERR:
    case KILN_FRAME_DISPLAY:
    case KILN_FRAME_RESULT:
    case KILN_FRAME_ERROR:
    case KILN_FRAME_UPDATE:
    case KILN_FRAME_CLEAR:
        return on_output_frame(guest, frame);
    case KILN_FRAME_DONE:
        return guest->awaited == frame->type && !guest->done.pending
                   ? on_done(guest, frame)
                   : bad_frame(guest, "DONE while no cell runs");
    case KILN_FRAME_ANALYSIS:
        return guest->awaited == frame->type
                   ? on_analysis(guest, frame)
                   : bad_frame(guest, "ANALYSIS that nobody asked for");
    default:
        return bad_frame(guest, "READY or FAILED, a second time");
    }
}

/* Every whole frame in the buffer; *needed: how many bytes the next one wants. */
static int decode_frames(kiln_guest *guest, size_t *needed)
{
    size_t at = 0;
    int rc = 0;
    for (;;) {
        kiln_frame frame;
        kiln_error err = KILN_ERROR_INIT;
        rc = kiln_frame_decode(guest->in.data + at, guest->in.length - at, true, &frame, needed,
                               &err);
        if (rc < 0) {
            bad_frame(guest, err.text);
            break;
        }
        if (rc == 0) {
            break;
        }
        size_t used = *needed;
        rc = on_frame(guest, &frame);
        if (rc < 0 || kiln_run_over(&guest->run) || guest->state == GUEST_ENDING) {
            rc = -EPIPE;
            break;
        }
        at += used;
    }
    kiln_buffer_consume(&guest->in, at);
    if (guest->in.length == 0 && guest->in.capacity > KEEP_BYTES) {
        kiln_buffer_free(&guest->in);
    }
    return rc;
}

/* One read and what it completes. false: nothing more is to be had now. */
static bool read_once(kiln_guest *guest)
{
    ssize_t n;
    size_t needed;
    if (guest->state == GUEST_ENDING) {
        return false;
    }
    if (kiln_buffer_reserve(&guest->in, READ_BYTES) < 0) {
        condemn(guest, "", "out of memory for its output");
        return false;
    }
    do {
        n = recv(guest->socket, guest->in.data + guest->in.length, READ_BYTES, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        return false;
    }
    if (n <= 0) {
        /* It has exited or executed another program, and the run's end tells; or it
         * closed the socket, and is of no more use. */
        bool idle = guest->awaited == 0 && guest->state == GUEST_ALIVE;
        close_socket(guest);
        if (idle) {
            kiln_run_kill(&guest->run);
        }
        return false;
    }
    guest->in.length += (size_t)n;
    guest->decoding = true; /* callbacks borrow from the buffer */
    int rc = decode_frames(guest, &needed);
    guest->decoding = false;
    return rc == 0;
}

static void read_frames(kiln_guest *guest)
{
    for (int count = 0; count < READS_A_TURN && !guest->decoding; count++) {
        if (!read_once(guest)) {
            break;
        }
    }
}

/* What the worker sent before it ended still counts; no more than a socket holds. */
static void on_ending(kiln_run *run)
{
    kiln_guest *guest = (kiln_guest *)run;
    while (!guest->decoding && !kiln_run_over(run) && read_once(guest)) {
    }
}

static void write_frames(kiln_guest *guest)
{
    while (guest->out.length > 0) {
        ssize_t n = send(guest->socket, guest->out.data, guest->out.length,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            if (errno != EAGAIN) {
                kiln_buffer_free(&guest->out); /* reading finds the end */
            }
            break;
        }
        kiln_buffer_consume(&guest->out, (size_t)n);
    }
    if (guest->out.length == 0) {
        kiln_buffer_free(&guest->out);
    }
    if (guest->poll != NULL) {
        kiln_poll_events(guest->poll, UV_READABLE | (guest->out.length > 0 ? UV_WRITABLE : 0));
    }
}

static void on_socket(void *user, int events)
{
    kiln_guest *guest = user;
    kiln_run_ref(&guest->run);
    if ((events & UV_WRITABLE) != 0) {
        write_frames(guest);
    }
    if ((events & UV_READABLE) != 0) {
        read_frames(guest);
    }
    kiln_run_unref(&guest->run);
}

/* ---- requests */

static int request(kiln_guest *guest, kiln_frame_type type, json_t *json,
                   kiln_frame_type answer, kiln_error *err)
{
    if (json == NULL) {
        return kiln_error_errno(err, ENOMEM, "worker: request");
    }
    auto_free char *text = json_dumps(json, JSON_COMPACT);
    if (text == NULL) {
        return kiln_error_errno(err, ENOMEM, "worker: request");
    }
    int rc = kiln_frame_append(&guest->out, type, text, strlen(text));
    if (rc < 0) {
        return kiln_error_errno(err, rc, "worker: request");
    }
    guest->awaited = answer;
    write_frames(guest);
    return 0;
}

/* Not to be known before the request is sent: a cell could answer for those that are
 * still to come. The first has none before it. */
static uint32_t next_id(const kiln_guest *guest)
{
    uint32_t id = 1;
    while (guest->request_id != 0 && (id < 2 || id == guest->request_id)) {
        id = randombytes_random() >> 1; /* an int, as signals carry it */
    }
    return id;
}

static int check_idle(const kiln_guest *guest, kiln_error *err)
{
    if (guest->state == GUEST_ENDING || kiln_run_over(&guest->run)) {
        return kiln_error_set(err, EPIPE, "worker: it has ended");
    }
    if (guest->awaited != 0) {
        return kiln_error_set(err, EBUSY, "worker: it runs a cell already");
    }
    return 0;
}

bool kiln_guest_usable(const kiln_guest *guest)
{
    return guest->state != GUEST_ENDING && !guest->run.killing && !kiln_run_over(&guest->run);
}

static json_t *string_array(const char *const *strings)
{
    json_t *array = json_array();
    for (; array != NULL && strings != NULL && *strings != NULL; strings++) {
        if (json_array_append_new(array, json_string(*strings)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

int kiln_guest_execute(kiln_guest *guest, const kiln_input *input, kiln_error *err)
{
    int rc = check_idle(guest, err);
    if (rc < 0) {
        return rc;
    }
    rc = kiln_run_set_limits(guest->run.sandbox, &input->limits, err);
    if (rc < 0) {
        return rc;
    }
    auto_free char *base64 = NULL;
    if (input->stdin_data != NULL) {
        size_t size =
            sodium_base64_encoded_len(input->stdin_length, sodium_base64_VARIANT_ORIGINAL);
        base64 = malloc(size);
        if (base64 == NULL) {
            return kiln_error_errno(err, ENOMEM, "worker: stdin");
        }
        sodium_bin2base64(base64, size, (const unsigned char *)input->stdin_data,
                          input->stdin_length, sodium_base64_VARIANT_ORIGINAL);
    }
    json_t *args = string_array(input->args);
    json_t *env = string_array(input->env);
    if (args == NULL || env == NULL) {
        json_decref(args);
        json_decref(env);
        return kiln_error_set(err, EINVAL, "worker: an argument is not UTF-8");
    }
    guest->sweep = false;
    guest->limit = NULL;
    kiln_run_forget_hits(&guest->run, guest->run.sandbox);
    uint32_t id = guest->request_id = next_id(guest);
    json_error_t why;
    auto_json json_t *json = json_pack_ex(
        &why, 0, "{s:I,s:s%,s:s?,s:I,s:o,s:o,s:s?}", "id", (json_int_t)id, "code", input->code,
        input->code_length, "cell_id", input->cell_id, "execution_count",
        (json_int_t)input->execution_count, "args", args, "env", env, "stdin", base64);
    if (json == NULL) {
        return kiln_error_set(err, EINVAL, "worker: the cell cannot be sent: %s", why.text);
    }
    rc = request(guest, KILN_FRAME_EXECUTE, json, KILN_FRAME_DONE, err);
    if (rc == 0 && kiln_run_watch_cpu(&guest->run, guest->run.sandbox,
                                      input->limits.cpu_ms > 0 ? input->limits.cpu_ms
                                                               : guest->cpu_limit_ms) < 0) {
        kiln_log(KILN_LOG_WARNING, "worker", "no memory to watch the CPU time of a cell");
    }
    return rc;
}

int kiln_guest_analyze(kiln_guest *guest, const char *code, size_t length, kiln_error *err)
{
    int rc = check_idle(guest, err);
    if (rc < 0) {
        return rc;
    }
    uint32_t id = guest->request_id = next_id(guest);
    auto_json json_t *json =
        json_pack("{s:I,s:s%}", "id", (json_int_t)id, "code", code, length);
    if (json == NULL) {
        return kiln_error_set(err, EINVAL, "worker: the code is not UTF-8");
    }
    return request(guest, KILN_FRAME_ANALYZE, json, KILN_FRAME_ANALYSIS, err);
}

void kiln_guest_interrupt(kiln_guest *guest)
{
    if (guest->awaited == KILN_FRAME_DONE && !kiln_run_over(&guest->run)) {
        kiln_sandbox_send(guest->run.sandbox, KILN_CONTROL_INTERRUPT, guest->request_id, NULL,
                          0, NULL, 0);
    }
}

void kiln_guest_sweep(kiln_guest *guest)
{
    guest->sweep = true;
}

const char *kiln_guest_limit(const kiln_guest *guest)
{
    return guest->limit;
}

void kiln_guest_kill(kiln_guest *guest)
{
    kiln_run_kill(&guest->run);
}

int kiln_guest_start(kiln_sandbox *sandbox, const kiln_limits *limits,
                     const kiln_guest_callbacks *callbacks, void *user, kiln_guest **guest,
                     kiln_error *err)
{
    int pair[2];
    kiln_control_run head = {.argc = 0};
    auto_buffer kiln_buffer payload = KILN_BUFFER_INIT;
    auto_close int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    auto_free kiln_guest *made = calloc(1, sizeof(*made));
    if (made == NULL || kiln_buffer_append(&payload, &head, sizeof(head)) < 0) {
        return kiln_error_errno(err, ENOMEM, "worker");
    }
    if (null < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return kiln_error_errno(err, errno, "worker: frame socket");
    }
    auto_close int ours = pair[0];
    auto_close int theirs = pair[1];
    /* A worker lives over many cells: its clocks are those of a cell. */
    kiln_limits life = limits != NULL ? *limits : sandbox->limits;
    made->cpu_limit_ms = life.cpu_ms;
    life.cpu_ms = 0;
    life.timeout_ms = 0;
    made->callbacks = *callbacks;
    made->user = user;
    made->run.on_output = on_output;
    made->run.on_ending = on_ending;
    made->run.on_swept = on_swept;
    made->run.on_exit = on_exit_;
    made->run.release = release;
    made->poll = kiln_poll_new(sandbox->zygote->loop, ours, UV_READABLE, on_socket, made);
    if (made->poll == NULL) {
        return kiln_error_errno(err, ENOMEM, "worker");
    }
    int rc = kiln_run_start(&made->run, sandbox, KILN_CONTROL_RUN_WORKER, &life, &payload, null,
                            theirs, err);
    if (rc < 0) {
        kiln_poll_free(&made->poll);
        return rc;
    }
    made->socket = kiln_steal_fd(&ours);
    *guest = kiln_steal(made);
    return 0;
}
