/* read.h - a whole file, of at most so many bytes. Thread: any. */
#ifndef KILN_FILES_READ_H
#define KILN_FILES_READ_H

#include "base/buffer.h"
#include "base/error.h"

#include <stddef.h>

/* Appends. -E2BIG as soon as it is more than `max`; the error does not name the file. */
int kiln_read_descriptor(int fd, size_t max, kiln_buffer *bytes, kiln_error *err);
/* A regular file of the caller's own choice: links are followed. The error names it. */
int kiln_read_file(const char *path, size_t max, kiln_buffer *bytes, kiln_error *err);

#endif
