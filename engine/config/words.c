/* words.c - words of a list or a command. */
#include "config/value.h"

#include <errno.h>
#include <string.h>

typedef struct splitter {
    const char *at;
    bool commas;
    char *out; /* where the next character of a word goes */
} splitter;

static bool separates(const splitter *s, char c)
{
    return c == ' ' || c == '\t' || (s->commas && c == ',');
}

/* One character inside a quote, or out of one. */
static int take(splitter *s, char quote, kiln_error *err)
{
    if (*s->at == '\\' && quote != '\'') {
        s->at++;
        if (*s->at == '\0') {
            return kiln_error_set(err, EINVAL, "a backslash at the end; write \\\\ for one");
        }
    }
    *s->out++ = *s->at++;
    return 0;
}

static int take_word(splitter *s, kiln_error *err)
{
    while (*s->at != '\0' && !separates(s, *s->at)) {
        char quote = *s->at;
        if (quote != '"' && quote != '\'') {
            if (take(s, '\0', err) < 0) {
                return err->code;
            }
            continue;
        }
        s->at++;
        while (*s->at != quote) {
            if (*s->at == '\0') {
                return kiln_error_set(err, EINVAL,
                                      "a %c that is never closed; close it, or write \\%c",
                                      quote, quote);
            }
            if (take(s, quote, err) < 0) {
                return err->code;
            }
        }
        s->at++;
    }
    *s->out++ = '\0';
    return 0;
}

int kiln_words_split(const char *text, bool commas, kiln_arena *arena,
                     const char *const **words, kiln_error *err)
{
    splitter s = {.at = text, .commas = commas};
    size_t most = 1;
    for (const char *p = text; *p != '\0'; p++) {
        most += separates(&s, *p);
    }
    const char **list = kiln_arena_alloc(arena, (most + 1) * sizeof(*list));
    /* A word and its NUL are never longer than the word and its separator. */
    s.out = kiln_arena_alloc(arena, strlen(text) + 1);
    if (list == NULL || s.out == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    size_t count = 0;
    for (;;) {
        while (separates(&s, *s.at)) {
            s.at++;
        }
        if (*s.at == '\0') {
            break;
        }
        list[count++] = s.out;
        if (take_word(&s, err) < 0) {
            return err->code;
        }
    }
    *words = list;
    return 0;
}
