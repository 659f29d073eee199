#include "worker/poll.h"

#include <stdlib.h>

struct kiln_poll {
    uv_poll_t handle; /* first: uv_handle_t * is kiln_poll * */
    int events;
    void (*ready)(void *user, int events);
    void *user;
};

struct kiln_alarm {
    uv_timer_t handle; /* first */
    void (*fire)(void *user);
    void *user;
};

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    kiln_poll *poll = (kiln_poll *)handle;
    if (status < 0) {
        /* libuv stops on EPOLLERR; what is left to read, and the error, are the
         * reader's to find. */
        uv_poll_start(handle, poll->events, on_poll);
        events = UV_READABLE;
    }
    if ((events & UV_DISCONNECT) != 0) {
        events |= UV_READABLE;
    }
    poll->ready(poll->user, events);
}

kiln_poll *kiln_poll_new(uv_loop_t *loop, int fd, int events,
                         void (*ready)(void *user, int events), void *user)
{
    kiln_poll *poll = calloc(1, sizeof(*poll));
    if (poll == NULL) {
        return NULL;
    }
    if (uv_poll_init(loop, &poll->handle, fd) < 0) {
        free(poll);
        return NULL;
    }
    poll->events = events;
    poll->ready = ready;
    poll->user = user;
    uv_poll_start(&poll->handle, events, on_poll);
    return poll;
}

void kiln_poll_events(kiln_poll *poll, int events)
{
    if (poll->events != events) {
        poll->events = events;
        uv_poll_start(&poll->handle, events, on_poll);
    }
}

void kiln_poll_free(kiln_poll **poll)
{
    if (*poll != NULL) {
        uv_close((uv_handle_t *)&(*poll)->handle, free_handle);
        *poll = NULL;
    }
}

static void on_timer(uv_timer_t *handle)
{
    kiln_alarm *alarm = (kiln_alarm *)handle;
    alarm->fire(alarm->user);
}

kiln_alarm *kiln_alarm_new(uv_loop_t *loop, uint64_t milliseconds, void (*fire)(void *user),
                           void *user)
{
    kiln_alarm *alarm = calloc(1, sizeof(*alarm));
    if (alarm == NULL) {
        return NULL;
    }
    uv_timer_init(loop, &alarm->handle);
    alarm->fire = fire;
    alarm->user = user;
    /* The loop's idea of now may be old, and no deadline may come early. */
    uv_update_time(loop);
    uv_timer_start(&alarm->handle, on_timer, milliseconds, 0);
    return alarm;
}

void kiln_alarm_again(kiln_alarm *alarm, uint64_t milliseconds)
{
    uv_timer_start(&alarm->handle, on_timer, milliseconds, 0);
}

void kiln_alarm_free(kiln_alarm **alarm)
{
    if (*alarm != NULL) {
        uv_close((uv_handle_t *)&(*alarm)->handle, free_handle);
        *alarm = NULL;
    }
}
