/* Promises EXECUTE and has no execute. */
#include "bad.h"

static const kiln_plugin plugin = {BAD_FIELDS("no_execute"), .capabilities = KILN_CAP_EXECUTE};
KILN_PLUGIN(plugin)
