/* Linked with a shared library (libkiln-test-stub.so.1) that was taken away. */
#include "bad.h"

extern int kiln_test_stub(void);

static int init(const kiln_host *host, void **self, const char **error)
{
    (void)host, (void)self, (void)error;
    return kiln_test_stub();
}
static const kiln_plugin plugin = {BAD_FIELDS("missing_library"),
                                   .capabilities = KILN_CAP_EXECUTE, .init = init,
                                   .execute = bad_execute};
KILN_PLUGIN(plugin)
