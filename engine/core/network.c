/* network.c - [sandbox] network and allow: what is asked for, and what code is told. */
#include "core/engine-t.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "network/target.h"

#include <errno.h>
#include <string.h>

/* Programs know the one spelling or the other; curl reads http_proxy in lower case only. */
static const char *const proxy_names[] = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY",
                                          "http_proxy", "https_proxy", "all_proxy"};
enum { PROXY_NAMES = sizeof(proxy_names) / sizeof(proxy_names[0]) };

/* A server that code starts for itself is reached directly, unless the operator means
 * the host's own loopback by listing it. */
static int add_exceptions(const kiln_allow_list *allow, char **upper, char **lower)
{
    static const char *const own[] = {"localhost", "127.0.0.1", "::1"};
    char hosts[64] = "";
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (!kiln_allow_list_has_host(allow, own[i])) {
            size_t at = strlen(hosts);
            snprintf(hosts + at, sizeof(hosts) - at, "%s%s", at > 0 ? "," : "", own[i]);
        }
    }
    if (asprintf(upper, "NO_PROXY=%s", hosts) < 0) {
        *upper = NULL;
    }
    if (asprintf(lower, "no_proxy=%s", hosts) < 0) {
        *lower = NULL;
    }
    return *upper != NULL && *lower != NULL ? 0 : -ENOMEM;
}

static int make_environment(kiln_engine *engine)
{
    char **env = calloc(PROXY_NAMES + 3, sizeof(*env));
    engine->proxy_env = env;
    if (env == NULL) {
        return -ENOMEM;
    }
    for (int i = 0; i < PROXY_NAMES; i++) {
        if (asprintf(&env[i], "%s=http://127.0.0.1:%d", proxy_names[i], KILN_PROXY_PORT) < 0) {
            env[i] = NULL;
            return -ENOMEM;
        }
    }
    return add_exceptions(engine->allow, &env[PROXY_NAMES], &env[PROXY_NAMES + 1]);
}

int kiln_core_network_mode(const kiln_config *config, kiln_network *mode, kiln_error *err)
{
    static const char *const names[] = {"none", "host", "proxy"};
    const char *network = kiln_config_string(config, "sandbox", "network");
    for (int i = 0; network != NULL && i < 3; i++) {
        if (strcmp(network, names[i]) == 0) {
            *mode = (kiln_network)i;
            return 0;
        }
    }
    *mode = KILN_NETWORK_NONE;
    return network == NULL
               ? 0
               : kiln_error_set(err, EINVAL,
                                "[sandbox] network \"%s\": expected none, proxy or host",
                                network);
}

int kiln_core_network_open(kiln_engine *engine, kiln_network mode, kiln_error *err)
{
    const char *const *words = kiln_config_list(engine->config, "sandbox", "allow");
    /* Read in any case: a fault in it must not wait for the day it counts. */
    int rc = kiln_allow_list_new(words, &engine->allow, err);
    if (rc < 0) {
        return rc;
    }
    if (mode == KILN_NETWORK_PROXY) {
        rc = make_environment(engine);
        return rc < 0 ? kiln_error_set(err, rc, "out of memory") : 0;
    }
    if (words != NULL && words[0] != NULL) {
        kiln_log(KILN_LOG_WARNING, "sandbox",
                 "[sandbox] allow counts for nothing: network is not proxy");
    }
    return 0;
}

void kiln_core_network_close(kiln_engine *engine)
{
    for (size_t i = 0; engine->proxy_env != NULL && engine->proxy_env[i] != NULL; i++) {
        free(engine->proxy_env[i]);
    }
    free(engine->proxy_env);
    kiln_allow_list_free(engine->allow);
}
