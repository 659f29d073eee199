/* The host table of an engine that is made up. */
#include "plugincheck/fake-t.h"

#include "contract/input.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static fake_engine *of(const kiln_host *host)
{
    return (fake_engine *)(uintptr_t)host;
}

void fake_violated(fake_engine *engine, const char *format, ...)
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
        fake_violated(engine, "host->%s was called from a thread of its own: only [loop] may",
                      function);
    }
    return engine;
}

static void host_log(const kiln_host *host, uint32_t level, const char *text)
{
    fake_engine *engine = called(host, "log");
    if (level > KILN_PLUGIN_LOG_DEBUG || text == NULL) {
        fake_violated(engine, "host->log: level %u or no text", level);
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

/* Of an execution or, where that is meant, of a query. */
static fake_ticket *find(fake_engine *engine, kiln_ticket ticket, const char *function,
                         bool query)
{
    fake_ticket *entry = ticket.slot < FAKE_TICKETS ? &engine->tickets[ticket.slot] : NULL;
    if (entry != NULL && entry->active && entry->generation == ticket.generation) {
        if (entry->query == query) {
            return entry;
        }
        fake_violated(engine, "host->%s with the ticket of %s", function,
                      query ? "an execution: host->complete ends it"
                            : "a query: host->reply answers it");
        return NULL;
    }
    if (entry == NULL || ticket.generation == 0 || ticket.generation > entry->generation) {
        fake_violated(engine, "host->%s with a ticket that it was never given", function);
    } else if (!entry->abandoned) {
        fake_violated(engine, "host->%s after its execution had completed", function);
    }
    return NULL;
}

static int host_emit(const kiln_host *host, kiln_ticket ticket, const kiln_event *event)
{
    fake_engine *engine = called(host, "emit");
    fake_ticket *entry = find(engine, ticket, "emit", false);
    if (entry == NULL) {
        return -ESTALE;
    }
    if (event->size < sizeof(*event) || event->type < KILN_EVENT_STREAM ||
        event->type > KILN_EVENT_DECISION || (event->data == NULL && event->length > 0) ||
        (event->type == KILN_EVENT_STREAM && event->stream != KILN_STDOUT &&
         event->stream != KILN_STDERR)) {
        fake_violated(engine, "host->emit: an event of size %u, type %u, stream %u",
                      event->size, event->type, event->stream);
    } else if (event->type != KILN_EVENT_STREAM) {
        json_t *json = json_loadb(event->data, event->length, 0, NULL);
        if (!json_is_object(json)) {
            fake_violated(engine, "host->emit: type %u with what is no JSON object: %.*s",
                          event->type, (int)(event->length < 60 ? event->length : 60),
                          event->data);
        }
        json_decref(json);
    }
    return 0;
}

static void end_ticket(fake_engine *engine, kiln_ticket ticket, fake_ticket *entry)
{
    entry->active = false;
    entry->completions++;
    for (size_t i = 0; i < FAKE_SESSIONS; i++) {
        if (engine->sessions[i].running == ticket.slot + 1) {
            engine->sessions[i].running = 0;
        }
    }
}

static int host_complete(const kiln_host *host, kiln_ticket ticket, const kiln_outcome *outcome)
{
    fake_engine *engine = called(host, "complete");
    fake_ticket *entry = find(engine, ticket, "complete", false);
    if (entry == NULL) {
        return -ESTALE;
    }
    if (outcome->size < sizeof(*outcome) || outcome->status > KILN_STATUS_UNAVAILABLE) {
        fake_violated(engine, "host->complete: an outcome of size %u, status %u", outcome->size,
                      outcome->status);
    }
    end_ticket(engine, ticket, entry);
    return 0;
}

/* Of the session, or NULL: it is none, or not open. */
static fake_session *find_session(fake_engine *engine, const kiln_session *session)
{
    fake_session *known = NULL;
    for (size_t i = 0; i < FAKE_SESSIONS; i++) {
        known = session == &engine->sessions[i].base ? &engine->sessions[i] : known;
    }
    return known != NULL && known->open ? known : NULL;
}

static int host_spawn(const kiln_host *host, kiln_session *session, const kiln_spawn *spawn,
                      kiln_process **process)
{
    fake_engine *engine = called(host, "spawn");
    if (find_session(engine, session) == NULL) {
        fake_violated(engine, "host->spawn in a session that is not open");
        return -EINVAL;
    }
    if (spawn->argv == NULL || spawn->argv[0] == NULL || spawn->on_exit == NULL) {
        fake_violated(engine, "host->spawn without argv or on_exit");
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
        fake_violated(engine, "host->kill of a process that has ended");
    } else {
        known->killed = true;
    }
}

static int host_write_file(const kiln_host *host, kiln_session *session, const char *name,
                           const void *data, size_t length, uint32_t mode)
{
    fake_engine *engine = called(host, "write_file");
    kiln_error err = KILN_ERROR_INIT;
    (void)mode;
    if (find_session(engine, session) == NULL) {
        fake_violated(engine, "host->write_file in a session that is not open");
        return -EINVAL;
    }
    if (kiln_file_name_check(name, &err) < 0 || (data == NULL && length > 0)) {
        fake_violated(
            engine, "host->write_file: \"%s\" is not one path inside the work directory", name);
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
    if (watch == NULL) {
        return;
    }
    struct kiln_watch **place = &engine->watches;
    while (*place != NULL && *place != watch) {
        place = &(*place)->next;
    }
    if (*place == NULL) {
        fake_violated(engine, "host->unwatch of what is not watched");
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
    if (timer == NULL) {
        return;
    }
    struct kiln_timer **place = &engine->timers;
    while (*place != NULL && *place != timer) {
        place = &(*place)->next;
    }
    if (*place == NULL) {
        fake_violated(engine, "host->cancel of a timer that has fired or was cancelled");
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
    fake_engine *engine = called(host, "kiln.files");
    fake_session *known = find_session(engine, session);
    struct stat place;
    if (known == NULL) {
        fake_violated(engine, "kiln.files: prepared for a session that is not open");
    } else if (!known->preparing) {
        fake_violated(engine, "kiln.files: prepared, and no session_prepare waits");
    } else if (work_fd < 0 && error == NULL) {
        fake_violated(engine, "kiln.files: prepared with no place, and without saying why");
    } else if (work_fd >= 0 && error != NULL) {
        fake_violated(engine, "kiln.files: prepared with a place and an error: one of both");
    } else if (error != NULL && (error[0] == '\0' || strchr(error, '\n') != NULL)) {
        fake_violated(engine, "kiln.files: prepared: its error is not one line");
    } else if (work_fd >= 0 && (fstat(work_fd, &place) < 0 || !S_ISDIR(place.st_mode))) {
        fake_violated(engine, "kiln.files: prepared: descriptor %d is no directory", work_fd);
    } else {
        fake_place_told(engine, known, error);
        return 0;
    }
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
        fake_violated(engine, "kiln.guest: open without one of its callbacks");
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

static int host_reply(const kiln_host *host, kiln_ticket ticket, const char *json,
                      size_t length, const char *error)
{
    fake_engine *engine = called(host, "reply");
    fake_ticket *entry = find(engine, ticket, "reply", true);
    if (entry == NULL) {
        return -ESTALE;
    }
    json_t *value = json != NULL ? json_loadb(json, length, JSON_DECODE_ANY, NULL) : NULL;
    if (json == NULL && error == NULL) {
        fake_violated(engine, "host->reply with neither a reply nor an error");
    } else if (json != NULL && value == NULL) {
        fake_violated(engine, "host->reply with what is no JSON: %.*s",
                      (int)(length < 60 ? length : 60), json);
    }
    json_decref(value);
    end_ticket(engine, ticket, entry);
    return 0;
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
    const fake_engine *engine = called(host, "extension");
    for (size_t i = 0; !engine->bare && i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].id, id) == 0) {
            return known[i].table;
        }
    }
    return NULL;
}

void fake_host_fill(kiln_host *host)
{
    *host = (kiln_host){.size = sizeof(kiln_host),
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
                        .reply = host_reply};
}
