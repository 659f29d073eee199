#include "agent.h"

#include "job.h"
#include "root.h"
#include "sources.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 64 << 10, READS_A_TURN = 4, START_MS = 60000, LINE_MAX_BYTES = 64 };

struct agent {
    struct box *box;
    kiln_remote *remote;
    bool direct; /* over a socket of its own */
    int socket;
    int watched;
    kiln_watch *watch;
    kiln_timer *deadline;      /* of its start */
    char line[LINE_MAX_BYTES]; /* what it said before it listened */
    size_t line_length;
    char *out; /* what the socket did not take */
    size_t out_length, out_at;
    kiln_ticket asked; /* of the last query */
    bool has_asked;
    bool held;
    unsigned busy;
    bool freed;
};

/* Both values of `carrier` have one length: the command names it before one is known. */
char *agent_options(const backend *self)
{
    char *text = NULL;
    unsigned long long name;
    const struct settings *settings = &self->settings;
    if (getrandom(&name, sizeof(name), 0) != (ssize_t)sizeof(name) ||
        asprintf(&text,
                 "carrier=socket\nsocket=/work/.kiln-%016llx\npreload=%s\nmatplotlib=%s\n"
                 "dpi=%s\n",
                 name, settings->preload, settings->matplotlib, settings->dpi) < 0) {
        return NULL;
    }
    return text;
}

/* ---- the end */

static void leave(struct agent *agent)
{
    if (--agent->busy == 0 && agent->freed) {
        free(agent->out);
        free(agent);
    }
}

void agent_free(struct agent *agent)
{
    if (agent == NULL) {
        return;
    }
    const kiln_host *host = agent->box->self->host;
    agent->busy++;
    agent->freed = true;
    agent->box->self->guests->close(agent->remote);
    host->unwatch(host, agent->watch);
    if (agent->deadline != NULL) {
        host->cancel(host, agent->deadline);
    }
    if (agent->socket >= 0) {
        close(agent->socket);
    }
    leave(agent);
}

bool agent_is_direct(const struct agent *agent)
{
    return agent->direct;
}

/* ---- bytes */

static void received(struct agent *agent, const char *data, size_t length)
{
    agent->busy++;
    agent->box->self->guests->received(agent->remote, data, length);
    leave(agent);
}

static void on_socket(void *user, int fd, int events);

static void watch(struct agent *agent)
{
    const kiln_host *host = agent->box->self->host;
    int wanted = KILN_READABLE | (agent->out_at < agent->out_length ? KILN_WRITABLE : 0);
    if (agent->watch == NULL || agent->watched != wanted) {
        host->unwatch(host, agent->watch);
        agent->watch = host->watch(host, agent->socket, wanted, on_socket, agent);
        agent->watched = wanted;
    }
}

static void read_some(struct agent *agent)
{
    char chunk[READ_BYTES];
    for (int count = 0; count < READS_A_TURN && !agent->freed; count++) {
        ssize_t n = recv(agent->socket, chunk, sizeof(chunk), MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            box_lost(agent->box, NULL);
            return;
        }
        received(agent, chunk, (size_t)n);
        if (n < READ_BYTES) { /* what comes later wakes us again */
            return;
        }
    }
}

/* Bytes that were taken; negative: it is gone, and reading finds that. */
static ssize_t write_some(struct agent *agent, const char *data, size_t length)
{
    ssize_t n;
    do {
        n = send(agent->socket, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 && errno == EAGAIN ? 0 : n;
}

static void flush(struct agent *agent)
{
    while (agent->out_at < agent->out_length) {
        ssize_t n =
            write_some(agent, agent->out + agent->out_at, agent->out_length - agent->out_at);
        if (n == 0) {
            return;
        }
        agent->out_at = n < 0 ? agent->out_length : agent->out_at + (size_t)n;
    }
    free(agent->out);
    agent->out = NULL;
    agent->out_length = agent->out_at = 0;
}

static void on_socket(void *user, int fd, int events)
{
    struct agent *agent = user;
    (void)fd;
    agent->busy++;
    if (events & KILN_WRITABLE) {
        flush(agent);
    }
    if ((events & KILN_READABLE) && !agent->freed) {
        read_some(agent);
    }
    if (!agent->freed) {
        watch(agent);
    }
    leave(agent);
}

static void queue(struct agent *agent, const char *data, size_t length)
{
    size_t waiting = agent->out_length - agent->out_at;
    char *all = malloc(waiting + length);
    if (all == NULL) {
        box_lost(agent->box, "out of memory for what goes to its agent");
        return;
    }
    if (waiting > 0) {
        memcpy(all, agent->out + agent->out_at, waiting);
    }
    memcpy(all + waiting, data, length);
    free(agent->out);
    agent->out = all;
    agent->out_length = waiting + length;
    agent->out_at = 0;
    if (agent->direct) {
        watch(agent);
    }
}

void agent_hold(struct agent *agent)
{
    agent->held = true;
}

void agent_release(struct agent *agent)
{
    agent->held = false;
    if (agent->out_length > 0 &&
        http_write(agent->box->attach, agent->out, agent->out_length) < 0) {
        box_lost(agent->box, NULL);
        return;
    }
    free(agent->out);
    agent->out = NULL;
    agent->out_length = agent->out_at = 0;
}

static void on_send(void *user, const char *data, size_t length)
{
    struct agent *agent = user;
    if (agent->held) {
        queue(agent, data, length);
        return;
    }
    if (!agent->direct) {
        if (agent->box->attach == NULL || http_write(agent->box->attach, data, length) < 0) {
            box_lost(agent->box, NULL);
        }
        return;
    }
    ssize_t taken = agent->out_at < agent->out_length ? 0 : write_some(agent, data, length);
    if (taken >= 0 && (size_t)taken < length) {
        queue(agent, data + taken, length - (size_t)taken);
    }
}

/* ---- what it says */

static void on_ready(void *user)
{
    struct agent *agent = user;
    const kiln_host *host = agent->box->self->host;
    if (agent->deadline != NULL) {
        host->cancel(host, agent->deadline);
        agent->deadline = NULL;
    }
    box_agent_ready(agent->box);
}

static void on_done(void *user, kiln_ticket ticket, const kiln_outcome *outcome)
{
    struct agent *agent = user;
    (void)ticket;
    if (agent->box->job != NULL) {
        job_done(agent->box->job, outcome);
    }
}

static void on_broken(void *user, const char *why)
{
    struct agent *agent = user;
    box_lost(agent->box, why);
}

static const kiln_remote_callbacks remote_callbacks = {
    .size = sizeof(kiln_remote_callbacks),
    .send = on_send,
    .ready = on_ready,
    .done = on_done,
    .broken = on_broken,
};

/* "/work/.kiln-…" of its options -> ".kiln-…" */
static void socket_name(const struct box *box, char *name, size_t size)
{
    const char *path = strstr(box->options, "/work/") + strlen("/work/");
    snprintf(name, size, "%.*s", (int)strcspn(path, "\n"), path);
}

static void connect_direct(struct agent *agent)
{
    char name[64], why[120];
    socket_name(agent->box, name, sizeof(name));
    agent->socket = root_connect(agent->box->work_fd, name);
    if (agent->socket < 0) {
        snprintf(why, sizeof(why), "its agent cannot be reached: %s", strerror(-agent->socket));
        box_lost(agent->box, why);
        return;
    }
    watch(agent);
}

/* Everything but its first line is a complaint of the interpreter's, or a log line. */
static void log_output(struct box *box, const char *data, size_t length)
{
    enum { LOGGED_MAX = 8192 };
    size_t rest = LOGGED_MAX - box->logged;
    length = length < rest ? length : rest;
    box->logged += length;
    while (length > 0) {
        const char *end = memchr(data, '\n', length);
        size_t line = end != NULL ? (size_t)(end - data) : length;
        if (line > 0) {
            say(box->self,
                box->state == BOX_READY ? KILN_PLUGIN_LOG_DEBUG : KILN_PLUGIN_LOG_WARNING,
                "%s: %.*s", box->name, (int)line, data);
        }
        size_t used = line + (end != NULL);
        data += used;
        length -= used;
    }
}

void agent_output(struct agent *agent, uint32_t stream, const char *data, size_t length)
{
    static const char listening[] = "listening\n";
    if (stream == KILN_STDOUT && !agent->direct) {
        received(agent, data, length);
        return;
    }
    if (stream == KILN_STDERR || agent->socket >= 0) {
        log_output(agent->box, data, length);
        return;
    }
    for (size_t i = 0; i < length && agent->line_length < sizeof(agent->line); i++) {
        agent->line[agent->line_length++] = data[i];
    }
    if (agent->line_length == sizeof(listening) - 1 &&
        memcmp(agent->line, listening, sizeof(listening) - 1) == 0) {
        connect_direct(agent);
    } else if (memchr(agent->line, '\n', agent->line_length) != NULL ||
               agent->line_length == sizeof(agent->line)) {
        box_lost(agent->box, "its agent does not say that it listens");
    }
}

static void on_deadline(void *user)
{
    struct agent *agent = user;
    agent->deadline = NULL;
    box_lost(agent->box, "its agent did not start within 60 s");
}

struct agent *agent_start(struct box *box)
{
    backend *self = box->self;
    struct agent *agent = calloc(1, sizeof(*agent));
    size_t length;
    if (agent == NULL) {
        return NULL;
    }
    agent->box = box;
    agent->socket = -1;
    agent->direct = box->direct;
    if (!agent->direct) {
        memcpy(strstr(box->options, "carrier=") + strlen("carrier="), "stdio ", 6);
    }
    agent->remote = self->guests->open(self->host, &remote_callbacks, agent);
    agent->deadline = self->host->timer(self->host, START_MS, on_deadline, agent);
    char *parts = agent_parts(box->options, &length);
    int rc = parts == NULL || agent->remote == NULL ? -ENOMEM
                                                    : http_write(box->attach, parts, length);
    free(parts);
    if (rc < 0) {
        agent_free(agent);
        return NULL;
    }
    return agent;
}

int agent_execute(struct agent *agent, kiln_ticket ticket, const kiln_input *input)
{
    return agent->box->self->guests->execute(agent->remote, ticket, input);
}

void agent_interrupt(struct agent *agent)
{
    agent->box->self->guests->interrupt(agent->remote);
}

int agent_query(struct agent *agent, kiln_ticket ticket, const char *name,
                const char *arguments, size_t length)
{
    int rc = agent->box->self->guests->query(agent->remote, ticket, name, arguments, length);
    if (rc == 0) {
        agent->asked = ticket;
        agent->has_asked = true;
    }
    return rc;
}

bool agent_asks(const struct agent *agent, kiln_ticket ticket)
{
    return agent->has_asked && agent->asked.slot == ticket.slot &&
           agent->asked.generation == ticket.generation;
}
