#include "cli/options.h"

#include "config/config.h"
#include "config/units.h"
#include "contract/limits.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

const char kiln_run_help[] =
    "usage: kiln run [OPTIONS] FILE|-|-c CODE [-- ARGS]\n\n"
    "Runs a script, or every cell of a notebook (.ipynb), confined and under policies.\n\n"
    "  -c, --code CODE        runs CODE; \"-\" as FILE reads it from standard input\n"
    "  -l, --language LANG    else by the file's extension, its #! line, or python\n"
    "  -b, --backend NAME     a wish: the policies decide\n"
    "  -s, --set S.KEY=VALUE  one key of the configuration, as limits.memory=1G\n"
    "      --config FILE      another kiln.ini\n"
    "      --chain NAME       another chain of policies\n"
    "      --client NAME      who asks, for policies that count by client; your user name\n"
    "                         without it\n"
    "      --timeout TIME     30s, 500ms, 2m; never above the configured one\n"
    "      --limit NAME=VALUE memory=256M, cpu=10s, cpus=0.5, processes=20, output, disk,\n"
    "                         files, open_files, file_size; likewise\n"
    "  -i, --input FILE       puts a file into the work directory under its own name, or\n"
    "                         NAME=FILE under another (./A=B for a name that holds \"=\");\n"
    "                         FOLDER/: every file in it\n"
    "      --stdin FILE       what the code reads; \"-\" is ours; empty without it; each cell\n"
    "                         of a notebook reads it from the start\n"
    "  -o, --output DIR       output files and the executed notebook go there; without it\n"
    "                         to ./NAME_files (made when there is one) and to\n"
    "                         ./NAME.executed.ipynb\n"
    "      --keep-going       a notebook: runs the cells after a failed one\n"
    "      --transaction      what a failed cell did to the session, files included, is "
    "undone\n"
    "      --json             one JSON document on standard output and nothing else: the\n"
    "                         Result; of a notebook {\"notebook\",\"success\",\"status\",\n"
    "                         \"results\":[Result of each cell that ran]}\n"
    "  -v, --decisions        tells on standard error what the policies decided\n\n"
    "FILE, and -i's, may be connection:NAME/OWNER/REPO@REF:PATH of a [connection NAME],\n"
    "git+https://HOST/PATH.git@REF:PATH or file:PATH; a PATH that ends in / is a folder.\n\n"
    "On a terminal, control sequences in the code's output are taken out, but for colours\n"
    "and erase-line; into a file or a pipe every byte goes as it is.\n\n"
    "Notebook: cells tagged skip-execution are left out, an error in one tagged\n"
    "raises-exception stops nothing.\n\n"
    "exit status: the code's own (1 when it raised), of a notebook that of the first cell\n"
    "that failed; 124 timeout, 125 the engine failed, 126 denied, 137 over a limit,\n"
    "128+N died of signal N (130 interrupted), 2 usage or configuration.\n";

enum {
    OPT_CONFIG = 256,
    OPT_CHAIN,
    OPT_CLIENT,
    OPT_TIMEOUT,
    OPT_LIMIT,
    OPT_STDIN,
    OPT_KEEP_GOING,
    OPT_JSON,
    OPT_TRANSACTION,
};

static const struct option long_options[] = {
    {"code", required_argument, NULL, 'c'},
    {"language", required_argument, NULL, 'l'},
    {"backend", required_argument, NULL, 'b'},
    {"set", required_argument, NULL, 's'},
    {"input", required_argument, NULL, 'i'},
    {"output", required_argument, NULL, 'o'},
    {"decisions", no_argument, NULL, 'v'},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {"config", required_argument, NULL, OPT_CONFIG},
    {"chain", required_argument, NULL, OPT_CHAIN},
    {"client", required_argument, NULL, OPT_CLIENT},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"stdin", required_argument, NULL, OPT_STDIN},
    {"keep-going", no_argument, NULL, OPT_KEEP_GOING},
    {"json", no_argument, NULL, OPT_JSON},
    {"transaction", no_argument, NULL, OPT_TRANSACTION},
    {NULL, 0, NULL, 0},
};

/* Of getopt's '?': an option that it does not know. */
static int unknown_option(const char *word, int letter, kiln_error *err)
{
    if (letter > 0 && letter < 256 && word[1] != '-') {
        return kiln_error_set(err, -EINVAL, "run: unknown option \"-%c\", see kiln run --help",
                              letter);
    }
    const char *names[sizeof(long_options) / sizeof(long_options[0])];
    size_t count = 0;
    for (const struct option *option = long_options; option->name != NULL; option++) {
        names[count++] = option->name;
    }
    names[count] = NULL;
    char name[64];
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
    for (const struct option *option = long_options; option->name != NULL; option++) {
        if (strcmp(option->name, name) == 0) {
            return kiln_error_set(err, -EINVAL, "run: option \"--%s\" takes no value", name);
        }
    }
    const char *near = kiln_near_match(name, names);
    if (near != NULL) {
        return kiln_error_set(err, -EINVAL,
                              "run: unknown option \"%s\", did you mean \"--%s\"?", word, near);
    }
    return kiln_error_set(err, -EINVAL, "run: unknown option \"%s\", see kiln run --help",
                          word);
}

static int take_file(kiln_run_options *options, const char *word, kiln_error *err)
{
    if (options->file != NULL || options->code != NULL) {
        return kiln_error_set(
            err, -EINVAL,
            "run: \"%s\" is one file too many: arguments of the code go after "
            "\"--\"",
            word);
    }
    options->file = word;
    return 0;
}

static int unknown_limit(const char *name, kiln_error *err)
{
    const char *names[16];
    size_t count = 0;
    for (const kiln_limit_field *field = kiln_limit_fields;
         field->name != NULL && count + 1 < sizeof(names) / sizeof(names[0]); field++) {
        names[count++] = field->name;
    }
    names[count] = NULL;
    const char *near = kiln_near_match(name, names);
    return near != NULL
               ? kiln_error_set(err, -EINVAL,
                                "run: --limit: unknown limit \"%s\", did you mean \"%s\"?",
                                name, near)
               : kiln_error_set(err, -EINVAL,
                                "run: --limit: unknown limit \"%s\", see kiln run --help",
                                name);
}

/* NAME=VALUE, the value as it would stand in [limits]. */
static int take_limit(kiln_run_options *options, const char *word, kiln_error *err)
{
    char name[32];
    const char *text = strchr(word, '=');
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, "="), word);
    if (text == NULL) {
        return kiln_error_set(err, -EINVAL,
                              "run: --limit \"%s\": write it NAME=VALUE, as memory=256M", word);
    }
    const kiln_limit_field *field = kiln_limit_find(name);
    if (field == NULL) {
        return unknown_limit(name, err);
    }
    text++;
    uint64_t value = 0;
    int64_t count = 0;
    int rc = 0;
    switch (field->unit) {
    case KILN_LIMIT_MILLISECONDS:
        rc = kiln_units_duration(text, &value, err);
        break;
    case KILN_LIMIT_BYTES:
        rc = kiln_units_size(text, &value, err);
        break;
    case KILN_LIMIT_THOUSANDTHS:
        rc = kiln_units_decimal(text, &value, err);
        break;
    case KILN_LIMIT_COUNT:
        rc = kiln_units_integer(text, &count, err);
        value = count > 0 ? (uint64_t)count : 0;
        break;
    }
    if (rc == 0 && value < (field->unit == KILN_LIMIT_THOUSANDTHS ? KILN_CPUS_LEAST : 1)) {
        rc = kiln_error_set(err, -EINVAL, "is too small");
    }
    if (rc < 0) {
        const kiln_error why = *err;
        return kiln_error_set(err, -EINVAL, "run: --limit %s: \"%.60s\" %s", name, text,
                              why.text);
    }
    *kiln_limit_at(&options->limits, field) = value;
    return 0;
}

static int take_option(kiln_run_options *options, int option, const char *word, size_t *sets,
                       size_t *inputs, kiln_error *err)
{
    switch (option) {
    case 1: /* not an option: getopt's way of saying so */
        return take_file(options, word, err);
    case 'c':
        if (options->code != NULL) {
            return kiln_error_set(err, -EINVAL, "run: -c is given twice");
        }
        options->code = word;
        break;
    case 'l':
        options->language = word;
        break;
    case 'b':
        options->backend = word;
        break;
    case 's':
        options->set[(*sets)++] = word;
        break;
    case 'i':
        options->inputs[(*inputs)++] = word;
        break;
    case 'o':
        options->out = word;
        break;
    case 'v':
        options->decisions = true;
        break;
    case 'h':
        options->help = true;
        break;
    case OPT_CONFIG:
        options->config = word;
        break;
    case OPT_CHAIN:
        options->chain = word;
        break;
    case OPT_CLIENT:
        if (word[0] == '\0') {
            return kiln_error_set(err, -EINVAL, "run: --client: the name is empty");
        }
        options->client = word;
        break;
    case OPT_TIMEOUT:
        if (kiln_parse_duration(word, &options->limits.timeout_ms, err) < 0) {
            return kiln_error_wrap(err, "run: --timeout");
        }
        if (options->limits.timeout_ms == 0) {
            return kiln_error_set(err, -EINVAL, "run: --timeout \"%s\": must be more than 0",
                                  word);
        }
        break;
    case OPT_LIMIT:
        return take_limit(options, word, err);
    case OPT_STDIN:
        options->stdin_path = word;
        break;
    case OPT_KEEP_GOING:
        options->keep_going = true;
        break;
    case OPT_TRANSACTION:
        options->transaction = true;
        break;
    case OPT_JSON:
        options->json = true;
        break;
    default:
        return kiln_error_set(err, -EINVAL, "run: option %d is not handled", option);
    }
    return 0;
}

static int check(const kiln_run_options *options, kiln_error *err)
{
    if (options->help) {
        return 0;
    }
    if (options->file == NULL && options->code == NULL) {
        return kiln_error_set(err, -EINVAL,
                              "run: nothing to run: name a file, \"-\", or -c CODE");
    }
    if (options->file != NULL && options->code != NULL) {
        return kiln_error_set(err, -EINVAL,
                              "run: both -c and \"%s\": arguments of the code go after \"--\"",
                              options->file);
    }
    if (options->file != NULL && options->file[0] == '\0') {
        return kiln_error_set(err, -EINVAL, "run: the name of the file is empty");
    }
    if (options->out != NULL && options->out[0] == '\0') {
        return kiln_error_set(err, -EINVAL, "run: -o: the name of the folder is empty");
    }
    if (options->file != NULL && options->stdin_path != NULL &&
        strcmp(options->file, "-") == 0 && strcmp(options->stdin_path, "-") == 0) {
        return kiln_error_set(err, -EINVAL,
                              "run: standard input cannot be both the code and --stdin");
    }
    return 0;
}

int kiln_run_options_parse(int argc, char **argv, kiln_run_options *options, kiln_error *err)
{
    *options = (kiln_run_options){0};
    options->set = calloc((size_t)argc + 1, sizeof(*options->set));
    options->inputs = calloc((size_t)argc + 1, sizeof(*options->inputs));
    if (options->set == NULL || options->inputs == NULL) {
        return kiln_error_set(err, -ENOMEM, "out of memory");
    }
    size_t sets = 0, inputs = 0;
    int option, rc;
    optind = 1;
    opterr = 0;
    /* "-": words that are no options come in their place, so that "--" ends them. */
    while ((option = getopt_long(argc, argv, "-:c:l:b:s:i:o:vh", long_options, NULL)) != -1) {
        if (option == ':') {
            return kiln_error_set(err, -EINVAL, "run: option \"%s\" needs a value",
                                  argv[optind - 1]);
        }
        if (option == '?') {
            return unknown_option(argv[optind - 1], optopt, err);
        }
        rc = take_option(options, option, optarg, &sets, &inputs, err);
        if (rc < 0) {
            return rc;
        }
    }
    options->args = argv + optind;
    return check(options, err);
}

void kiln_run_options_free(kiln_run_options *options)
{
    free(options->set);
    free(options->inputs);
}
