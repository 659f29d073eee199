#include "pool.h"

#include <stdlib.h>
#include <string.h>

enum { POOL_MAX = 64, FIRST_WAIT_MS = 500, LAST_WAIT_MS = 60000 };

struct pool {
    struct pool *next;
    backend *self;
    char *image;
    bool has_agent;
    kiln_limits limits;
    struct box *ready[POOL_MAX];
    unsigned count;
    struct box *making; /* one at a time: sessions go first */
    kiln_timer *timer;
    uint64_t wait_ms; /* after failures in a row */
};

static void refill(struct pool *pool);

static void refill_later(void *user)
{
    struct pool *pool = user;
    pool->timer = NULL;
    refill(pool);
}

static void on_ready(void *user, struct box *box, const char *error)
{
    struct pool *pool = user;
    const kiln_host *host = pool->self->host;
    pool->making = NULL;
    if (error != NULL) {
        say(pool->self, KILN_PLUGIN_LOG_WARNING, "pool: %s", error);
        pool->wait_ms = pool->wait_ms == 0 ? FIRST_WAIT_MS : pool->wait_ms * 2;
        pool->wait_ms = pool->wait_ms < LAST_WAIT_MS ? pool->wait_ms : LAST_WAIT_MS;
        pool->timer = host->timer(host, pool->wait_ms, refill_later, pool);
        return;
    }
    pool->wait_ms = 0;
    pool->ready[pool->count++] = box;
    refill(pool);
}

static void refill(struct pool *pool)
{
    if (pool->making != NULL || pool->timer != NULL || pool->self->closing ||
        pool->count >= pool->self->settings.pool) {
        return;
    }
    pool->making =
        box_open(pool->self, pool->image, pool->has_agent, &pool->limits, on_ready, pool);
}

static struct pool *find(backend *self, const char *image, bool has_agent)
{
    struct pool *pool = self->pools;
    while (pool != NULL && (pool->has_agent != has_agent || strcmp(pool->image, image) != 0)) {
        pool = pool->next;
    }
    return pool;
}

static void empty(struct pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        box_close(pool->ready[i]);
    }
    pool->count = 0;
    box_close(pool->making);
    pool->making = NULL;
}

void pool_want(backend *self, const char *image, bool has_agent, const kiln_limits *limits)
{
    struct pool *pool = find(self, image, has_agent);
    if (self->settings.pool == 0) {
        return;
    }
    if (pool == NULL) {
        pool = calloc(1, sizeof(*pool));
        if (pool == NULL || (pool->image = strdup(image)) == NULL) {
            free(pool);
            return;
        }
        pool->self = self;
        pool->has_agent = has_agent;
        pool->limits = *limits;
        pool->next = self->pools;
        self->pools = pool;
    }
    refill(pool);
}

struct box *pool_take(backend *self, const char *image, bool has_agent,
                      const kiln_limits *limits)
{
    struct pool *pool = find(self, image, has_agent);
    while (pool != NULL && pool->count > 0) {
        struct box *box = pool->ready[pool->count - 1];
        if (box->state == BOX_READY && !box_keeps(box, limits)) {
            return NULL; /* of the configured limits, and this session has others */
        }
        pool->count--;
        if (box->state == BOX_READY) {
            return box;
        }
        box_close(box); /* somebody has ended it meanwhile */
    }
    return NULL;
}

void pools_free(backend *self)
{
    while (self->pools != NULL) {
        struct pool *pool = self->pools;
        self->pools = pool->next;
        empty(pool);
        if (pool->timer != NULL) {
            self->host->cancel(self->host, pool->timer);
        }
        free(pool->image);
        free(pool);
    }
}
