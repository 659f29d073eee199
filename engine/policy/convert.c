#include "policy/convert.h"

#include "base/cleanup.h"
#include "base/utf8.h"

#include <errno.h>
#include <lauxlib.h>
#include <math.h>

static void push_json(lua_State *L, const json_t *json, int depth)
{
    luaL_checkstack(L, 4, "JSON is nested too deeply");
    if (depth > KILN_CONVERT_DEPTH) {
        luaL_error(L, "JSON is nested too deeply");
    }
    switch (json == NULL ? JSON_NULL : json_typeof(json)) {
    case JSON_OBJECT: {
        const char *key;
        json_t *value;
        lua_createtable(L, 0, (int)json_object_size(json));
        json_object_foreach((json_t *)json, key, value)
        {
            push_json(L, value, depth + 1);
            lua_setfield(L, -2, key);
        }
        return;
    }
    case JSON_ARRAY:
        lua_createtable(L, (int)json_array_size(json), 0);
        for (size_t i = 0; i < json_array_size(json); i++) {
            push_json(L, json_array_get(json, i), depth + 1);
            lua_rawseti(L, -2, (int)i + 1);
        }
        return;
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(json), json_string_length(json));
        return;
    case JSON_INTEGER:
        lua_pushnumber(L, (lua_Number)json_integer_value(json));
        return;
    case JSON_REAL:
        lua_pushnumber(L, json_real_value(json));
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(L, json_is_true(json));
        return;
    case JSON_NULL:
        lua_pushnil(L);
        return;
    }
}

void kiln_lua_push_json(lua_State *L, const json_t *json)
{
    push_json(L, json, 0);
}

json_t *kiln_policy_text(const char *text, size_t length, size_t most)
{
    auto_buffer kiln_buffer buffer = KILN_BUFFER_INIT;
    bool cut = length > most;
    if (kiln_utf8_append(&buffer, text, cut ? most : length, cut) < 0 ||
        (cut && kiln_buffer_append(&buffer, "...", 3) < 0)) {
        return NULL;
    }
    return json_stringn(buffer.length > 0 ? buffer.data : "", buffer.length);
}

static json_t *to_json(lua_State *L, int index, int depth, kiln_error *err);

/* 1..n and nothing else: n; an object: -1. The table is at the top. */
static long array_length(lua_State *L)
{
    long count = 0;
    long highest = 0;
    lua_pushnil(L);
    while (lua_next(L, -2) != 0) {
        lua_pop(L, 1);
        lua_Number key = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
        if (key < 1 || key > 1e9 || floor(key) != key) {
            lua_pop(L, 1);
            return -1;
        }
        count++;
        highest = (long)key > highest ? (long)key : highest;
    }
    return count == highest ? count : -1;
}

static json_t *table_to_json(lua_State *L, int depth, kiln_error *err)
{
    long length = array_length(L);
    auto_json json_t *json = length >= 0 ? json_array() : json_object();
    if (json == NULL) {
        kiln_error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    for (long i = 1; i <= length; i++) {
        lua_rawgeti(L, -1, (int)i);
        json_t *value = to_json(L, lua_gettop(L), depth + 1, err);
        lua_pop(L, 1);
        if (value == NULL || json_array_append_new(json, value) < 0) {
            return NULL;
        }
    }
    if (length >= 0) {
        return kiln_steal(json);
    }
    lua_pushnil(L);
    while (lua_next(L, -2) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            kiln_error_set(err, -EINVAL, "a key is a %s, not a string",
                           lua_typename(L, lua_type(L, -2)));
            lua_pop(L, 2);
            return NULL;
        }
        json_t *value = to_json(L, lua_gettop(L), depth + 1, err);
        const char *key = lua_tostring(L, -2);
        if (value == NULL || json_object_set_new(json, key, value) < 0) {
            if (value != NULL) {
                kiln_error_set(err, -EINVAL, "a key is not UTF-8");
            }
            lua_pop(L, 2);
            return NULL;
        }
        lua_pop(L, 1);
    }
    return kiln_steal(json);
}

static json_t *to_json(lua_State *L, int index, int depth, kiln_error *err)
{
    json_t *json = NULL;
    size_t length;
    if (depth >= KILN_CONVERT_DEPTH) {
        kiln_error_set(err, -EINVAL, "a table is nested too deeply, or holds itself");
        return NULL;
    }
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        json = json_null();
        break;
    case LUA_TBOOLEAN:
        json = json_boolean(lua_toboolean(L, index));
        break;
    case LUA_TNUMBER: {
        lua_Number number = lua_tonumber(L, index);
        json = floor(number) == number && fabs(number) < 9e15 ? json_integer((json_int_t)number)
                                                              : json_real(number);
        if (json == NULL) {
            kiln_error_set(err, -EINVAL, "a number is not finite");
        }
        return json;
    }
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, index, &length);
        json = json_stringn(text, length);
        if (json == NULL) {
            json = kiln_policy_text(text, length, length);
        }
        break;
    }
    case LUA_TTABLE:
        lua_pushvalue(L, index);
        json = table_to_json(L, depth, err);
        lua_pop(L, 1);
        return json;
    default:
        kiln_error_set(err, -EINVAL, "a %s cannot be JSON",
                       lua_typename(L, lua_type(L, index)));
        return NULL;
    }
    if (json == NULL) {
        kiln_error_set(err, -ENOMEM, "out of memory");
    }
    return json;
}

json_t *kiln_lua_to_json(lua_State *L, int index, kiln_error *err)
{
    return to_json(L, index < 0 ? lua_gettop(L) + index + 1 : index, 0, err);
}
