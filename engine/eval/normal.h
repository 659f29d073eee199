/* normal.h - bytes of a bundle's file in the form in which they are compared, where a
 * scenario declares one. Thread: any, one at a time. */
#ifndef KILN_EVAL_NORMAL_H
#define KILN_EVAL_NORMAL_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum kiln_normal_form {
    KILN_NORMAL_BYTES = 0,
    KILN_NORMAL_LINES = 1 << 0,
    KILN_NORMAL_JSON = 1 << 1,
    KILN_NORMAL_PIXELS = 1 << 2, /* compared elsewhere: a picture is not decoded here */
    KILN_NORMAL_MASK = 1 << 3,
} kiln_normal_form;

typedef struct kiln_normal kiln_normal;

/* `rules`: "HOW:PATTERN", `masks`: regular expressions. -EINVAL: a rule is wrong; -EDOM: a
 * mask is. */
int kiln_normal_new(const char *const *rules, const char *const *masks, kiln_normal **normal,
                    kiln_error *err);
void kiln_normal_free(kiln_normal *normal);
/* How the file of that name is compared: the first rule that fits. A pattern with a "/" is
 * for whole names, one without for the last part. */
unsigned kiln_normal_of(const kiln_normal *normal, const char *name);
/* Appends the form. -EINVAL: it cannot be brought into it (it is no JSON; a mask takes too
 * long), and err says why. */
int kiln_normal_apply(const kiln_normal *normal, unsigned form, const kiln_buffer *bytes,
                      kiln_buffer *out, kiln_error *err);

#endif
