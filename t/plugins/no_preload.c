/* A worker half without preload. */
#include "bad.h"

static const kiln_worker worker = {
    .size = sizeof(worker), .start = bad_start, .execute = bad_worker_execute};
static const kiln_plugin plugin = {BAD_FIELDS("no_preload"), .capabilities = KILN_CAP_WORKER,
                                   .worker = &worker};
KILN_PLUGIN(plugin)
