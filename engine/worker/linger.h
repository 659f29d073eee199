/* linger.h - staying awake for what is about to come.
 *
 * Engine and worker answer each other in microseconds, and each would go to sleep in
 * between: on a machine that is otherwise idle its processor halts, and waking it takes
 * longer than a small cell (a virtual processor: 20 us each way). So, while there is one
 * cell on its way and no more, either side looks again and again for a while before it
 * sleeps, and offers its processor to others each time. With several cells on their way
 * nobody lingers: there is work enough, and processors are better used for it. */
#ifndef KILN_WORKER_LINGER_H
#define KILN_WORKER_LINGER_H

#include <stdbool.h>
#include <uv.h>

enum {
    KILN_LINGER_US = 50,         /* the engine, for the answer */
    KILN_LINGER_WORKER_US = 200, /* the worker, for the next cell: the engine's policies after
                                  * this one, the caller, and the policies before the next */
};

typedef struct kiln_linger kiln_linger;

/* Thread: loop. What makes the loop linger; it does not keep the loop alive. NULL: out of
 * memory, or one processor only, where lingering gains nothing. */
kiln_linger *kiln_linger_new(uv_loop_t *loop);
/* NULL is allowed; *linger becomes NULL. */
void kiln_linger_free(kiln_linger **linger);
/* A request went out; its answer came, or will not. NULL is allowed. True: it is the only
 * one, and the worker should linger, too. */
bool kiln_linger_begin(kiln_linger *linger);
void kiln_linger_end(kiln_linger *linger);
/* How many cells are on their way. */
unsigned kiln_linger_awaited(void);

#endif
