/* escape.c - control sequences out of text for a terminal (ECMA-48, xterm's ctlseqs). */
#include "cli/terminal.h"

#include <errno.h>
#include <string.h>

static bool is_string_introducer(unsigned char c)
{
    return c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_';
}

/* The end of a CSI: kept when it is a colour or erase-line without private marks. */
static int end_csi(kiln_escape_filter *filter, kiln_buffer *out, unsigned char final)
{
    filter->state = KILN_ESCAPE_NONE;
    bool plain = strspn(filter->sequence, "0123456789;:") == filter->length;
    if (!plain || (final != 'm' && final != 'K') ||
        filter->length >= sizeof(filter->sequence) - 1) {
        return 0;
    }
    if (final == 'm') {
        filter->coloured = filter->length > 0 && strcmp(filter->sequence, "0") != 0;
    }
    return kiln_buffer_printf(out, "\x1b[%s%c", filter->sequence, final);
}

static int filter_control(kiln_escape_filter *filter, kiln_buffer *out, unsigned char c)
{
    if (c == 0x1b) {
        filter->state = KILN_ESCAPE_BEGUN;
        return 0;
    }
    if (c == '\n' || c == '\t' || c == '\r' || c == '\b') {
        return kiln_buffer_append(out, &c, 1);
    }
    return 0;
}

/* One byte while a sequence is open. *used false: it does not belong to it. */
static int filter_sequence(kiln_escape_filter *filter, kiln_buffer *out, unsigned char c,
                           bool *used)
{
    *used = true;
    switch (filter->state) {
    case KILN_ESCAPE_BEGUN:
        filter->length = 0;
        filter->sequence[0] = '\0';
        filter->state = c == '['                  ? KILN_ESCAPE_CSI
                        : is_string_introducer(c) ? KILN_ESCAPE_STRING
                        : c >= 0x20 && c <= 0x2f  ? KILN_ESCAPE_CHARSET
                                                  : KILN_ESCAPE_NONE;
        *used = c >= 0x20 && c < 0x7f;
        return 0;
    case KILN_ESCAPE_CSI:
        if (c >= 0x20 && c <= 0x3f) {
            if (filter->length < sizeof(filter->sequence) - 1) {
                filter->sequence[filter->length++] = (char)c;
                filter->sequence[filter->length] = '\0';
            }
            return 0;
        }
        if (c >= 0x40 && c <= 0x7e) {
            return end_csi(filter, out, c);
        }
        break;
    case KILN_ESCAPE_CHARSET:
        if (c >= 0x20 && c < 0x7f) {
            filter->state = c <= 0x2f ? KILN_ESCAPE_CHARSET : KILN_ESCAPE_NONE;
            return 0;
        }
        break;
    case KILN_ESCAPE_STRING_ESC:
        filter->state = c == '\\' ? KILN_ESCAPE_NONE : KILN_ESCAPE_STRING;
        return 0;
    case KILN_ESCAPE_STRING:
        if (c == 0x1b) {
            filter->state = KILN_ESCAPE_STRING_ESC;
            return 0;
        }
        if (c == 0x07) {
            filter->state = KILN_ESCAPE_NONE;
            return 0;
        }
        if (c != '\n') { /* or one that never ends would swallow all that follows */
            return 0;
        }
        break;
    case KILN_ESCAPE_NONE:
        break;
    }
    filter->state = KILN_ESCAPE_NONE;
    *used = false;
    return 0;
}

int kiln_escape_filter_text(kiln_escape_filter *filter, kiln_buffer *out, const char *text,
                            size_t length)
{
    const unsigned char *p = (const unsigned char *)text;
    const unsigned char *end = p + length;
    while (p < end) {
        if (filter->state != KILN_ESCAPE_NONE) {
            bool used;
            if (filter_sequence(filter, out, *p, &used) < 0) {
                return -ENOMEM;
            }
            p += used;
            continue;
        }
        const unsigned char *run = p;
        while (p < end && *p >= 0x20 && *p != 0x7f &&
               !(p[0] == 0xc2 && p + 1 < end && p[1] < 0xa0)) {
            p++;
        }
        if (p > run && kiln_buffer_append(out, run, (size_t)(p - run)) < 0) {
            return -ENOMEM;
        }
        if (p == end) {
            break;
        }
        if (*p == 0xc2) { /* U+0080 to U+009F: a terminal may take them for ESC and a letter */
            p += 2;
            continue;
        }
        if (filter_control(filter, out, *p++) < 0) {
            return -ENOMEM;
        }
    }
    return 0;
}
