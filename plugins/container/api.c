#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct api_call {
    backend *self;
    http *request;
    api_done *done;
    void *user;
    char what[160]; /* "POST /containers/x/start" */
};

/* It may come from whoever answers on that socket: one line, no control characters. */
static void clean(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            *text = ' ';
        }
    }
}

void api_explain(const backend *self, const char *what, const http_answer *answer, char *text,
                 size_t size)
{
    text[0] = '\0';
    if (answer->status / 100 == 2 || answer->status == 304 || answer->status == 101) {
        return;
    }
    if (answer->status == 0) {
        snprintf(text, size, "container engine at %s: %s: %s",
                 self->settings.socket[0] != '\0' ? self->settings.socket : "(none)", what,
                 answer->error != NULL ? answer->error : "there was no answer");
        if (self->settings.socket[0] == '\0') {
            snprintf(text, size, "%s", self->settings.no_socket);
        }
        clean(text);
        return;
    }
    json_t *json = json_loadb(answer->body, answer->length, 0, NULL);
    const char *message = json_string_value(json_object_get(json, "message"));
    snprintf(text, size, "%s: %d: %.600s", what, answer->status,
             message != NULL ? message : answer->body);
    json_decref(json);
    clean(text);
}

static void on_end(void *user, const http_answer *answer)
{
    api_call *call = user;
    char error[900];
    json_error_t why;
    api_reply reply = {.status = answer->status};
    api_explain(call->self, call->what, answer, error, sizeof(error));
    if (error[0] != '\0') {
        reply.error = error;
    } else if (answer->length > 0 && strspn(answer->body, " \r\n") < answer->length) {
        reply.json = json_loadb(answer->body, answer->length, 0, &why);
        if (reply.json == NULL) {
            snprintf(error, sizeof(error), "%s: the answer is no JSON: %s", call->what,
                     why.text);
            clean(error);
            reply.status = 0;
            reply.error = error;
        }
    }
    json_t *json = reply.json;
    call->done(call->user, &reply);
    json_decref(json);
    free(call);
}

api_call *api_start(backend *self, const char *method, const char *path, json_t *body,
                    uint64_t timeout_ms, api_done *done, void *user)
{
    api_call *call = calloc(1, sizeof(*call));
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    if (call != NULL && (body == NULL || text != NULL)) {
        call->self = self;
        call->done = done;
        call->user = user;
        snprintf(call->what, sizeof(call->what), "%s %.*s", method, (int)strcspn(path, "?"),
                 path);
        const http_request request = {
            .method = method,
            .path = path,
            .body = text,
            .body_length = text != NULL ? strlen(text) : 0,
            .timeout_ms = timeout_ms,
            .user = call,
            .on_end = on_end,
        };
        call->request = http_send(self, &request);
    }
    json_decref(body);
    free(text);
    if (call != NULL && call->request == NULL) {
        free(call);
        call = NULL;
    }
    return call;
}

void api_cancel(api_call *call)
{
    if (call != NULL) {
        http_cancel(call->request);
        free(call);
    }
}
