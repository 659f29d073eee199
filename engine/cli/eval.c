/* eval.c - `kiln eval`: scenarios that pass or fail. */
#include "cli/eval.h"

#include "base/cleanup.h"
#include "base/write.h"
#include "bundle/bundle.h"
#include "cli/command.h"
#include "cli/setup.h"
#include "cli/terminal.h"
#include "core/engine.h"
#include "eval/accept.h"
#include "eval/report.h"
#include "eval/suite.h"
#include "files/folder.h"
#include "notebook/json_text.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

typedef struct session {
    kiln_eval_options o;
    kiln_terminal terminal;
    uv_loop_t loop;
    uv_signal_t signals[2];
    uv_timer_t ticker;
    kiln_scenarios scenarios;
    kiln_task *tasks;
    size_t count, passed, updated;
    kiln_engine *engine;
    kiln_suite *suite;
    char *folder;
    json_t *outcomes;
    int interrupt;
    bool gone; /* nobody reads our standard output */
    bool engine_failed;
} session;

static int complain(const kiln_error *err, int status)
{
    fprintf(stderr, "kiln: %s\n", err->text);
    return status;
}

/* ---- what is to be run */

static void note(void *user, const char *text)
{
    (void)user;
    fprintf(stderr, "kiln: warning: %s\n", text);
}

static bool wanted(const session *s, const kiln_scenario *scenario)
{
    const char *name = kiln_scenario_text(scenario, KILN_SCENARIO_NAME);
    return s->o.only == NULL || fnmatch(s->o.only, scenario->id, 0) == 0 ||
           (name != NULL && fnmatch(s->o.only, name, 0) == 0);
}

static int read_scenarios(session *s, kiln_error *err)
{
    for (char **path = s->o.paths; *path != NULL; path++) {
        int rc = kiln_scenarios_read(&s->scenarios, *path, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int prepare(session *s, const kiln_config *config, kiln_error *err)
{
    s->tasks = calloc(s->scenarios.count + 1, sizeof(*s->tasks));
    if (s->tasks == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < s->scenarios.count; i++) {
        const kiln_scenario *scenario = s->scenarios.list[i];
        if (wanted(s, scenario)) {
            int rc =
                kiln_task_prepare(&s->tasks[s->count++], scenario, config, note, NULL, err);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return s->count > 0
               ? 0
               : kiln_error_set(err, ENOENT, "eval: no scenario's name fits --only \"%s\"",
                                s->o.only);
}

static bool has_pixels(const session *s)
{
    for (size_t i = 0; i < s->scenarios.count; i++) {
        for (const char *const *word =
                 kiln_scenario_words(s->scenarios.list[i], KILN_SCENARIO_NORMALISE);
             *word != NULL; word++) {
            if (strncmp(*word, "pixels:", 7) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* Each backend that has a `seed` is given ours, unless the user says another; pictures
 * need the bundle backend. *made: caller frees. */
static int add_settings(session *s, kiln_config *config, const kiln_paths *paths, char ***made)
{
    auto_json json_t *plugins = kiln_plugins_inspect(config, paths);
    auto_free char **bundle = NULL;
    size_t i, k, count = 0;
    json_t *plugin, *option;
    *made = calloc(json_array_size(plugins) + 3, sizeof(**made));
    if (*made == NULL || (has_pixels(s) && kiln_bundle_settings(config, &bundle) < 0)) {
        return -ENOMEM;
    }
    json_array_foreach(plugins, i, plugin)
    {
        json_array_foreach(json_object_get(plugin, "options"), k, option)
        {
            if (strcmp(json_string_value(option), "seed") == 0 &&
                asprintf(&(*made)[count], "backend %s.seed=%s",
                         json_string_value(json_object_get(plugin, "name")), s->o.seed) >= 0) {
                count++;
            }
        }
    }
    if (s->o.set_count + count + 2 > KILN_EVAL_SETS_MAX * 2) {
        return -E2BIG;
    }
    memmove(s->o.set + count, s->o.set, s->o.set_count * sizeof(*s->o.set));
    for (i = 0; i < count; i++) {
        s->o.set[i] = (*made)[i];
    }
    s->o.set_count += count;
    for (i = 0; bundle != NULL && bundle[i] != NULL; i++) {
        (*made)[count++] = bundle[i];
        s->o.set[s->o.set_count++] = bundle[i];
    }
    return 0;
}

/* ---- what comes of it */

static void write_out(session *s, const char *text, size_t length)
{
    kiln_terminal_hide_progress(&s->terminal);
    if (!s->gone && kiln_write_all(STDOUT_FILENO, text, length) < 0) {
        s->gone = true;
        kiln_suite_cancel(s->suite);
    }
}

static bool ask(session *s, const char *name)
{
    char answer[16];
    kiln_terminal_hide_progress(&s->terminal);
    fprintf(stderr, "Make this the canonical bundle of \"%s\"? [y/N] ", name);
    return fgets(answer, sizeof(answer), stdin) != NULL &&
           (answer[0] == 'y' || answer[0] == 'Y');
}

/* The canonical bundle becomes what was made, when that was shown and is wanted. */
static void update(session *s, size_t index, json_t *outcome, const char *bundle)
{
    kiln_error err = KILN_ERROR_INIT;
    const char *expected = kiln_scenario_text(s->tasks[index].scenario, KILN_SCENARIO_EXPECTED);
    const char *name = json_string_value(json_object_get(outcome, "name"));
    if (bundle == NULL || !json_is_true(json_object_get(outcome, "ran")) ||
        (!s->o.yes && !ask(s, name))) {
        return;
    }
    if (kiln_accept(bundle, expected, &err) < 0) {
        kiln_terminal_note(&s->terminal, "eval: --update: %s", err.text);
        s->engine_failed = true;
        return;
    }
    json_object_set_new(outcome, "updated", json_true());
    s->updated++;
    kiln_terminal_note(&s->terminal, "%s: canonical bundle updated", expected);
}

static void on_scenario(void *user, size_t index, json_t *outcome, const char *bundle)
{
    session *s = user;
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    bool passed = json_is_true(json_object_get(outcome, "passed"));
    s->passed += passed;
    json_array_append(s->outcomes, outcome);
    if (!s->o.json && kiln_report_tap(&text, json_array_size(s->outcomes), outcome) == 0) {
        write_out(s, text.data, text.length);
    }
    if (!passed && s->o.update && s->interrupt == 0) {
        update(s, index, outcome, bundle);
    }
}

static void on_done(void *user)
{
    session *s = user;
    s->suite = NULL;
    uv_stop(&s->loop);
}

static void on_tick(uv_timer_t *ticker)
{
    session *s = ticker->data;
    char line[160];
    size_t over;
    const char *running;
    if (s->suite != NULL) {
        kiln_suite_progress(s->suite, &over, &running);
        snprintf(line, sizeof(line), "%zu of %zu %.100s", over, s->count,
                 running != NULL ? running : "");
        kiln_terminal_progress(&s->terminal, line);
    }
}

/* The first signal lets what runs end, the second ends us. */
static void on_signal(uv_signal_t *handle, int number)
{
    session *s = handle->data;
    s->interrupt = number;
    uv_signal_stop(handle);
    if (s->suite != NULL) {
        kiln_suite_cancel(s->suite);
    }
}

static int run_suite(session *s, kiln_error *err)
{
    const kiln_suite_spec spec = {
        .loop = &s->loop,
        .engine = s->engine,
        .tasks = s->tasks,
        .count = s->count,
        .jobs = (unsigned)s->o.jobs,
        .repeat = (unsigned)s->o.repeat,
        .seed = s->o.seed,
        .folder = s->folder,
        .on_scenario = on_scenario,
        .on_done = on_done,
        .user = s,
    };
    int rc = kiln_suite_start(&spec, &s->suite, err);
    if (rc == 0 && s->terminal.tty[KILN_STDERR]) {
        uv_timer_start(&s->ticker, on_tick, 200, 200);
    }
    while (rc == 0 && s->suite != NULL) {
        if (uv_run(&s->loop, UV_RUN_DEFAULT) == 0 && s->suite != NULL) {
            rc = kiln_error_set(err, EIO,
                                "eval: the engine lost a scenario: nothing is left "
                                "to wait for");
        }
    }
    kiln_terminal_hide_progress(&s->terminal);
    return rc;
}

static int write_junit(const session *s, kiln_error *err)
{
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    if (s->o.junit == NULL) {
        return 0;
    }
    if (kiln_report_junit(&text, s->outcomes) < 0) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    auto_close int fd = open(s->o.junit, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int rc = fd < 0 ? -errno : kiln_write_all(fd, text.data, text.length);
    return rc < 0 ? kiln_error_errno(err, rc, "--junit %s", s->o.junit) : 0;
}

static int conclude(session *s, kiln_error *err)
{
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    size_t failed = json_array_size(s->outcomes) - s->passed;
    if (s->o.json) {
        auto_json json_t *all = json_pack("{s:b, s:I, s:I, s:O}", "success",
                                          failed == 0 && s->interrupt == 0 && !s->engine_failed,
                                          "passed", (json_int_t)s->passed, "failed",
                                          (json_int_t)failed, "scenarios", s->outcomes);
        if (all == NULL || kiln_json_write(all, JSON_INDENT(1), &text) < 0) {
            return kiln_error_set(err, ENOMEM, "out of memory");
        }
        kiln_buffer_append(&text, "\n", 1);
    } else {
        kiln_buffer_printf(&text, "1..%zu\n# %zu passed, %zu failed%s", s->count, s->passed,
                           failed, s->interrupt != 0 ? ", interrupted" : "");
        if (s->updated > 0) {
            kiln_buffer_printf(&text, ", %zu updated", s->updated);
        }
        kiln_buffer_append(&text, "\n", 1);
    }
    write_out(s, text.data, text.length);
    return write_junit(s, err);
}

/* ---- beginning and end */

/* Not SIG_IGN: that would be inherited by every program that we start. */
static void on_broken_pipe(int number)
{
    (void)number;
}

static int open_loop(session *s, kiln_error *err)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    const char *base = getenv("TMPDIR");
    struct sigaction action = {.sa_handler = on_broken_pipe, .sa_flags = SA_RESTART};
    sigaction(SIGPIPE, &action, NULL);
    if (uv_loop_init(&s->loop) < 0) {
        return kiln_error_set(err, ENOMEM, "cannot make an event loop");
    }
    uv_timer_init(&s->loop, &s->ticker);
    s->ticker.data = s;
    uv_unref((uv_handle_t *)&s->ticker);
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&s->loop, &s->signals[i]);
        s->signals[i].data = s;
        uv_signal_start(&s->signals[i], on_signal, numbers[i]);
        uv_unref((uv_handle_t *)&s->signals[i]);
    }
    if (asprintf(&s->folder, "%s/kiln-eval-XXXXXX",
                 base != NULL && base[0] == '/' ? base : "/tmp") < 0) {
        s->folder = NULL;
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    if (mkdtemp(s->folder) == NULL) {
        int failure = errno;
        kiln_error_errno(err, failure, "%s", s->folder);
        free(kiln_steal(s->folder));
        return err->code;
    }
    return 0;
}

static void close_loop(session *s)
{
    uv_close((uv_handle_t *)&s->ticker, NULL);
    for (int i = 0; i < 2; i++) {
        uv_close((uv_handle_t *)&s->signals[i], NULL);
    }
    uv_run(&s->loop, UV_RUN_DEFAULT);
    uv_loop_close(&s->loop);
    if (s->folder != NULL) {
        kiln_folder_remove(s->folder);
    }
    free(s->folder);
}

static int run_with_engine(session *s, kiln_config *config, const kiln_paths *paths)
{
    kiln_error err = KILN_ERROR_INIT;
    int status = KILN_EXIT_ENGINE;
    int rc = open_loop(s, &err);
    if (rc < 0) {
        kiln_config_free(config);
    } else {
        rc = kiln_engine_open(&s->loop, config, paths, NULL, &s->engine, &err);
        status = rc < 0 ? kiln_open_failure_status(rc) : status;
    }
    enum { POOL_FROM = 5 }; /* sessions; for fewer a pool costs more than it saves */
    if (rc == 0 && s->count * (size_t)s->o.repeat >= POOL_FROM) {
        rc = kiln_engine_keep_pools(s->engine, &err);
    }
    rc = rc < 0 ? rc : run_suite(s, &err);
    if (s->engine != NULL) {
        kiln_engine_close(s->engine);
    }
    rc = rc < 0 ? rc : conclude(s, &err);
    close_loop(s);
    if (rc < 0) {
        return complain(&err, status);
    }
    if (s->interrupt != 0 || s->gone) {
        return KILN_EXIT_SIGNAL + (s->interrupt != 0 ? s->interrupt : SIGPIPE);
    }
    return s->engine_failed                     ? KILN_EXIT_ENGINE
           : s->passed + s->updated == s->count ? KILN_EXIT_OK
                                                : KILN_EXIT_FAILURE;
}

static int run_session(session *s)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config;
    kiln_paths paths;
    char **made = NULL;
    int status;
    if (read_scenarios(s, &err) < 0) {
        return complain(&err, KILN_EXIT_USAGE);
    }
    /* Twice: looking at the plugins declares their options. */
    if (kiln_setup(s->o.config, s->o.set, &paths, &config, NULL, &status, &err) < 0) {
        return complain(&err, status);
    }
    int rc = add_settings(s, config, &paths, &made);
    kiln_config_free(config);
    if (rc < 0) {
        kiln_error_errno(&err, rc, "eval");
        status = complain(&err, KILN_EXIT_ENGINE);
    } else if (kiln_setup(s->o.config, s->o.set, &paths, &config, NULL, &status, &err) < 0) {
        complain(&err, status);
    } else if (prepare(s, config, &err) < 0) {
        kiln_config_free(config);
        status = complain(&err, KILN_EXIT_USAGE);
    } else {
        status = run_with_engine(s, config, &paths);
    }
    for (char **at = made; at != NULL && *at != NULL; at++) {
        free(*at);
    }
    free(made);
    return status;
}

static int print_reference(void)
{
    auto_free char *text = kiln_scenarios_reference();
    return text != NULL && fputs(text, stdout) >= 0 && fflush(stdout) == 0 ? KILN_EXIT_OK
                                                                           : KILN_EXIT_ENGINE;
}

static int run(int argc, char **argv)
{
    session s = {.scenarios = KILN_SCENARIOS_INIT};
    int status = kiln_eval_options_parse(argc, argv, &s.o);
    if (status != 0) {
        return status;
    }
    if (s.o.help || s.o.reference) {
        if (s.o.reference && !s.o.help) {
            return print_reference();
        }
        return fputs(kiln_eval_help, stdout) >= 0 && fflush(stdout) == 0 ? KILN_EXIT_OK
                                                                         : KILN_EXIT_ENGINE;
    }
    kiln_terminal_init(&s.terminal);
    s.outcomes = json_array();
    status = run_session(&s);
    for (size_t i = 0; i < s.count; i++) {
        kiln_task_free(&s.tasks[i]);
    }
    free(s.tasks);
    kiln_scenarios_free(&s.scenarios);
    json_decref(s.outcomes);
    return status;
}

const kiln_command kiln_command_eval = {
    "eval",
    "runs scenarios, which pass if they make the canonical files",
    run,
};
