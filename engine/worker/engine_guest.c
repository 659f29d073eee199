/* engine_guest.c - a worker of this machine, as the engine sees it: its socket, its two
 * streams, its end. What it says is checked by dialogue.c; the first bad frame ends it
 * alone. */
#include "worker/dialogue.h"
#include "worker/engine_side.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

enum {
    READ_BYTES = 64 << 10,
    READS_A_TURN = 4,
    SWEEP_MS = 1000,
};

struct kiln_guest {
    kiln_run run; /* first: kiln_run * is kiln_guest * */
    kiln_guest_callbacks callbacks;
    void *user;
    kiln_dialogue dialogue;
    uint64_t cpu_limit_ms; /* of a cell */
    bool sweep;            /* at the cell's end */
    const char *limit;     /* that the cell reached, once it has failed */
    struct {
        kiln_verdict verdict; /* told at once, or when SWEPT has come */
        double cpu_ms;
        uint64_t max_rss_bytes;
        kiln_alarm *alarm;
    } done;
    kiln_linger *linger; /* the zygote's; NULL: none */
    bool running;        /* a cell, as linger counts them */
    int socket;
    kiln_poll *poll;
    kiln_fork *fork; /* that it takes part in, see engine_branch.c */
};

/* ---- streams and end */

static void on_output(kiln_run *run, uint32_t stream, const char *data, size_t length)
{
    kiln_dialogue_deliver(&((kiln_guest *)run)->dialogue,
                          &(kiln_event){.size = sizeof(kiln_event),
                                        .type = KILN_EVENT_STREAM,
                                        .stream = stream,
                                        .data = data,
                                        .length = length});
}

static void stop_lingering(kiln_guest *guest)
{
    if (guest->running) {
        guest->running = false;
        kiln_linger_end(guest->linger);
    }
}

static void on_call_over(void *user)
{
    kiln_guest *guest = user;
    if (guest->callbacks.on_call_over != NULL) {
        guest->callbacks.on_call_over(guest->user);
    }
}

static void close_socket(kiln_guest *guest)
{
    guest->dialogue.closed = true;
    if (guest->dialogue.calling) {
        guest->dialogue.calling = false;
        on_call_over(guest);
    }
    kiln_alarm_free(&guest->done.alarm);
    kiln_poll_free(&guest->poll);
    if (guest->socket >= 0) {
        close(guest->socket);
        guest->socket = -1;
    }
}

static void on_exit_(kiln_run *run, const kiln_exit *exit)
{
    kiln_guest *guest = (kiln_guest *)run;
    close_socket(guest);
    stop_lingering(guest);
    if (guest->fork != NULL) {
        kiln_fork_progress(guest->fork);
    }
    if (guest->dialogue.dropped > 0) {
        kiln_log(KILN_LOG_DEBUG, "worker", "%llu outputs between cells were dropped",
                 (unsigned long long)guest->dialogue.dropped);
    }
    guest->callbacks.on_exit(guest->user, exit);
}

static void release(kiln_run *run)
{
    kiln_guest *guest = (kiln_guest *)run;
    kiln_dialogue_free(&guest->dialogue);
    free(run->error);
    free(guest);
}

/* ---- what the dialogue tells */

static void on_event(void *user, const kiln_event *event)
{
    kiln_guest *guest = user;
    guest->callbacks.on_event(guest->user, event);
}

static void on_analysis(void *user, json_t *analysis)
{
    kiln_guest *guest = user;
    guest->callbacks.on_analysis(guest->user, analysis);
}

/* Ends the worker with a reason of ours. */
static void on_broken(void *user, const char *why)
{
    kiln_guest *guest = user;
    close_socket(guest);
    if (guest->run.error == NULL) {
        guest->run.error = strdup(why);
    }
    kiln_run_kill(&guest->run);
}

static void tell_done(kiln_guest *guest)
{
    kiln_dialogue_settle(&guest->dialogue);
    stop_lingering(guest);
    guest->callbacks.on_done(guest->user, &guest->done.verdict, guest->done.cpu_ms,
                             guest->done.max_rss_bytes);
}

static void on_sweep_unanswered(void *user)
{
    kiln_guest *guest = user;
    kiln_log(KILN_LOG_WARNING, "worker",
             "%s: what a cell left was not killed within %d ms; "
             "killing the worker, too",
             guest->run.sandbox->name, SWEEP_MS);
    kiln_run_kill(&guest->run);
}

/* The cell has not ended before its processes have: the next one would be swept. */
static void begin_sweep(kiln_guest *guest)
{
    kiln_sandbox *sandbox = guest->run.sandbox;
    guest->dialogue.answered = true;
    guest->done.alarm =
        kiln_alarm_new(sandbox->zygote->loop, SWEEP_MS, on_sweep_unanswered, guest);
    if (guest->done.alarm == NULL ||
        kiln_sandbox_send(sandbox, KILN_CONTROL_SWEEP, guest->dialogue.request_id, NULL, 0,
                          NULL, 0) < 0) {
        kiln_run_kill(&guest->run); /* its end is told in place of the cell's */
    }
}

static void on_swept(kiln_run *run, uint32_t id)
{
    kiln_guest *guest = (kiln_guest *)run;
    if (!guest->dialogue.answered || id != guest->dialogue.request_id) {
        return;
    }
    kiln_alarm_free(&guest->done.alarm);
    if (!guest->dialogue.closed) {
        tell_done(guest);
    }
}

static void on_done(void *user, const kiln_verdict *verdict, double cpu_ms,
                    uint64_t max_rss_bytes)
{
    kiln_guest *guest = user;
    /* What the code wrote to descriptors 1 and 2 itself lies in the pipes, unless the worker
     * has waited until we had read it, as it mostly does. */
    if (guest->dialogue.unread) {
        kiln_run_drain(&guest->run);
    }
    if (kiln_run_over(&guest->run)) {
        return;
    }
    kiln_run_watch_cpu(&guest->run, guest->run.sandbox, 0);
    guest->done.verdict = *verdict;
    guest->done.cpu_ms = cpu_ms;
    guest->done.max_rss_bytes = max_rss_bytes;
    guest->limit =
        verdict->status == KILN_STATUS_ERROR ? kiln_run_limit_hit(&guest->run) : NULL;
    if (guest->sweep || guest->limit != NULL) {
        begin_sweep(guest);
    } else {
        tell_done(guest);
    }
}

static void on_reply(void *user, json_t *reply, const char *error)
{
    kiln_guest *guest = user;
    /* What was written meanwhile lies in the pipes: it is no cell's. */
    kiln_run_drain(&guest->run);
    if (!kiln_run_over(&guest->run)) {
        kiln_dialogue_settle(&guest->dialogue);
        guest->callbacks.on_reply(guest->user, reply, error);
    }
}

static void on_call(void *user, uint32_t number, const char *data, size_t length)
{
    kiln_guest *guest = user;
    if (guest->callbacks.on_call == NULL) {
        kiln_dialogue_break(&guest->dialogue, "bad frame: ", "CALL, and nobody answers calls");
        return;
    }
    /* What the code wrote to descriptors 1 and 2 itself lies in the pipes. */
    kiln_run_drain(&guest->run);
    if (!kiln_run_over(&guest->run)) {
        guest->callbacks.on_call(guest->user, number, data, length);
    }
}

static void on_forkable(void *user, const char *refusal)
{
    kiln_guest *guest = user;
    if (guest->fork != NULL) { /* else it was given up */
        kiln_fork_forkable(guest->fork, refusal);
    }
}

static void on_forked(void *user, int32_t pid, const char *error)
{
    kiln_guest *guest = user;
    if (guest->fork != NULL) {
        kiln_fork_forked(guest->fork, pid, error);
    }
}

static const kiln_dialogue_callbacks dialogue_callbacks = {
    .on_event = on_event,
    .on_done = on_done,
    .on_analysis = on_analysis,
    .on_reply = on_reply,
    .on_call = on_call,
    .on_call_over = on_call_over,
    .on_forkable = on_forkable,
    .on_forked = on_forked,
    .on_broken = on_broken,
};

/* ---- the socket */

/* One read and what it completes. false: nothing more is to be had now, as a read tells
 * that did not fill the buffer. */
static bool read_once(kiln_guest *guest)
{
    ssize_t n;
    kiln_dialogue *dialogue = &guest->dialogue;
    if (dialogue->closed) {
        return false;
    }
    if (kiln_buffer_reserve(&dialogue->in, READ_BYTES) < 0) {
        kiln_dialogue_break(dialogue, "", "out of memory for its output");
        return false;
    }
    do {
        n = recv(guest->socket, dialogue->in.data + dialogue->in.length, READ_BYTES,
                 MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        return false;
    }
    if (n <= 0) {
        /* It has exited or executed another program, and the run's end tells; or it
         * closed the socket, and is of no more use. */
        bool idle = dialogue->awaited == 0 && dialogue->started;
        close_socket(guest);
        if (idle) {
            kiln_run_kill(&guest->run);
        }
        return false;
    }
    dialogue->in.length += (size_t)n;
    return kiln_dialogue_decode(dialogue) == 0 && n == READ_BYTES;
}

static void read_frames(kiln_guest *guest)
{
    for (int count = 0; count < READS_A_TURN && !guest->dialogue.decoding; count++) {
        if (!read_once(guest)) {
            break;
        }
    }
}

/* A worker sends nothing while there is something in its pipes (guest_main.c): what has
 * been sent is older than what is in them. */
static void before_output(kiln_run *run)
{
    read_frames((kiln_guest *)run);
}

/* What the worker sent before it ended still counts; no more than a socket holds. */
static void on_ending(kiln_run *run)
{
    kiln_guest *guest = (kiln_guest *)run;
    while (!guest->dialogue.decoding && !kiln_run_over(run) && read_once(guest)) {
    }
}

static void write_frames(kiln_guest *guest)
{
    while (guest->dialogue.out.length > 0) {
        ssize_t n = send(guest->socket, guest->dialogue.out.data, guest->dialogue.out.length,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            if (errno != EAGAIN) {
                kiln_buffer_free(&guest->dialogue.out); /* reading finds the end */
            }
            break;
        }
        kiln_buffer_consume(&guest->dialogue.out, (size_t)n);
    }
    if (guest->dialogue.out.length == 0) {
        kiln_buffer_free(&guest->dialogue.out);
    }
    if (guest->poll != NULL) {
        kiln_poll_events(guest->poll,
                         UV_READABLE | (guest->dialogue.out.length > 0 ? UV_WRITABLE : 0));
    }
}

static void on_socket(void *user, int events)
{
    kiln_guest *guest = user;
    kiln_run_ref(&guest->run);
    if ((events & UV_WRITABLE) != 0) {
        write_frames(guest);
    }
    if ((events & UV_READABLE) != 0) {
        read_frames(guest);
    }
    if (guest->fork != NULL) {
        kiln_fork_progress(guest->fork);
    }
    kiln_run_unref(&guest->run);
}

/* ---- requests */

bool kiln_guest_usable(const kiln_guest *guest)
{
    return !guest->dialogue.closed && !guest->run.killing && !kiln_run_over(&guest->run);
}

int kiln_guest_execute(kiln_guest *guest, const kiln_input *input, kiln_error *err)
{
    kiln_run *run = &guest->run;
    if (!kiln_run_over(run) && guest->dialogue.awaited == 0) {
        int rc = kiln_run_set_limits(run->sandbox, &input->limits, err);
        if (rc < 0) {
            return rc;
        }
        kiln_run_forget_hits(run, run->sandbox);
    }
    /* The cell that a busy worker is running goes on, and on being counted. */
    bool first = !guest->running;
    guest->dialogue.linger_us =
        first && kiln_linger_begin(guest->linger) ? KILN_LINGER_WORKER_US : 0;
    guest->running = true;
    int rc = kiln_dialogue_execute(&guest->dialogue, input, err);
    if (rc < 0) {
        if (first) {
            stop_lingering(guest);
        }
        return rc;
    }
    guest->sweep = false;
    guest->limit = NULL;
    write_frames(guest);
    if (kiln_run_watch_cpu(run, run->sandbox,
                           input->limits.cpu_ms > 0 ? input->limits.cpu_ms
                                                    : guest->cpu_limit_ms) < 0) {
        kiln_log(KILN_LOG_WARNING, "worker", "no memory to watch the CPU time of a cell");
    }
    return 0;
}

int kiln_guest_rehearse(kiln_guest *guest, unsigned turn, bool last, kiln_error *err)
{
    int rc = kiln_dialogue_rehearse(&guest->dialogue, turn, last, err);
    if (rc == 0) {
        write_frames(guest);
    }
    return rc;
}

void kiln_guest_adopt(kiln_guest *guest, const kiln_limits *limits,
                      const kiln_guest_callbacks *callbacks, void *user)
{
    guest->callbacks = *callbacks;
    guest->user = user;
    guest->cpu_limit_ms = limits->cpu_ms;
    guest->run.limits.open_files = limits->open_files;
    guest->run.limits.file_size = limits->file_size;
    guest->run.limits.memory = limits->memory;
    guest->run.limits.processes = limits->processes;
}

int kiln_guest_analyze(kiln_guest *guest, const char *code, size_t length, kiln_error *err)
{
    int rc = kiln_dialogue_analyze(&guest->dialogue, code, length, err);
    if (rc == 0) {
        write_frames(guest);
    }
    return rc;
}

int kiln_guest_query(kiln_guest *guest, const char *name, json_t *arguments, kiln_error *err)
{
    int rc = kiln_dialogue_query(&guest->dialogue, name, arguments, err);
    if (rc == 0) {
        write_frames(guest);
    }
    return rc;
}

int kiln_guest_return(kiln_guest *guest, uint32_t number, const char *data, size_t length)
{
    int rc = kiln_dialogue_return(&guest->dialogue, number, data, length);
    write_frames(guest);
    return rc;
}

void kiln_guest_interrupt(kiln_guest *guest)
{
    bool asked = guest->dialogue.awaited == KILN_FRAME_DONE ||
                 guest->dialogue.awaited == KILN_FRAME_REPLY;
    if (asked && !kiln_run_over(&guest->run)) {
        kiln_sandbox_send(guest->run.sandbox, KILN_CONTROL_INTERRUPT,
                          guest->dialogue.request_id, NULL, 0, NULL, 0);
    }
}

void kiln_guest_sweep(kiln_guest *guest)
{
    guest->sweep = true;
}

const char *kiln_guest_limit(const kiln_guest *guest)
{
    return guest->limit;
}

void kiln_guest_kill(kiln_guest *guest)
{
    kiln_run_kill(&guest->run);
}

static kiln_guest *make(kiln_sandbox *sandbox, const kiln_limits *limits,
                        const kiln_guest_callbacks *callbacks, void *user, int *theirs,
                        kiln_error *err)
{
    int pair[2];
    kiln_guest *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        kiln_error_errno(err, ENOMEM, "worker");
        return NULL;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        kiln_error_errno(err, errno, "worker: frame socket");
        free(made);
        return NULL;
    }
    /* A worker lives over many cells: its clocks are those of a cell. */
    made->run.limits = limits != NULL ? *limits : sandbox->limits;
    made->cpu_limit_ms = made->run.limits.cpu_ms;
    made->run.limits.cpu_ms = 0;
    made->run.limits.timeout_ms = 0;
    made->callbacks = *callbacks;
    made->user = user;
    made->dialogue.callbacks = &dialogue_callbacks;
    made->dialogue.user = made;
    made->linger = sandbox->zygote->linger;
    made->run.before_output = before_output;
    made->run.on_output = on_output;
    made->run.on_ending = on_ending;
    made->run.on_swept = on_swept;
    made->run.on_exit = on_exit_;
    made->run.release = release;
    made->socket = pair[0];
    *theirs = pair[1];
    made->poll =
        kiln_poll_new(sandbox->zygote->loop, made->socket, UV_READABLE, on_socket, made);
    if (made->poll == NULL) {
        kiln_error_errno(err, ENOMEM, "worker");
        close(pair[0]);
        close(kiln_steal_fd(theirs));
        free(made);
        return NULL;
    }
    return made;
}

static void unmake(kiln_guest *guest)
{
    close_socket(guest);
    release(&guest->run);
}

int kiln_guest_start(kiln_sandbox *sandbox, const kiln_limits *limits,
                     const kiln_guest_callbacks *callbacks, void *user, kiln_guest **guest,
                     kiln_error *err)
{
    kiln_control_run head = {.argc = 0};
    auto_close int theirs = -1;
    auto_buffer kiln_buffer payload = KILN_BUFFER_INIT;
    auto_close int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0 || kiln_buffer_append(&payload, &head, sizeof(head)) < 0) {
        return kiln_error_errno(err, null < 0 ? errno : ENOMEM, "worker");
    }
    kiln_guest *made = make(sandbox, limits, callbacks, user, &theirs, err);
    if (made == NULL) {
        return err->code;
    }
    const kiln_limits life = made->run.limits;
    int rc = kiln_run_start(&made->run, sandbox, KILN_CONTROL_RUN_WORKER, &life, &payload, null,
                            theirs, err);
    if (rc < 0) {
        unmake(made);
        return rc;
    }
    *guest = made;
    return 0;
}

/* ---- for engine_branch.c */

int kiln_guest_prepare(kiln_sandbox *sandbox, const kiln_limits *limits,
                       const kiln_guest_callbacks *callbacks, void *user, int theirs[4],
                       kiln_guest **guest, kiln_error *err)
{
    theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    theirs[1] = theirs[2] = theirs[3] = -1;
    if (theirs[0] < 0) {
        return kiln_error_errno(err, errno, "worker: /dev/null");
    }
    kiln_guest *made = make(sandbox, limits, callbacks, user, &theirs[3], err);
    if (made == NULL) {
        return err->code;
    }
    const kiln_limits life = made->run.limits;
    int rc = kiln_run_prepare(&made->run, sandbox, &life, theirs + 1, err);
    if (rc < 0) {
        unmake(made);
        return rc;
    }
    *guest = made;
    return 0;
}

void kiln_guest_discard(kiln_guest *guest)
{
    close_socket(guest);
    kiln_run_discard(&guest->run);
}

kiln_run *kiln_guest_run(kiln_guest *guest)
{
    return &guest->run;
}

kiln_dialogue *kiln_guest_dialogue(kiln_guest *guest)
{
    return &guest->dialogue;
}

int kiln_guest_socket(const kiln_guest *guest)
{
    return guest->socket;
}

void kiln_guest_flush(kiln_guest *guest)
{
    write_frames(guest);
}

void kiln_guest_set_fork(kiln_guest *guest, kiln_fork *fork)
{
    guest->fork = fork;
}

kiln_fork *kiln_guest_fork_of(const kiln_guest *guest)
{
    return guest->fork;
}
