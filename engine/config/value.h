/* value.h - from the text of a key to what it means. Thread: any. */
#ifndef KILN_CONFIG_VALUE_H
#define KILN_CONFIG_VALUE_H

#include "base/error.h"
#include "config/arena.h"
#include "config/schema.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct kiln_value {
    const char *text;  /* as it stood in the file, trimmed; "" when empty; a path: absolute */
    const char *plain; /* of a kiln_option_type, as kiln_host.option gives it */
    int64_t number;    /* boolean, integer, milliseconds, bytes; first uid */
    int64_t last;      /* last uid of a range */
    const char *const *words; /* list and command: NULL-terminated; NULL otherwise */
} kiln_value;

/* Parses as key's type says; strings are the arena's. `base` as in kiln_place. 0,
 * -EINVAL with a text that has neither place nor key in it, or -ENOMEM. */
int kiln_value_parse(const kiln_key *key, const char *text, const char *base, kiln_arena *arena,
                     kiln_value *value, kiln_error *err);

/* A path may hold bytes that are not UTF-8: they become U+FFFD. New reference or NULL. */
json_t *kiln_text_to_json(const char *text);
/* Number, boolean, string, array, or null when empty. New reference; NULL: no memory. */
json_t *kiln_value_to_json(const kiln_key *key, const kiln_value *value);

/* Splits at spaces and tabs, and at commas when `commas`. '...' and "..." keep what is in
 * them, a backslash keeps the next character (not within '...'); nothing is expanded. */
int kiln_words_split(const char *text, bool commas, kiln_arena *arena,
                     const char *const **words, kiln_error *err);

#endif
