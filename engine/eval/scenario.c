#include "eval/scenario.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "config/config.h"
#include "config/reader.h"
#include "contract/input.h"
#include "eval/normal.h"
#include "files/read.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum { SCENARIOS_MAX = 20000 };

#define DAY_MS (24ULL * 60 * 60 * 1000)

const kiln_key kiln_scenario_keys[] = {
    {"name", KILN_OPTION_STRING, KILN_KEY_EMPTY, "",
     "What reports call it. Empty: NAME of [scenario NAME].", 0, 0, NULL},
    {"instruction", KILN_OPTION_STRING, KILN_KEY_EMPTY, "",
     "What is asked for, in words. Without code, command and notebook the chain's policies\n"
     "are asked for code by it: the first that has an `instruct` function answers.",
     0, 0, NULL},
    {"source_of_truth", KILN_OPTION_STRING, KILN_KEY_EMPTY, "",
     "The file that everything is made from; an input file like the others.", 0, 0, NULL},
    {"code", KILN_OPTION_STRING, KILN_KEY_EMPTY, "",
     "The script that is run: a file, or connection:NAME/OWNER/REPO@REF:PATH.", 0, 0, NULL},
    {"command", KILN_OPTION_STRING, KILN_KEY_EMPTY, "",
     "In place of `code` a line that bash runs, in the sandbox.", 0, 0, NULL},
    {"notebook", KILN_OPTION_STRING, KILN_KEY_EMPTY, "",
     "In place of `code` a notebook, all of whose cells are run in one session.", 0, 0, NULL},
    {"inputs", KILN_OPTION_LIST, KILN_KEY_EMPTY, "",
     "Files for the work directory: FILE, NAME=FILE, FOLDER/, connection:...", 0, 0, NULL},
    {"expected", KILN_TYPE_PATH, KILN_KEY_EMPTY, "",
     "Folder with the canonical bundle: every file that the run has to make.", 0, 0, NULL},
    {"bundle", KILN_OPTION_STRING, KILN_KEY_EMPTY, "",
     "Folder in the work directory that holds the bundle; what is made elsewhere is not\n"
     "looked at. Empty: all files that were made or changed.",
     0, 0, NULL},
    {"language", KILN_OPTION_STRING, KILN_KEY_EMPTY, "",
     "Of the code. Empty: by its file's extension.", 0, 0, NULL},
    {"backend", KILN_OPTION_STRING, KILN_KEY_EMPTY, "", "A wish: the policies decide.", 0, 0,
     NULL},
    {"chain", KILN_OPTION_STRING, KILN_KEY_EMPTY, "", "Another chain of policies.", 0, 0, NULL},
    {"args", KILN_OPTION_LIST, KILN_KEY_EMPTY, "", "Arguments of the code.", 0, 0, NULL},
    {"stdin", KILN_TYPE_PATH, KILN_KEY_EMPTY, "", "The file that it reads as standard input.",
     0, 0, NULL},
    {"stdout", KILN_OPTION_STRING, KILN_KEY_EMPTY, "",
     "Name under which standard output is a file of the bundle, as text. Empty: it is not\n"
     "looked at.",
     0, 0, NULL},
    {"exit_status", KILN_OPTION_INTEGER, 0, "0", "The exit status that it has to end with.", 0,
     255, NULL},
    {"timeout", KILN_OPTION_DURATION, KILN_KEY_EMPTY, "",
     "Wall clock for it. Empty: [limits] timeout.", 1, 365 * DAY_MS, NULL},
    {"epoch", KILN_OPTION_INTEGER, 0, "946684800",
     "SOURCE_DATE_EPOCH of its environment, the time that files of the bundle should tell:\n"
     "seconds since 1970. Each run also has TZ=UTC, LC_ALL=C.UTF-8 and PYTHONHASHSEED.",
     0, 253402300799, NULL},
    {"normalise", KILN_OPTION_LIST, KILN_KEY_EMPTY, "",
     "How files are compared that need not be equal byte for byte, HOW:PATTERN each, by the\n"
     "first that fits: lines (line ends), json (as JSON values), pixels (PNG pictures), mask\n"
     "(after `mask`), lines+mask. As in json:*.json mask:reports/*.md.",
     0, 0, NULL},
    {"mask", KILN_OPTION_LIST, KILN_KEY_EMPTY, "",
     "Regular expressions (PCRE); what matches one counts as equal. As in "
     "'\\d{4}-\\d\\d-\\d\\d'\n"
     "for dates.",
     0, 0, NULL},
    {NULL, 0, 0, NULL, NULL, 0, 0, NULL},
};

typedef struct reading {
    kiln_scenarios *scenarios;
    const char *file; /* the arena's */
    const char *base;
    const char *stem;
    kiln_scenario *current;
    size_t first; /* of this file, in the list */
} reading;

static int out_of_memory(kiln_error *err)
{
    return kiln_error_set(err, ENOMEM, "out of memory for the scenarios");
}

const char *const *kiln_scenario_words(const kiln_scenario *scenario, kiln_scenario_key key)
{
    static const char *const none[] = {NULL};
    return scenario->values[key].words != NULL ? scenario->values[key].words : none;
}

/* ---- what a scenario must be as a whole */

static int key_error(const kiln_scenario *scenario, kiln_scenario_key key, kiln_error *err)
{
    char text[sizeof(err->text)];
    memcpy(text, err->text, sizeof(text));
    return kiln_place_error(err, &scenario->places[key], "%s: %s", kiln_scenario_keys[key].name,
                            text);
}

static int check(const kiln_scenario *scenario, kiln_error *err)
{
    static const kiln_scenario_key ways[] = {KILN_SCENARIO_CODE, KILN_SCENARIO_COMMAND,
                                             KILN_SCENARIO_NOTEBOOK};
    static const kiln_scenario_key names[] = {KILN_SCENARIO_BUNDLE, KILN_SCENARIO_STDOUT};
    kiln_scenario_key first = KILN_SCENARIO_KEYS;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        if (kiln_scenario_text(scenario, ways[i]) == NULL) {
            continue;
        }
        if (first != KILN_SCENARIO_KEYS) {
            return kiln_place_error(
                err, &scenario->places[ways[i]], "[scenario %s] has both %s and %s; keep one",
                scenario->id, kiln_scenario_keys[first].name, kiln_scenario_keys[ways[i]].name);
        }
        first = ways[i];
    }
    if (first == KILN_SCENARIO_KEYS &&
        kiln_scenario_text(scenario, KILN_SCENARIO_INSTRUCTION) == NULL) {
        return kiln_place_error(
            err, &scenario->place,
            "[scenario %s] says nothing to run: add code, command, notebook "
            "or instruction",
            scenario->id);
    }
    if (kiln_scenario_text(scenario, KILN_SCENARIO_EXPECTED) == NULL) {
        return kiln_place_error(err, &scenario->place,
                                "[scenario %s] lacks \"expected\"; name the folder of the "
                                "canonical bundle",
                                scenario->id);
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *name = kiln_scenario_text(scenario, names[i]);
        if (name != NULL && kiln_file_name_check(name, err) < 0) {
            return key_error(scenario, names[i], err);
        }
    }
    kiln_normal *normal = NULL;
    kiln_scenario_key wrong = KILN_SCENARIO_NORMALISE;
    int rc = kiln_normal_new(kiln_scenario_words(scenario, KILN_SCENARIO_NORMALISE),
                             kiln_scenario_words(scenario, KILN_SCENARIO_MASK), &normal, err);
    if (rc == -EDOM) { /* the masks' fault */
        wrong = KILN_SCENARIO_MASK;
    }
    kiln_normal_free(normal);
    return rc < 0 ? key_error(scenario, wrong, err) : 0;
}

static int check_current(reading *r, kiln_error *err)
{
    return r->current != NULL ? check(r->current, err) : 0;
}

/* ---- lines */

static int set(reading *r, size_t key, const char *text, const kiln_place *place,
               kiln_error *err)
{
    kiln_value *value = &r->current->values[key];
    int rc = kiln_value_parse(&kiln_scenario_keys[key], text, place->base, &r->scenarios->arena,
                              value, err);
    if (rc < 0 && rc != -ENOMEM) {
        char sentence[sizeof(err->text)];
        memcpy(sentence, err->text, sizeof(sentence));
        return kiln_place_error(err, place, "%s", sentence);
    }
    r->current->places[key] = *place;
    return rc;
}

static int new_scenario(reading *r, const char *id, const kiln_place *place, kiln_error *err)
{
    kiln_scenarios *all = r->scenarios;
    if (all->count == SCENARIOS_MAX) {
        return kiln_place_error(err, place, "more than %d scenarios; run them in parts",
                                SCENARIOS_MAX);
    }
    if (all->count % 64 == 0) {
        kiln_scenario **grown = reallocarray(all->list, all->count + 64, sizeof(*grown));
        if (grown == NULL) {
            return out_of_memory(err);
        }
        all->list = grown;
    }
    kiln_scenario *made = kiln_arena_alloc(&all->arena, sizeof(*made));
    char *own = kiln_arena_text(&all->arena, id, strlen(id));
    if (made == NULL || own == NULL) {
        return out_of_memory(err);
    }
    *made = (kiln_scenario){.id = own, .place = *place};
    r->current = made;
    const kiln_place none = {KILN_FROM_DEFAULT, place->where, 0, place->base};
    for (size_t i = 0; i < KILN_SCENARIO_KEYS; i++) {
        int rc = set(r, i, kiln_scenario_keys[i].default_value, &none, err);
        if (rc < 0) {
            return rc;
        }
    }
    all->list[all->count++] = made;
    return 0;
}

static int on_section(void *user, const char *name, unsigned line, kiln_error *err)
{
    reading *r = user;
    const kiln_place place = {KILN_FROM_FILE, r->file, line, r->base};
    static const char *const known[] = {"scenario", NULL};
    int rc = check_current(r, err);
    if (rc < 0) {
        return rc;
    }
    size_t length = strcspn(name, " ");
    if (length != 8 || strncmp(name, "scenario", 8) != 0) {
        char word[KILN_INI_SECTION_MAX + 2];
        snprintf(word, sizeof(word), "%.*s", (int)length, name);
        bool near = kiln_near_match(word, known) != NULL;
        return kiln_place_error(err, &place, "unknown section [%.*s]%s", KILN_SHOWN(name),
                                near ? ", did you mean [scenario NAME]?"
                                     : "; there is [scenario NAME]");
    }
    const char *id = name[8] == ' ' ? name + 9 : r->stem;
    for (size_t i = r->first; i < r->scenarios->count; i++) {
        if (strcmp(r->scenarios->list[i]->id, id) == 0) {
            return kiln_place_error(err, &place, "[scenario %s] again, it begins at line %u",
                                    id, r->scenarios->list[i]->place.line);
        }
    }
    return new_scenario(r, id, &place, err);
}

static int unknown_key(const kiln_scenario *scenario, const char *key, const kiln_place *place,
                       kiln_error *err)
{
    const char *names[KILN_SCENARIO_KEYS + 1];
    for (size_t i = 0; i <= KILN_SCENARIO_KEYS; i++) {
        names[i] = kiln_scenario_keys[i].name;
    }
    const char *near = kiln_near_match(key, names);
    return kiln_place_error(
        err, place, "unknown key \"%s\" in [scenario %s]%s%s%s", key, scenario->id,
        near == NULL ? ", see `kiln eval --reference`" : ", did you mean \"",
        near == NULL ? "" : near, near == NULL ? "" : "\"?");
}

static int on_entry(void *user, const char *key, const char *value, unsigned line,
                    kiln_error *err)
{
    reading *r = user;
    const kiln_place place = {KILN_FROM_FILE, r->file, line, r->base};
    if (r->current == NULL) {
        return kiln_place_error(
            err, &place, "\"%s\" before the first section; put it below [scenario NAME]", key);
    }
    for (size_t i = 0; i < KILN_SCENARIO_KEYS; i++) {
        if (strcmp(kiln_scenario_keys[i].name, key) != 0) {
            continue;
        }
        if (r->current->places[i].line != 0) {
            return kiln_place_error(err, &place, "\"%s\" again, it is set at line %u; keep one",
                                    key, r->current->places[i].line);
        }
        return set(r, i, value, &place, err);
    }
    return unknown_key(r->current, key, &place, err);
}

static int read_text(reading *r, const char *data, size_t length, kiln_error *err)
{
    const kiln_ini_handler handler = {on_section, on_entry, r};
    r->first = r->scenarios->count;
    int rc = kiln_ini_parse(r->file, data, length, &handler, err);
    rc = rc < 0 ? rc : check_current(r, err);
    if (rc == 0 && r->scenarios->count == r->first) {
        rc = kiln_error_set(err, EINVAL, "%s: holds no [scenario NAME]", r->file);
    }
    return rc;
}

int kiln_scenarios_read_memory(kiln_scenarios *scenarios, const char *label, const char *data,
                               size_t length, kiln_error *err)
{
    reading r = {.scenarios = scenarios, .base = "/", .stem = "memory"};
    r.file = kiln_arena_text(&scenarios->arena, label, strlen(label));
    return r.file == NULL ? out_of_memory(err) : read_text(&r, data, length, err);
}

/* ---- files */

static int read_file(kiln_scenarios *scenarios, const char *path, kiln_error *err)
{
    auto_buffer kiln_buffer bytes = KILN_BUFFER_INIT;
    char folder[PATH_MAX], stem[256];
    const char *slash = strrchr(path, '/');
    const char *last = slash != NULL ? slash + 1 : path;
    size_t length = strlen(last);
    length = length > 4 && strcmp(last + length - 4, ".ini") == 0 ? length - 4 : length;
    snprintf(stem, sizeof(stem), "%.*s", (int)length, last);
    auto_free char *whole = realpath(path, NULL);
    if (whole == NULL) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    snprintf(folder, sizeof(folder), "%s", whole);
    char *end = strrchr(folder, '/');
    end[end == folder] = '\0';
    int rc = kiln_read_file(path, KILN_INI_FILE_MAX, &bytes, err);
    if (rc < 0) {
        return rc;
    }
    reading r = {.scenarios = scenarios, .stem = stem};
    r.file = kiln_arena_text(&scenarios->arena, path, strlen(path));
    r.base = kiln_arena_text(&scenarios->arena, folder, strlen(folder));
    if (r.file == NULL || r.base == NULL) {
        return out_of_memory(err);
    }
    return read_text(&r, bytes.data != NULL ? bytes.data : "", bytes.length, err);
}

static int is_ini(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return entry->d_name[0] != '.' && length > 4 &&
           strcmp(entry->d_name + length - 4, ".ini") == 0;
}

int kiln_scenarios_read(kiln_scenarios *scenarios, const char *path, kiln_error *err)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    if (!S_ISDIR(st.st_mode)) {
        return read_file(scenarios, path, err);
    }
    struct dirent **entries;
    int count = scandir(path, &entries, is_ini, alphasort);
    if (count < 0) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    int rc = count == 0 ? kiln_error_set(err, ENOENT, "%s: holds no *.ini", path) : 0;
    for (int i = 0; i < count; i++) {
        char name[PATH_MAX];
        size_t length = strlen(path);
        snprintf(name, sizeof(name), "%s%s%s", path,
                 length > 0 && path[length - 1] == '/' ? "" : "/", entries[i]->d_name);
        rc = rc < 0 ? rc : read_file(scenarios, name, err);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

void kiln_scenarios_free(kiln_scenarios *scenarios)
{
    free(kiln_steal(scenarios->list));
    kiln_arena_free(&scenarios->arena);
    scenarios->count = 0;
}

char *kiln_scenarios_reference(void)
{
    auto_buffer kiln_buffer out = KILN_BUFFER_INIT;
    kiln_buffer_printf(&out, "# A scenario of `kiln eval`: several may stand in one file. "
                             "Relative paths begin at its\n# folder. Keys that are not given "
                             "have the value that stands here.\n[scenario NAME]\n");
    for (const kiln_key *key = kiln_scenario_keys; key->name != NULL; key++) {
        kiln_buffer_printf(&out, "\n");
        for (const char *line = key->help; *line != '\0';) {
            size_t length = strcspn(line, "\n");
            kiln_buffer_printf(&out, "# %.*s\n", (int)length, line);
            line += length + (line[length] == '\n');
        }
        kiln_buffer_printf(&out, "%s =%s%s\n", key->name,
                           key->default_value[0] != '\0' ? " " : "", key->default_value);
    }
    return kiln_steal(out.data);
}
