#include "cli/terminal.h"

#include "base/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>

enum {
    CHUNK = 4096, /* PIPE_BUF: what a pipe that polls writable takes without a wait */
};

void kiln_terminal_init(kiln_terminal *terminal)
{
    *terminal = (kiln_terminal){0};
    terminal->tty[KILN_STDOUT] = isatty(STDOUT_FILENO) == 1;
    terminal->tty[KILN_STDERR] = isatty(STDERR_FILENO) == 1;
}

static int descriptor(kiln_stream stream)
{
    return stream == KILN_STDOUT ? STDOUT_FILENO : STDERR_FILENO;
}

/* A reader that does not read makes us wait, and the code with us: that is what a pipe is
 * for. But a signal must still reach the loop, which a blocked write(2) would not let it:
 * poll(2) is never restarted, and once one has come, this stream is given up. */
static int write_out(kiln_terminal *terminal, kiln_stream stream, const char *text,
                     size_t length)
{
    int fd = descriptor(stream);
    while (length > 0) {
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        if (poll(&ready, 1, -1) < 0) {
            if (errno == EINTR) {
                terminal->gone[stream] = true;
                return 0;
            }
            return -errno;
        }
        ssize_t written = write(fd, text, length < CHUNK ? length : CHUNK);
        if (written < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (written < 0) {
            return -errno;
        }
        text += written;
        length -= (size_t)written;
    }
    return 0;
}

void kiln_terminal_hide_progress(kiln_terminal *terminal)
{
    if (terminal->progress) {
        terminal->progress = false;
        write_out(terminal, KILN_STDERR, "\r\x1b[K", 4);
    }
}

int kiln_terminal_write(kiln_terminal *terminal, kiln_stream stream, const char *text,
                        size_t length)
{
    if (terminal->gone[stream] || length == 0) {
        return 0;
    }
    kiln_terminal_hide_progress(terminal);
    auto_buffer kiln_buffer clean = KILN_BUFFER_INIT;
    if (terminal->tty[stream]) {
        if (kiln_escape_filter_text(&terminal->filter[stream], &clean, text, length) < 0) {
            return -ENOMEM;
        }
        text = clean.data;
        length = clean.length;
    }
    if (length == 0) {
        return 0;
    }
    terminal->mid_line[stream] = text[length - 1] != '\n';
    int rc = write_out(terminal, stream, text, length);
    if (rc < 0) {
        terminal->gone[stream] = true;
    }
    return rc;
}

static int write_line(kiln_terminal *terminal, kiln_stream stream, const json_t *text)
{
    int rc = kiln_terminal_write(terminal, stream, json_string_value(text),
                                 json_string_length(text));
    return rc == 0 ? kiln_terminal_write(terminal, stream, "\n", 1) : rc;
}

/* The plainest form that it has. What has none is a picture, which becomes a file. */
static int show_bundle(kiln_terminal *terminal, const json_t *bundle)
{
    static const char *const readable[] = {"text/plain", "text/markdown", "text/latex",
                                           "text/html"};
    const json_t *data = json_object_get(bundle, "data");
    for (size_t i = 0; i < sizeof(readable) / sizeof(readable[0]); i++) {
        const json_t *text = json_object_get(data, readable[i]);
        if (json_is_string(text)) {
            return write_line(terminal, KILN_STDOUT, text);
        }
    }
    return 0;
}

static int show_error(kiln_terminal *terminal, const json_t *error)
{
    const json_t *traceback = json_object_get(error, "traceback");
    size_t i;
    json_t *line;
    int rc = 0;
    json_array_foreach(traceback, i, line)
    {
        rc = rc == 0 ? write_line(terminal, KILN_STDERR, line) : rc;
    }
    if (json_array_size(traceback) == 0) {
        const char *name = json_string_value(json_object_get(error, "name"));
        const char *value = json_string_value(json_object_get(error, "value"));
        auto_json json_t *text =
            json_sprintf("%s: %s", name != NULL ? name : "error", value != NULL ? value : "");
        rc = write_line(terminal, KILN_STDERR, text);
    }
    return rc;
}

int kiln_terminal_event(kiln_terminal *terminal, const kiln_event *event)
{
    if (event->type == KILN_EVENT_STREAM) {
        return kiln_terminal_write(terminal,
                                   event->stream == KILN_STDERR ? KILN_STDERR : KILN_STDOUT,
                                   event->data, event->length);
    }
    auto_json json_t *json = json_loadb(event->data, event->length, JSON_ALLOW_NUL, NULL);
    switch ((kiln_event_type)event->type) {
    case KILN_EVENT_DISPLAY:
    case KILN_EVENT_RESULT:
    case KILN_EVENT_UPDATE:
        return show_bundle(terminal, json);
    case KILN_EVENT_ERROR:
        return show_error(terminal, json);
    case KILN_EVENT_STREAM:
    case KILN_EVENT_CLEAR:
    case KILN_EVENT_DECISION:
        break;
    }
    return 0;
}

void kiln_terminal_fresh_line(kiln_terminal *terminal)
{
    bool half = terminal->mid_line[KILN_STDOUT] ||
                (terminal->tty[KILN_STDERR] && terminal->mid_line[KILN_STDERR]);
    if (terminal->tty[KILN_STDOUT] && half) {
        kiln_terminal_write(terminal, KILN_STDOUT, "\n", 1);
        terminal->mid_line[KILN_STDERR] = false;
    }
}

void kiln_terminal_note(kiln_terminal *terminal, const char *format, ...)
{
    auto_buffer kiln_buffer line = KILN_BUFFER_INIT;
    auto_free char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) {
        text = NULL;
        return;
    }
    /* One line, whatever a name or a message of the code's holds. */
    for (char *p = text; *p != '\0'; p++) {
        *p = (unsigned char)*p < 0x20 || *p == 0x7f ? ' ' : *p;
    }
    bool same_terminal = terminal->tty[KILN_STDOUT] && terminal->tty[KILN_STDERR];
    bool on_new_line =
        !terminal->mid_line[KILN_STDERR] && !(same_terminal && terminal->mid_line[KILN_STDOUT]);
    if (kiln_buffer_printf(&line, "%skiln: %s\n", on_new_line ? "" : "\n", text) == 0) {
        kiln_terminal_write(terminal, KILN_STDERR, line.data, line.length);
        terminal->mid_line[KILN_STDOUT] &= !same_terminal;
    }
}

void kiln_terminal_progress(kiln_terminal *terminal, const char *text)
{
    if (!terminal->tty[KILN_STDERR] || terminal->gone[KILN_STDERR] ||
        terminal->mid_line[KILN_STDERR] ||
        (terminal->tty[KILN_STDOUT] && terminal->mid_line[KILN_STDOUT])) {
        return; /* half a line of the code's stands there, and would be lost */
    }
    auto_buffer kiln_buffer line = KILN_BUFFER_INIT;
    if (kiln_buffer_printf(&line, "\r\x1b[K%s", text) == 0) {
        write_out(terminal, KILN_STDERR, line.data, line.length);
        terminal->progress = true;
    }
}

void kiln_terminal_close(kiln_terminal *terminal)
{
    kiln_terminal_hide_progress(terminal);
    for (int stream = KILN_STDOUT; stream <= KILN_STDERR; stream++) {
        if (terminal->filter[stream].coloured && !terminal->gone[stream]) {
            write_out(terminal, (kiln_stream)stream, "\x1b[0m", 4);
        }
    }
}
