/* Seeded random sequences of what the engine may do with a plugin. */
#include "plugincheck/check-t.h"

#include <stdio.h>

enum { RANDOM_STEPS = 400 };

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13; /* xorshift64 */
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static const char *random_step(fake_engine *engine, uint64_t draw)
{
    size_t which = draw % FAKE_SESSIONS;
    switch ((draw / FAKE_SESSIONS) % 8) {
    case 0:
        fake_session_open(engine, which);
        return "session_open";
    case 1:
        if (engine->sessions[which].running == 0) { /* the engine closes none that runs */
            fake_session_close(engine, which);
        }
        return "session_close";
    case 2:
    case 3:
        fake_execute(engine, which);
        return "execute";
    case 4:
        fake_interrupt(engine, which);
        return "interrupt";
    case 5:
        if (draw % 16 == 0) {
            fake_kill(engine);
            return "kill";
        }
        if (draw % 23 == 0) {
            fake_abandon(engine, which);
            return "abandon";
        }
        /* fall through */
    case 6:
        if (engine->plugin->query != NULL && draw % 3 == 0) {
            fake_query(engine, which, "complete", "{\"code\":\"\",\"cursor_pos\":0}");
            return "query";
        }
        /* fall through */
    default:
        fake_step(engine);
        return "step";
    }
}

static check_verdict random_sequences(check_subject *subject)
{
    fake_engine engine;
    check_verdict verdict = check_cannot_execute(subject);
    if (verdict != CHECK_OK) {
        return verdict;
    }
    if (!check_begin(subject, &engine)) {
        return CHECK_FAILED;
    }
    uint64_t state = subject->options->seed * 2654435769u + 1;
    for (int i = 0; i < RANDOM_STEPS; i++) {
        uint64_t draw = next_random(&state) >> 16;
        if (subject->options->reproduce) {
            fprintf(stderr, "# %d: ", i); /* before: it may be the last that is said */
        }
        const char *what = random_step(&engine, draw);
        if (subject->options->reproduce) {
            fprintf(stderr, "%s of session %d\n", what, (int)(draw % FAKE_SESSIONS));
        }
        if (engine.violation[0] != '\0') {
            return check_failed(subject, "step %d (%s) of seed %llu: %s", i, what,
                                (unsigned long long)subject->options->seed, engine.violation);
        }
    }
    for (size_t i = 0; i < FAKE_SESSIONS; i++) {
        fake_kill(&engine);
        if (!fake_finish(&engine, i)) {
            return check_failed(subject, "seed %llu: an execution was never completed",
                                (unsigned long long)subject->options->seed);
        }
    }
    fake_close(&engine);
    return check_violated(subject, &engine);
}

const check_test check_random = {"a random sequence", random_sequences};
