/* signature.h - what a C function takes and gives, in one line of text.
 *
 * THE LANGUAGE (this comment is the one document of it)
 *
 *   signature = type "(" [param {"," param}] ")" ["errno"]
 *   type      = scalar | "void" | "string" | "bytes[N]" | struct
 *   scalar    = bool | int8 .. int64 | uint8 .. uint64 | float | double
 *   struct    = "{" member {"," member} "}"          by value; members are scalars or structs
 *   param     = scalar | struct | string | "null"
 *             | [way] ["bare"] ("bytes" | scalar "[]") [":" length] ["&"]
 *             | [way] ("bytes[N]" | scalar "[N]") | ("out" | "inout") (scalar | struct)
 *             | "callback" type "(" [given {"," given}] ")"
 *   way       = "out" | "inout"
 *   given     = scalar | string | bytes | scalar "[]" | "bytes[N]" | scalar "[N]" | "null"
 *
 *   string    const char *, ended by a NUL that it does not hold; as a result NULL is nothing
 *   bytes     a pointer and, as the next argument, their number (size_t); ":uint32" makes it
 *             another integer, "bare" leaves it out
 *   T[]       likewise, of numbers; T[N] and bytes[N] are a pointer alone, to exactly N
 *   out       memory that the function writes to and that is a result after its own. Of
 *             bytes and T[] the caller says how many there is room for; with "&" their number
 *             is a pointer, too, and the function says by it how many it has written
 *   inout     likewise, and it begins with what the caller gives
 *   null      a null pointer; the caller gives nothing for it, and a callback does not see it
 *   errno     its value after the call, 0 before it, as the last result
 *
 * Constant data; thread: any. */
#ifndef KILN_NATIVE_SIGNATURE_H
#define KILN_NATIVE_SIGNATURE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    KILN_NATIVE_TYPES_MAX = 64,      /* in one signature, members included */
    KILN_NATIVE_DEPTH_MAX = 4,       /* of structs in structs */
    KILN_NATIVE_FIXED_MAX = 1 << 20, /* N */
    KILN_NATIVE_PARAMS_MAX = 24,
};

typedef enum kiln_native_kind {
    KILN_NATIVE_VOID,
    KILN_NATIVE_BOOL,
    KILN_NATIVE_INT8,
    KILN_NATIVE_INT16,
    KILN_NATIVE_INT32,
    KILN_NATIVE_INT64,
    KILN_NATIVE_UINT8,
    KILN_NATIVE_UINT16,
    KILN_NATIVE_UINT32,
    KILN_NATIVE_UINT64,
    KILN_NATIVE_FLOAT,
    KILN_NATIVE_DOUBLE, /* the last scalar */
    KILN_NATIVE_STRING,
    KILN_NATIVE_BYTES,
    KILN_NATIVE_STRUCT,
    KILN_NATIVE_NULL,
    KILN_NATIVE_CALLBACK,
} kiln_native_kind;

typedef struct kiln_native_type {
    kiln_native_kind kind;
    bool in;               /* the caller gives a value */
    bool out;              /* it is a result */
    bool array;            /* of scalars; `bytes` is none */
    bool bare;             /* no length goes with it */
    bool told;             /* "&" */
    uint32_t fixed;        /* N; 0: any number */
    kiln_native_kind size; /* integer that the length is passed as */
    uint8_t first; /* index of the first member; of a callback, of its result; 0: none */
    uint8_t next;  /* of the next member or parameter; 0: none */
} kiln_native_type;

typedef struct kiln_native_signature {
    kiln_native_type types[KILN_NATIVE_TYPES_MAX]; /* [0]: the result */
    uint8_t count;
    uint8_t params; /* index of the first; 0: none */
    bool has_errno;
    bool has_callback;
} kiln_native_signature;

/* -EINVAL: "column 9: unknown type "unit64", did you mean "uint64"?". */
int kiln_native_signature_parse(const char *text, kiln_native_signature *signature,
                                kiln_error *err);

static inline bool kiln_native_is_scalar(kiln_native_kind kind)
{
    return kind >= KILN_NATIVE_BOOL && kind <= KILN_NATIVE_DOUBLE;
}
static inline bool kiln_native_is_integer(kiln_native_kind kind)
{
    return kind >= KILN_NATIVE_INT8 && kind <= KILN_NATIVE_UINT64;
}
/* "crc32" or "zlib.crc32": words of letters, digits and _ that do not begin with a digit or _.
 */
bool kiln_native_name_valid(const char *name);
/* Bytes of a scalar. */
size_t kiln_native_scalar_size(kiln_native_kind kind);
/* "uint64" */
const char *kiln_native_kind_name(kiln_native_kind kind);

#endif
