#!/usr/bin/env luajit
-- ATTACKS.md, memory, CPU, time: code that eats what there is, or never ends.
local tap = require("tap")
if os.getenv("KILN_SANITIZE") then
  tap.skip_all("ASan's shadow and quarantine count as the code's memory: the figures mean nothing")
end
local attack = require("attack")
local before = tap.snapshot()
local backends = { "exec", "interpreter" }

local function both(make)
  local groups = {}
  for i, backend in ipairs(backends) do groups[i] = make(backend) end
  return unpack(groups)
end

-- ---- memory

local spent = { status = "limit", error = "memory", keeps = "so far\n" }
local function bomb(name, code, more)
  local cell = { name, code = "print('so far', flush=True)\n" .. code }
  for key, value in pairs(more or spent) do cell[key] = value end
  return cell
end
local by_list = "l = []\nwhile True:\n    l.append(bytearray(1 << 20))"
local by_small_objects = "l = []\nwhile True:\n    l.append([None] * 10)"
local by_mmap = [[
import mmap
m = mmap.mmap(-1, 256 << 20)
for at in range(0, len(m), 4096):
    m[at] = 1]]
local by_shared_mmap = [[
import mmap, os
m = mmap.mmap(-1, 256 << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
for at in range(0, len(m), 4096):
    m[at] = 1]]
local by_memfd = [[
import os
fd = os.memfd_create('m')
while True:
    os.write(fd, bytes(1 << 20))]]
local by_processes = [[
import os, time
for _ in range(12):
    if os.fork() == 0:
        mine = bytearray(8 << 20)
        time.sleep(60)
while True:
    os.wait()
    raise SystemExit(1)]]
-- A cell that survives the death of its child says so itself.
local child_bomb = [[
import subprocess, sys
done = subprocess.run(['/usr/bin/python3', '-c', 'l = []\nwhile True: l.append(bytearray(1 << 20))'])
sys.exit(done.returncode != 0 and 5)]]
local function fill(folder)
  return ("with open('%s/big', 'wb', buffering=0) as f:\n    while True:\n        f.write(bytes(1 << 20))")
    :format(folder)
end
-- More virtual memory than there is, refused by the kernel or by the limit.
local refused = { status = { "limit", "error" }, error = { "memory", "MemoryError", "ExitStatus" },
  keeps = "so far\n" }

attack.run(both(function(backend)
  return { "memory bomb", backend = backend,
    bomb("list", by_list), bomb("small objects", by_small_objects),
    bomb("one bytearray of 64 GiB", "b = bytearray(64 << 30)", refused),
    bomb("mmap", by_mmap), bomb("shared mmap", by_shared_mmap), bomb("memfd", by_memfd),
    bomb("many small processes", by_processes, { keeps = "so far\n", error = "memory",
      status = "limit", others = "" }),
    bomb("a child", child_bomb),
  }
end))

-- Files are memory, too, and stay when processes are killed: a disk above the memory
-- must not keep the next execution from having any.
local filled = { "files as memory", backend = "exec", language = "bash",
  set = { "limits.memory=64M", "limits.disk=1G", "limits.processes=16" },
  probe = [[/usr/bin/python3 -c "print('alive 42 others 0', len(bytearray(16 << 20)))"]] }
for _, folder in ipairs { "/dev/shm", "/tmp", "/work" } do
  filled[#filled + 1] = { "in " .. folder, status = "limit", error = "disk", keeps = "so far\n",
    code = "echo so far; for i in 1 2 3 4; do /usr/bin/head -c 32000000 /dev/zero > " .. folder
      .. "/big$i; done; exit 1" }
  filled[#filled + 1] = { "and given back in " .. folder, code = "/bin/rm " .. folder .. "/big?" }
end
local both_filled = { "files as memory", backend = "interpreter", set = filled.set }
for _, folder in ipairs { "/dev/shm", "/tmp" } do
  both_filled[#both_filled + 1] = bomb("in " .. folder, fill(folder), { status = "limit",
    error = "disk", keeps = "so far\n" })
  both_filled[#both_filled + 1] = { "and given back in " .. folder,
    code = "import os\nos.remove('" .. folder .. "/big')" }
end
attack.run(filled, both_filled)

attack.run { "memory bomb", backend = "exec", language = "c", set = { "limits.memory=64M" },
  { "in C", code = [[
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
  (void)!write(1, "so far\n", 7);
  for (;;) { char *p = malloc(1 << 20); if (p) memset(p, 1, 1 << 20); }
}]], status = "limit", error = "memory", signal = 9, keeps = "so far\n" },
  { "recursion without end", code = [[
#include <unistd.h>
static int down(volatile int n) { volatile char room[4096]; room[0] = (char)n; return down(n + 1) + room[0]; }
int main(void) { (void)!write(1, "so far\n", 7); return down(0); }]],
    status = "crashed", signal = 11, keeps = "so far\n" },
}

-- ---- recursion in Python

local recursion = "def f(n):\n    return f(n + 1)\nprint('so far', flush=True)\nf(0)"
-- Python's own frames are on the heap: it takes calls through C to fill the stack.
local no_limit = [[
import sys
sys.setrecursionlimit(10 ** 9)
class A:
    def __repr__(self):
        return repr(self)
print('so far', flush=True)
repr(A())]]
local fatal = [[
import ctypes, faulthandler
faulthandler.enable()
print('so far', flush=True)
ctypes.string_at(0)]]
attack.run(both(function(backend)
  return { "recursion", backend = backend, set = { "limits.memory=1G" },
    { "in Python", code = recursion, status = "error", error = { "RecursionError", "ExitStatus" },
      keeps = "so far\n" },
    { "with sys.setrecursionlimit(10**9)", code = no_limit, status = "crashed", signal = 11,
      keeps = "so far\n" },
    { "a fault, with faulthandler", code = fatal, status = "crashed", signal = 11,
      keeps = "so far\n", err = "Fatal Python error" },
  }
end))

-- ---- CPU and wall clock

local loops = {
  { "busy loop in Python", "while True: pass" },
  { "busy loop in C", "9**9**9" },
  { "busy loop in a regular expression", "import re\nre.match('(a+)+$', 'a' * 64 + 'b')" },
  { "sort without end", "class K:\n    def __lt__(self, other):\n        while True: pass\nsorted([K(), K()])" },
}
local function cells(group, list, want)
  for _, one in ipairs(list) do
    local cell = { one[1], code = "print('so far', flush=True)\n" .. one[2], keeps = "so far\n" }
    for key, value in pairs(want) do cell[key] = value end
    group[#group + 1] = cell
  end
  return group
end
local sleeps = {
  { "sleep past the deadline", "import time\ntime.sleep(60)" },
  { "wait for a child that sleeps", "import subprocess\nsubprocess.run(['/bin/sleep', '60'])" },
  { "lock that nobody opens", "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()" },
  { "read that nothing answers", "import os\nr, w = os.pipe()\nos.read(r, 1)" },
}
local wall = { status = "timeout", error = "timeout" }
local groups = {}
for _, backend in ipairs(backends) do
  for _, list in ipairs { loops, sleeps } do
    groups[#groups + 1] = cells({ "wall clock", backend = backend, timeout = "700ms" }, list, wall)
  end
end
attack.run(unpack(groups))

local cpu = { status = "timeout", error = "cpu" }
local grandchildren = {
  { "grandchildren", [[
import subprocess
subprocess.run(['/bin/sh', '-c', '/bin/sh -c "while :; do :; done"; exit 0'])]] },
  { "orphans", [[
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        while True: pass
    os._exit(0)
os.wait()
time.sleep(60)]] },
  { "many at once, each below the limit", [[
import os
for _ in range(4):
    if os.fork() == 0:
        while True: pass
os.wait()]] },
}
attack.run(both(function(backend)
  return cells(cells({ "CPU time", backend = backend, timeout = "20s", set = { "limits.cpu=300ms" } },
    { loops[1], loops[2] }, cpu), grandchildren, cpu)
end))

-- What descendants used is counted, also theirs whom nobody waited for.
attack.run(both(function(backend)
  return { "CPU time", backend = backend,
    { "of grandchildren is in the usage", code = [[
import subprocess
subprocess.run(['/bin/sh', '-c', '''/usr/bin/python3 -c "
import time
while time.process_time() < 0.2: pass"; true'''])]],
      check = function(result)
        return result.usage.cpu_ms >= 190, "usage.cpu_ms is " .. tostring(result.usage.cpu_ms)
      end },
  }
end))

-- ---- a deadline that nothing can meet

for _, backend in ipairs(backends) do
  local result = tap.run_json { "kiln", "run", "--json", "-b", backend, "--timeout", "1ms", "-c",
    "print('started')" }
  attack.judge(result.json, { status = "timeout", error = "timeout" },
    backend .. ": a timeout shorter than the start")
  tap.is(result.code, 124, backend .. ": and its exit status")
end

tap.no_leaks(before, "nothing is left behind by all of it")
tap.done()
