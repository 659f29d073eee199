#include "cli/eval.h"

#include "cli/command.h"
#include "config/units.h"

#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

enum { JOBS_MAX = 256, REPEAT_MAX = 10000 };

const char kiln_eval_help[] =
    "usage: kiln eval [OPTIONS] PATH...\n"
    "\n"
    "Runs scenarios (PATH: an INI file, or a folder with some) and passes each only if the\n"
    "bundle of files that it makes is the canonical one, byte for byte or as it declares.\n"
    "TAP on standard output.\n"
    "\n"
    "      --jobs N             so many at once (the CPUs of this machine)\n"
    "      --repeat N           runs each N times; tells files that differ from run to run\n"
    "      --only PATTERN       those whose name or NAME of [scenario NAME] fits\n"
    "      --update             a bundle that is not the canonical one becomes it, when its\n"
    "                           diff was shown and you said yes\n"
    "      --yes                with --update: without asking\n"
    "      --seed N             PYTHONHASHSEED, and the seed of backends that have one (0)\n"
    "      --junit FILE         writes JUnit's XML, too\n"
    "      --json               one JSON document on standard output in place of TAP\n"
    "      --config FILE        another kiln.ini\n"
    "  -s, --set SECTION.KEY=V  one key of the configuration\n"
    "      --reference          prints a scenario with every key explained\n"
    "  -h, --help               this\n"
    "\n"
    "Each run has a session of its own and the same SOURCE_DATE_EPOCH, TZ=UTC, LC_ALL=C.UTF-8\n"
    "and seeds. What reads the clock itself, or the kernel's random numbers, still differs.\n"
    "\n"
    "exit status: 0 all passed, 1 some did not, 2 usage, configuration or a scenario that\n"
    "cannot be read, 125 the engine failed, 128+N interrupted by signal N.\n";

static int usage(const char *what, const char *word)
{
    fprintf(stderr, "kiln: eval: %s%s; see kiln eval --help\n", what, word);
    return KILN_EXIT_USAGE;
}

static int take_number(const char *name, const char *text, int64_t most, int64_t *number)
{
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_units_integer(text, number, &err) < 0 || *number < 1 || *number > most) {
        fprintf(stderr, "kiln: eval: %s \"%s\": a number from 1 to %lld is expected\n", name,
                text, (long long)most);
        return KILN_EXIT_USAGE;
    }
    return 0;
}

static int check_seed(const char *text)
{
    kiln_error err = KILN_ERROR_INIT;
    int64_t number;
    if (kiln_units_integer(text, &number, &err) < 0 || number < 0 || number > 4294967295) {
        return usage("--seed: a number from 0 to 4294967295 is expected, not ", text);
    }
    return 0;
}

static int read_options(int argc, char **argv, kiln_eval_options *o)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},
        {"set", required_argument, NULL, 's'},
        {"jobs", required_argument, NULL, 'J'},
        {"repeat", required_argument, NULL, 'R'},
        {"only", required_argument, NULL, 'O'},
        {"seed", required_argument, NULL, 'S'},
        {"junit", required_argument, NULL, 'U'},
        {"update", no_argument, NULL, 'u'},
        {"yes", no_argument, NULL, 'y'},
        {"json", no_argument, NULL, 'j'},
        {"reference", no_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option, status = 0;
    opterr = 0;
    optind = 0; /* glibc: from the start, whoever parsed before */
    while (status == 0 && (option = getopt_long(argc, argv, ":hs:", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            o->config = optarg;
            break;
        case 's':
            if (o->set_count == KILN_EVAL_SETS_MAX) {
                return usage("too many --set", "");
            }
            o->set[o->set_count++] = optarg;
            break;
        case 'J':
            status = take_number("--jobs", optarg, JOBS_MAX, &o->jobs);
            break;
        case 'R':
            status = take_number("--repeat", optarg, REPEAT_MAX, &o->repeat);
            break;
        case 'O':
            o->only = optarg;
            break;
        case 'S':
            status = check_seed(optarg);
            o->seed = optarg;
            break;
        case 'U':
            o->junit = optarg;
            break;
        case 'u':
            o->update = true;
            break;
        case 'y':
            o->yes = true;
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
    o->paths = argv + optind;
    return status;
}

static int check_options(const kiln_eval_options *o)
{
    if (o->paths[0] == NULL) {
        return usage("no scenario: name an INI file or a folder of some", "");
    }
    if (o->yes && !o->update) {
        return usage("--yes goes with --update", "");
    }
    if (o->update && o->repeat > 1) {
        return usage("--update and --repeat exclude each other", "");
    }
    if (o->update && !o->yes && (o->json || isatty(STDIN_FILENO) != 1)) {
        return usage("--update asks, and there is no terminal to ask: add --yes", "");
    }
    return 0;
}

int kiln_eval_options_parse(int argc, char **argv, kiln_eval_options *options)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    *options = (kiln_eval_options){
        .jobs = cpus > 0 && cpus < JOBS_MAX ? cpus : 1, .repeat = 1, .seed = "0"};
    int status = read_options(argc, argv, options);
    return status != 0 || options->help || options->reference ? status : check_options(options);
}
