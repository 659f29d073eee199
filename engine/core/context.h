/* context.h - CodeExecutorContext: what an execution is run in. */
#ifndef KILN_CORE_CONTEXT_H
#define KILN_CORE_CONTEXT_H

#include <jansson.h>
#include <kiln/plugin.h>

struct kiln_notebook; /* core/notebook.h */

typedef struct kiln_context {
    kiln_session *session;
    const char *session_id; /* the session's */
    char execution_id[37];  /* UUID text, assigned on entering */
    json_t *input_files;    /* names, array */
    json_t *errors;         /* emptied on entering; array of {kind,name,message,traceback} */
    struct kiln_notebook *notebook; /* the session's */
    bool entered;
} kiln_context;

/* Empties errors, assigns the execution_id. Every enter is followed by exactly one
 * leave, on every path. */
int kiln_context_enter(kiln_context *context, kiln_session *session,
                       const char *const *input_files);
void kiln_context_leave(kiln_context *context);
/* Appends; never fails the execution. `error` is borrowed. */
void kiln_context_add_error(kiln_context *context, json_t *error);

#endif
