/* reporting.h - the options of the subcommands that only report: --config, -s, --json. */
#ifndef KILN_CLI_REPORTING_H
#define KILN_CLI_REPORTING_H

#include "base/error.h"

#include <stdbool.h>

enum { KILN_REPORTING_SETS_MAX = 256 };

typedef struct kiln_reporting_options {
    const char *config;
    const char *set[KILN_REPORTING_SETS_MAX + 1]; /* NULL-terminated */
    bool json, help;
} kiln_reporting_options;

/* argv[0] names the subcommand in errors. 0 or -EINVAL. */
int kiln_reporting_parse(int argc, char **argv, kiln_reporting_options *options,
                         kiln_error *err);

#endif
