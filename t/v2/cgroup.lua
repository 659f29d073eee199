-- Runs as root in the machine of t/v2/run: cgroup v2 in each situation that an engine
-- can find itself in. Each kiln is started in a group that is prepared for it.
local tap = require("tap")
local posix = require("posix")
local json = require("json")

local ROOT = "/sys/fs/cgroup"
local USER = { HOME = "/home/user", TMPDIR = "/tmp", XDG_RUNTIME_DIR = "/run/user/1000" }

local function sh(script, ...)
  local r = tap.run { "sh", "-ec", script, "sh", ... }
  if r.code ~= 0 then error(script .. ": " .. r.err) end
  return r.out
end

-- All folders below the mount: what is left when an engine has gone is one too many.
local function groups() return sh("find " .. ROOT .. " -mindepth 1 -type d | sort") end

-- Runs kiln in `at.group` (path below the mount), as `at.user` ("user" or root). With
-- at.company a shell stays in the group beside it.
local function kiln(at, ...)
  local argv = { "sh", "-c", at.company and 'echo 0 >"$0" && "$@"; exit $?' or 'echo 0 >"$0" && exec "$@"',
    ROOT .. at.group .. "/cgroup.procs" }
  if at.user then
    for word in ("/usr/bin/setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all"):gmatch("%S+") do
      argv[#argv + 1] = word
    end
  end
  argv[#argv + 1] = tap.kiln
  for _, word in ipairs { ... } do argv[#argv + 1] = word end
  -- No policies: their 50 ms of CPU time are not much in an emulated machine on a busy one.
  if select(1, ...) == "run" then
    table.insert(argv, "-s")
    table.insert(argv, "chain default.policies=")
  end
  local r = tap.run { argv = argv, env = at.user and USER or nil, cwd = "/" }
  r.json = json.decode(r.out) or {}
  return r
end

local function cgroup_layer(at)
  local r = kiln(at, "check", "--json")
  for _, layer in ipairs(r.json.sandbox or {}) do
    if layer.layer == "cgroup" then return layer, r end
  end
  tap.diag(r.out .. r.err)
  return {}, r
end

local function limit_of(result)
  for _, fault in ipairs(result.errors or {}) do
    if fault.kind == "limit" then return fault.name end
  end
end

-- Four processes, none of which is over the limit by itself.
local MEMORY_BOMB = [[
import os, time
print("before", flush=True)
for i in range(4):
    if os.fork() == 0:
        held = b"x" * (40 << 20)
        time.sleep(60)
        os._exit(0)
while True:
    pid, status = os.wait()
    if status:
        os.kill(os.getpid(), 9)
]]
local FORK_BOMB = [[
import os, time
print("before", flush=True)
while True:
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
]]
-- The burner is nobody's child who waits: rusage never hears of it.
local USAGE = [[
import os, time
r, w = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        until = time.process_time() + 0.5
        held = b"x" * (48 << 20)
        while time.process_time() < until: pass
        os.write(w, b".")
        time.sleep(60)
    os._exit(0)
os.wait()
held = b"x" * (48 << 20)
os.read(r, 1)
]]

local function works(at, label)
  local layer = cgroup_layer(at)
  tap.is(layer.available, true, label .. ": kiln check has cgroups")
  tap.like(layer.detail, "^memory %(v2%), pids %(v2%)", label .. ": and names v2")
  for _, backend in ipairs { "exec", "interpreter" } do
    local name = label .. ", " .. backend
    local r = kiln(at, "run", "--json", "-b", backend, "-s", "limits.memory=128M", "-c", MEMORY_BOMB)
    tap.is(r.json.status, "limit", name .. ": a memory bomb meets its limit")
    tap.is(limit_of(r.json), "memory", name .. ": which is memory")
    tap.is(r.json.stdout, "before\n", name .. ": output up to then is kept")
    tap.is(r.code, 137, name .. ": exit status 137")
    if r.json.status ~= "limit" then tap.diag(r.out .. r.err) end
    r = kiln(at, "run", "--json", "-b", backend, "-s", "limits.processes=24", "-c", FORK_BOMB)
    tap.is(r.json.status, "limit", name .. ": a fork bomb meets its limit")
    tap.is(limit_of(r.json), "processes", name .. ": which is processes")
    if r.json.status ~= "limit" then tap.diag(r.out .. r.err) end
    r = kiln(at, "run", "--json", "-b", backend, "-s", "limits.memory=256M", "-c", USAGE)
    tap.is(r.json.status, "ok", name .. ": within the limits")
    local usage = r.json.usage or {}
    tap.ok((usage.cpu_ms or 0) >= 450, name .. ": usage has the CPU time that nobody waited for")
    tap.ok((usage.max_rss_bytes or 0) >= 96 * 2 ^ 20, name .. ": and the tree's peak memory")
    tap.diag(("cpu_ms %s, max_rss_bytes %s"):format(usage.cpu_ms, usage.max_rss_bytes))
  end
end

-- Without groups kiln runs and says what to do for more.
local function falls_back(at, label, advice)
  local layer, r = cgroup_layer(at)
  tap.is(r.code, 0, label .. ": kiln check finds what is required")
  tap.is(layer.available, false, label .. ": no cgroups")
  tap.contains((layer.detail or "") .. "; " .. (layer.advice or ""), advice, label .. ": what to do")
  tap.diag((layer.detail or "") .. "; " .. tostring(layer.advice))
  r = kiln(at, "run", "--json", "-c", "print(1)")
  tap.is(r.json.stdout, "1\n", label .. ": runs all the same")
  r = kiln(at, "run", "--json", "-s", "sandbox.require=namespaces seccomp no_new_privs cgroup", "-c", "print(1)")
  tap.is(r.code, 125, label .. ": but not where cgroup is required")
end

local function situation(at, label, check, ...)
  local before = groups()
  local control = tap.read(ROOT .. at.group .. "/cgroup.subtree_control")
  local done, why = pcall(check, at, label, ...)
  if not done then tap.fail(label .. ": " .. tostring(why)) end
  tap.is(groups(), before, label .. ": nothing is left in " .. ROOT)
  if at.group ~= "" then
    tap.is(tap.read(ROOT .. at.group .. "/cgroup.subtree_control"), control,
      label .. ": the group is as it was")
  end
end

sh("echo '+memory +pids +cpu' >" .. ROOT .. "/cgroup.subtree_control")

local unit = tap.run { tap.build .. "/t/unit/cgroup_test", env = { CMOCKA_MESSAGE_OUTPUT = "TAP" } }
tap.is(unit.code, 0, "the unit test's real groups")
tap.unlike(unit.out .. unit.err, "skipped", "all of them, cgroup.kill too")
if unit.code ~= 0 then tap.diag(unit.out .. unit.err) end

situation({ group = "" }, "root, root group", works)

-- Below a parent with controllers, in a group of its own: it must move into a leaf.
sh("cd " .. ROOT .. "; mkdir -p slice/service slice/shared; echo '+memory +pids' >slice/cgroup.subtree_control")
situation({ group = "/slice/service" }, "root, own group", works)
situation({ group = "/slice/shared", company = true }, "root, a group shared with a shell", falls_back,
  "systemd-run --scope -p Delegate=yes")

-- As systemd delegates it, and as cgroup(7) says.
sh([[cd ]] .. ROOT .. [[; mkdir -p slice/delegated slice/foreign
  for f in . cgroup.procs cgroup.subtree_control cgroup.threads; do chown 1000:1000 slice/delegated/$f; done]])
situation({ group = "/slice/delegated", user = true }, "user, delegated group", works)
situation({ group = "/slice/foreign", user = true }, "user, nothing delegated", falls_back,
  "systemd-run --user --scope -p Delegate=yes")

-- What an engine that was killed left is gone with the next engine.
local before = groups()
local killed = tap.start { tap.kiln, "run", "-s", "chain default.policies=", "-c", "print('up', flush=True)\nimport time; time.sleep(100)" }
tap.ok(killed:wait_for("up"), "an engine runs")
tap.isnt(groups(), before, "in groups of its own")
killed:kill(posix.SIGKILL)
killed:wait()
tap.is(kiln({ group = "" }, "run", "--json", "-c", "1").code, 0, "it is killed, another one runs")
tap.is(groups(), before, "which sweeps what the killed one left")

-- Also where the next engine starts in another group, and the killed one had moved to a
-- leaf: v2 would let nobody into its group before.
sh("mkdir " .. ROOT .. "/left " .. ROOT .. "/other")
before = groups()
killed = tap.start { "sh", "-c", 'echo 0 >"$0" && exec "$@"', ROOT .. "/left/cgroup.procs", tap.kiln, "run",
  "-s", "chain default.policies=", "-c", "print('up', flush=True)\nimport time; time.sleep(100)" }
tap.ok(killed:wait_for("up"), "an engine runs in a group of its own")
tap.contains(groups(), ".engine", "and has moved to a leaf of it")
killed:kill(posix.SIGKILL)
killed:wait()
tap.is(kiln({ group = "/other" }, "run", "--json", "-c", "1").code, 0, "it is killed, another runs elsewhere")
tap.is(groups(), before, "which finds what the killed one left")
tap.is(kiln({ group = "/left" }, "run", "--json", "-c", "1").code, 0, "so that its group can be entered again")

tap.done()
