/* root_check.c - [sandbox] root, looked at before anything runs in it. */
#include "base/cleanup.h"
#include "sandbox/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As code would: links lead to what they would inside. A descriptor or -errno. */
static int open_inside(int root, const char *name)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, root, name, &how, sizeof(how));
    return fd < 0 ? -errno : fd;
}

static int open_root(const kiln_sandbox_policy *policy)
{
    int fd =
        open(policy->root[0] != '\0' ? policy->root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static bool is_sessions(const kiln_sandbox_policy *policy, uid_t id)
{
    return kiln_uids_are_ranged(policy) && id >= policy->uid_base &&
           id - policy->uid_base < policy->uid_count;
}

/* Mounted read-only, it could not be written from inside anyhow. But who can write it
 * from outside decides what every session runs. */
static int check_folder(const kiln_sandbox_policy *policy, const char *name,
                        const struct stat *what, kiln_error *err)
{
    const char *root = policy->root;
    if (is_sessions(policy, what->st_uid) || is_sessions(policy, what->st_gid)) {
        return kiln_error_set(err, -EPERM,
                              "[sandbox] root: %s%s belongs to one of the users of [sandbox] "
                              "uids; make it root's (chown -R)",
                              root, name);
    }
    if ((what->st_mode & S_IWOTH) != 0) {
        return kiln_error_set(err, -EPERM,
                              "[sandbox] root: %s%s can be written by everybody; take that "
                              "away (chmod o-w)",
                              root, name);
    }
    if (kiln_uids_are_ranged(policy) &&
        (what->st_mode & (S_IROTH | S_IXOTH)) != (S_IROTH | S_IXOTH)) {
        return kiln_error_set(err, -EACCES,
                              "[sandbox] root: %s%s cannot be read by the users of [sandbox] "
                              "uids; open it to all (chmod o+rx)",
                              root, name);
    }
    return 0;
}

int kiln_sandbox_check_root(const kiln_sandbox_policy *policy, kiln_error *err)
{
    struct stat what;
    bool any = false; /* of the first two; the others may be absent */
    if (policy->root[0] == '\0') {
        return 0;
    }
    auto_close int root = open_root(policy);
    if (root < 0 || fstat(root, &what) < 0) {
        return kiln_error_errno(err, root < 0 ? root : errno, "[sandbox] root: %s",
                                policy->root);
    }
    int rc = check_folder(policy, "", &what, err);
    for (size_t i = 0; rc == 0 && kiln_root_folders[i] != NULL; i++) {
        char name[64];
        auto_close int folder = open_inside(root, kiln_root_folders[i]);
        if (folder < 0 || fstat(folder, &what) < 0 || !S_ISDIR(what.st_mode)) {
            continue;
        }
        any = any || i < 2;
        snprintf(name, sizeof(name), "/%s", kiln_root_folders[i]);
        rc = check_folder(policy, name, &what, err);
    }
    if (rc == 0 && !any) {
        return kiln_error_set(err, -ENOENT,
                              "[sandbox] root: %s has neither /usr nor /bin; make one, for "
                              "example: debootstrap bookworm %s",
                              policy->root, policy->root);
    }
    return rc;
}

static bool is_program(int root, const char *path)
{
    struct stat what;
    auto_close int file = open_inside(root, path);
    return file >= 0 && fstat(file, &what) == 0 && S_ISREG(what.st_mode) &&
           (what.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) != 0;
}

int kiln_sandbox_find_program(const kiln_sandbox_policy *policy, const char *name, char *path,
                              size_t size)
{
    static const char *const folders[] = {"/usr/local/bin/", "/usr/bin/", "/bin/"};
    auto_close int root = open_root(policy);
    if (root >= 0 && strchr(name, '/') != NULL) {
        snprintf(path, size, "%s", name);
        return is_program(root, path) ? 0 : -ENOENT;
    }
    for (size_t i = 0; root >= 0 && i < sizeof(folders) / sizeof(folders[0]); i++) {
        snprintf(path, size, "%s%s", folders[i], name);
        if (is_program(root, path)) {
            return 0;
        }
    }
    return -ENOENT;
}
