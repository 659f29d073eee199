/* Another configuration for an engine that runs: what can be changed is, at once and
 * whole or not at all; what cannot is told. */
#include "core/engine-t.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>

/* What is read again. Everything else was used when the engine was made: processes were
 * started with it, folders mounted. */
static bool reloadable(const char *section, const char *key)
{
    static const char *const sections[] = {"limits", "session", "chain ", "policy ", "native "};
    static const char *const keys[] = {"backend", "chain", "scripts", "log_level", "grace"};
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        if (strncmp(section, sections[i], strlen(sections[i])) == 0) {
            return true;
        }
    }
    for (size_t i = 0; strcmp(section, "engine") == 0 && i < sizeof(keys) / sizeof(keys[0]);
         i++) {
        if (strcmp(key, keys[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* "[section] key" -> effective text, of what is not read again. */
static json_t *fixed_part(const kiln_config *config)
{
    json_t *part = json_object();
    auto_json json_t *all = kiln_config_to_json(config);
    size_t index;
    json_t *entry;
    json_array_foreach(all, index, entry)
    {
        const char *section = json_string_value(json_object_get(entry, "section"));
        const char *key = json_string_value(json_object_get(entry, "key"));
        char name[512];
        if (section != NULL && key != NULL && !reloadable(section, key)) {
            snprintf(name, sizeof(name), "[%s] %s", section, key);
            json_object_set(part, name, json_object_get(entry, "text"));
        }
    }
    return part;
}

static void add_missing(json_t *names, json_t *these, const json_t *others, bool changed_too)
{
    const char *name;
    json_t *text;
    json_object_foreach(these, name, text)
    {
        const json_t *other = json_object_get(others, name);
        if (other == NULL || (changed_too && !json_equal(text, other))) {
            json_array_append_new(names, json_string(name));
        }
    }
}

json_t *kiln_engine_waits_for_restart(const kiln_engine *engine)
{
    json_t *names = json_array();
    if (engine->config != engine->boot) {
        auto_json json_t *boot = fixed_part(engine->boot);
        auto_json json_t *now = fixed_part(engine->config);
        add_missing(names, now, boot, true);
        add_missing(names, boot, now, false);
    }
    return names;
}

/* The default backend must be one that is loaded. */
static int check_backend(const kiln_engine *engine, const kiln_config *config, kiln_error *err)
{
    const char *name = kiln_config_string(config, "engine", "backend");
    if (name == NULL || kiln_backends_find(engine->backends, name) != NULL) {
        return 0;
    }
    return kiln_error_set(
        err, EINVAL,
        "[engine] backend = %s: it is not loaded; a backend that is new needs "
        "a restart",
        name);
}

int kiln_engine_reload(kiln_engine *engine, kiln_config *config, kiln_error *err)
{
    const char *scripts = kiln_config_string(config, "engine", "scripts");
    int rc = check_backend(engine, config, err);
    rc = rc < 0 ? rc : kiln_backends_declare(engine->backends, config, err);
    rc = rc < 0 ? rc : kiln_natives_configure(engine->natives, config, err);
    rc = rc < 0 ? rc
                : kiln_policies_reload(engine->policies, config,
                                       scripts != NULL ? scripts : engine->paths.scripts, err);
    if (rc < 0) {
        kiln_error again = KILN_ERROR_INIT;
        kiln_natives_configure(engine->natives, engine->config, &again); /* as they were */
        kiln_config_free(config);
        return kiln_error_wrap(err, "reload: all stays as it was");
    }
    if (engine->config != engine->boot) {
        kiln_config_free(engine->config);
    }
    engine->config = config;
    kiln_engine_take_config(engine);
    auto_json json_t *waiting = kiln_engine_waits_for_restart(engine);
    size_t index;
    json_t *name;
    json_array_foreach(waiting, index, name)
    {
        kiln_log(KILN_LOG_WARNING, "core", "reload: %s has changed: that waits for a restart",
                 json_string_value(name));
    }
    return 0;
}
