/* The host table: what plugins may ask of the engine. */
#include "plugin/backend-t.h"

#include "base/log.h"
#include "files/workdir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void host_log(const kiln_host *host, uint32_t level, const char *text)
{
    kiln_log(level > KILN_LOG_DEBUG ? KILN_LOG_DEBUG : (kiln_log_level)level,
             kiln_backend_of(host)->section, "%s", text);
    const kiln_backends_listener *listener = &kiln_backend_of(host)->all->listener;
    if (level == KILN_PLUGIN_LOG_INFO && listener->told != NULL) {
        listener->told(listener->user, text);
    }
}

static const char *host_option(const kiln_host *host, const char *name)
{
    kiln_backend *backend = kiln_backend_of(host);
    return kiln_config_option(backend->all->spec.config, backend->section, name);
}

static int host_emit(const kiln_host *host, kiln_ticket ticket, const kiln_event *event)
{
    kiln_backend *backend = kiln_backend_of(host);
    kiln_ticket_entry *entry = kiln_ticket_find(&backend->all->tickets, backend, ticket);
    if (entry == NULL) {
        kiln_log(KILN_LOG_WARNING, backend->section, "emit for a stale ticket: dropped");
        return -ESTALE;
    }
    entry->callbacks.on_event(entry->user, event);
    return 0;
}

static int host_complete(const kiln_host *host, kiln_ticket ticket, const kiln_outcome *outcome)
{
    kiln_backend *backend = kiln_backend_of(host);
    kiln_ticket_entry *entry = kiln_ticket_find(&backend->all->tickets, backend, ticket);
    if (entry == NULL || entry->binding->completed ||
        kiln_binding_owns_query(entry->binding, ticket)) {
        kiln_log(KILN_LOG_WARNING, backend->section, "completion for a stale ticket: dropped");
        return -ESTALE;
    }
    kiln_binding_complete(entry->binding, outcome);
    return 0;
}

static int host_reply(const kiln_host *host, kiln_ticket ticket, const char *json,
                      size_t length, const char *error)
{
    kiln_backend *backend = kiln_backend_of(host);
    kiln_ticket_entry *entry = kiln_ticket_find(&backend->all->tickets, backend, ticket);
    if (entry == NULL || !kiln_binding_owns_query(entry->binding, ticket)) {
        kiln_log(KILN_LOG_WARNING, backend->section, "reply for a stale ticket: dropped");
        return -ESTALE;
    }
    kiln_binding_plugin_reply(entry->binding, json, length, error);
    return 0;
}

static int host_spawn(const kiln_host *host, kiln_session *session, const kiln_spawn *spawn,
                      kiln_process **process)
{
    kiln_backend *backend = kiln_backend_of(host);
    kiln_binding *binding = kiln_binding_find(session, backend);
    if (binding == NULL || binding->sandbox == NULL || spawn->argv == NULL ||
        spawn->argv[0] == NULL || spawn->on_exit == NULL) {
        return -EINVAL;
    }
    kiln_spawn copy = *spawn;
    if (copy.limits == NULL) {
        copy.limits = &binding->limits;
    }
    kiln_error err = KILN_ERROR_INIT;
    int rc = kiln_process_spawn(binding->sandbox, &copy, process, &err);
    if (rc < 0) {
        kiln_log(KILN_LOG_ERROR, backend->section, "spawn: %s", err.text);
    }
    return rc;
}

static void host_kill(const kiln_host *host, kiln_process *process)
{
    (void)host;
    kiln_process_kill(process);
}

static int host_write_file(const kiln_host *host, kiln_session *session, const char *name,
                           const void *data, size_t length, uint32_t mode)
{
    kiln_backend *backend = kiln_backend_of(host);
    kiln_binding *binding = kiln_binding_find(session, backend);
    kiln_error err = KILN_ERROR_INIT;
    if (binding == NULL || binding->root_fd < 0) {
        return -EINVAL;
    }
    int rc = kiln_workdir_write(binding->root_fd, kiln_binding_work(binding), name, data,
                                length, mode, &err);
    if (rc < 0) {
        /* These two are the code's own doing: the plugin has an answer to them. */
        bool expected = rc == -EISDIR || rc == -ENOSPC;
        kiln_log(expected ? KILN_LOG_DEBUG : KILN_LOG_ERROR, backend->section, "write_file: %s",
                 err.text);
        return rc;
    }
    kiln_ticket_entry *entry =
        binding->running ? kiln_ticket_find(&backend->all->tickets, backend, binding->ticket)
                         : NULL;
    if (entry != NULL) {
        entry->callbacks.on_file(entry->user, name);
    }
    return 0;
}

/* ---- watches and timers: each begins with its place in the backend's list */

struct kiln_watch {
    kiln_host_handle held;
    uv_poll_t poll;
    int fd;
    void (*ready)(void *user, int fd, int events);
    void *user;
};

struct kiln_timer {
    kiln_host_handle held;
    uv_timer_t timer;
    void (*fire)(void *user);
    void *user;
};

static void hold(kiln_backend *backend, kiln_host_handle *held, void *handle)
{
    held->handle = handle;
    held->next = backend->handles;
    held->place = &backend->handles;
    if (held->next != NULL) {
        held->next->place = &held->next;
    }
    backend->handles = held;
}

static void free_held(uv_handle_t *handle)
{
    free(handle->data);
}

/* The handle's data is what it is part of. */
static void release(kiln_host_handle *held)
{
    *held->place = held->next;
    if (held->next != NULL) {
        held->next->place = held->place;
    }
    uv_close(held->handle, free_held);
}

static void watch_ready(uv_poll_t *poll, int status, int events)
{
    kiln_watch *watch = poll->data;
    int mask = status < 0 ? KILN_READABLE | KILN_WRITABLE : 0;
    mask |= events & UV_READABLE ? KILN_READABLE : 0;
    mask |= events & UV_WRITABLE ? KILN_WRITABLE : 0;
    watch->ready(watch->user, watch->fd, mask);
}

static kiln_watch *host_watch(const kiln_host *host, int fd, int events,
                              void (*ready)(void *user, int fd, int events), void *user)
{
    kiln_backend *backend = kiln_backend_of(host);
    kiln_watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL || uv_poll_init(backend->all->spec.loop, &watch->poll, fd) < 0) {
        free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    watch->fd = fd;
    watch->ready = ready;
    watch->user = user;
    hold(backend, &watch->held, &watch->poll);
    int mask =
        (events & KILN_READABLE ? UV_READABLE : 0) | (events & KILN_WRITABLE ? UV_WRITABLE : 0);
    if (uv_poll_start(&watch->poll, mask, watch_ready) < 0) {
        release(&watch->held);
        return NULL;
    }
    return watch;
}

static void host_unwatch(const kiln_host *host, kiln_watch *watch)
{
    (void)host;
    if (watch != NULL) {
        release(&watch->held);
    }
}

static void timer_fired(uv_timer_t *handle)
{
    kiln_timer *timer = handle->data;
    void (*fire)(void *user) = timer->fire;
    void *user = timer->user;
    release(&timer->held);
    fire(user);
}

static kiln_timer *host_timer(const kiln_host *host, uint64_t milliseconds,
                              void (*fire)(void *user), void *user)
{
    kiln_backend *backend = kiln_backend_of(host);
    kiln_timer *timer = calloc(1, sizeof(*timer));
    if (timer == NULL) {
        return NULL;
    }
    timer->fire = fire;
    timer->user = user;
    uv_timer_init(backend->all->spec.loop, &timer->timer);
    timer->timer.data = timer;
    hold(backend, &timer->held, &timer->timer);
    uv_timer_start(&timer->timer, timer_fired, milliseconds, 0);
    return timer;
}

static void host_cancel(const kiln_host *host, kiln_timer *timer)
{
    (void)host;
    if (timer != NULL) {
        release(&timer->held);
    }
}

void kiln_host_release(kiln_backend *backend)
{
    while (backend->handles != NULL) {
        release(backend->handles);
    }
}

/* ---- extension kiln.runtimes/1 */

static const kiln_runtime *find_runtime(const kiln_host *host, const char *language)
{
    static kiln_runtime runtime; /* valid until the next find: single loop thread */
    const kiln_config *config = kiln_backend_of(host)->all->spec.config;
    const char *const *names = kiln_config_names(config, "runtime");
    while (*names != NULL && strcmp(*names, language) != 0) {
        names++;
    }
    if (*names == NULL) {
        return NULL;
    }
    char section[128];
    snprintf(section, sizeof(section), "runtime %s", language);
    const char *const *extensions = kiln_config_list(config, section, "extensions");
    runtime = (kiln_runtime){
        .size = sizeof(runtime),
        .language = *names,
        .extension = extensions[0] != NULL ? extensions[0] : "",
        .compile = kiln_config_words(config, section, "compile"),
        .run = kiln_config_words(config, section, "run"),
    };
    return &runtime;
}

/* ---- extension kiln.limits/1 */

static const kiln_limits *default_limits(const kiln_host *host)
{
    static kiln_limits limits; /* valid until the next call: single loop thread */
    limits = kiln_config_limits(kiln_backend_of(host)->all->spec.config);
    return &limits;
}

static const void *host_extension(const kiln_host *host, const char *id)
{
    static const kiln_runtimes runtimes = {sizeof(runtimes), find_runtime};
    static const kiln_default_limits limits = {sizeof(limits), default_limits};
    (void)host;
    return strcmp(id, KILN_EXTENSION_RUNTIMES) == 0 ? &runtimes
           : strcmp(id, KILN_EXTENSION_LIMITS) == 0 ? &limits
           : strcmp(id, KILN_EXTENSION_FILES) == 0  ? kiln_files_extension()
           : strcmp(id, KILN_EXTENSION_GUEST) == 0  ? kiln_guests_extension()
           : strcmp(id, KILN_EXTENSION_CHECK) == 0  ? kiln_checks_extension()
                                                    : (const void *)NULL;
}

void kiln_host_fill(kiln_backend *backend)
{
    backend->host = (kiln_host){
        .size = sizeof(kiln_host),
        .abi_major = KILN_ABI_MAJOR,
        .abi_minor = KILN_ABI_MINOR,
        .log = host_log,
        .option = host_option,
        .emit = host_emit,
        .complete = host_complete,
        .spawn = host_spawn,
        .kill = host_kill,
        .write_file = host_write_file,
        .watch = host_watch,
        .unwatch = host_unwatch,
        .timer = host_timer,
        .cancel = host_cancel,
        .extension = host_extension,
        .reply = host_reply,
    };
}
