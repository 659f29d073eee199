/* cache.h - commits that were fetched, each a bare repository of its own:
 *
 *   FOLDER/<hash of the address>/<commit>.git
 *   FOLDER/<hash of the address>/ref-<hash of the name>   the commit that a name meant last
 *
 * A commit never changes, so nothing is ever written into one that is there: it is made
 * under another name and renamed. The whole folder may be removed at any time.
 * Thread: any. */
#ifndef KILN_CONNECTION_CACHE_H
#define KILN_CONNECTION_CACHE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KILN_COMMIT_MAX = 64, KILN_CACHE_PATH_MAX = 4096 };

typedef struct kiln_cache {
    char folder[KILN_CACHE_PATH_MAX - 128]; /* of one address */
} kiln_cache;

/* Makes the folders, 0700. `folder` NULL: kiln/connections in $XDG_CACHE_HOME or ~/.cache. */
int kiln_cache_open(kiln_cache *cache, const char *folder, const char *url, kiln_error *err);
/* Path of the commit's repository into `path`; is it there? */
bool kiln_cache_has(const kiln_cache *cache, const char *commit, char *path, size_t size);
/* A new folder for a commit that is being fetched. Caller frees. NULL: err. */
char *kiln_cache_begin(const kiln_cache *cache, kiln_error *err);
/* Gives it the commit's name, or removes it when another was quicker. */
int kiln_cache_keep(const kiln_cache *cache, const char *begun, const char *commit,
                    kiln_error *err);
void kiln_cache_drop(const char *begun);
/* Whether a file below it reached `limit` bytes. */
bool kiln_cache_reached(const char *begun, uint64_t limit);

int kiln_cache_set_ref(const kiln_cache *cache, const char *ref, const char *commit,
                       kiln_error *err);
/* False: it was never fetched. */
bool kiln_cache_ref(const kiln_cache *cache, const char *ref, char commit[KILN_COMMIT_MAX + 1]);

#endif
