/* Lines into cells. Whether a cell is whole the session says (is_complete); where the
 * backend knows no such question, an empty line ends it. */
#include "cli/repl.h"

#include "base/cleanup.h"
#include "contract/input.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { LINE_MAX_BYTES = KILN_CODE_MAX };

static void free_handle(uv_handle_t *handle)
{
    free(handle);
}

/* ---- asking whether it is whole */

/* For languages that nobody is asked of: an empty line ends a cell. */
static bool looks_whole(const char *code)
{
    const char *newline = strrchr(code, '\n');
    return newline != NULL && newline[1 + strspn(newline + 1, " \t")] == '\0';
}

static void run_cell(kiln_repl *repl)
{
    kiln_buffer cell = repl->cell;
    repl->cell = (kiln_buffer)KILN_BUFFER_INIT;
    free(kiln_steal(repl->indent));
    size_t length = cell.length;
    while (length > 0 && strchr(" \t\n", cell.data[length - 1]) != NULL) {
        length--;
    }
    if (length == 0) {
        kiln_repl_next(repl);
    } else {
        kiln_repl_run(repl, cell.data, length);
    }
    kiln_buffer_free(&cell);
}

static void go_on(kiln_repl *repl, const char *indent)
{
    free(repl->indent);
    repl->indent = indent != NULL && *indent != '\0' ? strdup(indent) : NULL;
    kiln_repl_next(repl);
}

/* An indent comes from the worker: it is typed into the person's line. */
static const char *checked_indent(const char *indent)
{
    return indent != NULL && strlen(indent) < 200 && indent[strspn(indent, " \t")] == '\0'
               ? indent
               : NULL;
}

static void on_completeness(void *user, json_t *reply, const kiln_error *err)
{
    kiln_repl *repl = user;
    const char *status = json_string_value(json_object_get(reply, "status"));
    repl->query = NULL;
    if (repl->closing) {
        return;
    }
    if (reply == NULL) {
        repl->answers = err->code != -ENOTSUP && repl->answers;
    }
    bool unknown = reply == NULL ? err->code == -ETIMEDOUT || err->code == -ENOTSUP
                                 : strcmp(status, "unknown") == 0;
    /* Where there is no session to ask, running the cell tells why. */
    bool whole = unknown         ? looks_whole(repl->cell.data)
                 : reply == NULL ? true
                                 : strcmp(status, "incomplete") != 0;
    if (whole) {
        run_cell(repl);
    } else {
        go_on(repl, checked_indent(json_string_value(json_object_get(reply, "indent"))));
    }
}

static void consider(kiln_repl *repl)
{
    kiln_error err = KILN_ERROR_INIT;
    auto_json json_t *arguments =
        json_pack("{s:s%}", "code", repl->cell.data, repl->cell.length);
    int rc = -ENOTSUP;
    if (repl->answers && arguments != NULL) {
        rc = kiln_session_query(repl->session, repl->options->backend, "is_complete", arguments,
                                on_completeness, repl, &repl->query, &err);
        repl->answers = rc != -ENOTSUP;
    }
    if (rc < 0 && (arguments == NULL || looks_whole(repl->cell.data))) {
        run_cell(repl); /* what is not UTF-8 is refused there, in words */
    } else if (rc < 0) {
        go_on(repl, NULL);
    }
}

void kiln_repl_line(kiln_repl *repl, const char *line)
{
    bool first = repl->cell.length == 0;
    if (repl->query != NULL) {
        kiln_query_cancel(repl->query); /* a Tab's: Enter came first */
    }
    if (line == NULL) {
        repl->leaving = true;
        run_cell(repl); /* what was begun, or nothing */
        return;
    }
    const char *text = line + strspn(line, " \t");
    if (first && *text == '\0') {
        kiln_repl_next(repl);
        return;
    }
    if (first && line[0] == ':') {
        kiln_repl_command(repl, line);
        return;
    }
    if (first && kiln_repl_inspect(repl, line)) {
        return;
    }
    if (kiln_buffer_printf(&repl->cell, "%s%s", first ? "" : "\n", line) < 0 ||
        repl->cell.length > KILN_CODE_MAX) {
        kiln_terminal_note(&repl->terminal, "the cell is too long");
        kiln_buffer_free(&repl->cell);
        kiln_repl_next(repl);
        return;
    }
    consider(repl);
}

/* ---- a person */

/* What people type to leave an interpreter; the code's own exit ends only its cell. */
static bool wants_to_leave(const char *line)
{
    static const char *const words[] = {"exit", "quit", "exit()", "quit()"};
    size_t length = strlen(line);
    while (length > 0 && line[length - 1] == ' ') {
        length--;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strlen(words[i]) == length && strncmp(line, words[i], length) == 0) {
            return true;
        }
    }
    return false;
}

static void on_line(void *user, const char *line)
{
    kiln_repl *repl = user;
    if (line != NULL && repl->cell.length == 0 && wants_to_leave(line)) {
        kiln_repl_quit(repl);
        return;
    }
    const char *terminal = getenv("TERM");
    if (line == NULL && (terminal == NULL || strcmp(terminal, "dumb") == 0)) {
        kiln_repl_say(repl, "\n"); /* on others the library says it */
    }
    kiln_repl_line(repl, line);
}

size_t kiln_repl_code_points(const char *text, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    return count;
}

/* Bytes of the first `count` code points. */
static size_t bytes_of(const char *text, size_t count)
{
    size_t at = 0;
    while (count > 0 && text[at] != '\0') {
        at++;
        while (((unsigned char)text[at] & 0xc0) == 0x80) {
            at++;
        }
        count--;
    }
    return at;
}

static void on_matches(void *user, json_t *reply, const kiln_error *err)
{
    kiln_repl *repl = user;
    auto_free char *asked = kiln_steal(repl->tab_code);
    (void)err;
    repl->query = NULL;
    if (reply == NULL || repl->editor == NULL || asked == NULL) {
        return;
    }
    size_t start =
        bytes_of(asked, (size_t)json_integer_value(json_object_get(reply, "cursor_start")));
    if (start >= repl->tab_line) {
        kiln_editor_complete(repl->editor, start - repl->tab_line,
                             json_object_get(reply, "matches"));
    }
}

static void on_tab(void *user, const char *line, size_t cursor)
{
    kiln_repl *repl = user;
    kiln_error err = KILN_ERROR_INIT;
    auto_buffer kiln_buffer code = KILN_BUFFER_INIT;
    if (repl->query != NULL) {
        kiln_query_cancel(repl->query);
    }
    if (repl->cell.length > 0 && kiln_buffer_printf(&code, "%s\n", repl->cell.data) < 0) {
        return;
    }
    repl->tab_line = code.length;
    size_t position =
        kiln_repl_code_points(code.data, code.length) + kiln_repl_code_points(line, cursor);
    if (kiln_buffer_append(&code, line, strlen(line)) < 0) {
        return;
    }
    auto_json json_t *arguments = json_pack("{s:s%, s:I}", "code", code.data, code.length,
                                            "cursor_pos", (json_int_t)position);
    free(repl->tab_code);
    repl->tab_code = strdup(code.data);
    if (arguments == NULL ||
        kiln_session_query(repl->session, repl->options->backend, "complete", arguments,
                           on_matches, repl, &repl->query, &err) < 0) {
        free(kiln_steal(repl->tab_code));
    }
}

static void prompt(kiln_repl *repl)
{
    char text[96];
    char label[40];
    unsigned long long number = kiln_session_executions(repl->session) + 1;
    int width = snprintf(label, sizeof(label), "In [%llu]: ", number);
    if (repl->cell.length > 0) {
        snprintf(label, sizeof(label), "%*s", width, "...: ");
    }
    snprintf(text, sizeof(text), "%s%s%s", repl->colour ? "\001\x1b[32m\002" : "", label,
             repl->colour ? "\001\x1b[0m\002" : "");
    kiln_terminal_fresh_line(&repl->terminal);
    auto_free char *indent = kiln_steal(repl->indent);
    kiln_editor_prompt(repl->editor, text, indent);
}

/* ---- a pipe or a file */

/* The next line of what has come; false: there is none yet. */
static bool take_line(kiln_repl *repl)
{
    kiln_buffer *bytes = &repl->input.bytes;
    char *newline = bytes->length > 0 ? memchr(bytes->data, '\n', bytes->length) : NULL;
    if (newline == NULL && !repl->input.ended) {
        return false;
    }
    size_t length = newline != NULL ? (size_t)(newline - bytes->data) : bytes->length;
    if (length == 0 && newline == NULL) {
        kiln_repl_line(repl, NULL);
        return true;
    }
    auto_free char *line = strndup(bytes->data, length);
    kiln_buffer_consume(bytes, newline != NULL ? length + 1 : length);
    if (line != NULL && length > 0 && line[length - 1] == '\r') {
        line[length - 1] = '\0';
    }
    kiln_repl_line(repl, line != NULL ? line : "");
    return true;
}

static void read_more(kiln_repl *repl)
{
    kiln_buffer *bytes = &repl->input.bytes;
    if (bytes->length > LINE_MAX_BYTES || kiln_buffer_reserve(bytes, 65536) < 0) {
        kiln_terminal_note(&repl->terminal, "standard input: a line is too long");
        repl->input.ended = true;
        kiln_buffer_free(bytes);
        return;
    }
    ssize_t got = read(STDIN_FILENO, bytes->data + bytes->length, 65536);
    if (got > 0) {
        bytes->length += (size_t)got;
        bytes->data[bytes->length] = '\0';
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        repl->input.ended = true;
    }
}

static void on_input(uv_poll_t *poll, int status, int events)
{
    kiln_repl *repl = poll->data;
    (void)status, (void)events;
    uv_poll_stop(poll);
    read_more(repl);
    kiln_repl_read(repl);
}

static void read_on(kiln_repl *repl)
{
    if (take_line(repl)) {
        return;
    }
    if (repl->input.poll != NULL) {
        uv_poll_start(repl->input.poll, UV_READABLE, on_input);
        return;
    }
    read_more(repl); /* a file never makes us wait */
    kiln_repl_read(repl);
}

/* ---- both */

void kiln_repl_read(kiln_repl *repl)
{
    if (repl->editor != NULL) {
        prompt(repl);
    } else {
        read_on(repl);
    }
}

void kiln_repl_read_cancel(kiln_repl *repl)
{
    if (repl->editor != NULL) {
        kiln_editor_stop(repl->editor);
    }
    if (repl->query != NULL) {
        kiln_query_cancel(repl->query);
    }
    kiln_buffer_free(&repl->cell);
    free(kiln_steal(repl->indent));
    free(kiln_steal(repl->tab_code));
}

static char *history_path(void)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char *path = NULL;
    if (state != NULL && state[0] == '/') {
        return asprintf(&path, "%s/kiln/history", state) < 0 ? NULL : path;
    }
    if (home == NULL || home[0] != '/') {
        return NULL;
    }
    return asprintf(&path, "%s/.local/state/kiln/history", home) < 0 ? NULL : path;
}

static int watch_pipe(kiln_repl *repl, kiln_error *err)
{
    struct stat st;
    if (fstat(STDIN_FILENO, &st) < 0) {
        return kiln_error_errno(err, errno, "standard input");
    }
    if (S_ISREG(st.st_mode)) {
        return 0;
    }
    if (S_ISDIR(st.st_mode)) {
        return kiln_error_set(err, EISDIR, "standard input: is a directory");
    }
    repl->input.poll = calloc(1, sizeof(*repl->input.poll));
    if (repl->input.poll == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    int rc = uv_poll_init(&repl->loop, repl->input.poll, STDIN_FILENO);
    if (rc < 0) { /* such as /dev/null, which never makes us wait either */
        free(kiln_steal(repl->input.poll));
        return 0;
    }
    repl->input.poll->data = repl;
    return 0;
}

int kiln_repl_read_open(kiln_repl *repl, kiln_error *err)
{
    static const kiln_editor_callbacks callbacks = {on_line, on_tab};
    repl->answers = true;
    if (isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1 && !repl->options->json) {
        auto_free char *history = history_path();
        int rc = kiln_editor_open(&repl->loop, history, &callbacks, repl, &repl->editor, err);
        if (rc == 0) {
            return 0;
        }
        kiln_terminal_note(&repl->terminal, "%s", err->text);
        if (rc > 0) {
            return 0;
        }
    }
    return watch_pipe(repl, err);
}

void kiln_repl_read_close(kiln_repl *repl)
{
    kiln_editor_close(kiln_steal(repl->editor));
    if (repl->input.poll != NULL) {
        uv_close((uv_handle_t *)kiln_steal(repl->input.poll), free_handle);
    }
    kiln_buffer_free(&repl->input.bytes);
    kiln_buffer_free(&repl->cell);
    free(kiln_steal(repl->indent));
    free(kiln_steal(repl->tab_code));
}
