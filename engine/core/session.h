/* session.h - what the core keeps of a session. */
#ifndef KILN_CORE_SESSION_H
#define KILN_CORE_SESSION_H

#include "core/context.h"
#include "core/engine.h"
#include "core/notebook.h"
#include "plugin/backend.h"

typedef struct kiln_core_session {
    kiln_session base; /* first: what plugins hold a pointer to */
    struct kiln_core_session *next;
    kiln_engine *engine;
    kiln_context context;
    kiln_notebook notebook;
    uint64_t execution_count;
    unsigned consecutive_failures;
    kiln_execution *execution; /* in flight, or NULL */
} kiln_core_session;

static inline kiln_core_session *kiln_session_core(kiln_session *session)
{
    return (kiln_core_session *)session;
}

/* 36 characters and a NUL: a random (version 4) UUID, RFC 9562 section 5.4. */
int kiln_uuid(char text[37]);

#endif
