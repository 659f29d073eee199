/* escape_test.c - what reaches a terminal of text that untrusted code wrote. */
#include "cli/terminal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static const struct {
    const char *in, *out;
} cases[] = {
    {"plain \xc3\xa9\xe2\x82\xac\n\t\r\b", "plain \xc3\xa9\xe2\x82\xac\n\t\r\b"},
    {"\x1b[31mred\x1b[0m \x1b[1;38:5:9mx\x1b[m\x1b[K",
     "\x1b[31mred\x1b[0m \x1b[1;38:5:9mx\x1b[m\x1b[K"},
    {"a\x1b[2Jb\x1b[10;10Hc\x1b[?1049hd\x1b[6ne", "abcde"}, /* clear, move, screen, report */
    {"a\x1b[>4;2mb", "ab"},                                 /* private: not a colour */
    {"a\x1b]0;title\x07"
     "b\x1b]52;c;AAAA\x1b\\c",
     "abc"},                                     /* title, clipboard */
    {"a\x1bP+q544e\x1b\\b\x1b_x\x1b\\c", "abc"}, /* DCS, APC */
    {"a\x1b]never ends\nb", "a\nb"},
    {"a\x1b(0b\x1b"
     "c\x1b#8d",
     "abd"}, /* charset, reset, alignment */
    {"a\xc2\x9b"
     "31mb\xc2\x9d"
     "c",
     "a31mbc"}, /* C1 forms lose their lead */
    {"a\x07\x0e\x0f\x7f\x01z", "az"},
    {"a\x1b\nb", "a\nb"},
    {"a\x1b[31\nb", "a\nb"},
    {"\x1b\x1b[31mx", "\x1b[31mx"},
    {"\xc2\xa0", "\xc2\xa0"},
};

static void filters_whatever_the_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t length = strlen(cases[i].in);
        /* Cut at every place that is no middle of a character. */
        for (size_t cut = 0; cut <= length; cut++) {
            if (((unsigned char)cases[i].in[cut] & 0xc0) == 0x80) {
                continue;
            }
            kiln_escape_filter filter = {0};
            kiln_buffer out = KILN_BUFFER_INIT;
            kiln_escape_filter_text(&filter, &out, cases[i].in, cut);
            kiln_escape_filter_text(&filter, &out, cases[i].in + cut, length - cut);
            assert_string_equal(out.data != NULL ? out.data : "", cases[i].out);
            kiln_buffer_free(&out);
        }
    }
}

static void drops_what_is_over_long(void **state)
{
    (void)state;
    char text[300];
    memset(text, '1', sizeof(text));
    memcpy(text, "\x1b[", 2);                 /* NOLINT: bytes, not a string */
    memcpy(text + sizeof(text) - 2, "m!", 2); /* NOLINT */
    kiln_escape_filter filter = {0};
    kiln_buffer out = KILN_BUFFER_INIT;
    kiln_escape_filter_text(&filter, &out, text, sizeof(text));
    assert_string_equal(out.data, "!");
    assert_false(filter.coloured);
    kiln_buffer_free(&out);
}

static void knows_whether_a_colour_is_left(void **state)
{
    (void)state;
    kiln_escape_filter filter = {0};
    kiln_buffer out = KILN_BUFFER_INIT;
    kiln_escape_filter_text(&filter, &out, "\x1b[31m", 5);
    assert_true(filter.coloured);
    kiln_escape_filter_text(&filter, &out, "\x1b[0m", 4);
    assert_false(filter.coloured);
    kiln_buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_whatever_the_pieces),
        cmocka_unit_test(drops_what_is_over_long),
        cmocka_unit_test(knows_whether_a_colour_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
