/* cgroup.c - the engine's subtree of groups, "kiln-PID-STARTTIME" in each hierarchy that is
 * of use; the sessions' are below it (cgroup_session.c). A lock tells a living engine's
 * subtree from that of a dead one: cgroup_claim.h. */
#include "base/cleanup.h"
#include "base/log.h"
#include "sandbox/cgroup_claim.h"
#include "sandbox/cgroup_files.h"
#include "sandbox/cgroup_tree.h"
#include "sandbox/steps.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* The engine's, single-threaded. */
static struct {
    kiln_cgroup_tree tree;            /* its folders: kiln-PID-START, locked; -1: not made */
    int tops[KILN_CGROUP_PLACES_MAX]; /* the own group of each place */
    int leaf;                         /* v2: likewise */
    int notes;                        /* folder of the note that tells of them, or -1 */
    char tree_name[64];
    pid_t owner;
    char control[256]; /* v2: the own group's controllers before the engine moved to its leaf */
    bool moved_to_leaf;
} engine = {
    .tops = {-1, -1, -1, -1}, .tree.folders = {-1, -1, -1, -1}, .leaf = -1, .notes = -1};

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

int kiln_cgroup_open(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* ------------------------------------------------------------------- removal */

static int empty_folder(int folder, bool unified, int depth)
{
    int rc = 0;
    int copy = fcntl(folder, F_DUPFD_CLOEXEC, 3);
    DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
    if (entries == NULL) {
        if (copy >= 0) {
            close(copy);
        }
        return 0;
    }
    struct dirent *entry = NULL;
    while ((entry = readdir(entries)) != NULL) {
        if (entry->d_name[0] != '.' && entry->d_type == DT_DIR) {
            int inner = kiln_cgroup_remove(folder, entry->d_name, unified, depth);
            rc = inner < 0 ? inner : rc;
        }
    }
    closedir(entries);
    return rc;
}

/* Mostly nothing is left in it, and the kernel just removes it. */
int kiln_cgroup_remove(int parent, const char *name, bool unified, int depth)
{
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
        return 0;
    }
    auto_close int folder = kiln_cgroup_open(parent, name);
    if (folder < 0) {
        return folder == -ENOENT ? 0 : folder;
    }
    kiln_cgroup_kill(folder, unified);
    int rc = depth > 0 ? empty_folder(folder, unified, depth - 1) : 0;
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
    int rc = kiln_cgroup_remove(parent, name, unified, 3);
    size_t length = strlen(name) - strlen(KILN_CGROUP_LEAF);
    if (rc == 0 && unified && strlen(name) > strlen(KILN_CGROUP_LEAF) &&
        strcmp(name + length, KILN_CGROUP_LEAF) == 0) {
        /* It stood in the way of controllers, which there were none of before, and which
         * let no process into the group: with the engine's groups they go. */
        char tree[80];
        snprintf(tree, sizeof(tree), "%.*s", (int)length, name);
        rc = kiln_cgroup_remove(parent, tree, unified, 3);
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
    auto_close int parent = kiln_cgroup_open(AT_FDCWD, folder);
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
    for (int i = 0; i < engine.tree.layout.count; i++) {
        int copy = engine.tops[i] >= 0 ? kiln_cgroup_open(engine.tops[i], ".") : -1;
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
                remove_dead(engine.tops[i], entry->d_name,
                            engine.tree.layout.places[i].unified) == 0) {
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
    bool unified = engine.tree.layout.places[i].unified;
    for (int k = 0; k < TRIES; k++) {
        int rc = kiln_cgroup_remove(engine.tops[i], engine.tree_name, unified, 2);
        if (rc == 0 && unified && engine.moved_to_leaf) {
            rc = leave_leaf(engine.tops[i]);
        }
        if (rc != -EBUSY) {
            break;
        }
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
    close(engine.tree.folders[i]);
    close(engine.tops[i]);
    engine.tree.folders[i] = engine.tops[i] = -1;
}

void kiln_cgroup_leave(void)
{
    if (engine.owner != getpid()) {
        return; /* a fork that calls exit() owns none of this */
    }
    for (int i = 0; i < engine.tree.layout.count; i++) {
        if (engine.tree.folders[i] >= 0) {
            leave_place(i);
        }
    }
    kiln_cgroup_forget_dying();
    if (engine.notes >= 0) {
        unlinkat(engine.notes, engine.tree_name, 0);
        close(kiln_steal_fd(&engine.notes));
    }
    engine.moved_to_leaf = false;
    engine.tree.layout.count = 0;
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
    const kiln_cgroup_place *place = &engine.tree.layout.places[i];
    engine.tops[i] = kiln_cgroup_open(AT_FDCWD, place->path);
    if (engine.tops[i] < 0) {
        return kiln_error_errno(err, engine.tops[i], "cgroup: %s", place->path);
    }
    if (place->unified) {
        int rc = enable_v2(engine.tops[i], err);
        if (rc < 0) {
            return rc;
        }
    }
    engine.tree.folders[i] = kiln_cgroup_claim(engine.tops[i], engine.tree_name);
    if (engine.tree.folders[i] < 0) {
        return kiln_error_errno(err, engine.tree.folders[i], "cgroup: making %s/%s",
                                place->path, engine.tree_name);
    }
    if (place->unified) {
        int rc = kiln_cgroup_enable_controllers(engine.tree.folders[i]);
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
        if (engine.tree.folders[i] >= 0) {
            close(engine.tree.folders[i]);
            unlinkat(engine.tops[i], engine.tree_name, AT_REMOVEDIR);
        }
        if (engine.tree.layout.places[i].unified && engine.moved_to_leaf) {
            (void)leave_leaf(engine.tops[i]);
            engine.moved_to_leaf = false;
        }
        close(engine.tops[i]);
    }
    engine.tree.folders[i] = -1;
    engine.tops[i] = -1;
}

/* Without it all is well, but for what a kill leaves in a group that no later engine starts
 * in. */
static void write_note(void)
{
    char lines[KILN_CGROUP_PLACES_MAX * 1200];
    size_t used = 0;
    for (int i = 0; i < engine.tree.layout.count; i++) {
        const char *path = engine.tree.layout.places[i].path;
        int more =
            snprintf(lines + used, sizeof(lines) - used, "%s/%s\n", path, engine.tree_name);
        used += more > 0 ? (size_t)more : 0;
        if (engine.tree.layout.places[i].unified && engine.leaf >= 0) {
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
        return engine.tree.layout.count > 0 ? 0 : kiln_error_set(err, -ENOENT, "cgroup: none");
    }
    auto_free char *mountinfo = read_whole("/proc/self/mountinfo");
    auto_free char *cgroup = read_whole("/proc/self/cgroup");
    if (mountinfo == NULL || cgroup == NULL) {
        return kiln_error_set(err, -ENOENT, "cgroup: /proc/self/mountinfo cannot be read");
    }
    int rc = kiln_cgroup_parse(mountinfo, cgroup, &engine.tree.layout, err);
    if (rc < 0) {
        return rc;
    }
    snprintf(engine.tree_name, sizeof(engine.tree_name), "kiln-%d-%llu", (int)getpid(),
             start_time(getpid()));
    kiln_error first = KILN_ERROR_INIT;
    unsigned roles = 0;
    int kept = 0;
    for (int i = 0; i < engine.tree.layout.count; i++) {
        kiln_error failed = KILN_ERROR_INIT;
        if (open_place(i, &failed) < 0) {
            close_place(i);
            first = first.code == 0 ? failed : first;
            continue;
        }
        roles |= engine.tree.layout.places[i].roles;
        engine.tree.layout.places[kept] = engine.tree.layout.places[i];
        int top = engine.tops[i];
        int tree = engine.tree.folders[i];
        engine.tops[i] = engine.tree.folders[i] = -1;
        engine.tops[kept] = top;
        engine.tree.folders[kept++] = tree;
    }
    engine.tree.layout.count = kept;
    unsigned needed = (1U << KILN_CGROUP_MEMORY) | (1U << KILN_CGROUP_PIDS);
    if ((roles & needed) != needed) {
        /* Half a cgroup would be believed to be a whole one. */
        for (int i = 0; i < kept; i++) {
            close_place(i);
        }
        engine.tree.layout.count = 0;
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

const kiln_cgroup_tree *kiln_cgroup_get_tree(void)
{
    return engine.owner == getpid() && engine.tree.layout.count > 0 ? &engine.tree : NULL;
}

void kiln_cgroup_describe(char *text, size_t size)
{
    static const char *const names[] = {"memory", "pids", "cpuacct", "cpu"};
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < engine.tree.layout.count; i++) {
        const kiln_cgroup_place *place = &engine.tree.layout.places[i];
        for (int role = 0; role < KILN_CGROUP_ROLES && used < size; role++) {
            if ((place->roles & (1U << role)) != 0) {
                int more = snprintf(text + used, size - used, "%s%s (%s)", used > 0 ? ", " : "",
                                    names[role], place->unified ? "v2" : "v1");
                used += more > 0 ? (size_t)more : 0;
            }
        }
    }
}
