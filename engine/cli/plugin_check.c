/* plugin_check.c - `kiln plugin-check FILE.so`. */
#include "cli/command.h"

#include "base/error.h"
#include "plugincheck/check.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: kiln plugin-check [OPTIONS] FILE.so\n\n"
    "Tells whether a backend keeps the rules of kiln/plugin.h, and prints TAP: its file, init\n"
    "and fini, odd options, executions and queries with interrupts, kills and ends in every\n"
    "order, lost programs, failing allocations, calls from other threads, random sequences.\n"
    "Each test has a process of its own, with an engine made up around the plugin, in which "
    "no\n"
    "program is run. Its workers are then started for real, confined, and given empty cells.\n"
    "A plugin that reaches for something outside (a socket) does so here, too: see its "
    "options.\n\n"
    "  -s, --set KEY=VALUE   one of the plugin's own options; again for another\n"
    "      --seed N          of the random sequences; else one is made up and told\n"
    "      --reproduce N     runs that sequence alone, each step told on standard error\n"
    "  -q, --quiet           failures only\n\n"
    "exit status: 0 all passed, 1 some failed, 2 usage, 125 it could not be checked.\n";

enum { SETS_MAX = 64 };

typedef struct arguments {
    kiln_plugin_check_options check;
    const char *set[SETS_MAX + 1];
    const char *file;
    bool help;
} arguments;

static int take_seed(const char *word, uint64_t *seed, kiln_error *err)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(word, &end, 10);
    if (errno != 0 || *end != '\0' || word[0] < '0' || word[0] > '9') {
        return kiln_error_set(err, -EINVAL, "\"%s\" is no seed: a whole number is", word);
    }
    *seed = value;
    return 0;
}

static int parse(int argc, char **argv, arguments *given, kiln_error *err)
{
    static const struct option known[] = {
        {"set", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'n'},
        {"reproduce", required_argument, NULL, 'r'},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    size_t sets = 0;
    int option;
    int rc = 0;
    optind = 1;
    opterr = 0;
    while (rc == 0 && (option = getopt_long(argc, argv, ":s:qh", known, NULL)) != -1) {
        switch (option) {
        case 's':
            if (sets == SETS_MAX || strchr(optarg, '=') == NULL) {
                rc = kiln_error_set(err, -EINVAL, "--set %s: KEY=VALUE expected, at most %d",
                                    optarg, SETS_MAX);
                break;
            }
            given->set[sets++] = optarg;
            break;
        case 'n':
        case 'r':
            given->check.reproduce = option == 'r';
            rc = take_seed(optarg, &given->check.seed, err);
            break;
        case 'q':
            given->check.quiet = true;
            break;
        case 'h':
            given->help = true;
            break;
        default:
            rc = kiln_error_set(err, -EINVAL, "%s %s; see kiln plugin-check --help",
                                option == ':' ? "a value is missing after" : "unknown option",
                                argv[optind - 1]);
        }
    }
    if (rc == 0 && !given->help && optind + 1 != argc) {
        rc = kiln_error_set(err, -EINVAL,
                            "one FILE.so is expected; see kiln plugin-check --help");
    }
    given->file = argv[optind];
    given->check.set = given->set;
    return rc;
}

static int run(int argc, char **argv)
{
    kiln_error err = KILN_ERROR_INIT;
    arguments given = {0};
    char path[PATH_MAX];
    /* Any will do, as long as it is told: a failure is to be seen again. */
    FILE *random = fopen("/dev/urandom", "re");
    uint32_t drawn = 1;
    if (random != NULL) {
        drawn = fread(&drawn, sizeof(drawn), 1, random) == 1 ? drawn : 1;
        fclose(random);
    }
    given.check.seed = drawn;
    int rc = parse(argc, argv, &given, &err);
    if (rc == 0 && given.help) {
        fputs(help, stdout);
        return fflush(stdout) == 0 ? KILN_EXIT_OK : KILN_EXIT_ENGINE;
    }
    int status = KILN_EXIT_USAGE;
    if (rc == 0 && realpath(given.file, path) == NULL) { /* dlopen searches for bare names */
        rc = kiln_error_errno(&err, errno, "%s", given.file);
    } else if (rc == 0) {
        rc = kiln_plugin_check(path, &given.check, &err);
        status = KILN_EXIT_ENGINE;
    }
    if (rc < 0) {
        fprintf(stderr, "kiln: plugin-check: %s\n", err.text);
        return status;
    }
    return rc > 0 ? KILN_EXIT_FAILURE : KILN_EXIT_OK;
}

const kiln_command kiln_command_plugin_check = {
    "plugin-check",
    "tells whether a backend keeps the rules of kiln/plugin.h",
    run,
};
