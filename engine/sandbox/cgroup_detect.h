/* cgroup_detect.h - where this process may make groups, found in its own /proc files. */
#ifndef KILN_SANDBOX_CGROUP_DETECT_H
#define KILN_SANDBOX_CGROUP_DETECT_H

#include "base/error.h"

#include <stdbool.h>

typedef enum kiln_cgroup_role {
    KILN_CGROUP_MEMORY,
    KILN_CGROUP_PIDS,
    KILN_CGROUP_CPU_USAGE, /* v1 cpuacct */
    KILN_CGROUP_CPU_QUOTA, /* v1 cpu */
    KILN_CGROUP_ROLES,
} kiln_cgroup_role;

/* One folder in which groups are made. In v2 one folder has every role. */
typedef struct kiln_cgroup_place {
    char path[1024];
    unsigned roles; /* 1 << kiln_cgroup_role */
    bool unified;   /* v2 */
} kiln_cgroup_place;

enum { KILN_CGROUP_PLACES_MAX = 4 };

typedef struct kiln_cgroup_layout {
    kiln_cgroup_place places[KILN_CGROUP_PLACES_MAX];
    int count;
} kiln_cgroup_layout;

/* Reads mountinfo and cgroup (the texts of /proc/self/mountinfo and /proc/self/cgroup).
 * v1 hierarchies that carry a controller win over v2, which then lacks it. 0, or
 * -ENOENT when there is nothing. */
int kiln_cgroup_parse(const char *mountinfo, const char *cgroup, kiln_cgroup_layout *layout,
                      kiln_error *err);

#endif
