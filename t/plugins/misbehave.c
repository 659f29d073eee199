/* A well-formed plugin that breaks the rules of tickets, as its option `do` says:
 *   well      completes, with "well" on stdout
 *   twice     completes twice
 *   late      completes, and completes again and emits after a while
 *   emit      emits after it has completed
 *   never     does not complete
 *   inside    completes from inside execute
 *   refuse    execute fails
 *   both      completes and then execute fails
 *   foreign   emits to and completes a ticket that it made up, then its own
 *   shape     emits events that are of no shape, then completes
 *   status    completes with a status that there is not
 */
#include "bad.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    kiln_ticket ticket;
} job;

static const kiln_host *host;

static bool told(const char *what)
{
    const char *option = host->option(host, "do");
    return option != NULL && strcmp(option, what) == 0;
}

static void emit_text(kiln_ticket ticket, const char *text)
{
    kiln_event event = {.size = sizeof(event),
                        .type = KILN_EVENT_STREAM,
                        .stream = KILN_STDOUT,
                        .data = text,
                        .length = strlen(text)};
    host->emit(host, ticket, &event);
}

static void complete(kiln_ticket ticket)
{
    kiln_outcome outcome = KILN_OUTCOME_INIT;
    host->complete(host, ticket, &outcome);
}

static void emit_shapeless(kiln_ticket ticket)
{
    static const char *const texts[] = {"", "{", "[]", "{\"data\":1}", "\xff\xfe"};
    for (uint32_t type = 0; type < 12; type++) {
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
            kiln_event event = {.size = sizeof(event),
                                .type = type == KILN_EVENT_STREAM ? 77 : type,
                                .stream = 9,
                                .data = texts[i],
                                .length = strlen(texts[i])};
            host->emit(host, ticket, &event);
        }
    }
}

static void again(void *user)
{
    const job *last = user;
    emit_text(last->ticket, "too late\n");
    complete(last->ticket);
}

static void work(void *user)
{
    job *mine = user;
    kiln_ticket ticket = mine->ticket;
    if (told("never")) {
        free(mine);
        return;
    }
    if (told("foreign")) {
        kiln_ticket foreign = {ticket.slot + 1000000, ticket.generation};
        kiln_ticket stale = {ticket.slot, ticket.generation - 1};
        emit_text(foreign, "foreign\n");
        complete(foreign);
        emit_text(stale, "stale\n");
        complete(stale);
    }
    if (told("shape")) {
        emit_shapeless(ticket);
    }
    emit_text(ticket, "well\n");
    if (told("status")) {
        kiln_outcome outcome = KILN_OUTCOME_INIT;
        outcome.status = 4711;
        host->complete(host, ticket, &outcome);
    } else {
        complete(ticket);
    }
    if (told("twice")) {
        complete(ticket);
    }
    if (told("emit")) {
        emit_text(ticket, "after the end\n");
    }
    if (told("late")) {
        static job last;
        last = *mine;
        host->timer(host, 20, again, &last);
    }
    free(mine);
}

static int init(const kiln_host *its_host, void **self, const char **error)
{
    (void)self, (void)error;
    host = its_host;
    return 0;
}

static int execute(void *self, kiln_ticket ticket, kiln_session *session, void *state,
                   const kiln_input *input)
{
    (void)self, (void)session, (void)state, (void)input;
    if (told("refuse")) {
        return -EIO;
    }
    if (told("inside") || told("both")) {
        emit_text(ticket, "well\n");
        complete(ticket);
        return told("both") ? -EIO : 0;
    }
    job *mine = calloc(1, sizeof(*mine));
    if (mine == NULL) {
        return -ENOMEM;
    }
    mine->ticket = ticket;
    if (host->timer(host, 1, work, mine) == NULL) {
        free(mine);
        return -ENOMEM;
    }
    return 0;
}

static const kiln_option options[] = {{"do", KILN_OPTION_STRING, "well", "which rule to break"},
                                      {0}};
static const kiln_plugin plugin = {BAD_FIELDS("misbehave"), .capabilities = KILN_CAP_EXECUTE,
                                   .options = options, .init = init, .execute = execute};
KILN_PLUGIN(plugin)
