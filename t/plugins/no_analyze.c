/* Promises ANALYZE, and its worker half cannot. */
#include "bad.h"

static const kiln_worker worker = {.size = sizeof(worker),
                                   .preload = bad_preload,
                                   .start = bad_start,
                                   .execute = bad_worker_execute};
static const kiln_plugin plugin = {BAD_FIELDS("no_analyze"),
                                   .capabilities = KILN_CAP_WORKER | KILN_CAP_ANALYZE,
                                   .worker = &worker};
KILN_PLUGIN(plugin)
