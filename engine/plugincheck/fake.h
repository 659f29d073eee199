/* fake.h - an engine made up around one plugin: its host table, tickets, sessions, and the
 * programs that it starts, which are none. What the plugin does against the rules of
 * plugin.h is noted, the first of it in words. Thread: one; what the plugin calls from
 * another is such a thing. */
#ifndef KILN_PLUGINCHECK_FAKE_H
#define KILN_PLUGINCHECK_FAKE_H

#include "plugin/backend.h"
#include "plugin/loader.h"

#include <stdbool.h>

enum { FAKE_TICKETS = 64, FAKE_SESSIONS = 4, FAKE_HANDLES = 64, FAKE_OPTIONS = 32 };

typedef struct fake_engine fake_engine;

typedef struct fake_session {
    kiln_session base;
    void *state;
    bool open;
    uint32_t running; /* slot + 1 of its execution or query, or 0 */
    bool begun;       /* the plugin has been told of it */
    bool preparing;   /* a session_prepare that is not answered */
    bool placed;      /* answered, with a place: what waits for it can begin */
} fake_session;

typedef struct fake_ticket {
    uint32_t generation;
    bool active;
    bool abandoned; /* what still comes for it is dropped, and is nobody's fault */
    unsigned completions;
    bool query;
} fake_ticket;

struct fake_engine {
    kiln_host host; /* first: the plugin's pointer is the engine's */
    const kiln_loaded_plugin *loaded;
    const kiln_plugin *plugin;
    void *self;
    bool initialised;
    int thread;
    char violation[400]; /* "": none */
    char last_log[200];
    fake_ticket tickets[FAKE_TICKETS];
    fake_session sessions[FAKE_SESSIONS];
    struct kiln_process *processes;
    struct kiln_watch *watches;
    struct kiln_timer *timers;
    bool refuse_spawn;
    bool bare;              /* it has no extension */
    unsigned turn;          /* timers and descriptors take turns */
    const char *const *set; /* "key=value" of the caller, NULL-terminated */
    const char *odd;        /* every option's value, or NULL */
    kiln_runtime runtime;
};

/* As the engine would have it before init. Nothing is to be freed but by fake_close. */
void fake_open(fake_engine *engine, const kiln_loaded_plugin *loaded, const char *const *set);
/* The oldest engine that takes the plugin: its host table ends where that one's did, and it
 * has no extension. Before fake_init. */
void fake_make_oldest(fake_engine *engine);
/* NULL, or why init failed. */
const char *fake_init(fake_engine *engine);
/* fini, and what it left running ends. */
void fake_close(fake_engine *engine);

int fake_session_open(fake_engine *engine, size_t which);
void fake_session_close(fake_engine *engine, size_t which);
/* The plugin's session_prepare, where it has FILES, and execute, at once or when the place is
 * there. 0: the session runs it. */
int fake_execute(fake_engine *engine, size_t which);
/* The plugin's query; 0: the session waits for its reply. */
int fake_query(fake_engine *engine, size_t which, const char *name, const char *arguments);
void fake_interrupt(fake_engine *engine, size_t which);
/* What the engine does when the grace is over: every program dies. */
void fake_kill(fake_engine *engine);
/* One thing happens: a program says something and ends, a timer fires, a descriptor is
 * ready. False: the plugin waits for nothing. */
bool fake_step(fake_engine *engine);
/* Steps until what the session runs is over; false: it never will be. */
bool fake_finish(fake_engine *engine, size_t which);
/* What it is that does not come, when fake_finish was false. */
const char *fake_missing(const fake_engine *engine, size_t which);
/* The ticket is stale from now on, as when the engine has given an execution up. */
void fake_abandon(fake_engine *engine, size_t which);

#endif
