#include "policy/native.h"

#include "base/cleanup.h"

#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <string.h>

enum { EXACT_BITS = 53 };

/* ---- towards Lua: longjmps; what is pushed is held by somebody whom no jump passes */

static void push_value(lua_State *L, const kiln_native_value *value)
{
    char digits[24];
    luaL_checkstack(L, 4, "native values are nested too deeply");
    switch (value->tag) {
    case KILN_VALUE_NULL:
    case KILN_VALUE_CALLBACK:
        lua_pushnil(L);
        return;
    case KILN_VALUE_FALSE:
    case KILN_VALUE_TRUE:
        lua_pushboolean(L, value->tag == KILN_VALUE_TRUE);
        return;
    case KILN_VALUE_INT:
        if (value->as.integer <= 1LL << EXACT_BITS &&
            value->as.integer >= -(1LL << EXACT_BITS)) {
            lua_pushnumber(L, (lua_Number)value->as.integer);
        } else {
            snprintf(digits, sizeof(digits), "%lld", (long long)value->as.integer);
            lua_pushstring(L, digits);
        }
        return;
    case KILN_VALUE_UINT:
        snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value->as.natural);
        lua_pushstring(L, digits);
        return;
    case KILN_VALUE_REAL:
        lua_pushnumber(L, value->as.real);
        return;
    case KILN_VALUE_TEXT:
    case KILN_VALUE_BYTES:
        lua_pushlstring(L, value->as.bytes.data, value->as.bytes.length);
        return;
    case KILN_VALUE_LIST:
        lua_createtable(L, (int)value->as.list.count, 0);
        for (size_t i = 0; i < value->as.list.count; i++) {
            push_value(L, &value->as.list.items[i]);
            lua_rawseti(L, -2, (int)i + 1);
        }
        return;
    }
}

/* Protected: what the value has is freed before anything is raised further. */
static int push_protected(lua_State *L)
{
    const kiln_native_value *value = lua_touserdata(L, 1);
    push_value(L, value);
    return 1;
}

/* ---- from Lua: nothing longjmps, nothing is allocated in Lua */

typedef struct taking {
    lua_State *L;
    kiln_wait *wait; /* NULL: functions cannot be given */
    kiln_error *err;
    size_t values;
} taking;

static int take_value(taking *t, int index, kiln_native_value *value, unsigned depth);

static int take_table(taking *t, int index, kiln_native_value *value, unsigned depth)
{
    size_t count = lua_objlen(t->L, index);
    t->values += count;
    if (depth == KILN_VALUE_DEPTH_MAX || t->values > KILN_VALUE_COUNT_MAX / 2) {
        return kiln_error_set(t->err, E2BIG, "lists too deep, or of more than 524288 values");
    }
    if (kiln_native_value_list(value, count) < 0) {
        return kiln_error_set(t->err, ENOMEM, "not enough memory");
    }
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(t->L, index, (int)i + 1);
        int rc = take_value(t, lua_gettop(t->L), &value->as.list.items[i], depth + 1);
        lua_pop(t->L, 1);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* The function itself is kept by l_start_native, which may raise. */
static int take_function(taking *t, kiln_native_value *value)
{
    if (t->wait == NULL || t->wait->function_count == KILN_WAIT_FUNCTIONS) {
        return kiln_error_set(t->err, EINVAL, "a function cannot be given here");
    }
    *value = (kiln_native_value){.tag = KILN_VALUE_CALLBACK,
                                 .as.natural = t->wait->function_count++};
    return 0;
}

static int take_value(taking *t, int index, kiln_native_value *value, unsigned depth)
{
    switch (lua_type(t->L, index)) {
    case LUA_TNIL:
        *value = (kiln_native_value){.tag = KILN_VALUE_NULL};
        return 0;
    case LUA_TBOOLEAN:
        value->tag = lua_toboolean(t->L, index) ? KILN_VALUE_TRUE : KILN_VALUE_FALSE;
        return 0;
    case LUA_TNUMBER: {
        double number = lua_tonumber(t->L, index);
        bool whole = number == floor(number) && fabs(number) <= (double)(1LL << EXACT_BITS) &&
                     !(number == 0 && signbit(number));
        *value = whole
                     ? (kiln_native_value){.tag = KILN_VALUE_INT, .as.integer = (int64_t)number}
                     : (kiln_native_value){.tag = KILN_VALUE_REAL, .as.real = number};
        return 0;
    }
    case LUA_TSTRING: {
        size_t length;
        const char *data = lua_tolstring(t->L, index, &length);
        *value = kiln_native_bytes(data, length);
        return 0;
    }
    case LUA_TTABLE:
        return take_table(t, index, value, depth);
    case LUA_TFUNCTION:
        return take_function(t, value);
    default:
        return kiln_error_set(t->err, EINVAL, "a %s cannot be given to C",
                              luaL_typename(t->L, index));
    }
}

/* The arguments from `from` on, encoded into the wait. */
static int take_arguments(lua_State *L, int from, kiln_wait *wait, kiln_error *err)
{
    auto_value kiln_native_value list = {.tag = KILN_VALUE_NULL};
    taking t = {L, wait, err, 0};
    int count = lua_gettop(L) - from + 1;
    int rc = kiln_native_value_list(&list, (size_t)count);
    for (int i = 0; rc == 0 && i < count; i++) {
        rc = take_value(&t, from + i, &list.as.list.items[i], 1);
        if (rc < 0) {
            return kiln_error_wrap(err, "argument %d", i + 1);
        }
    }
    rc = rc < 0 ? rc : kiln_native_value_append(&wait->values, &list);
    return rc < 0 ? kiln_error_set(err, rc, "%s",
                                   rc == -E2BIG ? "the arguments are more than 16 MiB"
                                                : "not enough memory")
                  : 0;
}

/* start_native(name, ...) */
static int l_start_native(lua_State *L)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_policy_run *run = kiln_policy_run_here(L);
    luaL_checkstack(L, 3 * KILN_VALUE_DEPTH_MAX, NULL);
    kiln_wait *wait = kiln_wait_prepare(L, run, 1, KILN_WAIT_ONE);
    wait->type = KILN_WAIT_NATIVE;
    wait->language = strdup(lua_tostring(L, 1)); /* the function's name */
    if (wait->language == NULL) {
        return luaL_error(L, "not enough memory");
    }
    if (take_arguments(L, 2, wait, &err) < 0) {
        kiln_error_wrap(&err, "kiln.native.%s", wait->language);
        return kiln_api_raise(L, &err);
    }
    /* In the order in which they were counted: only at the top, the check sees to it. */
    size_t kept = 0;
    for (int i = 2; i <= lua_gettop(L); i++) {
        if (lua_isfunction(L, i) && kept < wait->function_count) {
            lua_pushvalue(L, i);
            wait->functions[kept++] = luaL_ref(L, LUA_REGISTRYINDEX);
            wait->functions_kept = kept;
        }
    }
    return lua_yield(L, 0);
}

/* find_native(name) -> "function", "group" or nil */
static int l_find_native(lua_State *L)
{
    const kiln_chain *chain = kiln_lua_of(L)->owner;
    const kiln_policy_host *host = &chain->policies->host;
    kiln_native_found found = host->native_find != NULL
                                  ? host->native_find(host->core, lua_tostring(L, 1))
                                  : KILN_NATIVE_NONE;
    lua_pushstring(L, found == KILN_NATIVE_FUNCTION ? "function"
                      : found == KILN_NATIVE_GROUP  ? "group"
                                                    : NULL);
    return 1;
}

void kiln_api_push_native(lua_State *L)
{
    lua_pushcfunction(L, l_start_native);
    lua_setfield(L, -2, "start_native");
    lua_pushcfunction(L, l_find_native);
    lua_setfield(L, -2, "find_native");
}

int kiln_policy_take_native(lua_State *L, const kiln_wait *wait)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_native_value list = {.tag = KILN_VALUE_NULL};
    if (wait->error != NULL) {
        luaL_where(L, 1);
        lua_pushstring(L, wait->error);
        lua_concat(L, 2);
        return lua_error(L);
    }
    int rc = kiln_native_value_decode(wait->values.data, wait->values.length, &list, &err);
    if (rc < 0) {
        return luaL_error(L, "%s", err.text);
    }
    int count = (int)list.as.list.count;
    luaL_checkstack(L, count + 4, NULL);
    for (int i = 0; rc == 0 && i < count; i++) {
        lua_pushcfunction(L, push_protected);
        lua_pushlightuserdata(L, &list.as.list.items[i]);
        rc = lua_pcall(L, 1, 1, 0);
    }
    kiln_native_value_free(&list);
    return rc == 0 ? count : lua_error(L);
}

void kiln_policy_begin_native(kiln_policy_run *run, kiln_wait *wait,
                              const kiln_native_callbacks *callbacks)
{
    const kiln_policy_host *host = &run->chain->policies->host;
    auto_value kiln_native_value arguments = {.tag = KILN_VALUE_NULL};
    auto_buffer kiln_buffer bytes = wait->values; /* the results come in their place */
    kiln_error err = KILN_ERROR_INIT;
    wait->values = (kiln_buffer)KILN_BUFFER_INIT;
    if (kiln_native_value_decode(bytes.data, bytes.length, &arguments, &err) < 0) {
        const kiln_native_failure failure = {"NativeError", err.text};
        callbacks->done(wait->ticket, NULL, &failure);
        return;
    }
    host->native(host->core, run->context.execution, wait->language, &arguments, callbacks,
                 wait->ticket, &wait->handle);
}

void kiln_policy_forget_functions(kiln_policy_run *run, kiln_wait *wait)
{
    for (size_t i = 0; i < wait->functions_kept; i++) {
        luaL_unref(run->chain->lua->L, LUA_REGISTRYINDEX, wait->functions[i]);
    }
    wait->functions_kept = 0;
}

/* ---- callbacks */

typedef struct calling_back {
    int function;
    const kiln_native_value *given;
    kiln_native_value *returned;
    kiln_error *err;
    int rc;
} calling_back;

static int call_function(lua_State *L)
{
    calling_back *call = lua_touserdata(L, 1);
    size_t count = call->given->as.list.count;
    luaL_checkstack(L, (int)count + 8, NULL);
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->function);
    for (size_t i = 0; i < count; i++) {
        push_value(L, &call->given->as.list.items[i]);
    }
    lua_call(L, (int)count, 1);
    taking t = {L, NULL, call->err, 0};
    call->rc =
        lua_istable(L, -1) || lua_type(L, -1) == LUA_TSTRING
            ? kiln_error_set(call->err, EINVAL,
                             "the function gave a %s; a number, bool or nothing expected",
                             luaL_typename(L, -1))
            : take_value(&t, lua_gettop(L), call->returned, 0);
    return 0;
}

int kiln_policy_call_back(kiln_policy_run *run, const kiln_wait *wait, uint64_t which,
                          const kiln_native_value *given, kiln_native_value *returned,
                          kiln_error *err)
{
    kiln_lua *lua = run->chain->lua;
    if (which >= wait->functions_kept || lua->current != NULL) {
        return kiln_error_set(err, EPROTO, "a function that was not given");
    }
    calling_back call = {wait->functions[which], given, returned, err, 0};
    lua->current = run; /* it may log and decide; it can await nothing */
    int rc = kiln_lua_protect_spent(lua, call_function, &call, &run->spent, err);
    lua->current = NULL;
    return rc < 0 ? rc : call.rc;
}

/* ---- calls of code, past the chain */

typedef struct passing {
    kiln_policy_run *run;
    const char *name;
    const kiln_native_value *arguments;
    kiln_error *err;
    bool refused;
} passing;

static int ask_policy(lua_State *L)
{
    passing *call = lua_touserdata(L, 1);
    const kiln_policy_run *run = call->run;
    lua_rawgeti(L, LUA_REGISTRYINDEX, run->chain->on_call);
    lua_pushinteger(L, (lua_Integer)run->level);
    lua_pushstring(L, call->name);
    push_value(L, call->arguments);
    lua_pushstring(L, run->context.session_id);
    lua_pushstring(L, run->context.execution_id);
    lua_pushstring(L, run->context.client); /* NULL is nil */
    lua_call(L, 6, 2);
    if (lua_isboolean(L, -2) && !lua_toboolean(L, -2)) {
        call->refused = true;
        kiln_error_set(call->err, EACCES, "%s",
                       lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "refused");
    } else if (!lua_isnil(L, -2) && !lua_isboolean(L, -2)) {
        luaL_error(L, "on_call gives true, nothing, or false and why; got %s",
                   luaL_typename(L, -2));
    }
    return 0;
}

int kiln_policies_on_call(kiln_policy_run *run, const char *name,
                          const kiln_native_value *arguments, kiln_error *err)
{
    const kiln_chain *chain = run->chain;
    size_t level = run->level;
    int rc = 0;
    if (chain->lua->current != NULL) {
        return kiln_error_set(err, EACCES, "a call from within a policy");
    }
    chain->lua->current = run; /* it may log and decide; it can await nothing */
    for (size_t i = 0; rc == 0 && i < chain->count; i++) {
        passing call = {run, name, arguments, err, false};
        if (!chain->list[i].has_on_call) {
            continue;
        }
        run->level = i + 1;
        rc = kiln_lua_protect_spent(chain->lua, ask_policy, &call, &run->spent, err);
        if (rc < 0) {
            kiln_error_wrap(err, "policy %s failed", chain->list[i].name);
        } else if (call.refused) {
            rc = kiln_error_wrap(err, "policy %s", chain->list[i].name);
        }
    }
    chain->lua->current = NULL;
    run->level = level;
    if (rc < 0) {
        err->code = -EACCES;
    }
    return rc < 0 ? -EACCES : 0;
}
