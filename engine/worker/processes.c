#include "worker/processes.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int kiln_processes_begin(kiln_process_list *list)
{
    list->proc = opendir("/proc");
    return list->proc == NULL ? -errno : 0;
}

void kiln_processes_end(kiln_process_list *list)
{
    closedir(list->proc);
}

/* The text behind "Name:", in a status file; NULL: the kernel has no such line. */
static const char *line_of(const char *text, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = text; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, name, length) == 0 && at[length] == ':') {
            return at + length + 1;
        }
    }
    return NULL;
}

static uint64_t number(const char *text, const char *name, int base)
{
    const char *line = line_of(text, name);
    return line != NULL ? strtoull(line, NULL, base) : 0;
}

static unsigned words(const char *line)
{
    unsigned count = 0;
    while (line != NULL) {
        line += strspn(line, " \t");
        if (*line == '\n' || *line == '\0') {
            break;
        }
        line += strcspn(line, " \t\n");
        count++;
    }
    return count;
}

static void fill(const char *text, kiln_process_facts *facts)
{
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
    const char *state = line_of(text, "State");
    const char *uids = line_of(text, "Uid");
    state += state != NULL ? strspn(state, " \t") : 0;
    facts->zombie = state == NULL || *state == 'Z' || *state == 'X';
    facts->stopped = facts->zombie || *state == 'T';
    facts->own = words(line_of(text, "NSpid")) == 1;
    facts->threads = (unsigned)number(text, "Threads", 10);
    facts->filtered = number(text, "Seccomp", 10) != 0;
    facts->no_new_privs = number(text, "NoNewPrivs", 10) == 1;
    facts->capable = false;
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        facts->capable |= number(text, sets[i], 16) != 0;
    }
    for (int i = 0; i < 4; i++) {
        char *end = NULL;
        facts->uids[i] = uids != NULL ? (uid_t)strtoul(uids, &end, 10) : (uid_t)-1;
        uids = end;
    }
}

int kiln_process_look(pid_t pid, kiln_process_facts *facts)
{
    char path[40];
    char text[8192]; /* some 1.5 KB, and a name's 16 bytes */
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ssize_t length = read(fd, text, sizeof(text) - 1);
    if (length <= 0) {
        return length < 0 ? -errno : -ESRCH;
    }
    text[length] = '\0';
    facts->pid = pid;
    fill(text, facts);
    return 0;
}

bool kiln_processes_next(kiln_process_list *list, kiln_process_facts *facts)
{
    struct dirent *entry;
    while ((entry = readdir(list->proc)) != NULL) {
        long pid = strtol(entry->d_name, NULL, 10);
        if (pid > 1 && kiln_process_look((pid_t)pid, facts) == 0) {
            return true;
        }
    }
    return false;
}

bool kiln_process_shares(pid_t pid, const char *kind)
{
    char path[64];
    struct stat theirs;
    struct stat ours;
    snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kind);
    if (stat(path, &theirs) < 0) {
        return false;
    }
    snprintf(path, sizeof(path), "/proc/self/ns/%s", kind);
    return stat(path, &ours) == 0 && ours.st_ino == theirs.st_ino &&
           ours.st_dev == theirs.st_dev;
}
