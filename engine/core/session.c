/* Sessions: opened, found, listed, restarted, closed; and closed when nobody has used
 * them for long. */
#include "core/engine-t.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

static int check_id(const char *id, kiln_error *err)
{
    size_t length = strlen(id);
    for (size_t i = 0; i < length; i++) {
        if (!isalnum((unsigned char)id[i]) && strchr("._-", id[i]) == NULL) {
            length = 0;
        }
    }
    return length > 0 && length <= 64 && id[0] != '.'
               ? 0
               : kiln_error_set(err, EINVAL,
                                "session id \"%s\": 1 to 64 of A-Z a-z 0-9 . _ - are allowed, "
                                "and no leading dot",
                                id);
}

/* ---- what all of them have */

static uint64_t memory_of_all(const kiln_engine *engine)
{
    uint64_t sum = 0;
    for (const kiln_core_session *session = engine->sessions; session != NULL;
         session = session->next) {
        sum += kiln_bindings_memory(&session->base);
    }
    return sum;
}

int kiln_core_check_memory(const kiln_engine *engine, kiln_error *err)
{
    if (engine->sessions_memory == 0) {
        return 0;
    }
    uint64_t now = memory_of_all(engine);
    return now < engine->sessions_memory
               ? 0
               : kiln_error_set(err, EDQUOT,
                                "the sessions hold %llu MiB together, and [session] memory "
                                "allows %llu MiB: close or restart one",
                                (unsigned long long)(now >> 20),
                                (unsigned long long)(engine->sessions_memory >> 20));
}

static int check_room(const kiln_engine *engine, kiln_error *err)
{
    size_t count = 0;
    for (const kiln_core_session *session = engine->sessions; session != NULL;
         session = session->next) {
        count++;
    }
    if (count >= engine->sessions_max) {
        return kiln_error_set(err, EMFILE,
                              "%zu sessions are open, and [session] max allows no more: close "
                              "one",
                              count);
    }
    return kiln_core_check_memory(engine, err);
}

/* ---- opening and finding */

kiln_session *kiln_session_find(const kiln_engine *engine, const char *id)
{
    kiln_core_session *session = engine->sessions;
    while (session != NULL && (session->closing || strcmp(session->base.id, id) != 0)) {
        session = session->next;
    }
    return session != NULL ? &session->base : NULL;
}

void kiln_core_session_used(kiln_core_session *session)
{
    clock_gettime(CLOCK_REALTIME, &session->last_used_at);
    session->last_used_ns = kiln_now_ns();
}

int kiln_session_open(kiln_engine *engine, const char *id, kiln_session **out, kiln_error *err)
{
    char made_up[37];
    int rc = 0;
    if (id == NULL) {
        rc = kiln_uuid(made_up);
        id = made_up;
        rc = rc < 0 ? kiln_error_errno(err, rc, "session") : 0;
    } else {
        rc = check_id(id, err);
    }
    if (rc == 0 && kiln_session_find(engine, id) != NULL) {
        rc = kiln_error_set(err, EEXIST, "session %s is open already", id);
    }
    rc = rc < 0 ? rc : check_room(engine, err);
    if (rc < 0) {
        return rc;
    }
    kiln_core_session *session = calloc(1, sizeof(*session));
    if (session == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    snprintf(session->base.id, sizeof(session->base.id), "%s", id);
    session->engine = engine;
    session->next = engine->sessions;
    engine->sessions = session;
    kiln_core_session_used(session);
    session->created_at = session->last_used_at;
    *out = &session->base;
    return 0;
}

const char *kiln_session_id(const kiln_session *session)
{
    return session->id;
}

uint64_t kiln_session_executions(const kiln_session *session)
{
    return ((const kiln_core_session *)session)->execution_count;
}

void kiln_session_hold(kiln_session *session, bool hold)
{
    kiln_core_session *core = kiln_session_core(session);
    core->holds += hold ? 1 : -1;
    kiln_core_session_used(core);
}

/* ---- closing */

static void destroy(kiln_core_session *session)
{
    kiln_bindings_close(&session->base);
    kiln_core_session **place = &session->engine->sessions;
    while (*place != session) {
        place = &(*place)->next;
    }
    *place = session->next;
    kiln_notebook_free(&session->notebook);
    json_decref(session->context.errors);
    json_decref(session->context.input_files);
    free(session);
}

/* The execution may end, and its caller may do anything, within the first call. */
static void kill_execution(kiln_core_session *session)
{
    kiln_execution *execution = session->execution;
    session->pins++;
    kiln_execution_cancel(execution);
    if (session->execution == execution) {
        kiln_execution_cancel(execution);
    }
    session->pins--;
}

void kiln_core_session_settle(kiln_core_session *session)
{
    if (session->closing && session->pins == 0 && session->execution == NULL) {
        destroy(session);
    }
}

void kiln_session_close(kiln_session *session_)
{
    kiln_core_session *session = kiln_session_core(session_);
    if (session->closing) {
        return;
    }
    session->closing = true;
    session->pins++;
    kiln_core_query_cut(session, "the session was closed");
    if (session->execution != NULL) {
        kill_execution(session);
    }
    session->pins--;
    kiln_core_session_settle(session);
}

void kiln_core_sessions_close(kiln_engine *engine)
{
    for (bool found = true; found;) {
        found = false;
        for (kiln_core_session *session = engine->sessions; session != NULL && !found;
             session = session->next) {
            found = !session->closing;
            if (found) {
                kiln_session_close(&session->base); /* may change the list */
                break;
            }
        }
    }
    while (engine->sessions != NULL) {
        uv_run(engine->loop, UV_RUN_ONCE);
    }
}

/* ---- restarting */

static void forget(kiln_core_session *session)
{
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_bindings_restart(&session->base, &err) < 0) {
        kiln_log(KILN_LOG_WARNING, "core", "%s", err.text);
    }
    kiln_notebook_free(&session->notebook);
    session->execution_count = 0;
    session->consecutive_failures = 0;
    json_decref(session->context.errors);
    session->context.errors = json_array();
}

void kiln_session_restart(kiln_session *session_)
{
    kiln_core_session *session = kiln_session_core(session_);
    kiln_core_query_cut(session, "the session was restarted");
    kiln_core_session_used(session);
    if (session->execution != NULL) {
        session->restarting = true;
        kill_execution(session);
        kiln_core_session_settle(session);
    } else {
        forget(session);
    }
}

void kiln_core_session_left(kiln_core_session *session)
{
    kiln_core_session_used(session);
    if (session->restarting) {
        session->restarting = false;
        forget(session);
    }
}

/* ---- what there is */

static json_t *describe(const kiln_core_session *session)
{
    bool busy = session->execution != NULL;
    uint64_t memory = kiln_bindings_memory(&session->base);
    const kiln_session_disk disk = kiln_bindings_disk(&session->base);
    return json_pack("{s:s, s:s, s:o, s:o, s:I, s:o, s:I, s:I, s:o}", "id", session->base.id,
                     "state",
                     session->closing ? "closing"
                     : busy           ? "busy"
                                      : "idle",
                     "created_at", kiln_time_to_json(&session->created_at), "last_used_at",
                     kiln_time_to_json(&session->last_used_at), "executions",
                     (json_int_t)session->execution_count, "memory_bytes",
                     memory > 0 ? json_integer((json_int_t)memory) : json_null(), "disk_bytes",
                     (json_int_t)disk.bytes, "files", (json_int_t)disk.files, "backends",
                     kiln_bindings_names(&session->base));
}

json_t *kiln_sessions_list(const kiln_engine *engine)
{
    json_t *list = json_array();
    for (const kiln_core_session *session = engine->sessions; session != NULL;
         session = session->next) {
        json_array_insert_new(list, 0, describe(session)); /* the list is the newest first */
    }
    return list;
}

/* ---- idle life */

static void close_idle(uv_timer_t *timer)
{
    kiln_engine *engine = timer->data;
    uint64_t now = kiln_now_ns();
    kiln_core_session *next;
    for (kiln_core_session *session = engine->sessions; session != NULL; session = next) {
        next = session->next;
        if (session->execution == NULL && session->query == NULL && session->holds == 0 &&
            !session->closing && now - session->last_used_ns > engine->idle_ms * 1000000) {
            kiln_log(KILN_LOG_INFO, "core", "session %s: closed, it was not used for %llu s",
                     session->base.id,
                     (unsigned long long)((now - session->last_used_ns) / 1000000000));
            kiln_session_close(&session->base); /* calls nobody: nothing is in flight */
        }
    }
}

void kiln_core_sessions_configure(kiln_engine *engine)
{
    const kiln_config *config = engine->config;
    engine->sessions_max = (uint64_t)kiln_config_integer(config, "session", "max");
    engine->sessions_memory = kiln_config_size(config, "session", "memory");
    engine->idle_ms = kiln_config_duration(config, "session", "idle");
    engine->query_timeout_ms = kiln_config_duration(config, "session", "query_timeout");
    if (engine->idle_timer != NULL && engine->idle_ms > 0) {
        uint64_t every = engine->idle_ms / 8;
        every = every < 20 ? 20 : every > 10000 ? 10000 : every;
        uv_timer_start(engine->idle_timer, close_idle, every, every);
    } else if (engine->idle_timer != NULL) {
        uv_timer_stop(engine->idle_timer);
    }
}

int kiln_core_sessions_open(kiln_engine *engine)
{
    engine->idle_timer = calloc(1, sizeof(*engine->idle_timer));
    if (engine->idle_timer == NULL) {
        return -ENOMEM;
    }
    uv_timer_init(engine->loop, engine->idle_timer);
    engine->idle_timer->data = engine;
    uv_unref((uv_handle_t *)engine->idle_timer);
    kiln_core_sessions_configure(engine);
    return 0;
}
