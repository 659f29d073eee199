#include "command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t count(const char *const *words)
{
    size_t n = 0;
    while (words != NULL && words[n] != NULL) {
        n++;
    }
    return n;
}

void command_free(char **command)
{
    for (char **word = command; word != NULL && *word != NULL; word++) {
        free(*word);
    }
    free(command);
}

/* "-o{out}" with out = "/code/main" -> "-o/code/main" */
static char *replace(const char *word, const char *file, const char *out)
{
    char *text = NULL;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    if (stream == NULL) {
        return NULL;
    }
    while (*word != '\0') {
        if (strncmp(word, "{file}", 6) == 0) {
            fputs(file, stream);
            word += 6;
        } else if (strncmp(word, "{out}", 5) == 0) {
            fputs(out, stream);
            word += 5;
        } else {
            fputc(*word++, stream);
        }
    }
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

char **command_make(const char *const *words, const char *file, const char *out,
                    const char *const *more)
{
    size_t first = count(words), second = count(more);
    char **command = calloc(first + second + 1, sizeof(*command));
    if (command == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < first + second; i++) {
        command[i] = i < first ? replace(words[i], file, out) : strdup(more[i - first]);
        if (command[i] == NULL) {
            command_free(command);
            return NULL;
        }
    }
    return command;
}

char **command_copy(const char *const *words)
{
    static const char *const none[] = {NULL};
    return command_make(none, "", "", words);
}
