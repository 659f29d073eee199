/* outdir.h - the folder that `kiln run` gives output files.
 *
 * The engine collects into a new hidden folder beside or in the destination; at the end
 * what it collected is moved into its place, replacing files of an earlier run. So a run
 * leaves no empty folder, two runs of one script do not number each other's pictures, and
 * a file appears whole. */
#ifndef KILN_CLI_OUTDIR_H
#define KILN_CLI_OUTDIR_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

typedef struct kiln_outdir {
    char *path;      /* the destination, as it is named to the user */
    char *temporary; /* where files are until the end; NULL: there is no place for them */
    int fd;          /* of `temporary`, or -1 */
    json_t *names;   /* object: names of what was collected */
} kiln_outdir;

#define KILN_OUTDIR_INIT                                                                       \
    {                                                                                          \
        NULL, NULL, -1, NULL                                                                   \
    }

/* `out`: the folder that the user named, made when it is missing; -ENOTDIR, -errno. NULL:
 * ./NAME_files, made when there is something to keep; fd stays -1 when this folder cannot
 * be written, which is no error. */
int kiln_outdir_open(kiln_outdir *outdir, const char *out, const char *name, kiln_error *err);
/* Remembers a result's output_files. */
int kiln_outdir_note(kiln_outdir *outdir, const json_t *output_files);
/* Moves them into their place; on failure what could not be moved stays in `temporary`,
 * which err names. */
int kiln_outdir_keep(kiln_outdir *outdir, kiln_error *err);
/* Removes the hidden folder, unless keep failed, and frees. */
void kiln_outdir_close(kiln_outdir *outdir);

#endif
