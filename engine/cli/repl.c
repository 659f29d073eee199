/* kiln repl - cells from a person, or from a pipe, in sessions that keep their state. */
#include "cli/repl.h"

#include "base/cleanup.h"
#include "cli/command.h"
#include "cli/setup.h"
#include "cli/source.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

static const char help[] =
    "usage: kiln repl [OPTIONS]\n\n"
    "Runs cells as they are typed, confined and under policies, in a session that keeps its\n"
    "state. :help at the prompt lists its commands; Tab completes; Ctrl-C stops the running\n"
    "cell and a second one kills it; Ctrl-D or exit leaves.\n\n"
    "  -s, --session NAME     the session's name, \"repl\" without it\n"
    "  -b, --backend NAME     a wish: the policies decide\n"
    "  -l, --language LANG    \"python\" without it\n"
    "  -o, --output DIR       pictures and other output files go there; without it to a\n"
    "                         temporary folder that is named when something is in it\n"
    "      --restore ARCHIVE  begins with a session that :archive saved: its files, and its\n"
    "                         state by running its cells again in order (memory is not saved)\n"
    "      --timeout TIME     of one cell: 30s, 5m; never above the configured one\n"
    "      --set S.KEY=VALUE  one key of the configuration\n"
    "      --config FILE      another kiln.ini\n"
    "      --chain NAME       another chain of policies\n"
    "      --client NAME      who asks, for policies that count by client; your user name\n"
    "                         without it\n"
    "      --json             each cell's Result as one line on standard output\n\n"
    "From a pipe or a file it reads cells as a person would type them: a statement, or a\n"
    "block that an empty line ends. History: $XDG_STATE_HOME/kiln/history.\n\n"
    "exit status: 0; from a pipe or a file that of the first cell that failed.\n";

static int complain(const kiln_error *err, int status)
{
    fprintf(stderr, "kiln: %s\n", err->text);
    return status;
}

/* ---- options */

enum { OPT_CONFIG = 256, OPT_CHAIN, OPT_CLIENT, OPT_TIMEOUT, OPT_JSON, OPT_SET, OPT_RESTORE };

static const struct option long_options[] = {
    {"session", required_argument, NULL, 's'},
    {"backend", required_argument, NULL, 'b'},
    {"language", required_argument, NULL, 'l'},
    {"output", required_argument, NULL, 'o'},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"set", required_argument, NULL, OPT_SET},
    {"restore", required_argument, NULL, OPT_RESTORE},
    {"config", required_argument, NULL, OPT_CONFIG},
    {"chain", required_argument, NULL, OPT_CHAIN},
    {"client", required_argument, NULL, OPT_CLIENT},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int take_option(kiln_repl_options *options, int option, const char *word,
                       kiln_error *err)
{
    switch (option) {
    case 's':
        options->session = word;
        return 0;
    case 'b':
        options->backend = word;
        return 0;
    case 'l':
        options->language = word;
        return 0;
    case 'o':
        options->out = word;
        return 0;
    case 'h':
        options->help = true;
        return 0;
    case OPT_SET:
        options->set[options->set_count++] = word;
        return 0;
    case OPT_RESTORE:
        options->restore = word;
        return 0;
    case OPT_CONFIG:
        options->config = word;
        return 0;
    case OPT_CHAIN:
        options->chain = word;
        return 0;
    case OPT_CLIENT:
        options->client = word;
        return word[0] != '\0'
                   ? 0
                   : kiln_error_set(err, EINVAL, "repl: --client: the name is empty");
    case OPT_JSON:
        options->json = true;
        return 0;
    case OPT_TIMEOUT:
        if (kiln_parse_duration(word, &options->limits.timeout_ms, err) < 0) {
            return kiln_error_wrap(err, "repl: --timeout");
        }
        return options->limits.timeout_ms > 0
                   ? 0
                   : kiln_error_set(err, EINVAL, "repl: --timeout: must be more than 0");
    default:
        return kiln_error_set(err, EINVAL, "repl: unknown option, see kiln repl --help");
    }
}

static int parse(int argc, char **argv, kiln_repl_options *options, kiln_error *err)
{
    int option;
    options->set = calloc((size_t)argc + 3, sizeof(*options->set));
    if (options->set == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":s:b:l:o:h", long_options, NULL)) != -1) {
        if (option == ':' || option == '?') {
            return kiln_error_set(err, EINVAL,
                                  option == ':' ? "repl: option \"%s\" needs a value"
                                                : "repl: unknown option \"%s\", see kiln repl "
                                                  "--help",
                                  argv[optind - 1]);
        }
        int rc = take_option(options, option, optarg, err);
        if (rc < 0) {
            return rc;
        }
    }
    return optind == argc ? 0
                          : kiln_error_set(err, EINVAL,
                                           "repl: takes no argument \"%s\": :load FILE at the "
                                           "prompt runs a file",
                                           argv[optind]);
}

/* ---- what the other files ask for */

void kiln_repl_say(kiln_repl *repl, const char *format, ...)
{
    auto_free char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length >= 0) {
        kiln_terminal_write(&repl->terminal, repl->options->json ? KILN_STDERR : KILN_STDOUT,
                            text, (size_t)length);
    } else {
        text = NULL;
    }
}

/* What the table has for the session in use; `made` (stolen) where it has nothing yet. */
static json_t *of_session(const kiln_repl *repl, json_t *table, json_t *made)
{
    const char *id = kiln_session_id(repl->session);
    json_t *its = json_object_get(table, id);
    if (its != NULL) {
        json_decref(made);
        return its;
    }
    json_object_set_new(table, id, made);
    return made;
}

json_t *kiln_repl_notebook(kiln_repl *repl)
{
    return of_session(repl, repl->notebooks, json_array());
}

json_t *kiln_repl_displays(kiln_repl *repl)
{
    return of_session(repl, repl->displays, json_object());
}

json_t *kiln_repl_given(kiln_repl *repl)
{
    return of_session(repl, repl->given, json_object());
}

int kiln_repl_switch(kiln_repl *repl, const char *id, kiln_error *err)
{
    kiln_session *session = kiln_session_find(repl->engine, id);
    if (session == NULL) {
        int rc = kiln_session_open(repl->engine, id, &session, err);
        if (rc < 0) {
            return rc;
        }
        kiln_session_hold(session, true);     /* until it is closed: idle life is not for us */
        json_object_del(repl->notebooks, id); /* of one that was closed meanwhile */
        json_object_del(repl->displays, id);
        json_object_del(repl->given, id);
    }
    if (repl->session != session) {
        repl->session = session;
    }
    return 0;
}

static void step(uv_timer_t *timer)
{
    kiln_repl *repl = timer->data;
    if (repl->closing || (repl->leaving && json_array_size(repl->queue) == 0)) {
        kiln_repl_quit(repl);
        return;
    }
    if (json_array_size(repl->queue) > 0) {
        auto_json json_t *cell = json_incref(json_array_get(repl->queue, 0));
        const json_t *source = json_object_get(cell, "source");
        json_array_remove(repl->queue, 0);
        repl->may_fail = json_is_true(json_object_get(cell, "may_fail"));
        kiln_repl_run(repl, json_string_value(source), json_string_length(source));
        return;
    }
    kiln_repl_read(repl);
}

void kiln_repl_next(kiln_repl *repl)
{
    uv_timer_start(&repl->next, step, 0, 0);
}

void kiln_repl_quit(kiln_repl *repl)
{
    repl->closing = true;
    uv_stop(&repl->loop);
}

/* ---- signals */

static void on_interrupt(kiln_repl *repl)
{
    if (repl->execution != NULL) {
        kiln_repl_interrupt(repl);
        return;
    }
    if (repl->working && repl->editor != NULL) {
        kiln_terminal_note(&repl->terminal, "the archive is not done yet");
        return;
    }
    if (repl->forking && repl->editor != NULL) {
        return; /* it is there, or refused, at once */
    }
    if (repl->editor == NULL) {
        repl->status = KILN_EXIT_SIGNAL + SIGINT;
        kiln_repl_quit(repl);
        return;
    }
    kiln_repl_say(repl, "^C\n"); /* first: leaving the line moves the cursor to its front */
    kiln_repl_read_cancel(repl);
    kiln_repl_next(repl);
}

/* The terminal that went away is noticed by its end, not by this. */
static void reload(kiln_repl *repl)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config;
    kiln_paths paths;
    int status;
    if (kiln_setup(repl->options->config, repl->options->set, &paths, &config, NULL, &status,
                   &err) < 0 ||
        kiln_engine_reload(repl->engine, config, &err) < 0) {
        kiln_terminal_note(&repl->terminal, "%s", err.text);
    } else {
        kiln_terminal_note(&repl->terminal, "policies and limits were read again");
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    kiln_repl *repl = handle->data;
    if (number == SIGINT) {
        on_interrupt(repl);
    } else if (number == SIGHUP) {
        reload(repl);
    } else {
        repl->status = KILN_EXIT_SIGNAL + number;
        kiln_repl_quit(repl);
    }
}

/* Not SIG_IGN: that would be inherited by every program that we start. */
static void on_broken_pipe(int number)
{
    (void)number;
}

static int watch_signals(kiln_repl *repl, kiln_error *err)
{
    static const int numbers[3] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_broken_pipe, .sa_flags = SA_RESTART};
    sigaction(SIGPIPE, &action, NULL);
    for (int i = 0; i < 3; i++) {
        uv_signal_init(&repl->loop, &repl->signals[i]);
        repl->signals[i].data = repl;
        int rc = uv_signal_start(&repl->signals[i], on_signal, numbers[i]);
        if (rc < 0) {
            return kiln_error_set(err, rc, "cannot watch signals: %s", uv_strerror(rc));
        }
    }
    return 0;
}

/* ---- begin and end */

static void greet(kiln_repl *repl)
{
    if (repl->editor != NULL) {
        kiln_repl_say(repl, "kiln " KILN_VERSION ", session %s, %s. :help lists commands.%s\n",
                      kiln_session_id(repl->session), repl->language,
                      repl->answers ? "" : " An empty line runs a cell.");
    }
}

static void first_step(kiln_repl *repl)
{
    greet(repl);
    if (repl->options->restore != NULL) {
        repl->starting = true;
        kiln_repl_restore_from(repl, repl->options->restore, NULL);
    } else {
        kiln_repl_next(repl);
    }
}

/* The worker starts while the person reads the first line. */
static void on_warm(void *user, json_t *reply, const kiln_error *err)
{
    kiln_repl *repl = user;
    (void)reply, (void)err;
    repl->query = NULL;
    if (!repl->closing) {
        first_step(repl);
    }
}

static void begin(kiln_repl *repl)
{
    kiln_error err = KILN_ERROR_INIT;
    auto_json json_t *arguments = json_pack("{s:s}", "code", "");
    int rc = kiln_session_query(repl->session, repl->options->backend, "is_complete", arguments,
                                on_warm, repl, &repl->query, &err);
    if (rc < 0) {
        repl->answers = false;
        first_step(repl);
    }
}

/* A task waits on the loop by itself, which it may not do from inside a callback. */
static void run_tasks(kiln_repl *repl)
{
    uv_run(&repl->loop, UV_RUN_DEFAULT);
    while (repl->task != NULL && !repl->closing) {
        void (*task)(kiln_repl *) = repl->task;
        repl->task = NULL;
        repl->working = true;
        task(repl);
        repl->working = false;
        if (!repl->closing) {
            uv_run(&repl->loop, UV_RUN_DEFAULT);
        }
    }
}

static int serve(kiln_repl *repl)
{
    kiln_error err = KILN_ERROR_INIT;
    const char *id = repl->options->session != NULL ? repl->options->session : "repl";
    if (watch_signals(repl, &err) < 0) {
        return complain(&err, KILN_EXIT_ENGINE);
    }
    if (kiln_repl_switch(repl, id, &err) < 0 || kiln_repl_cells_open(repl, &err) < 0) {
        return complain(&err, KILN_EXIT_USAGE);
    }
    if (kiln_repl_read_open(repl, &err) < 0) {
        return complain(&err, KILN_EXIT_ENGINE);
    }
    repl->colour = repl->editor != NULL && getenv("NO_COLOR") == NULL;
    begin(repl);
    run_tasks(repl);
    return repl->status;
}

static void close_loop(kiln_repl *repl)
{
    for (int i = 0; i < 3; i++) {
        if (repl->signals[i].data != NULL) {
            uv_close((uv_handle_t *)&repl->signals[i], NULL);
        }
    }
    uv_close((uv_handle_t *)&repl->next, NULL);
    uv_run(&repl->loop, UV_RUN_DEFAULT);
    uv_loop_close(&repl->loop);
}

/* With the configuration loaded; owns it. */
static int run_with(kiln_repl *repl, kiln_config *config)
{
    kiln_error err = KILN_ERROR_INIT;
    const kiln_repl_options *options = repl->options;
    const char *word = options->language != NULL ? options->language : "python";
    const char *language = kiln_language_alias(config, word);
    const char *backend = options->backend != NULL
                              ? options->backend
                              : kiln_config_string(config, "engine", "backend");
    repl->language = language != NULL ? language : word;
    int rc = uv_loop_init(&repl->loop);
    if (rc < 0) {
        kiln_config_free(config);
        kiln_error_set(&err, rc, "cannot make an event loop: %s", uv_strerror(rc));
        return complain(&err, KILN_EXIT_ENGINE);
    }
    uv_timer_init(&repl->loop, &repl->next);
    repl->next.data = repl;
    rc = kiln_engine_open(&repl->loop, config, &repl->paths, backend, &repl->engine, &err);
    rc = rc < 0 ? rc : kiln_engine_keep_pools(repl->engine, &err); /* for :restart */
    int status = rc < 0 ? complain(&err, kiln_open_failure_status(rc)) : KILN_EXIT_OK;
    if (rc == 0) {
        auto_json json_t *backends = kiln_engine_plugins(repl->engine);
        rc = kiln_language_check(repl->language, kiln_engine_config(repl->engine), backends,
                                 &err);
        status = rc < 0 ? complain(&err, KILN_EXIT_USAGE) : serve(repl);
    }
    repl->closing = true;
    kiln_repl_read_close(repl); /* first: the terminal as it was */
    kiln_engine_close(repl->engine);
    kiln_repl_restore_free(repl);
    kiln_repl_cells_close(repl);
    kiln_terminal_close(&repl->terminal);
    close_loop(repl);
    return status;
}

static int run(int argc, char **argv)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_repl_options options = {0};
    kiln_repl repl = {.options = &options,
                      .folder_fd = -1,
                      .notebooks = json_object(),
                      .displays = json_object(),
                      .given = json_object()};
    kiln_config *config;
    char **words = NULL;
    int status;
    if (parse(argc, argv, &options, &err) < 0) {
        status = complain(&err, KILN_EXIT_USAGE);
    } else if (options.help) {
        fputs(help, stdout);
        status = fflush(stdout) == 0 ? KILN_EXIT_OK : KILN_EXIT_ENGINE;
    } else {
        kiln_terminal_init(&repl.terminal);
        status = kiln_setup_bundle(options.config, options.set, options.set_count, &repl.paths,
                                   &config, &words, &status, &err) < 0
                     ? complain(&err, status)
                     : run_with(&repl, config);
    }
    json_decref(repl.notebooks);
    json_decref(repl.displays);
    json_decref(repl.given);
    free(options.set);
    kiln_bundle_words_free(words);
    return status;
}

const kiln_command kiln_command_repl = {
    "repl",
    "runs cells as they are typed",
    run,
};
