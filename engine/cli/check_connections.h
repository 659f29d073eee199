/* check_connections.h - what `kiln check` says of [connection NAME]. Nothing is fetched. */
#ifndef KILN_CLI_CHECK_CONNECTIONS_H
#define KILN_CLI_CHECK_CONNECTIONS_H

#include "config/config.h"

#include <jansson.h>

/* [{"name","ok","endpoint","credential_helper":bool,"error"?}]: new reference. */
json_t *kiln_check_connections(const kiln_config *config);

#endif
