/* cgroup_files.h - the files of one group's folder, v1 and v2. `group` is an open
 * descriptor of the folder; `roles` are what this hierarchy is there for. */
#ifndef KILN_SANDBOX_CGROUP_FILES_H
#define KILN_SANDBOX_CGROUP_FILES_H

#include "base/error.h"
#include "sandbox/cgroup_detect.h"
#include "sandbox/sandbox.h"

/* 0 in a limit lifts it. */
int kiln_cgroup_write_limits(int group, bool unified, unsigned roles, const kiln_limits *limits,
                             kiln_error *err);
/* The share of the CPUs, in thousandths of one; 0 lifts it. -errno. */
int kiln_cgroup_write_cpus(int group, bool unified, uint64_t cpus);
/* Bytes of memory now, 0: this hierarchy does not know. */
uint64_t kiln_cgroup_read_memory(int group, bool unified, unsigned roles);
/* The file that counts the hits of a role's limit, MEMORY or PIDS; -errno. */
int kiln_cgroup_open_events(int group, bool unified, kiln_cgroup_role role);
/* What it says now. */
void kiln_cgroup_read_events(int fd, kiln_cgroup_role role, kiln_cgroup_usage *usage);
/* SIGKILL to all that is in it; cgroup.kill where the kernel has it. */
void kiln_cgroup_kill(int group, bool unified);
/* Makes v2's controllers available in the folder's children; -errno. */
int kiln_cgroup_enable_controllers(int group);
/* Which ones are available there now; empty when that cannot be read. */
void kiln_cgroup_read_controllers(int group, char *text, size_t size);
/* Takes away again those that kiln_cgroup_enable_controllers added to `before`. */
void kiln_cgroup_restore_controllers(int group, const char *before);
/* Writes `text` whole into the folder's file; -errno. */
int kiln_cgroup_write(int group, const char *file, const char *text);

#endif
