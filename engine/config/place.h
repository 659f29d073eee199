/* place.h - where a value was given, for errors and for `kiln config`. */
#ifndef KILN_CONFIG_PLACE_H
#define KILN_CONFIG_PLACE_H

#include "base/error.h"

#include <stddef.h>

/* Later wins. */
typedef enum kiln_config_layer {
    KILN_FROM_DEFAULT,
    KILN_FROM_RUNTIMES,
    KILN_FROM_FILE,
    KILN_FROM_ENVIRONMENT,
    KILN_FROM_SET,
} kiln_config_layer;

typedef struct kiln_place {
    kiln_config_layer layer;
    const char *where; /* the file, the variable, or the --set's "section.key" */
    unsigned line;     /* of a file */
    const char *base;  /* folder at which a file's relative paths begin; NULL: the
                          working directory */
} kiln_place;

/* "FILE:LINE", "environment NAME", "--set SECTION.KEY" or "default" into text, which is
 * returned. */
const char *kiln_place_text(const kiln_place *place, char *text, size_t size);
/* Sets "PLACE: text" and returns -EINVAL. */
int kiln_place_error(kiln_error *err, const kiln_place *place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* How many bytes of a foreign text an error shows: whole characters, 60 bytes at most. */
int kiln_shown_length(const char *text, size_t length);
/* Puts `"text" ` before the error and returns -EINVAL. */
int kiln_place_quote(kiln_error *err, const char *text);
/* Arguments of "%.*s". */
#define KILN_SHOWN(text) kiln_shown_length((text), strlen(text)), (text)

enum { KILN_PLACE_MAX = 512 };

#endif
