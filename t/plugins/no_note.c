/* An entry without a note; must not even be opened. */
#include "bad.h"

BAD_CONSTRUCTOR
static const kiln_plugin plugin = {BAD_FIELDS("no_note"), .capabilities = KILN_CAP_EXECUTE,
                                   .execute = bad_execute};
BAD_ENTRY(&plugin)
