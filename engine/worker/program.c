/* program.c - the last steps before a program's own: descriptors, signals, execve. */
#include "worker/program.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *search_path(char *const *env)
{
    for (; *env != NULL; env++) {
        if (strncmp(*env, "PATH=", 5) == 0) {
            return *env + 5;
        }
    }
    return "/usr/local/bin:/usr/bin:/bin";
}

static int refuse_program(kiln_error *err, const char *name, int code)
{
    switch (code) {
    case E2BIG:
        return kiln_error_set(
            err, code, "%s: arguments and environment are larger than the kernel takes", name);
    case ENOEXEC:
        return kiln_error_set(
            err, code, "%s: not a program for this machine, and no script with a #! line",
            name);
    default:
        return kiln_error_errno(err, code, "%s", name);
    }
}

int kiln_program_execute(char *const *argv, char *const *env, kiln_error *err)
{
    const char *name = argv[0];
    if (strchr(name, '/') != NULL) {
        execve(name, argv, env);
        return refuse_program(err, name, errno);
    }
    int denied = 0;
    const char *path = search_path(env);
    for (const char *at = path; *name != '\0';) {
        char candidate[4096];
        size_t length = strcspn(at, ":");
        int wanted = length == 0 ? snprintf(candidate, sizeof(candidate), "./%s", name)
                                 : snprintf(candidate, sizeof(candidate), "%.*s/%s",
                                            (int)length, at, name);
        if (wanted > 0 && (size_t)wanted < sizeof(candidate)) {
            execve(candidate, argv, env);
            if (errno == EACCES) {
                denied = EACCES;
            } else if (errno != ENOENT && errno != ENOTDIR) {
                return refuse_program(err, candidate, errno);
            }
        }
        if (at[length] == '\0') {
            break;
        }
        at += length + 1;
    }
    if (denied != 0) {
        return refuse_program(err, name, denied);
    }
    return kiln_error_set(err, ENOENT, "%s: not found in PATH (%s) of the sandbox", name, path);
}

void kiln_program_reset_signals(void)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN) {
            signal(number, SIG_DFL);
        }
    }
}

int kiln_program_connect(const int *stdio, kiln_error *err)
{
    for (int i = 0; i < 3; i++) {
        if (dup2(stdio[i], i) < 0) {
            return kiln_error_errno(err, errno, "descriptor %d", i);
        }
    }
    return 0;
}
