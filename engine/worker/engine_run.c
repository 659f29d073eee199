/* engine_run.c - what a program and a worker have in common: two streams, deadlines,
 * the end. The end is told once, when the supervisor says that nothing of it is left
 * and both streams have been read to their end. */
#include "worker/engine_side.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

enum {
    PIPE_BYTES = 256 << 10,
    CHUNK = 64 << 10,
    CHUNKS_A_TURN = 4, /* of one stream, then others of the loop have their turn */
    DRAIN_BYTES = 4 * PIPE_BYTES,
    KILL_MS = 1000, /* for the supervisor's answer; then the supervisor is killed */
    CPU_WATCH_MS = 20,
};

void kiln_run_ref(kiln_run *run)
{
    run->references++;
}

void kiln_run_unref(kiln_run *run)
{
    if (--run->references == 0) {
        run->release(run);
    }
}

static void close_stream(kiln_run *run, int i)
{
    kiln_poll_free(&run->streams[i].poll);
    if (run->streams[i].fd >= 0) {
        close(run->streams[i].fd);
        run->streams[i].fd = -1;
    }
}

static void stop_waiting(kiln_run *run)
{
    close_stream(run, 0);
    close_stream(run, 1);
    kiln_alarm_free(&run->deadline);
    kiln_alarm_free(&run->kill_deadline);
    kiln_alarm_free(&run->cpu_watch);
}

/* ---- streams */

/* Returns the bytes read; 0: nothing is there now, or ever again. */
static size_t read_stream(kiln_run *run, int i)
{
    char chunk[CHUNK]; /* not static: a callback may end up here again */
    ssize_t n;
    if (run->streams[i].fd < 0) {
        return 0;
    }
    do {
        n = read(run->streams[i].fd, chunk, sizeof(chunk));
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        run->on_output(run, i == 0 ? KILN_STDOUT : KILN_STDERR, chunk, (size_t)n);
        return (size_t)n;
    }
    if (n == 0 || errno != EAGAIN) {
        close_stream(run, i);
    }
    return 0;
}

static void on_readable(kiln_run *run, int i)
{
    kiln_run_ref(run);
    if (run->before_output != NULL) {
        run->before_output(run);
    }
    for (int count = 0; count < CHUNKS_A_TURN && !kiln_run_over(run); count++) {
        if (read_stream(run, i) < CHUNK) {
            break;
        }
    }
    kiln_run_unref(run);
}

static void on_stdout(void *user, int events)
{
    (void)events;
    on_readable(user, 0);
}

static void on_stderr(void *user, int events)
{
    (void)events;
    on_readable(user, 1);
}

void kiln_run_drain(kiln_run *run)
{
    size_t total = 0;
    size_t got;
    kiln_run_ref(run);
    do {
        got = read_stream(run, 0);
        if (!kiln_run_over(run)) {
            got += read_stream(run, 1);
        }
        total += got;
    } while (got > 0 && total < DRAIN_BYTES && !kiln_run_over(run));
    kiln_run_unref(run);
}

/* ---- limits that were reached */

static kiln_fullness fullness(const kiln_sandbox *sandbox)
{
    struct statvfs now;
    if (sandbox->root_fd < 0 || fstatvfs(sandbox->root_fd, &now) < 0) {
        return (kiln_fullness){false, false};
    }
    return (kiln_fullness){
        .disk = now.f_blocks > 0 && now.f_bfree == 0,
        .files = now.f_files > 0 && now.f_ffree == 0,
    };
}

void kiln_run_forget_hits(kiln_run *run, kiln_sandbox *sandbox)
{
    if (sandbox->account.kept) { /* the last execution's end has just looked at it all */
        run->before.oom_kills = sandbox->account.oom_kills;
        run->before.pids_refused = sandbox->account.pids_refused;
        run->fullness.disk = sandbox->account.disk_full;
        run->fullness.files = sandbox->account.files_full;
        return;
    }
    if (sandbox->cgroup != NULL) {
        kiln_cgroup_usage now;
        kiln_cgroup_read_hits(sandbox->cgroup, &now);
        run->before.oom_kills = now.oom_kills;
        run->before.pids_refused = now.pids_refused;
    }
    run->fullness = fullness(sandbox);
}

const char *kiln_run_limit_hit(const kiln_run *run)
{
    kiln_cgroup_usage now = run->before;
    kiln_fullness full = fullness(run->sandbox);
    if (run->sandbox->cgroup != NULL) {
        kiln_cgroup_read_hits(run->sandbox->cgroup, &now);
    }
    return now.oom_kills > run->before.oom_kills         ? "memory"
           : now.pids_refused > run->before.pids_refused ? "processes"
           : full.disk && !run->fullness.disk            ? "disk"
           : full.files && !run->fullness.files          ? "files"
                                                         : NULL;
}

/* ---- the end */

static bool died_of(const kiln_run *run, int signal_number)
{
    return WIFSIGNALED(run->report.status) && WTERMSIG(run->report.status) == signal_number;
}

/* Ended well: whatever was hit on the way did not end it. */
static bool ended_well(const kiln_run *run)
{
    return WIFEXITED(run->report.status) && WEXITSTATUS(run->report.status) == 0;
}

static void fill_usage(const kiln_run *run, const kiln_cgroup_usage *after, kiln_exit *exit)
{
    exit->cpu_ms = (double)run->report.cpu_us / 1000.0;
    exit->max_rss_bytes = run->report.max_rss_bytes;
    /* What no parent waited for only the cgroup knows. */
    if (after->cpu_ms >= 0 && run->before.cpu_ms >= 0 &&
        after->cpu_ms - run->before.cpu_ms > exit->cpu_ms) {
        exit->cpu_ms = after->cpu_ms - run->before.cpu_ms;
    }
    if (after->max_memory_bytes > run->before.max_memory_bytes &&
        after->max_memory_bytes > exit->max_rss_bytes) {
        exit->max_rss_bytes = after->max_memory_bytes;
    }
}

static void fill_limits(const kiln_run *run, kiln_exit *exit)
{
    if (ended_well(run)) {
        return;
    }
    if (run->limits.cpu_ms > 0 && !run->timed_out) {
        /* SIGXCPU comes by the kernel's ticks, which on a busy machine count more than the
         * process had. Some it must have had: it may be its own, too. */
        double limit = (double)run->limits.cpu_ms * (died_of(run, SIGXCPU) ? 0.5 : 1.0);
        exit->cpu_exceeded |= exit->cpu_ms >= limit;
    }
    exit->limit = kiln_run_limit_hit(run);
    if (died_of(run, SIGXFSZ) && exit->limit == NULL) {
        exit->limit = "file_size";
    }
    if (exit->limit == NULL && !run->killing && run->sandbox->cgroup == NULL &&
        run->limits.memory > 0 && exit->max_rss_bytes >= run->limits.memory / 8 * 7) {
        exit->limit = "memory"; /* RLIMIT_DATA: it was refused more, and failed */
    }
    if (run->killing && exit->limit != NULL && strcmp(exit->limit, "memory") != 0) {
        exit->limit = NULL; /* it had lived with that; we ended it, and the caller knows why */
    }
}

static void finish(kiln_run *run, const char *lost)
{
    kiln_sandbox *sandbox = run->sandbox;
    kiln_cgroup_usage after;
    kiln_exit exit = {
        .size = sizeof(exit),
        .timed_out = run->timed_out,
        .cpu_exceeded = run->cpu_exceeded,
        .wall_ms = (double)(uv_hrtime() - run->started_ns) / 1e6,
    };
    stop_waiting(run);
    kiln_sandbox_usage(sandbox, &after);
    if (!run->reported) {
        exit.signal = SIGKILL;
        exit.error = run->error;
        if (exit.error == NULL && !run->killing) {
            exit.error = lost;
        }
        fill_usage(run, &after, &exit);
        exit.limit = after.oom_kills > run->before.oom_kills ? "memory" : NULL;
    } else {
        exit.error = run->error;
        exit.exited = WIFEXITED(run->report.status);
        exit.exit_code = exit.exited ? WEXITSTATUS(run->report.status) : 0;
        exit.signal = exit.exited ? 0 : WTERMSIG(run->report.status);
        fill_usage(run, &after, &exit);
        fill_limits(run, &exit);
    }
    if (run->over != NULL) {
        exit.limit = run->over;
    }
    if (run->report.error != 0) {
        exit.exited = false;
        exit.exit_code = 0;
    }
    sandbox->run = NULL;
    run->sandbox = NULL;
    run->on_exit(run, &exit);
    kiln_run_unref(run);
}

static void end(kiln_run *run, const char *lost)
{
    kiln_run_ref(run);
    /* Whoever closes the sandbox wants no more than on_exit. */
    if (run->on_ending != NULL && !run->sandbox->closed) {
        run->on_ending(run);
    }
    if (!kiln_run_over(run)) {
        kiln_run_drain(run);
    }
    if (!kiln_run_over(run)) {
        finish(run, lost);
    }
    kiln_run_unref(run);
}

void kiln_run_exited(kiln_run *run, const kiln_control_message *message)
{
    memcpy(&run->report, message->payload, sizeof(run->report));
    run->reported = true;
    if (run->report.error != 0 && run->error == NULL) {
        run->error = strndup(message->payload + sizeof(run->report),
                             message->length - sizeof(run->report));
    }
    end(run, NULL);
}

void kiln_run_lost(kiln_run *run, const char *why)
{
    end(run, why);
}

/* ---- stopping */

static void on_kill_unanswered(void *user)
{
    kiln_run *run = user;
    kiln_log(KILN_LOG_WARNING, "sandbox",
             "%s: the supervisor did not end its processes "
             "within %d ms; killing it",
             run->sandbox->name, KILL_MS);
    kiln_sandbox_fail(run->sandbox, "its processes did not end when killed");
}

void kiln_run_kill(kiln_run *run)
{
    if (kiln_run_over(run) || run->killing) {
        return;
    }
    run->killing = true;
    kiln_sandbox *sandbox = run->sandbox;
    if (kiln_sandbox_send(sandbox, KILN_CONTROL_KILL, 0, NULL, 0, NULL, 0) < 0) {
        kiln_log(KILN_LOG_DEBUG, "sandbox", "%s: kill not sent", sandbox->name);
    }
    run->kill_deadline =
        kiln_alarm_new(sandbox->zygote->loop, KILL_MS, on_kill_unanswered, run);
}

static void on_deadline(void *user)
{
    kiln_run *run = user;
    if (!run->killing) {
        run->timed_out = true;
        kiln_run_kill(run);
    }
}

/* RLIMIT_CPU counts a process, in seconds; this counts the tree. */
static void on_cpu_watch(void *user)
{
    kiln_run *run = user;
    kiln_cgroup_usage now;
    kiln_sandbox_usage(run->sandbox, &now);
    double used = now.cpu_ms - run->cpu_from_ms;
    if (now.cpu_ms >= 0 && used >= (double)run->cpu_limit_ms && !run->killing) {
        run->cpu_exceeded = true;
        kiln_run_kill(run);
    } else {
        kiln_alarm_again(run->cpu_watch, CPU_WATCH_MS);
    }
}

int kiln_run_watch_cpu(kiln_run *run, kiln_sandbox *sandbox, uint64_t limit_ms)
{
    kiln_cgroup_usage now;
    kiln_alarm_free(&run->cpu_watch);
    if (limit_ms == 0 || sandbox->cgroup == NULL) {
        return 0;
    }
    kiln_sandbox_usage(sandbox, &now);
    run->cpu_limit_ms = limit_ms;
    run->cpu_from_ms = now.cpu_ms;
    run->cpu_watch = kiln_alarm_new(sandbox->zygote->loop, CPU_WATCH_MS, on_cpu_watch, run);
    return run->cpu_watch != NULL ? 0 : -ENOMEM;
}

/* ---- the start */

static int make_streams(kiln_run *run, uv_loop_t *loop, int theirs[2], kiln_error *err)
{
    static void (*const ready[2])(void *, int) = {on_stdout, on_stderr};
    for (int i = 0; i < 2; i++) {
        int pair[2];
        if (pipe2(pair, O_CLOEXEC) < 0) {
            return kiln_error_errno(err, errno, "spawn: pipe");
        }
        run->streams[i].fd = pair[0];
        theirs[i] = pair[1];
        /* Fewer switches in a flood; a user over the kernel's allowance keeps 64K. */
        (void)fcntl(pair[0], F_SETPIPE_SZ, PIPE_BYTES);
        run->streams[i].poll = kiln_poll_new(loop, pair[0], UV_READABLE, ready[i], run);
        if (run->streams[i].poll == NULL) {
            return kiln_error_errno(err, ENOMEM, "spawn");
        }
    }
    return 0;
}

int kiln_run_set_limits(kiln_sandbox *sandbox, const kiln_limits *limits, kiln_error *err)
{
    const kiln_limits *now = &sandbox->cgroup_limits;
    if (sandbox->cgroup == NULL ||
        (now->memory == limits->memory && now->processes == limits->processes &&
         now->cpus == limits->cpus)) {
        return 0;
    }
    int rc = kiln_cgroup_set_limits(sandbox->cgroup, limits, err);
    if (rc == -EBUSY) {
        return kiln_error_set(err, EDQUOT,
                              "the session's files and processes hold more than the limit on "
                              "memory of %llu bytes",
                              (unsigned long long)limits->memory);
    }
    if (rc == 0) {
        sandbox->cgroup_limits = *limits;
    }
    return rc;
}

static int start(kiln_run *run, kiln_sandbox *sandbox, kiln_control_type type,
                 kiln_buffer *payload, int stdin_fd, int frame_fd, kiln_error *err)
{
    auto_close int out = -1;
    auto_close int error = -1;
    uv_loop_t *loop = sandbox->zygote->loop;
    int theirs[2] = {-1, -1};
    int rc = make_streams(run, loop, theirs, err);
    out = theirs[0];
    error = theirs[1];
    if (rc < 0) {
        return rc;
    }
    if (run->limits.timeout_ms > 0) {
        run->deadline = kiln_alarm_new(loop, run->limits.timeout_ms, on_deadline, run);
        if (run->deadline == NULL) {
            return kiln_error_errno(err, ENOMEM, "spawn");
        }
    }
    if (kiln_run_watch_cpu(run, sandbox, run->limits.cpu_ms) < 0) {
        return kiln_error_errno(err, ENOMEM, "spawn");
    }
    rc = kiln_sandbox_send(sandbox, type, run->id, payload->data, payload->length,
                           (int[]){stdin_fd, out, error, frame_fd}, frame_fd >= 0 ? 4 : 3);
    return rc < 0 ? kiln_error_errno(err, rc, "spawn: asking the supervisor") : 0;
}

int kiln_run_prepare(kiln_run *run, kiln_sandbox *sandbox, const kiln_limits *limits,
                     int theirs[2], kiln_error *err)
{
    run->references = 1;
    run->limits = *limits;
    run->streams[0].fd = run->streams[1].fd = -1;
    theirs[0] = theirs[1] = -1;
    int rc = make_streams(run, sandbox->zygote->loop, theirs, err);
    if (rc < 0) {
        stop_waiting(run);
    }
    return rc;
}

void kiln_run_attach(kiln_run *run, kiln_sandbox *sandbox, uint32_t id)
{
    run->id = id;
    run->started_ns = uv_hrtime();
    kiln_sandbox_usage(sandbox, &run->before);
    run->fullness = fullness(sandbox);
    run->sandbox = sandbox;
    sandbox->run = run;
}

void kiln_run_discard(kiln_run *run)
{
    stop_waiting(run);
    kiln_run_unref(run);
}

int kiln_run_start(kiln_run *run, kiln_sandbox *sandbox, kiln_control_type type,
                   const kiln_limits *limits, kiln_buffer *payload, int stdin_fd, int frame_fd,
                   kiln_error *err)
{
    if (sandbox->closed || sandbox->state == KILN_SANDBOX_DEAD) {
        return kiln_error_set(err, EPIPE, "spawn: the sandbox has ended");
    }
    if (sandbox->run != NULL) {
        return kiln_error_set(err, EBUSY, "spawn: the sandbox runs something already");
    }
    run->references = 1;
    run->id = ++sandbox->last_id;
    run->limits = limits != NULL ? *limits : sandbox->limits;
    run->streams[0].fd = run->streams[1].fd = -1;
    run->started_ns = uv_hrtime();
    kiln_control_run head;
    memcpy(&head, payload->data, sizeof(head));
    head.limits = run->limits;
    memcpy(payload->data, &head, sizeof(head));
    int rc = kiln_run_set_limits(sandbox, &run->limits, err);
    if (rc < 0) {
        return rc;
    }
    kiln_sandbox_usage(sandbox, &run->before);
    run->fullness = fullness(sandbox);
    rc = start(run, sandbox, type, payload, stdin_fd, frame_fd, err);
    if (rc < 0) {
        stop_waiting(run);
        return rc;
    }
    run->sandbox = sandbox;
    sandbox->run = run;
    return 0;
}
