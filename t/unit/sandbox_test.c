/* What code finds when it stands inside: as root with a range of uids, and as an
 * ordinary user. Each run forks a zygote, a supervisor and a worker; the worker's
 * checks write a line for each that failed, and "END". */
#include "base/error.h"
#include "sandbox/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <pwd.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOBODY = 65534 };

typedef struct scene {
    const char *name;
    bool as_root;
    bool private_network;
    unsigned required;
    bool without_landlock;
    void (*inside)(const struct scene *scene);
    const char *expected; /* NULL: "END\n" */
} scene;

static int report_fd = -1;

static void report(const char *line)
{
    if (write(report_fd, line, strlen(line)) < 0 || write(report_fd, "\n", 1) < 0) {
        _exit(3);
    }
}

#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            char line_[300];                                                                   \
            snprintf(line_, sizeof(line_), "FAILED %s (errno %d)", #condition, errno);         \
            report(line_);                                                                     \
        }                                                                                      \
        errno = 0;                                                                             \
    } while (0)

static kiln_sandbox_policy policy_of(const scene *s)
{
    return (kiln_sandbox_policy){
        .required = s->required,
        .uid_base = s->as_root ? 1900000000 : 0,
        .uid_count = s->as_root ? 65536 : 0,
        .private_network = s->private_network,
    };
}

static void worker(const scene *s, const kiln_sandbox_policy *policy, int ruleset)
{
    kiln_error err = KILN_ERROR_INIT;
    int keep[] = {report_fd};
    kiln_sandbox_lock_spec spec = {
        .session_index = 7,
        .landlock_fd = s->without_landlock ? -1 : ruleset,
        .keep_fds = keep,
        .keep_count = 1,
        .required = s->required,
    };
    spec.limits.open_files = 100;
    spec.limits.processes = 20;
    spec.limits.file_size = 1 << 20;
    spec.limits.cpu_ms = 1500;
    if (kiln_sandbox_lock(policy, &spec, &err) < 0) {
        report(err.text);
        _exit(2);
    }
    s->inside(s);
    report("END");
    _exit(0);
}

static void supervisor(const scene *s, const kiln_sandbox_policy *policy, int ruleset)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_sandbox_session session = {.index = 7, .disk = 4 << 20, .files = 100};
    int fs = -1;
    int root = -1;
    long keyring = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1);
    if (kiln_sandbox_prepare_session(policy, false, &fs, &err) < 0 ||
        kiln_sandbox_enter_session(policy, &session, &fs, &root, &err) < 0) {
        report(err.text);
        _exit(2);
    }
    if (keyring >= 0 &&
        keyring == syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)) {
        report("the keyring is that of the session before");
    }
    /* What the engine does through its descriptor: a file for the code to find. */
    int fd = openat(root, "work/given", O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd < 0 || write(fd, "x", 1) != 1) {
        report("the engine's descriptor cannot be written");
    }
    pid_t child = fork();
    if (child == 0) {
        worker(s, policy, ruleset);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
        char line[40];
        snprintf(line, sizeof(line), "SIGNAL %d", WTERMSIG(status));
        report(line);
    }
    _exit(0);
}

static void zygote(const scene *s)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_sandbox_policy policy = policy_of(s);
    if (!s->as_root && geteuid() == 0 && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)) {
        _exit(4);
    }
    if (kiln_sandbox_enter_root(&policy, &err) < 0 || kiln_sandbox_seccomp_prepare(&err) < 0) {
        report(err.text);
        _exit(2);
    }
    int ruleset = kiln_sandbox_landlock(&policy, &err);
    int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (unshare(CLONE_NEWPID) < 0) {
        report("unshare");
    }
    pid_t child = fork();
    if (child == 0) {
        supervisor(s, &policy, ruleset);
    }
    if (own < 0 || setns(own, CLONE_NEWPID) < 0) {
        report("the zygote cannot return to its pid namespace");
    }
    waitpid(child, NULL, 0);
    _exit(0);
}

static void run(const scene *s, char *text, size_t size)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(fds[0]);
        report_fd = fds[1];
        zygote(s);
    }
    close(fds[1]);
    size_t got = 0;
    ssize_t more = 0;
    while (got < size - 1 && (more = read(fds[0], text + got, size - 1 - got)) > 0) {
        got += (size_t)more;
    }
    text[got] = '\0';
    close(fds[0]);
    int status = 0;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
}

static bool lacks_user_namespaces(void)
{
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)) {
            _exit(1);
        }
        _exit(unshare(CLONE_NEWUSER) < 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status != 0;
}

static void play(void **state)
{
    const scene *s = *state;
    if (s->as_root && geteuid() != 0) {
        print_message("# skipped: needs root: the path with a range of uids\n");
        return; /* cmocka writes a skip as "not ok", which prove counts as failed */
    }
    if (!s->as_root && lacks_user_namespaces()) {
        print_message("# skipped: needs user namespaces for ordinary users\n");
        return; /* cmocka writes a skip as "not ok", which prove counts as failed */
    }
    char text[8192];
    run(s, text, sizeof(text));
    assert_string_equal(text, s->expected != NULL ? s->expected : "END\n");
}

/* ------------------------------------------------------------------- inside */

static bool absent(const char *path)
{
    return access(path, F_OK) < 0 && errno == ENOENT;
}

static int try_create(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        return -errno;
    }
    close(fd);
    unlink(path);
    return 0;
}

static int try_write(const char *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int rc = fd < 0 ? -errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

static void files(const scene *s)
{
    (void)s;
    static const char *const hidden[] = {
        "/etc/shadow", "/etc/hostname", "/etc/machine-id", "/etc/ssl/private",
        "/root",       "/home/nobody",  "/sys/kernel",     "/var/lib",
        "/boot",       "/dev/tty",      "/dev/ptmx",       "/dev/kmsg",
        "/dev/vda",    "/dev/pts",      "/old_root",       "/etc/ssh"};
    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        if (!absent(hidden[i])) {
            report(hidden[i]);
        }
    }
    static const char *const shut[] = {"/x",           "/usr/x", "/etc/x",         "/dev/x",
                                       "/run/x",       "/bin/x", "/run/session/x", "/proc/x",
                                       "/usr/local/x", "/opt/x"};
    for (size_t i = 0; i < sizeof(shut) / sizeof(shut[0]); i++) {
        int rc = try_create(shut[i]);
        if (rc == 0) {
            report(shut[i]);
        }
    }
    static const char *const open_[] = {"/work/x", "/code/x", "/tmp/x", "/dev/shm/x", "x"};
    for (size_t i = 0; i < sizeof(open_) / sizeof(open_[0]); i++) {
        if (try_create(open_[i]) != 0) {
            report(open_[i]);
        }
    }
    char cwd[64] = "";
    CHECK(getcwd(cwd, sizeof(cwd)) != NULL && strcmp(cwd, "/run/session/work") == 0);
    CHECK(access("/work/given", R_OK) == 0);
    CHECK(try_write("/dev/null") == 0);
    CHECK(rename("/run/session/work", "/run/session/w") < 0);
    CHECK(chmod("/run/session", 0777) < 0);
    CHECK(access("/usr/bin/env", X_OK) == 0);
    CHECK(try_write("/usr/bin/env") < 0);
    struct statvfs fs;
    CHECK(statvfs("/", &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0);
    CHECK(statvfs("/usr", &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0 &&
          (fs.f_flag & ST_NOSUID) != 0 && (fs.f_flag & ST_NODEV) != 0);
    CHECK(statvfs("/work", &fs) == 0 && (fs.f_flag & ST_NOSUID) != 0 &&
          (fs.f_flag & ST_NODEV) != 0 && fs.f_blocks * fs.f_frsize == 4 << 20);
}

/* Bounded by the tmpfs, not by the host's disk. */
static void disk(const scene *s)
{
    (void)s;
    char name[32];
    int made = 0;
    int fd = -1;
    while (made < 200) {
        snprintf(name, sizeof(name), "f%d", made);
        fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0) {
            break;
        }
        close(fd);
        made++;
    }
    CHECK(fd < 0 && errno == ENOSPC);
    CHECK(made >= 90 && made <= 100);
    static char block[1 << 19];
    int failed = 0;
    for (int i = 0; i < made && failed == 0; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        fd = open(name, O_WRONLY | O_CLOEXEC);
        failed = write(fd, block, sizeof(block)) != (ssize_t)sizeof(block) ? i + 1 : 0;
        close(fd);
    }
    CHECK(failed > 6 && failed <= 8);
}

static void proc(const scene *s)
{
    (void)s;
    CHECK(absent("/proc/1"));
    CHECK(readlink("/proc/1/exe", (char[16]){0}, 16) < 0);
    CHECK(access("/proc/self/status", R_OK) == 0);
    CHECK(access("/proc/cpuinfo", R_OK) == 0 && access("/proc/meminfo", R_OK) == 0);
    static const char *const shut[] = {"/proc/sysrq-trigger",
                                       "/proc/sys/kernel/core_pattern",
                                       "/proc/sys/kernel/hostname",
                                       "/proc/sys/vm/overcommit_memory",
                                       "/proc/sys/net/ipv4/ip_forward",
                                       "/proc/self/oom_score_adj",
                                       "/proc/self/uid_map",
                                       "/proc/irq/default_smp_affinity",
                                       "/proc/sys/kernel/shmmax",
                                       "/proc/sys/user/max_user_namespaces"};
    for (size_t i = 0; i < sizeof(shut) / sizeof(shut[0]); i++) {
        if (try_write(shut[i]) == 0) {
            report(shut[i]);
        }
    }
    CHECK(open("/proc/kcore", O_RDONLY) < 0);
    CHECK(getppid() == 1);
    CHECK(kill(1, SIGKILL) < 0 || getppid() == 1);
    FILE *cgroup = fopen("/proc/self/cgroup", "re");
    char line[512];
    while (cgroup != NULL && fgets(line, sizeof(line), cgroup) != NULL) {
        CHECK(strstr(line, "kiln-") == NULL);
    }
}

static void identity(const scene *s)
{
    uid_t wanted = s->as_root ? 1007 : 1000;
    uid_t real = 0;
    uid_t effective = 0;
    uid_t saved = 0;
    CHECK(getresuid(&real, &effective, &saved) == 0 && real == wanted && effective == wanted &&
          saved == wanted);
    CHECK(getgid() == wanted && getegid() == wanted);
    CHECK(!s->as_root || getgroups(0, NULL) == 0);
    struct passwd *user = getpwuid(getuid());
    CHECK(user != NULL && strcmp(user->pw_name, "kiln") == 0 &&
          strcmp(user->pw_dir, "/work") == 0);
    CHECK(setuid(0) < 0);
    CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    CHECK(prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2);
    CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1);
    CHECK(prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) < 0);
    char line[256];
    FILE *status = fopen("/proc/self/status", "re");
    int sets = 0;
    while (status != NULL && fgets(line, sizeof(line), status) != NULL) {
        if (strncmp(line, "Cap", 3) == 0) {
            CHECK(strtoull(line + 7, NULL, 16) == 0);
            sets++;
        }
    }
    CHECK(sets == 5);
    CHECK(getsid(0) == getpid());
    char host[65] = "";
    CHECK(gethostname(host, sizeof(host)) == 0 && strcmp(host, "kiln") == 0);
    CHECK(umask(0) == 022);
}

static void limits(const scene *s)
{
    (void)s;
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max == 100);
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_max == 1 << 20);
    CHECK(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0);
    CHECK(getrlimit(RLIMIT_CPU, &limit) == 0 && limit.rlim_cur == 2 && limit.rlim_max == 3);
    limit.rlim_max = limit.rlim_cur = 1000;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) < 0);
    /* A fork bomb of one's own ends at the limit. */
    int made = 0;
    pid_t child = 0;
    while (made < 100 && (child = fork()) > 0) {
        made++;
    }
    if (child == 0) {
        pause();
        _exit(0);
    }
    CHECK(child < 0 && errno == EAGAIN);
    CHECK(made >= 15 && made < 20);
    kill(-1, SIGKILL);
    /* Only 0, 1, 2 and what was to be kept. */
    for (int fd = 3; fd < 100; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 && fd != report_fd) {
            report("a descriptor was inherited");
        }
    }
}

static void network(const scene *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(22)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    int rc = connect(fd, (struct sockaddr *)&address, sizeof(address));
    /* Its own loopback refuses; a shared network has none, and Landlock says so first. */
    CHECK(rc < 0 && (s->private_network ? errno == ECONNREFUSED
                                        : errno == ENETUNREACH || errno == EACCES));
    address.sin_port = 0;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rc = bind(listener, (struct sockaddr *)&address, sizeof(address));
    if (s->private_network) {
        socklen_t length = sizeof(address);
        CHECK(rc == 0 && listen(listener, 1) == 0);
        CHECK(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    } else {
        CHECK(rc < 0);
    }
    inet_pton(AF_INET, "192.0.2.1", &address.sin_addr);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 &&
          errno == ENETUNREACH);
    FILE *devices = fopen("/proc/self/net/dev", "re");
    char line[256];
    int lines = 0;
    while (devices != NULL && fgets(line, sizeof(line), devices) != NULL) {
        lines++;
        CHECK(lines <= 2 || strstr(line, "lo:") != NULL || strstr(line, "eth") == NULL);
    }
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
}

/* Everything again without Landlock: the mounts must hold alone. */
static void nothing(const scene *s)
{
    (void)s;
}

static const scene scenes[] = {
    {"files", true, false, 7, false, files, NULL},
    {"files, by mounts alone", true, false, 7, true, files, NULL},
    {"disk", true, false, 7, false, disk, NULL},
    {"proc", true, false, 7, false, proc, NULL},
    {"identity", true, false, 7, false, identity, NULL},
    {"limits", true, false, 7, false, limits, NULL},
    {"network", true, false, 7, false, network, NULL},
    {"private network", true, true, 7, false, network, NULL},
    {"user: files", false, false, 7, false, files, NULL},
    {"user: files, by mounts alone", false, false, 7, true, files, NULL},
    {"user: disk", false, false, 7, false, disk, NULL},
    {"user: proc", false, false, 7, false, proc, NULL},
    {"user: identity", false, false, 7, false, identity, NULL},
    {"user: limits", false, false, 7, false, limits, NULL},
    {"user: network", false, false, 7, false, network, NULL},
    {"user: private network", false, true, 7, false, network, NULL},
    {"refused: landlock required and not given", true, false, 7 | KILN_LAYER_LANDLOCK, true,
     nothing, "[sandbox] require names landlock, and the kernel has none\n"},
    {"refused: cgroup required and not given", true, false, 7 | KILN_LAYER_CGROUP, false,
     nothing, "[sandbox] require names cgroup, and there is none\n"},
    {"refused: uids required of an ordinary user", false, false, 7 | KILN_LAYER_UIDS, false,
     nothing,
     "[sandbox] require names uids, and the engine is not root or [sandbox] uids is empty\n"},
};
enum { SCENES = sizeof(scenes) / sizeof(scenes[0]) };

/* The checks can fail: outside, they do. */
static void checks_fail_outside(void **state)
{
    (void)state;
    static void (*const suites[])(const scene *) = {files, proc, identity, network};
    for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        if (child == 0) {
            report_fd = fds[1];
            if (geteuid() == 0 && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)) {
                _exit(1);
            }
            suites[i](&scenes[0]);
            _exit(0);
        }
        close(fds[1]);
        char text[64];
        assert_true(read(fds[0], text, sizeof(text)) > 0);
        close(fds[0]);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
}

static void layer_names(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_layer layer;
    assert_int_equal(kiln_layer_from_name("landlock", &layer, &err), 0);
    assert_int_equal(layer, KILN_LAYER_LANDLOCK);
    assert_int_equal(kiln_layer_from_name("seccmop", &layer, &err), -EINVAL);
    assert_non_null(strstr(err.text, "seccomp"));
}

static void uid_range(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_sandbox_policy policy = {.uid_base = 5000, .uid_count = 1002};
    uid_t uid = 0;
    assert_int_equal(kiln_sandbox_session_uid(&policy, 1, &uid, &err), 0);
    assert_int_equal(uid, 1001);
    assert_int_equal(kiln_sandbox_session_uid(&policy, 2, &uid, &err), -ERANGE);
    policy.uid_count = 1000;
    assert_int_equal(kiln_sandbox_session_uid(&policy, 0, &uid, &err), -ERANGE);
}

static void probe(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_sandbox_policy policy = {.required = 7};
    json_t *list = kiln_sandbox_probe(&policy, &err);
    assert_non_null(list);
    assert_int_equal(json_array_size(list), 6);
    size_t i = 0;
    json_t *entry = NULL;
    json_array_foreach(list, i, entry)
    {
        assert_true(json_is_string(json_object_get(entry, "layer")));
        assert_true(json_string_length(json_object_get(entry, "detail")) > 0);
        bool available = json_is_true(json_object_get(entry, "available"));
        assert_true(available == json_is_null(json_object_get(entry, "advice")));
        assert_true(json_is_true(json_object_get(entry, "required")) == (i < 3));
    }
    json_decref(list);
}

int main(void)
{
    struct CMUnitTest tests[SCENES + 4];
    for (size_t i = 0; i < SCENES; i++) {
        tests[i] = (struct CMUnitTest){scenes[i].name, play, NULL, NULL, (void *)&scenes[i]};
    }
    tests[SCENES] = (struct CMUnitTest)cmocka_unit_test(checks_fail_outside);
    tests[SCENES + 1] = (struct CMUnitTest)cmocka_unit_test(layer_names);
    tests[SCENES + 2] = (struct CMUnitTest)cmocka_unit_test(uid_range);
    tests[SCENES + 3] = (struct CMUnitTest)cmocka_unit_test(probe);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
