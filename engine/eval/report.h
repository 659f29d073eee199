/* report.h - outcomes of scenarios (suite.h) as TAP and as JUnit's XML. Thread: any. */
#ifndef KILN_EVAL_REPORT_H
#define KILN_EVAL_REPORT_H

#include "base/buffer.h"

#include <jansson.h>
#include <stddef.h>

enum { KILN_REPORT_LINES_MAX = 200 }; /* of diffs, of one scenario */

/* "ok 3 - name # time=12.3ms" and below it, behind "# ", what is not as it should be.
 * Nothing in it is a control sequence. 0 or -ENOMEM. */
int kiln_report_tap(kiln_buffer *out, size_t number, const json_t *outcome);
/* A whole document of all outcomes: XML 1.0, UTF-8. 0 or -ENOMEM. */
int kiln_report_junit(kiln_buffer *out, const json_t *outcomes);

#endif
