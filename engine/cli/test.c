/* kiln test: policies' own tests. */
#include "policy/test.h"
#include "base/cleanup.h"
#include "cli/command.h"
#include "cli/junit.h"
#include "core/engine.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char usage[] =
    "usage: kiln test [OPTIONS] [DIR|FILE]...\n"
    "\n"
    "Runs the *_test.lua of each folder, each beside the policy that it tests, and prints\n"
    "TAP. Without arguments: the policies that came with kiln. Nothing is executed:\n"
    "backends, clock and results are made up by the tests.\n"
    "\n"
    "      --coverage    tells at the end which lines of the policies were run\n"
    "      --junit FILE  writes the results there, too, as CI servers read them\n"
    "\n"
    "Exit status: 0 all passed, 1 some failed, 2 usage, 125 a test could not be run.\n";

typedef struct file_list {
    char **paths;
    size_t count;
} file_list;

static void free_list(file_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->paths[i]);
    }
    free(list->paths);
}

static int add(file_list *list, char *path, kiln_error *err)
{
    char **grown =
        path != NULL ? reallocarray(list->paths, list->count + 1, sizeof(*grown)) : NULL;
    if (grown == NULL) {
        free(path);
        return kiln_error_set(err, -ENOMEM, "out of memory");
    }
    list->paths = grown;
    list->paths[list->count++] = path;
    return 0;
}

static int is_test(const struct dirent *entry)
{
    static const char ending[] = "_test.lua";
    size_t length = strlen(entry->d_name);
    return length > sizeof(ending) - 1 &&
           strcmp(entry->d_name + length - (sizeof(ending) - 1), ending) == 0;
}

static int add_folder(file_list *list, const char *folder, kiln_error *err)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, is_test, alphasort);
    if (count < 0) {
        return kiln_error_errno(err, errno, "%s", folder);
    }
    int rc = count == 0 ? kiln_error_set(err, -ENOENT, "%s: holds no *_test.lua", folder) : 0;
    for (int i = 0; i < count; i++) {
        char *path = NULL;
        if (rc == 0 && asprintf(&path, "%s/%s", folder, entries[i]->d_name) < 0) {
            path = NULL;
        }
        if (rc == 0) {
            rc = add(list, path, err);
        }
        free(entries[i]);
    }
    free(entries);
    return rc;
}

static int add_argument(file_list *list, const char *name, kiln_error *err)
{
    struct stat status;
    if (stat(name, &status) < 0) {
        return kiln_error_errno(err, errno, "%s", name);
    }
    return S_ISDIR(status.st_mode) ? add_folder(list, name, err) : add(list, strdup(name), err);
}

typedef struct test_options {
    const char *junit;
    bool coverage;
    bool help;
} test_options;

/* Its index: the first that is no option. */
static int take_options(int argc, char **argv, test_options *options, kiln_error *err)
{
    static const struct option known[] = {
        {"coverage", no_argument, NULL, 'c'},
        {"junit", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":h", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->coverage = true;
            break;
        case 'j':
            options->junit = optarg;
            break;
        case 'h':
            options->help = true;
            break;
        case ':':
            return kiln_error_set(err, -EINVAL, "option %s needs a value", argv[optind - 1]);
        default:
            return kiln_error_set(err, -EINVAL, "unknown option %s; see kiln test --help",
                                  argv[optind - 1]);
        }
    }
    return optind;
}

static void on_test(void *user, const char *suite, const char *name, const char *why,
                    double seconds)
{
    kiln_junit_add(user, suite, name, why == NULL, why, seconds);
}

static int run_files(const file_list *list, const test_options *options, kiln_error *err)
{
    kiln_policy_test_options how = {.coverage = options->coverage};
    kiln_junit *junit = NULL;
    if (options->junit != NULL) {
        junit = kiln_junit_new("kiln test");
        if (junit == NULL) {
            return kiln_error_set(err, -ENOMEM, "out of memory");
        }
        how.on_test = on_test;
        how.user = junit;
    }
    int failed =
        kiln_policy_test_files((const char *const *)list->paths, list->count, &how, err);
    if (junit != NULL && failed >= 0) {
        int rc = kiln_junit_write(junit, options->junit, err);
        failed = rc < 0 ? rc : failed;
    }
    kiln_junit_free(junit);
    return failed;
}

static int run(int argc, char **argv)
{
    __attribute__((cleanup(free_list))) file_list list = {NULL, 0};
    kiln_error err = KILN_ERROR_INIT;
    test_options options = {0};
    int first = take_options(argc, argv, &options, &err);
    int rc = first < 0 ? first : 0;
    if (rc == 0 && options.help) {
        fputs(usage, stdout);
        return fflush(stdout) == 0 ? KILN_EXIT_OK : KILN_EXIT_ENGINE;
    }
    if (rc == 0 && first == argc) {
        kiln_paths paths;
        rc = kiln_paths_find(&paths, &err);
        rc = rc < 0 ? rc : add_folder(&list, paths.scripts, &err);
    }
    for (int i = first; rc == 0 && i < argc; i++) {
        rc = add_argument(&list, argv[i], &err);
    }
    if (rc < 0) {
        fprintf(stderr, "kiln: test: %s\n", err.text);
        return KILN_EXIT_USAGE;
    }
    rc = run_files(&list, &options, &err);
    if (rc < 0) {
        fprintf(stderr, "kiln: test: %s\n", err.text);
        return KILN_EXIT_ENGINE;
    }
    return rc > 0 ? KILN_EXIT_FAILURE : KILN_EXIT_OK;
}

const kiln_command kiln_command_test = {"test", "runs the tests of policies (*_test.lua)", run};
