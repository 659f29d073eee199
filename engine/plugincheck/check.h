/* check.h - `kiln plugin-check`: is a plugin what plugin.h asks for?
 *
 * One process a test, with an engine made up around the plugin (fake.h): no sandbox is
 * opened and no program is started. Prints TAP. */
#ifndef KILN_PLUGINCHECK_CHECK_H
#define KILN_PLUGINCHECK_CHECK_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct kiln_plugin_check_options {
    const char *const *set; /* "option=value" of the plugin, NULL-terminated */
    uint64_t seed;          /* of the random sequences */
    bool reproduce;         /* only those of this seed, each step told */
    bool quiet;             /* failures only */
} kiln_plugin_check_options;

/* How many tests failed, or negative with err. */
int kiln_plugin_check(const char *path, const kiln_plugin_check_options *options,
                      kiln_error *err);

#endif
