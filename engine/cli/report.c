#include "cli/report.h"

#include "cli/command.h"
#include "notebook/json_text.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

enum { FILES_TOLD_MAX = 20 };

int kiln_exit_status(const kiln_result *result, int interrupt)
{
    switch (result->status) {
    case KILN_STATUS_OK:
    case KILN_STATUS_SKIPPED:
        return KILN_EXIT_OK;
    case KILN_STATUS_ERROR:
        return result->has_exit_code && result->exit_code != 0 ? result->exit_code
                                                               : KILN_EXIT_FAILURE;
    case KILN_STATUS_TIMEOUT:
        return KILN_EXIT_TIMEOUT;
    case KILN_STATUS_LIMIT:
        return KILN_EXIT_LIMIT;
    case KILN_STATUS_CRASHED: /* or it went without a verdict and without a signal */
        return result->signal > 0 ? KILN_EXIT_SIGNAL + result->signal : KILN_EXIT_FAILURE;
    case KILN_STATUS_INTERRUPTED:
        return KILN_EXIT_SIGNAL + (interrupt > 0 ? interrupt : SIGINT);
    case KILN_STATUS_DENIED:
        return KILN_EXIT_DENIED;
    case KILN_STATUS_UNAVAILABLE:
        break;
    }
    return KILN_EXIT_ENGINE;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void tell_status(kiln_terminal *terminal, const kiln_result *result, const char *prefix)
{
    const char *status = kiln_status_name(result->status);
    if (result->has_exit_code && result->exit_code != 0) {
        kiln_terminal_note(terminal, "%s%s: exit status %d", prefix, status, result->exit_code);
    } else if (result->signal > 0) {
        kiln_terminal_note(terminal, "%s%s: signal %d, %s", prefix, status, result->signal,
                           strsignal(result->signal));
    } else {
        kiln_terminal_note(terminal, "%s%s", prefix, status);
    }
}

/* An engine and a policy may have said the same of one fault, each as its own kind. */
static bool said_later(const json_t *errors, size_t from, const json_t *error)
{
    for (size_t i = from + 1; i < json_array_size(errors); i++) {
        const json_t *other = json_array_get(errors, i);
        if (strcmp(text_of(other, "name"), text_of(error, "name")) == 0 &&
            strcmp(text_of(other, "message"), text_of(error, "message")) == 0) {
            return true;
        }
    }
    return false;
}

static void tell_errors(kiln_terminal *terminal, const kiln_result *result, const char *prefix)
{
    const char *kind = kiln_status_error_kind(result->status);
    bool told = result->status == KILN_STATUS_OK || result->status == KILN_STATUS_SKIPPED;
    size_t i;
    json_t *error;
    json_array_foreach(result->errors, i, error)
    {
        const char *name = text_of(error, "name");
        const char *message = text_of(error, "message");
        /* What went wrong beside, such as a file that could not be given back, is a
         * warning: it is not why the execution ended as it did. */
        bool beside = strncmp(name, "OutputFile", 10) == 0 || kind == NULL ||
                      strcmp(kind, text_of(error, "kind")) != 0;
        if (beside && (json_array_size(json_object_get(error, "traceback")) > 0 ||
                       said_later(result->errors, i, error))) {
            continue; /* such as the KeyboardInterrupt of a timeout: it was shown already */
        }
        told = told || !beside;
        kiln_terminal_note(terminal, "%s%s: %s%s%s", prefix,
                           beside ? "warning" : kiln_status_name(result->status), name,
                           *name != '\0' && *message != '\0' ? ": " : "", message);
    }
    if (!told) {
        tell_status(terminal, result, prefix);
    }
}

static void tell_dropped(kiln_terminal *terminal, const kiln_result *result, const char *prefix)
{
    static const char *const names[3] = {"display data", "stdout", "stderr"};
    for (int i = 0; i < 3; i++) {
        if (result->truncated[i] > 0) {
            kiln_terminal_note(terminal,
                               "%s%s: %llu bytes over the limit were dropped ([limits] output)",
                               prefix, names[i], (unsigned long long)result->truncated[i]);
        }
    }
}

static void tell_files(kiln_terminal *terminal, const kiln_result *result)
{
    size_t i, lost = 0;
    json_t *file;
    json_array_foreach(result->output_files, i, file)
    {
        const char *path = json_string_value(json_object_get(file, "path"));
        if (path == NULL) {
            lost++;
        } else if (i < FILES_TOLD_MAX) {
            kiln_terminal_note(terminal, "%s saved as %s", text_of(file, "mime_type"), path);
        }
    }
    if (i - lost > FILES_TOLD_MAX) {
        kiln_terminal_note(terminal, "%zu more files saved", i - lost - FILES_TOLD_MAX);
    }
    if (lost > 0) {
        kiln_terminal_note(terminal,
                           "%zu output files were made and not kept: this folder cannot be "
                           "written, name another by -o DIR",
                           lost);
    }
}

void kiln_report_beside(kiln_terminal *terminal, const kiln_result *result)
{
    tell_dropped(terminal, result, "");
    tell_files(terminal, result);
}

void kiln_report(kiln_terminal *terminal, const kiln_result *result, const char *where,
                 bool decisions)
{
    char prefix[192] = "";
    if (where != NULL) {
        snprintf(prefix, sizeof(prefix), "%s: ", where);
    }
    if (decisions) {
        size_t i;
        json_t *decision;
        json_array_foreach(result->decisions, i, decision)
        {
            const char *detail = text_of(decision, "detail");
            kiln_terminal_note(terminal, "%spolicy %s: %s%s%s", prefix,
                               text_of(decision, "policy"), text_of(decision, "action"),
                               *detail != '\0' ? ": " : "", detail);
        }
        if (result->backend != NULL) {
            kiln_terminal_note(terminal, "%s%s on %s: %s in %.1f ms", prefix,
                               result->language != NULL ? result->language : "code",
                               result->backend, kiln_status_name(result->status),
                               result->duration_ms);
        }
    }
    tell_dropped(terminal, result, prefix);
    tell_files(terminal, result);
    tell_errors(terminal, result, prefix);
}

int kiln_report_json(kiln_terminal *terminal, const json_t *json)
{
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    size_t flags = terminal->tty[KILN_STDOUT] ? JSON_INDENT(2) : JSON_COMPACT;
    if (kiln_json_write(json, flags, &text) < 0 || kiln_buffer_append(&text, "\n", 1) < 0) {
        return -ENOMEM;
    }
    return kiln_terminal_write(terminal, KILN_STDOUT, text.data, text.length);
}
