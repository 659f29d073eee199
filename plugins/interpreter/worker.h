/* worker.h - what the files of this plugin share. All [worker]. */
#ifndef KILN_INTERPRETER_WORKER_H
#define KILN_INTERPRETER_WORKER_H

#include <kiln/plugin.h>
#include <stdbool.h>
#include <stddef.h>

/* sources.c: one of the embedded Python files, NUL-terminated, or NULL. */
const char *kiln_embedded_source(const char *name, size_t *length);
/* The same compiled (marshalled bytecode of the libpython that this was built
 * with), or NULL: compile the source. */
const char *kiln_embedded_bytecode(const char *name, size_t *length);

/* memory.c: before Python is initialised; in a worker, after the fork. */
void kiln_memory_prepare(void);
void kiln_memory_forked(void);

#endif
