/* demux_test.c - the stream of attach and exec, in every cut. */
#include "../../plugins/container/demux.c" /* NOLINT(bugprone-suspicious-include) */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct record {
    char text[2][64];
    size_t length[2];
    int stop;
} record;

static void on_bytes(void *user, uint32_t stream, const char *data, size_t length)
{
    record *all = user;
    unsigned at = stream == KILN_STDERR;
    memcpy(all->text[at] + all->length[at], data, length);
    all->length[at] += length;
}

static const char whole[] = "\1\0\0\0\0\0\0\4out\n"
                            "\2\0\0\0\0\0\0\4err\n"
                            "\1\0\0\0\0\0\0\0"
                            "\0\0\0\0\0\0\0\1x";

static void every_cut(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < sizeof(whole); cut++) {
        record all = {0};
        demux self = {0};
        assert_int_equal(demux_push(&self, whole, cut, on_bytes, &all, &all.stop), 0);
        assert_int_equal(
            demux_push(&self, whole + cut, sizeof(whole) - 1 - cut, on_bytes, &all, &all.stop),
            0);
        assert_false(demux_cut(&self));
        assert_string_equal(all.text[0], "out\nx");
        assert_string_equal(all.text[1], "err\n");
    }
}

static void cut_off(void **state)
{
    record all = {0};
    demux self = {0};
    (void)state;
    assert_int_equal(demux_push(&self, whole, 10, on_bytes, &all, &all.stop), 0);
    assert_true(demux_cut(&self));
    assert_string_equal(all.text[0], "ou");
}

static void refused(void **state)
{
    static const char *const bad[] = {"\3\0\0\0\0\0\0\1", "\1\1\0\0\0\0\0\1",
                                      "\1\0\1\0\0\0\0\1", "\1\0\0\1\0\0\0\1"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        record all = {0};
        demux self = {0};
        assert_int_equal(demux_push(&self, bad[i], 8, on_bytes, &all, &all.stop), -EPROTO);
    }
}

static void stopped(void **state)
{
    record all = {.stop = 1};
    demux self = {0};
    (void)state;
    assert_int_equal(demux_push(&self, whole, sizeof(whole) - 1, on_bytes, &all, &all.stop), 0);
    assert_int_equal(all.length[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut),
        cmocka_unit_test(cut_off),
        cmocka_unit_test(refused),
        cmocka_unit_test(stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
