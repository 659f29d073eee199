/* eval.h - the arguments of `kiln eval`. */
#ifndef KILN_CLI_EVAL_H
#define KILN_CLI_EVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KILN_EVAL_SETS_MAX = 256 };

typedef struct kiln_eval_options {
    const char *config, *junit, *only, *seed;
    const char
        *set[KILN_EVAL_SETS_MAX * 2 + 1]; /* NULL-terminated; room for the engine's own */
    size_t set_count;
    int64_t jobs, repeat;
    bool update, yes, json, reference, help;
    char **paths; /* NULL-terminated, into argv */
} kiln_eval_options;

extern const char kiln_eval_help[];
/* 0, or the exit status: what is wrong has been said. */
int kiln_eval_options_parse(int argc, char **argv, kiln_eval_options *options);

#endif
