#include "cli/outdir.h"

#include "base/cleanup.h"
#include "files/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* -ENOTDIR when something else stands there. */
static int make_folder(const char *path)
{
    struct stat st;
    if (mkdir(path, 0755) == 0) {
        return 0;
    }
    if (errno != EEXIST) {
        return -errno;
    }
    if (stat(path, &st) < 0) {
        return -errno;
    }
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int make_temporary(kiln_outdir *outdir, const char *folder)
{
    if (asprintf(&outdir->temporary, "%s/.kiln-XXXXXX", folder) < 0) {
        outdir->temporary = NULL;
        return -ENOMEM;
    }
    int rc = mkdtemp(outdir->temporary) == NULL ? -errno : 0;
    /* mkdtemp gives 0700; it may become the destination itself. */
    mode_t mask = umask(0);
    umask(mask);
    if (rc == 0 && chmod(outdir->temporary, 0755 & ~mask) < 0) {
        rc = -errno;
    }
    if (rc == 0) {
        outdir->fd = open(outdir->temporary, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        rc = outdir->fd < 0 ? -errno : 0;
    }
    if (rc < 0) {
        rmdir(outdir->temporary);
        free(kiln_steal(outdir->temporary));
    }
    return rc;
}

int kiln_outdir_open(kiln_outdir *outdir, const char *out, const char *name, kiln_error *err)
{
    outdir->names = json_object();
    int length = out != NULL ? asprintf(&outdir->path, "%s", out)
                             : asprintf(&outdir->path, "%s_files", name);
    if (length < 0 || outdir->names == NULL) {
        outdir->path = length < 0 ? NULL : outdir->path;
        return kiln_error_set(err, -ENOMEM, "out of memory");
    }
    if (out == NULL) {
        int rc = make_temporary(outdir, ".");
        return rc == -ENOMEM ? kiln_error_set(err, rc, "out of memory") : 0;
    }
    while (length > 1 && outdir->path[length - 1] == '/') {
        outdir->path[--length] = '\0';
    }
    int rc = make_folder(outdir->path);
    if (rc == -ENOTDIR) {
        return kiln_error_set(err, rc, "-o %s: is not a directory", out);
    }
    rc = rc < 0 ? rc : make_temporary(outdir, outdir->path);
    return rc < 0 ? kiln_error_errno(err, rc, "-o %s: cannot write there", out) : 0;
}

int kiln_outdir_note(kiln_outdir *outdir, const json_t *output_files)
{
    size_t i;
    json_t *file;
    json_array_foreach(output_files, i, file)
    {
        const char *name = json_string_value(json_object_get(file, "name"));
        if (name != NULL && json_is_string(json_object_get(file, "path")) &&
            json_object_set_new(outdir->names, name, json_true()) < 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

static int move(const kiln_outdir *outdir, int to_fd, const char *name)
{
    const char *base;
    auto_close int parent = kiln_open_parent(to_fd, name, &base, false);
    if (parent < 0) {
        return parent;
    }
    return renameat(outdir->fd, name, parent, base) < 0 ? -errno : 0;
}

int kiln_outdir_keep(kiln_outdir *outdir, kiln_error *err)
{
    if (outdir->fd < 0 || json_object_size(outdir->names) == 0) {
        return 0;
    }
    int rc = make_folder(outdir->path);
    auto_close int to_fd = rc < 0 ? -1 : open(outdir->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (rc == 0 && to_fd < 0) {
        rc = -errno;
    }
    const char *name = "";
    json_t *unused;
    if (rc == 0) {
        json_object_foreach(outdir->names, name, unused)
        {
            int one = move(outdir, to_fd, name);
            if (one < 0) {
                rc = one;
                break;
            }
        }
    }
    if (rc < 0) {
        kiln_error_set(err, rc, "%s%s%s: cannot put the output files there: %s: they are in %s",
                       outdir->path, *name != '\0' ? "/" : "", name, strerror(-rc),
                       outdir->temporary);
        free(kiln_steal(outdir->temporary)); /* not to be removed */
    }
    return rc;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    remove(path);
    return 0;
}

void kiln_outdir_close(kiln_outdir *outdir)
{
    if (outdir->fd >= 0) {
        close(kiln_steal_fd(&outdir->fd));
    }
    if (outdir->temporary != NULL && rmdir(outdir->temporary) < 0) {
        /* Folders are left, or a file that no result told of; no code ever reached it. */
        nftw(outdir->temporary, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    free(kiln_steal(outdir->temporary));
    free(kiln_steal(outdir->path));
    json_decref(kiln_steal(outdir->names));
}
