/* files.h - a box's files by the archive API, between its work directory and the mirror that
 * the engine sees: for a box that is not direct. */
#ifndef KILN_CONTAINER_FILES_H
#define KILN_CONTAINER_FILES_H

#include "box.h"

struct transfer;

typedef struct files_end {
    kiln_status status; /* OK; LIMIT, with name "disk" or "files"; or UNAVAILABLE */
    const char *name;
    const char *error; /* one line */
    size_t left_out;   /* entries that are neither folders nor plain files, when pulled */
} files_end;

/* Into the container, what the engine changed; or all out of it. `done` once, not from within;
 * it may free the transfer, which it must not otherwise. NULL: out of memory. */
struct transfer *files_push(struct box *box, void (*done)(void *user, const files_end *end),
                            void *user);
struct transfer *files_pull(struct box *box, void (*done)(void *user, const files_end *end),
                            void *user);
void files_cancel(struct transfer *transfer);

/* What a box may hold, where nothing is configured. */
uint64_t files_disk(const kiln_limits *limits);

#endif
