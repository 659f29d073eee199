/* A session on a backend: how it gets its sandbox and its worker, and gives them up. */
#include "plugin/backend-t.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "files/workdir.h"
#include "network/proxy.h"

#include <errno.h>
#include <string.h>

struct kiln_ready_waiter {
    kiln_ready_waiter *next;
    void (*ready)(void *user, kiln_binding *binding, int root_fd, const kiln_error *err);
    void *user;
    const char *language; /* valid while ready is there */
};

kiln_binding *kiln_binding_find(const kiln_session *session, const kiln_backend *backend)
{
    kiln_binding *binding = session->bindings;
    while (binding != NULL && binding->backend != backend) {
        binding = binding->next;
    }
    return binding;
}

const char *kiln_binding_work(const kiln_binding *binding)
{
    return kiln_binding_has_files(binding) ? KILN_AREA_ROOT : KILN_AREA_WORK;
}

static void free_timer(uv_handle_t *handle)
{
    free(handle);
}

static void unlink_binding(kiln_binding *binding)
{
    kiln_binding **place = &binding->session->bindings;
    while (*place != NULL && *place != binding) {
        place = &(*place)->next;
    }
    if (*place != NULL) {
        *place = binding->next;
    }
}

/* Callbacks of the sandbox's processes may still come from within. */
static void close_binding(kiln_binding *binding)
{
    kiln_binding_query_close(binding);
    if (binding->state_open) {
        binding->state_open = false;
        kiln_binding_plugin(binding)->session_close(binding->backend->self, binding->state);
    }
    if (binding->sandbox != NULL) {
        kiln_sandbox_close(binding->sandbox);
    }
    kiln_transaction_close(binding);
    kiln_manifest_free(binding->look);
    kiln_proxy_free(kiln_steal(binding->proxy));
    unlink_binding(binding);
    if (binding->deferred != NULL) {
        uv_close((uv_handle_t *)binding->deferred, free_timer);
    }
    kiln_ready_waiter *waiter = binding->waiters;
    while (waiter != NULL) {
        kiln_ready_waiter *next = waiter->next;
        free(waiter);
        waiter = next;
    }
    free(binding->outcome_name);
    free(binding->outcome_message);
    free(binding);
}

void kiln_bindings_close(kiln_session *session)
{
    while (session->bindings != NULL) {
        close_binding(session->bindings);
    }
}

void kiln_binding_forget(kiln_session *session, void *user)
{
    for (kiln_binding *binding = session->bindings; binding != NULL; binding = binding->next) {
        kiln_transaction_forget(binding, user);
        for (kiln_ready_waiter *waiter = binding->waiters; waiter != NULL;
             waiter = waiter->next) {
            if (waiter->user == user) {
                waiter->ready = NULL;
            }
        }
    }
}

/* A waiter may begin to use the binding, or give its session up: each is taken off
 * the list before it is called, and a binding that failed is closed first. */
static void tell_waiters(kiln_binding *binding, int root_fd, const kiln_error *err)
{
    kiln_ready_waiter *waiter = kiln_steal(binding->waiters);
    if (root_fd < 0 && err != NULL) {
        close_binding(binding);
        binding = NULL;
    }
    while (waiter != NULL) {
        kiln_ready_waiter *next = waiter->next;
        if (waiter->ready != NULL) {
            waiter->ready(waiter->user, binding, root_fd, err);
        }
        free(waiter);
        waiter = next;
    }
}

static int open_proxy(kiln_binding *binding, kiln_error *err)
{
    const kiln_backends_spec *spec = &binding->backend->all->spec;
    int listener = kiln_sandbox_take_listener(binding->sandbox);
    return listener < 0
               ? 0
               : kiln_proxy_new(spec->loop, listener, spec->allow, NULL, &binding->proxy, err);
}

void kiln_binding_sandbox_ready(void *user, int root_fd, const kiln_error *err)
{
    kiln_binding *binding = user;
    kiln_error no_proxy = KILN_ERROR_INIT;
    if (root_fd >= 0 && open_proxy(binding, &no_proxy) < 0) {
        root_fd = -1;
        err = &no_proxy;
    }
    binding->root_fd = root_fd;
    binding->ready = root_fd >= 0;
    if (root_fd < 0) {
        kiln_error copy = *err; /* the sandbox that owns it is closed before its use */
        tell_waiters(binding, -1, &copy);
        return;
    }
    tell_waiters(binding, root_fd, NULL);
}

/* One with wider limits than it was made for could not be narrowed. */
static void sandbox_adjusted(void *user, const kiln_error *err);

/* From the pool: no fork, and a worker that is warm. */
static bool take_sandbox(kiln_binding *binding)
{
    kiln_error no_pool = KILN_ERROR_INIT;
    if (kiln_backend_keep_pool(binding->backend, &no_pool) < 0) {
        kiln_log(KILN_LOG_WARNING, binding->backend->section, "no pool: %s", no_pool.text);
    }
    kiln_pool *pool = binding->backend->pool;
    if (pool == NULL ||
        !kiln_pool_take(pool, &binding->limits, &binding->sandbox, &binding->guest)) {
        return false;
    }
    if (binding->guest != NULL) {
        binding->guest_limits = binding->limits;
        kiln_guest_adopt(binding->guest, &binding->limits, &kiln_binding_guest_callbacks,
                         binding);
    }
    kiln_sandbox_adjust(binding->sandbox, binding->session->id, &binding->limits,
                        sandbox_adjusted, binding);
    return true;
}

static int open_sandbox(kiln_binding *binding, kiln_error *err)
{
    kiln_zygote *zygote;
    int rc = kiln_backend_zygote(binding->backend, &zygote, err);
    if (rc < 0) {
        return rc;
    }
    return kiln_sandbox_open(zygote, binding->session->id, &binding->limits,
                             kiln_binding_sandbox_ready, binding, &binding->sandbox, err);
}

static void sandbox_adjusted(void *user, const kiln_error *err)
{
    kiln_binding *binding = user;
    if (err == NULL) {
        kiln_binding_sandbox_ready(binding, kiln_sandbox_root_fd(binding->sandbox), NULL);
        return;
    }
    kiln_error cold = KILN_ERROR_INIT;
    kiln_log(KILN_LOG_INFO, binding->backend->section, "session %s: not from the pool: %s",
             binding->session->id, err->text);
    kiln_sandbox_close(binding->sandbox); /* its worker's end comes from within */
    binding->sandbox = NULL;
    binding->guest = NULL;
    binding->lost[0] = '\0';
    if (open_sandbox(binding, &cold) < 0) {
        tell_waiters(binding, -1, &cold);
    }
}

int kiln_binding_open(kiln_backend *backend, kiln_session *session, const kiln_limits *limits,
                      kiln_binding **out, kiln_error *err)
{
    kiln_binding *binding = calloc(1, sizeof(*binding));
    if (binding == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    binding->backend = backend;
    binding->session = session;
    binding->limits = *limits;
    binding->root_fd = -1;
    binding->next = session->bindings;
    session->bindings = binding;
    const kiln_plugin *plugin = kiln_binding_plugin(binding);
    if (plugin->session_open != NULL) {
        int rc = plugin->session_open(backend->self, session, &binding->state);
        if (rc < 0) {
            close_binding(binding);
            return kiln_error_errno(err, rc, "backend %s: session_open", plugin->name);
        }
        binding->state_open = true;
    }
    *out = binding;
    return 0;
}

static int add_waiter(kiln_binding *binding, const char *language,
                      void (*ready)(void *, kiln_binding *, int, const kiln_error *),
                      void *user)
{
    kiln_ready_waiter *waiter = calloc(1, sizeof(*waiter));
    if (waiter == NULL) {
        return -ENOMEM;
    }
    waiter->ready = ready;
    waiter->user = user;
    waiter->language = language;
    waiter->next = binding->waiters;
    binding->waiters = waiter;
    return 0;
}

/* ---- a plugin that runs code in a place of its own */

static int prepare(kiln_binding *binding, const char *language, const kiln_limits *limits)
{
    binding->preparing = true;
    snprintf(binding->prepared_language, sizeof(binding->prepared_language), "%s", language);
    int rc = kiln_binding_plugin(binding)->session_prepare(
        binding->backend->self, binding->session, binding->state, language, limits);
    if (rc < 0) {
        binding->preparing = false;
    }
    return rc;
}

/* Somebody who has given up may have asked for another language. */
static bool prepared_for_another(const kiln_binding *binding)
{
    for (const kiln_ready_waiter *waiter = binding->waiters; waiter != NULL;
         waiter = waiter->next) {
        if (waiter->ready != NULL &&
            strcmp(waiter->language, binding->prepared_language) != 0) {
            return true;
        }
    }
    return false;
}

static const char *awaited_language(const kiln_binding *binding)
{
    const kiln_ready_waiter *waiter = binding->waiters;
    while (waiter != NULL && waiter->ready == NULL) {
        waiter = waiter->next;
    }
    return waiter != NULL ? waiter->language : NULL;
}

/* The binding stays when it failed: the next execution may find its image. */
static void refuse_waiters(kiln_binding *binding, const char *why)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_error_set(&err, EIO, "backend %s: %s", kiln_backend_name(binding->backend), why);
    binding->root_fd = -1;
    kiln_binding_keep_look(binding, NULL);
    kiln_ready_waiter *waiter = kiln_steal(binding->waiters);
    while (waiter != NULL) {
        kiln_ready_waiter *next = waiter->next;
        if (waiter->ready != NULL) {
            waiter->ready(waiter->user, NULL, -1, &err);
        }
        free(waiter);
        waiter = next;
    }
}

void kiln_binding_prepared(kiln_binding *binding, int work_fd, const char *error)
{
    binding->preparing = false;
    if (error == NULL && work_fd >= 0 && prepared_for_another(binding)) {
        int rc = prepare(binding, awaited_language(binding), &binding->limits);
        if (rc < 0) {
            refuse_waiters(binding, strerror(-rc));
        }
        return;
    }
    if (error != NULL || work_fd < 0) {
        refuse_waiters(binding, error != NULL ? error : "there is no work directory");
        return;
    }
    binding->root_fd = work_fd;
    tell_waiters(binding, work_fd, NULL);
}

/* Also called when there is a place already: whether it still stands only the plugin knows. */
static void bind_to_place(kiln_binding *binding, const char *language,
                          const kiln_limits *limits)
{
    if (binding->preparing) {
        return; /* its end tells all who wait */
    }
    binding->limits = *limits;
    int rc = prepare(binding, language, limits);
    if (rc < 0) {
        refuse_waiters(binding, strerror(-rc));
    }
}

/* The sizes of a file system are fixed when it is made. */
static bool fits(const kiln_binding *binding, const kiln_limits *limits)
{
    return binding->used || !binding->ready || binding->running || binding->sandbox == NULL ||
           (binding->limits.disk == limits->disk && binding->limits.files == limits->files);
}

void kiln_backend_bind(kiln_backend *backend, kiln_session *session, const char *language,
                       const kiln_limits *limits,
                       void (*ready)(void *user, kiln_binding *binding, int root_fd,
                                     const kiln_error *err),
                       void *user)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_binding *binding = kiln_binding_find(session, backend);
    if (binding != NULL && !fits(binding, limits)) {
        close_binding(binding); /* a query came before the first cell, which has other limits */
        binding = NULL;
    }
    if (binding != NULL && binding->ready && binding->sandbox != NULL && !binding->running &&
        !kiln_sandbox_alive(binding->sandbox)) {
        kiln_log(KILN_LOG_WARNING, backend->section,
                 "session %s: its sandbox is gone; it starts anew without its files",
                 session->id);
        close_binding(binding);
        binding = NULL;
    }
    bool fresh = binding == NULL;
    if (fresh && kiln_binding_open(backend, session, limits, &binding, &err) < 0) {
        ready(user, NULL, -1, &err);
        return;
    }
    if (kiln_binding_plugin(binding)->capabilities & KILN_CAP_PLAN) {
        binding->ready = true;
    }
    if (binding->ready) {
        ready(user, binding, binding->root_fd, NULL);
        return;
    }
    if (add_waiter(binding, language, ready, user) < 0) {
        kiln_error_set(&err, ENOMEM, "out of memory");
        ready(user, NULL, -1, &err);
        return;
    }
    if (kiln_binding_has_files(binding)) {
        bind_to_place(binding, language, limits);
        return;
    }
    if (fresh && !take_sandbox(binding) && open_sandbox(binding, &err) < 0) {
        tell_waiters(binding, -1, &err);
    }
}

static int restart(kiln_binding *binding, kiln_error *err)
{
    const kiln_plugin *plugin = kiln_binding_plugin(binding);
    void *self = binding->backend->self;
    int rc = 0;
    if (kiln_binding_has_worker(binding)) {
        kiln_binding_discard_worker(binding);
    } else if (plugin->session_restart != NULL) {
        rc = plugin->session_restart(self, binding->session, binding->state);
    } else if (binding->state_open) {
        binding->state_open = false;
        plugin->session_close(self, binding->state);
        rc = plugin->session_open(self, binding->session, &binding->state);
        binding->state_open = rc == 0;
    }
    return rc < 0 ? kiln_error_errno(err, rc, "backend %s: restart of session %s", plugin->name,
                                     binding->session->id)
                  : 0;
}

int kiln_bindings_restart(kiln_session *session, kiln_error *err)
{
    int rc = 0;
    kiln_binding *next;
    for (kiln_binding *binding = session->bindings; binding != NULL; binding = next) {
        kiln_error why = KILN_ERROR_INIT;
        next = binding->next;
        bool open = binding->ready || kiln_binding_has_files(binding);
        if (open && restart(binding, &why) < 0) {
            close_binding(binding); /* what it holds then is of no use to the next cell */
            *err = rc == 0 ? why : *err;
            rc = rc == 0 ? why.code : rc;
        }
    }
    return rc;
}
