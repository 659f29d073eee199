/* Crashes on a value of its option that it did not expect. */
#include "bad.h"

#include <string.h>

static int init(const kiln_host *host, void **self, const char **error)
{
    char copy[16];
    volatile char *nothing = NULL;
    const char *word = host->option(host, "word");
    (void)self, (void)error;
    if (strlen(word) >= sizeof(copy)) {
        *nothing = 1;
    }
    return 0;
}
static const kiln_option options[] = {{"word", KILN_OPTION_STRING, "short", "a word"}, {0}};
static const kiln_plugin plugin = {BAD_FIELDS("fragile"), .capabilities = KILN_CAP_EXECUTE,
                                   .options = options, .init = init, .execute = bad_execute};
KILN_PLUGIN(plugin)
