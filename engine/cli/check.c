/* check.c - `kiln check`: is everything there that the configuration asks for? */
#include "cli/command.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "cli/check_connections.h"
#include "cli/report.h"
#include "cli/reporting.h"
#include "cli/setup.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <string.h>

static const char help[] =
    "usage: kiln check [--config FILE] [-s S.KEY=VALUE] [--json]\n\n"
    "Checks the configuration, loads plugins and policies, tries what this machine can\n"
    "confine, asks backends whether they can run code here (container: its engine and its\n"
    "images), and looks for the programs of each [runtime].\n\n"
    "A runtime that is missing is told and no failure: its language is, when it is asked\n"
    "for. --json: "
    "{\"ok\",\"configuration\":{},\"plugins\":[],\"backends\":[],\"policies\":{},\n"
    "\"sandbox\":[],\"root\",\"network\":{\"mode\",\"allow\":[]},\"runtimes\":[],\"natives\":[]"
    ",\n"
    "\"connections\":[]}.\n\n"
    "exit status: 0 everything required is there, 2 the configuration or a script is wrong,\n"
    "125 a plugin or its backend cannot be used or a required layer of confinement is "
    "missing.\n";

/* What is found, as it is told by --json. */
typedef struct findings {
    json_t *root;
    int status; /* exit status: that of the first fault */
    size_t faults;
} findings;

static void fault(findings *f, int status)
{
    f->status = f->faults++ == 0 ? status : f->status;
}

static json_t *text_or_null(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

static void add_configuration(findings *f, const char *file, const char *error)
{
    json_object_set_new(f->root, "configuration",
                        json_pack("{s:b, s:o, s:o}", "ok", error == NULL, "file",
                                  text_or_null(file), "error", text_or_null(error)));
}

static void check_plugins(findings *f, kiln_config *config, const kiln_paths *paths)
{
    json_t *plugins = kiln_plugins_inspect(config, paths);
    size_t i;
    json_t *plugin;
    json_array_foreach(plugins, i, plugin)
    {
        if (json_is_string(json_object_get(plugin, "error"))) {
            fault(f, KILN_EXIT_ENGINE);
        }
    }
    json_object_set_new(f->root, "plugins", plugins != NULL ? plugins : json_array());
}

/* One line each, the loader's and the worker's alike. */
static void on_backend_failed(void *user, const char *backend, const char *why)
{
    findings *f = user;
    size_t i;
    json_t *plugin;
    json_array_foreach(json_object_get(f->root, "plugins"), i, plugin)
    {
        if (strcmp(json_string_value(json_object_get(plugin, "name")), backend) == 0) {
            json_object_set_new(plugin, "error", json_string(why));
            fault(f, KILN_EXIT_ENGINE);
        }
    }
}

static void add_natives(findings *f, json_t *natives)
{
    size_t i;
    json_t *native;
    json_array_foreach(natives, i, native)
    {
        if (json_is_string(json_object_get(native, "error"))) {
            fault(f, KILN_EXIT_USAGE);
        }
    }
    json_object_set_new(f->root, "natives", natives);
}

static void add_backends(findings *f, json_t *backends)
{
    size_t i;
    json_t *entry;
    json_array_foreach(backends, i, entry)
    {
        if (strcmp(json_string_value(json_object_get(entry, "finding")), "fault") == 0) {
            fault(f, KILN_EXIT_ENGINE);
        }
    }
    json_object_set_new(f->root, "backends", backends);
}

/* Opens an engine, which loads plugins and policies as a run would, and starts the
 * backends' worker processes. Owns config. */
static void check_policies(findings *f, kiln_config *config, const kiln_paths *paths)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_engine *engine = NULL;
    uv_loop_t loop;
    int rc = uv_loop_init(&loop);
    bool looping = rc == 0;
    if (!looping) {
        kiln_config_free(config);
        kiln_error_set(&err, rc, "cannot make an event loop: %s", uv_strerror(rc));
    } else {
        rc = kiln_engine_open(&loop, config, paths, NULL, &engine, &err);
    }
    json_t *chains = engine != NULL ? kiln_engine_policies(engine) : json_array();
    json_object_set_new(f->root, "policies",
                        json_pack("{s:b, s:o, s:o}", "ok", rc >= 0, "chains", chains, "error",
                                  rc < 0 ? json_string(err.text) : json_null()));
    if (rc < 0 && f->faults == 0) { /* a plugin's fault was counted as such */
        fault(f, kiln_open_failure_status(rc));
    }
    if (engine != NULL) {
        add_backends(f, kiln_engine_check_backends(engine));
        add_natives(f, kiln_engine_try_natives(engine));
        kiln_engine_try_backends(engine, on_backend_failed, f);
        kiln_engine_close(engine);
    }
    if (looping) {
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
    }
}

static void check_sandbox(findings *f, const kiln_config *config)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_sandbox_policy policy = {0};
    if (kiln_engine_sandbox_policy(config, &policy, &err) < 0) {
        fault(f, KILN_EXIT_USAGE);
        json_object_set_new(f->root, "sandbox", json_array());
        json_object_set_new(f->root, "sandbox_error", json_string(err.text));
        return;
    }
    json_t *layers = kiln_sandbox_probe(&policy, &err);
    if (layers == NULL) {
        fault(f, KILN_EXIT_ENGINE);
        json_object_set_new(f->root, "sandbox_error", json_string(err.text));
    }
    size_t i;
    json_t *layer;
    json_array_foreach(layers, i, layer)
    {
        if (json_is_true(json_object_get(layer, "required")) &&
            !json_is_true(json_object_get(layer, "available"))) {
            fault(f, KILN_EXIT_ENGINE);
        }
    }
    json_object_set_new(f->root, "sandbox", layers != NULL ? layers : json_array());
}

static void add_root(findings *f, const kiln_config *config)
{
    json_object_set_new(f->root, "root",
                        text_or_null(kiln_config_string(config, "sandbox", "root")));
}

static void add_network(findings *f, const kiln_config *config)
{
    json_t *allow = json_array();
    for (const char *const *word = kiln_config_list(config, "sandbox", "allow"); *word != NULL;
         word++) {
        json_array_append_new(allow, json_string(*word));
    }
    json_object_set_new(
        f->root, "network",
        json_pack("{s:o, s:o}", "mode",
                  text_or_null(kiln_config_string(config, "sandbox", "network")), "allow",
                  allow));
}

static void check_runtimes(findings *f, const kiln_config *config)
{
    kiln_error ignored = KILN_ERROR_INIT; /* told by check_sandbox */
    kiln_sandbox_policy policy = {0};
    (void)kiln_engine_sandbox_policy(config, &policy, &ignored);
    auto_json json_t *runtimes = json_array();
    for (const char *const *name = kiln_config_names(config, "runtime"); *name != NULL;
         name++) {
        char section[128];
        snprintf(section, sizeof(section), "runtime %s", *name);
        const char *missing = NULL;
        char found[4096] = "";
        static const char *const keys[] = {"compile", "run"};
        bool any = false;
        for (int i = 0; i < 2 && missing == NULL; i++) {
            const char *const *words = kiln_config_words(config, section, keys[i]);
            if (words == NULL || words[0] == NULL) {
                continue;
            }
            any = true;
            if (strchr(words[0], '{') != NULL) {
                continue; /* {out}: what the compile phase makes */
            }
            if (kiln_sandbox_find_program(&policy, words[0], found, sizeof(found)) < 0) {
                missing = words[0];
            }
        }
        if (any) { /* a runtime without commands was switched off */
            json_array_append_new(runtimes,
                                  json_pack("{s:s, s:b, s:o, s:o}", "language", *name,
                                            "available", missing == NULL, "program",
                                            text_or_null(missing == NULL ? found : NULL),
                                            "missing", text_or_null(missing)));
        }
    }
    json_object_set(f->root, "runtimes", runtimes);
}

static void add_connections(findings *f, const kiln_config *config)
{
    json_t *connections = kiln_check_connections(config);
    size_t i;
    json_t *connection;
    json_array_foreach(connections, i, connection)
    {
        if (!json_is_true(json_object_get(connection, "ok"))) {
            fault(f, KILN_EXIT_USAGE);
        }
    }
    json_object_set_new(f->root, "connections", connections);
}

/* ---- for people */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void print_line(const char *verdict, const char *name, const char *detail)
{
    printf("  %-8s %-16s %s\n", verdict, name, detail);
}

static void print_backends(const json_t *backends)
{
    size_t i;
    json_t *entry;
    if (json_array_size(backends) > 0) {
        printf("backends\n");
    }
    json_array_foreach(backends, i, entry)
    {
        const char *finding = text_of(entry, "finding");
        auto_buffer kiln_buffer line = KILN_BUFFER_INIT;
        kiln_buffer_printf(&line, "%s: %s", text_of(entry, "what"), text_of(entry, "detail"));
        print_line(strcmp(finding, "fault") == 0 ? "FAULT" : finding, text_of(entry, "name"),
                   line.data != NULL ? line.data : "");
    }
}

static void print_policies(const json_t *policies)
{
    if (!json_is_true(json_object_get(policies, "ok"))) {
        print_line("FAULT", "", text_of(policies, "error"));
    }
    size_t i, k;
    json_t *chain, *policy;
    json_array_foreach(json_object_get(policies, "chains"), i, chain)
    {
        auto_buffer kiln_buffer names = KILN_BUFFER_INIT;
        json_array_foreach(json_object_get(chain, "policies"), k, policy)
        {
            kiln_buffer_printf(&names, "%s%s", k > 0 ? " > " : "", text_of(policy, "name"));
        }
        print_line("ok", text_of(chain, "chain"), names.data != NULL ? names.data : "(empty)");
    }
}

static void print_sandbox(const json_t *root)
{
    size_t i;
    json_t *layer;
    if (json_object_get(root, "sandbox_error") != NULL) {
        print_line("FAULT", "", text_of(root, "sandbox_error"));
    }
    json_array_foreach(json_object_get(root, "sandbox"), i, layer)
    {
        bool available = json_is_true(json_object_get(layer, "available"));
        bool required = json_is_true(json_object_get(layer, "required"));
        auto_buffer kiln_buffer line = KILN_BUFFER_INIT;
        const char *advice = text_of(layer, "advice");
        kiln_buffer_printf(&line, "%s%s%s%s", required ? "(required) " : "",
                           text_of(layer, "detail"), *advice != '\0' ? "; " : "", advice);
        print_line(available  ? "ok"
                   : required ? "FAULT"
                              : "missing",
                   text_of(layer, "layer"), line.data != NULL ? line.data : "");
    }
}

static void print_network(const json_t *network)
{
    const char *mode = text_of(network, "mode");
    auto_buffer kiln_buffer line = KILN_BUFFER_INIT;
    bool proxy = strcmp(mode, "proxy") == 0;
    kiln_buffer_printf(&line, "%s%s", mode,
                       proxy                       ? ", to:"
                       : strcmp(mode, "host") == 0 ? ": code reaches what this machine reaches"
                                                   : "");
    size_t i;
    json_t *word;
    json_array_foreach(json_object_get(network, "allow"), i, word)
    {
        if (proxy) {
            kiln_buffer_printf(&line, " %s", json_string_value(word));
        }
    }
    print_line("ok", "network", line.data != NULL ? line.data : mode);
}

static void print_findings(const findings *f)
{
    size_t i;
    json_t *entry;
    const json_t *configuration = json_object_get(f->root, "configuration");
    const char *file = text_of(configuration, "file");
    bool ok = json_is_true(json_object_get(configuration, "ok"));
    printf("configuration\n");
    print_line(ok ? "ok" : "FAULT", "",
               !ok             ? text_of(configuration, "error")
               : *file != '\0' ? file
                               : "no file: the defaults");
    if (!ok) {
        return;
    }
    printf("plugins\n");
    json_array_foreach(json_object_get(f->root, "plugins"), i, entry)
    {
        bool fine = !json_is_string(json_object_get(entry, "error"));
        print_line(fine ? "ok" : "FAULT", text_of(entry, "name"),
                   fine ? text_of(entry, "summary") : text_of(entry, "error"));
    }
    print_backends(json_object_get(f->root, "backends"));
    printf("policies\n");
    print_policies(json_object_get(f->root, "policies"));
    printf("sandbox\n");
    print_sandbox(f->root);
    const char *tree = text_of(f->root, "root");
    print_line(json_object_get(f->root, "sandbox_error") != NULL ? "" : "ok", "root",
               *tree != '\0' ? tree : "this machine's system folders, read-only");
    print_network(json_object_get(f->root, "network"));
    printf("runtimes\n");
    json_array_foreach(json_object_get(f->root, "runtimes"), i, entry)
    {
        bool there = json_is_true(json_object_get(entry, "available"));
        char line[256];
        snprintf(line, sizeof(line), there ? "%s" : "no program \"%s\": install it to run this",
                 there ? text_of(entry, "program") : text_of(entry, "missing"));
        print_line(there ? "ok" : "missing", text_of(entry, "language"), line);
    }
    if (json_array_size(json_object_get(f->root, "natives")) > 0) {
        printf("native functions\n");
    }
    json_array_foreach(json_object_get(f->root, "natives"), i, entry)
    {
        bool fine = !json_is_string(json_object_get(entry, "error"));
        print_line(fine ? "ok" : "FAULT", text_of(entry, "name"),
                   text_of(entry, fine ? "signature" : "error"));
    }
    if (json_array_size(json_object_get(f->root, "connections")) > 0) {
        printf("connections\n");
    }
    json_array_foreach(json_object_get(f->root, "connections"), i, entry)
    {
        bool fine = json_is_true(json_object_get(entry, "ok"));
        print_line(fine ? "ok" : "FAULT", text_of(entry, "name"),
                   text_of(entry, fine ? "endpoint" : "error"));
    }
}

/* Two configurations are loaded: the plugins' report and the engine each declare options
 * to theirs. */
static void find_out(findings *f, const kiln_reporting_options *options)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_paths paths;
    kiln_config *config, *second;
    int status;
    auto_free char *file = NULL;
    if (kiln_setup(options->config, options->set, &paths, &config, &file, &status, &err) < 0) {
        fault(f, status);
        add_configuration(f, options->config, err.text);
        return;
    }
    add_configuration(f, file, NULL);
    check_plugins(f, config, &paths);
    if (kiln_setup(options->config, options->set, &paths, &second, NULL, &status, &err) < 0) {
        fault(f, status);
        add_configuration(f, file, err.text);
    } else {
        check_policies(f, second, &paths);
    }
    check_sandbox(f, config);
    add_root(f, config);
    add_network(f, config);
    check_runtimes(f, config);
    add_connections(f, config);
    kiln_config_free(config);
}

static int run(int argc, char **argv)
{
    kiln_reporting_options options;
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_reporting_parse(argc, argv, &options, &err) < 0) {
        fprintf(stderr, "kiln: %s\n", err.text);
        return KILN_EXIT_USAGE;
    }
    if (options.help) {
        fputs(help, stdout);
        return fflush(stdout) == 0 ? KILN_EXIT_OK : KILN_EXIT_ENGINE;
    }
    auto_json json_t *root = json_object();
    findings f = {.root = root, .status = KILN_EXIT_OK};
    json_object_set_new(root, "ok", json_false());
    find_out(&f, &options);
    json_object_set_new(root, "ok", json_boolean(f.faults == 0));
    if (options.json) {
        kiln_terminal terminal;
        kiln_terminal_init(&terminal);
        return kiln_report_json(&terminal, root) < 0 ? KILN_EXIT_ENGINE : f.status;
    }
    print_findings(&f);
    printf("\n%s\n", f.faults == 0 ? "Everything that is required is there."
                                   : "Not ready: see FAULT above.");
    return fflush(stdout) == 0 ? f.status : KILN_EXIT_ENGINE;
}

const kiln_command kiln_command_check = {
    "check",
    "checks configuration, plugins, policies and what can be confined",
    run,
};
