/* random.h - random bytes for identifiers. Thread: loop. */
#ifndef KILN_BASE_RANDOM_H
#define KILN_BASE_RANDOM_H

#include <stddef.h>

/* From the kernel, by the kilobyte: for some bytes at a time a system call is most of the
 * cost. What was handed out is forgotten here. 0; -errno. */
int kiln_random(void *bytes, size_t length);

#endif
