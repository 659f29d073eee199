/* Where the shipped things are, seen from the running program. */
#include "core/engine.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static bool exists(const char *folder, const char *name)
{
    char path[sizeof(((kiln_paths *)0)->conf) + 64];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return access(path, R_OK) == 0;
}

/* "/a/b" -> "/a"; false at the top. */
static bool go_up(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path) {
        return false;
    }
    *slash = '\0';
    return true;
}

static int join(char *out, size_t size, const char *folder, const char *name)
{
    int length = snprintf(out, size, "%s/%s", folder, name);
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

static int set_paths(kiln_paths *paths, const char *share, const char *lib)
{
    int rc = join(paths->conf, sizeof(paths->conf), share, "conf");
    rc = rc < 0 ? rc : join(paths->scripts, sizeof(paths->scripts), share, "scripts");
    return rc < 0 ? rc : join(paths->plugins, sizeof(paths->plugins), lib, "plugins");
}

int kiln_paths_find(kiln_paths *paths, kiln_error *err)
{
    char folder[sizeof(paths->executable)], top[sizeof(paths->executable)];
    ssize_t length =
        readlink("/proc/self/exe", paths->executable, sizeof(paths->executable) - 1);
    if (length < 0) {
        return kiln_error_errno(err, errno, "/proc/self/exe: is /proc mounted?");
    }
    paths->executable[length] = '\0';
    memcpy(folder, paths->executable, sizeof(folder));
    if (!go_up(folder)) {
        return kiln_error_set(err, ENOENT, "%s: it is in no folder", paths->executable);
    }
    memcpy(top, folder, sizeof(top));
    while (exists(folder, "plugins") && go_up(top)) { /* build/kiln, build/NAME/kiln */
        if (exists(top, "conf/runtimes.ini") && exists(top, "scripts")) {
            return set_paths(paths, top, folder) < 0
                       ? kiln_error_set(err, ENAMETOOLONG, "%s: path is too long", top)
                       : 0;
        }
    }
    memcpy(top, folder, sizeof(top));
    char share[sizeof(paths->executable)], lib[sizeof(paths->executable)];
    if (go_up(top) && join(share, sizeof(share), top, "share/kiln") == 0 &&
        join(lib, sizeof(lib), top, "lib/kiln") == 0 && exists(share, "conf/runtimes.ini")) {
        return set_paths(paths, share, lib) < 0
                   ? kiln_error_set(err, ENAMETOOLONG, "%s: path is too long", top)
                   : 0;
    }
    return kiln_error_set(err, ENOENT,
                          "%s: neither ../conf nor ../share/kiln/conf holds runtimes.ini: "
                          "run it from its build folder or after `make install`",
                          paths->executable);
}
