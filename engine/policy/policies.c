/* Every chain of a configuration, loaded whole or not at all. */
#include "policy/chain.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* A section can be declared once; a policy may stand in several chains. */
typedef struct config_source {
    kiln_config *config;
    char **declared;
    size_t count;
} config_source;

static int declare(void *user, const char *policy, const kiln_option *options, kiln_error *err)
{
    config_source *source = user;
    char section[256];
    for (size_t i = 0; i < source->count; i++) {
        if (strcmp(source->declared[i], policy) == 0) {
            return 0;
        }
    }
    char **grown = reallocarray(source->declared, source->count + 1, sizeof(*grown));
    char *name = strdup(policy);
    if (grown != NULL) {
        source->declared = grown;
    }
    if (grown == NULL || name == NULL) {
        free(name);
        return kiln_error_set(err, -ENOMEM, "policy %s: out of memory", policy);
    }
    source->declared[source->count++] = name;
    snprintf(section, sizeof(section), "policy %s", policy);
    return kiln_config_declare(source->config, section, options, err);
}

static const char *value(void *user, const char *policy, const kiln_option *option)
{
    const config_source *source = user;
    char section[256];
    snprintf(section, sizeof(section), "policy %s", policy);
    return kiln_config_option(source->config, section, option->name);
}

static int is_policy(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot != NULL && strcmp(dot, ".lua") == 0 && strchr(entry->d_name, '.') == dot &&
           strstr(entry->d_name, "_test.lua") == NULL;
}

/* The shipped policy whose name is near, or NULL. Caller frees. */
static char *near_policy(const char *scripts, const char *name)
{
    struct dirent **entries;
    int count = scandir(scripts, &entries, is_policy, alphasort);
    if (count < 0) {
        return NULL;
    }
    const char **names = calloc((size_t)count + 1, sizeof(*names));
    for (int i = 0; i < count && names != NULL; i++) {
        *strrchr(entries[i]->d_name, '.') = '\0';
        names[i] = entries[i]->d_name;
    }
    const char *near = names != NULL ? kiln_near_match(name, names) : NULL;
    char *copy = near != NULL ? strdup(near) : NULL;
    for (int i = 0; i < count; i++) {
        free(entries[i]);
    }
    free(entries);
    free(names);
    return copy;
}

/* Where the script of a policy is, and what its failure means. Caller frees path. */
static int find_policy(const kiln_config *config, const char *scripts, const char *name,
                       kiln_policy_spec *spec, char **path, kiln_error *err)
{
    char section[256];
    if (name[0] == '.' || strchr(name, '/') != NULL || strlen(name) > 200) {
        return kiln_error_set(err, -EINVAL, "\"%s\" is no name of a policy", name);
    }
    snprintf(section, sizeof(section), "policy %s", name);
    const char *script = NULL;
    const char *on_failure = NULL;
    for (const char *const *known = kiln_config_names(config, "policy"); *known != NULL;
         known++) {
        if (strcmp(*known, name) == 0) {
            script = kiln_config_string(config, section, "script");
            on_failure = kiln_config_string(config, section, "on_failure");
        }
    }
    int length = script != NULL && script[0] != '\0'
                     ? asprintf(path, "%s", script)
                     : asprintf(path, "%s/%s.lua", scripts, name);
    if (length < 0) {
        *path = NULL;
        return kiln_error_set(err, -ENOMEM, "policy %s: out of memory", name);
    }
    if ((script == NULL || script[0] == '\0') && access(*path, F_OK) < 0 && errno == ENOENT) {
        auto_free char *near = near_policy(scripts, name);
        return kiln_error_set(err, -EINVAL, "no policy \"%s\": %s does not exist%s%s%s", name,
                              *path, near != NULL ? ", did you mean \"" : "",
                              near != NULL ? near : "", near != NULL ? "\"?" : "");
    }
    *spec = (kiln_policy_spec){
        .name = name,
        .path = *path,
        .deny_on_failure = on_failure != NULL && strcmp(on_failure, "denied") == 0,
    };
    return 0;
}

static int load_chain(kiln_policies *policies, const kiln_config *config, const char *scripts,
                      const char *name, const kiln_option_source *source, kiln_chain **chain,
                      kiln_error *err)
{
    char section[256];
    snprintf(section, sizeof(section), "chain %s", name);
    const kiln_chain_budget budget = {
        .burst_ms = kiln_config_duration(config, section, "burst"),
        .total_ms = kiln_config_duration(config, section, "total"),
        .memory = (size_t)kiln_config_size(config, section, "memory"),
        .awaits = (unsigned)kiln_config_integer(config, section, "awaits"),
        .result_bytes = (size_t)kiln_config_size(config, section, "results"),
    };
    if (budget.total_ms < budget.burst_ms) {
        return kiln_error_set(err, -EINVAL, "[%s] total = %llums is less than burst = %llums",
                              section, (unsigned long long)budget.total_ms,
                              (unsigned long long)budget.burst_ms);
    }
    const char *const *names = kiln_config_list(config, section, "policies");
    size_t count = 0;
    while (names[count] != NULL) {
        count++;
    }
    kiln_policy_spec *specs = calloc(count + 1, sizeof(*specs));
    char **paths = calloc(count + 1, sizeof(*paths));
    int rc = specs == NULL || paths == NULL ? kiln_error_set(err, -ENOMEM, "out of memory") : 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = find_policy(config, scripts, names[i], &specs[i], &paths[i], err);
    }
    if (rc == 0) {
        rc = kiln_chain_new(policies, name, &budget, specs, count, source, chain, err);
    }
    for (size_t i = 0; paths != NULL && i < count; i++) {
        free(paths[i]);
    }
    free(paths);
    free(specs);
    return rc < 0 ? kiln_error_wrap(err, "chain %s", name) : 0;
}

static void free_chains(kiln_chain **chains, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        kiln_chain_retire(chains[i]);
    }
    free(chains);
}

static int load_chains(kiln_policies *policies, kiln_config *config, const char *scripts,
                       kiln_chain ***chains, size_t *count, kiln_error *err)
{
    config_source source = {.config = config};
    kiln_option_source options = {&source, declare, value};
    const char *const *names = kiln_config_names(config, "chain");
    size_t loaded = 0;
    size_t wanted = 0;
    int rc = 0;
    while (names[wanted] != NULL) {
        wanted++;
    }
    kiln_chain **list = calloc(wanted + 1, sizeof(*list));
    if (list == NULL) {
        return kiln_error_set(err, -ENOMEM, "chains: out of memory");
    }
    while (rc == 0 && loaded < wanted) {
        rc = load_chain(policies, config, scripts, names[loaded], &options, &list[loaded], err);
        loaded += rc == 0;
    }
    for (size_t i = 0; i < source.count; i++) {
        free(source.declared[i]);
    }
    free(source.declared);
    if (rc < 0) {
        free_chains(list, loaded);
        return rc;
    }
    *chains = list;
    *count = loaded;
    return 0;
}

static int set_texts(kiln_policies *policies, const kiln_config *config, const char *scripts,
                     kiln_error *err)
{
    const char *chain = kiln_config_string(config, "engine", "chain");
    const char *backend = kiln_config_string(config, "engine", "backend");
    char *texts[] = {strdup(chain != NULL ? chain : "default"),
                     strdup(backend != NULL ? backend : ""), strdup(scripts)};
    char **places[] = {&policies->default_chain, &policies->default_backend,
                       &policies->scripts};
    bool all = texts[0] != NULL && texts[1] != NULL && texts[2] != NULL;
    for (size_t i = 0; i < 3; i++) {
        free(all ? *places[i] : texts[i]);
        *places[i] = all ? texts[i] : *places[i];
    }
    return all ? 0 : kiln_error_set(err, -ENOMEM, "policies: out of memory");
}

int kiln_policies_load(uv_loop_t *loop, kiln_config *config, const char *scripts,
                       const kiln_policy_host *host, kiln_policies **policies, kiln_error *err)
{
    kiln_policies *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return kiln_error_set(err, -ENOMEM, "policies: out of memory");
    }
    made->host = *host;
    made->clock = kiln_policy_clock_uv(loop);
    made->shared = kiln_shared_new();
    made->metrics = kiln_metrics_new();
    int rc = made->shared == NULL || made->metrics == NULL
                 ? kiln_error_set(err, -ENOMEM, "policies: out of memory")
                 : set_texts(made, config, scripts, err);
    rc = rc < 0 ? rc : load_chains(made, config, scripts, &made->chains, &made->count, err);
    if (rc < 0) {
        kiln_policies_free(made);
        return rc;
    }
    *policies = made;
    return 0;
}

int kiln_policies_reload(kiln_policies *policies, kiln_config *config, const char *scripts,
                         kiln_error *err)
{
    kiln_chain **chains = NULL;
    size_t count = 0;
    int rc = load_chains(policies, config, scripts, &chains, &count, err);
    if (rc < 0) {
        return rc;
    }
    /* Now that the scripts have declared theirs, a key that is nobody's can be told. */
    rc = kiln_config_check_undeclared(config, err);
    rc = rc < 0 ? rc : set_texts(policies, config, scripts, err);
    if (rc < 0) {
        free_chains(chains, count);
        return rc;
    }
    free_chains(policies->chains, policies->count);
    policies->chains = chains;
    policies->count = count;
    kiln_shared_forget_results(policies->shared);
    return 0;
}

void kiln_policies_free(kiln_policies *policies)
{
    if (policies == NULL) {
        return;
    }
    free_chains(policies->chains, policies->count);
    free(policies->default_chain);
    free(policies->scripts);
    free(policies->default_backend);
    kiln_shared_free(policies->shared);
    kiln_metrics_free(policies->metrics);
    free(policies);
}

json_t *kiln_policies_to_json(const kiln_policies *policies)
{
    json_t *chains = json_array();
    for (size_t i = 0; chains != NULL && i < policies->count; i++) {
        const kiln_chain *chain = policies->chains[i];
        json_t *list = json_array();
        for (size_t k = 0; list != NULL && k < chain->count; k++) {
            const kiln_policy *policy = &chain->list[k];
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:s, s:O}", "name", policy->name,
                                            "script", policy->path, "on_failure",
                                            policy->deny_on_failure ? "denied" : "unavailable",
                                            "options", policy->values));
        }
        json_array_append_new(chains,
                              json_pack("{s:s, s:o}", "chain", chain->name, "policies", list));
    }
    return chains;
}

json_t *kiln_policies_metrics(const kiln_policies *policies)
{
    return kiln_metrics_to_json(policies->metrics);
}
