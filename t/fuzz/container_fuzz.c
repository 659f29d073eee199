/* container_fuzz.c - the container plugin between an engine of Kiln's that keeps plugin.h's
 * rules and a container engine that keeps none: the input says what is asked, in which order
 * answers come, and what is in them. HTTP itself is http_fuzz's; what would be opened on this
 * machine (root.c, meter.c) is replaced, too. Each execution has one end, each preparation one
 * answer, and after fini nothing is left. */
#include "container_host.h"

#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const kiln_plugin *kiln_plugin_entry(void);

enum { STEPS = 600 };

/* ---- what is asked */

static void prepare(kiln_session *session)
{
    const char *language = take() % 2 ? "python" : "c";
    kiln_limits limits = *default_limits(NULL);
    limits.cpu_ms = take() % 3;
    session->prepared = false;
    session->preparing = true;
    if (plugin->session_prepare(self, session, session->state, language, &limits) < 0) {
        session->preparing = false;
    }
}

static void ask(kiln_session *session)
{
    switch (take() % 8) {
    case 0:
    case 1:
        if (!session->preparing && !session->running) {
            prepare(session);
        }
        break;
    case 2:
    case 3:
        if (session->prepared && !session->running) {
            execute(session);
        }
        break;
    case 4:
        plugin->interrupt(self, session->ticket);
        break;
    case 5:
        plugin->kill(self, session->ticket);
        break;
    case 6:
        if (session->prepared && !session->running) {
            plugin->query(self, (kiln_ticket){2, ++tickets}, session, session->state,
                          "complete", "{}", 2);
        }
        break;
    default:
        close_session(session);
    }
}

/* ---- what happens */

static http *pick(unsigned number)
{
    size_t count = 0;
    for (http *request = self->requests; request != NULL; request = request->next) {
        count++;
    }
    http *request = self->requests;
    for (size_t i = 0; count > 0 && i < number % count; i++) {
        request = request->next;
    }
    return request;
}

static void answer_badly(http *request)
{
    static const int statuses[] = {0, 101, 200, 201, 204, 304, 404, 409, 500};
    static const char *const bodies[] = {
        "{\"State\":{\"Running\":false,\"ExitCode\":137,\"OOMKilled\":true}}",
        "{\"State\":{\"Running\":false,\"ExitCode\":3,\"Status\":\"removing\"}}",
        "{\"State\":{\"Running\":true,\"Pid\":42,\"Paused\":true}}",
        "{\"Running\":true}",
        "{\"message\":\"no\\u0007\"}",
        "[{\"Id\":\"abab\",\"State\":\"paused\",\"Labels\":{\"kiln.engine\":\"\"}}]",
        "{\"status\":\"Downloading\",\"id\":\"x\"}\n{\"error\":\"denied\"}\n",
    };
    int status = statuses[take() % (sizeof(statuses) / sizeof(statuses[0]))];
    unsigned which = take();
    size_t length = which;
    const char *body = which < sizeof(bodies) / sizeof(bodies[0]) ? bodies[which] : NULL;
    if (body != NULL) {
        length = strlen(body);
    } else {
        body = take_bytes(&length);
    }
    give(request, status, body, length);
}

/* Of a stream, in the engine's own framing, or an event. */
static void give_more(http *request)
{
    char text[300];
    static const char *const events[] = {"kill", "pause", "destroy", "stop"};
    unsigned kind = take();
    size_t length = take();
    if (!request->begun) {
        return;
    }
    if (!request->stream) {
        snprintf(text, sizeof(text), "{\"Action\":\"%s\",\"Actor\":{\"ID\":\"%s\"}}\n",
                 events[kind % 4], id);
        give_data(request, text, strlen(text));
        return;
    }
    if (kind % 8 == 0) {
        give_data(request, "\1\0\0\0\0\0\0\12listening\n", 18);
        return;
    }
    const char *bytes = take_bytes(&length);
    text[0] = (char)(kind % 4);
    memset(text + 1, 0, 6);
    text[7] = (char)length;
    memcpy(text + 8, bytes, length);
    size_t cut = kind & 16 ? length / 2 + 4 : length + 8;
    request->busy++;
    give_data(request, text, cut);
    if (!request->cancelled && cut < length + 8) {
        give_data(request, text + cut, length + 8 - cut);
    }
    leave(request);
}

static void fire(unsigned number)
{
    size_t count = 0;
    for (kiln_timer *timer = timers; timer != NULL; timer = timer->next) {
        count++;
    }
    kiln_timer *timer = timers;
    for (size_t i = 0; count > 0 && i < number % count; i++) {
        timer = timer->next;
    }
    if (timer != NULL) {
        kiln_timer was = *timer;
        host_cancel(NULL, timer);
        was.fire(was.user);
    }
}

/* The agent's own socket. */
static void speak(void)
{
    unsigned which = take();
    size_t length = take() % 8;
    const char *bytes = take_bytes(&length);
    if (peer_count > 0 && length > 0) {
        send(peers[which % peer_count], bytes, length, MSG_NOSIGNAL);
    } else if (peer_count > 0) {
        shutdown(peers[which % peer_count], SHUT_RDWR);
    }
    if (watches != NULL) {
        const kiln_watch was = *watches;
        was.ready(was.user, was.fd, KILN_READABLE | KILN_WRITABLE);
    }
}

static void step(void)
{
    kiln_session *session = &sessions[take() % SESSIONS];
    unsigned what = take() % 12;
    http *request = pick(what < 8 ? take() : 0);
    if (what < 4 && request != NULL) {
        give_good(request);
    } else if (what < 6 && request != NULL) {
        give_more(request);
    } else if (what == 6 && request != NULL) {
        answer_badly(request);
    } else if (what == 7 && request != NULL && request->begun) {
        give_end(request, request->stream ? 101 : 200, take() % 2 ? "closed" : NULL, "", 0);
    } else if (what == 8) {
        fire(take());
    } else if (what == 9) {
        speak();
    } else if (session->open) {
        ask(session);
    } else if (plugin->session_open(self, session, &session->state) == 0) {
        session->open = true;
        prepare(session);
    }
}

static char folder[] = "/tmp/kiln-fuzz-XXXXXX"; /* what stands for work directories */

static void remove_folder(void)
{
    rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    memset(id, 'a', ID_LENGTH);
    if (mkdtemp(folder) == NULL || setenv("TMPDIR", folder, 1) < 0 ||
        atexit(remove_folder) != 0) {
        abort();
    }
    tar_begin(&files, "work/", true, 0755, (tar_owner){1, 1}, 0, 0);
    tar_begin(&files, "work/a", false, 0644, (tar_owner){1, 1}, 4, 0);
    memcpy(tar_content(&files, 4), "made", 4);
    tar_finish(&files);
    plugin = kiln_plugin_entry();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *error = "";
    void *made;
    input = data;
    input_left = size;
    unsigned flags = take();
    archive = flags & 1;
    nothing_seen = flags & 2;
    closes_in_complete = flags & 4;
    executes_in_prepared = flags & 8;
    wants_runtime = flags & 32;
    tickets = 0;
    if (plugin->init(&host_table, &made, &error) < 0) {
        abort();
    }
    self = made;
    self->kind = flags & 64 ? ENGINE_PODMAN : ENGINE_DOCKER;
    checking = flags & 16;
    if (checking && plugin->check(self) < 0) {
        abort();
    }
    for (int i = 0; i < STEPS && input_left > 0; i++) {
        step();
    }
    input_left = 0;
    closes_in_complete = false;
    for (int i = 0; i < SESSIONS; i++) {
        if (sessions[i].open) {
            close_session(&sessions[i]);
        }
    }
    plugin->fini(self);
    while (timers != NULL) {
        host_cancel(NULL, timers);
    }
    while (watches != NULL) {
        host_unwatch(NULL, watches);
    }
    while (peer_count > 0) {
        close(peers[--peer_count]);
    }
    return 0;
}
