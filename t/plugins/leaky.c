/* Forgets in each fini what init had allocated. */
#include "bad.h"

#include <stdlib.h>

static int init(const kiln_host *host, void **self, const char **error)
{
    (void)host, (void)error;
    *self = calloc(1, 100);
    return *self != NULL ? 0 : (*error = "out of memory", -1);
}
static const kiln_plugin plugin = {BAD_FIELDS("leaky"), .capabilities = KILN_CAP_EXECUTE,
                                   .init = init, .execute = bad_execute};
KILN_PLUGIN(plugin)
