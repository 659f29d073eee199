/* A struct that ends before the first version's does. */
#include "bad.h"

static kiln_plugin plugin = {BAD_FIELDS("short_struct"), .capabilities = KILN_CAP_EXECUTE,
                             .execute = bad_execute};

static const kiln_plugin *entry(void)
{
    plugin.size = offsetof(kiln_plugin, execute);
    return &plugin;
}
BAD_NOTE(KILN_ABI_MAJOR, KILN_ABI_MINOR);
BAD_ENTRY(entry())
