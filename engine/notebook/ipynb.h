/* ipynb.h - Jupyter notebooks, nbformat 4: read, filled with results, written.
 *
 * The file's own JSON tree is kept and only the code cells' outputs and execution counts
 * are changed in it, so that whatever else is there (metadata, attachments, raw and
 * markdown cells, keys that we do not know, and the order of keys) stays as it was.
 * https://nbformat.readthedocs.io/en/latest/format_description.html
 * Thread: one at a time. */
#ifndef KILN_NOTEBOOK_IPYNB_H
#define KILN_NOTEBOOK_IPYNB_H

#include "base/error.h"
#include "contract/result.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { KILN_IPYNB_MAX = 512 << 20 }; /* bytes of a notebook file */

typedef struct kiln_ipynb_cell {
    size_t index; /* among all cells, from 0 */
    json_t *json; /* the cell, in the notebook's tree */
    char *id;     /* its id, or "cell-INDEX" where it has none */
    char *source; /* joined; NUL-terminated, may hold NULs too */
    size_t source_length;
    bool skip;             /* tag skip-execution */
    bool raises_exception; /* tag raises-exception: an error of it stops nothing */
} kiln_ipynb_cell;

typedef struct kiln_ipynb {
    json_t *root;
    int minor;
    const char *language;       /* as its metadata name it; "python" when they do not */
    const char *file_extension; /* of language_info, or NULL */
    kiln_ipynb_cell *cells;     /* the code cells, in order */
    size_t count;
    json_t *displays; /* see kiln_ipynb_fill */
} kiln_ipynb;

/* `name` is for errors. Links are followed; only a regular file is read. -EINVAL: not JSON,
 * not nbformat 4, malformed; -E2BIG: too large; or what reading the file gave. */
int kiln_ipynb_read(const char *path, kiln_ipynb **notebook, kiln_error *err);
int kiln_ipynb_parse(const char *name, const char *text, size_t length, kiln_ipynb **notebook,
                     kiln_error *err);
void kiln_ipynb_free(kiln_ipynb *notebook);
/* Not one that is tagged skip-execution, nor, as other tools do, one of white space. */
bool kiln_ipynb_runnable(const kiln_ipynb_cell *cell);

/* Empties outputs and execution counts of every code cell that is not tagged
 * skip-execution: a stale output must not look like one of this run. Gives ids to cells
 * that lack one, where the minor version wants them. */
int kiln_ipynb_clear(kiln_ipynb *notebook, kiln_error *err);
/* The result's outputs as nbformat has them, what was dropped or went wrong included. What
 * updates the display of an earlier cell of `cells` goes there; `displays`, an object that is
 * empty at first, keeps where those are that have a display_id: {id: [[cell, output]]}. */
int kiln_ipynb_fill(kiln_ipynb_cell *cell, json_t *cells, json_t *displays,
                    const kiln_result *result, kiln_error *err);
/* New reference: the outputs array alone, all in it. NULL: out of memory. */
json_t *kiln_ipynb_outputs(const kiln_result *result);

/* As nbformat writes it: one space of indent, UTF-8, a newline at the end. Under a name of
 * its own beside `path`, then renamed: a reader sees the old file or the whole new one. */
int kiln_ipynb_write(const kiln_ipynb *notebook, const char *path, kiln_error *err);

#endif
