#!/usr/bin/env luajit
-- Each limit, on each backend, from each of the three that may set it: the INI, the
-- request, a policy. The smallest wins, and what was reached has its name in the result.
local tap = require("tap")
local attack = require("attack")
local json = require("json")
local ffi = require("ffi")
local posix = tap.posix

local UID = 65534 -- an ordinary user that every machine has
local before = tap.snapshot()
local dir = tap.tempdir()
posix.chmod(dir) -- the ordinary user reads the scripts
local backends = { "exec", "interpreter" }

-- ------------------------------------------------------------------ running in batches

local waiting = {}
local AT_A_TIME = 3

local function finish_first()
  local one = table.remove(waiting, 1)
  local ran = one.process:wait()
  local document = json.decode(ran.out)
  if not document then tap.diag(ran.err) end
  one.judge(document, ran)
end

-- words: of `kiln run --json`; judge(document, ran) is called when it has ended.
local function run(words, judge, spec)
  if #waiting >= AT_A_TIME then finish_first() end
  local cwd = spec and spec.cwd or tap.tempdir()
  local argv = { spec and spec.kiln or "kiln", "run", "--json" }
  if spec and spec.user then
    argv = { "setpriv", "--reuid=" .. UID, "--regid=" .. UID, "--clear-groups", spec.kiln, "run",
      "--json" }
  end
  for _, word in ipairs(words) do argv[#argv + 1] = word end
  waiting[#waiting + 1] = {
    process = tap.start { argv = argv, cwd = cwd, env = spec and spec.env },
    judge = judge,
  }
end

local function finish_all()
  while #waiting > 0 do finish_first() end
end

local function decided(result, text)
  for _, decision in ipairs(result.decisions) do
    if decision.action == "limit" and decision.detail:find(text, 1, true) then return true end
  end
  return false, "no decision \"" .. text .. "\""
end

local scripts = 0
-- The words that put a policy of these lines in place of all others.
local function policy(lines)
  scripts = scripts + 1
  local path = ("%s/policy-%d.lua"):format(dir, scripts)
  tap.write(path, "return function(input, ctx, next)\n" .. lines .. "\nreturn next(input)\nend\n")
  posix.chmod(path)
  return { "-s", "chain.default.policies=lower", "-s", "policy.lower.script=" .. path }
end

local function join(...)
  local all = {}
  for _, list in ipairs { ... } do
    for _, word in ipairs(list) do all[#all + 1] = word end
  end
  return all
end

-- ----------------------------------------------------------------------- what is reached

local so_far = "print('so far', flush=True)\n"
local by_list = so_far .. "l = []\nwhile True:\n    l.append(bytearray(1 << 20))"
local fill = so_far .. "with open('big', 'wb', buffering=0) as f:\n    while True:\n        f.write(bytes(1 << 20))"
local many_files = so_far .. "for i in range(500):\n    open('f%d' % i, 'w').close()"
local forks = so_far .. [[
import os, time
for i in range(60):
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
]]

local function limit(name)
  return { status = "limit", error = name, keeps = "so far\n" }
end
local function own_error(text)
  return { status = "error", keeps = "so far\n", err = text }
end

-- ini, request: as text; policy: as a Lua value; want, or one for each backend.
local limits = {
  { "timeout", text = "1500ms", lua = 1500, code = so_far .. "import time\ntime.sleep(60)",
    want = { status = "timeout", error = "timeout", keeps = "so far\n" } },
  { "cpu", text = "300ms", lua = 300, code = so_far .. "while True: pass",
    want = { status = "timeout", error = "cpu", keeps = "so far\n" } },
  { "memory", text = "64M", lua = 64 * 2 ^ 20, code = by_list, want = limit("memory") },
  { "processes", text = "12", lua = 12, code = forks, want = limit("processes") },
  { "disk", text = "4M", lua = 4 * 2 ^ 20, code = fill, want = limit("disk") },
  { "files", text = "80", lua = 80, code = many_files, want = limit("files") },
  { "output", text = "1K", lua = 1024, code = "print('x' * 5000)",
    want = { status = "ok", check = function(result)
      return #result.stdout == 1024 and result.truncated.stdout == 5001 - 1024,
        ("%d bytes kept, %d dropped"):format(#result.stdout, result.truncated.stdout)
    end } },
  -- Of these two the kernel tells the program alone. The interpreter hears what its code
  -- was told; another program's failure is its own, in its own words.
  { "open_files", text = "40", lua = 40, code = so_far .. "l = [open('/dev/null') for i in range(200)]",
    want = { interpreter = limit("open_files"), exec = own_error("Too many open files") } },
  { "file_size", text = "64K", lua = 65536, code = so_far .. "open('x', 'wb').write(bytes(1 << 20))",
    want = { interpreter = limit("file_size"), exec = own_error("File too large") } },
  { "cpus", text = "0.25", lua = 0.25, code = [[
import time
start, used = time.monotonic(), time.process_time()
while time.monotonic() - start < 1:
    pass
print((time.process_time() - used) / (time.monotonic() - start))]],
    want = { status = "ok", check = function(result)
      if decided(result, "cpus 0.25 is not kept") then return true end
      return tonumber(result.stdout) < 0.5, "share used: " .. result.stdout
    end } },
}

for _, one in ipairs(limits) do
  local name = one[1]
  local request = name == "timeout" and { "--timeout", one.text }
    or { "--limit", name .. "=" .. one.text }
  local field = name == "timeout" and "input.timeout_ms" or "input.limits." .. name
  local sources = {
    { "INI", { "-s", ("limits.%s=%s"):format(name, one.text) } },
    { "request", request },
    { "policy", policy(("%s = %.2f"):format(field, one.lua)) },
  }
  for _, source in ipairs(sources) do
    for _, backend in ipairs(backends) do
      run(join({ "-b", backend, "-c", one.code }, source[2]), function(result, ran)
        local title = ("%s from %s, %s"):format(name, source[1], backend)
        local want = one.want[backend] or one.want
        attack.judge(result, want, title)
        if want.status == "limit" or want.status == "timeout" then
          tap.is(ran.code, want.status == "limit" and 137 or 124, title .. ": exit status")
        end
      end)
    end
  end
end

-- A program that leaves the signal as it is dies of it, and that is certain.
run({ "-b", "exec", "-l", "bash", "--limit", "file_size=64K", "-c",
  "echo so far; exec head -c 1000000 /dev/zero >x" }, function(result)
  attack.judge(result, limit("file_size"), "file_size, a program that dies of it")
end)

-- ------------------------------------------------------- code that deals with it and goes on

local handled = {
  { "disk", "4M", "disk 4194304 bytes was reached", "f = open('x', 'wb', buffering=0)\nwhile True: f.write(bytes(1 << 20))" },
  { "files", "80", "files 80 was reached", "while True:\n        open('f%d' % n, 'w').close()\n        n += 1" },
  { "processes", "12", "processes 12 was reached", "while True:\n        if os.fork() == 0: time.sleep(60)" },
}
for _, one in ipairs(handled) do
  local code = "import os, time\nn = 0\ntry:\n    " .. one[4]:gsub("\nwhile", "\n    while")
    .. "\nexcept OSError as e:\n    print('went on')"
  for _, backend in ipairs(backends) do
    run({ "-b", backend, "--limit", one[1] .. "=" .. one[2], "-c", code }, function(result)
      attack.judge(result, { status = "ok", keeps = "went on", check = function(r)
        return decided(r, one[3])
      end }, one[1] .. " that the code deals with, " .. backend)
    end)
  end
end

-- A failure that has nothing to do with a limit is none.
run({ "-b", "interpreter", "--limit", "file_size=64K", "-c", "open('/nowhere/x', 'w')" },
  function(result)
    attack.judge(result, { status = "error", error = "FileNotFoundError", check = function(r)
      return not decided(r, "was reached"), "a limit is blamed"
    end }, "another error")
  end)
run({ "-b", "interpreter", "-c", "import errno\nraise BlockingIOError(errno.EAGAIN, 'a socket')" },
  function(result)
    attack.judge(result, { status = "error", error = "BlockingIOError" },
      "EAGAIN that is not the processes'")
  end)

-- ---------------------------------------------------------------------- the smallest wins

run({ "-b", "exec", "-s", "limits.memory=64M", "--limit", "memory=1G", "-c", by_list },
  function(result)
    local want = limit("memory")
    want.check = function(r) return decided(r, "memory 67108864, asked for 1073741824") end
    attack.judge(result, want, "a request cannot raise the INI's")
  end)
run(join({ "-b", "exec", "--limit", "memory=64M", "-c", by_list },
  policy("input.limits.memory = 2 ^ 30")), function(result)
  local want = limit("memory")
  want.check = function(r) return decided(r, "memory 67108864, asked for 1073741824") end
  attack.judge(result, want, "a policy cannot raise the request's")
end)
run(join({ "-b", "interpreter", "--limit", "memory=64M", "-c", by_list },
  policy("input.limits.memory = nil")), function(result)
  attack.judge(result, limit("memory"), "nor take it away")
end)
run(join({ "-b", "exec", "--timeout", "1500ms", "--limit", "cpus=0.5", "-c",
  so_far .. "import time\ntime.sleep(60)" },
  policy("input.timeout_ms = 60000\ninput.limits.cpus = 2.5")), function(result)
  attack.judge(result, { status = "timeout", error = "timeout", check = function(r)
    return decided(r, "timeout_ms 1500, asked for 60000") and decided(r, "cpus 0.5, asked for 2.5")
  end }, "nor the time, nor the CPUs")
end)

-- ------------------------------------------------------------------------ memory is one

-- Charged for the whole tree, and files in memory with it.
for _, folder in ipairs { "/dev/shm", "/tmp", "/work" } do
  run({ "-b", "interpreter", "--limit", "memory=64M", "-c", so_far
    .. ("f = open('%s/big', 'wb', buffering=0)\n"):format(folder)
    .. "for i in range(24):\n    f.write(bytes(1 << 20))\nb = bytearray(48 << 20)" },
    function(result)
      attack.judge(result, limit("memory"), "files in " .. folder .. " are memory")
    end)
end
run({ "-b", "interpreter", "--limit", "memory=64M", "-c", "b = bytearray(48 << 20)" },
  function(result) attack.judge(result, { status = "ok" }, "which without them would do") end)
-- And so they may have half of it.
run({ "-b", "interpreter", "--limit", "memory=64M", "-c",
  "f = open('x', 'wb', buffering=0)\ntry:\n    while True: f.write(bytes(1 << 20))\nexcept OSError: pass" },
  function(result)
    attack.judge(result, { status = "ok", check = function(r)
      return decided(r, "disk 33554432 bytes was reached")
    end }, "disk is told as it is")
  end)
run({ "-b", "exec", "--limit", "memory=64M", "-c", so_far .. [[
import os, time
for i in range(8):
    if os.fork() == 0:
        b = bytearray(16 << 20)
        time.sleep(60)
time.sleep(60)]], "--timeout", "20s" }, function(result)
  attack.judge(result, { status = { "limit", "timeout" }, keeps = "so far\n", check = function(r)
    -- The kernel kills one of them; a parent that sleeps on ends by the clock.
    return r.status == "limit" or decided(r, "memory 67108864 bytes was reached")
  end }, "many small processes")
end)

-- ------------------------------------------------------------------------- cells, usage

local function notebook(cells)
  local path = ("%s/n%d.ipynb"):format(tap.tempdir(), scripts)
  return tap.write(path, attack.notebook("python", cells))
end

run({ "-b", "interpreter", "--keep-going", "-s", "limits.memory=96M", notebook {
  "open('kept', 'w').write('here')\nx = 1",
  by_list,
  "print(open('kept').read(), 'x' in globals())",
} }, function(document)
  attack.judge(document.results[2], limit("memory"), "memory, in the middle of a session")
  attack.judge(document.results[3], { status = "ok", keeps = "here False" },
    "the session starts again and has its files")
end)

run(join({ "-b", "interpreter", "--keep-going", notebook {
  "b = bytearray(100 << 20)\ndel b",
  "# lower\n" .. by_list,
  "b = bytearray(100 << 20)\ndel b",
} }, policy("if input.code:find('lower', 1, true) then\n" ..
  "input.limits.memory = " .. (os.getenv("KILN_SANITIZE") and 192 or 64) .. " * 2 ^ 20\ninput.limits.disk = 2 ^ 22\ninput.limits.open_files = 50\nend")),
  function(document)
    attack.judge(document.results[1], { status = "ok" }, "a cell that may have more")
    local want = limit("memory")
    want.check = function(r)
      return decided(r, "disk 268435456 bytes since the session began, not 4194304 bytes")
        and decided(r, "open_files 256 since the session began, not 50")
    end
    attack.judge(document.results[2], want, "one that may have less, told what could not change")
    attack.judge(document.results[3], { status = "ok" }, "and more again")
  end)

local family = [[
import os, time
def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid
def big():
    b = bytearray(48 << 20)
    time.sleep(0.3)
def busy():
    while time.process_time() < 0.2: pass
pids = [child(big), child(busy), child(lambda: time.sleep(0.3))]
for pid in pids: os.waitpid(pid, 0)
open('x', 'wb').write(bytes(1 << 20))
]]
run({ "-b", "interpreter", notebook { family, "1 + 1" } }, function(document)
  local counts = document.results[1].usage.processes ~= json.null
  local first, second = document.results[1].usage, document.results[2].usage
  tap.ok(first.cpu_ms >= 190, "usage: CPU time of children")
  tap.ok(second.cpu_ms < first.cpu_ms, "and of one cell only")
  tap.ok(first.disk_bytes >= 2 ^ 20, "disk")
  if counts and type(first.processes) == "number" then
    tap.ok(first.processes >= 4, "processes")
    tap.ok(first.max_rss_bytes >= 48 * 2 ^ 20, "memory of children")
    tap.ok(second.max_rss_bytes < 48 * 2 ^ 20, "and of one cell only")
  else
    tap.skip("no cgroup counts here", 3)
  end
end)
finish_all()

-- ------------------------------------------------------------------------- the option

for _, case in ipairs {
  { "memory=1", "has no unit" }, { "memroy=1M", "did you mean \"memory\"" },
  { "memory", "NAME=VALUE" }, { "cpus=x", "is no number" }, { "cpus=0.001", "too small" },
  { "processes=0", "too small" }, { "files=-5", "too small" }, { "cpu=3", "has no unit" },
} do
  local ran = tap.run { "kiln", "run", "--limit", case[1], "-c", "1" }
  tap.ok(ran.code == 2 and ran.err:find(case[2], 1, true) ~= nil, "--limit " .. case[1])
end

-- ------------------------------------------------- an ordinary user, to whom nobody counts

local function installation()
  local top = tap.tempdir()
  posix.chmod(top)
  local script = [[set -e; cd "$1"; mkdir build; cp "$2" build/kiln; mkdir build/plugins
    cp "$3"/plugins/*.so "$3"/plugins/*.worker build/plugins/; cp -r "$4/conf" "$4/scripts" .
    chmod -R a+rX .]]
  local copied = tap.run { "sh", "-c", script, "sh", top, tap.kiln, tap.kiln:match("^(.*)/"),
    tap.root }
  return copied.code == 0 and top .. "/build/kiln" or nil, copied.err
end

ffi.cdef [[ int chown(const char *, unsigned, unsigned); ]]

local shared = so_far .. [[
import mmap, time
m = mmap.mmap(-1, 256 << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
for at in range(0, len(m), 4096):
    m[at] = 1
time.sleep(60)]]
local small_ones = so_far .. [[
import os, time
for i in range(8):
    if os.fork() == 0:
        b = bytearray(24 << 20)
        time.sleep(60)
time.sleep(60)]]
local file_and_memory = so_far .. [[
import time
f = open('/dev/shm/x', 'wb', buffering=0)
for i in range(40): f.write(bytes(1 << 20))
b = bytearray(64 << 20)
time.sleep(60)]]
local shared_by_fork = so_far .. [[
import os, time
b = bytearray(48 << 20)
pids = []
for i in range(5):
    pid = os.fork()
    if pid == 0:
        time.sleep(0.4)
        os._exit(0)
    pids.append(pid)
for pid in pids: os.waitpid(pid, 0)
print('done')]]
local many_busy = so_far .. [[
import os
for i in range(4):
    if os.fork() == 0:
        while True: pass
while True:
    os.wait()]]

local cases = {
  { "a list", { "memory=96M" }, by_list, limit("memory") },
  { "shared memory", { "memory=96M" }, shared, limit("memory") },
  { "many small processes", { "memory=96M" }, small_ones, limit("memory") },
  { "a file and memory together", { "memory=96M" }, file_and_memory, limit("memory") },
  { "memory that a fork shares counts once", { "memory=160M" }, shared_by_fork,
    { status = "ok", keeps = "done" } },
  { "CPU time of the tree", { "cpu=400ms" }, many_busy,
    { status = "timeout", error = "cpu", keeps = "so far\n" } },
  { "disk", { "disk=4M" }, fill, limit("disk") },
}

local function as_ordinary_user(kiln)
  for _, case in ipairs(cases) do
    for _, backend in ipairs(backends) do
      local home = tap.tempdir()
      posix.chmod(home)
      ffi.C.chown(home, UID, UID)
      local words = { "-b", backend, "--timeout", "30s", "-c", case[3] }
      for _, one in ipairs(case[2]) do words = join(words, { "--limit", one }) end
      run(words, function(result)
        attack.judge(result, case[4], ("ordinary user: %s, %s"):format(case[1], backend))
      end, { kiln = kiln, user = true, cwd = home,
        env = { HOME = home, TMPDIR = home, XDG_RUNTIME_DIR = home } })
    end
  end
  finish_all()

  -- A session and its branch, each within its own limit, together above it.
  local home = tap.tempdir()
  posix.chmod(home)
  ffi.C.chown(home, UID, UID)
  local hold = "b = bytearray(150 << 20); import time; time.sleep(0.3); len(b)\n"
  local r = tap.run { argv = { "setpriv", "--reuid=" .. UID, "--regid=" .. UID, "--clear-groups", kiln, "repl", "--json",
      "-s", "one", "--set", "limits.memory=256M" }, cwd = home, stdin = hold .. ":fork two\nb = None\n" .. hold .. ":switch one\ntime.sleep(0.3); len(b)\n",
    env = { HOME = home, TMPDIR = home, XDG_RUNTIME_DIR = home } }
  local statuses = {}
  for line in r.out:gmatch("[^\n]+") do
    local ok, result = pcall(json.decode, line)
    statuses[#statuses + 1] = ok and result.status or line
  end
  if not tap.is(table.concat(statuses, " "), "ok ok ok ok", "ordinary user: a branch's memory is its own, not the session's") then
    tap.diag(r.err, r.out)
  end
end

if ffi.C.getuid() ~= 0 then
  tap.skip("an ordinary user tests already", 2 * #cases + 1)
elseif os.getenv("KILN_SANITIZE") then
  -- Without a cgroup memory is held by RLIMIT_DATA, under which ASan cannot start.
  tap.skip("ASan's shadow memory does not fit an ordinary user's limit", 2 * #cases + 1)
else
  local kiln, why = installation()
  local probe = tap.run { "setpriv", "--reuid=" .. UID, "--regid=" .. UID, "--clear-groups",
    "unshare", "--user", "true" }
  if not tap.ok(kiln, "kiln for an ordinary user") then
    tap.diag(why)
  elseif probe.code ~= 0 then
    tap.skip("no user namespaces for an ordinary user: " .. probe.err, 2 * #cases + 1)
  else
    as_ordinary_user(kiln)
  end
end

tap.no_leaks(before)
tap.done()
