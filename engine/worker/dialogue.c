#include "worker/dialogue.h"

#include "base/cleanup.h"

#include <errno.h>
#include <sodium.h>
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

void kiln_dialogue_settle(kiln_dialogue *dialogue)
{
    dialogue->awaited = 0;
    dialogue->answered = false;
}

int kiln_dialogue_break(kiln_dialogue *dialogue, const char *prefix, const char *why)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_error_set(&err, EPROTO, "%s%s", prefix, why);
    if (!dialogue->closed) {
        dialogue->closed = true;
        dialogue->callbacks->on_broken(dialogue->user, err.text);
    }
    return -EPROTO;
}

static int bad_frame(kiln_dialogue *dialogue, const char *why)
{
    return kiln_dialogue_break(dialogue, "bad frame: ", why);
}

/* ---- shapes */

static bool is_number(const json_t *value)
{
    return json_is_number(value) && json_number_value(value) >= 0 &&
           json_number_value(value) <= 1e18;
}

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

static int on_done(kiln_dialogue *dialogue, const kiln_frame *frame)
{
    kiln_verdict verdict;
    double cpu_ms;
    uint64_t max_rss_bytes;
    auto_json json_t *json = parse_reply(dialogue, frame);
    if (json == NULL || !decode_done(json, &verdict, &cpu_ms, &max_rss_bytes)) {
        return bad_frame(dialogue, "DONE of another shape or id");
    }
    dialogue->callbacks->on_done(dialogue->user, &verdict, cpu_ms, max_rss_bytes);
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
static uint32_t next_id(const kiln_dialogue *dialogue)
{
    uint32_t id = 1;
    while (dialogue->request_id != 0 && (id < 2 || id == dialogue->request_id)) {
        id = randombytes_random() >> 1; /* an int, as signals carry it */
    }
    return id;
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

int kiln_dialogue_execute(kiln_dialogue *dialogue, const kiln_input *input, kiln_error *err)
{
    int rc = check_idle(dialogue, err);
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
    uint32_t id = dialogue->request_id = next_id(dialogue);
    json_error_t why;
    auto_json json_t *json = json_pack_ex(
        &why, 0, "{s:I,s:s%,s:s?,s:I,s:o,s:o,s:s?}", "id", (json_int_t)id, "code", input->code,
        input->code_length, "cell_id", input->cell_id, "execution_count",
        (json_int_t)input->execution_count, "args", args, "env", env, "stdin", base64);
    if (json == NULL) {
        return kiln_error_set(err, EINVAL, "worker: the cell cannot be sent: %s", why.text);
    }
    return request(dialogue, KILN_FRAME_EXECUTE, json, KILN_FRAME_DONE, err);
}

int kiln_dialogue_analyze(kiln_dialogue *dialogue, const char *code, size_t length,
                          kiln_error *err)
{
    int rc = check_idle(dialogue, err);
    if (rc < 0) {
        return rc;
    }
    uint32_t id = dialogue->request_id = next_id(dialogue);
    auto_json json_t *json =
        json_pack("{s:I,s:s%}", "id", (json_int_t)id, "code", code, length);
    if (json == NULL) {
        return kiln_error_set(err, EINVAL, "worker: the code is not UTF-8");
    }
    return request(dialogue, KILN_FRAME_ANALYZE, json, KILN_FRAME_ANALYSIS, err);
}

int kiln_dialogue_interrupt(kiln_dialogue *dialogue)
{
    char text[32];
    if (dialogue->closed || dialogue->awaited != KILN_FRAME_DONE || dialogue->answered) {
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
