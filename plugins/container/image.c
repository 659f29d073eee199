#include "image.h"

#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PULL_TIMEOUT_MS = 120000, LINE_MAX_BYTES = 64 << 10 };

struct waiter {
    struct waiter *next;
    void (*done)(void *user, const char *error);
    void *user;
};

struct image {
    struct image *next;
    backend *self;
    char *name;
    bool there;
    bool busy; /* being looked for, or pulled */
    struct waiter *waiters;
    api_call *call;
    http *pull;
    char *line; /* of the pull's progress, so far */
    size_t line_length;
    char told[160];  /* the last that was logged */
    char error[600]; /* that the pull's progress told */
};

static void tell(struct image *image, const char *error)
{
    struct waiter *list = image->waiters;
    image->waiters = NULL;
    image->busy = false;
    while (list != NULL) {
        struct waiter *next = list->next;
        if (list->done != NULL) {
            list->done(list->user, error);
        }
        free(list);
        list = next;
    }
}

/* ---- pulling */

/* {"status":"Downloading","id":"…","progress":"…"} or {"error":"…"} */
static void on_line(struct image *image, const char *text, size_t length)
{
    json_t *json = json_loadb(text, length, 0, NULL);
    const char *error = json_string_value(json_object_get(json, "error"));
    const char *status = json_string_value(json_object_get(json, "status"));
    const char *stream = json_string_value(json_object_get(json, "stream"));
    const char *said = status != NULL ? status : stream;
    if (error != NULL && image->error[0] == '\0') {
        snprintf(image->error, sizeof(image->error), "%s", error);
    }
    char line[160] = "";
    if (said != NULL) { /* one line a step, not one a percent */
        snprintf(line, sizeof(line), "%.150s", said);
        line[strcspn(line, "\r\n")] = '\0';
    }
    if (line[0] != '\0' && strcmp(line, image->told) != 0) {
        snprintf(image->told, sizeof(image->told), "%s", line);
        say(image->self, KILN_PLUGIN_LOG_INFO, "pulling %s: %s", image->name, line);
    }
    json_decref(json);
}

static void on_progress(void *user, const char *data, size_t length)
{
    struct image *image = user;
    for (size_t i = 0; i < length; i++) {
        if (data[i] == '\n') {
            on_line(image, image->line, image->line_length);
            image->line_length = 0;
        } else if (image->line_length < LINE_MAX_BYTES) {
            image->line[image->line_length++] = data[i];
        }
    }
}

static void on_pulled(void *user, const http_answer *answer)
{
    struct image *image = user;
    char error[900], text[1100];
    image->pull = NULL;
    on_line(image, image->line, image->line_length);
    free(image->line);
    image->line = NULL;
    image->line_length = 0;
    api_explain(image->self, "POST /images/create", answer, error, sizeof(error));
    if (error[0] == '\0' && answer->error != NULL) {
        snprintf(error, sizeof(error), "%s", answer->error);
    }
    const char *why = error[0] != '\0' ? error : image->error;
    if (why[0] != '\0') {
        snprintf(text, sizeof(text), "image %s cannot be pulled: %s", image->name, why);
        tell(image, text);
        return;
    }
    say(image->self, KILN_PLUGIN_LOG_INFO, "pulled %s", image->name);
    image->there = true;
    tell(image, NULL);
}

/* Without a tag the engine would pull them all. */
static bool has_tag(const char *name)
{
    const char *slash = strrchr(name, '/');
    return strpbrk(slash != NULL ? slash : name, ":@") != NULL;
}

static void pull(struct image *image)
{
    char path[600] = "/images/create?fromImage=";
    char *header = credentials_for(image->self, image->name);
    image->line = malloc(LINE_MAX_BYTES);
    image->error[0] = image->told[0] = '\0';
    bool fits = http_encode(path, sizeof(path), image->name);
    if (fits && !has_tag(image->name)) {
        fits = strlen(path) + 12 < sizeof(path);
        strncat(path, "&tag=latest", sizeof(path) - strlen(path) - 1);
    }
    const http_request request = {
        .method = "POST",
        .path = path,
        .header = header,
        .timeout_ms = PULL_TIMEOUT_MS,
        .user = image,
        .on_data = on_progress,
        .on_end = on_pulled,
    };
    if (fits && image->line != NULL) {
        say(image->self, KILN_PLUGIN_LOG_INFO, "pulling %s", image->name);
        image->pull = http_send(image->self, &request);
    }
    if (header != NULL) {
        explicit_bzero(header, strlen(header));
        free(header);
    }
    if (image->pull == NULL) {
        tell(image, fits ? "out of memory" : "the image's name is too long");
    }
}

/* ---- looking */

static void on_looked(void *user, const api_reply *reply)
{
    struct image *image = user;
    char text[900];
    image->call = NULL;
    if (reply->error == NULL) {
        image->there = true;
        tell(image, NULL);
    } else if (reply->status != 404) {
        tell(image, reply->error);
    } else if (image->self->settings.pull == PULL_NEVER) {
        snprintf(text, sizeof(text),
                 "image not found: \"%.200s\": pull it, or set pull = missing in "
                 "[backend container]",
                 image->name);
        tell(image, text);
    } else {
        pull(image);
    }
}

static void look(struct image *image)
{
    char path[600] = "/images/";
    if (http_encode(path, sizeof(path), image->name)) {
        strncat(path, "/json", sizeof(path) - strlen(path) - 1);
        image->call =
            api_start(image->self, "GET", path, NULL, API_TIMEOUT_MS, on_looked, image);
    }
    if (image->call == NULL) {
        tell(image, "out of memory");
    }
}

static struct image *find(backend *self, const char *name)
{
    struct image *image = self->images;
    while (image != NULL && strcmp(image->name, name) != 0) {
        image = image->next;
    }
    if (image == NULL && (image = calloc(1, sizeof(*image))) != NULL) {
        image->self = self;
        image->name = strdup(name);
        if (image->name == NULL) {
            free(image);
            return NULL;
        }
        image->next = self->images;
        self->images = image;
    }
    return image;
}

void image_need(backend *self, const char *name, void (*done)(void *user, const char *error),
                void *user)
{
    struct image *image = find(self, name);
    struct waiter *waiter = image != NULL && !image->there ? calloc(1, sizeof(*waiter)) : NULL;
    if (image != NULL && image->there) {
        done(user, NULL); /* were it removed since, creating a container would say so */
        return;
    }
    if (waiter == NULL) {
        done(user, "out of memory");
        return;
    }
    waiter->done = done;
    waiter->user = user;
    waiter->next = image->waiters;
    image->waiters = waiter;
    if (image->busy) {
        return;
    }
    image->busy = true;
    if (self->settings.pull == PULL_ALWAYS) {
        pull(image);
    } else {
        look(image);
    }
}

void image_forget(backend *self, void *user)
{
    for (struct image *image = self->images; image != NULL; image = image->next) {
        for (struct waiter *waiter = image->waiters; waiter != NULL; waiter = waiter->next) {
            if (waiter->user == user) {
                waiter->done = NULL;
            }
        }
    }
}

void image_gone(backend *self, const char *name)
{
    struct image *image = find(self, name);
    if (image != NULL) {
        image->there = false;
    }
}

void images_free(backend *self)
{
    while (self->images != NULL) {
        struct image *image = self->images;
        self->images = image->next;
        api_cancel(image->call);
        http_cancel(image->pull);
        while (image->waiters != NULL) {
            struct waiter *next = image->waiters->next;
            free(image->waiters);
            image->waiters = next;
        }
        free(image->line);
        free(image->name);
        free(image);
    }
}
