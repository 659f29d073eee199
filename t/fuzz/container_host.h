/* container_host.h - Kiln's engine, as container_fuzz.c has it for the plugin. */
#ifndef KILN_FUZZ_CONTAINER_HOST_H
#define KILN_FUZZ_CONTAINER_HOST_H

#include "container_engine.h"

enum { SESSIONS = 3 };

struct kiln_session {
    void *state;
    bool open, preparing, prepared, starting, running;
    kiln_ticket ticket;
};

struct kiln_timer {
    kiln_timer *next;
    void (*fire)(void *user);
    void *user;
};

struct kiln_watch {
    kiln_watch *next;
    int fd;
    void (*ready)(void *user, int fd, int events);
    void *user;
};

struct kiln_remote {
    const kiln_remote_callbacks *callbacks;
    void *user;
    kiln_ticket ticket;
    bool running, broken, closed;
    unsigned busy;
};

static const kiln_plugin *plugin;
static kiln_session sessions[SESSIONS];
static kiln_timer *timers;
static kiln_watch *watches;
static unsigned tickets;
static bool archive, wants_runtime, closes_in_complete, executes_in_prepared;

static void host_log(const kiln_host *host, uint32_t level, const char *text)
{
    (void)host;
    if (level > KILN_PLUGIN_LOG_DEBUG || strlen(text) > 1200) {
        abort();
    }
}

static const char *host_option(const kiln_host *host, const char *name)
{
    (void)host;
    if (strcmp(name, "socket") == 0) {
        return "/nowhere";
    }
    if (strcmp(name, "runtime") == 0) {
        return wants_runtime ? "runc" : "";
    }
    if (strcmp(name, "files") == 0) {
        return archive ? "archive" : "auto";
    }
    for (const kiln_option *option = plugin->options; option->name != NULL; option++) {
        if (strcmp(option->name, name) == 0) {
            return strcmp(name, "pool") == 0 && closes_in_complete ? "1"
                                                                   : option->default_value;
        }
    }
    abort();
}

static kiln_session *session_of(kiln_ticket ticket)
{
    for (int i = 0; i < SESSIONS; i++) {
        if (sessions[i].running && sessions[i].ticket.generation == ticket.generation) {
            return &sessions[i];
        }
    }
    return NULL;
}

static int host_emit(const kiln_host *host, kiln_ticket ticket, const kiln_event *event)
{
    (void)host;
    if (session_of(ticket) == NULL ||
        (event->type != KILN_EVENT_STREAM && event->length != strlen(event->data))) {
        abort();
    }
    return 0;
}

static void close_session(kiln_session *session)
{
    void *state = session->state;
    if (session->preparing) { /* it is asked for no more */
        session->preparing = false;
    }
    *session = (kiln_session){0};
    plugin->session_close(self, state);
}

static int host_complete(const kiln_host *host, kiln_ticket ticket, const kiln_outcome *outcome)
{
    kiln_session *session = session_of(ticket);
    (void)host;
    if (session == NULL || outcome->status > KILN_STATUS_UNAVAILABLE ||
        (outcome->message != NULL && strlen(outcome->message) > 4096)) {
        abort();
    }
    session->running = false;
    if (closes_in_complete && !session->starting) {
        close_session(session);
    }
    return 0;
}

static int host_write_file(const kiln_host *host, kiln_session *session, const char *name,
                           const void *data, size_t length, uint32_t mode)
{
    (void)host, (void)session, (void)name, (void)data, (void)length, (void)mode;
    return take() % 8 == 0 ? -ENOSPC : 0;
}

static kiln_timer *host_timer(const kiln_host *host, uint64_t milliseconds,
                              void (*fire)(void *user), void *user)
{
    kiln_timer *timer = malloc(sizeof(*timer));
    (void)host, (void)milliseconds;
    *timer = (kiln_timer){timers, fire, user};
    timers = timer;
    return timer;
}

static void host_cancel(const kiln_host *host, kiln_timer *timer)
{
    kiln_timer **place = &timers;
    (void)host;
    while (*place != timer) { /* faults where there is no such timer */
        place = &(*place)->next;
    }
    *place = timer->next;
    free(timer);
}

static kiln_watch *host_watch(const kiln_host *host, int fd, int events,
                              void (*ready)(void *user, int fd, int events), void *user)
{
    kiln_watch *watch = malloc(sizeof(*watch));
    (void)host, (void)events;
    *watch = (kiln_watch){watches, fd, ready, user};
    watches = watch;
    return watch;
}

static void host_unwatch(const kiln_host *host, kiln_watch *watch)
{
    kiln_watch **place = &watches;
    (void)host;
    if (watch == NULL) {
        return;
    }
    while (*place != watch) {
        place = &(*place)->next;
    }
    *place = watch->next;
    free(watch);
}

static const kiln_limits *default_limits(const kiln_host *host);

static void execute(kiln_session *session)
{
    static const char *const none[] = {NULL};
    const kiln_input cell = {
        .size = sizeof(cell),
        .session_id = "s",
        .code = "code",
        .code_length = 4,
        .language = "c",
        .stdin_data = "in",
        .stdin_length = take() % 3,
        .args = none,
        .env = none,
        .input_files = none,
        .execution_count = 1,
        .limits = *default_limits(NULL),
    };
    session->running = session->starting = true;
    session->prepared = false;
    session->ticket = (kiln_ticket){1, ++tickets};
    kiln_ticket ticket = session->ticket;
    if (plugin->execute(self, ticket, session, session->state, &cell) < 0) {
        session->running = false;
    }
    session->starting = false;
}

static int prepared(const kiln_host *host, kiln_session *session, int work_fd,
                    const char *error)
{
    (void)host;
    if (!session->preparing || (work_fd < 0) != (error != NULL)) {
        abort();
    }
    session->preparing = false;
    session->prepared = work_fd >= 0;
    if (session->prepared && executes_in_prepared) {
        execute(session);
    }
    return 0;
}

static kiln_remote *guest_open(const kiln_host *host, const kiln_remote_callbacks *callbacks,
                               void *user)
{
    kiln_remote *remote = calloc(1, sizeof(*remote));
    (void)host;
    remote->callbacks = callbacks;
    remote->user = user;
    return remote;
}

static void guest_close(kiln_remote *remote)
{
    remote->closed = true;
    if (remote->busy == 0) {
        free(remote);
    }
}

/* Frames are guest_fuzz's: here a letter is one. */
static int guest_received(kiln_remote *remote, const char *data, size_t length)
{
    kiln_outcome outcome = KILN_OUTCOME_INIT;
    if (remote->busy > 0) {
        abort();
    }
    remote->busy++;
    for (size_t i = 0; i < length && !remote->closed && !remote->broken; i++) {
        if (data[i] == 'R') {
            remote->callbacks->ready(remote->user);
        } else if (data[i] == 'X') {
            remote->broken = true;
            remote->callbacks->broken(remote->user, "it broke the protocol");
        } else if (data[i] == 'D' && remote->running) {
            remote->running = false;
            outcome.status = i % 2 ? KILN_STATUS_OK : KILN_STATUS_ERROR;
            remote->callbacks->done(remote->user, remote->ticket, &outcome);
        }
    }
    int rc = remote->broken ? -EPROTO : 0;
    if (--remote->busy == 0 && remote->closed) {
        free(remote);
    }
    return rc;
}

static int guest_execute(kiln_remote *remote, kiln_ticket ticket, const kiln_input *cell)
{
    if (remote->broken) {
        return -EPIPE;
    }
    if (remote->running) {
        return -EBUSY;
    }
    remote->running = true;
    remote->ticket = ticket;
    remote->callbacks->send(remote->user, cell->code, cell->code_length);
    return 0;
}

static void guest_interrupt(kiln_remote *remote)
{
    remote->callbacks->send(remote->user, "I", 1);
}

static int guest_query(kiln_remote *remote, kiln_ticket ticket, const char *name,
                       const char *arguments, size_t length)
{
    (void)ticket, (void)name;
    remote->callbacks->send(remote->user, arguments, length);
    return 0;
}

static const kiln_runtime *find_runtime(const kiln_host *host, const char *language)
{
    static const char *const compile[] = {"cc", "{file}", NULL}, *const run[] = {"{out}", NULL};
    static const kiln_runtime runtime = {sizeof(runtime), "c", ".c", compile, run};
    (void)host;
    return strcmp(language, "c") == 0 ? &runtime : NULL;
}

static bool checking;

static void found(const kiln_host *host, uint32_t finding, const char *what, const char *detail)
{
    (void)host;
    if (!checking || finding > KILN_FINDING_FAULT || *what == '\0' || *detail == '\0') {
        abort();
    }
}

static void checked(const kiln_host *host)
{
    (void)host;
    checking = checking ? false : (abort(), false);
}

static const kiln_limits *default_limits(const kiln_host *host)
{
    static const kiln_limits limits = {.size = sizeof(limits), .disk = 4096, .files = 8};
    (void)host;
    return &limits;
}

static const void *host_extension(const kiln_host *host, const char *name)
{
    static const kiln_files with_files = {sizeof(with_files), prepared};
    static const kiln_guests guests = {sizeof(guests), guest_open,    guest_close,
                                       guest_received, guest_execute, guest_interrupt,
                                       guest_query};
    static const kiln_runtimes runtimes = {sizeof(runtimes), find_runtime};
    static const kiln_default_limits limits = {sizeof(limits), default_limits};
    static const kiln_checks checks = {sizeof(checks), found, checked};
    (void)host;
    return strcmp(name, KILN_EXTENSION_FILES) == 0      ? &with_files
           : strcmp(name, KILN_EXTENSION_GUEST) == 0    ? (const void *)&guests
           : strcmp(name, KILN_EXTENSION_RUNTIMES) == 0 ? (const void *)&runtimes
           : strcmp(name, KILN_EXTENSION_LIMITS) == 0   ? (const void *)&limits
           : strcmp(name, KILN_EXTENSION_CHECK) == 0    ? (const void *)&checks
                                                        : NULL;
}

static const kiln_host host_table = {
    .size = sizeof(host_table),
    .abi_major = KILN_ABI_MAJOR,
    .abi_minor = KILN_ABI_MINOR,
    .log = host_log,
    .option = host_option,
    .emit = host_emit,
    .complete = host_complete,
    .write_file = host_write_file,
    .watch = host_watch,
    .unwatch = host_unwatch,
    .timer = host_timer,
    .cancel = host_cancel,
    .extension = host_extension,
};

#endif
