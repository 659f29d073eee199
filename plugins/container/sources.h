/* sources.h - the agent's Python files, embedded: nothing is installed in an image. */
#ifndef KILN_CONTAINER_SOURCES_H
#define KILN_CONTAINER_SOURCES_H

#include <stddef.h>

/* What the interpreter gets by -c. */
const char *agent_boot(void);
/* What boot.py then reads: the parts, "name length\n" and the content of each, with
 * `options` as one more. malloc'd, or NULL. */
char *agent_parts(const char *options, size_t *length);

#endif
