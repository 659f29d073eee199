#include "files/beneath.h"

#include "base/cleanup.h"
#include "base/utf8.h"
#include "contract/input.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

int kiln_open_beneath(int dir_fd, const char *path, int flags, mode_t mode, bool one_mount)
{
    struct open_how how = {
        .flags = (unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
        .mode = (flags & O_CREAT) != 0 ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                   (one_mount ? RESOLVE_NO_XDEV : 0),
    };
    if ((flags & O_PATH) == 0) {
        how.flags |= O_NONBLOCK | O_NOCTTY; /* openat2 refuses them beside O_PATH */
    }
    /* EAGAIN also says that something was renamed meanwhile and the kernel could not be
     * sure: worth another try, but the other side may rename for ever. */
    for (int attempt = 0;; attempt++) {
        long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
        if (fd >= 0) {
            return (int)fd;
        }
        if ((errno != EAGAIN && errno != EINTR) || attempt >= 16) {
            return -errno;
        }
    }
}

int kiln_open_parent(int dir_fd, const char *name, const char **base, bool one_mount)
{
    auto_close int folder = kiln_open_beneath(dir_fd, ".", O_PATH | O_DIRECTORY, 0, one_mount);
    if (folder < 0) {
        return folder;
    }
    const char *slash;
    while ((slash = strchr(name, '/')) != NULL) {
        char component[NAME_MAX + 1];
        size_t length = (size_t)(slash - name);
        if (length > NAME_MAX) {
            return -ENAMETOOLONG;
        }
        memcpy(component, name, length);
        component[length] = '\0';
        if (mkdirat(folder, component, 0755) < 0 && errno != EEXIST) {
            return -errno;
        }
        int next = kiln_open_beneath(folder, component, O_PATH | O_DIRECTORY, 0, one_mount);
        if (next < 0) {
            return next;
        }
        close(folder);
        folder = next;
        name = slash + 1;
    }
    *base = name;
    return kiln_steal_fd(&folder);
}

/* A character to be shown as it is: no C0, DEL or C1 control. */
static int plain_length(const unsigned char *p, size_t left)
{
    int length = kiln_utf8_next(p, left);
    if (length == 1 && (p[0] < 0x20 || p[0] == 0x7f)) {
        return 0;
    }
    if (length == 2 && p[0] == 0xc2 && p[1] < 0xa0) {
        return 0;
    }
    return length > 0 ? length : 0;
}

bool kiln_name_is_plain(const char *name)
{
    const unsigned char *p = (const unsigned char *)name;
    const unsigned char *end = p + strlen(name);
    while (p < end) {
        int length = plain_length(p, (size_t)(end - p));
        if (length == 0) {
            return false;
        }
        p += length;
    }
    return true;
}

const char *kiln_printable_name(const char *name, char *text, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = (const unsigned char *)name;
    const unsigned char *end = p + strlen(name);
    size_t used = 0;
    while (p < end) {
        if (used + sizeof("\\x00...") > size) {
            memcpy(text + used, "...", 3);
            used += 3;
            break;
        }
        int length = plain_length(p, (size_t)(end - p));
        if (length == 0) {
            text[used++] = '\\';
            text[used++] = 'x';
            text[used++] = digits[*p >> 4];
            text[used++] = digits[*p & 15];
            p++;
            continue;
        }
        memcpy(text + used, p, (size_t)length);
        used += (size_t)length;
        p += length;
    }
    text[used] = '\0';
    return text;
}
