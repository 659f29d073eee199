/* The frame codec: every type in both directions, every way a header can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "worker/frame.h"

static const struct {
    unsigned char type;
    bool to_engine;
    bool empty;
    uint32_t max;
} all[] = {
    {0x01, false, false, KILN_FRAME_TO_WORKER_MAX},
    {0x02, false, false, KILN_FRAME_TO_WORKER_MAX},
    {0x41, true, true, KILN_FRAME_TO_ENGINE_MAX},
    {0x42, true, true, KILN_FRAME_TO_ENGINE_MAX},
    {0x43, true, false, KILN_FRAME_TO_ENGINE_MAX},
    {0x44, true, false, KILN_FRAME_TO_ENGINE_MAX},
    {0x45, true, false, KILN_FRAME_TO_ENGINE_MAX},
    {0x46, true, false, KILN_FRAME_TO_ENGINE_MAX},
    {0x47, true, false, KILN_FRAME_TO_ENGINE_MAX},
    {0x50, true, false, 4096},
    {0x51, true, false, KILN_FRAME_TO_ENGINE_MAX},
    {0x52, true, true, 0},
    {0x53, true, true, 4096},
};

static int find(unsigned type, bool to_engine)
{
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].type == type && all[i].to_engine == to_engine) {
            return (int)i;
        }
    }
    return -1;
}

static int decode_header(const unsigned char header[8], bool to_engine, size_t *used,
                         kiln_error *err)
{
    kiln_frame frame;
    return kiln_frame_decode((const char *)header, 8, to_engine, &frame, used, err);
}

static void every_type_byte(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        for (int to_engine = 0; to_engine < 2; to_engine++) {
            unsigned char header[8] = {0, 0, 0, 0, (unsigned char)type, 1, 0, 0};
            kiln_error err = KILN_ERROR_INIT;
            size_t used = 0;
            int at = find(type, to_engine);
            int rc = decode_header(header, to_engine, &used, &err);
            assert_int_equal(rc, at >= 0 && all[at].empty ? 1 : -EPROTO);
            assert_int_equal(err.text[0] != '\0', rc < 0);
        }
    }
}

static void lengths_at_their_bounds(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        unsigned char header[8];
        kiln_error err = KILN_ERROR_INIT;
        size_t used = 0;
        if (all[i].max > 0) {
            kiln_frame_header(header, (kiln_frame_type)all[i].type, all[i].max);
            assert_int_equal(decode_header(header, all[i].to_engine, &used, &err), 0);
            assert_int_equal(used, 8 + (size_t)all[i].max);
        }
        kiln_frame_header(header, (kiln_frame_type)all[i].type, all[i].max + 1);
        assert_int_equal(decode_header(header, all[i].to_engine, &used, &err), -EPROTO);
        kiln_frame_header(header, (kiln_frame_type)all[i].type, UINT32_MAX);
        assert_int_equal(decode_header(header, all[i].to_engine, &used, &err), -EPROTO);
    }
}

static void version_and_reserved(void **state)
{
    (void)state;
    for (int byte = 5; byte < 8; byte++) {
        for (unsigned value = 0; value < 256; value++) {
            unsigned char header[8] = {0, 0, 0, 0, 0x41, 1, 0, 0};
            header[byte] = (unsigned char)value;
            kiln_error err = KILN_ERROR_INIT;
            size_t used;
            assert_int_equal(decode_header(header, true, &used, &err),
                             value == (byte == 5 ? 1 : 0) ? 1 : -EPROTO);
        }
    }
}

static void cut_anywhere(void **state)
{
    (void)state;
    auto_buffer kiln_buffer out = KILN_BUFFER_INIT;
    assert_int_equal(kiln_frame_append(&out, KILN_FRAME_STDOUT, "hello", 5), 0);
    assert_int_equal(kiln_frame_append(&out, KILN_FRAME_DONE, "{}", 2), 0);
    kiln_frame frame;
    kiln_error err = KILN_ERROR_INIT;
    size_t used;
    for (size_t length = 0; length < 13; length++) {
        assert_int_equal(kiln_frame_decode(out.data, length, true, &frame, &used, &err), 0);
        assert_int_equal(used, length < 8 ? 8 : 13);
    }
    assert_int_equal(kiln_frame_decode(out.data, out.length, true, &frame, &used, &err), 1);
    assert_int_equal(used, 13);
    assert_int_equal(frame.type, KILN_FRAME_STDOUT);
    assert_int_equal(frame.length, 5);
    assert_memory_equal(frame.payload, "hello", 5);
    assert_int_equal(
        kiln_frame_decode(out.data + used, out.length - used, true, &frame, &used, &err), 1);
    assert_int_equal(frame.type, KILN_FRAME_DONE);
    assert_memory_equal(frame.payload, "{}", 2);
}

static void byte_order(void **state)
{
    (void)state;
    unsigned char header[8];
    kiln_frame_header(header, KILN_FRAME_EXECUTE, 0x01020304);
    assert_memory_equal(header, "\x04\x03\x02\x01\x01\x01\x00\x00", 8);
}

static void too_big_to_encode(void **state)
{
    (void)state;
    auto_buffer kiln_buffer out = KILN_BUFFER_INIT;
    assert_int_equal(
        kiln_frame_append(&out, KILN_FRAME_EXECUTE, "", (size_t)KILN_FRAME_TO_WORKER_MAX + 1),
        -E2BIG);
    assert_int_equal(out.length, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_byte),      cmocka_unit_test(lengths_at_their_bounds),
        cmocka_unit_test(version_and_reserved), cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(byte_order),           cmocka_unit_test(too_big_to_encode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
