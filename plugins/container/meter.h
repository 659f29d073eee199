/* meter.h - what the kernel says of a container: its cgroup, seen from the host, where the
 * engine can see it. Version 1 and 2. */
#ifndef KILN_CONTAINER_METER_H
#define KILN_CONTAINER_METER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct meter {
    int cpu, memory_peak, memory_events, pids, pids_events; /* descriptors, -1: not there */
    bool cpu_is_v1;
} meter;

typedef struct reading {
    double cpu_ms;       /* < 0: unknown, as the others when 0 */
    uint64_t peak_bytes; /* since the container began */
    uint64_t oom_kills;
    uint64_t processes; /* now */
    uint64_t pids_refused;
} reading;

#define METER_NONE                                                                             \
    {                                                                                          \
        -1, -1, -1, -1, -1, false                                                              \
    }

/* Opens what there is of the cgroup of `pid`; false: that process is not of the container
 * `id` (or /proc does not tell), and nothing was opened. */
bool meter_open(meter *self, pid_t pid, const char *id);
void meter_close(meter *self);
bool meter_works(const meter *self);
void meter_read(const meter *self, reading *now);

#endif
