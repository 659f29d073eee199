/* root.h - a descriptor of the container's work directory, opened from the host. */
#ifndef KILN_CONTAINER_ROOT_H
#define KILN_CONTAINER_ROOT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Opens the tmpfs that is mounted at /work in the container of `pid`, before any code has
 * run in it, and gives it to uid:gid as they are inside. A descriptor, or negative errno
 * with *why: it cannot be reached from here (another user's, another machine's, gVisor's). */
int root_open(pid_t pid, unsigned uid, unsigned gid, const char **why);

/* No more files and folders than that in each file system that the code can write to: a
 * change of the mounts' own, which takes root. Whether all of them keep it. */
bool root_limit_files(pid_t pid, uint64_t files);

/* A socket beneath it, by its name, that the agent has just made: connected, or negative
 * errno. Nothing that the container could put in its place is followed. */
int root_connect(int work_fd, const char *name);

#endif
