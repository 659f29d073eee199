/* error.h - one error, one line of text, owned by the caller.
 *
 * Contract of every function that takes `kiln_error *err` last: it returns 0
 * or more on success and a negative errno on failure; on failure, and only
 * then, *err holds one line that says what, where and what to do. `err` is
 * never NULL. Callers prepend context on the way up with kiln_error_wrap().
 * Thread: any; an error is used by one thread at a time. */
#ifndef KILN_BASE_ERROR_H
#define KILN_BASE_ERROR_H

#include <stdarg.h>

typedef struct kiln_error {
    int code;        /* negative errno, 0 when unset */
    char text[1024]; /* UTF-8, one line, always terminated */
} kiln_error;

#define KILN_ERROR_INIT                                                                        \
    {                                                                                          \
        0, ""                                                                                  \
    }

/* Sets the text and returns `code`, made negative if it was positive. A long
 * text is cut with an ellipsis; control characters become '?'. */
int kiln_error_set(kiln_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As kiln_error_set, with ": " and strerror(code) at the end. */
int kiln_error_errno(kiln_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Prepends "CONTEXT: " to the text and returns err->code, so that a caller can
 * write `return kiln_error_wrap(err, "plugins/%s", name);`. */
int kiln_error_wrap(kiln_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
