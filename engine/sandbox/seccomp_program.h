/* seccomp_program.h - the filter as BPF, made once in a process. */
#ifndef KILN_SANDBOX_SECCOMP_PROGRAM_H
#define KILN_SANDBOX_SECCOMP_PROGRAM_H

#include "base/error.h"

#include <linux/filter.h>
#include <stddef.h>

typedef struct kiln_seccomp_program {
    struct sock_filter *code; /* NULL: not made yet */
    size_t length;
    size_t setns; /* the answer to setns, which may be another */
} kiln_seccomp_program;

/* 0, or -errno. program->code is the caller's to free. */
int kiln_seccomp_build(kiln_seccomp_program *program, kiln_error *err);

#endif
