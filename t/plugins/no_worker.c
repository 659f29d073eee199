/* Promises a worker half and has none. */
#include "bad.h"

static const kiln_plugin plugin = {BAD_FIELDS("no_worker"), .capabilities = KILN_CAP_WORKER};
KILN_PLUGIN(plugin)
