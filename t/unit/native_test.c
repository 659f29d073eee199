/* native_test.c - signatures, values and the checks between them. */
#include "native/check.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static kiln_native_signature parsed(const char *text)
{
    kiln_native_signature signature;
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_native_signature_parse(text, &signature, &err) < 0) {
        fail_msg("%s: %s", text, err.text);
    }
    return signature;
}

static void signatures(void **state)
{
    (void)state;
    kiln_native_signature s =
        parsed(" int32 ( out bytes : uint32 & ,inout bare double[],{int8,{bool}} ) errno ");
    const kiln_native_type *type = &s.types[s.params];
    assert_int_equal(s.types[0].kind, KILN_NATIVE_INT32);
    assert_true(s.has_errno && !s.has_callback);
    assert_true(type->kind == KILN_NATIVE_BYTES && type->out && !type->in && type->told);
    assert_int_equal(type->size, KILN_NATIVE_UINT32);
    type = &s.types[type->next];
    assert_true(type->array && type->bare && type->in && type->out && !type->told);
    type = &s.types[type->next];
    assert_true(type->kind == KILN_NATIVE_STRUCT && type->next == 0);
    assert_int_equal(s.types[s.types[type->first].next].kind, KILN_NATIVE_STRUCT);
    s = parsed("void(null, callback bool(string, null, bytes[4]), null)");
    assert_non_null(kiln_native_callback(&s, 1));
    assert_null(kiln_native_callback(&s, 0));
    assert_null(kiln_native_callback(&s, 3));
    assert_int_equal(kiln_native_argument_count(&s), 1);
}

static void signatures_refused(void **state)
{
    static const struct {
        const char *text;
        const char *why;
    } bad[] = {
        {"", "column 1: a type expected, and it ends here"},
        {"int32", "column 6: \"(\" expected after the result's type, and it ends here"},
        {"int33()", "column 1: unknown type \"int33\", did you mean \"int32\"?"},
        {"void(int32", "column 11: \")\" expected or \",\" after a type, and it ends here"},
        {"void(int32,)", "column 12: a type expected, not \")\""},
        {"void({int8)", "column 11: \"}\" expected or \",\" after a member, not \")\""},
        {"void({{{{{int8}}}}})", "column 10: a struct cannot be here, or not so deep"},
        {"void(bytes[1048577])", "column 12: a number from 1 to 1048576 expected"},
        {"void(bytes[])", "column 12: bytes[] is written bytes; bytes[N] has N of them"},
        {"void(string[2])", "column 6: only numbers, bools and bytes can be many"},
        {"void(bare int8)", "column 6: bare is for bytes and T[]: others have no length"},
        {"void(out bare bytes&)",
         "column 20: \"&\" is for the length of out bytes, out T[], and inout"},
        {"string[3]()", "column 1: only numbers, bools and bytes can be many"},
        {"void(callback void(callback void()))", "column 20: callback is for parameters"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        kiln_native_signature signature;
        kiln_error err = KILN_ERROR_INIT;
        assert_int_equal(kiln_native_signature_parse(bad[i].text, &signature, &err), -EINVAL);
        assert_string_equal(err.text, bad[i].why);
    }
    /* No list is without an end. */
    char many[2048] = "void(";
    size_t length = strlen(many);
    for (int i = 0; i < 100; i++) {
        length += (size_t)snprintf(many + length, sizeof(many) - length, "int8,");
    }
    kiln_native_signature signature;
    kiln_error err = KILN_ERROR_INIT;
    assert_int_equal(kiln_native_signature_parse(many, &signature, &err), -EINVAL);
    assert_non_null(strstr(err.text, "more than 24 in one list"));
}

static void names(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "crc32", "zlib.crc32", "a_b.c_d"};
    static const char *const bad[] = {"", ".", "a.", ".a", "a.b.c", "9a", "_a", "a-b", "a b"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(kiln_native_name_valid(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(kiln_native_name_valid(bad[i]));
    }
}

static void values(void **state)
{
    static const char whole[] = "\10\5\0\0\0"
                                "\0\1\2"
                                "\4\377\377\377\377\377\377\377\377"
                                "\10\2\0\0\0"
                                "\7\3\0\0\0a\0b"
                                "\5\0\0\0\0\0\0\360\77";
    auto_value kiln_native_value value = {.tag = KILN_VALUE_NULL};
    auto_buffer kiln_buffer again = KILN_BUFFER_INIT;
    kiln_error err = KILN_ERROR_INIT;
    (void)state;
    assert_int_equal(kiln_native_value_decode(whole, sizeof(whole) - 1, &value, &err), 0);
    assert_int_equal(value.as.list.count, 5);
    assert_true(value.as.list.items[3].as.natural == UINT64_MAX);
    assert_true(value.as.list.items[4].as.list.items[1].as.real == 1.0);
    assert_int_equal(kiln_native_value_append(&again, &value), 0);
    assert_int_equal(again.length, sizeof(whole) - 1);
    assert_memory_equal(again.data, whole, again.length);
    for (size_t cut = 0; cut < sizeof(whole) - 1; cut++) {
        kiln_native_value part;
        assert_int_equal(kiln_native_value_decode(whole, cut, &part, &err), -EPROTO);
    }
}

static void values_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        const char *why;
    } bad[] = {
        {"\12", 1, "a value of no known tag"},
        {"\0\0", 2, "more than one value"},
        {"\4\1\0\0\0\0\0\0\0", 9, "a small integer of the tag for large ones"},
        {"\6\2\0\0\0a", 6, "bytes beyond its end"},
        {"\7\377\377\377\377", 5, "bytes beyond its end"},
        {"\10\377\377\377\377", 5, "a list of more values than there can be"},
        {"\10\5\0\0\0\0", 6, "a list of more values than there can be"},
        {"\10\1\0\0\0\10\1\0\0\0\10\1\0\0\0\10\1\0\0\0\10\1\0\0\0\10\1\0\0\0\10\1\0\0\0"
         "\10\1\0\0\0\10\1\0\0\0\0",
         46, "lists in lists, more than 8 deep"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        kiln_native_value value;
        kiln_error err = KILN_ERROR_INIT;
        assert_int_equal(kiln_native_value_decode(bad[i].bytes, bad[i].length, &value, &err),
                         -EPROTO);
        assert_string_equal(err.text, bad[i].why);
    }
}

static int check_one(const char *text, kiln_native_value value, kiln_error *err)
{
    kiln_native_signature signature = parsed(text);
    kiln_native_value arguments = {.tag = KILN_VALUE_LIST, .as.list = {&value, 1}};
    return kiln_native_check_arguments(&signature, &arguments, err);
}

static void widths(void **state)
{
    static const struct {
        const char *type;
        int64_t least, most;
    } widths[] = {{"int8", INT8_MIN, INT8_MAX},    {"int16", INT16_MIN, INT16_MAX},
                  {"int32", INT32_MIN, INT32_MAX}, {"uint8", 0, UINT8_MAX},
                  {"uint16", 0, UINT16_MAX},       {"uint32", 0, UINT32_MAX}};
    (void)state;
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        const int64_t inside[] = {widths[i].least, widths[i].most, 0};
        const int64_t outside[] = {widths[i].least - 1, widths[i].most + 1, INT64_MIN,
                                   INT64_MAX};
        char text[32];
        kiln_error err = KILN_ERROR_INIT;
        snprintf(text, sizeof(text), "void(%s)", widths[i].type);
        for (size_t k = 0; k < 3; k++) {
            kiln_native_value value = {.tag = KILN_VALUE_INT, .as.integer = inside[k]};
            assert_int_equal(check_one(text, value, &err), 0);
        }
        for (size_t k = 0; k < 4; k++) {
            kiln_native_value value = {.tag = KILN_VALUE_INT, .as.integer = outside[k]};
            assert_int_equal(check_one(text, value, &err), -ERANGE);
        }
    }
    kiln_error err = KILN_ERROR_INIT;
    assert_int_equal(check_one("void(uint64)", kiln_native_natural(UINT64_MAX), &err), 0);
    assert_int_equal(check_one("void(int64)", kiln_native_natural(UINT64_MAX), &err), -ERANGE);
    assert_int_equal(check_one("void(double)", kiln_native_natural(1ULL << 60), &err), -ERANGE);
    assert_int_equal(check_one("void(float)", kiln_native_natural(7), &err), 0);
    assert_int_equal(check_one("void(bool)", kiln_native_natural(1), &err), -EINVAL);
    assert_int_equal(check_one("void(int64)", kiln_native_text("-", 1), &err), -EINVAL);
    assert_int_equal(check_one("void(int64)", kiln_native_text("1e3", 3), &err), -EINVAL);
    assert_int_equal(check_one("void(int32)", kiln_native_text("1", 1), &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures),     cmocka_unit_test(signatures_refused),
        cmocka_unit_test(names),          cmocka_unit_test(values),
        cmocka_unit_test(values_refused), cmocka_unit_test(widths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
