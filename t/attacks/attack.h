/* attack.h - how an attack program tells what came of each attempt: a line
 * "name: EPERM", "name: SIGSYS" or "name: done", straight to descriptor 1.
 *
 * The programs run twice: as `kiln run -l c`, and compiled within a Python session
 * and called by ctypes. t/attack_escape.t puts this text in the place of #include. */
#ifndef KILN_T_ATTACK_H
#define KILN_T_ATTACK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static UNUSED void tell(const char *name, long rc)
{
    const char *what = rc >= 0 ? "done" : strerrorname_np(errno);
    dprintf(STDOUT_FILENO, "%s: %s\n", name, what != NULL ? what : "an unknown error");
}

#define TRY(name, call)                                                                        \
    do {                                                                                       \
        errno = 0;                                                                             \
        tell(name, (long)(call));                                                              \
    } while (0)

/* In a process of its own, since it may die; what it returns is as a system call's. */
static UNUSED void try_apart(const char *name, long (*attempt)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        errno = 0;
        long rc = attempt();
        _exit(rc >= 0 ? 0 : errno);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        tell(name, -1);
    } else if (WIFSIGNALED(status)) {
        dprintf(STDOUT_FILENO, "%s: SIG%s\n", name, sigabbrev_np(WTERMSIG(status)));
    } else {
        errno = WEXITSTATUS(status);
        tell(name, errno == 0 ? 0 : -1);
    }
}

#endif
