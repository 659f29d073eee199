/* native.h - inside the policy folder: native functions, between Lua and values. Lua has no
 * integers of 64 bits: those past 2^53 come as decimal text, and may be given so. Thread:
 * loop. */
#ifndef KILN_POLICY_NATIVE_H
#define KILN_POLICY_NATIVE_H

#include "policy/chain.h"

/* Adds start_native and find_native to the table at the top. Longjmps. */
void kiln_api_push_native(lua_State *L);
/* take() of a native function: its results, or raises why there are none. Longjmps. */
int kiln_policy_take_native(lua_State *L, const kiln_wait *wait);
/* Asks the host. */
void kiln_policy_begin_native(kiln_policy_run *run, kiln_wait *wait,
                              const kiln_native_callbacks *callbacks);
/* C calls the function that was given as `which`; as kiln_native_callbacks.callback. */
int kiln_policy_call_back(kiln_policy_run *run, const kiln_wait *wait, uint64_t which,
                          const kiln_native_value *given, kiln_native_value *returned,
                          kiln_error *err);
/* Frees the functions that were given. */
void kiln_policy_forget_functions(kiln_policy_run *run, kiln_wait *wait);

#endif
