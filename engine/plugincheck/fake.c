#include "plugincheck/fake.h"

#include "contract/input.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct kiln_process {
    struct kiln_process *next;
    kiln_spawn spawn;
    bool killed;
};

struct kiln_watch {
    struct kiln_watch *next;
    int fd;
    int events;
    void (*ready)(void *user, int fd, int events);
    void *user;
};

struct kiln_timer {
    struct kiln_timer *next;
    void (*fire)(void *user);
    void *user;
};

static fake_engine *of(const kiln_host *host)
{
    return (fake_engine *)(uintptr_t)host;
}

static void violated(fake_engine *engine, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void violated(fake_engine *engine, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (engine->violation[0] == '\0') {
        vsnprintf(engine->violation, sizeof(engine->violation), format, arguments);
    }
    va_end(arguments);
}

static fake_engine *called(const kiln_host *host, const char *function)
{
    fake_engine *engine = of(host);
    if (gettid() != engine->thread) {
        violated(engine, "host->%s was called from a thread of its own: only [loop] may",
                 function);
    }
    return engine;
}

static void host_log(const kiln_host *host, uint32_t level, const char *text)
{
    fake_engine *engine = called(host, "log");
    if (level > KILN_PLUGIN_LOG_DEBUG || text == NULL) {
        violated(engine, "host->log: level %u or no text", level);
        return;
    }
    snprintf(engine->last_log, sizeof(engine->last_log), "%s", text);
}

static const char *host_option(const kiln_host *host, const char *name)
{
    const fake_engine *engine = called(host, "option");
    size_t length = strlen(name);
    for (const kiln_option *option = engine->plugin->options;
         option != NULL && option->name != NULL; option++) {
        if (strcmp(option->name, name) != 0) {
            continue;
        }
        for (const char *const *word = engine->set; word != NULL && *word != NULL; word++) {
            if (strncmp(*word, name, length) == 0 && (*word)[length] == '=') {
                return *word + length + 1;
            }
        }
        return engine->odd != NULL             ? engine->odd
               : option->default_value != NULL ? option->default_value
                                               : "";
    }
    return NULL;
}

static fake_ticket *find(fake_engine *engine, kiln_ticket ticket, const char *function)
{
    fake_ticket *entry = ticket.slot < FAKE_TICKETS ? &engine->tickets[ticket.slot] : NULL;
    if (entry != NULL && entry->active && entry->generation == ticket.generation) {
        return entry;
    }
    if (entry == NULL || ticket.generation == 0 || ticket.generation > entry->generation) {
        violated(engine, "host->%s with a ticket that it was never given", function);
    } else if (!entry->abandoned) {
        violated(engine, "host->%s after its execution had completed", function);
    }
    return NULL;
}

static int host_emit(const kiln_host *host, kiln_ticket ticket, const kiln_event *event)
{
    fake_engine *engine = called(host, "emit");
    fake_ticket *entry = find(engine, ticket, "emit");
    if (entry == NULL) {
        return -ESTALE;
    }
    if (event->size < sizeof(*event) || event->type < KILN_EVENT_STREAM ||
        event->type > KILN_EVENT_DECISION || (event->data == NULL && event->length > 0) ||
        (event->type == KILN_EVENT_STREAM && event->stream != KILN_STDOUT &&
         event->stream != KILN_STDERR)) {
        violated(engine, "host->emit: an event of size %u, type %u, stream %u", event->size,
                 event->type, event->stream);
    } else if (event->type != KILN_EVENT_STREAM) {
        json_t *json = json_loadb(event->data, event->length, 0, NULL);
        if (!json_is_object(json)) {
            violated(engine, "host->emit: type %u with what is no JSON object: %.*s",
                     event->type, (int)(event->length < 60 ? event->length : 60), event->data);
        }
        json_decref(json);
    }
    entry->events++;
    return 0;
}

static int host_complete(const kiln_host *host, kiln_ticket ticket, const kiln_outcome *outcome)
{
    fake_engine *engine = called(host, "complete");
    fake_ticket *entry = find(engine, ticket, "complete");
    if (entry == NULL) {
        return -ESTALE;
    }
    if (outcome->size < sizeof(*outcome) || outcome->status > KILN_STATUS_UNAVAILABLE) {
        violated(engine, "host->complete: an outcome of size %u, status %u", outcome->size,
                 outcome->status);
    }
    entry->active = false;
    entry->completions++;
    entry->status = (kiln_status)outcome->status;
    for (size_t i = 0; i < FAKE_SESSIONS; i++) {
        if (engine->sessions[i].running == ticket.slot + 1) {
            engine->sessions[i].running = 0;
        }
    }
    return 0;
}

static int host_spawn(const kiln_host *host, kiln_session *session, const kiln_spawn *spawn,
                      kiln_process **process)
{
    fake_engine *engine = called(host, "spawn");
    const fake_session *known = NULL;
    for (size_t i = 0; i < FAKE_SESSIONS; i++) {
        known = session == &engine->sessions[i].base ? &engine->sessions[i] : known;
    }
    if (known == NULL || !known->open) {
        violated(engine, "host->spawn in a session that is not open");
        return -EINVAL;
    }
    if (spawn->argv == NULL || spawn->argv[0] == NULL || spawn->on_exit == NULL) {
        violated(engine, "host->spawn without argv or on_exit");
        return -EINVAL;
    }
    if (engine->refuse_spawn) {
        return -ENOMEM;
    }
    struct kiln_process *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return -ENOMEM;
    }
    made->spawn = *spawn;
    made->next = engine->processes;
    engine->processes = made;
    *process = made;
    return 0;
}

static void host_kill(const kiln_host *host, kiln_process *process)
{
    fake_engine *engine = called(host, "kill");
    struct kiln_process *known = engine->processes;
    while (known != NULL && known != process) {
        known = known->next;
    }
    if (known == NULL) {
        violated(engine, "host->kill of a process that has ended");
    } else {
        known->killed = true;
    }
}

static int host_write_file(const kiln_host *host, kiln_session *session, const char *name,
                           const void *data, size_t length, uint32_t mode)
{
    fake_engine *engine = called(host, "write_file");
    kiln_error err = KILN_ERROR_INIT;
    (void)session, (void)mode;
    if (kiln_file_name_check(name, &err) < 0 || (data == NULL && length > 0)) {
        violated(engine, "host->write_file: \"%s\" is not one path inside the work directory",
                 name);
        return -EINVAL;
    }
    return 0;
}

static kiln_watch *host_watch(const kiln_host *host, int fd, int events,
                              void (*ready)(void *user, int fd, int events), void *user)
{
    fake_engine *engine = called(host, "watch");
    struct kiln_watch *made = calloc(1, sizeof(*made));
    if (made != NULL) {
        *made = (struct kiln_watch){engine->watches, fd, events, ready, user};
        engine->watches = made;
    }
    return made;
}

static void host_unwatch(const kiln_host *host, kiln_watch *watch)
{
    fake_engine *engine = called(host, "unwatch");
    struct kiln_watch **place = &engine->watches;
    while (*place != NULL && *place != watch) {
        place = &(*place)->next;
    }
    if (*place == NULL) {
        violated(engine, "host->unwatch of what is not watched");
        return;
    }
    *place = watch->next;
    free(watch);
}

static kiln_timer *host_timer(const kiln_host *host, uint64_t milliseconds,
                              void (*fire)(void *user), void *user)
{
    fake_engine *engine = called(host, "timer");
    struct kiln_timer *made = calloc(1, sizeof(*made));
    (void)milliseconds; /* here they fire in the order in which they were asked for */
    if (made != NULL) {
        *made = (struct kiln_timer){NULL, fire, user};
        struct kiln_timer **last = &engine->timers;
        while (*last != NULL) {
            last = &(*last)->next;
        }
        *last = made;
    }
    return made;
}

static void host_cancel(const kiln_host *host, kiln_timer *timer)
{
    fake_engine *engine = called(host, "cancel");
    struct kiln_timer **place = &engine->timers;
    while (*place != NULL && *place != timer) {
        place = &(*place)->next;
    }
    if (*place == NULL) {
        violated(engine, "host->cancel of a timer that has fired or was cancelled");
        return;
    }
    *place = timer->next;
    free(timer);
}

static const kiln_runtime *find_runtime(const kiln_host *host, const char *language)
{
    static const char *const run[] = {"/usr/bin/interpreter", "{file}", NULL};
    fake_engine *engine = called(host, "kiln.runtimes");
    engine->runtime = (kiln_runtime){
        .size = sizeof(engine->runtime), .language = language, .extension = ".txt", .run = run};
    return &engine->runtime;
}

static const kiln_limits *default_limits(const kiln_host *host)
{
    static const kiln_limits limits = {.size = sizeof(limits), .timeout_ms = 60000};
    (void)host;
    return &limits;
}

static int files_prepared(const kiln_host *host, kiln_session *session, int work_fd,
                          const char *error)
{
    (void)session, (void)work_fd, (void)error;
    violated(called(host, "kiln.files"), "kiln.files: prepared, and no session_prepare waits");
    return -ESTALE;
}

/* No worker can be reached from here. */
static kiln_remote *no_guest(const kiln_host *host, const kiln_remote_callbacks *callbacks,
                             void *user)
{
    fake_engine *engine = called(host, "kiln.guest");
    (void)user;
    if (callbacks->send == NULL || callbacks->ready == NULL || callbacks->done == NULL ||
        callbacks->broken == NULL) {
        violated(engine, "kiln.guest: open without one of its callbacks");
    }
    return NULL;
}
static void close_none(kiln_remote *remote)
{
    (void)remote;
}
static int received_by_none(kiln_remote *remote, const char *data, size_t length)
{
    (void)remote, (void)data, (void)length;
    return -EPROTO;
}
static int execute_on_none(kiln_remote *remote, kiln_ticket ticket, const kiln_input *input)
{
    (void)remote, (void)ticket, (void)input;
    return -EPIPE;
}

static int query_none(kiln_remote *remote, kiln_ticket ticket, const char *name,
                      const char *arguments, size_t length)
{
    (void)remote, (void)ticket, (void)name, (void)arguments, (void)length;
    return -EPIPE;
}

/* No query is asked here: a reply to one is stale. */
static int host_reply(const kiln_host *host, kiln_ticket ticket, const char *json,
                      size_t length, const char *error)
{
    fake_engine *engine = called(host, "reply");
    (void)ticket, (void)length;
    if (json == NULL && error == NULL) {
        violated(engine, "host->reply with neither a reply nor an error");
    }
    violated(engine, "host->reply, and no query waits");
    return -ESTALE;
}

/* Those of the engine that need no session's processes. */
static const void *host_extension(const kiln_host *host, const char *id)
{
    static const kiln_runtimes runtimes = {sizeof(runtimes), find_runtime};
    static const kiln_default_limits limits = {sizeof(limits), default_limits};
    static const kiln_files files = {sizeof(files), files_prepared};
    static const kiln_guests guests = {
        sizeof(guests),  no_guest,   close_none, received_by_none,
        execute_on_none, close_none, query_none,
    };
    static const struct {
        const char *id;
        const void *table;
    } known[] = {
        {KILN_EXTENSION_RUNTIMES, &runtimes},
        {KILN_EXTENSION_LIMITS, &limits},
        {KILN_EXTENSION_FILES, &files},
        {KILN_EXTENSION_GUEST, &guests},
    };
    called(host, "extension");
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].id, id) == 0) {
            return known[i].table;
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------ the engine's side */

void fake_open(fake_engine *engine, const kiln_loaded_plugin *loaded, const char *const *set)
{
    *engine = (fake_engine){
        .host = {.size = sizeof(kiln_host),
                 .abi_major = KILN_ABI_MAJOR,
                 .abi_minor = KILN_ABI_MINOR,
                 .log = host_log,
                 .option = host_option,
                 .emit = host_emit,
                 .complete = host_complete,
                 .spawn = host_spawn,
                 .kill = host_kill,
                 .write_file = host_write_file,
                 .watch = host_watch,
                 .unwatch = host_unwatch,
                 .timer = host_timer,
                 .cancel = host_cancel,
                 .extension = host_extension,
                 .reply = host_reply},
        .loaded = loaded,
        .plugin = &loaded->plugin,
        .thread = gettid(),
        .set = set,
    };
    for (size_t i = 0; i < FAKE_SESSIONS; i++) {
        snprintf(engine->sessions[i].base.id, sizeof(engine->sessions[i].base.id), "check%zu",
                 i);
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
        host_unwatch(&engine->host, engine->watches);
    }
    while (engine->timers != NULL) {
        host_cancel(&engine->host, engine->timers);
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
    if (session->running != 0) {
        fake_kill(engine);
        fake_finish(engine, which);
    }
    if (engine->plugin->session_close != NULL) {
        engine->plugin->session_close(engine->self, session->state);
    }
    session->state = NULL;
    session->open = false;
}

int fake_execute(fake_engine *engine, size_t which)
{
    static const char *const none[] = {NULL};
    static const char code[] = "print('checked')\n";
    fake_session *session = &engine->sessions[which];
    kiln_ticket ticket = {0};
    while (ticket.slot < FAKE_TICKETS &&
           (engine->tickets[ticket.slot].active || engine->tickets[ticket.slot].abandoned)) {
        ticket.slot++;
    }
    if (!session->open || session->running != 0 || ticket.slot == FAKE_TICKETS) {
        return -EBUSY;
    }
    fake_ticket *entry = &engine->tickets[ticket.slot];
    *entry = (fake_ticket){.generation = entry->generation + 1, .active = true};
    ticket.generation = entry->generation;
    const char *language = engine->plugin->languages[0];
    const kiln_input input = {
        .size = sizeof(input),
        .session_id = session->base.id,
        .code = code,
        .code_length = sizeof(code) - 1,
        .language = language == NULL || strcmp(language, "*") == 0 ? "python" : language,
        .args = none,
        .env = none,
        .input_files = none,
        .execution_count = 1,
        .limits = {.size = sizeof(kiln_limits), .timeout_ms = 60000},
    };
    session->running = ticket.slot + 1;
    int rc =
        engine->plugin->execute(engine->self, ticket, &session->base, session->state, &input);
    if (rc < 0) {
        if (entry->completions > 0) {
            violated(engine, "execute completed its ticket and failed: it must do one of both");
        }
        entry->active = false;
        session->running = 0;
    }
    return rc;
}

void fake_interrupt(fake_engine *engine, size_t which)
{
    const fake_session *session = &engine->sessions[which];
    if (session->running == 0 || engine->plugin->interrupt == NULL) {
        return;
    }
    uint32_t slot = session->running - 1;
    engine->plugin->interrupt(engine->self,
                              (kiln_ticket){slot, engine->tickets[slot].generation});
}

void fake_kill(fake_engine *engine)
{
    for (struct kiln_process *one = engine->processes; one != NULL; one = one->next) {
        one->killed = true;
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

bool fake_step(fake_engine *engine)
{
    if (engine->processes != NULL) {
        end_process(engine);
        return true;
    }
    struct kiln_timer *timer = engine->timers;
    if (timer != NULL) {
        engine->timers = timer->next;
        void (*fire)(void *user) = timer->fire;
        void *user = timer->user;
        free(timer);
        fire(user);
        return true;
    }
    return poll_watches(engine);
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

void fake_abandon(fake_engine *engine, size_t which)
{
    fake_session *session = &engine->sessions[which];
    if (session->running != 0) {
        engine->tickets[session->running - 1].active = false;
        engine->tickets[session->running - 1].abandoned = true;
        session->running = 0;
    }
}
