/* convert.h - between Lua values, JSON, requests and results.
 *
 * Towards Lua everything may longjmp (memory), so callers hold nothing of C meanwhile.
 * From Lua nothing longjmps and nothing is allocated in Lua: the caller has made sure
 * of KILN_CONVERT_SLOTS free slots. Thread: the loop's. */
#ifndef KILN_POLICY_CONVERT_H
#define KILN_POLICY_CONVERT_H

#include "base/error.h"
#include "contract/input.h"
#include "contract/result.h"

#include <jansson.h>
#include <lua.h>

enum {
    KILN_CONVERT_DEPTH = 64,
    KILN_CONVERT_SLOTS = 4 + 3 * KILN_CONVERT_DEPTH,
    KILN_REQUEST_KEYS = 12, /* of the input table, at most: room made ahead */
    KILN_LIMIT_KEYS = 9,    /* of its limits */
};

/* null becomes nil. Longjmps. */
void kiln_lua_push_json(lua_State *L, const json_t *json);
/* A table is an array if its keys are 1..n, or if it is empty; functions and cycles are
 * refused. New reference, or NULL with err. */
json_t *kiln_lua_to_json(lua_State *L, int index, kiln_error *err);
/* Text that may not be UTF-8, cut to `most` bytes, as a JSON string: other bytes become
 * U+FFFD. New reference or NULL. */
json_t *kiln_policy_text(const char *text, size_t length, size_t most);

/* Pushes the input table of the contract. Longjmps. */
void kiln_lua_push_request(lua_State *L, const kiln_request *request, const char *session_id);
/* The request that a policy's input table asks for; session_id and input_files are
 * those of `original`. 0, or -EINVAL with "input.args[2]: ...". Caller frees. */
int kiln_lua_to_request(lua_State *L, int index, const kiln_request *original,
                        kiln_request **request, kiln_error *err);

/* Pushes result[key]; false: there is no such field. Longjmps. */
bool kiln_lua_push_result_field(lua_State *L, const kiln_result *result, const char *key);

/* A result in Lua is a name for one that its execution keeps: when the execution ends,
 * what it held is freed at once, not when Lua collects, and no other can read it. */
typedef struct kiln_lua_result {
    unsigned long run; /* serial of the execution */
    size_t index;
} kiln_lua_result;
/* Longjmps: the metatable of results, left in the registry. */
void kiln_lua_define_result(lua_State *L);
/* Longjmps. */
void kiln_lua_push_result(lua_State *L, unsigned long run, size_t index);
/* NULL: not a result. */
const kiln_lua_result *kiln_lua_to_result(lua_State *L, int index);

#endif
