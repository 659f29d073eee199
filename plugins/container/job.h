/* job.h - one execution in a box: a cell of its agent, or a program. */
#ifndef KILN_CONTAINER_JOB_H
#define KILN_CONTAINER_JOB_H

#include "box.h"

struct job;

/* 0: completion follows; negative errno: nothing does. `restarted`: why the session has
 * lost its state, or "". */
int job_start(struct box *box, kiln_session *session, kiln_ticket ticket,
              const kiln_input *input, const char *restarted);
/* Asks it to stop, or ends it and all that it has started. It still completes. */
void job_interrupt(struct job *job);
void job_kill(struct job *job);
/* Its completion is of no more use to anybody. */
void job_abandon(struct job *job);
/* Whether it is the one of that ticket. */
bool job_is(const struct job *job, kiln_ticket ticket);

/* For the agent and the program: it has ended so. */
void job_done(struct job *job, const kiln_outcome *outcome);
/* The box is gone, and box->lost says how. */
void job_box_gone(struct job *job);
/* An entry among the result's decisions. */
void job_decide(struct job *job, const char *action, const char *detail);

#endif
