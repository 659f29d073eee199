#include "plugincheck/check-t.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEST_SECONDS = 20, SEQUENCES = 20 };

check_verdict check_failed(check_subject *subject, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(subject->why, sizeof(subject->why), format, arguments);
    va_end(arguments);
    return CHECK_FAILED;
}

check_verdict check_skipped(check_subject *subject, const char *why)
{
    snprintf(subject->why, sizeof(subject->why), "%s", why);
    return CHECK_SKIPPED;
}

/* In the test's own process: never returns. */
static void run_test(check_subject *subject, const check_test *test, int to_parent)
{
    const struct rlimit no_core = {0, 0};
    kiln_error err = KILN_ERROR_INIT;
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(STDERR_FILENO, STDOUT_FILENO); /* TAP is ours alone */
    kiln_log_set_level(KILN_LOG_ERROR);
    alarm(TEST_SECONDS);
    check_verdict verdict;
    if (kiln_plugin_load(subject->path, false, &subject->loaded, &err) < 0) {
        verdict = check_failed(subject, "%s", err.text);
    } else {
        verdict = test->run(subject);
    }
    const char letter = verdict == CHECK_OK ? 'o' : verdict == CHECK_SKIPPED ? 's' : 'f';
    bool told = write(to_parent, &letter, 1) == 1 &&
                write(to_parent, subject->why, strlen(subject->why)) >= 0;
    _exit(told ? 0 : 1);
}

/* What it wrote, or how it ended. */
static check_verdict read_verdict(check_subject *subject, int from_child, pid_t child)
{
    char answer[sizeof(subject->why) + 1] = "";
    size_t used = 0;
    ssize_t got;
    int status = 0;
    while (used < sizeof(answer) - 1 &&
           (got = read(from_child, answer + used, sizeof(answer) - 1 - used)) > 0) {
        used += (size_t)got;
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        int number = WTERMSIG(status);
        return number == SIGALRM
                   ? check_failed(subject, "did not end within %d s", TEST_SECONDS)
                   : check_failed(subject, "died of SIG%s", sigabbrev_np(number));
    }
    if (used == 0 || WEXITSTATUS(status) != 0) {
        return check_failed(subject, "ended its process, with status %d", WEXITSTATUS(status));
    }
    snprintf(subject->why, sizeof(subject->why), "%s", answer + 1);
    return answer[0] == 'o' ? CHECK_OK : answer[0] == 's' ? CHECK_SKIPPED : CHECK_FAILED;
}

static check_verdict run_in_child(check_subject *subject, const check_test *test)
{
    int pipe_fds[2];
    if (pipe(pipe_fds) < 0) {
        return check_failed(subject, "pipe: %s", strerror(errno));
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(pipe_fds[0]);
        run_test(subject, test, pipe_fds[1]);
    }
    close(pipe_fds[1]);
    check_verdict verdict = child < 0 ? check_failed(subject, "fork: %s", strerror(errno))
                                      : read_verdict(subject, pipe_fds[0], child);
    close(pipe_fds[0]);
    return verdict;
}

/* One line of TAP, whatever the plugin's words are. */
static void tell(unsigned number, const char *name, check_verdict verdict, const char *why,
                 bool quiet)
{
    if (quiet && verdict != CHECK_FAILED) {
        return;
    }
    printf("%s %u - %s", verdict == CHECK_FAILED ? "not ok" : "ok", number, name);
    if (verdict == CHECK_SKIPPED) {
        printf(" # SKIP %s", why);
    }
    putchar('\n');
    if (verdict == CHECK_FAILED) {
        fputs("#   ", stdout);
        for (; *why != '\0'; why++) {
            putchar((unsigned char)*why < 0x20 || *why == 0x7f ? ' ' : *why);
        }
        putchar('\n');
    }
}

static int run_all(const char *path, const kiln_plugin_check_options *options)
{
    unsigned number = 0;
    int failed = 0;
    bool whole = true;
    static const check_test *const parts[] = {check_file_tests, check_execution_tests,
                                              check_worker_tests, check_engine_tests, NULL};
    for (const check_test *const *part = parts; *part != NULL; part++) {
        for (const check_test *test = *part; test->name != NULL; test++) {
            check_subject subject = {.path = path, .options = options};
            check_verdict verdict = whole ? run_in_child(&subject, test)
                                          : check_skipped(&subject, "it is not whole");
            tell(++number, test->name, verdict, subject.why, options->quiet);
            failed += verdict == CHECK_FAILED;
            whole = whole && (test != check_file_tests || verdict == CHECK_OK);
        }
    }
    for (int i = 0; i < SEQUENCES; i++) {
        kiln_plugin_check_options seeded = *options;
        char name[64];
        seeded.seed += (uint64_t)i;
        check_subject subject = {.path = path, .options = &seeded};
        check_verdict verdict = whole ? run_in_child(&subject, &check_random)
                                      : check_skipped(&subject, "it is not whole");
        snprintf(name, sizeof(name), "%s (--reproduce %llu)", check_random.name,
                 (unsigned long long)seeded.seed);
        tell(++number, name, verdict, subject.why, options->quiet);
        failed += verdict == CHECK_FAILED;
    }
    printf("1..%u\n", number);
    return failed;
}

int kiln_plugin_check(const char *path, const kiln_plugin_check_options *options,
                      kiln_error *err)
{
    int failed;
    if (access(path, R_OK) < 0) {
        return kiln_error_errno(err, errno, "%s", path);
    }
    if (options->reproduce) {
        check_subject subject = {.path = path, .options = options};
        check_verdict verdict = run_in_child(&subject, &check_random);
        tell(1, check_random.name, verdict, subject.why, false);
        puts("1..1");
        failed = verdict == CHECK_FAILED;
    } else {
        failed = run_all(path, options);
    }
    return fflush(stdout) == 0 ? failed : kiln_error_errno(err, errno, "standard output");
}
