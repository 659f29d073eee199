/* cgroup_tree.h - the engine's subtree, for those who make groups in it. Of the engine's
 * process alone, single-threaded. */
#ifndef KILN_SANDBOX_CGROUP_TREE_H
#define KILN_SANDBOX_CGROUP_TREE_H

#include "sandbox/cgroup_detect.h"

#include <stdbool.h>

typedef struct kiln_cgroup_tree {
    kiln_cgroup_layout layout;
    int folders[KILN_CGROUP_PLACES_MAX]; /* open; parallel to the layout's places */
} kiln_cgroup_tree;

/* NULL: there is none, or it is another process's. */
const kiln_cgroup_tree *kiln_cgroup_get_tree(void);
/* A group's folder; -errno. */
int kiln_cgroup_open(int at, const char *name);
/* Kills what is in `name` below `parent`, and removes it with the groups in it, `depth` deep.
 * 0; -EBUSY while the kernel is still busy dying; -errno. */
int kiln_cgroup_remove(int parent, const char *name, bool unified, int depth);
/* cgroup_session.c: what still waits to be removed goes with the whole tree. */
void kiln_cgroup_forget_dying(void);

#endif
