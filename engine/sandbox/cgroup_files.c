#include "sandbox/cgroup_files.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

int kiln_cgroup_write(int group, const char *file, const char *text)
{
    auto_close int fd = openat(group, file, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ssize_t length = (ssize_t)strlen(text);
    ssize_t written = write(fd, text, (size_t)length);
    return written < 0 ? -errno : written == length ? 0 : -EIO;
}

static int write_number(int group, const char *file, uint64_t value, const char *unlimited)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    return kiln_cgroup_write(group, file, value > 0 ? text : unlimited);
}

static bool read_text(int group, const char *file, char *text, size_t size)
{
    auto_close int fd = openat(group, file, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);
    if (length < 0) {
        return false;
    }
    text[length] = '\0';
    return true;
}

static bool read_number(int group, const char *file, uint64_t *value)
{
    char text[64];
    return read_text(group, file, text, sizeof(text)) && sscanf(text, "%" SCNu64, value) == 1;
}

/* "KEY VALUE" lines. */
static bool find_key(const char *text, const char *key, uint64_t *value)
{
    size_t length = strlen(key);
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            return sscanf(line + length, "%" SCNu64, value) == 1;
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return false;
}

int kiln_cgroup_open_events(int group, bool unified, kiln_cgroup_role role)
{
    const char *file = role == KILN_CGROUP_PIDS ? "pids.events"
                       : unified                ? "memory.events"
                                                : "memory.oom_control";
    int fd = openat(group, file, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void kiln_cgroup_read_events(int fd, kiln_cgroup_role role, kiln_cgroup_usage *usage)
{
    char text[512];
    uint64_t value = 0;
    ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
    if (length < 0) {
        return;
    }
    text[length] = '\0';
    if (role == KILN_CGROUP_PIDS && find_key(text, "max", &value)) {
        usage->pids_refused = value;
    } else if (role == KILN_CGROUP_MEMORY && find_key(text, "oom_kill", &value)) {
        usage->oom_kills = value;
    }
}

/* With swap a limit on memory alone would be none. The sum may never be below the
 * memory's own limit, so which of the two goes first depends on the direction. */
static int limit_memory_v1(int group, uint64_t memory)
{
    int swap = write_number(group, "memory.memsw.limit_in_bytes", memory, "-1");
    int rc = write_number(group, "memory.limit_in_bytes", memory, "-1");
    if (rc == 0 && swap == -EINVAL) {
        swap = write_number(group, "memory.memsw.limit_in_bytes", memory, "-1");
    }
    if (rc == 0 && swap != 0 && swap != -ENOENT) {
        rc = swap;
    }
    return rc;
}

static int limit_memory_v2(int group, uint64_t memory)
{
    int rc = write_number(group, "memory.max", memory, "max");
    int swap = kiln_cgroup_write(group, "memory.swap.max", memory > 0 ? "0" : "max");
    return rc == 0 && swap != 0 && swap != -ENOENT ? swap : rc;
}

int kiln_cgroup_write_limits(int group, bool unified, unsigned roles, const kiln_limits *limits,
                             kiln_error *err)
{
    if ((roles & (1U << KILN_CGROUP_MEMORY)) != 0) {
        int rc = unified ? limit_memory_v2(group, limits->memory)
                         : limit_memory_v1(group, limits->memory);
        if (rc < 0) {
            return kiln_error_errno(err, rc, "cgroup: limiting memory to %" PRIu64 " bytes",
                                    limits->memory);
        }
    }
    if ((roles & (1U << KILN_CGROUP_PIDS)) != 0) {
        int rc = write_number(group, "pids.max", limits->processes, "max");
        if (rc < 0) {
            return kiln_error_errno(err, rc, "cgroup: limiting processes to %" PRIu64,
                                    limits->processes);
        }
    }
    return 0;
}

int kiln_cgroup_write_cpus(int group, bool unified, uint64_t cpus)
{
    enum { PERIOD_US = 100000 };
    char text[64];
    uint64_t quota = cpus * PERIOD_US / 1000;
    if (cpus == 0) {
        return unified ? kiln_cgroup_write(group, "cpu.max", "max")
                       : kiln_cgroup_write(group, "cpu.cfs_quota_us", "-1");
    }
    if (unified) {
        snprintf(text, sizeof(text), "%" PRIu64 " %d", quota, PERIOD_US);
        return kiln_cgroup_write(group, "cpu.max", text);
    }
    snprintf(text, sizeof(text), "%d", PERIOD_US);
    int rc = kiln_cgroup_write(group, "cpu.cfs_period_us", text);
    snprintf(text, sizeof(text), "%" PRIu64, quota);
    return rc < 0 ? rc : kiln_cgroup_write(group, "cpu.cfs_quota_us", text);
}

uint64_t kiln_cgroup_read_memory(int group, bool unified, unsigned roles)
{
    uint64_t value = 0;
    return (roles & (1U << KILN_CGROUP_MEMORY)) != 0 &&
                   read_number(group, unified ? "memory.current" : "memory.usage_in_bytes",
                               &value)
               ? value
               : 0;
}

/* The processes of a group, at most `most`; 0: in another pid namespace. */
static size_t list_processes(int group, pid_t *pids, size_t most)
{
    auto_close int fd = openat(group, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    auto_fclose FILE *procs = fd >= 0 ? fdopen(fd, "r") : NULL;
    size_t count = 0;
    long pid = 0;
    if (procs == NULL) {
        return 0;
    }
    (void)kiln_steal_fd(&fd); /* the stream's now */
    while (count < most && fscanf(procs, "%ld", &pid) == 1) {
        pids[count++] = (pid_t)pid;
    }
    return count;
}

static bool holds(const pid_t *pids, size_t count, pid_t pid)
{
    for (size_t i = 0; i < count; i++) {
        if (pids[i] == pid) {
            return true;
        }
    }
    return false;
}

/* By name, where no file kills all. A process may end after the list is read, and its
 * number be given to another one of the machine: so what is killed is what had the number
 * before a second look still found it in the group. */
static void kill_listed(int group)
{
    enum { MOST = 1024 };
    pid_t pids[MOST];
    pid_t again[MOST];
    int fds[MOST];
    size_t count = list_processes(group, pids, MOST);
    for (size_t i = 0; i < count; i++) {
        /* 1 and ourselves: never. */
        fds[i] = pids[i] > 1 && pids[i] != getpid() ? pidfd_open(pids[i], 0) : -1;
    }
    size_t still = count > 0 ? list_processes(group, again, MOST) : 0;
    for (size_t i = 0; i < count; i++) {
        if (fds[i] >= 0) {
            if (holds(again, still, pids[i])) {
                pidfd_send_signal(fds[i], SIGKILL, NULL, 0);
            }
            close(fds[i]);
        }
    }
}

void kiln_cgroup_kill(int group, bool unified)
{
    if (!unified || kiln_cgroup_write(group, "cgroup.kill", "1") != 0) {
        kill_listed(group);
    }
}

/* A word of a list that blanks part: "cpu" is none of "cpuset memory". */
static bool lists(const char *text, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += length) {
        if ((at == text || at[-1] == ' ') && strchr(" \n", at[length]) != NULL) {
            return true;
        }
    }
    return false;
}

int kiln_cgroup_enable_controllers(int group)
{
    char have[512];
    if (!read_text(group, "cgroup.controllers", have, sizeof(have))) {
        return -errno;
    }
    if (!lists(have, "memory") || !lists(have, "pids")) {
        return -ENOTSUP;
    }
    int rc = kiln_cgroup_write(group, "cgroup.subtree_control", "+memory +pids");
    if (rc == 0 && lists(have, "cpu")) {
        /* cpu.stat counts without it; the controller is for shares only. */
        (void)kiln_cgroup_write(group, "cgroup.subtree_control", "+cpu");
    }
    return rc;
}

void kiln_cgroup_read_controllers(int group, char *text, size_t size)
{
    if (!read_text(group, "cgroup.subtree_control", text, size)) {
        text[0] = '\0';
    }
}

void kiln_cgroup_restore_controllers(int group, const char *before)
{
    static const char *const added[] = {"memory", "pids", "cpu"};
    for (size_t i = 0; i < sizeof(added) / sizeof(added[0]); i++) {
        char text[16];
        snprintf(text, sizeof(text), "-%s", added[i]);
        if (!lists(before, added[i])) {
            (void)kiln_cgroup_write(group, "cgroup.subtree_control", text);
        }
    }
}
