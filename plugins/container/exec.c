#include "exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOOK_MS = 500, /* whether it has ended, though somebody holds its streams */
    LAST_OUTPUT_MS = 500,
    AGAIN_MS = 20, /* its streams have ended, and the engine calls it running */
    AGAIN_MAX = 1500,
};

struct exec {
    struct box *box;
    exec_spec spec; /* argv, env: used up */
    char *input;
    size_t input_length;
    char id[80];
    api_call *call;
    http *stream;
    kiln_timer *timer;
    demux demux;
    int stop;
    bool streams_ended;
    bool has_code;
    int code;
    unsigned asked;
};

static void destroy(struct exec *exec)
{
    const kiln_host *host = exec->box->self->host;
    api_cancel(exec->call);
    http_cancel(exec->stream);
    if (exec->timer != NULL) {
        host->cancel(host, exec->timer);
    }
    exec->stop = 1;
    free(exec->input);
    free(exec);
}

void exec_cancel(struct exec *exec)
{
    if (exec != NULL) {
        destroy(exec);
    }
}

static void end(struct exec *exec, const char *error)
{
    void (*on_end)(void *, int, const char *) = exec->spec.on_end;
    void *user = exec->spec.user;
    int code = error != NULL ? -1 : exec->code;
    char copy[900] = "";
    snprintf(copy, sizeof(copy), "%s", error != NULL ? error : "");
    destroy(exec);
    on_end(user, code, error != NULL ? copy : NULL);
}

static void look(void *user);

static void look_later(struct exec *exec, uint64_t milliseconds)
{
    const kiln_host *host = exec->box->self->host;
    if (exec->timer != NULL) {
        host->cancel(host, exec->timer);
    }
    exec->timer = host->timer(host, milliseconds, look, exec);
}

static void on_looked(void *user, const api_reply *reply)
{
    struct exec *exec = user;
    exec->call = NULL;
    if (reply->error != NULL) {
        end(exec, reply->error);
        return;
    }
    if (json_is_false(json_object_get(reply->json, "Running"))) {
        const json_t *code = json_object_get(reply->json, "ExitCode");
        exec->has_code = true;
        exec->code = json_is_integer(code) ? (int)json_integer_value(code) : -1;
        if (exec->streams_ended) {
            end(exec, NULL);
        } else {
            look_later(exec, LAST_OUTPUT_MS); /* a daemon of its holds them open */
        }
        return;
    }
    if (exec->streams_ended && ++exec->asked > AGAIN_MAX) {
        end(exec, "the program's streams have ended, and it runs on");
        return;
    }
    look_later(exec, exec->streams_ended ? AGAIN_MS : LOOK_MS);
}

static void look(void *user)
{
    struct exec *exec = user;
    char path[128];
    exec->timer = NULL;
    if (exec->has_code) {
        end(exec, NULL);
        return;
    }
    snprintf(path, sizeof(path), "/exec/%s/json", exec->id);
    if (exec->call == NULL) {
        exec->call =
            api_start(exec->box->self, "GET", path, NULL, API_TIMEOUT_MS, on_looked, exec);
    }
}

static void on_bytes(void *user, uint32_t stream, const char *data, size_t length)
{
    struct exec *exec = user;
    if (exec->spec.on_output != NULL) {
        exec->spec.on_output(exec->spec.user, stream, data, length);
    }
}

static void on_data(void *user, const char *data, size_t length)
{
    struct exec *exec = user;
    if (demux_push(&exec->demux, data, length, on_bytes, exec, &exec->stop) < 0) {
        end(exec, "the container engine's stream of outputs is broken: no such header");
    }
}

static void on_stream(void *user)
{
    struct exec *exec = user;
    if (exec->input_length > 0) {
        http_write(exec->stream, exec->input, exec->input_length);
    }
    http_end_input(exec->stream);
    free(exec->input);
    exec->input = NULL;
    look_later(exec, LOOK_MS);
}

static void on_stream_end(void *user, const http_answer *answer)
{
    struct exec *exec = user;
    char error[900];
    exec->stream = NULL;
    api_explain(exec->box->self, "starting a program", answer, error, sizeof(error));
    if (answer->status == 0 || answer->status >= 300) {
        end(exec, error);
        return;
    }
    if (demux_cut(&exec->demux)) {
        end(exec, "the container engine's stream of outputs was cut");
        return;
    }
    exec->streams_ended = true;
    if (exec->has_code) {
        end(exec, NULL);
    } else if (exec->call == NULL) {
        if (exec->timer != NULL) {
            exec->box->self->host->cancel(exec->box->self->host, exec->timer);
        }
        look(exec);
    }
}

static void on_created(void *user, const api_reply *reply)
{
    static const char body[] = "{\"Detach\":false,\"Tty\":false}";
    struct exec *exec = user;
    char path[128];
    exec->call = NULL;
    const char *id = json_string_value(json_object_get(reply->json, "Id"));
    if (reply->error != NULL || id == NULL || strlen(id) >= sizeof(exec->id) ||
        strspn(id, "0123456789abcdef") != strlen(id)) {
        end(exec,
            reply->error != NULL ? reply->error : "the container engine gave its exec no id");
        return;
    }
    snprintf(exec->id, sizeof(exec->id), "%s", id);
    snprintf(path, sizeof(path), "/exec/%s/start", id);
    const http_request request = {
        .method = "POST",
        .path = path,
        .body = body,
        .body_length = sizeof(body) - 1,
        .timeout_ms = API_TIMEOUT_MS,
        .upgrade = true,
        .user = exec,
        .on_data = on_data,
        .on_stream = on_stream,
        .on_end = on_stream_end,
    };
    exec->stream = http_send(exec->box->self, &request);
    if (exec->stream == NULL) {
        end(exec, "out of memory");
    }
}

static json_t *strings(char *const *words)
{
    json_t *array = json_array();
    for (; words != NULL && *words != NULL; words++) {
        json_array_append_new(array, json_string(*words));
    }
    return array;
}

struct exec *exec_start(struct box *box, const exec_spec *spec)
{
    char path[96], user[32];
    struct exec *exec = calloc(1, sizeof(*exec));
    if (exec == NULL) {
        return NULL;
    }
    exec->box = box;
    exec->spec = *spec;
    if (spec->stdin_length > 0) {
        exec->input = malloc(spec->stdin_length);
        if (exec->input == NULL) {
            free(exec);
            return NULL;
        }
        memcpy(exec->input, spec->stdin_data, spec->stdin_length);
        exec->input_length = spec->stdin_length;
    }
    snprintf(path, sizeof(path), "/containers/%s/exec", box->name);
    snprintf(user, sizeof(user), "%u:%u", box->self->settings.uid, box->self->settings.gid);
    json_t *body =
        json_pack("{s:b, s:b, s:b, s:b, s:o, s:o, s:s, s:s}", "AttachStdin", 1, "AttachStdout",
                  1, "AttachStderr", 1, "Tty", 0, "Cmd", strings(spec->argv), "Env",
                  strings(spec->env), "User", user, "WorkingDir", "/work");
    exec->call = body == NULL ? NULL
                              : api_start(box->self, "POST", path, body, API_TIMEOUT_MS,
                                          on_created, exec);
    if (exec->call == NULL) {
        free(exec->input);
        free(exec);
        return NULL;
    }
    return exec;
}
