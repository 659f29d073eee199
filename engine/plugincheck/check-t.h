/* check-t.h - what check.c and its tests share. */
#ifndef KILN_PLUGINCHECK_CHECK_T_H
#define KILN_PLUGINCHECK_CHECK_T_H

#include "plugincheck/check.h"
#include "plugincheck/fake.h"

/* What a test works with, in its own process. */
typedef struct check_subject {
    const char *path;
    const kiln_plugin_check_options *options;
    kiln_loaded_plugin *loaded;
    char why[512];
} check_subject;

typedef enum check_verdict { CHECK_OK, CHECK_FAILED, CHECK_SKIPPED } check_verdict;

/* Sets why and returns the verdict. */
check_verdict check_failed(check_subject *subject, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
check_verdict check_skipped(check_subject *subject, const char *why);

/* What the tests share: init, or a failure; what the plugin did against the rules; OK, or
 * skipped where it runs nothing that could be made up around it; a hundred rounds. */
bool check_begin(check_subject *subject, fake_engine *engine);
check_verdict check_violated(check_subject *subject, const fake_engine *engine);
check_verdict check_cannot_execute(check_subject *subject);
check_verdict check_leaks(check_subject *subject,
                          bool (*round)(check_subject *subject, fake_engine *engine));

/* Those of plugin.h, and one that nobody knows; ended by a NULL name. */
typedef struct check_query {
    const char *name, *arguments;
} check_query;
extern const check_query check_queries[];

typedef struct check_test {
    const char *name;
    check_verdict (*run)(check_subject *subject);
} check_test;
/* Each ends by a NULL name; without the first of the file's nothing is worth running. */
extern const check_test check_file_tests[];
extern const check_test check_execution_tests[];
extern const check_test check_worker_tests[];
extern const check_test check_engine_tests[];
extern const check_test check_random;

#endif
