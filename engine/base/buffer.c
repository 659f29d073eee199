#include "base/buffer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int kiln_buffer_reserve(kiln_buffer *buffer, size_t more)
{
    if (more > SIZE_MAX / 2 - buffer->length - 1) {
        return -ENOMEM;
    }
    size_t needed = buffer->length + more + 1;
    if (needed <= buffer->capacity) {
        return 0;
    }
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : 128;
    while (capacity < needed) {
        capacity *= 2;
    }
    char *data = realloc(buffer->data, capacity);
    if (data == NULL) {
        return -ENOMEM;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

int kiln_buffer_append(kiln_buffer *buffer, const void *data, size_t length)
{
    if (kiln_buffer_reserve(buffer, length) < 0) {
        return -ENOMEM;
    }
    if (length > 0) {
        memcpy(buffer->data + buffer->length, data, length);
    }
    buffer->length += length;
    buffer->data[buffer->length] = '\0';
    return 0;
}

int kiln_buffer_printf(kiln_buffer *buffer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0 || kiln_buffer_reserve(buffer, (size_t)length) < 0) {
        return -ENOMEM;
    }
    va_start(args, format);
    vsnprintf(buffer->data + buffer->length, (size_t)length + 1, format, args);
    va_end(args);
    buffer->length += (size_t)length;
    return 0;
}

void kiln_buffer_consume(kiln_buffer *buffer, size_t count)
{
    if (count >= buffer->length) {
        buffer->length = 0;
    } else if (count > 0) {
        memmove(buffer->data, buffer->data + count, buffer->length - count);
        buffer->length -= count;
    }
    if (buffer->data != NULL) {
        buffer->data[buffer->length] = '\0';
    }
}

void kiln_buffer_free(kiln_buffer *buffer)
{
    free(buffer->data);
    *buffer = (kiln_buffer)KILN_BUFFER_INIT;
}
