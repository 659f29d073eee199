/* mirror.h - a folder of this host that stands for a container's work directory where that
 * cannot be opened from here. The engine puts files in and takes files out; what it changed
 * is packed for the container, what the container has is unpacked into it. Only kiln writes
 * to it: code never sees it. */
#ifndef KILN_CONTAINER_MIRROR_H
#define KILN_CONTAINER_MIRROR_H

#include "tar.h"

struct mirror;

/* An empty one, in TMPDIR or /tmp. NULL, and *why in one line. */
struct mirror *mirror_open(const char **why);
/* Removes it, too. */
void mirror_free(struct mirror *mirror);
int mirror_fd(const struct mirror *mirror);
/* Removes those of engines that are gone. */
void mirror_sweep(void);

/* What was changed here since mirror_sent or an unpacking: appended to `tar` (left empty:
 * nothing was), and the names of what is gone, NULL-terminated, malloc'd, or NULL. 0;
 * -EDQUOT: the files hold more than `most` bytes; another negative errno. */
int mirror_pack(struct mirror *mirror, tar_owner owner, uint64_t most, tar_buffer *tar,
                char ***gone);
/* The container has what is here. 0 or -ENOMEM. */
int mirror_sent(struct mirror *mirror);

#endif
