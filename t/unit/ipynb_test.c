/* ipynb_test.c - notebooks: what is refused, what stays, what results become. */
#include "notebook/ipynb.h"

#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static kiln_ipynb *parse(const char *text)
{
    kiln_ipynb *notebook;
    kiln_error err = KILN_ERROR_INIT;
    int rc = kiln_ipynb_parse("n.ipynb", text, strlen(text), &notebook, &err);
    assert_string_equal(err.text, "");
    assert_int_equal(rc, 0);
    return notebook;
}

static void assert_refused(const char *text, size_t length, const char *why)
{
    kiln_ipynb *notebook = (void *)1;
    kiln_error err = KILN_ERROR_INIT;
    assert_int_equal(kiln_ipynb_parse("n.ipynb", text, length, &notebook, &err), -EINVAL);
    assert_null(notebook);
    if (strstr(err.text, why) == NULL || strncmp(err.text, "n.ipynb", 7) != 0) {
        fail_msg("\"%s\" is not in \"%s\"", why, err.text);
    }
}

static void refuses_what_is_no_notebook(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "not JSON"},
        {"import os\n", "not JSON"},
        {"{\"nbformat\": 4", "not JSON"},
        {"[]", "not an object"},
        {"{}", "no \"nbformat\""},
        {"{\"nbformat\": \"4\"}", "no \"nbformat\""},
        {"{\"nbformat\": 3, \"worksheets\": []}", "nbformat 3 is not supported, only 4"},
        {"{\"nbformat\": 5, \"cells\": []}", "nbformat 5 is not supported"},
        {"{\"nbformat\": 4}", "no list \"cells\""},
        {"{\"nbformat\": 4, \"cells\": {}}", "no list \"cells\""},
        {"{\"nbformat\": 4, \"cells\": [1]}", "cell 0 has no \"cell_type\""},
        {"{\"nbformat\": 4, \"cells\": [{\"cell_type\": \"code\"}]}", "cell 0: \"source\""},
        {"{\"nbformat\": 4, \"cells\": [{\"cell_type\": \"raw\"},"
         "{\"cell_type\": \"code\", \"source\": [\"a\", 1]}]}",
         "cell 1: \"source\""},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_refused(bad[i].text, strlen(bad[i].text), bad[i].why);
    }
    /* Deep nesting must not overflow the stack. */
    size_t depth = 1000000;
    auto_free char *deep = malloc(depth);
    memset(deep, '[', depth);
    assert_refused(deep, depth, "not JSON");
}

static void refuses_files(void **state)
{
    (void)state;
    kiln_ipynb *notebook;
    kiln_error err;
    assert_int_equal(kiln_ipynb_read("/nowhere.ipynb", &notebook, &err), -ENOENT);
    assert_int_equal(kiln_ipynb_read("/tmp", &notebook, &err), -EISDIR);
    assert_int_equal(kiln_ipynb_read("/dev/zero", &notebook, &err), -EINVAL);
}

static void finds_code_cells_and_their_tags(void **state)
{
    (void)state;
    kiln_ipynb *n =
        parse("\xef\xbb\xbf{\"nbformat\": 4, \"nbformat_minor\": 5, \"metadata\": {},"
              "\"cells\": ["
              "{\"cell_type\": \"markdown\", \"id\": \"m\", \"source\": 1},"
              "{\"cell_type\": \"code\", \"id\": \"abc\", \"source\": [\"a\\n\", \"b\"]},"
              "{\"cell_type\": \"code\", \"source\": \"x\\u0000y\", \"metadata\":"
              "{\"tags\": [1, \"raises-exception\", \"skip-execution\"]}},"
              "{\"cell_type\": \"code\", \"id\": 7, \"source\": []}]}");
    assert_int_equal(n->count, 3);
    assert_string_equal(n->cells[0].id, "abc");
    assert_string_equal(n->cells[0].source, "a\nb");
    assert_false(n->cells[0].skip || n->cells[0].raises_exception);
    assert_string_equal(n->cells[1].id, "cell-2");
    assert_int_equal(n->cells[1].source_length, 3);
    assert_true(n->cells[1].skip && n->cells[1].raises_exception);
    assert_string_equal(n->cells[2].id, "cell-3");
    assert_string_equal(n->cells[2].source, "");
    assert_string_equal(n->language, "python");
    kiln_ipynb_free(n);
}

static void finds_the_language(void **state)
{
    (void)state;
    static const struct {
        const char *metadata, *language;
    } known[] = {
        {"{}", "python"},
        {"null", "python"},
        {"{\"kernelspec\": {\"name\": \"python3\"}}", "python"},
        {"{\"kernelspec\": {\"name\": \"x\", \"language\": \"bash\"}}", "bash"},
        {"{\"language_info\": {\"name\": \"ipython\"}}", "python"},
        {"{\"language_info\": {\"name\": \"lua\"}, \"kernelspec\": {\"language\": \"c\"}}",
         "lua"},
        {"{\"language_info\": {\"name\": 1}, \"kernelspec\": []}", "python"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text), "{\"nbformat\": 4, \"cells\": [], \"metadata\": %s}",
                 known[i].metadata);
        kiln_ipynb *n = parse(text);
        assert_string_equal(n->language, known[i].language);
        kiln_ipynb_free(n);
    }
}

/* Odd on purpose: unknown keys, their order, attachments, empty outputs. */
static const char untouched[] =
    "{\n \"zeta\": {\n  \"b\": 1,\n  \"a\": [\n   0.1,\n   -1e-07,\n   2.0,\n   "
    "1.2345678901234567,\n   12,\n   \"1.50\\\"2.0\",\n   null\n  ]\n },\n"
    " \"cells\": [\n"
    "  {\n   \"attachments\": {\n    \"a.png\": {\n     \"image/png\": \"AA==\"\n    }\n   },\n"
    "   \"cell_type\": \"markdown\",\n   \"id\": \"one\",\n   \"metadata\": {\n"
    "    \"x\": true\n   },\n   \"source\": [\n    \"h\xc3\xa9\"\n   ]\n  },\n"
    "  {\n   \"cell_type\": \"code\",\n   \"execution_count\": null,\n   \"id\": \"two\",\n"
    "   \"metadata\": {},\n   \"outputs\": [],\n   \"source\": \"a\\nb\"\n  },\n"
    "  {\n   \"source\": \"raw\",\n   \"metadata\": {},\n   \"id\": \"three\",\n"
    "   \"cell_type\": \"raw\"\n  }\n ],\n"
    " \"metadata\": {},\n \"nbformat\": 4,\n \"nbformat_minor\": 5\n}\n";

static char *read_all(const char *path)
{
    auto_fclose FILE *file = fopen(path, "r");
    char *text = calloc(1, 1 << 16);
    if (file == NULL || fread(text, 1, (1 << 16) - 1, file) == 0) {
        free(text);
        return NULL;
    }
    return text;
}

static void writes_what_it_read(void **state)
{
    (void)state;
    char folder[] = "/tmp/kiln-ipynb-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[64];
    snprintf(path, sizeof(path), "%s/n.ipynb", folder);
    kiln_ipynb *n = parse(untouched);
    kiln_error err = KILN_ERROR_INIT;
    assert_int_equal(kiln_ipynb_clear(n, &err), 0);
    assert_int_equal(kiln_ipynb_write(n, path, &err), 0);
    auto_free char *text = read_all(path);
    assert_string_equal(text, untouched);
    unlink(path);
    /* A folder in its place: an error, and nothing stays. */
    assert_int_equal(mkdir(path, 0755), 0);
    assert_true(kiln_ipynb_write(n, path, &err) < 0);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(rmdir(path), 0);
    kiln_ipynb_free(n);
    assert_int_equal(rmdir(folder), 0);
    n = parse(untouched);
    assert_int_equal(kiln_ipynb_write(n, "/nowhere/n.ipynb", &err), -ENOENT);
    kiln_ipynb_free(n);
}

static kiln_result *result_of(const char *text)
{
    auto_json json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    kiln_result *result = NULL;
    kiln_error err = KILN_ERROR_INIT;
    assert_int_equal(kiln_result_from_json(json, &result, &err), 0);
    return result;
}

static void assert_outputs(const char *result_text, const char *expected)
{
    kiln_result *result = result_of(result_text);
    auto_json json_t *outputs = kiln_ipynb_outputs(result);
    auto_json json_t *wanted = json_loads(expected, 0, NULL);
    assert_non_null(wanted);
    auto_free char *text = json_dumps(outputs, JSON_COMPACT);
    auto_free char *wanted_text = json_dumps(wanted, JSON_COMPACT);
    assert_string_equal(text, wanted_text);
    kiln_result_unref(result);
}

static void maps_outputs(void **state)
{
    (void)state;
    assert_outputs(
        "{\"status\":\"ok\",\"execution_count\":3,\"outputs\":["
        "{\"type\":\"stream\",\"name\":\"stdout\",\"text\":\"a\\nb\"},"
        "{\"type\":\"display_data\",\"data\":{\"text/plain\":\"x\\n\",\"image/"
        "png\":\"AA==\\n\","
        "\"application/vnd.x+json\":{\"k\":[1]},\"application/json\":\"s\",\"text/html\":\"\"},"
        "\"metadata\":{\"image/png\":{\"width\":1}}},"
        "{\"type\":\"execute_result\",\"data\":{\"text/plain\":\"2\"},\"metadata\":{}}]}",
        "[{\"name\":\"stdout\",\"output_type\":\"stream\",\"text\":[\"a\\n\",\"b\"]},"
        "{\"data\":{\"text/plain\":[\"x\\n\"],\"image/png\":\"AA==\\n\","
        "\"application/vnd.x+json\":{\"k\":[1]},\"application/json\":\"s\",\"text/html\":[]},"
        "\"metadata\":{\"image/png\":{\"width\":1}},\"output_type\":\"display_data\"},"
        "{\"data\":{\"text/plain\":[\"2\"]},\"execution_count\":3,\"metadata\":{},"
        "\"output_type\":\"execute_result\"}]");
    assert_outputs("{\"status\":\"error\",\"outputs\":[{\"type\":\"error\",\"name\":\"E\","
                   "\"value\":\"v\",\"traceback\":[\"l1\",\"l2\"]}],"
                   "\"errors\":[{\"kind\":\"user\",\"name\":\"E\",\"message\":\"v\"}]}",
                   "[{\"ename\":\"E\",\"evalue\":\"v\",\"output_type\":\"error\","
                   "\"traceback\":[\"l1\",\"l2\"]}]");
    assert_outputs("{\"status\":\"ok\",\"outputs\":[]}", "[]");
}

static void shows_why_a_cell_stopped(void **state)
{
    (void)state;
    assert_outputs("{\"status\":\"timeout\",\"outputs\":[{\"type\":\"stream\",\"name\":"
                   "\"stderr\",\"text\":\"x\"}],\"errors\":[{\"kind\":\"limit\",\"name\":"
                   "\"timeout\",\"message\":\"the time was up\"}]}",
                   "[{\"name\":\"stderr\",\"output_type\":\"stream\",\"text\":[\"x\"]},"
                   "{\"ename\":\"timeout\",\"evalue\":\"the time was up\","
                   "\"output_type\":\"error\","
                   "\"traceback\":[\"kiln: timeout: the time was up\"]}]");
    assert_outputs("{\"status\":\"crashed\",\"outputs\":[],\"errors\":[]}",
                   "[{\"ename\":\"crashed\",\"evalue\":\"crashed\",\"output_type\":\"error\","
                   "\"traceback\":[\"kiln: crashed\"]}]");
    kiln_result *result = result_of("{\"status\":\"ok\",\"outputs\":[]}");
    result->truncated[KILN_STDOUT] = 12;
    auto_json json_t *outputs = kiln_ipynb_outputs(result);
    assert_int_equal(json_array_size(outputs), 1);
    auto_free char *text = json_dumps(outputs, 0);
    assert_non_null(strstr(text, "12 more bytes of stdout were dropped"));
    kiln_result_unref(result);
}

static void clears_and_fills(void **state)
{
    (void)state;
    kiln_ipynb *n = parse(
        "{\"nbformat\": 4, \"nbformat_minor\": 5, \"metadata\": {}, \"cells\": ["
        "{\"cell_type\": \"code\", \"source\": \"\", \"execution_count\": 9, \"outputs\": [1]},"
        "{\"cell_type\": \"code\", \"source\": \"\", \"execution_count\": 9, \"outputs\": [1],"
        "\"metadata\": {\"tags\": [\"skip-execution\"]}},"
        "{\"cell_type\": \"markdown\", \"id\": \"cell-0\", \"source\": \"\"}]}");
    kiln_error err = KILN_ERROR_INIT;
    assert_int_equal(kiln_ipynb_clear(n, &err), 0);
    const json_t *first = n->cells[0].json;
    assert_true(json_is_null(json_object_get(first, "execution_count")));
    assert_int_equal(json_array_size(json_object_get(first, "outputs")), 0);
    assert_true(json_is_object(json_object_get(first, "metadata")));
    assert_string_equal(json_string_value(json_object_get(first, "id")), "cell-0-2");
    assert_int_equal(json_array_size(json_object_get(n->cells[1].json, "outputs")), 1);
    kiln_result *ran = result_of("{\"status\":\"ok\",\"execution_count\":4,\"outputs\":[]}");
    assert_int_equal(kiln_ipynb_fill(&n->cells[0], NULL, NULL, ran, &err), 0);
    assert_int_equal(json_integer_value(json_object_get(first, "execution_count")), 4);
    kiln_result_unref(ran);
    kiln_result *denied = result_of("{\"status\":\"denied\",\"execution_count\":4}");
    assert_int_equal(kiln_ipynb_fill(&n->cells[0], NULL, NULL, denied, &err), 0);
    assert_true(json_is_null(json_object_get(first, "execution_count")));
    assert_int_equal(json_array_size(json_object_get(first, "outputs")), 1);
    kiln_result_unref(denied);
    kiln_ipynb_free(n);
    /* 4.4 has no ids, and gets none. */
    n = parse("{\"nbformat\": 4, \"nbformat_minor\": 4, \"cells\": ["
              "{\"cell_type\": \"code\", \"source\": \"\"}]}");
    assert_int_equal(kiln_ipynb_clear(n, &err), 0);
    assert_null(json_object_get(n->cells[0].json, "id"));
    kiln_ipynb_free(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_no_notebook),
        cmocka_unit_test(refuses_files),
        cmocka_unit_test(finds_code_cells_and_their_tags),
        cmocka_unit_test(finds_the_language),
        cmocka_unit_test(writes_what_it_read),
        cmocka_unit_test(maps_outputs),
        cmocka_unit_test(shows_why_a_cell_stopped),
        cmocka_unit_test(clears_and_fills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
