/* symbols.h - what a shared object exports and asks of others, read from its file. */
#ifndef KILN_PLUGINCHECK_SYMBOLS_H
#define KILN_PLUGINCHECK_SYMBOLS_H

#include "base/error.h"

#include <stdbool.h>

/* Calls back for each dynamic symbol. 0, or negative with err. */
int plugin_symbols(const char *path, void (*symbol)(void *user, const char *name, bool defined),
                   void *user, kiln_error *err);

#endif
