#include "cli/junit.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/write.h"
#include "base/xml.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct kiln_junit {
    char *name;
    char *suite;        /* of the cases that come now, or NULL */
    kiln_buffer suites; /* <testsuite>s that are whole */
    kiln_buffer cases;  /* of the one that is not */
    unsigned suite_tests, suite_failures;
    double suite_seconds;
    unsigned tests, failures;
    double seconds;
};

kiln_junit *kiln_junit_new(const char *name)
{
    kiln_junit *junit = calloc(1, sizeof(*junit));
    if (junit == NULL || (junit->name = strdup(name)) == NULL) {
        free(junit);
        return NULL;
    }
    return junit;
}

void kiln_junit_free(kiln_junit *junit)
{
    if (junit == NULL) {
        return;
    }
    free(junit->name);
    free(junit->suite);
    kiln_buffer_free(&junit->suites);
    kiln_buffer_free(&junit->cases);
    free(junit);
}

/* The rest of a start tag. Nothing is skipped here, and each failure is a test's own. */
static int append_sums(kiln_buffer *out, unsigned tests, unsigned failures, double seconds)
{
    return kiln_buffer_printf(
        out, "\" tests=\"%u\" failures=\"%u\" errors=\"0\" skipped=\"0\" time=\"%.3f\">\n",
        tests, failures, seconds);
}

static int end_suite(kiln_junit *junit)
{
    if (junit->suite == NULL) {
        return 0;
    }
    int rc = kiln_buffer_printf(&junit->suites, "  <testsuite name=\"");
    rc = rc < 0 ? rc : kiln_xml_append(&junit->suites, junit->suite);
    rc = rc < 0 ? rc
                : append_sums(&junit->suites, junit->suite_tests, junit->suite_failures,
                              junit->suite_seconds);
    rc = rc < 0 ? rc
                : kiln_buffer_append(&junit->suites, junit->cases.data, junit->cases.length);
    rc = rc < 0 ? rc : kiln_buffer_printf(&junit->suites, "  </testsuite>\n");
    kiln_buffer_free(&junit->cases);
    free(kiln_steal(junit->suite));
    junit->suite_tests = junit->suite_failures = 0;
    junit->suite_seconds = 0;
    return rc;
}

static int append_case(kiln_buffer *out, const char *suite, const char *name, bool ok,
                       const char *why, double seconds)
{
    int rc = kiln_buffer_printf(out, "    <testcase classname=\"");
    rc = rc < 0 ? rc : kiln_xml_append(out, suite);
    rc = rc < 0 ? rc : kiln_buffer_printf(out, "\" name=\"");
    rc = rc < 0 ? rc : kiln_xml_append(out, name);
    rc = rc < 0 ? rc : kiln_buffer_printf(out, "\"");
    if (rc >= 0 && seconds >= 0) {
        rc = kiln_buffer_printf(out, " time=\"%.3f\"", seconds);
    }
    if (rc < 0 || ok) {
        return rc < 0 ? rc : kiln_buffer_printf(out, "/>\n");
    }
    /* some readers show the attribute, others the text */
    why = why != NULL ? why : "failed";
    rc = kiln_buffer_printf(out, "><failure type=\"failure\" message=\"");
    auto_free char *first = strndup(why, strcspn(why, "\n"));
    rc = first == NULL ? -ENOMEM : rc;
    rc = rc < 0 ? rc : kiln_xml_append(out, first);
    rc = rc < 0 ? rc : kiln_buffer_printf(out, "\">");
    rc = rc < 0 ? rc : kiln_xml_append(out, why);
    return rc < 0 ? rc : kiln_buffer_printf(out, "</failure></testcase>\n");
}

int kiln_junit_add(kiln_junit *junit, const char *suite, const char *name, bool ok,
                   const char *why, double seconds)
{
    int rc = 0;
    if (junit->suite == NULL || strcmp(junit->suite, suite) != 0) {
        rc = end_suite(junit);
        junit->suite = strdup(suite);
        rc = junit->suite == NULL ? -ENOMEM : rc;
    }
    rc = rc < 0 ? rc : append_case(&junit->cases, suite, name, ok, why, seconds);
    junit->tests++;
    junit->suite_tests++;
    junit->failures += !ok;
    junit->suite_failures += !ok;
    junit->seconds += seconds > 0 ? seconds : 0;
    junit->suite_seconds += seconds > 0 ? seconds : 0;
    return rc;
}

int kiln_junit_write(const kiln_junit *junit, const char *path, kiln_error *err)
{
    /* the last suite is not whole yet, and more may come */
    kiln_junit last = {.suite = junit->suite != NULL ? strdup(junit->suite) : NULL,
                       .suite_tests = junit->suite_tests,
                       .suite_failures = junit->suite_failures,
                       .suite_seconds = junit->suite_seconds};
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    int rc = kiln_buffer_append(&last.cases, junit->cases.data, junit->cases.length);
    rc = rc < 0 ? rc : end_suite(&last);
    rc = rc < 0 ? rc
                : kiln_buffer_printf(&text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                                            "<testsuites name=\"");
    rc = rc < 0 ? rc : kiln_xml_append(&text, junit->name);
    rc = rc < 0 ? rc : append_sums(&text, junit->tests, junit->failures, junit->seconds);
    rc = rc < 0 ? rc : kiln_buffer_append(&text, junit->suites.data, junit->suites.length);
    rc = rc < 0 ? rc : kiln_buffer_append(&text, last.suites.data, last.suites.length);
    rc = rc < 0 ? rc : kiln_buffer_printf(&text, "</testsuites>\n");
    kiln_buffer_free(&last.suites);
    kiln_buffer_free(&last.cases);
    free(last.suite);
    if (rc < 0) {
        return kiln_error_set(err, -ENOMEM, "%s: out of memory", path);
    }
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    rc = fd < 0 ? -errno : kiln_write_all(fd, text.data, text.length);
    return rc < 0 ? kiln_error_errno(err, rc, "%s", path) : 0;
}
