#include "job.h"

#include "agent.h"
#include "files.h"
#include "program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

enum { CPU_LOOK_MS = 25, CPU_GRACE_MS = 1000 };

struct job {
    struct box *box;
    backend *self;
    kiln_ticket ticket;
    struct program *program; /* NULL: a cell of the agent */
    kiln_limits limits;
    reading before;
    bool disk_full; /* before */
    bool cpu_exceeded;
    struct transfer *transfer; /* of its files, where the box is not direct */
    bool ended;                /* the code has, as this says: */
    kiln_outcome outcome;
    char message[1000];
    kiln_timer *timer; /* looks at the CPU time, then the grace */
};

static bool disk_is_full(const struct box *box)
{
    struct statvfs now;
    return box->direct && fstatvfs(box->work_fd, &now) == 0 && now.f_blocks > 0 &&
           now.f_bfree == 0;
}

/* ---- the end */

/* All that needs its box. */
static void detach(struct job *job)
{
    if (job->timer != NULL) {
        job->self->host->cancel(job->self->host, job->timer);
    }
    files_cancel(job->transfer);
    program_free(job->program);
    job->box->job = NULL;
}

static void complete(struct job *job, const kiln_outcome *outcome)
{
    const kiln_host *host = job->self->host;
    detach(job);
    host->complete(host, job->ticket, outcome); /* may close the session, and free the box */
    free(job);
}

/* What the kernel counted, where the worker has only its own word. */
static void fill_usage(const struct job *job, const reading *now, kiln_outcome *outcome)
{
    if (now->cpu_ms >= 0 && job->before.cpu_ms >= 0) {
        outcome->cpu_ms = now->cpu_ms - job->before.cpu_ms;
    }
    if (now->peak_bytes > job->before.peak_bytes && now->peak_bytes > outcome->max_rss_bytes) {
        outcome->max_rss_bytes = now->peak_bytes;
    }
}

/* A limit that the code ran into and failed by. */
static const char *limit_hit(const struct job *job, const reading *now)
{
    return now->oom_kills > job->before.oom_kills         ? "memory"
           : now->pids_refused > job->before.pids_refused ? "processes"
           : !job->disk_full && disk_is_full(job->box)    ? "disk"
                                                          : NULL;
}

static void on_fetched(void *user, const files_end *end)
{
    struct job *job = user;
    char detail[120];
    if (end->status != KILN_STATUS_OK) {
        /* What it made cannot be told: that is no success. */
        job->outcome.status = end->status;
        job->outcome.name = end->name;
        snprintf(job->message, sizeof(job->message), "%s", end->error);
        job->outcome.message = job->message;
    }
    if (end->left_out > 0) {
        snprintf(detail, sizeof(detail),
                 "%zu entries were left out: no plain files, or names too long", end->left_out);
        job_decide(job, "files", detail);
    }
    complete(job, &job->outcome);
}

/* Its files are what the execution came to, as much as its outputs. */
static void fetch_files(struct job *job, const kiln_outcome *outcome)
{
    const kiln_host *host = job->self->host;
    job->ended = true;
    job->outcome = *outcome;
    if (outcome->message != NULL) {
        snprintf(job->message, sizeof(job->message), "%s", outcome->message);
        job->outcome.message = job->message;
    }
    if (job->timer != NULL) {
        host->cancel(host, job->timer);
        job->timer = NULL;
    }
    job->transfer = files_pull(job->box, on_fetched, job);
    if (job->transfer == NULL) {
        job->outcome.status = KILN_STATUS_UNAVAILABLE;
        job->outcome.name = "OutOfMemory";
        job->outcome.message = "out of memory";
        complete(job, &job->outcome);
    }
}

void job_done(struct job *job, const kiln_outcome *reported)
{
    kiln_outcome outcome = *reported;
    char message[200];
    reading now;
    if (job->transfer != NULL) {
        box_lost(job->box, "bad frame: DONE, of a cell that was not sent yet");
        return;
    }
    meter_read(&job->box->meter, &now);
    fill_usage(job, &now, &outcome);
    job->box->ooms_seen = now.oom_kills;
    bool failed = outcome.status == KILN_STATUS_ERROR || outcome.status == KILN_STATUS_CRASHED;
    const char *limit = failed ? limit_hit(job, &now) : NULL;
    if (job->cpu_exceeded && outcome.status != KILN_STATUS_OK) {
        outcome.status = KILN_STATUS_TIMEOUT;
        outcome.name = "cpu";
        outcome.message = "CPU time was up";
    } else if (limit != NULL) {
        snprintf(message, sizeof(message), "the limit on %s was reached%s", limit,
                 job->program == NULL ? "; the session's state is kept" : "");
        outcome.status = KILN_STATUS_LIMIT;
        outcome.name = limit;
        outcome.message = message;
    }
    if (job->box->mirror == NULL) {
        complete(job, &outcome);
        return;
    }
    fetch_files(job, &outcome);
}

void job_box_gone(struct job *job)
{
    const struct box *box = job->box;
    kiln_outcome outcome = KILN_OUTCOME_INIT;
    char text[sizeof(box->lost.text)];
    snprintf(text, sizeof(text), "%s", box->lost.text);
    outcome.status = box->lost.status;
    outcome.name = box->lost.name;
    outcome.message = text;
    if (box->lost.exit_code > 128 && box->lost.status == KILN_STATUS_CRASHED) {
        outcome.signal = box->lost.exit_code - 128;
    } else if (box->lost.status == KILN_STATUS_CRASHED && box->lost.exit_code >= 0) {
        outcome.has_exit_code = true;
        outcome.exit_code = box->lost.exit_code;
    }
    if (job->cpu_exceeded) {
        outcome.status = KILN_STATUS_TIMEOUT;
        outcome.name = "cpu";
        outcome.message = "CPU time was up; the session's state is lost";
    }
    complete(job, &outcome);
}

/* ---- CPU time of all that runs in the box */

static void on_cpu_grace(void *user)
{
    struct job *job = user;
    job->timer = NULL;
    job_kill(job);
}

static void look_at_cpu(void *user)
{
    struct job *job = user;
    const kiln_host *host = job->self->host;
    reading now;
    meter_read(&job->box->meter, &now);
    job->timer = NULL;
    if (now.cpu_ms - job->before.cpu_ms < (double)job->limits.cpu_ms) {
        job->timer = host->timer(host, CPU_LOOK_MS, look_at_cpu, job);
        return;
    }
    job->cpu_exceeded = true;
    job->timer = host->timer(host, CPU_GRACE_MS, on_cpu_grace, job);
    job_interrupt(job);
}

/* ---- what a box cannot change any more */

void job_decide(struct job *job, const char *action, const char *detail)
{
    const kiln_host *host = job->self->host;
    json_t *decision = json_pack("{s:s, s:s}", "action", action, "detail", detail);
    char *text = json_dumps(decision, 0);
    if (text != NULL) {
        const kiln_event event = {.size = sizeof(event),
                                  .type = KILN_EVENT_DECISION,
                                  .data = text,
                                  .length = strlen(text)};
        host->emit(host, job->ticket, &event);
    }
    free(text);
    json_decref(decision);
}

/* A container has the limits that it was made with: that must not stay unsaid. */
static void tell_fixed_limits(struct job *job)
{
    const kiln_limits *has = &job->box->limits;
    const struct {
        const char *name;
        uint64_t now, wanted;
    } limits[] = {
        {"memory", has->memory, job->limits.memory},
        {"processes", has->processes, job->limits.processes},
        {"disk", has->disk, job->limits.disk},
        {"files", has->files, job->limits.files},
        {"open_files", has->open_files, job->limits.open_files},
        {"file_size", has->file_size, job->limits.file_size},
        {"cpus", has->cpus, job->limits.cpus},
    };
    char detail[160];
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        if (limits[i].now != limits[i].wanted) {
            snprintf(detail, sizeof(detail), "%s %llu since the session began, not %llu",
                     limits[i].name, (unsigned long long)limits[i].now,
                     (unsigned long long)limits[i].wanted);
            job_decide(job, "limit", detail);
        }
    }
    if (job->limits.files > 0 && !job->box->files_kept) {
        job_decide(job, "limit",
                   "files is not kept: that takes kiln to be root, or Docker; memory bounds "
                   "what their number costs");
    }
    if (job->limits.cpu_ms > 0 && !meter_works(&job->box->meter)) {
        job_decide(job, "limit",
                   "cpu is not kept: the container's cgroup cannot be seen from here");
    }
}

/* ---- the beginning, and the ways to stop it */

static void on_program_done(void *user, const kiln_outcome *outcome)
{
    job_done(user, outcome);
}

/* ---- files that go in before it */

static void refuse_job(struct job *job, kiln_status status, const char *name,
                       const char *message)
{
    kiln_outcome refused = KILN_OUTCOME_INIT;
    refused.status = status;
    refused.name = name;
    refused.message = message;
    complete(job, &refused);
}

static void begin_program(struct job *job)
{
    if (program_begin(job->program) < 0) {
        refuse_job(job, KILN_STATUS_UNAVAILABLE, "OutOfMemory", "out of memory");
    }
}

static void on_sent(void *user, const files_end *end)
{
    struct job *job = user;
    char error[1000];
    snprintf(error, sizeof(error), "%s", end->error != NULL ? end->error : "");
    files_cancel(job->transfer);
    job->transfer = NULL;
    if (end->status == KILN_STATUS_OK && job->program != NULL) {
        begin_program(job);
    } else if (end->status == KILN_STATUS_OK) {
        if (job->box->agent != NULL) { /* else the box is lost, which ends the job */
            agent_release(job->box->agent);
        }
    } else if (job->program != NULL) {
        refuse_job(job, end->status, end->name, error);
    } else { /* the agent waits for a cell that does not come */
        box_lost(job->box, error);
    }
}

static int send_files(struct job *job)
{
    job->transfer = files_push(job->box, on_sent, job);
    return job->transfer != NULL ? 0 : -ENOMEM;
}

int job_start(struct box *box, kiln_session *session, kiln_ticket ticket,
              const kiln_input *input, const char *restarted)
{
    backend *self = box->self;
    kiln_outcome refused = KILN_OUTCOME_INIT;
    struct job *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        return -ENOMEM;
    }
    job->box = box;
    job->self = self;
    job->ticket = ticket;
    job->limits = input->limits;
    job->disk_full = disk_is_full(box);
    meter_read(&box->meter, &job->before);
    if (restarted[0] != '\0') {
        job_decide(job, "restart", restarted);
    }
    tell_fixed_limits(job);
    if (input->limits.cpu_ms > 0 && meter_works(&box->meter)) {
        job->timer = self->host->timer(self->host, CPU_LOOK_MS, look_at_cpu, job);
    }
    box->job = job;
    int rc = 0;
    if (box->has_agent) {
        if (box->mirror != NULL) {
            agent_hold(box->agent);
        }
        rc = agent_execute(box->agent, ticket, input);
    } else {
        job->program =
            program_start(box, session, ticket, input, on_program_done, job, &refused);
        if (job->program == NULL) {
            complete(job, &refused);
            return 0;
        }
        if (box->mirror == NULL) {
            begin_program(job);
            return 0;
        }
    }
    if (rc == 0 && box->mirror != NULL) {
        rc = send_files(job);
    }
    if (rc == -EBUSY) { /* it has been asked to stop, for a second */
        box_kill(box, "QueryStuck",
                 "a query did not end when it was interrupted, and the container was killed; "
                 "the session's state is lost");
        return 0;
    }
    if (rc < 0) {
        job_abandon(job);
    }
    return rc;
}

void job_abandon(struct job *job)
{
    detach(job);
    free(job);
}

bool job_is(const struct job *job, kiln_ticket ticket)
{
    return job->ticket.slot == ticket.slot && job->ticket.generation == ticket.generation;
}

void job_interrupt(struct job *job)
{
    if (job->ended) {
        return; /* its files are on their way */
    }
    if (job->program != NULL && job->transfer != NULL) {
        refuse_job(job, KILN_STATUS_INTERRUPTED, NULL, NULL);
    } else if (job->program != NULL) {
        program_kill(job->program); /* it keeps no state that would be worth asking */
    } else if (job->box->agent != NULL) {
        agent_interrupt(job->box->agent);
    }
}

void job_kill(struct job *job)
{
    box_kill(job->box, "Killed", "the container was killed; the session's state is lost");
}
