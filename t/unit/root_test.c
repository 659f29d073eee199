/* root_test.c - what the container plugin opens of a container's own: its work directory, by
 * its init's root, and the socket in it. A "container" here is a child with a mount namespace
 * and a root of its own, who may have put anything at those places. */
#include "../../plugins/container/root.c" /* NOLINT(bugprone-suspicious-include) */

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { UID = 54321, GID = 54322 };

/* What such a child has at /work. */
typedef enum work_kind {
    WORK_TMPFS,
    WORK_FOLDER,  /* of its root's own file system */
    WORK_LINK,    /* to another tmpfs of its */
    WORK_OUTSIDE, /* to a folder of a tmpfs on the host */
    WORK_NONE,
} work_kind;

static char outside[] = "/dev/shm/kiln-root-XXXXXX";

static int tmpfs_at(const char *path)
{
    return mkdir(path, 0755) < 0 ? -1 : mount("none", path, "tmpfs", 0, "size=1m");
}

static int furnish(work_kind work)
{
    switch (work) {
    case WORK_TMPFS:
        return tmpfs_at("work");
    case WORK_FOLDER:
        return mkdir("work", 0755);
    case WORK_LINK:
        return tmpfs_at("other") < 0 ? -1 : symlink("other", "work");
    case WORK_OUTSIDE:
        return symlink(outside, "work");
    default:
        return 0;
    }
}

/* The child's pid, once it is furnished; 0: this machine does not let us. */
static pid_t contain(work_kind work)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char yes = 1;
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* an assertion that fails leaves nobody behind */
        if (unshare(CLONE_NEWNS) == 0 &&
            mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
            mount("none", "/mnt", "tmpfs", 0, "size=1m") == 0 && chdir("/mnt") == 0 &&
            furnish(work) == 0 && chroot(".") == 0) {
            (void)!write(ready[1], &yes, 1);
            pause();
        }
        _exit(1);
    }
    close(ready[1]);
    char got = 0;
    bool furnished = read(ready[0], &got, 1) == 1;
    close(ready[0]);
    if (!furnished) {
        waitpid(pid, NULL, 0);
        return 0;
    }
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void only_its_own_tmpfs(void **state)
{
    static const work_kind refused[] = {WORK_FOLDER, WORK_LINK, WORK_OUTSIDE, WORK_NONE};
    const char *why = NULL;
    struct stat what;
    (void)state;
    pid_t pid = contain(WORK_TMPFS);
    if (pid == 0) {
        skip(); /* not root, or no mounts */
    }
    int fd = root_open(pid, UID, GID, &why);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &what), 0);
    assert_int_equal(what.st_uid, UID);
    assert_int_equal(what.st_gid, GID);
    assert_int_equal(what.st_mode & 07777, 0700);
    close(fd);
    end(pid);
    why = NULL;
    assert_true(root_open(pid, UID, GID, &why) < 0); /* gone */
    assert_non_null(why);
    struct stat before, after;
    assert_non_null(mkdtemp(outside));
    assert_int_equal(stat(outside, &before), 0);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        pid = contain(refused[i]);
        assert_true(pid > 0);
        why = NULL;
        assert_true(root_open(pid, UID, GID, &why) < 0);
        assert_non_null(why);
        end(pid);
    }
    assert_int_equal(stat(outside, &after), 0);
    assert_int_equal(after.st_uid, before.st_uid); /* nothing was given away */
    rmdir(outside);
}

static int listen_at(const char *folder, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", folder, name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

/* Each name in a folder that leads to the other's socket, or to none. */
static void only_a_socket_that_is_there(void **state)
{
    char inside[] = "/tmp/kiln-root-XXXXXX", elsewhere[] = "/tmp/kiln-root-XXXXXX", path[80];
    static const char *const refused[] = {"link", "../s", "d/s", "file", "none", "d", "/tmp"};
    (void)state;
    assert_non_null(mkdtemp(inside));
    assert_non_null(mkdtemp(elsewhere));
    int own = listen_at(inside, "s"), other = listen_at(elsewhere, "s");
    int work = open(inside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof(path), "%s/s", elsewhere);
    assert_int_equal(symlinkat(path, work, "link"), 0);
    assert_int_equal(symlinkat(elsewhere, work, "d"), 0);
    close(openat(work, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    int fd = root_connect(work, "s");
    assert_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_true(root_connect(work, refused[i]) < 0);
    }
    struct pollfd asked = {.fd = other, .events = POLLIN};
    assert_int_equal(poll(&asked, 1, 0), 0); /* nobody has come */
    static const char *const names[] = {"s", "link", "d", "file"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        unlinkat(work, names[i], 0);
    }
    unlink(path);
    close(own);
    close(other);
    close(work);
    rmdir(inside);
    rmdir(elsewhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_its_own_tmpfs),
        cmocka_unit_test(only_a_socket_that_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
