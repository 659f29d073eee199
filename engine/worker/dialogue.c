#include "worker/dialogue.h"

#include "base/cleanup.h"
#include "base/random.h"
#include "worker/cell_frame.h"

#include <errno.h>
#include <string.h>

enum { KEEP_BYTES = 1 << 20 /* of an empty input buffer */ };

void kiln_dialogue_deliver(kiln_dialogue *dialogue, const kiln_event *event)
{
    if (dialogue->awaited != KILN_FRAME_DONE || dialogue->answered) {
        dialogue->dropped++; /* a thread, or a child, that writes on between cells */
        return;
    }
    dialogue->callbacks->on_event(dialogue->user, event);
}

static void give_up_call(kiln_dialogue *dialogue)
{
    if (dialogue->calling) {
        dialogue->calling = false;
        dialogue->callbacks->on_call_over(dialogue->user);
    }
}

void kiln_dialogue_settle(kiln_dialogue *dialogue)
{
    give_up_call(dialogue);
    dialogue->awaited = 0;
    dialogue->answered = false;
}

int kiln_dialogue_break(kiln_dialogue *dialogue, const char *prefix, const char *why)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_error_set(&err, EPROTO, "%s%s", prefix, why);
    if (!dialogue->closed) {
        dialogue->closed = true;
        give_up_call(dialogue);
        dialogue->callbacks->on_broken(dialogue->user, err.text);
    }
    return -EPROTO;
}

static int bad_frame(kiln_dialogue *dialogue, const char *why)
{
    return kiln_dialogue_break(dialogue, "bad frame: ", why);
}

/* ---- shapes */

static json_t *parse_reply(const kiln_dialogue *dialogue, const kiln_frame *frame)
{
    json_t *json = json_loadb(frame->payload, frame->length, JSON_REJECT_DUPLICATES, NULL);
    json_t *id = json_object_get(json, "id");
    if (!json_is_integer(id) || json_integer_value(id) != (json_int_t)dialogue->request_id) {
        json_decref(json);
        return NULL;
    }
    return json;
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

static int on_done(kiln_dialogue *dialogue, const kiln_frame *frame)
{
    kiln_cell_done done;
    if (kiln_cell_done_decode(frame->payload, frame->length, &done) < 0 ||
        done.id != dialogue->request_id) {
        return bad_frame(dialogue, "DONE of another shape or id");
    }
    dialogue->unread = done.unread;
    give_up_call(dialogue);
    dialogue->callbacks->on_done(dialogue->user, &done.verdict, (double)done.cpu_us / 1000.0,
                                 done.max_rss_bytes);
    return 0;
}

static int on_analysis(kiln_dialogue *dialogue, const kiln_frame *frame)
{
    auto_json json_t *json = parse_reply(dialogue, frame);
    json_t *analysis = json_object_get(json, "analysis");
    if (json_object_size(json) != 2 || !is_analysis(analysis)) {
        return bad_frame(dialogue, "ANALYSIS of another shape or id");
    }
    dialogue->awaited = 0;
    dialogue->callbacks->on_analysis(dialogue->user, analysis);
    return 0;
}

static int on_reply(kiln_dialogue *dialogue, const kiln_frame *frame)
{
    auto_json json_t *json = parse_reply(dialogue, frame);
    json_t *reply = json_object_get(json, "reply");
    const char *error = json_string_value(json_object_get(json, "error"));
    if (json_object_size(json) != 2 || (reply == NULL && error == NULL)) {
        return bad_frame(dialogue, "REPLY of another shape or id");
    }
    dialogue->answered = true;
    dialogue->callbacks->on_reply(dialogue->user, reply, error);
    return 0;
}

static uint32_t little(const char *at)
{
    const unsigned char *bytes = (const unsigned char *)at;
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static int on_call(kiln_dialogue *dialogue, const kiln_frame *frame)
{
    if (frame->length < 8 || little(frame->payload) != dialogue->request_id) {
        return bad_frame(dialogue, "CALL of another shape or id");
    }
    uint32_t number = little(frame->payload + 4);
    if (number <= dialogue->call) {
        return bad_frame(dialogue, "CALL of a number that was there before");
    }
    give_up_call(dialogue);
    dialogue->call = number;
    dialogue->calling = true;
    dialogue->callbacks->on_call(dialogue->user, number, frame->payload + 8, frame->length - 8);
    return 0;
}

int kiln_dialogue_return(kiln_dialogue *dialogue, uint32_t number, const char *data,
                         size_t length)
{
    unsigned char head[KILN_FRAME_HEADER + 4];
    if (dialogue->closed || !dialogue->calling || number != dialogue->call) {
        return 0;
    }
    if (length > KILN_FRAME_CALL_MAX - 4) {
        return -E2BIG;
    }
    if (kiln_buffer_reserve(&dialogue->out, sizeof(head) + length) < 0) {
        return -ENOMEM;
    }
    dialogue->calling = false;
    kiln_frame_header(head, KILN_FRAME_RETURN, (uint32_t)length + 4);
    for (unsigned i = 0; i < 4; i++) {
        head[KILN_FRAME_HEADER + i] = (unsigned char)(number >> (8 * i));
    }
    kiln_buffer_append(&dialogue->out, head, sizeof(head)); /* both fit: reserved */
    return kiln_buffer_append(&dialogue->out, data, length);
}

static bool is_text_or_null(const json_t *value)
{
    return json_is_null(value) || json_is_string(value);
}

static int on_forkable(kiln_dialogue *dialogue, const kiln_frame *frame)
{
    auto_json json_t *json = parse_reply(dialogue, frame);
    json_t *refusal = json_object_get(json, "refusal");
    if (json_object_size(json) != 2 || !is_text_or_null(refusal)) {
        return bad_frame(dialogue, "FORKABLE of another shape or id");
    }
    dialogue->awaited = json_is_null(refusal) ? KILN_FRAME_FORKED : 0;
    dialogue->callbacks->on_forkable(dialogue->user, json_string_value(refusal));
    return 0;
}

static int on_forked(kiln_dialogue *dialogue, const kiln_frame *frame)
{
    auto_json json_t *json = parse_reply(dialogue, frame);
    json_t *error = json_object_get(json, "error");
    json_t *pid = json_object_get(json, "pid");
    if (json_object_size(json) != 3 || !is_text_or_null(error) || !json_is_integer(pid) ||
        json_integer_value(pid) < -1 || json_integer_value(pid) > INT32_MAX) {
        return bad_frame(dialogue, "FORKED of another shape or id");
    }
    dialogue->awaited = 0;
    dialogue->callbacks->on_forked(dialogue->user, (int32_t)json_integer_value(pid),
                                   json_string_value(error));
    return 0;
}

static int on_output_frame(kiln_dialogue *dialogue, const kiln_frame *frame)
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
    kiln_dialogue_deliver(dialogue, &event);
    return 0;
}

static int on_frame(kiln_dialogue *dialogue, const kiln_frame *frame)
{
    if (!dialogue->started) {
        if (frame->type == KILN_FRAME_READY) {
            dialogue->started = true;
            return 0;
        }
        if (frame->type == KILN_FRAME_FAILED) {
            kiln_error err = KILN_ERROR_INIT;
            kiln_error_set(&err, ECANCELED, "%.*s", (int)frame->length, frame->payload);
            return kiln_dialogue_break(dialogue, "", err.text);
        }
        return bad_frame(dialogue, "something before READY");
    }
    switch (frame->type) {
    case KILN_FRAME_STDOUT:
    case KILN_FRAME_STDERR:
    case KILN_FRAME_DISPLAY:
    case KILN_FRAME_RESULT:
    case KILN_FRAME_ERROR:
    case KILN_FRAME_UPDATE:
    case KILN_FRAME_CLEAR:
        return on_output_frame(dialogue, frame);
    case KILN_FRAME_DONE:
        return dialogue->awaited == frame->type && !dialogue->answered
                   ? on_done(dialogue, frame)
                   : bad_frame(dialogue, "DONE while no cell runs");
    case KILN_FRAME_ANALYSIS:
        return dialogue->awaited == frame->type
                   ? on_analysis(dialogue, frame)
                   : bad_frame(dialogue, "ANALYSIS that nobody asked for");
    case KILN_FRAME_REPLY:
        return dialogue->awaited == frame->type && !dialogue->answered
                   ? on_reply(dialogue, frame)
                   : bad_frame(dialogue, "REPLY that nobody asked for");
    case KILN_FRAME_CALL:
        return dialogue->awaited == KILN_FRAME_DONE && !dialogue->answered &&
                       dialogue->callbacks->on_call != NULL
                   ? on_call(dialogue, frame)
                   : bad_frame(dialogue, "CALL while no cell runs");
    case KILN_FRAME_FORKABLE:
        return dialogue->awaited == frame->type
                   ? on_forkable(dialogue, frame)
                   : bad_frame(dialogue, "FORKABLE that nobody asked for");
    case KILN_FRAME_FORKED:
        return dialogue->awaited == frame->type
                   ? on_forked(dialogue, frame)
                   : bad_frame(dialogue, "FORKED that nobody asked for");
    default:
        return bad_frame(dialogue, "READY or FAILED, a second time");
    }
}

/* A frame that is still to come is waited for whole: its length is bounded by its type. */
static int decode_all(kiln_dialogue *dialogue)
{
    size_t at = 0;
    int rc = 0;
    for (;;) {
        kiln_frame frame;
        size_t needed;
        kiln_error err = KILN_ERROR_INIT;
        rc = kiln_frame_decode(dialogue->in.data + at, dialogue->in.length - at, true, &frame,
                               &needed, &err);
        if (rc < 0) {
            bad_frame(dialogue, err.text);
            break;
        }
        if (rc == 0) {
            break;
        }
        size_t used = needed;
        rc = on_frame(dialogue, &frame);
        if (rc < 0 || dialogue->closed) {
            rc = -EPIPE;
            break;
        }
        at += used;
    }
    kiln_buffer_consume(&dialogue->in, at);
    if (dialogue->in.length == 0 && dialogue->in.capacity > KEEP_BYTES) {
        kiln_buffer_free(&dialogue->in);
    }
    return rc;
}

int kiln_dialogue_decode(kiln_dialogue *dialogue)
{
    dialogue->decoding = true;
    int rc = decode_all(dialogue);
    dialogue->decoding = false;
    return rc;
}

/* ---- requests */

static int request(kiln_dialogue *dialogue, kiln_frame_type type, json_t *json,
                   kiln_frame_type answer, kiln_error *err)
{
    if (json == NULL) {
        return kiln_error_errno(err, ENOMEM, "worker: request");
    }
    auto_free char *text = json_dumps(json, JSON_COMPACT);
    if (text == NULL) {
        return kiln_error_errno(err, ENOMEM, "worker: request");
    }
    int rc = kiln_frame_append(&dialogue->out, type, text, strlen(text));
    if (rc < 0) {
        return kiln_error_errno(err, rc, "worker: request");
    }
    dialogue->awaited = answer;
    return 0;
}

/* Not to be known before the request is sent: a cell could answer for those that are
 * still to come. The first has none before it. */
static int next_id(kiln_dialogue *dialogue, kiln_error *err)
{
    uint32_t id = 1;
    while (dialogue->request_id != 0 && (id < 2 || id == dialogue->request_id)) {
        int rc = kiln_random(&id, sizeof(id));
        if (rc < 0) {
            return kiln_error_errno(err, rc, "worker: an id for the request");
        }
        id >>= 1; /* an int, as signals carry it */
    }
    dialogue->request_id = id;
    return 0;
}

static int check_idle(const kiln_dialogue *dialogue, kiln_error *err)
{
    if (dialogue->closed) {
        return kiln_error_set(err, EPIPE, "worker: it has ended");
    }
    if (dialogue->awaited != 0) {
        return kiln_error_set(err, EBUSY, "worker: it runs a cell already");
    }
    return 0;
}

int kiln_dialogue_execute(kiln_dialogue *dialogue, const kiln_input *input, kiln_error *err)
{
    int rc = check_idle(dialogue, err);
    if (rc < 0) {
        return rc;
    }
    rc = next_id(dialogue, err);
    if (rc < 0) {
        return rc;
    }
    rc = kiln_cell_request_append(&dialogue->out, dialogue->request_id, dialogue->linger_us,
                                  input);
    if (rc < 0) {
        return kiln_error_errno(err, rc, "worker: the cell cannot be sent");
    }
    dialogue->awaited = KILN_FRAME_DONE;
    dialogue->call = 0;
    return 0;
}

int kiln_dialogue_rehearse(kiln_dialogue *dialogue, unsigned turn, bool last, kiln_error *err)
{
    int rc = check_idle(dialogue, err);
    rc = rc < 0 ? rc : next_id(dialogue, err);
    if (rc < 0) {
        return rc;
    }
    const kiln_rehearsal rehearsal = {dialogue->request_id, turn, last};
    rc = kiln_rehearsal_append(&dialogue->out, &rehearsal);
    if (rc < 0) {
        return kiln_error_errno(err, rc, "worker: request");
    }
    dialogue->awaited = KILN_FRAME_DONE;
    dialogue->call = 0;
    return 0;
}

int kiln_dialogue_analyze(kiln_dialogue *dialogue, const char *code, size_t length,
                          kiln_error *err)
{
    int rc = check_idle(dialogue, err);
    if (rc < 0) {
        return rc;
    }
    rc = next_id(dialogue, err);
    if (rc < 0) {
        return rc;
    }
    auto_json json_t *json =
        json_pack("{s:I,s:s%}", "id", (json_int_t)dialogue->request_id, "code", code, length);
    if (json == NULL) {
        return kiln_error_set(err, EINVAL, "worker: the code is not UTF-8");
    }
    return request(dialogue, KILN_FRAME_ANALYZE, json, KILN_FRAME_ANALYSIS, err);
}

int kiln_dialogue_query(kiln_dialogue *dialogue, const char *name, json_t *arguments,
                        kiln_error *err)
{
    int rc = check_idle(dialogue, err);
    rc = rc < 0 ? rc : next_id(dialogue, err);
    if (rc < 0) {
        return rc;
    }
    auto_json json_t *json = json_pack("{s:I,s:s,s:O}", "id", (json_int_t)dialogue->request_id,
                                       "name", name, "arguments", arguments);
    return request(dialogue, KILN_FRAME_QUERY, json, KILN_FRAME_REPLY, err);
}

int kiln_dialogue_fork(kiln_dialogue *dialogue, bool snapshot, kiln_error *err)
{
    int rc = check_idle(dialogue, err);
    rc = rc < 0 ? rc : next_id(dialogue, err);
    if (rc < 0) {
        return rc;
    }
    auto_json json_t *json =
        json_pack("{s:I,s:b}", "id", (json_int_t)dialogue->request_id, "snapshot", snapshot);
    return request(dialogue, KILN_FRAME_FORK, json, KILN_FRAME_FORKABLE, err);
}

int kiln_dialogue_interrupt(kiln_dialogue *dialogue)
{
    char text[32];
    bool asked = dialogue->awaited == KILN_FRAME_DONE || dialogue->awaited == KILN_FRAME_REPLY;
    if (dialogue->closed || !asked || dialogue->answered) {
        return 0;
    }
    int length = snprintf(text, sizeof(text), "{\"id\":%u}", dialogue->request_id);
    return kiln_frame_append(&dialogue->out, KILN_FRAME_INTERRUPT, text, (size_t)length);
}

void kiln_dialogue_free(kiln_dialogue *dialogue)
{
    kiln_buffer_free(&dialogue->in);
    kiln_buffer_free(&dialogue->out);
}
