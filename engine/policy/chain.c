/* One execution in a chain: its coroutine, from the first resume to its result. */
#include "policy/native.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>

/* ------------------------------------------------------------- coroutines, reused */

static int make_thread(lua_State *L)
{
    kiln_thread *thread = lua_touserdata(L, 1);
    thread->L = lua_newthread(L);
    thread->reference = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static kiln_thread *thread_acquire(kiln_chain *chain, kiln_error *err)
{
    kiln_thread *thread = chain->idle;
    if (thread != NULL) {
        chain->idle = thread->next;
        chain->idle_count--;
    } else {
        thread = calloc(1, sizeof(*thread));
        if (thread == NULL || kiln_lua_protect(chain->lua, make_thread, thread, err) < 0) {
            free(thread);
            return NULL;
        }
    }
    thread->next = NULL;
    thread->generation++;
    thread->state = KILN_THREAD_YIELDED;
    return thread;
}

/* Dead coroutines and those too many are left to Lua's collector. */
static void thread_release(kiln_chain *chain, kiln_thread *thread)
{
    thread->generation++;
    if (thread->state == KILN_THREAD_FREE && chain->idle_count < KILN_IDLE_THREADS) {
        thread->next = chain->idle;
        chain->idle = thread;
        chain->idle_count++;
        return;
    }
    luaL_unref(chain->lua->L, LUA_REGISTRYINDEX, thread->reference);
    free(thread);
}

lua_State *kiln_policy_run_thread(const kiln_policy_run *run)
{
    return run->thread->L;
}

/* ----------------------------------------------------- the glue's view of an execution */

kiln_policy_run *kiln_policy_run_here(lua_State *L)
{
    kiln_policy_run *run = kiln_lua_of(L)->current;
    if (run == NULL || L != run->thread->L) {
        luaL_where(L, 2);
        lua_pushfstring(L, "%snot possible here: %s", lua_tostring(L, -1),
                        run == NULL ? "no execution is running"
                                    : "inside a coroutine of the script's own");
        lua_error(L);
    }
    return run;
}

static int l_begin(lua_State *L)
{
    kiln_policy_run *run = kiln_policy_run_here(L);
    lua_pushnumber(L, (lua_Number)run->serial);
    kiln_lua_push_request(L, run->request, run->context.session_id);
    lua_pushstring(L, run->context.session_id);
    lua_pushstring(L, run->context.execution_id);
    lua_pushnumber(L, (lua_Number)run->context.execution_count);
    lua_pushnumber(L, run->context.consecutive_failures);
    lua_pushstring(L, run->context.client); /* NULL is nil */
    if (run->context.scenario == NULL) {
        return 7;
    }
    kiln_lua_push_json(L, run->context.scenario);
    return 8;
}

static int l_enter(lua_State *L)
{
    kiln_policy_run *run = kiln_policy_run_here(L);
    run->level = (size_t)lua_tointeger(L, 1);
    kiln_policy_run_note(run, "enter", NULL);
    return 0;
}

static int l_check(lua_State *L)
{
    kiln_policy_run *run = kiln_policy_run_here(L);
    if (lua_tonumber(L, 1) != (lua_Number)run->serial ||
        (size_t)lua_tointeger(L, 2) != run->level) {
        return luaL_error(L, "next: called from another execution");
    }
    return 0;
}

/* The handler of the glue's xpcall: runs where the error was raised. */
static int l_trace(lua_State *L)
{
    kiln_lua *lua = kiln_lua_of(L);
    if (lua->current != NULL) {
        json_decref(lua->current->traceback);
        lua->current->traceback = kiln_lua_traceback(L, 1);
    }
    lua_settop(L, 1);
    return 1;
}

static const char *failure_name(const char *text)
{
    if (strstr(text, "not enough memory") != NULL) {
        return "PolicyMemory";
    }
    if (strstr(text, "stack overflow") != NULL) {
        return "PolicyDepth";
    }
    if (strstr(text, "in one execution") == NULL) {
        return "PolicyError";
    }
    return strstr(text, "awaits") != NULL      ? "PolicyAwaits"
           : strstr(text, "results") != NULL   ? "PolicyResults"
           : strstr(text, "decisions") != NULL ? "PolicyDecisions"
                                               : "PolicyBudget";
}

/* The result in place of one that the policy at `level` failed to give. */
static kiln_result *fail(kiln_policy_run *run, size_t level, const char *name, const char *what,
                         json_t *traceback)
{
    kiln_chain *chain = run->chain;
    const kiln_policy *policy = level > 0 ? &chain->list[level - 1] : NULL;
    bool deny = policy != NULL && policy->deny_on_failure;
    kiln_error message = KILN_ERROR_INIT;
    if (policy != NULL) {
        const char *where = json_string_value(json_array_get(traceback, 0));
        const char *script = kiln_script_name(policy->path);
        /* An overrun's text has no position of its own. */
        bool placed = where == NULL || strncmp(what, script, strlen(script)) == 0;
        int length = where != NULL ? (int)strcspn(where, " ") : 0;
        kiln_error_set(&message, -EINVAL, "policy %s failed: %.*s%s%s", policy->name,
                       placed ? 0 : length, where != NULL ? where : "", placed ? "" : " ",
                       what);
    } else {
        kiln_error_set(&message, -EINVAL, "chain %s failed: %s", chain->name, what);
    }
    if (chain->policies->log != NULL) {
        chain->policies->log(chain->policies->log_user, "warning", name, message.text);
    } else {
        kiln_log(KILN_LOG_WARNING, name, "%s", message.text);
    }
    return kiln_policy_run_refuse(run, deny ? KILN_STATUS_DENIED : KILN_STATUS_UNAVAILABLE,
                                  name, message.text, traceback);
}

/* What is wrong with what a policy returned; NULL: nothing. */
static const char *wrong_return(lua_State *L, int index, const kiln_policy_run *run, char *text,
                                size_t size)
{
    const kiln_lua_result *box = kiln_lua_to_result(L, index);
    if (box == NULL) {
        snprintf(text, size,
                 "returned %s; a policy returns the result of next, kiln.run, kiln.deny or "
                 "kiln.unavailable",
                 lua_isnoneornil(L, index) ? "nothing" : luaL_typename(L, index));
        return text;
    }
    if (kiln_policy_run_result(run, box) == NULL) {
        return "returned the result of another execution";
    }
    return NULL;
}

static void note_leaving(lua_State *L, kiln_policy_run *run, bool ok)
{
    const kiln_lua_result *box = ok ? kiln_lua_to_result(L, 3) : NULL;
    const kiln_result *result = box != NULL ? kiln_policy_run_result(run, box) : NULL;
    char text[512] = "no result";
    if (!ok) {
        kiln_lua_error_text(L, 3, text, sizeof(text));
    }
    kiln_policy_run_note(run, "leave",
                         json_pack("{s:s}", result != NULL ? "status" : "failure",
                                   result != NULL ? kiln_status_name(result->status) : text));
}

/* leave(level, ok, value) -> result, whether its burst was over */
static int l_leave(lua_State *L)
{
    kiln_policy_run *run = kiln_policy_run_here(L);
    kiln_budget *budget = &run->chain->lua->budget;
    size_t level = (size_t)lua_tointeger(L, 1);
    bool ok = lua_toboolean(L, 2) != 0;
    auto_json json_t *traceback = kiln_steal(run->traceback);
    char text[512];
    if (run->context.trace != NULL) {
        note_leaving(L, run, ok);
    }
    run->level = level - 1;
    if (budget->tripped == KILN_OVERRUN_TOTAL) {
        /* Not renewed: what is around this policy has no time left either. */
        if (run->fatal == NULL) {
            snprintf(text, sizeof(text), "used more than %d ms of CPU time in one execution",
                     (int)(budget->total_ns / 1000000u));
            run->fatal = fail(run, level, "PolicyBudget", text,
                              budget->traceback != NULL ? budget->traceback : traceback);
        }
        json_decref(kiln_steal(traceback)); /* what follows may longjmp */
        return run->fatal == NULL ? luaL_error(L, "not enough memory")
                                  : kiln_policy_run_push(L, run, kiln_result_ref(run->fatal));
    }
    if (ok) {
        const char *wrong = wrong_return(L, 3, run, text, sizeof(text));
        json_decref(kiln_steal(traceback));
        if (budget->tripped == KILN_OVERRUN_BURST) {
            kiln_budget_renew(budget);
        }
        if (wrong == NULL) {
            lua_settop(L, 3);
            return 1;
        }
        return kiln_policy_run_push(L, run, fail(run, level, "PolicyReturn", wrong, NULL));
    }
    bool late = budget->tripped == KILN_OVERRUN_BURST;
    kiln_result *result;
    if (late) {
        snprintf(text, sizeof(text), "ran longer than %d ms of CPU time without a pause",
                 (int)(budget->burst_ns / 1000000u));
        result = fail(run, level, "PolicyTimeout", text,
                      budget->traceback != NULL ? budget->traceback : traceback);
        kiln_budget_renew(budget);
    } else {
        kiln_lua_error_text(L, 3, text, sizeof(text));
        result = fail(run, level, failure_name(text), text, traceback);
    }
    json_decref(kiln_steal(traceback));
    kiln_policy_run_push(L, run, result);
    lua_pushboolean(L, late);
    return 2;
}

/* uninstructed() -> the result where no policy has an `instruct` */
static int l_uninstructed(lua_State *L)
{
    kiln_policy_run *run = kiln_policy_run_here(L);
    kiln_error err = KILN_ERROR_INIT;
    kiln_error_set(
        &err, -ENOENT,
        "no policy of chain %s has an instruct function: list one that does, such as "
        "template, or give code",
        run->chain->name);
    return kiln_policy_run_push(
        L, run,
        kiln_policy_run_refuse(run, KILN_STATUS_UNAVAILABLE, "NoInstruct", err.text, NULL));
}

static int l_finish(lua_State *L)
{
    kiln_policy_run *run = kiln_policy_run_here(L);
    const kiln_lua_result *box = kiln_lua_to_result(L, 1);
    const kiln_result *result = box != NULL ? kiln_policy_run_result(run, box) : NULL;
    if (result == NULL) {
        return luaL_error(L, "the chain ended without a result");
    }
    run->result = kiln_result_ref(run->results[box->index]);
    return 0;
}

/* take() -> what was awaited */
static int l_take(lua_State *L)
{
    kiln_policy_run *run = kiln_policy_run_here(L);
    if (run->wait_count == 0) {
        return luaL_error(L, "nothing was awaited");
    }
    kiln_wait *wait = &run->waits[0];
    if (wait->type == KILN_WAIT_SLEEP) {
        return 0;
    }
    if (wait->type == KILN_WAIT_NATIVE) {
        return kiln_policy_take_native(L, wait);
    }
    if (wait->type != KILN_WAIT_RUN) {
        kiln_lua_push_json(L, wait->json);
        if (wait->error != NULL) {
            lua_pushstring(L, wait->error);
            return 2;
        }
        return 1;
    }
    if (run->mode == KILN_WAIT_ONE) {
        return kiln_policy_run_push(L, run, kiln_steal(wait->result));
    }
    if (run->mode == KILN_WAIT_ALL) {
        lua_createtable(L, (int)run->wait_count, 0);
        for (size_t i = 0; i < run->wait_count; i++) {
            kiln_policy_run_push(L, run, kiln_steal(run->waits[i].result));
            lua_rawseti(L, -2, (int)i + 1);
        }
        return 1;
    }
    size_t winner = 0;
    while (winner + 1 < run->wait_count && run->waits[winner].result == NULL) {
        winner++;
    }
    kiln_policy_run_push(L, run, kiln_steal(run->waits[winner].result));
    lua_pushinteger(L, (lua_Integer)winner + 1);
    return 2;
}

void kiln_chain_push_glue_functions(lua_State *L)
{
    static const struct {
        const char *name;
        lua_CFunction function;
    } functions[] = {
        {"begin", l_begin},   {"enter", l_enter},
        {"leave", l_leave},   {"check", l_check},
        {"finish", l_finish}, {"trace", l_trace},
        {"take", l_take},     {"uninstructed", l_uninstructed},
    };
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        lua_pushcfunction(L, functions[i].function);
        lua_setfield(L, -2, functions[i].name);
    }
}

/* ------------------------------------------------------------------------ driving */

static void run_free(kiln_policy_run *run)
{
    for (size_t i = 0; i < run->result_count; i++) {
        kiln_result_unref(run->results[i]);
    }
    free(run->results);
    if (run->fatal != NULL) {
        kiln_result_unref(run->fatal);
    }
    json_decref(run->traceback);
    size_t index;
    json_t *name;
    json_array_foreach(run->holds, index, name)
    {
        kiln_shared_release(run->chain->policies->shared, json_string_value(name));
    }
    json_decref(run->holds);
    free(run->waits);
    free(run);
}

static void end(kiln_policy_run *run)
{
    kiln_chain *chain = run->chain;
    kiln_result *result = kiln_steal(run->result);
    kiln_wait_clear(run);
    if (run->thread != NULL) {
        thread_release(chain, run->thread);
    }
    chain->lua->granted -= run->granted;
    if (run->interrupted && (result == NULL || result->status != KILN_STATUS_INTERRUPTED)) {
        if (result != NULL) {
            kiln_result_unref(result);
        }
        result = kiln_policy_run_refuse(run, KILN_STATUS_INTERRUPTED, "Interrupted",
                                        "the execution was cancelled", NULL);
    }
    if (run->ended != NULL) {
        *run->ended = true;
    }
    void (*done)(void *user, kiln_result *result) = run->done;
    void *user = run->user;
    run_free(run);
    if (--chain->runs == 0 && chain->retired) {
        kiln_chain_free(chain);
    }
    done(user, result);
    if (result != NULL) {
        kiln_result_unref(result);
    }
}

static int collect(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

/* An error that came out of the coroutine itself: in the glue, or past the cap. */
static void fail_outermost(kiln_policy_run *run, int status)
{
    kiln_lua *lua = run->chain->lua;
    kiln_error ignored = KILN_ERROR_INIT;
    char text[512];
    kiln_lua_error_text(run->thread->L, -1, text, sizeof(text));
    if (run->fatal != NULL) {
        run->result = kiln_result_ref(run->fatal);
    } else {
        run->result = fail(run, run->level > 0 ? run->level : run->chain->count > 0,
                           status == LUA_ERRMEM ? "PolicyMemory" : failure_name(text), text,
                           run->traceback);
    }
    run->thread->state = KILN_THREAD_DEAD;
    if (status == LUA_ERRMEM) {
        kiln_lua_protect(lua, collect, NULL, &ignored);
    }
}

void kiln_policy_run_drive(kiln_policy_run *run)
{
    kiln_lua *lua = run->chain->lua;
    for (;;) {
        run->thread->state = KILN_THREAD_RUNNING;
        lua->current = run;
        kiln_budget_begin(&lua->budget, &run->spent);
        int status = lua_resume(run->thread->L, 0);
        kiln_budget_end(&lua->budget);
        lua->current = NULL;
        if (status == 0) {
            lua_settop(run->thread->L, 0);
            run->thread->state = KILN_THREAD_FREE;
            break;
        }
        if (status != LUA_YIELD) {
            fail_outermost(run, status);
            break;
        }
        run->thread->state = KILN_THREAD_YIELDED;
        if (kiln_wait_begin(run)) {
            continue;
        }
        if (!run->cancelled || !kiln_wait_cancel_idle(run)) {
            return;
        }
        run->interrupted = true; /* cancelled while it began to wait */
    }
    end(run);
}

static void refuse_at_once(kiln_policies *policies, const kiln_policy_context *context,
                           const char *message, void (*done)(void *user, kiln_result *result),
                           void *user)
{
    kiln_result *result = policies->host.result(policies->host.core, context->execution);
    if (result != NULL) {
        result->status = KILN_STATUS_UNAVAILABLE;
        kiln_result_add_error(result, "system", "PolicyChain", message, NULL);
    }
    done(user, result);
    if (result != NULL) {
        kiln_result_unref(result);
    }
}

static kiln_chain *find_chain(const kiln_policies *policies, const char *name)
{
    name = name != NULL ? name : policies->default_chain;
    for (size_t i = 0; i < policies->count; i++) {
        if (strcmp(policies->chains[i]->name, name) == 0) {
            return policies->chains[i];
        }
    }
    return NULL;
}

int kiln_policies_find(const kiln_policies *policies, const char *chain, kiln_error *err)
{
    if (find_chain(policies, chain) != NULL) {
        return 0;
    }
    chain = chain != NULL ? chain : policies->default_chain;
    const char **names = calloc(policies->count + 1, sizeof(*names));
    for (size_t i = 0; names != NULL && i < policies->count; i++) {
        names[i] = policies->chains[i]->name;
    }
    const char *near = names != NULL ? kiln_near_match(chain, names) : NULL;
    if (near != NULL) {
        kiln_error_set(err, -EINVAL, "no chain \"%s\", did you mean \"%s\"?", chain, near);
    } else {
        kiln_error_set(err, -EINVAL, "no chain \"%s\"; add a section [chain %s]", chain, chain);
    }
    free(names);
    return -EINVAL;
}

void kiln_policies_execute(kiln_policies *policies, const char *name,
                           const kiln_policy_context *context, kiln_request *request,
                           void (*done)(void *user, kiln_result *result), void *user,
                           kiln_policy_run **slot)
{
    kiln_error err = KILN_ERROR_INIT;
    *slot = NULL;
    kiln_chain *chain = find_chain(policies, name);
    if (chain == NULL) {
        kiln_policies_find(policies, name, &err);
        refuse_at_once(policies, context, err.text, done, user);
        return;
    }
    kiln_policy_run *run = calloc(1, sizeof(*run));
    kiln_thread *thread = run != NULL ? thread_acquire(chain, &err) : NULL;
    if (thread == NULL) {
        free(run);
        refuse_at_once(policies, context, err.text[0] != '\0' ? err.text : "out of memory",
                       done, user);
        return;
    }
    bool over = false;
    *run = (kiln_policy_run){
        .chain = chain,
        .context = *context,
        .request = request,
        .done = done,
        .user = user,
        .ended = &over,
        .serial = ++policies->serial,
        .thread = thread,
        /* What the engine brings in is not the policies' memory: a copy in, one changed. */
        .granted = 3 * (request->code_length + request->stdin_length),
    };
    chain->runs++;
    chain->lua->granted += run->granted;
    lua_rawgeti(thread->L, LUA_REGISTRYINDEX, chain->main);
    kiln_policy_run_drive(run);
    if (!over) { /* else *slot may be gone with its owner */
        run->ended = NULL;
        *slot = run;
    }
}

void kiln_policies_cancel(kiln_policy_run *run)
{
    if (run->cancelled) {
        return;
    }
    run->cancelled = true;
    if (run->starting) {
        return;
    }
    if (kiln_wait_cancel_idle(run)) {
        run->interrupted = true;
        kiln_policy_run_drive(run);
    }
}
