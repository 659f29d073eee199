#include "worker/pool.h"

#include "worker/linger.h"
#include "worker/poll.h"

#include <errno.h>
#include <stdlib.h>

enum {
    /* Ten requests are what makes an eleventh cost no more than a hundredth. */
    REHEARSALS = 10,
    REHEARSAL_MS = 20000, /* for all of them; drawing a first figure takes a second */
    LOOK_MS = 2,          /* while a cell is on its way */
    PATIENCE_MS = 100,    /* then the next is made all the same */
    RETRY_FIRST_MS = 100,
    RETRY_MOST_MS = 30000,
};

typedef struct spare spare;
struct spare {
    kiln_pool *pool;
    spare *next;
    kiln_sandbox *sandbox;
    kiln_guest *guest;
    unsigned rehearsed;
    bool ready;
    bool condemned; /* to be closed at the next turn, outside of its own callbacks */
};

struct kiln_pool {
    kiln_pool_spec spec;
    spare *spares; /* the oldest first; the last may be in the making */
    size_t count;
    spare *making;
    kiln_alarm *step;         /* the next look at what is to be done */
    kiln_alarm *deadline;     /* of the one in the making */
    uint64_t wanted_since_ms; /* 0: nothing is missing */
    uint64_t retry_ms;        /* 0: the last one succeeded */
};

/* Of all pools: one fork at a time. */
static const kiln_pool *maker;

static void step(void *user);

static void look_again(kiln_pool *pool, uint64_t milliseconds)
{
    kiln_alarm_again(pool->step, milliseconds);
}

static void stop_making(kiln_pool *pool)
{
    pool->making = NULL;
    kiln_alarm_free(&pool->deadline);
    if (maker == pool) {
        maker = NULL;
    }
}

static void unlink_spare(spare *one)
{
    kiln_pool *pool = one->pool;
    spare **place = &pool->spares;
    while (*place != one) {
        place = &(*place)->next;
    }
    *place = one->next;
    pool->count--;
    if (pool->making == one) {
        stop_making(pool);
    }
}

/* From within callbacks of its sandbox or worker: it is closed later. */
static void condemn(spare *one, const char *why)
{
    kiln_pool *pool = one->pool;
    if (one->condemned) {
        return;
    }
    one->condemned = true;
    if (pool->making == one) {
        stop_making(pool);
        pool->retry_ms = pool->retry_ms == 0                  ? RETRY_FIRST_MS
                         : pool->retry_ms * 2 < RETRY_MOST_MS ? pool->retry_ms * 2
                                                              : RETRY_MOST_MS;
        kiln_log(KILN_LOG_WARNING, "pool", "%s: %s; next attempt in %llu ms", pool->spec.name,
                 why, (unsigned long long)pool->retry_ms);
    } else {
        kiln_log(KILN_LOG_INFO, "pool", "%s: %s; it is replaced", pool->spec.name, why);
    }
    look_again(pool, 0);
}

static void close_condemned(kiln_pool *pool)
{
    for (spare **place = &pool->spares; *place != NULL;) {
        spare *one = *place;
        if (!one->condemned) {
            place = &one->next;
            continue;
        }
        *place = one->next;
        pool->count--;
        one->guest = NULL;
        if (one->sandbox != NULL) {
            kiln_sandbox_close(one->sandbox);
        }
        free(one);
    }
}

/* ---- making one */

static void now_ready(spare *one)
{
    one->ready = true;
    one->pool->retry_ms = 0;
    stop_making(one->pool);
    look_again(one->pool, 0);
}

static void rehearse(spare *one)
{
    kiln_error err = KILN_ERROR_INIT;
    if (one->rehearsed == REHEARSALS) {
        now_ready(one);
        return;
    }
    bool last = one->rehearsed + 1 == REHEARSALS;
    if (kiln_guest_rehearse(one->guest, one->rehearsed++, last, &err) < 0) {
        condemn(one, err.text);
    }
}

static void on_event(void *user, const kiln_event *event)
{
    (void)user, (void)event; /* what is rehearsed has no audience */
}

static void on_done(void *user, const kiln_verdict *verdict, double cpu_ms, uint64_t rss)
{
    (void)cpu_ms, (void)rss;
    spare *one = user;
    if (one->condemned || one->ready) {
        return;
    }
    if (verdict->status != KILN_STATUS_OK) {
        condemn(one, "a worker's rehearsal failed");
    } else {
        rehearse(one);
    }
}

static void on_analysis(void *user, json_t *analysis)
{
    (void)user, (void)analysis;
}

static void on_exit_(void *user, const kiln_exit *exit)
{
    spare *one = user;
    one->guest = NULL;
    condemn(one, exit->error != NULL ? exit->error : "a waiting worker died");
}

static void on_lost(void *user)
{
    condemn(user, "a waiting sandbox died");
}

static const kiln_guest_callbacks callbacks = {
    .on_event = on_event, .on_done = on_done, .on_analysis = on_analysis, .on_exit = on_exit_};

static void on_ready(void *user, int root_fd, const kiln_error *err)
{
    spare *one = user;
    if (root_fd < 0) {
        condemn(one, err->text);
    } else if (!one->pool->spec.workers) {
        kiln_sandbox_nurse(one->sandbox);
        now_ready(one);
    }
}

static void on_deadline(void *user)
{
    kiln_pool *pool = user;
    if (pool->making != NULL) {
        condemn(pool->making, "a worker did not come to the end of its rehearsals");
    }
}

static int make_guest(spare *one, kiln_error *err)
{
    int rc = kiln_guest_start(one->sandbox, &one->pool->spec.limits, &callbacks, one,
                              &one->guest, err);
    if (rc == 0) {
        rehearse(one); /* it waits in the socket for the worker to be there */
    }
    return rc;
}

static void make(kiln_pool *pool)
{
    kiln_error err = KILN_ERROR_INIT;
    spare *one = calloc(1, sizeof(*one));
    if (one == NULL) {
        look_again(pool, RETRY_MOST_MS);
        return;
    }
    one->pool = pool;
    spare **end = &pool->spares;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = one;
    pool->count++;
    pool->making = one;
    maker = pool;
    pool->deadline = kiln_alarm_new(pool->spec.loop, REHEARSAL_MS, on_deadline, pool);
    int rc = kiln_sandbox_open(pool->spec.zygote, pool->spec.name, &pool->spec.limits, on_ready,
                               one, &one->sandbox, &err);
    if (rc == 0) {
        kiln_sandbox_on_lost(one->sandbox, on_lost, one);
        rc = pool->spec.workers ? make_guest(one, &err) : 0;
    }
    if (rc < 0) {
        condemn(one, err.text);
    }
}

/* ---- when */

static void step(void *user)
{
    kiln_pool *pool = user;
    close_condemned(pool);
    if (pool->making != NULL || pool->count >= pool->spec.size) {
        pool->wanted_since_ms = pool->making != NULL ? pool->wanted_since_ms : 0;
        return; /* what happens next looks again */
    }
    uint64_t now = uv_now(pool->spec.loop);
    if (pool->wanted_since_ms == 0) {
        pool->wanted_since_ms = now + 1; /* never 0 */
    }
    if (pool->retry_ms > 0 && now < pool->wanted_since_ms + pool->retry_ms) {
        look_again(pool, pool->wanted_since_ms + pool->retry_ms - now);
        return;
    }
    if (maker != NULL ||
        (kiln_linger_awaited() > 0 && now < pool->wanted_since_ms + PATIENCE_MS)) {
        look_again(pool, LOOK_MS);
        return;
    }
    pool->wanted_since_ms = now + 1; /* from here on, should it fail */
    make(pool);
}

int kiln_pool_new(const kiln_pool_spec *spec, kiln_pool **pool, kiln_error *err)
{
    kiln_pool *made = calloc(1, sizeof(*made));
    if (made != NULL) {
        made->spec = *spec;
        made->spec.size = spec->size < KILN_POOL_MAX ? spec->size : KILN_POOL_MAX;
        made->step = kiln_alarm_new(spec->loop, 0, step, made);
    }
    if (made == NULL || made->step == NULL) {
        free(made);
        return kiln_error_errno(err, ENOMEM, "pool");
    }
    *pool = made;
    return 0;
}

void kiln_pool_free(kiln_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    stop_making(pool);
    for (spare *one = pool->spares; one != NULL; one = one->next) {
        one->condemned = true;
    }
    close_condemned(pool);
    kiln_alarm_free(&pool->step);
    free(pool);
}

bool kiln_pool_take(kiln_pool *pool, const kiln_limits *limits, kiln_sandbox **sandbox,
                    kiln_guest **guest)
{
    for (spare *one = pool->spares; one != NULL; one = one->next) {
        if (!one->ready || one->condemned || !kiln_sandbox_can_adjust(one->sandbox, limits) ||
            (pool->spec.workers && !kiln_guest_usable(one->guest))) {
            continue;
        }
        kiln_sandbox_on_lost(one->sandbox, NULL, NULL);
        *sandbox = one->sandbox;
        *guest = one->guest;
        unlink_spare(one);
        free(one);
        /* Not before the cell that it was taken for is on its way. */
        look_again(pool, LOOK_MS);
        return true;
    }
    return false;
}

size_t kiln_pool_ready(const kiln_pool *pool)
{
    size_t ready = 0;
    for (const spare *one = pool->spares; one != NULL; one = one->next) {
        ready += one->ready && !one->condemned;
    }
    return ready;
}
