/* The results that one execution keeps for its scripts, those that stand for what did not
 * run, and what `kiln trace` is told. */
#include "policy/chain.h"

#include "base/log.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>

const char *kiln_policy_run_policy(const kiln_policy_run *run)
{
    return run->level > 0 ? run->chain->list[run->level - 1].name : run->chain->name;
}

void kiln_policy_run_note(kiln_policy_run *run, const char *event, json_t *detail)
{
    json_t *entry =
        run->context.trace != NULL
            ? json_pack("{s:s, s:s}", "event", event, "policy", kiln_policy_run_policy(run))
            : NULL;
    if (entry != NULL) {
        json_object_update(entry, detail);
        json_array_append_new(run->context.trace, entry);
    }
    json_decref(detail);
}

kiln_result *kiln_policy_run_refuse(kiln_policy_run *run, kiln_status status, const char *name,
                                    const char *message, json_t *traceback)
{
    const kiln_policy_host *host = &run->chain->policies->host;
    kiln_result *result = host->result(host->core, run->context.execution);
    if (result == NULL) {
        return NULL;
    }
    const char *kind = kiln_status_error_kind(status);
    result->status = status;
    if (kind != NULL && kiln_result_add_error(result, kind, name, message, traceback) < 0) {
        kiln_log(KILN_LOG_ERROR, "policy", "out of memory: error lost: %s", message);
    }
    return result;
}

const kiln_result *kiln_policy_run_result(const kiln_policy_run *run,
                                          const kiln_lua_result *box)
{
    if (run == NULL || box->run != run->serial || box->index >= run->result_count) {
        return NULL;
    }
    return run->results[box->index];
}

static size_t text_size(const json_t *json)
{
    size_t size = 0;
    const char *key;
    json_t *value;
    size_t index;
    if (json_is_string(json)) {
        return json_string_length(json);
    }
    json_object_foreach((json_t *)(uintptr_t)json, key, value)
    {
        size += text_size(value);
    }
    json_array_foreach(json, index, value)
    {
        size += text_size(value);
    }
    return size;
}

/* About what it takes of memory. */
static size_t result_size(const kiln_result *result)
{
    return sizeof(*result) + text_size(result->outputs) + text_size(result->errors);
}

int kiln_policy_run_push(lua_State *L, kiln_policy_run *run, kiln_result *result)
{
    if (result == NULL) {
        return luaL_error(L, "not enough memory");
    }
    run->result_bytes += result_size(result);
    if (run->result_count >= KILN_RUN_RESULTS ||
        run->result_bytes > run->chain->budget.result_bytes) {
        kiln_result_unref(result);
        kiln_error err = KILN_ERROR_INIT;
        if (run->result_count >= KILN_RUN_RESULTS) {
            kiln_error_set(&err, -E2BIG, "more than %d results in one execution",
                           KILN_RUN_RESULTS);
        } else {
            kiln_error_set(&err, -E2BIG, "results of more than %zu bytes in one execution",
                           run->chain->budget.result_bytes);
        }
        return kiln_api_raise(L, &err);
    }
    if (run->result_count % 8 == 0) {
        kiln_result **grown = reallocarray(run->results, run->result_count + 8, sizeof(*grown));
        if (grown == NULL) {
            kiln_result_unref(result);
            return luaL_error(L, "not enough memory");
        }
        run->results = grown;
    }
    run->results[run->result_count] = result;
    kiln_lua_push_result(L, run->serial, run->result_count++);
    return 1;
}
