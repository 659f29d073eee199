/* program.h - the engine's own helpers (git, diff, a credential helper): started with fixed
 * words, never by a shell, never with anything of a user's code in them.
 *
 * Such a program is in a session of its own and is killed with all that it started when its
 * time is up or it writes more than it may. It has the given environment and no other, no
 * descriptor but 0, 1 and 2, and / as its working directory. Thread: loop. */
#ifndef KILN_PROGRAM_PROGRAM_H
#define KILN_PROGRAM_PROGRAM_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

typedef struct kiln_program kiln_program;

typedef struct kiln_program_spec {
    const char *const *argv; /* argv[0] is looked up in the PATH of `env` */
    const char *const *env;  /* "NAME=value", NULL-terminated */
    const char *input;       /* standard input; copied */
    size_t input_length;
    size_t output_max;   /* bytes of standard output; more of it ends the program */
    uint64_t timeout_ms; /* 0: none */
    uint64_t file_max;   /* bytes of any file that it writes; 0: no limit */
    uint64_t memory_max; /* bytes of each process's address space; 0: no limit */
} kiln_program_spec;

typedef struct kiln_program_end {
    int exit_code; /* counts when signal is 0 */
    int signal;
    bool timed_out;
    bool flooded; /* wrote more than output_max: `output` holds what came before */
    kiln_buffer *output;
    /* The end of standard error, one line, no control characters. Never of a program that
     * handles secrets: what it says may hold them. */
    const char *complaint;
} kiln_program_end;

/* Starts it. `done` comes once, from the loop, when the program and whatever held its
 * output are gone; `end` is borrowed. Negative: it could not be started, nothing follows. */
int kiln_program_start(uv_loop_t *loop, const kiln_program_spec *spec,
                       void (*done)(void *user, kiln_program_end *end), void *user,
                       kiln_program **program, kiln_error *err);
/* Kills it. `done` will not be called. */
void kiln_program_cancel(kiln_program *program);
/* "exit status 3", "signal 9", "no end after 5000 ms". Returns text. */
const char *kiln_program_end_text(const kiln_program_end *end, char *text, size_t size);

#endif
