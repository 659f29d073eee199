/* pool.h - sandboxes that were made ahead, so that a session begins without a fork: opened
 * with the configuration's limits, and for a language with a worker in each that has done
 * everything once that a first cell would have to wait for.
 *
 * They are made one at a time over all pools, since two forks at once are slower than one
 * after the other, and when no cell is on its way; at latest after a while, so that a busy
 * engine has a pool, too. What dies is replaced; where nothing can be made, it is tried
 * again at ever longer intervals. Thread: loop. */
#ifndef KILN_WORKER_POOL_H
#define KILN_WORKER_POOL_H

#include "worker/sandboxed.h"

typedef struct kiln_pool kiln_pool;

enum { KILN_POOL_MAX = 256 };

typedef struct kiln_pool_spec {
    uv_loop_t *loop;
    kiln_zygote *zygote;
    const char *name;   /* for the log and the cgroups; borrowed until the pool is freed */
    size_t size;        /* how many are to be ready; 1 to KILN_POOL_MAX */
    bool workers;       /* with a worker in each */
    kiln_limits limits; /* the widest that a session may ask for */
} kiln_pool_spec;

/* Begins to fill it. 0; -ENOMEM. */
int kiln_pool_new(const kiln_pool_spec *spec, kiln_pool **pool, kiln_error *err);
/* Closes what is in it; before the zygote is stopped. NULL is allowed. */
void kiln_pool_free(kiln_pool *pool);

/* One that is ready, the caller's from then on; it may have wider limits than `limits`:
 * kiln_sandbox_adjust. *guest is to be adopted, and NULL without workers. false: none is
 * ready, or none that could keep these limits. */
bool kiln_pool_take(kiln_pool *pool, const kiln_limits *limits, kiln_sandbox **sandbox,
                    kiln_guest **guest);
/* How many are ready. */
size_t kiln_pool_ready(const kiln_pool *pool);

#endif
