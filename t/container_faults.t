#!/usr/bin/env luajit
-- What can happen to a container, or to its engine, while a cell runs: each is told for what
-- it is, the next cell works, and nothing is left.
local tap = require("tap")
local json = require("json")
local attack = require("attack")
local container = require("container")
local posix = tap.posix
container.start()
local before = tap.snapshot()

local CELL = "open('/work/started', 'w').close()\nprint('kept', flush=True)\nimport time\ntime.sleep(%d)\n'slept'"

-- A notebook whose first cell waits, and a second; the container it runs in, once it does.
local function start(seconds, ...)
  local dir = tap.tempdir()
  local argv = container.argv("--keep-going", "--timeout", "400s", "-o", dir .. "/out", ...)
  argv[#argv + 1] = tap.write(dir .. "/n.ipynb",
    attack.notebook("python", { CELL:format(seconds), "'next'" }))
  local process = tap.start { argv = argv, cwd = dir }
  local name = container.await()
  local deadline = posix.now() + 60
  while container.podman("exec", name, "test", "-e", "/work/started").code ~= 0 do
    if posix.now() > deadline then break end
  end
  return process, name
end

local function finish(process, want, title)
  local ran = process:wait()
  local document = json.decode(ran.out) or {}
  local results = document.results or {}
  if not results[1] then tap.diag(ran.err) end
  attack.judge(results[1], want, title)
  attack.judge(results[2], { check = function(r)
    return r.outputs[1] and r.outputs[1].data["text/plain"] == "'next'"
  end }, title .. ": the next cell works")
  tap.same(container.list(), {}, title .. ": no container is left")
  return results
end

local process, name = start(300)
container.podman("kill", name)
local results = finish(process, { status = "unavailable", error = "ContainerKilled", out = "^kept\n$" },
  "killed from outside")
local told = ""
for _, decision in ipairs(results[2] and results[2].decisions or {}) do
  if decision.action == "restart" then told = decision.detail end
end
tap.like(told, "killed from outside %(SIGKILL%); the session's state is lost", "and is told that its state is lost")

process, name = start(300)
container.podman("pause", name)
finish(process, { status = "unavailable", error = "ContainerPaused" }, "paused from outside")

process, name = start(300)
container.podman("rm", "-f", "-t", "0", name)
finish(process, { status = "unavailable", error = "ContainerRemoved" }, "removed from outside")

-- ---- the engine is started again: a session goes on

process = start(4)
container.service:kill(9)
container.service:wait()
container.serve()
finish(process, { status = "ok", out = "^kept\n$" }, "the engine was started again")

-- ---- kiln itself is killed

local function state() return (container.podman("ps", "-a", "--format", "{{.Names}}").out) end
for _, how in ipairs { "running", "paused" } do
  process, name = start(300)
  process:kill(19) -- it must not see the pause
  if how == "paused" then container.podman("pause", name) end
  process:kill(9)
  process:wait()
  tap.contains(state(), name, "kiln is killed: its container, " .. how .. ", is still known")
  tap.run_json { argv = container.argv("-c", "1") }
  -- What it had no time for, the next one does.
  local deadline = posix.now() + 60
  while state():find(name, 1, true) and posix.now() < deadline do
    tap.run_json { argv = container.argv("-c", "1") }
  end
  tap.unlike(state(), name, "the next start removes it")
end
local ran

-- ---- code against its agent

local dir = tap.tempdir()
local argv = container.argv("--keep-going", "--timeout", "60s", "-o", dir .. "/out")
argv[#argv + 1] = tap.write(dir .. "/n.ipynb", attack.notebook("python", {
  "import os\nfor fd in range(3, 64):\n  try: os.write(fd, b'\\xff' * 64)\n  except OSError: pass\nimport time\ntime.sleep(30)",
  "'next'",
  "import os\nos.closerange(3, 64)",
  "'next'",
  "import os\nos.kill(os.getpid(), 9)",
  "import os\nos.kill(-1, 9)",
  "'next'",
  "import signal\nsignal.signal(signal.SIGIO, signal.SIG_IGN)\nsignal.alarm(1)\nprint('x' * 100)\nimport time\ntime.sleep(20)",
  "import sys, json\nsys.modules['json'] = None\njson.dumps = json.loads = None\n1",
  "import os\nif os.fork() == 0:\n  print('child')\nelse:\n  os.wait()\n  print('parent')",
  "import threading, time\nthreading.Thread(target=lambda: [print('t') or time.sleep(0.01) for _ in range(200)]).start()\n'main'",
  "'next'",
}))
ran = tap.run_json { argv = argv, cwd = dir }
results = ran.json and ran.json.results or {}
local function judge(i, want, title) attack.judge(results[i], want, title) end
local NEXT = { check = function(r) return r.outputs[1] and r.outputs[1].data["text/plain"] == "'next'" end }
judge(1, { status = "unavailable", error = "WorkerFailed" }, "garbage on the agent's socket")
judge(2, NEXT, "and the next cell works")
judge(3, { status = { "crashed", "ok" } }, "its socket closed")
judge(4, NEXT, "and the next cell works")
judge(5, { status = "crashed", signal = 9 }, "it kills itself")
judge(6, { status = { "crashed", "ok", "error" } }, "it kills everything in its container")
judge(7, NEXT, "and the next cell works")
judge(8, { status = "crashed", signal = 14 }, "a signal that nobody handles")
judge(9, { status = "ok" }, "the agent's modules replaced")
judge(10, { check = function(r) return r.stdout:find("child") and r.stdout:find("parent") end },
  "a fork that comes back")
judge(11, { status = "ok" }, "a thread that prints on")
judge(12, NEXT, "does not disturb the next")

container.no_leaks(before)
container.stop()
tap.done()
