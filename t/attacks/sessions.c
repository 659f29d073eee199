/* Two sessions at once: one holds something of every kind, the other looks for it. */
#include "attack.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

enum { KEY = 0x4b494c4e, PORT = 4711 };
#define ABSTRACT "\0kiln-sessions"
static const char *const files[] = {"/work/held", "/tmp/held", "/dev/shm/held", NULL};

static int unix_socket(const char *name, size_t length, int type, int binding)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, name, length);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    int fd = socket(AF_UNIX, type, 0);
    if (!binding) {
        return connect(fd, (struct sockaddr *)&address, size);
    }
    return bind(fd, (struct sockaddr *)&address, size) < 0 ||
                   (type == SOCK_STREAM && listen(fd, 1) < 0)
               ? -1
               : fd;
}

static long udp(int binding)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    address.sin_addr.s_addr = htonl(binding ? INADDR_ANY : INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return binding ? bind(fd, (struct sockaddr *)&address, sizeof(address))
                   : sendto(fd, "x", 1, 0, (struct sockaddr *)&address, sizeof(address));
}

static long read_lock(void)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    return fcntl(open("/usr/bin/env", O_RDONLY), F_SETLK, &lock);
}

static long write_lock(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(open("/usr/bin/env", O_RDONLY), F_SETLK, &lock);
}

/* The same clock in all sessions. */
static long milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

static void hold(void)
{
    for (int i = 0; files[i] != NULL; i++) {
        TRY("hold a file", open(files[i], O_WRONLY | O_CREAT, 0666));
    }
    TRY("hold shm_open", shm_open("/kiln-sessions", O_CREAT | O_RDWR, 0666));
    int memory = shmget(KEY, 4096, IPC_CREAT | 0666);
    TRY("hold shared memory", memory);
    TRY("hold a semaphore", semget(KEY, 1, IPC_CREAT | 0666));
    TRY("hold a queue", msgget(KEY, IPC_CREAT | 0666));
    TRY("hold a POSIX queue", mq_open("/kiln-sessions", O_CREAT | O_RDWR, 0666, NULL));
    TRY("hold an abstract socket", unix_socket(ABSTRACT, sizeof(ABSTRACT) - 1, SOCK_STREAM, 1));
    TRY("hold abstract datagrams", unix_socket(ABSTRACT "d", sizeof(ABSTRACT), SOCK_DGRAM, 1));
    TRY("hold a socket",
        unix_socket("/tmp/held.sock", sizeof("/tmp/held.sock"), SOCK_STREAM, 1));
    TRY("hold a UDP port", udp(1));
    TRY("hold a read lock", read_lock());
    dprintf(STDOUT_FILENO, "holding at %ld, uid %u\n", milliseconds(), getuid());
}

static int signalled(void)
{
    int count = 0;
    for (pid_t pid = 2; pid < 5000; pid++) {
        count += pid != getpid() && kill(pid, 0) == 0 ? 1 : 0;
    }
    return count;
}

static void look(void)
{
    for (int i = 0; files[i] != NULL; i++) {
        TRY("look for a file", open(files[i], O_RDONLY));
    }
    TRY("look for shm_open", shm_open("/kiln-sessions", O_RDWR, 0));
    TRY("look for shared memory", shmget(KEY, 0, 0));
    TRY("look for a semaphore", semget(KEY, 0, 0));
    TRY("look for a queue", msgget(KEY, 0));
    TRY("look for a POSIX queue", mq_open("/kiln-sessions", O_RDWR));
    TRY("look for an abstract socket",
        unix_socket(ABSTRACT, sizeof(ABSTRACT) - 1, SOCK_STREAM, 0));
    TRY("look for abstract datagrams",
        unix_socket(ABSTRACT "d", sizeof(ABSTRACT), SOCK_DGRAM, 0));
    TRY("look for a socket",
        unix_socket("/tmp/held.sock", sizeof("/tmp/held.sock"), SOCK_STREAM, 0));
    TRY("look for a UDP port", udp(0));
    TRY("look for a writer's lock", write_lock());
    dprintf(STDOUT_FILENO, "others that can be signalled: %d\n", signalled());
    FILE *seen = fopen("/proc/net/unix", "re");
    char line[512];
    int names = 0;
    while (seen != NULL && fgets(line, sizeof(line), seen) != NULL) {
        names += strstr(line, "kiln-sessions") != NULL ? 1 : 0;
    }
    dprintf(STDOUT_FILENO, "names of sockets seen: %d\n", names);
    dprintf(STDOUT_FILENO, "UDP port taken: %s\n", udp(1) < 0 ? strerrorname_np(errno) : "no");
    dprintf(STDOUT_FILENO, "looked at %ld, uid %u\n", milliseconds(), getuid());
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "hold") == 0) {
        hold();
        sleep(argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 30);
        dprintf(STDOUT_FILENO, "held until %ld\n", milliseconds());
    } else {
        if (argc > 2) {
            sleep((unsigned)strtoul(argv[2], NULL, 10));
        }
        look();
    }
    return 0;
}
