/* policy RUNS - what the policies cost: an execution through the default chain around a
 * backend that answers at once, less one through an empty chain; and a reload of ten
 * scripts. Run from the tree's root, whose scripts and configuration it takes. */
#include "policy/policy.h"
#include "measure.h"

static measure chain_of_five = {.name = "default_chain"};
static measure empty_chain = {.name = "empty_chain"};
static measure reload = {.name = "reload_ten"};

static json_t *table;

static kiln_result *result_of(void *core, void *execution)
{
    (void)core, (void)execution;
    kiln_result *result = kiln_result_new();
    result->session_id = strdup("bench");
    result->execution_id = strdup("00000000-0000-4000-8000-000000000000");
    result->language = strdup("python");
    return result;
}

static void run_at_once(void *core, void *execution, const kiln_request *request,
                        const char *backend, bool live,
                        void (*done)(void *user, kiln_result *result), void *user,
                        void **handle)
{
    (void)request, (void)backend, (void)live, (void)handle;
    kiln_result *result = result_of(core, execution);
    result->status = KILN_STATUS_OK;
    result->backend = strdup("interpreter");
    done(user, result);
    kiln_result_unref(result);
}

static json_t *backends(void *core)
{
    (void)core;
    return table;
}

static void on_done(void *user, kiln_result *result)
{
    (void)user;
    if (!kiln_result_success(result)) {
        json_dumpf(result->errors, stderr, 0);
        measure_fail("policy", kiln_status_name(result->status));
    }
}

static void execute(kiln_policies *policies, const char *chain, kiln_request *request,
                    uint64_t count, measure *series)
{
    double since = measure_now();
    json_t *decisions = json_array();
    const kiln_policy_context context = {.session_id = "bench",
                                         .execution_id = "00000000-0000-4000-8000-000000000000",
                                         .execution_count = count,
                                         .decisions = decisions};
    kiln_policy_run *run = NULL;
    kiln_policies_execute(policies, chain, &context, request, on_done, NULL, &run);
    if (run != NULL) {
        measure_fail("policy", "the chain waits");
    }
    json_decref(decisions);
    if (series != NULL) {
        measure_add(series, since);
    }
}

/* Three chains, ten scripts in all. */
static kiln_config *configuration(void)
{
    static const char *const set[] = {
        "chain.empty.policies=", "chain.again.policies=audit deny route imports retry", NULL};
    kiln_config_sources sources = {
        .file = "conf/kiln.ini", .runtimes = "conf/runtimes.ini", .set = set};
    kiln_config *config = NULL;
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_config_load(&sources, &config, &err) < 0) {
        measure_fail("config", err.text);
    }
    return config;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        measure_fail("usage", "policy RUNS");
    }
    int runs = atoi(argv[1]);
    kiln_error err = KILN_ERROR_INIT;
    uv_loop_t loop;
    uv_loop_init(&loop);
    table = json_pack("{s:{s:b,s:[s]}, s:{s:b,s:[s]}}", "interpreter", "stateful", 1,
                      "languages", "python", "exec", "stateful", 0, "languages", "*");
    const kiln_policy_host host = {
        .run = run_at_once, .backends = backends, .result = result_of};
    kiln_config *config = configuration();
    kiln_policies *policies = NULL;
    if (kiln_policies_load(&loop, config, "scripts", &host, &policies, &err) < 0) {
        measure_fail("policies", err.text);
    }
    kiln_request *request = kiln_request_new();
    if (request == NULL || kiln_request_set_code(request, "1+1", 3) < 0) {
        measure_fail("request", "out of memory");
    }
    for (int i = -100; i < runs; i++) {
        uint64_t count = (uint64_t)i + 101;
        execute(policies, "default", request, count, i >= 0 ? &chain_of_five : NULL);
        execute(policies, "empty", request, count, i >= 0 ? &empty_chain : NULL);
    }
    for (int i = 0; i < runs / 50 + 1; i++) {
        kiln_config *next = configuration();
        double since = measure_now();
        if (kiln_policies_reload(policies, next, "scripts", &err) < 0) {
            measure_fail("reload", err.text);
        }
        measure_add(&reload, since);
        kiln_config_free(config);
        config = next;
    }
    const measure *const all[] = {&chain_of_five, &empty_chain, &reload, NULL};
    measure_print(all);
    kiln_policies_free(policies);
    kiln_request_free(request);
    kiln_config_free(config);
    json_decref(table);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return 0;
}
