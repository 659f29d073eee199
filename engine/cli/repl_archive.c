/* A whole session into one archive, and back: session.ipynb, its cells with their outputs,
 * and work/, the files of its work directory.
 *
 * The memory of a process is not saved: the state comes back by running the cells again. The
 * first one finds the files that no cell made (:put), as it did at first; when the last one
 * has ended, the work directory is made what the archive holds. */
#include "cli/repl.h"

#include "base/cleanup.h"
#include "bundle/bundle.h"
#include "cli/command.h"
#include "connection/inputs.h"
#include "files/beneath.h"
#include "files/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define NOTEBOOK "session.ipynb"
#define WORK     "work/"

struct kiln_repl_restore {
    char *archive;   /* as it was named */
    char *temporary; /* what it held */
    json_t *names;   /* {name: true}: files of the work directory */
    json_t *given;   /* those of them that are there before the first cell */
    size_t cells, ended;
};

static void complain(kiln_repl *repl, const kiln_error *err)
{
    kiln_terminal_note(&repl->terminal, "%s", err->text);
    if (repl->editor == NULL && repl->status == KILN_EXIT_OK) {
        repl->status = KILN_EXIT_USAGE;
    }
}

/* NULL: out of memory. Caller frees. */
static char *join(const char *folder, const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

/* Where files are on their way: a new folder of ours. */
static char *make_temporary(kiln_error *err)
{
    const char *folder = getenv("TMPDIR");
    char *path;
    if (asprintf(&path, "%s/kiln-session-XXXXXX",
                 folder != NULL && folder[0] == '/' ? folder : "/tmp") < 0) {
        kiln_error_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    if (mkdtemp(path) == NULL) {
        kiln_error_errno(err, errno, "%s: cannot be made", path);
        free(path);
        return NULL;
    }
    return path;
}

static void remove_temporary(char **path)
{
    if (*path != NULL) {
        kiln_folder_remove(*path);
        free(*path);
    }
}
#define auto_temporary __attribute__((cleanup(remove_temporary)))

static void begin(kiln_repl *repl, void (*task)(kiln_repl *), const char *word, const char *id)
{
    free(repl->task_word);
    free(repl->task_id);
    repl->task_word = strdup(word);
    repl->task_id = id != NULL ? strdup(id) : NULL;
    if (repl->task_word == NULL || (id != NULL && repl->task_id == NULL)) {
        kiln_terminal_note(&repl->terminal, "out of memory");
        kiln_repl_next(repl);
        return;
    }
    repl->task = task;
    uv_stop(&repl->loop);
}

/* ---- :archive */

static void tell_left_out(void *user, const char *name, const char *why)
{
    kiln_repl *repl = user;
    kiln_terminal_note(&repl->terminal, "left out: %s: %s", name, why);
}

/* The session, as files below `folder`. */
static int write_out(kiln_repl *repl, const char *folder, json_t *files, kiln_error *err)
{
    auto_free char *notebook = join(folder, NOTEBOOK);
    auto_free char *work = join(folder, WORK);
    if (notebook == NULL || work == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    int rc = kiln_repl_write_notebook(repl, notebook, err);
    if (rc < 0 || mkdir(work, 0700) < 0) {
        return rc < 0 ? rc : kiln_error_errno(err, errno, "%s", work);
    }
    auto_close int fd = open(work, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return kiln_error_errno(err, errno, "%s", work);
    }
    rc = kiln_session_files_collect(repl->session, fd, work, files, tell_left_out, repl, err);
    return rc == -ENOENT ? 0 : rc; /* no cell was let run: there is no work directory */
}

static int archive(kiln_repl *repl, kiln_error *err)
{
    size_t cells = json_array_size(kiln_repl_notebook(repl));
    auto_json json_t *files = json_array();
    auto_free char *path = NULL;
    kiln_inputs inputs = {.count = 0};
    if (cells == 0) {
        return kiln_error_set(err, EINVAL, "session %s has run no cell: there is none to save",
                              kiln_session_id(repl->session));
    }
    auto_temporary char *folder = make_temporary(err);
    if (folder == NULL) {
        return err->code;
    }
    int rc = write_out(repl, folder, files, err);
    auto_free char *word = join(folder, ""); /* all of it */
    rc = rc == 0 && word == NULL ? kiln_error_set(err, ENOMEM, "out of memory") : rc;
    rc = rc < 0 ? rc
                : kiln_inputs_add(&inputs, kiln_engine_config(repl->engine), word, NULL, err);
    rc = rc < 0 ? rc
                : kiln_archive_save(repl->engine, &repl->loop, &inputs, repl->task_word, &path,
                                    err);
    kiln_inputs_free(&inputs);
    if (rc == 0) {
        kiln_repl_say(repl, "%s: %zu cells, %zu files\n", path, cells, json_array_size(files));
    }
    return rc;
}

static void run_archive(kiln_repl *repl)
{
    kiln_error err = KILN_ERROR_INIT;
    if (archive(repl, &err) < 0) {
        complain(repl, &err);
    }
    kiln_repl_next(repl);
}

void kiln_repl_archive(kiln_repl *repl, const char *folder)
{
    begin(repl, run_archive, folder, NULL);
}

/* ---- :restore, what the archive holds */

void kiln_repl_restore_free(kiln_repl *repl)
{
    kiln_repl_restore *restore = repl->restore;
    free(kiln_steal(repl->task_word));
    free(kiln_steal(repl->task_id));
    if (restore != NULL) {
        repl->restore = NULL;
        remove_temporary(&restore->temporary);
        free(restore->archive);
        json_decref(restore->names);
        json_decref(restore->given);
        free(restore);
    }
}

/* All of it, or nothing: what :archive made holds nothing that is left out. */
static int open_archive(kiln_repl *repl, const kiln_repl_restore *restore, kiln_error *err)
{
    auto_json json_t *left_out = NULL;
    size_t count;
    int rc = kiln_archive_restore(repl->engine, &repl->loop, restore->archive,
                                  restore->temporary, &left_out, &count, err);
    if (rc == 0 && json_array_size(left_out) > 0) {
        rc = kiln_error_set(err, EINVAL, "%s: is refused: %s", restore->archive,
                            json_string_value(json_array_get(left_out, 0)));
    }
    return rc;
}

static int take_names(const kiln_repl_restore *restore, kiln_error *err)
{
    __attribute__((cleanup(kiln_folder_free))) kiln_folder all = KILN_FOLDER_INIT;
    int rc = kiln_folder_read(restore->temporary, &all, err);
    for (size_t i = 0; rc == 0 && i < all.count; i++) {
        const char *name = all.entries[i].name;
        bool work = strncmp(name, WORK, strlen(WORK)) == 0;
        if (all.entries[i].oddity != NULL || !kiln_name_is_plain(name) ||
            (!work && strcmp(name, NOTEBOOK) != 0)) {
            char shown[160];
            rc = kiln_error_set(
                err, EINVAL, "%s: is no session that :archive saved: it holds %s",
                restore->archive, kiln_printable_name(name, shown, sizeof(shown)));
        } else if (work &&
                   json_object_set_new(restore->names, name + strlen(WORK), json_true()) < 0) {
            rc = kiln_error_set(err, ENOMEM, "out of memory");
        }
    }
    return rc;
}

static kiln_ipynb *read_notebook(const kiln_repl *repl, const kiln_repl_restore *restore,
                                 kiln_error *err)
{
    auto_free char *path = join(restore->temporary, NOTEBOOK);
    kiln_ipynb *notebook;
    if (path == NULL) {
        kiln_error_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    if (access(path, F_OK) < 0) {
        kiln_error_set(err, EINVAL,
                       "%s: is no session that :archive saved: it has no " NOTEBOOK,
                       restore->archive);
        return NULL;
    }
    if (kiln_ipynb_read(path, &notebook, err) < 0) {
        kiln_error inner = *err; /* our temporary folder is nothing to the user */
        const char *why = inner.text;
        why += strncmp(why, path, strlen(path)) == 0 ? strlen(restore->temporary) + 1 : 0;
        kiln_error_set(err, inner.code, "%s: %s", restore->archive, why);
        return NULL;
    }
    if (strcmp(notebook->language, repl->language) != 0) {
        kiln_error_set(err, EINVAL, "%s: is a session of another language: kiln repl -l %s",
                       restore->archive, notebook->language);
        kiln_ipynb_free(notebook);
        return NULL;
    }
    return notebook;
}

static void take_given(const kiln_repl_restore *restore, const kiln_ipynb *notebook)
{
    const json_t *kiln = json_object_get(json_object_get(notebook->root, "metadata"), "kiln");
    const char *name;
    json_t *unused;
    json_object_foreach(json_object_get(kiln, "given"), name, unused)
    {
        if (json_object_get(restore->names, name) != NULL) {
            json_object_set_new(restore->given, name, json_true());
        }
    }
}

/* The session that is restored into is in use then. */
static int choose_session(kiln_repl *repl, const char *id, kiln_error *err)
{
    kiln_error none = KILN_ERROR_INIT;
    auto_json json_t *files = id == NULL ? kiln_session_files(repl->session, &none) : NULL;
    if (id != NULL && kiln_session_find(repl->engine, id) != NULL) {
        return kiln_error_set(err, EEXIST, "session %s is there already: name a new one", id);
    }
    if (id != NULL) {
        return kiln_repl_switch(repl, id, err);
    }
    if (json_array_size(kiln_repl_notebook(repl)) > 0 || json_array_size(files) > 0 ||
        kiln_session_executions(repl->session) > 0) {
        return kiln_error_set(err, EEXIST,
                              "session %s is in use: name a new one, :restore ARCHIVE SESSION",
                              kiln_session_id(repl->session));
    }
    return 0;
}

static int restore_cells(kiln_repl *repl, kiln_repl_restore *restore, kiln_error *err)
{
    int rc = open_archive(repl, restore, err);
    rc = rc < 0 ? rc : take_names(restore, err);
    kiln_ipynb *notebook = rc < 0 ? NULL : read_notebook(repl, restore, err);
    if (notebook == NULL) {
        return err->code;
    }
    take_given(restore, notebook);
    kiln_repl_queue_notebook(repl, notebook, true);
    kiln_ipynb_free(notebook);
    restore->cells = json_array_size(repl->queue);
    rc = restore->cells > 0 ? choose_session(repl, repl->task_id, err)
                            : kiln_error_set(err, EINVAL, "%s: its notebook has no code cell",
                                             restore->archive);
    if (rc < 0) {
        json_array_clear(repl->queue);
    } else {
        json_object_update(kiln_repl_given(repl), restore->given);
    }
    return rc;
}

static void run_restore(kiln_repl *repl)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_repl_restore *restore = repl->restore = calloc(1, sizeof(*restore));
    int rc = restore == NULL ? kiln_error_set(&err, ENOMEM, "out of memory") : 0;
    if (rc == 0) {
        restore->archive = strdup(repl->task_word);
        restore->names = json_object();
        restore->given = json_object();
        restore->temporary = make_temporary(&err);
        rc = restore->temporary == NULL ? err.code
             : restore->archive == NULL || restore->names == NULL || restore->given == NULL
                 ? kiln_error_set(&err, ENOMEM, "out of memory")
                 : restore_cells(repl, restore, &err);
    }
    if (rc < 0) {
        complain(repl, &err);
        kiln_repl_restore_free(repl);
        if (repl->starting) {
            repl->status = KILN_EXIT_USAGE;
            kiln_repl_quit(repl);
            return;
        }
    }
    repl->starting = false;
    kiln_repl_next(repl);
}

void kiln_repl_restore_from(kiln_repl *repl, const char *archive, const char *id)
{
    begin(repl, run_restore, archive, id);
}

/* ---- :restore, while its cells run and after */

static char *path_of(const kiln_repl_restore *restore, const char *name)
{
    char *path;
    return asprintf(&path, "%s/" WORK "%s", restore->temporary, name) < 0 ? NULL : path;
}

int kiln_repl_restore_inputs(kiln_repl *repl, kiln_request *request)
{
    const kiln_repl_restore *restore = repl->restore;
    const char *name;
    json_t *unused;
    int rc = 0;
    if (restore == NULL || restore->ended > 0) {
        return 0;
    }
    json_object_foreach(restore->given, name, unused)
    {
        auto_free char *path = path_of(restore, name);
        rc = rc < 0         ? rc
             : path == NULL ? -ENOMEM
                            : kiln_request_add_file(request, name, path, NULL, 0, NULL);
    }
    return rc;
}

/* A file that is the same is left alone: a variable may have it open. */
static bool same_content(int a, int b)
{
    char left[65536], right[sizeof(left)];
    struct stat one, other;
    if (fstat(a, &one) < 0 || fstat(b, &other) < 0 || one.st_size != other.st_size) {
        return false;
    }
    for (off_t at = 0; at < one.st_size;) {
        ssize_t got = pread(a, left, sizeof(left), at);
        if (got <= 0 || pread(b, right, (size_t)got, at) != got ||
            memcmp(left, right, (size_t)got) != 0) {
            return false;
        }
        at += got;
    }
    return true;
}

static int put_back(kiln_repl *repl, const char *name, kiln_error *err)
{
    kiln_error unused = KILN_ERROR_INIT;
    auto_free char *path = path_of(repl->restore, name);
    if (path == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    auto_close int there = kiln_session_file_open(repl->session, name, &unused);
    auto_close int saved = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return there >= 0 && saved >= 0 && same_content(there, saved)
               ? 0
               : kiln_session_file_put(repl->session, name, path, err);
}

static int put_all_back(kiln_repl *repl, kiln_error *err)
{
    const char *name;
    json_t *unused;
    int rc = kiln_session_files_keep_only(repl->session, repl->restore->names, err);
    if (rc == -ENOENT && json_object_size(repl->restore->names) == 0) {
        return 0; /* no cell was let run, as before */
    }
    json_object_foreach(repl->restore->names, name, unused)
    {
        rc = rc < 0 ? rc : put_back(repl, name, err);
    }
    return rc;
}

void kiln_repl_restore_ended(kiln_repl *repl, bool failed)
{
    kiln_repl_restore *restore = repl->restore;
    kiln_error err = KILN_ERROR_INIT;
    restore->ended++;
    if (!failed && restore->ended < restore->cells) {
        kiln_repl_next(repl);
        return;
    }
    if (failed) {
        kiln_error_set(&err, ECANCELED,
                       "%s: stopped, cell %zu of %zu failed or was stopped: session %s has the "
                       "state and the files of the cells up to it",
                       restore->archive, restore->ended, restore->cells,
                       kiln_session_id(repl->session));
        json_array_clear(repl->queue);
        complain(repl, &err);
    } else if (put_all_back(repl, &err) < 0) {
        complain(repl, &err);
    } else {
        kiln_repl_say(repl, "session %s: %zu cells run again, %zu files as they were saved\n",
                      kiln_session_id(repl->session), restore->cells,
                      json_object_size(restore->names));
    }
    kiln_repl_restore_free(repl);
    kiln_repl_next(repl);
}
