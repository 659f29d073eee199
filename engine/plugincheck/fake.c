/* What the engine does with a plugin: sessions, executions, ends. */
#include "plugincheck/fake-t.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fake_open(fake_engine *engine, const kiln_loaded_plugin *loaded, const char *const *set)
{
    *engine = (fake_engine){
        .loaded = loaded, .plugin = &loaded->plugin, .thread = gettid(), .set = set};
    fake_host_fill(&engine->host);
    for (size_t i = 0; i < FAKE_SESSIONS; i++) {
        snprintf(engine->sessions[i].base.id, sizeof(engine->sessions[i].base.id), "check%zu",
                 i);
    }
}

void fake_make_oldest(fake_engine *engine)
{
    kiln_host *host = &engine->host;
    engine->bare = true;
    host->abi_minor = engine->plugin->abi_minor;
    if (host->abi_minor == 0) { /* `reply` came with 1.1; 1.2 and 1.3 added nothing to it */
        host->size = offsetof(kiln_host, extension) + sizeof(void *);
        host->reply = NULL;
    }
}

const char *fake_init(fake_engine *engine)
{
    const char *error = NULL;
    if (engine->plugin->init != NULL &&
        engine->plugin->init(&engine->host, &engine->self, &error) < 0) {
        return error != NULL ? error : "init failed and set no *error";
    }
    engine->initialised = true;
    return NULL;
}

void fake_close(fake_engine *engine)
{
    for (size_t i = 0; i < FAKE_SESSIONS; i++) {
        fake_session_close(engine, i);
    }
    if (engine->initialised && engine->plugin->fini != NULL) {
        engine->plugin->fini(engine->self);
    }
    engine->initialised = false;
    /* As the real engine: what a plugin still holds ends with it. */
    while (engine->watches != NULL) {
        engine->host.unwatch(&engine->host, engine->watches);
    }
    while (engine->timers != NULL) {
        engine->host.cancel(&engine->host, engine->timers);
    }
}

int fake_session_open(fake_engine *engine, size_t which)
{
    fake_session *session = &engine->sessions[which];
    int rc = 0;
    if (session->open) {
        return 0;
    }
    session->open = true; /* it may spawn from within */
    if (engine->plugin->session_open != NULL) {
        rc = engine->plugin->session_open(engine->self, &session->base, &session->state);
    }
    session->open = rc >= 0;
    return rc;
}

void fake_session_close(fake_engine *engine, size_t which)
{
    fake_session *session = &engine->sessions[which];
    if (!session->open) {
        return;
    }
    if (session->running != 0 && session->begun) {
        fake_kill(engine);
        if (!fake_finish(engine, which)) {
            fake_violated(engine, "%s, also when all was killed at the session's end",
                          fake_missing(engine, which));
        }
    }
    fake_abandon(engine, which);
    if (engine->plugin->session_close != NULL) {
        engine->plugin->session_close(engine->self, session->state);
    }
    session->state = NULL;
    session->open = session->preparing = session->placed = false;
}

/* ---- executions and queries */

static bool has_files(const fake_engine *engine)
{
    return engine->plugin->capabilities & KILN_CAP_FILES;
}

static const char *language_of(const fake_engine *engine)
{
    const char *language = engine->plugin->languages[0];
    return language == NULL || strcmp(language, "*") == 0 ? "python" : language;
}

static const kiln_limits limits = {.size = sizeof(limits), .timeout_ms = 60000};

/* A ticket for what the session is to run. */
static int take_ticket(fake_engine *engine, fake_session *session, bool query)
{
    uint32_t slot = 0;
    while (slot < FAKE_TICKETS &&
           (engine->tickets[slot].active || engine->tickets[slot].abandoned)) {
        slot++;
    }
    if (!session->open || session->running != 0 || slot == FAKE_TICKETS) {
        return -EBUSY;
    }
    engine->tickets[slot] = (fake_ticket){
        .generation = engine->tickets[slot].generation + 1, .active = true, .query = query};
    session->running = slot + 1;
    session->begun = false;
    return 0;
}

static kiln_ticket ticket_of(const fake_engine *engine, const fake_session *session)
{
    uint32_t slot = session->running - 1;
    return (kiln_ticket){slot, engine->tickets[slot].generation};
}

static void drop_ticket(fake_engine *engine, fake_session *session)
{
    if (session->running != 0) {
        engine->tickets[session->running - 1].active = false;
        session->running = 0;
    }
}

static int begin(fake_engine *engine, fake_session *session)
{
    static const char *const none[] = {NULL};
    static const char code[] = "print('checked')\n";
    const kiln_ticket ticket = ticket_of(engine, session);
    const fake_ticket *entry = &engine->tickets[ticket.slot];
    const kiln_input input = {
        .size = sizeof(input),
        .session_id = session->base.id,
        .code = code,
        .code_length = sizeof(code) - 1,
        .language = language_of(engine),
        .args = none,
        .env = none,
        .input_files = none,
        .execution_count = 1,
        .limits = limits,
    };
    session->begun = true;
    int rc =
        engine->plugin->execute(engine->self, ticket, &session->base, session->state, &input);
    if (rc < 0) {
        if (entry->completions > 0) {
            fake_violated(engine,
                          "execute completed its ticket and failed: it must do one of both");
        }
        drop_ticket(engine, session);
    }
    return rc;
}

/* As the engine: the first session's execution begins from within `prepared`, another's a
 * little later. */
void fake_place_told(fake_engine *engine, fake_session *session, const char *why)
{
    session->preparing = false;
    session->placed = why == NULL;
    if (session->running == 0 || session->begun) {
        return; /* what it was for has been given up */
    }
    if (why != NULL) {
        drop_ticket(engine, session);
    } else if (session == &engine->sessions[0]) {
        begin(engine, session);
    }
}

static bool begin_what_waits(fake_engine *engine)
{
    for (size_t i = 0; i < FAKE_SESSIONS; i++) {
        fake_session *session = &engine->sessions[i];
        if (session->running != 0 && !session->begun && session->placed) {
            begin(engine, session);
            return true;
        }
    }
    return false;
}

int fake_execute(fake_engine *engine, size_t which)
{
    fake_session *session = &engine->sessions[which];
    int rc = take_ticket(engine, session, false);
    if (rc < 0 || !has_files(engine)) {
        return rc < 0 ? rc : begin(engine, session);
    }
    if (session->preparing) {
        return 0; /* for one that was given up; its place will do */
    }
    session->preparing = true;
    session->placed = false;
    rc = engine->plugin->session_prepare(engine->self, &session->base, session->state,
                                         language_of(engine), &limits);
    if (rc < 0) {
        if (!session->preparing) {
            fake_violated(engine,
                          "session_prepare told of a place and failed: it must do one of both");
        }
        session->preparing = false;
        drop_ticket(engine, session);
    }
    return rc;
}

int fake_query(fake_engine *engine, size_t which, const char *name, const char *arguments)
{
    fake_session *session = &engine->sessions[which];
    int rc = take_ticket(engine, session, true);
    if (rc < 0) {
        return rc;
    }
    const kiln_ticket ticket = ticket_of(engine, session);
    const fake_ticket *entry = &engine->tickets[ticket.slot];
    session->begun = true;
    rc = engine->plugin->query(engine->self, ticket, &session->base, session->state, name,
                               arguments, strlen(arguments));
    if (rc < 0) {
        if (entry->completions > 0) {
            fake_violated(engine, "query replied and failed: it must do one of both");
        }
        drop_ticket(engine, session);
    }
    return rc;
}

void fake_interrupt(fake_engine *engine, size_t which)
{
    const fake_session *session = &engine->sessions[which];
    if (session->running != 0 && session->begun && engine->plugin->interrupt != NULL) {
        engine->plugin->interrupt(engine->self, ticket_of(engine, session));
    }
}

void fake_kill(fake_engine *engine)
{
    for (struct kiln_process *one = engine->processes; one != NULL; one = one->next) {
        one->killed = true;
    }
    for (size_t i = 0; has_files(engine) && i < FAKE_SESSIONS; i++) {
        const fake_session *session = &engine->sessions[i];
        if (session->running != 0 && session->begun &&
            !engine->tickets[session->running - 1].query) {
            engine->plugin->kill(engine->self, ticket_of(engine, session));
        }
    }
}

static void end_process(fake_engine *engine)
{
    struct kiln_process *ended = engine->processes;
    const kiln_exit how = {.size = sizeof(how),
                           .exited = !ended->killed,
                           .signal = ended->killed ? 9 : 0,
                           .cpu_ms = 1,
                           .max_rss_bytes = 1 << 20,
                           .wall_ms = 1};
    if (!ended->killed && ended->spawn.on_output != NULL) {
        ended->spawn.on_output(ended->spawn.user, KILN_STDOUT, "checked\n", 8);
    }
    /* Still listed: kill from within on_exit is allowed, the process is valid until then. */
    ended->spawn.on_exit(ended->spawn.user, &how);
    struct kiln_process **place = &engine->processes;
    while (*place != ended) {
        place = &(*place)->next;
    }
    *place = ended->next;
    free(ended);
}

static bool poll_watches(fake_engine *engine)
{
    for (struct kiln_watch *watch = engine->watches; watch != NULL; watch = watch->next) {
        struct pollfd one = {.fd = watch->fd,
                             .events = (short)((watch->events & KILN_READABLE ? POLLIN : 0) |
                                               (watch->events & KILN_WRITABLE ? POLLOUT : 0))};
        if (poll(&one, 1, 10) > 0) {
            watch->ready(watch->user, watch->fd,
                         (one.revents & POLLOUT ? KILN_WRITABLE : 0) |
                             (one.revents & ~POLLOUT ? KILN_READABLE : 0));
            return true;
        }
    }
    return false;
}

static bool fire_timer(fake_engine *engine)
{
    struct kiln_timer *timer = engine->timers;
    if (timer == NULL) {
        return false;
    }
    engine->timers = timer->next;
    void (*fire)(void *user) = timer->fire;
    void *user = timer->user;
    free(timer);
    fire(user);
    return true;
}

bool fake_step(fake_engine *engine)
{
    if (begin_what_waits(engine)) {
        return true;
    }
    if (engine->processes != NULL) {
        end_process(engine);
        return true;
    }
    return engine->turn++ % 2 == 0 ? fire_timer(engine) || poll_watches(engine)
                                   : poll_watches(engine) || fire_timer(engine);
}

bool fake_finish(fake_engine *engine, size_t which)
{
    for (int step = 0; step < 1000 && engine->sessions[which].running != 0; step++) {
        if (!fake_step(engine)) {
            break;
        }
    }
    return engine->sessions[which].running == 0;
}

const char *fake_missing(const fake_engine *engine, size_t which)
{
    const fake_session *session = &engine->sessions[which];
    return session->running == 0                         ? "nothing is missing"
           : engine->tickets[session->running - 1].query ? "a query was never answered"
           : session->begun                              ? "an execution was never completed"
                            : "a session_prepare was never answered by kiln.files' prepared";
}

void fake_abandon(fake_engine *engine, size_t which)
{
    fake_session *session = &engine->sessions[which];
    if (session->running != 0) {
        engine->tickets[session->running - 1].abandoned = session->begun;
        drop_ticket(engine, session);
    }
}
