#include "network/decisions.h"

#include "base/cleanup.h"

#include <inttypes.h>
#include <string.h>

void kiln_decisions_add(kiln_decisions *decisions, const char *action, const char *text)
{
    char detail[512];
    snprintf(detail, sizeof(detail), "%s", text);
    for (char *at = detail; *at != '\0'; at++) {
        if (*at < 0x20 || *at >= 0x7f) {
            *at = '?';
        }
    }
    for (int i = 0; i < decisions->count; i++) {
        kiln_decision *known = &decisions->list[i];
        if (strcmp(known->action, action) == 0 && strcmp(known->detail, detail) == 0) {
            known->times++;
            return;
        }
    }
    char *copy = decisions->count < KILN_DECISIONS_MAX ? strdup(detail) : NULL;
    if (copy == NULL) {
        decisions->others++;
        return;
    }
    decisions->list[decisions->count++] = (kiln_decision){action, copy, 1};
}

void kiln_decisions_tell(kiln_decisions *decisions,
                         void (*decision)(void *user, const char *action, const char *detail),
                         void *user)
{
    for (int i = 0; i < decisions->count; i++) {
        const kiln_decision *one = &decisions->list[i];
        auto_free char *counted = NULL;
        if (one->times > 1 &&
            asprintf(&counted, "%s (%" PRIu64 " times)", one->detail, one->times) < 0) {
            counted = NULL;
        }
        decision(user, one->action, counted != NULL ? counted : one->detail);
    }
    if (decisions->others > 0) {
        char text[80];
        snprintf(text, sizeof(text), "%" PRIu64 " more that are not listed", decisions->others);
        decision(user, "connections", text);
    }
    kiln_decisions_clear(decisions);
}

void kiln_decisions_clear(kiln_decisions *decisions)
{
    for (int i = 0; i < decisions->count; i++) {
        free(decisions->list[i].detail);
    }
    decisions->count = 0;
    decisions->others = 0;
}
