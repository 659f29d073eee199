/* Calls the host from a thread of its own. */
#include "bad.h"

#include <pthread.h>

static void *say(void *host_)
{
    const kiln_host *host = host_;
    host->log(host, KILN_PLUGIN_LOG_INFO, "from elsewhere");
    return NULL;
}
static int init(const kiln_host *host, void **self, const char **error)
{
    pthread_t thread;
    (void)self, (void)error;
    if (pthread_create(&thread, NULL, say, (void *)(uintptr_t)host) == 0) {
        pthread_join(thread, NULL);
    }
    return 0;
}
static const kiln_plugin plugin = {BAD_FIELDS("threaded"), .capabilities = KILN_CAP_EXECUTE,
                                   .init = init, .execute = bad_execute};
KILN_PLUGIN(plugin)
