/* guest_text.c - outputs and a query's arguments, for a worker that has no JSON of its own. */
#include "worker/supervisor.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/utf8.h"

#include <jansson.h>
#include <string.h>

static json_t *asked;

/* NULL, which json_pack passes on as its own failure, when memory is short. */
static json_t *string(const char *text, size_t length)
{
    auto_buffer kiln_buffer clean = KILN_BUFFER_INIT;
    if (kiln_utf8_append(&clean, text, length, false) < 0) {
        return NULL;
    }
    return json_stringn(clean.data != NULL ? clean.data : "", clean.length);
}

/* Takes `json`; NULL emits nothing. */
static void emit(uint32_t type, json_t *its_json)
{
    auto_json json_t *json = its_json;
    auto_free char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    if (text != NULL) {
        kiln_guest_emit(&(kiln_event){
            .size = sizeof(kiln_event), .type = type, .data = text, .length = strlen(text)});
    }
}

void kiln_guest_display(uint32_t type, const char *mime, const char *text, size_t length)
{
    if (type == KILN_EVENT_DISPLAY || type == KILN_EVENT_RESULT) {
        emit(type, json_pack("{s:{s:o},s:{}}", "data", mime, string(text, length), "metadata"));
    }
}

void kiln_guest_error(const char *name, const char *value, const char *traceback)
{
    json_t *lines = traceback != NULL ? json_pack("[o]", string(traceback, strlen(traceback)))
                                      : json_array();
    emit(KILN_EVENT_ERROR,
         json_pack("{s:o,s:o,s:o}", "name", string(name, strlen(name)), "value",
                   string(value, strcspn(value, "\n")), "traceback", lines));
}

void kiln_guest_asked(struct json_t *arguments)
{
    asked = arguments;
}

const char *kiln_guest_argument(const char *name)
{
    json_t *value = json_object_get(asked, name);
    if (json_is_integer(value)) { /* its digits live as long as the others */
        value = json_sprintf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        if (value == NULL || json_object_set_new(asked, name, value) < 0) {
            return NULL;
        }
    }
    return json_string_value(value);
}
