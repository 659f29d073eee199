#include "bundle/bundle.h"

#include "base/buffer.h"
#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

typedef struct asking {
    kiln_bundle_call call;
    kiln_session *session;
    kiln_execution *execution;
    kiln_result *result;
    uv_timer_t later; /* a session is not closed from inside its execution's end */
} asking;

int kiln_bundle_settings(const kiln_config *config, char ***words)
{
    auto_buffer kiln_buffer backends = KILN_BUFFER_INIT;
    char **list = calloc(3, sizeof(*list));
    int rc = kiln_buffer_printf(&backends, "engine.backends=");
    for (const char *const *name = kiln_config_list(config, "engine", "backends");
         *name != NULL; name++) {
        if (strcmp(*name, "bundle") != 0) {
            rc = rc < 0 ? rc : kiln_buffer_printf(&backends, "%s ", *name);
        }
    }
    rc = rc < 0 ? rc : kiln_buffer_printf(&backends, "bundle");
    if (list != NULL && rc == 0) {
        list[0] = strdup(backends.data);
        list[1] = strdup("chain " KILN_BUNDLE_CHAIN ".policies=");
    }
    if (list == NULL || list[0] == NULL || list[1] == NULL) {
        if (list != NULL) {
            free(list[0]);
            free(list[1]);
        }
        free(list);
        return -ENOMEM;
    }
    *words = list;
    return 0;
}

static void on_freed(uv_handle_t *handle)
{
    asking *ask = handle->data;
    kiln_result_unref(ask->result);
    free(ask);
}

/* The JSON object that it wrote; new reference, or NULL and an error. */
static json_t *read_answer(const kiln_result *result, kiln_error *err)
{
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    json_t *answer = NULL;
    if (kiln_result_stream(result, KILN_STDOUT, &text) == 0 && text.length > 0) {
        answer = json_loadb(text.data, text.length, JSON_REJECT_DUPLICATES, NULL);
    }
    if (result->status == KILN_STATUS_OK && json_is_object(answer)) {
        return answer;
    }
    const char *why = json_string_value(json_object_get(answer, "error"));
    const json_t *error = json_array_get(result->errors, 0);
    if (why == NULL) {
        why = json_string_value(json_object_get(error, "message"));
    }
    kiln_error_set(err, EIO, "%s", why != NULL ? why : kiln_status_name(result->status));
    json_decref(answer);
    return NULL;
}

static void tell(uv_timer_t *timer)
{
    asking *ask = timer->data;
    kiln_error err = KILN_ERROR_INIT;
    auto_json json_t *answer = read_answer(ask->result, &err);
    kiln_session_close(ask->session);
    ask->call.done(ask->call.user, answer, ask->result->output_files,
                   answer != NULL ? NULL : &err);
    uv_close((uv_handle_t *)&ask->later, on_freed);
}

static void on_done(void *user, kiln_result *result)
{
    asking *ask = user;
    ask->result = kiln_result_ref(result);
    uv_timer_start(&ask->later, tell, 0, 0);
}

static int fill(const kiln_bundle_call *call, kiln_request *request)
{
    int rc = kiln_request_set_code(request, call->code, strlen(call->code));
    rc = rc < 0 ? rc : kiln_request_set_string(&request->language, "bundle");
    rc = rc < 0 ? rc : kiln_request_set_string(&request->backend, "bundle");
    for (size_t i = 0; rc == 0 && i < call->count; i++) {
        rc = kiln_request_add_file(request, call->files[i].name, call->files[i].path, NULL, 0,
                                   NULL);
    }
    return rc;
}

int kiln_bundle_ask(const kiln_bundle_call *call, kiln_error *err)
{
    asking *ask = calloc(1, sizeof(*ask));
    kiln_request *request = kiln_request_new();
    if (ask == NULL || request == NULL || fill(call, request) < 0) {
        free(ask);
        kiln_request_free(request);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    ask->call = *call;
    int rc = kiln_session_open(call->engine, NULL, &ask->session, err);
    if (rc < 0) {
        free(ask);
        kiln_request_free(request);
        return rc;
    }
    uv_timer_init(call->loop, &ask->later);
    ask->later.data = ask;
    const kiln_execute_options options = {.chain = KILN_BUNDLE_CHAIN,
                                          .out_fd = call->out_fd,
                                          .out_path = call->out_path,
                                          .on_done = on_done,
                                          .user = ask};
    rc = kiln_execute(ask->session, request, &options, &ask->execution, err);
    if (rc < 0) {
        kiln_session_close(ask->session);
        uv_close((uv_handle_t *)&ask->later, on_freed);
    }
    return rc;
}
