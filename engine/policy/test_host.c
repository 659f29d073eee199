/* What `kiln test` makes up around a policy: backends, analysis, clock, options, log. */
#include "policy/test-t.h"

#include "base/cleanup.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>

/* One test.run. */
typedef struct experiment {
    kiln_test_suite *suite;
    lua_State *L;     /* the test's */
    int backend_call; /* stack index: function(name, input) */
    int analyze_call; /* stack index: function(code, language) */
    json_t *spec;
    json_t *decisions;
    json_t *log;
    json_t *text; /* of the option asked for last */
    kiln_result *result;
    kiln_error error; /* of a made-up backend */
} experiment;

/* What a made-up backend was asked, and what it answered. */
typedef struct question {
    experiment *experiment;
    const char *backend;
    const kiln_request *request;
    const char *code;
    size_t length;
    const char *language;
    json_t *answer;
    kiln_error error;
} question;

/* --------------------------------------------------------------- the made-up host */

static const char *spec_text(const experiment *running, const char *key)
{
    return json_string_value(json_object_get(running->spec, key));
}

static kiln_result *new_result(void *core, void *execution)
{
    (void)execution;
    const experiment *running = core;
    const json_t *input = json_object_get(running->spec, "input");
    const char *language = json_string_value(json_object_get(input, "language"));
    kiln_result *result = kiln_result_new();
    if (result == NULL) {
        return NULL;
    }
    result->session_id = strdup(spec_text(running, "session_id"));
    result->execution_id = strdup("00000000-0000-4000-8000-000000000000");
    result->language = strdup(language != NULL ? language : "python");
    result->execution_count =
        (uint64_t)json_integer_value(json_object_get(running->spec, "execution_count"));
    return result;
}

static int ask_backend(lua_State *L)
{
    question *asked = lua_touserdata(L, 1);
    luaL_checkstack(L, KILN_CONVERT_SLOTS, NULL);
    lua_pushvalue(L, 2);
    lua_pushstring(L, asked->backend);
    kiln_lua_push_request(L, asked->request, spec_text(asked->experiment, "session_id"));
    lua_call(L, 2, 1);
    asked->answer = kiln_lua_to_json(L, -1, &asked->error);
    return 0;
}

static int ask_analysis(lua_State *L)
{
    question *asked = lua_touserdata(L, 1);
    luaL_checkstack(L, KILN_CONVERT_SLOTS, NULL);
    lua_pushvalue(L, 2);
    lua_pushlstring(L, asked->code, asked->length);
    lua_pushstring(L, asked->language);
    lua_call(L, 2, 2);
    if (lua_isnil(L, -2)) {
        kiln_error_set(&asked->error, -EINVAL, "%s",
                       lua_isstring(L, -1) ? lua_tostring(L, -1) : "not analysed");
        return 0;
    }
    asked->answer = kiln_lua_to_json(L, -2, &asked->error);
    return 0;
}

/* Calls function(question, callback) in the test's state, protected. */
static void ask(question *asked, lua_CFunction function, int callback)
{
    lua_State *L = asked->experiment->L;
    int top = lua_gettop(L);
    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, asked);
    lua_pushvalue(L, callback);
    if (lua_pcall(L, 2, 0, 0) != 0) {
        char text[512];
        kiln_lua_error_text(L, -1, text, sizeof(text));
        kiln_error_set(&asked->experiment->error, -EINVAL, "%s", text);
        kiln_error_set(&asked->error, -EINVAL, "%s", text);
    }
    lua_settop(L, top);
}

/* A backend's answer over a result of this execution. */
static kiln_result *answered(experiment *running, const question *asked)
{
    kiln_result *base = new_result(running, NULL);
    kiln_result *result = NULL;
    kiln_error err = KILN_ERROR_INIT;
    auto_json json_t *json = base != NULL ? kiln_result_to_json(base) : NULL;
    if (base != NULL) {
        kiln_result_unref(base);
    }
    json_object_del(json, "outputs"); /* else they would win over the answer's stdout */
    json_object_del(json, "stdout");
    json_object_del(json, "stderr");
    json_object_set_new(json, "status", json_string("ok"));
    json_object_set_new(json, "backend", json_string(asked->backend));
    json_object_set_new(json, "language", json_string(asked->request->language));
    json_object_update(json, asked->answer);
    if (json == NULL || kiln_result_from_json(json, &result, &err) < 0) {
        kiln_error_set(&running->error, -EINVAL, "backend %s: %s", asked->backend, err.text);
        return new_result(running, NULL);
    }
    return result;
}

static void fake_run(void *core, void *execution, const kiln_request *request,
                     const char *backend, bool live,
                     void (*done)(void *user, kiln_result *result), void *user, void **handle)
{
    (void)live;
    experiment *running = core;
    kiln_result *result;
    *handle = running;
    backend = backend != NULL            ? backend
              : request->backend != NULL ? request->backend
                                         : spec_text(running, "backend");
    question asked = {.experiment = running, .backend = backend, .request = request};
    if (json_object_get(json_object_get(running->spec, "backends"), backend) == NULL) {
        char text[256];
        snprintf(text, sizeof(text), "no backend \"%s\"", backend);
        result = new_result(core, execution);
        if (result != NULL) {
            kiln_result_add_error(result, "system", "UnknownBackend", text, NULL);
        }
    } else {
        ask(&asked, ask_backend, running->backend_call);
        result = answered(running, &asked);
    }
    json_decref(asked.answer);
    done(user, result);
    if (result != NULL) {
        kiln_result_unref(result);
    }
}

static void fake_analyze(void *core, void *execution, const char *language, const char *code,
                         size_t length,
                         void (*done)(void *user, json_t *analysis, const char *error),
                         void *user, void **handle)
{
    (void)execution;
    experiment *running = core;
    question asked = {
        .experiment = running, .code = code, .length = length, .language = language};
    *handle = running;
    ask(&asked, ask_analysis, running->analyze_call);
    done(user, asked.answer, asked.answer == NULL ? asked.error.text : NULL);
    json_decref(asked.answer);
}

static void fake_imports(void *core, void *execution,
                         void (*done)(void *user, json_t *lines, const char *error), void *user,
                         void **handle)
{
    (void)execution;
    experiment *running = core;
    *handle = running;
    json_t *lines = json_object_get(running->spec, "imports");
    bool failed = json_is_string(lines); /* why there are none */
    done(user, failed ? NULL : lines, failed ? json_string_value(lines) : NULL);
}

/* What spec.natives has of that name: a list of results, or why it fails. */
static int to_native(const json_t *json, kiln_native_value *value)
{
    switch (json_typeof(json)) {
    case JSON_TRUE:
    case JSON_FALSE:
        value->tag = json_is_true(json) ? KILN_VALUE_TRUE : KILN_VALUE_FALSE;
        return 0;
    case JSON_INTEGER:
        *value =
            (kiln_native_value){.tag = KILN_VALUE_INT, .as.integer = json_integer_value(json)};
        return 0;
    case JSON_REAL:
        *value = (kiln_native_value){.tag = KILN_VALUE_REAL, .as.real = json_real_value(json)};
        return 0;
    case JSON_STRING:
        *value = kiln_native_bytes(json_string_value(json), json_string_length(json));
        return 0;
    case JSON_ARRAY: {
        int rc = kiln_native_value_list(value, json_array_size(json));
        for (size_t i = 0; rc == 0 && i < json_array_size(json); i++) {
            rc = to_native(json_array_get(json, i), &value->as.list.items[i]);
        }
        return rc;
    }
    default:
        return 0;
    }
}

static void fake_native(void *core, void *execution, const char *name,
                        kiln_native_value *arguments, const kiln_native_callbacks *callbacks,
                        void *user, void **handle)
{
    (void)execution, (void)arguments;
    experiment *running = core;
    const json_t *given = json_object_get(json_object_get(running->spec, "natives"), name);
    auto_value kiln_native_value results = {.tag = KILN_VALUE_NULL};
    kiln_native_failure failure = {"NativeError", "out of memory"};
    *handle = running;
    if (json_is_string(given)) {
        failure.text = json_string_value(given);
        callbacks->done(user, NULL, &failure);
    } else if (!json_is_array(given) || to_native(given, &results) < 0) {
        failure.text = "test.run: natives: a list of results, or a text, expected";
        callbacks->done(user, NULL, &failure);
    } else {
        callbacks->done(user, &results, NULL);
    }
}

static kiln_native_found fake_native_find(void *core, const char *name)
{
    const json_t *natives = json_object_get(((experiment *)core)->spec, "natives");
    const char *key;
    json_t *value;
    size_t length = strlen(name);
    json_object_foreach((json_t *)(uintptr_t)natives, key, value)
    {
        if (strncmp(key, name, length) == 0 && (key[length] == '\0' || key[length] == '.')) {
            return key[length] == '\0' ? KILN_NATIVE_FUNCTION : KILN_NATIVE_GROUP;
        }
    }
    return KILN_NATIVE_NONE;
}

static void fake_cancel(void *core, void *handle)
{
    (void)core; /* everything here is done at once */
    (void)handle;
}

static json_t *fake_backends(void *core)
{
    return json_object_get(((experiment *)core)->spec, "backends");
}

static int fake_sleep(void *user, uint64_t milliseconds, void (*done)(void *arg), void *arg,
                      void **handle)
{
    experiment *running = user;
    running->suite->clock += milliseconds;
    *handle = running;
    done(arg);
    return 0;
}

static uint64_t fake_now(void *user)
{
    return ((experiment *)user)->suite->clock;
}

static void fake_log(void *user, const char *level, const char *policy, const char *text)
{
    experiment *running = user;
    json_t *entry = json_pack("{s:s, s:s}", "level", level, "policy", policy);
    json_object_set_new(entry, "text", kiln_policy_text(text, strlen(text), 1 << 20));
    json_array_append_new(running->log, entry);
}

/* ------------------------------------------------------------------------ options */

static json_t *given_options(const experiment *running, const char *policy)
{
    return json_object_get(json_object_get(running->spec, "options"), policy);
}

static int fake_declare(void *user, const char *policy, const kiln_option *options,
                        kiln_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(given_options(user, policy), key, value)
    {
        const kiln_option *option = options;
        while (option->name != NULL && strcmp(option->name, key) != 0) {
            option++;
        }
        if (option->name == NULL) {
            return kiln_error_set(err, -EINVAL, "policy %s declares no option \"%s\"", policy,
                                  key);
        }
    }
    return 0;
}

/* As the configuration would give it: units made into milliseconds and bytes. */
static json_t *plain_text(const kiln_option *option, const char *text)
{
    kiln_error err = KILN_ERROR_INIT;
    uint64_t number;
    bool unit = (option->type == KILN_OPTION_DURATION &&
                 kiln_parse_duration(text, &number, &err) == 0) ||
                (option->type == KILN_OPTION_SIZE && kiln_parse_size(text, &number, &err) == 0);
    if (unit && text[0] != '\0') {
        return json_sprintf("%llu", (unsigned long long)number);
    }
    return json_string(text);
}

static json_t *joined(const json_t *list)
{
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *word = json_string_value(json_array_get(list, i));
        kiln_buffer_printf(&text, i > 0 ? " %s" : "%s", word != NULL ? word : "");
    }
    return json_string(text.data != NULL ? text.data : "");
}

static const char *fake_value(void *user, const char *policy, const kiln_option *option)
{
    experiment *running = user;
    const json_t *given = json_object_get(given_options(running, policy), option->name);
    json_decref(running->text);
    if (given == NULL) {
        running->text = plain_text(option, option->default_value);
    } else if (json_is_string(given)) {
        running->text = plain_text(option, json_string_value(given));
    } else if (json_is_array(given)) {
        running->text = joined(given);
    } else if (json_is_boolean(given)) {
        running->text = json_string(json_is_true(given) ? "true" : "false");
    } else {
        running->text = json_sprintf("%.0f", json_number_value(given));
    }
    return json_string_value(running->text);
}

/* ------------------------------------------------------------------ one experiment */

static void keep_result(void *user, kiln_result *result)
{
    experiment *running = user;
    running->result = result != NULL ? kiln_result_ref(result) : NULL;
}

char *kiln_test_policy_path(const char *test, const char *name)
{
    char *path = NULL;
    const char *slash = strrchr(test, '/');
    return asprintf(&path, "%.*s/%s.lua", slash != NULL ? (int)(slash - test) : 1,
                    slash != NULL ? test : ".", name) < 0
               ? NULL
               : path;
}

static int load_chain(const kiln_test_suite *file, experiment *running, kiln_policies *policies,
                      kiln_chain **chain, kiln_error *err)
{
    const json_t *names = json_object_get(running->spec, "policies");
    const json_t *failures = json_object_get(running->spec, "on_failure");
    kiln_option_source source = {running, fake_declare, fake_value};
    size_t count = json_array_size(names);
    kiln_policy_spec *specs = calloc(count + 1, sizeof(*specs));
    char **paths = calloc(count + 1, sizeof(*paths));
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        const char *on_failure = json_string_value(json_object_get(failures, name));
        if (name == NULL || strchr(name, '/') != NULL ||
            (paths[i] = kiln_test_policy_path(file->path, name)) == NULL) {
            rc = kiln_error_set(err, -EINVAL, "test.run: policies: names expected");
            break;
        }
        if (file->coverage != NULL && kiln_coverage_add(file->coverage, paths[i], err) < 0) {
            rc = -EINVAL;
            break;
        }
        specs[i] = (kiln_policy_spec){name, paths[i],
                                      on_failure != NULL && strcmp(on_failure, "denied") == 0};
    }
    if (rc == 0) {
        rc = kiln_chain_new(policies, "test", NULL, specs, count, &source, chain, err);
    }
    for (size_t i = 0; i < count; i++) {
        free(paths[i]);
    }
    free(paths);
    free(specs);
    return rc;
}

static int run_experiment(const kiln_test_suite *file, experiment *running, kiln_error *err)
{
    kiln_chain *chain = NULL;
    kiln_policy_run *run = NULL;
    kiln_request *request = NULL;
    kiln_policies policies = {
        .host = {running, fake_run, fake_analyze, fake_imports, fake_native, fake_native_find,
                 fake_cancel, fake_backends, new_result},
        .clock = {running, fake_now, fake_sleep, fake_cancel},
        .shared = file->shared,
        .metrics = file->metrics,
        .coverage = file->coverage,
        .chains = &chain,
        .count = 1,
        .default_chain = (char *)(uintptr_t) "test",
        .default_backend = (char *)(uintptr_t)spec_text(running, "backend"),
        .log = fake_log,
        .log_user = running,
    };
    kiln_policy_context context = {
        .session_id = spec_text(running, "session_id"),
        .client = spec_text(running, "client"),
        .execution_id = "00000000-0000-4000-8000-000000000000",
        .execution_count =
            (uint64_t)json_integer_value(json_object_get(running->spec, "execution_count")),
        .consecutive_failures =
            (unsigned)json_integer_value(json_object_get(running->spec, "failures")),
        .decisions = running->decisions,
        .scenario = json_object_get(running->spec, "scenario"),
    };
    int rc = kiln_request_from_json(json_object_get(running->spec, "input"), &request, err);
    if (rc == 0) {
        rc = load_chain(file, running, &policies, &chain, err);
    }
    if (rc == 0) {
        kiln_policies_execute(&policies, NULL, &context, request, keep_result, running, &run);
        if (run != NULL) {
            rc = kiln_error_set(err, -EBUSY, "test.run: the chain did not end");
        } else if (running->error.code != 0) {
            *err = running->error;
            rc = err->code;
        }
        kiln_chain_free(chain);
    }
    kiln_request_free(request);
    return rc;
}

/* execute(spec, backend, analyze) -> run */
int kiln_test_execute(lua_State *L)
{
    kiln_lua *lua = kiln_lua_of(L);
    kiln_error err = KILN_ERROR_INIT;
    luaL_checkstack(L, KILN_CONVERT_SLOTS, NULL);
    kiln_test_suite *file = lua->owner;
    experiment running = {.suite = file, .L = L, .backend_call = 2, .analyze_call = 3};
    uint64_t since = file->clock;
    running.spec = kiln_lua_to_json(L, 1, &err);
    running.decisions = json_array();
    running.log = json_array();
    int rc = running.spec == NULL ? err.code : run_experiment(file, &running, &err);
    json_t *outcome = NULL;
    if (rc == 0 && running.result != NULL) {
        outcome = json_pack("{s:o, s:O, s:O, s:o, s:I}", "result",
                            kiln_result_to_json(running.result), "decisions", running.decisions,
                            "log", running.log, "metrics", kiln_metrics_to_json(file->metrics),
                            "slept", (json_int_t)(file->clock - since));
    } else if (rc == 0) {
        rc = kiln_error_set(&err, -ENOMEM, "test.run: no result");
    }
    if (running.result != NULL) {
        kiln_result_unref(running.result);
    }
    json_decref(running.spec);
    json_decref(running.decisions);
    json_decref(running.log);
    json_decref(running.text);
    if (rc < 0) {
        return luaL_error(L, "%s", err.text);
    }
    json_decref(lua->scratch);
    lua->scratch = outcome;
    kiln_lua_push_json(L, outcome);
    return 1;
}
