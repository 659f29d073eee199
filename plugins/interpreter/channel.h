/* channel.h - the module that the runner's Python sees as `channel`: output,
 * interrupts, options, embedded code. Whoever calls it holds the GIL. */
#ifndef KILN_INTERPRETER_CHANNEL_H
#define KILN_INTERPRETER_CHANNEL_H

#include <Python.h>

#include <kiln/plugin.h>
#include <stdbool.h>

/* New reference, or NULL with an exception set. `host` must live on. */
PyObject *kiln_channel_new(const kiln_worker_host *host);
/* Tells that this process is the worker and that no cell runs. */
void kiln_channel_start(void);
void kiln_channel_branch(bool now); /* around the at-fork hooks of a branch */
/* Brackets a cell. Outside of it nothing may be emitted as a frame, since the
 * worker's own frames are written without the GIL: streams go to descriptors 1
 * and 2 then. */
void kiln_channel_enter(void);
void kiln_channel_leave(void);
/* False in a process that the code forked. */
bool kiln_channel_owned(void);
/* kiln_worker.interrupt */
bool kiln_channel_interrupt(void);
/* The code object of one of the runner's files; new reference. */
PyObject *kiln_channel_code(const char *name);

#endif
