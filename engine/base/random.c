#include "base/random.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static unsigned char store[1024];
static size_t left;

static int fill(void *bytes, size_t length)
{
    ssize_t got;
    do {
        got = getrandom(bytes, length, 0);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : (size_t)got == length ? 0 : -EIO;
}

int kiln_random(void *bytes, size_t length)
{
    if (length > sizeof(store)) {
        return -E2BIG;
    }
    if (left < length) {
        int rc = fill(store, sizeof(store));
        if (rc < 0) {
            left = 0;
            return rc;
        }
        left = sizeof(store);
    }
    left -= length;
    memcpy(bytes, store + left, length);
    explicit_bzero(store + left, length);
    return 0;
}
