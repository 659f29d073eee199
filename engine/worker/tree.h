/* tree.h - what a tree of processes uses, read from /proc: for machines that give us no
 * cgroup to count it. */
#ifndef KILN_WORKER_TREE_H
#define KILN_WORKER_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct kiln_tree {
    uint64_t processes;    /* and threads, below the root */
    uint64_t memory_bytes; /* of all of them; see kiln_tree_measure */
    uint64_t shared_bytes; /* exact: shared memory and tmpfs pages that they map */
    double cpu_ms;         /* of all, and of those that have ended below the root */
} kiln_tree;

/* Everything below `root`, a process whose descendants cannot leave it (pid 1 of a pid
 * namespace), which itself is not counted, nor are branches, which are sessions in namespaces
 * of their own below it. `apart`, unless 0, is one in that namespace that was forked from
 * outside, and counts with what is below it. memory_bytes is the sum of resident sizes,
 * which holds shared pages once for each process: an upper bound, cheap to have. With
 * `exact` it is private memory alone, each page shared between processes in parts, and
 * costs a walk over all page tables. 0, or -errno when root cannot be read. */
int kiln_tree_measure(pid_t root, pid_t apart, bool exact, kiln_tree *tree);
/* The process that a pidfd stands for, in our own pid namespace; -ESRCH. */
pid_t kiln_tree_pid(int pidfd);

#endif
