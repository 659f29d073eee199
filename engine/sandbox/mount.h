/* mount.h - read-only binds and fresh file systems, by the mount API of Linux 5.2
 * and 5.12 where the kernel has it, by mount(2) else. */
#ifndef KILN_SANDBOX_MOUNT_H
#define KILN_SANDBOX_MOUNT_H

#include "base/error.h"

#include <stdint.h>

/* Binds what `source` (O_PATH) is, with all that is mounted below it, onto root_fd/target,
 * which exists, adding the attributes (MOUNT_ATTR_*) to every mount of it. Flags that the host
 * has locked stay. 0 or -errno. */
int kiln_mount_bind(int source, int root_fd, const char *target, uint64_t attributes);
/* Adds attributes to one mount, at root_fd/target ("" for root_fd itself). */
int kiln_mount_restrict(int root_fd, const char *target, uint64_t attributes);
/* A file system of `type` with "name=value" options, NULL-terminated, attached at
 * `target`. *fd, when not NULL, becomes an O_PATH descriptor of its root. */
int kiln_mount_new(const char *type, const char *const *options, const char *target,
                   uint64_t attributes, int *fd, kiln_error *err);

#endif
