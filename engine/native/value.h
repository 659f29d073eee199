/* value.h - arguments and results of native functions, between languages and processes.
 *
 * THE FORMAT: a tag byte, then
 *   0 null, 1 false, 2 true
 *   3 integer   i64          4 integer past INT64_MAX   u64
 *   5 number    f64          6 text   u32 bytes, bytes  7 bytes   u32 bytes, bytes
 *   8 list      u32 count, values                       9 callback u32, which
 * all little endian. Text may be any bytes; whoever shows it replaces what is no UTF-8.
 * The decoder trusts nothing. Owner: the caller, but for what is said to be borrowed;
 * thread: one at a time. */
#ifndef KILN_NATIVE_VALUE_H
#define KILN_NATIVE_VALUE_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    KILN_VALUE_DEPTH_MAX = 8,
    KILN_VALUE_COUNT_MAX = 1 << 20,  /* of all values in one message */
    KILN_VALUE_BYTES_MAX = 16 << 20, /* of one message */
};

typedef enum kiln_value_tag {
    KILN_VALUE_NULL = 0,
    KILN_VALUE_FALSE = 1,
    KILN_VALUE_TRUE = 2,
    KILN_VALUE_INT = 3,
    KILN_VALUE_UINT = 4,
    KILN_VALUE_REAL = 5,
    KILN_VALUE_TEXT = 6,
    KILN_VALUE_BYTES = 7,
    KILN_VALUE_LIST = 8,
    KILN_VALUE_CALLBACK = 9,
} kiln_value_tag;

typedef struct kiln_native_value kiln_native_value;
struct kiln_native_value {
    kiln_value_tag tag;
    union {
        int64_t integer;
        uint64_t natural; /* KILN_VALUE_UINT, and which callback */
        double real;
        struct {
            const char *data; /* borrowed */
            size_t length;
        } bytes;
        struct {
            kiln_native_value *items; /* the value's own */
            size_t count;
        } list;
    } as;
};

/* Bytes are borrowed from `data`. The whole of it must be one value. -EPROTO, -ENOMEM: nothing
 * is to be freed. */
int kiln_native_value_decode(const char *data, size_t length, kiln_native_value *value,
                             kiln_error *err);
/* 0; -ENOMEM; -E2BIG: `out` would have more than KILN_VALUE_BYTES_MAX. */
int kiln_native_value_append(kiln_buffer *out, const kiln_native_value *value);
/* Frees what it has, and leaves null. */
void kiln_native_value_free(kiln_native_value *value);
/* A list of `count` nulls; 0 or -ENOMEM. */
int kiln_native_value_list(kiln_native_value *value, size_t count);

#define auto_value __attribute__((cleanup(kiln_native_value_free)))

static inline kiln_native_value kiln_native_text(const char *data, size_t length)
{
    return (kiln_native_value){.tag = KILN_VALUE_TEXT, .as.bytes = {data, length}};
}
static inline kiln_native_value kiln_native_bytes(const char *data, size_t length)
{
    return (kiln_native_value){.tag = KILN_VALUE_BYTES, .as.bytes = {data, length}};
}
static inline kiln_native_value kiln_native_natural(uint64_t natural)
{
    return natural <= INT64_MAX
               ? (kiln_native_value){.tag = KILN_VALUE_INT, .as.integer = (int64_t)natural}
               : (kiln_native_value){.tag = KILN_VALUE_UINT, .as.natural = natural};
}
/* What an error calls it: "an integer". */
const char *kiln_native_value_name(const kiln_native_value *value);

#endif
