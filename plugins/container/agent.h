/* agent.h - the worker in a box with Python, and the stream of frames to it.
 *
 * Its program goes in over the main process's input. Frames then go over a Unix socket
 * that it makes in the work directory, which costs what a local worker's costs; where that
 * cannot be reached from this host, over its standard input and output, through the
 * container engine. */
#ifndef KILN_CONTAINER_AGENT_H
#define KILN_CONTAINER_AGENT_H

#include "box.h"

struct agent;

/* The text of the agent's options; malloc'd. */
char *agent_options(const backend *self);
/* Sends the program in; box_agent_ready or box_lost follows. NULL: out of memory. */
struct agent *agent_start(struct box *box);
/* What the main process wrote. */
void agent_output(struct agent *agent, uint32_t stream, const char *data, size_t length);
void agent_free(struct agent *agent);
/* Whether its frames go past the container engine. */
bool agent_is_direct(const struct agent *agent);

int agent_execute(struct agent *agent, kiln_ticket ticket, const kiln_input *input);
/* What is sent waits until agent_release: for the files that it needs. */
void agent_hold(struct agent *agent);
void agent_release(struct agent *agent);
/* The engine takes the reply for the ticket. 0, or negative errno: nothing follows. */
int agent_query(struct agent *agent, kiln_ticket ticket, const char *name,
                const char *arguments, size_t length);
/* Whether that ticket is of the query that was handed on last. */
bool agent_asks(const struct agent *agent, kiln_ticket ticket);
/* Asks its running cell or query to stop. */
void agent_interrupt(struct agent *agent);

#endif
