/* beneath.h - opening names inside a directory that hostile code may change.
 * Thread: any. */
#ifndef KILN_FILES_BENEATH_H
#define KILN_FILES_BENEATH_H

#include <stdbool.h>
#include <sys/types.h>

/* openat2(2) with RESOLVE_BENEATH|NO_SYMLINKS|NO_MAGICLINKS (and NO_XDEV when `one_mount`),
 * always O_CLOEXEC|O_NONBLOCK|O_NOFOLLOW|O_NOCTTY. A descriptor, or negative errno:
 * -ELOOP a link, -EXDEV a path that climbs or leaves the mount. */
int kiln_open_beneath(int dir_fd, const char *path, int flags, mode_t mode, bool one_mount);

/* Makes the folders that `name` needs (0755) and opens the last of them; *base is the
 * last component of `name`, in `name`. A descriptor, or negative errno. `name` has
 * passed kiln_file_name_check. */
int kiln_open_parent(int dir_fd, const char *name, const char **base, bool one_mount);

/* "a\x0ab": text that can stand in a message and in JSON, for a name that may be
 * anything. Returns `text`; a long name is cut with "...". */
const char *kiln_printable_name(const char *name, char *text, size_t size);

/* UTF-8, and no control character. */
bool kiln_name_is_plain(const char *name);

#endif
