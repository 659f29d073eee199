/* config.c - `kiln config`: what is in effect, and where each value came from. */
#include "cli/command.h"

#include "base/cleanup.h"
#include "cli/setup.h"
#include "config/config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { SETS_MAX = 256, TITLES_MAX = 1024 };

static const char help[] =
    "usage: kiln config [OPTIONS] [SECTION[.KEY]]\n"
    "\n"
    "Prints the configuration in effect as an INI file, above each value where it came from.\n"
    "SECTION: one section (limits, policy.route) or one family of them (runtime); with\n"
    "KEY: the value alone.\n"
    "\n"
    "  --config FILE            read this file (else $KILN_CONFIG, else\n"
    "                           $XDG_CONFIG_HOME/kiln/kiln.ini, /etc/kiln/kiln.ini, the\n"
    "                           shipped one)\n"
    "  -s, --set SECTION.KEY=V  set a key; wins over file and environment\n"
    "  --json                   an array of {section, key, value, default, type, unit,\n"
    "                           source, help, text}; durations in ms, sizes in bytes\n"
    "  --reference              print conf/kiln.ini: every key, explained, at its default\n"
    "  -h, --help               this\n"
    "\n"
    "The environment sets keys too: KILN_SECTION_KEY, letters upper case, all else _ :\n"
    "KILN_LIMITS_MEMORY=2G, KILN_RUNTIME_PYTHON_RUN=..., KILN_POLICY_ROUTE_SCRIPT=...\n"
    "\n"
    "Keys that policies and plugins declare are checked by `kiln check`.\n";

typedef struct options {
    const char *file;
    const char *set[SETS_MAX + 1];
    size_t set_count;
    bool json, reference, help;
    const char *which; /* SECTION[.KEY], or NULL */
} options;

static int usage(const char *text, const char *what)
{
    fprintf(stderr, "kiln: config: %s%s; see kiln config --help\n", text, what);
    return KILN_EXIT_USAGE;
}

static int failed(const kiln_error *err)
{
    fprintf(stderr, "kiln: %s\n", err->text);
    return KILN_EXIT_USAGE;
}

/* 0, or the exit status. */
static int read_options(int argc, char **argv, options *o)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'}, {"set", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},         {"reference", no_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    int option;
    opterr = 0;
    optind = 0; /* glibc: from the start, whoever parsed before */
    while ((option = getopt_long(argc, argv, ":hs:", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            o->file = optarg;
            break;
        case 's':
            if (o->set_count == SETS_MAX) {
                return usage("too many --set", "");
            }
            o->set[o->set_count++] = optarg;
            break;
        case 'j':
            o->json = true;
            break;
        case 'r':
            o->reference = true;
            break;
        case 'h':
            o->help = true;
            return 0;
        case ':':
            return usage("a value is missing after ", argv[optind - 1]);
        default:
            return usage("unknown option ", argv[optind - 1]);
        }
    }
    if (optind + 1 < argc) {
        return usage("one SECTION[.KEY] at a time, not also ", argv[optind + 1]);
    }
    o->which = optind < argc ? argv[optind] : NULL;
    if (o->file != NULL && o->file[0] == '\0') {
        return usage("--config names no file", "");
    }
    return 0;
}

static const char *field(const json_t *entry, const char *name)
{
    const char *text = json_string_value(json_object_get(entry, name));
    return text == NULL ? "" : text;
}

/* Does `title` ("policy route") or its family stand at the front of `which`
 * ("policy.route.script"), whole? Then *key is what follows the dot, or NULL. */
static bool title_matches(const char *title, const char *which, const char **key)
{
    size_t length = strlen(title), family = strcspn(title, " ");
    *key = NULL;
    if (strlen(which) == family && strncmp(which, title, family) == 0) {
        return true;
    }
    for (size_t i = 0; i < length; i++) {
        if (which[i] != title[i] && !(title[i] == ' ' && which[i] == '.')) {
            return false;
        }
    }
    *key = which[length] == '.' ? which + length + 1 : NULL;
    return which[length] == '\0' || which[length] == '.';
}

static bool wanted(const json_t *entry, const char *which, bool *whole_key)
{
    const char *key = NULL;
    if (which == NULL) {
        return true;
    }
    if (!title_matches(field(entry, "section"), which, &key)) {
        return false;
    }
    *whole_key = key != NULL;
    return key == NULL || strcmp(key, field(entry, "key")) == 0;
}

/* Nothing is of that name: says what is nearly. */
static int nothing(const json_t *all, const char *which)
{
    static char names[TITLES_MAX][128]; /* 128 KB are too much for the stack */
    const char *list[TITLES_MAX + 1];
    const char *last = "";
    size_t count = 0, index;
    const json_t *entry;
    const bool dotted = strchr(which, '.') != NULL;
    json_array_foreach(all, index, entry)
    {
        const char *section = field(entry, "section");
        if (count < TITLES_MAX && (dotted || strcmp(section, last) != 0)) {
            int used = snprintf(names[count], sizeof(names[count]), dotted ? "%s.%s" : "%s",
                                section, field(entry, "key"));
            char *space = used > 0 ? strchr(names[count], ' ') : NULL;
            if (space != NULL) {
                *space = '.';
            }
            list[count] = names[count];
            count++;
            last = section;
        }
    }
    list[count] = NULL;
    const char *near = kiln_near_match(which, list);
    kiln_error err = KILN_ERROR_INIT;
    kiln_error_set(&err, EINVAL, "config: \"%.200s\" is neither a section nor a key%s%s%s",
                   which, near != NULL ? ", did you mean \"" : "; see kiln config",
                   near != NULL ? near : "", near != NULL ? "\"?" : "");
    return failed(&err);
}

static void print_ini(const json_t *all)
{
    const char *last = "";
    size_t index;
    const json_t *entry;
    json_array_foreach(all, index, entry)
    {
        const char *section = field(entry, "section");
        const char *source = field(entry, "source");
        /* A variable whose key is not known yet is of no section that could be read back. */
        if (strncmp(field(entry, "key"), "KILN_", 5) == 0) {
            printf("%s# %s = %s (whose key it is shows when the engine starts)\n",
                   last[0] != '\0' ? "\n" : "", source, field(entry, "text"));
            continue;
        }
        if (strcmp(section, last) != 0) {
            printf("%s[%s]\n", last[0] != '\0' ? "\n" : "", section);
            last = section;
        }
        const char *text = field(entry, "text");
        printf("# %s\n%s =%s%s\n", source, field(entry, "key"), text[0] != '\0' ? " " : "",
               text);
    }
}

static int print_selected(const options *o, const json_t *all)
{
    auto_json json_t *selected = json_array();
    bool whole_key = false;
    size_t index;
    json_t *entry;
    json_array_foreach(all, index, entry)
    {
        if (wanted(entry, o->which, &whole_key) && json_array_append(selected, entry) < 0) {
            return usage("out of memory", "");
        }
    }
    if (json_array_size(selected) == 0) {
        return nothing(all, o->which != NULL ? o->which : "");
    }
    if (o->json) {
        json_dumpf(selected, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (whole_key) {
        puts(field(json_array_get(selected, 0), "text"));
    } else {
        print_ini(selected);
    }
    return KILN_EXIT_OK;
}

static int print_reference(void)
{
    auto_free char *text = kiln_config_reference();
    if (text == NULL) {
        return usage("out of memory", "");
    }
    fputs(text, stdout);
    return KILN_EXIT_OK;
}

static int print_effective(const options *o)
{
    kiln_config *config = NULL;
    kiln_error err = KILN_ERROR_INIT;
    kiln_paths paths;
    int status;
    if (kiln_setup(o->file, o->set, &paths, &config, NULL, &status, &err) < 0) {
        failed(&err);
        return status;
    }
    auto_json json_t *all = kiln_config_to_json(config);
    kiln_config_free(config);
    return all == NULL ? usage("out of memory", "") : print_selected(o, all);
}

static int run(int argc, char **argv)
{
    options o = {0};
    int status = read_options(argc, argv, &o);
    if (status != 0) {
        return status;
    }
    if (o.help) {
        fputs(help, stdout);
    } else {
        status = o.reference ? print_reference() : print_effective(&o);
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "kiln: config: standard output: %s\n", strerror(errno));
        return KILN_EXIT_ENGINE;
    }
    return status;
}

const kiln_command kiln_command_config = {
    "config", "show the configuration in effect and where it comes from", run};
