/* Queries of a session: found a backend for, given a clock, and their replies checked,
 * since what answers is a process that runs hostile code. */
#include "core/engine-t.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

enum { MATCHES_MAX = 100000, START_MS = 60000 };

struct kiln_query {
    kiln_core_session *session;
    kiln_backend *backend;
    kiln_binding *binding; /* once it was asked */
    char *name;
    json_t *arguments;
    uv_timer_t *timer; /* a start, the time, then the grace, then to tell the end */
    bool stopped;      /* its time was up */
    bool starting;     /* inside kiln_session_query */
    json_t *reply;     /* with err: the end, told by the timer */
    kiln_error err;
    void (*done)(void *user, json_t *reply, const kiln_error *err);
    void *user;
};

/* ---- shapes */

static size_t code_points(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++) {
        count += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return count;
}

static bool is_position(const json_t *value, size_t length)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 &&
           (size_t)json_integer_value(value) <= length;
}

static bool is_complete_reply(const json_t *reply, const json_t *arguments)
{
    size_t length = code_points(json_string_value(json_object_get(arguments, "code")));
    const json_t *start = json_object_get(reply, "cursor_start");
    const json_t *end = json_object_get(reply, "cursor_end");
    const json_t *matches = json_object_get(reply, "matches");
    size_t i;
    json_t *match;
    if (!is_position(start, length) || !is_position(end, length) ||
        json_integer_value(start) > json_integer_value(end) || !json_is_array(matches) ||
        json_array_size(matches) > MATCHES_MAX ||
        !json_is_object(json_object_get(reply, "metadata"))) {
        return false;
    }
    json_array_foreach(matches, i, match)
    {
        if (!json_is_string(match)) {
            return false;
        }
    }
    return true;
}

static bool is_inspection(const json_t *reply, const json_t *arguments)
{
    (void)arguments;
    return json_is_boolean(json_object_get(reply, "found")) &&
           json_is_object(json_object_get(reply, "data")) &&
           json_is_object(json_object_get(reply, "metadata"));
}

static bool is_completeness(const json_t *reply, const json_t *arguments)
{
    static const char *const known[] = {"complete", "incomplete", "invalid", "unknown"};
    const char *status = json_string_value(json_object_get(reply, "status"));
    const json_t *indent = json_object_get(reply, "indent");
    (void)arguments;
    bool found = false;
    for (size_t i = 0; status != NULL && i < sizeof(known) / sizeof(known[0]); i++) {
        found = found || strcmp(known[i], status) == 0;
    }
    return found && (indent == NULL || json_is_string(indent));
}

static bool is_variables(const json_t *reply, const json_t *arguments)
{
    size_t i;
    json_t *entry;
    (void)arguments;
    if (!json_is_array(reply)) {
        return false;
    }
    json_array_foreach(reply, i, entry)
    {
        const json_t *size = json_object_get(entry, "size");
        const json_t *shape = json_object_get(entry, "shape");
        if (!json_is_string(json_object_get(entry, "name")) ||
            !json_is_string(json_object_get(entry, "type")) ||
            !json_is_string(json_object_get(entry, "value")) ||
            !(json_is_null(size) || json_is_integer(size)) ||
            !(shape == NULL || json_is_string(shape))) {
            return false;
        }
    }
    return true;
}

/* Others are the plugin's own: their arguments and replies are handed through. */
static const struct known_query {
    const char *name;
    bool code, cursor;
    bool (*is_reply)(const json_t *reply, const json_t *arguments);
} known_queries[] = {
    {"complete", true, true, is_complete_reply},
    {"inspect", true, true, is_inspection},
    {"is_complete", true, false, is_completeness},
    {"variables", false, false, is_variables},
};

static const struct known_query *find_known(const char *name)
{
    for (size_t i = 0; i < sizeof(known_queries) / sizeof(known_queries[0]); i++) {
        if (strcmp(known_queries[i].name, name) == 0) {
            return &known_queries[i];
        }
    }
    return NULL;
}

static int check_arguments(const char *name, const json_t *arguments, kiln_error *err)
{
    const struct known_query *known = find_known(name);
    const json_t *code = json_object_get(arguments, "code");
    if (!json_is_object(arguments)) {
        return kiln_error_set(err, EINVAL, "query %s: its arguments must be an object", name);
    }
    if (json_string_length(code) > KILN_CODE_MAX) {
        return kiln_error_set(err, E2BIG, "query %s: more than %d bytes of code", name,
                              KILN_CODE_MAX);
    }
    if (known != NULL && known->code && !json_is_string(code)) {
        return kiln_error_set(err, EINVAL, "query %s: \"code\" must be a string", name);
    }
    if (known != NULL && known->cursor &&
        !is_position(json_object_get(arguments, "cursor_pos"),
                     code_points(json_string_value(code)))) {
        return kiln_error_set(err, EINVAL,
                              "query %s: \"cursor_pos\" must be a number of characters within "
                              "the code",
                              name);
    }
    return 0;
}

/* ---- the end */

static void free_timer(uv_handle_t *handle)
{
    free(handle);
}

static void free_query(kiln_query *query)
{
    if (query->timer != NULL) {
        uv_close((uv_handle_t *)query->timer, free_timer);
    }
    json_decref(query->arguments);
    json_decref(query->reply);
    free(query->name);
    free(query);
}

static void tell(kiln_query *query)
{
    kiln_query copy = *query;
    query->reply = NULL;
    query->session->query = NULL;
    kiln_core_session_used(query->session);
    free_query(query);
    copy.done(copy.user, copy.reply, copy.reply != NULL ? NULL : &copy.err);
    json_decref(copy.reply);
}

static void tell_later(uv_timer_t *timer)
{
    tell(timer->data);
}

/* The caller of kiln_session_query does not know of it yet. */
static void end(kiln_query *query)
{
    query->binding = NULL;
    if (query->starting) {
        uv_timer_start(query->timer, tell_later, 0, 0);
    } else {
        tell(query);
    }
}

static void fail(kiln_query *query, int code, const char *why)
{
    kiln_error_set(&query->err, code, "query %s: %s", query->name, why);
    end(query);
}

static void on_reply(void *user, json_t *reply, const char *error)
{
    kiln_query *query = user;
    const struct known_query *known = find_known(query->name);
    if (query->stopped && reply == NULL) { /* else it gave what it had */
        fail(query, ETIMEDOUT, "took too long ([session] query_timeout)");
    } else if (reply == NULL) {
        fail(query, ECANCELED, error != NULL ? error : "no reply");
    } else if (known != NULL && !known->is_reply(reply, query->arguments)) {
        fail(query, EPROTO, "the reply is not of the shape that it should have");
    } else {
        query->reply = json_incref(reply);
        end(query);
    }
}

static void leave_it(kiln_query *query)
{
    if (query->binding != NULL) {
        kiln_binding_query_forget(query->binding);
    } else {
        kiln_binding_forget(&query->session->base, query);
    }
}

void kiln_core_query_cut(kiln_core_session *session, const char *why)
{
    kiln_query *query = session->query;
    if (query == NULL) {
        return;
    }
    leave_it(query);
    query->binding = NULL;
    kiln_error_set(&query->err, ECANCELED, "query %s: %s", query->name, why);
    tell(query);
}

void kiln_query_cancel(kiln_query *query)
{
    kiln_core_query_cut(query->session, "cancelled");
}

static void on_time_up(uv_timer_t *timer)
{
    kiln_query *query = timer->data;
    if (query->binding == NULL || query->stopped) {
        leave_it(query);
        fail(query, ETIMEDOUT, "took too long ([session] query_timeout)");
        return;
    }
    query->stopped = true;
    uv_timer_start(timer, on_time_up, query->session->engine->grace_ms, 0);
    kiln_binding_query_stop(query->binding); /* may end it */
}

/* ---- the beginning */

static void on_ready(void *user, kiln_binding *binding, int root_fd, const kiln_error *err)
{
    kiln_query *query = user;
    (void)root_fd;
    if (binding == NULL) {
        fail(query, err->code, err->text);
        return;
    }
    bool starting = query->starting;
    query->binding = binding;
    /* A place to be asked in may take longer to make (a container) than any answer does. */
    uv_timer_start(query->timer, on_time_up, query->session->engine->query_timeout_ms, 0);
    query->starting = true; /* it may be answered from within */
    query->err = (kiln_error)KILN_ERROR_INIT;
    int rc = kiln_binding_query(binding, query->name, query->arguments,
                                &query->session->engine->ceiling, on_reply, query, &query->err);
    if (rc < 0) {
        end(query);
    }
    query->starting = starting;
}

/* The one that is named, the one that ran last, or the default one. */
static kiln_backend *choose(const kiln_core_session *session, const char *name, kiln_error *err)
{
    const kiln_engine *engine = session->engine;
    kiln_backend *backend = name == NULL ? session->last_backend : NULL;
    if (backend == NULL) {
        name = name != NULL ? name : kiln_config_string(engine->config, "engine", "backend");
        backend = name != NULL ? kiln_backends_find(engine->backends, name) : NULL;
    }
    if (backend == NULL) {
        kiln_error_set(err, ENOENT, "no backend \"%s\" in [engine] backends",
                       name != NULL ? name : "");
    } else if (!kiln_backend_answers(backend)) {
        kiln_error_set(err, ENOTSUP, "backend %s answers no queries",
                       kiln_backend_name(backend));
        backend = NULL;
    }
    return backend;
}

int kiln_session_query(kiln_session *session_, const char *backend_name, const char *name,
                       json_t *arguments,
                       void (*done)(void *user, json_t *reply, const kiln_error *err),
                       void *user, kiln_query **out, kiln_error *err)
{
    kiln_core_session *session = kiln_session_core(session_);
    int rc = check_arguments(name, arguments, err);
    if (rc < 0) {
        return rc;
    }
    if (session->branching) {
        return kiln_error_set(err, EBUSY, "session %s is busy: it is being branched",
                              session->base.id);
    }
    if (session->execution != NULL || session->query != NULL) {
        return kiln_error_set(err, EBUSY, "session %s is busy with %s", session->base.id,
                              session->execution != NULL ? "a cell" : "another query");
    }
    kiln_backend *backend = choose(session, backend_name, err);
    if (backend == NULL) {
        return err->code;
    }
    kiln_query *query = calloc(1, sizeof(*query));
    if (query == NULL || (query->name = strdup(name)) == NULL ||
        (query->timer = calloc(1, sizeof(*query->timer))) == NULL) {
        free(query != NULL ? query->name : NULL);
        free(query);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    query->session = session;
    query->backend = backend;
    query->arguments = json_incref(arguments);
    query->done = done;
    query->user = user;
    uv_timer_init(session->engine->loop, query->timer);
    query->timer->data = query;
    uv_timer_start(query->timer, on_time_up, START_MS, 0);
    session->query = query;
    kiln_core_session_used(session);
    *out = query;
    query->starting = true;
    const char *language = session->language[0] != '\0' && backend == session->last_backend
                               ? session->language
                               : kiln_backend_language(backend);
    kiln_backend_bind(backend, session_, language, &session->engine->ceiling, on_ready, query);
    query->starting = false;
    return 0;
}
