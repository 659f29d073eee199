/* What is asked of a session without running a cell: its variables, and "name?". */
#include "cli/repl.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <string.h>
#include <sys/ioctl.h>

enum { NAME_MAX_WIDTH = 28, TYPE_MAX_WIDTH = 24 };

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* Code points of the longest, at most `most`. */
static int widest(const json_t *objects, const char *key, int most)
{
    int width = 0;
    size_t i;
    json_t *object;
    json_array_foreach(objects, i, object)
    {
        const char *text = text_of(object, key);
        int points = (int)kiln_repl_code_points(text, strlen(text));
        width = points > width ? points : width;
    }
    return width < most ? width : most;
}

/* Left-aligned: printf's own width counts bytes. */
static int pad(kiln_buffer *line, const char *text, int width)
{
    int points = (int)kiln_repl_code_points(text, strlen(text));
    return kiln_buffer_printf(line, "%s%*s", text, points < width ? width - points + 2 : 2, "");
}

/* Of the terminal, where a person looks at it; 0: any width. */
static size_t columns(const kiln_repl *repl)
{
    struct winsize size;
    return repl->editor != NULL && ioctl(1, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static void cut(kiln_buffer *line, size_t width)
{
    size_t at = 0;
    if (width < 8 || line->data == NULL ||
        kiln_repl_code_points(line->data, line->length) < width) {
        return;
    }
    for (size_t points = 0; points < width - 4 && at < line->length; points++) {
        do {
            at++;
        } while (((unsigned char)line->data[at] & 0xc0) == 0x80);
    }
    line->data[at] = '\0';
    line->length = at;
    (void)kiln_buffer_append(line, "...", 3); /* it is shorter than it was */
}

static void on_variables(void *user, json_t *reply, const kiln_error *err)
{
    kiln_repl *repl = user;
    int name_width = widest(reply, "name", NAME_MAX_WIDTH);
    int type_width = widest(reply, "type", TYPE_MAX_WIDTH);
    int shape_width = widest(reply, "shape", TYPE_MAX_WIDTH);
    size_t i;
    json_t *variable;
    repl->query = NULL;
    if (reply == NULL) {
        kiln_terminal_note(&repl->terminal, "%s", err->text);
    }
    json_array_foreach(reply, i, variable)
    {
        auto_buffer kiln_buffer line = KILN_BUFFER_INIT;
        char size[24] = "";
        const json_t *bytes = json_object_get(variable, "size");
        if (json_is_integer(bytes)) {
            kiln_repl_size((double)json_integer_value(bytes), size);
        }
        if (pad(&line, text_of(variable, "name"), name_width) < 0 ||
            pad(&line, text_of(variable, "type"), type_width) < 0 ||
            kiln_buffer_printf(&line, "%8s  ", size) < 0 ||
            (shape_width > 0 && pad(&line, text_of(variable, "shape"), shape_width) < 0) ||
            kiln_buffer_printf(&line, "%s", text_of(variable, "value")) < 0) {
            break;
        }
        cut(&line, columns(repl));
        kiln_repl_say(repl, "%s\n", line.data);
    }
    if (reply != NULL && json_array_size(reply) == 0) {
        kiln_repl_say(repl, "no variables\n");
    }
    kiln_repl_next(repl);
}

static bool ask(kiln_repl *repl, const char *name, json_t *arguments,
                void (*done)(void *user, json_t *reply, const kiln_error *err))
{
    kiln_error err = KILN_ERROR_INIT;
    int rc = kiln_session_query(repl->session, repl->options->backend, name, arguments, done,
                                repl, &repl->query, &err);
    if (rc < 0) {
        kiln_terminal_note(&repl->terminal, "%s", err.text);
    }
    return rc == 0;
}

bool kiln_repl_variables(kiln_repl *repl)
{
    auto_json json_t *arguments = json_object();
    return ask(repl, "variables", arguments, on_variables);
}

static void on_inspection(void *user, json_t *reply, const kiln_error *err)
{
    kiln_repl *repl = user;
    repl->query = NULL;
    const json_t *text = json_object_get(json_object_get(reply, "data"), "text/plain");
    if (reply == NULL) {
        kiln_terminal_note(&repl->terminal, "%s", err->text);
    } else if (json_is_string(text)) {
        kiln_repl_say(repl, "%s", json_string_value(text));
    } else {
        kiln_repl_say(repl, "nothing of that name\n");
    }
    kiln_repl_next(repl);
}

bool kiln_repl_inspect(kiln_repl *repl, const char *line)
{
    size_t length = strlen(line), marks = 0;
    while (length > 0 && isspace((unsigned char)line[length - 1])) {
        length--;
    }
    while (length > 0 && line[length - 1] == '?') {
        length--;
        marks++;
    }
    bool name = length > 0 && marks > 0 && marks <= 2;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)line[i];
        name = name && (isalnum(c) || c == '_' || c == '.' || c >= 0x80);
    }
    if (!name || !repl->answers) {
        return false; /* the language may have a meaning for it */
    }
    auto_json json_t *arguments = json_pack(
        "{s:s%, s:I, s:i}", "code", line, length, "cursor_pos",
        (json_int_t)kiln_repl_code_points(line, length), "detail_level", (int)marks - 1);
    return arguments != NULL && ask(repl, "inspect", arguments, on_inspection);
}
