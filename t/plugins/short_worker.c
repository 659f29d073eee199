/* A worker half that ends before the first version's does. */
#include "bad.h"

static const kiln_worker worker = {.size = offsetof(kiln_worker, execute),
                                   .preload = bad_preload,
                                   .start = bad_start,
                                   .execute = bad_worker_execute};
static const kiln_plugin plugin = {BAD_FIELDS("short_worker"), .capabilities = KILN_CAP_WORKER,
                                   .worker = &worker};
KILN_PLUGIN(plugin)
