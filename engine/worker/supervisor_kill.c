/* supervisor_kill.c - ending a session's processes. Where a session is nested in this one, or
 * a snapshot is held, not all that the supervisor sees is its own to kill. */
#include "worker/supervisor-t.h"

#include "base/cleanup.h"

#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <unistd.h>

bool kiln_supervisor_owns(const kiln_supervisor *self, const kiln_process_facts *facts)
{
    return facts->own && facts->pid != self->snapshot;
}

static size_t kill_listed(const kiln_supervisor *self)
{
    kiln_process_list list;
    kiln_process_facts facts;
    size_t left = 0;
    if (kiln_processes_begin(&list) < 0) {
        kill(-1, SIGKILL); /* rather too many than too few */
        return 1;
    }
    while (kiln_processes_next(&list, &facts)) {
        if (kiln_supervisor_owns(self, &facts)) {
            kill(facts.pid, SIGKILL);
            left++;
        }
    }
    kiln_processes_end(&list);
    return left;
}

size_t kiln_supervisor_kill(const kiln_supervisor *self)
{
    if (!self->nesting && self->snapshot == 0) {
        kill(-1, SIGKILL);
        return 1;
    }
    if (kill_listed(self) == 0) {
        return 0;
    }
    /* All at once, what is nested, too: what forks faster than a list is read would get
     * away otherwise. */
    kill(-1, SIGSTOP);
    size_t left = kill_listed(self);
    kill(-1, SIGCONT);
    return left;
}

void kiln_supervisor_await_end(pid_t pid)
{
    auto_close int pidfd = pidfd_open(pid, 0);
    struct pollfd end = {.fd = pidfd, .events = POLLIN};
    if (pidfd >= 0) {
        (void)poll(&end, 1, KILN_PATIENCE_MS);
    }
}

int kiln_supervisor_sweep(const kiln_supervisor *self)
{
    kiln_process_list list;
    kiln_process_facts facts;
    kill(-1, SIGSTOP);
    for (int pass = 0; pass < 2; pass++) {
        int rc = kiln_processes_begin(&list);
        if (rc < 0) {
            return rc;
        }
        while (kiln_processes_next(&list, &facts)) {
            if (!kiln_supervisor_owns(self, &facts) || facts.pid == self->main_pid) {
                continue;
            }
            if (pass == 0) {
                kill(facts.pid, SIGKILL);
            } else {
                kiln_supervisor_await_end(facts.pid);
            }
        }
        kiln_processes_end(&list);
    }
    kill(-1, SIGCONT);
    return 0;
}
