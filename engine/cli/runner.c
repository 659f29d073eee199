#include "cli/runner.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/setup.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static const int signal_numbers[3] = {SIGINT, SIGTERM, SIGHUP};

/* The first asks the code to stop, the second stops the loop, and whatever runs is killed.
 * With the watchers gone, a third one ends this process at once. */
static void on_signal(uv_signal_t *handle, int number)
{
    kiln_runner *runner = handle->data;
    runner->interrupt = number;
    if (++runner->interrupts == 1) {
        if (runner->execution != NULL) {
            kiln_execution_cancel(runner->execution);
        }
        return;
    }
    for (int i = 0; i < 3; i++) {
        uv_signal_stop(&runner->signals[i]);
    }
    uv_stop(&runner->loop);
}

static void on_tick(uv_timer_t *ticker)
{
    kiln_runner *runner = ticker->data;
    char line[sizeof(runner->progress) + sizeof(runner->told) + 32];
    if (runner->progress[0] != '\0' || runner->told[0] != '\0') {
        double seconds = (double)(uv_now(&runner->loop) - runner->progress_since) / 1000.0;
        snprintf(line, sizeof(line), "%s%s%s %.1fs", runner->progress,
                 runner->progress[0] != '\0' && runner->told[0] != '\0' ? ": " : "",
                 runner->told, seconds);
        kiln_terminal_progress(&runner->terminal, line);
    }
}

/* It may come from a registry: nothing that a terminal would take for a command. */
static void on_told(void *user, const char *text)
{
    kiln_runner *runner = user;
    snprintf(runner->told, sizeof(runner->told), "%s", text);
    for (char *at = runner->told; *at != '\0'; at++) {
        *at = (unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f ? ' ' : *at;
    }
}

/* Not SIG_IGN: that would be inherited by every program that we start. */
static void on_broken_pipe(int number)
{
    (void)number;
}

int kiln_runner_open(kiln_runner *runner, const kiln_run_options *options, kiln_config *config,
                     const char *prestart, int *status, kiln_error *err)
{
    struct sigaction action = {.sa_handler = on_broken_pipe, .sa_flags = SA_RESTART};
    sigaction(SIGPIPE, &action, NULL);
    runner->options = options;
    runner->outdir = (kiln_outdir)KILN_OUTDIR_INIT;
    kiln_terminal_init(&runner->terminal);
    *status = KILN_EXIT_ENGINE;
    int rc = uv_loop_init(&runner->loop);
    if (rc < 0) {
        kiln_config_free(config);
        return kiln_error_set(err, rc, "cannot make an event loop: %s", uv_strerror(rc));
    }
    runner->loop_open = true;
    uv_timer_init(&runner->loop, &runner->ticker);
    runner->ticker.data = runner;
    uv_unref((uv_handle_t *)&runner->ticker);
    for (int i = 0; i < 3; i++) {
        rc = uv_signal_init(&runner->loop, &runner->signals[i]);
        if (rc < 0) {
            for (int made = 0; made < i; made++) {
                uv_close((uv_handle_t *)&runner->signals[made], NULL);
            }
            uv_close((uv_handle_t *)&runner->ticker, NULL);
            uv_run(&runner->loop, UV_RUN_DEFAULT);
            uv_loop_close(&runner->loop);
            runner->loop_open = false;
            kiln_config_free(config);
            return kiln_error_set(err, rc, "cannot watch signals: %s", uv_strerror(rc));
        }
        runner->signals[i].data = runner;
        /* SIGHUP that was ignored (nohup) stays so. */
        struct sigaction old;
        if (sigaction(signal_numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) {
            uv_signal_start(&runner->signals[i], on_signal, signal_numbers[i]);
        }
        uv_unref((uv_handle_t *)&runner->signals[i]);
    }
    rc =
        kiln_engine_open(&runner->loop, config, &runner->paths, prestart, &runner->engine, err);
    if (rc < 0) {
        *status = kiln_open_failure_status(rc);
    } else if (!kiln_log_enabled(KILN_LOG_INFO)) {
        kiln_engine_listen(runner->engine, on_told, runner);
    }
    return rc;
}

int kiln_runner_begin(kiln_runner *runner, const char *name, int *status, kiln_error *err)
{
    int rc = kiln_outdir_open(&runner->outdir, runner->options->out, name, err);
    if (rc < 0) {
        *status = KILN_EXIT_USAGE;
        return rc;
    }
    *status = KILN_EXIT_ENGINE;
    rc = kiln_session_open(runner->engine, NULL, &runner->session, err);
    if (rc == 0) {
        kiln_session_hold(runner->session, true);
    }
    return rc;
}

kiln_request *kiln_runner_request(const kiln_runner *runner, const char *language,
                                  const char *code, size_t length)
{
    const kiln_run_options *options = runner->options;
    kiln_request *request = kiln_request_new();
    if (request == NULL) {
        return NULL;
    }
    int rc = kiln_request_set_code(request, code, length);
    rc = rc < 0 ? rc : kiln_request_set_string(&request->language, language);
    rc = rc < 0 ? rc : kiln_request_set_string(&request->backend, options->backend);
    if (rc == 0 && options->stdin_path != NULL) {
        rc = kiln_request_set_stdin(request, runner->source.stdin_data.data,
                                    runner->source.stdin_data.length);
    }
    for (char **arg = options->args; rc == 0 && *arg != NULL; arg++) {
        rc = kiln_request_add_arg(request, *arg);
    }
    request->limits = options->limits;
    request->transaction = options->transaction;
    if (rc < 0) {
        kiln_request_free(request);
        return NULL;
    }
    return request;
}

static void on_event(void *user, const kiln_event *event)
{
    kiln_runner *runner = user;
    runner->told[0] = '\0';
    if (runner->options->json || runner->broken_pipe) {
        return;
    }
    if (kiln_terminal_event(&runner->terminal, event) == -EPIPE && !runner->broken_pipe) {
        runner->broken_pipe = true;
        if (runner->execution != NULL) {
            kiln_execution_cancel(runner->execution);
        }
    }
}

static void on_done(void *user, kiln_result *result)
{
    kiln_runner *runner = user;
    runner->execution = NULL;
    runner->result = kiln_result_ref(result);
    uv_stop(&runner->loop);
}

int kiln_runner_execute(kiln_runner *runner, kiln_request *request, kiln_error *err)
{
    const kiln_execute_options options = {
        .chain = runner->options->chain,
        .client = kiln_client(runner->options->client),
        .out_fd = runner->outdir.fd,
        .out_path = runner->outdir.path,
        .on_event = on_event,
        .on_done = on_done,
        .user = runner,
    };
    kiln_result_unref(kiln_steal(runner->result));
    if (runner->terminal.tty[KILN_STDERR]) {
        uv_update_time(&runner->loop);
        runner->progress_since = uv_now(&runner->loop);
        uv_timer_start(&runner->ticker, on_tick, 100, 200);
    }
    int rc = kiln_execute(runner->session, request, &options, &runner->execution, err);
    if (rc < 0) {
        runner->execution = NULL;
        uv_timer_stop(&runner->ticker);
        return rc;
    }
    while (runner->result == NULL && runner->interrupts < 2) {
        if (uv_run(&runner->loop, UV_RUN_DEFAULT) == 0 && runner->result == NULL) {
            uv_timer_stop(&runner->ticker);
            return kiln_error_set(err, -EIO,
                                  "the engine lost the execution: nothing is left to wait for");
        }
    }
    uv_timer_stop(&runner->ticker);
    kiln_terminal_hide_progress(&runner->terminal);
    if (runner->result == NULL) {
        return kiln_error_set(err, -EINTR, "interrupted twice: killed");
    }
    return kiln_outdir_note(&runner->outdir, runner->result->output_files) < 0
               ? kiln_error_set(err, -ENOMEM, "out of memory")
               : 0;
}

static void close_loop(kiln_runner *runner)
{
    for (int i = 0; i < 3; i++) {
        uv_close((uv_handle_t *)&runner->signals[i], NULL);
    }
    uv_close((uv_handle_t *)&runner->ticker, NULL);
    uv_run(&runner->loop, UV_RUN_DEFAULT);
    uv_loop_close(&runner->loop);
}

void kiln_runner_close(kiln_runner *runner, int *status)
{
    kiln_error err = KILN_ERROR_INIT;
    if (runner->session != NULL && runner->execution == NULL) {
        kiln_session_close(runner->session);
    }
    if (runner->engine != NULL) {
        kiln_engine_close(runner->engine); /* kills what a second signal left in flight */
    }
    if (kiln_outdir_keep(&runner->outdir, &err) < 0) {
        kiln_terminal_note(&runner->terminal, "%s", err.text);
        *status = *status == KILN_EXIT_OK ? KILN_EXIT_ENGINE : *status;
    }
    kiln_outdir_close(&runner->outdir);
    kiln_terminal_close(&runner->terminal);
    kiln_result_unref(kiln_steal(runner->result));
    kiln_source_free(&runner->source);
    kiln_gathered_free(&runner->gathered);
    if (runner->loop_open) {
        close_loop(runner);
    }
}
