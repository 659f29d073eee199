/* program.h - a [runtime] command in a box: the code as a file, a compile phase, the
 * program, by the engine's exec. */
#ifndef KILN_CONTAINER_PROGRAM_H
#define KILN_CONTAINER_PROGRAM_H

#include "job.h"

struct program;

/* Writes its code's file; program_begin starts it. `done` once, not from within: outcome's
 * strings are borrowed. NULL with *refused filled: it cannot begin. */
struct program *program_start(struct box *box, kiln_session *session, kiln_ticket ticket,
                              const kiln_input *input,
                              void (*done)(void *user, const kiln_outcome *outcome), void *user,
                              kiln_outcome *refused);
/* 0 or -ENOMEM: then done does not come. */
int program_begin(struct program *program);
/* Kills it and all its descendants; done still comes. */
void program_kill(struct program *program);
/* The box has gone: done will not come. */
void program_free(struct program *program);

#endif
