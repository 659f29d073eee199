#include "eval/suite.h"

#include "base/cleanup.h"
#include "files/folder.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

typedef struct entry {
    kiln_suite *suite;
    size_t index;
    unsigned started, ended;
    json_t *outcome;
    json_t *contents; /* name -> hash of the first run's file */
    char *folder;     /* of the last run */
} entry;

typedef struct running {
    kiln_suite *suite;
    entry *of;
    kiln_trial *trial;
    char *folder;
    unsigned number;
    struct running *next;
} running;

struct kiln_suite {
    kiln_suite_spec spec;
    entry *entries;
    running *running;
    unsigned in_flight;
    size_t next; /* the first entry that has runs to start */
    size_t told;
    unsigned folders;
    bool cancelled;
    uv_timer_t later;
};

static const char *name_of(const kiln_scenario *scenario)
{
    const char *name = kiln_scenario_text(scenario, KILN_SCENARIO_NAME);
    return name != NULL ? name : scenario->id;
}

static void drop_folder(char *folder)
{
    if (folder != NULL) {
        kiln_folder_remove(folder);
    }
    free(folder);
}

static void on_freed(uv_handle_t *handle)
{
    free(handle->data);
}

static void free_suite(kiln_suite *suite)
{
    for (size_t i = 0; i < suite->spec.count; i++) {
        json_decref(suite->entries[i].outcome);
        json_decref(suite->entries[i].contents);
        drop_folder(suite->entries[i].folder);
    }
    free(suite->entries);
    uv_close((uv_handle_t *)&suite->later, on_freed);
}

/* ---- outcomes */

static json_t *new_outcome(const kiln_scenario *scenario)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:b, s:s, s:n, s:f, s:i, s:[], s:s, s:[]}", "name",
                     name_of(scenario), "id", scenario->id, "file", scenario->place.where,
                     "line", (int)scenario->place.line, "passed", 1, "status", "ok", "reason",
                     "duration_ms", 0.0, "runs", 0, "differences", "stderr", "", "unstable");
}

static bool holds(const json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (strcmp(json_string_value(json_array_get(list, i)), name) == 0) {
            return true;
        }
    }
    return false;
}

/* Files that are not what they were in the first run, or not there, or new. */
static void note_unstable(entry *of, json_t *files)
{
    json_t *unstable = json_object_get(of->outcome, "unstable");
    const char *name;
    json_t *hash;
    if (of->contents == NULL) {
        of->contents = json_incref(files);
        return;
    }
    json_object_foreach(files, name, hash)
    {
        if (!json_equal(json_object_get(of->contents, name), hash) && !holds(unstable, name)) {
            json_array_append_new(unstable, json_string(name));
        }
    }
    json_object_foreach(of->contents, name, hash)
    {
        if (json_object_get(files, name) == NULL && !holds(unstable, name)) {
            json_array_append_new(unstable, json_string(name));
        }
    }
}

/* The first run that failed is the one that is told. */
static void take_report(entry *of, json_t *report, unsigned number)
{
    static const char *const copied[] = {"status", "differences", "stderr", "ran"};
    json_t *outcome = of->outcome;
    double total = json_number_value(json_object_get(outcome, "duration_ms")) +
                   json_number_value(json_object_get(report, "duration_ms"));
    json_object_set_new(outcome, "duration_ms", json_real(total));
    json_object_set_new(outcome, "runs", json_integer(of->ended));
    note_unstable(of, json_object_get(report, "files"));
    bool first = !json_is_true(json_object_get(outcome, "ran"));
    if (!json_is_true(json_object_get(outcome, "passed")) ||
        (json_is_true(json_object_get(report, "passed")) && !first)) {
        return;
    }
    for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++) {
        json_object_set(outcome, copied[i], json_object_get(report, copied[i]));
    }
    if (json_is_true(json_object_get(report, "passed"))) {
        return;
    }
    const char *reason = json_string_value(json_object_get(report, "reason"));
    json_object_set_new(outcome, "passed", json_false());
    json_object_set_new(
        outcome, "reason",
        of->suite->spec.repeat > 1
            ? json_sprintf("run %u of %u: %s", number, of->suite->spec.repeat, reason)
            : json_string(reason));
}

/* In the order of the list, whatever order they end in. */
static void tell(kiln_suite *suite)
{
    while (suite->told < suite->spec.count) {
        entry *of = &suite->entries[suite->told];
        if (of->ended < suite->spec.repeat) {
            return;
        }
        auto_free char *bundle =
            of->folder != NULL ? kiln_trial_bundle(&suite->spec.tasks[of->index], of->folder)
                               : NULL;
        suite->spec.on_scenario(suite->spec.user, of->index, of->outcome, bundle);
        drop_folder(kiln_steal(of->folder));
        suite->told++;
    }
}

/* ---- running */

static void start_more(kiln_suite *suite);

static void go_on(uv_timer_t *timer)
{
    kiln_suite *suite = timer->data;
    tell(suite);
    start_more(suite);
    if (suite->in_flight == 0 && (suite->cancelled || suite->told == suite->spec.count)) {
        void (*done)(void *user) = suite->spec.on_done;
        void *user = suite->spec.user;
        free_suite(suite);
        done(user);
    }
}

static void settle(running *run, json_t *report)
{
    kiln_suite *suite = run->suite;
    entry *of = run->of;
    running **place = &suite->running;
    while (*place != run) {
        place = &(*place)->next;
    }
    *place = run->next;
    suite->in_flight--;
    of->ended++;
    take_report(of, report, run->number);
    drop_folder(of->folder);
    of->folder = run->folder;
    free(run);
    uv_timer_start(&suite->later, go_on, 0, 0);
}

static void on_trial(void *user, json_t *report)
{
    settle(user, report);
}

static int start_trial(running *run, kiln_error *err)
{
    kiln_suite *suite = run->suite;
    if (asprintf(&run->folder, "%s/%u", suite->spec.folder, suite->folders++) < 0) {
        run->folder = NULL;
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    if (mkdir(run->folder, 0700) < 0) {
        return kiln_error_errno(err, errno, "%s", run->folder);
    }
    const kiln_trial_spec spec = {
        .loop = suite->spec.loop,
        .engine = suite->spec.engine,
        .task = &suite->spec.tasks[run->of->index],
        .folder = run->folder,
        .seed = suite->spec.seed,
    };
    return kiln_trial_start(&spec, on_trial, run, &run->trial, err);
}

/* False: no memory. */
static bool start_one(kiln_suite *suite, entry *of)
{
    kiln_error err = KILN_ERROR_INIT;
    running *run = calloc(1, sizeof(*run));
    if (run == NULL) {
        return false;
    }
    *run = (running){.suite = suite, .of = of, .number = ++of->started, .next = suite->running};
    suite->running = run;
    suite->in_flight++;
    if (start_trial(run, &err) < 0) {
        auto_json json_t *report = json_pack("{s:b, s:s, s:s, s:[], s:s, s:{}, s:b}", "passed",
                                             0, "status", "unavailable", "reason", err.text,
                                             "differences", "stderr", "", "files", "ran", 0);
        settle(run, report);
    }
    return true;
}

static void start_more(kiln_suite *suite)
{
    while (!suite->cancelled && suite->in_flight < suite->spec.jobs &&
           suite->next < suite->spec.count) {
        entry *of = &suite->entries[suite->next];
        if (of->started == suite->spec.repeat) {
            suite->next++;
        } else if (!start_one(suite, of)) {
            suite->cancelled = true;
        }
    }
}

int kiln_suite_start(const kiln_suite_spec *spec, kiln_suite **out, kiln_error *err)
{
    kiln_suite *suite = calloc(1, sizeof(*suite));
    entry *entries = calloc(spec->count + 1, sizeof(*entries));
    bool good = suite != NULL && entries != NULL;
    for (size_t i = 0; good && i < spec->count; i++) {
        entries[i] = (entry){.suite = suite, .index = i};
        entries[i].outcome = new_outcome(spec->tasks[i].scenario);
        good = entries[i].outcome != NULL;
    }
    if (!good) {
        for (size_t i = 0; entries != NULL && i < spec->count; i++) {
            json_decref(entries[i].outcome);
        }
        free(entries);
        free(suite);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    *suite = (kiln_suite){.spec = *spec, .entries = entries};
    uv_timer_init(spec->loop, &suite->later);
    suite->later.data = suite;
    uv_timer_start(&suite->later, go_on, 0, 0);
    *out = suite;
    return 0;
}

void kiln_suite_cancel(kiln_suite *suite)
{
    suite->cancelled = true;
    for (running *run = suite->running; run != NULL; run = run->next) {
        kiln_trial_cancel(run->trial);
    }
    uv_timer_start(&suite->later, go_on, 0, 0);
}

void kiln_suite_progress(const kiln_suite *suite, size_t *over, const char **name)
{
    *over = 0;
    for (size_t i = 0; i < suite->spec.count; i++) {
        *over += suite->entries[i].ended == suite->spec.repeat;
    }
    *name = suite->running != NULL
                ? name_of(suite->spec.tasks[suite->running->of->index].scenario)
                : NULL;
}
