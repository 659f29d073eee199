/* json_text.h - JSON as text, numbers as short as they can be. */
#ifndef KILN_NOTEBOOK_JSON_TEXT_H
#define KILN_NOTEBOOK_JSON_TEXT_H

#include "base/buffer.h"

#include <jansson.h>
#include <stddef.h>

/* Appends as json_dumps does with `flags`, but real numbers in the shortest form that
 * reads back as the same number: jansson 2.14 makes 0.10000000000000001 of 0.1, and every
 * float of a notebook would look changed. 0 or -ENOMEM (or JSON that cannot be dumped). */
int kiln_json_write(const json_t *json, size_t flags, kiln_buffer *out);

#endif
