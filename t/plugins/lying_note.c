/* Its note says this engine's version, its struct another major. */
#include "bad.h"

static kiln_plugin plugin = {BAD_FIELDS("lying_note"), .capabilities = KILN_CAP_EXECUTE,
                             .execute = bad_execute};

static const kiln_plugin *entry(void)
{
    plugin.abi_major = KILN_ABI_MAJOR + 1;
    return &plugin;
}
BAD_NOTE(KILN_ABI_MAJOR, KILN_ABI_MINOR);
BAD_ENTRY(entry())
