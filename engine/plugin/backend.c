/* The configured plugins. */
#include "plugin/backend-t.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static const struct {
    uint64_t bit;
    const char *name;
} capabilities[] = {
    {KILN_CAP_EXECUTE, "execute"},     {KILN_CAP_SESSIONS, "sessions"},
    {KILN_CAP_INTERRUPT, "interrupt"}, {KILN_CAP_WORKER, "worker"},
    {KILN_CAP_ANALYZE, "analyze"},     {KILN_CAP_PLAN, "plan"},
    {KILN_CAP_FILES, "files"},         {KILN_CAP_QUERY, "query"},
    {KILN_CAP_BRANCH, "branch"},
};

/* [backend NAME] plugin, else DIRECTORY/NAME.so. */
static void plugin_path(const kiln_config *config, const char *directory, const char *name,
                        char path[PATH_MAX])
{
    char section[80];
    snprintf(section, sizeof(section), "backend %s", name);
    const char *configured = kiln_config_string(config, section, "plugin");
    if (configured != NULL) {
        snprintf(path, PATH_MAX, "%s", configured);
    } else {
        snprintf(path, PATH_MAX, "%s/%s.so", directory, name);
    }
}

static void free_backend(kiln_backend *backend)
{
    kiln_backend_drop_analyzer(backend);
    if (backend->initialised && backend->loaded->plugin.fini != NULL) {
        backend->loaded->plugin.fini(backend->self);
    }
    kiln_host_release(backend);
    kiln_pool_free(backend->pool);
    if (backend->zygote != NULL) {
        kiln_zygote_stop(backend->zygote);
    }
    for (char **word = backend->option_words; word != NULL && *word != NULL; word++) {
        free(*word);
    }
    free(backend->option_words);
    kiln_plugin_unload(backend->loaded);
    free(backend);
}

/* Of a backend whose sandboxes are the engine's: a key beside the plugin's own. */
static const kiln_option pool_option = {
    "pool", KILN_OPTION_INTEGER, "2",
    "how many sandboxes an engine that serves many sessions keeps ready for the next ones; a "
    "worker in each has its memory"};

static int declare_options(kiln_config *config, const char *section, const kiln_plugin *plugin,
                           kiln_error *err)
{
    const kiln_option *options = plugin->options;
    size_t count = 0;
    bool pooled = (plugin->capabilities & (KILN_CAP_PLAN | KILN_CAP_FILES)) == 0;
    for (; options != NULL && options[count].name != NULL; count++) {
        pooled = pooled && strcmp(options[count].name, pool_option.name) != 0;
    }
    auto_free kiln_option *all = calloc(count + 2, sizeof(*all));
    if (all == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        all[i] = options[i];
    }
    if (pooled) {
        all[count] = pool_option;
    }
    return kiln_config_declare(config, section, all, err);
}

/* The worker half reads its options from what the zygote was given. */
static int collect_options(kiln_backend *backend)
{
    const kiln_option *options = backend->loaded->plugin.options;
    size_t count = 0;
    while (options != NULL && options[count].name != NULL) {
        count++;
    }
    backend->option_words = calloc(count + 1, sizeof(char *));
    if (backend->option_words == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        const char *value =
            kiln_config_option(backend->all->spec.config, backend->section, options[i].name);
        if (asprintf(&backend->option_words[i], "%s=%s", options[i].name,
                     value != NULL ? value : "") < 0) {
            backend->option_words[i] = NULL;
            return -ENOMEM;
        }
    }
    return 0;
}

static int load_backend(kiln_backends *all, const char *name, kiln_backend **out,
                        kiln_error *err)
{
    char path[PATH_MAX];
    kiln_backend *backend = calloc(1, sizeof(*backend));
    if (backend == NULL) {
        return kiln_error_set(err, ENOMEM, "backend %s: out of memory", name);
    }
    backend->all = all;
    snprintf(backend->section, sizeof(backend->section), "backend %s", name);
    plugin_path(all->spec.config, all->spec.directory, name, path);
    int rc = kiln_plugin_load(path, false, &backend->loaded, err);
    if (rc == 0 && strcmp(backend->loaded->plugin.name, name) != 0) {
        rc = kiln_error_set(err, EINVAL, "%s: its name is \"%s\", not \"%s\"", path,
                            backend->loaded->plugin.name, name);
    }
    if (rc == 0) {
        rc = declare_options(all->spec.config, backend->section, &backend->loaded->plugin, err);
    }
    if (rc == 0 && collect_options(backend) < 0) {
        rc = kiln_error_set(err, ENOMEM, "out of memory");
    }
    if (rc < 0) {
        free_backend(backend);
        return kiln_error_wrap(err, "backend %s", name);
    }
    kiln_host_fill(backend);
    const char *reason = NULL;
    if (backend->loaded->plugin.init != NULL &&
        backend->loaded->plugin.init(&backend->host, &backend->self, &reason) < 0) {
        free_backend(backend);
        return kiln_error_set(err, EINVAL, "backend %s: %s: init failed: %s", name, path,
                              reason != NULL ? reason : "it gave no reason");
    }
    backend->initialised = true;
    *out = backend;
    return 0;
}

static json_t *languages_of(const kiln_backends *all, const kiln_plugin *plugin)
{
    json_t *languages = json_array();
    for (const char *const *language = plugin->languages; *language != NULL; language++) {
        if (strcmp(*language, "*") != 0) {
            json_array_append_new(languages, json_string(*language));
            continue;
        }
        for (const char *const *name = kiln_config_names(all->spec.config, "runtime");
             *name != NULL; name++) {
            json_array_append_new(languages, json_string(*name));
        }
    }
    return languages;
}

static int fill_table(kiln_backends *all)
{
    all->table = json_object();
    for (size_t i = 0; i < all->count; i++) {
        const kiln_plugin *plugin = &all->list[i]->loaded->plugin;
        json_t *entry = json_pack("{s:b, s:b, s:o}", "stateful",
                                  (plugin->capabilities & KILN_CAP_SESSIONS) != 0, "plan",
                                  (plugin->capabilities & KILN_CAP_PLAN) != 0, "languages",
                                  languages_of(all, plugin));
        if (json_object_set_new(all->table, plugin->name, entry) < 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

int kiln_backends_load(const kiln_backends_spec *spec, kiln_backends **backends,
                       kiln_error *err)
{
    const char *const *names = kiln_config_list(spec->config, "engine", "backends");
    size_t count = 0;
    while (names[count] != NULL) {
        count++;
    }
    kiln_backends *all = calloc(1, sizeof(*all));
    if (all == NULL || (all->list = calloc(count + 1, sizeof(kiln_backend *))) == NULL) {
        free(all);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    all->spec = *spec;
    for (size_t i = 0; i < count; i++) {
        int rc = load_backend(all, names[i], &all->list[all->count], err);
        if (rc < 0) {
            kiln_backends_free(all);
            return rc;
        }
        all->count++;
    }
    if (fill_table(all) < 0) {
        kiln_backends_free(all);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    *backends = all;
    return 0;
}

int kiln_backends_declare(const kiln_backends *backends, kiln_config *config, kiln_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < backends->count; i++) {
        const kiln_backend *backend = backends->list[i];
        rc = declare_options(config, backend->section, &backend->loaded->plugin, err);
    }
    return rc;
}

void kiln_backends_listen(kiln_backends *backends, kiln_backends_listener listener)
{
    backends->listener = listener;
}

void kiln_backends_free(kiln_backends *backends)
{
    if (backends == NULL) {
        return;
    }
    for (size_t i = 0; i < backends->count; i++) {
        free_backend(backends->list[i]);
    }
    if (backends->programs != NULL) {
        kiln_zygote_stop(backends->programs);
    }
    if (backends->tickets.stale > 0) {
        kiln_log(KILN_LOG_WARNING, "plugins", "%llu emits or completions were stale",
                 (unsigned long long)backends->tickets.stale);
    }
    kiln_tickets_free(&backends->tickets);
    json_decref(backends->table);
    free(backends->list);
    free(backends);
}

static json_t *describe(const kiln_backends *all, const kiln_plugin *plugin)
{
    json_t *names = json_array();
    for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
        if (plugin->capabilities & capabilities[i].bit) {
            json_array_append_new(names, json_string(capabilities[i].name));
        }
    }
    json_t *options = json_array();
    for (const kiln_option *option = plugin->options; option != NULL && option->name != NULL;
         option++) {
        json_array_append_new(options, json_string(option->name));
    }
    char abi[32];
    snprintf(abi, sizeof(abi), "%u.%u", plugin->abi_major, plugin->abi_minor);
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:n}", "version", plugin->version, "abi",
                     abi, "summary", plugin->summary, "capabilities", names, "languages",
                     languages_of(all, plugin), "options", options, "error");
}

json_t *kiln_backends_inspect(kiln_config *config, const char *directory)
{
    const kiln_backends all = {.spec = {.config = config, .directory = directory}};
    json_t *list = json_array();
    for (const char *const *name = kiln_config_list(config, "engine", "backends");
         *name != NULL; name++) {
        char path[PATH_MAX];
        plugin_path(config, directory, *name, path);
        kiln_error err = KILN_ERROR_INIT;
        kiln_loaded_plugin *loaded = NULL;
        json_t *entry;
        if (kiln_plugin_load(path, false, &loaded, &err) < 0) {
            entry =
                json_pack("{s:n, s:n, s:n, s:[], s:[], s:[], s:s}", "version", "abi", "summary",
                          "capabilities", "languages", "options", "error", err.text);
        } else {
            entry = describe(&all, &loaded->plugin);
            char section[80];
            snprintf(section, sizeof(section), "backend %s", *name);
            if (declare_options(config, section, &loaded->plugin, &err) < 0) {
                json_object_set_new(entry, "error", json_string(err.text));
            }
        }
        json_object_set_new(entry, "name", json_string(*name));
        json_object_set_new(entry, "file", json_string(path));
        json_array_append_new(list, entry);
        kiln_plugin_unload(loaded);
    }
    return list;
}

kiln_backend *kiln_backends_find(const kiln_backends *backends, const char *name)
{
    for (size_t i = 0; i < backends->count; i++) {
        if (strcmp(kiln_backend_name(backends->list[i]), name) == 0) {
            return backends->list[i];
        }
    }
    return NULL;
}

kiln_backend *kiln_backends_analyzer(const kiln_backends *backends, const char *language)
{
    for (size_t i = 0; i < backends->count; i++) {
        kiln_backend *backend = backends->list[i];
        if ((backend->loaded->plugin.capabilities & KILN_CAP_ANALYZE) &&
            kiln_backend_speaks(backend, language)) {
            return backend;
        }
    }
    return NULL;
}

json_t *kiln_backends_table(const kiln_backends *backends)
{
    return backends->table;
}

const char *kiln_backend_name(const kiln_backend *backend)
{
    return backend->loaded->plugin.name;
}

bool kiln_backend_keeps_state(const kiln_backend *backend)
{
    return backend->loaded->plugin.capabilities & KILN_CAP_SESSIONS;
}

const char *kiln_backend_language(const kiln_backend *backend)
{
    const char *first = backend->loaded->plugin.languages[0];
    return first == NULL || strcmp(first, "*") == 0 ? "python" : first;
}

bool kiln_backend_speaks(const kiln_backend *backend, const char *language)
{
    const json_t *entry = json_object_get(backend->all->table, kiln_backend_name(backend));
    size_t index;
    json_t *item;
    json_array_foreach(json_object_get(entry, "languages"), index, item)
    {
        if (strcmp(json_string_value(item), language) == 0) {
            return true;
        }
    }
    return false;
}

const kiln_function *kiln_backend_functions(const kiln_backend *backend, const char **path)
{
    *path = backend->loaded->path;
    return backend->loaded->plugin.functions;
}

int kiln_backend_zygote(kiln_backend *backend, kiln_zygote **zygote, kiln_error *err)
{
    bool worker = backend->loaded->plugin.capabilities & KILN_CAP_WORKER;
    kiln_zygote **place = worker ? &backend->zygote : &backend->all->programs;
    if (*place == NULL) {
        const kiln_backends_spec *all = &backend->all->spec;
        kiln_zygote_spec spec = {
            .loop = all->loop,
            .executable = worker && backend->loaded->worker_program != NULL
                              ? backend->loaded->worker_program
                              : all->executable,
            .plugin = worker ? backend->loaded->path : NULL,
            .options = worker ? (const char *const *)backend->option_words : NULL,
            .policy = all->sandbox,
            .log_level = kiln_log_level_now(),
        };
        int rc = kiln_zygote_start(&spec, place, err);
        if (rc < 0) {
            return rc;
        }
    }
    *zygote = *place;
    return 0;
}

int kiln_backend_prestart(kiln_backend *backend, kiln_error *err)
{
    kiln_zygote *zygote;
    return backend->loaded->plugin.capabilities & (KILN_CAP_PLAN | KILN_CAP_FILES)
               ? 0
               : kiln_backend_zygote(backend, &zygote, err);
}

int kiln_backend_started(kiln_backend *backend, kiln_error *err)
{
    kiln_zygote *zygote;
    if (backend->loaded->plugin.capabilities & KILN_CAP_PLAN) {
        return 1;
    }
    int rc = kiln_backend_zygote(backend, &zygote, err);
    if (rc < 0) {
        return rc;
    }
    const char *why = kiln_zygote_failure(zygote);
    if (why != NULL) {
        return kiln_error_set(err, ECANCELED, "%s", why);
    }
    return kiln_zygote_ready(zygote) ? 1 : 0;
}

/* Of [backend NAME] pool; 0: none is wanted. */
static int pool_size(const kiln_backend *backend, size_t *size, kiln_error *err)
{
    *size = 0;
    if (backend->loaded->plugin.capabilities & (KILN_CAP_PLAN | KILN_CAP_FILES)) {
        return 0;
    }
    const char *text =
        kiln_config_option(backend->all->spec.config, backend->section, pool_option.name);
    long wanted = text != NULL ? strtol(text, NULL, 10) : 0;
    if (wanted < 0 || wanted > KILN_POOL_MAX) {
        return kiln_error_set(err, EINVAL, "[%s] pool %ld: expected 0 to %d", backend->section,
                              wanted, KILN_POOL_MAX);
    }
    *size = (size_t)wanted;
    return 0;
}

int kiln_backend_keep_pool(kiln_backend *backend, kiln_error *err)
{
    size_t size;
    kiln_zygote *zygote;
    if (!backend->all->keep_pools || backend->pool != NULL) {
        return 0;
    }
    int rc = pool_size(backend, &size, err);
    if (rc < 0 || size == 0) {
        return rc;
    }
    rc = kiln_backend_zygote(backend, &zygote, err);
    if (rc < 0) {
        return rc;
    }
    const kiln_pool_spec spec = {
        .loop = backend->all->spec.loop,
        .zygote = zygote,
        .name = kiln_backend_name(backend),
        .size = size,
        .workers = (backend->loaded->plugin.capabilities & KILN_CAP_WORKER) != 0,
        .limits = kiln_config_limits(backend->all->spec.config),
    };
    return kiln_pool_new(&spec, &backend->pool, err);
}

int kiln_backends_keep_pools(kiln_backends *backends, kiln_error *err)
{
    size_t size;
    const char *usual = kiln_config_string(backends->spec.config, "engine", "backend");
    kiln_backend *first = usual != NULL ? kiln_backends_find(backends, usual) : NULL;
    for (size_t i = 0; i < backends->count; i++) {
        int rc = pool_size(backends->list[i], &size, err);
        if (rc < 0) {
            return rc;
        }
    }
    backends->keep_pools = true;
    return first != NULL ? kiln_backend_keep_pool(first, err) : 0;
}

size_t kiln_backend_pooled(const kiln_backend *backend)
{
    return backend->pool != NULL ? kiln_pool_ready(backend->pool) : 0;
}
