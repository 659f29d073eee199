/* inputs.h - the files that words like -i's name: FILE, NAME=FILE, FOLDER/, or an origin
 * (connection:..., git+https:..., file:...), each as a name in the work directory and a
 * path here. What is fetched lies in a temporary folder until kiln_inputs_free.
 *
 * Before the engine is opened: a fetch has a loop of its own here, and returns when it is
 * over. Thread: one at a time. */
#ifndef KILN_CONNECTION_INPUTS_H
#define KILN_CONNECTION_INPUTS_H

#include "base/error.h"
#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct kiln_input_place {
    char *name; /* in the work directory */
    char *path;
} kiln_input_place;

typedef struct kiln_inputs {
    kiln_input_place *files;
    size_t count;
    char *folder; /* temporary, or NULL */
    unsigned fetches;
    /* One line each that a person should read: what was left out, what is not of today. */
    void (*notice)(void *user, const char *text);
    void *user;
} kiln_inputs;

/* Adds what `word` names. `base`: folder at which relative paths begin, NULL: the working
 * directory. -EINVAL and the like, with the word in the text. */
int kiln_inputs_add(kiln_inputs *inputs, const kiln_config *config, const char *word,
                    const char *base, kiln_error *err);
/* The path of a single file that `word` (without NAME=) names; not added. Caller frees. */
int kiln_inputs_file(kiln_inputs *inputs, const kiln_config *config, const char *word,
                     const char *base, char **path, kiln_error *err);
/* "NAME=REST" or "REST": where REST begins; a word that begins with / ./ ../ has no NAME. */
const char *kiln_inputs_split(const char *word, size_t *name_length);
void kiln_inputs_free(kiln_inputs *inputs);

#endif
