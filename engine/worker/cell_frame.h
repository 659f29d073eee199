/* cell_frame.h - the two frames of every cell, EXECUTE and DONE: packed as frame.h tells,
 * since JSON and base64 would be a third of a small cell's cost. */
#ifndef KILN_WORKER_CELL_FRAME_H
#define KILN_WORKER_CELL_FRAME_H

#include "base/buffer.h"
#include "worker/frame.h"

#include <kiln/plugin.h>

enum { KILN_CELL_STRINGS_MAX = 1 << 16 }; /* arguments and variables of one cell */

/* A cell as the worker gets it. `cell` borrows from the frame that it was decoded from;
 * `strings` is owned: kiln_cell_request_free. */
typedef struct kiln_cell_request {
    uint32_t id;
    uint32_t linger_us;
    kiln_cell cell;
    const char **strings;
} kiln_cell_request;

/* What a cell came to, with its id. */
typedef struct kiln_cell_done {
    uint32_t id;
    kiln_verdict verdict;
    uint64_t cpu_us;
    uint64_t max_rss_bytes;
    bool unread; /* the worker's pipes still held something */
} kiln_cell_done;

enum { KILN_CELL_DONE_BYTES = 24 };

/* Appends a whole EXECUTE frame. 0; -ENOMEM; -E2BIG: more than a frame or 65,536 strings. */
int kiln_cell_request_append(kiln_buffer *out, uint32_t id, uint32_t linger_us,
                             const kiln_input *input);
/* 0; -EPROTO: not such a payload; -ENOMEM. */
int kiln_cell_request_decode(const char *payload, size_t length, kiln_cell_request *request);
void kiln_cell_request_free(kiln_cell_request *request);

typedef struct kiln_rehearsal {
    uint32_t id;
    uint32_t turn; /* from 0 on */
    bool last;
} kiln_rehearsal;

/* Appends a whole REHEARSE frame. 0; -ENOMEM. */
int kiln_rehearsal_append(kiln_buffer *out, const kiln_rehearsal *rehearsal);
/* 0; -EPROTO. */
int kiln_rehearsal_decode(const char *payload, size_t length, kiln_rehearsal *rehearsal);

void kiln_cell_done_encode(const kiln_cell_done *done, unsigned char bytes[24]);
/* 0; -EPROTO: not such a payload, or figures that no cell can have. */
int kiln_cell_done_decode(const char *payload, size_t length, kiln_cell_done *done);

#endif
