/* terminal.h - what executed code says, on our own standard output and error.
 * Thread: loop. */
#ifndef KILN_CLI_TERMINAL_H
#define KILN_CLI_TERMINAL_H

#include "base/buffer.h"

#include <kiln/plugin.h>
#include <stdbool.h>

/* Where in a control sequence the text of a stream has come to. */
typedef enum kiln_escape_state {
    KILN_ESCAPE_NONE,
    KILN_ESCAPE_BEGUN,      /* ESC */
    KILN_ESCAPE_CSI,        /* ESC [ and parameters */
    KILN_ESCAPE_STRING,     /* OSC, DCS, SOS, PM, APC: up to BEL or ST */
    KILN_ESCAPE_STRING_ESC, /* ESC within such a string */
    KILN_ESCAPE_CHARSET,    /* ESC ( and its kind: one more character */
} kiln_escape_state;

typedef struct kiln_escape_filter {
    kiln_escape_state state;
    char sequence[64]; /* the CSI so far */
    size_t length;
    bool coloured; /* a colour was set and not reset */
} kiln_escape_filter;

/* Appends text, valid UTF-8, without control characters other than newline, tab, return
 * and backspace, and without control sequences other than SGR (colours) and EL (erase
 * line): what is left cannot move the cursor elsewhere, rename the window, read the
 * clipboard or make the terminal answer. State is kept over calls. */
int kiln_escape_filter_text(kiln_escape_filter *filter, kiln_buffer *out, const char *text,
                            size_t length);

typedef struct kiln_terminal {
    bool tty[3]; /* by kiln_stream */
    kiln_escape_filter filter[3];
    bool gone[3];     /* nobody reads it any more, or a signal ended a wait for it */
    bool mid_line[3]; /* the last character was no newline */
    bool progress;    /* a progress line stands on stderr */
} kiln_terminal;

void kiln_terminal_init(kiln_terminal *terminal);
/* -EPIPE: nobody reads that stream (then all further calls for it do nothing). */
int kiln_terminal_write(kiln_terminal *terminal, kiln_stream stream, const char *text,
                        size_t length);
/* An event of the execution, as text: streams as they are, text/plain of displays and
 * results to stdout, tracebacks to stderr. */
int kiln_terminal_event(kiln_terminal *terminal, const kiln_event *event);
/* One line "kiln: TEXT" on stderr, on a line of its own. */
void kiln_terminal_note(kiln_terminal *terminal, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Ends a line that stands half written on the terminal. */
void kiln_terminal_fresh_line(kiln_terminal *terminal);
/* Rewrites the progress line; only on a terminal. */
void kiln_terminal_progress(kiln_terminal *terminal, const char *text);
void kiln_terminal_hide_progress(kiln_terminal *terminal);
/* Resets what the code has set. */
void kiln_terminal_close(kiln_terminal *terminal);

#endif
