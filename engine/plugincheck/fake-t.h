/* fake-t.h - what fake.c and fake_host.c share. */
#ifndef KILN_PLUGINCHECK_FAKE_T_H
#define KILN_PLUGINCHECK_FAKE_T_H

#include "plugincheck/fake.h"

struct kiln_process {
    struct kiln_process *next;
    kiln_spawn spawn;
    bool killed;
};

struct kiln_watch {
    struct kiln_watch *next;
    int fd;
    int events;
    void (*ready)(void *user, int fd, int events);
    void *user;
};

struct kiln_timer {
    struct kiln_timer *next;
    void (*fire)(void *user);
    void *user;
};

/* Notes the first thing that the plugin did against the rules. */
void fake_violated(fake_engine *engine, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The table, as this engine's ABI has it. */
void fake_host_fill(kiln_host *host);
/* The session's place is there, or is not: `why` in one line. */
void fake_place_told(fake_engine *engine, fake_session *session, const char *why);

#endif
