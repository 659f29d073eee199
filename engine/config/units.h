/* units.h - numbers with units. Errors are the end of a sentence that begins with the
 * quoted text: "has no unit; write it like ...". Results are at most INT64_MAX. */
#ifndef KILN_CONFIG_UNITS_H
#define KILN_CONFIG_UNITS_H

#include "base/error.h"

#include <stdint.h>

int kiln_units_integer(const char *text, int64_t *number, kiln_error *err);
/* In thousandths. */
int kiln_units_decimal(const char *text, uint64_t *thousandths, kiln_error *err);
int kiln_units_duration(const char *text, uint64_t *milliseconds, kiln_error *err);
int kiln_units_size(const char *text, uint64_t *bytes, kiln_error *err);

#endif
