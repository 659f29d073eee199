/* Calls of code: ["native", NAME, [ARGUMENTS]] gets [true, [RESULTS]] or [false, NAME, TEXT].
 */
#include "core/call.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

static void answer(const kiln_core_call *call, kiln_native_value *items, size_t count)
{
    static const char failed[] = {
        KILN_VALUE_LIST, 3, 0, 0, 0, KILN_VALUE_FALSE, KILN_VALUE_TEXT, 0, 0, 0, 0,
        KILN_VALUE_TEXT, 0, 0, 0, 0};
    auto_buffer kiln_buffer reply = KILN_BUFFER_INIT;
    const kiln_native_value list = {.tag = KILN_VALUE_LIST, .as.list = {items, count}};
    bool whole = kiln_native_value_append(&reply, &list) == 0;
    call->caller.answer(call->caller.from, call->caller.number, whole ? reply.data : failed,
                        whole ? reply.length : sizeof(failed));
}

static void refuse(const kiln_core_call *call, const char *name, const char *text)
{
    kiln_native_value items[3] = {{.tag = KILN_VALUE_FALSE},
                                  kiln_native_text(name, strlen(name)),
                                  kiln_native_text(text, strlen(text))};
    answer(call, items, 3);
}

static void on_done(void *user, const kiln_native_value *results,
                    const kiln_native_failure *failure)
{
    kiln_core_call *call = user;
    call->native = NULL;
    if (results == NULL) {
        refuse(call, failure->name, failure->text);
        return;
    }
    kiln_native_value items[2] = {{.tag = KILN_VALUE_TRUE}, *results};
    answer(call, items, 2);
}

/* NULL: malformed. */
static kiln_native_value *arguments_of(const kiln_native_value *message, char *name,
                                       size_t size)
{
    kiln_native_value *items = message->tag == KILN_VALUE_LIST && message->as.list.count == 3
                                   ? message->as.list.items
                                   : NULL;
    if (items == NULL || items[0].tag != KILN_VALUE_TEXT || items[1].tag != KILN_VALUE_TEXT ||
        items[2].tag != KILN_VALUE_LIST || items[0].as.bytes.length != strlen("native") ||
        memcmp(items[0].as.bytes.data, "native", strlen("native")) != 0 ||
        items[1].as.bytes.length >= size) {
        return NULL;
    }
    snprintf(name, size, "%.*s", (int)items[1].as.bytes.length, items[1].as.bytes.data);
    return kiln_native_name_valid(name) ? &items[2] : NULL;
}

void kiln_core_call_begin(kiln_core_call *call, kiln_execution *execution,
                          const kiln_caller *caller, const char *data, size_t length)
{
    static const kiln_native_callbacks callbacks = {.done = on_done};
    auto_value kiln_native_value message = {.tag = KILN_VALUE_NULL};
    kiln_native_value *arguments = NULL;
    kiln_error err = KILN_ERROR_INIT;
    char name[128];
    call->caller = *caller;
    int rc = kiln_native_value_decode(data, length, &message, &err);
    if (rc == 0 && (arguments = arguments_of(&message, name, sizeof(name))) == NULL) {
        rc = kiln_error_set(&err, EPROTO, "[\"native\", NAME, [ARGUMENTS]] expected");
    }
    if (rc < 0) {
        refuse(call, "NativeError", err.text);
        return;
    }
    /* Before the policies are asked: they see names that there are. */
    if (kiln_natives_find(execution->engine->natives, name, KILN_NATIVE_TO_CODE) ==
            KILN_NATIVE_FUNCTION &&
        (execution->policy_run == NULL ||
         kiln_policies_on_call(execution->policy_run, name, arguments, &err) < 0)) {
        refuse(call, "NativeDenied", err.text);
        return;
    }
    kiln_native_call_start(execution->engine->natives, name, KILN_NATIVE_TO_CODE, arguments,
                           &callbacks, call, &call->native);
}

void kiln_core_call_over(kiln_core_call *call)
{
    if (call->native != NULL) {
        kiln_native_call_cancel(kiln_steal(call->native));
    }
}
