/* The frame decoder: whatever comes, it stays inside the buffer, says how much it
 * needs, and what it takes encodes to the same bytes again. */
#include "worker/frame.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of the exact size, so that one byte too far is seen. */
    char *copy = malloc(size > 0 ? size : 1);
    memcpy(copy, data, size);
    decode_all(copy, size, true);
    decode_all(copy, size, false);
    free(copy);
    return 0;
}
