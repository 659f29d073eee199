/* root.c - the tree that a zygote and all its sessions see: system folders read-only, a
 * few files of /etc, five devices, and places to mount on. The folders and files are the
 * host's, or those of [sandbox] root.
 *
 * Where they come from is the working directory, which follows into the new mount
 * namespace. Names in it are looked up as if it were "/": an image's links stay inside
 * the image. */
#include "base/cleanup.h"
#include "sandbox/mount.h"
#include "sandbox/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define READ_ONLY (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

/* Of the host: what the new root is reached by until it is the root. */
#define STAGING "/tmp"

const char *const kiln_root_folders[] = {"usr",   "bin",    "sbin", "lib", "lib32",
                                         "lib64", "libx32", "opt",  NULL};

/* Copied when they are there: small, and nobody's secret. */
static const char *const etc_files[] = {
    "ld.so.cache",    "ld.so.conf",   "localtime", "timezone", "matplotlibrc",
    "mime.types",     "magic",        "protocols", "services", "os-release",
    "debian_version", "locale.alias", NULL};

/* Bound when they are there. Never ssl/private, never all of ssl. */
static const char *const etc_folders[] = {"alternatives",
                                          "ld.so.conf.d",
                                          "ssl/certs",
                                          "pki/tls/certs",
                                          "pki/ca-trust/extracted",
                                          "fonts",
                                          "python3",
                                          "python3.*",
                                          "lua",
                                          "java-*-openjdk",
                                          "R",
                                          "perl",
                                          "terminfo",
                                          NULL};

static const struct {
    const char *name, *text;
} etc_texts[] = {
    {"hosts", "127.0.0.1 localhost kiln\n::1 localhost\n"},
    {"resolv.conf", ""},
    {"nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nservices: files\n"
                      "protocols: files\nnetworks: files\n"},
    {"ssl/openssl.cnf", ""},
};

static const char *const devices[] = {"null", "zero", "full", "random", "urandom", NULL};

static const struct {
    const char *name, *to;
} links[] = {
    {"dev/fd", "/proc/self/fd"},
    {"dev/stdin", "/proc/self/fd/0"},
    {"dev/stdout", "/proc/self/fd/1"},
    {"dev/stderr", "/proc/self/fd/2"},
    {"etc/mtab", "/proc/self/mounts"},
    /* All that is a session's own stands in one place; see session.c. */
    {"etc/passwd", KILN_SESSION_MOUNT "/passwd"},
    {"etc/group", KILN_SESSION_MOUNT "/group"},
    {"work", KILN_SESSION_MOUNT "/work"},
    {"code", KILN_SESSION_MOUNT "/code"},
    {"tmp", KILN_SESSION_MOUNT "/tmp"},
    {"dev/shm", KILN_SESSION_MOUNT "/shm"},
};

static const char *const empty_folders[] = {"proc",
                                            "dev",
                                            "etc",
                                            "etc/ssl",
                                            "run",
                                            "run/session",
                                            "run/session/tmp",
                                            "run/session/proc",
                                            "var",
                                            "var/tmp",
                                            "home",
                                            NULL};

static int write_new(int root, const char *path, const char *data, size_t length)
{
    auto_close int fd = openat(root, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        return -errno;
    }
    while (length > 0) {
        ssize_t written = write(fd, data, length);
        if (written < 0) {
            return -errno;
        }
        data += written;
        length -= (size_t)written;
    }
    return 0;
}

static int make_parents(int root, const char *path)
{
    char part[512];
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (mkdirat(root, part, 0755) < 0 && errno != EEXIST) {
            return -errno;
        }
    }
    return 0;
}

/* A descriptor, or -errno. */
static int open_source(const char *name, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, name, &how, sizeof(how));
    return fd < 0 ? -errno : fd;
}

/* A file that is large or none is left out. */
static int copy_content(int root, int in, const char *target)
{
    enum { LARGEST = 4 << 20 };
    struct stat what;
    if (fstat(in, &what) < 0 || !S_ISREG(what.st_mode) || what.st_size > LARGEST) {
        return 0;
    }
    auto_free char *data = malloc((size_t)what.st_size + 1);
    if (data == NULL) {
        return -ENOMEM;
    }
    size_t length = 0;
    ssize_t got = 0;
    while (length < (size_t)what.st_size &&
           (got = read(in, data + length, (size_t)what.st_size - length)) > 0) {
        length += (size_t)got;
    }
    return got < 0 ? 0 : write_new(root, target, data, length);
}

/* What a link says, when `fd` is one: its length, 0 else. */
static ssize_t read_link(int fd, char *to, size_t size)
{
    struct stat what;
    if (fstat(fd, &what) < 0 || !S_ISLNK(what.st_mode)) {
        return 0;
    }
    ssize_t length = readlinkat(fd, "", to, size - 1);
    to[length > 0 ? length : 0] = '\0';
    return length;
}

/* One that is absent or unreadable is left out. */
static int copy_file(int root, const char *name)
{
    char to[1024];
    auto_close int link = open_source(name, O_PATH | O_NOFOLLOW);
    /* Into /usr a link stays a link: its target is there inside, too. */
    if (link >= 0 && read_link(link, to, sizeof(to)) > 0 &&
        (strncmp(to, "/usr/", 5) == 0 || strncmp(to, "../usr/", 7) == 0)) {
        return symlinkat(to, root, name) < 0 ? -errno : 0;
    }
    auto_close int in = open_source(name, O_RDONLY | O_NONBLOCK);
    return in < 0 ? 0 : copy_content(root, in, name);
}

/* Likewise. */
static int bind_folder(int root, const char *name, kiln_error *err)
{
    char to[1024];
    struct stat what;
    auto_close int source = open_source(name, O_PATH | O_NOFOLLOW);
    if (source < 0 || fstat(source, &what) < 0) {
        return 0;
    }
    if (S_ISLNK(what.st_mode)) {
        return read_link(source, to, sizeof(to)) < 0 || symlinkat(to, root, name) < 0
                   ? kiln_error_errno(err, errno, "root: %s", name)
                   : 0;
    }
    if (!S_ISDIR(what.st_mode)) {
        return 0;
    }
    int rc = make_parents(root, name);
    if (rc == 0 && mkdirat(root, name, 0755) < 0 && errno != EEXIST) {
        rc = -errno;
    }
    if (rc == 0) {
        rc = kiln_mount_bind(source, root, name, READ_ONLY);
    }
    return rc < 0 ? kiln_error_errno(err, rc, "root: binding /%s", name) : 0;
}

static int copy_from_host(int root, const char *source)
{
    auto_close int in = open(source, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    return in < 0 ? 0 : copy_content(root, in, source + 1);
}

/* Who has the host's network may know its names, and how to look others up. */
static int make_resolver(int root)
{
    static const char sources[] = "hosts: files dns\n";
    int rc = write_new(root, "etc/nsswitch.conf", sources, strlen(sources));
    rc = rc < 0 ? rc : copy_from_host(root, "/etc/hosts");
    return rc < 0 ? rc : copy_from_host(root, "/etc/resolv.conf");
}

static bool is_of_resolver(const char *name)
{
    return strcmp(name, "hosts") == 0 || strcmp(name, "resolv.conf") == 0 ||
           strcmp(name, "nsswitch.conf") == 0;
}

static int make_etc(int root, bool host_network, kiln_error *err)
{
    char name[512];
    int rc = host_network ? make_resolver(root) : 0;
    for (size_t i = 0; rc == 0 && i < sizeof(etc_texts) / sizeof(etc_texts[0]); i++) {
        snprintf(name, sizeof(name), "etc/%s", etc_texts[i].name);
        if (!host_network || !is_of_resolver(etc_texts[i].name)) {
            rc = write_new(root, name, etc_texts[i].text, strlen(etc_texts[i].text));
        }
    }
    for (size_t i = 0; rc == 0 && etc_files[i] != NULL; i++) {
        snprintf(name, sizeof(name), "etc/%s", etc_files[i]);
        rc = copy_file(root, name);
    }
    if (rc < 0) {
        return kiln_error_errno(err, rc, "root: /etc");
    }
    for (size_t i = 0; etc_folders[i] != NULL; i++) {
        snprintf(name, sizeof(name), "etc/%s", etc_folders[i]);
        glob_t found;
        if (glob(name, GLOB_NOSORT, NULL, &found) != 0) {
            continue;
        }
        for (size_t k = 0; rc == 0 && k < found.gl_pathc; k++) {
            rc = bind_folder(root, found.gl_pathv[k], err);
        }
        globfree(&found);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int make_devices(int root, kiln_error *err)
{
    for (size_t i = 0; devices[i] != NULL; i++) {
        char source[64];
        snprintf(source, sizeof(source), "/dev/%s", devices[i]);
        auto_close int device = open(source, O_PATH | O_CLOEXEC);
        int rc = device < 0 ? -errno : write_new(root, source + 1, "", 0);
        if (rc == 0) {
            /* A mount for each: a user namespace may not make device nodes. */
            rc = kiln_mount_bind(device, root, source + 1,
                                 MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
        }
        if (rc < 0) {
            return kiln_error_errno(err, rc, "root: %s", source);
        }
    }
    return 0;
}

static int fill(int root, bool host_network, kiln_error *err)
{
    for (size_t i = 0; empty_folders[i] != NULL; i++) {
        if (mkdirat(root, empty_folders[i], 0755) < 0) {
            return kiln_error_errno(err, errno, "root: making %s", empty_folders[i]);
        }
    }
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        if (symlinkat(links[i].to, root, links[i].name) < 0) {
            return kiln_error_errno(err, errno, "root: linking %s", links[i].name);
        }
    }
    /* What the zygote itself sees; a session's own tmpfs covers it. */
    static const char user[] = "root:x:0:0:root:/:/usr/sbin/nologin\n"
                               "kiln:x:1000:1000:kiln:/work:/bin/sh\n";
    static const char group[] = "root:x:0:\nkiln:x:1000:\n";
    int rc = write_new(root, "run/session/passwd", user, strlen(user));
    if (rc == 0) {
        rc = write_new(root, "run/session/group", group, strlen(group));
    }
    if (rc < 0) {
        return kiln_error_errno(err, rc, "root: /etc/passwd");
    }
    for (size_t i = 0; kiln_root_folders[i] != NULL; i++) {
        rc = bind_folder(root, kiln_root_folders[i], err);
        if (rc < 0) {
            return rc;
        }
    }
    rc = make_etc(root, host_network, err);
    return rc < 0 ? rc : make_devices(root, err);
}

int kiln_sandbox_enter_root(const kiln_sandbox_policy *policy, kiln_error *err)
{
    /* Before: inside, what is above an image may be closed to us. */
    const char *source = policy->root[0] != '\0' ? policy->root : "/";
    if (chdir(source) < 0) {
        return kiln_error_errno(err, errno, "root: %s", source);
    }
    int rc = kiln_namespaces_enter(policy, err);
    if (rc < 0) {
        return rc;
    }
    mode_t mask = umask(022);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        return kiln_error_errno(err, errno, "root: private propagation");
    }
    static const char *const options[] = {"mode=0755", "size=16M", "nr_inodes=4096", NULL};
    auto_close int root = -1;
    rc = kiln_mount_new("tmpfs", options, STAGING, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, &root,
                        err);
    if (rc < 0) {
        return kiln_error_wrap(err, "root");
    }
    rc = fill(root, policy->network == KILN_NETWORK_HOST, err);
    if (rc < 0) {
        return rc;
    }
    /* While the host's /proc is still in sight: the kernel gives a user namespace a
     * fresh /proc only where a whole one is visible already, and this one is what
     * the sessions' will be allowed by. */
    static const char *const none[] = {NULL};
    rc = kiln_mount_new("proc", none, STAGING "/proc",
                        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, NULL, err);
    if (rc < 0) {
        return kiln_error_wrap(err,
                               "root: the kernel refuses a /proc of our own where parts of "
                               "the host's are hidden, as in a container; unmask them "
                               "(--security-opt systempaths=unconfined)");
    }
    if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0) {
        return kiln_error_errno(err, errno, "root: pivot_root");
    }
    /* The old root now lies upon the new one. */
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return kiln_error_errno(err, errno, "root: leaving the host's root");
    }
    rc = kiln_mount_restrict(root, "", MOUNT_ATTR_RDONLY);
    if (rc < 0) {
        return kiln_error_errno(err, rc, "root: read-only");
    }
    /* For what a zygote preloads (matplotlib keeps a lock file); a session's own /tmp
     * covers it. */
    static const char *const scratch[] = {"mode=1777", "size=16M", "nr_inodes=1024", NULL};
    rc = kiln_mount_new("tmpfs", scratch, KILN_SESSION_MOUNT "/tmp",
                        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, NULL, err);
    if (rc < 0) {
        return kiln_error_wrap(err, "root");
    }
    /* The same, whole, for sessions nested in sessions, whose own /proc has parts of it
     * hidden: the session's file system covers it, and it only has to be somewhere. */
    rc = kiln_mount_new("proc", none, KILN_SESSION_MOUNT "/proc",
                        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, NULL, err);
    if (rc < 0) {
        return kiln_error_wrap(err, "root");
    }
    rc = kiln_bounding_drop(err);
    if (rc < 0) {
        return rc;
    }
    umask(mask);
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        return kiln_error_errno(err, errno, "root: not dumpable");
    }
    return 0;
}
