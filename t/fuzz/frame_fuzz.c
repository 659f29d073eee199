/* The frame decoders: whatever comes, they stay inside the buffer, say how much they
 * need, and what they take encodes to the same bytes again. */
#include "worker/cell_frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode_all(const char *data, size_t size, bool to_engine)
{
    size_t at = 0;
    for (;;) {
        kiln_frame frame;
        kiln_error err = KILN_ERROR_INIT;
        size_t used = 0;
        int rc = kiln_frame_decode(data + at, size - at, to_engine, &frame, &used, &err);
        if (rc < 0) {
            if (err.text[0] == '\0') {
                abort();
            }
            return;
        }
        if (rc == 0) {
            if (used <= size - at || used < KILN_FRAME_HEADER) {
                abort(); /* it wants what it has */
            }
            return;
        }
        auto_buffer kiln_buffer again = KILN_BUFFER_INIT;
        if (used > size - at || frame.payload + frame.length != data + at + used ||
            kiln_frame_append(&again, frame.type, frame.payload, frame.length) < 0 ||
            again.length != used || memcmp(again.data, data + at, used) != 0) {
            abort();
        }
        at += used;
    }
}

static void decode_request(const char *data, size_t size)
{
    kiln_cell_request request;
    if (kiln_cell_request_decode(data, size, &request) < 0) {
        return;
    }
    const kiln_cell *cell = &request.cell;
    const kiln_input input = {.size = sizeof(input),
                              .code = cell->code,
                              .code_length = cell->code_length,
                              .cell_id = cell->cell_id,
                              .stdin_data = cell->stdin_data,
                              .stdin_length = cell->stdin_length,
                              .args = cell->args,
                              .env = cell->env,
                              .execution_count = cell->execution_count};
    auto_buffer kiln_buffer again = KILN_BUFFER_INIT;
    /* A NUL within the cell's id ends it: only that may be lost. */
    bool whole = cell->cell_id == NULL || cell->cell_id + strlen(cell->cell_id) + 1 ==
                                              (cell->stdin_data != NULL ? cell->stdin_data
                                               : cell->args[0] != NULL  ? cell->args[0]
                                               : cell->env[0] != NULL   ? cell->env[0]
                                                                        : data + size);
    if (kiln_cell_request_append(&again, request.id, request.linger_us, &input) < 0 ||
        (whole && (again.length != KILN_FRAME_HEADER + size ||
                   memcmp(again.data + KILN_FRAME_HEADER, data, size) != 0))) {
        abort();
    }
    kiln_cell_request_free(&request);
}

static void decode_done(const char *data, size_t size)
{
    kiln_cell_done done;
    unsigned char again[KILN_CELL_DONE_BYTES];
    if (kiln_cell_done_decode(data, size, &done) == 0) {
        kiln_cell_done_encode(&done, again);
        if (size != sizeof(again) || memcmp(again, data, size) != 0) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of the exact size, so that one byte too far is seen. */
    char *copy = malloc(size > 0 ? size : 1);
    memcpy(copy, data, size);
    decode_all(copy, size, true);
    decode_all(copy, size, false);
    decode_request(copy, size);
    decode_done(copy, size);
    free(copy);
    return 0;
}
