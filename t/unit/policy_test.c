/* Policies: what a hostile or broken script can do to the engine, and what it gets. */
#include "base/cleanup.h"
#include "base/log.h"
#include "policy/chain.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

/* ------------------------------------------------------- a core of a few lines */

enum { PENDING_MAX = 32 };

typedef struct pending {
    void (*done)(void *user, kiln_result *result);
    void *user;
    bool cancelled;
    bool live;
    char backend[32];
    char *code;
} pending;

typedef struct fixture {
    uv_loop_t loop;
    char directory[64];
    kiln_policies policies;
    kiln_chain *chain;
    json_t *backends;
    json_t *decisions;
    bool deferred;      /* backends answer when told to */
    bool patient;       /* CPU time does not run out first */
    kiln_status status; /* of what a backend answers */
    pending pending[PENDING_MAX];
    size_t runs;
    unsigned cancels;
    kiln_result *result;
    unsigned ends;
    const char *client;
    char *output; /* of what a backend answers, or NULL */
    json_t *trace;
    kiln_chain_budget budget;
    uint64_t now;
} fixture;

static kiln_result *new_result(void *core, void *execution)
{
    (void)core;
    (void)execution;
    kiln_result *result = kiln_result_new();
    result->session_id = strdup("s");
    result->execution_id = strdup("e");
    result->language = strdup("python");
    return result;
}

static void answer(fixture *f, size_t index)
{
    kiln_result *result = new_result(f, NULL);
    result->status = f->status;
    result->backend = strdup(f->pending[index].backend);
    if (f->output != NULL) {
        json_array_append_new(result->outputs, json_pack("{s:s, s:s, s:s}", "type", "stream",
                                                         "name", "stdout", "text", f->output));
    }
    f->pending[index].done(f->pending[index].user, result);
    kiln_result_unref(result);
}

static void host_run(void *core, void *execution, const kiln_request *request,
                     const char *backend, bool live,
                     void (*done)(void *user, kiln_result *result), void *user, void **handle)
{
    fixture *f = core;
    (void)execution;
    assert_true(f->runs < PENDING_MAX);
    pending *made = &f->pending[f->runs];
    free(made->code); /* of an earlier round */
    *made = (pending){.done = done, .user = user, .live = live, .code = strdup(request->code)};
    snprintf(made->backend, sizeof(made->backend), "%s",
             backend != NULL            ? backend
             : request->backend != NULL ? request->backend
                                        : "default");
    *handle = made;
    f->runs++;
    if (!f->deferred) {
        answer(f, f->runs - 1);
    }
}

static void host_analyze(void *core, void *execution, const char *language, const char *code,
                         size_t length,
                         void (*done)(void *user, json_t *analysis, const char *error),
                         void *user, void **handle)
{
    (void)core, (void)execution, (void)language, (void)code, (void)length, (void)handle;
    json_t *analysis = json_pack("{s:[s]}", "imports", "os");
    done(user, analysis, NULL);
    json_decref(analysis);
}

static void host_imports(void *core, void *execution,
                         void (*done)(void *user, json_t *lines, const char *error), void *user,
                         void **handle)
{
    (void)core, (void)execution, (void)handle;
    done(user, NULL, "no notebook");
}

static void host_cancel(void *core, void *handle)
{
    fixture *f = core;
    ((pending *)handle)->cancelled = true;
    f->cancels++;
}

static json_t *host_backends(void *core)
{
    return ((fixture *)core)->backends;
}

static int declare_nothing(void *user, const char *policy, const kiln_option *options,
                           kiln_error *err)
{
    (void)user, (void)policy, (void)options, (void)err;
    return 0;
}

static const char *default_value(void *user, const char *policy, const kiln_option *option)
{
    (void)user, (void)policy;
    return option->default_value;
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof(*f));
    uv_loop_init(&f->loop);
    strcpy(f->directory, "/tmp/kiln-policy-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    f->backends = json_pack("{s:{s:b,s:[s]}}", "exec", "stateful", 0, "languages", "*");
    f->decisions = json_array();
    f->policies = (kiln_policies){
        .host = {.core = f,
                 .run = host_run,
                 .analyze = host_analyze,
                 .notebook_imports = host_imports,
                 .cancel = host_cancel,
                 .backends = host_backends,
                 .result = new_result},
        .clock = kiln_policy_clock_uv(&f->loop),
        .default_chain = (char *)(uintptr_t) "default",
        .default_backend = (char *)(uintptr_t) "exec",
    };
    f->policies.shared = kiln_shared_new();
    f->policies.metrics = kiln_metrics_new();
    f->policies.chains = &f->chain;
    f->policies.count = 1;
    kiln_log_set_level(KILN_LOG_ERROR);
    *state = f;
    return 0;
}

static void script_path(const fixture *f, const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%s.lua", f->directory, name);
}

static int tear_down(void **state)
{
    fixture *f = *state;
    char path[128];
    kiln_chain_free(f->chain);
    kiln_shared_free(f->policies.shared);
    kiln_metrics_free(f->policies.metrics);
    json_decref(f->trace);
    free(f->output);
    if (f->result != NULL) {
        kiln_result_unref(f->result);
    }
    for (size_t i = 0; i < PENDING_MAX; i++) {
        free(f->pending[i].code);
    }
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    for (char name[] = "a"; name[0] <= 'd'; name[0]++) {
        script_path(f, name, path, sizeof(path));
        unlink(path);
    }
    assert_int_equal(rmdir(f->directory), 0);
    json_decref(f->backends);
    json_decref(f->decisions);
    free(f);
    return 0;
}

static void write_script(const fixture *f, const char *name, const void *text, size_t length)
{
    char path[128];
    script_path(f, name, path, sizeof(path));
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    fclose(file);
}

/* Loads what has been written as a, b, c... */
static int load(fixture *f, size_t count, kiln_error *err)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    char paths[4][128];
    kiln_policy_spec specs[4];
    const kiln_option_source source = {NULL, declare_nothing, default_value};
    for (size_t i = 0; i < count; i++) {
        script_path(f, names[i], paths[i], sizeof(paths[i]));
        specs[i] = (kiln_policy_spec){names[i], paths[i], strcmp(names[i], "d") == 0};
    }
    kiln_chain_free(f->chain);
    f->chain = NULL;
    return kiln_chain_new(&f->policies, "default", &f->budget, specs, count, &source, &f->chain,
                          err);
}

/* The chain of up to four scripts; NULL ends them. */
static void load_texts(fixture *f, const char *const *texts)
{
    kiln_error err = KILN_ERROR_INIT;
    size_t count = 0;
    for (; count < 4 && texts[count] != NULL; count++) {
        char name[] = {(char)('a' + count), '\0'};
        write_script(f, name, texts[count], strlen(texts[count]));
    }
    if (load(f, count, &err) < 0) {
        fail_msg("%s", err.text);
    }
    if (f->patient) {
        f->chain->lua->budget.burst_ns = f->chain->lua->budget.total_ns = UINT64_MAX;
    }
}
#define LOAD(...) load_texts(f, (const char *const[]){__VA_ARGS__, NULL})

static void ended(void *user, kiln_result *result)
{
    fixture *f = user;
    assert_non_null(result);
    if (f->result != NULL) {
        kiln_result_unref(f->result);
    }
    f->result = kiln_result_ref(result);
    f->ends++;
}

static kiln_policy_run *begin(fixture *f, kiln_request *request)
{
    kiln_policy_run *run = NULL;
    const kiln_policy_context context = {.session_id = "s",
                                         .execution_id = "e",
                                         .client = f->client,
                                         .execution_count = 1,
                                         .decisions = f->decisions,
                                         .trace = f->trace};
    kiln_policies_execute(&f->policies, NULL, &context, request, ended, f, &run);
    return run;
}

/* One execution to its end; what a script sleeps is waited for. */
static kiln_result *execute(fixture *f)
{
    unsigned ends = f->ends;
    kiln_request *request = kiln_request_new();
    kiln_request_set_code(request, "print(1)", 8);
    begin(f, request);
    while (f->ends == ends && uv_run(&f->loop, UV_RUN_ONCE) != 0) {
    }
    assert_int_equal(f->ends, ends + 1);
    kiln_request_free(request);
    return f->result;
}

static const char *error_text(const kiln_result *result, const char *key)
{
    const char *text =
        json_string_value(json_object_get(json_array_get(result->errors, 0), key));
    return text != NULL ? text : "";
}

/* It failed under that name, nothing ran, and the chain works afterwards. */
static void fails(fixture *f, const char *script, const char *name, const char *message)
{
    static const char pass[] = "return function(input, ctx, next) return next(input) end";
    LOAD(script);
    const size_t runs = f->runs;
    const kiln_result *result = execute(f);
    if (result->status != KILN_STATUS_UNAVAILABLE ||
        strcmp(error_text(result, "name"), name) != 0 ||
        strstr(error_text(result, "message"), message) == NULL) {
        fail_msg("%s\n-> %s, %s: %s", script, kiln_status_name(result->status),
                 error_text(result, "name"), error_text(result, "message"));
    }
    assert_non_null(strstr(error_text(result, "message"), "policy a failed"));
    assert_int_equal(f->runs, runs);
    /* The same state goes on with a second execution, and so does a chain around it. */
    assert_int_equal(execute(f)->status, KILN_STATUS_UNAVAILABLE);
    write_script(f, "b", script, strlen(script));
    LOAD(pass, script);
    assert_int_equal(execute(f)->status, KILN_STATUS_UNAVAILABLE);
    assert_non_null(strstr(error_text(f->result, "message"), "policy b failed"));
}

/* A policy that does something first and then lets pass: it must come through. */
static void passes(fixture *f, const char *script)
{
    LOAD(script);
    const kiln_result *result = execute(f);
    if (result->status != KILN_STATUS_OK) {
        fail_msg("%s\n-> %s: %s", script, kiln_status_name(result->status),
                 error_text(result, "message"));
    }
}

#define POLICY(body) "return function(input, ctx, next)\n" body "\nend"

/* ------------------------------------------------------------------ endless scripts */

static void endless_loops(void **state)
{
    static const char *const scripts[] = {
        POLICY("while true do end"),
        POLICY("while true do pcall(function() while true do end end) end"),
        POLICY("while true do xpcall(function() while true do end end, function() while true "
               "do end end) end"),
        POLICY("local t = setmetatable({}, {__index = function() while true do end end}) "
               "return t.x"),
        POLICY("local t = setmetatable({}, {__lt = function() while true do end end})\n"
               "local u = setmetatable({}, getmetatable(t)) return t < u"),
        POLICY("coroutine.wrap(function() while true do end end)()"),
        POLICY("while true do coroutine.resume(coroutine.create(function() while true do end "
               "end)) end"),
        POLICY("table.sort({3, 2, 1, 5, 6}, function() while true do end end)"),
        POLICY("('x'):gsub('x', function() while true do end end)"),
        POLICY("tostring(setmetatable({}, {__tostring = function() while true do end end}))"),
        POLICY("for _ in function() return 1 end do end"),
        POLICY("local function f() return f() end return f()"),
    };
    for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        fails(*state, scripts[i], "PolicyTimeout", "without a pause");
    }
}

static void spinning_line_is_told(void **state)
{
    fixture *f = *state;
    LOAD("local function spin()\n  while true do\n  end\nend\n" POLICY("  spin()"));
    const kiln_result *result = execute(f);
    const json_t *trace = json_object_get(json_array_get(result->errors, 0), "traceback");
    const char *first = json_string_value(json_array_get(trace, 0));
    const char *second = json_string_value(json_array_get(trace, 1));
    assert_non_null(first);
    assert_non_null(strstr(first, "a.lua:"));
    assert_non_null(strstr(first, "in function 'spin'"));
    assert_non_null(strstr(second, "a.lua:6: "));
}

static void pausing_uses_up_the_total(void **state)
{
    fails(*state,
          POLICY("while true do\n"
                 "  for i = 1, 300000 do end\n"
                 "  kiln.sleep(0)\n"
                 "end"),
          "PolicyBudget", "in one execution");
}

/* [chain NAME] burst, total, memory, awaits, results: each bites where it is set. */
static void budgets_of_a_chain(void **state)
{
    fixture *f = *state;
    f->budget = (kiln_chain_budget){.burst_ms = 10000, .total_ms = 40};
    fails(f, POLICY("while true do end"), "PolicyBudget", "more than 40 ms");
    f->budget = (kiln_chain_budget){.burst_ms = 20};
    fails(f, POLICY("while true do end"), "PolicyTimeout", "longer than 20 ms");
    f->budget = (kiln_chain_budget){.memory = 8 << 20};
    fails(f, POLICY("return ('x'):rep(2^23)"), "PolicyMemory", "not enough memory");
    f->budget = (kiln_chain_budget){.awaits = 3};
    fails(f, POLICY("for i = 1, 4 do kiln.sleep(0) end return next(input)"), "PolicyAwaits",
          "more than 3 awaits");
    passes(f, POLICY("kiln.sleep(0) kiln.sleep(0) return next(input)"));
}

/* What next returned is kept to the end: a policy cannot fill the engine with it. */
static void results_are_bounded(void **state)
{
    fixture *f = *state;
    f->output = malloc(100001);
    memset(f->output, 'x', 100000);
    f->output[100000] = '\0';
    f->budget = (kiln_chain_budget){.result_bytes = 450000};
    LOAD(POLICY("local r for i = 1, 20 do r = next(input) end return r"));
    assert_int_equal(execute(f)->status, KILN_STATUS_UNAVAILABLE);
    assert_string_equal(error_text(f->result, "name"), "PolicyResults");
    assert_int_equal(f->runs, 5);
    LOAD(POLICY("return next(input)"));
    assert_int_equal(execute(f)->status, KILN_STATUS_OK);
    f->budget = (kiln_chain_budget){0};
    LOAD(POLICY("while true do kiln.deny('x') end"));
    assert_int_equal(execute(f)->status, KILN_STATUS_UNAVAILABLE);
    assert_string_equal(error_text(f->result, "name"), "PolicyResults");
}

static void decisions_are_bounded(void **state)
{
    fails(*state, POLICY("for i = 1, 257 do ctx:decide('x') end return next(input)"),
          "PolicyDecisions", "more than 256 decisions");
}

static void waiting_is_not_counted(void **state)
{
    passes(*state, POLICY("kiln.sleep(700) kiln.sleep('20ms') return next(input)"));
}

static void awaits_are_bounded(void **state)
{
    fails(*state, POLICY("while true do kiln.sleep(0) end"), "PolicyAwaits", "awaits");
    /* and not to be had by catching the error */
    fails(*state, POLICY("while true do pcall(kiln.sleep, 0) end"), "PolicyTimeout", "pause");
}

/* --------------------------------------------------------------------------- memory */

static void memory(void **state)
{
    static const char *const scripts[] = {
        POLICY("local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1e6) .. i end"),
        POLICY("local s = 'x' while true do s = s .. s end"),
        POLICY("return ('x'):rep(1e9)"),
        POLICY("local t = {} for i = 1, 1e9 do t[i] = {unpack({}, 1, 7000)} end"),
        POLICY("return ('x'):rep(2^20):gsub('x', ('y'):rep(2^12))"),
    };
    ((fixture *)*state)->patient = true;
    for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        fails(*state, scripts[i], "PolicyMemory", "not enough memory");
    }
    /* Caught by the script, it goes on. */
    passes(*state, POLICY("local ok = pcall(function() return ('x'):rep(1e9) end)\n"
                          "assert(not ok) return next(input)"));
}

/* What is thrown away is collected before it meets the cap, also with much that is kept. */
static void garbage_is_no_use_of_memory(void **state)
{
    fixture *f = *state;
    f->budget = (kiln_chain_budget){.memory = 8 << 20, .burst_ms = 10000, .total_ms = 10000};
    passes(f, POLICY("local kept = {}\n"
                     "for i = 1, 5000 do kept[i] = ('x'):rep(900) .. i end\n"
                     "for i = 1, 30000 do local thrown = ('y'):rep(900) .. i end\n"
                     "return #kept == 5000 and next(input)"));
}

static void depth(void **state)
{
    ((fixture *)*state)->patient = true;
    fails(*state, POLICY("local function f() return 1 + f() end return f()"), "PolicyDepth",
          "stack overflow");
    fails(*state,
          POLICY("local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) "
                 "return 1 + t[k] end return t.x"),
          "PolicyDepth", "stack overflow");
    /* Whatever these end by, the C stack holds. */
    fixture *f = *state;
    LOAD(POLICY("local function f() return coroutine.wrap(f)() end return f()"));
    assert_int_equal(execute(f)->status, KILN_STATUS_UNAVAILABLE);
    LOAD(POLICY(
        "local mt = {} mt.__tostring = function(s) return ('%s'):format(s) .. tostring(s) end\n"
        "return tostring(setmetatable({}, mt))"));
    assert_int_equal(execute(f)->status, KILN_STATUS_UNAVAILABLE);
    LOAD(POLICY("local function f() return (('x'):gsub('x', f)) end return f()"));
    assert_int_equal(execute(f)->status, KILN_STATUS_UNAVAILABLE);
}

/* --------------------------------------------------------- functions that run in C */

static void bombs_in_c(void **state)
{
    fails(*state, POLICY("while true do pcall(string.find, ('a'):rep(2000), '.-.-.-b') end"),
          "PolicyTimeout", "without a pause");
    ((fixture *)*state)->patient = true;
    static const char *const scripts[] = {
        POLICY("return ('a'):rep(2000):find('.-.-.-b')"),
        POLICY("return ('a'):rep(400):match('(.-.-.-.-b)')"),
        POLICY("for _ in ('a'):rep(400):gmatch('.-.-.-.-b') do end"),
        POLICY("return ('a'):rep(400):gsub('.-.-.-.-b', '')"),
        POLICY("return ('a'):rep(400):gsub('.-.-.-.-b', function() end)"),
    };
    for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        fails(*state, scripts[i], "PolicyError", "pattern too costly");
    }
    fails(*state, POLICY("table.insert({}, -2^31, 1)"), "PolicyError", "out of bounds");
    passes(*state, POLICY("table.remove({}, -2^31) return next(input)"));
    passes(*state,
           POLICY("('a'):rep(2^20):find(('a'):rep(2^19) .. 'b', 1, true) return next(input)"));
    passes(*state, POLICY("local t = {} for i = 1, 2000 do t[i] = i % 7 end table.sort(t)\n"
                          "for i = 2, #t do assert(t[i - 1] <= t[i]) end return next(input)"));
}

/* ------------------------------------------------------------------ errors, returns */

static void error_objects(void **state)
{
    fails(*state, POLICY("error({})"), "PolicyError", "(the error is a table value)");
    fails(*state, POLICY("error()"), "PolicyError", "(the error is a nil value)");
    fails(*state,
          POLICY("error(setmetatable({}, {__tostring = function() while true do end end}))"),
          "PolicyError", "table value");
    fails(*state, POLICY("error(7)"), "PolicyError", "7");
    fails(*state, POLICY("local x = nil\n return x.y"), "PolicyError", "a.lua:3: ");
}

static void returns(void **state)
{
    fixture *f = *state;
    fails(f, POLICY(""), "PolicyReturn", "returned nothing");
    fails(f, POLICY("return {status = 'ok'}"), "PolicyReturn", "returned table");
    fails(f, POLICY("return true"), "PolicyReturn", "returned boolean");
    /* another execution's */
    LOAD("local kept\n" POLICY("kept = kept or next(input) return kept"));
    assert_int_equal(execute(f)->status, KILN_STATUS_OK);
    assert_int_equal(execute(f)->status, KILN_STATUS_UNAVAILABLE);
    assert_string_equal(error_text(f->result, "name"), "PolicyReturn");
    LOAD("local kept\n" POLICY(
        "if kept then return kept.status end kept = next(input) return kept"));
    execute(f);
    assert_int_equal(execute(f)->status, KILN_STATUS_UNAVAILABLE);
    assert_non_null(strstr(error_text(f->result, "message"), "another execution"));
}

static void next_twice_never_late(void **state)
{
    fixture *f = *state;
    LOAD(POLICY("next(input) return next(input)"));
    assert_int_equal(execute(f)->status, KILN_STATUS_OK);
    assert_int_equal(f->runs, 2);
    LOAD(POLICY("return kiln.deny('no')"));
    assert_int_equal(execute(f)->status, KILN_STATUS_DENIED);
    assert_string_equal(error_text(f->result, "message"), "no");
    assert_string_equal(error_text(f->result, "kind"), "policy");
    assert_int_equal(f->runs, 2);
    LOAD("local late\n" POLICY(
        "if late then return late(input) end late = next return next(input)"));
    execute(f);
    execute(f);
    assert_non_null(strstr(error_text(f->result, "message"), "after its policy has ended"));
    assert_int_equal(f->runs, 3);
    fails(f, POLICY("return next()"), "PolicyError", "expected, got nil");
    fails(f, POLICY("return next(1)"), "PolicyError", "expected, got number");
}

static void on_failure_denied(void **state)
{
    fixture *f = *state;
    static const char pass[] = POLICY("return next(input)");
    LOAD(pass, pass, pass, POLICY("error('boom')"));
    assert_int_equal(execute(f)->status, KILN_STATUS_DENIED);
    assert_string_equal(error_text(f->result, "name"), "PolicyError");
    assert_string_equal(error_text(f->result, "kind"), "policy");
    assert_int_equal(f->runs, 0);
}

/* A failure inside is a result for the policy around it. */
static void outer_policy_sees_failure(void **state)
{
    fixture *f = *state;
    static const char around[] =
        POLICY("local r = next(input) ctx:decide('saw', r.errors[1].name) return r");
    LOAD(around, POLICY("while true do end"));
    execute(f);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(f->decisions, 0), "detail")),
        "PolicyTimeout");
    assert_string_equal(error_text(f->result, "name"), "PolicyTimeout");
}

/* ------------------------------------------------------------------------- awaiting */

static void awaits_where_none_is_allowed(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    fails(f, POLICY("return coroutine.wrap(function() return next(input) end)()"),
          "PolicyError", "inside a coroutine of the script's own");
    fails(f, POLICY("return coroutine.yield()"), "PolicyError", "coroutine.yield outside");
    fails(f,
          POLICY("return ('%s'):format(setmetatable({}, {__tostring = function() kiln.sleep(1) "
                 "end}))"),
          "PolicyError", "attempt to yield across C-call boundary");
    static const char at_load[] = "kiln.sleep(1)\n" POLICY("");
    write_script(f, "a", at_load, strlen(at_load));
    assert_true(load(f, 1, &err) < 0);
    assert_non_null(strstr(err.text, "a.lua:1: "));
    assert_non_null(strstr(err.text, "no execution is running"));
    /* inside pcall, a metamethod, an iterator, sort and gsub it is */
    passes(
        f,
        POLICY("local t = setmetatable({}, {__index = function() kiln.sleep(0) return 1 end})\n"
               "assert(t.x == 1)\n"
               "for _ in function(_, c) kiln.sleep(0) return not c or nil end do end\n"
               "table.sort({2, 1}, function(a, b) kiln.sleep(0) return a < b end)\n"
               "assert(('x'):gsub('x', function() kiln.sleep(0) return 'y' end) == 'y')\n"
               "return select(2, pcall(next, input))"));
}

static void finished_coroutines(void **state)
{
    passes(*state, POLICY("local co = coroutine.create(function() end) coroutine.resume(co)\n"
                          "local ok, why = coroutine.resume(co)\n"
                          "assert(not ok and why:find('dead'))\n"
                          "assert(coroutine.running() == nil)\n"
                          "return next(input)"));
}

static void late_and_double_completions(void **state)
{
    fixture *f = *state;
    f->deferred = true;
    LOAD(POLICY("next(input) return next(input)"));
    kiln_request *request = kiln_request_new();
    kiln_request_set_code(request, "1", 1);
    assert_non_null(begin(f, request));
    unsigned long stale = kiln_wait_stale_count();
    answer(f, 0);
    assert_int_equal(f->runs, 2);
    answer(f, 0); /* again: must not stand for the second */
    assert_int_equal(f->ends, 0);
    assert_int_equal(kiln_wait_stale_count(), stale + 1);
    answer(f, 1);
    assert_int_equal(f->ends, 1);
    answer(f, 1);
    assert_int_equal(f->ends, 1);
    assert_int_equal(kiln_wait_stale_count(), stale + 2);
    kiln_request_free(request);
}

static void executions_do_not_mix(void **state)
{
    fixture *f = *state;
    f->deferred = true;
    LOAD(POLICY("local code = input.code local r = next(input)\n"
                "ctx:decide('code', code .. input.code) return r"));
    kiln_request *one = kiln_request_new();
    kiln_request *two = kiln_request_new();
    kiln_request_set_code(one, "1", 1);
    kiln_request_set_code(two, "2", 1);
    begin(f, one);
    begin(f, two);
    answer(f, 1);
    answer(f, 0);
    assert_int_equal(f->ends, 2);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(f->decisions, 0), "detail")), "22");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(f->decisions, 1), "detail")), "11");
    kiln_request_free(one);
    kiln_request_free(two);
}

static void all_and_race(void **state)
{
    fixture *f = *state;
    f->deferred = true;
    kiln_request *request = kiln_request_new();
    kiln_request_set_code(request, "1", 1);
    LOAD(POLICY("local r = kiln.all{{'x', input}, {'y', input}}\n"
                "ctx:decide('all', r[1].backend .. r[2].backend) return r[2]"));
    begin(f, request);
    answer(f, 1);
    assert_int_equal(f->ends, 0);
    answer(f, 0);
    assert_int_equal(f->ends, 1);
    assert_string_equal(f->result->backend, "y");
    LOAD(POLICY("local r, winner = kiln.race{{'x', input}, {'y', input}, {'z', input}}\n"
                "assert(winner == 2) return r"));
    begin(f, request);
    answer(f, 3);
    assert_int_equal(f->ends, 2);
    assert_string_equal(f->result->backend, "y");
    assert_int_equal(f->cancels, 2);
    assert_true(f->pending[2].cancelled && f->pending[4].cancelled);
    kiln_request_free(request);
}

static void cancelling(void **state)
{
    fixture *f = *state;
    kiln_request *request = kiln_request_new();
    kiln_request_set_code(request, "1", 1);
    f->deferred = true;
    LOAD(POLICY("kiln.sleep('1h') return next(input)"));
    kiln_policies_cancel(begin(f, request));
    assert_int_equal(f->ends, 1);
    assert_int_equal(f->result->status, KILN_STATUS_INTERRUPTED);
    assert_int_equal(f->runs, 0);
    /* a backend that runs ends first; nothing is started after it */
    LOAD(POLICY("next(input) return next(input)"));
    kiln_policies_cancel(begin(f, request));
    assert_int_equal(f->ends, 1);
    f->status = KILN_STATUS_INTERRUPTED;
    answer(f, 0);
    assert_int_equal(f->ends, 2);
    assert_int_equal(f->runs, 1);
    assert_int_equal(f->result->status, KILN_STATUS_INTERRUPTED);
    kiln_request_free(request);
}

/* ------------------------------------------------------------------ the shared store */

static uint64_t made_up_now(void *user)
{
    return ((fixture *)user)->now;
}

static int no_sleep(void *user, uint64_t milliseconds, void (*done)(void *arg), void *arg,
                    void **handle)
{
    ((fixture *)user)->now += milliseconds;
    *handle = user;
    done(arg);
    return 0;
}

static void store_counts(void **state)
{
    fixture *f = *state;
    f->policies.clock = (kiln_policy_clock){f, made_up_now, no_sleep, NULL};
    LOAD("local seen = 0\n" POLICY(
        "seen = seen + 1\n"
        "assert(kiln.store.incr('hits', 1, '10s') == seen)\n"
        "assert(kiln.store.get('nothing') == nil)\n"
        "kiln.store.set('s', 'a\\255b') assert(kiln.store.get('s') == 'a\\255b')\n"
        "kiln.store.set('b', false) assert(kiln.store.get('b') == false)\n"
        "kiln.store.set('b') assert(kiln.store.get('b') == nil)\n"
        "kiln.store.set('t', 1, 100) kiln.sleep(99) assert(kiln.store.get('t') == 1)\n"
        "kiln.sleep(1) assert(kiln.store.get('t') == nil)\n"
        "return next(input)"));
    for (int i = 0; i < 5; i++) {
        assert_int_equal(execute(f)->status, KILN_STATUS_OK);
    }
    f->now += 10000; /* the first set when it ends; adding does not prolong it */
    assert_int_equal(execute(f)->status, KILN_STATUS_UNAVAILABLE);
    /* another chain sees the same store, and a reload keeps it */
    kiln_shared_set(f->policies.shared, "hits", json_real(41), 0, f->now);
    LOAD(POLICY("assert(kiln.store.incr('hits') == 42) return next(input)"));
    assert_int_equal(execute(f)->status, KILN_STATUS_OK);
    fails(f, POLICY("kiln.store.set('x', {})"), "PolicyError", "string or boolean expected");
    fails(f, POLICY("kiln.store.set('x', 1/0)"), "PolicyError", "not finite");
    fails(f, POLICY("kiln.store.set('x', 1, -1)"), "PolicyError", "how long");
    fails(f, POLICY("kiln.store.set(('k'):rep(257), 1)"), "PolicyError", "a key of 1 to 256");
    fails(f, POLICY("kiln.store.set('a\\0b', 1)"), "PolicyError", "without NUL");
    fails(f, POLICY("kiln.store.set('x', ('v'):rep(4097))"), "PolicyError", "more than 4096");
    fails(f, POLICY("kiln.store.set('x', 'text') kiln.store.incr('x')"), "PolicyError",
          "no number");
    fails(f, POLICY("kiln.store.set('x', 1.7e308) kiln.store.incr('x', 1.7e308)"),
          "PolicyError", "finite");
}

static void store_is_bounded(void **state)
{
    fixture *f = *state;
    f->patient = true;
    f->policies.clock = (kiln_policy_clock){f, made_up_now, no_sleep, NULL};
    LOAD(POLICY("for i = 1, 9999 do kiln.store.set('a' .. i, i, 1000) end\n"
                "kiln.store.set('kept', 1) return next(input)"));
    assert_int_equal(execute(f)->status, KILN_STATUS_OK);
    fails(f, POLICY("kiln.store.incr('more')"), "PolicyError", "the store is full");
    passes(f, POLICY("kiln.store.incr('kept') return next(input)"));
    f->now += 1000; /* what has expired makes room */
    passes(f, POLICY("kiln.store.incr('more') return next(input)"));
    assert_int_equal(kiln_shared_count(f->policies.shared), 2);
}

/* A place is given back whichever way its execution ends. */
static void places(void **state)
{
    fixture *f = *state;
    kiln_request *request = kiln_request_new();
    kiln_request_set_code(request, "1", 1);
    f->deferred = true;
    LOAD(POLICY("if not kiln.store.hold('p', 2) then return kiln.deny('full') end\n"
                "return next(input)"));
    begin(f, request);
    kiln_policy_run *second = begin(f, request);
    begin(f, request);
    assert_int_equal(f->ends, 1);
    assert_int_equal(f->result->status, KILN_STATUS_DENIED);
    answer(f, 0);
    assert_int_equal(f->ends, 2);
    begin(f, request); /* takes the place of the first */
    begin(f, request);
    assert_int_equal(f->ends, 3);
    assert_int_equal(f->result->status, KILN_STATUS_DENIED);
    kiln_policies_cancel(second);
    answer(f, 1);
    answer(f, 2);
    assert_int_equal(f->ends, 5);
    f->deferred = false;
    f->runs = 0;
    static const char *const ends[] = {
        POLICY("assert(kiln.store.hold('q', 1)) while true do end"),
        POLICY("assert(kiln.store.hold('q', 1)) error('x')"),
        POLICY("assert(kiln.store.hold('q', 1)) return ('x'):rep(1e9)"),
        POLICY("assert(kiln.store.hold('q', 1)) return next(input)"),
    };
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        LOAD(ends[i]);
        execute(f);
        execute(f);
        assert_null(strstr(error_text(f->result, "message"), "assertion failed"));
    }
    fails(f, POLICY("for i = 1, 17 do kiln.store.hold('p', 100) end"), "PolicyError",
          "more than 16 places");
    passes(f, POLICY("assert(kiln.store.hold('p', 2)) assert(kiln.store.hold('p', 2))\n"
                     "assert(not kiln.store.hold('p', 2)) return next(input)"));
    kiln_request_free(request);
}

static void remembering(void **state)
{
    fixture *f = *state;
    f->policies.clock = (kiln_policy_clock){f, made_up_now, no_sleep, NULL};
    f->output = strdup("seen\n");
    LOAD(POLICY("local r = kiln.store.recall('k') if r then return r end\n"
                "r = next(input) assert(kiln.store.remember('k', r, '1m')) return r"));
    execute(f);
    assert_int_equal(f->runs, 1);
    kiln_result *first = kiln_result_ref(f->result);
    execute(f);
    assert_int_equal(f->runs, 1);
    assert_true(f->result != first);
    assert_int_equal(f->result->status, KILN_STATUS_OK);
    assert_true(json_equal(f->result->outputs, first->outputs));
    assert_true(f->result->outputs != first->outputs);
    assert_string_equal(f->result->execution_id, "e");
    kiln_result_unref(first);
    f->now += 60000;
    execute(f);
    assert_int_equal(f->runs, 2);
    kiln_shared_forget_results(f->policies.shared);
    execute(f);
    assert_int_equal(f->runs, 3);
    fails(f, POLICY("kiln.store.remember('k', {})"), "PolicyError", "a result of this");
}

/* The oldest results make room, and what is too large is not kept. */
static void remembering_is_bounded(void **state)
{
    fixture *f = *state;
    char key[16];
    kiln_result *result = new_result(f, NULL);
    char *text = malloc(KILN_SHARED_RESULT_MAX);
    memset(text, 'x', KILN_SHARED_RESULT_MAX);
    text[KILN_SHARED_RESULT_MAX - 2000] = '\0';
    json_array_append_new(result->outputs, json_pack("{s:s, s:s, s:s}", "type", "stream",
                                                     "name", "stdout", "text", text));
    free(text);
    kiln_shared *shared = f->policies.shared;
    int first = -1;
    for (int i = 0; i < 80; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        /* JSON holds the text twice: as output and in the summary */
        int rc = kiln_shared_remember(shared, key, result, 0, 0);
        first = i == 0 ? rc : first;
    }
    assert_int_equal(first, -E2BIG);
    kiln_result_unref(result);
    result = new_result(f, NULL);
    text = malloc(KILN_SHARED_RESULT_MAX / 2);
    memset(text, 'x', KILN_SHARED_RESULT_MAX / 2);
    text[KILN_SHARED_RESULT_MAX / 2 - 2000] = '\0';
    json_array_append_new(result->outputs, json_pack("{s:s, s:s, s:s}", "type", "stream",
                                                     "name", "stdout", "text", text));
    free(text);
    for (int i = 0; i < 80; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(kiln_shared_remember(shared, key, result, 0, 0), 0);
    }
    assert_null(kiln_shared_recall(shared, "k0", 0));
    assert_non_null(kiln_shared_recall(shared, "k79", 0));
    kiln_result_unref(result);
}

static void metrics(void **state)
{
    fixture *f = *state;
    passes(f, POLICY("kiln.metric.count('runs') kiln.metric.count('runs', 2)\n"
                     "kiln.metric.count('runs', 1, {language = input.language})\n"
                     "kiln.metric.gauge('level', 7) kiln.metric.gauge('level', 3, {})\n"
                     "kiln.metric.observe('took', 0.2) kiln.metric.observe('took', 70)\n"
                     "return next(input)"));
    json_t *all = kiln_metrics_to_json(f->policies.metrics);
    char *text = json_dumps(all, JSON_SORT_KEYS | JSON_COMPACT);
    assert_non_null(strstr(text, "{\"labels\":{},\"name\":\"runs\",\"type\":\"counter\","
                                 "\"value\":3.0}"));
    assert_non_null(strstr(text, "{\"labels\":{\"language\":\"python\"},\"name\":\"runs\","
                                 "\"type\":\"counter\",\"value\":1.0}"));
    assert_non_null(strstr(text, "\"type\":\"gauge\",\"value\":3.0"));
    assert_non_null(strstr(text, "\"count\":2"));
    assert_non_null(strstr(text, "{\"count\":0,\"le\":0.10000000000000001}"));
    assert_non_null(strstr(text, "{\"count\":1,\"le\":0.25}"));
    assert_non_null(strstr(text, "{\"count\":2,\"le\":60000.0}"));
    assert_non_null(strstr(text, "\"sum\":70.2"));
    free(text);
    json_decref(all);
    fails(f, POLICY("kiln.metric.count('Bad name')"), "PolicyError", "names begin with");
    fails(f, POLICY("kiln.metric.gauge('runs', 1)"), "PolicyError",
          "is a counter, not a gauge");
    fails(f, POLICY("kiln.metric.count('runs', -1)"), "PolicyError", "no value of a counter");
    fails(f, POLICY("kiln.metric.gauge('level', 0/0)"), "PolicyError", "no value of a gauge");
    fails(f, POLICY("kiln.metric.count('runs', 1, {a = {}})"), "PolicyError", "label \"a\"");
    fails(f, POLICY("kiln.metric.count('runs', 1, {'a'})"), "PolicyError", "name = value");
    fails(f, POLICY("kiln.metric.count('runs', 1, {a='',b='',c='',d='',e=''})"), "PolicyError",
          "more than 4 labels");
    /* a label that anybody may choose cannot fill the engine, nor make runs fail */
    f->patient = true;
    passes(f, POLICY("for i = 1, 1500 do kiln.metric.count('flood', 1, {a = i .. ''}) end\n"
                     "kiln.metric.count('flood', 1, {a = ('x'):rep(10000)})\n"
                     "return next(input)"));
    all = kiln_metrics_to_json(f->policies.metrics);
    assert_int_equal(json_array_size(json_object_get(all, "series")), KILN_METRIC_SERIES);
    assert_true(json_integer_value(json_object_get(all, "dropped")) > 400);
    json_decref(all);
}

static void fingerprints(void **state)
{
    fixture *f = *state;
    passes(
        f,
        POLICY(
            "local a = kiln.fingerprint(input) assert(#a == 64)\n"
            "assert(a == kiln.fingerprint(kiln.copy(input)))\n"
            "for _, change in ipairs{{'code', 'x'}, {'language', 'lua'}, {'stdin', 'x'},\n"
            "  {'args', {'a'}}, {'args', {'a', ''}}, {'args', {'', 'a'}}, {'env', {A = 'b'}},\n"
            "  {'backend', 'x'}, {'timeout_ms', 5}, {'limits', {memory = 2^20}}} do\n"
            "  local other = kiln.copy(input) other[change[1]] = change[2]\n"
            "  local b = kiln.fingerprint(other) assert(a ~= b, change[1]) a = b\n"
            "end\n"
            "return next(input)"));
    char path[128];
    kiln_request *request = kiln_request_new();
    kiln_request_set_code(request, "1", 1);
    script_path(f, "b", path, sizeof(path));
    write_script(f, "b", "one", 3);
    kiln_request_add_file(request, "data", path, NULL, 0, NULL);
    LOAD(POLICY("local id, why = kiln.fingerprint(input)\n"
                "ctx:decide('id', id or why) return next(input)"));
    begin(f, request);
    write_script(f, "b", "two", 3);
    begin(f, request);
    write_script(f, "b", "one", 3);
    begin(f, request);
    unlink(path);
    mkfifo(path, 0600);
    begin(f, request);
    const char *ids[4];
    for (size_t i = 0; i < 4; i++) {
        ids[i] = json_string_value(json_object_get(json_array_get(f->decisions, i), "detail"));
    }
    assert_string_not_equal(ids[0], ids[1]);
    assert_string_equal(ids[0], ids[2]);
    assert_non_null(strstr(ids[3], "no regular file"));
    kiln_request_free(request);
}

/* ------------------------------------------------------------------- client and trace */

static void client(void **state)
{
    fixture *f = *state;
    passes(f, POLICY("assert(ctx.client == nil) return next(input)"));
    f->client = "uid:1000";
    passes(f, POLICY("assert(ctx.client == 'uid:1000') return next(input)"));
}

static void tracing(void **state)
{
    fixture *f = *state;
    f->trace = json_array();
    LOAD(POLICY("kiln.sleep('1h') ctx:decide('a', 'b') return next(input)"),
         POLICY(
             "kiln.analyze(input.code) kiln.log('error', 'x') return kiln.run('exec', input)"));
    assert_int_equal(execute(f)->status, KILN_STATUS_OK);
    static const char *const events[] = {"enter", "sleep", "decide", "enter", "analyze",
                                         "log",   "run",   "answer", "leave", "leave"};
    assert_int_equal(json_array_size(f->trace), sizeof(events) / sizeof(events[0]));
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        const json_t *entry = json_array_get(f->trace, i);
        assert_string_equal(json_string_value(json_object_get(entry, "event")), events[i]);
        assert_string_equal(json_string_value(json_object_get(entry, "policy")),
                            i < 3 || i == 9 ? "a" : "b");
    }
}

/* A script may return a table of hooks. */
static void hooks(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    passes(f, "return { execute = function(input, ctx, next) return next(input) end }");
    static const char *const bad[] = {"return {}", "return { execute = 1 }",
                                      "return { exceute = function() end }"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_script(f, "a", bad[i], strlen(bad[i]));
        assert_true(load(f, 1, &err) < 0);
        assert_non_null(strstr(err.text, "a.lua: returns a table"));
    }
}

/* --------------------------------------------------------------------- the sandbox */

static void reach(void **state)
{
    static const char *const absent[] = {
        "load",    "loadstring",     "loadfile", "dofile", "require", "module", "getfenv",
        "setfenv", "collectgarbage", "newproxy", "gcinfo", "debug",   "io",     "os",
        "jit",     "package",        "ffi",
    };
    char script[512];
    for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
        snprintf(script, sizeof(script),
                 POLICY("assert(rawget(_G, '%s') == nil) return next(input)"), absent[i]);
        passes(*state, script);
        snprintf(script, sizeof(script), POLICY("return %s"), absent[i]);
        fails(*state, script, "PolicyError", "undefined global");
    }
    passes(*state,
           POLICY("assert(string.dump == nil and (''):len() == 0 and (('').dump) == nil)\n"
                  "assert(getmetatable('') == false)\n"
                  "assert(not pcall(setmetatable, '', {}))\n"
                  "assert(getmetatable(_G) == false)\n"
                  "return next(input)"));
    fails(*state, POLICY("x = 1"), "PolicyError", "say local");
    fails(*state, POLICY("kiln.deny('x').status = 'ok'"), "PolicyError", "read-only");
}

static void scripts_do_not_share_globals(void **state)
{
    fixture *f = *state;
    LOAD("string.len = nil rawset(_G, 'x', 1) kiln.run = nil\n" POLICY("return next(input)"),
         POLICY(
             "assert(rawget(_G, 'x') == nil and string.len('ab') == 2 and ('ab'):len() == 2)\n"
             "assert(kiln.run) return next(input)"));
    assert_int_equal(execute(f)->status, KILN_STATUS_OK);
}

/* ---------------------------------------------------------------------- the input */

static void changed_input(void **state)
{
    fixture *f = *state;
    LOAD(POLICY(
        "input.code = 'two' input.backend = 'exec' input.env.A = 'b' input.args[1] = '-x'\n"
        "return next(input)"));
    assert_int_equal(execute(f)->status, KILN_STATUS_OK);
    assert_string_equal(f->pending[0].code, "two");
    assert_string_equal(f->pending[0].backend, "exec");
    fails(f, POLICY("input.code = nil return next(input)"), "PolicyError",
          "input.code: string expected");
    fails(f, POLICY("input.code = {} local r = next(input) return r"), "PolicyError",
          "a.lua:2: input.code: string expected, got table");
    fails(f, POLICY("input.code = 'a\\0b' return next(input)"), "PolicyError", "NUL");
    fails(f, POLICY("input.args = {'a', 2} return next(input)"), "PolicyError",
          "input.args[2]: string expected");
    fails(f, POLICY("input.timeout = 5 return next(input)"), "PolicyError",
          "no field 'timeout'");
    fails(f, POLICY("input.timeout_ms = -1 return next(input)"), "PolicyError",
          "input.timeout_ms");
    fails(f, POLICY("input.limits.memroy = 1 return next(input)"), "PolicyError", "'memroy'");
    fails(f, POLICY("return kiln.run(nil, input)"), "PolicyError",
          "name of a backend expected");
    fails(f, POLICY("return kiln.deny('x').statsu"), "PolicyError", "no field 'statsu'");
}

/* ------------------------------------------------------------------- script files */

static void refuses(fixture *f, const void *text, size_t length, const char *message)
{
    kiln_error err = KILN_ERROR_INIT;
    write_script(f, "a", text, length);
    assert_true(load(f, 1, &err) < 0);
    if (strstr(err.text, message) == NULL) {
        fail_msg("%s", err.text);
    }
}

static void script_files(void **state)
{
    fixture *f = *state;
    kiln_error err = KILN_ERROR_INIT;
    char path[128];
    refuses(f, "", 0, "a.lua: empty");
    refuses(f, "\x1bLJ\x02", 4, "bytecode");
    refuses(f, "return function(", 16, "a.lua:1: ");
    refuses(f, "\n\nerror('at load')", 18, "a.lua:3: at load");
    refuses(f, "return 7", 8, "returns number");
    refuses(f, "local x = 1", 11, "returns nothing");
    refuses(f, "while true do end", 17, "without a pause");
    refuses(f, "kiln.options{x = {type = 'lsit'}} return print", 46, "x: type is one of");
    refuses(f, "kiln.options{x = {type = 'list', default = true}} return print", 62,
            "not of its type");
    auto_free char *large = malloc(KILN_SCRIPT_MAX + 2);
    memset(large, ' ', KILN_SCRIPT_MAX + 2);
    refuses(f, large, KILN_SCRIPT_MAX + 2, "larger than");
    script_path(f, "a", path, sizeof(path));
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_true(load(f, 1, &err) < 0);
    assert_non_null(strstr(err.text, "not a regular file"));
    unlink(path);
    assert_int_equal(load(f, 1, &err), -ENOENT);
}

/* ------------------------------------------------ patterns against LuaJIT's own */

static const char comparison[] =
    "local mine, steps = ...\n"
    "local subjects = {'', 'a', 'ab', 'aab', 'hello world', 'key = value', '  x  ', 'a.b.c', "
    "'(()())',\n"
    "  'THE (quick) fox', '2026-11-22', 'a\\0b', '\\1\\255\\128z', 'foo123bar', '%d[]', '^a$', "
    "'x^y'}\n"
    "local atoms = {'a', '.', '%a', '%d', '%s', '%w', '%p', '%u', '%l', '%x', '%c', '%g', "
    "'%z', '%A', '%S',\n"
    "  '[abc]', '[^a]', '[a-z]', '[%w_]', '[]]', '[^]]', '[a-]', '(', ')', '()', '%b()', "
    "'%f[%w]', '%1', '%',\n"
    "  '[', '%f', '%%', '$', '^', '-', 'b', '[%a-z]', '\\255', '%b', '%2', '%.'}\n"
    "local suffixes = {'', '*', '+', '-', '?'}\n"
    "local seed = 1\n"
    "local function random(n) seed = (seed * 16807) % 2147483647 return seed % n + 1 end\n"
    "local function show(...) local t = {n = select('#', ...), ...}\n"
    "  for i = 1, t.n do t[i] = type(t[i]) .. ':' .. tostring(t[i]) end return table.concat(t, "
    "',', 1, t.n) end\n"
    "local function plain(...) local ok, m = ... if ok then return show(...) end\n"
    "  m = tostring(m):gsub('^.-:%d+: ', '') return 'error ' .. m end\n"
    "local function all(f, s, p) local out = {} for a, b in f(s, p) do out[#out + 1] = show(a, "
    "b)\n"
    "  if #out > 50 then break end end return table.concat(out, ';') end\n"
    "for step = 1, steps do\n"
    "  local p = random(6) == 1 and '^' or ''\n"
    "  for _ = 1, random(4) do p = p .. atoms[random(#atoms)] .. suffixes[random(#suffixes)] "
    "end\n"
    "  local s, init = subjects[random(#subjects)], random(8) - 4\n"
    "  local where = ('%q %q %d'):format(s, p, init)\n"
    "  local function same(what, a, b) if a ~= b then error(what .. ' ' .. where .. '\\nmine ' "
    ".. a .. '\\nhis  ' .. b) end end\n"
    "  same('find', plain(pcall(mine.find, s, p, init)), plain(pcall(string.find, s, p, "
    "init)))\n"
    "  same('match', plain(pcall(mine.match, s, p, init)), plain(pcall(string.match, s, p, "
    "init)))\n"
    "  same('plain', plain(pcall(mine.find, s, p, init, true)), plain(pcall(string.find, s, p, "
    "init, true)))\n"
    "  same('gmatch', plain(pcall(all, mine.gmatch, s, p)), plain(pcall(all, string.gmatch, s, "
    "p)))\n"
    "  for _, r in ipairs{'<%0>', '%1', '', '%', function(a, b) return a ~= 'a' and "
    "tostring(a) .. tostring(b) end, {a = 'X', [''] = 'E'}} do\n"
    "    local most = random(4) > 1 and nil or random(4) - 2\n"
    "    same('gsub ' .. tostring(r), plain(pcall(mine.gsub, s, p, r, most)), "
    "plain(pcall(string.gsub, s, p, r, most)))\n"
    "  end\n"
    "end\n";

static int compare_patterns(lua_State *L)
{
    kiln_lua *lua = kiln_lua_of(L);
    kiln_lua_load_own(L, comparison, "=comparison");
    lua_rawgeti(L, LUA_REGISTRYINDEX, lua->environment);
    lua_call(L, 0, 1);
    lua_getfield(L, -1, "string");
    lua_remove(L, -2);
    lua_pushinteger(L, 20000);
    lua_call(L, 2, 0);
    return 0;
}

static void patterns_agree(void **state)
{
    (void)state;
    kiln_lua *lua;
    kiln_error err = KILN_ERROR_INIT;
    assert_int_equal(kiln_lua_new(256 << 20, 600000, 600000, &lua, &err), 0);
    int rc = kiln_lua_protect(lua, compare_patterns, NULL, &err);
    kiln_lua_free(lua);
    if (rc < 0) {
        fail_msg("%s", err.text);
    }
}

/* ------------------------------------------------------------------------- the rest */

static void example_of_the_design(void **state)
{
    fixture *f = *state;
    f->status = KILN_STATUS_CRASHED;
    LOAD("kiln.options{fallback = {type = 'list', default = {'exec', 'container'}}}\n"
         "return function(input, ctx, next)\n"
         "  local result = next(input)\n"
         "  for _, backend in ipairs(ctx.options.fallback) do\n"
         "    if result.status ~= \"crashed\" and result.status ~= \"unavailable\" then break "
         "end\n"
         "    ctx:decide(\"retry\", backend)\n"
         "    result = kiln.run(backend, input)\n"
         "  end\n"
         "  return result\n"
         "end\n");
    assert_int_equal(execute(f)->status, KILN_STATUS_CRASHED);
    assert_int_equal(f->runs, 3);
    assert_string_equal(f->pending[2].backend, "container");
    assert_int_equal(json_array_size(f->decisions), 2);
}

static void many_executions_leave_nothing(void **state)
{
    fixture *f = *state;
    static const char pass[] =
        POLICY("local t = {} for i = 1, 100 do t[i] = i end return next(input)");
    LOAD(pass, pass, pass);
    size_t used = 0;
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 100; i++) {
            execute(f);
            f->runs = 0;
        }
        if (round == 10) {
            used = f->chain->lua->used;
        }
    }
    assert_true(f->chain->lua->used < used + (1 << 20));
    assert_int_equal(f->chain->runs, 0);
    assert_int_equal(f->chain->lua->granted, 0);
    assert_int_equal(f->chain->idle_count, 1);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(endless_loops),
        TEST(spinning_line_is_told),
        TEST(pausing_uses_up_the_total),
        TEST(budgets_of_a_chain),
        TEST(results_are_bounded),
        TEST(decisions_are_bounded),
        TEST(store_counts),
        TEST(store_is_bounded),
        TEST(places),
        TEST(remembering),
        TEST(remembering_is_bounded),
        TEST(metrics),
        TEST(fingerprints),
        TEST(client),
        TEST(tracing),
        TEST(hooks),
        TEST(waiting_is_not_counted),
        TEST(awaits_are_bounded),
        TEST(memory),
        TEST(garbage_is_no_use_of_memory),
        TEST(depth),
        TEST(bombs_in_c),
        TEST(error_objects),
        TEST(returns),
        TEST(next_twice_never_late),
        TEST(on_failure_denied),
        TEST(outer_policy_sees_failure),
        TEST(awaits_where_none_is_allowed),
        TEST(finished_coroutines),
        TEST(late_and_double_completions),
        TEST(executions_do_not_mix),
        TEST(all_and_race),
        TEST(cancelling),
        TEST(reach),
        TEST(scripts_do_not_share_globals),
        TEST(changed_input),
        TEST(script_files),
        TEST(patterns_agree),
        TEST(example_of_the_design),
        TEST(many_executions_leave_nothing),
    };
    return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
