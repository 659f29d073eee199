#include "cli/editor.h"

#include "base/cleanup.h"
#include "files/beneath.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <readline/history.h>
#include <readline/readline.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

enum {
    HISTORY_MAX = 2000,  /* entries that are kept */
    MATCHES_SHOWN = 200, /* at one time */
    INDENT = 4,
};

#define LIBRARY "libreadline.so.8"

/* What is used of the library, by its own names. */
#define FUNCTIONS(X)                                                                           \
    X(rl_callback_handler_install)                                                             \
    X(rl_callback_handler_remove)                                                              \
    X(rl_callback_read_char)                                                                   \
    X(rl_callback_sigcleanup)                                                                  \
    X(rl_free_line_state)                                                                      \
    X(rl_replace_line)                                                                         \
    X(rl_delete_text)                                                                          \
    X(rl_insert_text)                                                                          \
    X(rl_redisplay)                                                                            \
    X(rl_forced_update_display)                                                                \
    X(rl_display_match_list)                                                                   \
    X(rl_crlf)                                                                                 \
    X(rl_bind_key)                                                                             \
    X(rl_variable_bind)                                                                        \
    X(rl_resize_terminal)                                                                      \
    X(rl_deprep_terminal)                                                                      \
    X(rl_prep_terminal)                                                                        \
    X(add_history)                                                                             \
    X(append_history)                                                                          \
    X(history_truncate_file)                                                                   \
    X(read_history)                                                                            \
    X(stifle_history)                                                                          \
    X(using_history)
#define VARIABLES(X)                                                                           \
    X(rl_catch_signals)                                                                        \
    X(rl_catch_sigwinch)                                                                       \
    X(rl_instream)                                                                             \
    X(rl_line_buffer)                                                                          \
    X(rl_point)                                                                                \
    X(rl_readline_name)                                                                        \
    X(history_write_timestamps)                                                                \
    X(history_comment_char)

static struct {
#define FUNCTION(name) __typeof__(name) *name;
#define VARIABLE(name) __typeof__(name) *name;
    FUNCTIONS(FUNCTION)
    VARIABLES(VARIABLE)
} lib;

struct kiln_editor {
    uv_loop_t *loop;
    kiln_editor_callbacks callbacks;
    void *user;
    void *handle;
    char *history;
    FILE *input; /* the terminal, opened anew: libuv makes its descriptor non-blocking */
    uv_poll_t *poll;
    uv_signal_t *signals[2]; /* SIGWINCH, SIGTSTP */
    bool reading;
    char *asked; /* the line that on_tab was called for */
    int asked_point;
};

/* The library's callbacks take no user pointer: a process has one terminal. */
static kiln_editor *the_editor;

static int load(kiln_editor *editor, kiln_error *err)
{
    const char *missing = NULL;
    editor->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (editor->handle == NULL) {
        return kiln_error_set(err, ENOENT, "no line editing: %s: install libreadline8",
                              dlerror());
    }
#define LOAD(name)                                                                             \
    *(void **)&lib.name = dlsym(editor->handle, #name);                                        \
    missing = lib.name == NULL ? #name : missing;
    FUNCTIONS(LOAD)
    VARIABLES(LOAD)
    return missing == NULL
               ? 0
               : kiln_error_set(err, ENOENT, "no line editing: " LIBRARY " has no %s", missing);
}

/* ---- history */

/* Only ours to read: what people type holds secrets. */
static int open_history(const char *path, kiln_error *err)
{
    auto_free char *folder = strdup(path);
    char *slash = folder != NULL ? strrchr(folder, '/') : NULL;
    if (slash != NULL) {
        for (char *at = strchr(folder + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
            *at = '\0';
            if (mkdir(folder, 0700) < 0 && errno != EEXIST) {
                return kiln_error_errno(err, errno, "history: %s", folder);
            }
            *at = '/';
        }
        *slash = '\0';
        if (mkdir(folder, 0700) < 0 && errno != EEXIST) {
            return kiln_error_errno(err, errno, "history: %s", folder);
        }
    }
    auto_close int fd =
        open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        return kiln_error_errno(err, errno, "history: %s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return kiln_error_set(err, EINVAL, "history: %s: is not a regular file", path);
    }
    return fchmod(fd, 0600) < 0 ? kiln_error_errno(err, errno, "history: %s", path) : 0;
}

void kiln_editor_remember(kiln_editor *editor, const char *cell)
{
    lib.add_history(cell);
    if (editor->history != NULL) {
        lib.append_history(1, editor->history);
    }
}

/* ---- lines */

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)poll, (void)status, (void)events;
    lib.rl_callback_read_char();
}

static void rest(kiln_editor *editor)
{
    if (editor->reading) {
        editor->reading = false;
        uv_poll_stop(editor->poll);
        lib.rl_callback_handler_remove();
    }
}

static void on_line(char *line)
{
    kiln_editor *editor = the_editor;
    rest(editor);
    editor->callbacks.on_line(editor->user, line);
    free(line);
}

void kiln_editor_prompt(kiln_editor *editor, const char *prompt, const char *text)
{
    rest(editor);
    lib.rl_callback_handler_install(prompt, on_line);
    editor->reading = true;
    if (text != NULL && *text != '\0') {
        lib.rl_insert_text(text);
        lib.rl_redisplay();
    }
    uv_poll_start(editor->poll, UV_READABLE, on_readable);
}

bool kiln_editor_reads(const kiln_editor *editor)
{
    return editor->reading;
}

void kiln_editor_stop(kiln_editor *editor)
{
    if (editor->reading) {
        lib.rl_callback_sigcleanup(); /* out of a search or a numeric argument */
        lib.rl_free_line_state();
        lib.rl_replace_line("", 0);
        rest(editor);
    }
}

/* ---- Tab */

static int on_tab(int count, int key)
{
    kiln_editor *editor = the_editor;
    const char *line = *lib.rl_line_buffer;
    int point = *lib.rl_point;
    (void)count, (void)key;
    const char *start = line + point;
    while (start > line && start[-1] != '\n') {
        start--;
    }
    if (strspn(start, " \t") >= (size_t)(line + point - start)) {
        char spaces[INDENT + 1];
        snprintf(spaces, sizeof(spaces), "%*s", INDENT, "");
        lib.rl_insert_text(spaces);
        return 0;
    }
    free(editor->asked);
    editor->asked = strdup(line);
    editor->asked_point = point;
    if (editor->asked != NULL) {
        editor->callbacks.on_tab(editor->user, line, (size_t)point);
    }
    return 0;
}

/* Bytes that all of them begin with, whole characters. */
static size_t common_prefix(const json_t *matches)
{
    const char *first = json_string_value(json_array_get(matches, 0));
    size_t length = strlen(first);
    for (size_t i = 1; i < json_array_size(matches); i++) {
        const char *other = json_string_value(json_array_get(matches, i));
        size_t same = 0;
        while (same < length && other[same] == first[same]) {
            same++;
        }
        length = same;
    }
    while (length > 0 && ((unsigned char)first[length] & 0xc0) == 0x80) {
        length--;
    }
    return length;
}

static void show_matches(const json_t *matches)
{
    size_t count = json_array_size(matches);
    size_t shown = count > MATCHES_SHOWN ? MATCHES_SHOWN : count;
    char more[64];
    auto_free char **list = calloc(shown + 3, sizeof(*list)); /* [0] is not shown */
    size_t widest = 0;
    if (list == NULL) {
        return;
    }
    for (size_t i = 0; i < shown; i++) {
        list[i + 1] = (char *)(uintptr_t)json_string_value(json_array_get(matches, i));
        widest = strlen(list[i + 1]) > widest ? strlen(list[i + 1]) : widest;
    }
    if (shown < count) {
        snprintf(more, sizeof(more), "... %zu more", count - shown);
        list[++shown] = more;
    }
    list[0] = list[1];
    lib.rl_display_match_list(list, (int)shown, (int)widest);
    lib.rl_forced_update_display();
}

static void replace(kiln_editor *editor, size_t from, const char *text, size_t length)
{
    auto_free char *piece = strndup(text, length);
    if (piece != NULL) {
        lib.rl_delete_text((int)from, editor->asked_point);
        *lib.rl_point = (int)from;
        lib.rl_insert_text(piece);
        lib.rl_redisplay();
    }
}

void kiln_editor_complete(kiln_editor *editor, size_t from, const json_t *matches)
{
    size_t i;
    json_t *match;
    auto_free char *asked = kiln_steal(editor->asked);
    if (!editor->reading || asked == NULL || strcmp(asked, *lib.rl_line_buffer) != 0 ||
        *lib.rl_point != editor->asked_point || from > (size_t)editor->asked_point) {
        return;
    }
    /* They come from the code: what cannot be shown as it is, is not offered. */
    auto_json json_t *plain = json_array();
    json_array_foreach(matches, i, match)
    {
        if (kiln_name_is_plain(json_string_value(match))) {
            json_array_append(plain, match);
        }
    }
    if (json_array_size(plain) == 0) {
        return;
    }
    size_t typed = (size_t)editor->asked_point - from;
    size_t common = common_prefix(plain);
    const char *first = json_string_value(json_array_get(plain, 0));
    if (json_array_size(plain) == 1 || common > typed) {
        replace(editor, from, first, common);
    } else {
        show_matches(plain);
    }
}

/* ---- the terminal's signals */

static void on_resize(uv_signal_t *handle, int number)
{
    (void)handle, (void)number;
    lib.rl_resize_terminal();
}

/* Ctrl-Z: the terminal as it was for whoever has it next. */
static void on_stop(uv_signal_t *handle, int number)
{
    kiln_editor *editor = handle->data;
    (void)number;
    if (editor->reading) {
        lib.rl_deprep_terminal();
    }
    raise(SIGSTOP);
    if (editor->reading) {
        lib.rl_prep_terminal(1);
        lib.rl_forced_update_display();
    }
}

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

static int watch_signals(kiln_editor *editor)
{
    static const struct {
        int number;
        void (*call)(uv_signal_t *handle, int number);
    } watched[2] = {{SIGWINCH, on_resize}, {SIGTSTP, on_stop}};
    for (int i = 0; i < 2; i++) {
        uv_signal_t *handle = calloc(1, sizeof(*handle));
        if (handle == NULL || uv_signal_init(editor->loop, handle) < 0) {
            free(handle);
            return -ENOMEM;
        }
        handle->data = editor;
        editor->signals[i] = handle;
        uv_signal_start(handle, watched[i].call, watched[i].number);
        uv_unref((uv_handle_t *)handle);
    }
    return 0;
}

/* ---- opening and closing */

static int open_terminal(kiln_editor *editor, kiln_error *err)
{
    auto_close int fd = open("/proc/self/fd/0", O_RDWR | O_NOCTTY | O_CLOEXEC);
    editor->input = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (editor->input == NULL) {
        return kiln_error_errno(err, errno, "the terminal cannot be opened");
    }
    (void)kiln_steal_fd(&fd); /* the stream's now */
    editor->poll = calloc(1, sizeof(*editor->poll));
    int rc = editor->poll == NULL
                 ? UV_ENOMEM
                 : uv_poll_init(editor->loop, editor->poll, fileno(editor->input));
    if (rc < 0) {
        free(kiln_steal(editor->poll));
        return kiln_error_set(err, rc, "the terminal cannot be watched: %s", uv_strerror(rc));
    }
    rc = watch_signals(editor);
    return rc < 0 ? kiln_error_set(err, ENOMEM, "out of memory") : 0;
}

static void set_up(kiln_editor *editor)
{
    *lib.rl_readline_name = "kiln";
    *lib.rl_catch_signals = 0; /* they are the loop's */
    *lib.rl_catch_sigwinch = 0;
    *lib.rl_instream = editor->input;
    lib.rl_variable_bind("enable-bracketed-paste", "on");
    lib.rl_variable_bind("page-completions", "off"); /* a pager would block the loop */
    lib.rl_bind_key('\t', on_tab);
    lib.using_history();
    lib.stifle_history(HISTORY_MAX);
    *lib.history_comment_char = '#'; /* a cell of several lines is one entry by it */
    *lib.history_write_timestamps = 1;
}

int kiln_editor_open(uv_loop_t *loop, const char *history,
                     const kiln_editor_callbacks *callbacks, void *user, kiln_editor **out,
                     kiln_error *err)
{
    kiln_editor *editor = calloc(1, sizeof(*editor));
    if (editor == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    editor->loop = loop;
    editor->callbacks = *callbacks;
    editor->user = user;
    int rc = load(editor, err);
    rc = rc < 0 ? rc : open_terminal(editor, err);
    if (rc < 0) {
        kiln_editor_close(editor);
        return rc;
    }
    the_editor = editor;
    set_up(editor);
    *out = editor;
    if (history == NULL) {
        return 0;
    }
    if (open_history(history, err) < 0) {
        return 1; /* told, and gone on without */
    }
    editor->history = strdup(history);
    lib.read_history(history);
    return 0;
}

void kiln_editor_close(kiln_editor *editor)
{
    if (editor == NULL) {
        return;
    }
    if (the_editor == editor) {
        kiln_editor_stop(editor);
        if (editor->history != NULL) {
            lib.history_truncate_file(editor->history, HISTORY_MAX);
        }
        *lib.rl_instream = stdin;
        the_editor = NULL;
    }
    for (int i = 0; i < 2; i++) {
        if (editor->signals[i] != NULL) {
            uv_close((uv_handle_t *)editor->signals[i], free_handle);
        }
    }
    if (editor->poll != NULL) {
        uv_close((uv_handle_t *)editor->poll, free_handle);
    }
    if (editor->input != NULL) {
        fclose(editor->input);
    }
    free(editor->history);
    free(editor->asked);
    /* The library stays: it has registered what cannot be taken back. */
    free(editor);
}
