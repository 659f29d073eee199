/* mirror.h - one folder made what another is. For a supervisor: trusted code, with every
 * right over both folders, while nothing runs that could change them. Never in the engine:
 * it takes as long as it takes. */
#ifndef KILN_FILES_MIRROR_H
#define KILN_FILES_MIRROR_H

#include "base/error.h"

enum {
    KILN_MIRROR_ENTRIES_MAX = 200000,
    KILN_MIRROR_DEPTH_MAX = 64,
};

/* Files, folders, symbolic links and FIFOs below `to` become those below `from`: content
 * (holes stay holes), mode, time of change; everything belongs to the owner of `to`.
 * What is the same is left alone, compared byte by byte, since a file that was changed
 * through a mapping may have kept its times. Several names
 * of one file stay that. Sockets are left out. `trash` is an empty folder of the same file
 * system as `to`, and is empty again after. 0; -E2BIG, -ENOSPC, another errno. */
int kiln_mirror(int from, int to, int trash, kiln_error *err);
/* Empties it, however deep it is; `folder` stays. */
int kiln_mirror_clear(int folder, int trash, kiln_error *err);

#endif
