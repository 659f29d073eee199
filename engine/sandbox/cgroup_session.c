/* cgroup_session.c - the group of one session, in each hierarchy that is of use: made below
 * the engine's subtree, entered, limited, read and removed. */
#include "base/cleanup.h"
#include "base/log.h"
#include "sandbox/cgroup_files.h"
#include "sandbox/cgroup_meter.h"
#include "sandbox/cgroup_tree.h"
#include "sandbox/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct kiln_cgroup {
    char name[sizeof(((kiln_cgroup_name *)NULL)->text)];
    int folders[KILN_CGROUP_PLACES_MAX]; /* parallel to the layout's places; -1: not used */
    int entries[KILN_CGROUP_PLACES_MAX]; /* of those that are, `entered` of them */
    int entered;
    int events[KILN_CGROUP_ROLES]; /* files that count the limits' hits; -1: not opened yet */
    int count;
    const kiln_cgroup_tree *tree;
    kiln_cgroup_meter meter;
    uint64_t cpus;   /* asked for */
    bool keeps_cpus; /* and kept */
};

/* A group whose processes were killed and that the kernel still holds. */
struct dying {
    struct dying *next;
    int place;
    char name[80];
};

static struct dying *all_dying;
static unsigned serial;

/* What could not be removed at once is tried again whenever a group comes or goes. */
static void bury(const kiln_cgroup_tree *tree)
{
    struct dying **at = &all_dying;
    while (*at != NULL) {
        struct dying *one = *at;
        if (kiln_cgroup_remove(tree->folders[one->place], one->name,
                               tree->layout.places[one->place].unified, 1) == -EBUSY) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        free(one);
    }
}

static void bury_later(int place, const char *name)
{
    struct dying *one = calloc(1, sizeof(*one));
    if (one == NULL) {
        return; /* removed at exit with the whole tree */
    }
    one->place = place;
    snprintf(one->name, sizeof(one->name), "%s", name);
    one->next = all_dying;
    all_dying = one;
}

void kiln_cgroup_forget_dying(void)
{
    for (struct dying *one = all_dying; one != NULL; one = all_dying) {
        all_dying = one->next;
        free(one);
    }
}

static void close_group(kiln_cgroup *group)
{
    for (int i = 0; i < group->count; i++) {
        if (group->folders[i] >= 0) {
            close(group->folders[i]);
        }
    }
    for (int i = 0; i < group->entered; i++) {
        close(group->entries[i]);
    }
    kiln_cgroup_meter_close(&group->meter);
    for (int role = 0; role < KILN_CGROUP_ROLES; role++) {
        if (group->events[role] >= 0) {
            close(group->events[role]);
        }
    }
    free(group);
}

static int make_folder(kiln_cgroup *group, int i, const kiln_limits *limits, kiln_error *err)
{
    const kiln_cgroup_place *place = &group->tree->layout.places[i];
    group->folders[i] = -1;
    group->count = i + 1;
    if (limits->cpus == 0 && place->roles == 1U << KILN_CGROUP_CPU_QUOTA) {
        return 0; /* to make it and to enter it costs as much as the others */
    }
    if (mkdirat(group->tree->folders[i], group->name, 0755) < 0) {
        return kiln_error_errno(err, errno, "cgroup: making %s", group->name);
    }
    group->folders[i] = kiln_cgroup_open(group->tree->folders[i], group->name);
    if (group->folders[i] < 0) {
        return kiln_error_errno(err, group->folders[i], "cgroup: opening %s", group->name);
    }
    kiln_cgroup_meter_open(&group->meter, group->folders[i], place->unified, place->roles);
    /* Who enters has one thread and writes "0". By v1's list of threads the kernel then moves
     * it at once; by cgroup.procs it takes a lock whose first taker after a while waits for
     * an RCU grace period: 0.05 ms against 4 to 17. */
    const char *entrance = place->unified ? "cgroup.procs" : "tasks";
    int fd = openat(group->folders[i], entrance, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return kiln_error_errno(err, errno, "cgroup: opening %s/%s", group->name, entrance);
    }
    group->entries[group->entered++] = fd;
    return 0;
}

kiln_cgroup *kiln_cgroup_create(const char *name, const kiln_limits *limits, kiln_error *err)
{
    err->code = 0;
    err->text[0] = '\0';
    const kiln_cgroup_tree *tree = kiln_cgroup_get_tree();
    if (tree == NULL) {
        return NULL;
    }
    bury(tree);
    kiln_cgroup *group = calloc(1, sizeof(*group));
    if (group == NULL) {
        kiln_error_set(err, -ENOMEM, "cgroup: out of memory");
        return NULL;
    }
    for (int role = 0; role < KILN_CGROUP_ROLES; role++) {
        group->events[role] = -1;
    }
    kiln_cgroup_meter_init(&group->meter);
    group->tree = tree;
    /* A number of its own: the group of an earlier session of this name may still be
     * dying. And no name from outside becomes a path. */
    int used = snprintf(group->name, sizeof(group->name), "%u-%.60s", ++serial, name);
    for (int i = 0; i < used && group->name[i] != '\0'; i++) {
        if (strchr("/\n. ", group->name[i]) != NULL) {
            group->name[i] = '_';
        }
    }
    int rc = 0;
    for (int i = 0; rc == 0 && i < tree->layout.count; i++) {
        rc = make_folder(group, i, limits, err);
    }
    if (rc == 0) {
        rc = kiln_cgroup_set_limits(group, limits, err);
    }
    if (rc < 0) {
        kiln_cgroup_destroy(group);
        return NULL;
    }
    return group;
}

const int *kiln_cgroup_fds(const kiln_cgroup *group, int *count)
{
    *count = group->entered;
    return group->entries;
}

void kiln_cgroup_get_name(const kiln_cgroup *group, kiln_cgroup_name *name)
{
    *name = (kiln_cgroup_name){.places = group->entered};
    memcpy(name->text, group->name, sizeof(group->name));
}

/* "9:memory:/kiln-1-2/5-name": a name has a number of its own, so its end is enough. */
bool kiln_cgroup_holds(const kiln_cgroup_name *name, pid_t pid)
{
    char path[40];
    char line[4200];
    int found = 0;
    size_t length = strnlen(name->text, sizeof(name->text));
    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
    auto_fclose FILE *lines = fopen(path, "re");
    while (lines != NULL && fgets(line, sizeof(line), lines) != NULL) {
        const char *last = strrchr(line, '/');
        found += last != NULL && strncmp(last + 1, name->text, length) == 0 &&
                 last[1 + length] == '\n';
    }
    return name->places == 0 || found == name->places;
}

/* Not an error of the whole group: memory and processes matter more. */
static void limit_cpus(kiln_cgroup *group, uint64_t cpus)
{
    if (cpus == group->cpus) {
        return;
    }
    group->cpus = cpus;
    group->keeps_cpus = false;
    for (int i = 0; i < group->count; i++) {
        const kiln_cgroup_place *place = &group->tree->layout.places[i];
        if (group->folders[i] >= 0 && (place->roles & (1U << KILN_CGROUP_CPU_QUOTA)) != 0 &&
            kiln_cgroup_write_cpus(group->folders[i], place->unified, cpus) == 0) {
            group->keeps_cpus = true;
        }
    }
}

bool kiln_cgroup_keeps_cpus(const kiln_cgroup *group)
{
    return group->cpus == 0 || group->keeps_cpus;
}

bool kiln_cgroup_begin(kiln_cgroup *group, kiln_cgroup_usage *usage)
{
    kiln_cgroup_meter_reset(&group->meter);
    kiln_cgroup_meter_begin(&group->meter, usage);
    return group->meter.memory_resets;
}

void kiln_cgroup_measure(const kiln_cgroup *group, kiln_cgroup_usage *usage)
{
    kiln_cgroup_meter_read(&group->meter, usage);
}

int kiln_cgroup_set_limits(kiln_cgroup *group, const kiln_limits *limits, kiln_error *err)
{
    for (int i = 0; i < group->count; i++) {
        const kiln_cgroup_place *place = &group->tree->layout.places[i];
        if (group->folders[i] < 0) {
            continue;
        }
        int rc = kiln_cgroup_write_limits(group->folders[i], place->unified, place->roles,
                                          limits, err);
        if (rc < 0) {
            return rc;
        }
    }
    limit_cpus(group, limits->cpus);
    return 0;
}

uint64_t kiln_cgroup_memory(const kiln_cgroup *group)
{
    uint64_t bytes = 0;
    for (int i = 0; i < group->count && bytes == 0; i++) {
        const kiln_cgroup_place *place = &group->tree->layout.places[i];
        bytes = group->folders[i] >= 0
                    ? kiln_cgroup_read_memory(group->folders[i], place->unified, place->roles)
                    : 0;
    }
    return bytes;
}

void kiln_cgroup_read_hits(kiln_cgroup *group, kiln_cgroup_usage *usage)
{
    static const kiln_cgroup_role roles[] = {KILN_CGROUP_MEMORY, KILN_CGROUP_PIDS};
    *usage = (kiln_cgroup_usage){.cpu_ms = -1};
    for (size_t k = 0; k < sizeof(roles) / sizeof(roles[0]); k++) {
        kiln_cgroup_role role = roles[k];
        for (int i = 0; group->events[role] < 0 && i < group->count; i++) {
            const kiln_cgroup_place *place = &group->tree->layout.places[i];
            if ((place->roles & (1U << role)) != 0) {
                group->events[role] =
                    kiln_cgroup_open_events(group->folders[i], place->unified, role);
            }
        }
        if (group->events[role] >= 0) {
            kiln_cgroup_read_events(group->events[role], role, usage);
        }
    }
}

void kiln_cgroup_read(kiln_cgroup *group, kiln_cgroup_usage *usage)
{
    kiln_cgroup_usage hits;
    kiln_cgroup_read_hits(group, &hits);
    kiln_cgroup_measure(group, usage);
    usage->oom_kills = hits.oom_kills;
    usage->pids_refused = hits.pids_refused;
}

void kiln_cgroup_destroy(kiln_cgroup *group)
{
    bury(group->tree);
    for (int i = 0; i < group->count; i++) {
        int rc = kiln_cgroup_remove(group->tree->folders[i], group->name,
                                    group->tree->layout.places[i].unified, 1);
        if (rc == -EBUSY) {
            bury_later(i, group->name);
        } else if (rc < 0) {
            kiln_log(KILN_LOG_WARNING, "cgroup", "removing %s: %s", group->name, strerror(-rc));
        }
    }
    close_group(group);
}
