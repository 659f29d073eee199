/* Believes that there is always memory. */
#include "bad.h"

#include <stdlib.h>

static int init(const kiln_host *host, void **self, const char **error)
{
    char *block = malloc(100);
    (void)host, (void)error;
    block[0] = 'x';
    *self = block;
    return 0;
}
static void fini(void *self)
{
    free(self);
}
static const kiln_plugin plugin = {BAD_FIELDS("careless"), .capabilities = KILN_CAP_EXECUTE,
                                   .init = init, .fini = fini, .execute = bad_execute};
KILN_PLUGIN(plugin)
