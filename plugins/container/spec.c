/* What a container is created with: everything that it does not need is taken away. */
#include "box.h"
#include "files.h"
#include "sources.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { TMP_SHARE = 4, LEAST_TMP = 1 << 20, NPROC = 4096 };

static json_t *strings(char *const *words)
{
    json_t *array = json_array();
    for (; words != NULL && *words != NULL; words++) {
        json_array_append_new(array, json_string(*words));
    }
    return array;
}

/* The agent's interpreter, or what waits for the end of its input. */
static json_t *command(const struct box *box, size_t parts_length)
{
    char length[32];
    if (!box->has_agent) {
        return json_pack("[s]", "cat");
    }
    snprintf(length, sizeof(length), "%zu", parts_length);
    return json_pack("[s,s,s,s,s,s]", box->self->settings.python, "-I", "-B", "-c",
                     agent_boot(), length);
}

static json_t *environment(const struct box *box)
{
    json_t *env = strings(box->self->settings.env);
    json_array_append_new(env, json_string("HOME=/work"));
    return env;
}

static void add_tmpfs(json_t *tmpfs, const char *path, uint64_t size, const char *more)
{
    char options[256];
    snprintf(options, sizeof(options), "rw,nosuid,nodev,size=%llu%s", (unsigned long long)size,
             more);
    json_object_set_new(tmpfs, path, json_string(options));
}

/* What else bounds a tmpfs; Podman knows no nr_inodes, see root_limit_files. */
static void bounds(const struct box *box, char *text, size_t size)
{
    text[0] = '\0';
    if (box->self->kind == ENGINE_DOCKER && box->limits.files > 0) {
        snprintf(text, size, ",nr_inodes=%llu", (unsigned long long)box->limits.files + 2);
    }
}

/* Docker's archive API sees no tmpfs, but a volume that is one. */
static bool work_is_volume(const struct box *box)
{
    return box->self->archive && box->self->kind == ENGINE_DOCKER;
}

static json_t *volumes(const struct box *box)
{
    char more[64], options[160];
    bounds(box, more, sizeof(more));
    snprintf(options, sizeof(options), "size=%llu,mode=1777,nosuid,nodev%s",
             (unsigned long long)files_disk(&box->limits), more);
    return work_is_volume(box)
               ? json_pack("[{s:s, s:s, s:{s:{s:s, s:{s:s, s:s, s:s}}}}]", "Type", "volume",
                           "Target", "/work", "VolumeOptions", "DriverConfig", "Name", "local",
                           "Options", "type", "tmpfs", "device", "tmpfs", "o", options)
               : json_array();
}

/* All of them hold memory, and so the limit on memory holds for all together. */
static json_t *tmpfs(const struct box *box)
{
    uint64_t disk = files_disk(&box->limits);
    char more[64], work[128], code[128], rest[128];
    bounds(box, more, sizeof(more));
    snprintf(work, sizeof(work), ",exec,mode=%s%s", box->self->archive ? "1777" : "0755", more);
    snprintf(code, sizeof(code), ",exec,mode=1777%s", more);
    snprintf(rest, sizeof(rest), ",mode=1777%s", more);
    uint64_t tmp = disk / TMP_SHARE > LEAST_TMP ? disk / TMP_SHARE : LEAST_TMP;
    json_t *all = json_object();
    if (!work_is_volume(box)) {
        add_tmpfs(all, "/work", disk, work);
    }
    add_tmpfs(all, "/code", disk, code);
    add_tmpfs(all, "/tmp", tmp, code);
    /* Podman would put unbounded ones there. */
    add_tmpfs(all, "/run", LEAST_TMP, ",mode=0755");
    add_tmpfs(all, "/var/tmp", tmp, rest);
    return all;
}

static json_t *ulimits(const struct box *box)
{
    struct rlimit now;
    json_t *all = json_array();
    if (box->limits.open_files > 0) {
        json_array_append_new(all, json_pack("{s:s, s:I, s:I}", "Name", "nofile", "Soft",
                                             (json_int_t)box->limits.open_files, "Hard",
                                             (json_int_t)box->limits.open_files));
    }
    if (box->limits.file_size > 0) {
        json_array_append_new(all, json_pack("{s:s, s:I, s:I}", "Name", "fsize", "Soft",
                                             (json_int_t)box->limits.file_size, "Hard",
                                             (json_int_t)box->limits.file_size));
    }
    json_array_append_new(all,
                          json_pack("{s:s, s:i, s:i}", "Name", "core", "Soft", 0, "Hard", 0));
    /* Counted by user over all containers, so no limit of ours (that is PidsLimit); but
     * engines ask for more than they may raise where the host's own is low. */
    if (getrlimit(RLIMIT_NPROC, &now) == 0 && now.rlim_max != RLIM_INFINITY) {
        json_int_t most = now.rlim_max < NPROC ? (json_int_t)now.rlim_max : NPROC;
        json_array_append_new(
            all, json_pack("{s:s, s:I, s:I}", "Name", "nproc", "Soft", most, "Hard", most));
    }
    return all;
}

static json_t *binds(char *const *mounts)
{
    json_t *all = json_array();
    for (; *mounts != NULL; mounts++) {
        size_t length = strlen(*mounts);
        bool mode = length > 3 && ((*mounts)[length - 3] == ':');
        char *text = NULL;
        if (asprintf(&text, "%s%s", *mounts, mode ? "" : ":ro") >= 0) {
            json_array_append_new(all, json_string(text));
        }
        free(text);
    }
    return all;
}

static json_t *devices(char *const *names)
{
    json_t *all = json_array();
    for (; *names != NULL; names++) {
        const char *inside = strchr(*names, ':');
        json_array_append_new(
            all, json_pack("{s:s%, s:s, s:s}", "PathOnHost", *names,
                           inside != NULL ? (size_t)(inside - *names) : strlen(*names),
                           "PathInContainer", inside != NULL ? inside + 1 : *names,
                           "CgroupPermissions", "rw"));
    }
    return all;
}

static json_t *host_config(const struct box *box)
{
    const struct settings *settings = &box->self->settings;
    const kiln_limits *limits = &box->limits;
    json_t *config = json_pack(
        "{s:b, s:b, s:[s], s:[s], s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:{s:s}, s:{s:s}}", "Init",
        settings->init, "ReadonlyRootfs", 1, "CapDrop", "ALL", "SecurityOpt",
        "no-new-privileges", "NetworkMode", settings->network, "IpcMode", "private", "Tmpfs",
        tmpfs(box), "Ulimits", ulimits(box), "Binds", binds(settings->mounts), "Devices",
        devices(settings->devices), "Mounts", volumes(box), "RestartPolicy", "Name", "no",
        "LogConfig", "Type", "none");
    if (config == NULL) {
        return NULL;
    }
    if (limits->memory > 0) { /* no swap beside it */
        json_object_set_new(config, "Memory", json_integer((json_int_t)limits->memory));
        json_object_set_new(config, "MemorySwap", json_integer((json_int_t)limits->memory));
        json_object_set_new(config, "ShmSize",
                            json_integer((json_int_t)(limits->memory / TMP_SHARE)));
    }
    if (limits->processes > 0) { /* and the engine's init, and what holds the box */
        json_object_set_new(config, "PidsLimit",
                            json_integer((json_int_t)limits->processes + 3));
    }
    if (limits->cpus > 0) {
        json_object_set_new(config, "NanoCpus",
                            json_integer((json_int_t)limits->cpus * 1000000));
    }
    if (settings->runtime[0] != '\0') {
        json_object_set_new(config, "Runtime", json_string(settings->runtime));
    }
    return config;
}

json_t *box_spec(const struct box *box)
{
    const struct settings *settings = &box->self->settings;
    size_t parts_length = 0;
    char user[32];
    char *parts = agent_parts(box->options, &parts_length);
    free(parts);
    /* What holds a box without agent is nobody that the code could signal. */
    unsigned uid = box->has_agent       ? settings->uid
                   : settings->uid == 1 ? settings->uid + 1
                                        : settings->uid - 1;
    snprintf(user, sizeof(user), "%u:%u", uid, settings->gid);
    json_t *spec =
        json_pack("{s:s, s:[], s:o, s:o, s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:{s:s}, "
                  "s:{s:[s]}, s:o}",
                  "Image", box->image, "Entrypoint", "Cmd", command(box, parts_length), "Env",
                  environment(box), "User", user, "WorkingDir", "/work", "OpenStdin", 1,
                  "StdinOnce", 1, "AttachStdin", 1, "AttachStdout", 1, "AttachStderr", 1, "Tty",
                  0, "Labels", "kiln.engine", box->self->owner, "Healthcheck", "Test", "NONE",
                  "HostConfig", host_config(box));
    return spec;
}
