/* A plugin whose engine half answers queries, as their names say:
 *   complete, inspect   in the right shape, {"matches":["well"],...}
 *   later               after a while
 *   inside              from inside query
 *   twice               two times
 *   never               not at all, nor when it is interrupted
 *   yields              once it is interrupted
 *   error               with an error
 *   broken              with what is no JSON
 *   is_complete         in another shape
 *   echo                its own arguments
 * and whose executions say how many queries there were, and how often it was restarted. */
#include "bad.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct question {
    kiln_ticket ticket;
    bool twice;
} question;

static const kiln_host *host;
static unsigned queries, restarts;
static bool yielding;
static kiln_ticket yielder;

static void say(kiln_ticket ticket, const char *text)
{
    host->reply(host, ticket, text, strlen(text), NULL);
}

static void answer(void *user)
{
    question *mine = user;
    say(mine->ticket, "{\"later\":true}");
    if (mine->twice) {
        say(mine->ticket, "{\"later\":\"again\"}");
    }
}

static int answer_later(kiln_ticket ticket, bool twice)
{
    static question asked[16]; /* more never wait */
    static size_t next;
    question *mine = &asked[next++ % 16];
    *mine = (question){ticket, twice};
    return host->timer(host, 5, answer, mine) != NULL ? 0 : -ENOMEM;
}

static int query(void *self, kiln_ticket ticket, kiln_session *session, void *state,
                 const char *name, const char *arguments, size_t length)
{
    static const char completion[] = "{\"matches\":[\"well\"],\"cursor_start\":0,"
                                     "\"cursor_end\":1,\"metadata\":{}}";
    (void)self, (void)session, (void)state;
    queries++;
    if (strcmp(name, "complete") == 0) {
        say(ticket, completion);
    } else if (strcmp(name, "later") == 0 || strcmp(name, "twice") == 0) {
        return answer_later(ticket, name[0] == 't');
    } else if (strcmp(name, "inside") == 0) {
        say(ticket, "17");
    } else if (strcmp(name, "yields") == 0) {
        yielding = true;
        yielder = ticket;
    } else if (strcmp(name, "error") == 0) {
        host->reply(host, ticket, NULL, 0, "the stars are wrong");
    } else if (strcmp(name, "broken") == 0) {
        say(ticket, "{\"a\":");
    } else if (strcmp(name, "is_complete") == 0) {
        say(ticket, "{\"status\":\"perhaps\"}");
    } else if (strcmp(name, "echo") == 0) {
        host->reply(host, ticket, arguments, length, NULL);
    } else if (strcmp(name, "never") != 0) {
        return -ENOTSUP;
    }
    return 0;
}

static void interrupt(void *self, kiln_ticket ticket)
{
    (void)self;
    if (yielding && ticket.slot == yielder.slot && ticket.generation == yielder.generation) {
        yielding = false;
        host->reply(host, ticket, NULL, 0, "gave up");
    }
}

static int execute(void *self, kiln_ticket ticket, kiln_session *session, void *state,
                   const kiln_input *input)
{
    char text[64];
    kiln_outcome outcome = KILN_OUTCOME_INIT;
    (void)self, (void)session, (void)state, (void)input;
    int length = snprintf(text, sizeof(text), "%u queries, %u restarts\n", queries, restarts);
    kiln_event event = {.size = sizeof(event),
                        .type = KILN_EVENT_STREAM,
                        .stream = KILN_STDOUT,
                        .data = text,
                        .length = (size_t)length};
    host->emit(host, ticket, &event);
    host->complete(host, ticket, &outcome);
    return 0;
}

static void session_close(void *self, void *state)
{
    (void)self, (void)state;
}

static int session_restart(void *self, kiln_session *session, void *state)
{
    (void)self, (void)session, (void)state;
    restarts++;
    return 0;
}

static int init(const kiln_host *its_host, void **self, const char **error)
{
    (void)self, (void)error;
    host = its_host;
    return 0;
}

static const kiln_plugin plugin = {BAD_FIELDS("asker"),
                                   .capabilities = KILN_CAP_EXECUTE | KILN_CAP_SESSIONS |
                                                   KILN_CAP_INTERRUPT | KILN_CAP_QUERY |
                                                   KILN_CAP_PLAN,
                                   .init = init,
                                   .session_open = bad_session_open,
                                   .session_close = session_close,
                                   .execute = execute,
                                   .interrupt = interrupt,
                                   .query = query,
                                   .session_restart = session_restart};
KILN_PLUGIN(plugin)
