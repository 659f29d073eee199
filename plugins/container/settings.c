#include "settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { USER_MAX = 65535, POOL_MAX = 64 };

const kiln_option container_options[] = {
    {"socket", KILN_OPTION_STRING, "",
     "the container engine's Unix socket; empty: DOCKER_HOST, else the first of "
     "/var/run/docker.sock, /run/podman/podman.sock and the rootless ones in XDG_RUNTIME_DIR"},
    {"image", KILN_OPTION_STRING, "docker.io/library/python:3-slim",
     "the image that languages run in"},
    {"images", KILN_OPTION_LIST, "",
     "images of single languages, such as: node=docker.io/library/node:22-slim"},
    {"pull", KILN_OPTION_STRING, "missing", "when images are pulled: missing, never or always"},
    {"auth_file", KILN_OPTION_STRING, "",
     "registry credentials; empty: REGISTRY_AUTH_FILE, containers/auth.json or "
     "~/.docker/config.json"},
    {"files", KILN_OPTION_STRING, "auto",
     "how files reach a container: direct (its work directory, opened from this machine), "
     "archive (copied by the engine's API around each execution), or auto: direct where it can "
     "be"},
    {"user", KILN_OPTION_STRING, "65534:65534",
     "UID:GID, in numbers, that code runs as; not 0"},
    {"mounts", KILN_OPTION_LIST, "",
     "host folders that sessions see, read-only: SOURCE:TARGET, or SOURCE:TARGET:rw"},
    {"env", KILN_OPTION_LIST, "", "variables in every container: NAME=value"},
    {"devices", KILN_OPTION_LIST, "", "devices in every container, such as: /dev/fuse"},
    {"runtime", KILN_OPTION_STRING, "",
     "the OCI runtime, such as runsc or crun, without which nothing is run; empty: the "
     "container "
     "engine's own. Podman takes it from its containers.conf alone"},
    {"network", KILN_OPTION_STRING, "none", "the containers' network, such as none or bridge"},
    {"python", KILN_OPTION_STRING, "python3",
     "the interpreter, in the image, that Python sessions keep their state in; empty: Python "
     "is started anew for each execution, as any [runtime]"},
    {"preload", KILN_OPTION_LIST, "",
     "modules that a container imports when it starts, such as: numpy pandas"},
    {"matplotlib", KILN_OPTION_BOOL, "true",
     "show open matplotlib figures as image/png at the end of each cell"},
    {"dpi", KILN_OPTION_INTEGER, "0",
     "resolution of displayed matplotlib figures, 0: each figure's own"},
    {"init", KILN_OPTION_BOOL, "true",
     "run the container engine's own init, which reaps what code leaves behind"},
    {"pool", KILN_OPTION_INTEGER, "0",
     "started containers that are kept ready for new sessions, for each image in use"},
    {NULL, 0, NULL, NULL},
};

/* One line, to be told by the engine after init has returned. */
static char complaint[400];

static int complain(const char **error, const char *key, const char *value, const char *why)
{
    snprintf(complaint, sizeof(complaint), "%s = %.120s: %s", key, value, why);
    *error = complaint;
    return -EINVAL;
}

/* The words of a list: option() gives them with one space between two. */
static char **split(const char *text)
{
    size_t count = 1;
    for (const char *at = text; *at != '\0'; at++) {
        count += *at == ' ';
    }
    char **words = calloc(count + 1, sizeof(*words));
    size_t used = 0;
    while (words != NULL && *text != '\0') {
        size_t length = strcspn(text, " ");
        if (length > 0 && (words[used++] = strndup(text, length)) == NULL) {
            break;
        }
        text += length + (text[length] != '\0');
    }
    return words;
}

static void free_words(char **words)
{
    for (char **word = words; word != NULL && *word != NULL; word++) {
        free(*word);
    }
    free(words);
}

void settings_free(struct settings *settings)
{
    free_words(settings->images);
    free_words(settings->mounts);
    free_words(settings->env);
    free_words(settings->devices);
    free(settings->auth_file);
}

static int read_number(const char *text, unsigned most, unsigned *number, const char **end)
{
    char *after;
    if (*text < '0' || *text > '9') {
        return -EINVAL;
    }
    unsigned long value = strtoul(text, &after, 10);
    *end = after;
    *number = (unsigned)value;
    return value <= most ? 0 : -ERANGE;
}

static int read_user(struct settings *out, const char *text, const char **error)
{
    const char *end;
    if (read_number(text, USER_MAX, &out->uid, &end) < 0 || *end != ':' ||
        read_number(end + 1, USER_MAX, &out->gid, &end) < 0 || *end != '\0') {
        return complain(error, "user", text, "it is not UID:GID, two numbers below 65536");
    }
    if (out->uid == 0 || out->gid == 0) {
        return complain(error, "user", text, "code does not run as root: take another number");
    }
    return 0;
}

static int read_one_of(const char *key, const char *text, const char *const names[3],
                       const char *why, unsigned *which, const char **error)
{
    for (*which = 0; *which < 3; ++*which) {
        if (strcmp(text, names[*which]) == 0) {
            return 0;
        }
    }
    return complain(error, key, text, why);
}

static int read_ways(struct settings *out, const char *pull, const char *files,
                     const char **error)
{
    static const char *const pulls[] = {"missing", "never", "always"};
    static const char *const ways[] = {"auto", "direct", "archive"};
    unsigned which;
    int rc =
        read_one_of("pull", pull, pulls, "it is one of missing, never, always", &which, error);
    out->pull = (pull_policy)which;
    if (rc == 0) {
        rc = read_one_of("files", files, ways, "it is one of auto, direct, archive", &which,
                         error);
        out->files = (files_way)which;
    }
    return rc;
}

static int check_pairs(char **words, const char *key, char between, const char *why,
                       const char **error)
{
    for (char **word = words; *word != NULL; word++) {
        const char *at = strchr(*word, between);
        if (at == NULL || at == *word || at[1] == '\0') {
            return complain(error, key, *word, why);
        }
    }
    return 0;
}

static int check_mounts(char **mounts, const char **error)
{
    static const char *const why =
        "it is SOURCE:TARGET or SOURCE:TARGET:rw, two absolute paths";
    for (char **mount = mounts; *mount != NULL; mount++) {
        const char *target = strchr(*mount, ':');
        if (**mount != '/' || target == NULL || target[1] != '/') {
            return complain(error, "mounts", *mount, why);
        }
        const char *mode = strchr(target + 1, ':');
        if (mode != NULL && strcmp(mode, ":rw") != 0 && strcmp(mode, ":ro") != 0) {
            return complain(error, "mounts", *mount, why);
        }
    }
    return 0;
}

static char *first_readable(char **candidates, size_t count)
{
    char *found = NULL;
    for (size_t i = 0; i < count; i++) {
        if (found == NULL && candidates[i] != NULL && access(candidates[i], R_OK) == 0) {
            found = candidates[i];
        } else {
            free(candidates[i]);
        }
    }
    return found;
}

static char *join(const char *folder, const char *name)
{
    char *path = NULL;
    return folder != NULL && asprintf(&path, "%s/%s", folder, name) >= 0 ? path : NULL;
}

static int find_auth_file(struct settings *out, const char *configured, const char **error)
{
    if (*configured != '\0') {
        out->auth_file = strdup(configured);
        return access(configured, R_OK) == 0
                   ? 0
                   : complain(error, "auth_file", configured, strerror(errno));
    }
    const char *given = getenv("REGISTRY_AUTH_FILE");
    char *candidates[] = {
        given != NULL ? strdup(given) : NULL,
        join(getenv("XDG_RUNTIME_DIR"), "containers/auth.json"),
        join(getenv("DOCKER_CONFIG"), "config.json"),
        join(getenv("HOME"), ".docker/config.json"),
        join(getenv("HOME"), ".config/containers/auth.json"),
    };
    out->auth_file = first_readable(candidates, sizeof(candidates) / sizeof(candidates[0]));
    return 0;
}

int settings_read(const kiln_host *host, struct settings *out, const char **error)
{
#define OPTION(name) host->option(host, name)
    const char *end;
    const char *pool = OPTION("pool");
    *out = (struct settings){
        .image = OPTION("image"),
        .images = split(OPTION("images")),
        .mounts = split(OPTION("mounts")),
        .env = split(OPTION("env")),
        .devices = split(OPTION("devices")),
        .runtime = OPTION("runtime"),
        .network = OPTION("network"),
        .python = OPTION("python"),
        .preload = OPTION("preload"),
        .matplotlib = OPTION("matplotlib"),
        .dpi = OPTION("dpi"),
        .init = strcmp(OPTION("init"), "true") == 0,
    };
    if (out->images == NULL || out->mounts == NULL || out->env == NULL ||
        out->devices == NULL) {
        *error = "out of memory";
        return -ENOMEM;
    }
    if (read_number(pool, POOL_MAX, &out->pool, &end) < 0 || *end != '\0') {
        return complain(error, "pool", pool, "it is a number from 0 to 64");
    }
    int rc = settings_find_socket(out, OPTION("socket"));
    if (rc < 0) {
        snprintf(complaint, sizeof(complaint), "%s", out->no_socket);
        *error = complaint; /* the settings do not live on */
        return rc;
    }
    rc = rc < 0 ? rc : read_user(out, OPTION("user"), error);
    rc = rc < 0 ? rc : read_ways(out, OPTION("pull"), OPTION("files"), error);
    rc = rc < 0 ? rc : find_auth_file(out, OPTION("auth_file"), error);
    rc = rc < 0 ? rc : check_pairs(out->images, "images", '=', "it is LANGUAGE=IMAGE", error);
    rc = rc < 0 ? rc : check_pairs(out->env, "env", '=', "it is NAME=value", error);
    rc = rc < 0 ? rc : check_mounts(out->mounts, error);
    return rc;
#undef OPTION
}

const char *settings_image(const struct settings *settings, const char *language)
{
    size_t length = strlen(language);
    for (char **word = settings->images; *word != NULL; word++) {
        if (strncmp(*word, language, length) == 0 && (*word)[length] == '=') {
            return *word + length + 1;
        }
    }
    return settings->image;
}

bool settings_has_agent(const struct settings *settings, const char *language)
{
    return strcmp(language, "python") == 0 && settings->python[0] != '\0';
}
