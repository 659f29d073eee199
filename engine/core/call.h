/* call.h - what code asks of the engine while its cell runs: native functions, past the
 * chain's on_call. Thread: loop. */
#ifndef KILN_CORE_CALL_H
#define KILN_CORE_CALL_H

#include "core/engine-t.h"

/* A call of one run, at most one at a time; all zero: there is none. */
typedef struct kiln_core_call {
    kiln_caller caller;
    kiln_native_call *native; /* while it is under way */
} kiln_core_call;

/* Answers at once or later, in any case once, unless kiln_core_call_over comes first. `data`
 * is what code has sent, and may be anything. */
void kiln_core_call_begin(kiln_core_call *call, kiln_execution *execution,
                          const kiln_caller *caller, const char *data, size_t length);
/* Nobody waits for it. */
void kiln_core_call_over(kiln_core_call *call);

#endif
