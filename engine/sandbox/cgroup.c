/* cgroup.c - the engine's groups: one subtree "kiln-PID-STARTTIME" in each hierarchy
 * that is of use, a group below it for each session. A lock tells a living engine's subtree
 * from that of a dead one: cgroup_claim.h. */
#include "base/cleanup.h"
#include "base/log.h"
#include "sandbox/cgroup_claim.h"
#include "sandbox/cgroup_detect.h"
#include "sandbox/cgroup_files.h"
#include "sandbox/cgroup_meter.h"
#include "sandbox/steps.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct kiln_cgroup {
    char name[sizeof(((kiln_cgroup_name *)NULL)->text)];
    int folders[KILN_CGROUP_PLACES_MAX]; /* parallel to the layout's places; -1: not used */
    int entries[KILN_CGROUP_PLACES_MAX]; /* of those that are, `entered` of them */
    int entered;
    int events[KILN_CGROUP_ROLES]; /* files that count the limits' hits; -1: not opened yet */
    int count;
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

/* The engine's, single-threaded. */
static struct {
    kiln_cgroup_layout layout;
    int tops[KILN_CGROUP_PLACES_MAX];  /* the own group of each place */
    int trees[KILN_CGROUP_PLACES_MAX]; /* kiln-PID-START in it, locked; -1: not made */
    int leaf;                          /* v2: likewise */
    int notes;                         /* folder of the note that tells of them, or -1 */
    char tree_name[64];
    pid_t owner;
    char control[256]; /* v2: the own group's controllers before the engine moved to its leaf */
    bool moved_to_leaf;
    unsigned serial;
    struct dying *dying;
} engine = {.tops = {-1, -1, -1, -1}, .trees = {-1, -1, -1, -1}, .leaf = -1, .notes = -1};

static char *read_whole(const char *path)
{
    auto_fclose FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t size = 0;
    if (file != NULL && getdelim(&text, &size, '\0', file) < 0) {
        free(text);
        text = NULL;
    }
    return text;
}

/* Field 22 of /proc/PID/stat, in clock ticks since boot; 0: no such process. The
 * command in field 2 may hold anything, its last ")" ends it. */
static unsigned long long start_time(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    auto_free char *text = read_whole(path);
    const char *at = text != NULL ? strrchr(text, ')') : NULL;
    unsigned long long ticks = 0;
    for (int field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    return at != NULL && sscanf(at, "%llu", &ticks) == 1 ? ticks : 0;
}

static int open_folder(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* ------------------------------------------------------------------- removal */

/* Kills and removes `name` below `parent` with what is in it; -EBUSY while the kernel
 * is still busy dying. */
static int remove_tree(int parent, const char *name, bool unified, int depth)
{
    auto_close int folder = open_folder(parent, name);
    if (folder < 0) {
        return folder == -ENOENT ? 0 : folder;
    }
    kiln_cgroup_kill(folder, unified);
    int rc = 0;
    int copy = depth > 0 ? fcntl(folder, F_DUPFD_CLOEXEC, 3) : -1;
    DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
    if (entries == NULL && copy >= 0) {
        close(copy);
    }
    struct dirent *entry = NULL;
    while (entries != NULL && (entry = readdir(entries)) != NULL) {
        struct stat what;
        if (entry->d_name[0] != '.' &&
            fstatat(folder, entry->d_name, &what, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(what.st_mode)) {
            int inner = remove_tree(folder, entry->d_name, unified, depth - 1);
            rc = inner < 0 ? inner : rc;
        }
    }
    if (entries != NULL) {
        closedir(entries);
    }
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
        rc = -errno;
    }
    return rc;
}

/* A dead engine's folder: 0 when it is gone, -EWOULDBLOCK while its engine lives. */
static int remove_dead(int parent, const char *name, bool unified)
{
    int pid = 0;
    unsigned long long started = 0;
    int held = kiln_cgroup_take_over(parent, name);
    if (held < 0) {
        return held;
    }
    /* An engine of before the locks, that lives. */
    if (sscanf(name, "kiln-%d-%llu", &pid, &started) == 2 && start_time(pid) == started) {
        close(held);
        return -EWOULDBLOCK;
    }
    int rc = remove_tree(parent, name, unified, 3);
    size_t length = strlen(name) - strlen(KILN_CGROUP_LEAF);
    if (rc == 0 && unified && strlen(name) > strlen(KILN_CGROUP_LEAF) &&
        strcmp(name + length, KILN_CGROUP_LEAF) == 0) {
        /* It stood in the way of controllers, which there were none of before, and which
         * let no process into the group: with the engine's groups they go. */
        char tree[80];
        snprintf(tree, sizeof(tree), "%.*s", (int)length, name);
        rc = remove_tree(parent, tree, unified, 3);
        if (rc == 0) {
            kiln_cgroup_restore_controllers(parent, "");
        }
    }
    close(held);
    return rc;
}

typedef struct sweeping {
    int removed;
} sweeping;

/* One that a note tells of, in whatever group it was. */
static bool sweep_noted(void *user, const char *path)
{
    sweeping *count = user;
    char folder[1200];
    const char *slash = strrchr(path, '/');
    if (!kiln_cgroup_is_engines(slash + 1) || (size_t)(slash - path) >= sizeof(folder)) {
        return true; /* no note of ours */
    }
    snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
    auto_close int parent = open_folder(AT_FDCWD, folder);
    if (parent < 0) {
        return parent == -ENOENT;
    }
    /* Only v2 has it. */
    bool unified = faccessat(parent, "cgroup.controllers", F_OK, 0) == 0;
    int rc = remove_dead(parent, slash + 1, unified);
    count->removed += rc == 0 ? 1 : 0;
    return rc == 0 || rc == -ENOENT;
}

int kiln_cgroup_sweep(void)
{
    sweeping count = {0};
    for (int i = 0; i < engine.layout.count; i++) {
        int copy = engine.tops[i] >= 0 ? open_folder(engine.tops[i], ".") : -1;
        DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
        if (entries == NULL) {
            if (copy >= 0) {
                close(copy);
            }
            continue;
        }
        struct dirent *entry = NULL;
        while ((entry = readdir(entries)) != NULL) {
            if (kiln_cgroup_is_engines(entry->d_name) &&
                remove_dead(engine.tops[i], entry->d_name, engine.layout.places[i].unified) ==
                    0) {
                count.removed++;
            }
        }
        closedir(entries);
    }
    if (engine.notes >= 0) {
        kiln_cgroup_notes_each(engine.notes, engine.tree_name, sweep_noted, &count);
    }
    return count.removed;
}

/* What could not be removed at once is tried again whenever a group comes or goes. */
static void bury(void)
{
    struct dying **at = &engine.dying;
    while (*at != NULL) {
        struct dying *one = *at;
        if (remove_tree(engine.trees[one->place], one->name,
                        engine.layout.places[one->place].unified, 1) == -EBUSY) {
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
    one->next = engine.dying;
    engine.dying = one;
}

/* The way back out of the leaf: the group's controllers as they were, then the engine
 * as its process again, so that whoever started it finds a group that can be entered.
 * A leaf in which other processes are stays, and so do the controllers. */
static int leave_leaf(int top)
{
    char leaf[80];
    snprintf(leaf, sizeof(leaf), "%s%s", engine.tree_name, KILN_CGROUP_LEAF);
    kiln_cgroup_restore_controllers(top, engine.control);
    int rc = kiln_cgroup_write(top, "cgroup.procs", "0");
    if (rc == 0 && unlinkat(top, leaf, AT_REMOVEDIR) < 0 && errno != ENOENT) {
        rc = -errno;
    }
    if (rc == 0 && engine.leaf >= 0) {
        close(kiln_steal_fd(&engine.leaf));
    }
    return rc;
}

/* At exit: what died a moment ago may take the kernel a moment to forget. */
static void leave_place(int i)
{
    enum { TRIES = 100 };
    bool unified = engine.layout.places[i].unified;
    for (int k = 0; k < TRIES; k++) {
        int rc = remove_tree(engine.tops[i], engine.tree_name, unified, 2);
        if (rc == 0 && unified && engine.moved_to_leaf) {
            rc = leave_leaf(engine.tops[i]);
        }
        if (rc != -EBUSY) {
            break;
        }
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
    close(engine.trees[i]);
    close(engine.tops[i]);
    engine.trees[i] = engine.tops[i] = -1;
}

void kiln_cgroup_leave(void)
{
    if (engine.owner != getpid()) {
        return; /* a fork that calls exit() owns none of this */
    }
    for (int i = 0; i < engine.layout.count; i++) {
        if (engine.trees[i] >= 0) {
            leave_place(i);
        }
    }
    for (struct dying *one = engine.dying; one != NULL; one = engine.dying) {
        engine.dying = one->next;
        free(one);
    }
    if (engine.notes >= 0) {
        unlinkat(engine.notes, engine.tree_name, 0);
        close(kiln_steal_fd(&engine.notes));
    }
    engine.moved_to_leaf = false;
    engine.layout.count = 0;
}

/* ---------------------------------------------------------------------- start */

/* v2 allows no processes beside children that have controllers: move into a leaf.
 * Works when nothing else lives in the own group, as in a scope of one's own. */
static int enable_v2(int top, kiln_error *err)
{
    int rc = kiln_cgroup_enable_controllers(top);
    if (rc != -EBUSY) {
        return rc < 0 ? kiln_error_errno(err, rc,
                                         "cgroup: v2 controllers are not delegated (kiln check "
                                         "says what to do)")
                      : 0;
    }
    char leaf[80];
    char procs[96];
    snprintf(leaf, sizeof(leaf), "%s%s", engine.tree_name, KILN_CGROUP_LEAF);
    snprintf(procs, sizeof(procs), "%s/cgroup.procs", leaf);
    engine.leaf = kiln_cgroup_claim(top, leaf);
    if (engine.leaf < 0) {
        return kiln_error_errno(err, engine.leaf, "cgroup: making a leaf for the engine");
    }
    kiln_cgroup_read_controllers(top, engine.control, sizeof(engine.control));
    rc = kiln_cgroup_write(top, procs, "0");
    if (rc == 0) {
        rc = kiln_cgroup_enable_controllers(top);
        if (rc < 0) {
            (void)kiln_cgroup_write(top, "cgroup.procs", "0");
        }
    }
    if (rc < 0) {
        unlinkat(top, leaf, AT_REMOVEDIR);
        close(kiln_steal_fd(&engine.leaf));
        return kiln_error_errno(
            err, rc,
            "cgroup: the v2 group is shared with other processes (kiln check "
            "says what to do)");
    }
    engine.moved_to_leaf = true;
    return 0;
}

static int open_place(int i, kiln_error *err)
{
    const kiln_cgroup_place *place = &engine.layout.places[i];
    engine.tops[i] = open_folder(AT_FDCWD, place->path);
    if (engine.tops[i] < 0) {
        return kiln_error_errno(err, engine.tops[i], "cgroup: %s", place->path);
    }
    if (place->unified) {
        int rc = enable_v2(engine.tops[i], err);
        if (rc < 0) {
            return rc;
        }
    }
    engine.trees[i] = kiln_cgroup_claim(engine.tops[i], engine.tree_name);
    if (engine.trees[i] < 0) {
        return kiln_error_errno(err, engine.trees[i], "cgroup: making %s/%s", place->path,
                                engine.tree_name);
    }
    if (place->unified) {
        int rc = kiln_cgroup_enable_controllers(engine.trees[i]);
        if (rc < 0) {
            return kiln_error_errno(err, rc, "cgroup: controllers below %s/%s", place->path,
                                    engine.tree_name);
        }
    }
    return 0;
}

static void close_place(int i)
{
    if (engine.tops[i] >= 0) {
        if (engine.trees[i] >= 0) {
            close(engine.trees[i]);
            unlinkat(engine.tops[i], engine.tree_name, AT_REMOVEDIR);
        }
        if (engine.layout.places[i].unified && engine.moved_to_leaf) {
            (void)leave_leaf(engine.tops[i]);
            engine.moved_to_leaf = false;
        }
        close(engine.tops[i]);
    }
    engine.trees[i] = -1;
    engine.tops[i] = -1;
}

/* Without it all is well, but for what a kill leaves in a group that no later engine starts
 * in. */
static void write_note(void)
{
    char lines[KILN_CGROUP_PLACES_MAX * 1200];
    size_t used = 0;
    for (int i = 0; i < engine.layout.count; i++) {
        const char *path = engine.layout.places[i].path;
        int more =
            snprintf(lines + used, sizeof(lines) - used, "%s/%s\n", path, engine.tree_name);
        used += more > 0 ? (size_t)more : 0;
        if (engine.layout.places[i].unified && engine.leaf >= 0) {
            more = snprintf(lines + used, sizeof(lines) - used, "%s/%s%s\n", path,
                            engine.tree_name, KILN_CGROUP_LEAF);
            used += more > 0 ? (size_t)more : 0;
        }
        if (used >= sizeof(lines)) {
            return;
        }
    }
    engine.notes = kiln_cgroup_notes_open();
    int rc = engine.notes < 0 ? engine.notes
                              : kiln_cgroup_note_write(engine.notes, engine.tree_name, lines);
    if (rc < 0) {
        kiln_log(KILN_LOG_DEBUG, "cgroup", "no note of the groups: %s", strerror(-rc));
    }
}

int kiln_cgroup_init(kiln_error *err)
{
    if (engine.owner == getpid()) {
        return engine.layout.count > 0 ? 0 : kiln_error_set(err, -ENOENT, "cgroup: none");
    }
    auto_free char *mountinfo = read_whole("/proc/self/mountinfo");
    auto_free char *cgroup = read_whole("/proc/self/cgroup");
    if (mountinfo == NULL || cgroup == NULL) {
        return kiln_error_set(err, -ENOENT, "cgroup: /proc/self/mountinfo cannot be read");
    }
    int rc = kiln_cgroup_parse(mountinfo, cgroup, &engine.layout, err);
    if (rc < 0) {
        return rc;
    }
    snprintf(engine.tree_name, sizeof(engine.tree_name), "kiln-%d-%llu", (int)getpid(),
             start_time(getpid()));
    kiln_error first = KILN_ERROR_INIT;
    unsigned roles = 0;
    int kept = 0;
    for (int i = 0; i < engine.layout.count; i++) {
        kiln_error failed = KILN_ERROR_INIT;
        if (open_place(i, &failed) < 0) {
            close_place(i);
            first = first.code == 0 ? failed : first;
            continue;
        }
        roles |= engine.layout.places[i].roles;
        engine.layout.places[kept] = engine.layout.places[i];
        int top = engine.tops[i];
        int tree = engine.trees[i];
        engine.tops[i] = engine.trees[i] = -1;
        engine.tops[kept] = top;
        engine.trees[kept++] = tree;
    }
    engine.layout.count = kept;
    unsigned needed = (1U << KILN_CGROUP_MEMORY) | (1U << KILN_CGROUP_PIDS);
    if ((roles & needed) != needed) {
        /* Half a cgroup would be believed to be a whole one. */
        for (int i = 0; i < kept; i++) {
            close_place(i);
        }
        engine.layout.count = 0;
        *err = first;
        return first.code != 0
                   ? first.code
                   : kiln_error_set(err, -ENOENT, "cgroup: memory and pids are not both there");
    }
    engine.owner = getpid();
    write_note();
    if (atexit(kiln_cgroup_leave) != 0) {
        kiln_log(KILN_LOG_WARNING, "cgroup",
                 "groups will be left for the next engine to sweep");
    }
    return 0;
}

/* --------------------------------------------------------------------- groups */

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
    const kiln_cgroup_place *place = &engine.layout.places[i];
    group->folders[i] = -1;
    group->count = i + 1;
    if (limits->cpus == 0 && place->roles == 1U << KILN_CGROUP_CPU_QUOTA) {
        return 0; /* to make it and to enter it costs as much as the others */
    }
    if (mkdirat(engine.trees[i], group->name, 0755) < 0) {
        return kiln_error_errno(err, errno, "cgroup: making %s", group->name);
    }
    group->folders[i] = open_folder(engine.trees[i], group->name);
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
    if (engine.owner != getpid() || engine.layout.count == 0) {
        return NULL;
    }
    bury();
    kiln_cgroup *group = calloc(1, sizeof(*group));
    if (group == NULL) {
        kiln_error_set(err, -ENOMEM, "cgroup: out of memory");
        return NULL;
    }
    for (int role = 0; role < KILN_CGROUP_ROLES; role++) {
        group->events[role] = -1;
    }
    kiln_cgroup_meter_init(&group->meter);
    /* A number of its own: the group of an earlier session of this name may still be
     * dying. And no name from outside becomes a path. */
    int used = snprintf(group->name, sizeof(group->name), "%u-%.60s", ++engine.serial, name);
    for (int i = 0; i < used && group->name[i] != '\0'; i++) {
        if (strchr("/\n. ", group->name[i]) != NULL) {
            group->name[i] = '_';
        }
    }
    int rc = 0;
    for (int i = 0; rc == 0 && i < engine.layout.count; i++) {
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

void kiln_cgroup_describe(char *text, size_t size)
{
    static const char *const names[] = {"memory", "pids", "cpuacct", "cpu"};
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < engine.layout.count; i++) {
        const kiln_cgroup_place *place = &engine.layout.places[i];
        for (int role = 0; role < KILN_CGROUP_ROLES && used < size; role++) {
            if ((place->roles & (1U << role)) != 0) {
                int more = snprintf(text + used, size - used, "%s%s (%s)", used > 0 ? ", " : "",
                                    names[role], place->unified ? "v2" : "v1");
                used += more > 0 ? (size_t)more : 0;
            }
        }
    }
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
        const kiln_cgroup_place *place = &engine.layout.places[i];
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
        const kiln_cgroup_place *place = &engine.layout.places[i];
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
        const kiln_cgroup_place *place = &engine.layout.places[i];
        bytes = group->folders[i] >= 0
                    ? kiln_cgroup_read_memory(group->folders[i], place->unified, place->roles)
                    : 0;
    }
    return bytes;
}

void kiln_cgroup_read(const kiln_cgroup *group, kiln_cgroup_usage *usage)
{
    *usage = (kiln_cgroup_usage){.cpu_ms = -1};
    for (int i = 0; i < group->count; i++) {
        const kiln_cgroup_place *place = &engine.layout.places[i];
        if (group->folders[i] >= 0) {
            kiln_cgroup_read_usage(group->folders[i], place->unified, place->roles, usage);
        }
    }
}

void kiln_cgroup_read_hits(kiln_cgroup *group, kiln_cgroup_usage *usage)
{
    static const kiln_cgroup_role roles[] = {KILN_CGROUP_MEMORY, KILN_CGROUP_PIDS};
    *usage = (kiln_cgroup_usage){.cpu_ms = -1};
    for (size_t k = 0; k < sizeof(roles) / sizeof(roles[0]); k++) {
        kiln_cgroup_role role = roles[k];
        for (int i = 0; group->events[role] < 0 && i < group->count; i++) {
            const kiln_cgroup_place *place = &engine.layout.places[i];
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

void kiln_cgroup_destroy(kiln_cgroup *group)
{
    bury();
    for (int i = 0; i < group->count; i++) {
        int rc = remove_tree(engine.trees[i], group->name, engine.layout.places[i].unified, 1);
        if (rc == -EBUSY) {
            bury_later(i, group->name);
        } else if (rc < 0) {
            kiln_log(KILN_LOG_WARNING, "cgroup", "removing %s: %s", group->name, strerror(-rc));
        }
    }
    close_group(group);
}
