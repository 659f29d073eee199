#include "base/xml.h"

#include "base/utf8.h"

#include <string.h>

/* How a character is written where not as itself, or NULL. `length` as of kiln_utf8_next. */
static const char *escape(const char *text, int length)
{
    static const char replacement[] = "\xef\xbf\xbd";
    switch (*text) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\t':
        return "&#9;";
    case '\n':
        return "&#10;";
    case '\r':
        return "&#13;";
    default:
        break;
    }
    bool control = (unsigned char)*text < 0x20;
    bool beyond = length == 3 && (memcmp(text, "\xef\xbf\xbe", 3) == 0 ||
                                  memcmp(text, "\xef\xbf\xbf", 3) == 0);
    return length <= 0 || control || beyond ? replacement : NULL;
}

int kiln_xml_append(kiln_buffer *out, const char *text)
{
    int rc = 0;
    const char *end = text + strlen(text);
    while (rc == 0 && text < end) {
        int length = kiln_utf8_next((const unsigned char *)text, (size_t)(end - text));
        const char *as = escape(text, length);
        /* cut at the end: what is there of it goes as one */
        size_t read = length > 0   ? (size_t)length
                      : length < 0 ? (size_t)-length
                                   : (size_t)(end - text);
        rc = as != NULL ? kiln_buffer_append(out, as, strlen(as))
                        : kiln_buffer_append(out, text, read);
        text += read;
    }
    return rc;
}
