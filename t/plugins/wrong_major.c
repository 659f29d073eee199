/* Built for another major version of the ABI; must not even be opened. */
#include "bad.h"

BAD_CONSTRUCTOR
static const kiln_plugin plugin = {BAD_FIELDS("wrong_major"), .capabilities = KILN_CAP_EXECUTE,
                                   .execute = bad_execute};
BAD_NOTE(KILN_ABI_MAJOR + 1, 0);
BAD_ENTRY(&plugin)
