/* Native functions: signatures, values, and values against signatures. What is taken encodes
 * to the same bytes again; what is refused says why, with a column in the text; and a check
 * leaves nothing that its signature does not allow. */
#include "native/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool parse(const char *text, kiln_native_signature *signature)
{
    kiln_error err = KILN_ERROR_INIT;
    unsigned column;
    if (kiln_native_signature_parse(text, signature, &err) == 0) {
        if (signature->count == 0 || signature->count > KILN_NATIVE_TYPES_MAX) {
            abort();
        }
        for (unsigned i = 0; i < signature->count; i++) {
            const kiln_native_type *type = &signature->types[i];
            if (type->first >= signature->count || type->next >= signature->count) {
                abort();
            }
        }
        return true;
    }
    if (sscanf(err.text, "column %u: ", &column) != 1 || column == 0 ||
        column > strlen(text) + 1) {
        abort();
    }
    return false;
}

static void check(const kiln_native_signature *signature, kiln_native_value *value)
{
    kiln_error err = KILN_ERROR_INIT;
    int rc = kiln_native_check_arguments(signature, value, &err);
    if (rc == 0 && (value->tag != KILN_VALUE_LIST ||
                    value->as.list.count != kiln_native_argument_count(signature))) {
        abort();
    }
    /* Once it is what the signature wants, it stays so. */
    if (rc == 0 && kiln_native_check_arguments(signature, value, &err) < 0) {
        abort();
    }
    if (rc < 0 && err.text[0] == '\0') {
        abort();
    }
    kiln_native_check_results(signature, value, &err);
    for (size_t i = 0; i < KILN_NATIVE_PARAMS_MAX; i++) {
        const kiln_native_type *callback = kiln_native_callback(signature, i);
        if (callback != NULL) {
            kiln_native_check_given(signature, callback, value, &err);
        }
    }
}

/* A signature, a NUL, and a value's encoding. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\0', size) : NULL;
    size_t length = end != NULL ? (size_t)(end - data) : size;
    char *text = strndup((const char *)data, length);
    kiln_native_signature signature;
    bool known = parse(text, &signature);
    free(text);
    const char *bytes = (const char *)data + (end != NULL ? length + 1 : 0);
    size_t count = end != NULL ? size - length - 1 : size;
    auto_value kiln_native_value value = {.tag = KILN_VALUE_NULL};
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_native_value_decode(bytes, count, &value, &err) < 0) {
        if (err.text[0] == '\0' || value.tag != KILN_VALUE_NULL) {
            abort();
        }
        return 0;
    }
    auto_buffer kiln_buffer again = KILN_BUFFER_INIT;
    if (kiln_native_value_append(&again, &value) < 0 || again.length != count ||
        memcmp(again.data, bytes, count) != 0) {
        abort();
    }
    if (known) {
        check(&signature, &value);
    }
    return 0;
}
