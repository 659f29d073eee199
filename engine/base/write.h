/* write.h - write(2) until everything is written. */
#ifndef KILN_BASE_WRITE_H
#define KILN_BASE_WRITE_H

#include <stddef.h>

/* 0, or -errno of the first write that failed; interrupted ones are repeated. */
int kiln_write_all(int fd, const void *data, size_t length);

#endif
