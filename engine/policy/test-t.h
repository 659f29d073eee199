/* test-t.h - what the two halves of `kiln test` share: test.c, the files and their TAP, and
 * test_host.c, what is made up around a policy. */
#ifndef KILN_POLICY_TEST_T_H
#define KILN_POLICY_TEST_T_H

#include "policy/chain.h"
#include "policy/coverage.h"
#include "policy/test.h"

/* One file of tests. */
typedef struct kiln_test_suite {
    kiln_lua *lua;
    const char *path;
    char name[128];
    const char *text;
    size_t length;
    unsigned *number; /* of the TAP stream */
    const kiln_policy_test_options *options;
    kiln_coverage *coverage; /* or NULL */
    uint64_t began;          /* the case, in real nanoseconds */
    unsigned failed;
    unsigned points;
    /* of one test.case, shared by its runs */
    kiln_shared *shared;
    kiln_metrics *metrics;
    uint64_t clock;
} kiln_test_suite;

/* Of a policy beside that file of tests. NULL: out of memory; caller frees. */
char *kiln_test_policy_path(const char *test, const char *name);
/* execute(spec, backend, analyze) -> run; the state's owner is the suite. */
int kiln_test_execute(lua_State *L);

#endif
