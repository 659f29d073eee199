/* check.h - values against a signature: what callers give before it is sent, and what a helper
 * answers before it is believed. Thread: one at a time. */
#ifndef KILN_NATIVE_CHECK_H
#define KILN_NATIVE_CHECK_H

#include "native/signature.h"
#include "native/value.h"

/* `arguments`: a list. Numbers are made what the signature wants, where that loses nothing.
 * -EINVAL: another number of arguments, or of another type; -ERANGE: it does not fit. The
 * text begins with "argument 2: ". */
int kiln_native_check_arguments(const kiln_native_signature *signature,
                                kiln_native_value *arguments, kiln_error *err);
/* `results`: a list: the function's own unless void, what is out, errno. */
int kiln_native_check_results(const kiln_native_signature *signature,
                              kiln_native_value *results, kiln_error *err);
/* What C hands to a callback, and what the callback gives back. `callback` is its type. */
int kiln_native_check_given(const kiln_native_signature *signature,
                            const kiln_native_type *callback, kiln_native_value *given,
                            kiln_error *err);
int kiln_native_check_returned(const kiln_native_signature *signature,
                               const kiln_native_type *callback, kiln_native_value *returned,
                               kiln_error *err);
/* The type of the callback that is the parameter `index`, from 0; NULL: that is none. */
const kiln_native_type *kiln_native_callback(const kiln_native_signature *signature,
                                             size_t index);
/* How many values the caller gives. */
size_t kiln_native_argument_count(const kiln_native_signature *signature);

#endif
