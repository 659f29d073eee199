#include "files/read.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { CHUNK = 65536 };

int kiln_read_descriptor(int fd, size_t max, kiln_buffer *bytes, kiln_error *err)
{
    size_t before = bytes->length;
    for (;;) {
        if (kiln_buffer_reserve(bytes, CHUNK) < 0) {
            return kiln_error_set(err, ENOMEM, "out of memory");
        }
        ssize_t got = read(fd, bytes->data + bytes->length, CHUNK);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return kiln_error_errno(err, errno, "cannot be read");
        }
        bytes->length += (size_t)got;
        bytes->data[bytes->length] = '\0';
        if (got == 0) {
            return 0;
        }
        if (bytes->length - before > max) {
            return kiln_error_set(err, E2BIG, "is larger than %zu bytes", max);
        }
    }
}

int kiln_read_file(const char *path, size_t max, kiln_buffer *bytes, kiln_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return kiln_error_set(err, EINVAL, "%s: is no regular file", path);
    }
    return kiln_read_descriptor(fd, max, bytes, err) < 0 ? kiln_error_wrap(err, "%s", path) : 0;
}
