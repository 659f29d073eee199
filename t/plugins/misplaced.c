/* A plugin that runs code in a place of its own (FILES), as its option `do` says:
 *   well      has a place after a while, and completes in it
 *   inside    the same, from within session_prepare and execute
 *   refuse    has no place, and says why
 *   fails     session_prepare fails
 *   twice     tells of its place twice
 *   nothing   tells of no place, and not why
 *   both      tells of a place, and session_prepare fails
 *   file      its place is no directory
 *   lines     says why in two lines
 *   never     does not tell
 *   closed    tells when the session is closed
 *   deaf      its executions do not end, also when they are killed
 *   reply     answers an execution as if it were a query
 */
#include "bad.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* One session, with what it waits for. */
typedef struct place {
    kiln_session *session;
    int fd;
    kiln_timer *telling, *working;
    kiln_ticket ticket;
    struct place *next;
} place;

static const kiln_host *host;
static const kiln_files *files;
static place *places;

static bool told(const char *what)
{
    const char *option = host->option(host, "do");
    return option != NULL && strcmp(option, what) == 0;
}

static int tell(const place *mine)
{
    const char *why = told("refuse")  ? "the moon is in the wrong house"
                      : told("lines") ? "the moon\nis in the wrong house"
                                      : NULL;
    int fd = why != NULL || told("nothing") ? -1 : mine->fd;
    if (told("twice")) {
        files->prepared(host, mine->session, fd, why);
    }
    return files->prepared(host, mine->session, fd, why);
}

static void tell_later(void *user)
{
    place *mine = user;
    mine->telling = NULL;
    tell(mine);
}

static void complete(place *mine, kiln_status status)
{
    kiln_outcome outcome = KILN_OUTCOME_INIT;
    outcome.status = status;
    host->cancel(host, mine->working);
    mine->working = NULL;
    if (told("reply")) {
        host->reply(host, mine->ticket, "{}", 2, NULL);
    }
    host->complete(host, mine->ticket, &outcome);
}

static void work(void *user)
{
    place *mine = user;
    mine->working = told("deaf") ? host->timer(host, 5, work, mine) : NULL;
    if (!told("deaf")) {
        complete(mine, KILN_STATUS_OK);
    }
}

static int init(const kiln_host *its_host, void **self, const char **error)
{
    (void)self;
    host = its_host;
    files = host->extension(host, KILN_EXTENSION_FILES);
    if (files == NULL) {
        *error = "this engine has no extension kiln.files/1";
        return -ENOTSUP;
    }
    return 0;
}

static int session_open(void *self, kiln_session *session, void **state)
{
    place *mine = calloc(1, sizeof(*mine));
    (void)self;
    if (mine == NULL) {
        return -ENOMEM;
    }
    mine->session = session;
    mine->fd = told("file") ? open("/dev/null", O_RDONLY | O_CLOEXEC)
                            : open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    mine->next = places;
    places = mine;
    *state = mine;
    return 0;
}

static void session_close(void *self, void *state)
{
    place *mine = state;
    place **at = &places;
    (void)self;
    while (*at != mine) {
        at = &(*at)->next;
    }
    *at = mine->next;
    host->cancel(host, mine->working);
    host->cancel(host, mine->telling);
    if (told("closed")) {
        static place gone;
        gone = *mine;
        host->timer(host, 1, tell_later, &gone);
    }
    close(mine->fd);
    free(mine);
}

static int session_prepare(void *self, kiln_session *session, void *state, const char *language,
                           const kiln_limits *limits)
{
    place *mine = state;
    (void)self, (void)session, (void)language, (void)limits;
    if (told("fails") || told("never")) {
        return told("fails") ? -EIO : 0;
    }
    if (told("inside") || told("both")) {
        tell(mine);
        return told("both") ? -EIO : 0;
    }
    host->cancel(host, mine->telling);
    mine->telling = host->timer(host, 1, tell_later, mine);
    return mine->telling != NULL ? 0 : -ENOMEM;
}

static int execute(void *self, kiln_ticket ticket, kiln_session *session, void *state,
                   const kiln_input *input)
{
    place *mine = state;
    (void)self, (void)session, (void)input;
    mine->ticket = ticket;
    if (told("inside")) {
        complete(mine, KILN_STATUS_OK);
        return 0;
    }
    mine->working = host->timer(host, 1, work, mine);
    return mine->working != NULL ? 0 : -ENOMEM;
}

static void kill_(void *self, kiln_ticket ticket)
{
    (void)self;
    for (place *mine = places; mine != NULL && !told("deaf"); mine = mine->next) {
        if (mine->working != NULL && mine->ticket.slot == ticket.slot &&
            mine->ticket.generation == ticket.generation) {
            complete(mine, KILN_STATUS_CRASHED);
            return;
        }
    }
}

static const kiln_option options[] = {{"do", KILN_OPTION_STRING, "well", "which rule to break"},
                                      {0}};
static const kiln_plugin plugin = {BAD_FIELDS("misplaced"),
                                   .capabilities =
                                       KILN_CAP_EXECUTE | KILN_CAP_SESSIONS | KILN_CAP_FILES,
                                   .options = options,
                                   .init = init,
                                   .session_open = session_open,
                                   .session_close = session_close,
                                   .session_prepare = session_prepare,
                                   .execute = execute,
                                   .kill = kill_};
KILN_PLUGIN(plugin)
