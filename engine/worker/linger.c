#include "worker/linger.h"

#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct kiln_linger {
    uv_prepare_t handle; /* first */
    uint64_t until_ns;
};

static unsigned awaited; /* answers, of all zygotes' workers */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Before the loop would sleep: anything that it waits for ends this, not the answer alone. */
static void on_prepare(uv_prepare_t *handle)
{
    kiln_linger *linger = (kiln_linger *)handle;
    struct pollfd any = {.fd = uv_backend_fd(handle->loop), .events = POLLIN};
    while (awaited == 1 && now_ns() < linger->until_ns && poll(&any, 1, 0) == 0) {
        sched_yield();
    }
}

kiln_linger *kiln_linger_new(uv_loop_t *loop)
{
    cpu_set_t usable;
    if (sched_getaffinity(0, sizeof(usable), &usable) == 0 && CPU_COUNT(&usable) < 2) {
        return NULL;
    }
    kiln_linger *linger = calloc(1, sizeof(*linger));
    if (linger == NULL || uv_prepare_init(loop, &linger->handle) < 0) {
        free(linger);
        return NULL;
    }
    uv_prepare_start(&linger->handle, on_prepare);
    uv_unref((uv_handle_t *)&linger->handle);
    return linger;
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

void kiln_linger_free(kiln_linger **linger)
{
    if (*linger != NULL) {
        uv_close((uv_handle_t *)&(*linger)->handle, free_handle);
        *linger = NULL;
    }
}

bool kiln_linger_begin(kiln_linger *linger)
{
    awaited++;
    if (linger == NULL || awaited > 1) {
        return false;
    }
    linger->until_ns = now_ns() + KILN_LINGER_US * UINT64_C(1000);
    return true;
}

void kiln_linger_end(kiln_linger *linger)
{
    awaited--;
    if (linger != NULL) {
        linger->until_ns = 0;
    }
}

unsigned kiln_linger_awaited(void)
{
    return awaited;
}
