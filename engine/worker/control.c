#include "worker/control.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct header {
    uint32_t type;
    uint32_t id;
    uint32_t length;
    uint32_t in_memfd; /* 1: the payload is in the first descriptor */
} header;

typedef union ancillary {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * KILN_CONTROL_FDS)];
} ancillary;

static int write_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

static int read_all(int fd, char *data, size_t length)
{
    size_t at = 0;
    while (at < length) {
        ssize_t n = pread(fd, data + at, length - at, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EPROTO;
        }
        at += (size_t)n;
    }
    return 0;
}

int kiln_control_pair(int pair[2], const char *whose, kiln_error *err)
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0
               ? kiln_error_errno(err, errno, "%s: socketpair", whose)
               : 0;
}

int kiln_control_send(int socket, kiln_control_type type, uint32_t id, const void *payload,
                      size_t length, const int *fds, int fd_count, int flags)
{
    auto_close int memfd = -1;
    int all[KILN_CONTROL_FDS];
    int count = 0;
    if (length > KILN_CONTROL_MAX || fd_count > KILN_CONTROL_FDS - 1) {
        return -E2BIG;
    }
    header head = {(uint32_t)type, id, (uint32_t)length, length > KILN_CONTROL_INLINE};
    if (head.in_memfd) {
        memfd = memfd_create("kiln-control", MFD_CLOEXEC);
        if (memfd < 0) {
            return -errno;
        }
        int rc = write_all(memfd, payload, length);
        if (rc < 0) {
            return rc;
        }
        all[count++] = memfd;
    }
    for (int i = 0; i < fd_count; i++) {
        all[count++] = fds[i];
    }
    struct iovec parts[2] = {{&head, sizeof(head)}, {(void *)(uintptr_t)payload, length}};
    ancillary room;
    struct msghdr message = {
        .msg_iov = parts,
        .msg_iovlen = head.in_memfd || length == 0 ? 1 : 2,
    };
    if (count > 0) {
        memset(&room, 0, sizeof(room)); /* the padding is sent, too */
        message.msg_control = room.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(part), all, sizeof(int) * (size_t)count);
    }
    ssize_t sent;
    do {
        sent = sendmsg(socket, &message, flags | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

static void take_fds(struct msghdr *from, kiln_control_message *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(from); part != NULL;
         part = CMSG_NXTHDR(from, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count && message->fd_count < KILN_CONTROL_FDS; i++) {
            memcpy(&message->fds[message->fd_count++], CMSG_DATA(part) + i * sizeof(int),
                   sizeof(int));
        }
    }
}

static int take_memfd(kiln_control_message *message)
{
    struct stat status;
    if (message->fd_count < 1) {
        return -EPROTO;
    }
    auto_close int memfd = message->fds[0];
    message->fd_count--;
    memmove(message->fds, message->fds + 1, sizeof(int) * (size_t)message->fd_count);
    if (fstat(memfd, &status) < 0 || status.st_size != (off_t)message->length) {
        return -EPROTO;
    }
    message->payload = malloc(message->length + 1);
    if (message->payload == NULL) {
        return -ENOMEM;
    }
    message->payload[message->length] = '\0';
    return read_all(memfd, message->payload, message->length);
}

int kiln_control_receive(int socket, int flags, kiln_control_message *message)
{
    header head;
    ancillary room;
    struct iovec parts[2] = {{&head, sizeof(head)}, {message->small, KILN_CONTROL_INLINE}};
    struct msghdr from = {
        .msg_iov = parts,
        .msg_iovlen = 2,
        .msg_control = room.bytes,
        .msg_controllen = sizeof(room.bytes),
    };
    message->fd_count = 0;
    message->payload = message->small;
    message->length = 0;
    ssize_t got;
    do {
        got = recvmsg(socket, &from, flags | MSG_CMSG_CLOEXEC);
        /* ECONNRESET, told once: a peer that died with messages of ours unread; its own, as
         * why it died, come next. */
    } while (got < 0 && (errno == EINTR || errno == ECONNRESET));
    if (got < 0) {
        return -errno;
    }
    if (got == 0) {
        return 0;
    }
    take_fds(&from, message);
    int rc = -EPROTO;
    if ((size_t)got >= sizeof(head) && (from.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 &&
        head.length <= KILN_CONTROL_MAX) {
        message->type = (kiln_control_type)head.type;
        message->id = head.id;
        message->length = head.length;
        size_t inlined = (size_t)got - sizeof(head);
        if (head.in_memfd) {
            rc = inlined == 0 ? take_memfd(message) : -EPROTO;
        } else {
            rc = inlined == head.length ? 0 : -EPROTO;
            message->small[inlined] = '\0';
        }
    }
    if (rc < 0) {
        kiln_control_clear(message);
        return rc;
    }
    return 1;
}

void kiln_control_clear(kiln_control_message *message)
{
    for (int i = 0; i < message->fd_count; i++) {
        if (message->fds[i] >= 0) {
            close(message->fds[i]);
        }
    }
    message->fd_count = 0;
    if (message->payload != message->small) {
        free(message->payload);
    }
    message->payload = message->small;
    message->length = 0;
}

char **kiln_control_strings(const kiln_control_message *message, size_t offset, uint32_t count,
                            size_t *end)
{
    if (offset > message->length || count > message->length - offset) {
        return NULL; /* each string has at least its NUL */
    }
    char **strings = calloc((size_t)count + 1, sizeof(*strings));
    if (strings == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        char *nul = memchr(message->payload + offset, '\0', message->length - offset);
        if (nul == NULL) {
            free(strings);
            return NULL;
        }
        strings[i] = message->payload + offset;
        offset = (size_t)(nul - message->payload) + 1;
    }
    *end = offset;
    return strings;
}
