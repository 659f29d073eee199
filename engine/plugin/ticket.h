/* ticket.h - slots with generations: which execution a plugin speaks of. Thread: loop. */
#ifndef KILN_PLUGIN_TICKET_H
#define KILN_PLUGIN_TICKET_H

#include "plugin/backend.h"

typedef struct kiln_ticket_entry {
    uint32_t generation; /* odd while in use */
    kiln_backend *backend;
    kiln_binding *binding;
    kiln_run_callbacks callbacks;
    void *user;
} kiln_ticket_entry;

typedef struct kiln_tickets {
    kiln_ticket_entry *entries;
    uint32_t count;
    uint64_t stale; /* emits and completions that were dropped */
} kiln_tickets;

/* -ENOMEM, or 0 with a fresh ticket. */
int kiln_ticket_take(kiln_tickets *tickets, kiln_backend *backend, kiln_binding *binding,
                     const kiln_run_callbacks *callbacks, void *user, kiln_ticket *ticket);
/* NULL: stale, or not that backend's; it has been counted. The pointer is valid until
 * the next take. */
kiln_ticket_entry *kiln_ticket_find(kiln_tickets *tickets, const kiln_backend *backend,
                                    kiln_ticket ticket);
void kiln_ticket_release(kiln_tickets *tickets, kiln_ticket ticket);
void kiln_tickets_free(kiln_tickets *tickets);

#endif
