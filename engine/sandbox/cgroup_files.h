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
/* Fills only what this hierarchy knows. */
void kiln_cgroup_read_usage(int group, bool unified, unsigned roles, kiln_cgroup_usage *usage);
/* SIGKILL to all that is in it; cgroup.kill where the kernel has it. */
void kiln_cgroup_kill(int group, bool unified);
/* Makes v2's controllers available in the folder's children; -errno. */
int kiln_cgroup_enable_controllers(int group);
/* Writes `text` whole into the folder's file; -errno. */
int kiln_cgroup_write(int group, const char *file, const char *text);

#endif
