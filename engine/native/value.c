#include "native/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct decoder {
    const unsigned char *at;
    size_t left;
    size_t values; /* so far */
    kiln_error *err;
} decoder;

static int wrong(const decoder *d, const char *what)
{
    return kiln_error_set(d->err, EPROTO, "%s", what);
}

static uint64_t number(const unsigned char *at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

static bool take(decoder *d, unsigned bytes, uint64_t *value)
{
    if (d->left < bytes) {
        return false;
    }
    *value = number(d->at, bytes);
    d->at += bytes;
    d->left -= bytes;
    return true;
}

static int decode(decoder *d, kiln_native_value *value, unsigned depth);

static int decode_list(decoder *d, size_t count, kiln_native_value *value, unsigned depth)
{
    if (depth == KILN_VALUE_DEPTH_MAX) {
        return wrong(d, "lists in lists, more than 8 deep");
    }
    if (count > d->left || count > KILN_VALUE_COUNT_MAX - d->values) {
        return wrong(d, "a list of more values than there can be");
    }
    if (kiln_native_value_list(value, count) < 0) {
        return kiln_error_set(d->err, ENOMEM, "out of memory");
    }
    d->values += count;
    for (size_t i = 0; i < count; i++) {
        int rc = decode(d, &value->as.list.items[i], depth + 1);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int decode_sized(decoder *d, kiln_value_tag tag, kiln_native_value *value,
                        unsigned depth)
{
    uint64_t size;
    if (!take(d, 4, &size)) {
        return wrong(d, "it ends within a length");
    }
    if (tag == KILN_VALUE_LIST) {
        return decode_list(d, (size_t)size, value, depth);
    }
    value->tag = tag;
    if (tag == KILN_VALUE_CALLBACK) {
        value->as.natural = size;
        return 0;
    }
    if (size > d->left) {
        return wrong(d, "bytes beyond its end");
    }
    value->as.bytes.data = (const char *)d->at;
    value->as.bytes.length = (size_t)size;
    d->at += size;
    d->left -= (size_t)size;
    return 0;
}

static int decode(decoder *d, kiln_native_value *value, unsigned depth)
{
    uint64_t tag;
    uint64_t bits;
    *value = (kiln_native_value){.tag = KILN_VALUE_NULL};
    if (!take(d, 1, &tag)) {
        return wrong(d, "it ends where a value is expected");
    }
    switch (tag) {
    case KILN_VALUE_NULL:
    case KILN_VALUE_FALSE:
    case KILN_VALUE_TRUE:
        value->tag = (kiln_value_tag)tag;
        return 0;
    case KILN_VALUE_INT:
    case KILN_VALUE_UINT:
    case KILN_VALUE_REAL:
        if (!take(d, 8, &bits)) {
            return wrong(d, "it ends within a number");
        }
        if (tag == KILN_VALUE_UINT && bits <= INT64_MAX) {
            return wrong(d, "a small integer of the tag for large ones");
        }
        value->tag = (kiln_value_tag)tag;
        memcpy(&value->as, &bits, sizeof(bits));
        return 0;
    case KILN_VALUE_TEXT:
    case KILN_VALUE_BYTES:
    case KILN_VALUE_LIST:
    case KILN_VALUE_CALLBACK:
        return decode_sized(d, (kiln_value_tag)tag, value, depth);
    default:
        return wrong(d, "a value of no known tag");
    }
}

int kiln_native_value_decode(const char *data, size_t length, kiln_native_value *value,
                             kiln_error *err)
{
    decoder d = {(const unsigned char *)data, length, 1, err};
    *value = (kiln_native_value){.tag = KILN_VALUE_NULL};
    int rc =
        length > KILN_VALUE_BYTES_MAX ? wrong(&d, "longer than 16 MiB") : decode(&d, value, 0);
    if (rc == 0 && d.left > 0) {
        rc = wrong(&d, "more than one value");
    }
    if (rc < 0) {
        kiln_native_value_free(value);
    }
    return rc;
}

static int put(kiln_buffer *out, kiln_value_tag tag, uint64_t bits, unsigned bytes)
{
    unsigned char head[9] = {(unsigned char)tag};
    for (unsigned i = 0; i < bytes; i++) {
        head[1 + i] = (unsigned char)(bits >> (8 * i));
    }
    if (out->length + 1 + bytes > KILN_VALUE_BYTES_MAX) {
        return -E2BIG;
    }
    return kiln_buffer_append(out, head, 1 + bytes);
}

int kiln_native_value_append(kiln_buffer *out, const kiln_native_value *value)
{
    uint64_t bits;
    int rc = 0;
    switch (value->tag) {
    case KILN_VALUE_NULL:
    case KILN_VALUE_FALSE:
    case KILN_VALUE_TRUE:
        return put(out, value->tag, 0, 0);
    case KILN_VALUE_INT:
    case KILN_VALUE_UINT:
    case KILN_VALUE_REAL:
        memcpy(&bits, &value->as, sizeof(bits));
        return put(out, value->tag, bits, 8);
    case KILN_VALUE_TEXT:
    case KILN_VALUE_BYTES:
        if (value->as.bytes.length > KILN_VALUE_BYTES_MAX - 5 ||
            out->length > KILN_VALUE_BYTES_MAX - 5 - value->as.bytes.length) {
            return -E2BIG;
        }
        rc = put(out, value->tag, value->as.bytes.length, 4);
        return rc < 0 || value->as.bytes.length == 0
                   ? rc
                   : kiln_buffer_append(out, value->as.bytes.data, value->as.bytes.length);
    case KILN_VALUE_LIST:
        rc = put(out, value->tag, value->as.list.count, 4);
        for (size_t i = 0; rc == 0 && i < value->as.list.count; i++) {
            rc = kiln_native_value_append(out, &value->as.list.items[i]);
        }
        return rc;
    case KILN_VALUE_CALLBACK:
        return put(out, value->tag, value->as.natural, 4);
    }
    return -EINVAL;
}

int kiln_native_value_list(kiln_native_value *value, size_t count)
{
    kiln_native_value *items = calloc(count > 0 ? count : 1, sizeof(*items));
    if (items == NULL) {
        return -ENOMEM;
    }
    value->tag = KILN_VALUE_LIST;
    value->as.list.items = items;
    value->as.list.count = count;
    return 0;
}

void kiln_native_value_free(kiln_native_value *value)
{
    if (value->tag == KILN_VALUE_LIST) {
        for (size_t i = 0; i < value->as.list.count; i++) {
            kiln_native_value_free(&value->as.list.items[i]);
        }
        free(value->as.list.items);
    }
    *value = (kiln_native_value){.tag = KILN_VALUE_NULL};
}

const char *kiln_native_value_name(const kiln_native_value *value)
{
    static const char *const names[] = {"nothing",    "false",     "true", "an integer",
                                        "an integer", "a number",  "text", "bytes",
                                        "a list",     "a function"};
    return names[value->tag];
}
