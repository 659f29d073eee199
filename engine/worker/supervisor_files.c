/* supervisor_files.c - the files of a session that is branched, or can be undone: copied by the
 * supervisor, in whose namespaces they belong to somebody. */
#include "worker/supervisor-t.h"

#include "base/cleanup.h"
#include "files/mirror.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const folders[] = {"work", "code", "tmp", "shm"};
enum { FOLDERS = sizeof(folders) / sizeof(folders[0]) };

static bool open_folder(int root, const char *name, int *folder, kiln_error *err)
{
    *folder = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*folder < 0) {
        kiln_error_errno(err, errno, "files: %s", name);
    }
    return *folder >= 0;
}

/* A folder of ours in a session's root, where code has no right. */
static int private_folder(int root, const char *name, kiln_error *err)
{
    if (mkdirat(root, name, 0700) < 0 && errno != EEXIST) {
        return kiln_error_errno(err, errno, "files: no room for a copy; raise [limits] disk");
    }
    int fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? kiln_error_errno(err, errno, "files: %s", name) : fd;
}

/* All four folders below `from` into those below `to`, which is `root` or a folder of it. */
static int mirror_folders(int from, int to, int root, kiln_error *err)
{
    auto_close int trash = private_folder(root, "trash", err);
    int rc = trash < 0 ? trash : 0;
    for (int i = 0; rc == 0 && i < FOLDERS; i++) {
        auto_close int source = -1;
        auto_close int target = -1;
        if (!open_folder(from, folders[i], &source, err) ||
            !open_folder(to, folders[i], &target, err)) {
            return err->code;
        }
        rc = kiln_mirror(source, target, trash, err);
    }
    unlinkat(root, "trash", AT_REMOVEDIR);
    return rc;
}

int kiln_supervisor_copy_files(const kiln_supervisor *self, int from, kiln_error *err)
{
    return mirror_folders(from, self->root_fd, self->root_fd, err);
}

int kiln_supervisor_save_files(const kiln_supervisor *self, kiln_error *err)
{
    auto_close int saved = private_folder(self->root_fd, "saved", err);
    if (saved < 0) {
        return saved;
    }
    for (int i = 0; i < FOLDERS; i++) {
        if (mkdirat(saved, folders[i], 0700) < 0 && errno != EEXIST) {
            return kiln_error_errno(err, errno, "files: saving %s", folders[i]);
        }
    }
    return mirror_folders(self->root_fd, saved, self->root_fd, err);
}

int kiln_supervisor_restore_files(const kiln_supervisor *self, kiln_error *err)
{
    auto_close int saved = private_folder(self->root_fd, "saved", err);
    return saved < 0 ? saved : mirror_folders(saved, self->root_fd, self->root_fd, err);
}
