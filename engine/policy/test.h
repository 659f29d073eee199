/* test.h - `kiln test`: policies' own tests, with everything around them made up.
 *
 * Backends are Lua functions of the test, sleeping moves a clock of its own, the store and
 * the metrics are new for each test.case. The test and the policy run in states of their
 * own. Thread: the loop's. */
#ifndef KILN_POLICY_TEST_H
#define KILN_POLICY_TEST_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct kiln_policy_test_options {
    bool coverage; /* of lines: comments at the end of the TAP stream */
    /* Each test beside its line on stdout; may be NULL. `why` NULL: it passed. */
    void (*on_test)(void *user, const char *suite, const char *name, const char *why,
                    double seconds);
    void *user;
} kiln_policy_test_options;

/* Runs NAME_test.lua files; prints one TAP stream to stdout. Returns the number of failed
 * tests, or negative with err. */
int kiln_policy_test_files(const char *const *paths, size_t count,
                           const kiln_policy_test_options *options, kiln_error *err);

#endif
