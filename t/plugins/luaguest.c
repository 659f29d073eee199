/* Lua sessions that keep their state: the worker half of a language, built on kiln/plugin.h
 * and LuaJIT alone. Zygote, pool, sessions, confinement, limits, branches and frames are the
 * engine's. A template for another language: what it needs is preload, start and execute;
 * interrupts and queries are what makes it pleasant.
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
#include <string.h>

static const kiln_worker_host *host;
static lua_State *L;

/* ---- interrupts: a hook that raises, set in a signal's handler */

static volatile sig_atomic_t running, interrupted;

static void raise_interrupt(lua_State *lua, lua_Debug *where)
{
    (void)where;
    lua_sethook(lua, NULL, 0, 0);
    interrupted = 1;
    luaL_error(lua, "interrupted");
}

static bool interrupt(void)
{
    if (running) {
        lua_sethook(L, raise_interrupt, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
    }
    return running;
}

/* Calls a function with that many arguments, as lua_pcall; an interrupt stops it. At the
 * bottom of the stack is what makes a message of an error. */
static int call(int arguments)
{
    interrupted = 0;
    running = 1;
    if (host->interrupted()) {
        interrupt();
    }
    int rc = lua_pcall(L, arguments, 1, 1);
    running = 0;
    lua_sethook(L, NULL, 0, 0);
    return rc;
}

static int traceback(lua_State *lua)
{
    const char *text = lua_tostring(lua, 1);
    luaL_traceback(lua, lua, text != NULL ? text : luaL_typename(lua, 1), 1);
    return 1;
}

static void clear_stack(void)
{
    lua_settop(L, 0);
    lua_pushcfunction(L, traceback);
}

/* ---- the worker half */

/* As an expression whose value is shown, else as statements. */
static int compile(const kiln_cell *cell)
{
    char name[48];
    snprintf(name, sizeof(name), "=cell %llu", (unsigned long long)cell->execution_count);
    const char *expression = lua_pushfstring(L, "return %s", cell->code);
    if (luaL_loadbuffer(L, expression, strlen(expression), name) == 0) {
        return 0;
    }
    return luaL_loadbuffer(L, cell->code, cell->code_length, name);
}

static int execute(const kiln_cell *cell, kiln_verdict *verdict)
{
    clear_stack();
    int rc = compile(cell);
    rc = rc == 0 ? call(0) : rc;
    if (rc == 0 && !lua_isnil(L, -1)) {
        lua_getglobal(L, "tostring");
        lua_insert(L, -2);
        rc = call(1);
    }
    fflush(stdout); /* what a cell prints is before its value or error */
    size_t length = 0;
    const char *text = lua_tolstring(L, -1, &length);
    if (rc != 0) {
        verdict->status = interrupted ? KILN_STATUS_INTERRUPTED : KILN_STATUS_ERROR;
        host->error("LuaError", text, text);
    } else if (text != NULL) {
        host->display(KILN_EVENT_RESULT, "text/plain", text, length);
    }
    return 0;
}

/* What a front end asks of a cell that is being typed, in the language itself. */
static const char queries[] =
    "local queries = {}\n"
    "function queries.is_complete(code)\n"
    "  if loadstring('return ' .. code) then return '{\"status\":\"complete\"}' end\n"
    "  local chunk, why = loadstring(code)\n"
    "  if chunk then return '{\"status\":\"complete\"}' end\n"
    "  return why:find(\"'<eof>'\", 1, true) and "
    "'{\"status\":\"incomplete\",\"indent\":\"\"}'\n"
    "    or '{\"status\":\"invalid\"}'\n"
    "end\n"
    "function queries.complete(code, cursor)\n"
    "  local rest = code:gsub('[^\\128-\\191][\\128-\\191]*', '', cursor)\n"
    "  local path, prefix = code:sub(1, #code - #rest):match('([%w_.]-)([%w_]*)$')\n"
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
    "return function(name, ...) return queries[name] and queries[name](...) end\n";
static int answer; /* the function's reference */

static int query(const char *name, const char *arguments, size_t length, const char **json)
{
    (void)arguments, (void)length;
    clear_stack();
    lua_rawgeti(L, LUA_REGISTRYINDEX, answer);
    lua_pushstring(L, name);
    lua_pushstring(L, host->argument("code"));
    lua_pushstring(L, host->argument("cursor_pos"));
    int rc = call(3);
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
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    if (luaL_loadbuffer(L, queries, sizeof(queries) - 1, "=queries") != 0 ||
        lua_pcall(L, 0, 1, 0) != 0) {
        *error = "luaguest: its queries do not load";
        return -EINVAL;
    }
    answer = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int start(void)
{
    return 0; /* all of it was made in the zygote */
}

static int branched(void)
{
    return 0; /* there are no threads, no locks, and random numbers have no state of ours */
}

/* ---- the plugin; its engine half is empty */

static const char *const languages[] = {"lua", NULL};
static const kiln_worker worker = {.size = sizeof(worker),
                                   .preload = preload,
                                   .start = start,
                                   .execute = execute,
                                   .query = query,
                                   .branched = branched,
                                   .interrupt = interrupt};
static const kiln_plugin plugin = {.size = sizeof(plugin),
                                   .abi_major = KILN_ABI_MAJOR,
                                   .abi_minor = KILN_ABI_MINOR,
                                   .capabilities = KILN_CAP_WORKER | KILN_CAP_SESSIONS |
                                                   KILN_CAP_INTERRUPT | KILN_CAP_QUERY |
                                                   KILN_CAP_BRANCH,
                                   .name = "luaguest",
                                   .version = "1",
                                   .summary = "Lua sessions that keep their state",
                                   .languages = languages,
                                   .worker = &worker};
KILN_PLUGIN(plugin)
