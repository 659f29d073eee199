/* session.h - what the core keeps of a session. */
#ifndef KILN_CORE_SESSION_H
#define KILN_CORE_SESSION_H

#include "core/context.h"
#include "core/engine.h"
#include "core/notebook.h"
#include "plugin/backend.h"

#include <time.h>

typedef struct kiln_core_session {
    kiln_session base; /* first: what plugins hold a pointer to */
    struct kiln_core_session *next;
    kiln_engine *engine;
    kiln_context context;
    kiln_notebook notebook;
    uint64_t execution_count;
    unsigned consecutive_failures;
    kiln_execution *execution;  /* in flight, or NULL */
    kiln_query *query;          /* likewise */
    kiln_backend *last_backend; /* that ran a cell of it, or NULL */
    char language[64];          /* of that cell */
    struct timespec created_at, last_used_at;
    uint64_t last_used_ns; /* monotonic */
    int holds;             /* front ends that are attached to it */
    unsigned pins;         /* calls that are still going to look at it */
    bool closing;          /* it is freed when its execution has ended */
    bool restarting;       /* likewise restarted */
    bool branching;        /* it is being branched, or is the branch */
} kiln_core_session;

static inline kiln_core_session *kiln_session_core(kiln_session *session)
{
    return (kiln_core_session *)session;
}

/* 36 characters and a NUL: a random (version 4) UUID, RFC 9562 section 5.4. */
int kiln_uuid(char text[37]);

#endif
