#!/usr/bin/env luajit
-- What happens when something dies that should not: a worker, a supervisor, a zygote,
-- the engine itself, each killed from outside in the middle of a cell.
local tap = require("tap")
local posix = tap.posix
local ffi = require("ffi")
local C = ffi.C
local before = tap.snapshot()

local function stat(pid)
  local text = posix.read_file("/proc/" .. pid .. "/stat") or ""
  local name, parent = text:match("%((.*)%) %S (%d+)")
  return name, tonumber(parent)
end

-- What is below `pid`, by name. The worker is what is below zygote or supervisor.
local function family(pid)
  local children = {}
  for _, entry in ipairs((posix.list("/proc"))) do
    local child = tonumber(entry)
    local _, parent = stat(entry)
    if child and parent then
      children[parent] = children[parent] or {}
      table.insert(children[parent], child)
    end
  end
  local found = {}
  local function descend(at)
    for _, child in ipairs(children[at] or {}) do
      local name = stat(child):match("^kiln%-(%a+)$") or "program"
      -- A supervisor that is just being forked still has the spawner's name.
      if name ~= "spawner" or not found.spawner then
        found[name == "guest" and "worker" or name == "program" and found.init and "worker" or name] = child
      end
      descend(child)
    end
  end
  descend(pid)
  return found
end

local busy = "import time\nprint('running', flush=True)\ntime.sleep(60)"

local function start(backend, ...)
  local process = tap.start { "kiln", "run", "-b", backend, "-c", busy, ... }
  tap.ok(process:wait_for("running\n"), backend .. ": the cell runs")
  return process, family(process.pid)
end

for _, backend in ipairs { "interpreter", "exec" } do
  local process, pids = start(backend)
  tap.ok(pids.stub and pids.spawner and pids.init and pids.worker,
    backend .. ": stub, spawner, supervisor, worker")
  C.kill(pids.worker, posix.SIGKILL)
  local result = process:wait()
  tap.is(result.code, 137, backend .. ": worker killed: 128 + 9")
  tap.is(result.out, "running\n", backend .. ": its output is kept")
  tap.like(result.err, "signal 9", backend .. ": and told why")

  process, pids = start(backend)
  C.kill(pids.init, posix.SIGKILL)
  result = process:wait()
  tap.ok(result.code == 125 or result.code == 137, backend .. ": supervisor killed: " .. tostring(result.code))
  tap.like(result.err, "^kiln: ", backend .. ": told in one line")

  for _, victim in ipairs(backend == "exec" and { "stub", "spawner" } or { "stub", "spawner", "zygote" }) do
    process, pids = start(backend)
    C.kill(pids[victim], posix.SIGKILL)
    result = process:wait()
    tap.ok(result.code == 125 or result.code == 137,
      backend .. ": " .. victim .. " killed: " .. tostring(result.code))
  end

  process, pids = start(backend)
  C.kill(process.pid, posix.SIGKILL)
  process:wait()
  local left = tap.leaks(before, function(line) return line:find("^control group") end)
  tap.is(table.concat(left, "\n"), "",
    backend .. ": the engine killed -9 leaves no process, mount or file")
  -- its cgroup has nobody left to remove it: the next engine does
  tap.is(tap.run { "kiln", "run", "-b", backend, "-c", "print(1)" }.out, "1\n",
    backend .. ": the next one works")
  tap.no_leaks(before, backend .. ": and clears what was left")
end

-- ---- whose a cgroup is

-- v1's own groups of memory and pids, where groups can be made: this test's.
local function own_groups()
  local found = {}
  for controller, path in (posix.read_file("/proc/self/cgroup") or ""):gmatch("%d+:([%w,_=]+):([^\n]*)") do
    local folder = "/sys/fs/cgroup/" .. controller .. path
    if (controller == "memory" or controller == "pids")
      and C.mkdir(folder .. "/kiln-test-of-death", 493) == 0 then
      found[#found + 1] = folder .. "/kiln-test-of-death"
    end
  end
  return found
end

local function engines_groups()
  local count = 0
  for line in tap.run { "find", "/sys/fs/cgroup", "-maxdepth", "6", "-name", "kiln-*-*", "-path",
    "*/kiln-test-of-death/*" }.out:gmatch("[^\n]+") do
    if not line:find("/kiln%-[^/]*/.*/") or line:find("kiln%-%d+%-%d+$") then count = count + 1 end
  end
  return count
end

-- Apart from the other engines of this machine, which would clear it, too: notes of groups
-- are in /run.
local groups = own_groups()
local apart = tap.start { "unshare", "--mount", "--propagation", "private", "sh", "-c",
  "mount -t tmpfs none /run && echo apart && exec sleep 600" }
if #groups ~= 2 or not apart:wait_for("apart\n") then
  tap.skip("needs root, the v1 controllers memory and pids, and groups that can be made", 4)
else
  local nsenter = { "nsenter", "--target", tostring(apart.pid), "--mount", "--wd=/" }
  local function inside(...)
    local argv = { unpack(nsenter) }
    for _, word in ipairs { ... } do argv[#argv + 1] = word end
    return argv
  end
  local enter = "for g in \"$1\" \"$2\"; do echo $$ >$g/cgroup.procs; done; shift 2; exec \"$@\""
  local engine = tap.start(inside("sh", "-c", enter, "sh", groups[1], groups[2], tap.kiln, "run", "-c", busy))
  tap.ok(engine:wait_for("running\n"), "an engine in a group of its own")
  local had = engines_groups()
  engine:kill(posix.SIGKILL)
  engine:wait()
  tap.ok(had > 0, "it has groups there")
  local next_one = tap.run(inside(tap.kiln, "run", "-c", "print(1)"))
  if not tap.is(next_one.out, "1\n", "it was killed, another starts elsewhere") then tap.diag(next_one.err) end
  tap.is(engines_groups(), 0, "and clears what was left, where it would not look")
end
apart:kill(posix.SIGKILL)
apart:wait()
for _, group in ipairs(groups) do tap.run { "rmdir", group } end

-- Two in the same group that cannot see each other's processes.
if C.getuid() ~= 0 then
  tap.skip("needs root for a pid namespace", 4)
else
  local first = tap.start { "kiln", "run", "-c", busy }
  tap.ok(first:wait_for("running\n"), "an engine")
  local second = tap.run { "unshare", "--pid", "--fork", "--mount-proc", tap.kiln, "run", "-c", "print(1)" }
  tap.is(second.out, "1\n", "another in a pid namespace of its own")
  if second.code ~= 0 then tap.diag(second.err) end
  posix.sleep(0.1)
  tap.is(first.ended or false, false, "does not take the first for dead")
  first:kill(posix.SIGINT)
  tap.is(first:wait().code, 130, "which ends when it is asked to")
end

-- A notebook goes on after its worker died, and says that the state is lost.
local dir = tap.tempdir()
tap.write(dir .. "/n.ipynb", [[{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[
{"cell_type":"code","id":"a","metadata":{},"execution_count":null,"outputs":[],"source":"x = 1"},
{"cell_type":"code","id":"b","metadata":{},"execution_count":null,"outputs":[],"source":"import os\nos.kill(os.getpid(), 9)"},
{"cell_type":"code","id":"c","metadata":{},"execution_count":null,"outputs":[],"source":"print('alive')\nx"}]}]])
local result = tap.run { "kiln", "run", "--keep-going", "-o", dir .. "/out", dir .. "/n.ipynb" }
local notebook = tap.read(dir .. "/out/n.ipynb") or ""
tap.contains(notebook, "alive", "the cell after a dead worker runs in a new one")
tap.contains(notebook, "NameError", "without the old one's state")
tap.isnt(result.code, 0, "and the run is no success")

-- retry: the same code elsewhere when its worker died
result = tap.run_json { "kiln", "run", "--json", "--set", "policy.retry.fallback=exec", "-c",
  "import os, sys\nif 'main.py' in sys.argv[0]: print('exec')\nelse: os.kill(os.getpid(), 9)" }
tap.is(result.json and result.json.status, "ok", "retry: the fallback ran it")
tap.is(result.json and result.json.stdout, "exec\n", "retry: on exec")
local seen
for _, decision in ipairs(result.json and result.json.decisions or {}) do
  if decision.policy == "retry" then seen = decision.detail end
end
tap.is(seen, "exec", "retry: and the decision is shown")

tap.no_leaks(before, "nothing is left behind")
tap.done()
