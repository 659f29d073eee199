/* cgroup_meter.h - a group's counters behind descriptors that stay open, so that reading
 * them is one system call each: cheap enough for every cell. */
#ifndef KILN_SANDBOX_CGROUP_METER_H
#define KILN_SANDBOX_CGROUP_METER_H

#include "sandbox/sandbox.h"

typedef struct kiln_cgroup_meter {
    int cpu, memory, processes; /* -1: not there */
    bool memory_resets;         /* v1, and v2 from Linux 6.12 on */
} kiln_cgroup_meter;

void kiln_cgroup_meter_init(kiln_cgroup_meter *meter);
/* Opens what the hierarchy of `roles` counts; `group` is its folder. */
void kiln_cgroup_meter_open(kiln_cgroup_meter *meter, int group, bool unified, unsigned roles);
void kiln_cgroup_meter_close(kiln_cgroup_meter *meter);
/* The peak of memory begins anew, if the kernel can do that. */
void kiln_cgroup_meter_reset(kiln_cgroup_meter *meter);
/* After a reset: fills cpu_ms, and max_memory_bytes where it did not begin anew. */
void kiln_cgroup_meter_begin(const kiln_cgroup_meter *meter, kiln_cgroup_usage *usage);
/* Fills cpu_ms, max_memory_bytes, max_processes. */
void kiln_cgroup_meter_read(const kiln_cgroup_meter *meter, kiln_cgroup_usage *usage);

#endif
