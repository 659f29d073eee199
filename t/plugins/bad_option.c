/* Declares an option of a type that there is not. */
#include "bad.h"

static const kiln_option options[] = {{"colour", 99, "red", "a type of its own"}, {0}};
static const kiln_plugin plugin = {BAD_FIELDS("bad_option"), .capabilities = KILN_CAP_EXECUTE,
                                   .options = options, .execute = bad_execute};
KILN_PLUGIN(plugin)
