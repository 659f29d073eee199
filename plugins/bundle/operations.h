/* operations.h - what the worker can do. Each fills `answer` (an object) and returns 0, or
 * negative with a reason in it under "error". The working directory is the session's. */
#ifndef KILN_BUNDLE_OPERATIONS_H
#define KILN_BUNDLE_OPERATIONS_H

#include <jansson.h>

/* {"files":N} */
int bundle_pack(json_t *answer);
/* {"files":N,"left_out":[NAME: why]} */
int bundle_unpack(json_t *answer);
/* {"pictures":{"N":null|"why they differ"}}; `numbers`: words of digits. */
int bundle_pixels(const char *numbers, json_t *answer);

int bundle_fail(json_t *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
