/* fetch.h - the files of an origin, copied into a folder of the engine's own.
 *
 * Git is asked outside any sandbox, by fixed words and with an environment of its own (see
 * git.h). A commit is fetched once and then read from the cache; a full commit id needs no
 * network when it is there. Files are read from Git's objects, never from a checked-out
 * tree, so that no link, filter or name of a repository reaches this file system: what is no
 * regular file with a plain relative name is left out, and told. Thread: loop. */
#ifndef KILN_CONNECTION_FETCH_H
#define KILN_CONNECTION_FETCH_H

#include "base/error.h"
#include "config/config.h"
#include "connection/origin.h"

#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

enum { KILN_FETCH_FILES_MAX = 10000 };

typedef struct kiln_fetch kiln_fetch;

typedef struct kiln_fetched {
    const char *commit; /* "" of a file: */
    bool offline;       /* the host could not be reached: the commit is the cache's last */
    const char *notice; /* then why; else NULL */
    json_t *files;      /* names below the folder, sorted; of a single file its base name */
    json_t *left_out;   /* [{"name","why"}] */
} kiln_fetched;

/* Owns nothing that is given; `origin` is copied. `done` comes once, from the loop: with
 * `fetched` (borrowed) or with an error. Negative: nothing was begun. */
int kiln_fetch_start(uv_loop_t *loop, const kiln_config *config, const kiln_origin *origin,
                     int to_fd,
                     void (*done)(void *user, const kiln_fetched *fetched,
                                  const kiln_error *err),
                     void *user, kiln_fetch **fetch, kiln_error *err);
/* `done` will not be called. */
void kiln_fetch_cancel(kiln_fetch *fetch);

/* The address of a repository, as git is given it. -EINVAL: no such connection, or it has
 * neither arn nor endpoint. */
int kiln_connection_url(const kiln_config *config, const kiln_origin *origin, char *url,
                        size_t size, kiln_error *err);

#endif
