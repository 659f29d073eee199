/* program.h - what a process does last before it becomes a program. */
#ifndef KILN_WORKER_PROGRAM_H
#define KILN_WORKER_PROGRAM_H

#include "base/error.h"

/* As execvpe, with the PATH of the new environment and no fall-back to a shell.
 * Allocates nothing: the caller may share its memory with another process. */
int kiln_program_execute(char *const *argv, char *const *env, kiln_error *err);
/* A preloaded language may have ignored some. */
void kiln_program_reset_signals(void);
/* stdio[0..2] as descriptors 0 to 2. */
int kiln_program_connect(const int *stdio, kiln_error *err);

#endif
