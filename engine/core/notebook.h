/* notebook.h - the cells that a session has run, as the seed's Notebook. */
#ifndef KILN_CORE_NOTEBOOK_H
#define KILN_CORE_NOTEBOOK_H

#include "contract/input.h"
#include "contract/result.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct kiln_notebook_cell {
    char *code;
    size_t code_length;
    char *language;
    bool succeeded;
    json_t *import_lines; /* array, NULL: not analysed yet */
} kiln_notebook_cell;

typedef struct kiln_notebook {
    kiln_notebook_cell *cells;
    size_t count;
    size_t capacity;
} kiln_notebook;

void kiln_notebook_free(kiln_notebook *notebook); /* the cells; not the struct */
/* Into an empty one. 0 or -ENOMEM: then to be freed all the same. */
int kiln_notebook_copy(const kiln_notebook *from, kiln_notebook *to);
int kiln_notebook_add(kiln_notebook *notebook, const kiln_request *request,
                      const kiln_result *result);
/* Import lines of the cells that succeeded, deduplicated, in order. New reference. */
json_t *kiln_notebook_get_imports(const kiln_notebook *notebook);

#endif
