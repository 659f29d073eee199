/* workdir.h - files into and out of a session's work directory.
 *
 * The directory belongs to hostile code. It is reached only through a descriptor
 * and openat2(RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS|RESOLVE_NO_MAGICLINKS|
 * RESOLVE_NO_XDEV), O_NONBLOCK, and only regular files with one link are read.
 * Thread: loop. Owner of descriptors: the caller. */
#ifndef KILN_FILES_WORKDIR_H
#define KILN_FILES_WORKDIR_H

#include "base/error.h"
#include "contract/input.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    KILN_COLLECT_FILES_MAX = 10000, /* files given back from one execution */
    KILN_COLLECT_DEPTH_MAX = 32,
};

/* root_fd: the session's file system. `area` is a folder in it, KILN_AREA_WORK in a
 * sandbox of ours; KILN_AREA_ROOT where all of it is the work directory. */
#define KILN_AREA_WORK "work"
#define KILN_AREA_ROOT "."
int kiln_workdir_write(int root_fd, const char *area, const char *name, const void *data,
                       size_t length, unsigned mode, kiln_error *err);
/* All input files, those with a path read from the host (regular files only). */
int kiln_workdir_put(int root_fd, const char *area, const kiln_request *request,
                     kiln_error *err);

/* Opens a file of the work directory to be read: regular, with one link. The caller's. */
int kiln_workdir_read(int root_fd, const char *area, const char *name, kiln_error *err);

/* Removes every regular file whose name is no key of `names`, and the folders that are empty
 * then. */
int kiln_workdir_keep_only(int root_fd, const char *area, const json_t *names, kiln_error *err);

/* What is there, so that later what was made or changed can be told. */
typedef struct kiln_manifest kiln_manifest;
kiln_manifest *kiln_manifest_take(int root_fd, const char *area, kiln_error *err);
/* Whether it tells of this very directory, which may have been replaced meanwhile, and its
 * owner can use that. */
bool kiln_manifest_is_of(const kiln_manifest *manifest, int root_fd, const char *area);
void kiln_manifest_free(kiln_manifest *manifest); /* NULL is allowed */

/* Copies what was made or changed since `*look` was taken (NULL: ever) into the directory
 * `out_fd` (created folders 0755, files 0644, opened beneath it; existing files are replaced)
 * and appends {"name","path","mime_type","size","sha256"} to output_files, path being out_path
 * "/" name. out_fd -1: nothing is copied, path is null, size and hash are told. What is refused
 * (links, devices, several links, odd names, changed while read, past the bounds) is reported
 * through `refused`, one line each, at most 100 and then a count. *look becomes what is there
 * now; NULL after an error, and where that is too much to be kept. */
int kiln_workdir_collect(int root_fd, const char *area, kiln_manifest **look, int out_fd,
                         const char *out_path, json_t *output_files,
                         void (*refused)(void *user, const char *name, const char *why),
                         void *user, kiln_error *err);
/* Writes bytes that did not come from the work directory (a displayed image) as an
 * output file; a taken name gets -2, -3 ... */
int kiln_output_file_add(int out_fd, const char *out_path, const char *name,
                         const char *mime_type, const void *data, size_t length,
                         json_t *output_files, kiln_error *err);
/* By file name's extension; "application/octet-stream" else. Static. */
const char *kiln_mime_type(const char *name);

#endif
