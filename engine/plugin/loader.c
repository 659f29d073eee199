#include "plugin/loader.h"

#include "native/signature.h"

#include "base/cleanup.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The structs of ABI 1.0: what every plugin has at the least. */
#define PLUGIN_SIZE_1_0 (offsetof(kiln_plugin, interrupt) + sizeof(void *))
#define WORKER_SIZE_1_0 (offsetof(kiln_worker, analyze) + sizeof(void *))

static int check_version(const char *path, const char *where, unsigned major, unsigned minor,
                         kiln_error *err)
{
    if (major != KILN_ABI_MAJOR) {
        return kiln_error_set(err, EINVAL,
                              "%s: %s says ABI %u.%u, this engine has %d.%d: majors must be "
                              "the same; build it against this engine's kiln/plugin.h",
                              path, where, major, minor, KILN_ABI_MAJOR, KILN_ABI_MINOR);
    }
    if (minor > KILN_ABI_MINOR) {
        return kiln_error_set(err, EINVAL,
                              "%s: %s says ABI %u.%u, newer than this engine's %d.%d: update "
                              "the engine",
                              path, where, major, minor, KILN_ABI_MAJOR, KILN_ABI_MINOR);
    }
    return 0;
}

static int missing(const char *path, const char *capability, const char *callback,
                   kiln_error *err)
{
    return kiln_error_set(err, EINVAL,
                          "%s: capability %s needs the callback %s, which is not "
                          "there",
                          path, capability, callback);
}

static int check_worker(kiln_loaded_plugin *loaded, kiln_error *err)
{
    const char *path = loaded->path;
    uint64_t capabilities = loaded->plugin.capabilities;
    const kiln_worker *worker = &loaded->worker;
    if (!(capabilities & KILN_CAP_WORKER)) {
        return capabilities & KILN_CAP_ANALYZE ? missing(path, "ANALYZE", "worker.analyze", err)
               : capabilities & KILN_CAP_BRANCH
                   ? missing(path, "BRANCH", "worker.branched", err)
                   : 0;
    }
    if (loaded->plugin.worker == NULL) { /* then its own program checks the rest */
        if (access(loaded->worker_program, X_OK) == 0) {
            return 0;
        }
        return kiln_error_set(err, EINVAL,
                              "%s: capability WORKER needs the callback worker or the program "
                              "%s, and neither is there",
                              path, loaded->worker_program);
    }
    free(kiln_steal(loaded->worker_program));
    if (worker->preload == NULL) {
        return missing(path, "WORKER", "worker.preload", err);
    }
    if (worker->start == NULL) {
        return missing(path, "WORKER", "worker.start", err);
    }
    if (worker->execute == NULL) {
        return missing(path, "WORKER", "worker.execute", err);
    }
    if ((capabilities & KILN_CAP_BRANCH) && worker->branched == NULL) {
        return missing(path, "BRANCH", "worker.branched", err);
    }
    if ((capabilities & KILN_CAP_ANALYZE) && worker->analyze == NULL) {
        return missing(path, "ANALYZE", "worker.analyze", err);
    }
    if ((capabilities & KILN_CAP_QUERY) && worker->query == NULL) {
        return missing(path, "QUERY", "worker.query", err);
    }
    return 0;
}

/* ".../interpreter.so" -> ".../interpreter.worker" */
static char *worker_program(const char *path)
{
    const char *base = strrchr(path, '/');
    base = base != NULL ? base + 1 : path;
    char *program = NULL;
    int length = (int)strcspn(base, ".");
    return asprintf(&program, "%.*s.worker", (int)(base - path) + length, path) < 0 ? NULL
                                                                                    : program;
}

static int check_callbacks(const char *path, const kiln_plugin *plugin, kiln_error *err)
{
    bool worker = plugin->capabilities & KILN_CAP_WORKER;
    if (!(plugin->capabilities & (KILN_CAP_EXECUTE | KILN_CAP_WORKER))) {
        return kiln_error_set(err, EINVAL,
                              "%s: neither EXECUTE nor WORKER among its "
                              "capabilities: it can run nothing",
                              path);
    }
    if ((plugin->capabilities & KILN_CAP_EXECUTE) && plugin->execute == NULL) {
        return missing(path, "EXECUTE", "execute", err);
    }
    if ((plugin->capabilities & KILN_CAP_SESSIONS) && !worker) {
        if (plugin->session_open == NULL) {
            return missing(path, "SESSIONS", "session_open", err);
        }
        if (plugin->session_close == NULL) {
            return missing(path, "SESSIONS", "session_close", err);
        }
    }
    if ((plugin->session_open == NULL) != (plugin->session_close == NULL)) {
        return missing(path, "SESSIONS",
                       plugin->session_open == NULL ? "session_open" : "session_close", err);
    }
    if (plugin->capabilities & KILN_CAP_FILES) {
        if (plugin->session_open == NULL) {
            return missing(path, "FILES", "session_open", err);
        }
        if (plugin->session_prepare == NULL) {
            return missing(path, "FILES", "session_prepare", err);
        }
        if (plugin->kill == NULL) {
            return missing(path, "FILES", "kill", err);
        }
    }
    if ((plugin->capabilities & KILN_CAP_INTERRUPT) && !worker && plugin->interrupt == NULL) {
        return missing(path, "INTERRUPT", "interrupt", err);
    }
    if ((plugin->capabilities & KILN_CAP_QUERY) && !worker && plugin->query == NULL) {
        return missing(path, "QUERY", "query", err);
    }
    return 0;
}

/* "…/interpreter.so" -> "interpreter" */
static int check_name(const char *path, const kiln_plugin *plugin, kiln_error *err)
{
    const char *base = strrchr(path, '/');
    base = base != NULL ? base + 1 : path;
    size_t length = strcspn(base, ".");
    if (plugin->name == NULL || plugin->version == NULL || plugin->summary == NULL ||
        plugin->languages == NULL) {
        return kiln_error_set(
            err, EINVAL, "%s: name, version, summary and languages must all be there", path);
    }
    if (strlen(plugin->name) != length || memcmp(plugin->name, base, length) != 0) {
        return kiln_error_set(err, EINVAL, "%s: it calls itself \"%s\": name the file %s.so",
                              path, plugin->name, plugin->name);
    }
    return 0;
}

static int check_options(const char *path, const kiln_plugin *plugin, kiln_error *err)
{
    for (const kiln_option *option = plugin->options; option != NULL && option->name != NULL;
         option++) {
        if (option->type < KILN_OPTION_STRING || option->type > KILN_OPTION_LIST ||
            option->help == NULL) {
            return kiln_error_set(err, EINVAL, "%s: option \"%s\": type %u or no help", path,
                                  option->name, option->type);
        }
    }
    return 0;
}

static int check_functions(const char *path, const kiln_plugin *plugin, kiln_error *err)
{
    for (const kiln_function *function = plugin->functions;
         function != NULL && function->name != NULL; function++) {
        kiln_native_signature signature;
        if (function->signature == NULL || !kiln_native_name_valid(function->name)) {
            return kiln_error_set(err, EINVAL,
                                  "%s: function \"%s\": no signature, or no name of letters, "
                                  "digits and _",
                                  path, function->name);
        }
        if (kiln_native_signature_parse(function->signature, &signature, err) < 0) {
            return kiln_error_wrap(err, "%s: function \"%s\": signature", path, function->name);
        }
    }
    return 0;
}

/* Copies at most what the plugin has and the engine knows; the rest stays 0. */
static void copy_struct(void *to, size_t known, const void *from, size_t size)
{
    memset(to, 0, known);
    memcpy(to, from, size < known ? size : known);
}

static int open_and_check(kiln_loaded_plugin *loaded, bool global, unsigned note_major,
                          unsigned note_minor, kiln_error *err)
{
    const char *path = loaded->path;
    loaded->handle =
        dlopen(path, RTLD_NOW | RTLD_NODELETE | (global ? RTLD_GLOBAL : RTLD_LOCAL));
    if (loaded->handle == NULL) {
        return kiln_error_set(err, ENOEXEC, "%s: cannot be loaded: %s", path, dlerror());
    }
    const kiln_plugin *(*entry)(void);
    *(void **)&entry = dlsym(loaded->handle, KILN_PLUGIN_ENTRY);
    if (entry == NULL) {
        return kiln_error_set(err, ENOEXEC, "%s: no entry: %s", path, dlerror());
    }
    const kiln_plugin *plugin = entry();
    if (plugin == NULL) {
        return kiln_error_set(err, EINVAL, "%s: its entry returned nothing", path);
    }
    if (plugin->size < PLUGIN_SIZE_1_0) {
        return kiln_error_set(err, EINVAL, "%s: kiln_plugin of %u bytes: ABI 1.0 has %zu", path,
                              plugin->size, PLUGIN_SIZE_1_0);
    }
    int rc = check_version(path, "its struct", plugin->abi_major, plugin->abi_minor, err);
    if (rc < 0) {
        return rc;
    }
    if (plugin->abi_major != note_major || plugin->abi_minor != note_minor) {
        return kiln_error_set(err, EINVAL,
                              "%s: its note says ABI %u.%u and its struct %u.%u: they must be "
                              "the same",
                              path, note_major, note_minor, plugin->abi_major,
                              plugin->abi_minor);
    }
    copy_struct(&loaded->plugin, sizeof(loaded->plugin), plugin, plugin->size);
    if (plugin->worker != NULL) {
        if (plugin->worker->size < WORKER_SIZE_1_0) {
            return kiln_error_set(err, EINVAL, "%s: kiln_worker of %u bytes: ABI 1.0 has %zu",
                                  path, plugin->worker->size, WORKER_SIZE_1_0);
        }
        copy_struct(&loaded->worker, sizeof(loaded->worker), plugin->worker,
                    plugin->worker->size);
        loaded->plugin.worker = &loaded->worker;
    }
    rc = check_name(path, &loaded->plugin, err);
    rc = rc < 0 ? rc : check_callbacks(path, &loaded->plugin, err);
    rc = rc < 0 ? rc : check_worker(loaded, err);
    rc = rc < 0 ? rc : check_options(path, &loaded->plugin, err);
    return rc < 0 ? rc : check_functions(path, &loaded->plugin, err);
}

int kiln_plugin_load(const char *path, bool global, kiln_loaded_plugin **out, kiln_error *err)
{
    unsigned major = 0, minor = 0;
    int rc = kiln_plugin_read_note(path, &major, &minor, err);
    rc = rc < 0 ? rc : check_version(path, "its note", major, minor, err);
    if (rc < 0) {
        return rc;
    }
    kiln_loaded_plugin *loaded = calloc(1, sizeof(*loaded));
    if (loaded == NULL || (loaded->path = strdup(path)) == NULL ||
        (loaded->worker_program = worker_program(path)) == NULL) {
        kiln_plugin_unload(loaded);
        return kiln_error_set(err, ENOMEM, "%s: out of memory", path);
    }
    rc = open_and_check(loaded, global, major, minor, err);
    if (rc < 0) {
        kiln_plugin_unload(loaded);
        return rc;
    }
    *out = loaded;
    return 0;
}

void kiln_plugin_unload(kiln_loaded_plugin *loaded)
{
    if (loaded == NULL) {
        return;
    }
    if (loaded->handle != NULL) {
        dlclose(loaded->handle);
    }
    free(loaded->path);
    free(loaded->worker_program);
    free(loaded);
}
