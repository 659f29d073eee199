/* Outputs that were not shown as they came (of a remembered result, of one of several
 * backends), as the events that they would have been. */
#include "core/engine-t.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *type;
    kiln_event_type event;
} kinds[] = {
    {"stream", KILN_EVENT_STREAM},
    {"display_data", KILN_EVENT_DISPLAY},
    {"execute_result", KILN_EVENT_RESULT},
    {"error", KILN_EVENT_ERROR},
};

static void replay_stream(const kiln_execute_options *options, const json_t *output)
{
    const char *name = json_string_value(json_object_get(output, "name"));
    const json_t *text = json_object_get(output, "text");
    const kiln_event event = {
        .size = sizeof(event),
        .type = KILN_EVENT_STREAM,
        .stream = name != NULL && strcmp(name, "stderr") == 0 ? KILN_STDERR : KILN_STDOUT,
        .data = json_string_value(text),
        .length = json_string_length(text),
    };
    if (event.length > 0) {
        options->on_event(options->user, &event);
    }
}

static void replay_json(const kiln_execute_options *options, kiln_event_type type,
                        const json_t *output)
{
    json_t *json = json_copy((json_t *)(uintptr_t)output);
    json_t *id = json_object_get(output, "display_id");
    if (id != NULL) {
        json_object_set_new(json, "transient", json_pack("{s:O}", "display_id", id));
    }
    char *text = json_dumps(json, JSON_COMPACT);
    if (text != NULL) {
        const kiln_event event = {
            .size = sizeof(event),
            .type = json_is_true(json_object_get(output, "update")) ? KILN_EVENT_UPDATE : type,
            .data = text,
            .length = strlen(text)};
        options->on_event(options->user, &event);
    }
    free(text);
    json_decref(json);
}

static void replay_output(const kiln_execute_options *options, const json_t *output)
{
    const char *type = json_string_value(json_object_get(output, "type"));
    for (size_t i = 0; type != NULL && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i].type, type) != 0) {
            continue;
        }
        if (kinds[i].event == KILN_EVENT_STREAM) {
            replay_stream(options, output);
            return;
        }
        replay_json(options, kinds[i].event, output);
        return;
    }
}

void kiln_execution_replay(const kiln_execution *execution, const kiln_result *result)
{
    const kiln_execute_options *options = &execution->options;
    size_t index;
    json_t *output;
    if (options->on_event == NULL) {
        return;
    }
    json_array_foreach(result->outputs, index, output)
    {
        replay_output(options, output);
    }
}
