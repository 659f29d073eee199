#include "core/context.h"

#include "base/random.h"
#include "core/session.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

int kiln_uuid(char text[37])
{
    unsigned char b[16];
    char hex[33];
    int rc = kiln_random(b, sizeof(b));
    if (rc < 0) {
        return rc;
    }
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    sodium_bin2hex(hex, sizeof(hex), b, sizeof(b));
    snprintf(text, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    return 0;
}

int kiln_context_enter(kiln_context *context, kiln_session *session,
                       const char *const *input_files)
{
    if (context->entered) {
        return -EBUSY;
    }
    int rc = kiln_uuid(context->execution_id);
    if (rc < 0) {
        return rc;
    }
    context->session = session;
    context->session_id = session->id;
    context->notebook = &kiln_session_core(session)->notebook;
    json_decref(context->errors);
    context->errors = json_array();
    json_decref(context->input_files);
    context->input_files = json_array();
    for (const char *const *name = input_files; *name != NULL; name++) {
        json_array_append_new(context->input_files, json_string(*name));
    }
    context->entered = true;
    return 0;
}

void kiln_context_leave(kiln_context *context)
{
    context->entered = false;
}

void kiln_context_add_error(kiln_context *context, json_t *error)
{
    if (context->errors != NULL) {
        json_array_append(context->errors, error);
    }
}
