/* address.h - which addresses the proxy may connect to because a public name says so. */
#ifndef KILN_NETWORK_ADDRESS_H
#define KILN_NETWORK_ADDRESS_H

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

/* NULL: a host of the public internet, as far as its number tells. Else what it is
 * instead, static: "a private address". Ranges of the IANA special-purpose registries
 * (RFC 6890 and what was added since), and IPv6 that carries IPv4 inside. */
const char *kiln_address_special(const struct sockaddr *address);
/* As above, and the addresses of this machine's own interfaces are "this machine". */
const char *kiln_address_refuse(const struct sockaddr *address);
/* "10.0.0.5", "fc00::1"; no port, no brackets. */
void kiln_address_text(const struct sockaddr *address, char text[INET6_ADDRSTRLEN]);

#endif
