/* source.h - what `kiln run` runs: the bytes, their name, their language, and the files
 * that go with them. */
#ifndef KILN_CLI_SOURCE_H
#define KILN_CLI_SOURCE_H

#include "base/buffer.h"
#include "base/error.h"
#include "cli/options.h"
#include "config/config.h"
#include "connection/inputs.h"
#include "contract/input.h"
#include "notebook/ipynb.h"

#include <stdbool.h>

/* True for NAME.ipynb. */
bool kiln_is_notebook(const char *file);
/* "a/plot.py" -> "plot"; "kiln" for -c and -. Caller frees. NULL: out of memory. */
char *kiln_source_name(const char *file);
/* All of a file, or of standard input for "-", or -E2BIG as soon as it is more than `max`.
 * `what` stands in the errors: "code", "standard input". */
int kiln_source_read(const char *path, const char *what, size_t max, kiln_buffer *bytes,
                     kiln_error *err);

/* What is to be run, whole in memory; all zero before it is loaded. */
typedef struct kiln_source {
    kiln_buffer code;
    kiln_ipynb *notebook; /* or NULL: the code counts */
    const char *language; /* borrowed from the options, the config or the notebook */
    kiln_buffer stdin_data;
} kiln_source;

/* Reads what the options name, standard input's content too. To be freed in any case. */
int kiln_source_load(const kiln_run_options *options, const kiln_config *config,
                     kiln_source *source, kiln_error *err);
void kiln_source_free(kiln_source *source);

/* By -l, the file's extension, the #! line, else "python" for -c and -. -EINVAL: it cannot
 * be told. Borrowed from options or config, or static. */
int kiln_source_language(const kiln_run_options *options, const kiln_config *config,
                         const char *code, size_t length, const char **language,
                         kiln_error *err);
/* Known to a runtime of the config or to a loaded backend (kiln_engine_plugins): 0, else
 * -EINVAL with a near match. */
int kiln_language_check(const char *language, const kiln_config *config, const json_t *backends,
                        kiln_error *err);
/* A name as people and notebooks say it ("py", "Python", ".js", "nodejs"), as the config
 * has it, or NULL. Borrowed from the config, or static. */
const char *kiln_language_alias(const kiln_config *config, const char *word);

/* What -i names, and the path of a FILE that is to be fetched. */
typedef struct kiln_gathered {
    kiln_inputs inputs;
    char *file;
} kiln_gathered;

/* Fetches what is not here and checks what is; options->file then names a file here. To be
 * freed in any case. */
int kiln_source_gather(kiln_run_options *options, const kiln_config *config,
                       kiln_gathered *gathered, kiln_error *err);
void kiln_gathered_free(kiln_gathered *gathered);
/* They are read when there is a work directory. */
int kiln_source_add_inputs(const kiln_inputs *inputs, kiln_request *request, kiln_error *err);

#endif
