/* Where the container engine listens. */
#include "settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_socket(const char *path)
{
    struct stat what;
    return stat(path, &what) == 0 && S_ISSOCK(what.st_mode);
}

static int refuse(struct settings *settings, const char *where, const char *value,
                  const char *why)
{
    snprintf(settings->no_socket, sizeof(settings->no_socket), "%s %.160s: %s", where, value,
             why);
    return -EINVAL;
}

/* A path, or unix://path. It may not be there yet: the engine may be started later. */
static int take(struct settings *settings, const char *where, const char *value)
{
    const char *path = strncmp(value, "unix://", 7) == 0 ? value + 7 : value;
    if (*path != '/') {
        return refuse(settings, where, value,
                      "it is no Unix socket: name one by its absolute path or as unix:///path");
    }
    if (strlen(path) >= sizeof(settings->socket)) {
        return refuse(settings, where, value,
                      "a Unix socket's path has at most 107 characters");
    }
    snprintf(settings->socket, sizeof(settings->socket), "%s", path);
    return 0;
}

int settings_find_socket(struct settings *settings, const char *configured)
{
    const char *from_environment = getenv("DOCKER_HOST");
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char rootless[3][160] = {"", "", ""};
    if (*configured != '\0') {
        return take(settings, "socket =", configured);
    }
    if (from_environment != NULL && *from_environment != '\0') {
        return take(settings, "DOCKER_HOST =", from_environment);
    }
    if (runtime != NULL) {
        snprintf(rootless[0], sizeof(rootless[0]), "%.120s/docker.sock", runtime);
        snprintf(rootless[1], sizeof(rootless[1]), "%.120s/podman/podman.sock", runtime);
    }
    const char *home = getenv("HOME");
    if (home != NULL) {
        snprintf(rootless[2], sizeof(rootless[2]), "%.120s/.docker/run/docker.sock", home);
    }
    const char *const usual[] = {rootless[0],
                                 rootless[1],
                                 rootless[2],
                                 "/var/run/docker.sock",
                                 "/run/podman/podman.sock",
                                 NULL};
    for (size_t i = 0; usual[i] != NULL; i++) {
        if (is_socket(usual[i])) {
            return take(settings, "socket", usual[i]);
        }
    }
    snprintf(settings->no_socket, sizeof(settings->no_socket),
             "no container engine was found: neither /var/run/docker.sock nor "
             "/run/podman/podman.sock nor a rootless one is there; start one, or set socket "
             "in [backend container]");
    return 0;
}
