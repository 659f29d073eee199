/* Built for a newer minor version of the ABI; must not even be opened. */
#include "bad.h"

BAD_CONSTRUCTOR
static const kiln_plugin plugin = {BAD_FIELDS("newer_minor"), .capabilities = KILN_CAP_EXECUTE,
                                   .execute = bad_execute};
BAD_NOTE(KILN_ABI_MAJOR, KILN_ABI_MINOR + 1);
BAD_ENTRY(&plugin)
