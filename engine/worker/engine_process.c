#include "worker/engine_side.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

struct kiln_process {
    kiln_run run; /* first: kiln_run * is kiln_process * */
    void *user;
    void (*on_output)(void *user, uint32_t stream, const char *data, size_t length);
    void (*on_exit)(void *user, const kiln_exit *exit);
};

static const char *const default_environment[] = {
    "PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp",   "LANG=C.UTF-8", "USER=kiln",
    ("PWD=" KILN_INSIDE_WORK),           "TMPDIR=/tmp",
};

static void on_output(kiln_run *run, uint32_t stream, const char *data, size_t length)
{
    kiln_process *process = (kiln_process *)run;
    process->on_output(process->user, stream, data, length);
}

static void on_exit_(kiln_run *run, const kiln_exit *exit)
{
    kiln_process *process = (kiln_process *)run;
    if (exit->error == NULL) {
        process->on_exit(process->user, exit);
        return;
    }
    kiln_error err = KILN_ERROR_INIT;
    kiln_exit told = *exit;
    kiln_error_set(&err, EINVAL, "could not be %s: %s",
                   run->reported ? "started" : "run to its end", exit->error);
    told.error = err.text;
    process->on_exit(process->user, &told);
}

static void release(kiln_run *run)
{
    free(run->error);
    free(run);
}

static bool is_set(const char *const *env, const char *assignment)
{
    size_t name = strcspn(assignment, "=") + 1;
    for (; env != NULL && *env != NULL; env++) {
        if (strncmp(*env, assignment, name) == 0) {
            return true;
        }
    }
    return false;
}

static int append_string(kiln_buffer *payload, uint32_t *count, const char *string)
{
    ++*count;
    return kiln_buffer_append(payload, string, strlen(string) + 1);
}

/* kiln_control_run, argv, environment. */
static int encode(const kiln_spawn *spawn, kiln_buffer *payload)
{
    kiln_control_run head = {.argc = 0};
    int rc = kiln_buffer_append(payload, &head, sizeof(head));
    for (const char *const *arg = spawn->argv; rc == 0 && *arg != NULL; arg++) {
        rc = append_string(payload, &head.argc, *arg);
    }
    size_t defaults = sizeof(default_environment) / sizeof(default_environment[0]);
    for (size_t i = 0; rc == 0 && i < defaults; i++) {
        if (!is_set(spawn->env, default_environment[i])) {
            rc = append_string(payload, &head.envc, default_environment[i]);
        }
    }
    for (const char *const *entry = spawn->env; rc == 0 && entry != NULL && *entry != NULL;
         entry++) {
        rc = append_string(payload, &head.envc, *entry);
    }
    if (rc == 0) {
        memcpy(payload->data, &head, sizeof(head));
    }
    return rc;
}

/* A file in memory that can be read again and not be written: what the program does
 * to it, and how slowly it reads, is no concern of the loop's. */
static int open_stdin(const kiln_spawn *spawn, kiln_error *err)
{
    if (spawn->stdin_data == NULL || spawn->stdin_length == 0) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return null >= 0 ? null : kiln_error_errno(err, errno, "spawn: /dev/null");
    }
    auto_close int fd = memfd_create("stdin", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return kiln_error_errno(err, errno, "spawn: stdin");
    }
    for (size_t at = 0; at < spawn->stdin_length;) {
        ssize_t n = pwrite(fd, spawn->stdin_data + at, spawn->stdin_length - at, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return kiln_error_errno(err, n < 0 ? errno : EIO, "spawn: stdin");
        }
        at += (size_t)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
        return kiln_error_errno(err, errno, "spawn: stdin");
    }
    return kiln_steal_fd(&fd);
}

int kiln_process_spawn(kiln_sandbox *sandbox, const kiln_spawn *spawn, kiln_process **process,
                       kiln_error *err)
{
    if (spawn->argv == NULL || spawn->argv[0] == NULL) {
        return kiln_error_set(err, EINVAL, "spawn: argv is empty");
    }
    auto_buffer kiln_buffer payload = KILN_BUFFER_INIT;
    auto_free kiln_process *made = calloc(1, sizeof(*made));
    if (made == NULL || encode(spawn, &payload) < 0) {
        return kiln_error_errno(err, ENOMEM, "spawn");
    }
    auto_close int stdin_fd = open_stdin(spawn, err);
    if (stdin_fd < 0) {
        return err->code;
    }
    made->user = spawn->user;
    made->on_output = spawn->on_output;
    made->on_exit = spawn->on_exit;
    made->run.on_output = on_output;
    made->run.on_exit = on_exit_;
    made->run.release = release;
    int rc = kiln_run_start(&made->run, sandbox, KILN_CONTROL_RUN_PROGRAM, spawn->limits,
                            &payload, stdin_fd, -1, err);
    if (rc == 0) {
        *process = kiln_steal(made);
    }
    return rc;
}

void kiln_process_kill(kiln_process *process)
{
    kiln_run_kill(&process->run);
}
