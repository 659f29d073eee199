#include "policy/metric.h"

#include "base/buffer.h"
#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Of a histogram, in the unit of what is observed: from milliseconds as seconds to a
 * minute as seconds, and from 5 ms to a minute as milliseconds. */
static const double bounds[] = {0.005, 0.01, 0.025, 0.05,  0.1,   0.25, 0.5, 1,
                                2.5,   5,    10,    25,    50,    100,  250, 500,
                                1000,  2500, 5000,  10000, 25000, 60000};
enum { BOUNDS = sizeof(bounds) / sizeof(bounds[0]) };

typedef struct series {
    kiln_metric_type type;
    char *name;
    json_t *labels;
    double value; /* of a histogram: the sum */
    uint64_t count;
    uint64_t buckets[BOUNDS];
} series;

struct kiln_metrics {
    json_t *types; /* name -> kiln_metric_type */
    json_t *index; /* name and labels as text -> place in list */
    series *list;
    size_t count;
    uint64_t dropped;
};

kiln_metrics *kiln_metrics_new(void)
{
    kiln_metrics *metrics = calloc(1, sizeof(*metrics));
    if (metrics == NULL) {
        return NULL;
    }
    metrics->types = json_object();
    metrics->index = json_object();
    if (metrics->types == NULL || metrics->index == NULL) {
        kiln_metrics_free(metrics);
        return NULL;
    }
    return metrics;
}

void kiln_metrics_free(kiln_metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    for (size_t i = 0; i < metrics->count; i++) {
        free(metrics->list[i].name);
        json_decref(metrics->list[i].labels);
    }
    free(metrics->list);
    json_decref(metrics->types);
    json_decref(metrics->index);
    free(metrics);
}

static const char *type_name(kiln_metric_type type)
{
    return type == KILN_METRIC_COUNTER ? "counter"
           : type == KILN_METRIC_GAUGE ? "gauge"
                                       : "histogram";
}

static bool is_name(const char *text)
{
    return text[0] >= 'a' && text[0] <= 'z' && strlen(text) <= KILN_METRIC_NAME_MAX &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(text);
}

static int check(const kiln_metrics *metrics, kiln_metric_type type, const char *name,
                 double value, const json_t *labels, kiln_error *err)
{
    const char *key;
    json_t *label;
    if (!is_name(name)) {
        return kiln_error_set(err, -EINVAL,
                              "metric \"%.64s\": names begin with a-z and hold a-z, 0-9 and _, "
                              "at most %d",
                              name, KILN_METRIC_NAME_MAX);
    }
    if (!isfinite(value) || (type == KILN_METRIC_COUNTER && value < 0)) {
        return kiln_error_set(err, -EINVAL, "metric %s: %g is no value of a %s", name, value,
                              type_name(type));
    }
    const json_t *known = json_object_get(metrics->types, name);
    if (known != NULL && json_integer_value(known) != (json_int_t)type) {
        return kiln_error_set(err, -EINVAL, "metric %s is a %s, not a %s", name,
                              type_name((kiln_metric_type)json_integer_value(known)),
                              type_name(type));
    }
    if (json_object_size(labels) > KILN_METRIC_LABELS) {
        return kiln_error_set(err, -EINVAL, "metric %s: more than %d labels", name,
                              KILN_METRIC_LABELS);
    }
    json_object_foreach((json_t *)(uintptr_t)labels, key, label)
    {
        if (!is_name(key) || !json_is_string(label)) {
            return kiln_error_set(err, -EINVAL,
                                  "metric %s: label \"%.64s\": a name and a string expected",
                                  name, key);
        }
    }
    return 0;
}

/* At most KILN_METRIC_LABEL_MAX bytes of it, whole characters. */
static json_t *cut(const json_t *text)
{
    const char *value = json_string_value(text);
    size_t length = json_string_length(text);
    if (length > KILN_METRIC_LABEL_MAX) {
        length = KILN_METRIC_LABEL_MAX;
        while (length > 0 && ((unsigned char)value[length] & 0xc0) == 0x80) {
            length--;
        }
    }
    return json_stringn(value, length);
}

static json_t *copy_labels(const json_t *labels)
{
    json_t *copy = json_object();
    const char *key;
    json_t *label;
    json_object_foreach((json_t *)(uintptr_t)labels, key, label)
    {
        if (json_object_set_new(copy, key, cut(label)) < 0) {
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

/* The series' text, by which it is found. Caller frees. */
static char *identity(const char *name, json_t *labels)
{
    char *shown = json_dumps(labels, JSON_COMPACT | JSON_SORT_KEYS);
    char *text = NULL;
    if (shown == NULL || asprintf(&text, "%s%s", name, shown) < 0) {
        text = NULL;
    }
    free(shown);
    return text;
}

/* Takes over `labels`. */
static series *add(kiln_metrics *metrics, kiln_metric_type type, const char *name,
                   json_t *labels, const char *key)
{
    series *grown = metrics->count % 64 == 0
                        ? reallocarray(metrics->list, metrics->count + 64, sizeof(*grown))
                        : metrics->list;
    char *copy = strdup(name);
    if (grown != NULL) {
        metrics->list = grown;
    }
    if (grown == NULL || copy == NULL ||
        json_object_set_new(metrics->types, name, json_integer(type)) < 0 ||
        json_object_set_new(metrics->index, key, json_integer((json_int_t)metrics->count)) <
            0) {
        free(copy);
        json_decref(labels);
        return NULL;
    }
    series *made = &metrics->list[metrics->count++];
    *made = (series){.type = type, .name = copy, .labels = labels};
    return made;
}

static void record(series *one, double value)
{
    if (one->type == KILN_METRIC_GAUGE) {
        one->value = value;
        return;
    }
    one->value += value;
    one->count++;
    for (int i = 0; one->type == KILN_METRIC_HISTOGRAM && i < BOUNDS; i++) {
        one->buckets[i] += value <= bounds[i];
    }
}

int kiln_metric_update(kiln_metrics *metrics, kiln_metric_type type, const char *name,
                       double value, const json_t *labels, kiln_error *err)
{
    int rc = check(metrics, type, name, value, labels, err);
    if (rc < 0) {
        return rc;
    }
    json_t *copy = copy_labels(labels);
    char *key = copy != NULL ? identity(name, copy) : NULL;
    if (key == NULL) {
        json_decref(copy);
        return kiln_error_set(err, -ENOMEM, "metric %s: out of memory", name);
    }
    const json_t *place = json_object_get(metrics->index, key);
    series *one = NULL;
    if (place != NULL) {
        one = &metrics->list[json_integer_value(place)];
        json_decref(copy);
    } else if (metrics->count < KILN_METRIC_SERIES) {
        one = add(metrics, type, name, copy, key);
        rc = one == NULL ? kiln_error_set(err, -ENOMEM, "metric %s: out of memory", name) : 0;
    } else {
        json_decref(copy);
        if (metrics->dropped++ == 0) {
            kiln_log(KILN_LOG_WARNING, "policy",
                     "metric %s: more than %d series: further ones are dropped and counted",
                     name, KILN_METRIC_SERIES);
        }
    }
    free(key);
    if (one != NULL) {
        record(one, value);
    }
    return rc;
}

static json_t *buckets_to_json(const series *one)
{
    json_t *buckets = json_array();
    for (int i = 0; i < BOUNDS; i++) {
        json_array_append_new(buckets, json_pack("{s:f, s:I}", "le", bounds[i], "count",
                                                 (json_int_t)one->buckets[i]));
    }
    return buckets;
}

json_t *kiln_metrics_to_json(const kiln_metrics *metrics)
{
    json_t *list = json_array();
    for (size_t i = 0; i < metrics->count; i++) {
        const series *one = &metrics->list[i];
        json_t *json = json_pack("{s:s, s:s, s:O}", "name", one->name, "type",
                                 type_name(one->type), "labels", one->labels);
        if (one->type == KILN_METRIC_HISTOGRAM) {
            json_object_set_new(json, "count", json_integer((json_int_t)one->count));
            json_object_set_new(json, "sum", json_real(one->value));
            json_object_set_new(json, "buckets", buckets_to_json(one));
        } else {
            json_object_set_new(json, "value", json_real(one->value));
        }
        json_array_append_new(list, json);
    }
    return json_pack("{s:o, s:I}", "series", list, "dropped", (json_int_t)metrics->dropped);
}
