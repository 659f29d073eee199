/* command.h - the argument vectors of a runtime, with the names put in. No shell. */
#ifndef EXEC_COMMAND_H
#define EXEC_COMMAND_H

#include <stddef.h>

/* Copies `words`, each "{file}" and "{out}" in them replaced, then `more` (NULL: none).
 * NULL: out of memory. */
char **command_make(const char *const *words, const char *file, const char *out,
                    const char *const *more);
char **command_copy(const char *const *words);
void command_free(char **command);

#endif
