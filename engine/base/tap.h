/* tap.h - text in the Test Anything Protocol (version 14). */
#ifndef KILN_BASE_TAP_H
#define KILN_BASE_TAP_H

#include "base/buffer.h"

#include <stddef.h>

/* One line: control characters, which a terminal would obey, become "?". 0 or -ENOMEM. */
int kiln_tap_append_text(kiln_buffer *out, const char *text, size_t length);
/* The same for the description of a test point, where "#" would begin a directive. */
int kiln_tap_append_description(kiln_buffer *out, const char *text);

#endif
