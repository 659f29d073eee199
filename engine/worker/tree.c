#include "worker/tree.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROCESSES_MAX = 65536 };

typedef struct pid_list {
    pid_t *pids;
    size_t count, capacity;
} pid_list;

static void pid_list_free(pid_list *list)
{
    free(list->pids);
}

static int add(pid_list *list, pid_t pid)
{
    if (list->count == list->capacity) {
        size_t more = list->capacity > 0 ? list->capacity * 2 : 64;
        pid_t *grown = realloc(list->pids, more * sizeof(*grown));
        if (grown == NULL) {
            return -ENOMEM;
        }
        list->pids = grown;
        list->capacity = more;
    }
    list->pids[list->count++] = pid;
    return 0;
}

typedef struct process_stat {
    uint64_t ticks;          /* its own */
    uint64_t children_ticks; /* of those that it has waited for */
    uint64_t threads;
    uint64_t pages;
} process_stat;

/* proc_pid_stat(5). The command in field 2 may hold anything, its last ")" ends it. */
static int read_stat(pid_t pid, process_stat *stat)
{
    char path[64];
    char text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    auto_fclose FILE *file = fopen(path, "re");
    if (file == NULL) {
        return -errno;
    }
    size_t length = fread(text, 1, sizeof(text) - 1, file);
    text[length] = '\0';
    const char *at = strrchr(text, ')');
    uint64_t user, system, children_user, children_system, threads;
    int64_t pages;
    if (at == NULL ||
        sscanf(at + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNu64 " %*d %*d %" SCNu64 " %*d %*u %*u %" SCNd64,
               &user, &system, &children_user, &children_system, &threads, &pages) != 6) {
        return -ESRCH;
    }
    *stat = (process_stat){user + system, children_user + children_system, threads,
                           pages > 0 ? (uint64_t)pages : 0};
    return 0;
}

/* Any thread may be the one that forked. */
static int add_children(pid_t pid, pid_list *list)
{
    char path[128];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL) {
        return -errno;
    }
    struct dirent *entry;
    int rc = 0;
    while (rc == 0 && (entry = readdir(tasks)) != NULL) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(path, sizeof(path), "/proc/%d/task/%.20s/children", (int)pid, entry->d_name);
        auto_fclose FILE *file = fopen(path, "re");
        int child;
        while (file != NULL && rc == 0 && list->count < PROCESSES_MAX &&
               fscanf(file, "%d", &child) == 1) {
            rc = add(list, child);
        }
    }
    closedir(tasks);
    return rc;
}

/* How many pid namespaces have a pid for it: /proc/PID/status, "NSpid:  4711  12  1". Any user
 * may read that. 0: it is gone. */
static unsigned namespaces_of(pid_t pid)
{
    static const char key[] = "NSpid:";
    char path[64];
    char line[512];
    unsigned count = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    auto_fclose FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, key, sizeof(key) - 1) != 0) {
            continue;
        }
        for (const char *at = line + sizeof(key) - 1; *at != '\0'; at++) {
            count += isdigit((unsigned char)*at) && !isdigit((unsigned char)at[-1]);
        }
        break;
    }
    return count;
}

/* A branch is a session by itself: its supervisor is pid 1 of a namespace in ours, and a child
 * of the root. Code makes no namespaces. */
static void leave_out_nested(pid_t root, pid_list *list)
{
    unsigned own = namespaces_of(root);
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (own == 0 || namespaces_of(list->pids[i]) <= own) {
            list->pids[kept++] = list->pids[i];
        }
    }
    list->count = kept;
}

/* "Pss_Anon:   123 kB" and the like. Where the kernel does not let us look into it
 * (another user's, or not dumpable), /proc/PID/status tells of whole pages. */
static void read_memory(pid_t pid, kiln_tree *tree)
{
    static const struct {
        const char *file, *private, *shared;
    } sources[] = {{"smaps_rollup", "Pss_Anon:", "Pss_Shmem:"},
                   {"status", "RssAnon:", "RssShmem:"}};
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        char path[64];
        char line[256];
        bool found = false;
        snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, sources[i].file);
        auto_fclose FILE *file = fopen(path, "re");
        while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
            size_t first = strlen(sources[i].private);
            size_t second = strlen(sources[i].shared);
            if (strncmp(line, sources[i].private, first) == 0) {
                tree->memory_bytes += strtoull(line + first, NULL, 10) * 1024;
                found = true;
            } else if (strncmp(line, sources[i].shared, second) == 0) {
                tree->shared_bytes += strtoull(line + second, NULL, 10) * 1024;
            }
        }
        if (found) {
            return;
        }
    }
}

int kiln_tree_measure(pid_t root, pid_t apart, bool exact, kiln_tree *tree)
{
    __attribute__((cleanup(pid_list_free))) pid_list list = {0};
    const double tick_ms = 1000.0 / (double)sysconf(_SC_CLK_TCK);
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    process_stat stat = {0};
    *tree = (kiln_tree){0};
    int rc = read_stat(root, &stat);
    rc = rc < 0 ? rc : add_children(root, &list);
    rc = rc < 0 || apart <= 0 ? rc : add(&list, apart);
    if (rc < 0) {
        return rc;
    }
    leave_out_nested(root, &list);
    tree->cpu_ms = (double)stat.children_ticks * tick_ms;
    /* A parent is read before its children: one that ends meanwhile may be missed, and is
     * not counted twice. */
    for (size_t i = 0; i < list.count; i++) {
        if (read_stat(list.pids[i], &stat) < 0) {
            continue;
        }
        tree->processes += stat.threads;
        tree->cpu_ms += (double)(stat.ticks + stat.children_ticks) * tick_ms;
        if (exact) {
            read_memory(list.pids[i], tree);
        } else {
            tree->memory_bytes += stat.pages * page;
        }
        if (add_children(list.pids[i], &list) == -ENOMEM) {
            return -ENOMEM;
        }
    }
    return 0;
}

pid_t kiln_tree_pid(int pidfd)
{
    char path[64];
    char line[256];
    int pid = 0;
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
    auto_fclose FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "Pid: %d", &pid) == 1) {
            break;
        }
    }
    return pid > 0 ? pid : -ESRCH;
}
