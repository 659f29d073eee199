#!/usr/bin/env luajit
-- ATTACKS.md, escape and reach: t/attacks/*.c through `kiln run`, as programs of the
-- exec backend and, by ctypes, within a Python session; as the user who tests and, for
-- root, as an ordinary one. Each line that a program prints is an attempt and what came
-- of it; each must be what is said here, and none may be missing.
local tap = require("tap")
local json = require("json")
local attack = require("attack")
local ffi = require("ffi")
local posix = tap.posix

local UID = 65534 -- an ordinary user that every machine has

-- ------------------------------------------------------------- what must come of it

-- Words apart by | are as good as each other: which layer answers depends on the kernel.
local ABSENT, DENIED = "ENOENT|EACCES", "EACCES|EPERM|EROFS|ENOENT"

-- default: for names that begin with the word; "" for all others.
local wanted = {
  files = {
    attempts = 115,
    default = { read = ABSENT, write = DENIED, create = "EROFS", chdir = ABSENT, [""] = "E[A-Z]+" },
    ["create /proc/new"] = "ENOENT|EACCES", ["create /run/session/new"] = "EACCES|EROFS",
    unlink = "EROFS", chmod = "EROFS", chown = "EROFS", ["node in /dev"] = "EROFS",
    ["list /"] = "bin code dev etc home lib[lib0-9x ]* opt proc run sbin tmp usr var work",
    ["list /dev"] = "fd full null random shm stderr stdin stdout urandom zero",
    ["list /home"] = "", ["list /run"] = "session", ["list /var"] = "tmp",
    ["kernel addresses"] = "none",
    ["write /proc/self/exe"] = "EACCES|ETXTBSY|EROFS",
    ["write the program through a descriptor"] = "EACCES|ETXTBSY|EROFS",
    ["device node"] = "EACCES|EPERM", ["memory node"] = "EACCES|EPERM",
    ["file capabilities"] = "EPERM", ["trusted attribute"] = "EPERM",
    ["give a file to root"] = "EPERM|EINVAL",
  },
  kernel = {
    attempts = 95,
    default = { [""] = "EPERM" },
    clone3 = "ENOSYS", ["a call that there is not"] = "ENOSYS",
    TIOCSCTTY = "ENOTTY|EPERM|EACCES", nice = "EACCES",
    ["setuid 0"] = "EPERM|EINVAL", ["setgid 0"] = "EPERM|EINVAL",
    ["setuid of the next session"] = "EPERM|EINVAL",
    ["no_new_privs off"] = "EINVAL", ["seccomp off"] = "EINVAL",
    -- SIGSEGV where the kernel was built without them.
    x32 = "SIGSYS", i386 = "SIGSYS|SIGSEGV", ["i386 mount"] = "SIGSYS|SIGSEGV",
  },
  processes = {
    attempts = 26,
    default = { [""] = "EPERM" },
    ["tgkill a child"] = "done", -- one's own, after all
    ["renice pid 1"] = "EPERM|EACCES", ["kill everything"] = "done",
    ["others that can be signalled"] = "0", ["others that can be seen"] = "0",
    ["setuid program"] = "as oneself", su = "1", mount = "[1-9]%d*",
    CapEff = "0+", CapBnd = "0+", NoNewPrivs = "1", Seccomp = "2", -- of the program from memory
    ["memfd and execveat"] = "0",
  },
  network = {
    attempts = 33,
    default = { [""] = "EPERM", TCP = "EACCES|ENETUNREACH|EADDRNOTAVAIL",
      UDP = "ENETUNREACH|EADDRNOTAVAIL" },
    families = "1 2 10 16", pairs = "1", interfaces = "lo",
    ["MPTCP to the host's loopback"] = "EPROTONOSUPPORT",
    ["SCTP to the host's loopback"] = "EPROTONOSUPPORT",
    listen = "EACCES", ["host's socket"] = "ENOENT",
    ["host's abstract socket"] = "ECONNREFUSED|EPERM",
    ["host's abstract datagrams"] = "ECONNREFUSED|EPERM",
    ["seen in /proc/net/unix"] = "0", ["seen in /proc/net/tcp"] = "0",
    DNS = "EAI_AGAIN|EAI_NONAME",
  },
  inherited = {
    attempts = 7,
    default = { secret = "0" },
    ["descriptor 0"] = "/dev/null|pipe", ["descriptor 1"] = "pipe", ["descriptor 2"] = "pipe",
  },
}

-- Before Landlock's ABI 6 a session has a network of its own, whose loopback is up; what
-- it reaches there is itself. The signal to pid 1 is one that the kernel drops.
local checked = tap.run({ "kiln", "check" }).out
local shares_network = checked:find("shared by a zygote", 1, true)
local scoped = checked:find("abstract sockets, signals", 1, true) -- by Landlock
if not shares_network then
  wanted.network.default.TCP = wanted.network.default.TCP .. "|ECONNREFUSED"
  wanted.network.listen = "done"
  wanted.network["UDP to the host's loopback"] = "done"
  wanted.network["UDP to IPv6 loopback"] = "done"
end
if not scoped then
  wanted.processes["kill pid 1"], wanted.processes["stop pid 1"] = "EPERM|done", "EPERM|done"
end

local function matches(value, alternatives)
  for pattern in (alternatives .. "|"):gmatch("(.-)|") do
    if value:find("^" .. pattern .. "$") then return true end
  end
  return false
end

-- Every attempt that came out otherwise, as text.
local function faults(program, backend, out)
  local want, found, seen = wanted[program], {}, {}
  local count, more = 0, 0
  for name, value in out:gmatch("([^\n]-):[ \t]*([^\n]*)\n") do
    count = count + 1
    seen[name] = true
    local word = name:match("^%S+")
    local expected = want[name] or want.default[word] or want.default[""]
    if name == "descriptor more" then
      more = more + 1 -- the worker's frames, and nothing in a program
      expected = backend == "interpreter" and more == 1 and "socket" or nil
    end
    if not expected or not matches(value, expected) then
      found[#found + 1] = ("%s: %s, not %s"):format(name, value, expected or "to be there")
    end
  end
  for name, value in pairs(want) do
    if type(value) == "string" and not seen[name] then found[#found + 1] = name .. ": not tried" end
  end
  if count < want.attempts then
    found[#found + 1] = ("%d attempts of at least %d"):format(count, want.attempts)
  end
  if not out:find("\nend\n") then found[#found + 1] = "it did not come to its end" end
  return #found == 0, table.concat(found, "; ")
end

-- ------------------------------------------------------------------------ programs

-- The text of a program, with what it must know of this host.
local function source(name, defines)
  local text = tap.read("t/attacks/" .. name .. ".c")
  local header = tap.read("t/attacks/attack.h")
  local lines = {}
  for key, value in pairs(defines or {}) do
    lines[#lines + 1] = ("#define %s %s\n"):format(key,
      type(value) == "string" and '"' .. value .. '"' or tostring(value))
  end
  local at, last = text:find('#include "attack.h"\n', 1, true)
  return text:sub(1, at - 1) .. table.concat(lines) .. header .. text:sub(last + 1)
end

-- A cell that compiles one within the session and calls it within the interpreter.
local function by_ctypes(name)
  return ([[
import ctypes, subprocess
subprocess.run(['gcc', '-shared', '-fPIC', '-o', '/tmp/%s.so', '/work/%s.c'], check=True)
ctypes.CDLL('/tmp/%s.so').main(1, None)
None]]):format(name, name, name)
end

local alive = {
  exec = '#include <stdio.h>\nint main(void) { printf("alive %d\\n", 6 * 7); }',
  interpreter = "print('alive', 6 * 7)",
}

-- --------------------------------------------------------------- an ordinary user

ffi.cdef [[ int chown(const char *, unsigned, unsigned); ]]

-- kiln where that user can read it: the build may lie in a folder that is closed to him.
-- It belongs to him, too: permissions shall not be what keeps code from writing it.
local function installation()
  local top = tap.tempdir()
  posix.chmod(top)
  local script = [[set -e; cd "$1"; mkdir build; cp "$2" build/kiln; cp -r "$3/plugins" build/ 2>/dev/null ||
    { mkdir build/plugins && cp "$3"/plugins/*.so build/plugins/; }
    cp -r "$4/conf" "$4/scripts" .; chmod -R a+rX .; chown -R "$5:$5" .]]
  local copied = tap.run { "sh", "-c", script, "sh", top, tap.kiln, tap.kiln:match("^(.*)/"),
    tap.root, UID }
  return copied.code == 0 and top .. "/build/kiln" or nil, copied.err
end

local function folder(user)
  local dir = tap.tempdir()
  if user then
    posix.chmod(dir)
    ffi.C.chown(dir, UID, UID)
  end
  return dir
end

-- ----------------------------------------------------------------------------- runs

-- A notebook of all programs, each followed by an execution that must work.
local function start(backend, programs, sources, kiln, user)
  local cells, inputs, dir = {}, {}, folder(user)
  for _, name in ipairs(programs) do
    cells[#cells + 1] = backend == "exec" and sources[name] or by_ctypes(name)
    cells[#cells + 1] = alive[backend]
    if backend ~= "exec" then
      inputs[#inputs + 1] = "-i"
      inputs[#inputs + 1] = tap.write(dir .. "/" .. name .. ".c", sources[name])
    end
  end
  local notebook = tap.write(dir .. "/n.ipynb",
    attack.notebook(backend == "exec" and "c" or "python", cells))
  local argv = user and { "setpriv", "--reuid=" .. UID, "--regid=" .. UID, "--clear-groups", kiln }
    or { "kiln" }
  for _, word in ipairs { "run", "--json", "--keep-going", "-b", backend, "-o", dir .. "/out" } do
    argv[#argv + 1] = word
  end
  for _, word in ipairs(inputs) do argv[#argv + 1] = word end
  argv[#argv + 1] = notebook
  -- The engine's environment is nothing that code may find.
  local env = { KILN_TEST_SECRET = sources.secret }
  if user then env.HOME, env.TMPDIR, env.XDG_RUNTIME_DIR = dir, dir, dir end
  return {
    process = tap.start { argv = argv, env = env, cwd = dir },
    backend = backend, programs = programs, user = user, dir = dir,
  }
end

local function finish(run)
  local ran = run.process:wait()
  local results = (json.decode(ran.out) or {}).results or {}
  if #results == 0 then tap.diag(ran.err) end
  local title = run.backend .. (run.user and ", ordinary user: " or ": ")
  for i, name in ipairs(run.programs) do
    attack.judge(results[2 * i - 1], {
      status = "ok",
      check = function(result) return faults(name, run.backend, result.stdout) end,
    }, title .. name)
    attack.judge(results[2 * i], { status = "ok", keeps = "alive 42" },
      title .. name .. ": the next one works")
  end
end

-- A host that can be reached, were there a way: TCP, UDP and Unix sockets, a file. It
-- prints what reached it.
local host_program = [[
import os, select, socket, sys
folder = sys.argv[1]
name = 'kiln-host-%d' % os.getpid()
tcp = socket.create_server(('127.0.0.1', 0))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(('127.0.0.1', 0))
path = socket.socket(socket.AF_UNIX)
path.bind(folder + '/s')
path.listen()
os.chmod(folder + '/s', 0o777)
abstract = socket.socket(socket.AF_UNIX)
abstract.bind('\0' + name)
abstract.listen()
datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
datagrams.bind('\0' + name + '-d')
print('ready', tcp.getsockname()[1], udp.getsockname()[1], name, flush=True)
sockets = {tcp: 'TCP', udp: 'UDP', path: 'socket', abstract: 'abstract', datagrams: 'datagrams'}
while True:
    for ready in select.select([*sockets, sys.stdin], [], [])[0]:
        if ready is sys.stdin:
            sys.exit()
        print('REACHED', sockets.pop(ready), flush=True)
]]

local before = tap.snapshot()
local dir = tap.tempdir()
posix.chmod(dir)
tap.write(dir .. "/secret", "secret\n")
local host = tap.start { "/usr/bin/python3", "-c", host_program, dir, stdin_open = true }
host:wait_for("ready[^\n]*\n")
local tcp, udp, name = host:output():match("ready (%d+) (%d+) (%S+)")
if not tap.ok(tcp, "a host that can be reached") then
  tap.diag(host:wait().err)
  tap.done()
end

local secret = ("kiln-secret-%d"):format(ffi.C.getpid())
local defines = {
  HOST_FILE = dir .. "/secret", TCP_PORT = tonumber(tcp), UDP_PORT = tonumber(udp),
  HOST_SOCKET = dir .. "/s", HOST_ABSTRACT = name, SECRET_BACKWARDS = secret:reverse(),
}
local sources = { secret = secret }
-- The first is the one that looks at descriptors: the others leave some of their own.
local programs = { "inherited", "files", "kernel", "processes", "network" }
for _, program in ipairs(programs) do sources[program] = source(program, defines) end

-- One after the other would take twice the time, all at once would race on a busy machine.
local runs = { start("exec", programs, sources), start("interpreter", programs, sources) }
finish(runs[1])
finish(runs[2])
if ffi.C.getuid() ~= 0 then
  tap.skip("an ordinary user tests already", 20)
else
  local kiln, why = installation()
  if tap.ok(kiln, "kiln for an ordinary user") then
    local probe = tap.run { "setpriv", "--reuid=" .. UID, "--regid=" .. UID, "--clear-groups",
      "unshare", "--user", "true" }
    if probe.code ~= 0 then
      tap.skip("no user namespaces for an ordinary user: " .. probe.err, 20)
    else
      runs = { start("exec", programs, sources, kiln, true) }
      -- Without a cgroup memory is held by RLIMIT_DATA, under which ASan cannot start.
      if os.getenv("KILN_SANITIZE") then
        tap.skip("ASan's shadow memory does not fit an ordinary user's limit", 10)
      else
        runs[2] = start("interpreter", programs, sources, kiln, true)
      end
      for _, run in ipairs(runs) do finish(run) end
    end
  else
    tap.diag(why)
  end
end

-- With the tools of a shell, as people try first.
local shell = ([[
try() { if "$@" >/dev/null 2>&1; then echo "done: $*"; else echo "refused: $*"; fi; }
try unshare --user --map-root-user true
try unshare --mount true
try nsenter --target 1 --mount true
try mount -t tmpfs none /tmp
try umount /proc
try chroot / true
try chroot /proc/1/root true
try setpriv --reuid 0 true
try setpriv --ambient-caps +all --inh-caps +all true
try su -c true
try mknod /tmp/sda b 8 0
try dmesg
try hostname changed
try date --set 2000-01-01
try renice -n -20 $$
try dd if=/dev/zero of=/dev/sda count=1
try sh -c 'echo "|/tmp/x" >/proc/sys/kernel/core_pattern'
try sh -c 'echo b >/proc/sysrq-trigger'
try sh -c 'echo -1000 >/proc/self/oom_score_adj'
try sh -c 'echo x >/proc/self/exe'
try cat /proc/1/environ
try cat /etc/shadow
try ls /root
try ls /sys
try ls /proc/1/root/
try cat HOST_FILE
try bash -c 'exec 3<>/dev/tcp/127.0.0.1/TCP_PORT'
try getent hosts example.org
try ip link set lo up
try touch /usr/bin/x /etc/x /x
cp /bin/sh /tmp/sh && chmod 4755 /tmp/sh && /tmp/sh -p -c 'echo uids $(id -u) $(id -ru)'
]]):gsub("[A-Z]+_[A-Z]+", defines)
local ran = tap.run { "kiln", "run", "-l", "bash", "-c", shell, cwd = dir }
local _, refused = ran.out:gsub("refused: ", "")
tap.is(ran.code, 0, "shell: it runs to its end")
tap.is(refused, 30, "shell: each tool is refused")
tap.unlike(ran.out, "done: ", "shell: none does its work")
local effective, real = ran.out:match("uids (%d+) (%d+)")
tap.ok(effective and effective == real and real ~= "0", "shell: a setuid copy of sh is nobody else")

host:close_stdin()
local reached = host:wait().out
tap.unlike(reached, "REACHED", "nothing reached the host's sockets")

-- ----------------------------------------------------------------- another session

-- A line of these for each attempt of t/attacks/sessions.c.
local looking = {
  ["look for a file"] = "ENOENT", ["look for shm_open"] = "ENOENT",
  ["look for shared memory"] = "ENOENT", ["look for a semaphore"] = "ENOENT",
  ["look for a queue"] = "ENOENT", ["look for a POSIX queue"] = "ENOENT",
  ["look for an abstract socket"] = "ECONNREFUSED|EPERM",
  ["look for abstract datagrams"] = "ECONNREFUSED|EPERM",
  ["look for a socket"] = "ENOENT", ["look for a UDP port"] = shares_network and "ENETUNREACH" or "done",
  ["look for a writer's lock"] = "EBADF",
  ["others that can be signalled"] = "0", ["names of sockets seen"] = "0",
  ["UDP port taken"] = "no",
}

local function judge_sessions(title, held, looked)
  local bad = {}
  local _, holds = held:gsub("hold [^\n]-: done\n", "")
  tap.is(holds, 12, title .. ": one session holds files, memory, queues, sockets, locks")
  for attempt, expected in pairs(looking) do
    local value = looked:match("%f[^\n%z]" .. attempt:gsub("%p", "%%%0") .. ": ([^\n]*)\n")
    if not value or not matches(value, expected) then
      bad[#bad + 1] = ("%s: %s, not %s"):format(attempt, tostring(value), expected)
    end
  end
  if not tap.ok(#bad == 0, title .. ": the other finds none of it") then
    tap.diag(table.concat(bad, "\n"))
  end
  local one, other = held:match("holding[^\n]*uid (%d+)"), looked:match("looked[^\n]*uid (%d+)")
  return one, other
end

local program = tap.write(dir .. "/sessions.c", source("sessions"))
local holder = tap.start { "kiln", "run", program, "--", "hold", cwd = dir }
holder:wait_for("holding[^\n]*\n")
local looker = tap.run { "kiln", "run", program, "--", "look", cwd = dir }
holder:kill(posix.SIGINT)
judge_sessions("two engines", holder:wait().out, looker.out)

-- Both in one engine: a policy runs them at once. As a program and a Python session,
-- whose zygotes are two; and as two programs of one zygote, for which exec is built a
-- second time under another name, since a session runs once at a time on a backend.
local policy = tap.write(dir .. "/twice.lua", [==[
kiln.options { other = { type = "string", default = "interpreter", help = "Where the other runs." } }
local by_ctypes = [[
import ctypes, subprocess, time
subprocess.run(['gcc', '-shared', '-fPIC', '-o', '/tmp/s.so', '/work/sessions.c'], check=True)
time.sleep(1)
ctypes.CDLL('/tmp/s.so').main(1, None)
None]]
return function(input, ctx, next)
  local function with(language, code, ...)
    local copy = {}
    for key, value in pairs(input) do copy[key] = value end
    copy.language, copy.code, copy.args = language, code, { ... }
    return copy
  end
  local other = ctx.options.other
  local results = kiln.all {
    { "exec", with("c", input.code, "hold", "3") },
    { other, other == "interpreter" and with("python", by_ctypes) or with("c", input.code, "look", "1") },
  }
  ctx:decide("held", results[1].stdout)
  return results[2]
end
]==])

local function one_engine(title, ...)
  local argv = { "kiln", "run", "--json", "--set", "policy twice.script=" .. policy,
    "--set", "chain default.policies=twice", "-i", program, cwd = dir, ... }
  argv[#argv + 1] = program
  local both = tap.run_json(argv)
  local looked = both.json or { stdout = "", decisions = {} }
  local held = ""
  for _, decision in ipairs(looked.decisions) do
    if decision.action == "held" then held = decision.detail end
  end
  local from, to = held:match("holding at (%d+)"), held:match("held until (%d+)")
  local at = looked.stdout:match("looked at (%d+)")
  if not (from and to and at) then
    tap.fail(title)
    tap.diag(both.out .. both.err)
  elseif tonumber(at) < tonumber(from) or tonumber(at) > tonumber(to) then
    tap.skip("the two sessions did not run at the same time on this busy machine", 3)
  elseif title == "one network" then
    -- Sessions that share it: Landlock's scope alone is between them.
    for _, attempt in ipairs { "an abstract socket", "abstract datagrams" } do
      tap.is(looked.stdout:match("look for " .. attempt .. ": (%u+)\n"), "EPERM", title .. ": " .. attempt)
    end
  else
    local one_zygote = title == "one zygote"
    local one, other = judge_sessions(title, held, looked.stdout)
    if ffi.C.getuid() == 0 and one_zygote then
      tap.isnt(one, other, title .. ": each session is a user of its own")
    end
  end
end
one_engine("one engine")

local second = tap.read("plugins/exec/exec.c"):gsub('%.name = "exec"', '.name = "exec2"')
tap.write(dir .. "/exec2.c", second)
local built = tap.run { "sh", "-c", [[exec gcc -std=gnu17 -D_GNU_SOURCE -O1 -shared -fPIC -fvisibility=hidden \
  -Iengine/include -Iplugins/exec -o "$1/exec2.so" "$1/exec2.c" $(ls plugins/exec/*.c | grep -v '/exec[.]c$')]], "sh", dir }
if tap.is(built.code, 0, "exec under another name") then
  one_engine("one zygote", "--set", "engine.backends=interpreter exec exec2", "--set",
    "backend exec2.plugin=" .. dir .. "/exec2.so", "--set", "policy twice.other=exec2")
  if scoped then
    one_engine("one network", "--set", "engine.backends=interpreter exec exec2", "--set", "sandbox.loopback=false",
      "--set", "backend exec2.plugin=" .. dir .. "/exec2.so", "--set", "policy twice.other=exec2")
  else
    tap.skip("Landlock keeps no sockets apart: Linux before 6.12", 2)
  end
else
  tap.diag(built.err)
end

tap.no_leaks(before, "nothing is left behind")
tap.done()
