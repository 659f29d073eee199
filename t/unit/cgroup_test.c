/* Finding hierarchies in texts of other machines; the files of a group on a prepared
 * folder; and, where this machine gives groups, a real one. */
#include "sandbox/cgroup_claim.h"
#include "sandbox/cgroup_detect.h"
#include "sandbox/cgroup_files.h"
#include "sandbox/cgroup_meter.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    MEMORY = 1 << KILN_CGROUP_MEMORY,
    PIDS = 1 << KILN_CGROUP_PIDS,
    USAGE = 1 << KILN_CGROUP_CPU_USAGE,
    QUOTA = 1 << KILN_CGROUP_CPU_QUOTA,
};

static kiln_cgroup_layout parse(const char *mountinfo, const char *cgroup, int expected)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_cgroup_layout layout;
    assert_int_equal(kiln_cgroup_parse(mountinfo, cgroup, &layout, &err), expected);
    return layout;
}

static void pure_v2(void **state)
{
    (void)state;
    kiln_cgroup_layout l = parse(
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        "0::/user.slice/user-1000.slice/session-2.scope\n", 0);
    assert_int_equal(l.count, 1);
    assert_true(l.places[0].unified);
    assert_int_equal(l.places[0].roles, MEMORY | PIDS | USAGE | QUOTA);
    assert_string_equal(l.places[0].path,
                        "/sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope");
}

static void v1_and_hybrid(void **state)
{
    (void)state;
    kiln_cgroup_layout l = parse(
        "34 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "35 30 0:32 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "38 30 0:35 / /mnt/p rw - cgroup cgroup rw,pids\n"
        "40 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        "8:pids:/\n4:memory:/a/b\n2:cpu,cpuacct:/c\n1:name=systemd:/x\n0::/u\n", 0);
    assert_int_equal(l.count, 3);
    assert_string_equal(l.places[0].path, "/sys/fs/cgroup/memory/a/b");
    assert_int_equal(l.places[0].roles, MEMORY);
    assert_string_equal(l.places[1].path, "/sys/fs/cgroup/cpu,cpuacct/c");
    assert_int_equal(l.places[1].roles, USAGE | QUOTA);
    assert_string_equal(l.places[2].path, "/mnt/p");
    assert_false(l.places[2].unified);
}

static void in_a_container(void **state)
{
    (void)state;
    /* The mount shows the hierarchy from /docker/abc on. */
    kiln_cgroup_layout l =
        parse("34 30 0:31 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
              "4:memory:/docker/abc/inner\n", 0);
    assert_string_equal(l.places[0].path, "/sys/fs/cgroup/memory/inner");
    parse("34 30 0:31 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
          "4:memory:/docker/abcdef\n", -ENOENT);
    parse("34 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
          "4:memory:/../other\n", -ENOENT);
}

static void nothing_there(void **state)
{
    (void)state;
    parse("21 26 0:20 / /proc rw - proc proc rw\n", "0::/\n", -ENOENT);
    parse("", "", -ENOENT);
    parse("garbage\n1 2 3\n- - -\n", "no colons\n::\n", -ENOENT);
}

/* ------------------------------------------------------------ prepared folder */

typedef struct folder {
    char path[64];
    int fd;
} folder;

static void put(const folder *at, const char *name, const char *text)
{
    int fd = openat(at->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void expect(const folder *at, const char *name, const char *text)
{
    char got[128] = "";
    int fd = openat(at->fd, name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, got, sizeof(got) - 1) >= 0);
    close(fd);
    assert_string_equal(got, text);
}

static int make_folder(void **state)
{
    folder *at = calloc(1, sizeof(*at));
    if (at == NULL) {
        return -1;
    }
    snprintf(at->path, sizeof(at->path), "/tmp/kiln-cgroup-XXXXXX");
    if (mkdtemp(at->path) == NULL) {
        return -1;
    }
    at->fd = open(at->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = at;
    return at->fd < 0 ? -1 : 0;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"memory.max",
                                        "memory.swap.max",
                                        "pids.max",
                                        "memory.peak",
                                        "memory.events",
                                        "pids.events",
                                        "cpu.stat",
                                        "cpu.max",
                                        "cpu.cfs_period_us",
                                        "cpu.cfs_quota_us",
                                        "pids.peak",
                                        "cpuacct.usage",
                                        "memory.max_usage_in_bytes",
                                        "cgroup.kill",
                                        "cgroup.controllers",
                                        "cgroup.subtree_control",
                                        "memory.limit_in_bytes",
                                        "memory.memsw.limit_in_bytes"};
    folder *at = *state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        unlinkat(at->fd, names[i], 0);
    }
    close(at->fd);
    int rc = rmdir(at->path);
    free(at);
    return rc;
}

static void read_hits(const folder *at, kiln_cgroup_usage *usage)
{
    static const kiln_cgroup_role roles[] = {KILN_CGROUP_MEMORY, KILN_CGROUP_PIDS};
    for (int i = 0; i < 2; i++) {
        int fd = kiln_cgroup_open_events(at->fd, true, roles[i]);
        if (fd >= 0) {
            kiln_cgroup_read_events(fd, roles[i], usage);
            close(fd);
        }
    }
}

static void v2_files(void **state)
{
    folder *at = *state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_limits limits = {.memory = 1 << 20, .processes = 12};
    put(at, "memory.max", "");
    put(at, "memory.swap.max", "");
    put(at, "pids.max", "");
    assert_int_equal(kiln_cgroup_write_limits(at->fd, true, MEMORY | PIDS, &limits, &err), 0);
    expect(at, "memory.max", "1048576");
    expect(at, "memory.swap.max", "0");
    expect(at, "pids.max", "12");

    put(at, "memory.peak", "4096\n");
    put(at, "memory.events", "low 0\nhigh 1\nmax 5\noom 2\noom_kill 3\noom_group_kill 0\n");
    put(at, "pids.events", "max 7\n");
    put(at, "cpu.stat", "usage_usec 1500\nuser_usec 1000\n");
    kiln_cgroup_usage usage = {.cpu_ms = -1};
    kiln_cgroup_meter meter;
    kiln_cgroup_meter_init(&meter);
    kiln_cgroup_meter_open(&meter, at->fd, true, MEMORY | PIDS | USAGE);
    kiln_cgroup_meter_read(&meter, &usage);
    kiln_cgroup_meter_close(&meter);
    assert_true(usage.cpu_ms > 1.4 && usage.cpu_ms < 1.6);
    assert_int_equal(usage.max_memory_bytes, 4096);
    read_hits(at, &usage);
    assert_int_equal(usage.oom_kills, 3);
    assert_int_equal(usage.pids_refused, 7);

    put(at, "cgroup.kill", "");
    kiln_cgroup_kill(at->fd, true);
    expect(at, "cgroup.kill", "1");

    put(at, "cgroup.controllers", "cpu memory pids\n");
    put(at, "cgroup.subtree_control", "");
    assert_int_equal(kiln_cgroup_enable_controllers(at->fd), 0);
    put(at, "cgroup.controllers", "cpu\n");
    assert_int_equal(kiln_cgroup_enable_controllers(at->fd), -ENOTSUP);

    /* Only what was added is taken away again. */
    put(at, "cgroup.subtree_control", "");
    kiln_cgroup_restore_controllers(at->fd, "cpuset memory pids\n");
    expect(at, "cgroup.subtree_control", "-cpu");
    put(at, "cgroup.subtree_control", "");
    kiln_cgroup_restore_controllers(at->fd, "cpu memory pids\n");
    expect(at, "cgroup.subtree_control", "");
}

static void share_of_the_cpus(void **state)
{
    folder *at = *state;
    put(at, "cpu.max", "");
    assert_int_equal(kiln_cgroup_write_cpus(at->fd, true, 1500), 0);
    expect(at, "cpu.max", "150000 100000");
    put(at, "cpu.max", "");
    assert_int_equal(kiln_cgroup_write_cpus(at->fd, true, 0), 0);
    expect(at, "cpu.max", "max");
    assert_int_equal(kiln_cgroup_write_cpus(at->fd, false, 10), -ENOENT);
    put(at, "cpu.cfs_period_us", "");
    put(at, "cpu.cfs_quota_us", "");
    assert_int_equal(kiln_cgroup_write_cpus(at->fd, false, 10), 0);
    expect(at, "cpu.cfs_period_us", "100000");
    expect(at, "cpu.cfs_quota_us", "1000");
    put(at, "cpu.cfs_quota_us", "");
    assert_int_equal(kiln_cgroup_write_cpus(at->fd, false, 0), 0);
    expect(at, "cpu.cfs_quota_us", "-1");
}

static void meters(void **state)
{
    folder *at = *state;
    kiln_cgroup_meter meter;
    kiln_cgroup_usage usage;
    kiln_cgroup_meter_init(&meter);
    kiln_cgroup_meter_open(&meter, at->fd, true, MEMORY | PIDS | USAGE);
    kiln_cgroup_meter_reset(&meter);
    kiln_cgroup_meter_read(&meter, &usage);
    assert_true(usage.cpu_ms < 0 && usage.max_memory_bytes == 0 && usage.max_processes == 0);
    put(at, "memory.peak", "8192\n");
    put(at, "pids.peak", "7\n");
    put(at, "cpu.stat", "usage_usec 1500\nuser_usec 1000\n");
    kiln_cgroup_meter_open(&meter, at->fd, true, MEMORY | PIDS | USAGE);
    kiln_cgroup_meter_read(&meter, &usage);
    assert_true(usage.cpu_ms > 1.4 && usage.cpu_ms < 1.6);
    assert_int_equal(usage.max_memory_bytes, 8192);
    assert_int_equal(usage.max_processes, 7);
    assert_true(meter.memory_resets);
    kiln_cgroup_meter_reset(&meter);
    expect(at, "memory.peak", "0192\n"); /* where the kernel would begin anew */
    kiln_cgroup_meter_close(&meter);

    put(at, "memory.max_usage_in_bytes", "4096\n");
    put(at, "cpuacct.usage", "2500000\n");
    kiln_cgroup_meter_open(&meter, at->fd, false, MEMORY | USAGE);
    kiln_cgroup_meter_read(&meter, &usage);
    assert_true(usage.cpu_ms > 2.4 && usage.cpu_ms < 2.6);
    assert_int_equal(usage.max_memory_bytes, 4096);
    kiln_cgroup_meter_close(&meter);
}

static void limits_that_cannot_be_written(void **state)
{
    folder *at = *state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_limits limits = {.memory = 1, .processes = 1};
    assert_int_equal(kiln_cgroup_write_limits(at->fd, true, MEMORY, &limits, &err), -ENOENT);
    assert_int_equal(kiln_cgroup_write_limits(at->fd, false, MEMORY, &limits, &err), -ENOENT);
    assert_int_equal(kiln_cgroup_write_limits(at->fd, false, PIDS, &limits, &err), -ENOENT);
    kiln_cgroup_usage usage = {.cpu_ms = -1};
    read_hits(at, &usage);
    assert_true(usage.cpu_ms < 0 && usage.max_memory_bytes == 0);
}

/* ------------------------------------------------------------------ real ones */

static void enter_and_eat(const kiln_cgroup *group)
{
    int count = 0;
    const int *fds = kiln_cgroup_fds(group, &count);
    for (int i = 0; i < count; i++) {
        if (write(fds[i], "0", 1) != 1) {
            _exit(9);
        }
    }
    enum { PIECE = 1 << 20 };
    for (int i = 0; i < 256; i++) {
        char *piece =
            mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece == MAP_FAILED) {
            _exit(8);
        }
        memset(piece, 1, PIECE);
    }
    _exit(0);
}

static void real_group(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_cgroup_init(&err) < 0) {
        print_message("# skipped: needs a cgroup that may be written: %s\n", err.text);
        return; /* cmocka writes a skip as "not ok", which prove counts as failed */
    }
    assert_true(kiln_cgroup_sweep() >= 0);
    kiln_limits limits = {.memory = 32 << 20, .processes = 4};
    kiln_cgroup *group = kiln_cgroup_create("../a b/c", &limits, &err);
    assert_non_null(group);
    pid_t eater = fork();
    if (eater == 0) {
        enter_and_eat(group);
    }
    int status = 0;
    waitpid(eater, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    kiln_cgroup_usage usage;
    kiln_cgroup_read(group, &usage);
    assert_int_equal(usage.oom_kills, 1);
    assert_true(usage.max_memory_bytes > 16 << 20 && usage.max_memory_bytes <= 33 << 20);
    assert_true(usage.cpu_ms >= 0);
    limits.memory = 64 << 20;
    assert_int_equal(kiln_cgroup_set_limits(group, &limits, &err), 0);
    limits.memory = 16 << 20;
    assert_int_equal(kiln_cgroup_set_limits(group, &limits, &err), 0);

    /* Destroying kills what is in it. */
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t sleeper = fork();
    if (sleeper == 0) {
        int count = 0;
        const int *fds = kiln_cgroup_fds(group, &count);
        for (int i = 0; i < count; i++) {
            (void)!write(fds[i], "0", 1);
        }
        (void)!write(ready[1], "", 1);
        pause();
        _exit(0);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    kiln_cgroup_destroy(group);
    waitpid(sleeper, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(ready[0]);
    close(ready[1]);
    /* The same name again at once, while the first may still be dying. */
    group = kiln_cgroup_create("../a b/c", &limits, &err);
    assert_non_null(group);
    kiln_cgroup_destroy(group);
}

/* The folder of a group, by the way of one of its files. v2's: it has cgroup.kill. */
static int open_v2_folder(const kiln_cgroup *group)
{
    int count = 0;
    const int *fds = kiln_cgroup_fds(group, &count);
    for (int i = 0; i < count; i++) {
        char link[64];
        char path[1024];
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fds[i]);
        ssize_t length = readlink(link, path, sizeof(path) - 1);
        assert_true(length > 0);
        path[length] = '\0';
        *strrchr(path, '/') = '\0';
        int found = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (found >= 0 && faccessat(found, "cgroup.kill", F_OK, 0) == 0) {
            return found;
        }
        close(found);
    }
    return -1;
}

/* The share reaches the kernel's file, of whichever version. */
static void share_of_a_real_group(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_cgroup_init(&err) < 0) {
        print_message("# skipped: needs a cgroup that may be written: %s\n", err.text);
        return;
    }
    kiln_limits limits = {.memory = 32 << 20, .processes = 4, .cpus = 500};
    kiln_cgroup *group = kiln_cgroup_create("share", &limits, &err);
    assert_non_null(group);
    int count = 0;
    const int *fds = kiln_cgroup_fds(group, &count);
    bool written = false;
    for (int i = 0; i < count; i++) {
        static const char *const files[] = {"cpu.cfs_quota_us", "cpu.max"};
        for (size_t k = 0; k < sizeof(files) / sizeof(files[0]); k++) {
            char link[64];
            char path[1100] = "";
            char text[64] = "";
            snprintf(link, sizeof(link), "/proc/self/fd/%d", fds[i]);
            assert_true(readlink(link, path, 1000) > 0);
            snprintf(strrchr(path, '/'), 64, "/%s", files[k]);
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            written = written || (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 &&
                                  strncmp(text, "50000", 5) == 0);
            close(fd);
        }
    }
    bool kept = kiln_cgroup_keeps_cpus(group);
    kiln_cgroup_destroy(group);
    assert_int_equal(written, kept);
}

/* From another pid namespace, where cgroup.procs reads 0 for each process: what dies of
 * it died of cgroup.kill. It also takes what forks faster than a list can be read. */
static void kills_what_it_cannot_name(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_cgroup_init(&err) < 0) {
        print_message("# skipped: needs a cgroup that may be written: %s\n", err.text);
        return;
    }
    kiln_limits limits = {.memory = 32 << 20, .processes = 4};
    kiln_cgroup *group = kiln_cgroup_create("unnamed", &limits, &err);
    assert_non_null(group);
    int own = open_v2_folder(group);
    if (own < 0) {
        print_message("# skipped: needs cgroup v2 with cgroup.kill (Linux 5.14)\n");
        kiln_cgroup_destroy(group);
        return;
    }
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t sleeper = fork();
    if (sleeper == 0) {
        int count = 0;
        const int *fds = kiln_cgroup_fds(group, &count);
        alarm(30); /* so that a kill that does not come is a failure and no hang */
        (void)!write(ready[1], write(fds[0], "0", 1) == 1 ? "y" : "n", 1);
        pause();
        _exit(0);
    }
    char byte = 'n';
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    pid_t killer = fork();
    if (killer == 0) {
        if (unshare(CLONE_NEWPID) < 0) {
            _exit(2);
        }
        pid_t inner = fork();
        if (inner == 0) {
            kiln_cgroup_kill(own, true);
            _exit(0);
        }
        int inner_status = 1;
        waitpid(inner, &inner_status, 0);
        _exit(inner_status);
    }
    int status = 0;
    waitpid(killer, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2) {
        print_message("# skipped: needs root for a pid namespace\n");
        kill(sleeper, SIGKILL);
    }
    waitpid(sleeper, &status, 0);
    close(own);
    close(ready[0]);
    close(ready[1]);
    kiln_cgroup_destroy(group);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* A process whose number was given again meanwhile: in the group when it is listed, not in
 * it any more when it has been found. */
static void a_number_given_again(void **state)
{
    folder *at = *state;
    char number[32];
    int status = 0;
    for (int in_group = 0; in_group < 2; in_group++) {
        assert_int_equal(mkfifoat(at->fd, "cgroup.procs", 0600), 0);
        assert_int_equal(mkfifoat(at->fd, "cgroup.kill", 0600), 0); /* a name to be removed */
        pid_t other = fork();
        if (other == 0) {
            pause();
            _exit(0);
        }
        snprintf(number, sizeof(number), "%d\n", (int)other);
        pid_t writer = fork();
        if (writer == 0) {
            /* Once it is open for reading another stands in its place: for the second look. */
            int fd = openat(at->fd, "cgroup.procs", O_WRONLY);
            renameat(at->fd, "cgroup.kill", at->fd, "cgroup.procs");
            (void)!write(fd, number, strlen(number));
            close(fd);
            fd = openat(at->fd, "cgroup.procs", O_WRONLY);
            (void)!write(fd, in_group ? number : "1\n", in_group ? strlen(number) : 2);
            _exit(0);
        }
        kiln_cgroup_kill(at->fd, false);
        waitpid(writer, &status, 0);
        if (in_group == 0) {
            assert_int_equal(waitpid(other, &status, WNOHANG), 0);
            kill(other, SIGTERM);
        }
        assert_int_equal(waitpid(other, &status, 0), other);
        assert_int_equal(WTERMSIG(status), in_group ? SIGKILL : SIGTERM);
        unlinkat(at->fd, "cgroup.procs", 0);
    }
}

/* ------------------------------------------------------------------ claims */

static void one_engine_a_folder(void **state)
{
    folder *at = *state;
    static const char name[] = "kiln-77-12345";
    int held = kiln_cgroup_claim(at->fd, name);
    assert_true(held >= 0);
    assert_int_equal(kiln_cgroup_claim(at->fd, name), -EEXIST);
    assert_int_equal(kiln_cgroup_take_over(at->fd, name), -EWOULDBLOCK);
    /* A process that came by a fork keeps it, one that executes another program does not. */
    assert_true((fcntl(held, F_GETFD) & FD_CLOEXEC) != 0);
    close(held);
    int taken = kiln_cgroup_take_over(at->fd, name);
    assert_true(taken >= 0);
    assert_int_equal(unlinkat(at->fd, name, AT_REMOVEDIR), 0);
    assert_int_equal(kiln_cgroup_take_over(at->fd, name), -ENOENT);
    held = kiln_cgroup_claim(at->fd, name); /* the name again, while the old one dies */
    assert_true(held >= 0);
    close(taken);
    assert_int_equal(kiln_cgroup_take_over(at->fd, name), -EWOULDBLOCK);
    close(held);
    unlinkat(at->fd, name, AT_REMOVEDIR);
}

static void whose_names(void **state)
{
    (void)state;
    assert_true(kiln_cgroup_is_engines("kiln-1-0"));
    assert_true(kiln_cgroup_is_engines("kiln-4711-99999.engine"));
    static const char *const others[] = {"kiln",       "kiln-",      "kiln-1",      "kiln-1-",
                                         "kiln--1-5",  "kiln-0-5",   "kiln-1-5x",   "xkiln-1-5",
                                         "kiln-1-5.e", "kiln.slice", "kiln-test-1", ""};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(kiln_cgroup_is_engines(others[i]));
    }
}

typedef struct seen {
    char paths[256];
} seen;

static bool look_at(void *user, const char *path)
{
    seen *all = user;
    size_t used = strlen(all->paths);
    snprintf(all->paths + used, sizeof(all->paths) - used, "%s ", path);
    return strstr(path, "busy") == NULL;
}

static void notes_of_groups(void **state)
{
    folder *at = *state;
    seen all = {""};
    assert_int_equal(kiln_cgroup_note_write(at->fd, "kiln-1-1", "/a/kiln-1-1\n/b\n"), 0);
    kiln_cgroup_notes_each(at->fd, "kiln-1-1", look_at, &all);
    assert_string_equal(all.paths, ""); /* one's own */
    assert_int_equal(kiln_cgroup_note_write(at->fd, "kiln-2-2", "/busy\n/c\n"), 0);
    assert_int_equal(kiln_cgroup_note_write(at->fd, "notes", "/d\n"), 0);
    assert_int_equal(kiln_cgroup_note_write(at->fd, "kiln-3-3", "relative\n"), 0);
    kiln_cgroup_notes_each(at->fd, "kiln-1-1", look_at, &all);
    assert_string_equal(all.paths, "/busy /c ");
    assert_int_equal(faccessat(at->fd, "kiln-1-1", F_OK, 0), 0);
    assert_int_equal(faccessat(at->fd, "kiln-2-2", F_OK, 0), 0); /* not all were gone */
    assert_int_equal(faccessat(at->fd, "notes", F_OK, 0), 0);
    assert_true(faccessat(at->fd, "kiln-3-3", F_OK, 0) < 0);
    kiln_cgroup_notes_each(at->fd, "", look_at, &all);
    assert_true(faccessat(at->fd, "kiln-1-1", F_OK, 0) < 0);
    unlinkat(at->fd, "kiln-2-2", 0);
    unlinkat(at->fd, "notes", 0);
}

static void without_init(void **state)
{
    (void)state;
    kiln_error err = {.code = 5, .text = "x"};
    kiln_limits limits = {.memory = 0};
    assert_null(kiln_cgroup_create("x", &limits, &err));
    assert_int_equal(err.code, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pure_v2),
        cmocka_unit_test(v1_and_hybrid),
        cmocka_unit_test(in_a_container),
        cmocka_unit_test(nothing_there),
        cmocka_unit_test_setup_teardown(v2_files, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(limits_that_cannot_be_written, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(share_of_the_cpus, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(meters, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_number_given_again, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(one_engine_a_folder, make_folder, remove_folder),
        cmocka_unit_test(whose_names),
        cmocka_unit_test_setup_teardown(notes_of_groups, make_folder, remove_folder),
        cmocka_unit_test(without_init),
        cmocka_unit_test(real_group),
        cmocka_unit_test(share_of_a_real_group),
        cmocka_unit_test(kills_what_it_cannot_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
