#!/usr/bin/env luajit
-- ATTACKS.md, processes: code that forks, hides, stops, dies or refuses to end.
local tap = require("tap")
local attack = require("attack")
local before = tap.snapshot()

-- ---- death by a signal, as its default action and as the real fault

local deaths = {}
for _, backend in ipairs { "exec", "interpreter" } do
  local group = { "death", backend = backend }
  for name, number in pairs { SEGV = 11, ABRT = 6, BUS = 7, FPE = 8, ILL = 4, SYS = 31, KILL = 9 } do
    group[#group + 1] = {
      "by SIG" .. name,
      code = ("import os, signal\nprint('so far', flush=True)\n"
        .. "if %d != 9: signal.signal(%d, signal.SIG_DFL)\nos.kill(os.getpid(), %d)")
        :format(number, number, number),
      status = "crashed", signal = number, keeps = "so far\n",
      error = { "Signal", "WorkerDied" },
    }
  end
  deaths[#deaths + 1] = group
end

local faults = { "fault in C", backend = "exec", language = "c", set = {} }
for _, fault in ipairs {
  { "null pointer", 11, "volatile int *p = 0; *p = 1;" },
  { "abort", 6, "abort();" },
  { "division by zero", 8, "volatile int zero = 0; return 7 / zero;" },
  { "illegal instruction", 4, "__builtin_trap();" },
  { "past the end of a mapped file", 7, [[int fd = open("/tmp/empty", O_RDWR | O_CREAT, 0600);
    volatile char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0); p[0] = 1;]] },
  { "a system call that the filter kills or refuses", 31, "raise(SIGSYS);" },
} do
  faults[#faults + 1] = {
    fault[1], status = "crashed", signal = fault[2], keeps = "so far\n", error = "Signal",
    code = "#include <fcntl.h>\n#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n"
      .. "#include <sys/mman.h>\n#include <unistd.h>\n"
      .. "int main(void) { (void)!write(1, \"so far\\n\", 7); " .. fault[3] .. " }",
  }
end
attack.run(deaths[1], deaths[2], faults)

-- ---- too many of them

local fork_bomb = "import os\nprint('so far', flush=True)\nwhile True:\n    os.fork()"
local quiet_fork_bomb = [[
import os
print('so far', flush=True)
while True:
    try:
        os.fork()
    except OSError:
        pass]]
local fork_until_refused = [[
import os, time
children = 0
print('so far', flush=True)
while True:
    if os.fork() == 0:
        time.sleep(60)
    children += 1]]
local threads = [[
import threading, time
print('so far', flush=True)
while True:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()]]
local caught = [[
import os, time
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
except OSError as error:
    print('refused', error.errno)]]
local zombies = [[
import os
print('so far', flush=True)
for _ in range(1000):
    if os.fork() == 0:
        os._exit(0)]]
local bombs = {}
for _, backend in ipairs { "exec", "interpreter" } do
  local refused = { status = "limit", error = "processes", keeps = "so far\n" }
  local function cell(name, code)
    return { name, code = code, status = refused.status, error = refused.error, keeps = refused.keeps }
  end
  local sessions = {
    { "bomb", timeout = "1500ms",
      { "forks that do nothing else", code = quiet_fork_bomb, status = "timeout",
        error = "timeout", keeps = "so far\n" },
      { "forks whose failure ends some of them", code = fork_bomb, keeps = "so far\n",
        status = { "limit", "timeout" },
        error = { "processes", "timeout", "memory" } }, -- each of 128 writes a traceback
      cell("forks until one is refused", fork_until_refused),
      cell("zombies", zombies) },
    { "bomb", cell("threads until one is refused", threads) },
    { "bomb", { "a refused fork that the code deals with", code = caught, status = "ok",
      out = "refused 11", others = backend == "interpreter" and 15 or 0 } },
  }
  for _, group in ipairs(sessions) do
    group.backend = backend
    bombs[#bombs + 1] = group
  end
end
attack.run(unpack(bombs))
attack.run({
  "fork bomb", backend = "exec", language = "bash", timeout = "1500ms",
  { "in bash", code = "echo so far\nb() { b | b & b; }; b", keeps = "so far\n",
    status = { "timeout", "limit" }, error = { "timeout", "processes" } },
}, {
  "fork bomb", backend = "exec", language = "c", timeout = "2500ms", set = { "limits.processes=16" },
  { "in C", code = '#include <unistd.h>\nint main(void) { (void)!write(1, "so far\\n", 7); '
      .. "for (;;) fork(); }", keeps = "so far\n", status = "timeout", error = "timeout" },
})

-- ---- those that outlive their parent

local orphan = [[
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for i in range(600):
            print('orphan', flush=True)
            time.sleep(0.1)
    os._exit(0)
os.wait()
print('main is done')]]
local daemon = [[
import subprocess
subprocess.Popen(['/usr/bin/setsid', '/bin/sleep', '60'])
print('main is done')]]
local orphan_and_loop = [[
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            time.sleep(1)
    os._exit(0)
os.wait()
print('so far', flush=True)
while True:
    time.sleep(60)]]
attack.run({
  "orphan", backend = "exec", timeout = "1500ms",
  { "double fork that outlives the cell", code = orphan, status = "ok", keeps = "main is done" },
  { "setsid daemon that holds stdout open", code = daemon, status = "ok", keeps = "main is done" },
  { "double fork that outlives the wall clock", code = orphan_and_loop, status = "timeout",
    error = "timeout", keeps = "so far" },
}, {
  -- A session's own background processes are its affair until its clock has run out.
  "orphan", backend = "interpreter", timeout = "1500ms",
  { "double fork that outlives the wall clock", code = orphan_and_loop, status = "timeout",
    error = "timeout", keeps = "so far" },
  { "setsid daemon that holds stdout open", code = daemon, status = "ok", keeps = "main is done",
    others = 1 },
  { "double fork that outlives the cell", code = orphan, status = "ok", keeps = "main is done",
    others = 2 },
})

-- ---- signals at others, signals not heeded

local kill_all = [[
import os, signal, sys
print('so far', flush=True)
try:
    os.kill(-1, signal.SIGKILL)
except ProcessLookupError:
    print('nobody else')
for target in (1, os.getppid()):
    if target > 0:
        for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGSEGV):
            try:
                os.kill(target, number)
            except OSError as error:
                print(error.errno)
print('still here')]]
local stop_self = "import os, signal\nprint('so far', flush=True)\nos.kill(os.getpid(), signal.SIGSTOP)"
local stop_group = [[
import os, signal, subprocess
print('so far', flush=True)
subprocess.run(['/bin/sh', '-c', 'kill -STOP $PPID; kill -STOP 1; kill -STOP -1; kill -STOP $$'])]]
local deaf = [[
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
print('so far', flush=True)
while True:
    pass]]
local handled = [[
import signal, time
def again(number, frame):
    while True:
        time.sleep(0.01)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
    signal.signal(number, again)
print('so far', flush=True)
while True:
    time.sleep(0.01)]]
local blocked = [[
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
print('so far', flush=True)
while True:
    time.sleep(0.01)]]
local swallowed = [[
print('so far', flush=True)
import time
while True:
    try:
        time.sleep(0.01)
    except BaseException:
        pass]]
local kill_from_below = [[
import subprocess, time
print('so far', flush=True)
subprocess.run(['/bin/sh', '-c', 'kill -9 -1'])
time.sleep(60)]]
local groups = {}
for _, backend in ipairs { "exec", "interpreter" } do
  groups[#groups + 1] = { "signals", backend = backend, timeout = "1200ms",
    { "kill of everybody and of the parent", code = kill_all, status = "ok", keeps = "still here" },
    { "everybody killed by a child", code = kill_from_below, status = "crashed", signal = 9,
      keeps = "so far\n" },
    { "SIGSTOP of itself", code = stop_self, status = "timeout", error = "timeout",
      keeps = "so far\n" },
    { "SIGSTOP of the parent and of all", code = stop_group, status = "timeout", error = "timeout",
      keeps = "so far\n" } }
  groups[#groups + 1] = { "signals", backend = backend, timeout = "1200ms" }
  for _, one in ipairs {
    { "all ignored", deaf }, { "handled in a loop", handled }, { "blocked", blocked },
    { "every exception caught", swallowed },
  } do
    table.insert(groups[#groups], { one[1], code = one[2], status = "timeout", error = "timeout",
      keeps = "so far\n" })
  end
end
attack.run(unpack(groups))

-- ---- leaving without a word

attack.run({
  "leaving", backend = "interpreter",
  { "os._exit(0) before the result", code = "import os\nprint('so far')\nos._exit(0)",
    status = "crashed", error = "WorkerExited", exit_code = 0, keeps = "so far\n" },
  { "os._exit(3)", code = "import os\nprint('so far')\nos._exit(3)", status = "crashed",
    error = "WorkerExited", exit_code = 3, keeps = "so far\n" },
  { "another program in the worker's place", status = "crashed", error = "WorkerExited",
    code = "import os\nprint('so far')\nos.execv('/bin/echo', ['echo', 'not the worker'])",
    exit_code = 0, keeps = "so far\n" },
  { "a program in its place that claims to be done", status = "crashed", error = "WorkerExited",
    code = [[
import os
print('so far')
os.execv('/bin/sh', ['sh', '-c', 'for f in /proc/self/fd/*; do '
  'printf "\\45\\0\\0\\0\\120\\1\\0\\0{\\"id\\":1,\\"status\\":\\"ok\\"}" > $f; done; exit 0'])]],
    keeps = "so far\n" },
}, {
  "leaving", backend = "exec",
  { "os._exit(0)", code = "import os\nprint('so far')\nos._exit(0)", status = "ok", exit_code = 0,
    keeps = "so far\n" },
  { "os._exit(3)", code = "import os\nprint('so far')\nos._exit(3)", status = "error",
    error = "ExitStatus", exit_code = 3, keeps = "so far\n" },
  { "another program in its place", status = "error", error = "ExitStatus", exit_code = 1,
    code = "import os\nprint('so far')\nos.execv('/bin/false', ['false'])", keeps = "so far\n" },
})

tap.no_leaks(before, "nothing is left behind by all of it")
tap.done()
