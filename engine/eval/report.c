#include "eval/report.h"

#include "base/cleanup.h"
#include "base/tap.h"
#include "base/xml.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static bool passed(const json_t *outcome)
{
    return json_is_true(json_object_get(outcome, "passed"));
}

/* ---- TAP */

/* Each line of the text behind "# "; lines beyond *left are counted only. */
static int append_lines(kiln_buffer *out, const char *text, size_t *left, size_t *dropped)
{
    int rc = 0;
    while (rc == 0 && *text != '\0') {
        size_t length = strcspn(text, "\n");
        if (*left == 0) {
            ++*dropped;
        } else {
            --*left;
            rc = kiln_buffer_append(out, "# ", 2);
            rc = rc < 0 ? rc : kiln_tap_append_text(out, text, length);
            rc = rc < 0 ? rc : kiln_buffer_append(out, "\n", 1);
        }
        text += length + (text[length] == '\n');
    }
    return rc;
}

static int append_differences(kiln_buffer *out, const json_t *outcome)
{
    size_t left = KILN_REPORT_LINES_MAX, dropped = 0, i;
    json_t *entry;
    int rc = 0;
    json_array_foreach(json_object_get(outcome, "differences"), i, entry)
    {
        auto_buffer kiln_buffer line = KILN_BUFFER_INIT;
        rc = rc < 0 ? rc
                    : kiln_buffer_printf(&line, "%s: %s: %s\n", text_of(entry, "kind"),
                                         text_of(entry, "file"), text_of(entry, "detail"));
        rc = rc < 0 ? rc : append_lines(out, line.data, &left, &dropped);
        rc = rc < 0 ? rc : append_lines(out, text_of(entry, "diff"), &left, &dropped);
    }
    if (rc == 0 && dropped > 0) {
        rc = kiln_buffer_printf(out, "# (%zu more lines; --json has them)\n", dropped);
    }
    return rc;
}

static int append_unstable(kiln_buffer *out, const json_t *outcome)
{
    const json_t *names = json_object_get(outcome, "unstable");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        rc = kiln_buffer_append(out, "# not the same in each run: ", 28);
        rc = rc < 0 ? rc : kiln_tap_append_text(out, name, strlen(name));
        rc = rc < 0 ? rc : kiln_buffer_append(out, "\n", 1);
    }
    return rc;
}

int kiln_report_tap(kiln_buffer *out, size_t number, const json_t *outcome)
{
    size_t left = 20, dropped = 0;
    int rc = kiln_buffer_printf(out, "%s %zu - ", passed(outcome) ? "ok" : "not ok", number);
    rc = rc < 0 ? rc : kiln_tap_append_description(out, text_of(outcome, "name"));
    rc = rc < 0 ? rc : kiln_buffer_append(out, "\n", 1);
    if (rc == 0 && !passed(outcome)) {
        rc = kiln_buffer_printf(out, "# %s:%lld: ", text_of(outcome, "file"),
                                json_integer_value(json_object_get(outcome, "line")));
        rc = rc < 0 ? rc
                    : kiln_tap_append_text(out, text_of(outcome, "reason"),
                                           strlen(text_of(outcome, "reason")));
        rc = rc < 0 ? rc : kiln_buffer_append(out, "\n", 1);
        rc = rc < 0 ? rc : append_differences(out, outcome);
        if (rc == 0 && text_of(outcome, "stderr")[0] != '\0') {
            rc = kiln_buffer_printf(out, "# its standard error ends with:\n");
            rc = rc < 0 ? rc : append_lines(out, text_of(outcome, "stderr"), &left, &dropped);
        }
    }
    return rc < 0 ? rc : append_unstable(out, outcome);
}

/* ---- JUnit */

static int append_attribute(kiln_buffer *out, const char *name, const char *value)
{
    int rc = kiln_buffer_printf(out, " %s=\"", name);
    rc = rc < 0 ? rc : kiln_xml_append(out, value);
    return rc < 0 ? rc : kiln_buffer_append(out, "\"", 1);
}

static int append_failure(kiln_buffer *out, const json_t *outcome)
{
    size_t i;
    json_t *entry;
    /* What could not run is an error, what did not give what it had to is a failure. */
    const char *element = json_is_true(json_object_get(outcome, "ran")) ? "failure" : "error";
    int rc = kiln_buffer_printf(out, "\n      <%s", element);
    rc = rc < 0 ? rc : append_attribute(out, "message", text_of(outcome, "reason"));
    rc = rc < 0 ? rc : append_attribute(out, "type", text_of(outcome, "status"));
    rc = rc < 0 ? rc : kiln_buffer_append(out, ">", 1);
    json_array_foreach(json_object_get(outcome, "differences"), i, entry)
    {
        auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
        rc = rc < 0 ? rc
                    : kiln_buffer_printf(&text, "%s: %s: %s\n%s", text_of(entry, "kind"),
                                         text_of(entry, "file"), text_of(entry, "detail"),
                                         text_of(entry, "diff"));
        rc = rc < 0 ? rc : kiln_xml_append(out, text.data);
    }
    return rc < 0 ? rc : kiln_buffer_printf(out, "</%s>", element);
}

static int append_case(kiln_buffer *out, const json_t *outcome)
{
    char seconds[32];
    snprintf(seconds, sizeof(seconds), "%.3f",
             json_number_value(json_object_get(outcome, "duration_ms")) / 1000);
    int rc = kiln_buffer_printf(out, "    <testcase");
    rc = rc < 0 ? rc : append_attribute(out, "classname", text_of(outcome, "file"));
    rc = rc < 0 ? rc : append_attribute(out, "name", text_of(outcome, "name"));
    rc = rc < 0 ? rc : append_attribute(out, "time", seconds);
    rc = rc < 0 ? rc : kiln_buffer_append(out, ">", 1);
    if (rc == 0 && !passed(outcome)) {
        rc = append_failure(out, outcome);
    }
    if (rc == 0 && text_of(outcome, "stderr")[0] != '\0') {
        rc = kiln_buffer_printf(out, "\n      <system-err>");
        rc = rc < 0 ? rc : kiln_xml_append(out, text_of(outcome, "stderr"));
        rc = rc < 0 ? rc : kiln_buffer_printf(out, "</system-err>");
    }
    return rc < 0 ? rc : kiln_buffer_printf(out, "</testcase>\n");
}

int kiln_report_junit(kiln_buffer *out, const json_t *outcomes)
{
    size_t failures = 0, errors = 0, i;
    double total = 0;
    json_t *outcome;
    json_array_foreach(outcomes, i, outcome)
    {
        bool ran = json_is_true(json_object_get(outcome, "ran"));
        failures += !passed(outcome) && ran;
        errors += !passed(outcome) && !ran;
        total += json_number_value(json_object_get(outcome, "duration_ms")) / 1000;
    }
    int rc = kiln_buffer_printf(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite "
        "name=\"kiln eval\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" time=\"%.3f\">\n",
        json_array_size(outcomes), failures, errors, total);
    json_array_foreach(outcomes, i, outcome)
    {
        rc = rc < 0 ? rc : append_case(out, outcome);
    }
    return rc < 0 ? rc : kiln_buffer_printf(out, "  </testsuite>\n</testsuites>\n");
}
