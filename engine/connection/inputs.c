#include "connection/inputs.h"

#include "base/cleanup.h"
#include "connection/fetch.h"
#include "contract/input.h"
#include "files/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

enum { LEFT_OUT_TOLD = 10 };

typedef struct waiting {
    kiln_inputs *inputs;
    const kiln_origin *origin;
    json_t *files;
    kiln_fetch *running;
    bool ended;
    kiln_error *err;
    int rc;
} waiting;

/* Without these a signal would end us, and leave git to itself. */
static const int signal_numbers[] = {SIGINT, SIGTERM, SIGHUP};
enum { SIGNALS = sizeof(signal_numbers) / sizeof(signal_numbers[0]) };

static void on_signal(uv_signal_t *handle, int number)
{
    waiting *wait = handle->data;
    if (!wait->ended) {
        wait->ended = true;
        wait->rc = kiln_error_set(wait->err, EINTR, "interrupted by signal %d", number);
        kiln_fetch_cancel(wait->running);
    }
    uv_stop(handle->loop);
}

/* A kiln_error's text is one line, whatever a name holds. */
static void tell(const kiln_inputs *inputs, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void tell(const kiln_inputs *inputs, const char *format, ...)
{
    char text[900];
    kiln_error line = KILN_ERROR_INIT;
    va_list args;
    if (inputs->notice == NULL) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    kiln_error_set(&line, EINVAL, "%s", text);
    inputs->notice(inputs->user, line.text);
}

static void on_fetched(void *user, const kiln_fetched *fetched, const kiln_error *err)
{
    waiting *wait = user;
    wait->ended = true;
    if (fetched == NULL) {
        *wait->err = *err;
        wait->rc = err->code;
        return;
    }
    wait->files = json_incref(fetched->files);
    if (fetched->notice != NULL) {
        tell(wait->inputs, "%s", fetched->notice);
    }
    size_t i, count = json_array_size(fetched->left_out);
    json_t *entry;
    json_array_foreach(fetched->left_out, i, entry)
    {
        if (i == LEFT_OUT_TOLD) {
            tell(wait->inputs, "%s: %zu more were left out", wait->origin->repository,
                 count - i);
            break;
        }
        tell(wait->inputs, "%s: %s was left out: it %s", wait->origin->repository,
             json_string_value(json_object_get(entry, "name")),
             json_string_value(json_object_get(entry, "why")));
    }
}

static int make_folder(kiln_inputs *inputs, char **made, kiln_error *err)
{
    const char *base = getenv("TMPDIR");
    if (inputs->folder == NULL) {
        if (asprintf(&inputs->folder, "%s/kiln-inputs-XXXXXX",
                     base != NULL && base[0] == '/' ? base : "/tmp") < 0) {
            inputs->folder = NULL;
            return kiln_error_set(err, ENOMEM, "out of memory");
        }
        if (mkdtemp(inputs->folder) == NULL) {
            int failure = errno;
            kiln_error_errno(err, failure, "%s", inputs->folder);
            free(kiln_steal(inputs->folder));
            return err->code;
        }
    }
    if (asprintf(made, "%s/%u", inputs->folder, inputs->fetches++) < 0) {
        *made = NULL;
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    return mkdir(*made, 0700) < 0 ? kiln_error_errno(err, errno, "%s", *made) : 0;
}

static int wait_for(waiting *wait, const kiln_config *config, const kiln_origin *origin, int fd,
                    kiln_error *err)
{
    uv_loop_t loop;
    uv_signal_t signals[SIGNALS];
    if (uv_loop_init(&loop) < 0) {
        return kiln_error_set(err, ENOMEM, "cannot make an event loop");
    }
    for (int i = 0; i < SIGNALS; i++) {
        uv_signal_init(&loop, &signals[i]);
        signals[i].data = wait;
        uv_signal_start(&signals[i], on_signal, signal_numbers[i]);
        uv_unref((uv_handle_t *)&signals[i]);
    }
    int rc = kiln_fetch_start(&loop, config, origin, fd, on_fetched, wait, &wait->running, err);
    if (rc == 0) {
        uv_run(&loop, UV_RUN_DEFAULT);
        if (!wait->ended) {
            rc = kiln_error_set(err, EIO, "the fetch was lost: nothing is left to wait for");
        }
    }
    for (int i = 0; i < SIGNALS; i++) {
        uv_close((uv_handle_t *)&signals[i], NULL);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return rc;
}

/* Names below *folder, new reference. */
static int fetch(kiln_inputs *inputs, const kiln_config *config, const kiln_origin *origin,
                 char **folder, json_t **files, kiln_error *err)
{
    int rc = make_folder(inputs, folder, err);
    auto_close int fd = rc < 0 ? -1 : open(*folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (rc == 0 && fd < 0) {
        rc = kiln_error_errno(err, errno, "%s", *folder);
    }
    if (rc < 0) {
        return rc;
    }
    waiting wait = {.inputs = inputs, .origin = origin, .err = err};
    rc = wait_for(&wait, config, origin, fd, err);
    *files = wait.files;
    return rc < 0 ? rc : wait.rc;
}

/* ---- what there is */

static int add(kiln_inputs *inputs, char *name, char *path, kiln_error *err)
{
    kiln_input_place *grown =
        name != NULL && path != NULL
            ? reallocarray(inputs->files, inputs->count + 1, sizeof(*grown))
            : NULL;
    if (grown != NULL) {
        inputs->files = grown;
    }
    int rc = grown == NULL ? kiln_error_set(err, ENOMEM, "out of memory")
                           : kiln_file_name_check(name, err);
    for (size_t i = 0; rc == 0 && i < inputs->count; i++) {
        if (strcmp(inputs->files[i].name, name) == 0) {
            rc = kiln_error_set(err, EINVAL,
                                "two input files would be named \"%s\": give one another name "
                                "by NAME=FILE",
                                name);
        }
    }
    if (rc < 0) {
        free(name);
        free(path);
        return rc;
    }
    inputs->files[inputs->count++] = (kiln_input_place){name, path};
    return 0;
}

static char *join(const char *folder, const char *name)
{
    char *path;
    return asprintf(&path, "%s%s%s", folder, folder[0] != '\0' ? "/" : "", name) < 0 ? NULL
                                                                                     : path;
}

/* The files of a folder, below `name` when there is one. */
static int add_folder(kiln_inputs *inputs, const char *path, const char *name, kiln_error *err)
{
    __attribute__((cleanup(kiln_folder_free))) kiln_folder folder = KILN_FOLDER_INIT;
    int rc = kiln_folder_read(path, &folder, err);
    for (size_t i = 0; rc == 0 && i < folder.count; i++) {
        const kiln_folder_entry *entry = &folder.entries[i];
        if (entry->oddity != NULL) {
            rc = kiln_error_set(err, EINVAL, "%s is %s: only regular files can be input files",
                                entry->name, entry->oddity);
        } else {
            rc = add(inputs, join(name, entry->name), join(path, entry->name), err);
        }
    }
    return rc;
}

static int check_host_file(const char *path, bool *folder, kiln_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    *folder = S_ISDIR(st.st_mode);
    return *folder || S_ISREG(st.st_mode)
               ? 0
               : kiln_error_set(err, -EINVAL, "is not a regular file, name one");
}

static int add_local(kiln_inputs *inputs, const char *path, const char *name, const char *base,
                     kiln_error *err)
{
    auto_free char *whole = base != NULL && path[0] != '/' ? join(base, path) : strdup(path);
    if (whole == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    size_t length = strlen(whole);
    bool slash = length > 1 && whole[length - 1] == '/';
    bool folder = false;
    int rc = check_host_file(whole, &folder, err);
    if (rc < 0) {
        return rc;
    }
    if (folder != slash) {
        return folder ? kiln_error_set(err, -EINVAL,
                                       "is a directory, name a regular file, or end it with "
                                       "\"/\" for all files in it")
                      : kiln_error_set(err, -EINVAL, "is no directory");
    }
    if (folder) {
        whole[length - 1] = '\0';
        return add_folder(inputs, whole, name != NULL ? name : "", err);
    }
    const char *last = strrchr(whole, '/');
    char *own = strdup(name != NULL ? name : last != NULL ? last + 1 : whole);
    return add(inputs, own, kiln_steal(whole), err);
}

static int add_origin(kiln_inputs *inputs, const kiln_config *config, const kiln_origin *origin,
                      const char *name, const char *base, kiln_error *err)
{
    if (origin->kind == KILN_ORIGIN_FILE) {
        auto_free char *path = join(origin->path, "");
        if (path == NULL) {
            return kiln_error_set(err, ENOMEM, "out of memory");
        }
        if (!origin->folder) {
            path[strlen(origin->path)] = '\0';
        }
        return add_local(inputs, path, name, base, err);
    }
    auto_free char *folder = NULL;
    auto_json json_t *files = NULL;
    int rc = fetch(inputs, config, origin, &folder, &files, err);
    size_t i;
    json_t *file;
    json_array_foreach(files, i, file)
    {
        const char *from = json_string_value(file);
        if (rc == 0) {
            char *own = !origin->folder && name != NULL ? strdup(name)
                        : name != NULL                  ? join(name, from)
                                                        : strdup(from);
            rc = add(inputs, own, join(folder, from), err);
        }
    }
    return rc;
}

const char *kiln_inputs_split(const char *word, size_t *name_length)
{
    const char *equals = strchr(word, '=');
    *name_length = 0;
    if (equals == NULL || word[0] == '/' || strncmp(word, "./", 2) == 0 ||
        strncmp(word, "../", 3) == 0 || kiln_origin_is(word)) {
        return word;
    }
    *name_length = (size_t)(equals - word);
    return equals + 1;
}

static int add_word(kiln_inputs *inputs, const kiln_config *config, const char *rest,
                    const char *name, const char *base, kiln_error *err)
{
    if (!kiln_origin_is(rest)) {
        return add_local(inputs, rest, name, base, err);
    }
    kiln_origin origin;
    int rc = kiln_origin_parse(rest, &origin, err);
    rc = rc < 0 ? rc : add_origin(inputs, config, &origin, name, base, err);
    kiln_origin_free(&origin);
    return rc;
}

int kiln_inputs_add(kiln_inputs *inputs, const kiln_config *config, const char *word,
                    const char *base, kiln_error *err)
{
    size_t length;
    const char *rest = kiln_inputs_split(word, &length);
    auto_free char *name = rest != word ? strndup(word, length) : NULL;
    if (rest != word && name == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    if (name != NULL && kiln_file_name_check(name, err) < 0) {
        return err->code;
    }
    return add_word(inputs, config, rest, name, base, err);
}

int kiln_inputs_file(kiln_inputs *inputs, const kiln_config *config, const char *word,
                     const char *base, char **path, kiln_error *err)
{
    kiln_inputs one = {.folder = inputs->folder,
                       .fetches = inputs->fetches,
                       .notice = inputs->notice,
                       .user = inputs->user};
    int rc = add_word(&one, config, word, NULL, base, err);
    inputs->folder = kiln_steal(one.folder);
    inputs->fetches = one.fetches;
    if (rc == 0 && one.count != 1) {
        rc = kiln_error_set(err, EINVAL, "%s: is a folder, name a file in it", word);
    }
    if (rc == 0) {
        *path = kiln_steal(one.files[0].path);
    }
    kiln_inputs_free(&one);
    return rc;
}

void kiln_inputs_free(kiln_inputs *inputs)
{
    for (size_t i = 0; i < inputs->count; i++) {
        free(inputs->files[i].name);
        free(inputs->files[i].path);
    }
    free(kiln_steal(inputs->files));
    inputs->count = 0;
    if (inputs->folder != NULL) {
        kiln_folder_remove(inputs->folder);
        free(kiln_steal(inputs->folder));
    }
}
