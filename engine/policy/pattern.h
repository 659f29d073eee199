/* pattern.h - Lua's patterns, with a step budget.
 *
 * LuaJIT's own string.find cannot be interrupted: ("x"):find(".-.-b") on two
 * kilobytes takes seconds in C. This is the matcher of the Lua 5.1 manual (5.4.1,
 * with LuaJIT's %g and %f) with the same results and messages, which looks at the
 * budget as it goes. Thread: the loop's. */
#ifndef KILN_POLICY_PATTERN_H
#define KILN_POLICY_PATTERN_H

#include <lua.h>

enum { KILN_PATTERN_STEPS = 20000000 /* of one call; some 100 ms */ };

/* Pushes a table of lua_CFunctions: find, match, gmatch as in `string`; and for gsub,
 * whose callbacks are to be called from Lua and not across C:
 *   seek(s, p, position) -> start, end (exclusive), captures... | nothing
 *   substitute(s, p, replacement text, max) -> text, count
 * Longjmps. */
void kiln_pattern_push(lua_State *L);

#endif
