/* bundle.h - what the engine has the `bundle` backend do: archives and pictures are read and
 * written in a confined worker, never here (plugins/bundle/). Thread: loop. */
#ifndef KILN_BUNDLE_BUNDLE_H
#define KILN_BUNDLE_BUNDLE_H

#include "connection/inputs.h"
#include "core/engine.h"

#include <jansson.h>

/* The chain that it is run under: an empty one. It is no user's code, and no policy's matter.
 */
#define KILN_BUNDLE_CHAIN "kiln-bundle"

/* "section.key=value" words for a configuration (kiln_setup's `set`) that has the backend
 * and the chain, beside what `config` has. *words is NULL-terminated, freed with its words
 * by the caller; -ENOMEM. */
int kiln_bundle_settings(const kiln_config *config, char ***words);

typedef struct kiln_bundle_call {
    kiln_engine *engine;
    uv_loop_t *loop;
    const char *code; /* "pack", "unpack", "pixels 0 1" */
    const kiln_input_place *files;
    size_t count;
    int out_fd; /* where its output files go, -1: nowhere */
    const char *out_path;
    /* Once, from the loop: what it answered and its output files (borrowed), or an error. */
    void (*done)(void *user, json_t *answer, json_t *output_files, const kiln_error *err);
    void *user;
} kiln_bundle_call;

/* Everything that `call` points to must live until done. Negative: nothing follows. */
int kiln_bundle_ask(const kiln_bundle_call *call, kiln_error *err);

/* One archive of files, DIR/SHA256.tar.gz, its name being the hash of its content. `folder`
 * is made when it is missing. Waits on the loop. *path: caller frees. */
int kiln_archive_save(kiln_engine *engine, uv_loop_t *loop, const kiln_inputs *files,
                      const char *folder, char **path, kiln_error *err);
/* The files of an archive, below `folder`, which must not be there or be empty. When the
 * archive is named by a hash, it must have it. `left_out`: names with the reason, new
 * reference. */
int kiln_archive_restore(kiln_engine *engine, uv_loop_t *loop, const char *path,
                         const char *folder, json_t **left_out, size_t *count, kiln_error *err);

#endif
