/* box.c - the steps in which a box is made. */
#include "box.h"

#include "agent.h"
#include "image.h"
#include "mirror.h"
#include "root.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static void become_ready(struct box *box)
{
    reading now;
    void (*ready)(void *, struct box *, const char *) = box->ready;
    box->ready = NULL;
    box->state = BOX_READY;
    meter_read(&box->meter, &now);
    box->idle_processes = box->self->settings.init ? 2 : 1;
    box->ooms_seen = now.oom_kills;
    if (ready != NULL) {
        ready(box->user, box, NULL);
    }
}

void box_agent_ready(struct box *box)
{
    if (box->state == BOX_OPENING) {
        become_ready(box);
    }
}

/* Its work directory, or what stands for it. */
static int open_files(struct box *box, const char **why)
{
    const struct settings *settings = &box->self->settings;
    bool seen = meter_open(&box->meter, box->pid, box->id);
    if (box->self->archive) {
        box->mirror = mirror_open(why);
        box->work_fd = box->mirror != NULL ? mirror_fd(box->mirror) : -1;
        box->files_kept = true; /* as they are counted when they are fetched */
        return box->mirror != NULL ? 0 : -EIO;
    }
    *why = "its processes cannot be seen from here";
    int fd = seen ? root_open(box->pid, settings->uid, settings->gid, why) : -ESRCH;
    if (fd < 0) {
        return fd;
    }
    box->work_fd = fd;
    box->direct = true;
    box->files_kept = box->limits.files == 0 || root_limit_files(box->pid, box->limits.files) ||
                      box->self->kind == ENGINE_DOCKER;
    return 0;
}

static void without_files(struct box *box, const char *why)
{
    char text[600], target[8];
    snprintf(text, sizeof(text), "/proc/%d/root", (int)box->pid);
    if (!box->self->archive && readlink(text, target, sizeof(target)) < 0 && errno == ESRCH) {
        box_lost(box, NULL); /* it has ended already */
        return;
    }
    if (!box->self->archive && box->self->settings.files == FILES_AUTO) {
        say(box->self, KILN_PLUGIN_LOG_INFO,
            "files are copied by the archive API around each execution: %s", why);
        box->self->archive = true;
        box_make_anew(box);
        return;
    }
    snprintf(text, sizeof(text), "the session's files cannot be reached: %s%s", why,
             box->self->archive
                 ? ""
                 : "; files = direct needs kiln on the container engine's machine, "
                   "as root or as the user that code runs as");
    box_give_up(box, text);
}

/* The container runs, and nothing but the image's own in it yet. */
static void use_files(struct box *box)
{
    const char *why = "";
    if (open_files(box, &why) < 0) {
        without_files(box, why);
        return;
    }
    if (!box->has_agent) {
        become_ready(box);
    } else if ((box->agent = agent_start(box)) == NULL) {
        box_give_up(box, "out of memory");
    }
}

/* A runtime that was asked for is part of the confinement: another is refused. */
static void compare_runtime(struct box *box, const char *has)
{
    const char *wanted = box->self->settings.runtime;
    char text[400];
    has = has != NULL ? has : "another";
    const char *slash = strrchr(has, '/');
    if (strcmp(slash != NULL && *wanted != '/' ? slash + 1 : has, wanted) == 0) {
        use_files(box);
        return;
    }
    snprintf(text, sizeof(text), "runtime = %.100s: the container engine took %.100s%s", wanted,
             has,
             box->self->kind == ENGINE_PODMAN
                 ? "; Podman's API chooses none: set runtime in its containers.conf"
                 : "");
    box_give_up(box, text);
}

static void on_runtime(void *user, const api_reply *reply)
{
    struct box *box = user;
    box->call = NULL;
    if (reply->error != NULL) {
        box_give_up(box, reply->error);
    } else if (box->attach == NULL) {
        box_lost(box, NULL);
    } else {
        compare_runtime(box, json_string_value(json_object_get(reply->json, "OCIRuntime")));
    }
}

/* Podman tells by its own API alone. */
static void ask_runtime(struct box *box)
{
    char path[96];
    snprintf(path, sizeof(path), "/v4.0.0/libpod/containers/%s/json", box->name);
    box->call = api_start(box->self, "GET", path, NULL, API_TIMEOUT_MS, on_runtime, box);
    if (box->call == NULL) {
        box_give_up(box, "out of memory");
    }
}

static void on_inspected(void *user, const api_reply *reply)
{
    struct box *box = user;
    box->call = NULL;
    if (reply->error != NULL) {
        box_give_up(box, reply->error);
        return;
    }
    const json_t *state = json_object_get(reply->json, "State");
    box->pid = (pid_t)json_integer_value(json_object_get(state, "Pid"));
    if (!json_is_true(json_object_get(state, "Running")) || box->pid <= 0 ||
        box->attach == NULL) {
        box_lost(box, NULL);
    } else if (box->self->settings.runtime[0] == '\0') {
        use_files(box);
    } else if (box->self->kind == ENGINE_PODMAN) {
        ask_runtime(box);
    } else {
        const json_t *host = json_object_get(reply->json, "HostConfig");
        compare_runtime(box, json_string_value(json_object_get(host, "Runtime")));
    }
}

static void on_started(void *user, const api_reply *reply)
{
    struct box *box = user;
    char path[96], text[1000];
    box->call = NULL;
    if (reply->error != NULL) {
        snprintf(text, sizeof(text), "image %s: %s", box->image, reply->error);
        box_give_up(box, text);
        return;
    }
    snprintf(path, sizeof(path), "/containers/%s/json", box->name);
    box->call = api_start(box->self, "GET", path, NULL, API_TIMEOUT_MS, on_inspected, box);
    if (box->call == NULL) {
        box_give_up(box, "out of memory");
    }
}

/* The first thing that it wrote counts; of a traceback the last line, which is the error. */
static void note_said(struct box *box, const char *data, size_t length)
{
    if (box->said[0] != '\0' && strncmp(box->said, "Traceback", 9) != 0 &&
        box->said[0] != ' ') {
        return;
    }
    while (length > 0 && data[length - 1] == '\n') {
        length--;
    }
    const char *line = memrchr(data, '\n', length);
    size_t skip = line != NULL ? (size_t)(line - data) + 1 : 0;
    snprintf(box->said, sizeof(box->said), "%.*s", (int)(length - skip), data + skip);
    for (char *at = box->said; *at != '\0'; at++) {
        *at = (unsigned char)*at < 0x20 || *at == 0x7f ? ' ' : *at;
    }
}

static void on_bytes(void *user, uint32_t stream, const char *data, size_t length)
{
    struct box *box = user;
    if (box->state == BOX_OPENING && stream == KILN_STDERR) {
        note_said(box, data, length);
    }
    if (box->agent != NULL) {
        agent_output(box->agent, stream, data, length);
    }
}

static void on_attach_data(void *user, const char *data, size_t length)
{
    struct box *box = user;
    if (demux_push(&box->streams, data, length, on_bytes, box, &box->stop) < 0) {
        box_lost(box, "the container engine's stream of outputs is broken: no such header");
    }
}

static void on_attached(void *user)
{
    struct box *box = user;
    char path[96];
    if (box->state != BOX_OPENING) {
        return; /* it is being removed */
    }
    snprintf(path, sizeof(path), "/containers/%s/start", box->name);
    box->call = api_start(box->self, "POST", path, NULL, API_TIMEOUT_MS, on_started, box);
    if (box->call == NULL) {
        box_give_up(box, "out of memory");
    }
}

/* The main process has ended, or the engine has: a session that has a socket of its own to
 * its agent need not care about the latter. */
static void on_attach_end(void *user, const http_answer *answer)
{
    struct box *box = user;
    char error[900];
    box->attach = NULL;
    api_explain(box->self, "attach", answer, error, sizeof(error));
    if (box->state == BOX_OPENING && error[0] != '\0') {
        box_give_up(box, error);
    } else if (box->state == BOX_OPENING && box->call != NULL) {
        return; /* start or inspect tell more */
    } else if (box->agent == NULL || !agent_is_direct(box->agent) ||
               box->state == BOX_OPENING) {
        box_lost(box, NULL);
    }
}

static void attach(struct box *box)
{
    char path[160];
    snprintf(path, sizeof(path),
             "/containers/%s/attach?stream=true&stdin=true&stdout=true&stderr=true", box->name);
    const http_request request = {
        .method = "POST",
        .path = path,
        .timeout_ms = API_TIMEOUT_MS,
        .upgrade = true,
        .user = box,
        .on_data = on_attach_data,
        .on_stream = on_attached,
        .on_end = on_attach_end,
    };
    box->attach = http_send(box->self, &request);
    if (box->attach == NULL) {
        box_give_up(box, "out of memory");
    }
}

static void on_created(void *user, const api_reply *reply)
{
    struct box *box = user;
    char text[1000];
    box->call = NULL;
    box->creating = false;
    const char *id = json_string_value(json_object_get(reply->json, "Id"));
    if (reply->error != NULL || id == NULL) {
        snprintf(text, sizeof(text), "image %s: %s", box->image,
                 reply->error != NULL ? reply->error : "the container engine gave no id");
        if (reply->status == 404) {
            image_gone(box->self, box->image);
        }
        /* An engine that did not answer may have made it. */
        box->created = reply->status == 0 || reply->status / 100 == 2;
        if (box->unwanted) {
            box->unwanted = false;
            box_close(box);
        } else {
            box_give_up(box, text);
        }
        return;
    }
    box->created = true;
    snprintf(box->id, sizeof(box->id), "%s", id);
    if (box->unwanted) {
        box->unwanted = false;
        box_close(box);
        return;
    }
    attach(box);
}

static void on_image(void *user, const char *error)
{
    struct box *box = user;
    char path[96];
    if (error != NULL) {
        box_give_up(box, error);
        return;
    }
    snprintf(path, sizeof(path), "/containers/create?name=%s", box->name);
    json_t *spec = box_spec(box);
    box->call = spec == NULL
                    ? NULL
                    : api_start(box->self, "POST", path, spec, API_TIMEOUT_MS, on_created, box);
    if (box->call == NULL) {
        box_give_up(box, "out of memory");
        return;
    }
    box->creating = true;
}

static void begin(void *user)
{
    struct box *box = user;
    box->timer = NULL;
    image_need(box->self, box->image, on_image, box);
}

void box_make(struct box *box)
{
    unsigned long long random = 0;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        random ^= (unsigned long long)(uintptr_t)box; /* it has to differ, no more */
    }
    snprintf(box->name, sizeof(box->name), "kiln-%016llx", random);
    box->id[0] = '\0';
    box->said[0] = '\0';
    box->streams = (demux){0};
    box->stop = 0;
    box->timer = box->self->host->timer(box->self->host, 0, begin, box);
}

struct box *box_open(backend *self, const char *image, bool has_agent,
                     const kiln_limits *limits,
                     void (*ready)(void *user, struct box *box, const char *error), void *user)
{
    struct box *box = calloc(1, sizeof(*box));
    if (box == NULL) {
        return NULL;
    }
    box->self = self;
    box->has_agent = has_agent;
    box->limits = *limits;
    box->ready = ready;
    box->user = user;
    box->work_fd = -1;
    box->meter = (meter)METER_NONE;
    box->image = strdup(image);
    box->options = agent_options(self);
    box->next = self->boxes;
    box->place = &self->boxes;
    if (box->next != NULL) {
        box->next->place = &box->next;
    }
    self->boxes = box;
    box_make(box);
    if (box->image == NULL || box->options == NULL || box->timer == NULL) {
        box_close(box);
        return NULL;
    }
    return box;
}

bool box_keeps(const struct box *box, const kiln_limits *limits)
{
    return box->limits.memory == limits->memory && box->limits.processes == limits->processes &&
           box->limits.disk == limits->disk && box->limits.open_files == limits->open_files &&
           box->limits.file_size == limits->file_size && box->limits.files == limits->files &&
           box->limits.cpus == limits->cpus;
}
