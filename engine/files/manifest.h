/* manifest.h - the inside of kiln_manifest, for collect.c. */
#ifndef KILN_FILES_MANIFEST_H
#define KILN_FILES_MANIFEST_H

#include "files/workdir.h"

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

enum {
    /* Entries that are looked at; the session's `files` limit is far below it. What the
     * code can make beyond it is told, not walked. */
    KILN_MANIFEST_ENTRIES_MAX = 200000,
    KILN_MANIFEST_KEPT_MAX = 1000, /* entries that are remembered from cell to cell: some
                                    * 200 KB of every idle session */
};

/* Everything but folders that were entered. */
typedef struct kiln_manifest_entry {
    char *name; /* relative to the work directory */
    mode_t mode;
    nlink_t links;
    ino_t inode;
    off_t size;
    struct timespec mtime, ctime;
    bool racy; /* may be changed again without a change of its times: see manifest.c */
    bool hashed;
    unsigned char hash[32]; /* of a racy file's content, when hashed */
} kiln_manifest_entry;

struct kiln_manifest {
    int work_fd;                  /* the work directory, or -1; open, it is no other's inode */
    dev_t device;                 /* with work_fd */
    ino_t inode;                  /* with work_fd */
    kiln_manifest_entry *entries; /* by name */
    size_t count;
    size_t capacity;
    bool cut;        /* KILN_MANIFEST_ENTRIES_MAX was reached */
    bool unreadable; /* a folder could not be read */
};

/* Takes over the work directory's descriptor. False: it cannot be looked at. */
bool kiln_manifest_own(kiln_manifest *manifest, int *work_fd);
/* As kiln_manifest_take, of an open work directory, from its beginning; `hash` tells racy
 * files' content. */
kiln_manifest *kiln_manifest_walk(int work_fd, bool hash, kiln_error *err);
const kiln_manifest_entry *kiln_manifest_find(const kiln_manifest *manifest, const char *name);
/* `now` is what it was in `before`; reads the file when only its content can tell. */
bool kiln_manifest_same(int work_fd, const kiln_manifest_entry *before,
                        const kiln_manifest_entry *now);

static inline void kiln_manifest_freep(kiln_manifest **manifest)
{
    kiln_manifest_free(*manifest);
}
#define auto_manifest __attribute__((cleanup(kiln_manifest_freep)))

/* Opens the area in the session's root; negative errno with err. */
int kiln_workdir_open(int root_fd, const char *area, kiln_error *err);

#endif
