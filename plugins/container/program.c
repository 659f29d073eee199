#include "program.h"

#include "exec.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROGRAM "/code/main"

enum { SWEEP_MS = 15000 }; /* an exec takes its time where the machine is busy */

struct program {
    struct box *box;
    kiln_ticket ticket;
    void (*done)(void *user, const kiln_outcome *outcome);
    void *user;
    char **run; /* the input's args included */
    char **compile;
    char **env;
    char *stdin_data;
    size_t stdin_length;
    bool compiling;
    bool killed;
    double started_ms, compile_ms;
    struct exec *exec;  /* the phase */
    struct exec *sweep; /* kills what is left */
    kiln_timer *sweep_deadline;
    bool ended; /* the phase has, this is its end: */
    int code;
    char error[900];
};

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* ---- argv */

static void free_words(char **words)
{
    for (char **word = words; word != NULL && *word != NULL; word++) {
        free(*word);
    }
    free(words);
}

static char *expand(const char *word, const char *file)
{
    char *text = NULL;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    if (stream == NULL) {
        return NULL;
    }
    while (*word != '\0') {
        bool is_file = strncmp(word, "{file}", 6) == 0;
        bool is_out = strncmp(word, "{out}", 5) == 0;
        if (is_file || is_out) {
            fputs(is_file ? file : PROGRAM, stream);
            word += is_file ? 6 : 5;
        } else {
            fputc(*word++, stream);
        }
    }
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static size_t count(const char *const *words)
{
    size_t n = 0;
    while (words != NULL && words[n] != NULL) {
        n++;
    }
    return n;
}

static char **make_command(const char *const *words, const char *file, const char *const *more)
{
    static const char *const none[] = {NULL};
    more = more != NULL ? more : none;
    size_t first = count(words), second = count(more);
    char **command = calloc(first + second + 1, sizeof(*command));
    for (size_t i = 0; command != NULL && i < first + second; i++) {
        command[i] = i < first ? expand(words[i], file) : strdup(more[i - first]);
        if (command[i] == NULL) {
            free_words(command);
            return NULL;
        }
    }
    return command;
}

/* ---- the end */

void program_free(struct program *program)
{
    if (program == NULL) {
        return;
    }
    const kiln_host *host = program->box->self->host;
    exec_cancel(program->exec);
    exec_cancel(program->sweep);
    if (program->sweep_deadline != NULL) {
        host->cancel(host, program->sweep_deadline);
    }
    free_words(program->run);
    free_words(program->compile);
    free_words(program->env);
    free(program->stdin_data);
    free(program);
}

/* Signals of a program's own; other numbers above 128 are exit codes like any. */
static bool is_death(int code)
{
    static const int signals[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGILL,  SIGTRAP, SIGABRT,
                                  SIGBUS,  SIGFPE,  SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2,
                                  SIGPIPE, SIGALRM, SIGTERM, SIGXCPU, SIGXFSZ, SIGSYS};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        if (code == 128 + signals[i]) {
            return true;
        }
    }
    return false;
}

static void tell(struct program *program)
{
    kiln_outcome outcome = KILN_OUTCOME_INIT;
    const char *phase = program->compiling ? "the compiler" : "the program";
    char message[1000];
    outcome.compile_ms = program->compile_ms;
    outcome.message = message;
    int code = program->code;
    if (program->error[0] != '\0') {
        outcome.status = KILN_STATUS_UNAVAILABLE;
        outcome.name = "ExecFailed";
        snprintf(message, sizeof(message), "%s: %s", phase, program->error);
    } else if (code == 128 + SIGXFSZ) {
        outcome.status = KILN_STATUS_LIMIT;
        outcome.name = "file_size";
        snprintf(message, sizeof(message), "%s reached the limit on file_size", phase);
    } else if (is_death(code)) {
        const char *name = sigabbrev_np(code - 128);
        outcome.status = KILN_STATUS_CRASHED;
        outcome.name = "Signal";
        outcome.signal = code - 128;
        snprintf(message, sizeof(message), "%s died of signal %d (SIG%s)", phase, code - 128,
                 name != NULL ? name : "?");
    } else if (code != 0) {
        outcome.status = KILN_STATUS_ERROR;
        outcome.name = program->compiling ? "CompileError" : "ExitStatus";
        snprintf(message, sizeof(message), "%s exited with status %d", phase, code);
    } else {
        outcome.message = NULL;
    }
    if (program->error[0] == '\0') { /* 128+N is kept beside the signal */
        outcome.has_exit_code = true;
        outcome.exit_code = code;
    }
    program->done(program->user, &outcome);
}

static int begin_phase(struct program *program, char **argv);

/* Nothing of the phase is left. */
static void after_phase(struct program *program)
{
    if (!program->compiling) {
        tell(program);
        return;
    }
    program->compile_ms = now_ms() - program->started_ms;
    if (program->code != 0 || program->error[0] != '\0' || program->killed) {
        tell(program);
        return;
    }
    program->compiling = false;
    if (begin_phase(program, program->run) < 0) {
        snprintf(program->error, sizeof(program->error), "out of memory");
        tell(program);
    }
}

/* ---- what it leaves behind */

/* Files of the session go with it: better than a process that nobody can end. */
static void give_up_box(struct program *program)
{
    box_kill(program->box, "SweepFailed",
             "what the program started could not be killed inside the container, so the "
             "container was; the session's files are lost");
}

static void on_sweep_deadline(void *user)
{
    struct program *program = user;
    program->sweep_deadline = NULL;
    give_up_box(program);
}

static void on_swept(void *user, int exit_code, const char *error)
{
    struct program *program = user;
    const kiln_host *host = program->box->self->host;
    program->sweep = NULL;
    /* 137: the shell, too; where there was nobody to kill, it may say 1. */
    if (error != NULL || (exit_code != 0 && exit_code != 1 && exit_code != 137)) {
        give_up_box(program);
        return;
    }
    if (!program->ended) {
        return; /* the phase's end follows, or the deadline */
    }
    if (program->sweep_deadline != NULL) {
        host->cancel(host, program->sweep_deadline);
        program->sweep_deadline = NULL;
    }
    after_phase(program);
}

/* All processes of the code's user; what holds the box is another's. */
static void sweep(struct program *program)
{
    static char shell[] = "sh", flag[] = "-c", command[] = "kill -9 -1";
    char *const argv[] = {shell, flag, command, NULL};
    const kiln_host *host = program->box->self->host;
    const exec_spec spec = {.argv = argv, .user = program, .on_end = on_swept};
    if (program->sweep != NULL) {
        return;
    }
    program->sweep = exec_start(program->box, &spec);
    if (program->sweep_deadline == NULL) {
        program->sweep_deadline = host->timer(host, SWEEP_MS, on_sweep_deadline, program);
    }
    if (program->sweep == NULL) {
        give_up_box(program);
    }
}

static bool leaves_processes(const struct program *program)
{
    reading now;
    meter_read(&program->box->meter, &now);
    return now.processes == 0 || now.processes > program->box->idle_processes;
}

static void on_end(void *user, int exit_code, const char *error)
{
    struct program *program = user;
    struct box *box = program->box;
    program->exec = NULL;
    program->ended = true;
    program->code = exit_code;
    snprintf(program->error, sizeof(program->error), "%s", error != NULL ? error : "");
    if (error != NULL && !program->killed) {
        /* The container may have gone from under it. */
        box->exec_failed = true;
        box_lost(box, error);
        return;
    }
    if (program->sweep != NULL) {
        return; /* its end goes on */
    }
    if (leaves_processes(program)) {
        sweep(program);
    } else {
        if (program->sweep_deadline != NULL) {
            box->self->host->cancel(box->self->host, program->sweep_deadline);
            program->sweep_deadline = NULL;
        }
        after_phase(program);
    }
}

static void on_output(void *user, uint32_t stream, const char *data, size_t length)
{
    struct program *program = user;
    const kiln_host *host = program->box->self->host;
    const kiln_event event = {.size = sizeof(event),
                              .type = KILN_EVENT_STREAM,
                              .stream = stream,
                              .data = data,
                              .length = length};
    host->emit(host, program->ticket, &event);
}

static int begin_phase(struct program *program, char **argv)
{
    const exec_spec spec = {
        .argv = argv,
        .env = program->env,
        .stdin_data = program->compiling ? NULL : program->stdin_data,
        .stdin_length = program->compiling ? 0 : program->stdin_length,
        .user = program,
        .on_output = on_output,
        .on_end = on_end,
    };
    program->ended = false;
    program->started_ms = now_ms();
    program->exec = exec_start(program->box, &spec);
    return program->exec != NULL ? 0 : -ENOMEM;
}

void program_kill(struct program *program)
{
    program->killed = true;
    sweep(program);
}

/* ---- the beginning */

/* The code's file must not hide one of the user's. */
static bool taken(const kiln_input *input, const char *name)
{
    for (const char *const *file = input->input_files; *file != NULL; file++) {
        if (strcmp(*file, name) == 0) {
            return true;
        }
    }
    return false;
}

int program_begin(struct program *program)
{
    return begin_phase(program, program->compiling ? program->compile : program->run);
}

static char refusal[320]; /* valid until the next: one loop thread */

__attribute__((format(printf, 4, 5))) static struct program *
refuse(kiln_outcome *refused, kiln_status status, const char *name, const char *format, ...)
{
    va_list arguments;
    refused->status = status;
    refused->name = name;
    refused->message = refusal;
    va_start(arguments, format);
    vsnprintf(refusal, sizeof(refusal), format, arguments);
    va_end(arguments);
    return NULL;
}

static struct program *make(struct box *box, const kiln_runtime *runtime, const char *file,
                            const kiln_input *input)
{
    struct program *program = calloc(1, sizeof(*program));
    if (program == NULL) {
        return NULL;
    }
    program->box = box;
    program->compile_ms = -1;
    program->run = make_command(runtime->run, file, input->args);
    program->env = make_command(input->env, "", NULL);
    program->stdin_data = malloc(input->stdin_length + 1);
    if (runtime->compile != NULL) {
        program->compiling = true;
        program->compile = make_command(runtime->compile, file, NULL);
    }
    if (program->run == NULL || program->env == NULL || program->stdin_data == NULL ||
        (program->compiling && program->compile == NULL)) {
        program_free(program);
        return NULL;
    }
    if (input->stdin_length > 0) {
        memcpy(program->stdin_data, input->stdin_data, input->stdin_length);
    }
    program->stdin_length = input->stdin_length;
    return program;
}

struct program *program_start(struct box *box, kiln_session *session, kiln_ticket ticket,
                              const kiln_input *input,
                              void (*done)(void *user, const kiln_outcome *outcome), void *user,
                              kiln_outcome *refused)
{
    backend *self = box->self;
    char name[64], file[80];
    const kiln_runtime *runtime =
        self->runtimes != NULL ? self->runtimes->find(self->host, input->language) : NULL;
    if (runtime == NULL || runtime->run == NULL) {
        return refuse(refused, KILN_STATUS_UNAVAILABLE, "UnknownLanguage",
                      "no [runtime %.60s] with a run command", input->language);
    }
    snprintf(name, sizeof(name), "main%.32s", runtime->extension);
    if (taken(input, name)) {
        return refuse(refused, KILN_STATUS_UNAVAILABLE, "InputFiles",
                      "input file \"%s\" has the name of the code's own file: rename it", name);
    }
    int rc = self->host->write_file(self->host, session, name, input->code, input->code_length,
                                    0644);
    for (int number = 2; rc == -EISDIR && number < 1000; number++) {
        snprintf(name, sizeof(name), "main-%d%.32s", number, runtime->extension);
        rc = self->host->write_file(self->host, session, name, input->code, input->code_length,
                                    0644);
    }
    if (rc < 0) {
        return refuse(refused, rc == -ENOSPC ? KILN_STATUS_LIMIT : KILN_STATUS_UNAVAILABLE,
                      rc == -ENOSPC ? "disk" : "InputFiles", "the code's file: %s",
                      strerror(-rc));
    }
    snprintf(file, sizeof(file), "/work/%s", name);
    struct program *program = make(box, runtime, file, input);
    if (program != NULL) {
        program->ticket = ticket;
        program->done = done;
        program->user = user;
        return program;
    }
    return refuse(refused, KILN_STATUS_UNAVAILABLE, "OutOfMemory", "%s", "out of memory");
}
