/* ending.c - how a box ends: why it was lost, who did it, and its removal. */
#include "agent.h"
#include "box.h"
#include "image.h"
#include "job.h"
#include "mirror.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ASK_AGAIN_MS = 20,
    ASK_RUNNING_MAX = 250, /* times that it is called running though its process has gone */
    ASK_ENGINE_MAX = 250,  /* times that the engine does not answer */
    FATE_MS = 300,         /* for the event that tells who ended it, */
    KILLED_FATE_MS = 1500, /* where it died as from outside */
    REMOVE_AGAIN_MS = 500,
    REMOVE_MAX = 4,
    REMOVE_TIMEOUT_MS = 60000,
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
    if (box->direct) {
        close(box->work_fd);
    }
    mirror_free(box->mirror);
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
    } else if (box->again) {
        box->again = false;
        box_make(box);
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

void box_make_anew(struct box *box)
{
    let_go(box);
    meter_close(&box->meter);
    box->questions = 0;
    box->again = true;
    remove_it(box);
}

/* It will not be ready. */
void box_give_up(struct box *box, const char *error)
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
    box->lost.exit_code = -1;
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
    } else if (box->has_agent && box->why[0] != '\0' && box->fate == FATE_NONE) {
        /* It ended because it was left. */
        lose(box, KILN_STATUS_UNAVAILABLE, "WorkerFailed", "%s", box->why);
    } else if (box->fate == FATE_NONE && !box->asked_twice) {
        box->asked_twice = true; /* its own doing, or somebody's: an event tells, or */
        bool killed = box->lost.exit_code == 137 || box->lost.exit_code == 143;
        wait_for(box, killed ? KILLED_FATE_MS : FATE_MS, ask); /* that it is gone by then */
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
        box_give_up(box, text);
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
