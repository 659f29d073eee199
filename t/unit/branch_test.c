/* Branches of a live session. */
#include "family.h"
#include "world.h"

static const char *const settings[] = {"engine.backends=interpreter exec",
                                       "engine.backend=interpreter",
                                       "chain.default.policies=",
                                       "limits.disk=8M",
                                       "limits.memory=512M",
                                       "engine.log_level=error",
                                       NULL};

/* ---- the scenes */

static void independence(void)
{
    kiln_session *a = open_session("a");
    EXPECT(a,
           "x = [1]; open('f', 'w').write('of a'); import os; os.mkdir('d')\n"
           "open('d/g', 'w').write('deep'); os.symlink('f', 'l')",
           "ok", NULL);
    kiln_session *b = branch(a, "b");
    EXPECT(b, "print(x, open('f').read(), open('d/g').read(), os.readlink('l'))", "ok",
           "[1] of a deep f\n");
    EXPECT(b, "x.append(2); open('f', 'w').write('of b'); os.remove('d/g')", "ok", NULL);
    EXPECT(a, "print(x, open('f').read(), open('d/g').read())", "ok", "[1] of a deep\n");
    EXPECT(a, "x.append(3); open('new', 'w').close()", "ok", NULL);
    EXPECT(b, "print(x, open('f').read(), os.path.exists('new'), os.getcwd())", "ok",
           "[1, 2] of b False /run/session/work\n");
    /* absolute names, other folders, programs, temporary files */
    EXPECT(b,
           "open('/work/abs', 'w').write('1'); open('/tmp/t', 'w').write('1')\n"
           "open('/dev/shm/s', 'w').write('1'); open('/code/c', 'w').write('1')\n"
           "import subprocess, tempfile\n"
           "print(subprocess.run(['sh', '-c', 'cat abs; echo; id -un'], capture_output=True,"
           " text=True).stdout.split(), tempfile.TemporaryFile().write(b'x'))",
           "ok", "['1', 'kiln'] 1\n");
    EXPECT(a, "print(os.path.exists('/work/abs'), os.path.exists('/tmp/t'))", "ok",
           "False False\n");
    auto_json json_t *result = execute(b, "1", &(manner){.timeout_ms = 5000});
    CHECK(json_integer_value(json_object_get(result, "execution_count")) == 6);
}

static void of_a_branch(void)
{
    kiln_session *at = open_session("s0");
    char id[16];
    EXPECT(at, "x = 0", "ok", NULL);
    kiln_session *all[6] = {at};
    for (int i = 1; i < 6; i++) {
        snprintf(id, sizeof(id), "s%d", i);
        all[i] = branch(all[i - 1], id);
        EXPECT(all[i], "x += 1; open('f%d' % x, 'w').close()", "ok", NULL);
    }
    EXPECT(all[5], "import os; print(x, sorted(os.listdir()))", "ok",
           "5 ['f1', 'f2', 'f3', 'f4', 'f5']\n");
    EXPECT(all[2], "import os; print(x, sorted(os.listdir()))", "ok", "2 ['f1', 'f2']\n");
    /* two of one */
    kiln_session *other = branch(all[2], "other");
    EXPECT(other, "x = 'other'", "ok", NULL);
    /* the middle goes first */
    kiln_session_close(all[0]);
    kiln_session_close(all[3]);
    EXPECT(all[5], "print(x)", "ok", "5\n");
    EXPECT(other, "print(x)", "ok", "other\n");
    EXPECT(all[4], "import time; time.sleep(0.01); print(x)", "ok", "4\n");
    kiln_session_close(all[5]);
    EXPECT(all[4], "print(x)", "ok", "4\n");
}

static void ends(void)
{
    kiln_session *a = open_session("a");
    EXPECT(a, "x = 1", "ok", NULL);
    kiln_session *b = branch(a, "b");
    /* the parent's worker dies, is killed, is swept: the branch goes on */
    EXPECT(a, "import os; os._exit(3)", "crashed", NULL);
    EXPECT(b, "print(x)", "ok", "1\n");
    EXPECT(a, "x = 2", "ok", NULL);
    EXPECT_HOW(a,
               "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [2])\n"
               "while True: pass",
               "timeout", NULL, .timeout_ms = 300);
    EXPECT(b, "print(x)", "ok", "1\n");
    EXPECT_HOW(a,
               "import subprocess, time\nsubprocess.Popen(['sleep', '100'])\n"
               "time.sleep(100)",
               "timeout", NULL, .timeout_ms = 300);
    EXPECT(b, "print(x)", "ok", "1\n");
    /* the branch's end is its own, and told as it was */
    auto_json json_t *result = execute(b, "import os; os.kill(os.getpid(), 11)", &(manner){0});
    CHECK(strcmp(text_of(result, "status"), "crashed") == 0);
    EXPECT(b, "x = 5; print(x)", "ok", "5\n");
    EXPECT(a, "print('a')", "ok", "a\n");
    /* a second worker there can be branched, too */
    kiln_session *c = branch(b, "c");
    EXPECT(c, "print(x)", "ok", "5\n");
    EXPECT_HOW(c, "while True: pass", "timeout", NULL, .timeout_ms = 200);
    EXPECT(c, "print(x)", "ok", "5\n");
}

static void refusals(void)
{
    char why[1024];
    kiln_session *a = open_session("a");
    EXPECT(a,
           "import threading, time\nstop = threading.Event()\n"
           "t = threading.Thread(target=stop.wait); t.start()",
           "ok", NULL);
    CHECK(try_branch(a, "b", why, sizeof(why)) == NULL);
    CHECK(strstr(why, "2 threads run in it") != NULL);
    EXPECT(a, "stop.set(); t.join()\nimport mmap\nm = mmap.mmap(-1, 4096)", "ok", NULL);
    CHECK(try_branch(a, "b", why, sizeof(why)) == NULL);
    CHECK(strstr(why, "shared memory") != NULL);
    EXPECT(a, "m.close()", "ok", NULL);
    kiln_session *b = branch(a, "b");
    EXPECT(b, "print(threading.active_count())", "ok", "1\n");
    CHECK(try_branch(a, "b", why, sizeof(why)) == NULL);
    CHECK(strstr(why, "open already") != NULL);
}

static void state_of_the_process(void)
{
    kiln_session *a = open_session("a");
    EXPECT(a,
           "import os, random, socket\nf = open('log', 'w+'); f.write('12345'); f.flush()\n"
           "f.seek(2)\nr, wr = os.pipe(); pair = socket.socketpair()\n"
           "n = open('/dev/null'); d = os.open('.', os.O_RDONLY)\n"
           "g = open('gone', 'w'); os.remove('gone')\nrandom.seed(1)\n"
           "zeros = bytearray(1 << 20)",
           "ok", NULL);
    kiln_session *b = branch(a, "b");
    EXPECT(b, "print(f.read(1), f.tell())", "ok", "3 3\n");
    EXPECT(a, "print(f.read(2), f.tell())", "ok", "34 4\n");
    EXPECT(b, "f.seek(0); f.write('bbbbb'); f.flush()", "ok", NULL);
    EXPECT(a, "print(open('log').read())", "ok", "12345\n");
    EXPECT(b,
           "for call in (lambda: os.write(wr, b'x'), lambda: pair[0].send(b'x'),\n"
           "             lambda: os.write(g.fileno(), b'x')):\n"
           "  try: call(); print('works')\n  except OSError as e: print(e.errno)\n"
           "print(n.read() == '', sorted(os.listdir(d)) == sorted(os.listdir('.')))",
           "ok", "9\n9\n9\nTrue True\n");
    EXPECT(a, "os.write(wr, b'x'); print(os.read(r, 1), pair[0].send(b'y'))", "ok", "b'x' 1\n");
    auto_json json_t *one = execute(a, "print(random.random())", &(manner){0});
    auto_json json_t *two = execute(b, "print(random.random())", &(manner){0});
    CHECK(strcmp(text_of(one, "stdout"), text_of(two, "stdout")) != 0);
    EXPECT(b, "import subprocess; print(subprocess.run(['true']).returncode, os.getppid())",
           "ok", "0 0\n");
    /* no child that the code did not start */
    EXPECT(a, "try: os.wait()\nexcept ChildProcessError: print('none')", "ok", "none\n");
}

static void confinement(void)
{
    static const char look[] =
        "s = open('/proc/self/status').read()\n"
        "print([l.split()[1] for l in s.splitlines() if l.startswith(('Cap', 'NoNew',"
        " 'Seccomp:'))])";
    static const char tries[] =
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "for kind in ('user', 'mnt', 'pid', 'ipc', 'net'):\n"
        "  fd = os.open('/proc/self/ns/' + kind, os.O_RDONLY)\n"
        "  for flag in (0, 0x10000000, 0x20000, 0x20000000):\n"
        "    assert libc.setns(fd, flag) == -1 and ctypes.get_errno() == errno.EPERM, kind\n"
        "for call in (lambda: libc.unshare(0x10000000), lambda: libc.mount(b'a', b'/', b'', 0, "
        "0),"
        " lambda: libc.setuid(0), lambda: libc.chroot(b'/')):\n"
        "  assert call() == -1\n"
        "for name in ('/x', '/usr/x', '/run/x', '/run/session/x', '/proc/sys/x', '/dev/x'):\n"
        "  try: open(name, 'w'); print('wrote', name)\n"
        "  except OSError: pass\n"
        "print(os.getuid() == os.stat('/work').st_uid, [p for p in os.listdir('/proc')"
        " if p.isdigit() and int(p) not in (1, os.getpid())])";
    static const char zeros[] = "['0000000000000000', '0000000000000000', '0000000000000000', "
                                "'0000000000000000', '0000000000000000', '1', '2']\n";
    kiln_session *a = open_session("a");
    EXPECT(a, "import os\nuid = os.getuid()", "ok", NULL);
    EXPECT(a, tries, "ok", "True []\n");
    kiln_session *b = branch(a, "b");
    EXPECT(a, look, "ok", zeros);
    EXPECT(b, look, "ok", zeros);
    EXPECT(b, tries, "ok", "True []\n");
    EXPECT(b, "print(uid == os.getuid())", "ok", "True\n");
    /* nothing of the parent can be named: no process, no file */
    EXPECT(a,
           "open('secret', 'w').write('a')\nimport subprocess\n"
           "p = subprocess.Popen(['sleep', '60'])",
           "ok", NULL);
    EXPECT(b, "try: os.kill(-1, 9)\nexcept OSError as e: print(e.errno)", "ok", "3\n");
    EXPECT(a, "print(p.poll()); p.kill(); p.wait()", "ok", "None\n");
    EXPECT(b, "print(os.path.exists('/work/secret'))", "ok", "False\n");
}

static void limits(void)
{
    kiln_session *a = open_session("a");
    EXPECT(a, "data = bytes(1 << 20)", "ok", NULL);
    kiln_session *b = branch(a, "b");
    EXPECT(b, "open('f', 'wb').write(bytes(6 << 20))", "ok", NULL);
    EXPECT(b, "open('g', 'wb').write(bytes(6 << 20))", "limit", NULL);
    EXPECT(a, "open('g', 'wb').write(bytes(6 << 20))", "ok", NULL);
    EXPECT(a, "print('on')", "ok", "on\n");
}

static void nothing_left(void)
{
    kiln_session *a = open_session("a");
    EXPECT(a, "x = 1", "ok", NULL);
    for (int i = 0; i < 5; i++) {
        kiln_session *b = branch(a, NULL);
        EXPECT(b, "print(x)", "ok", "1\n");
        kiln_session_close(b);
    }
    EXPECT(a,
           "import os; print([p for p in os.listdir('/proc') if p.isdigit() and "
           "int(p) > 1 and int(p) != os.getpid()])",
           "ok", NULL);
}

static void files_only(void)
{
    kiln_session *a = open_session("a");
    EXPECT_HOW(a, "open('f', 'w').write('exec')", "ok", NULL, .backend = "exec");
    kiln_session *b = branch(a, "b");
    EXPECT_HOW(b, "print(open('f').read())", "ok", "exec\n", .backend = "exec");
    EXPECT_HOW(b, "open('f', 'w').write('b')", "ok", NULL, .backend = "exec");
    EXPECT_HOW(a, "print(open('f').read())", "ok", "exec\n", .backend = "exec");
    /* and both backends at once */
    EXPECT(a, "y = 7", "ok", NULL);
    kiln_session *c = branch(a, "c");
    EXPECT(c, "print(y)", "ok", "7\n");
    EXPECT_HOW(c, "print(open('f').read())", "ok", "exec\n", .backend = "exec");
    /* one that has run nothing yet */
    kiln_session *empty = open_session("empty");
    kiln_session *d = branch(empty, "d");
    EXPECT(d, "print(1)", "ok", "1\n");
}

/* A session's code can see its branches, read them, reach their files, and end them: the kernel
 * lets the owner of a user namespace. It cannot change their memory, nor take what they have
 * open. */
static void of_the_family(void)
{
    static const char tries[] =
        "import ctypes, os, signal\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "others = [int(p) for p in os.listdir('/proc') if p.isdigit()]\n"
        "others = [p for p in others if p not in (1, os.getpid())]\n"
        "print(len(others) > 0)\n"
        "def opens(path, flags=os.O_RDONLY):\n"
        "  try: os.close(os.open(path, flags)); return True\n"
        "  except OSError: return False\n"
        "buffer = ctypes.create_string_buffer(8)\n"
        "class Part(ctypes.Structure): _fields_ = [('at', ctypes.c_void_p), ('n', "
        "ctypes.c_size_t)]\n"
        "mine, theirs = Part(ctypes.addressof(buffer), 8), Part(id(others), 8)\n"
        "for p in others:\n"
        "  at = '/proc/%d/' % p\n"
        "  reached = [n for n in ('mem', 'oom_score_adj', 'clear_refs') if opens(at + n, "
        "os.O_WRONLY)]\n"
        "  for call in (libc.process_vm_readv, libc.process_vm_writev):\n"
        "    if call(p, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0) >= 0: "
        "reached.append('vm')\n"
        "  if libc.ptrace(16, p, 0, 0) == 0: reached.append('ptrace')\n"
        "  pidfd = libc.syscall(434, p, 0)\n"
        "  for fd in range(20):\n"
        "    if libc.syscall(438, pidfd, fd, 0) >= 0: reached.append('getfd')\n"
        "  if reached: print(p, reached)\n";
    kiln_session *a = open_session("a");
    EXPECT(a, "x = 1", "ok", NULL);
    kiln_session *b = branch(a, "b");
    EXPECT(b, "open('secret', 'w').write('of b'); x = 2", "ok", NULL);
    auto_json json_t *tried = execute(a, tries, &(manner){0});
    CHECK(strcmp(text_of(tried, "stdout"), "True\n") == 0);
    if (strcmp(text_of(tried, "stdout"), "True\n") != 0) {
        report("%s", text_of(tried, "stdout"));
    }
    EXPECT(b, "print(x, open('secret').read())", "ok", "2 of b\n");
    EXPECT(a, "for p in others: os.kill(p, signal.SIGKILL)", "ok", NULL);
    auto_json json_t *result = execute(b, "print(x)", &(manner){0});
    CHECK(strcmp(text_of(result, "status"), "ok") != 0); /* and it is told */
    EXPECT(b, "print(open('secret').read())", "ok", "of b\n");
    EXPECT(a, "print(x)", "ok", "1\n");
}

/* A second branch is prepared once there was one. */
static void made_ahead(void)
{
    kiln_session *a = open_session("a");
    EXPECT(a, "x = 1", "ok", NULL);
    kiln_session_close(branch(a, NULL));
    CHECK(family_kill(getpid(), "kiln-spare", "kiln-init"));
    kiln_session *b = branch(a, NULL);
    EXPECT(b, "print(x)", "ok", "1\n");
}

/* Each is a user namespace within the last one. */
static void how_deep(void)
{
    enum { TOO_DEEP = 40 };
    char why[1024] = "";
    kiln_session *at = open_session(NULL);
    EXPECT(at, "x = 1", "ok", NULL);
    int depth = 0;
    for (kiln_session *next = at; depth < TOO_DEEP && next != NULL; depth++) {
        at = next;
        next = try_branch(at, NULL, why, sizeof(why));
    }
    CHECK(depth > 16 && depth < TOO_DEEP);
    if (strstr(why, "branch: too deep: the kernel has 32 namespaces") == NULL) {
        report("after %d: %s", depth, why);
    }
    EXPECT(at, "print(x)", "ok", "1\n");
}

SCENE(independence)
SCENE(of_a_branch)
SCENE(ends)
SCENE(refusals)
SCENE(state_of_the_process)
SCENE(confinement)
SCENE(limits)
SCENE(of_the_family)
SCENE(made_ahead)
SCENE(how_deep)
SCENE(nothing_left)
SCENE(files_only)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TESTS(independence),         TESTS(of_a_branch),   TESTS(ends),     TESTS(refusals),
        TESTS(state_of_the_process), TESTS(confinement),   TESTS(limits),   TESTS(nothing_left),
        TESTS(files_only),           TESTS(of_the_family), TESTS(how_deep), TESTS(made_ahead),
    };
    return cmocka_run_group_tests_name("branch", tests, NULL, NULL);
}
