/* kiln.analyze: what a language's own parser says of code, told by a worker that
 * never runs any. One sandbox a backend, made at the first analysis and kept: what
 * it reads is text, but a parser's bug must not reach the next analysis with a wrong
 * word, so a worker that misbehaves is dropped with its sandbox. */
#include "plugin/backend-t.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ANALYSIS_TIMEOUT_MS = 5000, ANALYSIS_MEMORY = 512 << 20, ANALYSIS_DISK = 1 << 20 };

struct kiln_analysis {
    kiln_analysis *next;
    kiln_backend *backend;
    char *code;
    size_t length;
    void (*done)(void *user, json_t *analysis, const char *error); /* NULL: cancelled */
    void *user;
};

typedef struct kiln_guest_pool {
    kiln_backend *backend;
    kiln_sandbox *sandbox;
    kiln_guest *guest;
    bool busy;
    uv_timer_t timer;
    bool dropping;
} kiln_guest_pool;

static void start_next(kiln_backend *backend);

static void finish(kiln_backend *backend, json_t *analysis, const char *error)
{
    kiln_analysis *first = backend->analyses;
    if (first == NULL) {
        return;
    }
    backend->analyses = first->next;
    if (backend->analyzer != NULL) {
        backend->analyzer->busy = false;
        uv_timer_stop(&backend->analyzer->timer);
    }
    if (first->done != NULL) {
        first->done(first->user, analysis, error);
    }
    free(first->code);
    free(first);
}

static void free_pool(uv_handle_t *handle)
{
    free(handle->data);
}

static void drop_analyzer(kiln_backend *backend)
{
    kiln_guest_pool *pool = backend->analyzer;
    if (pool != NULL && !pool->dropping) {
        pool->dropping = true;
        if (pool->sandbox != NULL) {
            kiln_sandbox_close(pool->sandbox);
        }
        backend->analyzer = NULL;
        uv_close((uv_handle_t *)&pool->timer, free_pool);
    }
}

void kiln_backend_drop_analyzer(kiln_backend *backend)
{
    drop_analyzer(backend);
    while (backend->analyses != NULL) {
        finish(backend, NULL, "the engine is closing");
    }
}

static void fail(kiln_backend *backend, const char *why)
{
    drop_analyzer(backend);
    finish(backend, NULL, why);
    start_next(backend);
}

static void on_event(void *user, const kiln_event *event)
{
    (void)user, (void)event; /* an analysis has no output */
}

static void on_done(void *user, const kiln_verdict *verdict, double cpu_ms, uint64_t rss)
{
    (void)user, (void)verdict, (void)cpu_ms, (void)rss;
}

static void on_analysis(void *user, json_t *analysis)
{
    kiln_guest_pool *pool = user;
    kiln_backend *backend = pool->backend;
    finish(backend, analysis, NULL);
    start_next(backend);
}

static void on_exit_(void *user, const kiln_exit *exit)
{
    kiln_guest_pool *pool = user;
    pool->guest = NULL;
    if (!pool->dropping && pool->busy) {
        char why[300];
        snprintf(why, sizeof(why), "the analysis worker died: %s",
                 exit->error != NULL ? exit->error : "no verdict");
        fail(pool->backend, why);
    } else if (!pool->dropping) {
        drop_analyzer(pool->backend);
    }
}

static void on_ready(void *user, int root_fd, const kiln_error *err)
{
    kiln_guest_pool *pool = user;
    if (root_fd < 0) {
        char why[sizeof(err->text)];
        snprintf(why, sizeof(why), "%s", err->text);
        fail(pool->backend, why);
    }
}

static void on_timeout(uv_timer_t *timer)
{
    kiln_guest_pool *pool = timer->data;
    fail(pool->backend, "analysis took more than 5 s");
}

static int make_analyzer(kiln_backend *backend, kiln_error *err)
{
    static const kiln_guest_callbacks callbacks = {.on_event = on_event,
                                                   .on_done = on_done,
                                                   .on_analysis = on_analysis,
                                                   .on_exit = on_exit_};
    const kiln_limits limits = {.size = sizeof(limits),
                                .memory = ANALYSIS_MEMORY,
                                .processes = 8,
                                .disk = ANALYSIS_DISK,
                                .files = 64,
                                .open_files = 32};
    kiln_zygote *zygote;
    int rc = kiln_backend_zygote(backend, &zygote, err);
    if (rc < 0) {
        return rc;
    }
    kiln_guest_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    pool->backend = backend;
    uv_timer_init(backend->all->spec.loop, &pool->timer);
    uv_unref((uv_handle_t *)&pool->timer);
    pool->timer.data = pool;
    backend->analyzer = pool;
    rc = kiln_sandbox_open(zygote, "analyze", &limits, on_ready, pool, &pool->sandbox, err);
    if (rc == 0) {
        rc = kiln_guest_start(pool->sandbox, &limits, &callbacks, pool, &pool->guest, err);
    }
    if (rc < 0) {
        drop_analyzer(backend);
    }
    return rc;
}

static void start_next(kiln_backend *backend)
{
    while (backend->analyses != NULL) {
        kiln_analysis *first = backend->analyses;
        kiln_error err = KILN_ERROR_INIT;
        if (backend->analyzer != NULL && backend->analyzer->busy) {
            return;
        }
        if (backend->analyzer == NULL && make_analyzer(backend, &err) < 0) {
            finish(backend, NULL, err.text);
            continue;
        }
        kiln_guest_pool *pool = backend->analyzer;
        pool->busy = true;
        int rc = kiln_guest_analyze(pool->guest, first->code, first->length, &err);
        if (rc < 0) {
            drop_analyzer(backend);
            finish(backend, NULL, err.text);
            continue;
        }
        uv_timer_start(&pool->timer, on_timeout, ANALYSIS_TIMEOUT_MS, 0);
        return;
    }
}

void kiln_backend_analyze(kiln_backend *backend, const char *code, size_t length,
                          void (*done)(void *user, json_t *analysis, const char *error),
                          void *user, kiln_analysis **handle)
{
    kiln_analysis *analysis = calloc(1, sizeof(*analysis));
    if (analysis == NULL || (analysis->code = malloc(length + 1)) == NULL) {
        free(analysis);
        done(user, NULL, "out of memory");
        return;
    }
    memcpy(analysis->code, code, length);
    analysis->code[length] = '\0';
    analysis->length = length;
    analysis->backend = backend;
    analysis->done = done;
    analysis->user = user;
    kiln_analysis **end = &backend->analyses;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = analysis;
    *handle = analysis;
    start_next(backend);
}

void kiln_analysis_cancel(kiln_analysis *analysis)
{
    analysis->done = NULL;
}
