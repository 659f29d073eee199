/* An init that fails; fini must not be called after it. */
#include "bad.h"

static int init(const kiln_host *host, void **self, const char **error)
{
    (void)host, (void)self;
    *error = "the moon is in the wrong house";
    return -1;
}
static void fini(void *self)
{
    static const char text[] = "fini was called after a failed init\n";
    (void)self;
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
}
static const kiln_plugin plugin = {BAD_FIELDS("failing_init"), .capabilities = KILN_CAP_EXECUTE,
                                   .init = init, .fini = fini, .execute = bad_execute};
KILN_PLUGIN(plugin)
