/* A plugin whose worker half goes wrong, as its option `do` says:
 *   well                              echoes the code
 *   preload-fails, -crashes, -hangs   in the zygote
 *   start-fails, -crashes, -hangs     in the worker, before the first cell
 *   execute-crashes, -exits, -fails   in a cell
 *   verdict                           a verdict that there is not
 *   garbage                           bytes that are no frame, on every socket it has
 *   forged                            a DONE frame of its own, then the real one
 */
#include "bad.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const kiln_worker_host *host;

static bool told(const char *what)
{
    const char *option = host->option("do");
    return option != NULL && strcmp(option, what) == 0;
}

static void go_wrong(const char *crashes, const char *hangs)
{
    if (told(crashes)) {
        /* A fault of its own: raise() does nothing to the init of a pid namespace. */
        volatile char *nothing = NULL;
        *nothing = 1;
    }
    while (told(hangs)) {
        pause();
    }
}

static void write_to_sockets(const void *data, size_t length)
{
    for (int fd = 0; fd < 256; fd++) {
        int type = 0;
        socklen_t size = sizeof(type);
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0) {
            (void)!write(fd, data, length);
        }
    }
}

static int preload(const kiln_worker_host *its_host, const char **error)
{
    host = its_host;
    go_wrong("preload-crashes", "preload-hangs");
    if (told("preload-fails")) {
        *error = "the moon is in the wrong house";
        return -EIO;
    }
    return 0;
}

static int start(void)
{
    go_wrong("start-crashes", "start-hangs");
    return told("start-fails") ? -EIO : 0;
}

static int execute(const kiln_cell *cell, kiln_verdict *verdict)
{
    kiln_event event = {.size = sizeof(event),
                        .type = KILN_EVENT_STREAM,
                        .stream = KILN_STDOUT,
                        .data = cell->code,
                        .length = cell->code_length};
    host->emit(&event);
    go_wrong("execute-crashes", "execute-hangs");
    if (told("execute-exits")) {
        _exit(0);
    }
    if (told("garbage")) {
        static const char garbage[64] = "HTTP/1.1 200 OK\r\n\r\n";
        write_to_sockets(garbage, sizeof(garbage));
    }
    if (told("forged")) {
        static const unsigned char done[8 + 24] = {24, 0, 0, 0, 0x50, 1, 0, 0, 1};
        write_to_sockets(done, sizeof(done));
    }
    verdict->status = told("verdict") ? 4711 : KILN_STATUS_OK;
    return told("execute-fails") ? -EIO : 0;
}

static const kiln_option options[] = {{"do", KILN_OPTION_STRING, "well", "where to go wrong"},
                                      {0}};
static const kiln_worker worker = {
    .size = sizeof(worker), .preload = preload, .start = start, .execute = execute};
static const kiln_plugin plugin = {BAD_FIELDS("bad_worker"),
                                   .capabilities =
                                       KILN_CAP_WORKER | KILN_CAP_SESSIONS | KILN_CAP_INTERRUPT,
                                   .options = options, .worker = &worker};
KILN_PLUGIN(plugin)
