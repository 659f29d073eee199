/* Lua sessions that keep their state: the worker half of a language, built on kiln/plugin.h
 * and LuaJIT alone. Zygote, sessions, confinement, limits and frames are the engine's. A
 * template for another language: what it needs is preload, start and execute; interrupts and
 * queries are what makes it pleasant.
 *
 *   [engine] backends = luaguest        [backend luaguest] plugin = luaguest.so
 */
#include <kiln/plugin.h>

#include <errno.h>
#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <signal.h> /* sig_atomic_t */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const kiln_worker_host *host;
static lua_State *L;

/* ---- output */

static void emit(uint32_t type, uint32_t stream, const char *data, size_t length)
{
    kiln_event event = {sizeof(event), type, stream, 0, data, length};
    host->emit(&event);
}

/* print(...): a line on stdout, at once. */
static int print(lua_State *lua)
{
    luaL_Buffer line;
    int count = lua_gettop(lua);
    lua_getglobal(lua, "tostring");
    luaL_buffinit(lua, &line);
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(lua, count + 1);
        lua_pushvalue(lua, i);
        lua_call(lua, 1, 1);
        luaL_addvalue(&line);
        luaL_addchar(&line, i < count ? '\t' : '\n');
    }
    luaL_pushresult(&line);
    size_t length;
    const char *text = lua_tolstring(lua, -1, &length);
    emit(KILN_EVENT_STREAM, KILN_STDOUT, text, length);
    return 0;
}

/* Appends text as a JSON string. */
static void add_json(luaL_Buffer *out, const char *text, size_t length)
{
    char code[8];
    luaL_addchar(out, '"');
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == '"' || c == '\\') {
            snprintf(code, sizeof(code), "\\u%04x", c);
            luaL_addstring(out, code);
        } else {
            luaL_addchar(out, (char)c);
        }
    }
    luaL_addchar(out, '"');
}

/* The text on the top of the stack as the value of a cell. */
static void emit_result(void)
{
    luaL_Buffer json;
    size_t length;
    const char *text = lua_tolstring(L, -1, &length);
    luaL_buffinit(L, &json);
    luaL_addstring(&json, "{\"data\":{\"text/plain\":");
    add_json(&json, text, length);
    luaL_addstring(&json, "},\"metadata\":{}}");
    luaL_pushresult(&json);
    text = lua_tolstring(L, -1, &length);
    emit(KILN_EVENT_RESULT, 0, text, length);
}

/* Likewise as an error: a message, and its traceback in the lines after it. */
static void emit_error(void)
{
    luaL_Buffer json;
    size_t length;
    const char *text = lua_tolstring(L, -1, &length);
    luaL_buffinit(L, &json);
    luaL_addstring(&json, "{\"name\":\"LuaError\",\"value\":");
    add_json(&json, text, strcspn(text, "\n"));
    luaL_addstring(&json, ",\"traceback\":[");
    add_json(&json, text, length);
    luaL_addstring(&json, "]}");
    luaL_pushresult(&json);
    text = lua_tolstring(L, -1, &length);
    emit(KILN_EVENT_ERROR, 0, text, length);
}

/* ---- interrupts: a hook that raises, set in a signal's handler */

static volatile sig_atomic_t running, interrupted;

static void raise_interrupt(lua_State *lua, lua_Debug *where)
{
    (void)where;
    lua_sethook(lua, NULL, 0, 0);
    luaL_error(lua, "interrupted");
}

static bool interrupt(void)
{
    if (!running) {
        return false;
    }
    interrupted = 1;
    lua_sethook(L, raise_interrupt, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
    return true;
}

/* Brackets what may be interrupted. */
static void begin(void)
{
    lua_settop(L, 0);
    interrupted = 0;
    running = 1;
    if (host->interrupted()) {
        interrupt();
    }
}

static void end(void)
{
    running = 0;
    lua_sethook(L, NULL, 0, 0);
}

/* ---- the worker half */

static int start(void)
{
    return 0; /* all of it was made in the zygote */
}

static int traceback(lua_State *lua)
{
    const char *text = lua_tostring(lua, 1);
    luaL_traceback(lua, lua, text != NULL ? text : luaL_typename(lua, 1), 1);
    return 1;
}

/* As an expression whose value is shown, else as statements. */
static int compile(const char *code, size_t length, const char *name)
{
    lua_pushliteral(L, "return ");
    lua_pushlstring(L, code, length);
    lua_concat(L, 2);
    size_t whole;
    const char *expression = lua_tolstring(L, -1, &whole);
    int rc = luaL_loadbuffer(L, expression, whole, name);
    lua_remove(L, -2);
    if (rc != 0) {
        lua_pop(L, 1);
        rc = luaL_loadbuffer(L, code, length, name);
    }
    return rc;
}

static int execute(const kiln_cell *cell, kiln_verdict *verdict)
{
    char name[48];
    begin();
    snprintf(name, sizeof(name), "=cell %llu", (unsigned long long)cell->execution_count);
    lua_pushcfunction(L, traceback);
    int rc = compile(cell->code, cell->code_length, name);
    rc = rc == 0 ? lua_pcall(L, 0, 1, 1) : rc;
    end();
    if (rc != 0) {
        verdict->status = interrupted ? KILN_STATUS_INTERRUPTED : KILN_STATUS_ERROR;
        emit_error();
    } else if (!lua_isnil(L, -1)) {
        lua_getglobal(L, "tostring");
        lua_insert(L, -2);
        if (lua_pcall(L, 1, 1, 1) == 0 && lua_isstring(L, -1)) {
            emit_result();
        }
    }
    return 0;
}

/* ---- queries, in the language itself: arguments and replies are JSON text */

static const char queries[] =
    "local escapes = {n = '\\n', t = '\\t', r = '\\r', b = '\\b', f = '\\f'}\n"
    "local function code_of(json)\n"
    "  local at, out = select(2, json:find('\"code\":\"', 1, true)) + 1, {}\n"
    "  while json:sub(at, at) ~= '\"' do\n"
    "    local c = json:sub(at, at)\n"
    "    if c == '\\\\' then\n"
    "      at = at + 1\n"
    "      c = json:sub(at, at)\n"
    "      if c == 'u' then\n"
    "        c = string.char(tonumber(json:sub(at + 1, at + 4), 16) % 256)\n"
    "        at = at + 4\n"
    "      end\n"
    "      c = escapes[c] or c\n"
    "    end\n"
    "    out[#out + 1] = c\n"
    "    at = at + 1\n"
    "  end\n"
    "  return table.concat(out)\n"
    "end\n"
    "local function is_complete(code)\n"
    "  if loadstring('return ' .. code) then return '{\"status\":\"complete\"}' end\n"
    "  local chunk, why = loadstring(code)\n"
    "  if chunk then return '{\"status\":\"complete\"}' end\n"
    "  return why:find(\"'<eof>'\", 1, true) and "
    "'{\"status\":\"incomplete\",\"indent\":\"\"}'\n"
    "    or '{\"status\":\"invalid\"}'\n"
    "end\n"
    "local function complete(code, cursor)\n"
    "  local path, prefix = code:sub(1, cursor):match('([%w_.]-)([%w_]*)$')\n"
    "  local at, found = _G, {}\n"
    "  for name in path:gmatch('[%w_]+') do at = type(at) == 'table' and rawget(at, name) end\n"
    "  for name in pairs(type(at) == 'table' and at or {}) do\n"
    "    if type(name) == 'string' and name:find('^[%a_][%w_]*$')\n"
    "      and name:sub(1, #prefix) == prefix then found[#found + 1] = '\"' .. name .. '\"' "
    "end\n"
    "  end\n"
    "  table.sort(found)\n"
    "  return ('{\"matches\":[%s],\"cursor_start\":%d,\"cursor_end\":%d,\"metadata\":{}}')\n"
    "    :format(table.concat(found, ','), cursor - #prefix, cursor)\n"
    "end\n"
    "return function(name, json)\n"
    "  if name == 'is_complete' then return is_complete(code_of(json)) end\n"
    "  return name == 'complete' and complete(code_of(json), "
    "tonumber(json:match('\"cursor_pos\":(%d+)')))\n"
    "end\n";
static int answer; /* the function's reference */

static int query(const char *name, const char *arguments, size_t length, const char **json)
{
    begin();
    lua_rawgeti(L, LUA_REGISTRYINDEX, answer);
    lua_pushstring(L, name);
    lua_pushlstring(L, arguments, length);
    int rc = lua_pcall(L, 2, 1, 0);
    end();
    *json = lua_tostring(L, -1); /* stays on the stack until the next call */
    return rc != 0 ? -EIO : *json != NULL ? 0 : -ENOTSUP;
}

static int preload(const kiln_worker_host *its_host, const char **error)
{
    host = its_host;
    L = luaL_newstate();
    if (L == NULL) {
        *error = "luaguest: no Lua state";
        return -ENOMEM;
    }
    luaL_openlibs(L);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF); /* hooks reach no traces */
    lua_pushcfunction(L, print);
    lua_setglobal(L, "print");
    if (luaL_loadbuffer(L, queries, sizeof(queries) - 1, "=queries") != 0 ||
        lua_pcall(L, 0, 1, 0) != 0) {
        *error = "luaguest: its queries do not load";
        return -EINVAL;
    }
    answer = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* ---- the plugin; its engine half is empty */

static const char *const languages[] = {"lua", NULL};
static const kiln_worker worker = {.size = sizeof(worker),
                                   .preload = preload,
                                   .start = start,
                                   .execute = execute,
                                   .query = query,
                                   .interrupt = interrupt};
static const kiln_plugin plugin = {.size = sizeof(plugin),
                                   .abi_major = KILN_ABI_MAJOR,
                                   .abi_minor = KILN_ABI_MINOR,
                                   .capabilities = KILN_CAP_WORKER | KILN_CAP_SESSIONS |
                                                   KILN_CAP_INTERRUPT | KILN_CAP_QUERY,
                                   .name = "luaguest",
                                   .version = "1",
                                   .summary = "Lua sessions that keep their state",
                                   .languages = languages,
                                   .worker = &worker};
KILN_PLUGIN(plugin)
