#include "worker/frame.h"

#include <errno.h>

static const struct {
    kiln_frame_type type;
    bool to_engine;
    bool empty_allowed;
    uint32_t max;
} types[] = {
    {KILN_FRAME_EXECUTE, false, false, KILN_FRAME_TO_WORKER_MAX},
    {KILN_FRAME_ANALYZE, false, false, KILN_FRAME_TO_WORKER_MAX},
    {KILN_FRAME_QUERY, false, false, KILN_FRAME_TO_WORKER_MAX},
    {KILN_FRAME_INTERRUPT, false, false, 64},
    {KILN_FRAME_REHEARSE, false, false, 12},
    {KILN_FRAME_RETURN, false, false, KILN_FRAME_CALL_MAX},
    {KILN_FRAME_FORK, false, false, 64},
    {KILN_FRAME_RESUME, false, true, 0},
    {KILN_FRAME_STDOUT, true, true, KILN_FRAME_TO_ENGINE_MAX},
    {KILN_FRAME_STDERR, true, true, KILN_FRAME_TO_ENGINE_MAX},
    {KILN_FRAME_DISPLAY, true, false, KILN_FRAME_TO_ENGINE_MAX},
    {KILN_FRAME_RESULT, true, false, KILN_FRAME_TO_ENGINE_MAX},
    {KILN_FRAME_ERROR, true, false, KILN_FRAME_TO_ENGINE_MAX},
    {KILN_FRAME_UPDATE, true, false, KILN_FRAME_TO_ENGINE_MAX},
    {KILN_FRAME_CLEAR, true, false, KILN_FRAME_TO_ENGINE_MAX},
    /* The verdict is bounded; only an analysis grows with the code. */
    {KILN_FRAME_DONE, true, false, 4096},
    {KILN_FRAME_ANALYSIS, true, false, KILN_FRAME_TO_ENGINE_MAX},
    {KILN_FRAME_READY, true, true, 0},
    {KILN_FRAME_FAILED, true, true, 4096},
    {KILN_FRAME_REPLY, true, false, KILN_FRAME_REPLY_MAX},
    {KILN_FRAME_CALL, true, false, KILN_FRAME_CALL_MAX},
    {KILN_FRAME_FORKABLE, true, false, 4096},
    {KILN_FRAME_FORKED, true, false, 4096},
};

void kiln_frame_header(unsigned char header[KILN_FRAME_HEADER], kiln_frame_type type,
                       uint32_t length)
{
    header[0] = (unsigned char)length;
    header[1] = (unsigned char)(length >> 8);
    header[2] = (unsigned char)(length >> 16);
    header[3] = (unsigned char)(length >> 24);
    header[4] = (unsigned char)type;
    header[5] = KILN_FRAME_VERSION;
    header[6] = 0;
    header[7] = 0;
}

int kiln_frame_append(kiln_buffer *out, kiln_frame_type type, const void *payload,
                      size_t length)
{
    unsigned char header[KILN_FRAME_HEADER];
    if (length > KILN_FRAME_TO_WORKER_MAX) {
        return -E2BIG;
    }
    if (kiln_buffer_reserve(out, sizeof(header) + length) < 0) {
        return -ENOMEM;
    }
    kiln_frame_header(header, type, (uint32_t)length);
    kiln_buffer_append(out, header, sizeof(header)); /* both fit: reserved */
    return kiln_buffer_append(out, payload, length);
}

int kiln_frame_decode(const char *data, size_t length, bool to_engine, kiln_frame *frame,
                      size_t *used, kiln_error *err)
{
    const unsigned char *header = (const unsigned char *)data;
    *used = KILN_FRAME_HEADER;
    if (length < KILN_FRAME_HEADER) {
        return 0;
    }
    if (header[5] != KILN_FRAME_VERSION || header[6] != 0 || header[7] != 0) {
        return kiln_error_set(err, EPROTO, "version %u, reserved %u %u, expected %u, 0 0",
                              header[5], header[6], header[7], KILN_FRAME_VERSION);
    }
    size_t i = 0;
    while (i < sizeof(types) / sizeof(types[0]) && (unsigned)types[i].type != header[4]) {
        i++;
    }
    if (i == sizeof(types) / sizeof(types[0]) || types[i].to_engine != to_engine) {
        return kiln_error_set(err, EPROTO, "type 0x%02x is not one that goes to the %s",
                              header[4], to_engine ? "engine" : "worker");
    }
    uint32_t payload = (uint32_t)header[0] | (uint32_t)header[1] << 8 |
                       (uint32_t)header[2] << 16 | (uint32_t)header[3] << 24;
    if (payload > types[i].max || (payload == 0 && !types[i].empty_allowed)) {
        return kiln_error_set(err, EPROTO, "type 0x%02x with %u bytes, allowed are %u to %u",
                              header[4], payload, types[i].empty_allowed ? 0U : 1U,
                              types[i].max);
    }
    *used = KILN_FRAME_HEADER + (size_t)payload;
    if (length < *used) {
        return 0;
    }
    frame->type = types[i].type;
    frame->payload = data + KILN_FRAME_HEADER;
    frame->length = payload;
    return 1;
}
