/* plugins.c - `kiln plugins`: the backends that are configured, and what each can do. */
#include "cli/command.h"

#include "base/cleanup.h"
#include "cli/report.h"
#include "cli/reporting.h"
#include "cli/setup.h"

#include <string.h>

static const char help[] =
    "usage: kiln plugins [--config FILE] [-s S.KEY=VALUE] [--json]\n\n"
    "Lists the backends of [engine] backends: version, languages, capabilities, file, and\n"
    "why one cannot be used.\n\n"
    "exit status: 0, 125 when one cannot be used, 2 usage or configuration.\n";

static char *words_of(const json_t *list)
{
    kiln_buffer text = KILN_BUFFER_INIT;
    size_t i;
    json_t *word;
    json_array_foreach(list, i, word)
    {
        if (json_is_string(word)) {
            kiln_buffer_printf(&text, "%s%s", i > 0 ? " " : "", json_string_value(word));
        }
    }
    return text.data; /* NULL: there are none */
}

static const char *text_of(const json_t *entry, const char *key)
{
    const char *text = json_string_value(json_object_get(entry, key));
    return text != NULL ? text : "-";
}

static void print_plugin(const json_t *entry)
{
    printf("%s %s\n", text_of(entry, "name"), text_of(entry, "version"));
    if (json_is_string(json_object_get(entry, "error"))) {
        printf("  cannot be used: %s\n", text_of(entry, "error"));
        return;
    }
    auto_free char *languages = words_of(json_object_get(entry, "languages"));
    auto_free char *capabilities = words_of(json_object_get(entry, "capabilities"));
    printf("  %s\n  languages     %s\n  capabilities  %s\n  plugin ABI    %s\n  file          "
           "%s\n",
           text_of(entry, "summary"), languages != NULL ? languages : "none",
           capabilities != NULL ? capabilities : "none", text_of(entry, "abi"),
           text_of(entry, "file"));
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
    kiln_paths paths;
    kiln_config *config;
    int status;
    if (kiln_setup(options.config, options.set, &paths, &config, NULL, &status, &err) < 0) {
        fprintf(stderr, "kiln: %s\n", err.text);
        return status;
    }
    auto_json json_t *plugins = kiln_plugins_inspect(config, &paths);
    status = plugins != NULL ? KILN_EXIT_OK : KILN_EXIT_ENGINE;
    size_t i;
    json_t *entry;
    json_array_foreach(plugins, i, entry)
    {
        if (json_is_string(json_object_get(entry, "error"))) {
            status = KILN_EXIT_ENGINE;
        }
        if (!options.json) {
            print_plugin(entry);
        }
    }
    if (options.json) {
        kiln_terminal terminal;
        kiln_terminal_init(&terminal);
        if (kiln_report_json(&terminal, plugins) < 0) {
            status = KILN_EXIT_ENGINE;
        }
    }
    kiln_config_free(config);
    return fflush(stdout) == 0 ? status : KILN_EXIT_ENGINE;
}

const kiln_command kiln_command_plugins = {
    "plugins",
    "lists the backends and what they can do",
    run,
};
