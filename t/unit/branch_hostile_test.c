/* A worker that is asked for a branch and does something else. It has taken its frame
 * socket over, makes the nested session's entry itself, and lies. This program is its own
 * `kiln worker`; as root and as an ordinary user. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "sandbox/steps.h"
#include "worker/frame.h"
#include "worker/sandboxed.h"
#include "worker/supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534, FDS_MAX = KILN_BRANCH_SPACES + KILN_FORK_CGROUPS_MAX + 4 };

/* What came with the order to fork. */
typedef struct go {
    int fds[FDS_MAX];
    int count;
} go;

#define ANYTHING  "anything"                      /* it takes its own fork along, or not */
#define OTHER_UID "has another uid"               /* as root */
#define NO_CGROUP "is not in the branch's cgroup" /* if there are cgroups */
#define KILLED    "killed" /* since it has capabilities, before it is looked at */

static char self_path[PATH_MAX];

/* ---------------------------------------------------------------- the worker */

static const kiln_worker_host *host;
static int frames = -1;

static void send_frame(unsigned type, const char *text, int to)
{
    unsigned char header[KILN_FRAME_HEADER];
    kiln_frame_header(header, (kiln_frame_type)type, (uint32_t)strlen(text));
    if (write(to, header, sizeof(header)) < 0 || write(to, text, strlen(text)) < 0) {
        _exit(1);
    }
}

/* An answer with that id, and the rest of it. */
static void answer(unsigned type, int id, const char *rest)
{
    char text[200];
    snprintf(text, sizeof(text), "{\"id\":%d%s}", id, rest);
    send_frame(type, text, frames);
}

static void find_socket(void)
{
    for (int fd = 3; fd < 64; fd++) {
        struct stat what;
        if (fstat(fd, &what) == 0 && S_ISSOCK(what.st_mode)) {
            frames = fd;
        }
    }
}

/* The id of the next FORK. */
static int read_fork(void)
{
    unsigned char header[KILN_FRAME_HEADER];
    char text[100] = "";
    int id = -1;
    if (recv(frames, header, sizeof(header), MSG_WAITALL) != (ssize_t)sizeof(header) ||
        recv(frames, text, header[0], MSG_WAITALL) != header[0] ||
        sscanf(text, "{\"id\":%d", &id) != 1) {
        _exit(0);
    }
    return id;
}

static void read_go(go *order)
{
    char what;
    char room[CMSG_SPACE(sizeof(order->fds))];
    struct iovec part = {&what, 1};
    struct msghdr from = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
    if (recvmsg(frames, &from, 0) != 1 || what != KILN_FORK_BRANCH) {
        answer(KILN_FRAME_FORKED, 1, ",\"pid\":0,\"error\":\"called off\"");
        pause();
    }
    const struct cmsghdr *head = CMSG_FIRSTHDR(&from);
    order->count = (int)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(order->fds, CMSG_DATA(head), (size_t)order->count * sizeof(int));
}

static bool is(const char *mode)
{
    return strcmp(host->option("mode"), mode) == 0;
}

static void wait_for_ever(void) __attribute__((noreturn));
static void wait_for_ever(void)
{
    for (;;) {
        pause();
    }
}

/* The one that has arrived. */
static void arrive(const go *order)
{
    kiln_error err = KILN_ERROR_INIT;
    int socket = order->fds[order->count - 1];
    for (int i = KILN_BRANCH_SPACES; i < order->count - 4 && !is("cgroup of the parent"); i++) {
        if (write(order->fds[i], "0", 1) != 1) {
            _exit(2);
        }
    }
    if (is("uid") && setresgid(0, 0, 0) == 0) {
        (void)!setresuid(0, 0, 0); /* the branch's root; an ordinary user's has none */
    }
    /* Before it can be adopted: after that it may fork as any worker may. */
    pid_t first = getpid();
    if (is("two")) {
        (void)!fork();
    }
    while (is("bomb") && fork() >= 0) {
    }
    if (is("caps")) {
        prctl(PR_SET_DUMPABLE, 1);
    } else if (is("bounding")) {
        if (kiln_privileges_drop(geteuid(), &err) < 0) { /* the bounding set is left */
            _exit(1);
        }
    } else if (kiln_sandbox_lock_nested(&err) < 0) {
        _exit(1);
    }
    if (getpid() != first) {
        wait_for_ever();
    }
    send_frame(KILN_FRAME_READY, "", socket);
    wait_for_ever();
}

static const int kinds[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID};

static void go_there(const go *order)
{
    for (int i = 0; i < KILN_BRANCH_SPACES; i++) {
        if (is("files of the parent") && i == 1) {
            continue;
        }
        if (setns(order->fds[i], kinds[i]) < 0) {
            _exit(10 + i);
        }
        if (is("twice") && (setns(order->fds[i], kinds[i]) == 0 || errno != EPERM)) {
            _exit(20 + i);
        }
    }
    pid_t child = fork();
    if (child == 0) {
        arrive(order);
    }
    if (is("stays behind")) {
        /* With every capability over the branch, outside of it. */
        while (fork() == 0 && getpid() % 16 != 0) {
        }
        wait_for_ever();
    }
    _exit(0);
}

static void lie(void)
{
    go order;
    int id = read_fork();
    if (is("shape")) {
        answer(KILN_FRAME_FORKABLE, id, "");
        wait_for_ever();
    }
    if (is("id")) {
        answer(KILN_FRAME_FORKABLE, id + 1, ",\"refusal\":null");
        wait_for_ever();
    }
    if (is("order")) {
        answer(KILN_FRAME_FORKED, id, ",\"pid\":2,\"error\":null");
        wait_for_ever();
    }
    answer(KILN_FRAME_FORKABLE, id, ",\"refusal\":null");
    read_go(&order);
    int socket = order.fds[order.count - 1];
    if (is("nobody")) {
        send_frame(KILN_FRAME_READY, "", socket);
    } else if (is("dies")) {
        _exit(3);
    } else {
        pid_t between = fork();
        if (between == 0) {
            go_there(&order);
        }
        if (!is("stays behind")) {
            waitpid(between, NULL, 0);
        }
    }
    answer(KILN_FRAME_FORKED, id, ",\"pid\":2,\"error\":null");
    if (is("again")) {
        /* Once it is made, with the descriptors still at hand. */
        usleep(300000);
        bool refused = true;
        for (int i = 0; i < KILN_BRANCH_SPACES; i++) {
            refused = setns(order.fds[i], kinds[i]) < 0 && errno == EPERM && refused;
        }
        send_frame(KILN_FRAME_STDOUT, refused ? "refused" : "entered", socket);
        int told = open("/work/told", O_WRONLY | O_CREAT, 0644);
        if (write(told, refused ? "refused" : "entered", 7) != 7) {
            _exit(1);
        }
    }
    wait_for_ever();
}

static int preload(const kiln_worker_host *given, const char **error)
{
    host = given;
    (void)error;
    return 0;
}

static int start(void)
{
    if (is("unarmed")) {
        int fd = open("/proc/self/ns/user", O_RDONLY);
        bool refused = true;
        for (int i = 0; i < 1000; i++) {
            refused = setns(fd, CLONE_NEWUSER) < 0 && errno == EPERM && refused;
        }
        return refused ? 0 : -1;
    }
    find_socket();
    send_frame(KILN_FRAME_READY, "", frames);
    lie();
    return -1;
}

static int execute(const kiln_cell *cell, kiln_verdict *verdict)
{
    (void)cell;
    verdict->status = KILN_STATUS_OK;
    return 0;
}

static int branched(void)
{
    return 0;
}

static const kiln_worker test_worker = {
    .size = sizeof(kiln_worker),
    .preload = preload,
    .start = start,
    .execute = execute,
    .branched = branched,
};

static const kiln_worker *load(const char *plugin, kiln_error *err)
{
    (void)plugin;
    (void)err;
    return &test_worker;
}

/* ---------------------------------------------------------------- the engine */

typedef struct outcome {
    uv_loop_t loop;
    bool ready, ended, told;
    int root_fd;
    kiln_sandbox *sandbox, *branch;
    kiln_guest *made;
    char error[1024];
    char exit_error[1024];
} outcome;

static void on_ready(void *user, int root_fd, const kiln_error *err)
{
    outcome *o = user;
    o->ready = true;
    o->root_fd = root_fd;
    if (err != NULL) {
        print_error("%s\n", err->text);
    }
}

static void on_event(void *user, const kiln_event *event)
{
    (void)user;
    (void)event;
}

static void on_done(void *user, const kiln_verdict *verdict, double cpu, uint64_t rss)
{
    (void)user;
    (void)verdict;
    (void)cpu;
    (void)rss;
}

static void on_exit_(void *user, const kiln_exit *exit)
{
    outcome *o = user;
    o->ended = true;
    snprintf(o->exit_error, sizeof(o->exit_error), "%s", exit->error ? exit->error : "");
}

static void on_branch_exit(void *user, const kiln_exit *exit)
{
    (void)user;
    (void)exit;
}

static void on_fork(void *user, kiln_sandbox *sandbox, kiln_guest *guest, const kiln_error *err)
{
    outcome *o = user;
    o->told = true;
    o->branch = sandbox;
    o->made = guest;
    snprintf(o->error, sizeof(o->error), "%s", err != NULL ? err->text : "");
}

static void stop(uv_timer_t *timer)
{
    (void)timer;
    print_error("nothing happened\n");
    abort();
}

static void until(outcome *o, const bool *condition)
{
    uv_timer_t timer;
    uv_timer_init(&o->loop, &timer);
    uv_timer_start(&timer, stop, 40000, 0);
    while (!*condition) {
        uv_run(&o->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&o->loop, UV_RUN_NOWAIT);
}

/* Runs one lie to its end; `o` says what came of it. */
static void tell(outcome *o, const char *mode, const char *expected, bool parent_lives)
{
    const bool sanitized = getenv("KILN_SANITIZE") != NULL; /* ASan's shadow counts, too */
    const kiln_limits limits = {.size = sizeof(limits),
                                .memory = sanitized ? UINT64_C(64) << 40 : 256 << 20,
                                .processes = 64,
                                .disk = 4 << 20,
                                .files = 100,
                                .open_files = 64};
    const kiln_guest_callbacks callbacks = {
        .on_event = on_event, .on_done = on_done, .on_exit = on_exit_};
    const kiln_guest_callbacks of_branch = {
        .on_event = on_event, .on_done = on_done, .on_exit = on_branch_exit};
    char option[64];
    snprintf(option, sizeof(option), "mode=%s", mode);
    const char *const options[] = {option, NULL};
    kiln_error err = KILN_ERROR_INIT;
    kiln_zygote_spec spec = {.loop = &o->loop,
                             .executable = self_path,
                             .plugin = "liar",
                             .options = options,
                             .policy = {.required = KILN_LAYER_NAMESPACES | KILN_LAYER_SECCOMP |
                                                    KILN_LAYER_NO_NEW_PRIVS},
                             .log_level = KILN_LOG_ERROR};
    if (geteuid() == 0) {
        spec.policy.uid_base = 1900000000;
        spec.policy.uid_count = 65536;
    }
    kiln_zygote *zygote;
    kiln_guest *guest;
    uv_loop_init(&o->loop);
    assert_int_equal(kiln_zygote_start(&spec, &zygote, &err), 0);
    assert_int_equal(kiln_sandbox_open(zygote, "liar", &limits, on_ready, o, &o->sandbox, &err),
                     0);
    until(o, &o->ready);
    assert_int_equal(kiln_guest_start(o->sandbox, NULL, &callbacks, o, &guest, &err), 0);
    assert_int_equal(kiln_guest_branch(guest, "b", &limits, &of_branch, o, on_fork, o, &err),
                     0);
    until(o, &o->told);
    /* Which of the two is seen first is the kernel's affair. */
    bool killed = strcmp(expected, KILLED) == 0 &&
                  (strstr(o->error, "nobody entered it") != NULL ||
                   strstr(o->error, "the fork ended before it was ready") != NULL);
    if (!killed && strcmp(expected, ANYTHING) != 0 &&
        (strstr(o->error, expected) == NULL ||
         (expected[0] == '\0') != (o->error[0] == '\0'))) {
        print_error("%s: \"%s\", expected \"%s\"\n", mode, o->error, expected);
        fail();
    }
    if (!parent_lives) {
        until(o, &o->ended);
    }
    if (o->ended == parent_lives) {
        print_error("%s: the worker %s\n", mode, o->ended ? "ended" : "lives");
        fail();
    }
    if (strcmp(mode, "again") == 0) {
        char text[16] = "";
        for (int i = 0; i < 200 && text[0] == '\0'; i++) {
            auto_close int fd = openat(o->root_fd, "work/told", O_RDONLY);
            usleep(10000);
            if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0) {
                text[0] = '\0';
            }
        }
        assert_string_equal(text, "refused");
    }
    if (o->branch != NULL) {
        kiln_sandbox_close(o->branch);
    }
    kiln_sandbox_close(o->sandbox);
    kiln_zygote_stop(zygote);
    uv_run(&o->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&o->loop), 0);
}

static const struct {
    const char *mode, *expected; /* "": the branch is made */
    bool parent_lives;
} lies[] = {
    {"honest", "", true},
    {"unarmed", "", true},
    {"again", "", true},
    {"twice", "", true},
    {"caps", KILLED, true},
    {"bounding", KILLED, true},
    {"two", "refused: 2 processes entered it", true},
    {"bomb", "refused: ", true},
    {"files of the parent", "is not in every namespace", true},
    {"uid", OTHER_UID, true},
    {"cgroup of the parent", NO_CGROUP, true},
    {"stays behind", ANYTHING, true},
    {"nobody", "nobody entered it", true},
    {"dies", " ended ", false},
    {"shape", "the worker ended while it was forked", false},
    {"id", "the worker ended while it was forked", false},
    {"order", "the worker ended while it was forked", false},
};

static void all_lies(bool as_root)
{
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            signal(SIGABRT, SIG_DFL);
            signal(SIGSEGV, SIG_DFL);
            outcome o = {.ready = false};
            if (!as_root && geteuid() == 0 && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)) {
                _exit(2);
            }
            const char *expected = lies[i].expected;
            kiln_error no_cgroups = KILN_ERROR_INIT;
            if ((kiln_cgroup_init(&no_cgroups) < 0 && strcmp(expected, NO_CGROUP) == 0) ||
                (!as_root && strcmp(expected, OTHER_UID) == 0)) {
                expected = "";
            }
            tell(&o, lies[i].mode, expected, lies[i].parent_lives);
            exit(0); /* its cgroups are removed */
        }
        int status;
        waitpid(child, &status, 0);
        if (status != 0) {
            print_error("%s, as %s: %d\n", lies[i].mode, as_root ? "root" : "user", status);
        }
        assert_int_equal(status, 0);
    }
}

static void as_root(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    all_lies(true);
}

static void as_user(void **state)
{
    (void)state;
    all_lies(false);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "worker") == 0) {
        return kiln_spawner_run(load, argv[2]);
    }
    ssize_t length = readlink("/proc/self/exe", self_path, sizeof(self_path) - 1);
    if (length < 0) {
        return 1;
    }
    self_path[length] = '\0';
    kiln_log_set_level(KILN_LOG_ERROR);
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_root), cmocka_unit_test(as_user)};
    return cmocka_run_group_tests_name("hostile branches", tests, NULL, NULL);
}
