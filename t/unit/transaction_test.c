/* Cells that are undone when they fail. */
#include "world.h"

#include <sys/stat.h>

static const char *const settings[] = {"engine.backends=interpreter exec noop",
                                       "engine.backend=interpreter",
                                       "chain.default.policies=",
                                       "chain.undo.policies=transaction",
                                       "chain.judge.policies=judge",
                                       "policy.judge.script=t/unit/judge.lua",
                                       "limits.disk=8M",
                                       "limits.memory=512M",
                                       "engine.grace=200ms",
                                       "engine.log_level=error",
                                       NULL};

#define TRY(session, code, status, out)                                                        \
    EXPECT_HOW(session, code, status, out, .transaction = true)

static bool decided(const json_t *result, const char *action)
{
    size_t i;
    json_t *decision;
    json_array_foreach(json_object_get(result, "decisions"), i, decision)
    {
        if (strcmp(text_of(decision, "action"), action) == 0) {
            return true;
        }
    }
    return false;
}

/* Lets the engine use the time between two cells. */
static void idle(void)
{
    for (int i = 0; i < 40; i++) {
        uv_run(&w.loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

static void variables(void)
{
    kiln_session *a = open_session("a");
    TRY(a, "x = [1]", "ok", NULL);
    TRY(a, "x.append(2); y = 1; 1 / 0", "error", NULL);
    TRY(a, "print(x, 'y' in globals())", "ok", "[1] False\n");
    TRY(a, "x.append(3)", "ok", NULL);
    idle();
    TRY(a, "x.clear(); raise SystemExit(4)", "error", NULL);
    idle();
    TRY(a, "print(x)", "ok", "[1, 3]\n");
    /* the first cell of a session */
    kiln_session *b = open_session("b");
    TRY(b, "z = 1; raise ValueError", "error", NULL);
    TRY(b, "print('z' in globals())", "ok", "False\n");
    /* cells between that are none */
    EXPECT(b, "z = 2; 1 / 0", "error", NULL);
    TRY(b, "z = 3; 1 / 0", "error", NULL);
    EXPECT(b, "print(z)", "ok", "2\n");
    auto_json json_t *result = execute(b, "1 / 0", &(manner){.transaction = true});
    CHECK(decided(result, "undone"));
    CHECK(json_integer_value(json_object_get(result, "execution_count")) == 6);
    CHECK(strstr(message_of(result), "division") != NULL);
    /* syntax errors, and a hundred in a row */
    TRY(b, "def", "error", NULL);
    for (int i = 0; i < 20; i++) {
        TRY(b, "z += 1", "ok", NULL);
        TRY(b, "z += 1; 1 / 0", "error", NULL);
    }
    TRY(b, "print(z)", "ok", "22\n");
}

typedef struct replied {
    bool done;
    bool given;
} replied;

static void on_reply(void *user, json_t *reply, const kiln_error *err)
{
    replied *to = user;
    (void)err;
    to->done = true;
    to->given = reply != NULL;
}

/* The worker is just being kept for the next cell when a front end asks. */
static void queries_between(void)
{
    kiln_session *a = open_session("a");
    for (int i = 0; i < 6; i++) {
        kiln_error err = KILN_ERROR_INIT;
        kiln_query *query = NULL;
        replied to = {false, false};
        auto_json json_t *arguments = json_object();
        TRY(a, "x = [1]", "ok", NULL);
        CHECK(kiln_session_query(a, NULL, "variables", arguments, on_reply, &to, &query,
                                 &err) == 0);
        if (i % 3 == 1) { /* a cell cuts it off */
            TRY(a, "x.append(2); 1 / 0", "error", NULL);
        } else if (i % 3 == 2) {
            EXPECT(a, "x.append(2)", "ok", NULL);
        }
        while (!to.done) {
            uv_run(&w.loop, UV_RUN_ONCE);
        }
        CHECK(to.given || i % 3 != 0);
        TRY(a, "print(x)", "ok", i % 3 == 2 ? "[1, 2]\n" : "[1]\n");
    }
}

static void files(void)
{
    static const char make[] =
        "import os, time\n"
        "open('kept', 'w').write('1'); open('changed', 'w').write('before')\n"
        "os.makedirs('d/e'); open('d/e/f', 'w').write('deep'); os.symlink('kept', 'l')\n"
        "open('mode', 'w').close(); os.chmod('mode', 0o640); os.mkfifo('fifo')\n"
        "f = open('sparse', 'wb'); f.truncate(1 << 40); f.seek(1 << 30); f.write(b'x'); "
        "f.close()\n"
        "os.utime('kept', (1000, 2000)); os.mkdir('empty'); open('/tmp/t', 'w').write('t')\n"
        "os.link('changed', 'twin'); log = open('log', 'w+'); log.write('abc'); log.flush()\n"
        "os.chmod('d', 0o750)\n"
        "def look():\n"
        "  found = []\n"
        "  for folder, names, files in sorted(os.walk('/work')):\n"
        "    for n in sorted(names + files):\n"
        "      p = os.path.join(folder, n); s = os.lstat(p)\n"
        "      text = (open(p).read() if s.st_mode & 0o170000 == 0o100000 and s.st_size < 99\n"
        "              else os.readlink(p) if os.path.islink(p) else s.st_blocks if\n"
        "              s.st_size > 99 else '')\n"
        "      found.append((p, oct(s.st_mode), s.st_size, s.st_uid, s.st_nlink,\n"
        "                    s.st_mtime_ns if n == 'kept' else 0, text))\n"
        "  return found, sorted(os.listdir('/tmp')), open('/tmp/t').read(), log.tell()\n"
        "before = look()";
    static const char *const breakers[] = {
        "open('changed', 'w').write('after!')",
        "os.remove('changed'); os.remove('twin'); open('changed', 'w').write('before');"
        " os.link('changed', 'twin')",
        "import shutil; shutil.rmtree('d'); open('d', 'w').write('a file')",
        "os.remove('kept'); os.mkdir('kept'); open('kept/x', 'w').close()",
        "os.chmod('mode', 0o777); os.chmod('d', 0o000); os.chmod('/work', 0)",
        "os.remove('l'); os.symlink('/etc/passwd', 'l')",
        "os.remove('fifo'); os.rmdir('empty'); open('new', 'w').write('n')",
        "open('/tmp/t', 'w').write('u'); open('/tmp/v', 'w').close()",
        "import mmap\nwith open('changed', 'r+b') as f:\n"
        "  m = mmap.mmap(f.fileno(), 0); m[0:1] = b'X'; m.close()",
        "log.write('more'); log.flush()",
        "log.seek(1); os.remove('log')",
        "f = open('sparse', 'r+b'); f.seek(5); f.write(b'y'); f.close()",
        "d = '.'\nfor i in range(300):\n  d += '/deep'; os.mkdir(d) if len(d) < 3900 else None",
        "os.rename('changed', 'x'); os.rename('kept', 'changed'); os.rename('x', 'kept')",
        "while True: open('full%d' % os.getpid(), 'ab').write(bytes(1 << 16))",
    };
    kiln_session *a = open_session("a");
    EXPECT(a, make, "ok", NULL);
    for (size_t i = 0; i < sizeof(breakers) / sizeof(breakers[0]); i++) {
        char code[600];
        snprintf(code, sizeof(code), "%s\nraise ValueError", breakers[i]);
        auto_json json_t *result = execute(a, code, &(manner){.transaction = true});
        if (!decided(result, "undone")) {
            report("%s: not undone: %s", breakers[i], message_of(result));
        }
        auto_json json_t *now = execute(
            a,
            "now = look()\nfor a, b in zip(before[0], now[0]):\n  if a != b: print(a, b)\n"
            "print(now == before or ('', len(now[0]), now[1:]))\n"
            "del now",
            &(manner){0});
        if (strcmp(text_of(now, "stdout"), "True\n") != 0) {
            report("%s: %s %s", breakers[i], text_of(now, "stdout"), message_of(now));
        }
        /* put back by the engine, made by no cell */
        if (json_array_size(json_object_get(now, "output_files")) > 0) {
            report("%s: files are told that the next cell did not make", breakers[i]);
        }
    }
    /* what it keeps is out of reach */
    EXPECT(a,
           "for n in ('saved', 'trash'):\n"
           "  for f in ('', '/work', '/work/changed'):\n"
           "    try: open('/run/session/' + n + f, 'w'); print('reached')\n"
           "    except OSError: pass\n"
           "try: os.rename('/run/session/saved', '/run/session/x'); print('renamed')\n"
           "except OSError: pass",
           "ok", "");
    /* an input file belongs to the cell */
    EXPECT_HOW(a, "1 / 0", "error", NULL, .transaction = true, .file = "input");
    EXPECT(a, "print(os.path.exists('input'))", "ok", "False\n");
    EXPECT_HOW(a, "1", "ok", NULL, .transaction = true, .file = "input");
    EXPECT(a, "print(os.path.exists('input'))", "ok", "True\n");
}

static void deaths(void)
{
    kiln_session *a = open_session("a");
    TRY(a, "import os, signal, subprocess, time; x = 1", "ok", NULL);
    TRY(a, "x = 2; os._exit(7)", "crashed", NULL);
    TRY(a, "print(x); x = 3; os.kill(os.getpid(), signal.SIGSEGV)", "crashed", "1\n");
    EXPECT_HOW(a, "x = 4\nwhile True: pass", "timeout", NULL, .transaction = true,
               .timeout_ms = 200);
    EXPECT_HOW(a, "x = 5\nsignal.pthread_sigmask(signal.SIG_BLOCK, [2])\nwhile True: pass",
               "timeout", NULL, .transaction = true, .timeout_ms = 200);
    TRY(a,
        "x = 6; subprocess.Popen(['sleep', '1000']); os.fork() or time.sleep(1000)\n"
        "os.setsid(); raise ValueError",
        NULL, NULL);
    TRY(a,
        "print(x, [p for p in os.listdir('/proc') if p.isdigit() and int(p) > 1 and "
        "b'sleep' in open('/proc/%s/cmdline' % p, 'rb').read()])",
        "ok", "1 []\n");
    auto_json json_t *result = execute(a, "x = 7; os._exit(1)", &(manner){.transaction = true});
    CHECK(strstr(message_of(result), "the session is as it was before the cell") != NULL);
    CHECK(strstr(message_of(result), "lost") == NULL);
    EXPECT_HOW(a, "x = 8\nwhile os.fork() >= 0: pass", NULL, NULL, .transaction = true,
               .timeout_ms = 500);
    TRY(a, "print(x)", "ok", "1\n");
    EXPECT(a, "try: os.wait()\nexcept ChildProcessError: print('none')", "ok", "none\n");
}

static void refused(void)
{
    kiln_session *a = open_session("a");
    EXPECT(a,
           "import os, subprocess, threading\nx = 1\nstop = threading.Event()\n"
           "t = threading.Thread(target=stop.wait); t.start()",
           "ok", NULL);
    auto_json json_t *result = execute(a, "x = 2", &(manner){.transaction = true});
    CHECK(strcmp(text_of(result, "status"), "unavailable") == 0);
    CHECK(strstr(message_of(result), "the transaction was refused, nothing ran") != NULL);
    CHECK(strstr(message_of(result), "2 threads") != NULL);
    EXPECT(a, "print(x); stop.set(); t.join(); p = subprocess.Popen(['sleep', '100'])", "ok",
           "1\n");
    auto_json json_t *second = execute(a, "x = 2", &(manner){.transaction = true});
    CHECK(strstr(message_of(second), "1 process of earlier cells still run") != NULL);
    EXPECT(a, "p.kill(); p.wait(); f = open('t', 'w'); os.remove('t'); print(x)", "ok", "1\n");
    auto_json json_t *third = execute(a, "x = 2", &(manner){.transaction = true});
    CHECK(strstr(message_of(third), "open file without a name") != NULL);
    EXPECT(a, "f.close(); open('big', 'wb').write(bytes(5 << 20)); print(x)", "ok", "1\n");
    auto_json json_t *fourth = execute(a, "x = 2", &(manner){.transaction = true});
    CHECK(strstr(message_of(fourth), "no room for a copy") != NULL);
    EXPECT(a, "os.remove('big')", "ok", NULL);
    TRY(a, "print(x); x = 3", "ok", "1\n");
    TRY(a, "print(x)", "ok", "3\n");
    EXPECT_HOW(a, "1", "unavailable", NULL, .transaction = true, .backend = "exec");
    EXPECT_HOW(a, "1", "skipped", NULL, .transaction = true, .backend = "noop");
}

/* Code that ends its snapshot is told that its state is lost. */
static void treason(void)
{
    kiln_session *a = open_session("a");
    TRY(a, "import os, signal; x = 1", "ok", NULL);
    auto_json json_t *result = execute(
        a,
        "for p in os.listdir('/proc'):\n"
        "  if p.isdigit() and int(p) > 1 and int(p) != os.getpid(): os.kill(int(p), 9)\n"
        "1 / 0",
        &(manner){.transaction = true});
    CHECK(strcmp(text_of(result, "status"), "error") == 0);
    CHECK(decided(result, "lost"));
    TRY(a, "print('x' in globals())", "ok", "False\n");
}

static void policies(void)
{
    kiln_session *a = open_session("a");
    EXPECT_HOW(a, "x = 1", "ok", NULL, .chain = "undo");
    EXPECT_HOW(a, "x = 2; 1 / 0", "error", NULL, .chain = "undo");
    EXPECT_HOW(a, "print(x)", "ok", "1\n", .chain = "undo");
    /* a policy that reads the result */
    EXPECT_HOW(a, "x = 3; open('f', 'w').close(); print('secret')", "denied", NULL,
               .transaction = true, .chain = "judge");
    EXPECT_HOW(a, "import os; print(x, os.path.exists('f'))", "ok", "1 False\n",
               .transaction = true, .chain = "judge");
    EXPECT_HOW(a, "x = 4; print('fine')", "ok", "fine\n", .transaction = true,
               .chain = "judge");
    EXPECT(a, "print(x)", "ok", "4\n");
    /* undone after its files were told: the next cell has not made them */
    EXPECT(a, "open('g', 'w').write('1')", "ok", NULL);
    EXPECT_HOW(a, "open('g', 'w').write('2'); print('secret')", "denied", NULL,
               .transaction = true, .chain = "judge");
    auto_json json_t *next = execute(a, "print(open('g').read())", &(manner){0});
    CHECK(strcmp(text_of(next, "stdout"), "1\n") == 0);
    CHECK(json_array_size(json_object_get(next, "output_files")) == 0);
}

static void with_branches(void)
{
    kiln_session *a = open_session("a");
    TRY(a, "x = 1", "ok", NULL);
    idle();
    kiln_session *b = branch(a, "b");
    TRY(a, "x = 2; 1 / 0", "error", NULL);
    TRY(b, "x = 3; 1 / 0", "error", NULL);
    TRY(b, "x = 4; import os; os._exit(1)", "crashed", NULL);
    TRY(b, "print(x)", "ok", "1\n");
    TRY(a, "print(x); x = 5", "ok", "1\n");
    idle();
    kiln_session_close(a);
    TRY(b, "x += 1; 1 / 0", "error", NULL);
    TRY(b, "print(x)", "ok", "1\n");
    kiln_session *c = branch(b, "c");
    TRY(c, "x += 1; open('f', 'w').write('c')", "ok", NULL);
    TRY(c, "x += 1; open('f', 'w').write('d'); 1 / 0", "error", NULL);
    TRY(c, "print(x, open('f').read())", "ok", "2 c\n");
    idle();
    kiln_session_close(c);
    idle();
}

SCENE(variables)
SCENE(queries_between)
SCENE(files)
SCENE(deaths)
SCENE(refused)
SCENE(treason)
SCENE(policies)
SCENE(with_branches)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TESTS(deaths),  TESTS(variables), TESTS(queries_between), TESTS(files),
        TESTS(refused), TESTS(treason),   TESTS(policies),        TESTS(with_branches),
    };
    return cmocka_run_group_tests_name("transaction", tests, NULL, NULL);
}
