/* tree.h - what `git ls-tree` and `git cat-file --batch` say of a commit, as files. Both
 * tell of what a stranger made. Thread: any. */
#ifndef KILN_CONNECTION_TREE_H
#define KILN_CONNECTION_TREE_H

#include "base/buffer.h"
#include "base/error.h"
#include "connection/origin.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

typedef struct kiln_tree_entry {
    char *name; /* below the origin's folder */
    char id[65];
    uint64_t size;
} kiln_tree_entry;

typedef struct kiln_tree {
    kiln_tree_entry *entries;
    size_t count;
    uint64_t total;
    json_t *left_out; /* array, the owner's to make */
} kiln_tree;

/* "MODE TYPE ID SIZE\tNAME" NUL ...: regular files with plain names are taken, everything
 * else is left out (an error when it is the one that was asked for). -ENOENT, -E2BIG,
 * -EIO. */
int kiln_tree_read(kiln_tree *tree, const kiln_origin *origin, const kiln_buffer *listing,
                   uint64_t max_size, kiln_error *err);
/* The ids, a line each. */
int kiln_tree_ask(const kiln_tree *tree, kiln_buffer *asked, kiln_error *err);
/* "ID blob SIZE\n" bytes "\n" ..., in that order, into files below `to_fd`; their names are
 * appended to `names`. */
int kiln_tree_write(const kiln_tree *tree, const kiln_buffer *contents, int to_fd,
                    json_t *names, kiln_error *err);
void kiln_tree_free(kiln_tree *tree);

#endif
