/* The file itself, init and fini. */
#include "plugincheck/check-t.h"

#include "plugincheck/symbols.h"

#include <stdio.h>
#include <string.h>

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
    return check_leaks(subject, init_round);
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

const check_test check_file_tests[] = {
    {"its note, struct, name, options and callbacks are whole", loads},
    {"exports its entry alone, and asks the engine for no symbol", symbols},
    {"init and fini", init_fini},
    {"init and fini a hundred times leak nothing", init_leaks},
    {"odd values of its options", bad_configuration},
    {NULL, NULL},
};
