/* demux.h - the stream that attach and exec give: pieces of stdout and stderr behind
 * 8-byte headers (Docker Engine API, "Attach to a container", stream format):
 *   byte 0     0 stdin (as stdout), 1 stdout, 2 stderr
 *   bytes 1-3  0
 *   bytes 4-7  length of the piece, big endian
 * It comes in any pieces; nothing is collected. Decodes what a hostile container has
 * written, behind headers of its engine. */
#ifndef KILN_CONTAINER_DEMUX_H
#define KILN_CONTAINER_DEMUX_H

#include <stddef.h>
#include <stdint.h>

typedef struct demux {
    unsigned char header[8];
    unsigned have;   /* bytes of it */
    uint32_t stream; /* KILN_STDOUT or KILN_STDERR */
    uint32_t left;   /* bytes of the piece that are still to come */
} demux;

/* Hands each run of bytes to `on_bytes`, which may set *stop. 0; -EPROTO: no such header. */
int demux_push(demux *self, const char *data, size_t length,
               void (*on_bytes)(void *user, uint32_t stream, const char *data, size_t length),
               void *user, const int *stop);
/* In the middle of a header or of a piece. */
int demux_cut(const demux *self);

#endif
