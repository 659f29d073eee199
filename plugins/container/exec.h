/* exec.h - a command in a running container, by the API's exec. */
#ifndef KILN_CONTAINER_EXEC_H
#define KILN_CONTAINER_EXEC_H

#include "box.h"

struct exec;

typedef struct exec_spec {
    char *const *argv;
    char *const *env; /* NULL: none */
    const char *stdin_data;
    size_t stdin_length;
    void *user;
    void (*on_output)(void *user, uint32_t stream, const char *data,
                      size_t length); /* or NULL */
    /* Once, last, not from within exec_start: its exit code, or -1 with why. */
    void (*on_end)(void *user, int exit_code, const char *error);
} exec_spec;

/* As the code's user, in the work directory. NULL: out of memory. */
struct exec *exec_start(struct box *box, const exec_spec *spec);
/* on_end will not come; what runs runs on. */
void exec_cancel(struct exec *exec);

#endif
