/* container_engine.h - the container engine that container_fuzz.c has in place of http.c, and
 * what it has in place of what looks at this machine. */
#ifndef KILN_FUZZ_CONTAINER_ENGINE_H
#define KILN_FUZZ_CONTAINER_ENGINE_H

#include "../../plugins/container/http.h"
#include "../../plugins/container/meter.h"
#include "../../plugins/container/root.h"
#include "../../plugins/container/sources.h"
#include "../../plugins/container/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { PEERS = 16, ID_LENGTH = 64, FINISH_MAX = 5000 };

struct http {
    http *next;
    http_request request;
    char path[200];
    bool begun; /* on_data may come */
    bool stream, cancelled;
    unsigned busy;
};

static const uint8_t *input;
static size_t input_left;
static backend *self; /* init's */
static int peers[PEERS];
static unsigned peer_count;
static bool nothing_seen; /* of the containers' processes */
static char id[ID_LENGTH + 1];
static tar_buffer files;

static unsigned take(void)
{
    if (input_left == 0) {
        return 0;
    }
    input_left--;
    return *input++;
}

/* So many bytes of the input. */
static const char *take_bytes(size_t *length)
{
    const char *bytes = (const char *)input;
    *length = *length < input_left ? *length : input_left;
    input += *length;
    input_left -= *length;
    return bytes;
}

/* ---- in place of http.c */

static void unlink_request(http *request)
{
    http **place = &self->requests;
    while (*place != request) {
        place = &(*place)->next;
    }
    *place = request->next;
    free(request);
}

http *http_send(backend *container, const http_request *what)
{
    http *request = calloc(1, sizeof(*request));
    request->request = *what;
    snprintf(request->path, sizeof(request->path), "%s %s", what->method, what->path);
    http **place = &container->requests;
    while (*place != NULL) {
        place = &(*place)->next;
    }
    *place = request;
    return request;
}

static void leave(http *request)
{
    if (--request->busy == 0 && request->cancelled) {
        unlink_request(request);
    }
}

void http_cancel(http *request)
{
    if (request != NULL && !request->cancelled) {
        request->cancelled = true;
        request->busy++;
        leave(request);
    }
}

static void give_data(http *request, const char *data, size_t length)
{
    char *copy = malloc(length + 1); /* a reader past the end is caught */
    memcpy(copy, data, length);
    request->busy++;
    request->request.on_data(request->request.user, copy, length);
    leave(request);
    free(copy);
}

static void give_end(http *request, int status, const char *error, const char *body,
                     size_t length)
{
    char *copy = malloc(length + 1);
    memcpy(copy, body, length);
    copy[length] = '\0';
    const http_answer answer = {status, error, copy, length};
    request->busy++;
    request->request.on_end(request->request.user, &answer);
    request->cancelled = true;
    leave(request);
    free(copy);
}

static void give(http *request, int status, const char *body, size_t length)
{
    if (request->begun) {
        return;
    }
    if (status == 0) {
        give_end(request, 0, "it closed the connection without an answer", "", 0);
        return;
    }
    if (request->request.upgrade && status == 101) {
        request->begun = request->stream = true;
        request->request.on_stream(request->request.user);
        return;
    }
    if (status / 100 != 2 || request->request.on_data == NULL) {
        give_end(request, status, NULL, body, length);
        return;
    }
    request->begun = true;
    request->busy++;
    give_data(request, body, length);
    /* What listens to events goes on. */
    if (!request->cancelled && strncmp(request->path, "GET /events", 11) != 0) {
        give_end(request, status, NULL, "", 0);
    }
    leave(request);
}

int http_write(http *request, const char *data, size_t length)
{
    (void)data;
    return request->stream ? (int)(length == SIZE_MAX) : (abort(), -1);
}

void http_end_input(http *request)
{
    (void)request;
}

bool http_encode(char *path, size_t size, const char *text)
{
    size_t used = strlen(path);
    return snprintf(path + used, size - used, "%s", text) < (int)(size - used);
}

/* What a good engine says. */
static void give_good(http *request)
{
    char text[400];
    const char *path = request->path;
    int status = 200;
    snprintf(text, sizeof(text), "{\"Id\":\"%s\"}", id);
    if (strncmp(path, "GET /containers/json", 20) == 0) {
        snprintf(
            text, sizeof(text),
            "[{\"Id\":\"%s\",\"State\":\"exited\",\"Labels\":{\"kiln.engine\":\"x/1/2\"}}]",
            id);
    } else if (strncmp(path, "GET /exec/", 10) == 0) {
        snprintf(text, sizeof(text), "{\"Running\":false,\"ExitCode\":%u}", take());
    } else if (strstr(path, "/archive") != NULL) {
        give(request, 200, request->request.on_data != NULL ? files.data : "",
             request->request.on_data != NULL ? files.length : 0);
        return;
    } else if (request->request.upgrade) {
        status = 101;
    } else if (strncmp(path, "GET /containers/", 16) == 0) {
        snprintf(text, sizeof(text),
                 "{\"Id\":\"%s\",\"State\":{\"Running\":true,\"Pid\":42},"
                 "\"HostConfig\":{\"Runtime\":\"runc\"}}",
                 id);
    } else if (strncmp(path, "GET /v4.0.0/libpod/", 19) == 0) {
        snprintf(text, sizeof(text), "{\"OCIRuntime\":\"/usr/bin/runc\"}");
    } else if (strncmp(path, "GET /events", 11) == 0) {
        snprintf(text, sizeof(text), "{}\n");
    } else if (strstr(path, "/start") != NULL || strncmp(path, "DELETE", 6) == 0) {
        status = 204;
        text[0] = '\0';
    }
    give(request, status, text, strlen(text));
}

void http_finish(backend *container, bool (*wanted)(backend *container), uint64_t milliseconds)
{
    (void)milliseconds;
    for (int i = 0; i < FINISH_MAX && wanted(container) && container->requests != NULL; i++) {
        http *request = container->requests;
        while (request != NULL && request->begun) {
            request = request->next;
        }
        if (request == NULL) {
            return;
        }
        give_good(request);
    }
}

/* ---- in place of what would look at this machine's processes */

bool meter_open(meter *all, pid_t pid, const char *container)
{
    (void)all, (void)pid, (void)container;
    return !nothing_seen;
}

void meter_close(meter *all)
{
    (void)all;
}

bool meter_works(const meter *all)
{
    (void)all;
    return !nothing_seen;
}

void meter_read(const meter *all, reading *now)
{
    (void)all;
    *now = (reading){.cpu_ms = (double)take(), .oom_kills = take() % 2};
}

int root_open(pid_t pid, unsigned uid, unsigned gid, const char **why)
{
    (void)pid, (void)uid, (void)gid;
    *why = "not from here";
    return nothing_seen ? -EPERM : open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

bool root_limit_files(pid_t pid, uint64_t count)
{
    (void)pid, (void)count;
    return !nothing_seen;
}

int root_connect(int work_fd, const char *name)
{
    int pair[2];
    if (work_fd < 0 || strchr(name, '/') != NULL || peer_count == PEERS ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
        return -ECONNREFUSED;
    }
    peers[peer_count++] = pair[1];
    return pair[0];
}

const char *agent_boot(void)
{
    return "pass";
}

char *agent_parts(const char *options, size_t *length)
{
    *length = strlen(options);
    return strdup(options);
}

#endif
