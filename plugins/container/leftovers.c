#include "leftovers.h"

#include "api.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void read_line(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    text[0] = '\0';
    if (file != NULL) {
        if (fgets(text, (int)size, file) == NULL) {
            text[0] = '\0';
        }
        fclose(file);
    }
    text[strcspn(text, "\n")] = '\0';
}

/* proc(5): field 22 of stat, when the process began; "" : there is none. */
static void start_time(long pid, char *text, size_t size)
{
    char path[64], line[1024];
    snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    read_line(path, line, sizeof(line));
    const char *at = strrchr(line, ')'); /* the name may hold anything */
    text[0] = '\0';
    for (int field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at != NULL) {
        snprintf(text, size, "%.*s", (int)strcspn(at + 1, " "), at + 1);
    }
}

/* Processes are numbered in a namespace, and anew after each boot. */
static void place(char *text, size_t size)
{
    char boot[64], space[64] = "";
    read_line("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
    ssize_t length = readlink("/proc/self/ns/pid", space, sizeof(space) - 1);
    space[length > 0 ? length : 0] = '\0';
    snprintf(text, size, "%s/%s", boot, space);
}

void leftovers_label(char *label, size_t size)
{
    char where[136], start[32];
    place(where, sizeof(where));
    start_time((long)getpid(), start, sizeof(start));
    snprintf(label, size, "%s/%ld/%s", where, (long)getpid(), start);
}

/* Whether its engine is gone for certain. */
static bool is_orphan(const char *label, const char *state)
{
    char where[136], start[32];
    long pid;
    char began[32];
    place(where, sizeof(where));
    size_t length = strlen(where);
    if (strncmp(label, where, length) != 0 ||
        sscanf(label + length, "/%ld/%31s", &pid, began) != 2) {
        /* Another boot's, or another machine's that shares this container engine: it is not
         * known whether that one lives, but nobody goes back to a container that ended. */
        return strcmp(state, "running") != 0 && strcmp(state, "paused") != 0 &&
               strcmp(state, "created") != 0;
    }
    start_time(pid, start, sizeof(start));
    return strcmp(start, began) != 0;
}

/* A call about one of them; about all, where it has no id. */
struct leftover {
    struct leftover *next, **place;
    backend *self;
    api_call *call;
    char id[80];
    bool paused;
};

static struct leftover *make(backend *self)
{
    struct leftover *one = calloc(1, sizeof(*one));
    if (one != NULL) {
        one->self = self;
        one->next = self->leftovers;
        one->place = &self->leftovers;
        if (one->next != NULL) {
            one->next->place = &one->next;
        }
        self->leftovers = one;
    }
    return one;
}

static void drop(struct leftover *one)
{
    *one->place = one->next;
    if (one->next != NULL) {
        one->next->place = one->place;
    }
    free(one);
}

static void start(struct leftover *one, const char *method, const char *path, api_done *done)
{
    one->call = api_start(one->self, method, path, NULL, API_TIMEOUT_MS, done, one);
    if (one->call == NULL) {
        drop(one);
    }
}

static void remove_it(struct leftover *one);

/* Whether it could be or not, the removal tells. */
static void on_resumed(void *user, const api_reply *reply)
{
    (void)reply;
    remove_it(user);
}

static void on_removed(void *user, const api_reply *reply)
{
    struct leftover *one = user;
    char path[160];
    bool stays = reply->error != NULL && reply->status != 404 && reply->status != 409;
    /* Some engines do not kill what is frozen. Its main process ends by itself: nobody
     * holds its input any more. */
    if (stays && one->paused) {
        one->paused = false;
        snprintf(path, sizeof(path), "/containers/%s/unpause", one->id);
        start(one, "POST", path, on_resumed);
        return;
    }
    if (stays) {
        say(one->self, KILN_PLUGIN_LOG_WARNING, "a leftover stays: %s", reply->error);
    }
    drop(one);
}

static void remove_it(struct leftover *one)
{
    char path[160];
    snprintf(path, sizeof(path), "/containers/%s?force=true&v=true", one->id);
    start(one, "DELETE", path, on_removed);
}

static void on_listed(void *user, const api_reply *reply)
{
    struct leftover *list = user;
    backend *self = list->self;
    size_t i;
    json_t *container;
    drop(list);
    if (reply->error != NULL) {
        say(self, KILN_PLUGIN_LOG_DEBUG, "leftovers: %s", reply->error);
        return;
    }
    json_array_foreach(reply->json, i, container)
    {
        const char *id = json_string_value(json_object_get(container, "Id"));
        const char *state = json_string_value(json_object_get(container, "State"));
        const char *label = json_string_value(
            json_object_get(json_object_get(container, "Labels"), "kiln.engine"));
        struct leftover *one;
        if (id == NULL || label == NULL || strspn(id, "0123456789abcdef") != strlen(id) ||
            strlen(id) > 64 || !is_orphan(label, state != NULL ? state : "") ||
            (one = make(self)) == NULL) {
            continue;
        }
        say(self, KILN_PLUGIN_LOG_INFO, "removing %.12s, which an engine that is gone left",
            id);
        one->paused = state != NULL && strcmp(state, "paused") == 0;
        snprintf(one->id, sizeof(one->id), "%s", id);
        remove_it(one);
    }
}

void leftovers_sweep(backend *self)
{
    char path[160] = "/containers/json?all=true&filters=";
    struct leftover *list = make(self);
    http_encode(path, sizeof(path), "{\"label\":[\"kiln.engine\"]}");
    if (list != NULL) {
        start(list, "GET", path, on_listed);
    }
}

void leftovers_stop(backend *self)
{
    while (self->leftovers != NULL) {
        api_cancel(self->leftovers->call);
        drop(self->leftovers);
    }
}
