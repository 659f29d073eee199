/* ipynb_fuzz.c - any bytes as a notebook: parsed, cleared, filled, serialised, parsed again.
 * clang -fsanitize=fuzzer,address,undefined, linked with the engine's objects. */
#include "notebook/ipynb.h"

#include "base/cleanup.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_ipynb *notebook;
    if (kiln_ipynb_parse("fuzz", (const char *)data, size, &notebook, &err) < 0) {
        if (err.text[0] == '\0') {
            __builtin_trap(); /* an error without a word */
        }
        return 0;
    }
    kiln_result *result = kiln_result_new();
    if (result == NULL || kiln_ipynb_clear(notebook, &err) < 0) {
        __builtin_trap();
    }
    for (size_t i = 0; i < notebook->count; i++) {
        if (kiln_ipynb_fill(&notebook->cells[i], json_object_get(notebook->root, "cells"),
                            notebook->displays, result, &err) < 0) {
            __builtin_trap();
        }
    }
    auto_free char *text = json_dumps(notebook->root, JSON_INDENT(1));
    kiln_ipynb *again;
    if (text != NULL) {
        if (kiln_ipynb_parse("fuzz", text, strlen(text), &again, &err) < 0 ||
            again->count != notebook->count) {
            __builtin_trap();
        }
        kiln_ipynb_free(again);
    }
    kiln_result_unref(result);
    kiln_ipynb_free(notebook);
    return 0;
}
