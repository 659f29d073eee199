/* descriptors.h - what a worker has open, so that a fork of it can have the same and not
 * share it: a file's place would move for both. In the worker process. */
#ifndef KILN_WORKER_DESCRIPTORS_H
#define KILN_WORKER_DESCRIPTORS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef enum kiln_descriptor_kind {
    KILN_DESCRIPTOR_NAMED,   /* a file or folder with a name: opened again, at its place */
    KILN_DESCRIPTOR_UNNAMED, /* a file that has been removed, or never had a name */
    KILN_DESCRIPTOR_DEVICE,  /* shared: /dev/null, /dev/urandom have no state */
    KILN_DESCRIPTOR_CHANNEL, /* socket, pipe, epoll, ...: somebody else is at its end */
} kiln_descriptor_kind;

typedef struct kiln_descriptor {
    int fd;
    kiln_descriptor_kind kind;
    int flags; /* F_GETFL */
    bool cloexec;
    off_t place;
    char *path;
} kiln_descriptor;

typedef struct kiln_descriptors {
    kiln_descriptor *list;
    size_t count;
} kiln_descriptors;

/* All but 0, 1, 2 and `but`. */
int kiln_descriptors_list(kiln_descriptors *descriptors, int but, kiln_error *err);
/* In the fork: named ones are opened again. With `apart` the rest, devices excepted, is
 * made invalid, its numbers kept in use: an old one must not become a new file's. */
void kiln_descriptors_renew(const kiln_descriptors *descriptors, bool apart);
void kiln_descriptors_free(kiln_descriptors *descriptors);

#endif
