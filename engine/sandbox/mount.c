#include "sandbox/mount.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

static unsigned long flags_of(uint64_t attributes)
{
    return ((attributes & MOUNT_ATTR_RDONLY) != 0 ? MS_RDONLY : 0UL) |
           ((attributes & MOUNT_ATTR_NOSUID) != 0 ? MS_NOSUID : 0UL) |
           ((attributes & MOUNT_ATTR_NODEV) != 0 ? MS_NODEV : 0UL) |
           ((attributes & MOUNT_ATTR_NOEXEC) != 0 ? MS_NOEXEC : 0UL);
}

/* A remount sets all flags anew: those that the mount has must be said again, for an
 * ordinary user may not clear what the host has set. */
static int remount(const char *path, uint64_t attributes)
{
    static const struct {
        unsigned long st, ms;
    } kept[] = {
        {ST_RDONLY, MS_RDONLY},     {ST_NOSUID, MS_NOSUID},   {ST_NODEV, MS_NODEV},
        {ST_NOEXEC, MS_NOEXEC},     {ST_NOATIME, MS_NOATIME}, {ST_NODIRATIME, MS_NODIRATIME},
        {ST_RELATIME, MS_RELATIME},
    };
    struct statvfs now;
    if (statvfs(path, &now) < 0) {
        return -errno;
    }
    unsigned long flags = MS_REMOUNT | MS_BIND | flags_of(attributes);
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        flags |= (now.f_flag & kept[i].st) != 0 ? kept[i].ms : 0;
    }
    return mount(NULL, path, NULL, flags, NULL) < 0 ? -errno : 0;
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *text)
{
    char *out = text;
    for (const char *in = text; *in != '\0'; in++) {
        if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] != '\0' && in[3] != '\0') {
            *out++ = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
            in += 3;
        } else {
            *out++ = *in;
        }
    }
    *out = '\0';
}

/* Before Linux 5.12: one remount for each mount at or below `top`. */
static int remount_tree(const char *top, uint64_t attributes)
{
    auto_fclose FILE *file = fopen("/proc/self/mountinfo", "re");
    if (file == NULL) {
        return -errno;
    }
    auto_free char *line = NULL;
    size_t size = 0;
    size_t length = strlen(top);
    while (getline(&line, &size, file) > 0) {
        char *rest = line;
        char *field = NULL;
        for (int i = 0; i < 5; i++) {
            field = strsep(&rest, " ");
        }
        if (field == NULL) {
            return -EPROTO;
        }
        unescape(field);
        if (strncmp(field, top, length) != 0 ||
            (field[length] != '\0' && field[length] != '/')) {
            continue;
        }
        int rc = remount(field, attributes);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int path_of(int root_fd, const char *target, char path[4096])
{
    char link[64];
    char root[2048];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", root_fd);
    ssize_t length = readlink(link, root, sizeof(root) - 1);
    if (length < 0) {
        return -errno;
    }
    root[length] = '\0';
    int used = snprintf(path, 4096, target[0] != '\0' ? "%s/%s" : "%s%s", root, target);
    return used < 0 || used >= 4096 ? -ENAMETOOLONG : 0;
}

static int bind_by_mount(int source, int root_fd, const char *target, uint64_t attributes)
{
    char from[64];
    char path[4096];
    snprintf(from, sizeof(from), "/proc/self/fd/%d", source);
    int rc = path_of(root_fd, target, path);
    if (rc < 0) {
        return rc;
    }
    if (mount(from, path, NULL, MS_BIND | MS_REC, NULL) < 0) {
        return -errno;
    }
    return remount_tree(path, attributes);
}

int kiln_mount_bind(int source, int root_fd, const char *target, uint64_t attributes)
{
    auto_close int tree = open_tree(
        source, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (tree < 0) {
        return errno == ENOSYS ? bind_by_mount(source, root_fd, target, attributes) : -errno;
    }
    struct mount_attr attr = {.attr_set = attributes};
    if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0) {
        return errno == ENOSYS ? bind_by_mount(source, root_fd, target, attributes) : -errno;
    }
    return move_mount(tree, "", root_fd, target, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

int kiln_mount_restrict(int root_fd, const char *target, uint64_t attributes)
{
    struct mount_attr attr = {.attr_set = attributes};
    if (mount_setattr(root_fd, target, AT_EMPTY_PATH, &attr, sizeof(attr)) == 0) {
        return 0;
    }
    if (errno != ENOSYS) {
        return -errno;
    }
    char path[4096];
    int rc = path_of(root_fd, target, path);
    return rc < 0 ? rc : remount(path, attributes);
}

static int new_by_mount(const char *type, const char *const *options, const char *target,
                        uint64_t attributes, int *fd, kiln_error *err)
{
    char data[512] = "";
    size_t used = 0;
    for (size_t i = 0; options[i] != NULL; i++) {
        int more =
            snprintf(data + used, sizeof(data) - used, "%s%s", i > 0 ? "," : "", options[i]);
        if (more < 0 || (size_t)more >= sizeof(data) - used) {
            return kiln_error_set(err, -E2BIG, "mount %s: too many options", target);
        }
        used += (size_t)more;
    }
    if (mount(type, target, type, flags_of(attributes), data) < 0) {
        return kiln_error_errno(err, errno, "mount %s on %s", type, target);
    }
    if (fd != NULL) {
        *fd = open(target, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (*fd < 0) {
            return kiln_error_errno(err, errno, "mount %s on %s: open", type, target);
        }
    }
    return 0;
}

int kiln_mount_new(const char *type, const char *const *options, const char *target,
                   uint64_t attributes, int *fd, kiln_error *err)
{
    auto_close int context = fsopen(type, FSOPEN_CLOEXEC);
    if (context < 0) {
        return errno == ENOSYS ? new_by_mount(type, options, target, attributes, fd, err)
                               : kiln_error_errno(err, errno, "mount %s", type);
    }
    for (size_t i = 0; options[i] != NULL; i++) {
        char name[64];
        const char *equals = strchr(options[i], '=');
        size_t length = equals != NULL ? (size_t)(equals - options[i]) : 0;
        if (equals == NULL || length >= sizeof(name)) {
            return kiln_error_set(err, -EINVAL, "mount %s: option \"%s\"", type, options[i]);
        }
        memcpy(name, options[i], length);
        name[length] = '\0';
        if (fsconfig(context, FSCONFIG_SET_STRING, name, equals + 1, 0) < 0) {
            return kiln_error_errno(err, errno, "mount %s: option \"%s\"", type, options[i]);
        }
    }
    if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return kiln_error_errno(err, errno, "mount %s", type);
    }
    auto_close int mounted = fsmount(context, FSMOUNT_CLOEXEC, (unsigned)attributes);
    if (mounted < 0) {
        return kiln_error_errno(err, errno, "mount %s", type);
    }
    if (move_mount(mounted, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        return kiln_error_errno(err, errno, "mount %s on %s", type, target);
    }
    if (fd != NULL) {
        *fd = kiln_steal_fd(&mounted);
    }
    return 0;
}
