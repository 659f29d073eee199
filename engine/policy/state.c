#include "policy/state.h"

#include "base/cleanup.h"
#include "policy/chain.h"
#include "policy/pattern.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SET_UP_MS = 5000 };

/* Lua's collector begins anew when the state holds so many percent of what it held after the
 * last time. Garbage counts against the cap, too, and what does not fit is not collected for
 * but refused: so it is collected early where the state is not small against its cap. */
enum { PAUSE = 200, PAUSE_TIGHT = 130 };

static void set_pause(kiln_lua *lua, bool tight)
{
    lua->tight = tight;
    lua_gc(lua->L, LUA_GCSETPAUSE, tight ? PAUSE_TIGHT : PAUSE); /* sets a number, no more */
}

static void *allocate_capped(void *user, void *block, size_t old_size, size_t new_size)
{
    kiln_lua *lua = user;
    if (new_size > old_size && lua->used + (new_size - old_size) > lua->cap + lua->granted) {
        return NULL;
    }
    void *result = lua->allocate(lua->allocator, block, old_size, new_size);
    if (new_size == 0) {
        lua->used -= old_size < lua->used ? old_size : lua->used;
    } else if (result != NULL) {
        lua->used += new_size;
        lua->used -= old_size < lua->used ? old_size : lua->used;
    }
    bool tight = lua->used > lua->cap / 4;
    if (tight != lua->tight) {
        set_pause(lua, tight);
    }
    return result;
}

kiln_lua *kiln_lua_of(lua_State *L)
{
    void *user;
    lua_getallocf(L, &user);
    return user;
}

/* An execution's own coroutine is yielded by the engine's calls alone. */
static int l_yield(lua_State *L)
{
    kiln_lua *lua = kiln_lua_of(L);
    if (lua->current != NULL && L == kiln_policy_run_thread(lua->current)) {
        return luaL_error(L, "coroutine.yield outside of a coroutine");
    }
    return lua_yield(L, lua_gettop(L));
}

static int l_running(lua_State *L)
{
    kiln_lua *lua = kiln_lua_of(L);
    if ((lua->current != NULL && L == kiln_policy_run_thread(lua->current)) ||
        lua_pushthread(L) != 0) {
        lua_pushnil(L);
    }
    return 1;
}

static int set_up(lua_State *L)
{
    static const struct {
        const char *name;
        lua_CFunction open;
    } libraries[] = {
        {"", luaopen_base},
        {LUA_STRLIBNAME, luaopen_string},
        {LUA_TABLIBNAME, luaopen_table},
        {LUA_MATHLIBNAME, luaopen_math},
        {LUA_BITLIBNAME, luaopen_bit},
    };
    kiln_lua *lua = kiln_lua_of(L);
    for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
        lua_pushcfunction(L, libraries[i].open);
        lua_pushstring(L, libraries[i].name);
        lua_call(L, 1, 0);
    }
    set_pause(lua, lua->tight);
    lua_gc(L, LUA_GCSETSTEPMUL, 300);
    kiln_lua_load_own(L, kiln_library_lua, "=[kiln library]");
    kiln_pattern_push(L);
    lua_pushcfunction(L, l_yield);
    lua_setfield(L, -2, "yield");
    lua_pushcfunction(L, l_running);
    lua_setfield(L, -2, "running");
    lua_call(L, 1, 1);
    lua->environment = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int protect_for(kiln_lua *lua, uint64_t burst_ns, lua_CFunction function, void *argument,
                       kiln_error *err)
{
    uint64_t burst = lua->budget.burst_ns;
    uint64_t total = lua->budget.total_ns;
    lua->budget.burst_ns = burst_ns;
    lua->budget.total_ns = UINT64_MAX;
    int rc = kiln_lua_protect(lua, function, argument, err);
    lua->budget.burst_ns = burst;
    lua->budget.total_ns = total;
    return rc;
}

int kiln_lua_new(size_t memory, uint64_t burst_ms, uint64_t total_ms, kiln_lua **lua,
                 kiln_error *err)
{
    kiln_lua *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return kiln_error_set(err, -ENOMEM, "policy state: out of memory");
    }
    made->L = luaL_newstate();
    if (made->L == NULL) {
        free(made);
        return kiln_error_set(err, -ENOMEM, "policy state: out of memory");
    }
    made->cap = memory > 0 ? memory : KILN_LUA_MEMORY;
    made->used = (size_t)lua_gc(made->L, LUA_GCCOUNT, 0) * 1024 +
                 (size_t)lua_gc(made->L, LUA_GCCOUNTB, 0);
    made->allocate = lua_getallocf(made->L, &made->allocator);
    lua_setallocf(made->L, allocate_capped, made);
    luaJIT_setmode(made->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    int rc =
        kiln_budget_open(&made->budget, made->L, burst_ms > 0 ? burst_ms : KILN_BUDGET_BURST_MS,
                         total_ms > 0 ? total_ms : KILN_BUDGET_TOTAL_MS, err);
    if (rc == 0) {
        /* Kiln's own library, no script: what it takes is the machine's affair. */
        rc = protect_for(made, (uint64_t)SET_UP_MS * 1000000, set_up, NULL, err);
    }
    if (rc < 0) {
        kiln_lua_free(made);
        return kiln_error_wrap(err, "policy state");
    }
    *lua = made;
    return 0;
}

void kiln_lua_free(kiln_lua *lua)
{
    if (lua == NULL) {
        return;
    }
    /* LuaJIT frees its arena only when it finds its own allocator in place. Finalizers
     * of results need kiln_lua_of no longer. */
    lua_setallocf(lua->L, lua->allocate, lua->allocator);
    lua_close(lua->L);
    kiln_budget_close(&lua->budget);
    json_decref(lua->scratch);
    free(lua);
}

int kiln_lua_protect_load(kiln_lua *lua, lua_CFunction function, void *argument,
                          kiln_error *err)
{
    const uint64_t least = KILN_BUDGET_TOTAL_MS * 1000000ULL;
    return protect_for(lua, lua->budget.total_ns > least ? lua->budget.total_ns : least,
                       function, argument, err);
}

int kiln_lua_protect(kiln_lua *lua, lua_CFunction function, void *argument, kiln_error *err)
{
    uint64_t spent = 0;
    return kiln_lua_protect_spent(lua, function, argument, &spent, err);
}

int kiln_lua_protect_spent(kiln_lua *lua, lua_CFunction function, void *argument,
                           uint64_t *spent, kiln_error *err)
{
    kiln_budget_begin(&lua->budget, spent);
    int status = lua_cpcall(lua->L, function, argument);
    kiln_budget_end(&lua->budget);
    if (status == 0) {
        return 0;
    }
    char text[sizeof(err->text)];
    kiln_lua_error_text(lua->L, -1, text, sizeof(text));
    lua_pop(lua->L, 1);
    if (lua->budget.tripped != KILN_OVERRUN_NONE) {
        return kiln_error_set(err, -ETIME, "%s", text);
    }
    return kiln_error_set(err, status == LUA_ERRMEM ? -ENOMEM : -EINVAL, "%s", text);
}

const char *kiln_script_name(const char *path)
{
    const char *last = strrchr(path, '/');
    if (last == NULL || last == path) {
        return path;
    }
    for (const char *p = last - 1; p >= path; p--) {
        if (*p == '/') {
            return p + 1;
        }
    }
    return path;
}

int kiln_script_read(const char *path, char **text, size_t *length, kiln_error *err)
{
    struct stat status;
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) < 0) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    if (!S_ISREG(status.st_mode)) {
        return kiln_error_set(err, -EINVAL, "%s: not a regular file", path);
    }
    auto_free char *data = malloc(KILN_SCRIPT_MAX + 1);
    if (data == NULL) {
        return kiln_error_set(err, -ENOMEM, "%s: out of memory", path);
    }
    size_t used = 0;
    for (;;) {
        ssize_t got = read(fd, data + used, KILN_SCRIPT_MAX + 1 - used);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return kiln_error_errno(err, errno, "%s", path);
        }
        used += (size_t)got;
        if (got == 0 || used > KILN_SCRIPT_MAX) {
            break;
        }
    }
    if (used > KILN_SCRIPT_MAX) {
        return kiln_error_set(err, -E2BIG, "%s: larger than %d bytes", path, KILN_SCRIPT_MAX);
    }
    if (used == 0) {
        return kiln_error_set(err, -EINVAL, "%s: empty; a script returns a function", path);
    }
    if (data[0] == LUA_SIGNATURE[0]) {
        return kiln_error_set(err, -EINVAL, "%s: is bytecode; only Lua text is loaded", path);
    }
    *text = kiln_steal(data);
    *length = used;
    return 0;
}

void kiln_lua_load_own(lua_State *L, const char *text, const char *chunk)
{
    if (luaL_loadbufferx(L, text, strlen(text), chunk, "t") != 0) {
        lua_error(L);
    }
}

void kiln_lua_load(lua_State *L, const char *text, size_t length, const char *name)
{
    kiln_lua *lua = kiln_lua_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, lua->environment);
    lua_call(L, 0, 1);
    lua_pushfstring(L, "@%s", name);
    if (luaL_loadbufferx(L, text, length, lua_tostring(L, -1), "t") != 0) {
        lua_error(L);
    }
    lua_remove(L, -2);
    lua_pushvalue(L, -2);
    lua_setfenv(L, -2);
}

void kiln_lua_error_text(lua_State *L, int index, char *text, size_t size)
{
    int type = lua_type(L, index);
    if (type == LUA_TSTRING) {
        snprintf(text, size, "%s", lua_tostring(L, index));
    } else if (type == LUA_TNUMBER) { /* lua_tostring would allocate */
        snprintf(text, size, "%.14g", lua_tonumber(L, index));
    } else {
        snprintf(text, size, "(the error is a %s value)", lua_typename(L, type));
    }
}
