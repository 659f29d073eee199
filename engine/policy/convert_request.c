/* The input table of the contract, to Lua and back. */
#include "policy/convert.h"

#include "base/cleanup.h"
#include "contract/limits.h"

#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <string.h>

static void set_string(lua_State *L, const char *key, const char *value)
{
    if (value != NULL) {
        lua_pushstring(L, value);
        lua_setfield(L, -2, key);
    }
}

void kiln_lua_push_request(lua_State *L, const kiln_request *request, const char *session_id)
{
    lua_createtable(L, 0, KILN_REQUEST_KEYS);
    lua_pushlstring(L, request->code, request->code_length);
    lua_setfield(L, -2, "code");
    set_string(L, "language", request->language);
    set_string(L, "backend", request->backend);
    set_string(L, "cell_id", request->cell_id);
    set_string(L, "session_id", session_id);
    lua_pushboolean(L, request->transaction);
    lua_setfield(L, -2, "transaction");
    if (request->stdin_data != NULL) {
        lua_pushlstring(L, request->stdin_data, request->stdin_length);
        lua_setfield(L, -2, "stdin");
    }
    if (request->limits.timeout_ms > 0) {
        lua_pushnumber(L, (lua_Number)request->limits.timeout_ms);
        lua_setfield(L, -2, "timeout_ms");
    }
    lua_newtable(L);
    for (int i = 0; request->args[i] != NULL; i++) {
        lua_pushstring(L, request->args[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "args");
    lua_newtable(L);
    for (int i = 0; request->env[i] != NULL; i++) {
        const char *equals = strchr(request->env[i], '=');
        if (equals != NULL) {
            lua_pushlstring(L, request->env[i], (size_t)(equals - request->env[i]));
            lua_pushstring(L, equals + 1);
            lua_rawset(L, -3);
        }
    }
    lua_setfield(L, -2, "env");
    lua_createtable(L, 0, KILN_LIMIT_KEYS);
    for (const kiln_limit_field *field = kiln_limit_fields; field->name != NULL; field++) {
        lua_Number value = (lua_Number)kiln_limit_get(&request->limits, field);
        if (value > 0) {
            lua_pushnumber(L, field->unit == KILN_LIMIT_THOUSANDTHS ? value / 1000 : value);
            lua_setfield(L, -2, field->name);
        }
    }
    lua_setfield(L, -2, "limits");
    lua_createtable(L, (int)request->input_file_count, 0);
    for (size_t i = 0; i < request->input_file_count; i++) {
        const kiln_input_file *file = &request->input_files[i];
        lua_createtable(L, 0, 3);
        set_string(L, "name", file->name);
        set_string(L, "mime_type", file->mime_type);
        if (file->path == NULL) { /* a path's size is known when it is read */
            lua_pushnumber(L, (lua_Number)file->length);
            lua_setfield(L, -2, "size");
        }
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "input_files");
}

static int expected(lua_State *L, int index, const char *key, const char *type, kiln_error *err)
{
    return kiln_error_set(err, -EINVAL, "input.%s: %s expected, got %s", key, type,
                          lua_typename(L, lua_type(L, index)));
}

/* A string; borrowed while it stays on the stack. */
static int take_string(lua_State *L, int index, const char *key, const char **text,
                       size_t *length, kiln_error *err)
{
    if (lua_type(L, index) != LUA_TSTRING) {
        return expected(L, index, key, "string", err);
    }
    *text = lua_tolstring(L, index, length);
    return 0;
}

/* A string without NUL, copied into *field. */
static int take_text(lua_State *L, int index, const char *key, char **field, kiln_error *err)
{
    const char *text = NULL;
    size_t length = 0;
    int rc = take_string(L, index, key, &text, &length, err);
    if (rc < 0) {
        return rc;
    }
    if (strlen(text) != length) {
        return kiln_error_set(err, -EINVAL, "input.%s: holds a NUL byte", key);
    }
    if (kiln_request_set_string(field, text) < 0) {
        return kiln_error_set(err, -ENOMEM, "input.%s: out of memory", key);
    }
    return 0;
}

static int take_number(lua_State *L, int index, const char *key, double scale, uint64_t *value,
                       kiln_error *err)
{
    if (lua_type(L, index) != LUA_TNUMBER) {
        return expected(L, index, key, "number", err);
    }
    lua_Number number = lua_tonumber(L, index);
    if (!(number >= 0 && number <= 9007199254740992.0)) {
        return kiln_error_set(err, -EINVAL, "input.%s: not a whole number from 0 to 2^53", key);
    }
    /* A fraction of a limit is no limit: 0 stands for none. */
    *value = (uint64_t)ceil(number * scale);
    return 0;
}

static int take_args(lua_State *L, int index, kiln_request *request, kiln_error *err)
{
    if (lua_type(L, index) != LUA_TTABLE) {
        return expected(L, index, "args", "table", err);
    }
    size_t count = lua_objlen(L, index);
    for (size_t i = 1; i <= count; i++) {
        char key[32];
        auto_free char *arg = NULL;
        snprintf(key, sizeof(key), "args[%zu]", i);
        lua_rawgeti(L, index, (int)i);
        int rc = take_text(L, lua_gettop(L), key, &arg, err);
        lua_pop(L, 1);
        if (rc < 0) {
            return rc;
        }
        if (i > KILN_ARGS_MAX) {
            return kiln_error_set(err, -E2BIG, "input.args: more than %d", KILN_ARGS_MAX);
        }
        if (kiln_request_add_arg(request, arg) < 0) {
            return kiln_error_set(err, -ENOMEM, "input.args: out of memory");
        }
    }
    return 0;
}

static int take_env_pair(lua_State *L, kiln_request *request, kiln_error *err)
{
    char key[128];
    auto_free char *value = NULL;
    auto_buffer kiln_buffer assignment = KILN_BUFFER_INIT;
    if (lua_type(L, -2) != LUA_TSTRING) {
        return kiln_error_set(err, -EINVAL, "input.env: a name is a %s, not a string",
                              lua_typename(L, lua_type(L, -2)));
    }
    snprintf(key, sizeof(key), "env.%s", lua_tostring(L, -2));
    if (lua_type(L, -1) == LUA_TNUMBER) {
        kiln_buffer_printf(&assignment, "%s=%.14g", lua_tostring(L, -2), lua_tonumber(L, -1));
    } else {
        int rc = take_text(L, lua_gettop(L), key, &value, err);
        if (rc < 0) {
            return rc;
        }
        kiln_buffer_printf(&assignment, "%s=%s", lua_tostring(L, -2), value);
    }
    if (assignment.data == NULL || kiln_request_add_env(request, assignment.data) < 0) {
        return kiln_error_set(err, -ENOMEM, "input.env: out of memory");
    }
    return 0;
}

static int take_env(lua_State *L, int index, kiln_request *request, kiln_error *err)
{
    if (lua_type(L, index) != LUA_TTABLE) {
        return expected(L, index, "env", "table", err);
    }
    size_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        int rc = take_env_pair(L, request, err);
        lua_pop(L, 1);
        if (rc == 0 && ++count > KILN_ARGS_MAX) {
            rc = kiln_error_set(err, -E2BIG, "input.env: more than %d", KILN_ARGS_MAX);
        }
        if (rc < 0) {
            lua_pop(L, 1);
            return rc;
        }
    }
    return 0;
}

static int take_limit(lua_State *L, kiln_request *request, kiln_error *err)
{
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    const kiln_limit_field *field = kiln_limit_find(name);
    if (field == NULL) {
        return kiln_error_set(err, -EINVAL,
                              "input.limits has no '%s'; it has cpu, memory, processes, "
                              "output, disk, files, open_files, file_size, cpus",
                              name);
    }
    double scale = field->unit == KILN_LIMIT_THOUSANDTHS ? 1000 : 1;
    uint64_t *limit = kiln_limit_at(&request->limits, field);
    int rc = take_number(L, lua_gettop(L), name, scale, limit, err);
    if (rc < 0) { /* again, by its whole name: mostly it is not needed, and made for nothing */
        char key[32];
        snprintf(key, sizeof(key), "limits.%s", name);
        rc = take_number(L, lua_gettop(L), key, scale, limit, err);
    }
    return rc;
}

static int take_limits(lua_State *L, int index, kiln_request *request, kiln_error *err)
{
    if (lua_type(L, index) != LUA_TTABLE) {
        return expected(L, index, "limits", "table", err);
    }
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        int rc = take_limit(L, request, err);
        lua_pop(L, 1);
        if (rc < 0) {
            lua_pop(L, 1);
            return rc;
        }
    }
    return 0;
}

/* One key of the input table: the key at -2, its value at -1. */
static int take_field(lua_State *L, kiln_request *request, kiln_error *err)
{
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    int value = lua_gettop(L);
    const char *text = NULL;
    size_t length = 0;
    int rc;
    if (strcmp(key, "code") == 0) {
        rc = take_string(L, value, key, &text, &length, err);
        if (rc == 0 && kiln_request_set_code(request, text, length) < 0) {
            rc = kiln_error_set(err, -ENOMEM, "input.code: out of memory");
        }
        return rc;
    }
    if (strcmp(key, "stdin") == 0) {
        rc = take_string(L, value, key, &text, &length, err);
        if (rc == 0 && kiln_request_set_stdin(request, text, length) < 0) {
            rc = kiln_error_set(err, -ENOMEM, "input.stdin: out of memory");
        }
        return rc;
    }
    if (strcmp(key, "language") == 0) {
        return take_text(L, value, key, &request->language, err);
    }
    if (strcmp(key, "backend") == 0) {
        return take_text(L, value, key, &request->backend, err);
    }
    if (strcmp(key, "cell_id") == 0) {
        return take_text(L, value, key, &request->cell_id, err);
    }
    if (strcmp(key, "transaction") == 0) {
        request->transaction = lua_toboolean(L, value);
        return lua_isboolean(L, value) ? 0 : expected(L, value, key, "boolean", err);
    }
    if (strcmp(key, "timeout_ms") == 0) {
        return take_number(L, value, key, 1, &request->limits.timeout_ms, err);
    }
    if (strcmp(key, "args") == 0) {
        return take_args(L, value, request, err);
    }
    if (strcmp(key, "env") == 0) {
        return take_env(L, value, request, err);
    }
    if (strcmp(key, "limits") == 0) {
        return take_limits(L, value, request, err);
    }
    if (strcmp(key, "session_id") == 0 || strcmp(key, "input_files") == 0) {
        return 0; /* the original's */
    }
    return kiln_error_set(err, -EINVAL,
                          "input has no field '%s'; it has code, language, backend, args, env, "
                          "stdin, timeout_ms, limits, transaction, cell_id",
                          key);
}

static int copy_files(kiln_request *request, const kiln_request *original)
{
    for (size_t i = 0; i < original->input_file_count; i++) {
        const kiln_input_file *file = &original->input_files[i];
        int rc = kiln_request_add_file(request, file->name, file->path, file->content,
                                       file->length, file->mime_type);
        if (rc < 0) {
            return rc;
        }
    }
    return kiln_request_set_string(&request->session_id, original->session_id);
}

int kiln_lua_to_request(lua_State *L, int index, const kiln_request *original,
                        kiln_request **request, kiln_error *err)
{
    if (lua_type(L, index) != LUA_TTABLE) {
        return kiln_error_set(
            err, -EINVAL, "input: table expected, got %s",
            lua_type(L, index) == LUA_TNONE ? "no value" : lua_typename(L, lua_type(L, index)));
    }
    kiln_request *made = kiln_request_new();
    if (made == NULL || copy_files(made, original) < 0) {
        kiln_request_free(made);
        return kiln_error_set(err, -ENOMEM, "input: out of memory");
    }
    bool has_code = false;
    int rc = 0;
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        has_code = has_code ||
                   (lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), "code") == 0);
        rc = take_field(L, made, err);
        lua_pop(L, 1);
        if (rc < 0) {
            lua_pop(L, 1);
            break;
        }
    }
    if (rc == 0 && !has_code) {
        rc = kiln_error_set(err, -EINVAL, "input.code: string expected, got nil");
    }
    if (rc == 0) {
        rc = kiln_request_validate(made, err);
    }
    if (rc < 0) {
        kiln_request_free(made);
        return rc;
    }
    *request = made;
    return 0;
}
