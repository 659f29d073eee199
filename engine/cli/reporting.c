#include "cli/reporting.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>

int kiln_reporting_parse(int argc, char **argv, kiln_reporting_options *options,
                         kiln_error *err)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},
        {"set", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *options = (kiln_reporting_options){0};
    size_t sets = 0;
    int option;
    opterr = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, ":hs:", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->config = optarg;
            break;
        case 's':
            if (sets == KILN_REPORTING_SETS_MAX) {
                return kiln_error_set(err, -EINVAL, "%s: more than %d -s", argv[0],
                                      KILN_REPORTING_SETS_MAX);
            }
            options->set[sets++] = optarg;
            break;
        case 'j':
            options->json = true;
            break;
        case 'h':
            options->help = true;
            break;
        case ':':
            return kiln_error_set(err, -EINVAL, "%s: option \"%s\" needs a value", argv[0],
                                  argv[optind - 1]);
        default:
            return kiln_error_set(err, -EINVAL, "%s: unknown option \"%s\", see kiln %s --help",
                                  argv[0], argv[optind - 1], argv[0]);
        }
    }
    if (optind < argc) {
        return kiln_error_set(err, -EINVAL, "%s: takes no argument \"%s\", see kiln %s --help",
                              argv[0], argv[optind], argv[0]);
    }
    return 0;
}
