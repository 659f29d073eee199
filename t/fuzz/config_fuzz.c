/* config_fuzz.c - any bytes as kiln.ini: read, declared, told, and what was told read again.
 * clang -fsanitize=fuzzer,address,undefined, linked with the engine's objects. */
#include "config/store.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const kiln_option options[] = {
    {"header", KILN_OPTION_STRING, "", "text"},
    {"large", KILN_OPTION_SIZE, "1M", "size"},
    {"wait", KILN_OPTION_DURATION, "1s", "duration"},
    {"deny", KILN_OPTION_LIST, "a b", "list"},
    {"tries", KILN_OPTION_INTEGER, "3", "integer"},
    {"strict", KILN_OPTION_BOOL, "yes", "boolean"},
    {NULL, 0, NULL, NULL},
};

static void check_error(const kiln_error *err)
{
    if (err->code >= 0 || err->text[0] == '\0' || strchr(err->text, '\n') != NULL) {
        __builtin_trap(); /* an error without a word, or of two lines */
    }
}

/* Every value as a file, as `kiln config` prints it. */
static void print(const json_t *all, kiln_buffer *out)
{
    const char *last = "";
    size_t index;
    const json_t *entry;
    json_array_foreach(all, index, entry)
    {
        const char *section = json_string_value(json_object_get(entry, "section"));
        if (strcmp(section, last) != 0) {
            kiln_buffer_printf(out, "[%s]\n", section);
            last = section;
        }
        kiln_buffer_printf(out, "%s = %s\n", json_string_value(json_object_get(entry, "key")),
                           json_string_value(json_object_get(entry, "text")));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config, *again;
    if (kiln_config_load_memory("fuzz.ini", (const char *)data, size, &config, &err) < 0) {
        check_error(&err);
        return 0;
    }
    auto_json json_t *all = kiln_config_to_json(config);
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    if (all == NULL) {
        __builtin_trap(); /* something is in it that is not UTF-8 */
    }
    print(all, &text);
    if (text.data == NULL ||
        kiln_config_load_memory("again.ini", text.data, text.length, &again, &err) < 0) {
        __builtin_trap();
    }
    auto_json json_t *same = kiln_config_to_json(again);
    auto_buffer kiln_buffer twice = KILN_BUFFER_INIT;
    print(same, &twice);
    if (twice.data == NULL || text.length != twice.length ||
        memcmp(text.data, twice.data, text.length) != 0) {
        __builtin_trap();
    }
    if (kiln_config_declare(config, "policy route", options, &err) < 0) {
        check_error(&err);
    } else if (kiln_config_option(config, "policy route", "deny") == NULL) {
        __builtin_trap();
    }
    if (kiln_config_check_undeclared(config, &err) < 0) {
        check_error(&err);
    }
    kiln_config_free(config);
    kiln_config_free(again);
    return 0;
}
