/* Promises nothing that could be run. */
#include "bad.h"

static const kiln_plugin plugin = {BAD_FIELDS("no_capability"), .execute = bad_execute};
KILN_PLUGIN(plugin)
