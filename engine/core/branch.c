/* A branch: a second session that begins where the first one is. */
#include "core/engine-t.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

typedef struct branching {
    kiln_core_session *from, *to;
    void (*done)(void *user, kiln_session *session, const kiln_error *err);
    void *user;
} branching;

static int copy_context(const kiln_core_session *from, kiln_core_session *to)
{
    to->execution_count = from->execution_count;
    to->consecutive_failures = from->consecutive_failures;
    to->last_backend = from->last_backend;
    memcpy(to->language, from->language, sizeof(to->language));
    to->context.session = &to->base;
    to->context.session_id = to->base.id;
    to->context.notebook = &to->notebook;
    to->context.errors = json_deep_copy(from->context.errors);
    to->context.input_files = json_deep_copy(from->context.input_files);
    return kiln_notebook_copy(&from->notebook, &to->notebook);
}

/* Neither is idle meanwhile, nor freed. */
static void pin(kiln_core_session *session, int by)
{
    session->branching = by > 0;
    session->holds += by;
    session->pins += (unsigned)by;
}

static void on_branched(void *user, const kiln_error *err)
{
    branching job = *(branching *)user;
    kiln_error closed = KILN_ERROR_INIT;
    free(user);
    pin(job.from, -1);
    pin(job.to, -1);
    if (err == NULL && job.to->closing) {
        kiln_error_set(&closed, ECANCELED, "session %s was closed", job.to->base.id);
        err = &closed;
    }
    kiln_core_session_settle(job.from);
    if (err != NULL) {
        if (job.to->closing) {
            kiln_core_session_settle(job.to);
        } else {
            kiln_session_close(&job.to->base);
        }
        job.done(job.user, NULL, err);
        return;
    }
    job.done(job.user, &job.to->base, NULL);
}

int kiln_session_fork(kiln_session *session, const char *new_id,
                      void (*done)(void *user, kiln_session *session, const kiln_error *err),
                      void *user, kiln_error *err)
{
    kiln_core_session *from = kiln_session_core(session);
    kiln_session *opened;
    if (from->execution != NULL || from->query != NULL || from->branching) {
        return kiln_error_set(
            err, EBUSY, "session %s is busy: it can be branched between cells", session->id);
    }
    branching *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    int rc = kiln_session_open(from->engine, new_id, &opened, err);
    if (rc == 0 && copy_context(from, kiln_session_core(opened)) < 0) {
        rc = kiln_error_set(err, ENOMEM, "out of memory");
        kiln_session_close(opened);
    }
    if (rc < 0) {
        free(job);
        return rc;
    }
    *job =
        (branching){.from = from, .to = kiln_session_core(opened), .done = done, .user = user};
    pin(from, 1);
    pin(job->to, 1);
    kiln_bindings_branch(session, opened, on_branched, job);
    return 0;
}
