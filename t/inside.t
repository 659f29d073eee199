#!/usr/bin/env luajit
-- What the kernel itself says of a process that runs code: each mount with its flags, each
-- limit, identity, groups, keys. As program and within the interpreter, as root and as an
-- ordinary user.
local tap = require("tap")
local ffi = require("ffi")
local posix = tap.posix
ffi.cdef [[ int chown(const char *, unsigned, unsigned); ]]

local UID = 65534 -- an ordinary user that every machine has
local before = tap.snapshot()
local is_root = ffi.C.getuid() == 0

local look = [[
import os, resource
for name in ('mountinfo', 'limits', 'cgroup', 'status', 'timens_offsets', 'uid_map', 'oom_score_adj'):
    try:
        print('== ' + name + '\n' + open('/proc/self/' + name).read())
    except OSError as error:
        print('== ' + name + '\n', error)
def content(path):
    try:
        return os.listdir(path) if os.path.isdir(path) else open(path).read()
    except OSError:
        return ''
print('== masked', [path for path in '/proc/keys /proc/key-users /proc/interrupts /proc/acpi /proc/asound '
  '/proc/scsi /proc/latency_stats /proc/kcore /proc/timer_list /proc/timer_stats /proc/sched_debug '
  '/sys/firmware'.split() if content(path)])
print('== sid', os.getsid(0) == os.getpid() or os.getppid() == 1)
print('== umask', oct(os.umask(0o22)))
print('== hostname', os.uname().nodename)
print('== parent', os.getppid())
print('== groups', os.getgroups())
print('== environment', ' '.join(sorted(os.environ)))
print('== end')]]

local function section(out, name) return out:match("== " .. name .. "\n(.-)\n== ") or "" end
local function line(out, name) return out:match("== " .. name .. " ([^\n]*)") end

-- Where something may be mounted; %f[...] so that nothing but these.
local READ_ONLY = { "^/$", "^/usr$", "^/bin$", "^/sbin$", "^/lib%w*$", "^/opt$", "^/etc/[%w%._/-]+$" }
local function read_only(point)
  for _, pattern in ipairs(READ_ONLY) do
    if point:find(pattern) then return true end
  end
end

local function judge_mounts(title, text)
  local wrong, seen = {}, {}
  for point, options, super in text:gmatch("%d+ %d+ %S+ %S+ (%S+) (%S+)[^\n]- %- (%S+ %S+ %S+)") do
    local has = {}
    for word in options:gmatch("[^,]+") do has[word] = true end
    local function need(word)
      if not has[word] then wrong[#wrong + 1] = point .. ": not " .. word end
    end
    seen[point] = super
    need("nosuid")
    if point:find("^/dev/") or point:find("^/proc/%w+") then
      need("noexec") -- a device node, and for what else is there nothing is a device
    else
      need("nodev")
    end
    if read_only(point) then
      need("ro")
    elseif point == "/proc" or point:find("^/proc/%w+") then
      need("noexec")
      if point ~= "/proc" then need("ro") end
    elseif point:find("^/run/session/?%w*$") or point:find("^/dev/%w+$") then
      seen.session = true
    else
      wrong[#wrong + 1] = point .. ": should not be mounted"
    end
  end
  for _, point in ipairs { "/", "/usr", "/proc", "/dev/null", "/run/session" } do
    if not seen[point] then wrong[#wrong + 1] = point .. ": not mounted" end
  end
  if not (seen["/proc"] or ""):find("hidepid") then wrong[#wrong + 1] = "/proc: no hidepid" end
  if not (seen["/run/session"] or ""):find("size=8192k") then
    wrong[#wrong + 1] = "/run/session: not as large as [limits] disk"
  end
  if not (seen["/run/session"] or ""):find("nr_inodes=2%d%d,") then
    wrong[#wrong + 1] = "/run/session: not as many files as [limits] files"
  end
  if not tap.ok(#wrong == 0, title .. ": every mount has its flags") then
    tap.diag(table.concat(wrong, "\n"))
    tap.diag(text)
  end
end

local function judge(title, spec, out, err)
  if not tap.ok(out:find("== end", 1, true), title .. ": it tells") then
    tap.diag(err)
    return
  end
  judge_mounts(title, section(out, "mountinfo"))
  local limits, wrong = section(out, "limits"), {}
  local function limit(name, soft, hard)
    local got = { limits:match(name:gsub("%p", "%%%0") .. " +(%S+) +(%S+)") }
    if got[1] ~= soft or got[2] ~= hard then
      wrong[#wrong + 1] = ("%s: %s %s, not %s %s"):format(name, tostring(got[1]), tostring(got[2]), soft, hard)
    end
  end
  limit("Max core file size", "0", "0")
  limit("Max locked memory", "65536", "65536")
  limit("Max stack size", "8388608", "67108864")
  limit("Max msgqueue size", "262144", "262144")
  limit("Max nice priority", "0", "0")
  limit("Max realtime priority", "0", "0")
  limit("Max open files", "77", "77")
  limit("Max file size", "4194304", "4194304")
  if spec.backend == "exec" then limit("Max cpu time", "5", "6") end -- a worker's is a cell's
  local processes = tonumber(limits:match("Max processes +(%d+)"))
  if not processes or processes > 33 + 8 then wrong[#wrong + 1] = "Max processes: " .. tostring(processes) end
  local data = limits:match("Max data size +(%S+)")
  if spec.no_cgroup and data == "unlimited" then wrong[#wrong + 1] = "Max data size: unlimited" end
  if not tap.ok(#wrong == 0, title .. ": every limit of the kernel's") then
    tap.diag(table.concat(wrong, "\n"))
  end
  local status = section(out, "status")
  for _, set in ipairs { "Inh", "Prm", "Eff", "Bnd", "Amb" } do
    tap.like(status, "Cap" .. set .. ":%s*0+\n", title .. ": no capability: " .. set)
  end
  tap.like(status, "NoNewPrivs:%s*1\n", title .. ": no_new_privs")
  tap.like(status, "Seccomp:%s*2\n", title .. ": seccomp")
  local real, effective, saved, fs = status:match("Uid:%s*(%d+)%s+(%d+)%s+(%d+)%s+(%d+)")
  tap.ok(real and tonumber(real) >= 1000 and real == effective and real == saved and real == fs,
    title .. ": a user that is nobody else's: " .. tostring(real))
  tap.like(section(out, "oom_score_adj"), "^1000", title .. ": the OOM killer's first choice")
  if spec.user then
    -- Its own ids in the namespace above, which is its zygote's: a namespace of its own, in
    -- which the kernel counts its processes apart from those of other sessions.
    tap.like(section(out, "uid_map"), "^%s*1000%s+1000%s+1%s*$", title .. ": a user namespace of its own")
  end
  tap.unlike(section(out, "cgroup"), "kiln", title .. ": its cgroup is a root")
  tap.unlike(section(out, "cgroup"), ":/[^\n]", title .. ": of every hierarchy that it may see")
  tap.is(line(out, "masked"), "[]", title .. ": what container runtimes mask is empty")
  tap.is(line(out, "hostname"), "kiln", title .. ": a host name that says nothing")
  tap.is(line(out, "parent"), spec.backend == "exec" and "1" or "0",
    title .. ": its parent is the session's init, or the zygote, out of sight")
  tap.is(line(out, "umask"), "0o22", title .. ": umask")
  tap.is(line(out, "sid"), "True", title .. ": a session of its own")
  if is_root and not spec.user then
    tap.is(line(out, "groups"), "[]", title .. ": no further groups")
  end
  tap.unlike(line(out, "environment") or "KILN", "KILN", title .. ": nothing of the engine's environment")
end

-- What the host sees of a session: its supervisor's files belong to root, and none of its
-- users has a way to it, while it is not dumpable.
local function judge_supervisor(title, process)
  if not tap.ok(process:wait_for("== end\n"), title .. ": it goes on") then return end
  local found, owner = 0, nil
  for _, entry in ipairs((posix.list("/proc"))) do
    local name = entry:find("^%d+$") and posix.read_file("/proc/" .. entry .. "/comm") or ""
    local at = entry
    for _ = 1, name == "kiln-init\n" and 5 or 0 do
      at = (posix.read_file("/proc/" .. at .. "/stat") or ""):match("%(.*%) %S (%d+)") or "0"
      if tonumber(at) == process.pid then
        found, owner = found + 1, tap.run { "stat", "-c", "%u", "/proc/" .. entry .. "/mem" }.out
      end
    end
  end
  tap.is(found, 1, title .. ": it has a supervisor")
  tap.is(owner, "0\n", title .. ": which is not dumpable")
end

local function installation()
  local top = tap.tempdir()
  posix.chmod(top)
  local copied = tap.run { "sh", "-c", [[set -e; cd "$1"; mkdir -p build/plugins home; cp "$2" build/kiln
    cp "$3"/plugins/*.so "$3"/plugins/*.worker build/plugins/; cp -r "$4/conf" "$4/scripts" .
    chmod -R a+rX .; chown "$5:$5" home]], "sh", top, tap.kiln, tap.kiln:match("^(.*)/"), tap.root, UID }
  if copied.code ~= 0 then return nil, copied.err end
  return top
end

local scenes = { { backend = "exec" }, { backend = "interpreter" } }
if is_root and tap.run { "setpriv", "--reuid=" .. UID, "--regid=" .. UID, "--clear-groups", "unshare",
    "--user", "true" }.code == 0 then
  local top, why = installation()
  if tap.ok(top, "kiln for an ordinary user") then
    for _, backend in ipairs { "exec", "interpreter" } do
      -- ASan's shadow memory does not fit what stands for a cgroup.
      if not os.getenv("KILN_SANITIZE") then
        scenes[#scenes + 1] = { backend = backend, user = top, no_cgroup = true }
      end
    end
  else
    tap.diag(why)
  end
end

local running = {}
for i, spec in ipairs(scenes) do
  local argv = spec.user and { "setpriv", "--reuid=" .. UID, "--regid=" .. UID, "--clear-groups",
    spec.user .. "/build/kiln" } or is_root and { "setpriv", "--groups", "4,24", tap.kiln } or { "kiln" }
  for _, word in ipairs { "run", "-b", spec.backend, "-s", "limits.disk=8M", "-s", "limits.files=200",
    "-s", "limits.open_files=77", "-s", "limits.file_size=4M", "-s", "limits.processes=33", "-s",
    "limits.cpu=5s", "-s", "chain.default.policies=", "-c", look .. "\nimport sys, time\nsys.stdout.flush()\ntime.sleep(60)" } do
    argv[#argv + 1] = word
  end
  running[i] = tap.start { argv = argv, cwd = spec.user and spec.user .. "/home" or nil,
    env = { KILN_TEST_SECRET = "x", HOME = spec.user and spec.user .. "/home" or nil } }
end
for i, spec in ipairs(scenes) do
  if is_root then
    judge_supervisor(spec.backend .. (spec.user and ", ordinary user" or ""), running[i])
  end
  running[i]:wait_for("== end\n")
  running[i]:kill(posix.SIGINT)
  local ran = running[i]:wait()
  judge(spec.backend .. (spec.user and ", ordinary user" or ""), spec, ran.out, ran.err)
end

tap.no_leaks(before, "nothing is left behind")
tap.done()
