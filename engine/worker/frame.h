/* frame.h - what goes between the engine and a worker, in either direction.
 *
 * THE FORMAT (this comment is the one document of it)
 *
 *   A frame is an 8-byte header and a payload.
 *     bytes 0-3  payload length, unsigned, little endian
 *     byte  4    type
 *     byte  5    version, 1
 *     bytes 6-7  0
 *
 *   engine -> worker
 *     0x01 EXECUTE  packed, little endian: u32 id, u64 execution count, u32 bytes of the
 *                   code, u32 of the cell id, u32 of stdin (both: all ones when there is
 *                   none), u32 arguments, u32 variables, u32 microseconds to stay awake
 *                   for the next request (Python: "<IQ6I"); then code, cell id, stdin,
 *                   each argument and each NAME=value, each followed by a NUL
 *     0x02 ANALYZE  JSON {"id":1,"code":""}
 *     0x03 QUERY    JSON {"id":1,"name":"complete","arguments":{...}}
 *     0x04 INTERRUPT JSON {"id":1}: stop the running cell or query, if it is that one. Only
 *                   to a worker elsewhere; one of this machine gets SIGINT
 *     0x05 REHEARSE packed: u32 id, u32 turn, u32 1 at the last turn, else 0. Answered by a
 *                   DONE with its id, as a cell is; see kiln_worker.rehearse
 *     0x06 RETURN   u32 number of the CALL, then bytes that the callee has made
 *     0x08 FORK     JSON {"id":1,"snapshot":false}: make a second worker of yourself
 *     0x09 RESUME   empty: to a snapshot, which is the worker from now on
 *   worker -> engine
 *     0x41 STDOUT   raw bytes
 *     0x42 STDERR   raw bytes
 *     0x43 DISPLAY, 0x44 RESULT, 0x45 ERROR, 0x46 UPDATE, 0x47 CLEAR
 *                   JSON as kiln_event's in plugin.h
 *     0x50 DONE     packed, 24 bytes: u32 id, u8 status (0 ok, 1 error, 2 interrupted),
 *                   u8 1 when there is an exit code, u8 exit code (else 0), u8 1 when
 *                   descriptors 1 and 2 still hold what was written to them, else 0, u64
 *                   CPU microseconds, u64 bytes of the largest resident set; each below
 *                   2^60 (Python: "<I4B2Q")
 *     0x51 ANALYSIS JSON {"id":1,"analysis":{...}} as kiln_worker.analyze
 *     0x52 READY    empty: start() is done (sent once, first)
 *     0x53 FAILED   raw text: start() failed; the worker exits
 *     0x54 REPLY    JSON {"id":1,"reply":...} or {"id":1,"error":"text"}, as
 *                   kiln_worker.query; what `reply` holds is the asker's affair
 *     0x55 CALL     u32 id of the cell, u32 number, then bytes: what they hold is the affair
 *                   of the two ends (native/value.h)
 *     0x58 FORKABLE JSON {"id":1,"refusal":null|"why not"}
 *     0x59 FORKED   JSON {"id":1,"pid":7,"error":null|"why"}
 *
 *   An EXECUTE is answered by any number of 0x41-0x47 and one DONE with its id, an
 *   ANALYZE by one ANALYSIS and a QUERY by one REPLY. One request at a time.
 *   A CALL, of a cell that runs, is answered by one RETURN with its number, or by none when
 *   the cell ends before. The numbers rise; a CALL before the RETURN of the last gives that
 *   one up, and a RETURN for it that is on its way is thrown away.
 *   A FORK is answered by FORKABLE; without a refusal the engine then sends one byte with
 *   descriptors (KILN_FORK_*), which is answered by FORKED, and by the fork's READY or
 *   FAILED on its own socket.
 *   Anything else, in type, length, version, order, or shape of a DONE, ANALYSIS or
 *   REPLY, is a bad frame and ends the worker. An output of the wrong shape is left
 *   out of the result, which says so; one that comes while no cell runs is dropped.
 *   SIGINT to the worker asks the running cell or query to stop.
 *
 * The decoder trusts nothing; the encoder cannot fail but for memory. */
#ifndef KILN_WORKER_FRAME_H
#define KILN_WORKER_FRAME_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    KILN_FRAME_HEADER = 8,
    KILN_FRAME_VERSION = 1,
    KILN_FRAME_TO_WORKER_MAX = 128 << 20, /* bytes of payload */
    KILN_FRAME_TO_ENGINE_MAX = 32 << 20,
    KILN_FRAME_REPLY_MAX = 4 << 20,
    KILN_FRAME_CALL_MAX = (16 << 20) + 1024, /* of CALL and RETURN */
};

typedef enum kiln_frame_type {
    KILN_FRAME_EXECUTE = 0x01,
    KILN_FRAME_ANALYZE = 0x02,
    KILN_FRAME_QUERY = 0x03,
    KILN_FRAME_INTERRUPT = 0x04,
    KILN_FRAME_REHEARSE = 0x05,
    KILN_FRAME_RETURN = 0x06,
    KILN_FRAME_FORK = 0x08,
    KILN_FRAME_RESUME = 0x09,
    KILN_FRAME_STDOUT = 0x41,
    KILN_FRAME_STDERR = 0x42,
    KILN_FRAME_DISPLAY = 0x43,
    KILN_FRAME_RESULT = 0x44,
    KILN_FRAME_ERROR = 0x45,
    KILN_FRAME_UPDATE = 0x46,
    KILN_FRAME_CLEAR = 0x47,
    KILN_FRAME_DONE = 0x50,
    KILN_FRAME_ANALYSIS = 0x51,
    KILN_FRAME_READY = 0x52,
    KILN_FRAME_FAILED = 0x53,
    KILN_FRAME_REPLY = 0x54,
    KILN_FRAME_CALL = 0x55,
    KILN_FRAME_FORKABLE = 0x58,
    KILN_FRAME_FORKED = 0x59,
} kiln_frame_type;

/* The byte that follows a FORKABLE without refusal, outside of frames, for the descriptors
 * that go with it. */
enum {
    KILN_FORK_BRANCH = 'b',   /* user, mnt, ipc, pid namespace; cgroups; as a snapshot */
    KILN_FORK_SNAPSHOT = 's', /* 0, 1, 2, frame socket */
    KILN_FORK_CANCEL = 'x',
    KILN_FORK_CGROUPS_MAX = 4,
};

typedef struct kiln_frame {
    kiln_frame_type type;
    const char *payload; /* borrowed from the buffer it was decoded from */
    size_t length;
} kiln_frame;

void kiln_frame_header(unsigned char header[KILN_FRAME_HEADER], kiln_frame_type type,
                       uint32_t length);
/* Appends header and payload; 0, -ENOMEM, -E2BIG. */
int kiln_frame_append(kiln_buffer *out, kiln_frame_type type, const void *payload,
                      size_t length);

/* Looks at the front of data. 1: *frame is filled and *used bytes belong to it;
 * 0: more bytes are needed (*used is what the whole frame needs, if the header is
 * there, else 8); -EPROTO: a bad frame, err says why. `to_engine` tells which
 * direction's types and sizes are allowed. */
int kiln_frame_decode(const char *data, size_t length, bool to_engine, kiln_frame *frame,
                      size_t *used, kiln_error *err);

#endif
