/* namespaces.c - user, pid, mount, net, ipc, uts and cgroup namespaces. */
#include "base/cleanup.h"
#include "sandbox/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>

bool kiln_uids_are_ranged(const kiln_sandbox_policy *policy)
{
    return policy->uid_base != 0 && policy->uid_count > 0;
}

uint32_t kiln_sandbox_session_max(const kiln_sandbox_policy *policy)
{
    if (!kiln_uids_are_ranged(policy)) {
        return UINT32_MAX; /* they share one uid */
    }
    return policy->uid_count > KILN_FIRST_UID ? policy->uid_count - KILN_FIRST_UID : 0;
}

int kiln_sandbox_session_uid(const kiln_sandbox_policy *policy, uint32_t index, uid_t *uid,
                             kiln_error *err)
{
    if (!kiln_uids_are_ranged(policy)) {
        *uid = KILN_FIRST_UID;
        return 0;
    }
    if (policy->uid_count <= KILN_FIRST_UID || index >= policy->uid_count - KILN_FIRST_UID) {
        return kiln_error_set(err, -ERANGE,
                              "session %u has no uid: [sandbox] uids holds %u, of which the "
                              "first %d are not for sessions; widen the range",
                              index, policy->uid_count, KILN_FIRST_UID);
    }
    *uid = KILN_FIRST_UID + index;
    return 0;
}

int kiln_write_file_at(int dir_fd, const char *path, const char *text)
{
    auto_close int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    size_t length = strlen(text);
    ssize_t written = write(fd, text, length);
    if (written < 0) {
        return -errno;
    }
    return (size_t)written == length ? 0 : -EIO;
}

/* A process cannot write its own maps of a range: the writer must stand in the
 * parent namespace. So a helper is forked before, and woken by a byte. */
static int write_range(const kiln_sandbox_policy *policy, pid_t target, int wake)
{
    char path[64];
    char map[64];
    char byte;
    if (read(wake, &byte, 1) != 1) {
        return ECANCELED;
    }
    snprintf(map, sizeof(map), "0 %u %u\n", policy->uid_base, policy->uid_count);
    snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)target);
    int rc = kiln_write_file_at(AT_FDCWD, path, map);
    if (rc == 0) {
        snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)target);
        rc = kiln_write_file_at(AT_FDCWD, path, map);
    }
    return -rc;
}

static int wait_for(pid_t pid, int *status)
{
    while (waitpid(pid, status, 0) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static int enter_user_ranged(const kiln_sandbox_policy *policy, kiln_error *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0) {
        return kiln_error_errno(err, errno, "user namespace: pipe");
    }
    auto_close int wake_read = fds[0];
    auto_close int wake_write = fds[1];
    pid_t self = getpid();
    pid_t helper = fork();
    if (helper < 0) {
        return kiln_error_errno(err, errno, "user namespace: fork");
    }
    if (helper == 0) {
        close(wake_write);
        _exit(write_range(policy, self, wake_read));
    }
    int failure = unshare(CLONE_NEWUSER) < 0 ? errno : 0;
    if (failure == 0 && write(wake_write, "", 1) != 1) {
        failure = EPIPE;
    }
    close(kiln_steal_fd(&wake_write));
    int status = 0;
    int rc = wait_for(helper, &status);
    if (failure != 0) {
        return kiln_error_errno(err, failure, "user namespace: unshare");
    }
    if (rc < 0) {
        return kiln_error_errno(err, rc, "user namespace: waiting for the map's writer");
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return kiln_error_errno(
            err, WIFEXITED(status) ? WEXITSTATUS(status) : EIO,
            "user namespace: mapping uids %u-%u; choose a range in [sandbox] uids that "
            "/proc/self/uid_map holds",
            policy->uid_base, policy->uid_base + policy->uid_count - 1);
    }
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) {
        return kiln_error_errno(err, errno, "user namespace: becoming its root");
    }
    return 0;
}

static int enter_user_single(kiln_error *err)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (uid == 0) {
        return kiln_error_set(
            err, -EINVAL,
            "user namespace: as root sessions need host uids of their own; set "
            "[sandbox] uids = FIRST-LAST");
    }
    if (unshare(CLONE_NEWUSER) < 0) {
        return kiln_error_errno(err, errno,
                                "user namespace: unshare; allow unprivileged user namespaces "
                                "(sysctl kernel.unprivileged_userns_clone, "
                                "kernel.apparmor_restrict_unprivileged_userns, "
                                "user.max_user_namespaces) or run as root");
    }
    /* An engine that gave up root by setuid is not dumpable, and its own /proc files
     * would be root's. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
        return kiln_error_errno(err, errno, "user namespace: dumpable");
    }
    char map[64];
    int rc = kiln_write_file_at(AT_FDCWD, "/proc/self/setgroups", "deny");
    if (rc == 0) {
        snprintf(map, sizeof(map), "%d %u 1\n", KILN_FIRST_UID, uid);
        rc = kiln_write_file_at(AT_FDCWD, "/proc/self/uid_map", map);
    }
    if (rc == 0) {
        snprintf(map, sizeof(map), "%d %u 1\n", KILN_FIRST_UID, gid);
        rc = kiln_write_file_at(AT_FDCWD, "/proc/self/gid_map", map);
    }
    return rc < 0 ? kiln_error_errno(err, rc, "user namespace: mapping uid %u", uid) : 0;
}

/* What stays behind: waits and says how the zygote ended. */
static void be_stub(pid_t zygote) __attribute__((noreturn));
static void be_stub(pid_t zygote)
{
    /* Above all the control socket: its other end must see the zygote's death. */
    close_range(0, ~0U, 0);
    int status = 0;
    if (wait_for(zygote, &status) < 0) {
        _exit(125);
    }
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* A parent that died before the call would never be noticed: hence the look after. */
static int die_with_parent(pid_t parent, kiln_error *err)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) {
        return kiln_error_errno(err, errno, "pid namespace: parent-death signal");
    }
    if (getppid() != parent) {
        return kiln_error_set(err, -ESRCH, "pid namespace: the engine is gone");
    }
    return 0;
}

int kiln_namespaces_enter(const kiln_sandbox_policy *policy, kiln_error *err)
{
    pid_t engine = getppid();
    int rc =
        kiln_uids_are_ranged(policy) ? enter_user_ranged(policy, err) : enter_user_single(err);
    if (rc < 0) {
        return rc;
    }
    /* Changing ids has cleared it, if it was set. */
    rc = die_with_parent(engine, err);
    if (rc < 0) {
        return rc;
    }
    int net = policy->network == KILN_NETWORK_HOST ? 0 : CLONE_NEWNET;
    if (unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | net) < 0) {
        return kiln_error_errno(err, errno, "namespaces: unshare");
    }
    /* Kernels without it (before 4.6) have nothing to hide. */
    if (unshare(CLONE_NEWCGROUP) < 0 && errno != EINVAL) {
        return kiln_error_errno(err, errno, "cgroup namespace: unshare");
    }
    if (sethostname("kiln", 4) < 0) {
        return kiln_error_errno(err, errno, "uts namespace: sethostname");
    }
    pid_t zygote = fork();
    if (zygote < 0) {
        return kiln_error_errno(err, errno, "pid namespace: fork");
    }
    if (zygote > 0) {
        be_stub(zygote);
    }
    /* From inside the parent is invisible: getppid() is 0 while it lives, too. If it
     * died in between, the control socket's end tells. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) {
        return kiln_error_errno(err, errno, "pid namespace: parent-death signal");
    }
    return 0;
}

/* Since Linux 5.14 processes are counted by user and user namespace. An ordinary
 * user's sessions share a uid: in a namespace each they do not share the count, and
 * one session's fork bomb is not another's "try again". */
bool kiln_processes_counted_apart(const kiln_sandbox_policy *policy)
{
    struct utsname name;
    unsigned major = 0;
    unsigned minor = 0;
    return kiln_uids_are_ranged(policy) ||
           (uname(&name) == 0 && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
            (major > 5 || (major == 5 && minor >= 14)));
}

int kiln_network_make_private(kiln_error *err)
{
    if (unshare(CLONE_NEWNET) < 0) {
        return kiln_error_errno(err, errno, "network namespace: unshare");
    }
    auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return kiln_error_errno(err, errno, "network namespace: socket");
    }
    struct ifreq request = {.ifr_name = "lo"};
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
        return kiln_error_errno(err, errno, "network namespace: lo");
    }
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0) {
        return kiln_error_errno(err, errno, "network namespace: bringing lo up");
    }
    return 0;
}

int kiln_sandbox_listen(int *listener, kiln_error *err)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(KILN_PROXY_PORT),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, 128) < 0) {
        return kiln_error_errno(err, errno, "proxy: listening on 127.0.0.1:%d of the session",
                                KILN_PROXY_PORT);
    }
    *listener = kiln_steal_fd(&fd);
    return 0;
}

bool kiln_sandbox_needs_private_network(const kiln_sandbox_policy *policy)
{
    if (policy->network != KILN_NETWORK_NONE) {
        return policy->network == KILN_NETWORK_PROXY;
    }
    return policy->private_network || kiln_landlock_abi() < 6;
}
