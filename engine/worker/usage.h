/* usage.h - what the kernel says that a process has used. */
#ifndef KILN_WORKER_USAGE_H
#define KILN_WORKER_USAGE_H

#include <stdint.h>
#include <sys/resource.h>

/* User and system time together. */
static inline uint64_t kiln_usage_cpu_us(const struct rusage *usage)
{
    return (uint64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
}

/* Of the largest process that is counted. */
static inline uint64_t kiln_usage_max_rss_bytes(const struct rusage *usage)
{
    return (uint64_t)usage->ru_maxrss * 1024;
}

#endif
