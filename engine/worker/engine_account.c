/* engine_account.c - what an execution used, and which limits it touched: by the kernel's
 * word, never by that of the worker. A cgroup counts and enforces; where there is none,
 * the tree of processes is looked at every now and then.
 *
 * What the latter cannot see: memory of a memfd that nobody has mapped, and a process
 * that comes and goes between two looks. RLIMIT_DATA and the size of the tmpfs stay. */
#include "worker/engine_side.h"

#include "worker/tree.h"

#include <sys/statvfs.h>

enum { LOOK_MS = 50 };

static void kill_over(kiln_sandbox *sandbox, const char *limit)
{
    kiln_run *run = sandbox->run;
    if (run != NULL && !run->killing) {
        run->over = limit;
        kiln_run_kill(run);
    }
}

typedef struct disk_state {
    uint64_t used, size; /* bytes */
    bool full, files_full;
} disk_state;

static disk_state look_at_disk(const kiln_sandbox *sandbox)
{
    struct statvfs now;
    if (sandbox->root_fd < 0 || fstatvfs(sandbox->root_fd, &now) < 0) {
        return (disk_state){0};
    }
    return (disk_state){
        .used = (uint64_t)(now.f_blocks - now.f_bfree) * now.f_frsize,
        .size = (uint64_t)now.f_blocks * now.f_frsize,
        .full = now.f_blocks > 0 && now.f_bfree == 0,
        .files_full = now.f_files > 0 && now.f_ffree == 0,
    };
}

static int measure(const kiln_sandbox *sandbox, bool exact, kiln_tree *tree)
{
    pid_t worker = sandbox->worker_pidfd >= 0 ? kiln_tree_pid(sandbox->worker_pidfd) : 0;
    return kiln_tree_measure(sandbox->account.pid, worker > 0 ? worker : 0, exact, tree);
}

/* The sum of resident sizes is an upper bound: only past it is the exact sum asked for,
 * which costs a walk over page tables. Files count, mapped ones once. */
static bool over_memory(const kiln_sandbox *sandbox, const kiln_tree *tree)
{
    uint64_t limit = sandbox->account.limits.memory;
    uint64_t files = look_at_disk(sandbox).used;
    kiln_tree exact;
    if (limit == 0 || tree->memory_bytes + files <= limit ||
        measure(sandbox, true, &exact) < 0) {
        return false;
    }
    uint64_t shared = exact.shared_bytes > files ? exact.shared_bytes : files;
    return exact.memory_bytes + shared > limit;
}

static void note_processes(kiln_sandbox *sandbox, const kiln_tree *tree)
{
    if (tree->processes > sandbox->account.processes_seen) {
        sandbox->account.processes_seen = tree->processes;
    }
}

static void look(void *user)
{
    kiln_sandbox *sandbox = user;
    const kiln_limits *limits = &sandbox->account.limits;
    kiln_tree tree;
    kiln_alarm_again(sandbox->account.watch, LOOK_MS);
    if (sandbox->run == NULL || measure(sandbox, false, &tree) < 0) {
        return;
    }
    note_processes(sandbox, &tree);
    double cpu_ms = tree.cpu_ms - sandbox->account.cpu_from_ms;
    if (limits->cpu_ms > 0 && cpu_ms >= (double)limits->cpu_ms && !sandbox->run->killing) {
        sandbox->run->cpu_exceeded = true;
        kiln_run_kill(sandbox->run);
    } else if (limits->processes > 0 && tree.processes > limits->processes) {
        kill_over(sandbox, "processes");
    } else if (over_memory(sandbox, &tree)) {
        kill_over(sandbox, "memory");
    }
}

static void begin_looking(kiln_sandbox *sandbox)
{
    kiln_tree tree;
    if (sandbox->account.pid <= 0 && sandbox->pidfd >= 0) {
        sandbox->account.pid = kiln_tree_pid(sandbox->pidfd);
    }
    if (sandbox->account.pid <= 0 || measure(sandbox, false, &tree) < 0) {
        return;
    }
    sandbox->account.cpu_from_ms = tree.cpu_ms;
    sandbox->account.processes_seen = 0;
    sandbox->account.watch = kiln_alarm_new(sandbox->zygote->loop, LOOK_MS, look, sandbox);
    if (sandbox->account.watch == NULL) {
        kiln_log(KILN_LOG_WARNING, "sandbox", "no memory to watch the memory of %s",
                 sandbox->name);
    }
}

void kiln_sandbox_account_begin(kiln_sandbox *sandbox, const kiln_limits *limits)
{
    kiln_cgroup_usage now;
    kiln_sandbox_account_stop(sandbox);
    sandbox->account.limits = *limits;
    if (sandbox->closed || sandbox->state == KILN_SANDBOX_DEAD) {
        return;
    }
    if (sandbox->cgroup == NULL) {
        begin_looking(sandbox);
        return;
    }
    sandbox->account.peak_is_fresh = kiln_cgroup_begin(sandbox->cgroup, &now);
    sandbox->account.cpu_from_ms = now.cpu_ms;
    sandbox->account.peak_from = now.max_memory_bytes;
}

void kiln_sandbox_account_stop(kiln_sandbox *sandbox)
{
    kiln_alarm_free(&sandbox->account.watch);
}

/* Counters go on from execution to execution: what counts is what is new. */
static void end_counting(kiln_sandbox *sandbox, kiln_account *account)
{
    kiln_cgroup_usage now;
    kiln_cgroup_usage hits;
    kiln_cgroup_measure(sandbox->cgroup, &now);
    kiln_cgroup_read_hits(sandbox->cgroup, &hits);
    if (now.cpu_ms >= 0 && sandbox->account.cpu_from_ms >= 0) {
        account->cpu_ms = now.cpu_ms - sandbox->account.cpu_from_ms;
    }
    if (sandbox->account.peak_is_fresh || now.max_memory_bytes > sandbox->account.peak_from) {
        account->max_memory_bytes = now.max_memory_bytes;
    }
    account->processes = now.max_processes;
    account->memory_hit = hits.oom_kills > sandbox->account.oom_kills;
    account->processes_hit = hits.pids_refused > sandbox->account.pids_refused;
    sandbox->account.oom_kills = hits.oom_kills;
    sandbox->account.pids_refused = hits.pids_refused;
    account->cpus_kept = kiln_cgroup_keeps_cpus(sandbox->cgroup);
    sandbox->account.kept = true;
}

void kiln_sandbox_account_end(kiln_sandbox *sandbox, kiln_account *account)
{
    const disk_state disk = look_at_disk(sandbox);
    kiln_tree tree;
    *account = (kiln_account){.cpu_ms = -1, .cpus_kept = sandbox->account.limits.cpus == 0};
    if (sandbox->cgroup != NULL) {
        end_counting(sandbox, account);
    } else if (sandbox->account.watch != NULL && measure(sandbox, false, &tree) == 0) {
        uint64_t most = sandbox->account.limits.processes;
        note_processes(sandbox, &tree);
        account->cpu_ms = tree.cpu_ms - sandbox->account.cpu_from_ms;
        account->cpu_is_coarse = true;
        /* RLIMIT_NPROC refuses without a count. As an ordinary user the supervisor, which
         * is not seen here, has the code's uid and takes one. */
        account->processes_hit = most > 0 && sandbox->account.processes_seen + 1 >= most;
    }
    account->disk_bytes = disk.used;
    account->disk_limit = disk.size;
    account->files_limit = sandbox->limits.files; /* without the sandbox's own folders */
    account->disk_hit = disk.full && !sandbox->account.disk_full;
    account->files_hit = disk.files_full && !sandbox->account.files_full;
    sandbox->account.disk_full = disk.full;
    sandbox->account.files_full = disk.files_full;
    kiln_sandbox_account_stop(sandbox);
}
