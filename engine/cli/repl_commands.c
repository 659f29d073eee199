/* Lines that begin with ":", and "name?". */
#include "cli/repl.h"

#include "base/cleanup.h"
#include "base/write.h"
#include "cli/source.h"
#include "contract/input.h"
#include "notebook/ipynb.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>

typedef struct repl_command {
    const char *name;
    const char *arguments;
    const char *summary;
    int least, most; /* arguments */
    /* true: kiln_repl_next is called later, by what was begun. */
    bool (*run)(kiln_repl *repl, char **words, int count);
} repl_command;

static const repl_command commands[];

static void complain(kiln_repl *repl, const kiln_error *err)
{
    kiln_terminal_note(&repl->terminal, "%s", err->text);
}

/* 12.3M */
const char *kiln_repl_size(double bytes, char text[24])
{
    static const char units[] = "BKMGT";
    int unit = 0;
    while (bytes >= 1024 && units[unit + 1] != '\0') {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, 24, unit == 0 ? "%.0f%c" : "%.1f%c", bytes, units[unit]);
    return text;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* ---- sessions */

static bool run_help(kiln_repl *repl, char **words, int count)
{
    (void)words, (void)count;
    for (const repl_command *command = commands; command->name != NULL; command++) {
        char left[64];
        snprintf(left, sizeof(left), ":%s %s", command->name, command->arguments);
        kiln_repl_say(repl, "  %-27s %s\n", left, command->summary);
    }
    kiln_repl_say(repl, "  %-27s what a name is; NAME?? also shows its source\n", "NAME?");
    kiln_repl_say(repl, "Tab completes, Ctrl-C stops the running cell (a second one kills it), "
                        "Ctrl-D or exit leaves.\n");
    return false;
}

static bool run_sessions(kiln_repl *repl, char **words, int count)
{
    auto_json json_t *list = kiln_sessions_list(repl->engine);
    size_t i;
    json_t *session;
    (void)words, (void)count;
    kiln_repl_say(repl, "  %-20s %-8s %6s %9s %9s  %s\n", "session", "state", "cells", "memory",
                  "files", "last used");
    json_array_foreach(list, i, session)
    {
        char memory[24] = "?", disk[24];
        const json_t *bytes = json_object_get(session, "memory_bytes");
        const char *id = text_of(session, "id");
        if (json_is_integer(bytes)) {
            kiln_repl_size((double)json_integer_value(bytes), memory);
        }
        kiln_repl_size((double)json_integer_value(json_object_get(session, "disk_bytes")),
                       disk);
        kiln_repl_say(repl, "%c %-20s %-8s %6lld %9s %9s  %.19s\n",
                      strcmp(id, kiln_session_id(repl->session)) == 0 ? '*' : ' ', id,
                      text_of(session, "state"),
                      (long long)json_integer_value(json_object_get(session, "executions")),
                      memory, disk, text_of(session, "last_used_at"));
    }
    return false;
}

static bool run_switch(kiln_repl *repl, char **words, int count)
{
    kiln_error err = KILN_ERROR_INIT;
    (void)count;
    bool there = kiln_session_find(repl->engine, words[0]) != NULL;
    if (kiln_repl_switch(repl, words[0], &err) < 0) {
        complain(repl, &err);
    } else {
        kiln_repl_say(repl, "%s session %s\n", there ? "switched to" : "opened", words[0]);
    }
    return false;
}

/* The notebook begins anew: what is there now, its cells have not made. */
static void give_all(kiln_repl *repl)
{
    kiln_error unused = KILN_ERROR_INIT;
    auto_json json_t *files = kiln_session_files(repl->session, &unused); /* NULL: none yet */
    size_t i;
    json_t *file;
    json_array_foreach(files, i, file)
    {
        json_object_set_new(kiln_repl_given(repl), text_of(file, "name"), json_true());
    }
}

static void on_forked(void *user, kiln_session *session, const kiln_error *err)
{
    kiln_repl *repl = user;
    kiln_error failed = KILN_ERROR_INIT;
    repl->forking = false;
    if (repl->closing) {
        return;
    }
    if (session == NULL) {
        complain(repl, err);
        kiln_repl_next(repl);
        return;
    }
    auto_json json_t *cells = json_deep_copy(kiln_repl_notebook(repl));
    auto_json json_t *displays = json_deep_copy(kiln_repl_displays(repl));
    auto_json json_t *given = json_copy(kiln_repl_given(repl));
    auto_free char *from = strdup(kiln_session_id(repl->session));
    if (kiln_repl_switch(repl, kiln_session_id(session), &failed) < 0) {
        complain(repl, &failed);
    } else {
        kiln_session_hold(session, true);
        json_object_set(repl->notebooks, kiln_session_id(session), cells);
        json_object_set(repl->displays, kiln_session_id(session), displays);
        json_object_set(repl->given, kiln_session_id(session), given);
        kiln_repl_say(repl, "session %s goes on from where %s is, and is used now\n",
                      kiln_session_id(session), from);
    }
    kiln_repl_next(repl);
}

static bool run_fork(kiln_repl *repl, char **words, int count)
{
    kiln_error err = KILN_ERROR_INIT;
    (void)count;
    repl->forking = true;
    if (kiln_session_fork(repl->session, words[0], on_forked, repl, &err) < 0) {
        repl->forking = false;
        complain(repl, &err);
        return false;
    }
    return true;
}

static bool run_restart(kiln_repl *repl, char **words, int count)
{
    (void)words, (void)count;
    give_all(repl);
    kiln_session_restart(repl->session);
    json_array_clear(kiln_repl_notebook(repl));
    kiln_repl_say(repl, "session %s: state is gone, files are kept\n",
                  kiln_session_id(repl->session));
    return false;
}

static bool run_close(kiln_repl *repl, char **words, int count)
{
    kiln_session *session =
        count > 0 ? kiln_session_find(repl->engine, words[0]) : repl->session;
    if (session == NULL) {
        kiln_terminal_note(&repl->terminal, "there is no session %s: :sessions lists them",
                           words[0]);
    } else if (session == repl->session) {
        kiln_terminal_note(&repl->terminal, "session %s is in use: :switch to another first",
                           kiln_session_id(session));
    } else {
        json_object_del(repl->notebooks, words[0]);
        json_object_del(repl->displays, words[0]);
        json_object_del(repl->given, words[0]);
        kiln_session_close(session);
        kiln_repl_say(repl, "closed session %s\n", words[0]);
    }
    return false;
}

/* ---- files */

static bool run_files(kiln_repl *repl, char **words, int count)
{
    kiln_error err = KILN_ERROR_INIT;
    auto_json json_t *files = kiln_session_files(repl->session, &err);
    size_t i;
    json_t *file;
    (void)words, (void)count;
    if (files == NULL) {
        complain(repl, &err);
        return false;
    }
    json_array_foreach(files, i, file)
    {
        char size[24];
        kiln_repl_say(
            repl, "%9s  %s\n",
            kiln_repl_size((double)json_integer_value(json_object_get(file, "size")), size),
            text_of(file, "name"));
    }
    if (json_array_size(files) == 0) {
        kiln_repl_say(repl, "no files\n");
    }
    return false;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* At most what a session's file system holds. */
static int copy_out(int from, const char *path, long long *total, kiln_error *err)
{
    auto_close int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644);
    auto_free char *chunk = malloc(1 << 18);
    if (to < 0 || chunk == NULL) {
        return kiln_error_errno(err, to < 0 ? errno : ENOMEM, "%s", path);
    }
    for (;;) {
        ssize_t got = read(from, chunk, 1 << 18);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        int rc = got < 0 ? -errno : kiln_write_all(to, chunk, (size_t)got);
        if (rc < 0) {
            return kiln_error_errno(err, rc, "%s", path);
        }
        if (got == 0) {
            return 0;
        }
        *total += got;
    }
}

static bool run_get(kiln_repl *repl, char **words, int count)
{
    kiln_error err = KILN_ERROR_INIT;
    const char *to = count > 1 ? words[1] : base_name(words[0]);
    long long total = 0;
    char size[24];
    auto_close int from = kiln_session_file_open(repl->session, words[0], &err);
    if (from < 0 || copy_out(from, to, &total, &err) < 0) {
        complain(repl, &err);
    } else {
        kiln_repl_say(repl, "%s: %s\n", to, kiln_repl_size((double)total, size));
    }
    return false;
}

static bool run_put(kiln_repl *repl, char **words, int count)
{
    kiln_error err = KILN_ERROR_INIT;
    const char *name = count > 1 ? words[1] : base_name(words[0]);
    if (kiln_session_file_put(repl->session, name, words[0], &err) < 0) {
        complain(repl, &err);
    } else {
        json_object_set_new(kiln_repl_given(repl), name, json_true());
        kiln_repl_say(repl, "%s is in the session's work directory\n", name);
    }
    return false;
}

/* ---- notebooks */

int kiln_repl_write_notebook(kiln_repl *repl, const char *path, kiln_error *err)
{
    bool python = strcmp(repl->language, "python") == 0;
    auto_json json_t *root =
        json_pack("{s:O, s:{s:{s:s, s:s, s:s}, s:{s:s}, s:{s:O}}, s:i, s:i}", "cells",
                  kiln_repl_notebook(repl), "metadata", "kernelspec", "display_name",
                  python ? "Python 3" : repl->language, "language", repl->language, "name",
                  python ? "python3" : repl->language, "language_info", "name", repl->language,
                  "kiln", "given", kiln_repl_given(repl), "nbformat", 4, "nbformat_minor", 5);
    const kiln_ipynb notebook = {.root = root, .minor = 5};
    return root != NULL ? kiln_ipynb_write(&notebook, path, err)
                        : kiln_error_set(err, ENOMEM, "out of memory");
}

static bool run_save(kiln_repl *repl, char **words, int count)
{
    kiln_error err = KILN_ERROR_INIT;
    auto_free char *path = NULL;
    (void)count;
    if (asprintf(&path, kiln_is_notebook(words[0]) ? "%s" : "%s.ipynb", words[0]) < 0) {
        path = NULL;
        return false;
    }
    if (kiln_repl_write_notebook(repl, path, &err) < 0) {
        complain(repl, &err);
    } else {
        kiln_repl_say(repl, "%s: %zu cells\n", path, json_array_size(kiln_repl_notebook(repl)));
    }
    return false;
}

static bool holds_error(const kiln_ipynb_cell *cell)
{
    size_t i;
    json_t *output;
    json_array_foreach(json_object_get(cell->json, "outputs"), i, output)
    {
        if (strcmp(text_of(output, "output_type"), "error") == 0) {
            return true;
        }
    }
    return false;
}

void kiln_repl_queue_notebook(kiln_repl *repl, const kiln_ipynb *notebook, bool failed_before)
{
    for (size_t i = 0; i < notebook->count; i++) {
        const kiln_ipynb_cell *cell = &notebook->cells[i];
        if (!cell->skip && strspn(cell->source, " \t\r\n\f\v") != cell->source_length) {
            json_array_append_new(repl->queue, json_pack("{s:s%, s:b}", "source", cell->source,
                                                         cell->source_length, "may_fail",
                                                         failed_before && holds_error(cell)));
        }
    }
}

static int load_notebook(kiln_repl *repl, const char *path, kiln_error *err)
{
    kiln_ipynb *notebook;
    int rc = kiln_ipynb_read(path, &notebook, err);
    if (rc == 0) {
        kiln_repl_queue_notebook(repl, notebook, false);
        kiln_ipynb_free(notebook);
    }
    return rc;
}

static int load_script(kiln_repl *repl, const char *path, kiln_error *err)
{
    auto_buffer kiln_buffer code = KILN_BUFFER_INIT;
    int rc = kiln_source_read(path, "code", KILN_CODE_MAX, &code, err);
    json_t *text = rc == 0 && code.length > 0
                       ? json_pack("{s:s%}", "source", code.data, code.length)
                       : NULL;
    if (rc == 0 && code.length > 0 && text == NULL) {
        return kiln_error_set(err, EINVAL, "%s: is not UTF-8", path);
    }
    if (text != NULL) {
        json_array_append_new(repl->queue, text);
    }
    return rc;
}

static bool run_load(kiln_repl *repl, char **words, int count)
{
    kiln_error err = KILN_ERROR_INIT;
    (void)count;
    int rc = kiln_is_notebook(words[0]) ? load_notebook(repl, words[0], &err)
                                        : load_script(repl, words[0], &err);
    if (rc < 0) {
        complain(repl, &err);
    }
    return false; /* what is queued is run before the next line is read */
}

/* ---- whole sessions */

static bool run_archive(kiln_repl *repl, char **words, int count)
{
    kiln_repl_archive(repl, count > 0 ? words[0] : ".");
    return true;
}

static bool run_restore(kiln_repl *repl, char **words, int count)
{
    kiln_repl_restore_from(repl, words[0], count > 1 ? words[1] : NULL);
    return true;
}

/* ---- the rest */

static bool run_vars(kiln_repl *repl, char **words, int count)
{
    (void)words, (void)count;
    return kiln_repl_variables(repl);
}

static bool run_time(kiln_repl *repl, char **words, int count)
{
    repl->timing = count > 0 ? strcasecmp(words[0], "off") != 0 : !repl->timing;
    kiln_repl_say(repl, "each cell's time is %s\n", repl->timing ? "told" : "not told");
    return false;
}

static bool run_quit(kiln_repl *repl, char **words, int count)
{
    (void)words, (void)count;
    kiln_repl_quit(repl);
    return false;
}

static const repl_command commands[] = {
    {"help", "", "this list", 0, 0, run_help},
    {"sessions", "", "the sessions that are open", 0, 0, run_sessions},
    {"switch", "NAME", "uses another session; opens it when there is none", 1, 1, run_switch},
    {"fork", "NAME", "a second session with this one's state and files; uses it", 1, 1,
     run_fork},
    {"restart", "", "forgets the state, keeps the files", 0, 0, run_restart},
    {"close", "NAME", "ends another session, its files too", 1, 1, run_close},
    {"vars", "", "variables, with type, size and a short value", 0, 0, run_vars},
    {"files", "", "files in the session's work directory", 0, 0, run_files},
    {"get", "FILE [TO]", "copies a file of the session here", 1, 2, run_get},
    {"put", "FILE [NAME]", "copies a file from here into the session", 1, 2, run_put},
    {"save", "NOTEBOOK.ipynb", "writes the session's cells and outputs", 1, 1, run_save},
    {"load", "FILE", "runs a script, or every cell of a notebook, here", 1, 1, run_load},
    {"archive", "[DIR]", "saves the session, cells and files, as one archive", 0, 1,
     run_archive},
    {"restore", "ARCHIVE [SESSION]", "puts its files here and runs its cells again", 1, 2,
     run_restore},
    {"time", "[on|off]", "tells how long each cell took", 0, 1, run_time},
    {"quit", "", "leaves", 0, 0, run_quit},
    {NULL, NULL, NULL, 0, 0, NULL},
};

/* Words between blanks; quotes keep blanks in one. -EINVAL: a quote is not closed, or there
 * are more than `most`. Cuts `text` up. */
static int split(char *text, char **words, int most)
{
    int count = 0;
    for (char *at = text; *at != '\0';) {
        at += strspn(at, " \t");
        if (*at == '\0') {
            break;
        }
        if (count == most) {
            return -EINVAL;
        }
        char quote = *at == '"' || *at == '\'' ? *at : '\0';
        char *end = quote != '\0' ? strchr(at + 1, quote) : at + strcspn(at, " \t");
        if (end == NULL) {
            return -EINVAL;
        }
        words[count++] = quote != '\0' ? at + 1 : at;
        at = *end != '\0' ? end + 1 : end;
        *end = '\0';
    }
    return count;
}

static void unknown(kiln_repl *repl, const char *name)
{
    const char *names[sizeof(commands) / sizeof(commands[0])];
    size_t count = 0;
    for (const repl_command *command = commands; command->name != NULL; command++) {
        names[count++] = command->name;
    }
    names[count] = NULL;
    const char *near = kiln_near_match(name, names);
    if (near != NULL) {
        kiln_terminal_note(&repl->terminal, "unknown command \":%s\", did you mean \":%s\"?",
                           name, near);
    } else {
        kiln_terminal_note(&repl->terminal, "unknown command \":%s\": :help lists them", name);
    }
}

static bool run_command(kiln_repl *repl, char *text)
{
    char *words[3];
    size_t length = strcspn(text, " \t");
    char *rest = text[length] != '\0' ? text + length + 1 : text + length;
    text[length] = '\0';
    const repl_command *command = commands;
    while (command->name != NULL && strcmp(command->name, text) != 0 &&
           !(strcmp(text, "q") == 0 && strcmp(command->name, "quit") == 0)) {
        command++;
    }
    if (command->name == NULL) {
        unknown(repl, text);
        return false;
    }
    int count = split(rest, words, command->most);
    if (count < command->least) {
        kiln_terminal_note(&repl->terminal, "write it :%s %s", command->name,
                           command->arguments);
        return false;
    }
    return command->run(repl, words, count);
}

void kiln_repl_command(kiln_repl *repl, const char *line)
{
    auto_free char *text = strdup(line + 1);
    if (repl->editor != NULL) {
        kiln_editor_remember(repl->editor, line);
    }
    if (text == NULL || !run_command(repl, text)) {
        kiln_repl_next(repl);
    }
}
