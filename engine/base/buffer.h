/* buffer.h - bytes that grow. Owner: the caller; thread: one at a time. */
#ifndef KILN_BASE_BUFFER_H
#define KILN_BASE_BUFFER_H

#include <stddef.h>

typedef struct kiln_buffer {
    char *data; /* always followed by one NUL that is not counted; NULL when empty */
    size_t length;
    size_t capacity;
} kiln_buffer;

#define KILN_BUFFER_INIT                                                                       \
    {                                                                                          \
        NULL, 0, 0                                                                             \
    }

/* Makes room for `more` bytes after the content; 0 or -ENOMEM. */
int kiln_buffer_reserve(kiln_buffer *buffer, size_t more);
/* Appends; 0 or -ENOMEM, and then nothing was appended. */
int kiln_buffer_append(kiln_buffer *buffer, const void *data, size_t length);
int kiln_buffer_printf(kiln_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Drops the first `count` bytes. */
void kiln_buffer_consume(kiln_buffer *buffer, size_t count);
/* Frees the content and leaves an empty buffer. */
void kiln_buffer_free(kiln_buffer *buffer);

#define auto_buffer __attribute__((cleanup(kiln_buffer_free)))

#endif
