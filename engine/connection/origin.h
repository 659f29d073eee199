/* origin.h - where code and files come from, when it is not this machine's file system alone:
 *
 *   connection:NAME/OWNER/REPO[@REF][:PATH]   by a [connection NAME]
 *   git+https://HOST/PATH.git[@REF][:PATH]    any Git host; [connection] defaults
 *   file:PATH                                 a file or folder here
 *
 * REF is a branch, a tag or a full commit id, HEAD without one. PATH is a file; a folder
 * when it ends in "/" or is empty. Pure. Thread: any. */
#ifndef KILN_CONNECTION_ORIGIN_H
#define KILN_CONNECTION_ORIGIN_H

#include "base/error.h"

#include <stdbool.h>

typedef enum kiln_origin_kind {
    KILN_ORIGIN_FILE,
    KILN_ORIGIN_CONNECTION,
    KILN_ORIGIN_GIT,
} kiln_origin_kind;

typedef struct kiln_origin {
    kiln_origin_kind kind;
    char *connection; /* NAME, or NULL */
    char *repository; /* "OWNER/REPO", or the whole address */
    char *ref;        /* never NULL but for a file */
    char *path;       /* within the repository, without "/" at either end; "": all of it */
    bool folder;
} kiln_origin;

/* "connection:..." or one of the others: a plain path is none. */
bool kiln_origin_is(const char *text);
/* -EINVAL: what is wrong, with the text quoted; -ENOMEM. Freed by the caller in any case. */
int kiln_origin_parse(const char *text, kiln_origin *origin, kiln_error *err);
void kiln_origin_free(kiln_origin *origin);
/* "main.py" of "a/b/main.py"; the repository's name when the path is empty. Borrowed. */
const char *kiln_origin_base_name(const kiln_origin *origin);
/* A full SHA-1 or SHA-256 commit id. */
bool kiln_ref_is_commit(const char *ref);

#endif
