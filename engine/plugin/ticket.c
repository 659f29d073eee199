#include "plugin/ticket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool in_use(const kiln_ticket_entry *entry)
{
    return entry->generation & 1;
}

int kiln_ticket_take(kiln_tickets *tickets, kiln_backend *backend, kiln_binding *binding,
                     const kiln_run_callbacks *callbacks, void *user, kiln_ticket *ticket)
{
    uint32_t slot = 0;
    while (slot < tickets->count && in_use(&tickets->entries[slot])) {
        slot++;
    }
    if (slot == tickets->count) {
        uint32_t count = tickets->count > 0 ? tickets->count * 2 : 16;
        kiln_ticket_entry *entries = realloc(tickets->entries, count * sizeof(*entries));
        if (entries == NULL) {
            return -ENOMEM;
        }
        memset(entries + tickets->count, 0, (count - tickets->count) * sizeof(*entries));
        tickets->entries = entries;
        tickets->count = count;
    }
    kiln_ticket_entry *entry = &tickets->entries[slot];
    entry->generation++;
    entry->backend = backend;
    entry->binding = binding;
    entry->callbacks = *callbacks;
    entry->user = user;
    *ticket = (kiln_ticket){.slot = slot, .generation = entry->generation};
    return 0;
}

kiln_ticket_entry *kiln_ticket_find(kiln_tickets *tickets, const kiln_backend *backend,
                                    kiln_ticket ticket)
{
    if (ticket.slot < tickets->count) {
        kiln_ticket_entry *entry = &tickets->entries[ticket.slot];
        if (in_use(entry) && entry->generation == ticket.generation &&
            entry->backend == backend) {
            return entry;
        }
    }
    tickets->stale++;
    return NULL;
}

void kiln_ticket_release(kiln_tickets *tickets, kiln_ticket ticket)
{
    if (ticket.slot < tickets->count &&
        tickets->entries[ticket.slot].generation == ticket.generation) {
        tickets->entries[ticket.slot].generation++;
    }
}

void kiln_tickets_free(kiln_tickets *tickets)
{
    free(tickets->entries);
    *tickets = (kiln_tickets){0};
}
