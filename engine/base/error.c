#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One line is the contract: whatever came from outside may hold newlines. */
static void make_one_line(char *text)
{
    for (char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            *p = *p == '\n' || *p == '\t' ? ' ' : '?';
        }
    }
}

static void mark_cut(kiln_error *err, int wanted)
{
    static const char ellipsis[] = "...";
    if (wanted >= (int)sizeof(err->text)) {
        memcpy(err->text + sizeof(err->text) - sizeof(ellipsis), ellipsis, sizeof(ellipsis));
    }
}

static int set(kiln_error *err, int code, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static int set(kiln_error *err, int code, const char *format, va_list args)
{
    err->code = code > 0 ? -code : code;
    if (err->code == 0) {
        err->code = -EINVAL;
    }
    mark_cut(err, vsnprintf(err->text, sizeof(err->text), format, args));
    make_one_line(err->text);
    return err->code;
}

int kiln_error_set(kiln_error *err, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int rc = set(err, code, format, args);
    va_end(args);
    return rc;
}

int kiln_error_errno(kiln_error *err, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int rc = set(err, code, format, args);
    va_end(args);
    size_t used = strlen(err->text);
    int wanted = snprintf(err->text + used, sizeof(err->text) - used, ": %s", strerror(-rc));
    mark_cut(err, (int)used + wanted);
    return rc;
}

int kiln_error_wrap(kiln_error *err, const char *format, ...)
{
    char inner[sizeof(err->text)];
    memcpy(inner, err->text, sizeof(inner));
    va_list args;
    va_start(args, format);
    int used = vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof(err->text)) {
        used += snprintf(err->text + used, sizeof(err->text) - (size_t)used, ": %s", inner);
    }
    mark_cut(err, used);
    make_one_line(err->text);
    return err->code;
}
