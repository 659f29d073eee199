#include "config/place.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *kiln_place_text(const kiln_place *place, char *text, size_t size)
{
    switch (place->layer) {
    case KILN_FROM_DEFAULT:
        snprintf(text, size, "default");
        break;
    case KILN_FROM_RUNTIMES:
    case KILN_FROM_FILE:
        snprintf(text, size, "%s:%u", place->where, place->line);
        break;
    case KILN_FROM_ENVIRONMENT:
        snprintf(text, size, "environment %s", place->where);
        break;
    case KILN_FROM_SET:
        snprintf(text, size, "--set %s", place->where);
        break;
    }
    return text;
}

int kiln_place_error(kiln_error *err, const kiln_place *place, const char *format, ...)
{
    char where[KILN_PLACE_MAX];
    char text[sizeof(err->text)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    kiln_place_text(place, where, sizeof(where));
    return kiln_error_set(err, EINVAL, "%s: %s", where, text);
}

int kiln_shown_length(const char *text, size_t length)
{
    enum { MOST = 60 };
    if (length <= MOST) {
        return (int)length;
    }
    size_t shown = MOST;
    while (shown > 0 && ((unsigned char)text[shown] & 0xc0) == 0x80) {
        shown--;
    }
    return (int)shown;
}

int kiln_place_quote(kiln_error *err, const char *text)
{
    char inner[sizeof(err->text)];
    memcpy(inner, err->text, sizeof(inner));
    return kiln_error_set(err, EINVAL, "\"%.*s\" %s", KILN_SHOWN(text), inner);
}
