/* kiln.store, kiln.metric, kiln.now and kiln.fingerprint: what executions share and how
 * they are told apart. Every function here may longjmp. */
#include "policy/chain.h"

#include "base/cleanup.h"
#include "contract/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <math.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FINGERPRINT_FILES_MAX = 4 << 20 /* bytes read of input files: some 20 ms */ };

static kiln_policies *policies_of(lua_State *L)
{
    return ((kiln_chain *)kiln_lua_of(L)->owner)->policies;
}

static uint64_t now_of(const kiln_policies *policies)
{
    return policies->clock.now(policies->clock.user);
}

/* kiln.now() -> milliseconds of a clock that never goes back */
static int l_now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)now_of(policies_of(L)));
    return 1;
}

/* -------------------------------------------------------------------------- the store */

static const char *check_key(lua_State *L, int index, const char *what)
{
    size_t length;
    const char *key = luaL_checklstring(L, index, &length);
    if (length == 0 || length > KILN_SHARED_KEY_MAX || strlen(key) != length) {
        luaL_error(L, "%s: a key of 1 to %d bytes without NUL expected", what,
                   KILN_SHARED_KEY_MAX);
    }
    return key;
}

/* Milliseconds or "1s", nil: 0, for ever. */
static uint64_t check_ttl(lua_State *L, int index, const char *what)
{
    kiln_error err = KILN_ERROR_INIT;
    uint64_t ttl = 0;
    if (lua_isnoneornil(L, index)) {
        return 0;
    }
    if (lua_type(L, index) == LUA_TSTRING) {
        if (kiln_parse_duration(lua_tostring(L, index), &ttl, &err) < 0) {
            kiln_error_wrap(&err, "%s", what);
            kiln_api_raise(L, &err);
        }
    } else if (lua_type(L, index) == LUA_TNUMBER && lua_tonumber(L, index) > 0 &&
               lua_tonumber(L, index) < 1e12) {
        ttl = (uint64_t)ceil(lua_tonumber(L, index));
    }
    if (ttl == 0) {
        luaL_error(L, "%s: how long it is to live: milliseconds or a duration like \"1s\"",
                   what);
    }
    return ttl;
}

static int raise_store(lua_State *L, const char *what, int rc)
{
    return luaL_error(L, "%s: %s", what,
                      rc == -ENOSPC   ? "the store is full"
                      : rc == -EINVAL ? "the value is no number"
                      : rc == -ERANGE ? "the sum is no finite number"
                                      : "not enough memory");
}

/* kiln.store.get(key) -> value | nil */
static int l_store_get(lua_State *L)
{
    const kiln_policies *policies = policies_of(L);
    const char *key = check_key(L, 1, "kiln.store.get");
    kiln_lua_push_json(L, kiln_shared_get(policies->shared, key, now_of(policies)));
    return 1;
}

/* kiln.store.set(key, value, ttl); nil deletes */
static int l_store_set(lua_State *L)
{
    static const char what[] = "kiln.store.set";
    const kiln_policies *policies = policies_of(L);
    const char *key = check_key(L, 1, what);
    uint64_t ttl = check_ttl(L, 3, what);
    json_t *value = NULL;
    size_t length;
    switch (lua_type(L, 2)) {
    case LUA_TNIL:
    case LUA_TNONE:
        kiln_shared_delete(policies->shared, key);
        return 0;
    case LUA_TBOOLEAN:
        value = json_boolean(lua_toboolean(L, 2));
        break;
    case LUA_TNUMBER:
        value = json_real(lua_tonumber(L, 2));
        if (value == NULL) {
            return luaL_error(L, "%s: the number is not finite", what);
        }
        break;
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, 2, &length);
        if (length > KILN_SHARED_VALUE_MAX) {
            return luaL_error(L, "%s: more than %d bytes", what, KILN_SHARED_VALUE_MAX);
        }
        value = json_stringn_nocheck(text, length);
        break;
    }
    default:
        return luaL_error(L, "%s: a number, string or boolean expected, got %s", what,
                          luaL_typename(L, 2));
    }
    int rc = value != NULL
                 ? kiln_shared_set(policies->shared, key, value, ttl, now_of(policies))
                 : -ENOMEM;
    return rc < 0 ? raise_store(L, what, rc) : 0;
}

/* kiln.store.incr(key, by = 1, ttl) -> what it came to */
static int l_store_incr(lua_State *L)
{
    static const char what[] = "kiln.store.incr";
    const kiln_policies *policies = policies_of(L);
    const char *key = check_key(L, 1, what);
    lua_Number by = luaL_optnumber(L, 2, 1);
    uint64_t ttl = check_ttl(L, 3, what);
    double sum = 0;
    if (!isfinite(by)) {
        return raise_store(L, what, -ERANGE);
    }
    int rc = kiln_shared_add(policies->shared, key, by, ttl, now_of(policies), &sum);
    if (rc < 0) {
        return raise_store(L, what, rc);
    }
    lua_pushnumber(L, sum);
    return 1;
}

/* kiln.store.hold(key, most) -> whether a place was free. Given back when the execution
 * ends, however it ends. */
static int l_store_hold(lua_State *L)
{
    static const char what[] = "kiln.store.hold";
    kiln_policy_run *run = kiln_lua_of(L)->current;
    kiln_shared *shared = policies_of(L)->shared;
    const char *key = check_key(L, 1, what);
    lua_Number most = luaL_checknumber(L, 2);
    bool held = false;
    if (run == NULL) {
        return luaL_error(L, "not possible here: no execution is running");
    }
    if (!(most >= 0 && most <= 1e9)) {
        return luaL_error(L, "%s: how many places there are: a number from 0 on", what);
    }
    if (run->holds == NULL) {
        run->holds = json_array();
    }
    if (json_array_size(run->holds) >= KILN_RUN_HOLDS) {
        return luaL_error(L, "%s: more than %d places for one execution", what, KILN_RUN_HOLDS);
    }
    int rc = kiln_shared_hold(shared, key, (unsigned)most, &held);
    if (rc == 0 && held && json_array_append_new(run->holds, json_string_nocheck(key)) < 0) {
        kiln_shared_release(shared, key);
        rc = -ENOMEM;
    }
    if (rc < 0) {
        return raise_store(L, what, rc);
    }
    lua_pushboolean(L, held);
    return 1;
}

/* kiln.store.remember(key, result, ttl) -> true | nil, why it is not kept */
static int l_store_remember(lua_State *L)
{
    static const char what[] = "kiln.store.remember";
    const kiln_policies *policies = policies_of(L);
    const char *key = check_key(L, 1, what);
    const kiln_lua_result *box = kiln_lua_to_result(L, 2);
    const kiln_result *result =
        box != NULL ? kiln_policy_run_result(kiln_lua_of(L)->current, box) : NULL;
    uint64_t ttl = check_ttl(L, 3, what);
    if (result == NULL) {
        return luaL_error(L, "%s: a result of this execution expected, got %s", what,
                          luaL_typename(L, 2));
    }
    const char *why = NULL;
    if (json_array_size(result->output_files) > 0) {
        why = "it made files, which are not kept";
    } else if (result->truncated[0] + result->truncated[KILN_STDOUT] +
                   result->truncated[KILN_STDERR] >
               0) {
        why = "its output was cut";
    } else {
        int rc = kiln_shared_remember(policies->shared, key, result, ttl, now_of(policies));
        if (rc == -ENOMEM) {
            return raise_store(L, what, rc);
        }
        why = rc < 0 ? "it is too large" : NULL;
    }
    if (why == NULL) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

/* What was remembered, as a result of this execution: nothing ran for it. NULL: out of
 * memory. */
static kiln_result *recalled(const kiln_policy_run *run, const json_t *kept)
{
    const kiln_policy_host *host = &run->chain->policies->host;
    kiln_error err = KILN_ERROR_INIT;
    kiln_result *made = NULL;
    kiln_result *mine = host->result(host->core, run->context.execution);
    json_t *copy = json_deep_copy(kept);
    if (mine == NULL || copy == NULL || kiln_result_from_json(copy, &made, &err) < 0) {
        made = NULL;
    } else {
        char **texts[][2] = {{&made->session_id, &mine->session_id},
                             {&made->execution_id, &mine->execution_id},
                             {&made->cell_id, &mine->cell_id}};
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
            free(*texts[i][0]);
            *texts[i][0] = kiln_steal(*texts[i][1]);
        }
        made->execution_count = mine->execution_count;
        made->started_at = mine->started_at;
        json_array_clear(made->decisions);
    }
    json_decref(copy);
    kiln_result_unref(mine);
    return made;
}

/* kiln.store.recall(key) -> result | nil */
static int l_store_recall(lua_State *L)
{
    kiln_policy_run *run = kiln_lua_of(L)->current;
    const kiln_policies *policies = policies_of(L);
    const char *key = check_key(L, 1, "kiln.store.recall");
    if (run == NULL) {
        return luaL_error(L, "not possible here: no execution is running");
    }
    const json_t *kept = kiln_shared_recall(policies->shared, key, now_of(policies));
    if (kept == NULL) {
        lua_pushnil(L);
        return 1;
    }
    kiln_policy_run_note(run, "recall", NULL);
    return kiln_policy_run_push(L, run, recalled(run, kept));
}

/* ---------------------------------------------------------------------------- metrics */

static int update_metric(lua_State *L, kiln_metric_type type, lua_Number value, int labels)
{
    kiln_lua *lua = kiln_lua_of(L);
    kiln_error err = KILN_ERROR_INIT;
    const char *name = luaL_checkstring(L, 1);
    luaL_checkstack(L, KILN_CONVERT_SLOTS, NULL);
    json_t *json = NULL;
    if (!lua_isnoneornil(L, labels)) {
        luaL_checktype(L, labels, LUA_TTABLE);
        json = kiln_lua_to_json(L, labels, &err);
        if (json_is_array(json) && json_array_size(json) == 0) { /* an empty table is one */
            json_decref(json);
            json = json_object();
        }
        if (json != NULL && !json_is_object(json)) {
            kiln_error_set(&err, -EINVAL, "metric %.64s: labels: name = value expected", name);
        }
    }
    if (err.code == 0) {
        kiln_metric_update(policies_of(L)->metrics, type, name, value, json, &err);
    }
    json_decref(json);
    if (err.code != 0) {
        return kiln_api_raise(L, &err);
    }
    if (lua->current != NULL && lua->current->context.trace != NULL) {
        kiln_policy_run_note(lua->current, "metric",
                             json_pack("{s:s, s:f}", "name", name, "value", value));
    }
    return 0;
}

/* kiln.metric.count(name, by = 1, labels); .gauge(name, value, labels);
 * .observe(name, value, labels) */
static int l_metric_count(lua_State *L)
{
    return update_metric(L, KILN_METRIC_COUNTER, luaL_optnumber(L, 2, 1), 3);
}

static int l_metric_gauge(lua_State *L)
{
    return update_metric(L, KILN_METRIC_GAUGE, luaL_checknumber(L, 2), 3);
}

static int l_metric_observe(lua_State *L)
{
    return update_metric(L, KILN_METRIC_HISTOGRAM, luaL_checknumber(L, 2), 3);
}

/* ------------------------------------------------------------------------ fingerprint */

static void hash_bytes(crypto_hash_sha256_state *state, const void *data, size_t length)
{
    uint64_t size = length; /* before each part, so that parts cannot run into each other */
    crypto_hash_sha256_update(state, (const unsigned char *)&size, sizeof(size));
    if (length > 0) {
        crypto_hash_sha256_update(state, data, length);
    }
}

static void hash_text(crypto_hash_sha256_state *state, const char *text)
{
    hash_bytes(state, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
}

static void hash_words(crypto_hash_sha256_state *state, char *const *words)
{
    size_t count = 0;
    while (words[count] != NULL) {
        count++;
    }
    hash_bytes(state, &count, sizeof(count));
    for (size_t i = 0; i < count; i++) {
        hash_text(state, words[i]);
    }
}

/* The content of a file that the engine will read; `left` bytes at most. */
static int hash_path(crypto_hash_sha256_state *state, const char *path, size_t *left,
                     kiln_error *err)
{
    struct stat status;
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) < 0) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    if (!S_ISREG(status.st_mode) || (uint64_t)status.st_size > *left) {
        return kiln_error_set(err, -E2BIG, "%s: too large, or no regular file", path);
    }
    unsigned char chunk[1 << 14];
    crypto_hash_sha256_state content;
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_init(&content);
    ssize_t got;
    while ((got = read(fd, chunk, sizeof(chunk))) > 0) {
        if ((size_t)got > *left) {
            return kiln_error_set(err, -E2BIG, "%s: too large", path);
        }
        *left -= (size_t)got;
        crypto_hash_sha256_update(&content, chunk, (size_t)got);
    }
    if (got < 0) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    crypto_hash_sha256_final(&content, digest);
    hash_bytes(state, digest, sizeof(digest));
    return 0;
}

static int hash_files(crypto_hash_sha256_state *state, const kiln_request *request,
                      kiln_error *err)
{
    size_t left = FINGERPRINT_FILES_MAX;
    for (size_t i = 0; i < request->input_file_count; i++) {
        const kiln_input_file *file = &request->input_files[i];
        hash_text(state, file->name);
        if (file->path != NULL) {
            int rc = hash_path(state, file->path, &left, err);
            if (rc < 0) {
                return rc;
            }
            continue;
        }
        if (file->length > left) {
            return kiln_error_set(err, -E2BIG, "%s: too large", file->name);
        }
        left -= file->length;
        /* As a path's content, so that it makes no difference how a file was given. */
        unsigned char digest[crypto_hash_sha256_BYTES];
        crypto_hash_sha256(digest, (const unsigned char *)file->content, file->length);
        hash_bytes(state, digest, sizeof(digest));
    }
    return 0;
}

static int fingerprint(const kiln_request *request, char *hex, size_t size, kiln_error *err)
{
    crypto_hash_sha256_state state;
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_init(&state);
    hash_text(&state, request->language);
    hash_text(&state, request->backend);
    hash_bytes(&state, request->code, request->code_length);
    hash_bytes(&state, request->stdin_data, request->stdin_length);
    hash_words(&state, request->args);
    hash_words(&state, request->env);
    hash_bytes(&state, &request->limits.timeout_ms, sizeof(request->limits.timeout_ms));
    for (const kiln_limit_field *field = kiln_limit_fields; field->name != NULL; field++) {
        uint64_t value = kiln_limit_get(&request->limits, field);
        hash_bytes(&state, &value, sizeof(value));
    }
    int rc = hash_files(&state, request, err);
    crypto_hash_sha256_final(&state, digest);
    sodium_bin2hex(hex, size, digest, sizeof(digest));
    return rc;
}

/* kiln.fingerprint(input) -> 64 hexadecimal digits | nil, why it cannot be told */
static int l_fingerprint(lua_State *L)
{
    kiln_error err = KILN_ERROR_INIT;
    const kiln_policy_run *run = kiln_lua_of(L)->current;
    kiln_request *request = NULL;
    char hex[2 * crypto_hash_sha256_BYTES + 1];
    if (run == NULL) {
        return luaL_error(L, "not possible here: no execution is running");
    }
    luaL_checkstack(L, KILN_CONVERT_SLOTS, NULL);
    if (kiln_lua_to_request(L, 1, run->request, &request, &err) < 0) {
        return kiln_api_raise(L, &err);
    }
    int rc = fingerprint(request, hex, sizeof(hex), &err);
    kiln_request_free(request);
    kiln_budget_poll(&kiln_lua_of(L)->budget, L);
    if (rc < 0) {
        lua_pushnil(L);
        lua_pushstring(L, err.text);
        return 2;
    }
    lua_pushstring(L, hex);
    return 1;
}

void kiln_api_push_shared(lua_State *L)
{
    static const struct {
        const char *name;
        lua_CFunction function;
    } functions[] = {
        {"now", l_now},
        {"fingerprint", l_fingerprint},
        {"store_get", l_store_get},
        {"store_set", l_store_set},
        {"store_incr", l_store_incr},
        {"store_hold", l_store_hold},
        {"store_remember", l_store_remember},
        {"store_recall", l_store_recall},
        {"metric_count", l_metric_count},
        {"metric_gauge", l_metric_gauge},
        {"metric_observe", l_metric_observe},
    };
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        lua_pushcfunction(L, functions[i].function);
        lua_setfield(L, -2, functions[i].name);
    }
}
