#include "box.h"

#include "agent.h"
#include "image.h"
#include "job.h"
#include "root.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    ASK_AGAIN_MS = 20,
    ASK_RUNNING_MAX = 50, /* times that it is called running though its process has gone */
    ASK_ENGINE_MAX = 250, /* times that the engine does not answer */
    FATE_MS = 300,        /* for the event that tells who ended it */
    REMOVE_AGAIN_MS = 500,
    REMOVE_MAX = 4,
    REMOVE_TIMEOUT_MS = 20000,
};

static void remove_it(struct box *box);

static void free_box(struct box *box)
{
    const kiln_host *host = box->self->host;
    *box->place = box->next;
    if (box->next != NULL) {
        box->next->place = box->place;
    }
    agent_free(box->agent);
    http_cancel(box->attach);
    api_cancel(box->call);
    if (box->timer != NULL) {
        host->cancel(host, box->timer);
    }
    if (box->work_fd >= 0) {
        close(box->work_fd);
    }
    meter_close(&box->meter);
    free(box->image);
    free(box->options);
    free(box);
}

static void wait_for(struct box *box, uint64_t milliseconds, void (*then)(void *user))
{
    const kiln_host *host = box->self->host;
    if (box->timer != NULL) {
        host->cancel(host, box->timer);
    }
    box->timer = host->timer(host, milliseconds, then, box);
}

/* The step in flight is of no more use. The streams stay, until the engine has removed it:
 * were they closed before, it would end by itself just when it is being killed. */
static void forget_call(struct box *box)
{
    image_forget(box->self, box);
    api_cancel(box->call);
    box->call = NULL;
    if (box->timer != NULL) {
        box->self->host->cancel(box->self->host, box->timer);
        box->timer = NULL;
    }
}

/* Nor are the streams. */
static void let_go(struct box *box)
{
    forget_call(box);
    agent_free(box->agent);
    box->agent = NULL;
    box->stop = 1;
    http_cancel(box->attach);
    box->attach = NULL;
}

/* ---- removal */

static void after_removal(struct box *box)
{
    struct job *job = box->job;
    box->created = false;
    box->removing = false;
    if (job != NULL) {
        job_box_gone(job); /* may close the box */
        return;
    }
    if (box->unwanted) {
        free_box(box);
    }
}

static void remove_again(void *user)
{
    struct box *box = user;
    box->timer = NULL;
    remove_it(box);
}

static void on_removed(void *user, const api_reply *reply)
{
    struct box *box = user;
    box->call = NULL;
    /* 404: somebody else did; 409: it is being removed already. */
    if (reply->error == NULL || reply->status == 404 || reply->status == 409) {
        after_removal(box);
        return;
    }
    /* Podman: it ended by itself just when it was to be killed. */
    if (++box->questions < REMOVE_MAX) {
        wait_for(box, REMOVE_AGAIN_MS, remove_again);
        return;
    }
    say(box->self, KILN_PLUGIN_LOG_WARNING, "%s is left behind: %s", box->name, reply->error);
    after_removal(box);
}

static void remove_it(struct box *box)
{
    char path[96];
    snprintf(path, sizeof(path), "/containers/%s?force=true&v=true", box->name);
    box->removing = true;
    box->call = api_start(box->self, "DELETE", path, NULL, REMOVE_TIMEOUT_MS, on_removed, box);
    if (box->call == NULL) {
        say(box->self, KILN_PLUGIN_LOG_WARNING, "%s is left behind: out of memory", box->name);
        wait_for(box, 0, remove_again);
    }
}

void box_remove_now(struct box *box)
{
    if (box->removing && box->call == NULL) {
        forget_call(box);
        remove_it(box);
    }
}

void box_close(struct box *box)
{
    if (box == NULL || box->unwanted) {
        return;
    }
    box->ready = NULL;
    box->unwanted = true;
    if (box->creating || box->removing) {
        return; /* goes on when the engine has answered */
    }
    forget_call(box);
    box->state = BOX_REMOVING;
    box->questions = 0;
    if (box->created) {
        remove_it(box);
    } else {
        free_box(box);
    }
}

/* It will not be ready. */
static void give_up(struct box *box, const char *error)
{
    void (*ready)(void *, struct box *, const char *) = box->ready;
    void *user = box->user;
    char copy[1000];
    snprintf(copy, sizeof(copy), "%s", error);
    box_close(box);
    if (ready != NULL) {
        ready(user, NULL, copy);
    }
}

void box_kill(struct box *box, const char *name, const char *text)
{
    if (box->state != BOX_READY) {
        return; /* it is known to be ending */
    }
    box->state = BOX_LOST;
    box->lost.status = KILN_STATUS_CRASHED;
    box->lost.name = name;
    snprintf(box->lost.text, sizeof(box->lost.text), "%s", text);
    forget_call(box);
    box->questions = 0;
    remove_it(box);
}

/* ---- how it ended */

static void tell_lost(struct box *box)
{
    if (box->job != NULL) {
        job_box_gone(box->job);
    } else if (box->unwanted) {
        box->unwanted = false;
        box_close(box);
    }
}

__attribute__((format(printf, 4, 5))) static void
lose(struct box *box, kiln_status status, const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    box->lost.status = status;
    box->lost.name = name;
    vsnprintf(box->lost.text, sizeof(box->lost.text), format, arguments);
    va_end(arguments);
    tell_lost(box);
}

/* The container has ended with this status, and nothing is left to wait for. */
static void conclude(struct box *box)
{
    int code = box->lost.exit_code;
    if (box->fate == FATE_REMOVED) {
        lose(box, KILN_STATUS_UNAVAILABLE, "ContainerRemoved",
             "the container was removed from outside; the session's state is lost");
    } else if (box->fate == FATE_KILLED) {
        const char *signal = sigabbrev_np(box->fate_signal);
        lose(box, KILN_STATUS_UNAVAILABLE, "ContainerKilled",
             "the container was killed from outside (SIG%s); the session's state is lost",
             signal != NULL ? signal : "KILL");
    } else if (code > 128 && code < 128 + 65) {
        const char *signal = sigabbrev_np(code - 128);
        lose(box, KILN_STATUS_CRASHED, "WorkerDied",
             "the process died of signal %d (SIG%s); the session's state is lost", code - 128,
             signal != NULL ? signal : "?");
    } else {
        lose(box, KILN_STATUS_CRASHED, "WorkerExited",
             "the process exited with status %d before the cell ended; the session's state is "
             "lost",
             code);
    }
}

static void ask(void *user);

/* What the engine says of a container of ours that does not do its work any more. */
static void on_asked(void *user, const api_reply *reply)
{
    struct box *box = user;
    box->call = NULL;
    const json_t *state = json_object_get(reply->json, "State");
    const char *status = json_string_value(json_object_get(state, "Status"));
    if (reply->status == 404) {
        lose(box, KILN_STATUS_UNAVAILABLE, "ContainerRemoved",
             "the container was removed from outside; the session's state is lost");
        return;
    }
    if (reply->error != NULL) {
        if (++box->questions < ASK_ENGINE_MAX) {
            wait_for(box, ASK_AGAIN_MS, ask);
        } else {
            lose(box, KILN_STATUS_UNAVAILABLE, "EngineUnreachable", "%s", reply->error);
        }
        return;
    }
    if (json_is_true(json_object_get(state, "Paused"))) {
        lose(box, KILN_STATUS_UNAVAILABLE, "ContainerPaused",
             "the container was paused from outside; the session's state is lost");
        return;
    }
    if (json_is_true(json_object_get(state, "Running"))) {
        if (box->why[0] != '\0') {
            lose(box, KILN_STATUS_UNAVAILABLE, "WorkerFailed", "%s", box->why);
        } else if (++box->questions < ASK_RUNNING_MAX) {
            wait_for(box, ASK_AGAIN_MS, ask);
        } else {
            lose(box, KILN_STATUS_CRASHED, "WorkerExited",
                 "the process closed its channel before the cell ended; the session's state is "
                 "lost");
        }
        return;
    }
    box->lost.exit_code = (int)json_integer_value(json_object_get(state, "ExitCode"));
    if (json_is_true(json_object_get(state, "OOMKilled")) || box->oom) {
        lose(box, KILN_STATUS_LIMIT, "memory",
             "the limit on memory was reached; the session's state is lost");
    } else if (box->fate == FATE_NONE && !box->asked_twice) {
        box->asked_twice = true;     /* its own doing, or somebody's: an event tells, or */
        wait_for(box, FATE_MS, ask); /* that it is gone by then */
    } else {
        if (status != NULL &&
            (strcmp(status, "removing") == 0 || strcmp(status, "dead") == 0)) {
            box->fate = FATE_REMOVED;
        }
        conclude(box);
    }
}

static void ask(void *user)
{
    struct box *box = user;
    char path[96];
    box->timer = NULL;
    snprintf(path, sizeof(path), "/containers/%s/json", box->name);
    box->call = api_start(box->self, "GET", path, NULL, API_TIMEOUT_MS, on_asked, box);
    if (box->call == NULL) {
        lose(box, KILN_STATUS_UNAVAILABLE, "OutOfMemory", "out of memory");
    }
}

void box_lost(struct box *box, const char *why)
{
    char text[500];
    reading now;
    if (box->state == BOX_OPENING) {
        snprintf(text, sizeof(text), "image %s: %s%s%s%s%s%s", box->image,
                 why != NULL ? why : "the container ended while it started",
                 box->said[0] != '\0' ? ": " : "", box->said,
                 box->has_agent ? "; is there a \"" : "",
                 box->has_agent ? box->self->settings.python : "",
                 box->has_agent ? "\" in it? see python in [backend container]" : "");
        give_up(box, text);
        return;
    }
    if (box->state != BOX_READY) {
        return;
    }
    box->state = BOX_LOST;
    snprintf(box->why, sizeof(box->why), "%s", why != NULL ? why : "");
    meter_read(&box->meter, &now); /* while the kernel still has it */
    box->oom = now.oom_kills > box->ooms_seen;
    let_go(box);
    box->questions = 0;
    ask(box);
}

void box_fated(struct box *box, box_fate fate, int signal_number)
{
    if (box->removing || box->unwanted) {
        return; /* our own doing */
    }
    box->fate = fate;
    box->fate_signal = signal_number;
    if (fate == FATE_PAUSED && box->state == BOX_READY) {
        box->state = BOX_LOST;
        forget_call(box);
        lose(box, KILN_STATUS_UNAVAILABLE, "ContainerPaused",
             "the container was paused from outside; the session's state is lost");
    } else if (fate == FATE_REMOVED && box->state == BOX_READY) {
        box_lost(box, NULL);
    }
}

/* ---- the steps of its making */

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

static void on_inspected(void *user, const api_reply *reply)
{
    struct box *box = user;
    const char *why = "";
    char text[400], target[8];
    box->call = NULL;
    if (reply->error != NULL) {
        give_up(box, reply->error);
        return;
    }
    const json_t *state = json_object_get(reply->json, "State");
    box->pid = (pid_t)json_integer_value(json_object_get(state, "Pid"));
    if (!json_is_true(json_object_get(state, "Running")) || box->pid <= 0) {
        box_lost(box, NULL);
        return;
    }
    if (meter_open(&box->meter, box->pid, box->id)) {
        box->work_fd =
            root_open(box->pid, box->self->settings.uid, box->self->settings.gid, &why);
    } else {
        box->work_fd = -1;
        why = "its processes cannot be seen from here";
    }
    if (box->work_fd < 0) {
        box->work_fd = -1;
        snprintf(text, sizeof(text), "/proc/%d/root", (int)box->pid);
        if (readlink(text, target, sizeof(target)) < 0 && (errno == ENOENT || errno == ESRCH)) {
            box_lost(box, NULL); /* it has ended already */
            return;
        }
        snprintf(text, sizeof(text),
                 "the session's files cannot be reached: %s; kiln has to run on the container "
                 "engine's machine, as root or as the user that code runs as",
                 why);
        give_up(box, text);
        return;
    }
    if (!box->has_agent) {
        become_ready(box);
    } else if ((box->agent = agent_start(box)) == NULL) {
        give_up(box, "out of memory");
    }
}

static void on_started(void *user, const api_reply *reply)
{
    struct box *box = user;
    char path[96], text[1000];
    box->call = NULL;
    if (reply->error != NULL) {
        snprintf(text, sizeof(text), "image %s: %s", box->image, reply->error);
        give_up(box, text);
        return;
    }
    snprintf(path, sizeof(path), "/containers/%s/json", box->name);
    box->call = api_start(box->self, "GET", path, NULL, API_TIMEOUT_MS, on_inspected, box);
    if (box->call == NULL) {
        give_up(box, "out of memory");
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
    snprintf(path, sizeof(path), "/containers/%s/start", box->name);
    box->call = api_start(box->self, "POST", path, NULL, API_TIMEOUT_MS, on_started, box);
    if (box->call == NULL) {
        give_up(box, "out of memory");
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
        give_up(box, error);
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
        give_up(box, "out of memory");
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
            give_up(box, text);
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
        give_up(box, error);
        return;
    }
    snprintf(path, sizeof(path), "/containers/create?name=%s", box->name);
    json_t *spec = box_spec(box);
    box->call = spec == NULL
                    ? NULL
                    : api_start(box->self, "POST", path, spec, API_TIMEOUT_MS, on_created, box);
    if (box->call == NULL) {
        give_up(box, "out of memory");
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

struct box *box_open(backend *self, const char *image, bool has_agent,
                     const kiln_limits *limits,
                     void (*ready)(void *user, struct box *box, const char *error), void *user)
{
    unsigned long long random;
    struct box *box = calloc(1, sizeof(*box));
    if (box == NULL || getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        free(box);
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
    snprintf(box->name, sizeof(box->name), "kiln-%016llx", random);
    box->next = self->boxes;
    box->place = &self->boxes;
    if (box->next != NULL) {
        box->next->place = &box->next;
    }
    self->boxes = box;
    box->timer = self->host->timer(self->host, 0, begin, box);
    if (box->image == NULL || box->options == NULL || box->timer == NULL) {
        free_box(box);
        return NULL;
    }
    return box;
}

bool box_keeps(const struct box *box, const kiln_limits *limits)
{
    return box->limits.memory == limits->memory && box->limits.processes == limits->processes &&
           box->limits.disk == limits->disk && box->limits.open_files == limits->open_files &&
           box->limits.file_size == limits->file_size && box->limits.cpus == limits->cpus;
}
