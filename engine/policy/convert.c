#include "policy/convert.h"

#include "base/cleanup.h"
#include "base/utf8.h"
#include "contract/limits.h"
#include "policy/chain.h"

#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <string.h>

static const char result_metatable[] = "kiln.result";

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

/* ------------------------------------------------------------------- requests */

static void set_string(lua_State *L, const char *key, const char *value)
{
    if (value != NULL) {
        lua_pushstring(L, value);
        lua_setfield(L, -2, key);
    }
}

void kiln_lua_push_request(lua_State *L, const kiln_request *request, const char *session_id)
{
    lua_createtable(L, 0, 12);
    lua_pushlstring(L, request->code, request->code_length);
    lua_setfield(L, -2, "code");
    set_string(L, "language", request->language);
    set_string(L, "backend", request->backend);
    set_string(L, "cell_id", request->cell_id);
    set_string(L, "session_id", session_id);
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
    lua_newtable(L);
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
    char key[32];
    snprintf(key, sizeof(key), "limits.%s", name);
    double scale = field->unit == KILN_LIMIT_THOUSANDTHS ? 1000 : 1;
    return take_number(L, lua_gettop(L), key, scale, kiln_limit_at(&request->limits, field),
                       err);
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
                          "stdin, timeout_ms, limits, cell_id",
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

/* -------------------------------------------------------------------- results */

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
