/* junit.h - results of tests as the XML that CI servers read. */
#ifndef KILN_CLI_JUNIT_H
#define KILN_CLI_JUNIT_H

#include "base/error.h"

#include <stdbool.h>

typedef struct kiln_junit kiln_junit;

/* Of one <testsuites name="...">. NULL: out of memory. */
kiln_junit *kiln_junit_new(const char *name);
/* `why` (NULL: none) is what a failed one says; time in seconds, < 0: not known. Cases of
 * one suite come one after the other. 0 or -ENOMEM. */
int kiln_junit_add(kiln_junit *junit, const char *suite, const char *name, bool ok,
                   const char *why, double seconds);
/* Writes the file, replacing it whole; "-" is not special. */
int kiln_junit_write(const kiln_junit *junit, const char *path, kiln_error *err);
void kiln_junit_free(kiln_junit *junit);

#endif
