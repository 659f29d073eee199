/* Calls: the helper process of their group is made, given its library, asked, and thrown away
 * when it does not answer as it should. */
#include "native/native-t.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "files/workdir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum {
    CALLS_MAX = 1024, /* that wait for one helper */
    LIBRARY_MAX = 256 << 20,
};

static void serve(kiln_native_group *group);

static void free_call(kiln_native_call *call)
{
    free(call->name);
    free(call->library);
    kiln_buffer_free(&call->request);
    free(call);
}

/* Ends the first call; what waits behind it comes next. */
static void finish(kiln_native_group *group, const kiln_native_value *results,
                   const char *failure, const char *text)
{
    kiln_native_call *call = group->calls;
    group->calls = call->next;
    group->busy = false;
    uv_timer_stop(group->timer);
    const kiln_native_failure why = {failure, text};
    call->callbacks.done(call->user, results, results != NULL ? NULL : &why);
    free_call(call);
}

/* The helper is of no more use, or none. */
static void drop_helper(kiln_native_group *group)
{
    if (group->sandbox != NULL) {
        kiln_sandbox *sandbox = kiln_steal(group->sandbox);
        group->closing = true;
        kiln_sandbox_account_stop(sandbox);
        kiln_sandbox_close(sandbox);
        group->closing = false;
    }
    group->guest = NULL;
    group->ready = false;
    group->busy = false;
    for (size_t i = 0; i < group->library_count; i++) {
        free(group->libraries[i]);
    }
    free(kiln_steal(group->libraries));
    group->library_count = 0;
    kiln_buffer_free(&group->answer);
    uv_timer_stop(group->timer);
}

__attribute__((format(printf, 3, 4))) static void
fail(kiln_native_group *group, const char *name, const char *format, ...)
{
    kiln_error text = KILN_ERROR_INIT;
    char what[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    kiln_error_set(&text, EIO, "native %s: %s", group->calls->name, what);
    drop_helper(group);
    finish(group, NULL, name, text.text);
}

static void on_timeout(uv_timer_t *timer)
{
    kiln_native_group *group = timer->data;
    fail(group, "NativeTimeout", "no answer within %llu ms; its helper process was ended",
         (unsigned long long)group->calls->timeout_ms);
    serve(group);
}

/* ---- what the helper says */

static void on_event(void *user, const kiln_event *event)
{
    kiln_native_group *group = user;
    if (event->type == KILN_EVENT_STREAM) {
        return; /* what the library prints is nobody's output */
    }
    if (event->type != KILN_EVENT_RESULT || group->answer.length > 0 ||
        event->length > KILN_VALUE_BYTES_MAX ||
        kiln_buffer_append(&group->answer, event->data, event->length) < 0) {
        kiln_guest_kill(group->guest);
    }
}

/* [true, [results]] or [false, name, text]; from a process where a foreign library runs. */
static void on_done(void *user, const kiln_verdict *verdict, double cpu_ms, uint64_t rss)
{
    kiln_native_group *group = user;
    (void)verdict, (void)cpu_ms, (void)rss;
    if (!group->busy) {
        return;
    }
    auto_value kiln_native_value answer = {.tag = KILN_VALUE_NULL};
    auto_buffer kiln_buffer bytes = group->answer; /* values borrow from it */
    group->answer = (kiln_buffer)KILN_BUFFER_INIT;
    kiln_error err = KILN_ERROR_INIT;
    kiln_native_call *call = group->calls;
    int rc = kiln_native_value_decode(bytes.data, bytes.length, &answer, &err);
    kiln_native_value *items = answer.tag == KILN_VALUE_LIST ? answer.as.list.items : NULL;
    size_t count = items != NULL ? answer.as.list.count : 0;
    kiln_sandbox_account_stop(group->sandbox);
    if (rc == 0 && count == 2 && items[0].tag == KILN_VALUE_TRUE) {
        rc = call->probe ? 0 : kiln_native_check_results(&call->signature, &items[1], &err);
        if (rc == 0) {
            finish(group, &items[1], NULL, NULL);
            serve(group);
            return;
        }
    } else if (rc == 0 && count == 2 && items[0].tag == KILN_VALUE_FALSE &&
               items[1].tag == KILN_VALUE_TEXT) {
        kiln_error_set(&err, EIO, "native %s: %.*s", call->name,
                       (int)(items[1].as.bytes.length < 800 ? items[1].as.bytes.length : 800),
                       items[1].as.bytes.data);
        finish(group, NULL, "NativeError", err.text);
        serve(group);
        return;
    } else if (rc == 0) {
        kiln_error_set(&err, EPROTO, "of another shape");
    }
    fail(group, "NativeCrashed", "its helper process gave a wrong answer: %s", err.text);
    serve(group);
}

static void on_call(void *user, uint32_t number, const char *data, size_t length)
{
    kiln_native_group *group = user;
    auto_value kiln_native_value given = {.tag = KILN_VALUE_NULL};
    auto_buffer kiln_buffer reply = KILN_BUFFER_INIT;
    kiln_native_value returned = {.tag = KILN_VALUE_NULL};
    kiln_error err = KILN_ERROR_INIT;
    kiln_native_call *call = group->calls;
    if (!group->busy) {
        return;
    }
    int rc = kiln_native_value_decode(data, length, &given, &err);
    kiln_native_value *items = given.tag == KILN_VALUE_LIST ? given.as.list.items : NULL;
    const kiln_native_type *callback =
        items != NULL && given.as.list.count == 3 && items[0].tag == KILN_VALUE_INT &&
                items[1].tag == KILN_VALUE_CALLBACK
            ? kiln_native_callback(&call->signature, (size_t)items[0].as.integer)
            : NULL;
    bool known = callback != NULL && call->callbacks.callback != NULL;
    if (rc == 0) {
        rc = known ? kiln_native_check_given(&call->signature, callback, &items[2], &err)
                   : kiln_error_set(&err, EPROTO, "a callback that there is not");
    }
    if (rc < 0 || !known) {
        fail(group, "NativeCrashed", "its helper process called a wrong callback: %s",
             err.text);
        serve(group);
        return;
    }
    rc = call->callbacks.callback(call->user, items[1].as.natural, &items[2], &returned, &err);
    rc = rc < 0 ? rc : kiln_native_check_returned(&call->signature, callback, &returned, &err);
    if (rc < 0) {
        returned = kiln_native_text(err.text, strlen(err.text));
    }
    kiln_native_value both[2] = {{.tag = rc < 0 ? KILN_VALUE_FALSE : KILN_VALUE_TRUE},
                                 returned};
    const kiln_native_value list = {.tag = KILN_VALUE_LIST, .as.list = {both, 2}};
    rc = kiln_native_value_append(&reply, &list);
    rc = rc < 0 ? rc : kiln_guest_return(group->guest, number, reply.data, reply.length);
    if (rc < 0) {
        fail(group, "NativeError", "out of memory");
        serve(group);
    }
}

static void on_exit_(void *user, const kiln_exit *exit)
{
    kiln_native_group *group = user;
    group->guest = NULL;
    if (group->closing) {
        return;
    }
    if (!group->busy) {
        drop_helper(group);
    } else if (exit->limit != NULL) {
        fail(group, "NativeLimit", "its helper process reached its limit of %s", exit->limit);
    } else if (exit->signal != 0 && exit->error == NULL) {
        const char *word = sigabbrev_np(exit->signal);
        fail(group, "NativeCrashed", "its helper process died of signal %d (SIG%s)",
             exit->signal, word != NULL ? word : "?");
    } else {
        fail(group, "NativeCrashed", "its helper process died: %s",
             exit->error != NULL ? exit->error : "it called exit()");
    }
    serve(group);
}

static void on_ready(void *user, int root_fd, const kiln_error *err)
{
    kiln_native_group *group = user;
    if (root_fd < 0) {
        char why[sizeof(err->text)];
        snprintf(why, sizeof(why), "%s", err->text);
        if (group->busy) {
            fail(group, "NativeError", "%s", why);
        }
    } else {
        group->ready = true;
    }
    serve(group);
}

/* ---- asking */

static int copy_library(const kiln_native_group *group, const char *path, size_t index,
                        kiln_error *err)
{
    struct stat what;
    char name[32];
    auto_close int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (file < 0 || fstat(file, &what) < 0) {
        return kiln_error_errno(err, errno, "library %s", path);
    }
    if (!S_ISREG(what.st_mode) || what.st_size == 0 || what.st_size > LIBRARY_MAX) {
        return kiln_error_set(err, EINVAL, "library %s: no file of 1 B to 256 MiB", path);
    }
    size_t size = (size_t)what.st_size;
    void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) {
        return kiln_error_errno(err, errno, "library %s", path);
    }
    snprintf(name, sizeof(name), "%zu.so", index);
    int rc = kiln_workdir_write(kiln_sandbox_root_fd(group->sandbox), "code", name, data, size,
                                0755, err);
    munmap(data, size);
    return rc;
}

/* Where the helper finds it: a name as it is, a file where it was copied to. */
static int place_library(kiln_native_group *group, const char *library, char *inside,
                         size_t size, kiln_error *err)
{
    size_t index = 0;
    if (strchr(library, '/') == NULL) {
        snprintf(inside, size, "%s", library);
        return 0;
    }
    while (index < group->library_count && strcmp(group->libraries[index], library) != 0) {
        index++;
    }
    snprintf(inside, size, KILN_INSIDE_CODE "/%zu.so", index);
    if (index < group->library_count) {
        return 0;
    }
    int rc = copy_library(group, library, index, err);
    if (rc < 0) {
        return rc;
    }
    char **more = reallocarray(group->libraries, index + 1, sizeof(*more));
    if (more == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    group->libraries = more;
    more[index] = strdup(library);
    group->library_count += more[index] != NULL;
    return more[index] != NULL ? 0 : kiln_error_set(err, ENOMEM, "out of memory");
}

static kiln_limits limits_of(const kiln_native_group *group)
{
    return (kiln_limits){.size = sizeof(kiln_limits),
                         .memory = group->memory,
                         .processes = 16,
                         .disk = group->memory / 2,
                         .files = 256,
                         .open_files = 64};
}

static int open_sandbox(kiln_native_group *group, kiln_error *err)
{
    kiln_natives *natives = group->natives;
    int rc = 0;
    if (natives->zygote == NULL) {
        static const char *const none[] = {NULL};
        const kiln_zygote_spec spec = {.loop = natives->spec.loop,
                                       .executable = natives->helper,
                                       .plugin = natives->helper,
                                       .options = none,
                                       .policy = natives->spec.sandbox,
                                       .log_level = kiln_log_level_now()};
        rc = kiln_zygote_start(&spec, &natives->zygote, err);
    }
    for (kiln_native_call *call = group->calls; call != NULL; call = call->next) {
        group->memory = call->memory > group->memory ? call->memory : group->memory;
    }
    const kiln_limits limits = limits_of(group);
    return rc < 0 ? rc
                  : kiln_sandbox_open(natives->zygote, "native", &limits, on_ready, group,
                                      &group->sandbox, err);
}

static int ask(kiln_native_group *group, kiln_error *err)
{
    static const kiln_guest_callbacks callbacks = {
        .on_event = on_event, .on_done = on_done, .on_exit = on_exit_, .on_call = on_call};
    static const char *const none[] = {NULL};
    const kiln_limits limits = limits_of(group);
    const kiln_native_call *call = group->calls;
    char inside[PATH_MAX];
    int rc = place_library(group, call->library, inside, sizeof(inside), err);
    if (rc == 0 && group->guest == NULL) {
        rc = kiln_guest_start(group->sandbox, &limits, &callbacks, group, &group->guest, err);
    }
    if (rc < 0) {
        return rc;
    }
    const kiln_input input = {.size = sizeof(input),
                              .session_id = "native",
                              .code = inside,
                              .code_length = strlen(inside),
                              .language = "native",
                              .stdin_data = call->request.data,
                              .stdin_length = call->request.length,
                              .args = none,
                              .env = none,
                              .input_files = none,
                              .limits = limits};
    kiln_sandbox_account_begin(group->sandbox, &limits);
    return kiln_guest_execute(group->guest, &input, err);
}

/* Goes on with the first call, if nothing is being waited for. */
static void serve(kiln_native_group *group)
{
    while (group->calls != NULL && !group->closing) {
        kiln_error err = KILN_ERROR_INIT;
        kiln_native_call *call = group->calls;
        bool usable = group->sandbox != NULL && kiln_sandbox_alive(group->sandbox) &&
                      (group->guest == NULL || kiln_guest_usable(group->guest));
        if (group->busy && !(group->ready && group->guest == NULL)) {
            return; /* it is served, or its sandbox is being made */
        }
        if (!group->busy) {
            uv_timer_start(group->timer, on_timeout, call->timeout_ms, 0);
            group->busy = true;
            if (!usable || call->memory > group->memory) {
                drop_helper(group);
                uv_timer_start(group->timer, on_timeout, call->timeout_ms, 0);
                group->busy = true;
            }
        }
        int rc = group->sandbox == NULL ? open_sandbox(group, &err)
                 : group->ready         ? ask(group, &err)
                                        : 0;
        if (rc == 0) {
            return;
        }
        fail(group, "NativeError", "%s", err.text);
    }
}

/* ---- calls */

static void free_timer(uv_handle_t *handle)
{
    free(handle);
}

static kiln_native_group *group_of(kiln_natives *natives, const char *name)
{
    kiln_native_group *group = natives->groups;
    while (group != NULL && strcmp(group->name, name) != 0) {
        group = group->next;
    }
    if (group != NULL) {
        return group;
    }
    group = calloc(1, sizeof(*group));
    uv_timer_t *timer = malloc(sizeof(*timer));
    if (group == NULL || timer == NULL || (group->name = strdup(name)) == NULL) {
        free(group);
        free(timer);
        return NULL;
    }
    uv_timer_init(natives->spec.loop, timer);
    timer->data = group;
    group->timer = timer;
    group->natives = natives;
    group->next = natives->groups;
    natives->groups = group;
    return group;
}

void kiln_native_groups_close(kiln_natives *natives)
{
    while (natives->groups != NULL) {
        kiln_native_group *group = natives->groups;
        drop_helper(group);
        while (group->calls != NULL) {
            finish(group, NULL, "NativeError", "the engine is closing");
        }
        natives->groups = group->next;
        uv_close((uv_handle_t *)group->timer, free_timer);
        free(group->name);
        free(group);
    }
}

/* [symbol, signature, arguments] */
static int encode(const kiln_native_function *function, const kiln_native_value *arguments,
                  kiln_buffer *request)
{
    kiln_native_value items[3] = {kiln_native_text(function->symbol, strlen(function->symbol)),
                                  kiln_native_text(function->text, strlen(function->text)),
                                  *arguments};
    const kiln_native_value list = {.tag = KILN_VALUE_LIST, .as.list = {items, 3}};
    return kiln_native_value_append(request, &list);
}

static int enqueue(kiln_native_call *call)
{
    size_t count = 0;
    kiln_native_call **end = &call->group->calls;
    for (; *end != NULL; end = &(*end)->next) {
        count++;
    }
    if (count >= CALLS_MAX) {
        return -EBUSY;
    }
    *end = call;
    return 0;
}

static void start_call(const kiln_native_function *function, kiln_natives *natives,
                       const kiln_native_value *arguments,
                       const kiln_native_callbacks *callbacks, void *user,
                       kiln_native_call **handle)
{
    kiln_error err = KILN_ERROR_INIT;
    const kiln_native_failure failure = {"NativeError", err.text};
    kiln_native_call *call = calloc(1, sizeof(*call));
    int rc = call == NULL ? -ENOMEM : encode(function, arguments, &call->request);
    if (rc == 0) {
        call->group = group_of(natives, function->group);
        call->name = strdup(function->name);
        call->library = strdup(function->library);
        call->signature = function->signature;
        call->timeout_ms = function->timeout_ms;
        call->memory = function->memory;
        call->probe = arguments->tag == KILN_VALUE_NULL;
        call->callbacks = *callbacks;
        call->user = user;
        rc = call->group == NULL || call->name == NULL || call->library == NULL ? -ENOMEM
                                                                                : enqueue(call);
    }
    if (rc < 0) {
        kiln_error_set(&err, rc, "native %s: %s", function->name,
                       rc == -E2BIG   ? "the arguments are more than 16 MiB"
                       : rc == -EBUSY ? "1024 calls wait for its helper process already"
                                      : "out of memory");
        if (call != NULL) {
            free_call(call);
        }
        callbacks->done(user, NULL, &failure);
        return;
    }
    *handle = call; /* before it is served: it may be done, and freed, before this returns */
    if (call->group->calls == call) {
        serve(call->group);
    }
}

void kiln_native_probe(kiln_natives *natives, const char *name,
                       const kiln_native_callbacks *callbacks, void *user,
                       kiln_native_call **handle)
{
    static const kiln_native_value none = {.tag = KILN_VALUE_NULL};
    const kiln_native_failure failure = {"NativeUnknown", "no such native function"};
    const kiln_native_function *function = kiln_natives_lookup(natives, name, ~0U);
    if (function == NULL) {
        callbacks->done(user, NULL, &failure);
    } else {
        start_call(function, natives, &none, callbacks, user, handle);
    }
}

void kiln_native_call_start(kiln_natives *natives, const char *name, unsigned exposure,
                            kiln_native_value *arguments,
                            const kiln_native_callbacks *callbacks, void *user,
                            kiln_native_call **handle)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_native_failure failure = {"NativeUnknown", err.text};
    const kiln_native_function *function = kiln_natives_lookup(natives, name, exposure);
    if (function == NULL) {
        kiln_error_set(&err, ENOENT, "no native function \"%s\"; add a section [native %s]%s",
                       name, name,
                       exposure == KILN_NATIVE_TO_POLICY &&
                               kiln_natives_find(natives, name, ~0U) == KILN_NATIVE_FUNCTION
                           ? " whose expose says so"
                           : "");
        callbacks->done(user, NULL, &failure);
        return;
    }
    int rc = kiln_native_check_arguments(&function->signature, arguments, &err);
    failure.name = rc == -ERANGE ? "NativeOverflow" : "NativeType";
    if (rc == 0 && function->signature.has_callback && callbacks->callback == NULL) {
        rc = kiln_error_set(&err, EINVAL, "it takes a function, which only a policy can give");
    }
    if (rc < 0) {
        kiln_error_wrap(&err, "native %s", name);
        callbacks->done(user, NULL, &failure);
        return;
    }
    start_call(function, natives, arguments, callbacks, user, handle);
}

void kiln_native_call_cancel(kiln_native_call *call)
{
    kiln_native_group *group = call->group;
    kiln_native_call **at = &group->calls;
    bool first = group->calls == call;
    if (first && group->busy) {
        drop_helper(group);
    }
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
    free_call(call);
    if (first) {
        serve(group);
    }
}
