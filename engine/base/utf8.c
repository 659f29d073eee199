#include "base/utf8.h"

#include <errno.h>
#include <string.h>

int kiln_utf8_next(const unsigned char *data, size_t length)
{
    unsigned char lead = data[0];
    if (lead < 0x80) {
        return 1;
    }
    unsigned char low = 0x80, high = 0xbf;
    int need;
    if (lead >= 0xc2 && lead <= 0xdf) {
        need = 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        need = 3;
        low = lead == 0xe0 ? 0xa0 : low;
        high = lead == 0xed ? 0x9f : high;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        need = 4;
        low = lead == 0xf0 ? 0x90 : low;
        high = lead == 0xf4 ? 0x8f : high;
    } else {
        return -1;
    }
    for (int i = 1; i < need; i++) {
        if ((size_t)i >= length) {
            return 0;
        }
        if (data[i] < low || data[i] > high) {
            return -i;
        }
        low = 0x80;
        high = 0xbf;
    }
    return need;
}

/* Length of the longest prefix that is well-formed. Text is mostly ASCII: eight
 * bytes at a time. */
static size_t valid_prefix(const char *data, size_t length)
{
    size_t at = 0;
    while (at < length) {
        while (at + 8 <= length) {
            unsigned long long word;
            memcpy(&word, data + at, 8);
            if (word & 0x8080808080808080ULL) {
                break;
            }
            at += 8;
        }
        if (at == length) {
            break;
        }
        int step = kiln_utf8_next((const unsigned char *)data + at, length - at);
        if (step <= 0) {
            break;
        }
        at += (size_t)step;
    }
    return at;
}

bool kiln_utf8_valid(const char *data, size_t length)
{
    return valid_prefix(data, length) == length;
}

long kiln_utf8_append(kiln_buffer *out, const char *data, size_t length, bool partial)
{
    size_t at = 0;
    while (at < length) {
        size_t good = valid_prefix(data + at, length - at);
        if (good > 0 && kiln_buffer_append(out, data + at, good) < 0) {
            return -ENOMEM;
        }
        at += good;
        if (at == length) {
            break;
        }
        int step = kiln_utf8_next((const unsigned char *)data + at, length - at);
        if (step == 0 && partial) {
            break;
        }
        if (kiln_buffer_append(out, "\xef\xbf\xbd", 3) < 0) {
            return -ENOMEM;
        }
        at += step == 0 ? length - at : (size_t)-step;
    }
    return (long)at;
}
