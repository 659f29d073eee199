/* exec - a fresh process for each execution, in any [runtime LANGUAGE].
 *
 * The code becomes /work/main.EXT, so that what it includes or imports from the work
 * directory is found beside it; what a compile phase makes is /code/main. Input goes
 * in as files and standard input, never as an argument: no length limit, no quoting. */
#include "command.h"

#include <kiln/plugin.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM "/code/main"

typedef struct job {
    const kiln_host *host;
    kiln_ticket ticket;
    kiln_session *session;
    kiln_limits limits;
    char **run; /* argv, the input's args included */
    char **env;
    char *stdin_data;
    size_t stdin_length;
    bool compiling;
    double compile_ms;
    double compile_cpu_ms;
    uint64_t compile_rss;
} job;

static void free_job(job *self)
{
    command_free(self->run);
    command_free(self->env);
    free(self->stdin_data);
    free(self);
}

static void on_output(void *user, uint32_t stream, const char *data, size_t length)
{
    job *self = user;
    const kiln_event event = {.size = sizeof(event),
                              .type = KILN_EVENT_STREAM,
                              .stream = stream,
                              .data = data,
                              .length = length};
    self->host->emit(self->host, self->ticket, &event);
}

static void on_exit_(void *user, const kiln_exit *exit);

static int spawn(job *self, char **argv)
{
    kiln_process *process;
    const kiln_spawn spec = {
        .size = sizeof(spec),
        .argv = (const char *const *)argv,
        .env = (const char *const *)self->env,
        .stdin_data = self->compiling ? NULL : self->stdin_data,
        .stdin_length = self->compiling ? 0 : self->stdin_length,
        .limits = &self->limits,
        .user = self,
        .on_output = on_output,
        .on_exit = on_exit_,
    };
    return self->host->spawn(self->host, self->session, &spec, &process);
}

/* What the kernel said of the process, in the contract's words. */
static void fill_outcome(const job *self, const kiln_exit *exit, kiln_outcome *outcome,
                         char *message, size_t size)
{
    const char *phase = self->compiling ? "the compiler" : "the program";
    outcome->compile_ms = self->compile_ms;
    outcome->cpu_ms = exit->cpu_ms < 0 ? -1 : exit->cpu_ms + self->compile_cpu_ms;
    outcome->max_rss_bytes =
        exit->max_rss_bytes > self->compile_rss ? exit->max_rss_bytes : self->compile_rss;
    outcome->has_exit_code = exit->error == NULL && exit->exited;
    outcome->exit_code = exit->exit_code;
    outcome->signal = exit->error != NULL || exit->exited ? 0 : exit->signal;
    outcome->message = message;
    if (exit->error != NULL) {
        outcome->status = KILN_STATUS_UNAVAILABLE;
        outcome->name = "SpawnFailed";
        snprintf(message, size, "%s: %s", phase, exit->error);
    } else if (exit->limit != NULL) {
        outcome->status = KILN_STATUS_LIMIT;
        outcome->name = exit->limit;
        snprintf(message, size, "%s reached the limit on %s", phase, exit->limit);
    } else if (exit->timed_out || exit->cpu_exceeded) {
        outcome->status = KILN_STATUS_TIMEOUT;
        outcome->name = exit->cpu_exceeded ? "cpu" : "timeout";
        snprintf(message, size, "%s time of %s was up", exit->cpu_exceeded ? "CPU" : "wall",
                 phase);
    } else if (!exit->exited) {
        const char *name = sigabbrev_np(exit->signal);
        outcome->status = KILN_STATUS_CRASHED;
        outcome->name = "Signal";
        snprintf(message, size, "%s died of signal %d (SIG%s)", phase, exit->signal,
                 name != NULL ? name : "?");
    } else if (exit->exit_code != 0) {
        outcome->status = KILN_STATUS_ERROR;
        outcome->name = self->compiling ? "CompileError" : "ExitStatus";
        snprintf(message, size, "%s exited with status %d", phase, exit->exit_code);
    } else {
        outcome->status = KILN_STATUS_OK;
        outcome->message = NULL;
    }
}

static void finish(job *self, const kiln_exit *exit)
{
    kiln_outcome outcome = KILN_OUTCOME_INIT;
    char message[1200];
    fill_outcome(self, exit, &outcome, message, sizeof(message));
    self->host->complete(self->host, self->ticket, &outcome);
    free_job(self);
}

static void on_exit_(void *user, const kiln_exit *exit)
{
    job *self = user;
    if (!self->compiling) {
        finish(self, exit);
        return;
    }
    self->compile_ms = exit->wall_ms;
    if (exit->error != NULL || !exit->exited || exit->exit_code != 0) {
        finish(self, exit);
        return;
    }
    self->compile_cpu_ms = exit->cpu_ms < 0 ? 0 : exit->cpu_ms;
    self->compile_rss = exit->max_rss_bytes;
    self->compiling = false;
    int rc = spawn(self, self->run);
    if (rc < 0) {
        const kiln_exit failed = {.size = sizeof(failed), .error = strerror(-rc), .cpu_ms = -1};
        finish(self, &failed);
    }
}

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

static int refuse(const kiln_host *host, kiln_ticket ticket, const char *name,
                  const char *message)
{
    kiln_outcome outcome = KILN_OUTCOME_INIT;
    outcome.status = KILN_STATUS_UNAVAILABLE;
    outcome.name = name;
    outcome.message = message;
    return host->complete(host, ticket, &outcome);
}

/* An earlier execution has filled the session's file system: no fault of the backend's. */
static int refuse_for_space(const kiln_host *host, kiln_ticket ticket, const char *file)
{
    char message[256];
    kiln_outcome outcome = KILN_OUTCOME_INIT;
    snprintf(message, sizeof(message),
             "%.80s does not fit in the session's file system, which the session's files fill",
             file);
    outcome.status = KILN_STATUS_LIMIT;
    outcome.name = "disk";
    outcome.message = message;
    return host->complete(host, ticket, &outcome);
}

/* Where the code has put a folder in the place of its own file: main-2.py, and so on. */
static int write_code(const kiln_host *host, kiln_session *session, const kiln_input *input,
                      const char *extension, char *name, size_t size)
{
    enum { NAMES_MAX = 1000 };
    int rc = -EISDIR;
    for (int number = 1; rc == -EISDIR && number <= NAMES_MAX; number++) {
        if (number > 1) {
            snprintf(name, size, "main-%d%.32s", number, extension);
        }
        if (!taken(input, name)) {
            rc = host->write_file(host, session, name, input->code, input->code_length, 0644);
        }
    }
    return rc;
}

static job *new_job(const kiln_host *host, kiln_ticket ticket, kiln_session *session,
                    const kiln_input *input)
{
    job *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return NULL;
    }
    self->host = host;
    self->ticket = ticket;
    self->session = session;
    self->limits = input->limits;
    self->limits.timeout_ms = 0; /* the engine's clock runs over all phases */
    self->compile_ms = -1;
    self->env = command_copy(input->env);
    self->stdin_data = malloc(input->stdin_length + 1);
    if (self->env == NULL || self->stdin_data == NULL) {
        free_job(self);
        return NULL;
    }
    if (input->stdin_length > 0) {
        memcpy(self->stdin_data, input->stdin_data, input->stdin_length);
    }
    self->stdin_length = input->stdin_length;
    return self;
}

static int start(job *self, const kiln_runtime *runtime, const char *file,
                 const kiln_input *input)
{
    self->run = command_make(runtime->run, file, PROGRAM, input->args);
    if (self->run == NULL) {
        return -ENOMEM;
    }
    if (runtime->compile == NULL) {
        return spawn(self, self->run);
    }
    char **compile = command_make(runtime->compile, file, PROGRAM, NULL);
    if (compile == NULL) {
        return -ENOMEM;
    }
    self->compiling = true;
    int rc = spawn(self, compile);
    command_free(compile);
    return rc;
}

static int exec_execute(void *self_, kiln_ticket ticket, kiln_session *session, void *state,
                        const kiln_input *input)
{
    const kiln_host *host = self_;
    const kiln_runtimes *runtimes = host->extension(host, KILN_EXTENSION_RUNTIMES);
    const kiln_runtime *runtime =
        runtimes != NULL ? runtimes->find(host, input->language) : NULL;
    char name[64], file[80], message[256];
    (void)state;
    if (runtime == NULL || runtime->run == NULL) {
        snprintf(message, sizeof(message), "no [runtime %.60s] with a run command",
                 input->language);
        return refuse(host, ticket, "UnknownLanguage", message);
    }
    snprintf(name, sizeof(name), "main%.32s", runtime->extension);
    if (taken(input, name)) {
        snprintf(message, sizeof(message),
                 "input file \"%s\" has the name of the code's own file: rename it", name);
        return refuse(host, ticket, "InputFiles", message);
    }
    int rc = write_code(host, session, input, runtime->extension, name, sizeof(name));
    snprintf(file, sizeof(file), "/work/%s", name);
    if (rc == -ENOSPC) {
        return refuse_for_space(host, ticket, file);
    }
    if (rc < 0) {
        snprintf(message, sizeof(message), "%s: %s", file, strerror(-rc));
        return refuse(host, ticket, "InputFiles", message);
    }
    job *self = new_job(host, ticket, session, input);
    if (self == NULL) {
        return -ENOMEM;
    }
    rc = start(self, runtime, file, input);
    if (rc < 0) {
        free_job(self);
    }
    return rc;
}

static int exec_init(const kiln_host *host, void **self, const char **error)
{
    (void)error;
    *self = (void *)(uintptr_t)host;
    return 0;
}

static const char *const languages[] = {"*", NULL};

static const kiln_plugin exec_plugin = {
    .size = sizeof(kiln_plugin),
    .abi_major = KILN_ABI_MAJOR,
    .abi_minor = KILN_ABI_MINOR,
    .capabilities = KILN_CAP_EXECUTE,
    .name = "exec",
    .version = "1.0",
    .summary = "a fresh confined process for each execution, in any configured runtime",
    .languages = languages,
    .init = exec_init,
    .execute = exec_execute,
};

KILN_PLUGIN(exec_plugin)
