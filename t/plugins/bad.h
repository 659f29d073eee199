/* bad.h - what the plugins of this folder share: each is wrong in one way that its
 * name says, and right in every other. */
#ifndef KILN_TEST_BAD_H
#define KILN_TEST_BAD_H

#include <kiln/plugin.h>

#include <unistd.h>

static const char *const bad_languages[] = {"*", NULL};

static inline int bad_execute(void *self, kiln_ticket ticket, kiln_session *session,
                              void *state, const kiln_input *input)
{
    (void)self, (void)ticket, (void)session, (void)state, (void)input;
    return -1;
}
static inline int bad_session_open(void *self, kiln_session *session, void **state)
{
    (void)self, (void)session, (void)state;
    return 0;
}
static inline int bad_preload(const kiln_worker_host *host, const char **error)
{
    (void)host, (void)error;
    return 0;
}
static inline int bad_start(void)
{
    return 0;
}
static inline int bad_worker_execute(const kiln_cell *cell, kiln_verdict *verdict)
{
    (void)cell, (void)verdict;
    return 0;
}

/* The fields that every plugin has; the file's own come after it. */
#define BAD_FIELDS(its_name)                                                                   \
    .size = sizeof(kiln_plugin), .abi_major = KILN_ABI_MAJOR, .abi_minor = KILN_ABI_MINOR,     \
    .name = (its_name), .version = "1", .summary = "bad on purpose",                           \
    .languages = bad_languages

/* A note of any version, and an entry, where KILN_PLUGIN would not do. */
#define BAD_NOTE(major, minor)                                                                 \
    __attribute__((section(".note.kiln"), used,                                                \
                   aligned(4))) static const kiln_note bad_note = {sizeof(KILN_NOTE_NAME),     \
                                                                   2 * sizeof(uint32_t),       \
                                                                   KILN_NOTE_TYPE,             \
                                                                   KILN_NOTE_NAME,             \
                                                                   (major),                    \
                                                                   (minor)}
#define BAD_ENTRY(expression)                                                                  \
    KILN_EXPORT const kiln_plugin *kiln_plugin_entry(void);                                    \
    KILN_EXPORT const kiln_plugin *kiln_plugin_entry(void)                                     \
    {                                                                                          \
        return (expression);                                                                   \
    }

/* For plugins that must be refused before they are opened: opening them shows. */
#define BAD_CONSTRUCTOR                                                                        \
    __attribute__((constructor)) static void bad_constructor(void)                             \
    {                                                                                          \
        static const char text[] = "the constructor ran\n";                                    \
        (void)!write(STDERR_FILENO, text, sizeof(text) - 1);                                   \
    }

#endif
