/* state.h - a LuaJIT state for scripts of other people.
 *
 * Allow-listed libraries, JIT off, string metatable locked, text chunks only, memory
 * capped through the allocator, CPU time through budget.h. An API call that allocates
 * outside of a protected call would end the process when the cap is met: enter through
 * kiln_lua_protect, or lua_resume with nothing but the function on the stack.
 * Thread: the loop's. */
#ifndef KILN_POLICY_STATE_H
#define KILN_POLICY_STATE_H

#include "base/error.h"
#include "policy/budget.h"

#include <jansson.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    KILN_LUA_MEMORY = 32 << 20, /* bytes a state may hold */
    KILN_SCRIPT_MAX = 1 << 20,  /* bytes of a script */
};

struct kiln_policy_run;
struct kiln_coverage;

typedef struct kiln_lua {
    lua_State *L;
    lua_Alloc allocate; /* LuaJIT's own */
    void *allocator;
    size_t used;
    size_t cap;
    bool tight;     /* more than a quarter of the cap is used */
    size_t granted; /* above the cap, for what the engine itself brings in: code, stdin */
    kiln_budget budget;
    struct kiln_policy_run *current; /* the execution that runs right now, or NULL */
    const char *who;                 /* the policy that is being loaded, or NULL */
    void *owner;
    struct kiln_coverage *coverage; /* of `kiln test`, or NULL */
    json_t *scratch;                /* what a C function holds while Lua may raise */
    int environment; /* registry reference: function that makes a script's globals */
} kiln_lua;

/* memory 0, burst_ms 0, total_ms 0: the defaults. */
int kiln_lua_new(size_t memory, uint64_t burst_ms, uint64_t total_ms, kiln_lua **lua,
                 kiln_error *err);
void kiln_lua_free(kiln_lua *lua);
/* The state that L, main thread or coroutine, belongs to. */
kiln_lua *kiln_lua_of(lua_State *L);

/* Calls function(L) with `argument` as light userdata at 1, protected and within the
 * budget. -EINVAL with the error's text, -ENOMEM past the cap, -ETIME past the budget.
 * Not while a coroutine of the state is running. */
int kiln_lua_protect(kiln_lua *lua, lua_CFunction function, void *argument, kiln_error *err);
/* The same within an execution's budget; *spent is its. */
int kiln_lua_protect_spent(kiln_lua *lua, lua_CFunction function, void *argument,
                           uint64_t *spent, kiln_error *err);
/* The same while a script is loaded: no execution waits for it, and a slow machine needs
 * more than a burst to compile one. A burst is as long as a whole execution's budget. */
int kiln_lua_protect_load(kiln_lua *lua, lua_CFunction function, void *argument,
                          kiln_error *err);

/* Reads a script: a regular file, not empty, at most KILN_SCRIPT_MAX bytes, text.
 * Caller frees *text. */
int kiln_script_read(const char *path, char **text, size_t *length, kiln_error *err);
/* "DIR/scripts/x.lua" -> "scripts/x.lua": what messages call it. Points into path. */
const char *kiln_script_name(const char *path);
/* Compiles text only, as chunk "@name", and pushes the function with a fresh set of
 * globals, whose table is left below it. Longjmps on error. */
void kiln_lua_load(lua_State *L, const char *text, size_t length, const char *name);
/* Compiles a chunk of the engine's own, with the state's real globals. Longjmps. */
void kiln_lua_load_own(lua_State *L, const char *text, const char *chunk);

/* A one-line text for any error value, also tables and nil. Never raises. */
void kiln_lua_error_text(lua_State *L, int index, char *text, size_t size);

/* The part of the library that is written in Lua. */
extern const char kiln_library_lua[];

#endif
