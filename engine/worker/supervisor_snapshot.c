/* supervisor_snapshot.c - a fork of the worker that waits beside it, and a copy of the files
 * where code cannot reach (HOLD). When the worker ends, everything but the snapshot is
 * killed, and it takes the worker's place, the files as they were (ADOPT); or it ends
 * (RELEASE). */
#include "worker/supervisor-t.h"

#include "base/cleanup.h"
#include "worker/processes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int count_own(const kiln_supervisor *self, size_t *count)
{
    kiln_process_list list;
    kiln_process_facts facts;
    int rc = kiln_processes_begin(&list);
    if (rc < 0) {
        return rc;
    }
    *count = 0;
    while (kiln_processes_next(&list, &facts)) {
        *count +=
            kiln_supervisor_owns(self, &facts) && facts.pid != self->main_pid && !facts.zombie;
    }
    kiln_processes_end(&list);
    return 0;
}

static int hold_snapshot(kiln_supervisor *self, pid_t pid, kiln_error *err)
{
    kiln_process_facts facts;
    char path[48];
    size_t others = 0;
    if (!self->running || self->main_pid <= 0 || self->snapshot != 0 || pid <= 1 ||
        pid == self->main_pid || kiln_process_look(pid, &facts) < 0 || !facts.own ||
        facts.zombie) {
        return kiln_error_set(err, ESRCH, "snapshot: process %d is none", (int)pid);
    }
    self->snapshot = pid;
    if (count_own(self, &others) < 0 || others > 0) {
        return kiln_error_set(err, EBUSY,
                              "%zu process%s of earlier cells still run: a transaction could "
                              "not bring them back",
                              others, others == 1 ? "" : "es");
    }
    /* Memory that runs out is to cost the cell, not what it can be undone with. */
    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
    auto_close int oom = open(path, O_WRONLY | O_CLOEXEC);
    if (oom < 0 || write(oom, "500", 3) != 3) {
        return kiln_error_errno(err, errno, "snapshot: oom_score_adj");
    }
    return kiln_supervisor_save_files(self, err);
}

void kiln_supervisor_release(kiln_supervisor *self)
{
    if (self->snapshot != 0) {
        kill(self->snapshot, SIGKILL); /* ours to reap: its number is not used again */
        kiln_supervisor_await_end(self->snapshot); /* or the next one would find it running */
        self->snapshot = 0;
    }
}

bool kiln_supervisor_hold(kiln_supervisor *self, const kiln_control_message *message)
{
    kiln_control_hold what;
    kiln_error err = KILN_ERROR_INIT;
    if (message->length != sizeof(what)) {
        return false;
    }
    memcpy(&what, message->payload, sizeof(what));
    if (hold_snapshot(self, what.pid, &err) < 0) {
        kiln_supervisor_release(self);
    }
    return kiln_supervisor_tell(self, KILN_CONTROL_HELD, message->id, &err);
}

int kiln_supervisor_adopt_snapshot(kiln_supervisor *self, kiln_error *err)
{
    if (self->snapshot == 0) {
        return kiln_error_set(err, ESRCH, "snapshot: it has ended: code has killed it");
    }
    int rc = kiln_supervisor_restore_files(self, err);
    if (rc < 0) {
        kiln_supervisor_release(self);
        return rc;
    }
    self->main_pid = self->snapshot;
    self->snapshot = 0;
    return 0;
}
