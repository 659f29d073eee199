/* Says that it answers queries and does not. */
#include "bad.h"

static const kiln_plugin plugin = {BAD_FIELDS("no_query"),
                                   .capabilities = KILN_CAP_EXECUTE | KILN_CAP_QUERY,
                                   .execute = bad_execute};
KILN_PLUGIN(plugin)
