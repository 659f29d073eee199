/* The tests. Each is run in a process of its own, with the plugin freshly loaded. */
#include "plugincheck/check-t.h"

#include "plugincheck/allocation.h"
#include "plugincheck/symbols.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 100, ALLOCATIONS_MAX = 500 };

/* ---- the file */

static check_verdict loads(check_subject *subject)
{
    (void)subject; /* the runner has loaded it, or said why not */
    return CHECK_OK;
}

typedef struct symbol_findings {
    char exported[300];
    char asked[300];
} symbol_findings;

static void append(char *list, size_t size, const char *name)
{
    size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%s", used > 0 ? " " : "", name);
}

static void on_symbol(void *user, const char *name, bool defined)
{
    symbol_findings *found = user;
    /* What linkers and sanitizers put there is nobody's. */
    static const char *const usual[] = {KILN_PLUGIN_ENTRY, "_init",  "_fini", "_edata", "_end",
                                        "__bss_start",     "__asan", NULL};
    for (size_t i = 0; usual[i] != NULL; i++) {
        if (strncmp(name, usual[i], strlen(usual[i])) == 0) {
            return;
        }
    }
    if (defined) {
        append(found->exported, sizeof(found->exported), name);
    } else if (strncmp(name, "kiln_", 5) == 0) {
        append(found->asked, sizeof(found->asked), name);
    }
}

static check_verdict symbols(check_subject *subject)
{
    symbol_findings found = {.exported = ""};
    kiln_error err = KILN_ERROR_INIT;
    if (plugin_symbols(subject->path, on_symbol, &found, &err) < 0) {
        return check_failed(subject, "%s", err.text);
    }
    if (found.exported[0] != '\0') {
        return check_failed(subject,
                            "exports %s: only kiln_plugin_entry is to be seen; build with "
                            "-fvisibility=hidden",
                            found.exported);
    }
    if (found.asked[0] != '\0') {
        return check_failed(subject,
                            "asks for %s: a plugin sees the host table and nothing else of "
                            "the engine",
                            found.asked);
    }
    return CHECK_OK;
}

/* ---- init and fini */

check_verdict check_violated(check_subject *subject, const fake_engine *engine)
{
    return engine->violation[0] != '\0' ? check_failed(subject, "%s", engine->violation)
                                        : CHECK_OK;
}

bool check_begin(check_subject *subject, fake_engine *engine)
{
    fake_open(engine, subject->loaded, subject->options->set);
    const char *error = fake_init(engine);
    if (error != NULL) {
        check_failed(subject, "init failed: %s", error);
        fake_close(engine);
        return false;
    }
    return true;
}

static check_verdict init_fini(check_subject *subject)
{
    fake_engine engine;
    if (!check_begin(subject, &engine)) {
        return CHECK_FAILED;
    }
    fake_close(&engine);
    return check_violated(subject, &engine);
}

static size_t count_entries(const char *folder)
{
    size_t count = 0;
    DIR *entries = opendir(folder);
    while (entries != NULL && readdir(entries) != NULL) {
        count++;
    }
    if (entries != NULL) {
        closedir(entries);
    }
    return count;
}

typedef struct holdings {
    size_t bytes, descriptors, threads;
} holdings;

static holdings held(void)
{
    return (holdings){mallinfo2().uordblks, count_entries("/proc/self/fd"),
                      count_entries("/proc/self/task")};
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

/* What a hundred rounds leave; twice, and the smaller counts: caches of the allocator fill
 * up once, a leak goes on. */
static check_verdict leaks(check_subject *subject,
                           bool (*round)(check_subject *, fake_engine *))
{
    fake_engine engine;
    holdings at[3];
    for (int i = 0; i <= 2 * ROUNDS + 5; i++) {
        if (i >= 5 && (i - 5) % ROUNDS == 0) { /* what is made once is made by now */
            at[(i - 5) / ROUNDS] = held();
        }
        if (!round(subject, &engine)) {
            return CHECK_FAILED;
        }
    }
    if (at[2].descriptors > at[1].descriptors) {
        return check_failed(subject, "leaves %zu descriptors open in %d rounds",
                            at[2].descriptors - at[1].descriptors, ROUNDS);
    }
    if (at[2].threads > at[1].threads) {
        return check_failed(subject, "leaves %zu threads in %d rounds",
                            at[2].threads - at[1].threads, ROUNDS);
    }
    /* glibc's smallest block is of 32 bytes */
    const size_t least = 16 * ROUNDS;
    if (at[1].bytes > at[0].bytes + least && at[2].bytes > at[1].bytes + least) {
        return check_failed(subject, "leaks %zu bytes in %d rounds", at[2].bytes - at[1].bytes,
                            ROUNDS);
    }
    return check_violated(subject, &engine);
}

static bool init_round(check_subject *subject, fake_engine *engine)
{
    if (!check_begin(subject, engine)) {
        return false;
    }
    fake_close(engine);
    return true;
}

static check_verdict init_leaks(check_subject *subject)
{
    return leaks(subject, init_round);
}

static check_verdict bad_configuration(check_subject *subject)
{
    static const char *const odd[] = {
        "", "\xff\xfe", "99999999999999999999", "-1", "/dev/null", "a b c", "%s%n"};
    char endless[70000];
    if (subject->loaded->plugin.options == NULL) {
        return check_skipped(subject, "it has no options");
    }
    memset(endless, 'x', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = '\0';
    for (size_t i = 0; i <= sizeof(odd) / sizeof(odd[0]); i++) {
        fake_engine engine;
        fake_open(&engine, subject->loaded, NULL);
        engine.odd = i < sizeof(odd) / sizeof(odd[0]) ? odd[i] : endless;
        const char *error = fake_init(&engine);
        if (error != NULL && strstr(error, "set no *error") != NULL) {
            return check_failed(subject, "init refuses an option's value and sets no *error");
        }
        fake_close(&engine);
        if (engine.violation[0] != '\0') {
            return check_violated(subject, &engine);
        }
    }
    return CHECK_OK;
}

/* An engine of ABI 1.0: its host table ends there. */
static check_verdict older_host(check_subject *subject)
{
    if (subject->loaded->plugin.abi_minor > 0) {
        return check_skipped(subject,
                             "it asks for a newer ABI than 1.0: an older engine refuses it");
    }
    fake_engine engine;
    fake_open(&engine, subject->loaded, subject->options->set);
    engine.host.abi_minor = 0;
    engine.host.size = offsetof(kiln_host, extension) + sizeof(void *);
    memset((char *)&engine.host + engine.host.size, 0, sizeof(kiln_host) - engine.host.size);
    const char *error = fake_init(&engine);
    if (error != NULL) {
        return check_failed(subject, "init failed on a host table of ABI 1.0: %s", error);
    }
    fake_close(&engine);
    return check_violated(subject, &engine);
}

/* ---- executions */

check_verdict check_cannot_execute(check_subject *subject)
{
    const kiln_plugin *plugin = &subject->loaded->plugin;
    if (plugin->execute == NULL) {
        return check_skipped(subject, "it has no engine half: the engine runs its worker");
    }
    return plugin->capabilities & KILN_CAP_FILES
               ? check_skipped(subject, "it runs code in a place of its own (FILES)")
               : CHECK_OK;
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

static check_verdict completes(check_subject *subject)
{
    fake_engine engine;
    check_verdict verdict;
    if (!ready(subject, &engine, &verdict)) {
        return verdict;
    }
    for (int i = 0; i < 3; i++) {
        int rc = fake_execute(&engine, 0);
        if (rc < 0) {
            return engine.violation[0] != '\0'
                       ? check_violated(subject, &engine)
                       : check_failed(subject, "execute failed: %s", strerror(-rc));
        }
        if (!fake_finish(&engine, 0)) {
            return check_failed(subject, "an execution was never completed");
        }
    }
    for (int i = 0; i < 20 && fake_step(&engine); i++) { /* what comes late comes now */
    }
    fake_close(&engine);
    return check_violated(subject, &engine);
}

static check_verdict two_sessions(check_subject *subject)
{
    fake_engine engine;
    check_verdict verdict;
    if (!ready(subject, &engine, &verdict)) {
        return verdict;
    }
    if (fake_execute(&engine, 0) < 0 || fake_execute(&engine, 1) < 0) {
        return check_failed(subject, "two sessions cannot run at once");
    }
    if (!fake_finish(&engine, 1) || !fake_finish(&engine, 0)) {
        return check_failed(subject, "of two executions at once one was never completed");
    }
    fake_close(&engine);
    return check_violated(subject, &engine);
}

static check_verdict interrupts(check_subject *subject)
{
    fake_engine engine;
    check_verdict verdict;
    if (!(subject->loaded->plugin.capabilities & KILN_CAP_INTERRUPT)) {
        return check_skipped(subject,
                             "it does not say INTERRUPT: the engine kills its programs");
    }
    if (!ready(subject, &engine, &verdict)) {
        return verdict;
    }
    for (int times = 1; times <= 3; times++) {
        if (fake_execute(&engine, 0) < 0) {
            return check_failed(subject, "execute failed after an interrupt");
        }
        for (int i = 0; i < times; i++) {
            fake_interrupt(&engine, 0);
        }
        if (!fake_finish(&engine, 0)) {
            fake_kill(&engine);
            if (!fake_finish(&engine, 0)) {
                return check_failed(subject, "an interrupted execution was never completed");
            }
        }
    }
    /* one that is not its own, or over */
    engine.plugin->interrupt(engine.self, (kiln_ticket){0, engine.tickets[0].generation});
    engine.plugin->interrupt(engine.self, (kiln_ticket){12345, 6789});
    fake_close(&engine);
    return check_violated(subject, &engine);
}

static check_verdict killed(check_subject *subject)
{
    fake_engine engine;
    check_verdict verdict;
    if (!ready(subject, &engine, &verdict)) {
        return verdict;
    }
    if (fake_execute(&engine, 0) < 0) {
        return check_failed(subject, "execute failed");
    }
    fake_kill(&engine);
    if (!fake_finish(&engine, 0)) {
        return check_failed(subject, "not completed when its programs were killed");
    }
    fake_close(&engine);
    return check_violated(subject, &engine);
}

/* The engine's own end: everything is killed, sessions are closed, then fini. */
static check_verdict ends_in_flight(check_subject *subject)
{
    fake_engine engine;
    check_verdict verdict;
    if (!ready(subject, &engine, &verdict)) {
        return verdict;
    }
    if (fake_execute(&engine, 0) < 0 || fake_execute(&engine, 1) < 0) {
        return check_failed(subject, "execute failed");
    }
    fake_interrupt(&engine, 1);
    fake_close(&engine);
    return check_violated(subject, &engine);
}

/* The engine has given up on it: emit and complete say -ESTALE from then on. */
static check_verdict abandoned(check_subject *subject)
{
    fake_engine engine;
    check_verdict verdict;
    if (!ready(subject, &engine, &verdict)) {
        return verdict;
    }
    if (fake_execute(&engine, 0) < 0) {
        return check_failed(subject, "execute failed");
    }
    fake_abandon(&engine, 0);
    fake_kill(&engine);
    for (int i = 0; i < 20 && fake_step(&engine); i++) {
    }
    if (fake_execute(&engine, 0) < 0 || !fake_finish(&engine, 0)) {
        return check_failed(subject, "no execution works after one that was abandoned");
    }
    fake_close(&engine);
    return check_violated(subject, &engine);
}

static check_verdict spawn_fails(check_subject *subject)
{
    fake_engine engine;
    check_verdict verdict;
    if (!ready(subject, &engine, &verdict)) {
        return verdict;
    }
    engine.refuse_spawn = true;
    if (fake_execute(&engine, 0) >= 0 && !fake_finish(&engine, 0)) {
        return check_failed(subject, "never completed after host->spawn had failed");
    }
    engine.refuse_spawn = false;
    if (fake_execute(&engine, 0) < 0 || !fake_finish(&engine, 0)) {
        return check_failed(subject, "no execution works after host->spawn had failed once");
    }
    fake_close(&engine);
    return check_violated(subject, &engine);
}

static check_verdict execution_leaks(check_subject *subject)
{
    check_verdict verdict = check_cannot_execute(subject);
    return verdict != CHECK_OK ? verdict : leaks(subject, live);
}

/* Each allocation of a whole life fails once; whatever comes of it, the plugin does not
 * crash, and what it began it completes. */
static check_verdict allocations(check_subject *subject)
{
    kiln_error err = KILN_ERROR_INIT;
    if (allocation_hook(subject->loaded->handle, &err) < 0) {
        return check_failed(subject, "%s", err.text);
    }
    bool runs = subject->loaded->plugin.execute != NULL &&
                !(subject->loaded->plugin.capabilities & KILN_CAP_FILES);
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

const check_test check_tests[] = {
    {"its note, struct, name, options and callbacks are whole", loads},
    {"exports its entry alone, and asks the engine for no symbol", symbols},
    {"init and fini", init_fini},
    {"init and fini a hundred times leak nothing", init_leaks},
    {"odd values of its options", bad_configuration},
    {"a host table of ABI 1.0", older_host},
    {"executions complete, once each", completes},
    {"two sessions at once", two_sessions},
    {"interrupts: once, often, late, of another's", interrupts},
    {"its programs are killed", killed},
    {"the engine ends with work in flight", ends_in_flight},
    {"an execution is abandoned", abandoned},
    {"no program can be started", spawn_fails},
    {"a hundred lives leak nothing", execution_leaks},
    {"each allocation fails once", allocations},
    {"its worker half", check_worker_half},
    {NULL, NULL},
};
