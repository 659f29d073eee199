/* schedule.h - when a process of ours runs. */
#ifndef KILN_WORKER_SCHEDULE_H
#define KILN_WORKER_SCHEDULE_H

#include <linux/sched.h>
#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* This process works for microseconds at a time and says so: from Linux 6.12 on one with a
 * short slice is let in before one that computes. A supervisor would wait a millisecond for
 * the processor that the code keeps busy, though another is idle soon. Not inherited. It is
 * advice: an older kernel takes no notice. */
static inline void kiln_schedule_promptly(void)
{
    enum { SLICE_NS = 100000, NORMAL = 0 };
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {.size = sizeof(attributes),
                    .policy = NORMAL,
                    .flags = SCHED_FLAG_RESET_ON_FORK,
                    .runtime = SLICE_NS};
    (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

#endif
