/* repl.h - `kiln repl`: what its files share.
 *
 *   repl.c           the command: options, the engine, signals, the end
 *   repl_read.c      lines into cells, from a person or from a pipe
 *   repl_cell.c      a cell that runs, and how its end is told
 *   repl_commands.c  lines that begin with ":"
 *   repl_queries.c   variables, and "name?"
 *   repl_archive.c   a whole session into one archive, and back
 *
 * One thing at a time: a line is read, or a query is in flight, or a cell runs. Whatever
 * ends calls kiln_repl_next. Thread: loop; nothing blocks it but writing to a terminal or a
 * pipe that is full. */
#ifndef KILN_CLI_REPL_H
#define KILN_CLI_REPL_H

#include "base/buffer.h"
#include "cli/editor.h"
#include "cli/terminal.h"
#include "core/engine.h"
#include "notebook/ipynb.h"

#include <stdbool.h>
#include <uv.h>

typedef struct kiln_repl_options {
    const char *session; /* its id, or NULL: "repl" */
    const char *backend;
    const char *language;
    const char *config;
    const char *chain;
    const char *client;  /* who asks, or NULL: the user */
    const char *out;     /* folder for output files, or NULL: a temporary one */
    const char *restore; /* an archive that the session begins with, or NULL */
    const char **set;    /* "section.key=value", NULL-terminated, with room for the bundle's */
    size_t set_count;
    kiln_limits limits;
    bool json;
    bool help;
} kiln_repl_options;

typedef struct kiln_repl_restore kiln_repl_restore; /* repl_archive.c */

typedef struct kiln_repl kiln_repl;
struct kiln_repl {
    const kiln_repl_options *options;
    uv_loop_t loop;
    uv_signal_t signals[3]; /* SIGINT, SIGTERM, SIGHUP */
    kiln_paths paths;
    kiln_engine *engine;
    kiln_session *session; /* held */
    bool forking;          /* a branch of it is being made */
    json_t *notebooks;     /* id -> [cell]: what :save writes */
    json_t *displays;      /* id -> what kiln_ipynb_fill keeps of it */
    json_t *given;         /* id -> {name}: files that no cell of the notebook made */
    const char *language;
    kiln_terminal terminal;
    kiln_editor *editor; /* NULL: input is not a terminal */
    bool colour;

    /* repl_read.c */
    struct {
        kiln_buffer bytes; /* that came from a pipe or a file */
        uv_poll_t *poll;   /* of a pipe */
        bool ended;
    } input;
    kiln_buffer cell; /* its lines so far */
    char *indent;     /* of the next line */
    kiln_query *query;
    char *tab_code;  /* that completions were asked of */
    size_t tab_line; /* where the line begins in it */
    bool answers;    /* the backend answers queries, as far as is known */

    /* repl_cell.c */
    json_t *queue; /* of :load, still to run: [{"source","may_fail"}] */
    bool may_fail; /* the cell that runs, without an end to what is queued */
    kiln_execution *execution;
    char *source; /* of the cell that runs */
    unsigned interrupts;
    bool timing;
    bool told_loss; /* the last cell ended so that its state may be lost, and it was said */
    char *folder;   /* for output files */
    int folder_fd;
    bool folder_made; /* by us: removed when it is empty */

    /* repl_archive.c */
    void (*task)(kiln_repl *repl); /* to be run outside of the loop: it has one of its own */
    char *task_word, *task_id;
    bool working;               /* a task runs */
    bool starting;              /* --restore: nothing else is begun when it is refused */
    kiln_repl_restore *restore; /* cells are run again; NULL: none is */

    uv_timer_t next; /* the next step, never from within the last one */
    bool leaving;    /* there are no more lines */
    bool closing;
    int status; /* exit status */
};

/* Whatever was going on has ended: the next line, cell, or the end. */
void kiln_repl_next(kiln_repl *repl);
/* Ends the loop. */
void kiln_repl_quit(kiln_repl *repl);
/* To a person: on standard output, or on standard error where that is for JSON. */
void kiln_repl_say(kiln_repl *repl, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Makes the session with this id the one that is used; opens it when there is none. */
int kiln_repl_switch(kiln_repl *repl, const char *id, kiln_error *err);
/* The notebook of the session, and where it shows what; borrowed. */
json_t *kiln_repl_notebook(kiln_repl *repl);
json_t *kiln_repl_displays(kiln_repl *repl);
/* Names of the session's files that no cell made; borrowed. */
json_t *kiln_repl_given(kiln_repl *repl);

/* ---- repl_read.c */
int kiln_repl_read_open(kiln_repl *repl, kiln_error *err);
void kiln_repl_read_close(kiln_repl *repl);
/* Asks for a line: shows the prompt, or reads on. */
void kiln_repl_read(kiln_repl *repl);
/* A line without its newline; NULL: the end. */
void kiln_repl_line(kiln_repl *repl, const char *line);
/* Unicode code points, which queries count cursors in. */
size_t kiln_repl_code_points(const char *text, size_t length);
/* Gives up what was typed. */
void kiln_repl_read_cancel(kiln_repl *repl);

/* ---- repl_cell.c */
int kiln_repl_cells_open(kiln_repl *repl, kiln_error *err);
void kiln_repl_cells_close(kiln_repl *repl);
void kiln_repl_run(kiln_repl *repl, const char *source, size_t length);
/* Ctrl-C while it runs. */
void kiln_repl_interrupt(kiln_repl *repl);

/* ---- repl_commands.c */
/* A line that begins with ":". kiln_repl_next is called, now or later. */
void kiln_repl_command(kiln_repl *repl, const char *line);
/* "12.3M", in `text`. */
const char *kiln_repl_size(double bytes, char text[24]);
/* The session's notebook, into a file. */
int kiln_repl_write_notebook(kiln_repl *repl, const char *path, kiln_error *err);
/* Its code cells are run next. `failed_before`: one that holds an error may fail again. */
void kiln_repl_queue_notebook(kiln_repl *repl, const kiln_ipynb *notebook, bool failed_before);

/* ---- repl_queries.c */
/* The session's variables. True: kiln_repl_next is called when they are shown. */
bool kiln_repl_variables(kiln_repl *repl);
/* "name?" or "name??": true, and it is looked up. */
bool kiln_repl_inspect(kiln_repl *repl, const char *line);

/* ---- repl_archive.c. Both end in kiln_repl_next or the end. */
void kiln_repl_archive(kiln_repl *repl, const char *folder);
/* `id`: a new session; NULL: the one in use, when nothing was done in it. */
void kiln_repl_restore_from(kiln_repl *repl, const char *archive, const char *id);
/* Adds to the request of a cell that is run again what it needs. */
int kiln_repl_restore_inputs(kiln_repl *repl, kiln_request *request);
/* A cell that was run again has ended, or was refused. */
void kiln_repl_restore_ended(kiln_repl *repl, bool failed);
void kiln_repl_restore_free(kiln_repl *repl);

#endif
