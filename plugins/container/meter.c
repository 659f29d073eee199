#include "meter.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ssize_t read_file(int fd, char *text, size_t size)
{
    ssize_t n = pread(fd, text, size - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return n;
}

/* The container's path below a controller's hierarchy ("" : version 2). */
static bool find_path(const char *table, const char *controller, char *path, size_t size)
{
    for (const char *line = table; *line != '\0';) {
        const char *names = strchr(line, ':');
        const char *where = names != NULL ? strchr(names + 1, ':') : NULL;
        size_t length = strcspn(line, "\n");
        if (where == NULL || where > line + length) {
            return false;
        }
        size_t wanted = strlen(controller);
        bool found = *controller == '\0' ? where == names + 1 : false;
        for (const char *name = names + 1; !found && name < where;) {
            size_t part = strcspn(name, ",:");
            found = part == wanted && wanted > 0 && memcmp(name, controller, part) == 0;
            name += part + 1;
        }
        if (found) {
            int written =
                snprintf(path, size, "%.*s", (int)(line + length - where - 1), where + 1);
            return written > 0 && (size_t)written < size;
        }
        line += length + (line[length] != '\0');
    }
    return false;
}

static int open_counter(const char *folder, const char *path, const char *name)
{
    char full[1200];
    int length = snprintf(full, sizeof(full), "/sys/fs/cgroup/%s%s/%s", folder, path, name);
    return length > 0 && (size_t)length < sizeof(full) ? open(full, O_RDONLY | O_CLOEXEC) : -1;
}

static int open_v1(const char *table, const char *controller, const char *name)
{
    char path[900];
    return find_path(table, controller, path, sizeof(path))
               ? open_counter(controller, path, name)
               : -1;
}

bool meter_open(meter *self, pid_t pid, const char *id)
{
    char name[64], table[4096], path[900];
    *self = (meter)METER_NONE;
    snprintf(name, sizeof(name), "/proc/%d/cgroup", (int)pid);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read_file(fd, table, sizeof(table));
    close(fd);
    /* The engine told the number; that it is still that process, the path tells. */
    if (n <= 0 || strlen(id) < 12 || strstr(table, id) == NULL) {
        return false;
    }
    self->cpu = open_v1(table, "cpuacct", "cpuacct.usage");
    if (self->cpu >= 0) {
        self->cpu_is_v1 = true;
        self->memory_peak = open_v1(table, "memory", "memory.max_usage_in_bytes");
        self->memory_events = open_v1(table, "memory", "memory.oom_control");
        self->pids = open_v1(table, "pids", "pids.current");
        self->pids_events = open_v1(table, "pids", "pids.events");
    } else if (find_path(table, "", path, sizeof(path))) {
        self->cpu = open_counter("", path, "cpu.stat");
        self->memory_peak = open_counter("", path, "memory.peak");
        self->memory_events = open_counter("", path, "memory.events");
        self->pids = open_counter("", path, "pids.current");
        self->pids_events = open_counter("", path, "pids.events");
    }
    return true;
}

void meter_close(meter *self)
{
    const int fds[] = {self->cpu, self->memory_peak, self->memory_events, self->pids,
                       self->pids_events};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    *self = (meter)METER_NONE;
}

bool meter_works(const meter *self)
{
    return self->cpu >= 0 && self->memory_events >= 0;
}

/* "name 12\n" among lines, or the file's only number when name is NULL. */
static uint64_t number(int fd, const char *name)
{
    char text[2048];
    if (fd < 0 || read_file(fd, text, sizeof(text)) <= 0) {
        return 0;
    }
    if (name == NULL) {
        return strtoull(text, NULL, 10);
    }
    size_t length = strlen(name);
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, name, length) == 0 && line[length] == ' ') {
            return strtoull(line + length, NULL, 10);
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return 0;
}

void meter_read(const meter *self, reading *now)
{
    *now = (reading){.cpu_ms = -1};
    if (self->cpu >= 0) {
        now->cpu_ms = self->cpu_is_v1 ? (double)number(self->cpu, NULL) / 1e6
                                      : (double)number(self->cpu, "usage_usec") / 1e3;
    }
    now->peak_bytes = number(self->memory_peak, NULL);
    now->oom_kills = number(self->memory_events, "oom_kill");
    now->processes = number(self->pids, NULL);
    now->pids_refused = number(self->pids_events, "max");
}
