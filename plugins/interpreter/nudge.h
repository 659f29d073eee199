/* nudge.h - an interrupt that comes just before a system call waits for as long as the call
 * does: the interpreter has looked for signals already, and the call has not begun that the
 * signal could end. So, once an interrupt has come, the main thread gets a few more signals
 * that do nothing but end a call (EINTR), after which the interpreter looks again. */
#ifndef KILN_INTERPRETER_NUDGE_H
#define KILN_INTERPRETER_NUDGE_H

#include <sys/types.h>

/* Main thread, before a cell; costs nothing after a process's first time. */
void kiln_nudge_prepare(pid_t process);
/* In the handler of SIGINT. */
void kiln_nudge_start(void);
void kiln_nudge_stop(void);

#endif
