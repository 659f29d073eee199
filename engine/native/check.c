#include "native/check.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int mismatch(const kiln_native_type *type, const kiln_native_value *value,
                    kiln_error *err)
{
    return kiln_error_set(err, EINVAL, "%s%s expected, got %s", type->array ? "a list of " : "",
                          kiln_native_kind_name(type->kind), kiln_native_value_name(value));
}

/* A decimal integer in text, for languages that have none of 64 bits. */
static bool read_decimal(const kiln_native_value *value, kiln_native_value *number)
{
    char text[24];
    char *end;
    size_t length = value->as.bytes.length;
    if (length == 0 || length >= sizeof(text)) {
        return false;
    }
    memcpy(text, value->as.bytes.data, length);
    text[length] = '\0';
    if (strspn(text + (text[0] == '-'), "0123456789") != length - (text[0] == '-') ||
        length == (size_t)(text[0] == '-')) {
        return false;
    }
    errno = 0;
    if (text[0] == '-') {
        number->tag = KILN_VALUE_INT;
        number->as.integer = strtoll(text, &end, 10);
    } else {
        *number = kiln_native_natural(strtoull(text, &end, 10));
    }
    return errno == 0;
}

static int check_integer(const kiln_native_type *type, kiln_native_value *value,
                         kiln_error *err)
{
    bool sign = type->kind <= KILN_NATIVE_INT64;
    bool wide = type->kind == KILN_NATIVE_INT64 || type->kind == KILN_NATIVE_UINT64;
    unsigned bits = 8 * (unsigned)kiln_native_scalar_size(type->kind);
    bool text = value->tag == KILN_VALUE_TEXT || value->tag == KILN_VALUE_BYTES;
    kiln_native_value number;
    if (wide && text && read_decimal(value, &number)) {
        *value = number;
    }
    bool fits;
    if (value->tag == KILN_VALUE_UINT) {
        fits = !sign && bits == 64;
    } else if (value->tag == KILN_VALUE_INT) {
        int64_t most = sign ? INT64_MAX >> (64 - bits)
                            : (int64_t)(bits == 64 ? INT64_MAX : (1LL << bits) - 1);
        fits = value->as.integer <= most && value->as.integer >= (sign ? -most - 1 : 0);
    } else {
        return mismatch(type, value, err);
    }
    if (fits) {
        return 0;
    }
    return value->tag == KILN_VALUE_UINT
               ? kiln_error_set(err, ERANGE, "%llu does not fit in %s",
                                (unsigned long long)value->as.natural,
                                kiln_native_kind_name(type->kind))
               : kiln_error_set(err, ERANGE, "%lld does not fit in %s",
                                (long long)value->as.integer,
                                kiln_native_kind_name(type->kind));
}

static int check_real(const kiln_native_type *type, kiln_native_value *value, kiln_error *err)
{
    if (value->tag == KILN_VALUE_INT || value->tag == KILN_VALUE_UINT) {
        double real = value->tag == KILN_VALUE_INT ? (double)value->as.integer
                                                   : (double)value->as.natural;
        bool exact = value->tag == KILN_VALUE_INT
                         ? value->as.integer <= 1LL << 53 && value->as.integer >= -(1LL << 53)
                         : false;
        if (!exact) {
            return kiln_error_set(err, ERANGE, "%.0f is past 2^53 and not exact as %s", real,
                                  kiln_native_kind_name(type->kind));
        }
        *value = (kiln_native_value){.tag = KILN_VALUE_REAL, .as.real = real};
    }
    if (value->tag != KILN_VALUE_REAL) {
        return mismatch(type, value, err);
    }
    if (type->kind == KILN_NATIVE_FLOAT && isfinite(value->as.real) &&
        fabs(value->as.real) > (double)FLT_MAX) {
        return kiln_error_set(err, ERANGE, "%g does not fit in float", value->as.real);
    }
    return 0;
}

static int check_scalar(const kiln_native_type *type, kiln_native_value *value, kiln_error *err)
{
    if (type->kind == KILN_NATIVE_BOOL) {
        return value->tag == KILN_VALUE_FALSE || value->tag == KILN_VALUE_TRUE
                   ? 0
                   : mismatch(type, value, err);
    }
    return kiln_native_is_integer(type->kind) ? check_integer(type, value, err)
                                              : check_real(type, value, err);
}

static int check_value(const kiln_native_signature *signature, const kiln_native_type *type,
                       kiln_native_value *value, kiln_error *err);

static int check_struct(const kiln_native_signature *signature, const kiln_native_type *type,
                        kiln_native_value *value, kiln_error *err)
{
    size_t count = 0;
    if (value->tag != KILN_VALUE_LIST) {
        return kiln_error_set(err, EINVAL, "a list of the struct's members expected, got %s",
                              kiln_native_value_name(value));
    }
    for (uint8_t at = type->first; at != 0; at = signature->types[at].next) {
        if (count < value->as.list.count) {
            int rc = check_value(signature, &signature->types[at], &value->as.list.items[count],
                                 err);
            if (rc < 0) {
                return kiln_error_wrap(err, "member %zu", count + 1);
            }
        }
        count++;
    }
    return count == value->as.list.count
               ? 0
               : kiln_error_set(err, EINVAL, "a struct of %zu members expected, got %zu", count,
                                value->as.list.count);
}

static int check_length(const kiln_native_type *type, size_t length, kiln_error *err)
{
    if (type->fixed > 0 && length != type->fixed) {
        return kiln_error_set(err, EINVAL, "%s[%u] expected, got %zu of them",
                              kiln_native_kind_name(type->kind), type->fixed, length);
    }
    const kiln_native_type size = {.kind = type->size};
    kiln_native_value number = kiln_native_natural(length);
    return type->fixed > 0 || type->bare ? 0 : check_integer(&size, &number, err);
}

static int check_many(const kiln_native_type *type, kiln_native_value *value, kiln_error *err)
{
    const kiln_native_type one = {.kind = type->kind};
    if (value->tag != KILN_VALUE_LIST) {
        return mismatch(type, value, err);
    }
    for (size_t i = 0; i < value->as.list.count; i++) {
        int rc = check_scalar(&one, &value->as.list.items[i], err);
        if (rc < 0) {
            return kiln_error_wrap(err, "number %zu", i + 1);
        }
    }
    return check_length(type, value->as.list.count, err);
}

static int check_value(const kiln_native_signature *signature, const kiln_native_type *type,
                       kiln_native_value *value, kiln_error *err)
{
    bool bytes = value->tag == KILN_VALUE_BYTES;
    if (type->array) {
        return check_many(type, value, err);
    }
    switch (type->kind) {
    case KILN_NATIVE_STRING:
        if (!bytes && value->tag != KILN_VALUE_TEXT) {
            return mismatch(type, value, err);
        }
        return value->as.bytes.length > 0 &&
                       memchr(value->as.bytes.data, '\0', value->as.bytes.length) != NULL
                   ? kiln_error_set(err, EINVAL, "a string that holds a NUL; bytes may")
                   : 0;
    case KILN_NATIVE_BYTES:
        return bytes ? check_length(type, value->as.bytes.length, err)
                     : mismatch(type, value, err);
    case KILN_NATIVE_STRUCT:
        return check_struct(signature, type, value, err);
    case KILN_NATIVE_CALLBACK:
        return value->tag == KILN_VALUE_CALLBACK
                   ? 0
                   : kiln_error_set(err, EINVAL, "a function expected, got %s",
                                    kiln_native_value_name(value));
    default:
        return check_scalar(type, value, err);
    }
}

/* Of `out bytes` and `out T[]` the caller says how many there is room for. */
static bool is_room(const kiln_native_type *type)
{
    return type->out && !type->in && type->fixed == 0 &&
           (type->kind == KILN_NATIVE_BYTES || type->array);
}

static int check_room(const kiln_native_type *type, kiln_native_value *value, kiln_error *err)
{
    static const kiln_native_type natural = {.kind = KILN_NATIVE_UINT32};
    size_t size = type->array ? kiln_native_scalar_size(type->kind) : 1;
    int rc = check_integer(&natural, value, err);
    if (rc == 0 && (uint64_t)value->as.integer * size > KILN_VALUE_BYTES_MAX / 2) {
        rc = kiln_error_set(err, ERANGE, "room for more than 8 MiB");
    }
    rc = rc < 0 ? rc : check_length(type, (size_t)value->as.integer, err);
    return rc < 0 ? kiln_error_wrap(err, "room") : 0;
}

static bool asks(const kiln_native_type *type)
{
    return type->kind != KILN_NATIVE_NULL && (type->in || is_room(type));
}

size_t kiln_native_argument_count(const kiln_native_signature *signature)
{
    size_t count = 0;
    for (uint8_t at = signature->params; at != 0; at = signature->types[at].next) {
        count += asks(&signature->types[at]);
    }
    return count;
}

int kiln_native_check_arguments(const kiln_native_signature *signature,
                                kiln_native_value *arguments, kiln_error *err)
{
    size_t expected = kiln_native_argument_count(signature);
    size_t index = 0;
    if (arguments->tag != KILN_VALUE_LIST || arguments->as.list.count != expected) {
        return kiln_error_set(err, EINVAL, "%zu argument%s expected, got %zu", expected,
                              expected == 1 ? "" : "s",
                              arguments->tag == KILN_VALUE_LIST ? arguments->as.list.count : 0);
    }
    for (uint8_t at = signature->params; at != 0; at = signature->types[at].next) {
        const kiln_native_type *type = &signature->types[at];
        if (!asks(type)) {
            continue;
        }
        kiln_native_value *value = &arguments->as.list.items[index++];
        int rc = is_room(type) ? check_room(type, value, err)
                               : check_value(signature, type, value, err);
        if (rc < 0) {
            return kiln_error_wrap(err, "argument %zu", index);
        }
    }
    return 0;
}

/* What comes out of a parameter may be shorter than the room, never of another shape. */
static int check_out(const kiln_native_signature *signature, const kiln_native_type *type,
                     kiln_native_value *value, kiln_error *err)
{
    kiln_native_type plain = *type;
    plain.bare = plain.fixed == 0;
    return check_value(signature, &plain, value, err);
}

int kiln_native_check_results(const kiln_native_signature *signature,
                              kiln_native_value *results, kiln_error *err)
{
    static const kiln_native_type errno_type = {.kind = KILN_NATIVE_INT32};
    const kiln_native_type *result = &signature->types[0];
    size_t count = results->tag == KILN_VALUE_LIST ? results->as.list.count : 0;
    size_t index = 0;
    int rc = 0;
    bool pointer = result->kind == KILN_NATIVE_STRING || result->kind == KILN_NATIVE_BYTES;
    if (result->kind != KILN_NATIVE_VOID && index < count) {
        kiln_native_value *value = &results->as.list.items[index];
        rc = pointer && value->tag == KILN_VALUE_NULL
                 ? 0
                 : check_value(signature, result, value, err);
    }
    index += result->kind != KILN_NATIVE_VOID;
    for (uint8_t at = signature->params; rc == 0 && at != 0; at = signature->types[at].next) {
        if (signature->types[at].out) {
            rc = index < count ? check_out(signature, &signature->types[at],
                                           &results->as.list.items[index], err)
                               : 0;
            index++;
        }
    }
    if (rc == 0 && signature->has_errno) {
        rc = index < count ? check_scalar(&errno_type, &results->as.list.items[index], err) : 0;
        index++;
    }
    if (rc == 0 && index != count) {
        rc = kiln_error_set(err, EINVAL, "%zu results expected, got %zu", index, count);
    }
    return rc;
}

/* ---- callbacks */

const kiln_native_type *kiln_native_callback(const kiln_native_signature *signature,
                                             size_t index)
{
    uint8_t at = signature->params;
    while (at != 0 && index-- > 0) {
        at = signature->types[at].next;
    }
    return at != 0 && signature->types[at].kind == KILN_NATIVE_CALLBACK ? &signature->types[at]
                                                                        : NULL;
}

int kiln_native_check_given(const kiln_native_signature *signature,
                            const kiln_native_type *callback, kiln_native_value *given,
                            kiln_error *err)
{
    size_t count = given->tag == KILN_VALUE_LIST ? given->as.list.count : 0;
    size_t index = 0;
    uint8_t at = signature->types[callback->first].next;
    for (; at != 0; at = signature->types[at].next) {
        const kiln_native_type *type = &signature->types[at];
        if (type->kind == KILN_NATIVE_NULL) {
            continue;
        }
        int rc = index < count && !(type->kind == KILN_NATIVE_STRING &&
                                    given->as.list.items[index].tag == KILN_VALUE_NULL)
                     ? check_value(signature, type, &given->as.list.items[index], err)
                     : 0;
        if (rc < 0) {
            return kiln_error_wrap(err, "what C gives, %zu", index + 1);
        }
        index++;
    }
    return index == count
               ? 0
               : kiln_error_set(err, EINVAL, "%zu values expected, got %zu", index, count);
}

int kiln_native_check_returned(const kiln_native_signature *signature,
                               const kiln_native_type *callback, kiln_native_value *returned,
                               kiln_error *err)
{
    const kiln_native_type *type = &signature->types[callback->first];
    if (type->kind == KILN_NATIVE_VOID) {
        kiln_native_value_free(returned);
        return 0;
    }
    return check_scalar(type, returned, err);
}
