/* dialogue.h - the engine's side of the worker frames, apart from what carries them: the
 * socket of a local worker (engine_guest.c), or a stream that a plugin has to a worker
 * elsewhere (plugin/remote.c).
 *
 * The other side is hostile. Every frame is checked for type, size, order and shape; after
 * the first bad one nothing more is read. Thread: loop. A callback may close the dialogue;
 * whoever calls it keeps its memory meanwhile. */
#ifndef KILN_WORKER_DIALOGUE_H
#define KILN_WORKER_DIALOGUE_H

#include "base/error.h"
#include "worker/frame.h"

#include <jansson.h>
#include <kiln/plugin.h>

typedef struct kiln_dialogue kiln_dialogue;

typedef struct kiln_dialogue_callbacks {
    /* Output of the cell that runs. */
    void (*on_event)(void *user, const kiln_event *event);
    /* DONE. The cell counts as running until kiln_dialogue_settle, so that output which
     * came by another way can still be delivered. Usage is the worker's own word. */
    void (*on_done)(void *user, const kiln_verdict *verdict, double cpu_ms,
                    uint64_t max_rss_bytes);
    /* ANALYSIS; borrowed. */
    void (*on_analysis)(void *user, json_t *analysis);
    /* REPLY: reply, or NULL and why; borrowed. As with on_done, the query counts as in
     * flight until kiln_dialogue_settle. NULL: nothing is ever queried. */
    void (*on_reply)(void *user, json_t *reply, const char *error);
    /* CALL, by the cell that runs: to be answered by kiln_dialogue_return. Borrowed. NULL:
     * a cell that calls is broken. */
    void (*on_call)(void *user, uint32_t number, const char *data, size_t length);
    /* The cell has ended, or its worker, and the call before: nobody waits for it. With
     * on_call. */
    void (*on_call_over)(void *user);
    /* FORKABLE and FORKED; NULL where nobody asks for them. `refusal`, `error`: NULL if there
     * is none. */
    void (*on_forkable)(void *user, const char *refusal);
    void (*on_forked)(void *user, int32_t pid, const char *error);
    /* A bad frame, or FAILED: the worker is of no more use. Nothing follows. */
    void (*on_broken)(void *user, const char *why);
} kiln_dialogue_callbacks;

struct kiln_dialogue {
    const kiln_dialogue_callbacks *callbacks;
    void *user;
    bool started;            /* READY has come; a request may be on its way before */
    bool closed;             /* nothing more is read */
    bool answered;           /* DONE or REPLY has come, the end of it is not told yet */
    bool unread;             /* as its DONE says: there is output that came by another way */
    bool decoding;           /* callbacks borrow from `in` */
    kiln_frame_type awaited; /* KILN_FRAME_DONE, _ANALYSIS, _REPLY, or 0: idle */
    uint32_t request_id;
    uint32_t call;      /* number of the last CALL of this cell */
    bool calling;       /* it is not answered yet */
    uint32_t linger_us; /* after the next cell; see linger.h */
    uint64_t dropped;   /* output of nobody's cell */
    kiln_buffer in;     /* bytes that came and are not decoded yet */
    kiln_buffer out;    /* bytes for the worker */
};

/* Every whole frame in `in`. 0; negative: closed, or broken and told so. */
int kiln_dialogue_decode(kiln_dialogue *dialogue);
/* An event to the cell that runs; dropped and counted when none does. */
void kiln_dialogue_deliver(kiln_dialogue *dialogue, const kiln_event *event);
/* The cell or query has ended: the next may begin. */
void kiln_dialogue_settle(kiln_dialogue *dialogue);
/* Append the request to `out`. One at a time: -EBUSY; -EPIPE: closed; -EINVAL, -E2BIG,
 * -ENOMEM. */
int kiln_dialogue_execute(kiln_dialogue *dialogue, const kiln_input *input, kiln_error *err);
/* Answered as a cell is. */
int kiln_dialogue_rehearse(kiln_dialogue *dialogue, unsigned turn, bool last, kiln_error *err);
int kiln_dialogue_analyze(kiln_dialogue *dialogue, const char *code, size_t length,
                          kiln_error *err);
/* `arguments`: an object, borrowed. */
int kiln_dialogue_query(kiln_dialogue *dialogue, const char *name, json_t *arguments,
                        kiln_error *err);
/* Answers the CALL of that number; one that nobody waits for is dropped. 0, -ENOMEM, -E2BIG. */
int kiln_dialogue_return(kiln_dialogue *dialogue, uint32_t number, const char *data,
                         size_t length);
/* Asks it to make a second worker of itself. Without a refusal FORKED is awaited next. */
int kiln_dialogue_fork(kiln_dialogue *dialogue, bool snapshot, kiln_error *err);
/* Asks the running cell or query to stop, where no signal can: appends INTERRUPT. 0 or -ENOMEM.
 */
int kiln_dialogue_interrupt(kiln_dialogue *dialogue);
/* Reports a breach that the carrier found, as a bad frame is. Returns -EPROTO. */
int kiln_dialogue_break(kiln_dialogue *dialogue, const char *prefix, const char *why);
void kiln_dialogue_free(kiln_dialogue *dialogue);

#endif
