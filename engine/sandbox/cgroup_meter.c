#include "sandbox/cgroup_meter.h"

#include "base/cleanup.h"
#include "sandbox/cgroup_detect.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void kiln_cgroup_meter_init(kiln_cgroup_meter *meter)
{
    *meter = (kiln_cgroup_meter){.cpu = -1, .memory = -1, .processes = -1};
}

/* Only a file that can be written may be one that resets. */
static int open_peak(int group, const char *file, bool *resets)
{
    int fd = openat(group, file, O_RDWR | O_CLOEXEC);
    *resets = fd >= 0;
    return fd >= 0 ? fd : openat(group, file, O_RDONLY | O_CLOEXEC);
}

void kiln_cgroup_meter_open(kiln_cgroup_meter *meter, int group, bool unified, unsigned roles)
{
    if ((roles & (1U << KILN_CGROUP_MEMORY)) != 0 && meter->memory < 0) {
        meter->memory = open_peak(group, unified ? "memory.peak" : "memory.max_usage_in_bytes",
                                  &meter->memory_resets);
    }
    if ((roles & (1U << KILN_CGROUP_PIDS)) != 0 && meter->processes < 0) {
        meter->processes = openat(group, "pids.peak", O_RDONLY | O_CLOEXEC);
    }
    if ((roles & (1U << KILN_CGROUP_CPU_USAGE)) != 0 && meter->cpu < 0) {
        meter->cpu =
            openat(group, unified ? "cpu.stat" : "cpuacct.usage", O_RDONLY | O_CLOEXEC);
    }
}

void kiln_cgroup_meter_close(kiln_cgroup_meter *meter)
{
    int *fds[] = {&meter->cpu, &meter->memory, &meter->processes};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0) {
            close(*fds[i]);
            *fds[i] = -1;
        }
    }
}

void kiln_cgroup_meter_reset(kiln_cgroup_meter *meter)
{
    if (meter->memory_resets && pwrite(meter->memory, "0", 1, 0) != 1) {
        meter->memory_resets = false; /* an older v2: read-only in effect */
    }
}

/* The first number in the file: cpu.stat begins with "usage_usec N". */
static bool read_first(int fd, uint64_t *value, bool *named)
{
    static const char key[] = "usage_usec ";
    char text[64];
    ssize_t length = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
    if (length <= 0) {
        return false;
    }
    text[length] = '\0';
    *named = strncmp(text, key, sizeof(key) - 1) == 0;
    const char *at = *named ? text + sizeof(key) - 1 : text;
    char *end;
    *value = strtoull(at, &end, 10);
    return end != at;
}

static void read_cpu(const kiln_cgroup_meter *meter, kiln_cgroup_usage *usage)
{
    bool v2 = false;
    uint64_t value = 0;
    if (read_first(meter->cpu, &value, &v2)) {
        /* cpuacct.usage counts nanoseconds, cpu.stat microseconds. */
        usage->cpu_ms = (double)value / (v2 ? 1e3 : 1e6);
    }
}

void kiln_cgroup_meter_begin(const kiln_cgroup_meter *meter, kiln_cgroup_usage *usage)
{
    bool v2;
    uint64_t value = 0;
    *usage = (kiln_cgroup_usage){.cpu_ms = -1};
    read_cpu(meter, usage);
    if (!meter->memory_resets && read_first(meter->memory, &value, &v2)) {
        usage->max_memory_bytes = value;
    }
}

void kiln_cgroup_meter_read(const kiln_cgroup_meter *meter, kiln_cgroup_usage *usage)
{
    bool v2 = false;
    uint64_t value = 0;
    *usage = (kiln_cgroup_usage){.cpu_ms = -1};
    read_cpu(meter, usage);
    if (read_first(meter->memory, &value, &v2)) {
        usage->max_memory_bytes = value;
    }
    if (read_first(meter->processes, &value, &v2)) {
        usage->max_processes = value;
    }
}
