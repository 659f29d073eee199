#include "notebook/json_text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct writer {
    kiln_buffer *out;
    bool in_string, escaped;
    char number[64]; /* one that the calls of jansson may have cut */
    size_t number_length;
} writer;

static bool is_number_character(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static int flush_number(writer *w)
{
    w->number[w->number_length] = '\0';
    size_t length = w->number_length;
    w->number_length = 0;
    if (strpbrk(w->number, ".eE") == NULL) {
        return kiln_buffer_append(w->out, w->number, length);
    }
    double value = strtod(w->number, NULL);
    for (int digits = 15; digits < 17; digits++) {
        char shorter[64];
        snprintf(shorter, sizeof(shorter), "%.*g", digits, value);
        if (strtod(shorter, NULL) == value) {
            /* A whole number must stay a real one. */
            bool whole = strpbrk(shorter, ".e") == NULL;
            return kiln_buffer_printf(w->out, "%s%s", shorter, whole ? ".0" : "");
        }
    }
    return kiln_buffer_append(w->out, w->number, length);
}

static int write_piece(const char *text, size_t length, void *user)
{
    writer *w = user;
    size_t begin = 0;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (w->in_string) {
            if (w->escaped) {
                w->escaped = false;
            } else if (c == '\\') {
                w->escaped = true;
            } else if (c == '"') {
                w->in_string = false;
            }
            continue;
        }
        /* "true", "false" and "null" hold an e, but never begin with a number's character. */
        bool begins = (c >= '0' && c <= '9') || c == '-';
        if (w->number_length > 0 ? is_number_character(c) : begins) {
            if (w->number_length == 0 &&
                kiln_buffer_append(w->out, text + begin, i - begin) < 0) {
                return -1;
            }
            if (w->number_length == sizeof(w->number) - 1) {
                return -1; /* jansson writes at most 25 characters */
            }
            w->number[w->number_length++] = c;
            begin = i + 1;
            continue;
        }
        if (w->number_length > 0 && flush_number(w) < 0) {
            return -1;
        }
        w->in_string = c == '"';
    }
    return kiln_buffer_append(w->out, text + begin, length - begin) < 0 ? -1 : 0;
}

int kiln_json_write(const json_t *json, size_t flags, kiln_buffer *out)
{
    writer w = {.out = out};
    if (json_dump_callback(json, write_piece, &w, flags) != 0) {
        return -ENOMEM;
    }
    return w.number_length > 0 ? flush_number(&w) : 0;
}
