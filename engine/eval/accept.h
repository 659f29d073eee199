/* accept.h - what a run made becomes the canonical bundle. Thread: any. */
#ifndef KILN_EVAL_ACCEPT_H
#define KILN_EVAL_ACCEPT_H

#include "base/error.h"

/* Makes the folder `expected` hold the files of `made` and no other: each is written beside
 * its place and renamed, files that `made` does not have are removed, and so are folders
 * that are then empty. `expected` is made when it is missing. */
int kiln_accept(const char *made, const char *expected, kiln_error *err);

#endif
