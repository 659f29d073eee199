/* shared.h - what executions share: small values and counters, places that an execution
 * holds until it ends, and results that are remembered.
 *
 * One store an engine, for all its chains; it outlives a reload. Everything in it is
 * bounded, so that no policy and no client can fill the engine's memory. A store that is
 * full says so (a counter that were dropped instead would be a quota forgotten); only
 * remembered results make room for newer ones. One call is one step: nothing comes
 * between reading a counter and adding to it. Times are milliseconds of the policies'
 * clock. Thread: the loop's. */
#ifndef KILN_POLICY_SHARED_H
#define KILN_POLICY_SHARED_H

#include "base/error.h"
#include "contract/result.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    KILN_SHARED_KEY_MAX = 256,       /* bytes of a key */
    KILN_SHARED_VALUE_MAX = 4096,    /* bytes of a string */
    KILN_SHARED_ENTRIES = 10000,     /* values, and places */
    KILN_SHARED_RESULTS = 64 << 20,  /* bytes of remembered results */
    KILN_SHARED_RESULT_MAX = 1 << 20 /* bytes of one */
};

typedef struct kiln_shared kiln_shared;

/* NULL: out of memory. */
kiln_shared *kiln_shared_new(void);
void kiln_shared_free(kiln_shared *shared);

/* Numbers, strings and booleans. `value` is taken over, also on failure; ttl 0: for
 * ever. 0, -ENOSPC (full), -ENOMEM. */
int kiln_shared_set(kiln_shared *shared, const char *key, json_t *value, uint64_t ttl,
                    uint64_t now);
/* Borrowed until the next call; NULL: there is none, or it has expired. */
const json_t *kiln_shared_get(kiln_shared *shared, const char *key, uint64_t now);
void kiln_shared_delete(kiln_shared *shared, const char *key);
/* Adds to a number; one that is not there begins at 0 and lives for ttl. *sum is what it
 * came to. -EINVAL: the value is no number. */
int kiln_shared_add(kiln_shared *shared, const char *key, double by, uint64_t ttl, uint64_t now,
                    double *sum);
size_t kiln_shared_count(const kiln_shared *shared);

/* Takes one of `most` places; false: all are taken (*err 0) or the store is full. */
int kiln_shared_hold(kiln_shared *shared, const char *key, unsigned most, bool *held);
void kiln_shared_release(kiln_shared *shared, const char *key);

/* Keeps a copy of what the result says, without whose it is, as long as there is room: the
 * oldest go first. 0, -E2BIG: too large to be kept, -ENOMEM. */
int kiln_shared_remember(kiln_shared *shared, const char *key, const kiln_result *result,
                         uint64_t ttl, uint64_t now);
/* Borrowed until the next call: the result as JSON. NULL: none. */
const json_t *kiln_shared_recall(kiln_shared *shared, const char *key, uint64_t now);
/* What was remembered under another configuration is not what this one would say. */
void kiln_shared_forget_results(kiln_shared *shared);

#endif
