/* A cell that runs: its outputs as they come, its end in the fewest words that tell it,
 * and what of it is kept for :save. */
#include "cli/repl.h"

#include "base/cleanup.h"
#include "cli/command.h"
#include "cli/report.h"
#include "cli/setup.h"
#include "contract/input.h"
#include "notebook/ipynb.h"
#include "notebook/json_text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* "Out[3]: " before a value, on a terminal. */
static void label_result(kiln_repl *repl)
{
    char text[64];
    int length = snprintf(text, sizeof(text), "%sOut[%llu]: %s", repl->colour ? "\x1b[31m" : "",
                          (unsigned long long)kiln_session_executions(repl->session),
                          repl->colour ? "\x1b[0m" : "");
    kiln_terminal_fresh_line(&repl->terminal);
    kiln_terminal_write(&repl->terminal, KILN_STDOUT, text, (size_t)length);
}

static bool several_lines(const kiln_event *event)
{
    return memmem(event->data, event->length, "\\n", 2) != NULL;
}

static void on_event(void *user, const kiln_event *event)
{
    kiln_repl *repl = user;
    bool news = repl->restore == NULL || /* what is run again was seen when it was run */
                (event->type == KILN_EVENT_ERROR && !repl->may_fail);
    if (repl->options->json || !news) {
        return;
    }
    if (event->type == KILN_EVENT_RESULT && repl->editor != NULL) {
        label_result(repl);
        if (several_lines(event)) { /* a table begins at the left, as IPython has it */
            kiln_terminal_write(&repl->terminal, KILN_STDOUT, "\n", 1);
        }
    } else if (event->type == KILN_EVENT_ERROR) {
        kiln_terminal_fresh_line(&repl->terminal);
    }
    if (kiln_terminal_event(&repl->terminal, event) == -EPIPE) {
        repl->closing = true; /* nobody reads us */
        if (repl->execution != NULL) {
            kiln_execution_cancel(repl->execution);
        }
    }
}

/* Its traceback was shown, KeyboardInterrupt's too, and its process lives: there is no more
 * to say. */
static bool told_by_traceback(const kiln_result *result)
{
    size_t i;
    json_t *error;
    bool shown = false;
    json_array_foreach(result->errors, i, error)
    {
        shown = shown || json_array_size(json_object_get(error, "traceback")) > 0;
    }
    return shown && !result->has_exit_code && result->signal == 0 &&
           (result->status == KILN_STATUS_ERROR || result->status == KILN_STATUS_INTERRUPTED);
}

/* A worker that died between two cells. The loss of one that a cell has killed was told with
 * that cell. */
static void tell_restarts(kiln_repl *repl, const kiln_result *result)
{
    size_t i;
    json_t *decision;
    if (repl->told_loss) {
        return;
    }
    json_array_foreach(result->decisions, i, decision)
    {
        const char *action = json_string_value(json_object_get(decision, "action"));
        const char *detail = json_string_value(json_object_get(decision, "detail"));
        if (action != NULL && strcmp(action, "restart") == 0) {
            kiln_terminal_note(&repl->terminal, "the session was restarted: %s",
                               detail != NULL ? detail : "");
        }
    }
}

/* As a cell of a notebook. */
static void remember(kiln_repl *repl, const kiln_result *result)
{
    json_t *cells = kiln_repl_notebook(repl);
    kiln_error err = KILN_ERROR_INIT;
    char id[32];
    snprintf(id, sizeof(id), "cell-%zu", json_array_size(cells) + 1);
    kiln_ipynb_cell cell = {.index = json_array_size(cells),
                            .json = json_pack("{s:s, s:s, s:{}, s:s}", "cell_type", "code",
                                              "id", id, "metadata", "source", repl->source)};
    if (cell.json == NULL ||
        kiln_ipynb_fill(&cell, cells, kiln_repl_displays(repl), result, &err) < 0 ||
        json_array_append(cells, cell.json) < 0) {
        kiln_terminal_note(&repl->terminal, "out of memory: :save will lack this cell");
    }
    json_decref(cell.json);
}

static void tell(kiln_repl *repl, kiln_result *result)
{
    if (repl->options->json) {
        auto_json json_t *json = kiln_result_to_json(result);
        auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
        if (kiln_json_write(json, JSON_COMPACT, &text) == 0 &&
            kiln_buffer_append(&text, "\n", 1) == 0 &&
            kiln_terminal_write(&repl->terminal, KILN_STDOUT, text.data, text.length) ==
                -EPIPE) {
            repl->closing = true;
        }
        return;
    }
    tell_restarts(repl, result);
    repl->told_loss = result->status != KILN_STATUS_OK && result->status != KILN_STATUS_ERROR;
    if (told_by_traceback(result)) {
        kiln_report_beside(&repl->terminal, result);
    } else {
        kiln_report(&repl->terminal, result, NULL, false);
    }
    if (repl->timing) {
        kiln_terminal_note(&repl->terminal, "%.1f ms", result->duration_ms);
    }
}

static void on_done(void *user, kiln_result *result)
{
    kiln_repl *repl = user;
    repl->execution = NULL;
    remember(repl, result);
    int status = kiln_exit_status(result, 0);
    status = repl->may_fail ? KILN_EXIT_OK : status;
    if (repl->restore == NULL || status != KILN_EXIT_OK) {
        tell(repl, result);
    }
    free(kiln_steal(repl->source));
    repl->may_fail = false;
    if (status != KILN_EXIT_OK && repl->editor == NULL && repl->status == KILN_EXIT_OK) {
        repl->status = status; /* of a script, the first failure counts */
    }
    if (repl->restore != NULL) {
        kiln_repl_restore_ended(repl, status != KILN_EXIT_OK || repl->interrupts > 0);
        return;
    }
    if (status != KILN_EXIT_OK && repl->queue != NULL && json_array_size(repl->queue) > 0) {
        kiln_terminal_note(&repl->terminal, ":load: stopped, cells that were not run: %zu",
                           json_array_size(repl->queue));
        json_array_clear(repl->queue);
    }
    kiln_repl_next(repl);
}

static int make_request(kiln_repl *repl, const char *source, size_t length, kiln_request **out)
{
    kiln_request *request = kiln_request_new();
    if (request == NULL) {
        return -ENOMEM;
    }
    int rc = kiln_request_set_code(request, source, length);
    rc = rc < 0 ? rc : kiln_request_set_string(&request->language, repl->language);
    rc = rc < 0 ? rc : kiln_request_set_string(&request->backend, repl->options->backend);
    rc = rc < 0 ? rc : kiln_repl_restore_inputs(repl, request);
    request->limits = repl->options->limits;
    if (rc < 0) {
        kiln_request_free(request);
        return rc;
    }
    *out = request;
    return 0;
}

void kiln_repl_run(kiln_repl *repl, const char *source, size_t length)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_request *request = NULL;
    const kiln_execute_options options = {
        .chain = repl->options->chain,
        .client = kiln_client(repl->options->client),
        .out_fd = repl->restore != NULL ? -1 : repl->folder_fd,
        .out_path = repl->folder,
        .on_event = on_event,
        .on_done = on_done,
        .user = repl,
    };
    repl->interrupts = 0;
    free(repl->source);
    repl->source = strndup(source, length);
    int rc = repl->source == NULL ? -ENOMEM : make_request(repl, source, length, &request);
    rc = rc < 0 ? kiln_error_errno(&err, rc, "the cell")
                : kiln_execute(repl->session, request, &options, &repl->execution, &err);
    if (repl->editor != NULL && repl->source != NULL && repl->restore == NULL) {
        kiln_editor_remember(repl->editor, repl->source);
    }
    if (rc < 0) {
        repl->execution = NULL;
        free(kiln_steal(repl->source));
        kiln_terminal_note(&repl->terminal, "%s", err.text);
        repl->status = repl->editor == NULL && repl->status == KILN_EXIT_OK ? KILN_EXIT_USAGE
                                                                            : repl->status;
        if (repl->restore != NULL) {
            kiln_repl_restore_ended(repl, true);
        } else {
            kiln_repl_next(repl);
        }
    }
}

void kiln_repl_interrupt(kiln_repl *repl)
{
    repl->interrupts++;
    if (repl->queue != NULL) {
        json_array_clear(repl->queue);
    }
    if (repl->execution != NULL) {
        kiln_execution_cancel(repl->execution); /* the second one kills */
    }
}

/* ---- the folder for pictures and other output files */

int kiln_repl_cells_open(kiln_repl *repl, kiln_error *err)
{
    const char *named = repl->options->out;
    const char *temporary = getenv("TMPDIR");
    repl->folder_fd = -1;
    repl->queue = json_array();
    if (named != NULL) {
        repl->folder = strdup(named);
        repl->folder_made = mkdir(named, 0755) == 0;
    } else if (asprintf(&repl->folder, "%s/kiln-repl-XXXXXX",
                        temporary != NULL && temporary[0] == '/' ? temporary : "/tmp") < 0) {
        repl->folder = NULL;
    } else if (mkdtemp(repl->folder) == NULL) {
        return kiln_error_errno(err, errno, "%s: cannot be made: name a folder by -o",
                                repl->folder);
    } else {
        repl->folder_made = true;
    }
    if (repl->folder == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    repl->folder_fd = open(repl->folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return repl->folder_fd < 0 ? kiln_error_errno(err, errno, "-o %s", repl->folder) : 0;
}

void kiln_repl_cells_close(kiln_repl *repl)
{
    if (repl->folder_fd >= 0) {
        close(kiln_steal_fd(&repl->folder_fd));
    }
    if (repl->folder_made && rmdir(repl->folder) < 0 && errno == ENOTEMPTY &&
        repl->options->out == NULL) {
        kiln_terminal_note(&repl->terminal, "the output files are in %s", repl->folder);
    }
    free(kiln_steal(repl->folder));
    free(kiln_steal(repl->source));
    json_decref(kiln_steal(repl->queue));
}
