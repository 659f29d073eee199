/* The `kiln` table and ctx: what a policy calls. Every function here may longjmp. */
#include "policy/native.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <lauxlib.h>
#include <sodium.h>
#include <string.h>

enum { REASON_MAX = 4096 };

int kiln_api_raise(lua_State *L, const kiln_error *err)
{
    luaL_where(L, 2);
    lua_pushstring(L, err->text);
    lua_concat(L, 2);
    return lua_error(L);
}

/* ------------------------------------------------------------------------- awaits */

/* start_run(backend | nil, input) */
static int l_start_run(lua_State *L)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_policy_run *run = kiln_policy_run_here(L);
    luaL_checkstack(L, KILN_CONVERT_SLOTS, NULL);
    kiln_wait *wait = kiln_wait_prepare(L, run, 1, KILN_WAIT_ONE);
    wait->type = KILN_WAIT_RUN;
    wait->live = true;
    if (kiln_lua_to_request(L, 2, run->request, &wait->request, &err) < 0) {
        return kiln_api_raise(L, &err);
    }
    if (lua_isstring(L, 1) && (wait->backend = strdup(lua_tostring(L, 1))) == NULL) {
        return luaL_error(L, "not enough memory");
    }
    return lua_yield(L, 0);
}

/* One {backend=, input=} or {"name", input} of kiln.all's list, at the top. */
static int take_entry(lua_State *L, kiln_policy_run *run, kiln_wait *wait, int number,
                      kiln_error *err)
{
    int entry = lua_gettop(L);
    wait->type = KILN_WAIT_RUN;
    if (!lua_istable(L, entry)) {
        return kiln_error_set(err, -EINVAL, "entry %d: {backend, input} expected", number);
    }
    lua_rawgeti(L, entry, 1);
    lua_rawgeti(L, entry, 2);
    if (lua_type(L, -2) != LUA_TSTRING) {
        return kiln_error_set(err, -EINVAL, "entry %d: name of a backend expected, got %s",
                              number, luaL_typename(L, -2));
    }
    wait->backend = strdup(lua_tostring(L, -2));
    if (wait->backend == NULL) {
        return kiln_error_set(err, -ENOMEM, "entry %d: out of memory", number);
    }
    int rc = kiln_lua_to_request(L, lua_gettop(L), run->request, &wait->request, err);
    lua_settop(L, entry);
    return rc < 0 ? kiln_error_wrap(err, "entry %d", number) : 0;
}

/* start_many(list, race) */
static int l_start_many(lua_State *L)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_policy_run *run = kiln_policy_run_here(L);
    bool race = lua_toboolean(L, 2) != 0;
    if (!lua_istable(L, 1) || lua_objlen(L, 1) == 0 || lua_objlen(L, 1) > KILN_RUN_WAITS) {
        kiln_error_set(&err, -EINVAL, "%s: a list of 1 to %d {backend, input} expected",
                       race ? "kiln.race" : "kiln.all", KILN_RUN_WAITS);
        return kiln_api_raise(L, &err);
    }
    int count = (int)lua_objlen(L, 1);
    luaL_checkstack(L, KILN_CONVERT_SLOTS, NULL);
    kiln_wait *waits =
        kiln_wait_prepare(L, run, (size_t)count, race ? KILN_WAIT_RACE : KILN_WAIT_ALL);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, 1, i);
        int rc = take_entry(L, run, &waits[i - 1], i, &err);
        if (rc < 0) {
            return kiln_api_raise(L, &err);
        }
        lua_pop(L, 1);
    }
    return lua_yield(L, 0);
}

/* start_sleep(milliseconds | "1s") */
static int l_start_sleep(lua_State *L)
{
    kiln_error err = KILN_ERROR_INIT;
    uint64_t milliseconds = 0;
    kiln_policy_run *run = kiln_policy_run_here(L);
    if (lua_type(L, 1) == LUA_TSTRING) {
        if (kiln_parse_duration(lua_tostring(L, 1), &milliseconds, &err) < 0) {
            kiln_error_wrap(&err, "kiln.sleep");
            return kiln_api_raise(L, &err);
        }
    } else if (lua_type(L, 1) == LUA_TNUMBER && lua_tonumber(L, 1) >= 0 &&
               lua_tonumber(L, 1) < 1e12) {
        milliseconds = (uint64_t)lua_tonumber(L, 1);
    } else {
        kiln_error_set(&err, -EINVAL,
                       "kiln.sleep: milliseconds or a duration like \"1s\" "
                       "expected");
        return kiln_api_raise(L, &err);
    }
    kiln_wait *wait = kiln_wait_prepare(L, run, 1, KILN_WAIT_ONE);
    wait->type = KILN_WAIT_SLEEP;
    wait->milliseconds = milliseconds;
    return lua_yield(L, 0);
}

/* start_analyze(code, language | nil) */
static int l_start_analyze(lua_State *L)
{
    kiln_error err = KILN_ERROR_INIT;
    size_t length;
    kiln_policy_run *run = kiln_policy_run_here(L);
    if (lua_type(L, 1) != LUA_TSTRING ||
        (lua_type(L, 2) != LUA_TSTRING && !lua_isnoneornil(L, 2))) {
        kiln_error_set(&err, -EINVAL, "kiln.analyze: code and language, two strings, expected");
        return kiln_api_raise(L, &err);
    }
    const char *code = lua_tolstring(L, 1, &length);
    const char *language = lua_isnoneornil(L, 2) ? run->request->language : lua_tostring(L, 2);
    kiln_wait *wait = kiln_wait_prepare(L, run, 1, KILN_WAIT_ONE);
    wait->type = KILN_WAIT_ANALYZE;
    wait->code = malloc(length + 1);
    wait->language = strdup(language);
    if (wait->code == NULL || wait->language == NULL) {
        return luaL_error(L, "not enough memory");
    }
    memcpy(wait->code, code, length + 1);
    wait->code_length = length;
    return lua_yield(L, 0);
}

static int l_start_imports(lua_State *L)
{
    kiln_policy_run *run = kiln_policy_run_here(L);
    kiln_wait_prepare(L, run, 1, KILN_WAIT_ONE)->type = KILN_WAIT_IMPORTS;
    return lua_yield(L, 0);
}

/* ---------------------------------------------------------------- results and records */

static int refuse(lua_State *L, kiln_status status)
{
    kiln_policy_run *run = kiln_lua_of(L)->current;
    size_t length;
    const char *reason = luaL_checklstring(L, 1, &length);
    if (run == NULL) {
        return luaL_error(L, "not possible here: no execution is running");
    }
    json_t *text = kiln_policy_text(reason, length, REASON_MAX);
    kiln_result *result = text != NULL
                              ? kiln_policy_run_refuse(run, status, kiln_policy_run_policy(run),
                                                       json_string_value(text), NULL)
                              : NULL;
    json_decref(text);
    kiln_policy_run_note(run, kiln_status_name(status), NULL);
    return kiln_policy_run_push(L, run, result);
}

static int l_deny(lua_State *L)
{
    return refuse(L, KILN_STATUS_DENIED);
}

static int l_unavailable(lua_State *L)
{
    return refuse(L, KILN_STATUS_UNAVAILABLE);
}

/* ctx:decide(action, detail) */
static int l_decide(lua_State *L)
{
    kiln_policy_run *run = kiln_lua_of(L)->current;
    size_t action_length;
    size_t detail_length;
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *action = luaL_checklstring(L, 2, &action_length);
    const char *detail = luaL_optlstring(L, 3, "", &detail_length);
    if (run == NULL) {
        return luaL_error(L, "ctx:decide: no execution is running");
    }
    if (++run->decisions > KILN_RUN_DECISIONS) {
        return luaL_error(L, "more than %d decisions in one execution", KILN_RUN_DECISIONS);
    }
    json_t *decision = json_object();
    if (json_object_set_new(decision, "policy", json_string(kiln_policy_run_policy(run))) < 0 ||
        json_object_set_new(decision, "action", kiln_policy_text(action, action_length, 128)) <
            0 ||
        json_object_set_new(decision, "detail",
                            kiln_policy_text(detail, detail_length, REASON_MAX)) < 0 ||
        json_array_append(run->context.decisions, decision) < 0) {
        json_decref(decision);
        return luaL_error(L, "not enough memory");
    }
    kiln_policy_run_note(run, "decide", decision);
    return 0;
}

static const char *const levels[] = {"error", "warning", "info", "debug", NULL};

/* kiln.logging(level) -> whether a line of that level would be written */
static int l_logging(lua_State *L)
{
    const kiln_policies *policies = ((kiln_chain *)kiln_lua_of(L)->owner)->policies;
    kiln_log_level level = (kiln_log_level)luaL_checkoption(L, 1, NULL, levels);
    lua_pushboolean(L, policies->log != NULL || kiln_log_enabled(level));
    return 1;
}

/* kiln.log(level, text) */
static int l_log(lua_State *L)
{
    kiln_lua *lua = kiln_lua_of(L);
    kiln_log_level level = (kiln_log_level)luaL_checkoption(L, 1, NULL, levels);
    const char *text = luaL_checkstring(L, 2);
    const char *who = lua->current != NULL ? kiln_policy_run_policy(lua->current)
                      : lua->who != NULL   ? lua->who
                                           : "?";
    const kiln_policies *policies = ((kiln_chain *)lua->owner)->policies;
    if (policies->log != NULL) {
        policies->log(policies->log_user, levels[level], who, text);
        return 0;
    }
    if (lua->current != NULL && lua->current->context.trace != NULL) {
        json_t *shown = kiln_policy_text(text, strlen(text), REASON_MAX);
        kiln_policy_run_note(lua->current, "log",
                             json_pack("{s:s, s:o?}", "level", levels[level], "text", shown));
        return 0;
    }
    char subject[128];
    snprintf(subject, sizeof(subject), "policy %s", who);
    kiln_log(level, subject, "%s", text);
    return 0;
}

/* kiln.json(value) -> text */
static int l_json(lua_State *L)
{
    kiln_lua *lua = kiln_lua_of(L);
    kiln_error err = KILN_ERROR_INIT;
    luaL_checkany(L, 1);
    luaL_checkstack(L, KILN_CONVERT_SLOTS, NULL);
    json_decref(lua->scratch);
    lua->scratch = kiln_lua_to_json(L, 1, &err);
    if (lua->scratch == NULL) {
        return luaL_error(L, "kiln.json: %s", err.text);
    }
    const size_t flags = JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS;
    size_t size = json_dumpb(lua->scratch, NULL, 0, flags);
    char *text = lua_newuserdata(L, size + 1); /* Lua's own: nothing leaks if pushing raises */
    json_dumpb(lua->scratch, text, size, flags);
    lua_pushlstring(L, text, size);
    json_decref(lua->scratch);
    lua->scratch = NULL;
    return 1;
}

/* kiln.sha256(text) -> hexadecimal digits */
static int l_sha256(lua_State *L)
{
    enum { CHUNK = 1 << 18 }; /* about a millisecond */
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    kiln_lua *lua = kiln_lua_of(L);
    crypto_hash_sha256_state state;
    unsigned char digest[crypto_hash_sha256_BYTES];
    char hex[2 * sizeof(digest) + 1];
    crypto_hash_sha256_init(&state);
    for (size_t at = 0; at < length; at += CHUNK) {
        size_t part = length - at < CHUNK ? length - at : CHUNK;
        crypto_hash_sha256_update(&state, (const unsigned char *)text + at, part);
        kiln_budget_poll(&lua->budget, L);
    }
    crypto_hash_sha256_final(&state, digest);
    sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));
    lua_pushstring(L, hex);
    return 1;
}

typedef int (*unit_parser)(const char *text, uint64_t *value, kiln_error *err);

static int push_unit(lua_State *L, unit_parser parse)
{
    kiln_error err = KILN_ERROR_INIT;
    uint64_t value;
    if (parse(luaL_checkstring(L, 1), &value, &err) < 0) {
        lua_pushnil(L);
        lua_pushstring(L, err.text);
        return 2;
    }
    lua_pushnumber(L, (lua_Number)value);
    return 1;
}

/* kiln.duration("5s") -> milliseconds | nil, why */
static int l_duration(lua_State *L)
{
    return push_unit(L, kiln_parse_duration);
}

/* kiln.size("64K") -> bytes | nil, why */
static int l_size(lua_State *L)
{
    return push_unit(L, kiln_parse_size);
}

/* A table to copy that at `index` into, with room for some `names`: one that grows costs
 * more than the copying. */
static void push_copy_of(lua_State *L, int index, int names)
{
    int listed = (int)lua_objlen(L, index);
    lua_pushnil(L);
    bool empty = lua_next(L, index) == 0;
    lua_pop(L, empty ? 0 : 2);
    lua_createtable(L, listed, empty || listed > 0 ? 0 : names);
}

/* kiln.copy(input) -> a table of its own, and of its tables */
static int l_copy(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    push_copy_of(L, 1, KILN_REQUEST_KEYS);
    lua_pushnil(L);
    while (lua_next(L, 1) != 0) {
        lua_pushvalue(L, -2);
        if (lua_istable(L, -2)) {
            push_copy_of(L, lua_gettop(L) - 1, KILN_LIMIT_KEYS);
            lua_pushnil(L);
            while (lua_next(L, -4) != 0) {
                lua_pushvalue(L, -2);
                lua_insert(L, -2);
                lua_rawset(L, -4);
            }
        } else {
            lua_pushvalue(L, -2);
        }
        lua_rawset(L, 2);
        lua_pop(L, 1);
    }
    return 1;
}

/* backends() -> {name={stateful=, languages={}}}; made again when the host's change */
static int l_backends(lua_State *L)
{
    kiln_chain *chain = kiln_lua_of(L)->owner;
    const kiln_policy_host *host = &chain->policies->host;
    json_t *backends = host->backends(host->core);
    if (backends == NULL || backends != chain->backends) {
        kiln_lua_push_json(L, backends);
        if (backends == NULL) {
            return 1;
        }
        luaL_unref(L, LUA_REGISTRYINDEX, chain->backends_table);
        chain->backends_table = luaL_ref(L, LUA_REGISTRYINDEX);
        json_decref(chain->backends);
        chain->backends = json_incref(backends);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, chain->backends_table);
    return 1;
}

/* default_backend() -> [engine] backend */
static int l_default_backend(lua_State *L)
{
    const kiln_chain *chain = kiln_lua_of(L)->owner;
    lua_pushstring(L, chain->policies->default_backend);
    return 1;
}

/* ------------------------------------------------------------------------ options */

static const struct {
    const char *name;
    kiln_option_type type;
} option_types[] = {
    {"string", KILN_OPTION_STRING},   {"boolean", KILN_OPTION_BOOL},
    {"integer", KILN_OPTION_INTEGER}, {"duration", KILN_OPTION_DURATION},
    {"size", KILN_OPTION_SIZE},       {"list", KILN_OPTION_LIST},
};

/* The declaration's default, at the top, as it would stand in the file. */
static char *default_text(lua_State *L, kiln_option_type type)
{
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    int rc = -EINVAL;
    if (lua_isnil(L, -1)) {
        return strdup(type == KILN_OPTION_BOOL ? "false" : "");
    }
    if (type == KILN_OPTION_LIST && lua_istable(L, -1)) {
        size_t count = lua_objlen(L, -1);
        rc = kiln_buffer_append(&text, "", 0);
        for (size_t i = 1; rc == 0 && i <= count; i++) {
            lua_rawgeti(L, -1, (int)i);
            rc = lua_type(L, -1) == LUA_TSTRING
                     ? kiln_buffer_printf(&text, i > 1 ? " %s" : "%s", lua_tostring(L, -1))
                     : -EINVAL;
            lua_pop(L, 1);
        }
    } else if (lua_type(L, -1) == LUA_TSTRING) {
        rc = kiln_buffer_printf(&text, "%s", lua_tostring(L, -1));
    } else if (lua_type(L, -1) == LUA_TBOOLEAN && type == KILN_OPTION_BOOL) {
        rc = kiln_buffer_printf(&text, "%s", lua_toboolean(L, -1) ? "true" : "false");
    } else if (lua_type(L, -1) == LUA_TNUMBER && type != KILN_OPTION_BOOL) {
        rc = kiln_buffer_printf(&text, "%.0f%s", lua_tonumber(L, -1),
                                type == KILN_OPTION_DURATION ? "ms"
                                : type == KILN_OPTION_SIZE   ? "B"
                                                             : "");
    }
    return rc < 0 ? NULL : kiln_steal(text.data);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const kiln_option *)a)->name, ((const kiln_option *)b)->name);
}

/* One declaration: its name at -2, its table at -1. Owned by the policy at once. */
static void take_option(lua_State *L, kiln_policy *policy)
{
    if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1)) {
        luaL_error(L,
                   "kiln.options: name = { type = ..., default = ..., help = ... } expected");
    }
    const char *name = lua_tostring(L, -2);
    if (name[0] == '\0' ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name)) {
        luaL_error(L, "kiln.options: \"%s\": names are of a-z, 0-9 and _", name);
    }
    kiln_option *grown =
        reallocarray(policy->options, policy->option_count + 2, sizeof(*grown));
    if (grown == NULL) {
        luaL_error(L, "not enough memory");
    }
    policy->options = grown;
    kiln_option *option = &policy->options[policy->option_count];
    memset(option, 0, 2 * sizeof(*option));
    lua_getfield(L, -1, "type");
    for (size_t i = 0; i < sizeof(option_types) / sizeof(option_types[0]); i++) {
        if (lua_type(L, -1) == LUA_TSTRING &&
            strcmp(lua_tostring(L, -1), option_types[i].name) == 0) {
            option->type = option_types[i].type;
        }
    }
    lua_pop(L, 1);
    if (option->type == 0) {
        luaL_error(L,
                   "kiln.options: %s: type is one of string, boolean, integer, duration, size, "
                   "list",
                   name);
    }
    lua_getfield(L, -1, "default");
    option->default_value = default_text(L, (kiln_option_type)option->type);
    option->name = strdup(name);
    policy->option_count++;
    lua_pop(L, 1);
    lua_getfield(L, -1, "help");
    option->help = strdup(lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "");
    lua_pop(L, 1);
    if (option->default_value == NULL) {
        luaL_error(L, "kiln.options: %s: the default is not of its type", name);
    }
    if (option->name == NULL || option->help == NULL) {
        luaL_error(L, "not enough memory");
    }
}

static int l_options(lua_State *L)
{
    kiln_lua *lua = kiln_lua_of(L);
    kiln_chain *chain = lua->owner;
    luaL_checktype(L, 1, LUA_TTABLE);
    if (lua->who == NULL || lua->current != NULL) {
        return luaL_error(L, "kiln.options: only while the script is loaded");
    }
    kiln_policy *policy = &chain->list[chain->count];
    if (policy->option_count > 0) {
        return luaL_error(L, "kiln.options: called twice");
    }
    lua_pushnil(L);
    while (lua_next(L, 1) != 0) {
        take_option(L, policy);
        lua_pop(L, 1);
    }
    if (policy->option_count > 1) { /* Lua's order is not one */
        qsort(policy->options, policy->option_count, sizeof(*policy->options), by_name);
    }
    return 0;
}

json_t *kiln_option_value(const kiln_option *option, const char *text)
{
    if (text == NULL) {
        text = "";
    }
    switch ((kiln_option_type)option->type) {
    case KILN_OPTION_STRING:
        return json_string(text);
    case KILN_OPTION_BOOL:
        return json_boolean(strcmp(text, "true") == 0);
    case KILN_OPTION_INTEGER:
    case KILN_OPTION_DURATION:
    case KILN_OPTION_SIZE:
        return text[0] == '\0' ? json_null() : json_integer(strtoll(text, NULL, 10));
    case KILN_OPTION_LIST: {
        json_t *list = json_array();
        while (list != NULL && *(text += strspn(text, " ,")) != '\0') {
            size_t length = strcspn(text, " ,");
            json_array_append_new(list, json_stringn(text, length));
            text += length;
        }
        return list;
    }
    }
    return NULL;
}

void kiln_api_push(lua_State *L)
{
    static const struct {
        const char *name;
        lua_CFunction function;
    } functions[] = {
        {"start_run", l_start_run},
        {"start_many", l_start_many},
        {"start_sleep", l_start_sleep},
        {"start_analyze", l_start_analyze},
        {"start_imports", l_start_imports},
        {"deny", l_deny},
        {"unavailable", l_unavailable},
        {"decide", l_decide},
        {"log", l_log},
        {"logging", l_logging},
        {"json", l_json},
        {"sha256", l_sha256},
        {"copy", l_copy},
        {"duration", l_duration},
        {"size", l_size},
        {"backends", l_backends},
        {"default_backend", l_default_backend},
        {"options", l_options},
    };
    lua_newtable(L);
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        lua_pushcfunction(L, functions[i].function);
        lua_setfield(L, -2, functions[i].name);
    }
    lua_pushliteral(L, "1.0");
    lua_setfield(L, -2, "version");
    kiln_api_push_shared(L);
    kiln_api_push_native(L);
    kiln_chain_push_glue_functions(L);
}
