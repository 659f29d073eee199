/* Events of a running execution become the result's outputs. */
#include "contract/result.h"

#include "base/cleanup.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What a stream's reader has not finished with. */
typedef struct stream_state {
    char cut[4]; /* the first bytes of a character whose rest is to come */
    size_t cut_length;
    uint64_t kept;    /* bytes of text in the outputs */
    kiln_buffer tail; /* text past KILN_OUTPUTS_MAX entries */
} stream_state;

typedef struct display_slot {
    char *id;
    json_t *output; /* borrowed from result->outputs */
} display_slot;

struct kiln_output_log {
    kiln_result *result;
    uint64_t limit;
    uint64_t display_kept;
    stream_state streams[3]; /* by kiln_stream */
    kiln_stream open_stream; /* 0: none */
    kiln_buffer open_text;   /* of the output that is still growing */
    kiln_buffer decoded;     /* of the last call, for the caller */
    bool clear_pending;
    display_slot *displays;
    size_t display_count;
};

static const char *stream_name(kiln_stream stream)
{
    return stream == KILN_STDERR ? "stderr" : "stdout";
}

kiln_output_log *kiln_output_log_new(kiln_result *result, uint64_t limit)
{
    kiln_output_log *log = calloc(1, sizeof(*log));
    if (log != NULL) {
        log->result = result;
        log->limit = limit > 0 ? limit : UINT64_MAX / 8;
    }
    return log;
}

static void add_stream_output(kiln_output_log *log, kiln_stream stream, const kiln_buffer *text)
{
    if (text->length > 0) {
        json_array_append_new(log->result->outputs,
                              json_pack("{s:s, s:s, s:s%}", "type", "stream", "name",
                                        stream_name(stream), "text", text->data, text->length));
    }
}

static void end_open_stream(kiln_output_log *log)
{
    if (log->open_stream != 0) {
        add_stream_output(log, log->open_stream, &log->open_text);
        log->open_text.length = 0;
        log->open_stream = 0;
    }
}

static void forget_displays(kiln_output_log *log)
{
    for (size_t i = 0; i < log->display_count; i++) {
        free(log->displays[i].id);
    }
    free(log->displays);
    log->displays = NULL;
    log->display_count = 0;
}

static void clear(kiln_output_log *log)
{
    log->clear_pending = false;
    log->open_text.length = 0;
    log->open_stream = 0;
    log->streams[KILN_STDOUT].tail.length = 0;
    log->streams[KILN_STDERR].tail.length = 0;
    forget_displays(log);
    json_array_clear(log->result->outputs);
}

/* Cuts text to what the limit leaves, at a character's start. */
static size_t room_for(const kiln_output_log *log, const stream_state *state,
                       const kiln_buffer *text)
{
    uint64_t room = log->limit > state->kept ? log->limit - state->kept : 0;
    if (text->length <= room) {
        return text->length;
    }
    size_t keep = (size_t)room;
    while (keep > 0 && ((unsigned char)text->data[keep] & 0xc0) == 0x80) {
        keep--;
    }
    return keep;
}

int kiln_output_log_stream(kiln_output_log *log, kiln_stream stream, const char *data,
                           size_t length, const char **text, size_t *text_length)
{
    stream_state *state = &log->streams[stream];
    if (log->clear_pending) {
        clear(log);
    }
    log->decoded.length = 0;
    if (state->kept >= log->limit) { /* a flood: do not even decode it */
        log->result->truncated[stream] += length;
        length = 0;
    }
    auto_buffer kiln_buffer joined = KILN_BUFFER_INIT;
    if (length > 0 && state->cut_length > 0) {
        if (kiln_buffer_append(&joined, state->cut, state->cut_length) < 0 ||
            kiln_buffer_append(&joined, data, length) < 0) {
            return -ENOMEM;
        }
        data = joined.data;
        length = joined.length;
        state->cut_length = 0;
    }
    if (length > 0) {
        long used = kiln_utf8_append(&log->decoded, data, length, true);
        if (used < 0) {
            return -ENOMEM;
        }
        state->cut_length = length - (size_t)used;
        memcpy(state->cut, data + used, state->cut_length);
    }
    size_t keep = log->decoded.length > 0 ? room_for(log, state, &log->decoded) : 0;
    if (keep < log->decoded.length) {
        log->result->truncated[stream] += log->decoded.length - keep;
        state->kept = log->limit; /* nothing of a later write may follow a gap */
        log->decoded.length = keep;
        log->decoded.data[keep] = '\0';
    } else {
        state->kept += keep;
    }
    if (text != NULL) {
        *text = log->decoded.data;
        *text_length = log->decoded.length;
    }
    if (keep == 0) {
        return 0;
    }
    if (log->open_stream != stream) {
        if (json_array_size(log->result->outputs) >= KILN_OUTPUTS_MAX) {
            return kiln_buffer_append(&state->tail, log->decoded.data, keep);
        }
        end_open_stream(log);
        log->open_stream = stream;
    }
    return kiln_buffer_append(&log->open_text, log->decoded.data, keep);
}

static int check_bundle(const json_t *json, const char *what, kiln_error *err)
{
    const json_t *data = json_object_get(json, "data");
    const json_t *metadata = json_object_get(json, "metadata");
    if (!json_is_object(data) || (metadata != NULL && !json_is_object(metadata))) {
        return kiln_error_set(err, EINVAL, "%s: no object \"data\", or \"metadata\" is none",
                              what);
    }
    const char *mime_type;
    json_t *value;
    json_object_foreach((json_t *)data, mime_type, value)
    {
        bool is_json = strstr(mime_type, "json") != NULL;
        if (strchr(mime_type, '/') == NULL || (!is_json && !json_is_string(value))) {
            return kiln_error_set(err, EINVAL, "%s: bad entry \"%s\" in data", what, mime_type);
        }
    }
    return 0;
}

static const char *display_id(const json_t *json)
{
    return json_string_value(json_object_get(json_object_get(json, "transient"), "display_id"));
}

static json_t *make_output(const char *type, const json_t *json, bool update)
{
    json_t *metadata = json_object_get(json, "metadata");
    const char *id = display_id(json);
    return json_pack("{s:s, s:O, s:o, s:s*, s:o*}", "type", type, "data",
                     json_object_get(json, "data"), "metadata",
                     metadata != NULL ? json_incref(metadata) : json_object(), "display_id", id,
                     "update", id != NULL && update ? json_true() : NULL);
}

/* False: the budget is used up and the bytes are counted. */
static bool take_display_room(kiln_output_log *log, size_t length)
{
    if (length > log->limit * 4 - log->display_kept ||
        json_array_size(log->result->outputs) >= KILN_OUTPUTS_MAX) {
        log->result->truncated[0] += length;
        return false;
    }
    log->display_kept += length;
    return true;
}

static int remember_display(kiln_output_log *log, const char *id, json_t *output)
{
    display_slot *slots =
        realloc(log->displays, (log->display_count + 1) * sizeof(*log->displays));
    if (slots == NULL) {
        return -ENOMEM;
    }
    log->displays = slots;
    slots[log->display_count].id = strdup(id);
    slots[log->display_count].output = output;
    if (slots[log->display_count].id == NULL) {
        return -ENOMEM;
    }
    log->display_count++;
    return 0;
}

static int add_display(kiln_output_log *log, const char *type, const json_t *json, bool update,
                       size_t length)
{
    if (!take_display_room(log, length)) {
        return 0;
    }
    json_t *output = make_output(type, json, update);
    if (output == NULL || json_array_append_new(log->result->outputs, output) < 0) {
        return -ENOMEM;
    }
    const char *id = display_id(json);
    return id != NULL ? remember_display(log, id, output) : 0;
}

/* Every display of that id in this execution shows the new data, as in Jupyter. Where there is
 * none, that of an earlier execution may be meant: the output says so. */
static int update_display(kiln_output_log *log, const json_t *json, size_t length)
{
    const char *id = display_id(json);
    bool found = false;
    for (size_t i = 0; id != NULL && i < log->display_count; i++) {
        if (strcmp(log->displays[i].id, id) != 0) {
            continue;
        }
        if (!found && !take_display_room(log, length)) {
            return 0;
        }
        found = true;
        json_object_set(log->displays[i].output, "data", json_object_get(json, "data"));
        json_t *metadata = json_object_get(json, "metadata");
        if (metadata != NULL) {
            json_object_set(log->displays[i].output, "metadata", metadata);
        }
    }
    return found ? 0 : add_display(log, "display_data", json, true, length);
}

static int add_error(kiln_output_log *log, const json_t *json, size_t length, kiln_error *err)
{
    const json_t *name = json_object_get(json, "name");
    const json_t *value = json_object_get(json, "value");
    json_t *traceback = json_object_get(json, "traceback");
    if (!json_is_string(name) || !json_is_string(value) || !json_is_array(traceback)) {
        return kiln_error_set(err, EINVAL, "error: no name, value and traceback");
    }
    size_t index;
    json_t *line;
    json_array_foreach(traceback, index, line)
    {
        if (!json_is_string(line)) {
            return kiln_error_set(err, EINVAL, "error: traceback[%zu] is not a string", index);
        }
    }
    if (!take_display_room(log, length)) {
        return 0;
    }
    json_array_append_new(log->result->outputs,
                          json_pack("{s:s, s:O, s:O, s:O}", "type", "error", "name", name,
                                    "value", value, "traceback", traceback));
    return kiln_result_add_error(log->result, "user", json_string_value(name),
                                 json_string_value(value), traceback);
}

/* The engine's own network proxy says so; any other decision is the backend's. */
static const char *decider(const kiln_output_log *log, const json_t *decision)
{
    const char *policy = json_string_value(json_object_get(decision, "policy"));
    if (policy != NULL) {
        return policy;
    }
    return log->result->backend != NULL ? log->result->backend : "backend";
}

int kiln_output_log_event(kiln_output_log *log, const kiln_event *event, kiln_error *err)
{
    if (event->type == KILN_EVENT_STREAM) {
        if (event->stream != KILN_STDOUT && event->stream != KILN_STDERR) {
            return kiln_error_set(err, EINVAL, "stream event: no stream %u", event->stream);
        }
        return kiln_output_log_stream(log, (kiln_stream)event->stream, event->data,
                                      event->length, NULL, NULL);
    }
    json_error_t where;
    auto_json json_t *json = json_loadb(event->data, event->length, JSON_ALLOW_NUL, &where);
    if (!json_is_object(json)) {
        return kiln_error_set(err, EINVAL, "event: not a JSON object: %s", where.text);
    }
    if (event->type == KILN_EVENT_CLEAR) {
        log->clear_pending = true;
        if (!json_is_true(json_object_get(json, "wait"))) {
            clear(log);
        }
        return 0;
    }
    if (event->type == KILN_EVENT_DECISION) {
        const char *action = json_string_value(json_object_get(json, "action"));
        const char *detail = json_string_value(json_object_get(json, "detail"));
        if (action == NULL || detail == NULL) {
            return kiln_error_set(err, EINVAL, "decision: no action and detail");
        }
        return kiln_result_add_decision(log->result, decider(log, json), action, detail);
    }
    if (event->type != KILN_EVENT_ERROR) {
        int rc = check_bundle(json, "display", err);
        if (rc < 0) {
            return rc;
        }
    }
    if (log->clear_pending) {
        clear(log);
    }
    end_open_stream(log);
    switch (event->type) {
    case KILN_EVENT_DISPLAY:
        return add_display(log, "display_data", json, false, event->length);
    case KILN_EVENT_RESULT:
        return add_display(log, "execute_result", json, false, event->length);
    case KILN_EVENT_UPDATE:
        return update_display(log, json, event->length);
    case KILN_EVENT_ERROR:
        return add_error(log, json, event->length, err);
    default:
        return kiln_error_set(err, EINVAL, "event: no type %u", event->type);
    }
}

void kiln_output_log_close(kiln_output_log *log)
{
    if (log == NULL) {
        return;
    }
    for (kiln_stream stream = KILN_STDOUT; stream <= KILN_STDERR; stream++) {
        stream_state *state = &log->streams[stream];
        if (state->cut_length > 0) { /* it will never be completed */
            if (log->open_stream != stream) {
                end_open_stream(log);
                log->open_stream = stream;
            }
            kiln_buffer_append(&log->open_text, "\xef\xbf\xbd", 3);
        }
    }
    end_open_stream(log);
    for (kiln_stream stream = KILN_STDOUT; stream <= KILN_STDERR; stream++) {
        add_stream_output(log, stream, &log->streams[stream].tail);
        kiln_buffer_free(&log->streams[stream].tail);
    }
    forget_displays(log);
    kiln_buffer_free(&log->open_text);
    kiln_buffer_free(&log->decoded);
    free(log);
}
