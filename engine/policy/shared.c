#include "policy/shared.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Entries are {"value":…, "until":ms, "size":bytes} in jansson's hash tables, which keep
 * the order of insertion. */
struct kiln_shared {
    json_t *values;
    json_t *places; /* name -> how many are taken */
    json_t *results;
    size_t result_bytes;
};

kiln_shared *kiln_shared_new(void)
{
    kiln_shared *shared = calloc(1, sizeof(*shared));
    if (shared == NULL) {
        return NULL;
    }
    shared->values = json_object();
    shared->places = json_object();
    shared->results = json_object();
    if (shared->values == NULL || shared->places == NULL || shared->results == NULL) {
        kiln_shared_free(shared);
        return NULL;
    }
    return shared;
}

void kiln_shared_free(kiln_shared *shared)
{
    if (shared == NULL) {
        return;
    }
    json_decref(shared->values);
    json_decref(shared->places);
    json_decref(shared->results);
    free(shared);
}

static bool expired(const json_t *entry, uint64_t now)
{
    json_int_t until = json_integer_value(json_object_get(entry, "until"));
    return until != 0 && (uint64_t)until <= now;
}

static void sweep(json_t *entries, uint64_t now)
{
    const char *key;
    json_t *entry;
    void *next;
    json_object_foreach_safe(entries, next, key, entry)
    {
        if (expired(entry, now)) {
            json_object_del(entries, key);
        }
    }
}

/* Takes over `value`. */
static json_t *new_entry(json_t *value, uint64_t ttl, uint64_t now)
{
    json_t *entry = json_object();
    json_t *until = json_integer(ttl > 0 ? (json_int_t)(now + ttl) : 0);
    if (entry == NULL || until == NULL) {
        json_decref(until);
        json_decref(value);
        json_decref(entry);
        return NULL;
    }
    int rc = json_object_set_new(entry, "until", until);
    if (json_object_set_new(entry, "value", value) < 0 || rc < 0) {
        json_decref(entry);
        return NULL;
    }
    return entry;
}

static json_t *find(json_t *entries, const char *key, uint64_t now)
{
    json_t *entry = json_object_get(entries, key);
    if (entry != NULL && expired(entry, now)) {
        json_object_del(entries, key);
        return NULL;
    }
    return entry;
}

int kiln_shared_set(kiln_shared *shared, const char *key, json_t *value, uint64_t ttl,
                    uint64_t now)
{
    if (find(shared->values, key, now) == NULL &&
        json_object_size(shared->values) >= KILN_SHARED_ENTRIES) {
        sweep(shared->values, now);
        if (json_object_size(shared->values) >= KILN_SHARED_ENTRIES) {
            json_decref(value);
            return -ENOSPC;
        }
    }
    json_t *entry = new_entry(value, ttl, now);
    if (entry == NULL || json_object_set_new_nocheck(shared->values, key, entry) < 0) {
        return -ENOMEM;
    }
    return 0;
}

const json_t *kiln_shared_get(kiln_shared *shared, const char *key, uint64_t now)
{
    return json_object_get(find(shared->values, key, now), "value");
}

void kiln_shared_delete(kiln_shared *shared, const char *key)
{
    json_object_del(shared->values, key);
}

int kiln_shared_add(kiln_shared *shared, const char *key, double by, uint64_t ttl, uint64_t now,
                    double *sum)
{
    json_t *entry = find(shared->values, key, now);
    if (entry == NULL) {
        *sum = by;
        return kiln_shared_set(shared, key, json_real(by), ttl, now);
    }
    json_t *value = json_object_get(entry, "value");
    if (!json_is_number(value)) {
        return -EINVAL;
    }
    *sum = json_number_value(value) + by;
    json_t *changed = json_real(*sum);
    if (changed == NULL) { /* NULL: out of memory, or no finite number */
        return -ERANGE;
    }
    return json_object_set_new(entry, "value", changed) < 0 ? -ENOMEM : 0;
}

size_t kiln_shared_count(const kiln_shared *shared)
{
    return json_object_size(shared->values);
}

int kiln_shared_hold(kiln_shared *shared, const char *key, unsigned most, bool *held)
{
    json_t *taken = json_object_get(shared->places, key);
    json_int_t count = json_integer_value(taken);
    *held = false;
    if (count >= (json_int_t)most) {
        return 0;
    }
    if (taken == NULL && json_object_size(shared->places) >= KILN_SHARED_ENTRIES) {
        return -ENOSPC;
    }
    int rc = taken != NULL
                 ? json_integer_set(taken, count + 1)
                 : json_object_set_new_nocheck(shared->places, key, json_integer(count + 1));
    *held = rc == 0;
    return rc < 0 ? -ENOMEM : 0;
}

void kiln_shared_release(kiln_shared *shared, const char *key)
{
    json_t *taken = json_object_get(shared->places, key);
    if (json_integer_value(taken) > 1) {
        json_integer_set(taken, json_integer_value(taken) - 1);
    } else {
        json_object_del(shared->places, key);
    }
}

/* ---- results */

static void forget(kiln_shared *shared, const char *key)
{
    const json_t *entry = json_object_get(shared->results, key);
    shared->result_bytes -= (size_t)json_integer_value(json_object_get(entry, "size"));
    json_object_del(shared->results, key);
}

int kiln_shared_remember(kiln_shared *shared, const char *key, const kiln_result *result,
                         uint64_t ttl, uint64_t now)
{
    json_t *json = kiln_result_to_json(result);
    if (json == NULL) {
        return -ENOMEM;
    }
    size_t size = json_dumpb(json, NULL, 0, JSON_COMPACT) + strlen(key);
    if (size > KILN_SHARED_RESULT_MAX) {
        json_decref(json);
        return -E2BIG;
    }
    json_t *entry = new_entry(json, ttl, now);
    if (entry == NULL ||
        json_object_set_new(entry, "size", json_integer((json_int_t)size)) < 0) {
        json_decref(entry);
        return -ENOMEM;
    }
    forget(shared, key);
    for (void *oldest = json_object_iter(shared->results);
         oldest != NULL && shared->result_bytes + size > KILN_SHARED_RESULTS;
         oldest = json_object_iter(shared->results)) {
        char name[KILN_SHARED_KEY_MAX + 1]; /* deleting frees the iterator's own */
        snprintf(name, sizeof(name), "%s", json_object_iter_key(oldest));
        forget(shared, name);
    }
    if (json_object_set_new_nocheck(shared->results, key, entry) < 0) {
        return -ENOMEM;
    }
    shared->result_bytes += size;
    return 0;
}

const json_t *kiln_shared_recall(kiln_shared *shared, const char *key, uint64_t now)
{
    json_t *entry = json_object_get(shared->results, key);
    if (entry != NULL && expired(entry, now)) {
        forget(shared, key);
        entry = NULL;
    }
    return json_object_get(entry, "value");
}

void kiln_shared_forget_results(kiln_shared *shared)
{
    json_object_clear(shared->results);
    shared->result_bytes = 0;
}
