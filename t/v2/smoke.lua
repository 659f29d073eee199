-- Runs in the machine of t/v2/run: that kiln works on this kernel at all, where Landlock
-- is ABI 2 and knows neither sockets nor signals, as root and as an ordinary user.
local tap = require("tap")
local json = require("json")

local USER = { HOME = "/home/user", TMPDIR = "/tmp", XDG_RUNTIME_DIR = "/run/user/1000" }
local before = tap.snapshot()

local function start(user, ...)
  local argv = { ... }
  table.insert(argv, 1, tap.kiln)
  if user then
    local words = { "/usr/bin/setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "--inh-caps=-all" }
    for i = #words, 1, -1 do table.insert(argv, 1, words[i]) end
  end
  return tap.start { argv = argv, env = user and USER or nil, cwd = "/" }
end

-- No policies: see cgroup.lua. kiln check loads them.
local function run(user, ...)
  local r = start(user, "run", "--json", "-s", "chain default.policies=", ...):wait()
  r.json = json.decode(r.out)
  if not r.json then
    tap.diag(r.out .. r.err)
    r.json = {}
  end
  return r
end

for _, user in ipairs { false, true } do
  local who = user and "user" or "root"
  local report = json.decode(start(user, "check", "--json"):wait().out) or {}
  local layers = {}
  for _, layer in ipairs(report.sandbox or {}) do layers[layer.layer] = layer end
  for _, name in ipairs { "namespaces", "seccomp", "no_new_privs", "landlock" } do
    tap.is(layers[name] and layers[name].available, true, who .. ": kiln check has " .. name)
  end
  tap.contains(layers.namespaces and layers.namespaces.detail, "net (one a session)",
    who .. ": without Landlock's scopes each session has a network of its own")

  for _, backend in ipairs { "interpreter", "exec" } do
    local name = who .. ", " .. backend
    local function is(r, status, code, stdout, what)
      local good = r.json.status == status and r.code == code and r.json.stdout == stdout
      if not tap.ok(good, name .. ": " .. what) then tap.diag(r.out .. r.err) end
    end
    is(run(user, "-b", backend, "-c", "import os; print(6 * 7, os.path.samefile('.', '/work'))"), "ok", 0,
      "42 True\n", "runs")
    is(run(user, "-b", backend, "-c", "print('a'); 1 / 0"), "error", 1, "a\n", "an error")
    is(run(user, "-b", backend, "-c", "import sys; sys.exit(3)"), "error", 3, "", "an exit status")
    is(run(user, "-b", backend, "-c", "import os; os.kill(os.getpid(), 11)"), "crashed", 139, "", "a crash")
    is(run(user, "-b", backend, "--timeout", "12s", "-c", "print('so far', flush=True)\nwhile True: pass"),
      "timeout", 124, "so far\n", "a timeout")
    is(run(user, "-b", backend, "-s", "limits.output=1000B", "-c", "print('x' * 5000)"), "ok", 0,
      ("x"):rep(1000), "a flood is cut")
    is(run(user, "-b", backend, "-c", [[
import os, socket
def refused(what, call, *rest):
    try:
        call(*rest)
    except OSError:
        return
    print(what)
refused("writes to /usr", open, "/usr/x", "w")
refused("sees the host's root", os.listdir, "/kiln")
refused("sees the host's processes", os.kill, 100, 0)
refused("has a network", socket.create_connection, ("10.0.2.2", 80), 1)
refused("unshares", os.unshare if hasattr(os, "unshare") else lambda flags: os.mkdir("/proc/x"), 0x10000000)
print([name for _, name in socket.if_nameindex()])
]]), "ok", 0, "['lo']\n", "is confined")
  end

  -- Two sessions at a time, one an abstract socket: they must not meet.
  local holder = start(user, "run", "-s", "chain default.policies=", "-c", [[
import socket, time
s = socket.socket(socket.AF_UNIX); s.bind("\0kiln-v2"); s.listen()
print("bound", flush=True)
time.sleep(100)
]])
  tap.ok(holder:wait_for("bound"), who .. ": an abstract socket in a session")
  local r = run(user, "-c", [[
import socket
try:
    socket.socket(socket.AF_UNIX).connect("\0kiln-v2")
    print("met")
except ConnectionRefusedError:
    print("nobody there")
]])
  tap.is(r.json.stdout, "nobody there\n", who .. ": is none in another's")
  holder:kill(tap.posix.SIGTERM)
  holder:wait()
end

tap.no_leaks(before)
tap.done()
