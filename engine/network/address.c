#include "network/address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct range {
    unsigned char prefix[16];
    int bits;
    const char *what;
} range;

static const range ranges4[] = {
    {{0}, 8, "an unspecified address"},
    {{10}, 8, "a private address"},
    {{100, 64}, 10, "a shared (carrier) address"},
    {{127}, 8, "a loopback address"},
    {{169, 254}, 16, "a link-local address"},
    {{172, 16}, 12, "a private address"},
    {{192, 0, 0}, 24, "a protocol's address"},
    {{192, 0, 2}, 24, "a documentation address"},
    {{192, 31, 196}, 24, "a protocol's address"},
    {{192, 52, 193}, 24, "a protocol's address"},
    {{192, 88, 99}, 24, "a 6to4 relay address"},
    {{192, 168}, 16, "a private address"},
    {{192, 175, 48}, 24, "a protocol's address"},
    {{198, 18}, 15, "a benchmark address"},
    {{198, 51, 100}, 24, "a documentation address"},
    {{203, 0, 113}, 24, "a documentation address"},
    {{224}, 4, "a multicast address"},
    {{240}, 4, "a reserved address"},
};

/* The first that fits is told; what lies outside 2000::/3 is refused anyhow. */
static const range ranges6[] = {
    {{0}, 128, "an unspecified address"},
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 128, "a loopback address"},
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96, "an IPv4-mapped address"},
    {{0}, 96, "an IPv4-compatible address"},
    {{0x00, 0x64, 0xff, 0x9b}, 96, "a NAT64 address"},
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, "a NAT64 address"},
    {{0x20, 0x01}, 23, "a protocol's address (Teredo, ORCHID)"},
    {{0x20, 0x01, 0x0d, 0xb8}, 32, "a documentation address"},
    {{0x20, 0x02}, 16, "a 6to4 address"},
    {{0x3f, 0xff}, 20, "a documentation address"},
    {{0xfc}, 7, "a unique-local address"},
    {{0xfe, 0x80}, 10, "a link-local address"},
    {{0xfe, 0xc0}, 10, "a site-local address"},
    {{0xff}, 8, "a multicast address"},
};

static bool within(const unsigned char *address, const range *one)
{
    int whole = one->bits / 8;
    int rest = one->bits % 8;
    if (memcmp(address, one->prefix, (size_t)whole) != 0) {
        return false;
    }
    return rest == 0 ||
           ((address[whole] ^ one->prefix[whole]) & (0xff << (8 - rest)) & 0xff) == 0;
}

static const char *find(const unsigned char *address, const range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (within(address, &ranges[i])) {
            return ranges[i].what;
        }
    }
    return NULL;
}

const char *kiln_address_special(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in four;
        memcpy(&four, address, sizeof(four));
        return find((const unsigned char *)&four.sin_addr, ranges4,
                    sizeof(ranges4) / sizeof(ranges4[0]));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, address, sizeof(six));
        const char *what =
            find(six.sin6_addr.s6_addr, ranges6, sizeof(ranges6) / sizeof(ranges6[0]));
        bool global = (six.sin6_addr.s6_addr[0] & 0xe0) == 0x20;
        return what != NULL ? what : global ? NULL : "a reserved address";
    }
    return "no internet address";
}

static bool same(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family != b->sa_family) {
        return false;
    }
    if (a->sa_family == AF_INET) {
        return memcmp(&((const struct sockaddr_in *)(const void *)a)->sin_addr,
                      &((const struct sockaddr_in *)(const void *)b)->sin_addr,
                      sizeof(struct in_addr)) == 0;
    }
    return memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr,
                  sizeof(struct in6_addr)) == 0;
}

const char *kiln_address_refuse(const struct sockaddr *address)
{
    struct ifaddrs *interfaces;
    const char *what = kiln_address_special(address);
    if (what != NULL) {
        return what;
    }
    /* Asked each time: addresses come and go, and it costs some 30 us a connection. */
    if (getifaddrs(&interfaces) < 0) {
        return "perhaps this machine: its own addresses cannot be read";
    }
    for (const struct ifaddrs *i = interfaces; i != NULL && what == NULL; i = i->ifa_next) {
        if (i->ifa_addr != NULL && same(i->ifa_addr, address)) {
            what = "this machine's own address";
        }
    }
    freeifaddrs(interfaces);
    return what;
}

void kiln_address_text(const struct sockaddr *address, char text[INET6_ADDRSTRLEN])
{
    const void *number =
        address->sa_family == AF_INET
            ? (const void *)&((const struct sockaddr_in *)(const void *)address)->sin_addr
            : (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    if (inet_ntop(address->sa_family, number, text, INET6_ADDRSTRLEN) == NULL) {
        snprintf(text, INET6_ADDRSTRLEN, "?");
    }
}
