/* The engine: what is made once, and its sessions. */
#include "core/engine-t.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

int kiln_engine_sandbox_policy(const kiln_config *config, kiln_sandbox_policy *policy,
                               kiln_error *err)
{
    *policy = (kiln_sandbox_policy){0};
    for (const char *const *name = kiln_config_list(config, "sandbox", "require");
         *name != NULL; name++) {
        kiln_layer layer;
        int rc = kiln_layer_from_name(*name, &layer, err);
        if (rc < 0) {
            return kiln_error_wrap(err, "[sandbox] require");
        }
        policy->required |= layer;
    }
    uint32_t first, count;
    if (geteuid() == 0 && kiln_config_uid_range(config, &first, &count) > 0) {
        policy->uid_base = first; /* an ordinary user has one uid only, its own */
        policy->uid_count = count;
    }
    const char *root = kiln_config_string(config, "sandbox", "root");
    if (root != NULL && strcmp(root, "/") != 0) {
        if (strlen(root) >= sizeof(policy->root)) {
            return kiln_error_set(err, ENAMETOOLONG, "[sandbox] root: longer than %zu bytes",
                                  sizeof(policy->root) - 1);
        }
        memcpy(policy->root, root, strlen(root) + 1);
    }
    int rc = kiln_core_network_mode(config, &policy->network, err);
    policy->private_network = kiln_config_bool(config, "sandbox", "loopback") ||
                              kiln_sandbox_needs_private_network(policy);
    return rc < 0 ? rc : kiln_sandbox_check_root(policy, err);
}

static int emergency_result(kiln_engine *engine)
{
    engine->out_of_memory = kiln_result_new();
    return engine->out_of_memory == NULL
               ? -ENOMEM
               : kiln_result_add_error(engine->out_of_memory, "system", "OutOfMemory",
                                       "the engine has no memory left", NULL);
}

void kiln_engine_take_config(kiln_engine *engine)
{
    static const char *const names[] = {"error", "warning", "info", "debug", NULL};
    const char *level = kiln_config_string(engine->config, "engine", "log_level");
    for (int i = 0; level != NULL && names[i] != NULL; i++) {
        if (strcmp(names[i], level) == 0) {
            kiln_log_set_level((kiln_log_level)i);
        }
    }
    engine->ceiling = kiln_config_limits(engine->config);
    engine->grace_ms = kiln_config_duration(engine->config, "engine", "grace");
    kiln_core_sessions_configure(engine);
}

/* Runs the loop until every backend's worker process has come up, or has not. */
void kiln_engine_try_backends(kiln_engine *engine,
                              void (*failed)(void *user, const char *backend, const char *why),
                              void *user)
{
    const char *const *name = kiln_config_list(engine->boot, "engine", "backends");
    for (; *name != NULL; name++) {
        kiln_error err = KILN_ERROR_INIT;
        kiln_backend *backend = kiln_backends_find(engine->backends, *name);
        int rc = kiln_backend_prestart(backend, &err);
        while (rc == 0 && (rc = kiln_backend_started(backend, &err)) == 0) {
            uv_run(engine->loop, UV_RUN_ONCE);
        }
        if (rc < 0) {
            failed(user, *name, err.text);
        }
    }
}

typedef struct checking {
    json_t *list;
    const char *backend;
} checking;

static void on_found(void *user, kiln_finding finding, const char *what, const char *detail)
{
    static const char *const words[] = {"ok", "missing", "fault"};
    const checking *all = user;
    json_array_append_new(all->list,
                          json_pack("{s:s, s:s, s:s, s:s}", "name", all->backend, "what", what,
                                    "finding", words[finding], "detail", detail));
}

json_t *kiln_engine_check_backends(kiln_engine *engine)
{
    const char *const *name = kiln_config_list(engine->boot, "engine", "backends");
    checking all = {.list = json_array()};
    for (; *name != NULL; name++) {
        all.backend = *name;
        kiln_backend_check(kiln_backends_find(engine->backends, *name), on_found, &all);
    }
    return all.list;
}

static void on_probed(void *user, const kiln_native_value *results,
                      const kiln_native_failure *failure)
{
    json_t **error = user;
    *error = results != NULL ? json_null() : json_string(failure->text);
}

json_t *kiln_engine_try_natives(kiln_engine *engine)
{
    static const kiln_native_callbacks callbacks = {.done = on_probed};
    json_t *list = kiln_natives_to_json(engine->natives);
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry)
    {
        json_t *error = NULL;
        kiln_native_call *call;
        kiln_native_probe(engine->natives, json_string_value(json_object_get(entry, "name")),
                          &callbacks, &error, &call);
        while (error == NULL) {
            uv_run(engine->loop, UV_RUN_ONCE);
        }
        json_object_set_new(entry, "error", error);
    }
    return list;
}

static int export_functions(kiln_engine *engine, kiln_error *err)
{
    const char *const *name = kiln_config_list(engine->config, "engine", "backends");
    for (; *name != NULL; name++) {
        const char *path;
        const kiln_function *function =
            kiln_backend_functions(kiln_backends_find(engine->backends, *name), &path);
        for (; function != NULL && function->name != NULL; function++) {
            int rc = kiln_natives_export(engine->natives, *name, path, function, err);
            if (rc < 0) {
                return kiln_error_wrap(err, "[backend %s]", *name);
            }
        }
    }
    return 0;
}

static int open_backends(kiln_engine *engine, const char *prestart, kiln_error *err)
{
    const kiln_paths *paths = &engine->paths;
    const char *directory = kiln_config_string(engine->config, "engine", "plugins");
    kiln_backends_spec spec = {
        .loop = engine->loop,
        .config = engine->config,
        .directory = directory != NULL ? directory : paths->plugins,
        .executable = paths->executable,
    };
    int rc = kiln_engine_sandbox_policy(engine->config, &spec.sandbox, err);
    rc = rc < 0 ? rc : kiln_core_network_open(engine, spec.sandbox.network, err);
    if (rc < 0) {
        return rc;
    }
    spec.allow = engine->allow;
    kiln_error no_cgroups = KILN_ERROR_INIT;
    bool cgroups = kiln_cgroup_init(&no_cgroups) == 0; /* may move us: before any child */
    if (!cgroups) {
        kiln_log(KILN_LOG_INFO, "cgroup", "%s", no_cgroups.text);
        if (spec.sandbox.required & KILN_LAYER_CGROUP) {
            return kiln_error_set(err, ENOTSUP, "[sandbox] require: cgroup: %s",
                                  no_cgroups.text);
        }
    }
    char helper[sizeof(paths->plugins) + 16];
    snprintf(helper, sizeof(helper), "%s/native.worker", paths->plugins);
    const kiln_natives_spec natives = {engine->loop, helper, spec.sandbox};
    rc = kiln_natives_new(&natives, &engine->natives, err);
    rc = rc < 0 ? rc : kiln_natives_configure(engine->natives, engine->config, err);
    rc = rc < 0 ? rc : kiln_backends_load(&spec, &engine->backends, err);
    rc = rc < 0 ? rc : export_functions(engine, err);
    if (rc < 0) {
        return rc;
    }
    kiln_backend *first =
        prestart != NULL ? kiln_backends_find(engine->backends, prestart) : NULL;
    rc = first != NULL ? kiln_backend_prestart(first, err) : 0;
    if (cgroups) {
        kiln_cgroup_sweep(); /* while the zygote starts */
    }
    return rc;
}

int kiln_engine_open(uv_loop_t *loop, kiln_config *config, const kiln_paths *paths,
                     const char *prestart, kiln_engine **out, kiln_error *err)
{
    kiln_engine *engine = calloc(1, sizeof(*engine));
    if (engine == NULL) {
        kiln_config_free(config);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    engine->loop = loop;
    engine->config = engine->boot = config;
    engine->paths = *paths;
    kiln_engine_take_config(engine);
    int rc = 0;
    if (sodium_init() < 0 || emergency_result(engine) < 0) {
        rc = kiln_error_set(err, ENOMEM, "out of memory");
    }
    if (rc == 0 && kiln_core_sessions_open(engine) < 0) {
        rc = kiln_error_set(err, ENOMEM, "out of memory");
    }
    rc = rc < 0 ? rc : open_backends(engine, prestart, err);
    if (rc == 0) {
        kiln_policy_host host;
        const char *scripts = kiln_config_string(config, "engine", "scripts");
        kiln_core_policy_host(engine, &host);
        rc = kiln_policies_load(loop, config, scripts != NULL ? scripts : engine->paths.scripts,
                                &host, &engine->policies, err);
    }
    rc = rc < 0 ? rc : kiln_config_check_undeclared(config, err);
    if (rc < 0) {
        kiln_engine_close(engine);
        return rc;
    }
    *out = engine;
    return 0;
}

static void free_timer(uv_handle_t *handle)
{
    free(handle);
}

static void drain(uv_loop_t *loop)
{
    /* closing handles need a turn of the loop; nothing here waits */
    for (int turn = 0; turn < 16 && uv_run(loop, UV_RUN_NOWAIT) != 0; turn++) {
    }
}

void kiln_engine_close(kiln_engine *engine)
{
    if (engine == NULL) {
        return;
    }
    kiln_core_sessions_close(engine);
    kiln_policies_free(engine->policies);
    kiln_backends_free(engine->backends);
    kiln_natives_free(engine->natives);
    kiln_core_network_close(engine);
    if (engine->idle_timer != NULL) {
        uv_close((uv_handle_t *)engine->idle_timer, free_timer);
    }
    drain(engine->loop);
    kiln_result_unref(engine->out_of_memory);
    if (engine->config != engine->boot) {
        kiln_config_free(engine->config);
    }
    kiln_config_free(engine->boot);
    free(engine);
}

int kiln_engine_keep_pools(kiln_engine *engine, kiln_error *err)
{
    return kiln_backends_keep_pools(engine->backends, err);
}

void kiln_engine_listen(kiln_engine *engine, void (*told)(void *user, const char *text),
                        void *user)
{
    kiln_backends_listen(engine->backends, (kiln_backends_listener){told, user});
}

size_t kiln_engine_pooled(const kiln_engine *engine, const char *name)
{
    const kiln_backend *backend = kiln_backends_find(engine->backends, name);
    return backend != NULL ? kiln_backend_pooled(backend) : 0;
}

const kiln_config *kiln_engine_config(const kiln_engine *engine)
{
    return engine->config;
}

json_t *kiln_engine_plugins(const kiln_engine *engine)
{
    return json_incref(kiln_backends_table(engine->backends));
}

json_t *kiln_engine_policies(const kiln_engine *engine)
{
    return kiln_policies_to_json(engine->policies);
}

json_t *kiln_engine_metrics(const kiln_engine *engine)
{
    return kiln_policies_metrics(engine->policies);
}

json_t *kiln_plugins_inspect(kiln_config *config, const kiln_paths *paths)
{
    const char *directory = kiln_config_string(config, "engine", "plugins");
    return kiln_backends_inspect(config, directory != NULL ? directory : paths->plugins);
}

const char *kiln_engine_language(const kiln_config *config, const char *file_name)
{
    const char *base = strrchr(file_name, '/');
    const char *dot = strrchr(base != NULL ? base : file_name, '.');
    if (dot == NULL) {
        return NULL;
    }
    for (const char *const *name = kiln_config_names(config, "runtime"); *name != NULL;
         name++) {
        char section[128];
        snprintf(section, sizeof(section), "runtime %s", *name);
        for (const char *const *extension = kiln_config_list(config, section, "extensions");
             *extension != NULL; extension++) {
            if (strcmp(*extension, dot) == 0) {
                return *name;
            }
        }
    }
    return NULL;
}
