#!/usr/bin/env luajit
-- The container backend against a real engine, Podman's API service: the contract, as a user
-- of `kiln run` sees it. What goes wrong is t/container_faults.t's and t/container_fake.t's.
local tap = require("tap")
local json = require("json")
local attack = require("attack")
local container = require("container")
container.start()
local before = tap.snapshot()

local function judge(result, want, name) attack.judge(result, want, name) end

local function json_text(value)
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  for key, item in pairs(value) do parts[#parts + 1] = tostring(key) .. "=" .. json_text(item) end
  return "{" .. table.concat(parts, " ") .. "}"
end

local function decisions(result)
  local lines = {}
  for _, decision in ipairs(result.decisions or {}) do
    lines[#lines + 1] = decision.action .. ": " .. decision.detail
  end
  return table.concat(lines, "\n")
end

-- A few run at a time, and are judged in the order in which they stand here.
local AT_A_TIME = 4
local later = {}
local function judge_first()
  local one = table.remove(later, 1)
  local ran = one.process:wait()
  local document = json.decode(ran.out)
  if not document then tap.diag(ran.err) end
  one.judgement(document or {})
end
local function judged(spec, judgement)
  if #later >= AT_A_TIME then judge_first() end
  later[#later + 1] = { process = tap.start(spec), judgement = judgement }
end

-- A notebook's cells.
local function cells(language, sources, more, judgement)
  local dir = tap.tempdir()
  local argv = container.argv("--keep-going", "-o", dir .. "/out", unpack(more))
  argv[#argv + 1] = tap.write(dir .. "/n.ipynb", attack.notebook(language, sources))
  judged({ argv = argv, cwd = dir }, function(document)
    judgement(document.results or {}, dir)
  end)
end

local function program(language, code, more, want, name)
  local argv = container.argv("-l", language, unpack(more))
  argv[#argv + 1] = "-"
  judged({ argv = argv, stdin = code }, function(result)
    judge(result.status and result, want, name)
  end)
end

-- What wants the value of a cell's last expression.
local function value(text)
  return { check = function(result)
    for _, output in ipairs(result.outputs) do
      if output.type == "execute_result" and output.data["text/plain"] == text then return true end
    end
    return false, "its value is not " .. text .. ": " .. json_text(result.outputs)
  end }
end

-- ---- Python: the agent

cells("python", {
  "x = 20\nprint('out')\nimport sys\nprint('err', file=sys.stderr)",
  "x + 22",
  "1/0",
  "import os\nos.write(1, b'raw\\n')\nos.system('echo child; echo child-err >&2')\nprint('x', x)",
  "input() + '|' + input()",
  "from IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))\nx",
  "open('made.txt', 'w').write('made ' + open('given.txt').read())",
  "sys.exit(3)",
  "x",
  "await __import__('asyncio').sleep(0, 'awaited')",
  "%%timeit -n1 -r1\npass",
  "print('a' * 3_000_000)",
  "print('\\ud800 \\x00 ä')",
  "sys.argv, os.environ['COLOUR'], os.getcwd(), os.getuid(), os.environ['HOME']",
}, { "-i", tap.write(tap.tempdir() .. "/given.txt", "given"), "--stdin",
  tap.write(tap.tempdir() .. "/in", "one\ntwo\n"), "-s", "sandbox.env=COLOUR=red" },
function(results, dir)
judge(results[1], { out = "^out\n$", err = "^err\n$" }, "stdout and stderr, apart")
judge(results[2], value("42"), "the next cell has the state, and its value is a result")
judge(results[3], { status = "error", check = function(r)
  local e = r.outputs[1]
  return e.name == "ZeroDivisionError" and table.concat(e.traceback):find("1/0", 1, true)
end }, "an exception, with the line that raised it")
judge(results[4], { err = "^child%-err\n$", check = function(r)
  -- By way of a pipe: print() may overtake it on a loaded machine.
  return (r.stdout:gsub("x 20\n", "", 1)) == "raw\nchild\n", r.stdout
end }, "what goes to descriptors 1 and 2 is told, too")
judge(results[5], value("'one|two'"), "input() reads the standard input")
judge(results[6], { check = function(r)
  return r.outputs[1].data["text/html"] == "<b>x</b>" and r.outputs[2].data["text/plain"] == "20"
end }, "displays, in order")
judge(results[7], { check = function(r)
  return #r.output_files == 1 and r.output_files[1].name == "made.txt"
end }, "an input file is read, an output file is told")
tap.is(tap.read(dir .. "/out/made.txt"), "made given", "and is what the code wrote")
judge(results[8], { status = "error", exit_code = 3 }, "sys.exit(3)")
judge(results[9], value("20"), "after which the session goes on")
judge(results[10], value("'awaited'"), "top-level await")
judge(results[11], { keeps = "per loop" }, "magics are the interpreter's")
judge(results[12], { status = "ok" , check = function(r) return #r.stdout == 3000001 or
  r.truncated.stdout > 0 end }, "three megabytes of output")
judge(results[13], { out = "ä" }, "no UTF-8, NUL and an umlaut")
judge(results[14], value("([''], 'red', '/work', 65534, '/work')"), "environment, place and user")
tap.is(results[1] and results[1].backend, "container", "the result names the backend")
tap.ok(results[2] and results[2].usage.cpu_ms and results[2].usage.max_rss_bytes > 1e6, "usage is told")
end)

-- ---- native functions: as in an interpreter session

local native = require("native")
do
  local more = {}
  for _, word in ipairs(native.settings(tap.tempdir())) do
    more[#more + 1], more[#more + 2] = "--set", word
  end
  more[#more + 1], more[#more + 2] = "--timeout", "20s"
  cells("python", { native.code, (native.after:gsub("kept", "41")) }, more, function(results)
    tap.is(results[1] and (results[1].stdout:gsub("failed: [^ ]*watch.lua", "failed: watch.lua")), native.out,
      "native functions: what code in a container calls")
    tap.is(results[2] and results[2].stdout, "42\n", "and in the next cell")
  end)
  more[#more] = "8s"
  cells("python", { native.hanging, native.after }, more, function(results)
    tap.is(results[1] and results[1].status, "timeout", "native functions: a cell that waits for C is interrupted")
    tap.is(results[2] and results[2].stdout, "42\n", "and keeps its state")
  end)
end

-- ---- hardened

cells("python", {
  [[
import os
status = dict(line.split(":\t") for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
print(status["CapEff"], status["CapBnd"], status["NoNewPrivs"], status["Seccomp"])
for path in ("/x", "/usr/x", "/etc/x"):
    try:
        open(path, "w")
        print("wrote", path)
    except OSError as error:
        print(error.strerror)
print(sorted(os.listdir("/sys/class/net")) if os.path.isdir("/sys/class/net") else [])
print([name for name in os.listdir("/dev") if name in ("sda", "kmsg", "mem", "fuse")])
print(os.path.exists("/run/podman/podman.sock"), os.path.exists("/var/run/docker.sock"))
]],
  "import socket\nsocket.create_connection(('127.0.0.1', 1), 2)",
  "open('/work/big', 'wb').write(b'x' * (80 << 20))",
  "os.unlink('/work/big')\nopen('/work/small', 'w').write('fits')",
  "held = []\nwhile True: held.append(os.open('/dev/null', 0))",
  "for fd in held: os.close(fd)\nimport subprocess\n[subprocess.Popen(['sleep', '100']) for _ in range(500)]",
}, { "--limit", "disk=64M", "--limit", "open_files=200", "--limit", "processes=40" },
function(results)
judge(results[1], { out = "^0000000000000000 0000000000000000 1 2\n" ..
  "Read%-only file system\nRead%-only file system\nRead%-only file system\n%['lo'%]\n%[%]\nFalse False\n$" },
  "no capability, no new privileges, seccomp, a read-only root, no network, no devices")
judge(results[2], { status = "error" }, "nothing can be reached")
judge(results[3], { status = "limit", error = "disk" }, "a full disk is told as the limit it is")
judge(results[4], { status = "ok" }, "and the session goes on")
judge(results[5], { status = "limit", error = "open_files" }, "descriptors")
judge(results[6], { status = "limit", error = "processes" }, "processes")
end)

-- ---- time, memory, death

cells("python", {
  "x = 1",
  "print('before', flush=True)\nwhile True: pass",
  "x",
  "import time\ntime.sleep(60)",
  "x",
  "import os, signal\nprint('kept')\nos.kill(os.getpid(), signal.SIGSEGV)",
  "print('kept')\nos._exit(7)",
  "import os\nprint('kept')\nos._exit(7)",
  "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('kept')\nwhile True: pass",
  "'next'",
}, { "--timeout", "8s" }, function(results)
judge(results[2], { status = "timeout", out = "^before\n$" }, "a timeout keeps the output")
judge(results[3], value("1"), "and the session")
judge(results[4], { status = "timeout" }, "a sleep past the deadline")
judge(results[5], value("1"), "keeps the session, too")
judge(results[6], { status = "crashed", signal = 11, keeps = "kept" }, "death by a signal of its own")
judge(results[8], { status = "crashed", exit_code = 7, keeps = "kept" }, "os._exit before the end")
judge(results[9], { status = "timeout", keeps = "kept" }, "SIGINT ignored: killed")
judge(results[10], value("'next'"), "and the next cell works")
end)

-- Of one's own: a busy machine takes its time to hand out so much memory.
cells("python", { "x = 1", "print('kept')\nb = bytearray(2 << 30)", "x" }, { "--timeout", "2m" },
function(results)
judge(results[2], { status = "limit", error = "memory", keeps = "kept" }, "memory is told as limit")
judge(results[3], { status = "error", check = function(r)
  return decisions(r):find("restart: the limit on memory was reached", 1, true) ~= nil,
    decisions(r)
end }, "the next cell has a fresh container, and is told why")
end)

cells("python", { "while True: pass", "'next'" }, { "--limit", "cpu=300ms" }, function(results)
judge(results[1], { status = "timeout", error = "cpu" }, "CPU time")
judge(results[2], value("'next'"), "is that of a cell")
end)

-- ---- numpy: an image that has it

local NUMPY = { "-s", "backend container.image=kiln-numpy:1", "-s", "backend container.preload=numpy", "--timeout", "10s" }
local drawn
cells("python", {
  "import sys\n'numpy' in sys.modules",
  "import numpy as np\na = np.arange(12, dtype=np.int16).reshape(3, 4)\na",
  "a[0] = -1\nprint(a.sum(), a @ a.T.astype(float))\nnp.linalg.solve(np.eye(2) * 2, [2, 4])",
  "m = np.ones((300, 300))\nprint('begun', flush=True)\nwhile True: m @ m",
  "np.convolve([1, 2], [3, 4]), a[0, 0]",
  "a[7]",
  "np.random.random()",
  "np.save('a.npy', a)",
  "big = np.ones(400_000)\nprint('begun', flush=True)\nnp.convolve(big, big)", -- one call
  "'a' in globals(), np.load('a.npy')[2, 3] if os.path.exists('a.npy') else None",
}, NUMPY, function(results)
judge(results[1], value("True"), "numpy: preloaded")
judge(results[2], value("array([[ 0,  1,  2,  3],\n       [ 4,  5,  6,  7],\n       [ 8,  9, 10, 11]], dtype=int16)"),
  "numpy: an array as a value")
judge(results[3], { out = "^56 %[%[", check = value("array([1., 2.])").check }, "numpy: state, and LAPACK")
judge(results[4], { status = "timeout", out = "^begun\n$" }, "numpy: many calls are interrupted")
judge(results[5], value("(array([ 3, 10,  8]), -1)"), "numpy: and the state is kept")
judge(results[6], { status = "error", error = "IndexError" }, "numpy: an error of its own")
judge(results[7], { check = function(r) drawn = r.outputs[1].data["text/plain"] return tonumber(drawn) end },
  "numpy: a random number")
judge(results[8], { check = function(r) return r.output_files[1].name == "a.npy" end }, "numpy: a file")
judge(results[9], { status = "timeout", out = "^begun\n$" }, "numpy: one call that does not end is stopped, too")
judge(results[10], { status = "error", error = "NameError", check = function(r)
  return decisions(r):find("state is lost", 1, true) ~= nil, decisions(r)
end }, "numpy: with its state, which is told")
end)
cells("python", { "import numpy\nnumpy.random.random()" }, NUMPY, function(results)
judge(results[1], { check = function(r)
  local other = r.outputs[1].data["text/plain"]
  return tonumber(other) and other ~= drawn, other
end }, "numpy: another session's random numbers are others")
end)
cells("python", { "try:\n  import numpy\nexcept ImportError as error: print(error)\nimport random\nrandom.random() < 1" },
  {}, function(results)
judge(results[1], { out = "^No module named 'numpy'\n$" }, "an image without numpy goes without")
end)

-- ---- programs, by exec

program("ash", "echo out; echo err >&2; cat; echo $COLOUR; pwd; id -u; exit 3", { "--stdin",
  tap.write(tap.tempdir() .. "/in", "in\n"), "-s", "sandbox.env=COLOUR=red" },
  { status = "error", exit_code = 3, out = "^out\nin\nred\n/work\n65534\n$", err = "^err\n$" },
  "a program: streams apart, input, environment, exit code")
program("ash", "# " .. ("x"):rep(300000) .. "\necho long", {}, { out = "^long\n$" },
  "code of any size")
program("ash", "kill -SEGV $$", {}, { status = "crashed", signal = 11, exit_code = 139 },
  "a signal, and 128+N beside it")
program("ash", "echo before; sleep 100 & sleep 100", { "--timeout", "5s" },
  { status = "timeout", out = "^before\n$" }, "a timeout ends the tree")
program("make", "#!/bin/sh\necho made", {}, { out = "^made\n$", check = function(r)
  return r.phases.compile ~= json.null and r.phases.compile ~= nil
end }, "a compile phase")
program("make", "echo made", {}, { status = "error", error = "CompileError" }, "that fails")
cells("ash", {
  "echo kept >file; (setsid sleep 1000 >/dev/null 2>&1 &) ; echo started",
  "cat file; ps | grep -c 'slee[p] 1000'",
  "tail /dev/zero",
  "cat file",
  "(setsid sh -c 'while :; do sleep 1; done' &); echo held",
}, { "--timeout", "2m" }, function(results)
judge(results[1], { out = "^started\n$" }, "a daemon that is left")
judge(results[2], { status = "error", exit_code = 1, out = "^kept\n0\n$" },
  "does not outlive its execution; the session's files do")
judge(results[3], { status = "limit", error = "memory" }, "a program that ate its memory")
judge(results[4], { out = "^kept\n$" }, "and the session has its files still")
judge(results[5], { out = "^held\n$" }, "a daemon that holds stdout open does not hold the execution")
end)

-- ---- images

local function image(name, pattern, title)
  program("python", "1", { "-s", "backend container.image=" .. name }, { status = "unavailable",
    check = function(r) return r.errors[1].message:find(pattern), r.errors[1].message end }, title)
end
image("kiln-none:1", 'image not found: "kiln%-none:1": pull it', "an image that is not there")
image("kiln-busybox:1", "python3", "an image without Python, for Python, says so")

-- Podman's API takes no runtime: one that it does not have by itself must not be passed over.
program("ash", "echo ran", { "-s", "backend container.runtime=runc" }, { out = "^ran\n$" }, "the runtime that there is")
program("ash", "echo ran", { "-s", "backend container.runtime=runsc" }, { status = "unavailable", check = function(r)
  return r.stdout == "" and r.errors[1].message:find("runtime = runsc: the container engine took runc", 1, true), r.errors[1].message
end }, "a runtime that Podman does not take")

while #later > 0 do judge_first() end

-- ---- questions of a front end

local repl = tap.start { "kiln", "repl", "--config", container.config, terminal = true,
  cwd = tap.tempdir(), env = { XDG_STATE_HOME = tap.tempdir(), TERM = "xterm", NO_COLOR = "1" } }
local function says(text, name) return tap.ok(repl:expect(text), name or text) end
says("In [1]: ", "a prompt")
repl:type("x = {'alpha': 1}\n")
says("In [2]: ")
repl:type("x['al\t")
says("x['alpha']", "Tab completes what the session has")
repl:type("\n")
says("Out[2]: 1")
repl:type("def double(a):\n")
says("   ...:     ", "a block goes on")
repl:type("return a * 2\n")
says("   ...: ")
repl:type("\n")
says("In [4]: ")
repl:type(":vars\n")
says("double", "variables are listed")
says("In [4]: ")
repl:type("\4")
repl:wait()

local asked = tap.run { argv = { "kiln", "repl", "--config", container.config, "--json",
  "--set", "session.query_timeout=2s" }, stdin = [[
class Loud:
    def __repr__(self):
        print('drop this')
        while True: pass

class Deaf:
    def __repr__(self):
        import signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True: pass

x = Loud()
:vars
del x
'kept'
y = Deaf()
:vars
'next'

'last'
]], timeout = 120 }
local results = {}
for line in asked.out:gmatch("[^\n]+") do results[#results + 1] = json.decode(line) end
local function of(n) return results[#results - n] end
tap.unlike(asked.out, "drop this", "what a query prints is dropped")
tap.contains(asked.err, "took too long", "one that takes too long is stopped")
judge(of(3), value("'kept'"), "and the session goes on")
judge(of(1), { status = "crashed", error = "QueryStuck" }, "one that does not stop costs the session")
judge(of(0), value("'last'"), "and the next cell works")

-- A container that takes longer to start than an answer may: cells from a pipe stay apart.
local slow = tap.tempdir()
os.execute("chmod 755 " .. slow)
tap.write(slow .. "/slow.py", "import time\ntime.sleep(3)\n")
local piped = tap.run { argv = { "kiln", "repl", "--config", container.config, "--json", "--set",
  "backend container.mounts=" .. slow .. ":/data", "--set", "backend container.env=PYTHONPATH=/data", "--set",
  "backend container.preload=slow" }, stdin = "import sys; 'slow' in sys.modules\n2\ndef f():\n  return 3\n\nf()\n",
  timeout = 120 }
local said = {}
for line in piped.out:gmatch("[^\n]+") do said[#said + 1] = json.decode(line) end
judge(said[1], value("True"), "repl: a container that starts slowly")
judge(said[2], value("2"), "repl: the next line is the next cell")
judge(said[4], value("3"), "repl: and a block is one")
tap.is(#said, 4, "repl: so many cells")

container.no_leaks(before)
container.stop()
tap.done()
