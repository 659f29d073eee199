/* guest_fork.c - a worker makes a second one of itself: a branch, which goes on in a
 * session nested in this one, or a snapshot, which waits beside it.
 *
 * It is forked by a go-between that shares our memory (vfork), for two reasons: what the
 * fork is a child of is then gone at once, so that no wait() of the code's finds it and the
 * supervisor reaps it; and the go-between can enter other namespaces in our place. Our
 * memory is copied once, and libc's own fork does it. */
#include "worker/supervisor.h"

#include "base/cleanup.h"
#include "worker/descriptors.h"
#include "worker/frame.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STDIO_AND_FRAMES = 4 };

/* What the engine sends once it is ready for the fork. */
typedef struct go {
    char what; /* KILN_FORK_BRANCH, _SNAPSHOT, _CANCEL */
    int fds[KILN_BRANCH_SPACES + KILN_FORK_CGROUPS_MAX + STDIO_AND_FRAMES];
    int count;
} go;

/* Of the snapshot that we are, until we take the worker's place. */
static kiln_descriptors kept;

/* ---- whether it can be done */

static size_t count_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    size_t count = 0;
    while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    if (tasks != NULL) {
        closedir(tasks);
    }
    return count;
}

/* One that has been joined may still be on its way out. */
static size_t settled_threads(void)
{
    static const struct timespec pause = {0, 1000000};
    enum { PATIENCE_MS = 20 };
    size_t count = count_threads();
    for (int waited = 0; count > 1 && waited < PATIENCE_MS; waited++) {
        nanosleep(&pause, NULL);
        count = count_threads();
    }
    return count;
}

/* What <linux/fs.h> has from Linux 6.11 on. */
typedef struct map_query {
    uint64_t size, flags, address;
    uint64_t start, end, vma_flags, page_size, offset, inode;
    uint32_t major, minor, name_size, build_id_size;
    uint64_t name, build_id;
} map_query;
enum { MAP_WRITABLE = 2, MAP_SHARED_ = 8, MAP_OR_NEXT = 16 };

/* 1: what lies in `name`, 0: there is none, negative: the kernel cannot tell. A few
 * microseconds; to read the list of a thousand mappings takes half a millisecond. */
static int find_shared_map(int maps, char *name, size_t size)
{
    map_query query = {.size = sizeof(query),
                       .flags = MAP_WRITABLE | MAP_SHARED_ | MAP_OR_NEXT,
                       .name = (uint64_t)(uintptr_t)name,
                       .name_size = (uint32_t)size};
    if (ioctl(maps, _IOWR('f', 17, map_query), &query) == 0) {
        if (query.name_size == 0) {
            snprintf(name, size, "anonymous");
        }
        return 1;
    }
    return errno == ENOENT ? 0 : -errno;
}

/* "7f..-7f.. rw-s 00000000 00:1b 5  /path" */
static int read_shared_map(FILE *maps, char *path, size_t size)
{
    char line[4200];
    while (fgets(line, sizeof(line), maps) != NULL) {
        const char *rights = strchr(line, ' ');
        if (rights != NULL && rights[2] == 'w' && rights[4] == 's') {
            const char *name = strchr(rights, '/');
            snprintf(path, size, "%.*s", name != NULL ? (int)strcspn(name, "\n") : 9,
                     name != NULL ? name : "anonymous");
            return 1;
        }
    }
    return 0;
}

/* Written by one, it is changed for both. */
static bool shares_memory(char *path, size_t size)
{
    auto_fclose FILE *maps = fopen("/proc/self/maps", "re");
    int found = maps != NULL ? find_shared_map(fileno(maps), path, size) : 1;
    return (found < 0 ? read_shared_map(maps, path, size) : found) == 1;
}

static void find_obstacle(const kiln_worker *worker, const kiln_descriptors *descriptors,
                          bool snapshot, kiln_error *err)
{
    char path[200] = "";
    size_t threads = settled_threads();
    if (worker->branched == NULL) {
        kiln_error_set(err, ENOTSUP, "its language cannot be forked");
    } else if (threads != 1) {
        kiln_error_set(err, EBUSY, "%zu threads run in it, and a fork would have only one",
                       threads);
    } else if (shares_memory(path, sizeof(path))) {
        kiln_error_set(err, EBUSY, "it has shared memory (%s), which would stay shared", path);
    }
    for (size_t i = 0; snapshot && err->code == 0 && i < descriptors->count; i++) {
        if (descriptors->list[i].kind == KILN_DESCRIPTOR_UNNAMED &&
            (descriptors->list[i].flags & O_ACCMODE) != O_RDONLY) {
            kiln_error_set(err, EBUSY,
                           "it has an open file without a name (descriptor %d), whose content "
                           "could not be brought back",
                           descriptors->list[i].fd);
        }
    }
}

/* ---- the conversation */

static int send_answer(kiln_frame_type type, json_t *json)
{
    auto_json json_t *owned = json;
    auto_free char *text = owned != NULL ? json_dumps(owned, JSON_COMPACT) : NULL;
    if (text == NULL) {
        return -ENOMEM;
    }
    kiln_guest_send(type, text, strlen(text));
    return 0;
}

static int receive_go(int frames, go *order)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(order->fds))];
    } room;
    struct iovec part = {&order->what, 1};
    struct msghdr from = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = room.bytes,
                          .msg_controllen = sizeof(room.bytes)};
    ssize_t got;
    do {
        got = recvmsg(frames, &from, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    order->count = 0;
    struct cmsghdr *head = got == 1 ? CMSG_FIRSTHDR(&from) : NULL;
    if (head != NULL && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
        order->count = (int)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(order->fds, CMSG_DATA(head), (size_t)order->count * sizeof(int));
    }
    int least = order->what == KILN_FORK_CANCEL     ? 0
                : order->what == KILN_FORK_SNAPSHOT ? STDIO_AND_FRAMES
                                                    : KILN_BRANCH_SPACES + STDIO_AND_FRAMES;
    int most = least + (order->what == KILN_FORK_BRANCH ? KILN_FORK_CGROUPS_MAX : 0);
    return got == 1 && order->count >= least && order->count <= most ? 0 : -EPROTO;
}

/* ---- the fork */

/* 0 in the fork, *made its pid elsewhere. The go-between writes into our memory. */
__attribute__((noinline)) static int fork_apart(const int *spaces, volatile pid_t *made,
                                                kiln_error *err)
{
    *made = -1;
    pid_t between = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
    if (between == 0) {
        if (spaces != NULL && kiln_sandbox_enter_nested(spaces, err) < 0) {
            _exit(1);
        }
        pid_t child = fork(); /* NOLINT(clang-analyzer-unix.Vfork): what it is for */
        if (child == 0) {
            return 0; /* with a copy of this stack, where nobody has returned yet */
        }
        if (child < 0) {
            kiln_error_errno(err, errno, "fork");
        }
        *made = child;
        _exit(0);
    }
    if (between < 0) {
        return kiln_error_errno(err, errno, "fork");
    }
    while (waitpid(between, NULL, __WALL) < 0 && errno == EINTR) {
    }
    /* Dumpable is a property of memory, which the go-between's new rights changed. */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (*made < 0 && err->code == 0) {
        kiln_error_set(err, ECANCELED, "the fork was killed on its way");
    }
    return 1;
}

static int take_places(const int *fds, int frames)
{
    for (int i = 0; i < 3; i++) {
        if (dup2(fds[i], i) < 0) {
            return -errno;
        }
    }
    return dup3(fds[3], frames, O_CLOEXEC) < 0 ? -errno : 0;
}

/* Best done by the process itself, see kiln_cgroup_fds. The engine looks whether it was. */
static void enter_cgroups(const go *order)
{
    for (int i = KILN_BRANCH_SPACES; i < order->count - STDIO_AND_FRAMES; i++) {
        if (write(order->fds[i], "0", 1) != 1) {
            return;
        }
    }
}

static void close_all(const go *order)
{
    for (int i = 0; i < order->count; i++) {
        close(order->fds[i]);
    }
}

/* In the fork. Returns 1: it is a worker from now on. */
static int begin(const kiln_worker *worker, const go *order, kiln_descriptors *descriptors,
                 int frames)
{
    kiln_error err = KILN_ERROR_INIT;
    bool branch = order->what == KILN_FORK_BRANCH;
    if (branch) {
        enter_cgroups(order); /* first: from here on its memory is the branch's */
    }
    int rc = branch ? kiln_sandbox_lock_nested(&err) : 0;
    if (rc < 0) {
        kiln_guest_refuse(order->fds[order->count - 1], err.text);
        _exit(1);
    }
    setsid();
    rc = take_places(order->fds + order->count - STDIO_AND_FRAMES, frames);
    close_all(order);
    if (rc < 0) {
        _exit(1);
    }
    kiln_guest_became(frames);
    if (branch) {
        kiln_descriptors_renew(descriptors, true);
        kiln_descriptors_free(descriptors);
    } else {
        kiln_descriptors_free(&kept);
        kept = *descriptors;
    }
    if (worker->branched() < 0) {
        kiln_guest_refuse(frames, "the plugin's branched() failed in the fork");
        _exit(1);
    }
    kiln_guest_send(KILN_FRAME_READY, NULL, 0);
    /* What a first cell would write to is copied while the engine looks at us. */
    if (branch && worker->touch != NULL && worker->touch() < 0) {
        _exit(1);
    }
    return 1;
}

static int fork_now(const kiln_worker *worker, json_int_t id, int frames,
                    kiln_descriptors *descriptors)
{
    go order;
    volatile pid_t made = -1;
    kiln_error err = KILN_ERROR_INIT;
    if (receive_go(frames, &order) < 0) {
        return -EPROTO;
    }
    if (order.what == KILN_FORK_CANCEL) {
        kiln_error_set(&err, ECANCELED, "cancelled");
    } else if (fork_apart(order.what == KILN_FORK_BRANCH ? order.fds : NULL, &made, &err) ==
               0) {
        return begin(worker, &order, descriptors, frames);
    }
    close_all(&order);
    bool snapshot = order.what == KILN_FORK_SNAPSHOT && err.code == 0;
    int rc =
        send_answer(KILN_FRAME_FORKED, json_pack("{s:I,s:i,s:s?}", "id", id, "pid", (int)made,
                                                 "error", err.code != 0 ? err.text : NULL));
    if (rc == 0 && snapshot) {
        /* What the next cell would write to is copied now, while nobody waits. */
        rc = worker->touch != NULL ? worker->touch() : 0;
    }
    return rc;
}

int kiln_guest_fork(const kiln_worker *worker, const kiln_frame *frame, int frames)
{
    auto_json json_t *json = json_loadb(frame->payload, frame->length, 0, NULL);
    kiln_descriptors descriptors;
    kiln_error err = KILN_ERROR_INIT;
    json_int_t id;
    int snapshot;
    if (json == NULL || json_unpack(json, "{s:I,s:b}", "id", &id, "snapshot", &snapshot) < 0) {
        return -EPROTO;
    }
    if (kiln_descriptors_list(&descriptors, frames, &err) == 0) {
        find_obstacle(worker, &descriptors, snapshot, &err);
    }
    int rc = send_answer(KILN_FRAME_FORKABLE, json_pack("{s:I,s:s?}", "id", id, "refusal",
                                                        err.code != 0 ? err.text : NULL));
    if (rc == 0 && err.code == 0) {
        rc = fork_now(worker, id, frames, &descriptors);
    }
    if (rc != 1) {
        kiln_descriptors_free(&descriptors);
    }
    return rc;
}

void kiln_guest_resumed(void)
{
    kiln_descriptors_renew(&kept, false);
    kiln_descriptors_free(&kept);
}
