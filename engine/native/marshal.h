/* marshal.h - a call of a C function, from values to values. In the helper process alone:
 * what goes wrong in here costs that. */
#ifndef KILN_NATIVE_MARSHAL_H
#define KILN_NATIVE_MARSHAL_H

#include "native/check.h"

/* What C does when it calls back: `index` is the parameter's, `which` what was given for it.
 * Negative with err: the whole call fails with it. *returned holds no memory. */
typedef int (*kiln_native_callee)(size_t index, uint64_t which, const kiln_native_value *given,
                                  kiln_native_value *returned, kiln_error *err);

/* Calls `function`. `arguments` have been checked against the signature. *answer gets
 * [results]'s encoding: what kiln_native_check_results takes. */
int kiln_native_invoke(void (*function)(void), const kiln_native_signature *signature,
                       const kiln_native_value *arguments, kiln_native_callee callee,
                       kiln_buffer *answer, kiln_error *err);

#endif
