/* setup.h - what subcommands that need an engine begin with. */
#ifndef KILN_CLI_SETUP_H
#define KILN_CLI_SETUP_H

#include "base/error.h"
#include "config/config.h"
#include "core/engine.h"

/* Finds the shipped folders and loads the configuration: `file` or the one that is found,
 * the environment, `set` ("section.key=value", NULL-terminated). *file_used (may be NULL;
 * caller frees) is the file that was read, or NULL for none. 0, or negative; *status is then
 * the exit status that fits. */
int kiln_setup(const char *file, const char *const *set, kiln_paths *paths,
               kiln_config **config, char **file_used, int *status, kiln_error *err);
/* The same with what kiln_bundle_settings says, for archives. `set` has room for two words
 * and a NULL behind its first `count`; they are *words, to be freed by
 * kiln_bundle_words_free when `set` is used no more. */
int kiln_setup_bundle(const char *file, const char **set, size_t count, kiln_paths *paths,
                      kiln_config **config, char ***words, int *status, kiln_error *err);
void kiln_bundle_words_free(char **words);
/* Who asks, for policies that count by client: `named`, or the user that runs us by name,
 * or by number where it has none. Static or borrowed. */
const char *kiln_client(const char *named);
/* The exit status for a failure of kiln_engine_open. */
int kiln_open_failure_status(int rc);

#endif
