/* family.h - processes below one, by their names. */
#ifndef KILN_UNIT_FAMILY_H
#define KILN_UNIT_FAMILY_H

#include "base/cleanup.h"

#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Its parent, 0 where there is none any more; its name. */
static pid_t family_parent(pid_t pid, char name[32])
{
    char path[64];
    int parent = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    auto_fclose FILE *file = fopen(path, "re");
    return file != NULL && fscanf(file, "%*d (%31[^)]) %*c %d", name, &parent) == 2 ? parent
                                                                                    : 0;
}

/* One of that name below `root`, whose parent has that other name; 0: there is none. */
static pid_t family_find(pid_t root, const char *wanted, const char *below)
{
    pid_t found = 0;
    char name[32];
    char ignored[32];
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        pid_t parent = pid > 0 ? family_parent(pid, name) : 0;
        if (parent <= 0 || strcmp(name, wanted) != 0) {
            continue;
        }
        pid_t above = family_parent(parent, name);
        bool is_below = strcmp(name, below) == 0;
        while (above > 1 && above != root) {
            above = family_parent(above, ignored);
        }
        if (is_below && above == root) {
            found = pid;
        }
    }
    closedir(proc);
    return found;
}

/* Waits until there is one, kills it, and waits for its end. false: there was none. */
static bool family_kill(pid_t root, const char *wanted, const char *below)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    enum { PATIENCE = 20000 };
    pid_t pid = 0;
    char name[32];
    for (int i = 0; i < PATIENCE && pid == 0; i++) {
        pid = family_find(root, wanted, below);
        nanosleep(&pause, NULL);
    }
    if (pid == 0 || kill(pid, SIGKILL) < 0) {
        return false;
    }
    for (int i = 0; i < PATIENCE && family_parent(pid, name) > 0; i++) {
        nanosleep(&pause, NULL);
    }
    return true;
}

#endif
