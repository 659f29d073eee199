/* editor.h - one line from a person at a terminal, edited: GNU readline through its
 * callback interface, so that the loop goes on meanwhile. The library is opened when an
 * editor is, since `kiln run` has no use for it. One editor a process. Thread: loop. */
#ifndef KILN_CLI_EDITOR_H
#define KILN_CLI_EDITOR_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

typedef struct kiln_editor kiln_editor;

typedef struct kiln_editor_callbacks {
    /* A line without its newline (pasted text may hold some), or NULL: Ctrl-D. The editor
     * rests until the next kiln_editor_prompt. */
    void (*on_line)(void *user, const char *line);
    /* Tab: something is asked for what stands before `cursor`, a byte offset in `line`;
     * borrowed. kiln_editor_complete may follow, whenever it is there. */
    void (*on_tab)(void *user, const char *line, size_t cursor);
} kiln_editor_callbacks;

/* -ENOENT: there is no such library, err says which and what to install. `history` is the
 * file that cells of earlier runs are in, made 0600 with its folder; NULL: none. 1: opened,
 * but without that file, and err says why. */
int kiln_editor_open(uv_loop_t *loop, const char *history,
                     const kiln_editor_callbacks *callbacks, void *user, kiln_editor **editor,
                     kiln_error *err);
void kiln_editor_close(kiln_editor *editor);

/* Shows the prompt and begins to read; `text` stands in the line already. */
void kiln_editor_prompt(kiln_editor *editor, const char *prompt, const char *text);
/* Whether a prompt stands there. */
bool kiln_editor_reads(const kiln_editor *editor);
/* Gives the line up and leaves the terminal as it was found. */
void kiln_editor_stop(kiln_editor *editor);
/* The answer to on_tab: bytes `from` to the cursor can become one of the matches (strings).
 * Nothing happens when the line is no longer the one that was asked for. */
void kiln_editor_complete(kiln_editor *editor, size_t from, const json_t *matches);
/* Keeps a cell in the history. */
void kiln_editor_remember(kiln_editor *editor, const char *cell);

#endif
