/* decisions.h - what a proxy allowed and refused, bounded, each told once. */
#ifndef KILN_NETWORK_DECISIONS_H
#define KILN_NETWORK_DECISIONS_H

#include <stdint.h>

enum { KILN_DECISIONS_MAX = 100 };

typedef struct kiln_decision {
    const char *action; /* static */
    char *detail;
    uint64_t times;
} kiln_decision;

typedef struct kiln_decisions {
    kiln_decision list[KILN_DECISIONS_MAX];
    int count;
    uint64_t others; /* not kept */
} kiln_decisions;

/* `action` is static. What is not printable ASCII in `text` becomes '?'. */
void kiln_decisions_add(kiln_decisions *decisions, const char *action, const char *text);
/* Tells them all, in order of their first time, and forgets them. */
void kiln_decisions_tell(kiln_decisions *decisions,
                         void (*decision)(void *user, const char *action, const char *detail),
                         void *user);
void kiln_decisions_clear(kiln_decisions *decisions);

#endif
