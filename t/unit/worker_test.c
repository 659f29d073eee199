/* Real zygotes, supervisors, programs and workers, confined as in use. This program is
 * its own `kiln worker`: its workers speak a language of a few words, some of which are
 * attacks on the frame socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "family.h"
#include "worker/engine_side.h"
#include "worker/sandboxed.h"
#include "worker/supervisor.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char self_path[PATH_MAX];

/* ------------------------------------------------------- the words of a worker */

static const kiln_worker_host *host;
static volatile sig_atomic_t interrupted;

static void emit(kiln_stream stream, const char *data, size_t length)
{
    host->emit(&(kiln_event){.size = sizeof(kiln_event),
                             .type = KILN_EVENT_STREAM,
                             .stream = stream,
                             .data = data,
                             .length = length});
}

static bool interrupt(void)
{
    interrupted = 1;
    return true;
}

static int preload(const kiln_worker_host *given, const char **error)
{
    host = given;
    const char *mode = host->option("mode");
    if (mode != NULL && strcmp(mode, "broken") == 0) {
        *error = "told to fail";
        return -1;
    }
    if (mode != NULL && strcmp(mode, "hang") == 0) {
        pause();
    }
    return 0;
}

static int start(void)
{
    return 0;
}

static int frame_socket(void)
{
    for (int fd = 3; fd < 256; fd++) {
        struct stat status;
        if (fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode)) {
            return fd;
        }
    }
    return -1;
}

#define NO_FIGURES " 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"

static size_t read_hex(const char *hex, unsigned char *bytes, size_t room)
{
    size_t count = 0;
    char *end;
    for (;;) {
        unsigned long byte = strtoul(hex, &end, 16);
        if (end == hex || count == room) {
            return count;
        }
        bytes[count++] = (unsigned char)byte;
        hex = end;
    }
}

/* "forge 41 05 00 ..." writes just these bytes. */
static void forge(const char *hex)
{
    unsigned char bytes[256];
    size_t count = read_hex(hex, bytes, sizeof(bytes));
    (void)!write(frame_socket(), bytes, count);
    sleep(60);
}

/* "done 01 00 ..." sends a DONE of just these bytes. */
static void forge_done(const char *hex)
{
    unsigned char frame[KILN_FRAME_HEADER + 64];
    size_t length = read_hex(hex, frame + KILN_FRAME_HEADER, 64);
    kiln_frame_header(frame, KILN_FRAME_DONE, (uint32_t)length);
    (void)!write(frame_socket(), frame, KILN_FRAME_HEADER + length);
}

static void wait_for_interrupt(kiln_verdict *verdict)
{
    for (int i = 0; i < 3000 && !interrupted; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    verdict->status = interrupted ? KILN_STATUS_INTERRUPTED : KILN_STATUS_ERROR;
    interrupted = 0;
}

static int cells;

static int execute(const kiln_cell *cell, kiln_verdict *verdict)
{
    const char *code = cell->code;
    cells++;
    if (strncmp(code, "print ", 6) == 0) {
        emit(KILN_STDOUT, code + 6, cell->code_length - 6);
    } else if (strcmp(code, "count") == 0) {
        char text[32];
        emit(KILN_STDERR, text, (size_t)snprintf(text, sizeof(text), "%d", cells));
    } else if (strcmp(code, "stdin") == 0) {
        emit(KILN_STDOUT, cell->stdin_data, cell->stdin_length);
    } else if (strncmp(code, "size ", 5) == 0) {
        char text[32];
        emit(KILN_STDOUT, text, (size_t)snprintf(text, sizeof(text), "%zu", cell->code_length));
    } else if (strcmp(code, "raw") == 0) {
        (void)!write(1, "raw bytes", 9);
    } else if (strcmp(code, "big") == 0) {
        static char big[40 << 20];
        memset(big, 'x', sizeof(big));
        emit(KILN_STDOUT, big, sizeof(big));
    } else if (strcmp(code, "wait") == 0) {
        wait_for_interrupt(verdict);
    } else if (strcmp(code, "exit3") == 0) {
        verdict->status = KILN_STATUS_ERROR;
        verdict->has_exit_code = true;
        verdict->exit_code = 3;
    } else if (strcmp(code, "die") == 0) {
        _exit(0);
    } else if (strcmp(code, "last words") == 0) {
        emit(KILN_STDOUT, "last words", 10);
        _exit(5);
    } else if (strcmp(code, "segv") == 0) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    } else if (strcmp(code, "fork") == 0) {
        fork(); /* both return */
        emit(KILN_STDOUT, "x", 1);
    } else if (strcmp(code, "exec") == 0) {
        execl("/bin/echo", "echo", "another program", (char *)NULL);
    } else if (strcmp(code, "close") == 0) {
        close(frame_socket());
    } else if (strncmp(code, "forge ", 6) == 0) {
        forge(code + 6);
    } else if (strcmp(code, "early done") == 0) {
        forge_done("01 00 00 00 00 00 00 00 0 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0");
    } else if (strncmp(code, "done ", 5) == 0) {
        forge_done(code + 5);
        sleep(60);
    }
    return 0;
}

/* "say": its arguments' text; the others as they are called. */
static int query(const char *name, const char *arguments, size_t length, const char **json)
{
    static char text[256];
    kiln_verdict verdict;
    (void)length;
    if (strcmp(name, "say") == 0) {
        auto_json json_t *object = json_loads(arguments, 0, NULL);
        snprintf(text, sizeof(text), "%s", json_string_value(json_object_get(object, "text")));
        *json = text;
        return 0;
    }
    if (strcmp(name, "noise") == 0) {
        (void)!write(STDOUT_FILENO, "noise", 5);
        emit(KILN_STDOUT, "noise", 5);
        *json = "null";
        return 0;
    }
    if (strcmp(name, "wait") == 0) {
        wait_for_interrupt(&verdict);
        *json = verdict.status == KILN_STATUS_INTERRUPTED ? "\"interrupted\"" : "\"waited\"";
        return 0;
    }
    *json = "no stars";
    return strcmp(name, "fail") == 0 ? -EIO : -ENOTSUP;
}

static int analyze(const char *code, size_t length, const char **json)
{
    (void)length;
    *json = code; /* the test says what the analysis is */
    return 0;
}

static const kiln_worker test_worker = {
    .interrupt = interrupt,
    .size = sizeof(kiln_worker),
    .preload = preload,
    .start = start,
    .execute = execute,
    .analyze = analyze,
    .query = query,
};

static const kiln_worker *load(const char *plugin, kiln_error *err)
{
    if (strcmp(plugin, "words") != 0) {
        kiln_error_set(err, ENOENT, "%s: no such plugin", plugin);
        return NULL;
    }
    return &test_worker;
}

/* ------------------------------------------------------------------- the engine */

enum { PATIENCE_MS = 60000 };

typedef struct run_record {
    kiln_process *process;
    char out[4096], err[4096];
    size_t out_length, err_length; /* counted, also beyond what is kept */
    bool ended;
    kiln_exit exit;
    char error[1024];
} run_record;

typedef struct fixture {
    uv_loop_t loop;
    kiln_zygote *zygote;
    kiln_sandbox *sandbox;
    bool ready;
    int root_fd;
    char ready_error[1024];
} fixture;

static const kiln_limits limits = {
    .size = sizeof(kiln_limits),
    .memory = 256 << 20,
    .processes = 64,
    .disk = 16 << 20,
    .files = 1000,
    .open_files = 128,
};

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
    print_error("nothing happened for %d ms\n", PATIENCE_MS);
    abort();
}

static void run_until(uv_loop_t *loop, const bool *condition)
{
    uv_timer_t timer;
    uv_timer_init(loop, &timer);
    uv_timer_start(&timer, on_patience, PATIENCE_MS, 0);
    while (!*condition) {
        uv_run(loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
}

static kiln_sandbox_policy policy(void)
{
    kiln_sandbox_policy made = {
        .required = KILN_LAYER_NAMESPACES | KILN_LAYER_SECCOMP | KILN_LAYER_NO_NEW_PRIVS,
    };
    if (geteuid() == 0) {
        made.uid_base = 1900000000;
        made.uid_count = 65536;
    }
    return made;
}

static void start_zygote(fixture *f, const char *plugin, const char *const *options)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_zygote_spec spec = {
        .loop = &f->loop,
        .executable = self_path,
        .plugin = plugin,
        .options = options,
        .policy = policy(),
        .log_level = KILN_LOG_ERROR,
    };
    assert_int_equal(uv_loop_init(&f->loop), 0);
    if (kiln_zygote_start(&spec, &f->zygote, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void on_ready(void *user, int root_fd, const kiln_error *err)
{
    fixture *f = user;
    f->ready = true;
    f->root_fd = root_fd;
    snprintf(f->ready_error, sizeof(f->ready_error), "%s", err != NULL ? err->text : "");
}

static void open_sandbox(fixture *f)
{
    kiln_error err = KILN_ERROR_INIT;
    f->ready = false;
    if (kiln_sandbox_open(f->zygote, "test", &limits, on_ready, f, &f->sandbox, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static fixture *setup_with(const char *plugin)
{
    fixture *f = calloc(1, sizeof(*f));
    start_zygote(f, plugin, NULL);
    open_sandbox(f);
    return f;
}

static int setup(void **state)
{
    *state = setup_with(NULL);
    return 0;
}

static int setup_words(void **state)
{
    *state = setup_with("words");
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    if (f->sandbox != NULL) {
        kiln_sandbox_close(f->sandbox);
    }
    kiln_zygote_stop(f->zygote);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&f->loop);
    free(f);
    return rc; /* UV_EBUSY: a handle was forgotten */
}

static void on_output(void *user, uint32_t stream, const char *data, size_t length)
{
    run_record *record = user;
    char *kept = stream == KILN_STDOUT ? record->out : record->err;
    size_t *count = stream == KILN_STDOUT ? &record->out_length : &record->err_length;
    if (*count + length < sizeof(record->out)) {
        memcpy(kept + *count, data, length);
    }
    *count += length;
}

static void on_exit_(void *user, const kiln_exit *exit)
{
    run_record *record = user;
    assert_false(record->ended);
    record->ended = true;
    record->exit = *exit;
    snprintf(record->error, sizeof(record->error), "%s",
             exit->error != NULL ? exit->error : "");
}

static kiln_spawn shell(run_record *record, const char *const argv[])
{
    return (kiln_spawn){
        .size = sizeof(kiln_spawn),
        .argv = argv,
        .user = record,
        .on_output = on_output,
        .on_exit = on_exit_,
    };
}

static void spawn(fixture *f, run_record *record, const kiln_spawn *what)
{
    kiln_error err = KILN_ERROR_INIT;
    if (kiln_process_spawn(f->sandbox, what, &record->process, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void run(fixture *f, run_record *record, const char *script)
{
    *record = (run_record){0};
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    kiln_spawn what = shell(record, argv);
    spawn(f, record, &what);
    run_until(&f->loop, &record->ended);
}

/* Nothing but pid 1 and the shell that looks; /proc shows one's own processes only,
 * which is all that a program of the session can have left. */
static void assert_alone(fixture *f)
{
    run_record record;
    run(f, &record, "n=0; for p in /proc/[0-9]*; do n=$((n+1)); done; echo $n");
    assert_true(record.exit.exited);
    if (strcmp(record.out, "1\n") != 0 && strcmp(record.out, "2\n") != 0) {
        fail_msg("processes left: %s", record.out);
    }
}

/* ------------------------------------------------------------------- programs */

static void exit_codes(void **state)
{
    run_record record;
    run(*state, &record, "exit 0");
    assert_string_equal(record.error, "");
    assert_true(record.exit.exited);
    assert_int_equal(record.exit.exit_code, 0);
    run(*state, &record, "exit 42");
    assert_int_equal(record.exit.exit_code, 42);
    assert_true(record.exit.max_rss_bytes > 0);
}

/* What a program sees of how it was started, by a process made ahead and without one. */
static void from_the_nursery(void **state)
{
    static const char probe[] =
        "echo $PPID $#; ulimit -n; ulimit -f; ulimit -u; ulimit -t; grep -E "
        "'^(Cap|Seccomp:|NoNewPrivs|Sig(Blk|Ign|Cgt)|Uid|Gid|Groups)' /proc/self/status; "
        "ls /proc/self/fd; cat /proc/self/oom_score_adj /proc/self/cgroup; pwd; umask; cat; "
        "echo err >&2; exit 7";
    fixture *f = *state;
    run_record records[2] = {0};
    kiln_limits narrow = limits;
    narrow.open_files = 20;
    narrow.file_size = 1 << 20;
    narrow.processes = 20;
    const char *const argv[] = {"bash", "-c", probe, NULL};
    const char *const env[] = {"X=1", NULL};
    run_until(&f->loop, &f->ready);
    for (int i = 0; i < 2; i++) {
        kiln_spawn what = shell(&records[i], argv);
        what.limits = &narrow;
        what.env = env;
        what.stdin_data = "given\n";
        what.stdin_length = 6;
        if (i == 1) {
            kiln_sandbox_nurse(f->sandbox);
        }
        spawn(f, &records[i], &what);
        run_until(&f->loop, &records[i].ended);
        assert_string_equal(records[i].error, "");
        assert_int_equal(records[i].exit.exit_code, 7);
        assert_string_equal(records[i].err, "err\n");
        assert_non_null(strstr(records[i].out, "given\n"));
    }
    assert_string_equal(records[1].out, records[0].out);

    /* Asked for twice, killed before its time, and told what cannot be executed. */
    run_record record;
    kiln_sandbox_nurse(f->sandbox);
    kiln_sandbox_nurse(f->sandbox);
    kiln_sandbox_kill(f->sandbox);
    run(f, &record, "echo on");
    if (record.exit.exited) { /* else it was the one that was killed */
        assert_string_equal(record.out, "on\n");
    }
    const char *const missing[] = {"no-such-program", NULL};
    record = (run_record){0};
    kiln_spawn what = shell(&record, missing);
    kiln_sandbox_nurse(f->sandbox);
    spawn(f, &record, &what);
    run_until(&f->loop, &record.ended);
    assert_non_null(strstr(record.error, "could not be started: no-such-program: not found"));
    assert_alone(f);
}

static void deaths_by_signal(void **state)
{
    static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGKILL};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        run_record record;
        char script[64];
        snprintf(script, sizeof(script), "kill -%d $$", signals[i]);
        run(*state, &record, script);
        assert_false(record.exit.exited);
        assert_int_equal(record.exit.signal, signals[i]);
        assert_false(record.exit.timed_out);
        assert_null(record.exit.limit);
    }
}

static void not_startable(void **state)
{
    static const char *const names[] = {"no-such-program", "/no/such/program", "/etc/passwd"};
    static const char *const texts[] = {"not found in PATH", "No such file",
                                        "Permission denied"};
    fixture *f = *state;
    for (size_t i = 0; i < 3; i++) {
        run_record record = {0};
        const char *const argv[] = {names[i], NULL};
        kiln_spawn what = shell(&record, argv);
        spawn(f, &record, &what);
        run_until(&f->loop, &record.ended);
        assert_false(record.exit.exited);
        assert_non_null(strstr(record.error, texts[i]));
        assert_non_null(strstr(record.error, "could not be started"));
    }
}

static void streams_apart(void **state)
{
    run_record record;
    run(*state, &record, "echo one; echo two >&2; printf three");
    assert_string_equal(record.out, "one\nthree");
    assert_string_equal(record.err, "two\n");
}

static void order_over_both(void **state)
{
    /* With a pause each chunk is read before the next one is written. */
    run_record record;
    run(*state, &record,
        "for i in 1 2 3; do echo $i; sleep 0.05; echo $i >&2; sleep 0.05; done");
    assert_string_equal(record.out, "1\n2\n3\n");
    assert_string_equal(record.err, "1\n2\n3\n");
}

static void standard_input(void **state)
{
    fixture *f = *state;
    run_record record = {0};
    const char *const argv[] = {"sh", "-c", "cat; echo more >&0; cat < /dev/null", NULL};
    kiln_spawn what = shell(&record, argv);
    what.stdin_data = "given\n";
    what.stdin_length = 6;
    spawn(f, &record, &what);
    run_until(&f->loop, &record.ended);
    assert_string_equal(record.out, "given\n");
    run(f, &record, "cat; test -t 0 || echo no terminal");
    assert_string_equal(record.out, "no terminal\n");
}

static void environment(void **state)
{
    fixture *f = *state;
    run_record record = {0};
    const char *const argv[] = {"/usr/bin/env", NULL};
    const char *const env[] = {"LANG=fr", "A=b", NULL};
    kiln_spawn what = shell(&record, argv);
    what.env = env;
    spawn(f, &record, &what);
    run_until(&f->loop, &record.ended);
    assert_string_equal(record.out, "PATH=/usr/local/bin:/usr/bin:/bin\nHOME=/tmp\nUSER=kiln\n"
                                    "PWD=/work\nTMPDIR=/tmp\nLANG=fr\nA=b\n");
}

static void many_arguments(void **state)
{
    fixture *f = *state;
    enum { COUNT = 1500 };
    static char word[101];
    const char *argv[COUNT + 5] = {"/bin/sh", "-c", "echo $#", "sh"};
    memset(word, 'w', sizeof(word) - 1);
    for (int i = 0; i < COUNT; i++) {
        argv[4 + i] = word; /* 150 KB: does not fit a datagram */
    }
    run_record record = {0};
    kiln_spawn what = shell(&record, argv);
    spawn(f, &record, &what);
    run_until(&f->loop, &record.ended);
    assert_string_equal(record.out, "1500\n");
}

static void no_descriptor_is_inherited(void **state)
{
    run_record record;
    run(*state, &record, "echo /proc/self/fd/*; cat /proc/self/stat | cut -d' ' -f4");
    /* The shell's own: 0, 1, 2, and the folder that it reads. */
    assert_null(strstr(record.out, "/fd/4"));
}

static void flood(void **state)
{
    run_record record;
    run(*state, &record, "head -c 50000000 /dev/zero & head -c 50000000 /dev/zero >&2; wait");
    assert_int_equal(record.out_length, 50000000);
    assert_int_equal(record.err_length, 50000000);
}

static void timeout_ends_the_tree(void **state)
{
    fixture *f = *state;
    run_record record = {0};
    const char *const argv[] = {"sh", "-c",
                                "trap '' TERM INT; setsid sleep 1000 & "
                                "(setsid sh -c 'trap \"\" TERM; sleep 1000' &) ; "
                                "echo before; wait; sleep 1000",
                                NULL};
    kiln_limits with_timeout = limits;
    with_timeout.timeout_ms = 1500; /* enough to get to its echo on a busy machine */
    run_until(&f->loop, &f->ready);
    kiln_spawn what = shell(&record, argv);
    what.limits = &with_timeout;
    spawn(f, &record, &what);
    run_until(&f->loop, &record.ended);
    assert_true(record.exit.timed_out);
    assert_string_equal(record.error, "");
    assert_string_equal(record.out, "before\n");
    assert_alone(f);
}

static void run_limited(fixture *f, run_record *record, const char *script,
                        const kiln_limits *limited)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    *record = (run_record){0};
    kiln_spawn what = shell(record, argv);
    what.limits = limited;
    spawn(f, record, &what);
    run_until(&f->loop, &record->ended);
}

static void cpu_time_is_up(void **state)
{
    run_record record;
    kiln_limits limited = limits;
    limited.cpu_ms = 1000;
    run_limited(*state, &record, "echo before; while :; do :; done", &limited);
    assert_true(record.exit.cpu_exceeded);
    assert_false(record.exit.timed_out);
    assert_string_equal(record.out, "before\n");
    assert_true(record.exit.cpu_ms >= 500);
}

static void memory_is_up(void **state)
{
    fixture *f = *state;
    kiln_cgroup_usage usage;
    run_record record;
    kiln_sandbox_usage(f->sandbox, &usage);
    if (f->sandbox->cgroup == NULL) {
        print_message("no cgroup on this machine: without one nothing tells memory apart\n");
        skip();
    }
    kiln_limits limited = limits;
    limited.memory = 32 << 20;
    run_limited(f, &record,
                "echo before; head -c 200000000 /dev/zero | tail -c 200000000 | wc -c; "
                "exit 1",
                &limited);
    assert_string_equal(record.exit.limit != NULL ? record.exit.limit : "none", "memory");
    assert_int_equal(strncmp(record.out, "before\n", 7), 0);
    run_limited(f, &record, "exit 1", &limited); /* and this one was not */
    assert_null(record.exit.limit);
}

static void file_size_is_up(void **state)
{
    run_record record;
    kiln_limits limited = limits;
    limited.file_size = 4096;
    run_limited(*state, &record, "exec head -c 100000 /dev/zero > /work/large", &limited);
    assert_int_equal(record.exit.signal, SIGXFSZ);
    assert_string_equal(record.exit.limit, "file_size");
}

static void orphans_end_with_the_program(void **state)
{
    run_record record;
    run(*state, &record, "setsid sleep 1000 & (setsid sleep 1000 >/dev/null 2>&1 &); exit 7");
    assert_int_equal(record.exit.exit_code, 7);
    assert_alone(*state);
}

static void attacks_on_the_supervisor(void **state)
{
    run_record record;
    run(*state, &record,
        "kill -KILL 1; kill -STOP 1; kill -STOP $PPID; kill -INT 1; kill -TERM 1; "
        "kill -CHLD 1; kill -SEGV 1; echo alive; kill -KILL -1");
    assert_string_equal(record.out, "alive\n");
    run(*state, &record, "echo again");
    assert_string_equal(record.out, "again\n");
}

static void fork_bomb(void **state)
{
    fixture *f = *state;
    run_record record = {0};
    const char *const argv[] = {"sh", "-c", "b() { b | b & }; b; sleep 1000", NULL};
    kiln_limits with_timeout = limits;
    with_timeout.timeout_ms = 500;
    kiln_spawn what = shell(&record, argv);
    what.limits = &with_timeout;
    spawn(f, &record, &what);
    run_until(&f->loop, &record.ended);
    assert_true(record.exit.timed_out || record.exit.exited);
    assert_alone(f);
}

static void kill_it(void **state)
{
    fixture *f = *state;
    run_record record = {0};
    const char *const argv[] = {"sleep", "1000", NULL};
    kiln_spawn what = shell(&record, argv);
    spawn(f, &record, &what);
    kiln_process_kill(record.process);
    kiln_process_kill(record.process);
    run_until(&f->loop, &record.ended);
    assert_false(record.exit.exited);
    assert_int_equal(record.exit.signal, SIGKILL);
    assert_false(record.exit.timed_out);
    assert_string_equal(record.error, "");
}

static void one_at_a_time(void **state)
{
    fixture *f = *state;
    run_record record = {0};
    kiln_error err = KILN_ERROR_INIT;
    kiln_process *second;
    const char *const argv[] = {"true", NULL};
    kiln_spawn what = shell(&record, argv);
    spawn(f, &record, &what);
    assert_int_equal(kiln_process_spawn(f->sandbox, &what, &second, &err), -EBUSY);
    run_until(&f->loop, &record.ended);
}

static void close_while_running(void **state)
{
    fixture *f = *state;
    run_record record = {0};
    const char *const argv[] = {"sleep", "1000", NULL};
    kiln_spawn what = shell(&record, argv);
    spawn(f, &record, &what);
    run_until(&f->loop, &f->ready);
    kiln_sandbox_close(f->sandbox);
    f->sandbox = NULL;
    assert_true(record.ended);
    assert_int_equal(record.exit.signal, SIGKILL);
}

static void close_before_ready(void **state)
{
    fixture *f = *state;
    run_record record = {0};
    const char *const argv[] = {"sleep", "1000", NULL};
    kiln_spawn what = shell(&record, argv);
    spawn(f, &record, &what);
    kiln_sandbox_close(f->sandbox);
    assert_true(record.ended);
    open_sandbox(f); /* the zygote is starting still, or ready */
    kiln_sandbox_close(f->sandbox);
    open_sandbox(f);
    run_until(&f->loop, &f->ready);
    assert_string_equal(f->ready_error, "");
}

static void parallel(void **state)
{
    enum { COUNT = 20 };
    fixture *f = *state;
    kiln_sandbox *sandboxes[COUNT];
    run_record records[COUNT] = {0};
    const char *const argv[] = {"sh", "-c", "echo $PPID > id; cat id; ls /work | wc -l", NULL};
    for (int i = 0; i < COUNT; i++) {
        kiln_error err = KILN_ERROR_INIT;
        kiln_spawn what = shell(&records[i], argv);
        assert_int_equal(
            kiln_sandbox_open(f->zygote, "many", &limits, on_ready, f, &sandboxes[i], &err), 0);
        assert_int_equal(kiln_process_spawn(sandboxes[i], &what, &records[i].process, &err), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        run_until(&f->loop, &records[i].ended);
        assert_string_equal(records[i].error, "");
        assert_string_equal(records[i].out, "1\n1\n"); /* its own init and folder */
    }
    for (int i = 0; i < COUNT; i++) {
        kiln_sandbox_close(sandboxes[i]);
    }
}

static void root_fd_is_the_work_directory(void **state)
{
    fixture *f = *state;
    run_record record;
    run(f, &record, "echo hello > /work/made");
    assert_true(f->ready);
    auto_close int fd = openat(kiln_sandbox_root_fd(f->sandbox), "work/made", O_RDONLY);
    char text[16] = "";
    assert_true(fd >= 0);
    assert_int_equal(read(fd, text, sizeof(text)), 6);
}

/* ---------------------------------------------------------------- deaths of others */

static void zygote_dies_and_is_started_again(void **state)
{
    fixture *f = *state;
    run_record record = {0};
    const char *const argv[] = {"sh", "-c", "echo up; sleep 1000", NULL};
    kiln_spawn what = shell(&record, argv);
    spawn(f, &record, &what);
    while (record.out_length == 0) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    kill(f->zygote->pid, SIGKILL);
    run_until(&f->loop, &record.ended);
    assert_non_null(strstr(record.error, "died"));
    kiln_sandbox_close(f->sandbox);
    while (kiln_zygote_failure(f->zygote) == NULL) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    open_sandbox(f);
    run(f, &record, "echo again");
    assert_string_equal(record.out, "again\n");
}

/* Counts the processes on this machine with `marker` among their arguments. */
static int count_processes(const char *marker)
{
    int count = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        char path[300];
        char text[4096];
        snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
        int fd = isdigit((unsigned char)entry->d_name[0]) ? open(path, O_RDONLY) : -1;
        if (fd >= 0) {
            ssize_t n = read(fd, text, sizeof(text));
            count += n > 0 && memmem(text, (size_t)n, marker, strlen(marker)) != NULL;
            close(fd);
        }
    }
    closedir(proc);
    return count;
}

static void the_spare_dies(void **state)
{
    fixture *f = *state;
    run_record record = {0};
    run(f, &record, "echo one");
    assert_true(family_kill(getpid(), "kiln-spare", "kiln-spawner"));
    kiln_sandbox_close(f->sandbox);
    open_sandbox(f);
    run(f, &record, "echo another");
    assert_string_equal(record.out, "another\n");
}

static void engine_killed(void **state)
{
    (void)state;
    char marker[64];
    int ready[2];
    snprintf(marker, sizeof(marker), "1000.%d", (int)getpid());
    assert_int_equal(pipe(ready), 0);
    fflush(NULL);
    pid_t engine = fork();
    if (engine == 0) {
        fixture *f = setup_with(NULL);
        run_record record = {0};
        const char *const argv[] = {"sh", "-c", "setsid sleep \"$0\" & echo up; wait", marker,
                                    NULL};
        kiln_spawn what = shell(&record, argv);
        spawn(f, &record, &what);
        while (record.out_length == 0) {
            uv_run(&f->loop, UV_RUN_ONCE);
        }
        char pid[32];
        int length = snprintf(pid, sizeof(pid), "%d", (int)f->zygote->pid);
        (void)!write(ready[1], pid, (size_t)length);
        pause();
        _exit(0);
    }
    char pid[32] = "";
    assert_true(read(ready[0], pid, sizeof(pid) - 1) > 0);
    assert_true(count_processes(marker) > 0);
    kill(engine, SIGKILL);
    waitpid(engine, NULL, 0);
    int left = 1;
    for (int i = 0; i < 1000 && left > 0; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        left = count_processes(marker) + (kill(atoi(pid), 0) == 0);
    }
    assert_int_equal(left, 0);
    close(ready[0]);
    close(ready[1]);
}

static int count_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

static void descriptors_do_not_leak(void **state)
{
    (void)state;
    int before = count_descriptors();
    for (int i = 0; i < 3; i++) {
        void *f = setup_with(i == 1 ? "words" : NULL);
        run_record record;
        run(f, &record, "echo x; echo y >&2");
        assert_string_equal(record.out, "x\n");
        assert_int_equal(teardown(&f), 0);
    }
    assert_int_equal(count_descriptors(), before);
}

static void zygote_that_cannot_start(void **state)
{
    (void)state;
    static const char *const broken[] = {"mode=broken", NULL};
    static const struct {
        const char *plugin;
        const char *const *options;
        const char *text;
    } cases[] = {{"absent", NULL, "no such plugin"}, {"words", broken, "told to fail"}};
    for (size_t i = 0; i < 2; i++) {
        fixture *f = calloc(1, sizeof(*f));
        start_zygote(f, cases[i].plugin, cases[i].options);
        open_sandbox(f);
        run_until(&f->loop, &f->ready);
        assert_int_equal(f->root_fd, -1);
        assert_non_null(strstr(f->ready_error, cases[i].text));
        assert_non_null(strstr(kiln_zygote_failure(f->zygote), cases[i].text));
        void *freed = f;
        assert_int_equal(teardown(&freed), 0);
    }
}

static void stop_while_preloading(void **state)
{
    (void)state;
    static const char *const hang[] = {"mode=hang", NULL};
    fixture *f = calloc(1, sizeof(*f));
    start_zygote(f, "words", hang);
    open_sandbox(f);
    for (int i = 0; i < 5; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    void *freed = f;
    assert_int_equal(teardown(&freed), 0);
}

/* --------------------------------------------------------------------- workers */

typedef struct guest_record {
    kiln_guest *guest;
    run_record run; /* streams, exit */
    bool answered;  /* done, analysis or exit */
    bool done;
    kiln_verdict verdict;
    char analysis[256];
    char reply[256];
} guest_record;

static void on_guest_event(void *user, const kiln_event *event)
{
    guest_record *record = user;
    assert_int_equal(event->type, KILN_EVENT_STREAM);
    on_output(&record->run, event->stream, event->data, event->length);
}

static void on_guest_done(void *user, const kiln_verdict *verdict, double cpu_ms,
                          uint64_t max_rss_bytes)
{
    guest_record *record = user;
    assert_true(cpu_ms >= 0);
    assert_true(max_rss_bytes > 0);
    record->done = true;
    record->answered = true;
    record->verdict = *verdict;
}

static void on_guest_analysis(void *user, json_t *analysis)
{
    guest_record *record = user;
    auto_free char *text = json_dumps(analysis, JSON_COMPACT);
    snprintf(record->analysis, sizeof(record->analysis), "%s", text);
    record->answered = true;
}

static void on_guest_reply(void *user, json_t *reply, const char *error)
{
    guest_record *record = user;
    auto_free char *text =
        reply != NULL ? json_dumps(reply, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    snprintf(record->reply, sizeof(record->reply), "%s", text != NULL ? text : error);
    record->answered = true;
}

static void on_guest_exit(void *user, const kiln_exit *exit)
{
    guest_record *record = user;
    on_exit_(&record->run, exit);
    record->answered = true;
}

static void start_guest(fixture *f, guest_record *record)
{
    static const kiln_guest_callbacks callbacks = {.on_event = on_guest_event,
                                                   .on_done = on_guest_done,
                                                   .on_analysis = on_guest_analysis,
                                                   .on_exit = on_guest_exit,
                                                   .on_reply = on_guest_reply};
    kiln_error err = KILN_ERROR_INIT;
    *record = (guest_record){0};
    if (kiln_guest_start(f->sandbox, NULL, &callbacks, record, &record->guest, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void begin_cell(guest_record *record, const char *code, size_t length)
{
    static const char *const none[] = {NULL};
    kiln_error err = KILN_ERROR_INIT;
    kiln_input input = {
        .size = sizeof(input),
        .session_id = "s",
        .code = code,
        .code_length = length,
        .language = "words",
        .stdin_data = "typed\n",
        .stdin_length = 6,
        .args = none,
        .env = none,
        .input_files = none,
        .execution_count = 1,
    };
    record->answered = record->done = false;
    memset(&record->run, 0, sizeof(record->run));
    if (kiln_guest_execute(record->guest, &input, &err) < 0) {
        fail_msg("%s: %s", code, err.text);
    }
}

static void cell(fixture *f, guest_record *record, const char *code)
{
    begin_cell(record, code, strlen(code));
    run_until(&f->loop, &record->answered);
}

static void cells_keep_state(void **state)
{
    static guest_record record; /* its worker ends in teardown */
    start_guest(*state, &record);
    cell(*state, &record, "print hello"); /* asked before the zygote was there */
    assert_true(record.done);
    assert_int_equal(record.verdict.status, KILN_STATUS_OK);
    assert_false(record.verdict.has_exit_code);
    assert_string_equal(record.run.out, "hello");
    cell(*state, &record, "count");
    assert_string_equal(record.run.err, "2");
    cell(*state, &record, "stdin");
    assert_string_equal(record.run.out, "typed\n");
    cell(*state, &record, "exit3");
    assert_int_equal(record.verdict.status, KILN_STATUS_ERROR);
    assert_int_equal(record.verdict.exit_code, 3);
    cell(*state, &record, "count");
    assert_string_equal(record.run.err, "5");
}

static void large_both_ways(void **state)
{
    fixture *f = *state;
    static guest_record record; /* its worker ends in teardown */
    size_t length = 5 << 20;
    auto_free char *code = malloc(length + 1);
    memset(code, ' ', length);
    memcpy(code, "size ", 5);
    code[length] = '\0';
    start_guest(f, &record);
    begin_cell(&record, code, length);
    run_until(&f->loop, &record.answered);
    assert_string_equal(record.run.out, "5242880");
    cell(f, &record, "big");
    assert_true(record.done);
    assert_int_equal(record.run.out_length, 40 << 20);
}

static void raw_writes_come_before_done(void **state)
{
    static guest_record record; /* its worker ends in teardown */
    start_guest(*state, &record);
    for (int i = 0; i < 50; i++) {
        cell(*state, &record, "raw");
        assert_true(record.done);
        assert_string_equal(record.run.out, "raw bytes");
    }
}

static void interrupt_keeps_the_worker(void **state)
{
    fixture *f = *state;
    static guest_record record; /* its worker ends in teardown */
    start_guest(f, &record);
    for (int i = 0; i < 20; i++) {
        begin_cell(&record, "wait", 4);
        if (i % 2 == 1) {
            uv_run(&f->loop, UV_RUN_NOWAIT);
            nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        }
        kiln_guest_interrupt(record.guest); /* may well overtake the cell */
        run_until(&f->loop, &record.answered);
        assert_true(record.done);
        assert_int_equal(record.verdict.status, KILN_STATUS_INTERRUPTED);
        kiln_guest_interrupt(record.guest); /* idle: nothing to interrupt */
        cell(f, &record, "print on");
        assert_true(record.done);
        assert_string_equal(record.run.out, "on");
    }
}

static void ends_of_a_worker(void **state)
{
    fixture *f = *state;
    static guest_record record; /* its worker ends in teardown */
    start_guest(f, &record);
    cell(f, &record, "die");
    assert_false(record.done);
    assert_true(record.run.ended && record.run.exit.exited);
    assert_string_equal(record.run.error, "");
    start_guest(f, &record); /* the sandbox goes on */
    cell(f, &record, "last words");
    assert_int_equal(record.run.exit.exit_code, 5);
    assert_string_equal(record.run.out, "last words");
    start_guest(f, &record);
    cell(f, &record, "segv");
    assert_int_equal(record.run.exit.signal, SIGSEGV);
    start_guest(f, &record);
    cell(f, &record, "exec");
    assert_true(record.run.exit.exited);
    assert_string_equal(record.run.out, "another program\n");
    start_guest(f, &record);
    cell(f, &record, "close"); /* then its DONE has nowhere to go */
    assert_true(record.run.ended && !record.done);
    start_guest(f, &record);
    begin_cell(&record, "wait", 4);
    kiln_guest_kill(record.guest);
    run_until(&f->loop, &record.answered);
    assert_int_equal(record.run.exit.signal, SIGKILL);
}

static void both_return_from_fork(void **state)
{
    static guest_record record; /* its worker ends in teardown */
    start_guest(*state, &record);
    cell(*state, &record, "fork");
    assert_true(record.done);
    cell(*state, &record, "count");
    assert_true(record.done);
    assert_string_equal(record.run.err, "2");
}

static void forged_frames(void **state)
{
    fixture *f = *state;
    static const char *const cells_[] = {
        "forge 00 00 00 00 00 01 00 00",       /* no such type */
        "forge 00 00 00 00 01 01 00 00",       /* EXECUTE goes the other way */
        "forge 00 00 00 00 41 02 00 00",       /* version */
        "forge 00 00 00 00 41 01 01 00",       /* reserved */
        "forge ff ff ff ff 41 01 00 00",       /* length */
        "forge 00 00 00 00 52 01 00 00",       /* READY again */
        "forge 01 00 00 00 53 01 00 00 78",    /* FAILED after READY */
        "forge 02 00 00 00 51 01 00 00 7b 7d", /* ANALYSIS unasked */
        "forge 02 00 00 00 54 01 00 00 7b 7d", /* REPLY unasked */
        "forge 01 00 40 00 54 01 00 00 7b 7d", /* REPLY of more than 4 MiB */
        "forge 02 00 00 00 50 01 00 00 7b 7d", /* DONE of another shape */
        "done 7b 7d",
        "done 02 00 00 00 00 00 00 00" NO_FIGURES,                /* of another cell */
        "done 01 00 00 00 03 00 00 00" NO_FIGURES,                /* no such status */
        "done 01 00 00 00 00 02 00 00" NO_FIGURES,                /* neither with nor without */
        "done 01 00 00 00 00 00 07 00" NO_FIGURES,                /* a code that is none */
        "done 01 00 00 00 00 00 00 02" NO_FIGURES,                /* neither read nor unread */
        "done 01 00 00 00 00 00 00 00" NO_FIGURES " 00",          /* a byte more */
        "done 01 00 00 00 00 00 00 00 0 0 0 0 0 0 0 0 0 0 0 0 0", /* some less */
        "done 01 00 00 00 00 00 00 00 0 0 0 0 0 0 0 80 0 0 0 0 0 0 0 0", /* CPU time */
        "done 01 00 00 00 00 00 00 00 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 ff", /* memory */
    };
    for (size_t i = 0; i < sizeof(cells_) / sizeof(cells_[0]); i++) {
        guest_record record;
        start_guest(f, &record);
        cell(f, &record, cells_[i]);
        if (record.done || strncmp(record.run.error, "bad frame: ", 11) != 0) {
            fail_msg("%s: %s", cells_[i], record.run.error);
        }
    }
    /* A forged verdict ends the cell; the true one then comes while idle. */
    static guest_record record; /* its worker ends in teardown */
    start_guest(f, &record);
    cell(f, &record, "early done");
    assert_true(record.done);
    run_until(&f->loop, &record.run.ended);
    assert_string_equal(record.run.error, "bad frame: DONE while no cell runs");
    assert_alone(f);
}

static void analyses(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *json;
        bool good;
    } cases[] = {
        {"{\"imports\":[\"os\"],\"import_lines\":[],\"names\":[],\"calls\":[],\"error\":null}",
         true},
        {"{\"error\":{\"name\":\"E\",\"message\":\"m\",\"line\":1,\"column\":2}}", true},
        {"[]", false},
        {"{\"imports\":[1]}", false},
        {"{\"error\":\"text\"}", false},
        {"{}},\"x\":{", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        guest_record record;
        kiln_error err = KILN_ERROR_INIT;
        start_guest(f, &record);
        assert_int_equal(
            kiln_guest_analyze(record.guest, cases[i].json, strlen(cases[i].json), &err), 0);
        assert_int_equal(kiln_guest_analyze(record.guest, "", 0, &err), -EBUSY);
        run_until(&f->loop, &record.answered);
        if (cases[i].good) {
            assert_string_equal(record.analysis, cases[i].json);
            kiln_guest_kill(record.guest);
            run_until(&f->loop, &record.run.ended);
        } else {
            assert_non_null(strstr(record.run.error, "bad frame"));
        }
    }
}

static void ask(fixture *f, guest_record *record, const char *name, const char *text)
{
    kiln_error err = KILN_ERROR_INIT;
    auto_json json_t *arguments = json_pack("{s:s}", "text", text);
    record->answered = false;
    assert_int_equal(kiln_guest_query(record->guest, name, arguments, &err), 0);
    assert_int_equal(kiln_guest_query(record->guest, name, arguments, &err), -EBUSY);
    if (strcmp(name, "wait") == 0) {
        kiln_guest_interrupt(record->guest);
    }
    run_until(&f->loop, &record->answered);
}

static void queries(void **state)
{
    fixture *f = *state;
    static guest_record record; /* its worker ends in teardown */
    static const char *const asked[][3] = {
        {"say", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"fail", "", "no stars"},
        {"nothing", "", "this backend does not know such a query"},
        {"wait", "", "\"interrupted\""},
        {"noise", "", "null"},
    };
    static const char *const bad[] = {"1},\"x\":{", "1,\"more\":2", "not JSON", ""};
    start_guest(f, &record);
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        ask(f, &record, asked[i][0], asked[i][1]);
        assert_string_equal(record.reply, asked[i][2]);
    }
    cell(f, &record, "print on"); /* of the noise nothing is left */
    assert_string_equal(record.run.out, "on");
    kiln_guest_kill(record.guest);
    run_until(&f->loop, &record.run.ended);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        start_guest(f, &record);
        ask(f, &record, "say", bad[i]);
        assert_non_null(strstr(record.run.error, "bad frame"));
    }
}

#define PROGRAM(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define WORDS(test)   cmocka_unit_test_setup_teardown(test, setup_words, teardown)

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
    kiln_error err = KILN_ERROR_INIT;
    (void)kiln_cgroup_init(&err); /* where there is none, the tests go without */
    const struct CMUnitTest tests[] = {
        PROGRAM(exit_codes),
        PROGRAM(deaths_by_signal),
        PROGRAM(from_the_nursery),
        PROGRAM(not_startable),
        PROGRAM(streams_apart),
        PROGRAM(order_over_both),
        PROGRAM(standard_input),
        PROGRAM(environment),
        PROGRAM(many_arguments),
        PROGRAM(no_descriptor_is_inherited),
        PROGRAM(flood),
        PROGRAM(timeout_ends_the_tree),
        PROGRAM(cpu_time_is_up),
        PROGRAM(memory_is_up),
        PROGRAM(file_size_is_up),
        PROGRAM(orphans_end_with_the_program),
        PROGRAM(attacks_on_the_supervisor),
        PROGRAM(fork_bomb),
        PROGRAM(kill_it),
        PROGRAM(one_at_a_time),
        PROGRAM(close_while_running),
        PROGRAM(close_before_ready),
        PROGRAM(parallel),
        PROGRAM(root_fd_is_the_work_directory),
        PROGRAM(zygote_dies_and_is_started_again),
        PROGRAM(the_spare_dies),
        cmocka_unit_test(engine_killed),
        cmocka_unit_test(descriptors_do_not_leak),
        cmocka_unit_test(zygote_that_cannot_start),
        cmocka_unit_test(stop_while_preloading),
        WORDS(cells_keep_state),
        WORDS(large_both_ways),
        WORDS(raw_writes_come_before_done),
        WORDS(interrupt_keeps_the_worker),
        WORDS(ends_of_a_worker),
        WORDS(both_return_from_fork),
        WORDS(forged_frames),
        WORDS(analyses),
        WORDS(queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
