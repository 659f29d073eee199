#include "check.h"

#include "api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHECK_TIMEOUT_MS = 10000 };

struct check {
    backend *self;
    const kiln_checks *checks;
    api_call *call;
    char **next;       /* of settings.images, after `image` */
    const char *image; /* that is being looked for */
};

static void found(const struct check *check, kiln_finding finding, const char *what,
                  const char *detail)
{
    check->checks->found(check->self->host, finding, what, detail);
}

static void end(struct check *check)
{
    backend *self = check->self;
    const kiln_checks *checks = check->checks;
    self->check = NULL;
    free(check);
    checks->done(self->host);
}

static void look(struct check *check);

/* "node=docker.io/library/node:22-slim" */
static const char *image_of(const char *word)
{
    return strchr(word, '=') + 1;
}

static bool was_asked(const struct check *check, const char *image)
{
    const struct settings *settings = &check->self->settings;
    bool was = strcmp(image, settings->image) == 0;
    for (char **word = settings->images; !was && word < check->next; word++) {
        was = strcmp(image, image_of(*word)) == 0;
    }
    return was;
}

static void look_at_next(struct check *check)
{
    while (*check->next != NULL && was_asked(check, image_of(*check->next))) {
        check->next++;
    }
    if (*check->next == NULL) {
        end(check);
        return;
    }
    check->image = image_of(*check->next++);
    look(check);
}

static void on_image(void *user, const api_reply *reply)
{
    struct check *check = user;
    char what[160];
    pull_policy pull = check->self->settings.pull;
    bool never = pull == PULL_NEVER;
    snprintf(what, sizeof(what), "image %.140s", check->image);
    if (reply->error == NULL) {
        found(check, KILN_FINDING_OK, what,
              pull == PULL_ALWAYS ? "is there, and pulled anew for each engine (pull = always)"
                                  : "is there");
    } else if (reply->status == 404) {
        found(check, never ? KILN_FINDING_FAULT : KILN_FINDING_MISSING, what,
              never ? "not found: pull it, or set pull = missing in [backend container]"
                    : "not there yet: the first session that needs it pulls it");
    } else {
        found(check, KILN_FINDING_FAULT, what, reply->error);
    }
    look_at_next(check);
}

static void look_at_images(struct check *check)
{
    check->image = check->self->settings.image;
    look(check);
}

/* Docker has those that it lists; Podman's API starts the default one alone. */
static void on_info(void *user, const api_reply *reply)
{
    struct check *check = user;
    const char *wanted = check->self->settings.runtime;
    const char *standard = json_string_value(json_object_get(reply->json, "DefaultRuntime"));
    bool there =
        check->self->kind == ENGINE_PODMAN
            ? standard != NULL && strcmp(standard, wanted) == 0
            : json_object_get(json_object_get(reply->json, "Runtimes"), wanted) != NULL;
    char what[160], line[300];
    snprintf(what, sizeof(what), "runtime %.140s", wanted);
    snprintf(line, sizeof(line), "not what the engine would take: its own is %.100s",
             standard != NULL ? standard : "another");
    if (reply->error != NULL) {
        found(check, KILN_FINDING_FAULT, what, reply->error);
    } else {
        found(check, there ? KILN_FINDING_OK : KILN_FINDING_FAULT, what,
              there ? "is there" : line);
    }
    look_at_images(check);
}

static void ask(struct check *check, const char *path, api_done *done)
{
    check->call = api_start(check->self, "GET", path, NULL, CHECK_TIMEOUT_MS, done, check);
    if (check->call == NULL) {
        found(check, KILN_FINDING_FAULT, "engine", "out of memory");
        end(check);
    }
}

static void on_version(void *user, const api_reply *reply)
{
    struct check *check = user;
    const backend *self = check->self;
    const char *version = json_string_value(json_object_get(reply->json, "Version"));
    char line[300];
    if (reply->error != NULL) {
        found(check, KILN_FINDING_FAULT, "engine", reply->error);
        end(check);
        return;
    }
    snprintf(line, sizeof(line), "%s %.100s at %s",
             self->kind == ENGINE_PODMAN ? "Podman" : "Docker",
             version != NULL ? version : "of no version", self->settings.socket);
    found(check, KILN_FINDING_OK, "engine", line);
    if (self->settings.runtime[0] != '\0') {
        ask(check, "/info", on_info);
    } else {
        look_at_images(check);
    }
}

static void look(struct check *check)
{
    char path[600] = "/images/";
    if (http_encode(path, sizeof(path) - strlen("/json"), check->image)) {
        snprintf(path + strlen(path), sizeof(path) - strlen(path), "/json");
        ask(check, path, on_image);
    } else {
        found(check, KILN_FINDING_FAULT, "image", "its name is too long");
        look_at_next(check);
    }
}

int check_begin(backend *self)
{
    const kiln_checks *checks = self->host->extension(self->host, KILN_EXTENSION_CHECK);
    struct check *check = checks != NULL ? calloc(1, sizeof(*check)) : NULL;
    if (check == NULL) {
        return checks == NULL ? -ENOTSUP : -ENOMEM;
    }
    check->self = self;
    check->checks = checks;
    check->next = self->settings.images;
    self->check = check;
    ask(check, "/version", on_version);
    return 0;
}

void check_stop(backend *self)
{
    if (self->check != NULL) {
        api_cancel(self->check->call);
        free(self->check);
        self->check = NULL;
    }
}
