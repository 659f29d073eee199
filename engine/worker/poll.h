/* poll.h - libuv's polls and timers with the lifetime that the engine side needs:
 * freed by a plain call, also from inside their own callback. Thread: loop. */
#ifndef KILN_WORKER_POLL_H
#define KILN_WORKER_POLL_H

#include <uv.h>

typedef struct kiln_poll kiln_poll;
typedef struct kiln_alarm kiln_alarm;

/* Calls back while fd is ready for `events` (UV_READABLE, UV_WRITABLE); an error or
 * hang-up counts as readable. fd stays the caller's, is made non-blocking, and may be
 * closed once the poll is freed. NULL: out of memory. */
kiln_poll *kiln_poll_new(uv_loop_t *loop, int fd, int events,
                         void (*ready)(void *user, int events), void *user);
void kiln_poll_events(kiln_poll *poll, int events);
/* NULL is allowed; *poll becomes NULL. */
void kiln_poll_free(kiln_poll **poll);

/* Calls back once after `milliseconds`, then rests until freed or set again. */
kiln_alarm *kiln_alarm_new(uv_loop_t *loop, uint64_t milliseconds, void (*fire)(void *user),
                           void *user);
void kiln_alarm_again(kiln_alarm *alarm, uint64_t milliseconds);
/* NULL is allowed; *alarm becomes NULL. */
void kiln_alarm_free(kiln_alarm **alarm);

#endif
