#include "eval/accept.h"

#include "base/cleanup.h"
#include "base/write.h"
#include "eval/compare.h"
#include "files/beneath.h"
#include "files/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int put(int to_fd, const char *name, const kiln_buffer *bytes, kiln_error *err)
{
    const char *base;
    char fresh[40];
    auto_close int parent = kiln_open_parent(to_fd, name, &base, false);
    if (parent < 0) {
        return kiln_error_errno(err, parent, "%s", name);
    }
    snprintf(fresh, sizeof(fresh), ".kiln-%ld", (long)getpid());
    unlinkat(parent, fresh, 0); /* of one that was killed */
    auto_close int fd =
        kiln_open_beneath(parent, fresh, O_WRONLY | O_CREAT | O_EXCL, 0644, false);
    int rc = fd < 0 ? fd : 0;
    if (rc == 0 && bytes->length > 0) {
        rc = kiln_write_all(fd, bytes->data, bytes->length);
    }
    if (rc == 0 && renameat(parent, fresh, parent, base) < 0) {
        rc = -errno;
    }
    if (rc < 0) {
        unlinkat(parent, fresh, 0);
        return kiln_error_errno(err, rc, "%s", name);
    }
    return 0;
}

/* The file, and the folders around it as far as they are empty then. */
static int take_away(int from_fd, const char *name, kiln_error *err)
{
    const char *base;
    auto_close int parent = kiln_open_parent(from_fd, name, &base, false);
    if (parent < 0 || unlinkat(parent, base, 0) < 0) {
        return kiln_error_errno(err, parent < 0 ? parent : errno, "%s", name);
    }
    auto_free char *path = strdup(name);
    for (char *slash = path != NULL ? strrchr(path, '/') : NULL; slash != NULL;
         slash = strrchr(path, '/')) {
        *slash = '\0';
        if (unlinkat(from_fd, path, AT_REMOVEDIR) < 0) {
            break;
        }
    }
    return 0;
}

static int accept_all(const kiln_folder *made, const kiln_folder *expected, kiln_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < expected->count; i++) {
        if (kiln_folder_find(made, expected->entries[i].name) == NULL ||
            expected->entries[i].oddity != NULL) {
            rc = take_away(expected->fd, expected->entries[i].name, err);
        }
    }
    for (size_t i = 0; rc == 0 && i < made->count; i++) {
        auto_buffer kiln_buffer bytes = KILN_BUFFER_INIT;
        rc = kiln_folder_load(made, made->entries[i].name, KILN_COMPARE_FILE_MAX, &bytes, err);
        rc = rc < 0 ? rc : put(expected->fd, made->entries[i].name, &bytes, err);
    }
    return rc;
}

int kiln_accept(const char *made_path, const char *path, kiln_error *err)
{
    __attribute__((cleanup(kiln_folder_free))) kiln_folder made = KILN_FOLDER_INIT;
    __attribute__((cleanup(kiln_folder_free))) kiln_folder expected = KILN_FOLDER_INIT;
    if (mkdir(path, 0755) < 0 && errno != EEXIST) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    int rc = kiln_folder_read(made_path, &made, err);
    rc = rc < 0 ? rc : kiln_folder_read(path, &expected, err);
    rc = rc < 0 ? rc : accept_all(&made, &expected, err);
    return rc < 0 ? kiln_error_wrap(err, "%s", path) : 0;
}
