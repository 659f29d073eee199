/* metric.h - what policies count: counters, gauges and histograms, read by whoever shows
 * them (`kiln trace`, a door with a Prometheus page).
 *
 * One table an engine, for all its chains; it outlives a reload. A name has one type and
 * at most KILN_METRIC_LABELS labels. Series past KILN_METRIC_SERIES are not kept but
 * counted: a metric never makes an execution fail for want of room. Thread: the loop's. */
#ifndef KILN_POLICY_METRIC_H
#define KILN_POLICY_METRIC_H

#include "base/error.h"

#include <jansson.h>

enum {
    KILN_METRIC_NAME_MAX = 64,
    KILN_METRIC_LABELS = 4,
    KILN_METRIC_LABEL_MAX = 64, /* bytes of a label's value; what is longer is cut */
    KILN_METRIC_SERIES = 1000,
};

typedef enum kiln_metric_type {
    KILN_METRIC_COUNTER, /* adds; never less than before */
    KILN_METRIC_GAUGE,   /* sets */
    KILN_METRIC_HISTOGRAM,
} kiln_metric_type;

typedef struct kiln_metrics kiln_metrics;

/* NULL: out of memory. */
kiln_metrics *kiln_metrics_new(void);
void kiln_metrics_free(kiln_metrics *metrics);

/* `labels`: object of strings, borrowed, or NULL. 0, or -EINVAL with what is wrong with the
 * name, a label, the value or the type; -ENOMEM. */
int kiln_metric_update(kiln_metrics *metrics, kiln_metric_type type, const char *name,
                       double value, const json_t *labels, kiln_error *err);

/* {"series":[{"name","type","labels":{},"value"}|
 *            {"name","type","labels":{},"count","sum","buckets":[{"le":0.005,"count":1}]}],
 *  "dropped":0}; buckets are cumulative, as Prometheus has them. New reference. */
json_t *kiln_metrics_to_json(const kiln_metrics *metrics);

#endif
