/* Promises INTERRUPT and has no interrupt. */
#include "bad.h"

static const kiln_plugin plugin = {BAD_FIELDS("no_interrupt"),
                                   .capabilities = KILN_CAP_EXECUTE | KILN_CAP_INTERRUPT,
                                   .execute = bad_execute};
KILN_PLUGIN(plugin)
