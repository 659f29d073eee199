/* limits.h - the one list of limits, by the name that C, JSON, Lua and INI share.
 * timeout_ms is a field of the input, not of limits{}, and so is not in it. */
#ifndef KILN_CONTRACT_LIMITS_H
#define KILN_CONTRACT_LIMITS_H

#include <kiln/plugin.h>
#include <stddef.h>

typedef struct kiln_limit_field {
    const char *name;
    size_t offset; /* of a uint64_t in kiln_limits */
} kiln_limit_field;

/* Ended by a NULL name. */
extern const kiln_limit_field kiln_limit_fields[];

static inline uint64_t *kiln_limit_at(kiln_limits *limits, const kiln_limit_field *field)
{
    return (uint64_t *)(void *)((char *)limits + field->offset);
}
static inline uint64_t kiln_limit_get(const kiln_limits *limits, const kiln_limit_field *field)
{
    return *(const uint64_t *)(const void *)((const char *)limits + field->offset);
}

#endif
