/* Executions and queries, in an engine made up around the plugin. */
#include "plugincheck/check-t.h"

#include "plugincheck/allocation.h"

#include <errno.h>
#include <string.h>

enum { ALLOCATIONS_MAX = 500 };

check_verdict check_cannot_execute(check_subject *subject)
{
    return subject->loaded->plugin.execute != NULL
               ? CHECK_OK
               : check_skipped(subject, "it has no engine half: the engine runs its worker");
}

static bool ready(check_subject *subject, fake_engine *engine, check_verdict *verdict)
{
    *verdict = check_cannot_execute(subject);
    if (*verdict != CHECK_OK) {
        return false;
    }
    *verdict = CHECK_FAILED;
    if (!check_begin(subject, engine)) {
        return false;
    }
    int rc = fake_session_open(engine, 0);
    rc = rc < 0 ? rc : fake_session_open(engine, 1);
    if (rc < 0) {
        check_failed(subject, "session_open failed: %s", strerror(-rc));
        return false;
    }
    return true;
}

/* Runs `body` with two sessions open. */
static check_verdict with_sessions(check_subject *subject,
                                   check_verdict (*body)(check_subject *subject,
                                                         fake_engine *engine))
{
    fake_engine engine;
    check_verdict verdict;
    if (!ready(subject, &engine, &verdict)) {
        return verdict;
    }
    verdict = body(subject, &engine);
    if (verdict != CHECK_OK) {
        return verdict;
    }
    fake_close(&engine);
    return check_violated(subject, &engine);
}

static check_verdict never_ended(check_subject *subject, const fake_engine *engine,
                                 size_t which, const char *when)
{
    return engine->violation[0] != '\0'
               ? check_violated(subject, engine)
               : check_failed(subject, "%s%s", fake_missing(engine, which), when);
}

static check_verdict cannot_begin(check_subject *subject, const fake_engine *engine, int rc,
                                  const char *when)
{
    bool files = subject->loaded->plugin.capabilities & KILN_CAP_FILES;
    return engine->violation[0] != '\0'
               ? check_violated(subject, engine)
               : check_failed(subject, "%s failed%s: %s",
                              files ? "session_prepare or execute" : "execute", when,
                              strerror(-rc));
}

/* Its host table ends where that engine's did. It may refuse, with a reason. */
static check_verdict oldest_engine(check_subject *subject)
{
    fake_engine engine;
    fake_open(&engine, subject->loaded, subject->options->set);
    fake_make_oldest(&engine);
    const char *error = fake_init(&engine);
    if (error != NULL) {
        return strstr(error, "set no *error") != NULL
                   ? check_failed(subject, "init refuses an engine without extensions and "
                                           "sets no *error")
                   : CHECK_OK;
    }
    /* FILES without its extension cannot say that there is a place */
    bool runs =
        engine.plugin->execute != NULL && !(engine.plugin->capabilities & KILN_CAP_FILES);
    if (runs && fake_session_open(&engine, 0) >= 0 && fake_execute(&engine, 0) >= 0 &&
        !fake_finish(&engine, 0)) {
        return never_ended(subject, &engine, 0, "");
    }
    fake_close(&engine);
    return check_violated(subject, &engine);
}

static check_verdict completes_body(check_subject *subject, fake_engine *engine)
{
    for (int i = 0; i < 3; i++) {
        int rc = fake_execute(engine, 0);
        if (rc < 0) {
            return cannot_begin(subject, engine, rc, "");
        }
        if (!fake_finish(engine, 0)) {
            return never_ended(subject, engine, 0, "");
        }
    }
    for (int i = 0; i < 20 && fake_step(engine); i++) { /* what comes late comes now */
    }
    return CHECK_OK;
}

static check_verdict completes(check_subject *subject)
{
    return with_sessions(subject, completes_body);
}

static check_verdict two_sessions_body(check_subject *subject, fake_engine *engine)
{
    if (fake_execute(engine, 0) < 0 || fake_execute(engine, 1) < 0) {
        return check_failed(subject, "two sessions cannot run at once");
    }
    if (!fake_finish(engine, 1) || !fake_finish(engine, 0)) {
        return never_ended(subject, engine, engine->sessions[1].running != 0,
                           ", of two at once");
    }
    return CHECK_OK;
}

static check_verdict two_sessions(check_subject *subject)
{
    return with_sessions(subject, two_sessions_body);
}

static check_verdict interrupts_body(check_subject *subject, fake_engine *engine)
{
    for (int times = 1; times <= 3; times++) {
        int rc = fake_execute(engine, 0);
        if (rc < 0) {
            return cannot_begin(subject, engine, rc, " after an interrupt");
        }
        for (int i = 0; i < times; i++) {
            fake_interrupt(engine, 0);
        }
        if (!fake_finish(engine, 0)) {
            fake_kill(engine);
            if (!fake_finish(engine, 0)) {
                return never_ended(subject, engine, 0, " when it was interrupted and killed");
            }
        }
    }
    /* one that is not its own, or over */
    engine->plugin->interrupt(engine->self, (kiln_ticket){0, engine->tickets[0].generation});
    engine->plugin->interrupt(engine->self, (kiln_ticket){12345, 6789});
    return CHECK_OK;
}

static check_verdict interrupts(check_subject *subject)
{
    if (!(subject->loaded->plugin.capabilities & KILN_CAP_INTERRUPT)) {
        return check_skipped(subject,
                             "it does not say INTERRUPT: the engine kills its programs");
    }
    return with_sessions(subject, interrupts_body);
}

static check_verdict killed_body(check_subject *subject, fake_engine *engine)
{
    int rc = fake_execute(engine, 0);
    if (rc < 0) {
        return cannot_begin(subject, engine, rc, "");
    }
    for (int i = 0; i < 100 && engine->sessions[0].running != 0 && !engine->sessions[0].begun &&
                    fake_step(engine);
         i++) { /* until it has a place */
    }
    fake_kill(engine);
    if (!fake_finish(engine, 0)) {
        return never_ended(subject, engine, 0, " when its programs were killed");
    }
    return CHECK_OK;
}

static check_verdict killed(check_subject *subject)
{
    return with_sessions(subject, killed_body);
}

/* The engine's own end: everything is killed, sessions are closed, then fini. */
static check_verdict ends_in_flight_body(check_subject *subject, fake_engine *engine)
{
    int rc = fake_execute(engine, 0);
    rc = rc < 0 ? rc : fake_execute(engine, 1);
    if (rc < 0) {
        return cannot_begin(subject, engine, rc, "");
    }
    fake_interrupt(engine, 1);
    return CHECK_OK;
}

static check_verdict ends_in_flight(check_subject *subject)
{
    return with_sessions(subject, ends_in_flight_body);
}

/* The engine has given up on it: emit and complete say -ESTALE from then on. */
static check_verdict abandoned_body(check_subject *subject, fake_engine *engine)
{
    int rc = fake_execute(engine, 0);
    if (rc < 0) {
        return cannot_begin(subject, engine, rc, "");
    }
    fake_abandon(engine, 0);
    fake_kill(engine);
    for (int i = 0; i < 20 && fake_step(engine); i++) {
    }
    if (fake_execute(engine, 0) < 0 || !fake_finish(engine, 0)) {
        return check_failed(subject, "no execution works after one that was abandoned");
    }
    return CHECK_OK;
}

static check_verdict abandoned(check_subject *subject)
{
    return with_sessions(subject, abandoned_body);
}

static check_verdict spawn_fails_body(check_subject *subject, fake_engine *engine)
{
    engine->refuse_spawn = true;
    if (fake_execute(engine, 0) >= 0 && !fake_finish(engine, 0)) {
        return check_failed(subject, "never completed after host->spawn had failed");
    }
    engine->refuse_spawn = false;
    if (fake_execute(engine, 0) < 0 || !fake_finish(engine, 0)) {
        return check_failed(subject, "no execution works after host->spawn had failed once");
    }
    return CHECK_OK;
}

static check_verdict spawn_fails(check_subject *subject)
{
    if (subject->loaded->plugin.capabilities & KILN_CAP_FILES) {
        return check_skipped(subject, "it runs code in a place of its own (FILES)");
    }
    return with_sessions(subject, spawn_fails_body);
}

const check_query check_queries[] = {
    {"complete", "{\"code\":\"pri\",\"cursor_pos\":3}"},
    {"inspect", "{\"code\":\"print\",\"cursor_pos\":5,\"detail_level\":0}"},
    {"is_complete", "{\"code\":\"for\"}"},
    {"variables", "{}"},
    {"nobody_knows_this", "{}"},
    {NULL, NULL},
};

static check_verdict queries_body(check_subject *subject, fake_engine *engine)
{
    if (fake_execute(engine, 0) >= 0) {
        fake_finish(engine, 0);
    }
    for (size_t i = 0; check_queries[i].name != NULL; i++) {
        int rc = fake_query(engine, 0, check_queries[i].name, check_queries[i].arguments);
        if (rc == 0 && i % 2 == 1) {
            fake_interrupt(engine, 0);
        }
        if (rc == 0 && !fake_finish(engine, 0)) {
            return never_ended(subject, engine, 0, "");
        }
    }
    return CHECK_OK;
}

static check_verdict queries(check_subject *subject)
{
    if (subject->loaded->plugin.query == NULL) {
        return check_skipped(subject, "it answers none in the engine");
    }
    return with_sessions(subject, queries_body);
}

/* A whole life: a session with an execution in it, where the plugin runs any. */
static bool live(check_subject *subject, fake_engine *engine)
{
    if (!check_begin(subject, engine)) {
        return false;
    }
    if (engine->plugin->execute != NULL && fake_session_open(engine, 0) >= 0 &&
        fake_execute(engine, 0) >= 0) {
        fake_finish(engine, 0);
    }
    fake_close(engine);
    return true;
}

static check_verdict execution_leaks(check_subject *subject)
{
    check_verdict verdict = check_cannot_execute(subject);
    return verdict != CHECK_OK ? verdict : check_leaks(subject, live);
}

/* Each allocation of a whole life fails once; whatever comes of it, the plugin does not
 * crash, and what it began it completes. */
static check_verdict allocations(check_subject *subject)
{
    kiln_error err = KILN_ERROR_INIT;
    if (allocation_hook(subject->loaded->handle, &err) < 0) {
        return check_failed(subject, "%s", err.text);
    }
    bool runs = subject->loaded->plugin.execute != NULL;
    for (unsigned number = 1; number <= ALLOCATIONS_MAX; number++) {
        fake_engine engine;
        fake_open(&engine, subject->loaded, subject->options->set);
        allocation_fail(number);
        const char *error = fake_init(&engine);
        bool completed = true;
        if (error == NULL && runs && fake_session_open(&engine, 0) >= 0 &&
            fake_execute(&engine, 0) >= 0) {
            completed = fake_finish(&engine, 0);
        }
        fake_close(&engine);
        unsigned count = allocation_count();
        allocation_fail(0);
        if (!completed) {
            return check_failed(subject,
                                "an execution was never completed when allocation %u "
                                "failed",
                                number);
        }
        if (error != NULL && strstr(error, "set no *error") != NULL) {
            return check_failed(subject, "init sets no *error when allocation %u fails",
                                number);
        }
        if (engine.violation[0] != '\0') {
            return check_failed(subject, "when allocation %u failed: %s", number,
                                engine.violation);
        }
        if (count < number) {
            return number > 1 ? CHECK_OK : check_skipped(subject, "it allocates nothing");
        }
    }
    return CHECK_OK;
}

const check_test check_execution_tests[] = {
    {"the oldest engine that takes it, without extensions", oldest_engine},
    {"executions complete, once each", completes},
    {"two sessions at once", two_sessions},
    {"interrupts: once, often, late, of another's", interrupts},
    {"its programs are killed", killed},
    {"the engine ends with work in flight", ends_in_flight},
    {"an execution is abandoned", abandoned},
    {"no program can be started", spawn_fails},
    {"queries are answered, once each", queries},
    {"a hundred lives leak nothing", execution_leaks},
    {"each allocation fails once", allocations},
    {NULL, NULL},
};
