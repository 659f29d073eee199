/* Calls itself otherwise than its file. */
#include "bad.h"

static const kiln_plugin plugin = {BAD_FIELDS("another"), .capabilities = KILN_CAP_EXECUTE,
                                   .execute = bad_execute};
KILN_PLUGIN(plugin)
