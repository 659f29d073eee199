/* container - sessions in containers of Docker or Podman, through their API's Unix socket.
 *
 * The engine half alone: the code runs in containers, which their own engine confines.
 * Python runs in an agent that speaks the worker frames; every other language is a
 * [runtime] command. Nothing here blocks but fini, which sees its containers gone. */
#include "agent.h"
#include "box.h"
#include "check.h"
#include "events.h"
#include "image.h"
#include "job.h"
#include "leftovers.h"
#include "mirror.h"
#include "pool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SESSION_BOXES = 8, FINI_STEPS = 50, FINI_STEP_MS = 200 };

/* One box for each image that its languages run in. */
struct session {
    backend *self;
    kiln_session *session;
    struct box *boxes[SESSION_BOXES];
    struct box *current; /* of the language that was prepared last; NULL while it is made */
    struct box *making;
    char restarted[400]; /* why that is not the one of before, or "" */
};

void say(const backend *self, uint32_t level, const char *format, ...)
{
    char text[1200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    self->host->log(self->host, level, text);
}

/* ---- sessions */

/* Not in init: a `kiln run` on another backend must not wait for, or start, anything. */
static void greet(backend *self)
{
    if (!self->greeted) {
        self->greeted = true;
        leftovers_sweep(self);
        mirror_sweep();
        events_listen(self);
    }
}

static int session_open(void *self, kiln_session *kiln, void **state)
{
    struct session *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return -ENOMEM;
    }
    made->self = self;
    made->session = kiln;
    *state = made;
    return 0;
}

static void session_close(void *self, void *state)
{
    struct session *session = state;
    (void)self;
    for (size_t i = 0; i < SESSION_BOXES; i++) {
        if (session->boxes[i] != NULL && session->boxes[i]->job != NULL) {
            job_abandon(session->boxes[i]->job); /* the engine has given it up before */
        }
        box_close(session->boxes[i]);
    }
    free(session);
}

static struct box **place_of(struct session *session, const char *image, bool has_agent)
{
    struct box **empty = NULL;
    for (size_t i = 0; i < SESSION_BOXES; i++) {
        struct box *box = session->boxes[i];
        if (box == NULL) {
            empty = empty != NULL ? empty : &session->boxes[i];
        } else if (box->has_agent == has_agent && strcmp(box->image, image) == 0) {
            return &session->boxes[i];
        }
    }
    return empty;
}

static void on_box(void *user, struct box *box, const char *error)
{
    struct session *session = user;
    backend *self = session->self;
    if (error != NULL) {
        for (size_t i = 0; i < SESSION_BOXES; i++) {
            if (session->boxes[i] == session->making) {
                session->boxes[i] = NULL;
            }
        }
        session->making = NULL;
        self->files->prepared(self->host, session->session, -1, error);
        return;
    }
    session->making = NULL;
    session->current = box;
    pool_want(self, box->image, box->has_agent, &box->limits);
    self->files->prepared(self->host, session->session, box->work_fd, NULL);
}

static int session_prepare(void *self_, kiln_session *kiln, void *state, const char *language,
                           const kiln_limits *limits)
{
    backend *self = self_;
    struct session *session = state;
    const char *image = settings_image(&self->settings, language);
    bool has_agent = settings_has_agent(&self->settings, language);
    struct box **place = place_of(session, image, has_agent);
    greet(self);
    session->current = NULL;
    if (place == NULL) {
        return self->files->prepared(
            self->host, kiln, -1,
            "a session has containers of 8 images at most: open another session");
    }
    if (*place != NULL && (*place)->state == BOX_READY) {
        session->current = *place;
        return self->files->prepared(self->host, kiln, (*place)->work_fd, NULL);
    }
    if (*place != NULL) {
        snprintf(session->restarted, sizeof(session->restarted), "%s",
                 (*place)->lost.text[0] != '\0' ? (*place)->lost.text
                                                : "the container has ended");
        box_close(*place);
        *place = NULL;
    }
    *place = pool_take(self, image, has_agent, limits);
    if (*place != NULL) {
        on_box(session, *place, NULL);
        return 0;
    }
    *place = session->making = box_open(self, image, has_agent, limits, on_box, session);
    return *place != NULL ? 0 : -ENOMEM;
}

static int execute(void *self, kiln_ticket ticket, kiln_session *kiln, void *state,
                   const kiln_input *input)
{
    struct session *session = state;
    struct box *box = session->current;
    (void)self;
    if (box == NULL || box->state != BOX_READY) {
        return -EPIPE;
    }
    int rc = job_start(box, kiln, ticket, input, session->restarted);
    session->restarted[0] = '\0';
    return rc;
}

static struct job *find_job(backend *self, kiln_ticket ticket)
{
    for (struct box *box = self->boxes; box != NULL; box = box->next) {
        if (box->job != NULL && job_is(box->job, ticket)) {
            return box->job;
        }
    }
    return NULL;
}

static struct agent *find_asked(backend *self, kiln_ticket ticket)
{
    for (struct box *box = self->boxes; box != NULL; box = box->next) {
        if (box->agent != NULL && agent_asks(box->agent, ticket)) {
            return box->agent;
        }
    }
    return NULL;
}

static void interrupt(void *self, kiln_ticket ticket)
{
    struct job *job = find_job(self, ticket);
    struct agent *agent = job == NULL ? find_asked(self, ticket) : NULL;
    if (job != NULL) {
        job_interrupt(job);
    } else if (agent != NULL) {
        agent_interrupt(agent);
    }
}

static int query(void *self, kiln_ticket ticket, kiln_session *kiln, void *state,
                 const char *name, const char *arguments, size_t length)
{
    struct session *session = state;
    struct box *box = session->current;
    (void)self;
    (void)kiln;
    if (box == NULL || box->state != BOX_READY) {
        return -EPIPE;
    }
    return box->agent != NULL ? agent_query(box->agent, ticket, name, arguments, length)
                              : -ENOTSUP;
}

static void kill_(void *self, kiln_ticket ticket)
{
    struct job *job = find_job(self, ticket);
    if (job != NULL) {
        job_kill(job);
    }
}

/* ---- the plugin */

static void fill_pool(void *user)
{
    backend *self = user;
    const kiln_default_limits *limits =
        self->host->extension(self->host, KILN_EXTENSION_LIMITS);
    self->filling = NULL;
    greet(self);
    if (limits != NULL) {
        pool_want(self, settings_image(&self->settings, "python"),
                  settings_has_agent(&self->settings, "python"), limits->get(self->host));
    }
}

static int init(const kiln_host *host, void **state, const char **error)
{
    backend *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        *error = "out of memory";
        return -ENOMEM;
    }
    self->host = host;
    self->files = host->extension(host, KILN_EXTENSION_FILES);
    self->guests = host->extension(host, KILN_EXTENSION_GUEST);
    self->runtimes = host->extension(host, KILN_EXTENSION_RUNTIMES);
    int rc = settings_read(host, &self->settings, error);
    if (self->files == NULL || self->guests == NULL) {
        *error = "this engine has no extension kiln.files/1 or kiln.guest/1";
        rc = -ENOTSUP;
    }
    if (rc < 0) {
        settings_free(&self->settings);
        free(self);
        return rc;
    }
    self->archive = self->settings.files == FILES_ARCHIVE;
    leftovers_label(self->owner, sizeof(self->owner));
    if (self->settings.socket[0] == '\0') {
        say(self, KILN_PLUGIN_LOG_WARNING, "%s", self->settings.no_socket);
    } else if (self->settings.pool > 0) {
        self->filling = host->timer(host, 0, fill_pool, self);
    }
    *state = self;
    return 0;
}

/* No containers for a pool: it only looks. */
static int check(void *user)
{
    backend *self = user;
    if (self->filling != NULL) {
        self->host->cancel(self->host, self->filling);
        self->filling = NULL;
    }
    return check_begin(self);
}

static bool boxes_left(backend *self)
{
    return self->boxes != NULL;
}

static void fini(void *state)
{
    backend *self = state;
    self->closing = true;
    if (self->filling != NULL) {
        self->host->cancel(self->host, self->filling);
    }
    pools_free(self);
    events_stop(self);
    for (struct box *box = self->boxes, *next; box != NULL; box = next) {
        next = box->next;
        box_close(box);
    }
    for (int i = 0; i < FINI_STEPS && self->boxes != NULL; i++) {
        for (struct box *box = self->boxes, *next; box != NULL; box = next) {
            next = box->next;
            box_remove_now(box); /* the timer that it waits for would not come */
        }
        http_finish(self, boxes_left, FINI_STEP_MS);
    }
    if (self->boxes != NULL) {
        say(self, KILN_PLUGIN_LOG_WARNING,
            "the container engine did not remove %s in time: the next start will",
            self->boxes->name);
    }
    images_free(self);
    leftovers_stop(self);
    check_stop(self);
    while (self->requests != NULL) {
        http_cancel(self->requests);
    }
    settings_free(&self->settings);
    free(self);
}

static const char *const languages[] = {"*", NULL};

static const kiln_plugin plugin = {
    .size = sizeof(kiln_plugin),
    .abi_major = KILN_ABI_MAJOR,
    .abi_minor = KILN_ABI_MINOR,
    .capabilities = KILN_CAP_EXECUTE | KILN_CAP_SESSIONS | KILN_CAP_INTERRUPT | KILN_CAP_FILES |
                    KILN_CAP_QUERY,
    .name = "container",
    .version = "1.0",
    .summary = "sessions in hardened containers of Docker or Podman",
    .languages = languages,
    .options = container_options,
    .init = init,
    .fini = fini,
    .session_open = session_open,
    .session_close = session_close,
    .session_prepare = session_prepare,
    .execute = execute,
    .interrupt = interrupt,
    .kill = kill_,
    .query = query,
    .check = check,
};

KILN_PLUGIN(plugin)
