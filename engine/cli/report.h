/* report.h - the end of an execution, told to a person and as an exit status. */
#ifndef KILN_CLI_REPORT_H
#define KILN_CLI_REPORT_H

#include "cli/terminal.h"
#include "contract/result.h"

/* The exit status of the design's "Command line". `interrupt` is the signal that we were
 * interrupted by, 0: SIGINT is assumed where the result says interrupted. */
int kiln_exit_status(const kiln_result *result, int interrupt);
/* On stderr: what is not ok in one line, bytes that were dropped, files that were saved,
 * and the decisions when asked. `where` ("cell 3") may be NULL. */
void kiln_report(kiln_terminal *terminal, const kiln_result *result, const char *where,
                 bool decisions);
/* Only the bytes that were dropped and the files. */
void kiln_report_beside(kiln_terminal *terminal, const kiln_result *result);
/* Writes JSON to stdout with a newline. -EPIPE, -errno. */
int kiln_report_json(kiln_terminal *terminal, const json_t *json);

#endif
