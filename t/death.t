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
  local parent = text:match("%(.*%) %S (%d+)")
  return tonumber(parent)
end

-- The chain of processes below `pid` down to the deepest: zygotes, supervisor, worker.
local function chain(pid)
  local children = {}
  for _, entry in ipairs((posix.list("/proc"))) do
    local child = tonumber(entry)
    local parent = child and stat(child)
    if parent then
      children[parent] = children[parent] or {}
      table.insert(children[parent], child)
    end
  end
  local found, at = {}, pid
  while children[at] do
    table.sort(children[at])
    at = children[at][#children[at]]
    found[#found + 1] = at
  end
  return found
end

local busy = "import time\nprint('running', flush=True)\ntime.sleep(60)"

local function start(backend, ...)
  local process = tap.start { "kiln", "run", "-b", backend, "-c", busy, ... }
  tap.ok(process:wait_for("running\n"), backend .. ": the cell runs")
  return process, chain(process.pid)
end

for _, backend in ipairs { "interpreter", "exec" } do
  local process, pids = start(backend)
  tap.ok(#pids >= 3, backend .. ": zygote, supervisor, worker: " .. #pids)
  C.kill(pids[#pids], posix.SIGKILL)
  local result = process:wait()
  tap.is(result.code, 137, backend .. ": worker killed: 128 + 9")
  tap.is(result.out, "running\n", backend .. ": its output is kept")
  tap.like(result.err, "signal 9", backend .. ": and told why")

  process, pids = start(backend)
  C.kill(pids[#pids - 1], posix.SIGKILL)
  result = process:wait()
  tap.ok(result.code == 125 or result.code == 137, backend .. ": supervisor killed: " .. tostring(result.code))
  tap.like(result.err, "^kiln: ", backend .. ": told in one line")

  process, pids = start(backend)
  C.kill(pids[1], posix.SIGKILL)
  result = process:wait()
  tap.ok(result.code == 125 or result.code == 137, backend .. ": zygote killed: " .. tostring(result.code))

  process, pids = start(backend)
  C.kill(process.pid, posix.SIGKILL)
  process:wait()
  local left = {}
  for _, line in ipairs(tap.leaks(before, 2)) do
    if not line:find("^control group") then left[#left + 1] = line end
  end
  tap.is(table.concat(left, "\n"), "",
    backend .. ": the engine killed -9 leaves no process, mount or file")
  -- its cgroup has nobody left to remove it: the next engine does
  tap.is(tap.run { "kiln", "run", "-b", backend, "-c", "print(1)" }.out, "1\n",
    backend .. ": the next one works")
  tap.no_leaks(before, backend .. ": and clears what was left")
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
