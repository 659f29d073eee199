#include "demux.h"

#include <errno.h>
#include <kiln/plugin.h>
#include <string.h>

static int begin_piece(demux *self)
{
    const unsigned char *header = self->header;
    if (header[0] > 2 || header[1] != 0 || header[2] != 0 || header[3] != 0) {
        return -EPROTO;
    }
    self->stream = header[0] == 2 ? KILN_STDERR : KILN_STDOUT;
    self->left = (uint32_t)header[4] << 24 | (uint32_t)header[5] << 16 |
                 (uint32_t)header[6] << 8 | (uint32_t)header[7];
    self->have = 0;
    return 0;
}

int demux_push(demux *self, const char *data, size_t length,
               void (*on_bytes)(void *user, uint32_t stream, const char *data, size_t length),
               void *user, const int *stop)
{
    while (length > 0 && !*stop) {
        if (self->left > 0) {
            size_t part = length < self->left ? length : self->left;
            self->left -= (uint32_t)part;
            on_bytes(user, self->stream, data, part);
            data += part;
            length -= part;
            continue;
        }
        size_t part = sizeof(self->header) - self->have;
        part = part < length ? part : length;
        memcpy(self->header + self->have, data, part);
        self->have += (unsigned)part;
        data += part;
        length -= part;
        if (self->have == sizeof(self->header) && begin_piece(self) < 0) {
            return -EPROTO;
        }
    }
    return 0;
}

int demux_cut(const demux *self)
{
    return self->left > 0 || self->have > 0;
}
