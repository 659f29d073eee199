/* coverage.h - which lines of the scripts the tests came through (`kiln test --coverage`).
 * Thread: the loop's. */
#ifndef KILN_POLICY_COVERAGE_H
#define KILN_POLICY_COVERAGE_H

#include "base/error.h"
#include "policy/state.h"

#include <stdio.h>

typedef struct kiln_coverage kiln_coverage;

/* NULL: out of memory. */
kiln_coverage *kiln_coverage_new(void);
void kiln_coverage_free(kiln_coverage *coverage);
/* Counts this script, also when none of it should run. 0 or negative with err. */
int kiln_coverage_add(kiln_coverage *coverage, const char *path, kiln_error *err);
/* From now on the lines that run in this state are counted. */
void kiln_coverage_watch(kiln_coverage *coverage, kiln_lua *lua);
/* "# coverage scripts/deny.lua: 40 of 42 lines (95%), not run: 51 60-61", one a script. */
void kiln_coverage_print(const kiln_coverage *coverage, FILE *to);

#endif
