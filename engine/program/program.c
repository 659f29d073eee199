#include "program/program.h"

#include "base/cleanup.h"
#include "base/utf8.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

enum { COMPLAINT_MAX = 4096, CHUNK = 65536 };

struct kiln_program {
    uv_process_t process;
    uv_pipe_t pipes[3]; /* standard input, output, error; closed when over */
    uv_timer_t timer;
    uv_write_t write;
    char *input;
    kiln_buffer output;
    kiln_buffer errors; /* its last bytes */
    size_t output_max;
    pid_t group;
    unsigned open;  /* handles that are not closed yet */
    unsigned reads; /* streams that have not come to their end */
    bool exited, over;
    kiln_program_end end;
    char complaint[512];
    char chunk[CHUNK];
    void (*done)(void *user, kiln_program_end *end);
    void *user;
};

/* The group, which is its own: what it started goes with it. */
static void kill_all(kiln_program *program)
{
    if (program->group > 0) {
        kill(-program->group, SIGKILL);
    }
}

/* The last line that says something. */
static void read_complaint(kiln_program *program)
{
    const kiln_buffer *errors = &program->errors;
    size_t to = errors->length;
    while (to > 0 && strchr("\n\r \t", errors->data[to - 1]) != NULL) {
        to--;
    }
    size_t from = to;
    while (from > 0 && errors->data[from - 1] != '\n' && errors->data[from - 1] != '\r') {
        from--;
    }
    auto_buffer kiln_buffer line = KILN_BUFFER_INIT;
    if (to > from && kiln_utf8_append(&line, errors->data + from, to - from, false) >= 0) {
        size_t length = line.length < sizeof(program->complaint) - 1
                            ? line.length
                            : sizeof(program->complaint) - 1;
        memcpy(program->complaint, line.data, length);
        for (size_t i = 0; i < length; i++) {
            unsigned char c = (unsigned char)program->complaint[i];
            program->complaint[i] = c < 0x20 || c == 0x7f ? '?' : (char)c;
        }
    }
}

static void on_closed(uv_handle_t *handle)
{
    kiln_program *program = handle->data;
    if (--program->open > 0) {
        return;
    }
    if (program->done != NULL) {
        read_complaint(program);
        program->end.output = &program->output;
        program->end.complaint = program->complaint;
        program->done(program->user, &program->end);
    }
    kiln_buffer_free(&program->output);
    kiln_buffer_free(&program->errors);
    free(program->input);
    free(program);
}

static void close_all(kiln_program *program)
{
    if (program->over) {
        return;
    }
    program->over = true;
    kill_all(program); /* what was left behind by one that has ended */
    uv_close((uv_handle_t *)&program->process, on_closed);
    uv_close((uv_handle_t *)&program->timer, on_closed);
    for (int i = 0; i < 3; i++) {
        if (!uv_is_closing((uv_handle_t *)&program->pipes[i])) {
            uv_close((uv_handle_t *)&program->pipes[i], on_closed);
        }
    }
}

/* Its end is there when it was reaped and nobody can write into its output any more; what
 * holds it open beyond that is ended by the timer. */
static void settle(kiln_program *program)
{
    if (program->exited && program->reads == 0) {
        close_all(program);
    }
}

static void on_exit_(uv_process_t *process, int64_t code, int signal)
{
    kiln_program *program = process->data;
    program->exited = true;
    program->end.exit_code = (int)code;
    program->end.signal = signal;
    kill_all(program);
    program->group = 0; /* its number may soon be another's */
    settle(program);
}

static void on_timer(uv_timer_t *timer)
{
    kiln_program *program = timer->data;
    program->end.timed_out = true;
    close_all(program);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    kiln_program *program = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(program->chunk, CHUNK);
}

static void take_output(kiln_program *program, const char *data, size_t length)
{
    size_t room = program->output_max - program->output.length;
    size_t taken = length < room ? length : room;
    if (kiln_buffer_append(&program->output, data, taken) < 0 || taken < length) {
        program->end.flooded = true;
        close_all(program);
    }
}

static void take_error(kiln_program *program, const char *data, size_t length)
{
    if (kiln_buffer_append(&program->errors, data, length) == 0 &&
        program->errors.length > COMPLAINT_MAX) {
        kiln_buffer_consume(&program->errors, program->errors.length - COMPLAINT_MAX);
    }
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    kiln_program *program = stream->data;
    if (program->over) {
        return;
    }
    if (got < 0) {
        uv_read_stop(stream);
        program->reads--;
        settle(program);
    } else if (got > 0 && stream == (uv_stream_t *)&program->pipes[1]) {
        take_output(program, buffer->base, (size_t)got);
    } else if (got > 0) {
        take_error(program, buffer->base, (size_t)got);
    }
}

/* All is written, or the program did not want to read all. */
static void on_written(uv_write_t *write, int status)
{
    kiln_program *program = write->data;
    (void)status;
    if (!uv_is_closing((uv_handle_t *)&program->pipes[0])) {
        uv_close((uv_handle_t *)&program->pipes[0], on_closed);
    }
}

/* Bytes of our own address space, and room for what a fork allocates; 0: not known. */
static uint64_t own_space(void)
{
    enum { ROOM = 256 << 20 };
    auto_fclose FILE *statm = fopen("/proc/self/statm", "re");
    char line[64];
    if (statm == NULL || fgets(line, sizeof(line), statm) == NULL) {
        return 0;
    }
    return strtoull(line, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) + ROOM;
}

/* A soft limit of ours, lowered (0: left alone) for the moment of a fork: it is inherited. */
typedef struct lowered {
    __rlimit_resource_t resource;
    struct rlimit ours;
    bool changed;
} lowered;

static void lower(lowered *limit, int resource, uint64_t value)
{
    *limit = (lowered){.resource = (__rlimit_resource_t)resource};
    if (value == 0 || getrlimit(limit->resource, &limit->ours) < 0 ||
        value >= limit->ours.rlim_cur) {
        return;
    }
    const struct rlimit wanted = {value, limit->ours.rlim_max};
    limit->changed = setrlimit(limit->resource, &wanted) == 0;
}

static void restore(const lowered *limit)
{
    if (limit->changed) {
        setrlimit(limit->resource, &limit->ours);
    }
}

static int spawn(uv_loop_t *loop, kiln_program *program, const kiln_program_spec *spec)
{
    uv_stdio_container_t streams[3];
    for (int i = 0; i < 3; i++) {
        streams[i].flags =
            (uv_stdio_flags)(UV_CREATE_PIPE | (i == 0 ? UV_READABLE_PIPE : UV_WRITABLE_PIPE));
        streams[i].data.stream = (uv_stream_t *)&program->pipes[i];
    }
    const uv_process_options_t options = {
        .exit_cb = on_exit_,
        .file = spec->argv[0],
        .args = (char **)(uintptr_t)spec->argv,
        .env = (char **)(uintptr_t)spec->env,
        .cwd = "/",
        .flags = UV_PROCESS_DETACHED, /* setsid */
        .stdio_count = 3,
        .stdio = streams,
    };
    /* Where we are ourselves larger than that, the program's own comes when it is there. */
    const uint64_t own = spec->memory_max > 0 ? own_space() : 0;
    const bool larger = own > spec->memory_max;
    lowered files, memory;
    lower(&files, RLIMIT_FSIZE, spec->file_max);
    lower(&memory, RLIMIT_AS, larger ? own : spec->memory_max);
    int rc = uv_spawn(loop, &program->process, &options);
    restore(&memory);
    restore(&files);
    struct rlimit its;
    if (rc == 0 && larger && prlimit(program->process.pid, RLIMIT_AS, NULL, &its) == 0 &&
        its.rlim_cur > spec->memory_max) {
        its.rlim_cur = spec->memory_max;
        prlimit(program->process.pid, RLIMIT_AS, &its, NULL);
    }
    return rc;
}

/* A program may end without having read its input. Not SIG_IGN: that would be inherited by
 * every program that we start. */
static void on_broken_pipe(int number)
{
    (void)number;
}

static void survive_broken_pipes(void)
{
    struct sigaction action = {.sa_handler = on_broken_pipe, .sa_flags = SA_RESTART}, old;
    if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL) {
        sigaction(SIGPIPE, &action, NULL);
    }
}

int kiln_program_start(uv_loop_t *loop, const kiln_program_spec *spec,
                       void (*done)(void *user, kiln_program_end *end), void *user,
                       kiln_program **out, kiln_error *err)
{
    kiln_program *program = calloc(1, sizeof(*program));
    if (program != NULL && spec->input_length > 0) {
        program->input = malloc(spec->input_length);
    }
    if (program == NULL || (spec->input_length > 0 && program->input == NULL)) {
        free(program);
        return kiln_error_set(err, ENOMEM, "out of memory");
    }
    survive_broken_pipes();
    program->output_max = spec->output_max;
    uv_timer_init(loop, &program->timer);
    program->timer.data = program->process.data = program->write.data = program;
    for (int i = 0; i < 3; i++) {
        uv_pipe_init(loop, &program->pipes[i], 0);
        program->pipes[i].data = program;
    }
    program->open = 5;
    program->reads = 2;
    int rc = spawn(loop, program, spec);
    if (rc < 0) { /* libuv has begun the process handle: it is closed with the others */
        kiln_error_set(err, rc, "%s: cannot be started: %s", spec->argv[0], uv_strerror(rc));
        close_all(program);
        return rc;
    }
    program->group = program->process.pid;
    program->done = done;
    program->user = user;
    if (spec->timeout_ms > 0) {
        uv_timer_start(&program->timer, on_timer, spec->timeout_ms, 0);
    }
    uv_read_start((uv_stream_t *)&program->pipes[1], on_alloc, on_read);
    uv_read_start((uv_stream_t *)&program->pipes[2], on_alloc, on_read);
    if (spec->input_length == 0) {
        uv_close((uv_handle_t *)&program->pipes[0], on_closed);
    } else {
        memcpy(program->input, spec->input, spec->input_length);
        uv_buf_t buffer = uv_buf_init(program->input, (unsigned)spec->input_length);
        if (uv_write(&program->write, (uv_stream_t *)&program->pipes[0], &buffer, 1,
                     on_written) < 0) {
            on_written(&program->write, 0);
        }
    }
    *out = program;
    return 0;
}

void kiln_program_cancel(kiln_program *program)
{
    program->done = NULL;
    close_all(program);
}

const char *kiln_program_end_text(const kiln_program_end *end, char *text, size_t size)
{
    if (end->timed_out) {
        snprintf(text, size, "its time was up");
    } else if (end->flooded) {
        snprintf(text, size, "it wrote more than is allowed");
    } else if (end->signal != 0) {
        snprintf(text, size, "signal %d", end->signal);
    } else {
        snprintf(text, size, "exit status %d", end->exit_code);
    }
    return text;
}
