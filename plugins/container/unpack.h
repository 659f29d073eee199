/* unpack.h - a container's work directory, as the archive API gives it, into a folder of
 * this host that only kiln writes to. The archive is hostile: whoever wrote the files chose
 * their names, kinds and sizes. Only folders and plain files are made, beneath the folder,
 * following nothing; what is not in the archive goes. */
#ifndef KILN_CONTAINER_UNPACK_H
#define KILN_CONTAINER_UNPACK_H

#include <stddef.h>
#include <stdint.h>

struct unpack;

/* `prefix`: the folder's name in the archive. At most so many bytes of content, holes
 * included, and so many entries. NULL: out of memory. */
struct unpack *unpack_open(int folder_fd, const char *prefix, uint64_t bytes, uint64_t entries);
/* What came; 0, or negative: -EDQUOT more bytes, -EMFILE more entries than allowed, -EPROTO no
 * archive or a name that leads elsewhere, or why it could not be written. Then it is over. */
int unpack_push(struct unpack *unpack, const char *data, size_t length);
/* All has come: takes away what was not in it. *left_out: entries that are neither folders nor
 * plain files. 0; -EPROTO: it was cut, and nothing is taken away. */
int unpack_finish(struct unpack *unpack, size_t *left_out);
void unpack_free(struct unpack *unpack);

/* Removes what stands at that name, one component, with all below it. 0 or negative errno. */
int tree_remove(int folder_fd, const char *name);
/* Opens beneath, following nothing. A descriptor or negative errno. */
int tree_open(int folder_fd, const char *name, int flags, unsigned mode);

#endif
