/* worker.c - the worker half. */
#include "operations.h"

#include <kiln/plugin.h>

#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const kiln_worker_host *host;

int bundle_fail(json_t *answer, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    json_t *json = json_string(text); /* NULL: a name that is no UTF-8 */
    json_object_set_new(answer, "error",
                        json != NULL ? json : json_string("an entry's name is not UTF-8"));
    return -1;
}

static int preload(const kiln_worker_host *worker_host, const char **error)
{
    host = worker_host;
    (void)error;
    setlocale(LC_CTYPE, "C.UTF-8"); /* names in archives */
    return 0;
}

static int start(void)
{
    return 0;
}

static int execute(const kiln_cell *cell, kiln_verdict *verdict)
{
    json_t *answer = json_object();
    int rc;
    if (strcmp(cell->code, "pack") == 0) {
        rc = bundle_pack(answer);
    } else if (strcmp(cell->code, "unpack") == 0) {
        rc = bundle_unpack(answer);
    } else if (strncmp(cell->code, "pixels ", 7) == 0) {
        rc = bundle_pixels(cell->code + 7, answer);
    } else {
        rc = bundle_fail(answer, "there are pack, unpack and pixels");
    }
    char *text = json_dumps(answer, JSON_COMPACT);
    json_decref(answer);
    if (text != NULL) {
        const kiln_event event = {.size = sizeof(event),
                                  .type = KILN_EVENT_STREAM,
                                  .stream = KILN_STDOUT,
                                  .data = text,
                                  .length = strlen(text)};
        host->emit(&event);
    }
    verdict->status = rc == 0 && text != NULL ? KILN_STATUS_OK : KILN_STATUS_ERROR;
    free(text);
    return 0;
}

static const kiln_worker worker = {
    .size = sizeof(kiln_worker),
    .preload = preload,
    .start = start,
    .execute = execute,
};

KILN_WORKER(worker)
