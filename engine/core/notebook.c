#include "core/notebook.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void kiln_notebook_free(kiln_notebook *notebook)
{
    for (size_t i = 0; i < notebook->count; i++) {
        free(notebook->cells[i].code);
        free(notebook->cells[i].language);
        json_decref(notebook->cells[i].import_lines);
    }
    free(notebook->cells);
    *notebook = (kiln_notebook){0};
}

int kiln_notebook_add(kiln_notebook *notebook, const kiln_request *request,
                      const kiln_result *result)
{
    if (notebook->count == notebook->capacity) {
        size_t capacity = notebook->capacity > 0 ? notebook->capacity * 2 : 16;
        kiln_notebook_cell *cells = realloc(notebook->cells, capacity * sizeof(*cells));
        if (cells == NULL) {
            return -ENOMEM;
        }
        notebook->cells = cells;
        notebook->capacity = capacity;
    }
    kiln_notebook_cell cell = {
        .code = strdup(request->code),
        .code_length = request->code_length,
        .language = strdup(request->language),
        .succeeded = kiln_result_success(result),
    };
    if (cell.code == NULL || cell.language == NULL) {
        free(cell.code);
        free(cell.language);
        return -ENOMEM;
    }
    notebook->cells[notebook->count++] = cell;
    return 0;
}

int kiln_notebook_copy(const kiln_notebook *from, kiln_notebook *to)
{
    to->cells = calloc(from->count > 0 ? from->count : 1, sizeof(*to->cells));
    if (to->cells == NULL) {
        return -ENOMEM;
    }
    to->capacity = from->count;
    for (; to->count < from->count; to->count++) {
        const kiln_notebook_cell *cell = &from->cells[to->count];
        kiln_notebook_cell *copy = &to->cells[to->count];
        *copy = (kiln_notebook_cell){
            .code = strdup(cell->code),
            .code_length = cell->code_length,
            .language = strdup(cell->language),
            .succeeded = cell->succeeded,
            .import_lines = json_deep_copy(cell->import_lines),
        };
        if (copy->code == NULL || copy->language == NULL) {
            to->count++;
            return -ENOMEM;
        }
    }
    return 0;
}

static bool contains(const json_t *lines, const char *line)
{
    size_t index;
    json_t *item;
    json_array_foreach(lines, index, item)
    {
        if (strcmp(json_string_value(item), line) == 0) {
            return true;
        }
    }
    return false;
}

json_t *kiln_notebook_get_imports(const kiln_notebook *notebook)
{
    json_t *lines = json_array();
    for (size_t i = 0; i < notebook->count; i++) {
        const kiln_notebook_cell *cell = &notebook->cells[i];
        size_t index;
        json_t *line;
        json_array_foreach(cell->import_lines, index, line)
        {
            if (cell->succeeded && json_is_string(line) &&
                !contains(lines, json_string_value(line))) {
                json_array_append(lines, line);
            }
        }
    }
    return lines;
}
