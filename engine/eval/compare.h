/* compare.h - a bundle against the canonical one: every file, nothing missing, nothing
 * extra. Thread: loop. */
#ifndef KILN_EVAL_COMPARE_H
#define KILN_EVAL_COMPARE_H

#include "base/error.h"
#include "eval/normal.h"

#include <jansson.h>
#include <stddef.h>

enum {
    KILN_COMPARE_FILE_MAX = 256 << 20, /* bytes of one file */
    KILN_COMPARE_TOLD_MAX = 1000,      /* differences that are told one by one */
};

/* Appends to `differences` a {"file","kind","detail"} for each file that is not as it
 * should be: kind is "missing", "extra", "differs" or "odd" (no regular file). Of a text
 * that differs, the two texts are put into `scratch` (a folder of the engine's own) as
 * N.expected and N.actual, N being "diff" of the entry; of two pictures that are compared
 * by pixels, and are not the same bytes, likewise with "pixels". Negative: a folder could
 * not be read. */
int kiln_compare(const char *expected, const char *actual, const kiln_normal *normal,
                 const char *scratch, json_t *differences, kiln_error *err);
/* One difference more. */
int kiln_difference_add(json_t *differences, const char *file, const char *kind,
                        const char *detail);

#endif
