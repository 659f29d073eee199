/* The frame codec: every type in both directions, every way a header can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/cell_frame.h"
#include "worker/dialogue.h"

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
    {0x08, false, false, 64},
    {0x09, false, true, 0},
    {0x58, true, false, 4096},
    {0x59, true, false, 4096},
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

/* ---- EXECUTE and DONE */

static const char *const some_args[] = {"a", "", "b c", NULL};
static const char *const some_env[] = {"X=1", NULL};
static const char *const none[] = {NULL};

static kiln_input full_input(void)
{
    return (kiln_input){.size = sizeof(kiln_input),
                        .code = "1+1",
                        .code_length = 3,
                        .cell_id = "c1",
                        .stdin_data = "in\0put",
                        .stdin_length = 6,
                        .args = some_args,
                        .env = some_env,
                        .execution_count = UINT64_C(0x100000002)};
}

static void cells_come_as_they_went(void **state)
{
    (void)state;
    auto_buffer kiln_buffer out = KILN_BUFFER_INIT;
    kiln_input input = full_input();
    assert_int_equal(kiln_cell_request_append(&out, 7, 50, &input), 0);
    kiln_cell_request request;
    assert_int_equal(kiln_cell_request_decode(out.data + 8, out.length - 8, &request), 0);
    assert_int_equal(request.id, 7);
    assert_int_equal(request.linger_us, 50);
    assert_string_equal(request.cell.code, "1+1");
    assert_int_equal(request.cell.code_length, 3);
    assert_string_equal(request.cell.cell_id, "c1");
    assert_int_equal(request.cell.stdin_length, 6);
    assert_memory_equal(request.cell.stdin_data, "in\0put", 7);
    assert_int_equal(request.cell.execution_count, UINT64_C(0x100000002));
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(request.cell.args[i], some_args[i]);
    }
    assert_null(request.cell.args[3]);
    assert_string_equal(request.cell.env[0], "X=1");
    assert_null(request.cell.env[1]);
    kiln_cell_request_free(&request);

    /* Absent is not empty. */
    kiln_buffer_consume(&out, out.length);
    input = (kiln_input){.code = "", .cell_id = NULL, .args = none, .env = none};
    assert_int_equal(kiln_cell_request_append(&out, 1, 0, &input), 0);
    assert_int_equal(kiln_cell_request_decode(out.data + 8, out.length - 8, &request), 0);
    assert_null(request.cell.cell_id);
    assert_null(request.cell.stdin_data);
    assert_null(request.cell.args[0]);
    kiln_cell_request_free(&request);
}

static void cells_of_another_shape(void **state)
{
    (void)state;
    auto_buffer kiln_buffer out = KILN_BUFFER_INIT;
    kiln_input input = full_input();
    kiln_cell_request request;
    assert_int_equal(kiln_cell_request_append(&out, 7, 0, &input), 0);
    const char *payload = out.data + 8;
    size_t length = out.length - 8;
    for (size_t cut = 0; cut < length; cut++) {
        char *copy = malloc(cut > 0 ? cut : 1); /* so that ASan sees a byte too far */
        memcpy(copy, payload, cut);
        assert_int_equal(kiln_cell_request_decode(copy, cut, &request), -EPROTO);
        free(copy);
    }
    assert_int_equal(kiln_buffer_append(&out, "x", 2), 0);
    assert_int_equal(kiln_cell_request_decode(out.data + 8, length + 2, &request), -EPROTO);
    for (size_t at = 12; at < 32; at++) { /* every length and count */
        auto_buffer kiln_buffer wrong = KILN_BUFFER_INIT;
        assert_int_equal(kiln_buffer_append(&wrong, out.data + 8, length), 0);
        wrong.data[at] = (char)(wrong.data[at] ^ 0x40);
        assert_int_equal(kiln_cell_request_decode(wrong.data, length, &request), -EPROTO);
    }
}

static void verdicts_come_as_they_went(void **state)
{
    (void)state;
    static const kiln_status statuses[] = {KILN_STATUS_OK, KILN_STATUS_ERROR,
                                           KILN_STATUS_INTERRUPTED};
    for (size_t i = 0; i < 3; i++) {
        unsigned char bytes[KILN_CELL_DONE_BYTES];
        kiln_cell_done got;
        kiln_cell_done done = {.id = 0x80000001,
                               .verdict = {.size = sizeof(done.verdict),
                                           .status = statuses[i],
                                           .has_exit_code = i == 1,
                                           .exit_code = i == 1 ? 255 : 0},
                               .cpu_us = UINT64_C(1) << 59,
                               .max_rss_bytes = 4096};
        kiln_cell_done_encode(&done, bytes);
        assert_int_equal(kiln_cell_done_decode((char *)bytes, sizeof(bytes), &got), 0);
        assert_int_equal(got.id, done.id);
        assert_int_equal(got.verdict.status, statuses[i]);
        assert_int_equal(got.verdict.has_exit_code, i == 1);
        assert_int_equal(got.verdict.exit_code, done.verdict.exit_code);
        assert_int_equal(got.cpu_us, done.cpu_us);
        assert_int_equal(got.max_rss_bytes, 4096);
        assert_int_equal(kiln_cell_done_decode((char *)bytes, 23, &got), -EPROTO);
        bytes[15] = 0x10; /* 2^60 */
        assert_int_equal(kiln_cell_done_decode((char *)bytes, sizeof(bytes), &got), -EPROTO);
    }
}

static void count_broken(void *user, const char *why)
{
    assert_non_null(why);
    ++*(int *)user;
}

/* Told once, and nothing goes either way any more. */
static void a_bad_frame_is_the_last(void **state)
{
    (void)state;
    int broken = 0;
    kiln_error err = KILN_ERROR_INIT;
    const kiln_dialogue_callbacks callbacks = {.on_broken = count_broken};
    kiln_dialogue dialogue = {.callbacks = &callbacks, .user = &broken};
    assert_int_equal(kiln_frame_append(&dialogue.in, KILN_FRAME_DONE, "", 0), 0);
    assert_int_equal(kiln_frame_append(&dialogue.in, KILN_FRAME_READY, "", 0), 0);
    assert_true(kiln_dialogue_decode(&dialogue) < 0);
    assert_int_equal(broken, 1);
    assert_true(kiln_dialogue_decode(&dialogue) < 0);
    assert_int_equal(broken, 1);
    assert_false(dialogue.started);
    assert_int_equal(kiln_dialogue_analyze(&dialogue, "1", 1, &err), -EPIPE);
    assert_int_equal(dialogue.out.length, 0);
    kiln_dialogue_free(&dialogue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_frame_is_the_last),
        cmocka_unit_test(cells_come_as_they_went),
        cmocka_unit_test(cells_of_another_shape),
        cmocka_unit_test(verdicts_come_as_they_went),
        cmocka_unit_test(every_type_byte),
        cmocka_unit_test(lengths_at_their_bounds),
        cmocka_unit_test(version_and_reserved),
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(byte_order),
        cmocka_unit_test(too_big_to_encode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
