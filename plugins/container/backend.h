/* backend.h - what the files of this plugin share: one `backend`, made by init.
 * Everything runs on the engine's loop thread. */
#ifndef KILN_CONTAINER_BACKEND_H
#define KILN_CONTAINER_BACKEND_H

#include "settings.h"

#include <kiln/plugin.h>

enum { API_TIMEOUT_MS = 60000, NAME_LENGTH = 32 };

/* They differ in which tmpfs the archive API reaches, and in its options. Which it is, each
 * answer's headers tell. */
typedef enum engine_kind { ENGINE_UNKNOWN, ENGINE_DOCKER, ENGINE_PODMAN } engine_kind;

typedef struct backend {
    const kiln_host *host;
    const kiln_files *files;
    const kiln_guests *guests;
    const kiln_runtimes *runtimes;
    struct settings settings;
    char owner[160];            /* the label by which our containers are known */
    struct http *requests;      /* in flight, all of them */
    struct box *boxes;          /* all containers, those being removed included */
    struct image *images;       /* that were asked for */
    struct leftover *leftovers; /* being looked for, or removed */
    struct check *check;        /* in progress, or NULL */
    struct events *events;      /* what happens to our containers from outside; or NULL */
    struct pool *pools;         /* one an image */
    kiln_timer *filling;        /* the pool, as soon as the loop runs */
    engine_kind kind;
    bool archive; /* files go by the archive API, as is set or was found to be needed */
    bool greeted; /* leftovers were looked for, events are listened to */
    bool closing; /* in fini: nothing new is begun */
} backend;

void say(const backend *self, uint32_t level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
