/* limits.h - the one list of limits, by the name that C, JSON, Lua and INI share.
 * timeout_ms is a field of the input, not of limits{}, and so is not in it. */
#ifndef KILN_CONTRACT_LIMITS_H
#define KILN_CONTRACT_LIMITS_H

#include <kiln/plugin.h>
#include <stddef.h>

typedef enum kiln_limit_unit {
    KILN_LIMIT_MILLISECONDS,
    KILN_LIMIT_BYTES,
    KILN_LIMIT_COUNT,
    KILN_LIMIT_THOUSANDTHS, /* in JSON, Lua and INI a number with decimals: 1.5 */
} kiln_limit_unit;

typedef struct kiln_limit_field {
    const char *name;
    size_t offset; /* of a uint64_t in kiln_limits */
    kiln_limit_unit unit;
} kiln_limit_field;

enum { KILN_CPUS_LEAST = 10 }; /* of limits.cpus: the kernel gives no smaller share */

/* Ended by a NULL name. */
extern const kiln_limit_field kiln_limit_fields[];

/* By name, or NULL. */
const kiln_limit_field *kiln_limit_find(const char *name);
/* "1.5", "67108864 bytes", "2000 ms", "128". Returns text. */
const char *kiln_limit_show(const kiln_limit_field *field, uint64_t value, char *text,
                            size_t size);

static inline uint64_t *kiln_limit_at(kiln_limits *limits, const kiln_limit_field *field)
{
    return (uint64_t *)(void *)((char *)limits + field->offset);
}
static inline uint64_t kiln_limit_get(const kiln_limits *limits, const kiln_limit_field *field)
{
    return *(const uint64_t *)(const void *)((const char *)limits + field->offset);
}

#endif
