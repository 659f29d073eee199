/* From scripts to chains: compile, declare the options, install. */
#include "policy/chain.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "policy/coverage.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>

static int set_up(lua_State *L)
{
    kiln_chain *chain = lua_touserdata(L, 1);
    kiln_lua_define_result(L);
    kiln_lua_load_own(L, kiln_glue_lua, KILN_GLUE_CHUNK);
    kiln_api_push(L);
    lua_call(L, 1, 4);
    chain->on_call = luaL_ref(L, LUA_REGISTRYINDEX);
    chain->make_kiln = luaL_ref(L, LUA_REGISTRYINDEX);
    chain->install = luaL_ref(L, LUA_REGISTRYINDEX);
    chain->main = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

typedef struct script {
    kiln_chain *chain;
    kiln_policy *policy;
    const char *text;
    size_t length;
    int function; /* registry references; nil: none */
    int instruct;
    int on_call;
} script;

/* print is the log, at level info. */
static int l_print(lua_State *L)
{
    kiln_lua *lua = kiln_lua_of(L);
    int count = lua_gettop(L);
    lua_getglobal(L, "tostring");
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(L, count + 1);
        lua_pushvalue(L, i);
        lua_call(L, 1, 1);
        if (i > 1) {
            luaL_addchar(&buffer, ' ');
        }
        luaL_addvalue(&buffer);
    }
    luaL_pushresult(&buffer);
    kiln_log(KILN_LOG_INFO, lua->who != NULL ? lua->who : "policy", "%s", lua_tostring(L, -1));
    return 0;
}

/* { execute = function(input, ctx, next), instruct = function(scenario, ctx), on_call =
 * function(call, ctx) }, one of them at least, at the top: pushes all; nil for what is not
 * there. */
static void take_hooks(lua_State *L, const char *name)
{
    static const char *const hooks[] = {"execute", "instruct", "on_call", NULL};
    int table = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        const char *hook = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        int known = 0;
        while (hooks[known] != NULL && strcmp(hooks[known], hook) != 0) {
            known++;
        }
        if (hooks[known] == NULL || !lua_isfunction(L, -1)) {
            luaL_error(L,
                       "%s: returns a table with \"%s\"; a policy's hooks are functions: "
                       "execute, instruct, on_call",
                       name, hook);
        }
        lua_pop(L, 1);
    }
    lua_getfield(L, table, "execute");
    lua_getfield(L, table, "instruct");
    lua_getfield(L, table, "on_call");
    if (lua_isnil(L, -1) && lua_isnil(L, -2) && lua_isnil(L, -3)) {
        luaL_error(L,
                   "%s: returns a table without execute = function(input, ctx, next), "
                   "instruct = function(scenario, ctx) or on_call = function(call, ctx)",
                   name);
    }
}

static int run_script(lua_State *L)
{
    script *loading = lua_touserdata(L, 1);
    const char *name = kiln_script_name(loading->policy->path);
    kiln_lua_load(L, loading->text, loading->length, name);
    lua_pushliteral(L, "kiln");
    lua_rawgeti(L, LUA_REGISTRYINDEX, loading->chain->make_kiln);
    lua_call(L, 0, 1);
    lua_rawset(L, -4);
    lua_pushliteral(L, "print");
    lua_pushcfunction(L, l_print);
    lua_rawset(L, -4);
    lua_call(L, 0, 1);
    if (lua_istable(L, -1)) {
        take_hooks(L, name);
    } else if (lua_isfunction(L, -1)) {
        lua_pushnil(L);
        lua_pushnil(L);
    } else {
        return luaL_error(
            L, "%s: returns %s; a policy's script returns function(input, ctx, next)", name,
            lua_isnil(L, -1) ? "nothing" : luaL_typename(L, -1));
    }
    loading->policy->has_on_call = !lua_isnil(L, -1);
    loading->on_call = luaL_ref(L, LUA_REGISTRYINDEX);
    loading->instruct = luaL_ref(L, LUA_REGISTRYINDEX);
    loading->function = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int install(lua_State *L)
{
    script *loading = lua_touserdata(L, 1);
    const kiln_policy *policy = loading->policy;
    lua_rawgeti(L, LUA_REGISTRYINDEX, loading->chain->install);
    lua_pushinteger(L, policy - loading->chain->list + 1);
    lua_pushstring(L, policy->name);
    lua_rawgeti(L, LUA_REGISTRYINDEX, loading->function);
    kiln_lua_push_json(L, policy->values);
    lua_createtable(L, 0, (int)policy->option_count);
    for (size_t i = 0; i < policy->option_count; i++) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, policy->options[i].name);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, loading->instruct);
    lua_rawgeti(L, LUA_REGISTRYINDEX, loading->on_call);
    lua_call(L, 7, 0);
    luaL_unref(L, LUA_REGISTRYINDEX, loading->on_call);
    luaL_unref(L, LUA_REGISTRYINDEX, loading->function);
    luaL_unref(L, LUA_REGISTRYINDEX, loading->instruct);
    return 0;
}

static int read_options(kiln_policy *policy, const kiln_option_source *source, kiln_error *err)
{
    static const kiln_option none[] = {{NULL, 0, NULL, NULL}};
    int rc = source->declare(source->user, policy->name,
                             policy->option_count > 0 ? policy->options : none, err);
    if (rc < 0) {
        return rc;
    }
    policy->values = json_object();
    for (size_t i = 0; i < policy->option_count; i++) {
        const kiln_option *option = &policy->options[i];
        const char *text = source->value(source->user, policy->name, option);
        if (json_object_set_new(policy->values, option->name, kiln_option_value(option, text)) <
            0) {
            return kiln_error_set(err, -ENOMEM, "policy %s: out of memory", policy->name);
        }
    }
    return 0;
}

static int load_policy(kiln_chain *chain, const kiln_policy_spec *spec,
                       const kiln_option_source *source, kiln_error *err)
{
    kiln_policy *policy = &chain->list[chain->count];
    auto_free char *text = NULL;
    script loading = {.chain = chain, .policy = policy};
    policy->name = strdup(spec->name);
    policy->path = strdup(spec->path);
    policy->deny_on_failure = spec->deny_on_failure;
    if (policy->name == NULL || policy->path == NULL) {
        return kiln_error_set(err, -ENOMEM, "policy %s: out of memory", spec->name);
    }
    int rc = kiln_script_read(spec->path, &text, &loading.length, err);
    if (rc < 0) {
        return rc;
    }
    loading.text = text;
    chain->lua->who = policy->name;
    rc = kiln_lua_protect_load(chain->lua, run_script, &loading, err);
    chain->lua->who = NULL;
    if (rc < 0) {
        const char *name = kiln_script_name(spec->path);
        return strncmp(err->text, name, strlen(name)) == 0 ? rc
                                                           : kiln_error_wrap(err, "%s", name);
    }
    rc = read_options(policy, source, err);
    return rc < 0 ? rc : kiln_lua_protect_load(chain->lua, install, &loading, err);
}

static void free_policy(kiln_policy *policy)
{
    for (size_t i = 0; i < policy->option_count; i++) {
        free((char *)(uintptr_t)policy->options[i].name);
        free((char *)(uintptr_t)policy->options[i].default_value);
        free((char *)(uintptr_t)policy->options[i].help);
    }
    free(policy->options);
    free(policy->name);
    free(policy->path);
    json_decref(policy->values);
}

static kiln_chain_budget whole_budget(const kiln_chain_budget *given)
{
    kiln_chain_budget budget = given != NULL ? *given : (kiln_chain_budget){0};
    budget.burst_ms = budget.burst_ms > 0 ? budget.burst_ms : KILN_BUDGET_BURST_MS;
    budget.total_ms = budget.total_ms > 0 ? budget.total_ms : KILN_BUDGET_TOTAL_MS;
    budget.memory = budget.memory > 0 ? budget.memory : KILN_LUA_MEMORY;
    budget.awaits = budget.awaits > 0 ? budget.awaits : KILN_RUN_AWAITS;
    budget.result_bytes = budget.result_bytes > 0 ? budget.result_bytes : KILN_RUN_RESULT_BYTES;
    return budget;
}

int kiln_chain_new(kiln_policies *policies, const char *name, const kiln_chain_budget *budget,
                   const kiln_policy_spec *specs, size_t count,
                   const kiln_option_source *source, kiln_chain **chain, kiln_error *err)
{
    kiln_chain *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return kiln_error_set(err, -ENOMEM, "chain %s: out of memory", name);
    }
    made->policies = policies;
    made->budget = whole_budget(budget);
    made->name = strdup(name);
    made->list = calloc(count + 1, sizeof(*made->list));
    made->backends_table = LUA_NOREF;
    int rc = made->name == NULL || made->list == NULL
                 ? kiln_error_set(err, -ENOMEM, "chain %s: out of memory", name)
                 : kiln_lua_new(made->budget.memory, made->budget.burst_ms,
                                made->budget.total_ms, &made->lua, err);
    if (rc == 0) {
        made->lua->owner = made;
        if (policies->coverage != NULL) {
            kiln_coverage_watch(policies->coverage, made->lua);
        }
        rc = kiln_lua_protect_load(made->lua, set_up, made, err);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = load_policy(made, &specs[i], source, err);
        if (rc < 0) {
            free_policy(&made->list[made->count]);
        } else {
            made->count++;
        }
    }
    if (rc < 0) {
        kiln_chain_free(made);
        return rc;
    }
    *chain = made;
    return 0;
}

void kiln_chain_free(kiln_chain *chain)
{
    if (chain == NULL) {
        return;
    }
    kiln_lua_free(chain->lua);
    while (chain->idle != NULL) {
        kiln_thread *next = chain->idle->next;
        free(chain->idle);
        chain->idle = next;
    }
    for (size_t i = 0; i < chain->count; i++) {
        free_policy(&chain->list[i]);
    }
    free(chain->list);
    free(chain->name);
    json_decref(chain->backends);
    free(chain);
}

void kiln_chain_retire(kiln_chain *chain)
{
    if (chain->runs == 0) {
        kiln_chain_free(chain);
    } else {
        chain->retired = true;
    }
}
