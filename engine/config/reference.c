/* reference.c - the text of conf/kiln.ini, from the schema. */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "config/config.h"
#include "config/schema.h"

#include <string.h>

/* Each line of the help as a comment. */
static int append_help(kiln_buffer *out, const char *help)
{
    while (*help != '\0') {
        size_t length = strcspn(help, "\n");
        if (kiln_buffer_printf(out, "# %.*s\n", (int)length, help) < 0) {
            return -1;
        }
        help += length + (help[length] == '\n');
    }
    return 0;
}

static int append_choices(kiln_buffer *out, const kiln_key *key)
{
    /* A list's help says them itself. */
    if (key->choices == NULL || key->type != KILN_TYPE_CHOICE) {
        return 0;
    }
    if (kiln_buffer_printf(out, "# One of:") < 0) {
        return -1;
    }
    for (const char *const *choice = key->choices; *choice != NULL; choice++) {
        if (kiln_buffer_printf(out, " %s", *choice) < 0) {
            return -1;
        }
    }
    return kiln_buffer_append(out, "\n", 1);
}

static int append_section(kiln_buffer *out, const kiln_section_spec *spec)
{
    /* A header that is there makes a section: only those that are there anyway. */
    const char *name = spec->builtin != NULL ? spec->builtin : spec->placeholder;
    const bool there = spec->placeholder == NULL || spec->builtin != NULL;
    if (kiln_buffer_append(out, "\n\n", 2) < 0 || append_help(out, spec->help) < 0 ||
        kiln_buffer_printf(out, "%s[%s%s%s]\n", there ? "" : "#", spec->name,
                           name != NULL ? " " : "", name != NULL ? name : "") < 0) {
        return -1;
    }
    for (const kiln_key *key = spec->keys; key->name != NULL; key++) {
        if (kiln_buffer_append(out, "\n", 1) < 0 || append_help(out, key->help) < 0 ||
            append_choices(out, key) < 0 ||
            kiln_buffer_printf(out, "#%s =%s%s\n", key->name,
                               key->default_value[0] != '\0' ? " " : "",
                               key->default_value) < 0) {
            return -1;
        }
    }
    return 0;
}

char *kiln_config_reference(void)
{
    auto_buffer kiln_buffer out = KILN_BUFFER_INIT;
    if (kiln_buffer_append(&out, kiln_schema_preamble, strlen(kiln_schema_preamble)) < 0) {
        return NULL;
    }
    for (size_t i = 0; i < KILN_SECTION_SPECS; i++) {
        if (append_section(&out, &kiln_schema[i]) < 0) {
            return NULL;
        }
    }
    return kiln_steal(out.data);
}
