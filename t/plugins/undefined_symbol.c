/* Calls a function that no library has. */
#include "bad.h"

extern int kiln_test_no_library_has_this(void);

static int init(const kiln_host *host, void **self, const char **error)
{
    (void)host, (void)self, (void)error;
    return kiln_test_no_library_has_this();
}
static const kiln_plugin plugin = {BAD_FIELDS("undefined_symbol"),
                                   .capabilities = KILN_CAP_EXECUTE, .init = init,
                                   .execute = bad_execute};
KILN_PLUGIN(plugin)
