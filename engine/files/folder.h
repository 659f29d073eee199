/* folder.h - a folder of the caller's own, as a sorted list of the files below it. Links are
 * not followed; what is no regular file is an entry all the same, so that it can be told.
 * Thread: any. */
#ifndef KILN_FILES_FOLDER_H
#define KILN_FILES_FOLDER_H

#include "base/buffer.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { KILN_FOLDER_FILES_MAX = 20000, KILN_FOLDER_DEPTH_MAX = 32 };

typedef struct kiln_folder_entry {
    char *name; /* relative to the folder */
    uint64_t size;
    const char *oddity; /* "a symbolic link", ...; NULL: a regular file */
} kiln_folder_entry;

typedef struct kiln_folder {
    int fd;
    kiln_folder_entry *entries;
    size_t count;
} kiln_folder;

#define KILN_FOLDER_INIT                                                                       \
    {                                                                                          \
        -1, NULL, 0                                                                            \
    }

/* Errors do not name `path`. kiln_folder_free in any case. */
int kiln_folder_read(const char *path, kiln_folder *folder, kiln_error *err);
const kiln_folder_entry *kiln_folder_find(const kiln_folder *folder, const char *name);
/* All of a regular file, -E2BIG when it is more than `max`. The error names it. */
int kiln_folder_load(const kiln_folder *folder, const char *name, size_t max,
                     kiln_buffer *bytes, kiln_error *err);
void kiln_folder_free(kiln_folder *folder);

/* Removes a folder that we made, with all below it. */
void kiln_folder_remove(const char *path);

#endif
