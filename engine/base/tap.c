#include "base/tap.h"

#include <stdbool.h>
#include <string.h>

int kiln_tap_append_text(kiln_buffer *out, const char *text, size_t length)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        /* C1 is two bytes in UTF-8 */
        bool c1 = c == 0xc2 && i + 1 < length && (unsigned char)text[i + 1] < 0xa0;
        if ((c < 0x20 && c != '\t') || c == 0x7f || c1) {
            rc = kiln_buffer_append(out, "?", 1);
            i += c1;
        } else {
            rc = kiln_buffer_append(out, text + i, 1);
        }
    }
    return rc;
}

int kiln_tap_append_description(kiln_buffer *out, const char *text)
{
    int rc = 0;
    while (rc == 0 && *text != '\0') {
        size_t length = strcspn(text, "#");
        rc = kiln_tap_append_text(out, text, length);
        text += length;
        if (rc == 0 && *text == '#') {
            rc = kiln_buffer_append(out, "\\#", 2);
            text++;
        }
    }
    return rc;
}
