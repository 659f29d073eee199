/* session.c - what a session has of its own: one bounded tmpfs, /proc, ipc, keys. */
#include "base/cleanup.h"
#include "sandbox/mount.h"
#include "sandbox/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static const struct {
    const char *name;
    mode_t mode;
} folders[] = {
    {"work", 0755}, /* /work, /code, /tmp and /dev/shm lead there */
    {"code", 0755},
    {"tmp", 01777},
    {"shm", 01777},
};
enum { FOLDERS = sizeof(folders) / sizeof(folders[0]) };

static int write_text(int fs, const char *name, const char *text)
{
    auto_close int fd = openat(fs, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (fd < 0) {
        return -errno;
    }
    ssize_t length = (ssize_t)strlen(text);
    return write(fd, text, (size_t)length) == length ? 0 : -ENOSPC;
}

/* A name for the session's uid: getpwuid(getuid()) must work. */
static int write_users(int fs, uid_t uid)
{
    char text[256];
    snprintf(text, sizeof(text),
             "root:x:0:0:root:/:/usr/sbin/nologin\n"
             "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
             "kiln:x:%u:%u:kiln:/work:/bin/sh\n",
             uid, uid);
    int rc = write_text(fs, "passwd", text);
    if (rc < 0) {
        return rc;
    }
    snprintf(text, sizeof(text), "root:x:0:\nnogroup:x:65534:\nkiln:x:%u:\n", uid);
    return write_text(fs, "group", text);
}

/* A second mount of fs/name, at `inside`, or nowhere to be seen. */
static int bind_from(int fs, const char *name, const char *inside)
{
    auto_close int tree = open_tree(
        fs, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (name[0] == '\0' ? AT_EMPTY_PATH : 0));
    if (tree < 0) {
        return -errno;
    }
    if (inside != NULL && move_mount(tree, "", AT_FDCWD, inside, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        return -errno;
    }
    return kiln_steal_fd(&tree);
}

/* Where all are one user the code owns the tmpfs's root, too: the root is mounted
 * read-only, and each folder once more upon itself. */
static int protect_root(int fs, kiln_error *err)
{
    for (int i = 0; i < FOLDERS; i++) {
        char inside[64];
        snprintf(inside, sizeof(inside), "%s/%s", KILN_SESSION_MOUNT, folders[i].name);
        int fd = bind_from(fs, folders[i].name, inside);
        int rc = fd < 0 ? fd : 0;
        if (rc == -ENOSYS) {
            rc = mount(inside, inside, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
        }
        if (rc < 0) {
            return kiln_error_errno(err, rc, "session: %s", inside);
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    int rc = kiln_mount_restrict(fs, "", MOUNT_ATTR_RDONLY);
    return rc < 0 ? kiln_error_errno(err, rc, "session: read-only root") : 0;
}

static int make_file_system(int *made, kiln_error *err)
{
    static const char *const options[] = {"mode=0755", NULL};
    auto_close int fs = -1;
    int rc = kiln_mount_new("tmpfs", options, KILN_SESSION_MOUNT,
                            MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, &fs, err);
    if (rc < 0) {
        return kiln_error_wrap(err, "session");
    }
    for (int i = 0; i < FOLDERS; i++) {
        if (mkdirat(fs, folders[i].name, 0700) < 0 ||
            fchmodat(fs, folders[i].name, folders[i].mode, 0) < 0) {
            return kiln_error_errno(err, errno, "session: making %s", folders[i].name);
        }
    }
    *made = kiln_steal_fd(&fs);
    return 0;
}

/* The file system is this session's from here on. */
static int fill_file_system(const kiln_sandbox_policy *policy,
                            const kiln_sandbox_session *session, int fs, uid_t uid, int *shared,
                            kiln_error *err)
{
    int rc = kiln_sandbox_resize_session(session, err);
    if (rc < 0) {
        return rc;
    }
    rc = write_users(fs, uid);
    if (rc < 0) {
        return kiln_error_errno(err, rc, "session: passwd; raise [limits] disk and files");
    }
    for (int i = 0; i < FOLDERS; i++) {
        if (fchownat(fs, folders[i].name, uid, (gid_t)uid, AT_SYMLINK_NOFOLLOW) < 0) {
            return kiln_error_errno(err, errno, "session: giving away %s", folders[i].name);
        }
    }
    /* The engine writes through a mount that is nowhere to be seen. */
    auto_close int view = bind_from(fs, "", NULL);
    if (view < 0 && view != -ENOSYS) {
        return kiln_error_errno(err, view, "session: the engine's view");
    }
    if (!kiln_uids_are_ranged(policy)) {
        rc = protect_root(fs, err);
    }
    if (rc == 0) {
        *shared = view >= 0 ? kiln_steal_fd(&view) : fcntl(fs, F_DUPFD_CLOEXEC, 3);
    }
    return rc;
}

/* Before Linux 5.2. */
static int remount(const kiln_sandbox_session *session, const char *size, const char *inodes)
{
    char data[80];
    snprintf(data, sizeof(data), "mode=0755%s%s%s%s", session->disk > 0 ? ",size=" : "",
             session->disk > 0 ? size : "", session->files > 0 ? ",nr_inodes=" : "",
             session->files > 0 ? inodes : "");
    return mount(NULL, KILN_SESSION_MOUNT, NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV, data);
}

int kiln_sandbox_resize_session(const kiln_sandbox_session *session, kiln_error *err)
{
    char size[24];
    char inodes[24];
    snprintf(size, sizeof(size), "%llu", (unsigned long long)session->disk);
    snprintf(inodes, sizeof(inodes), "%llu", (unsigned long long)session->files + FOLDERS + 3);
    auto_close int fs = fspick(AT_FDCWD, KILN_SESSION_MOUNT, FSPICK_CLOEXEC);
    bool failed =
        fs < 0 ||
        (session->disk > 0 && fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) < 0) ||
        (session->files > 0 && fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", inodes, 0) < 0) ||
        fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0;
    if (failed && errno == ENOSYS) {
        failed = remount(session, size, inodes) < 0;
    }
    return failed ? kiln_error_errno(err, errno, "session: resizing its file system") : 0;
}

/* What container runtimes mask and everybody could read: the keys of the user, whom an
 * ordinary user's sessions share with him; what his devices do. Of kcore, timer_list, sys,
 * sysrq-trigger, irq and bus all that is of harm belongs to the host's root, who is not
 * mapped in here, and Landlock refuses writing under /proc once more. */
static const struct {
    const char *name;
    bool folder;
} masked[] = {{"proc/keys", false},         {"proc/key-users", false},
              {"proc/interrupts", false},   {"proc/acpi", true},
              {"proc/asound", true},        {"proc/scsi", true},
              {"proc/latency_stats", false}};

static int mask_proc(kiln_error *err)
{
    auto_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    auto_close int nothing = open("/dev/null", O_PATH | O_CLOEXEC);
    auto_close int empty = open("/home", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || nothing < 0 || empty < 0) {
        return kiln_error_errno(err, errno, "session: masking /proc");
    }
    for (size_t i = 0; i < sizeof(masked) / sizeof(masked[0]); i++) {
        if (faccessat(root, masked[i].name, F_OK, 0) < 0) {
            continue; /* not in this kernel */
        }
        int rc = kiln_mount_bind(masked[i].folder ? empty : nothing, root, masked[i].name,
                                 MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
        if (rc < 0) {
            return kiln_error_errno(err, rc, "session: masking /%s", masked[i].name);
        }
    }
    return 0;
}

/* Each session's processes are numbered from another one on: what names things by its
 * process id (temporary files, logs, random seeds) does so differently in each. Where it
 * cannot be set, they begin with 2. */
static void begin_pids_anywhere(void)
{
    uint32_t random = 0;
    char text[16];
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) == sizeof(random)) {
        snprintf(text, sizeof(text), "%u", 100 + random % 30000);
        kiln_write_file_at(AT_FDCWD, "/proc/sys/kernel/ns_last_pid", text);
    }
}

/* hidepid hides the supervisor and, where uids are shared, nothing else is in this
 * pid namespace. */
static int make_proc(kiln_error *err)
{
    static const char *const options[] = {"hidepid=2", NULL};
    int rc =
        kiln_mount_new("proc", options, "/proc",
                       MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, NULL, err);
    return rc < 0 ? rc : mask_proc(err);
}

/* See kiln_processes_counted_apart. */
static int enter_own_user_namespace(kiln_error *err)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    char map[64];
    if (unshare(CLONE_NEWUSER) < 0) {
        return kiln_error_errno(err, errno, "session: user namespace");
    }
    /* The files of a process that is not dumpable belong to nobody here. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
        return kiln_error_errno(err, errno, "session: dumpable");
    }
    int rc = kiln_write_file_at(AT_FDCWD, "/proc/self/setgroups", "deny");
    if (rc == 0 || rc == -EPERM) { /* denied once is denied below */
        snprintf(map, sizeof(map), "%u %u 1\n", uid, uid);
        rc = kiln_write_file_at(AT_FDCWD, "/proc/self/uid_map", map);
    }
    if (rc == 0) {
        snprintf(map, sizeof(map), "%u %u 1\n", gid, gid);
        rc = kiln_write_file_at(AT_FDCWD, "/proc/self/gid_map", map);
    }
    if (rc < 0) {
        return kiln_error_errno(err, rc, "session: mapping uid %u", uid);
    }
    return kiln_bounding_drop(err); /* a new namespace began with a full one */
}

bool kiln_session_has_own_users(const kiln_sandbox_policy *policy,
                                const kiln_sandbox_session *session)
{
    return session->nested ||
           (!kiln_uids_are_ranged(policy) && kiln_processes_counted_apart(policy));
}

int kiln_join_keyring(kiln_error *err)
{
    return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS
               ? kiln_error_errno(err, errno, "session: keyring")
               : 0;
}

int kiln_sandbox_prepare_session(const kiln_sandbox_policy *policy, bool nested, int *fs,
                                 kiln_error *err)
{
    /* Not uts: no session can set a host name, so one is enough for all. */
    if (unshare(CLONE_NEWNS | CLONE_NEWIPC) < 0) {
        return kiln_error_errno(err, errno, "session: unshare");
    }
    if (!nested && kiln_sandbox_needs_private_network(policy) &&
        kiln_network_make_private(err) < 0) {
        return kiln_error_wrap(err, "session");
    }
    mode_t mask = umask(022);
    int rc = make_proc(err);
    if (rc == 0) {
        begin_pids_anywhere();
        rc = make_file_system(fs, err);
    }
    umask(mask);
    return rc;
}

int kiln_sandbox_enter_session(const kiln_sandbox_policy *policy,
                               const kiln_sandbox_session *session, int *fs, int *root_fd,
                               kiln_error *err)
{
    uid_t uid;
    auto_close int own = kiln_steal_fd(fs);
    int rc = kiln_sandbox_session_uid(policy, session->index, &uid, err);
    if (rc < 0) {
        return rc;
    }
    mode_t mask = umask(022);
    auto_close int shared = -1;
    rc = fill_file_system(policy, session, own, uid, &shared, err);
    umask(mask);
    if (rc == 0 && !session->nested && kiln_session_has_own_users(policy, session)) {
        rc = enter_own_user_namespace(err);
    }
    if (rc < 0) {
        return rc;
    }
    rc = kiln_join_keyring(err);
    if (rc < 0) {
        return rc;
    }
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        return kiln_error_errno(err, errno, "session: not dumpable");
    }
    *root_fd = kiln_steal_fd(&shared);
    return 0;
}
