/* target.h - HOST:PORT as a request names it, and the allow-list that it must be in. */
#ifndef KILN_NETWORK_TARGET_H
#define KILN_NETWORK_TARGET_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    KILN_HOST_MAX = 253, /* RFC 1035, without the root's dot */
};

/* A host as it is compared: lower case, no dot at the end, addresses as inet_ntop
 * writes them and without brackets. */
typedef struct kiln_target {
    char host[KILN_HOST_MAX + 1];
    uint16_t port;
    bool literal;                    /* an address, not a name */
    struct sockaddr_storage address; /* of a literal, with its port */
} kiln_target;

/* `host` is a name, an IPv4 address in four decimal numbers or an IPv6 address in
 * brackets. What other readers would take for an address (127.1, 0x7f000001) is
 * refused. -EINVAL. */
int kiln_target_set(kiln_target *target, const char *host, size_t length, uint16_t port,
                    kiln_error *err);
/* "HOST:PORT"; without a port `port` counts, 0: it must be there. -EINVAL. */
int kiln_target_parse(kiln_target *target, const char *text, size_t length, uint16_t port,
                      kiln_error *err);
/* "example.org:443", "[::1]:80"; room for KILN_TARGET_TEXT. */
enum { KILN_TARGET_TEXT = KILN_HOST_MAX + 10 };
void kiln_target_text(const kiln_target *target, char text[KILN_TARGET_TEXT]);

/* [sandbox] allow. */
typedef struct kiln_allow_list kiln_allow_list;
/* host:port, *.example.org:443 (any name below example.org, not itself),
 * 10.0.0.5:8080, [::1]:80. -EINVAL: the entry, and what is wrong with it. */
int kiln_allow_list_new(const char *const *entries, kiln_allow_list **list, kiln_error *err);
void kiln_allow_list_free(kiln_allow_list *list);
/* Is that very name or address, with that port, listed? */
bool kiln_allow_list_has(const kiln_allow_list *list, const kiln_target *target);
/* Is there an entry for this host, whatever the port? `host` as in a kiln_target. */
bool kiln_allow_list_has_host(const kiln_allow_list *list, const char *host);
/* Is this resolved address with its port listed as a literal? */
bool kiln_allow_list_has_address(const kiln_allow_list *list, const struct sockaddr *address);

#endif
