#include "events.h"

#include "api.h"
#include "box.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 64 << 10, AGAIN_MS = 1000 };

struct events {
    backend *self;
    http *request;
    kiln_timer *timer;
    size_t length;
    char line[LINE_MAX_BYTES];
};

static void listen_(struct events *events);

static struct box *find_box(backend *self, const char *id)
{
    struct box *box = self->boxes;
    while (box != NULL && (box->id[0] == '\0' || strcmp(box->id, id) != 0)) {
        box = box->next;
    }
    return box;
}

static void on_event(struct events *events, const json_t *event)
{
    const json_t *actor = json_object_get(event, "Actor");
    const char *action = json_string_value(json_object_get(event, "Action"));
    const char *id = json_string_value(json_object_get(actor, "ID"));
    struct box *box = id != NULL ? find_box(events->self, id) : NULL;
    if (box == NULL || action == NULL) {
        return;
    }
    const char *signal =
        json_string_value(json_object_get(json_object_get(actor, "Attributes"), "signal"));
    int number = signal != NULL ? atoi(signal) : 9;
    if (strcmp(action, "kill") == 0) {
        box_fated(box, FATE_KILLED, number > 0 && number < 65 ? number : 9);
    } else if (strcmp(action, "stop") == 0) {
        box_fated(box, FATE_KILLED, 15);
    } else if (strcmp(action, "pause") == 0) {
        box_fated(box, FATE_PAUSED, 0);
    } else if (strcmp(action, "destroy") == 0 || strcmp(action, "remove") == 0) {
        box_fated(box, FATE_REMOVED, 0);
    }
}

static void on_data(void *user, const char *data, size_t length)
{
    struct events *events = user;
    for (size_t i = 0; i < length; i++) {
        if (data[i] != '\n') {
            if (events->length < sizeof(events->line)) {
                events->line[events->length++] = data[i];
            }
            continue;
        }
        json_t *event = json_loadb(events->line, events->length, 0, NULL);
        events->length = 0;
        if (event != NULL) {
            on_event(events, event);
            json_decref(event);
        }
    }
}

static void listen_again(void *user)
{
    struct events *events = user;
    events->timer = NULL;
    listen_(events);
}

static void on_end(void *user, const http_answer *answer)
{
    struct events *events = user;
    const kiln_host *host = events->self->host;
    (void)answer;
    events->request = NULL;
    events->timer = host->timer(host, AGAIN_MS, listen_again, events);
}

static void listen_(struct events *events)
{
    char path[200] = "/events?filters=";
    http_encode(path, sizeof(path), "{\"type\":[\"container\"]}");
    const http_request request = {
        .method = "GET", .path = path, .user = events, .on_data = on_data, .on_end = on_end};
    events->length = 0;
    events->request = http_send(events->self, &request);
}

void events_listen(backend *self)
{
    if (self->events == NULL && (self->events = calloc(1, sizeof(struct events))) != NULL) {
        self->events->self = self;
        listen_(self->events);
    }
}

void events_stop(backend *self)
{
    struct events *events = self->events;
    if (events == NULL) {
        return;
    }
    self->events = NULL;
    http_cancel(events->request);
    if (events->timer != NULL) {
        self->host->cancel(self->host, events->timer);
    }
    free(events);
}
