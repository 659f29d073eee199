#include "files/beneath.h"

#include "base/cleanup.h"
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

/* Length of the well-formed UTF-8 character at `p` (RFC 3629, table of section 4), 0: none. */
static int utf8_length(const unsigned char *p)
{
    static const struct {
        unsigned char first_low, first_high, second_low, second_high, length;
    } forms[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (p[0] < forms[i].first_low || p[0] > forms[i].first_high) {
            continue;
        }
        if (forms[i].length > 1 &&
            (p[1] < forms[i].second_low || p[1] > forms[i].second_high)) {
            return 0;
        }
        for (int k = 2; k < forms[i].length; k++) {
            if ((p[k] & 0xc0) != 0x80) {
                return 0;
            }
        }
        return forms[i].length;
    }
    return 0;
}

/* A character to be shown as it is: no C0, DEL or C1 control. */
static int plain_length(const unsigned char *p)
{
    int length = utf8_length(p);
    if (length == 1 && (p[0] < 0x20 || p[0] == 0x7f)) {
        return 0;
    }
    if (length == 2 && p[0] == 0xc2 && p[1] < 0xa0) {
        return 0;
    }
    return length;
}

bool kiln_name_is_plain(const char *name)
{
    const unsigned char *p = (const unsigned char *)name;
    while (*p != '\0') {
        int length = plain_length(p);
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
    size_t used = 0;
    while (*p != '\0') {
        if (used + sizeof("\\x00...") > size) {
            memcpy(text + used, "...", 3);
            used += 3;
            break;
        }
        int length = plain_length(p);
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
