#include "eval/trial.h"

#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/write.h"
#include "bundle/bundle.h"
#include "eval/compare.h"
#include "files/beneath.h"
#include "program/program.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum {
    DIFF_MAX = 16 << 10, /* bytes of one file's diff */
    DIFF_MS = 10000,
    STDERR_MAX = 2000, /* bytes of standard error that are told, its end */
};

struct kiln_trial {
    kiln_trial_spec spec;
    const kiln_scenario *scenario;
    kiln_session *session;
    kiln_execution *execution;
    kiln_result *result; /* of the last execution */
    uv_timer_t later;    /* what may not be done from inside a callback of the engine's */
    char *made, *bundle;
    int made_fd;
    size_t cell; /* of a notebook: the next one */
    bool cancelled;
    kiln_buffer standard_output, standard_error;
    uint64_t truncated;
    uint64_t started_ns;
    json_t *report;
    json_t *differences; /* in the report */
    json_t *files;       /* in the report */
    size_t shown;        /* differences whose diff was made */
    kiln_program *diff;
    kiln_inputs pictures; /* those that are compared by pixels */
    char *pixels;         /* what is asked of them */
    void (*done)(void *user, json_t *report);
    void *user;
};

static void on_freed(uv_handle_t *handle)
{
    kiln_trial *trial = handle->data;
    kiln_result_unref(trial->result);
    kiln_buffer_free(&trial->standard_output);
    kiln_buffer_free(&trial->standard_error);
    json_decref(trial->report);
    if (trial->made_fd >= 0) {
        close(trial->made_fd);
    }
    kiln_inputs_free(&trial->pictures);
    free(trial->pixels);
    free(trial->made);
    free(trial->bundle);
    free(trial);
}

static void free_trial(kiln_trial *trial)
{
    if (trial->session != NULL) {
        kiln_session_close(trial->session);
    }
    uv_close((uv_handle_t *)&trial->later, on_freed);
}

/* ---- the verdict */

static void set_reason(kiln_trial *trial, const char *text)
{
    if (!json_is_string(json_object_get(trial->report, "reason"))) {
        auto_buffer kiln_buffer valid = KILN_BUFFER_INIT;
        kiln_utf8_append(&valid, text, strlen(text), false);
        json_object_set_new(trial->report, "reason",
                            json_stringn(valid.data != NULL ? valid.data : "", valid.length));
    }
}

static void end(kiln_trial *trial)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    size_t count = json_array_size(trial->differences);
    char text[80];
    if (count > 0) {
        snprintf(text, sizeof(text), "%zu%s file%s not as the canonical bundle has %s", count,
                 count == KILN_COMPARE_TOLD_MAX ? " or more" : "", count == 1 ? " is" : "s are",
                 count == 1 ? "it" : "them");
        set_reason(trial, text);
    }
    bool passed = !json_is_string(json_object_get(trial->report, "reason"));
    json_object_set_new(trial->report, "passed", json_boolean(passed));
    json_object_set_new(trial->report, "duration_ms",
                        json_real((double)(now_ns - trial->started_ns) / 1e6));
    trial->done(trial->user, trial->report);
    free_trial(trial);
}

/* ---- diffs of texts, one after the other */

static void show_next(kiln_trial *trial);

static void on_diff(void *user, kiln_program_end *done)
{
    kiln_trial *trial = user;
    json_t *entry = json_array_get(trial->differences, trial->shown++);
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    const kiln_buffer *output = done->output;
    trial->diff = NULL;
    if (output->length > 0 &&
        kiln_utf8_append(&text, output->data, output->length, true) >= 0) {
        if (done->flooded) {
            kiln_buffer_printf(&text, "\n(cut: the diff is longer than %d bytes)\n", DIFF_MAX);
        }
        json_object_set_new(entry, "diff",
                            json_stringn(text.data != NULL ? text.data : "", text.length));
    }
    show_next(trial);
}

static int start_diff(kiln_trial *trial, const json_t *entry, kiln_error *err)
{
    static const char *const env[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", NULL};
    const char *name = json_string_value(json_object_get(entry, "file"));
    long long number = json_integer_value(json_object_get(entry, "diff"));
    auto_free char *expected = NULL, *actual = NULL, *label = NULL, *other = NULL;
    if (asprintf(&expected, "%s/%lld.expected", trial->spec.folder, number) < 0 ||
        asprintf(&actual, "%s/%lld.actual", trial->spec.folder, number) < 0 ||
        asprintf(&label, "expected/%s", name) < 0 || asprintf(&other, "made/%s", name) < 0) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    const char *const argv[] = {"diff", "--unified", "--label", label,  "--label",
                                other,  "--",        expected,  actual, NULL};
    const kiln_program_spec spec = {
        .argv = argv, .env = env, .output_max = DIFF_MAX, .timeout_ms = DIFF_MS};
    return kiln_program_start(trial->spec.loop, &spec, on_diff, trial, &trial->diff, err);
}

static void show_next(kiln_trial *trial)
{
    kiln_error err = KILN_ERROR_INIT;
    for (; trial->shown < json_array_size(trial->differences); trial->shown++) {
        json_t *entry = json_array_get(trial->differences, trial->shown);
        if (json_is_integer(json_object_get(entry, "diff"))) {
            int rc = start_diff(trial, entry, &err);
            json_object_set_new(entry, "diff", json_null());
            if (rc == 0) {
                return;
            }
            json_object_set_new(entry, "diff", json_string(err.text));
        }
    }
    end(trial);
}

/* ---- the bundle */

char *kiln_trial_bundle(const kiln_task *task, const char *folder)
{
    const char *within = kiln_scenario_text(task->scenario, KILN_SCENARIO_BUNDLE);
    char *path;
    return asprintf(&path, "%s/made%s%s", folder, within != NULL ? "/" : "",
                    within != NULL ? within : "") < 0
               ? NULL
               : path;
}

/* The name within the bundle, or NULL: it is no part of it. */
static const char *own_name(const kiln_trial *trial, const char *name)
{
    const char *within = kiln_scenario_text(trial->scenario, KILN_SCENARIO_BUNDLE);
    size_t length = within != NULL ? strlen(within) : 0;
    if (within == NULL) {
        return name;
    }
    return strncmp(name, within, length) == 0 && name[length] == '/' ? name + length + 1 : NULL;
}

/* Standard output, as a file like the others. */
static int save_output(kiln_trial *trial, const char *name, kiln_error *err)
{
    const char *base = NULL;
    auto_close int folder = open(trial->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
    auto_close int parent = folder < 0 ? -errno : kiln_open_parent(folder, name, &base, false);
    auto_close int fd =
        parent < 0 || base == NULL
            ? parent
            : kiln_open_beneath(parent, base, O_WRONLY | O_CREAT | O_EXCL, 0644, false);
    if (fd == -EEXIST) {
        return kiln_error_set(err, EEXIST, "a file of the name of `stdout` was made, too");
    }
    int rc = fd < 0 ? fd : 0;
    if (rc == 0 && trial->standard_output.length > 0) {
        rc = kiln_write_all(fd, trial->standard_output.data, trial->standard_output.length);
    }
    return rc < 0 ? kiln_error_errno(err, rc, "stdout = %s", name) : 0;
}

static int make_bundle_folder(const kiln_trial *trial, kiln_error *err)
{
    const char *within = kiln_scenario_text(trial->scenario, KILN_SCENARIO_BUNDLE);
    const char *base;
    auto_free char *inner = NULL;
    if (within == NULL) {
        return 0;
    }
    if (asprintf(&inner, "%s/x", within) < 0) {
        inner = NULL;
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    auto_close int fd = kiln_open_parent(trial->made_fd, inner, &base, false);
    return fd < 0 ? kiln_error_errno(err, fd, "bundle = %s", within) : 0;
}

/* ---- pictures: decoded in a confined worker */

/* Those that look the same are no difference. */
static void on_pixels(void *user, json_t *answer, json_t *output_files, const kiln_error *err)
{
    kiln_trial *trial = user;
    (void)output_files;
    for (size_t i = json_array_size(trial->differences); i-- > 0;) {
        json_t *entry = json_array_get(trial->differences, i);
        const json_t *number = json_object_get(entry, "pixels");
        char text[24];
        if (number == NULL) {
            continue;
        }
        snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(number));
        json_t *why = json_object_get(json_object_get(answer, "pictures"), text);
        json_object_del(entry, "pixels");
        if (err != NULL) {
            json_object_set_new(entry, "detail", json_string(err->text));
        } else if (json_is_null(why)) {
            json_array_remove(trial->differences, i);
        } else if (why != NULL) {
            json_object_set(entry, "detail", why);
        }
    }
    show_next(trial);
}

/* False: there is none to compare. */
static bool compare_pixels(kiln_trial *trial)
{
    auto_buffer kiln_buffer code = KILN_BUFFER_INIT;
    kiln_error err = KILN_ERROR_INIT;
    size_t i;
    json_t *entry;
    kiln_buffer_printf(&code, "pixels");
    json_array_foreach(trial->differences, i, entry)
    {
        const json_t *number = json_object_get(entry, "pixels");
        static const char *const sides[] = {"expected", "actual"};
        for (int k = 0; number != NULL && k < 2; k++) {
            auto_free char *word = NULL;
            if (asprintf(&word, "%lld.%s=%s/%lld.%s", json_integer_value(number), sides[k],
                         trial->spec.folder, json_integer_value(number), sides[k]) < 0 ||
                kiln_inputs_add(&trial->pictures, NULL, word, NULL, &err) < 0) {
                break;
            }
        }
        if (number != NULL) {
            kiln_buffer_printf(&code, " %lld", json_integer_value(number));
        }
    }
    if (trial->pictures.count == 0) {
        return false;
    }
    trial->pixels = kiln_steal(code.data);
    const kiln_bundle_call call = {.engine = trial->spec.engine,
                                   .loop = trial->spec.loop,
                                   .code = trial->pixels,
                                   .files = trial->pictures.files,
                                   .count = trial->pictures.count,
                                   .out_fd = -1,
                                   .done = on_pixels,
                                   .user = trial};
    if (kiln_bundle_ask(&call, &err) < 0) {
        on_pixels(trial, NULL, NULL, &err);
    }
    return true;
}

static void judge(kiln_trial *trial)
{
    kiln_error err = KILN_ERROR_INIT;
    const char *name = kiln_scenario_text(trial->scenario, KILN_SCENARIO_STDOUT);
    int rc = make_bundle_folder(trial, &err);
    if (rc == 0 && name != NULL) {
        if (trial->truncated > 0) {
            set_reason(trial, "standard output is longer than [limits] output");
        }
        rc = save_output(trial, name, &err);
    }
    rc = rc < 0 ? rc
                : kiln_compare(kiln_scenario_text(trial->scenario, KILN_SCENARIO_EXPECTED),
                               trial->bundle, trial->spec.task->normal, trial->spec.folder,
                               trial->differences, &err);
    if (rc < 0) {
        set_reason(trial, err.text);
        end(trial);
        return;
    }
    if (!compare_pixels(trial)) {
        show_next(trial);
    }
}

/* ---- executions */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* Files that could not be part of a bundle: links, devices, odd names. */
static void note_refused(kiln_trial *trial, const json_t *error)
{
    const char *message = text_of(error, "message");
    const char *colon = strstr(message, ": ");
    char name[1100];
    snprintf(name, sizeof(name), "%.*s",
             colon != NULL ? (int)(colon - message) : (int)strlen(message), message);
    const char *own = own_name(trial, name);
    if (own != NULL) {
        kiln_difference_add(trial->differences, own, "odd", colon != NULL ? colon + 2 : "");
    }
}

static void note_files(kiln_trial *trial, const kiln_result *result)
{
    size_t i;
    json_t *entry;
    json_array_foreach(result->output_files, i, entry)
    {
        const char *own = own_name(trial, text_of(entry, "name"));
        if (own != NULL) {
            json_object_set(trial->files, own, json_object_get(entry, "sha256"));
        }
    }
    json_array_foreach(result->errors, i, entry)
    {
        if (strcmp(text_of(entry, "name"), "OutputFileRefused") == 0) {
            note_refused(trial, entry);
        } else if (strcmp(text_of(entry, "name"), "OutputFiles") == 0) {
            set_reason(trial, text_of(entry, "message"));
        }
    }
}

/* What it should have ended with and did not. */
static void note_status(kiln_trial *trial, const kiln_result *result)
{
    int wanted = (int)trial->scenario->values[KILN_SCENARIO_EXIT_STATUS].number;
    bool ran = result->status == KILN_STATUS_OK || result->status == KILN_STATUS_ERROR;
    int status = result->status == KILN_STATUS_OK                  ? 0
                 : result->has_exit_code && result->exit_code != 0 ? result->exit_code
                                                                   : 1;
    json_object_set_new(trial->report, "status", json_string(kiln_status_name(result->status)));
    json_object_set_new(trial->report, "ran", json_boolean(ran && status == wanted));
    if (ran && status == wanted) {
        return;
    }
    const json_t *error = NULL;
    for (size_t i = 0; i < json_array_size(result->errors); i++) {
        const json_t *one = json_array_get(result->errors, i);
        if (strncmp(text_of(one, "name"), "OutputFile", 10) != 0) {
            error = one;
        }
    }
    char text[600];
    if (ran) {
        snprintf(text, sizeof(text), "it ended with exit status %d, %d is expected%s%.400s",
                 status, wanted, error != NULL ? ": " : "", text_of(error, "message"));
    } else {
        snprintf(text, sizeof(text), "%s%s%.400s", kiln_status_name(result->status),
                 error != NULL ? ": " : "", text_of(error, "message"));
    }
    set_reason(trial, text);
}

static void note_streams(kiln_trial *trial, const kiln_result *result)
{
    kiln_buffer *errors = &trial->standard_error;
    kiln_result_stream(result, KILN_STDOUT, &trial->standard_output);
    kiln_result_stream(result, KILN_STDERR, errors);
    trial->truncated += result->truncated[KILN_STDOUT];
    size_t from = errors->length > STDERR_MAX ? errors->length - STDERR_MAX : 0;
    while (from < errors->length && (errors->data[from] & 0xc0) == 0x80) {
        from++; /* not in the middle of a character */
    }
    if (errors->length > 0) {
        json_object_set_new(trial->report, "stderr",
                            json_stringn(errors->data + from, errors->length - from));
    }
}

static bool start_next(kiln_trial *trial);

static void go_on(uv_timer_t *timer)
{
    kiln_trial *trial = timer->data;
    const kiln_result *result = trial->result;
    note_streams(trial, result);
    note_files(trial, result);
    note_status(trial, result);
    bool went_well = json_is_true(json_object_get(trial->report, "ran"));
    if (went_well && !trial->cancelled && start_next(trial)) {
        return;
    }
    if (!went_well) { /* what it made before is no bundle; only why is told */
        json_array_clear(trial->differences);
        end(trial);
        return;
    }
    judge(trial);
}

static void on_done(void *user, kiln_result *result)
{
    kiln_trial *trial = user;
    trial->execution = NULL;
    kiln_result_unref(trial->result);
    trial->result = kiln_result_ref(result);
    uv_timer_start(&trial->later, go_on, 0, 0);
}

static int add_environment(const kiln_trial *trial, kiln_request *request)
{
    char text[96];
    int rc = kiln_request_add_env(request, "TZ=UTC");
    rc = rc < 0 ? rc : kiln_request_add_env(request, "LC_ALL=C.UTF-8");
    snprintf(text, sizeof(text), "SOURCE_DATE_EPOCH=%lld",
             (long long)trial->scenario->values[KILN_SCENARIO_EPOCH].number);
    rc = rc < 0 ? rc : kiln_request_add_env(request, text);
    snprintf(text, sizeof(text), "PYTHONHASHSEED=%s", trial->spec.seed);
    return rc < 0 ? rc : kiln_request_add_env(request, text);
}

static int fill_request(const kiln_trial *trial, kiln_request *request, const char *code,
                        size_t length, bool first)
{
    const kiln_task *task = trial->spec.task;
    int rc = kiln_request_set_code(request, code, length);
    if (rc == 0 && task->language != NULL) {
        rc = kiln_request_set_string(&request->language, task->language);
    }
    rc = rc < 0 ? rc
                : kiln_request_set_string(
                      &request->backend,
                      kiln_scenario_text(trial->scenario, KILN_SCENARIO_BACKEND));
    if (rc == 0 && task->stdin_data.length > 0) {
        rc = kiln_request_set_stdin(request, task->stdin_data.data, task->stdin_data.length);
    }
    for (const char *const *arg = kiln_scenario_words(trial->scenario, KILN_SCENARIO_ARGS);
         rc == 0 && *arg != NULL; arg++) {
        rc = kiln_request_add_arg(request, *arg);
    }
    for (size_t i = 0; rc == 0 && first && i < task->inputs.count; i++) {
        rc = kiln_request_add_file(request, task->inputs.files[i].name,
                                   task->inputs.files[i].path, NULL, 0, NULL);
    }
    request->limits.timeout_ms =
        (uint64_t)trial->scenario->values[KILN_SCENARIO_TIMEOUT].number;
    return rc < 0 ? rc : add_environment(trial, request);
}

static int execute(kiln_trial *trial, const char *code, size_t length, const char *cell_id,
                   bool first, kiln_error *err)
{
    const kiln_execute_options options = {
        .chain = kiln_scenario_text(trial->scenario, KILN_SCENARIO_CHAIN),
        .scenario = trial->spec.task->instruct,
        .out_fd = trial->made_fd,
        .out_path = trial->made,
        .on_done = on_done,
        .user = trial,
    };
    kiln_request *request = kiln_request_new();
    if (request == NULL || fill_request(trial, request, code, length, first) < 0 ||
        kiln_request_set_string(&request->cell_id, cell_id) < 0) {
        kiln_request_free(request);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    return kiln_execute(trial->session, request, &options, &trial->execution, err);
}

static bool is_runnable(const kiln_ipynb_cell *cell)
{
    return !cell->skip && strspn(cell->source, " \t\r\n\f\v") != cell->source_length;
}

/* The next cell; false: there is none, or it was refused (and the reason says so). */
static bool start_next(kiln_trial *trial)
{
    const kiln_task *task = trial->spec.task;
    const kiln_ipynb *notebook = task->notebook;
    kiln_error err = KILN_ERROR_INIT;
    size_t from = trial->cell;
    int rc;
    if (notebook == NULL) {
        if (trial->cell++ > 0) {
            return false;
        }
        rc = execute(trial, task->code.data != NULL ? task->code.data : "", task->code.length,
                     NULL, true, &err);
    } else {
        while (trial->cell < notebook->count && !is_runnable(&notebook->cells[trial->cell])) {
            trial->cell++;
        }
        if (trial->cell == notebook->count) {
            return false;
        }
        const kiln_ipynb_cell *cell = &notebook->cells[trial->cell++];
        rc = execute(trial, cell->source, cell->source_length, cell->id, from == 0, &err);
    }
    if (rc < 0) {
        set_reason(trial, err.text);
    }
    return rc == 0;
}

static int make_place(kiln_trial *trial, kiln_error *err)
{
    trial->bundle = kiln_trial_bundle(trial->spec.task, trial->spec.folder);
    if (asprintf(&trial->made, "%s/made", trial->spec.folder) < 0) {
        trial->made = NULL;
    }
    if (trial->bundle == NULL || trial->made == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    trial->made_fd =
        mkdir(trial->made, 0700) < 0 ? -1 : open(trial->made, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return trial->made_fd < 0 ? kiln_error_errno(err, errno, "%s", trial->made) : 0;
}

/* Refused before anything ran: told like any other end, and from the loop. */
static void end_early(uv_timer_t *timer)
{
    end(timer->data);
}

int kiln_trial_start(const kiln_trial_spec *spec, void (*done)(void *user, json_t *report),
                     void *user, kiln_trial **out, kiln_error *err)
{
    kiln_trial *trial = calloc(1, sizeof(*trial));
    struct timespec now;
    if (trial == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    *trial = (kiln_trial){.spec = *spec, .scenario = spec->task->scenario, .made_fd = -1};
    trial->started_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    trial->done = done;
    trial->user = user;
    uv_timer_init(spec->loop, &trial->later);
    trial->later.data = trial;
    trial->differences = json_array();
    trial->files = json_object();
    trial->report = json_pack("{s:b, s:s, s:n, s:o, s:s, s:o, s:b}", "passed", 0, "status",
                              "unavailable", "reason", "differences", trial->differences,
                              "stderr", "", "files", trial->files, "ran", 0);
    int rc = trial->report == NULL ? kiln_error_set(err, ENOMEM, "out of memory")
                                   : make_place(trial, err);
    rc = rc < 0 ? rc : kiln_session_open(spec->engine, NULL, &trial->session, err);
    if (rc < 0) {
        free_trial(trial);
        return rc;
    }
    *out = trial;
    if (!start_next(trial)) {
        set_reason(trial, "the notebook has no cell to run");
        uv_timer_start(&trial->later, end_early, 0, 0);
    }
    return 0;
}

void kiln_trial_cancel(kiln_trial *trial)
{
    trial->cancelled = true;
    set_reason(trial, "interrupted");
    if (trial->execution != NULL) {
        kiln_execution_cancel(trial->execution);
    }
}
