/* Results as scripts see them: names for what their execution keeps. */
#include "policy/convert.h"

#include "policy/chain.h"

#include <lauxlib.h>
#include <string.h>

static const char result_metatable[] = "kiln.result";

static void push_stream(lua_State *L, const kiln_result *result, const char *name)
{
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    for (size_t i = 0; i < json_array_size(result->outputs); i++) {
        const json_t *output = json_array_get(result->outputs, i);
        const char *type = json_string_value(json_object_get(output, "type"));
        const char *stream = json_string_value(json_object_get(output, "name"));
        const json_t *text = json_object_get(output, "text");
        if (type != NULL && stream != NULL && json_is_string(text) &&
            strcmp(type, "stream") == 0 && strcmp(stream, name) == 0) {
            luaL_addlstring(&buffer, json_string_value(text), json_string_length(text));
        }
    }
    luaL_pushresult(&buffer);
}

static void push_text(lua_State *L, const char *text)
{
    if (text != NULL) {
        lua_pushstring(L, text);
    } else {
        lua_pushnil(L);
    }
}

static void push_number(lua_State *L, bool known, double number)
{
    if (known) {
        lua_pushnumber(L, number);
    } else {
        lua_pushnil(L);
    }
}

static void push_started_at(lua_State *L, const struct timespec *at)
{
    char text[80];
    struct tm parts;
    gmtime_r(&at->tv_sec, &parts);
    size_t used = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + used, sizeof(text) - used, ".%03ldZ", at->tv_nsec / 1000000);
    lua_pushstring(L, text);
}

bool kiln_lua_push_result_field(lua_State *L, const kiln_result *result, const char *key)
{
    if (strcmp(key, "status") == 0) {
        lua_pushstring(L, kiln_status_name(result->status));
    } else if (strcmp(key, "success") == 0) {
        lua_pushboolean(L, kiln_result_success(result));
    } else if (strcmp(key, "exit_code") == 0) {
        push_number(L, result->has_exit_code, result->exit_code);
    } else if (strcmp(key, "signal") == 0) {
        push_number(L, result->signal != 0, result->signal);
    } else if (strcmp(key, "backend") == 0) {
        push_text(L, result->backend);
    } else if (strcmp(key, "language") == 0) {
        push_text(L, result->language);
    } else if (strcmp(key, "stdout") == 0 || strcmp(key, "stderr") == 0) {
        push_stream(L, result, key);
    } else if (strcmp(key, "outputs") == 0) {
        kiln_lua_push_json(L, result->outputs);
    } else if (strcmp(key, "errors") == 0) {
        kiln_lua_push_json(L, result->errors);
    } else if (strcmp(key, "output_files") == 0) {
        kiln_lua_push_json(L, result->output_files);
    } else if (strcmp(key, "decisions") == 0) {
        kiln_lua_push_json(L, result->decisions);
    } else if (strcmp(key, "duration_ms") == 0) {
        lua_pushnumber(L, result->duration_ms);
    } else if (strcmp(key, "session_id") == 0) {
        push_text(L, result->session_id);
    } else if (strcmp(key, "execution_id") == 0) {
        push_text(L, result->execution_id);
    } else if (strcmp(key, "cell_id") == 0) {
        push_text(L, result->cell_id);
    } else if (strcmp(key, "execution_count") == 0) {
        lua_pushnumber(L, (lua_Number)result->execution_count);
    } else if (strcmp(key, "started_at") == 0) {
        push_started_at(L, &result->started_at);
    } else if (strcmp(key, "usage") == 0) {
        lua_createtable(L, 0, 2);
        push_number(L, result->cpu_ms >= 0, result->cpu_ms);
        lua_setfield(L, -2, "cpu_ms");
        push_number(L, result->max_rss_bytes > 0, (double)result->max_rss_bytes);
        lua_setfield(L, -2, "max_rss_bytes");
        push_number(L, result->processes > 0, (double)result->processes);
        lua_setfield(L, -2, "processes");
        push_number(L, result->has_disk, (double)result->disk_bytes);
        lua_setfield(L, -2, "disk_bytes");
    } else if (strcmp(key, "truncated") == 0) {
        lua_createtable(L, 0, 2);
        lua_pushnumber(L, (lua_Number)result->truncated[KILN_STDOUT]);
        lua_setfield(L, -2, "stdout");
        lua_pushnumber(L, (lua_Number)result->truncated[KILN_STDERR]);
        lua_setfield(L, -2, "stderr");
    } else if (strcmp(key, "phases") == 0) {
        lua_createtable(L, 0, 1);
        push_number(L, result->compile_ms >= 0, result->compile_ms);
        lua_setfield(L, -2, "compile");
    } else {
        return false;
    }
    return true;
}

/* The result that a userdata stands for; raises if that execution is not this one. */
static const kiln_result *result_of(lua_State *L)
{
    const kiln_lua_result *box = lua_touserdata(L, 1);
    const kiln_result *result = kiln_policy_run_result(kiln_lua_of(L)->current, box);
    if (result == NULL) {
        luaL_error(L, "this result belongs to another execution");
    }
    return result;
}

static int l_result_index(lua_State *L)
{
    const kiln_result *result = result_of(L);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    if (!kiln_lua_push_result_field(L, result, key)) {
        return luaL_error(L, "result has no field '%s'", key);
    }
    return 1;
}

static int l_result_assign(lua_State *L)
{
    return luaL_error(L, "result is read-only");
}

static int l_result_text(lua_State *L)
{
    lua_pushfstring(L, "result: %s", kiln_status_name(result_of(L)->status));
    return 1;
}

void kiln_lua_define_result(lua_State *L)
{
    luaL_newmetatable(L, result_metatable);
    lua_pushcfunction(L, l_result_index);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_result_assign);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, l_result_text);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void kiln_lua_push_result(lua_State *L, unsigned long run, size_t index)
{
    kiln_lua_result *box = lua_newuserdata(L, sizeof(*box));
    *box = (kiln_lua_result){run, index};
    luaL_getmetatable(L, result_metatable);
    lua_setmetatable(L, -2);
}

const kiln_lua_result *kiln_lua_to_result(lua_State *L, int index)
{
    kiln_lua_result *box = lua_touserdata(L, index);
    if (lua_type(L, index) != LUA_TUSERDATA || lua_getmetatable(L, index) == 0) {
        return NULL;
    }
    luaL_getmetatable(L, result_metatable);
    bool same = lua_rawequal(L, -1, -2) != 0;
    lua_pop(L, 2);
    return same ? box : NULL;
}
