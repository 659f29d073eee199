/* config_test.c - the INI: every fault has its line, and every value its meaning. */
#include "config/config.h"
#include "config/store.h"

#include "base/buffer.h"
#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ------------------------------------------------------------------ loading */

static kiln_config *loads_bytes(const char *text, size_t length)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config = NULL;
    if (kiln_config_load_memory("k.ini", text, length, &config, &err) < 0) {
        fail_msg("not loaded: %s", err.text);
    }
    return config;
}

static kiln_config *loads(const char *text)
{
    return loads_bytes(text, strlen(text));
}

static void refuses_bytes(const char *text, size_t length, const char *want)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config = NULL;
    if (kiln_config_load_memory("k.ini", text, length, &config, &err) == 0) {
        kiln_config_free(config);
        fail_msg("loaded, and should not be: %s", want);
    }
    assert_true(err.code < 0);
    assert_null(config);
    assert_string_equal(err.text, want);
}

static void refuses(const char *text, const char *want)
{
    refuses_bytes(text, strlen(text), want);
}

/* From the environment and --set alone. */
static int load_from(const char *const *environ_, const char *const *set, kiln_config **config,
                     kiln_error *err)
{
    const kiln_config_sources sources = {.file = "", .environ_ = environ_, .set = set};
    return kiln_config_load(&sources, config, err);
}

static void refuses_environment(const char *variable, const char *want)
{
    const char *const environ_[] = {"HOME=/", variable, NULL};
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config = NULL;
    assert_int_equal(load_from(environ_, NULL, &config, &err), -EINVAL);
    assert_string_equal(err.text, want);
}

static void refuses_set(const char *assignment, const char *want)
{
    const char *const set[] = {assignment, NULL};
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config = NULL;
    assert_int_equal(load_from(NULL, set, &config, &err), -EINVAL);
    assert_string_equal(err.text, want);
}

/* -------------------------------------------------------------------- lines */

static void test_malformed_lines(void **state)
{
    (void)state;
    refuses("\n[limits\nmemory = 1G\n", "k.ini:2: the section's name has no end, write [NAME]");
    refuses("[]\n", "k.ini:1: the section has no name, write [NAME]");
    refuses("[ \t ]\n", "k.ini:1: the section has no name, write [NAME]");
    refuses("[limits] ; a\n",
            "k.ini:1: text after the section's \"]\"; a comment has a line to itself");
    refuses("[limits]]\n",
            "k.ini:1: text after the section's \"]\"; a comment has a line to itself");
    refuses("[limits]\nmemory\n",
            "k.ini:2: \"memory\" is no `key = value`; a value is one line, "
            "and a comment begins with #");
    refuses("[limits]\nmemory: 1G\n", "k.ini:2: \":\" after \"memory\", write \"=\"");
    refuses("[limits]\n = 1G\n", "k.ini:2: no key before the \"=\", write `key = value`");
    refuses("[limits]\nmem ory = 1G\n",
            "k.ini:2: \"mem ory\" is no key: at most 64 letters, digits, _ and -");
    refuses("memory = 1G\n",
            "k.ini:1: \"memory\" before the first section; put it below a [section]");
    /* Python's and inih's way of going on with a value is no way here. */
    refuses("[engine]\nbackends = exec\n  noop\n",
            "k.ini:3: \"noop\" is no `key = value`; a value is one line, and a comment begins "
            "with #");
    refuses("[policy 0123456789012345678901234567890123456789012345678901234567890]\n",
            "k.ini:1: the section's name is longer than 49 bytes, choose a shorter one");
}

static void test_bytes(void **state)
{
    (void)state;
    static const char nul[] = "[limits]\nmemory = 1\0G\n";
    refuses_bytes(nul, sizeof(nul) - 1, "k.ini:2: a NUL byte; save the file as UTF-8 text");
    static const char utf16[] = "\xff\xfe[\0l\0";
    refuses_bytes(utf16, sizeof(utf16) - 1, "k.ini:1: a NUL byte; save the file as UTF-8 text");
    refuses("[sandbox]\nenv = A=\xff\xfe\n",
            "k.ini:2: bytes that are not UTF-8; write it in UTF-8");
    refuses("# \xc0\xaf\n", "k.ini:1: bytes that are not UTF-8; write it in UTF-8");
    refuses("[limits]\nmemory = \x1b[31m\n", "k.ini:2: a control character; take it out");
    refuses("[limits]\rmemory = 1G\r",
            "k.ini:1: a carriage return inside the line; end lines with a newline");
    refuses("\n\xef\xbb\xbf[limits]\n",
            "k.ini:2: \"\xef\xbb\xbf[limits]\" is no `key = value`; a value is one line, and a "
            "comment begins with #");
}

static void test_bom_and_crlf(void **state)
{
    (void)state;
    kiln_config *config = loads("\xef\xbb\xbf[limits]\r\nmemory = 2G\r\n\r\n; x\r\ncpu = 5s");
    assert_int_equal(kiln_config_size(config, "limits", "memory"), 2LL << 30);
    assert_int_equal(kiln_config_duration(config, "limits", "cpu"), 5000);
    kiln_config_free(config);
    kiln_config_free(loads("\xef\xbb\xbf"));
    kiln_config_free(loads(""));
    kiln_config_free(loads("\r\n"));
}

static void test_long_lines(void **state)
{
    (void)state;
    char text[10100];
    size_t used = (size_t)snprintf(text, sizeof(text), "[sandbox]\nenv = A=");
    memset(text + used, 'x', 10000);
    refuses_bytes(text, used + 10000,
                  "k.ini:2: a line of 10008 bytes, at most 4096 are read; make it shorter");
    refuses_bytes(text, used + 4050,
                  "k.ini:2: a value of 4052 bytes, at most 4000 are read; make it shorter");
    /* Far beyond inih's own 200, and whole. */
    kiln_config *config = loads_bytes(text, used + 3998);
    assert_int_equal(strlen(kiln_config_string(config, "sandbox", "env")), 4000);
    kiln_config_free(config);
    text[0] = '#';
    refuses_bytes(text, 9 + 5000,
                  "k.ini:2: a line of 4999 bytes, at most 4096 are read; make "
                  "it shorter");
}

static void test_values_are_kept_whole(void **state)
{
    (void)state;
    kiln_config *config =
        loads("[sandbox]\n"
              "  env\t=  A=1;2 \"B=x ; y # z\" 'C=[q]=:' D=\\\"  \n"
              "[ runtime\t x ]\n"
              "extensions=.x\n"
              "run = /bin/x \"a b\" '' c\\ d \"\\\"\" {file} ; not a comment\n");
    const char *const *env = kiln_config_list(config, "sandbox", "env");
    assert_string_equal(env[0], "A=1;2");
    assert_string_equal(env[1], "B=x ; y # z");
    assert_string_equal(env[2], "C=[q]=:");
    assert_string_equal(env[3], "D=\"");
    assert_null(env[4]);
    static const char *const want[] = {"/bin/x", "a b", "",  "c d",     "\"", "{file}",
                                       ";",      "not", "a", "comment", NULL};
    const char *const *run = kiln_config_words(config, "runtime x", "run");
    for (size_t i = 0; want[i] != NULL; i++) {
        assert_string_equal(run[i], want[i]);
    }
    assert_null(run[10]);
    assert_null(kiln_config_words(config, "runtime x", "compile"));
    kiln_config_free(config);
    refuses(
        "[runtime x]\nextensions = .x\nrun = a \"b {file}\n",
        "k.ini:3: run = \"a \"b {file}\" a \" that is never closed; close it, or write \\\"");
    refuses("[sandbox]\nenv = A=1\\\n",
            "k.ini:2: env = \"A=1\\\" a backslash at the end; write "
            "\\\\ for one");
    refuses("[limits]\ntimeout = 30s ; half a minute\n",
            "k.ini:2: timeout = \"30s ; half a minute\" has an unknown unit \"s ; half a "
            "minute\"; write it like 500ms, 30s, 5m, 2h or 1d");
}

/* ------------------------------------------------------------ keys, sections */

static void test_unknown_and_duplicate(void **state)
{
    (void)state;
    refuses("[limits]\nmemroy = 1G\n",
            "k.ini:2: unknown key \"memroy\" in [limits], did you mean \"memory\"?");
    refuses("[limits]\nMemory = 1G\n",
            "k.ini:2: unknown key \"Memory\" in [limits], did you mean \"memory\"?");
    refuses("[engine]\nmemory = 1G\n",
            "k.ini:2: unknown key \"memory\" in [engine], it belongs in [limits]");
    refuses("[limits]\nbananas = 3\n",
            "k.ini:2: unknown key \"bananas\" in [limits], see `kiln config --reference`");
    refuses("[limits]\n\nmemory = 1G\nmemory = 1G\n",
            "k.ini:4: \"memory\" in [limits] again, it is set at k.ini:3; keep one");
    refuses("[policy route]\nx = 1\nx = 2\n",
            "k.ini:3: \"x\" in [policy route] again, it is set at k.ini:2; keep one");
    refuses("[limits]\n[engine]\n[limits]\n",
            "k.ini:3: [limits] again, it begins at line 1; put all its keys there");
    refuses("[policy a]\n[policy  a]\n",
            "k.ini:2: [policy a] again, it begins at line 1; put all its keys there");
    refuses("[limit]\n", "k.ini:1: unknown section [limit], did you mean [limits]?");
    refuses("[polcy route]\n",
            "k.ini:1: unknown section [polcy route], did you mean [policy route]?");
    refuses("[Runtime]\n",
            "k.ini:1: unknown section [Runtime], did you mean [runtime LANGUAGE]?");
    refuses("[fruit]\n", "k.ini:1: unknown section [fruit]; there are engine, limits, sandbox, "
                         "chain NAME, policy NAME, backend NAME, runtime LANGUAGE, "
                         "connection NAME, native NAME");
    refuses("[policy]\n", "k.ini:1: [policy] needs a name, write [policy NAME]");
    refuses("[limits x]\n", "k.ini:1: [limits x] takes no name, write [limits]");
    refuses("[policy ../x]\n",
            "k.ini:1: \"../x\" is no name for a policy: letters, digits, _ - + #");
    refuses("[limits]\ninclude = x\n",
            "k.ini:2: \"include\" in [limits], it belongs before the first section");
    refuses("include = x\n", "k.ini:1: include works in files only");
}

/* -------------------------------------------------------------------- values */

static void test_numbers(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"memory = 1g", "memory = \"1g\" has an unknown unit \"g\"; write it like 512B, 64K, "
                        "512M, 1G or 1T"},
        {"memory = 30s", "memory = \"30s\" has an unknown unit \"s\"; write it like 512B, 64K, "
                         "512M, 1G or 1T"},
        {"memory = 1073741824",
         "memory = \"1073741824\" has no unit; write it like 512B, 64K, 512M, 1G or 1T"},
        {"memory = -1G",
         "memory = \"-1G\" is negative; write a size like 512B, 64K, 512M, 1G or "
         "1T"},
        {"memory = G", "memory = \"G\" is no size; write one like 512B, 64K, 512M, 1G or 1T"},
        {"memory = 99999999999999999999G", "memory = \"99999999999999999999G\" is too large"},
        {"memory = 9999999999T", "memory = \"9999999999T\" is too large"},
        {"memory = 8388608T", "memory = \"8388608T\" is too large"},
        {"memory = 1025T", "memory = \"1025T\" is too large; the most is 1024T"},
        {"memory = 10K", "memory = \"10K\" is too small; the least is 1M"},
        {"memory = 0", "memory = \"0\" is too small; the least is 1M"},
        {"memory =", "memory is empty; give it a value, like 1G"},
        {"timeout = 60",
         "timeout = \"60\" has no unit; write it like 500ms, 30s, 5m, 2h or 1d"},
        {"timeout = 1G",
         "timeout = \"1G\" has an unknown unit \"G\"; write it like 500ms, 30s, "
         "5m, 2h or 1d"},
        {"timeout = 0", "timeout = \"0\" is too small; the least is 1ms"},
        {"timeout = 0.0005s", "timeout = \"0.0005s\" is finer than a millisecond"},
        {"timeout = 366d", "timeout = \"366d\" is too large; the most is 365d"},
        {"timeout = 1e3s",
         "timeout = \"1e3s\" has an unknown unit \"e3s\"; write it like 500ms, "
         "30s, 5m, 2h or 1d"},
        {"cpu = 0s", "cpu = \"0s\" is too small; the least is 1ms, and an empty value is no "
                     "limit"},
        {"processes = 0", "processes = \"0\" is too small; the least is 1"},
        {"processes = -1", "processes = \"-1\" is negative; the least is 1"},
        {"processes = 10K", "processes = \"10K\" is no whole number; it takes no unit"},
        {"processes = 1.5", "processes = \"1.5\" is no whole number; it takes no unit"},
        {"processes = many", "processes = \"many\" is no whole number"},
        {"processes = 9223372036854775808", "processes = \"9223372036854775808\" is too large"},
        {"processes = 4194305", "processes = \"4194305\" is too large; the most is 4194304"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[128], want[256];
        snprintf(text, sizeof(text), "[limits]\n%s\n", bad[i][0]);
        snprintf(want, sizeof(want), "k.ini:2: %s", bad[i][1]);
        refuses(text, want);
    }
    kiln_config *config = loads("[limits]\ntimeout = 1.5h\ncpu = 250 ms\nmemory = 1.5GiB\n"
                                "output = 512B\ndisk = 64MiB\nprocesses = 007\n"
                                "[engine]\ngrace = 0\n");
    kiln_limits limits = kiln_config_limits(config);
    assert_int_equal(limits.size, sizeof(limits));
    assert_int_equal(limits.timeout_ms, 5400000);
    assert_int_equal(limits.cpu_ms, 250);
    assert_int_equal(limits.memory, 3ULL << 29);
    assert_int_equal(limits.output, 512);
    assert_int_equal(limits.disk, 64 << 20);
    assert_int_equal(limits.processes, 7);
    assert_int_equal(limits.file_size, 0);
    assert_int_equal(kiln_config_duration(config, "engine", "grace"), 0);
    kiln_config_free(config);
}

static void test_words_and_choices(void **state)
{
    (void)state;
    refuses(
        "[engine]\nlog_level = warn\n",
        "k.ini:2: log_level = \"warn\" holds \"warn\", did you mean \"warning\"? It may be: "
        "error, warning, info, debug");
    refuses("[sandbox]\nnetwork = yes\n",
            "k.ini:2: network = \"yes\" holds \"yes\"; it may be: none, host, proxy");
    refuses(
        "[sandbox]\nrequire = namespaces, secomp\n",
        "k.ini:2: require = \"namespaces, secomp\" holds \"secomp\", did you mean "
        "\"seccomp\"? It may be: namespaces, seccomp, no_new_privs, landlock, cgroup, uids");
    refuses("[sandbox]\nenv = A=1 2B=3\n",
            "k.ini:2: env = \"A=1 2B=3\" holds \"2B=3\", which is not NAME=value");
    refuses("[engine]\nbackends = noop exec noop\nbackend = noop\n",
            "k.ini:2: backends = \"noop exec noop\" holds \"noop\" twice");
    refuses("[engine]\nbackends = ,\n",
            "k.ini:2: backends is empty; give it a value, like interpreter exec noop");
    refuses("[chain default]\npolicies = ../../etc/x\n",
            "k.ini:2: policies = \"../../etc/x\" holds \"../../etc/x\", which is no name: "
            "letters, digits, _ - + #");
    refuses("[engine]\nscripts = ~/scripts\n",
            "k.ini:2: scripts = \"~/scripts\" begins with ~, which is not expanded; write it "
            "whole");
    static const char *const ranges[] = {
        "5",           "5-",    "-5",     "a-b", "9-5", "500-900", "2000-4294967295",
        "60000-70000", "1-2-3", "2000-+9"};
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        char text[64];
        kiln_error err = KILN_ERROR_INIT;
        kiln_config *config = NULL;
        int length = snprintf(text, sizeof(text), "[sandbox]\nuids = %s\n", ranges[i]);
        assert_int_equal(kiln_config_load_memory("k.ini", text, (size_t)length, &config, &err),
                         -EINVAL);
    }
    uint32_t first, count;
    kiln_config *config = loads("[sandbox]\nuids = 2000-2999\nrequire =\n");
    assert_int_equal(kiln_config_uid_range(config, &first, &count), 1);
    assert_int_equal(first, 2000);
    assert_int_equal(count, 1000);
    assert_null(kiln_config_list(config, "sandbox", "require")[0]);
    kiln_config_free(config);
    config = loads("[sandbox]\nuids =\n");
    assert_int_equal(kiln_config_uid_range(config, &first, &count), 0);
    assert_int_equal(count, 0);
    kiln_config_free(config);
}

static void test_parse_outside_a_file(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    uint64_t number = 0;
    assert_int_equal(kiln_parse_duration("30s", &number, &err), 0);
    assert_int_equal(number, 30000);
    assert_int_equal(kiln_parse_size("512M", &number, &err), 0);
    assert_int_equal(number, 512ULL << 20);
    assert_int_equal(kiln_parse_duration("30", &number, &err), -EINVAL);
    assert_string_equal(err.text, "\"30\" has no unit; write it like 500ms, 30s, 5m, 2h or 1d");
    assert_int_equal(kiln_parse_size("", &number, &err), -EINVAL);
    assert_int_equal(kiln_parse_size("1MB", &number, &err), -EINVAL);
    assert_int_equal(kiln_parse_size("0.1234567890K", &number, &err), -EINVAL);
}

/* ---------------------------------------------------------------- the whole */

static void test_whole(void **state)
{
    (void)state;
    refuses("[engine]\nchain = fats\n[chain fast]\npolicies =\n",
            "k.ini:2: [engine] chain = \"fats\": there is no [chain fats], did you mean "
            "\"fast\"?");
    refuses("[engine]\nbackend = exce\n",
            "k.ini:2: [engine] backend \"exce\" is not among its backends (interpreter exec "
            "noop), did you mean \"exec\"?");
    refuses("[engine]\nbackends = exec noop\n",
            "k.ini:2: [engine] backend \"interpreter\", the default, is not among its backends "
            "(exec noop); add it or name another");
    refuses("\n[chain fast]\n", "k.ini:2: [chain fast] lacks \"policies\"; add it");
    refuses("[runtime x]\nrun = x {file}\n",
            "k.ini:1: [runtime x] lacks \"extensions\"; add it");
    refuses("[runtime x]\nextensions = .x\n", "k.ini:1: [runtime x] lacks \"run\"; add it");
    refuses("[runtime x]\nextensions = x\nrun = x {file}\n",
            "k.ini:2: extensions = \"x\" holds \"x\", which is no extension like .py");
    refuses("[runtime x]\nextensions =\nrun = x {file}\n",
            "k.ini:2: [runtime x] has no extension; the code's file needs one, like .py");
    refuses("[runtime x]\nextensions = .x\nrun = x\n",
            "k.ini:3: [runtime x] run does not mention {file}, the code; add it");
    refuses("[runtime x]\nextensions = .x\nrun = {out} {file}\n",
            "k.ini:3: [runtime x] run mentions {out}, which only compile makes; use {file}");
    refuses("[runtime x]\nextensions = .x\nrun = {out}\ncompile = cc -o {out}\n",
            "k.ini:4: [runtime x] compile does not mention {file}, the code; add it");
    refuses("[runtime x]\nextensions = .x\nrun = x {file}\n"
            "[runtime y]\nextensions = .y .x\nrun = y {file}\n",
            "k.ini:5: [runtime y] extensions: \".x\" is [runtime x]'s already; take one out");
    /* A language that is switched off is in nobody's way, and is no name. */
    kiln_config *config = loads("[runtime x]\nextensions = .x\nrun =\n"
                                "[runtime y]\nextensions = .x\nrun = y {file}\n");
    const char *const *names = kiln_config_names(config, "runtime");
    assert_string_equal(names[0], "y");
    assert_null(names[1]);
    assert_string_equal(kiln_config_names(config, "chain")[0], "default");
    assert_null(kiln_config_names(config, "policy")[0]);
    kiln_config_free(config);
}

static void test_defaults(void **state)
{
    (void)state;
    kiln_config *config = loads("");
    kiln_limits limits = kiln_config_limits(config);
    assert_int_equal(limits.timeout_ms, 60000);
    assert_int_equal(limits.cpu_ms, 0);
    assert_int_equal(limits.memory, 1 << 30);
    assert_int_equal(limits.processes, 128);
    assert_int_equal(limits.output, 4 << 20);
    assert_int_equal(limits.disk, 256 << 20);
    assert_int_equal(limits.files, 20000);
    assert_int_equal(limits.open_files, 256);
    assert_int_equal(limits.file_size, 0);
    assert_string_equal(kiln_config_string(config, "engine", "backend"), "interpreter");
    assert_null(kiln_config_string(config, "engine", "plugins"));
    assert_string_equal(kiln_config_list(config, "chain default", "policies")[4], "retry");
    /* No section of it anywhere: the schema answers. */
    assert_string_equal(kiln_config_string(config, "policy x", "on_failure"), "unavailable");
    assert_null(kiln_config_string(config, "backend x", "plugin"));
    kiln_config_free(config);
}

/* ------------------------------------------------- environment, --set, order */

static void test_environment(void **state)
{
    (void)state;
    refuses_environment("KILN_LIMITS_MEMROY=1G", "environment KILN_LIMITS_MEMROY: no such key, "
                                                 "did you mean KILN_LIMITS_MEMORY?");
    refuses_environment("KILN_LIMIT_MEMORY=1G",
                        "environment KILN_LIMIT_MEMORY: no such key, did you mean "
                        "KILN_LIMITS_MEMORY? Correct or unset it");
    refuses_environment("KILN_MEMORY=1G", "environment KILN_MEMORY: no such key, did you mean "
                                          "KILN_LIMITS_MEMORY? Correct or unset it");
    refuses_environment("KILN_LIMITS_FRUIT=1",
                        "environment KILN_LIMITS_FRUIT: [limits] has no such key, see `kiln "
                        "config --reference`; unset it");
    refuses_environment("KILN_LIMITS_MEMORY=1",
                        "environment KILN_LIMITS_MEMORY: memory = \"1\" has no unit; write it "
                        "like 512B, 64K, 512M, 1G or 1T");
    refuses_environment(
        "KILN_SANDBOX_ENV=A=\xff",
        "environment KILN_SANDBOX_ENV: env: bytes that are not UTF-8; write it in "
        "UTF-8");
    refuses_environment("KILN_RUNTIME_PYTHON_RUNS=x",
                        "environment KILN_RUNTIME_PYTHON_RUNS: names no key of [runtime "
                        "LANGUAGE] (extensions, compile, run, version); correct or unset it");
    refuses_environment("KILN_POLICY_X_Y=\xff",
                        "environment KILN_POLICY_X_Y: bytes that are not UTF-8; write it in "
                        "UTF-8");
    static const char *const environ_[] = {"KILN_CONFIG=/x",
                                           "KILN_HOME=/somebody/elses",
                                           "KILNMEMORY=1",
                                           "KILN_LIMITS_MEMORY=3G",
                                           "KILN_CHAIN_FAST_POLICIES=audit my_own",
                                           "KILN_POLICY_MY_OWN_ON_FAILURE=denied",
                                           "KILN_BACKEND_EXEC_PLUGIN=/p.so",
                                           NULL};
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config;
    assert_int_equal(load_from(environ_, NULL, &config, &err), 0);
    assert_int_equal(kiln_config_size(config, "limits", "memory"), 3LL << 30);
    assert_string_equal(kiln_config_list(config, "chain fast", "policies")[1], "my_own");
    assert_string_equal(kiln_config_string(config, "policy my_own", "on_failure"), "denied");
    assert_string_equal(kiln_config_string(config, "backend exec", "plugin"), "/p.so");
    assert_int_equal(kiln_config_check_undeclared(config, &err), 0);
    kiln_config_free(config);
}

static void test_set(void **state)
{
    (void)state;
    refuses_set("limits.memroy=1G",
                "--set limits.memroy: unknown key \"memroy\" in [limits], did you mean "
                "\"memory\"?");
    refuses_set("limit.memory=1G",
                "--set limit.memory: unknown section [limit], did you mean [limits]?");
    refuses_set("memory=1G", "--set memory=1G: write --set limits.memory=VALUE");
    refuses_set("policy.\xff.x=1", "--set: bytes that are not UTF-8; write it in UTF-8");
    refuses_set("limits.memory",
                "--set limits.memory: write --set SECTION.KEY=VALUE, as in limits.memory=1G");
    refuses_set(".memory=1G",
                "--set .memory=1G: write --set SECTION.KEY=VALUE, as in limits.memory=1G");
    refuses_set("limits.=1G",
                "--set limits.=1G: write --set SECTION.KEY=VALUE, as in limits.memory=1G");
    refuses_set("limits.memory=1", "--set limits.memory: memory = \"1\" has no unit; write it "
                                   "like 512B, 64K, 512M, 1G or 1T");
    refuses_set("sandbox.env=A=\n", "--set sandbox.env: a control character; take it out");
    refuses_set("policy route.x=\x01",
                "--set policy route.x: a control character; take it out");
    static const char *const environ_[] = {"KILN_LIMITS_MEMORY=3G", "KILN_LIMITS_CPU=1s", NULL};
    static const char *const set[] = {"limits.memory=4G",
                                      " limits . memory = 5G ",
                                      "runtime.x.run=x {file}",
                                      "runtime x.extensions=.x",
                                      "limits.cpu=",
                                      NULL};
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config;
    if (load_from(environ_, set, &config, &err) < 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(kiln_config_size(config, "limits", "memory"), 5LL << 30);
    assert_int_equal(kiln_config_duration(config, "limits", "cpu"), 0);
    assert_string_equal(kiln_config_words(config, "runtime x", "run")[1], "{file}");
    kiln_config_free(config);
}

/* ------------------------------------------------------------ declared options */

static const kiln_option route_options[] = {
    {"header", KILN_OPTION_STRING, "# kiln:", "The mark of a header line."},
    {"large", KILN_OPTION_SIZE, "1M", "What counts as large."},
    {"wait", KILN_OPTION_DURATION, "", "How long."},
    {"fallback", KILN_OPTION_LIST, "exec, noop", "Where else."},
    {"tries", KILN_OPTION_INTEGER, "-3", "How often."},
    {"strict", KILN_OPTION_BOOL, "no", "Whether."},
    {NULL, 0, NULL, NULL},
};

static void test_declare(void **state)
{
    (void)state;
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config =
        loads("[policy route]\nlarge = 2M\nfallback = a \"b c\"\nscript = x.lua\n"
              "strict = yes\n");
    assert_int_equal(kiln_config_declare(config, "policy route", route_options, &err), 0);
    assert_string_equal(kiln_config_option(config, "policy route", "header"), "# kiln:");
    assert_string_equal(kiln_config_option(config, "policy route", "large"), "2097152");
    assert_string_equal(kiln_config_option(config, "policy route", "wait"), "");
    assert_string_equal(kiln_config_option(config, "policy route", "fallback"), "a b c");
    assert_string_equal(kiln_config_option(config, "policy route", "tries"), "-3");
    assert_string_equal(kiln_config_option(config, "policy route", "strict"), "true");
    assert_true(kiln_config_bool(config, "policy route", "strict"));
    assert_int_equal(kiln_config_integer(config, "policy route", "tries"), -3);
    assert_string_equal(kiln_config_list(config, "policy route", "fallback")[1], "b c");
    assert_string_equal(kiln_config_string(config, "policy route", "script"), "/x.lua");
    assert_null(kiln_config_option(config, "policy route", "script"));
    assert_null(kiln_config_option(config, "policy route", "nothing"));
    /* In a second chain: the same again is well, another is not. */
    assert_int_equal(kiln_config_declare(config, "policy route", route_options, &err), 0);
    assert_int_equal(kiln_config_declare(config, "policy route", NULL, &err), -EEXIST);
    /* A section that nobody wrote. */
    assert_int_equal(kiln_config_declare(config, "backend exec", route_options, &err), 0);
    assert_string_equal(kiln_config_option(config, "backend exec", "fallback"), "exec noop");
    assert_int_equal(kiln_config_declare(config, "policy none", NULL, &err), 0);
    assert_int_equal(kiln_config_check_undeclared(config, &err), 0);
    kiln_config_free(config);
}

static void declare_refuses(const char *text, const kiln_option *options, const char *want)
{
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config = loads(text);
    assert_true(kiln_config_declare(config, "policy route", options, &err) < 0);
    assert_string_equal(err.text, want);
    kiln_config_free(config);
}

static void test_declare_faults(void **state)
{
    (void)state;
    declare_refuses(
        "[policy route]\nlarge = 1M\n\nlager = 2M\n", route_options,
        "k.ini:4: unknown key \"lager\" in [policy route], did you mean \"large\"?");
    declare_refuses("[policy route]\nscirpt = x\n", route_options,
                    "k.ini:2: unknown key \"scirpt\" in [policy route], did you mean "
                    "\"script\"?");
    declare_refuses("[policy route]\nfruit = x\n", NULL,
                    "k.ini:2: unknown key \"fruit\" in [policy route], see `kiln plugins` and "
                    "`kiln check`");
    declare_refuses("[policy route]\nlarge = x\n", route_options,
                    "k.ini:2: large = \"x\" is no size; write one like 512B, 64K, 512M, 1G or "
                    "1T");
    declare_refuses("[policy route]\nstrict = maybe\n", route_options,
                    "k.ini:2: strict = \"maybe\" is neither true nor false");
    static const kiln_option own[] = {{"script", KILN_OPTION_STRING, "", ""}, {0}};
    declare_refuses("", own, "[policy route] declares \"script\", which is Kiln's own key");
    static const kiln_option twice[] = {
        {"a", KILN_OPTION_STRING, "", ""}, {"a", KILN_OPTION_STRING, "", ""}, {0}};
    declare_refuses("", twice, "[policy route] declares \"a\" twice");
    static const kiln_option type[] = {{"a", 99, "", ""}, {0}};
    declare_refuses("", type, "[policy route] declares \"a\" of a type 99 that there is not");
    static const kiln_option value[] = {{"a", KILN_OPTION_SIZE, "1", ""}, {0}};
    declare_refuses("", value,
                    "[policy route] declares a default that is no size: a = \"1\" has no unit; "
                    "write it like 512B, 64K, 512M, 1G or 1T");
    static const kiln_option name[] = {{"a b", KILN_OPTION_STRING, "", ""}, {0}};
    declare_refuses("", name, "[policy route] declares \"a b\", which is no key");
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config = loads("");
    assert_int_equal(kiln_config_declare(config, "limits", route_options, &err), -EINVAL);
    assert_string_equal(err.text, "[limits] takes no further keys");
    kiln_config_free(config);
}

static void test_declare_layers(void **state)
{
    (void)state;
    static const char *const environ_[] = {"KILN_POLICY_ROUTE_LARGE=3M",
                                           "KILN_POLICY_ROUTE_HEADER=env", NULL};
    static const char *const set[] = {"policy.route.large=4M", NULL};
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config;
    assert_int_equal(load_from(environ_, set, &config, &err), 0);
    assert_int_equal(kiln_config_check_undeclared(config, &err), -EINVAL);
    assert_int_equal(kiln_config_declare(config, "policy route", route_options, &err), 0);
    assert_string_equal(kiln_config_option(config, "policy route", "large"), "4194304");
    assert_string_equal(kiln_config_option(config, "policy route", "header"), "env");
    assert_int_equal(kiln_config_check_undeclared(config, &err), 0);
    kiln_config_free(config);

    static const char *const wrong[] = {"KILN_POLICY_ROUTE_LAGER=3M", NULL};
    assert_int_equal(load_from(wrong, NULL, &config, &err), 0);
    assert_int_equal(kiln_config_declare(config, "policy route", route_options, &err), 0);
    assert_int_equal(kiln_config_check_undeclared(config, &err), -EINVAL);
    assert_string_equal(err.text, "environment KILN_POLICY_ROUTE_LAGER: no such key, did you "
                                  "mean KILN_POLICY_ROUTE_LARGE?");
    kiln_config_free(config);

    static const char *const strange[] = {"policy.rouet.large=4M", NULL};
    assert_int_equal(load_from(NULL, strange, &config, &err), 0);
    assert_int_equal(kiln_config_declare(config, "policy route", route_options, &err), 0);
    assert_int_equal(kiln_config_check_undeclared(config, &err), -EINVAL);
    assert_string_equal(err.text,
                        "--set policy.rouet.large: key \"large\" of [policy rouet], but "
                        "no such policy is in a chain, did you mean [policy route]?");
    kiln_config_free(config);
}

/* ---------------------------------------------------------------- reference */

static void test_reference_is_shipped(void **state)
{
    (void)state;
    char shipped[32768];
    FILE *file = fopen("conf/kiln.ini", "re");
    assert_non_null(file);
    size_t length = fread(shipped, 1, sizeof(shipped) - 1, file);
    fclose(file);
    shipped[length] = '\0';
    auto_free char *reference = kiln_config_reference();
    /* `kiln config --reference >conf/kiln.ini` brings it up to date. */
    assert_string_equal(shipped, reference);

    kiln_config *config = loads(shipped);
    kiln_config *defaults = loads("");
    auto_json json_t *a = kiln_config_to_json(config), *b = kiln_config_to_json(defaults);
    assert_true(json_array_size(a) > 20);
    assert_true(json_equal(a, b));
    kiln_config_free(config);
    kiln_config_free(defaults);
}

/* What the reference says of a value's form is so: every line, without its #. */
static void test_reference_lines_load(void **state)
{
    (void)state;
    auto_free char *reference = kiln_config_reference();
    size_t out = 0;
    bool family = false;
    char *text = malloc(strlen(reference) + 1);
    for (char *line = strtok(reference, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        family = family || strncmp(line, "#[", 2) == 0;
        if (line[0] == '#' && (line[1] == ' ' || line[1] == '\0' || family ||
                               strncmp(line, "#include", 8) == 0)) {
            continue;
        }
        out += (size_t)sprintf(text + out, "%s\n", line + (line[0] == '#'));
    }
    kiln_config *config = loads_bytes(text, out);
    assert_int_equal(kiln_config_size(config, "limits", "memory"), 1 << 30);
    kiln_config_free(config);
    free(text);
}

static void test_shipped_examples(void **state)
{
    (void)state;
    static const char *const files[] = {"conf/locked-down.ini",     "conf/python-only.ini",
                                        "conf/heavy-notebooks.ini", "conf/add-language.ini",
                                        "conf/dry-run.ini",         "conf/kiln.ini",
                                        "conf/with-network.ini"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        const kiln_config_sources sources = {.file = files[i], .runtimes = "conf/runtimes.ini"};
        kiln_error err = KILN_ERROR_INIT;
        kiln_config *config;
        if (kiln_config_load(&sources, &config, &err) < 0) {
            fail_msg("%s", err.text);
        }
        assert_non_null(kiln_config_words(config, "runtime python", "run"));
        assert_non_null(kiln_config_words(config, "runtime c", "compile"));
        kiln_config_free(config);
    }
}

static void test_json(void **state)
{
    (void)state;
    kiln_config *config = loads("[limits]\ntimeout = 90s\n[policy x]\nfoo = 1\n");
    auto_json json_t *all = kiln_config_to_json(config);
    size_t index, seen = 0;
    json_t *entry;
    json_array_foreach(all, index, entry)
    {
        const char *key = json_string_value(json_object_get(entry, "key"));
        if (strcmp(key, "timeout") == 0) {
            seen++;
            assert_int_equal(json_integer_value(json_object_get(entry, "value")), 90000);
            assert_int_equal(json_integer_value(json_object_get(entry, "default")), 60000);
            assert_string_equal(json_string_value(json_object_get(entry, "unit")), "ms");
            assert_string_equal(json_string_value(json_object_get(entry, "type")), "duration");
            assert_string_equal(json_string_value(json_object_get(entry, "source")), "k.ini:2");
            assert_string_equal(json_string_value(json_object_get(entry, "text")), "90s");
        } else if (strcmp(key, "cpu") == 0) {
            seen++;
            assert_true(json_is_null(json_object_get(entry, "value")));
            assert_string_equal(json_string_value(json_object_get(entry, "source")), "default");
        } else if (strcmp(key, "foo") == 0) {
            seen++;
            assert_string_equal(json_string_value(json_object_get(entry, "type")),
                                "undeclared");
        }
    }
    assert_int_equal(seen, 3);
    kiln_config_free(config);
}

static void test_near_match(void **state)
{
    (void)state;
    static const char *const words[] = {"memory", "processes", "cpu", "disk", "files", NULL};
    static const char *const none[] = {NULL};
    assert_string_equal(kiln_near_match("memroy", words), "memory");
    assert_string_equal(kiln_near_match("MEMORY", words), "memory");
    assert_string_equal(kiln_near_match("mem", words), "memory");
    assert_string_equal(kiln_near_match("procesess", words), "processes");
    assert_string_equal(kiln_near_match("cpus", words), "cpu");
    assert_string_equal(kiln_near_match("file", words), "files");
    assert_null(kiln_near_match("banana", words));
    assert_null(kiln_near_match("x", words));
    assert_null(kiln_near_match("", words));
    assert_null(kiln_near_match("memory", none));
    char word[300];
    memset(word, 'm', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    assert_null(kiln_near_match(word, words));
}

static void test_flood(void **state)
{
    (void)state;
    auto_buffer kiln_buffer text = KILN_BUFFER_INIT;
    for (int i = 0; i < 600; i++) {
        kiln_buffer_printf(&text, "[policy p%d]\n", i);
    }
    refuses_bytes(text.data, text.length, "k.ini:508: more than 512 sections; take some out");
    kiln_buffer_consume(&text, text.length);
    kiln_buffer_printf(&text, "[policy p]\n");
    for (int i = 0; i < 300; i++) {
        kiln_buffer_printf(&text, "k%d = 1\n", i);
    }
    refuses_bytes(text.data, text.length,
                  "k.ini:258: more than 256 keys in [policy p]; take some out");
}

/* As nobody, when root runs the tests: root may read everything. */
static int try_unreadable(const char *file)
{
    const kiln_config_sources sources = {.file = file};
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config;
    char want[256];
    if (getuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0)) {
        return 2;
    }
    if (kiln_config_load(&sources, &config, &err) != -EACCES) {
        return 3;
    }
    snprintf(want, sizeof(want), "%s: cannot be read: Permission denied", file);
    return strcmp(err.text, want) == 0 ? 0 : 4;
}

static void test_unreadable(void **state)
{
    (void)state;
    char folder[] = "/tmp/kiln-config-XXXXXX", file[64];
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chmod(folder, 0755), 0);
    snprintf(file, sizeof(file), "%s/k.ini", folder);
    FILE *made = fopen(file, "we");
    assert_non_null(made);
    fclose(made);
    assert_int_equal(chmod(file, 0), 0);
    pid_t child = fork();
    if (child == 0) {
        _exit(try_unreadable(file));
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    unlink(file);
    rmdir(folder);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Which file: what the environment names, before all else, also when it is not there. */
static void test_find_file(void **state)
{
    (void)state;
    char folder[] = "/tmp/kiln-config-XXXXXX", kiln[64], file[96];
    assert_non_null(mkdtemp(folder));
    snprintf(kiln, sizeof(kiln), "%s/kiln", folder);
    snprintf(file, sizeof(file), "%s/kiln.ini", kiln);
    assert_int_equal(mkdir(kiln, 0700), 0);
    setenv("KILN_CONFIG", "/nowhere/x.ini", 1);
    auto_free char *named = kiln_config_find_file("conf/kiln.ini");
    assert_string_equal(named, "/nowhere/x.ini");
    setenv("KILN_CONFIG", "", 1);
    setenv("XDG_CONFIG_HOME", folder, 1);
    FILE *made = fopen(file, "we");
    assert_non_null(made);
    fclose(made);
    auto_free char *own = kiln_config_find_file("conf/kiln.ini");
    assert_string_equal(own, file);
    unlink(file);
    rmdir(kiln);
    rmdir(folder);
    if (access("/etc/kiln/kiln.ini", F_OK) < 0) {
        auto_free char *shipped = kiln_config_find_file("conf/kiln.ini");
        assert_string_equal(shipped, "conf/kiln.ini");
        assert_null(kiln_config_find_file("conf/nothing.ini"));
        assert_null(kiln_config_find_file(NULL));
    }
    unsetenv("KILN_CONFIG");
    unsetenv("XDG_CONFIG_HOME");
}

/* A folder's name may be any bytes; what is told of it is UTF-8. */
static void test_folder_that_is_not_utf8(void **state)
{
    (void)state;
    char folder[] = "/tmp/kiln-config-\xff-XXXXXX", file[64], want[96];
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof(file), "%s/k.ini", folder);
    FILE *made = fopen(file, "we");
    assert_non_null(made);
    fputs("[engine]\nscripts = s\n", made);
    fclose(made);
    const kiln_config_sources sources = {.file = file};
    kiln_error err = KILN_ERROR_INIT;
    kiln_config *config = NULL;
    int rc = kiln_config_load(&sources, &config, &err);
    unlink(file);
    rmdir(folder);
    assert_int_equal(rc, 0);
    snprintf(want, sizeof(want), "%s/s", folder);
    assert_string_equal(kiln_config_string(config, "engine", "scripts"), want);
    auto_json json_t *all = kiln_config_to_json(config);
    assert_non_null(all);
    kiln_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed_lines),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_bom_and_crlf),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_values_are_kept_whole),
        cmocka_unit_test(test_unknown_and_duplicate),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_words_and_choices),
        cmocka_unit_test(test_parse_outside_a_file),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_declare),
        cmocka_unit_test(test_declare_faults),
        cmocka_unit_test(test_declare_layers),
        cmocka_unit_test(test_reference_is_shipped),
        cmocka_unit_test(test_reference_lines_load),
        cmocka_unit_test(test_shipped_examples),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_near_match),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_find_file),
        cmocka_unit_test(test_folder_that_is_not_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
