/* Exports what is its own affair. */
#include "bad.h"

KILN_EXPORT int talkative_helper(void);
KILN_EXPORT int talkative_helper(void)
{
    return 1;
}
static const kiln_plugin plugin = {BAD_FIELDS("talkative"), .capabilities = KILN_CAP_EXECUTE,
                                   .execute = bad_execute};
KILN_PLUGIN(plugin)
