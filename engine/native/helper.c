/* helper.c - native.worker: the process that opens libraries and calls into them. A "cell" is
 * a call: its code is the library, its input the request, a result event the answer. */
#include "native/marshal.h"

#include "base/cleanup.h"

#include <kiln/plugin.h>

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

static const kiln_worker_host *host;

static int preload(const kiln_worker_host *its_host, const char **error)
{
    (void)error;
    host = its_host;
    return 0;
}

static int start(void)
{
    return 0;
}

static int rc_text(int rc, kiln_error *err)
{
    return rc == -EINTR ? kiln_error_set(err, rc, "interrupted")
           : rc == -EPERM
               ? kiln_error_set(err, rc, "C called the function from a thread of its own")
               : kiln_error_errno(err, rc, "the callback");
}

/* [index, which, given] goes to the engine; [true, value] or [false, text] comes back. */
static int call_back(size_t index, uint64_t which, const kiln_native_value *given,
                     kiln_native_value *returned, kiln_error *err)
{
    auto_buffer kiln_buffer request = KILN_BUFFER_INIT;
    auto_value kiln_native_value answer = {.tag = KILN_VALUE_NULL};
    kiln_native_value items[3] = {
        kiln_native_natural(index),
        {.tag = KILN_VALUE_CALLBACK, .as.natural = which},
        *given,
    };
    const kiln_native_value list = {.tag = KILN_VALUE_LIST, .as.list = {items, 3}};
    const char *reply = "";
    size_t length = 0;
    int rc = kiln_native_value_append(&request, &list);
    rc = rc < 0 ? rc : host->call(request.data, request.length, &reply, &length);
    while (rc == -EINTR) {
        rc = host->call(NULL, 0, &reply, &length);
    }
    if (rc < 0) {
        return rc_text(rc, err);
    }
    rc = kiln_native_value_decode(reply, length, &answer, err);
    if (rc < 0 || answer.tag != KILN_VALUE_LIST || answer.as.list.count != 2) {
        return rc < 0 ? rc : kiln_error_set(err, EPROTO, "the engine's answer is malformed");
    }
    const kiln_native_value *value = &answer.as.list.items[1];
    if (answer.as.list.items[0].tag != KILN_VALUE_TRUE) {
        bool text = value->tag == KILN_VALUE_TEXT;
        return kiln_error_set(err, ECANCELED, "%.*s", text ? (int)value->as.bytes.length : 0,
                              text ? value->as.bytes.data : "");
    }
    if (value->tag >= KILN_VALUE_TEXT) {
        return kiln_error_set(err, EPROTO, "the engine's answer is no number");
    }
    *returned = *value;
    return 0;
}

/* Stays open: a second dlopen gives the same handle. */
static int find_function(const char *library, const kiln_native_value *symbol,
                         void (**function)(void), kiln_error *err)
{
    char name[256];
    if (symbol->as.bytes.length >= sizeof(name)) {
        return kiln_error_set(err, EINVAL, "the symbol's name is too long");
    }
    snprintf(name, sizeof(name), "%.*s", (int)symbol->as.bytes.length, symbol->as.bytes.data);
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        return kiln_error_set(err, ENOENT, "library: %s", dlerror());
    }
    void *address = dlsym(handle, name);
    if (address == NULL) {
        return kiln_error_set(err, ENOENT, "library %s has no function %s", library, name);
    }
    *(void **)function = address;
    return 0;
}

/* `request`: [symbol, signature, arguments], by our own engine. */
static int serve(const kiln_cell *cell, kiln_buffer *answer, kiln_error *err)
{
    auto_value kiln_native_value request = {.tag = KILN_VALUE_NULL};
    char text[KILN_VALUE_DEPTH_MAX * 1024];
    kiln_native_signature signature;
    void (*function)(void) = NULL;
    int rc = kiln_native_value_decode(cell->stdin_data, cell->stdin_length, &request, err);
    if (rc < 0 || request.tag != KILN_VALUE_LIST || request.as.list.count != 3) {
        return rc < 0 ? rc : kiln_error_set(err, EPROTO, "the request is malformed");
    }
    kiln_native_value *items = request.as.list.items;
    if (items[0].tag != KILN_VALUE_TEXT || items[1].tag != KILN_VALUE_TEXT ||
        items[1].as.bytes.length >= sizeof(text)) {
        return kiln_error_set(err, EPROTO, "the request is malformed");
    }
    snprintf(text, sizeof(text), "%.*s", (int)items[1].as.bytes.length, items[1].as.bytes.data);
    rc = kiln_native_signature_parse(text, &signature, err);
    rc = rc < 0 ? rc : find_function(cell->code, &items[0], &function, err);
    if (rc == 0 && items[2].tag == KILN_VALUE_NULL) { /* whether it is there was the question */
        const kiln_native_value nothing = {.tag = KILN_VALUE_LIST};
        return kiln_native_value_append(answer, &nothing);
    }
    rc = rc < 0 ? rc : kiln_native_check_arguments(&signature, &items[2], err);
    return rc < 0 ? rc
                  : kiln_native_invoke(function, &signature, &items[2], call_back, answer, err);
}

static int execute(const kiln_cell *cell, kiln_verdict *verdict)
{
    auto_buffer kiln_buffer answer = KILN_BUFFER_INIT;
    auto_buffer kiln_buffer results = KILN_BUFFER_INIT;
    kiln_error err = KILN_ERROR_INIT;
    static const unsigned char head[] = {KILN_VALUE_LIST, 2, 0, 0, 0, KILN_VALUE_TRUE};
    int rc = serve(cell, &results, &err);
    if (rc == 0) {
        rc = kiln_buffer_append(&answer, head, sizeof(head));
        rc = rc < 0 ? rc : kiln_buffer_append(&answer, results.data, results.length);
    } else {
        kiln_native_value both[2] = {{.tag = KILN_VALUE_FALSE},
                                     kiln_native_text(err.text, strlen(err.text))};
        const kiln_native_value list = {.tag = KILN_VALUE_LIST, .as.list = {both, 2}};
        rc = kiln_native_value_append(&answer, &list);
    }
    if (rc == 0) {
        const kiln_event event = {.size = sizeof(event),
                                  .type = KILN_EVENT_RESULT,
                                  .flags = KILN_EVENT_LAST,
                                  .data = answer.data,
                                  .length = answer.length};
        host->emit(&event);
    }
    verdict->status = KILN_STATUS_OK;
    return rc;
}

static const kiln_worker worker = {
    .size = sizeof(kiln_worker),
    .preload = preload,
    .start = start,
    .execute = execute,
};

KILN_WORKER(worker)
