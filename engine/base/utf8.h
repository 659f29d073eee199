/* utf8.h - Unicode 15, table 3-7: well-formed UTF-8, and what to do with the rest. */
#ifndef KILN_BASE_UTF8_H
#define KILN_BASE_UTF8_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stddef.h>

/* Length of the well-formed character at the front of data (1 to 4); 0: it is cut
 * and more bytes could complete it; -N: N bytes (1 to 3) are ill-formed, to be
 * replaced by one U+FFFD (the maximal subpart of the standard). `length` > 0. */
int kiln_utf8_next(const unsigned char *data, size_t length);
bool kiln_utf8_valid(const char *data, size_t length);
/* Appends data with each ill-formed part as U+FFFD. A character that is cut at the
 * end stays unread when `partial`; returns how many bytes were read, or -ENOMEM. */
long kiln_utf8_append(kiln_buffer *out, const char *data, size_t length, bool partial);

#endif
