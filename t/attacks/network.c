/* The host's network, from its loopback to the world, and sockets of every family. */
#include "attack.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

/* What the test opened on the host. */
#ifndef TCP_PORT
#define TCP_PORT      1
#define UDP_PORT      1
#define HOST_SOCKET   "/run/docker.sock"
#define HOST_ABSTRACT "kiln"
#endif

/* What a connection that does not block came to. */
static long connected(int fd, const void *address, socklen_t size)
{
    if (connect(fd, address, size) == 0) {
        return 0;
    }
    struct pollfd ready = {fd, POLLOUT, 0};
    int failure = EINPROGRESS;
    socklen_t length = sizeof(failure);
    if (errno == EINPROGRESS && poll(&ready, 1, 500) == 1) {
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length);
        errno = failure;
    }
    return errno == 0 ? 0 : -1;
}

static long tcp(const char *address, int port, int protocol)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    long rc = fd < 0 ? -1 : connected(fd, &to, sizeof(to));
    int failure = errno;
    close(fd);
    errno = failure;
    return rc;
}

static long udp(const char *address, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to));
}

static long six(int type, const char *address, int port)
{
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    inet_pton(AF_INET6, address, &to.sin6_addr);
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -1 : connected(fd, &to, sizeof(to));
}

static long listening(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(fd, (struct sockaddr *)&at, sizeof(at));
}

static long local(const char *name, size_t length, int type)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, name, length);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    return connect(fd, (struct sockaddr *)&to,
                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
}

static void families(void)
{
    char allowed[256] = "";
    char pairs[256] = "";
    for (int family = 0; family < 64; family++) {
        int fd = socket(family, SOCK_STREAM, 0);
        /* Only the filter says EPERM of a family whose protocol is not known. */
        if (fd >= 0 || errno != EPERM) {
            size_t used = strlen(allowed);
            snprintf(allowed + used, sizeof(allowed) - used, " %d", family);
        }
        close(fd);
        int two[2];
        if (socketpair(family, SOCK_STREAM, 0, two) == 0) {
            size_t used = strlen(pairs);
            snprintf(pairs + used, sizeof(pairs) - used, " %d", family);
            close(two[0]);
            close(two[1]);
        }
    }
    dprintf(STDOUT_FILENO, "families:%s\npairs:%s\n", allowed, pairs);
}

static void interfaces(void)
{
    struct if_nameindex *list = if_nameindex();
    dprintf(STDOUT_FILENO, "interfaces:");
    for (int i = 0; list != NULL && list[i].if_name != NULL; i++) {
        dprintf(STDOUT_FILENO, " %s", list[i].if_name);
    }
    dprintf(STDOUT_FILENO, "\n");
    if (list != NULL) {
        if_freenameindex(list);
    }
    struct ifreq request = {.ifr_name = "lo"};
    request.ifr_flags = IFF_UP;
    TRY("bring lo up", ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &request));
}

/* A message to whoever holds another port of the same netlink family. */
static long netlink_neighbour(void)
{
    struct sockaddr_nl to = {.nl_family = AF_NETLINK, .nl_pid = 4242};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    char message[NLMSG_SPACE(0)] = {0};
    return sendto(fd, message, sizeof(message), 0, (struct sockaddr *)&to, sizeof(to));
}

static void seen_in_proc(const char *path, const char *what)
{
    FILE *file = fopen(path, "re");
    char line[512];
    int count = -1;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        count += what == NULL || strstr(line, what) != NULL || count < 0 ? 1 : 0;
    }
    dprintf(STDOUT_FILENO, "seen in %s: %d\n", path, count);
    if (file != NULL) {
        fclose(file);
    }
}

int main(void)
{
    families();
    interfaces();
    TRY("raw socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    TRY("raw IPv6 socket", socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
    TRY("packet socket", socket(AF_PACKET, SOCK_RAW, 0));
    TRY("AF_VSOCK", socket(AF_VSOCK, SOCK_STREAM, 0));
    TRY("AF_ALG", socket(AF_ALG, SOCK_SEQPACKET, 0));
    TRY("AF_XDP", socket(44, SOCK_RAW, 0));
    TRY("NETLINK_AUDIT", socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT));
    TRY("NETLINK_USERSOCK", socket(AF_NETLINK, SOCK_RAW, NETLINK_USERSOCK));
    TRY("NETLINK_KOBJECT_UEVENT", socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
    TRY("NETLINK_GENERIC", socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC));
    TRY("netlink to another", netlink_neighbour());
    TRY("TCP to the host's loopback", tcp("127.0.0.1", TCP_PORT, 0));
    TRY("TCP to 0.0.0.0", tcp("0.0.0.0", TCP_PORT, 0));
    TRY("MPTCP to the host's loopback", tcp("127.0.0.1", TCP_PORT, 262));
    TRY("SCTP to the host's loopback", tcp("127.0.0.1", TCP_PORT, IPPROTO_SCTP));
    TRY("TCP to the world", tcp("192.0.2.1", 80, 0));
    TRY("TCP to a cloud's metadata", tcp("169.254.169.254", 80, 0));
    TRY("TCP to IPv6 loopback", six(SOCK_STREAM, "::1", TCP_PORT));
    TRY("TCP to mapped loopback", six(SOCK_STREAM, "::ffff:127.0.0.1", TCP_PORT));
    TRY("UDP to IPv6 loopback", six(SOCK_DGRAM, "::1", UDP_PORT));
    TRY("UDP to the host's loopback", udp("127.0.0.1", UDP_PORT));
    TRY("UDP to the world", udp("192.0.2.1", 53));
    TRY("listen", listening(0));
    TRY("host's socket", local(HOST_SOCKET, strlen(HOST_SOCKET) + 1, SOCK_STREAM));
    TRY("host's abstract socket",
        local("\0" HOST_ABSTRACT, sizeof(HOST_ABSTRACT), SOCK_STREAM));
    TRY("host's abstract datagrams",
        local("\0" HOST_ABSTRACT "-d", sizeof(HOST_ABSTRACT "-d"), SOCK_DGRAM));
    seen_in_proc("/proc/net/unix", HOST_ABSTRACT);
    seen_in_proc("/proc/net/tcp", NULL);
    struct addrinfo *found = NULL;
    int rc = getaddrinfo("example.org", "80", NULL, &found);
    dprintf(STDOUT_FILENO, "DNS: %s\n",
            rc == EAI_AGAIN    ? "EAI_AGAIN"
            : rc == EAI_NONAME ? "EAI_NONAME"
                               : gai_strerror(rc));
    if (rc == 0) {
        freeaddrinfo(found);
    }
    dprintf(STDOUT_FILENO, "end\n");
    return 0;
}
