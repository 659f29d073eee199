/* The worker half, as a worker process would call it, but in no sandbox. */
#include "plugincheck/check-t.h"

#include <string.h>

static const kiln_plugin_check_options *worker_options;
static const kiln_plugin *worker_plugin;
static unsigned worker_events;

static void worker_emit(const kiln_event *event)
{
    worker_events += event->size >= sizeof(*event);
}
static const char *worker_option(const char *name)
{
    size_t length = strlen(name);
    for (const char *const *word = worker_options->set; word != NULL && *word != NULL; word++) {
        if (strncmp(*word, name, length) == 0 && (*word)[length] == '=') {
            return *word + length + 1;
        }
    }
    for (const kiln_option *option = worker_plugin->options;
         option != NULL && option->name != NULL; option++) {
        if (strcmp(option->name, name) == 0) {
            return option->default_value;
        }
    }
    return NULL;
}
static void worker_log(uint32_t level, const char *text)
{
    (void)level, (void)text;
}

static bool worker_owned(void)
{
    return true;
}
static bool worker_interrupted(void)
{
    return false;
}

/* No engine is there that could be called. */
static int worker_call(const void *data, size_t length, const char **reply,
                       size_t *reply_length)
{
    (void)data, (void)length, (void)reply, (void)reply_length;
    return -EPERM;
}

static void worker_display(uint32_t type, const char *mime, const char *text, size_t length)
{
    (void)mime, (void)text, (void)length;
    worker_events += type == KILN_EVENT_DISPLAY || type == KILN_EVENT_RESULT;
}
static void worker_error(const char *name, const char *value, const char *traceback)
{
    (void)traceback;
    worker_events += name != NULL && value != NULL;
}
static const char *worker_argument(const char *name)
{
    (void)name;
    return NULL; /* nothing is asked */
}

static check_verdict worker_half(check_subject *subject)
{
    static const kiln_worker_host host = {.size = sizeof(host),
                                          .emit = worker_emit,
                                          .option = worker_option,
                                          .log = worker_log,
                                          .owned = worker_owned,
                                          .interrupted = worker_interrupted,
                                          .call = worker_call,
                                          .display = worker_display,
                                          .error = worker_error,
                                          .argument = worker_argument};
    static const char *const none[] = {NULL};
    const kiln_plugin *plugin = &subject->loaded->plugin;
    const char *error = NULL;
    if (plugin->worker == NULL) {
        return check_skipped(subject, subject->loaded->worker_program != NULL &&
                                              (plugin->capabilities & KILN_CAP_WORKER)
                                          ? "it is a program of its own"
                                          : "it has none");
    }
    worker_options = subject->options;
    worker_plugin = plugin;
    if (plugin->worker->preload(&host, &error) < 0) {
        return check_failed(subject, "preload failed: %s",
                            error != NULL ? error : "it set no *error");
    }
    if (plugin->worker->start() < 0) {
        return check_failed(subject, "start failed");
    }
    for (uint64_t number = 1; number <= 3; number++) {
        const kiln_cell cell = {.size = sizeof(cell),
                                .code = "",
                                .execution_count = number,
                                .args = none,
                                .env = none};
        kiln_verdict verdict = {.size = sizeof(verdict), .status = KILN_STATUS_OK};
        if (plugin->worker->execute(&cell, &verdict) < 0) {
            return check_failed(subject, "execute of an empty cell failed");
        }
        if (verdict.status != KILN_STATUS_OK && verdict.status != KILN_STATUS_ERROR &&
            verdict.status != KILN_STATUS_INTERRUPTED) {
            return check_failed(subject,
                                "a verdict of status %u: ok, error and interrupted are "
                                "a worker's",
                                verdict.status);
        }
    }
    return CHECK_OK;
}

const check_test check_worker_tests[] = {{"its worker half", worker_half}, {NULL, NULL}};
