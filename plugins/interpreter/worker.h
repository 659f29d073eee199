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

/* memory.c */
void kiln_memory_prepare(void); /* before Python is initialised */
void kiln_memory_settle(void);  /* in the zygote, when all is loaded */
void kiln_memory_forked(void);  /* in a worker, after the fork */

#endif
