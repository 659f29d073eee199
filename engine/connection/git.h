/* git.h - how git is called: which words, which environment, what it may do.
 *
 * It reads no configuration but what stands here, asks nobody, follows no redirect, runs no
 * hook, filter or submodule, checks each object that comes, and speaks https alone (http
 * where a connection's endpoint says so). Thread: loop. */
#ifndef KILN_CONNECTION_GIT_H
#define KILN_CONNECTION_GIT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum { KILN_GIT_WORDS_MAX = 64 };

typedef struct kiln_git {
    char repository[4096 + 16]; /* --git-dir=... */
    const char *argv[KILN_GIT_WORDS_MAX];
    char **env; /* NULL-terminated */
} kiln_git;

/* `folder` is the bare repository, NULL: none is needed. `url` and `authorization` ("Basic
 * ...", for that address alone; in the environment, where no other user can read it) may be
 * NULL. Then words are added to argv, NULL-terminated; they are borrowed. -ENOMEM. */
int kiln_git_prepare(kiln_git *git, const char *folder, const char *url,
                     const char *authorization, const char *const *words, kiln_error *err);
void kiln_git_free(kiln_git *git);

/* The engine's environment for a credential helper: all of it but KILN_*, GIT_*. New
 * strings, NULL-terminated, freed by kiln_strings_free. NULL: out of memory. */
char **kiln_credential_environment(void);
void kiln_strings_free(char **strings);

#endif
