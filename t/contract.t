#!/usr/bin/env luajit
-- The contract end to end: every status that these backends can reach, and what
-- the result says of it, through the command line and its JSON.
local tap = require("tap")

local before = tap.snapshot()

-- argv after `kiln run --json`
local function run(...)
  local argv = { "kiln", "run", "--json" }
  for _, word in ipairs({ ... }) do argv[#argv + 1] = word end
  local process = tap.run_json(argv)
  return process.json or { errors = {}, outputs = {} }, process
end

local function first_error(result)
  return result.errors and result.errors[1] or {}
end

-- ---- ok, on each backend
for _, backend in ipairs({ "interpreter", "exec" }) do
  local r, p = run("-b", backend, "-c", "print('a'); import sys; print('b', file=sys.stderr)")
  tap.is(r.status, "ok", backend .. ": ok")
  tap.is(r.success, true, backend .. ": success")
  tap.is(p.code, 0, backend .. ": exit status 0")
  tap.is(r.stdout, "a\n", backend .. ": stdout exactly")
  tap.is(r.stderr, "b\n", backend .. ": stderr alone makes no failure")
  tap.is(r.backend, backend, backend .. ": says so")
  tap.is(#r.errors, 0, backend .. ": no errors")
  tap.is(r.execution_count, 1, backend .. ": first execution")
  tap.like(r.execution_id, "^%x+%-%x+%-4%x+%-[89ab]%x+%-%x+$", backend .. ": a UUID")
  tap.like(r.started_at, "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", backend .. ": time")
  tap.ok(r.duration_ms > 0, backend .. ": took time")

  r = run("-b", backend, "-c", "")
  tap.is(r.status, "ok", backend .. ": empty code is ok")
  tap.is(#r.outputs, 0, backend .. ": and has no output")

  r, p = run("-b", backend, "-c", "print('before'); raise ValueError('no')")
  tap.is(r.status, "error", backend .. ": raise is an error")
  tap.is(r.stdout, "before\n", backend .. ": output before it is kept")
  tap.is(first_error(r).kind, "user", backend .. ": the user's")
  tap.is(p.code, 1, backend .. ": exit status 1")

  r, p = run("-b", backend, "-c", "import sys; sys.exit(3)")
  tap.is(r.status, "error", backend .. ": a silent exit 3 is no success")
  tap.is(r.exit_code, 3, backend .. ": exit code")
  tap.is(p.code, 3, backend .. ": the code's own exit status")

  r, p = run("-b", backend, "--timeout", "3s", "-c", "print('so far', flush=True)\nwhile True: pass")
  tap.is(r.status, "timeout", backend .. ": endless loop")
  tap.is(r.stdout, "so far\n", backend .. ": output so far is kept")
  tap.is(p.code, 124, backend .. ": exit status 124")
  tap.is(r.errors[#r.errors].kind, "limit", backend .. ": a limit's error")

  r, p = run("-b", backend, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
  tap.is(r.status, "crashed", backend .. ": SIGSEGV")
  tap.is(r.signal, 11, backend .. ": signal 11")
  tap.is(p.code, 139, backend .. ": exit status 128+11")

  r = run("-b", backend, "--set", "limits.output=1000B", "-c", "print('x' * 5000)\nprint('y')")
  tap.is(r.status, "ok", backend .. ": a flood is cut")
  tap.is(#r.stdout, 1000, backend .. ": at the limit")
  tap.is(r.truncated.stdout, 4003, backend .. ": and counted")

  r = run("-b", backend, "-c", "import sys; sys.stdout.buffer.write(b'\\xff\\xe2\\x82'); sys.stdout.flush()")
  tap.is(r.stdout, "\239\191\189\239\191\189", backend .. ": bytes that are not UTF-8")

  r = run("-b", backend, "-c", "import os\nprint(os.environ.get('KILN_SECRET'), os.getcwd(), len(os.listdir()) < 2)")
  tap.is(r.stdout, "None /run/session/work True\n", backend .. ": a clean environment in /work")
end

for _, backend in ipairs { "interpreter", "exec" } do
  local r = run("-b", backend, "--set", "sandbox.env=A=1 B=\"x y\"", "-c",
    "import os\nprint(os.environ['A'], os.environ['B'])")
  tap.is(r.stdout, "1 x y\n", backend .. ": [sandbox] env is there")
end

-- ---- what only one of them can do
local r = run("-c", "1 + 1")
tap.is(r.outputs[1].type, "execute_result", "the last expression's value")
tap.is(r.outputs[1].data["text/plain"], "2", "is 2")

r = run("-c", "import sys\nprint(1)\nprint(2, file=sys.stderr)\nprint(3)")
tap.is(#r.outputs, 3, "streams keep their order")
tap.is(r.outputs[2].name, "stderr", "stderr stands in the middle")

r = run("-c", "def f():\n    return 1 / 0\nf()")
tap.is(first_error(r).name, "ZeroDivisionError", "the error's name")
tap.is(first_error(r).message, "division by zero", "the error's value")
local traceback = table.concat(first_error(r).traceback, "\n")
tap.like(traceback, "return 1 / 0", "the traceback shows the user's line")
tap.unlike(traceback, "session%.py", "and nothing of the runner")

r = run("-b", "exec", "-l", "bash", "-c", "echo out; echo err >&2; exit 4")
tap.is(r.language, "bash", "bash")
tap.is(r.exit_code, 4, "bash: exit code")
tap.is(r.stdout .. r.stderr, "out\nerr\n", "bash: both streams")

r = run("-l", "c", "-c", "#include <stdio.h>\nint main(int c, char **v) { printf(\"%d %s\\n\", c, v[1]); return 0; }",
  "--", "arg")
tap.is(r.stdout, "2 arg\n", "c: compiled and run with its argument")
tap.ok(type(r.phases.compile) == "number", "c: the compile phase is timed")
r = run("-l", "c", "-c", "int main(void) { return x; }")
tap.is(r.status, "error", "c: a compile error")
tap.is(first_error(r).name, "CompileError", "c: says which phase")
tap.like(r.stderr, "undeclared", "c: the compiler's words")
r = run("-l", "lua", "-c", "print(_VERSION, ...)", "--", "x")
tap.like(r.stdout, "^Lua 5%.%d\tx\n$", "lua")
r = run("-l", "node", "-c", "console.log([1, 2].map(x => x * 2))")
tap.is(r.stdout, "[ 2, 4 ]\n", "node")

-- ---- noop, denied, unavailable
local p
r, p = run("-b", "noop", "-c", "import os; os.remove('/')")
tap.is(r.status, "skipped", "noop skips")
tap.is(r.success, false, "which is no success")
tap.ok(#r.decisions > 0, "and returns the plan")

r, p = run("--set", "policy deny.patterns=rm -rf", "-c", "print('rm -rf')")
tap.is(r.status, "denied", "a policy refuses")
tap.is(first_error(r).kind, "policy", "with a policy's error")
tap.is(p.code, 126, "exit status 126")
tap.is(r.stdout, "", "and nothing ran")

r, p = run("-b", "nosuch", "-c", "1")
tap.is(r.status or "unavailable", "unavailable", "an unknown backend is never a fall-through")
tap.ok(p.code == 125 or p.code == 2, "and fails")

-- ---- limits
r = run("--set", "limits.memory=200M", "-c", "x = bytearray(1 << 30)\nfor i in range(0, 1 << 30, 4096): x[i] = 1")
tap.ok(r.status == "limit" or r.status == "error", "a memory bomb is stopped: " .. tostring(r.status))

-- ---- files
local dir = tap.tempdir()
tap.write(dir .. "/in.csv", "a,b\n1,2\n")
r = run("-i", dir .. "/in.csv", "-o", dir .. "/out", "-c",
  "d = open('in.csv').read()\nopen('out.txt', 'w').write(d.upper())\nimport os\nos.makedirs('sub')\nopen('sub/x.bin', 'wb').write(b'\\0\\1')")
tap.is(r.status, "ok", "files in and out")
local names = {}
for _, file in ipairs(r.output_files or {}) do names[file.name] = file end
tap.ok(names["out.txt"] and names["sub/x.bin"] and not names["in.csv"], "made files, not the input")
tap.is(names["out.txt"] and names["out.txt"].size, 8, "size")
tap.is(names["out.txt"] and names["out.txt"].mime_type, "text/plain", "type")
tap.is(names["out.txt"] and names["out.txt"].sha256,
  "fb7d9248934ca9e856ccab5151226a61e2a36a61b049d8b9a08a829d7e6fb885", "hash")
tap.is(tap.read(dir .. "/out/out.txt"), "A,B\n1,2\n", "the content")

r = run("-o", dir .. "/pic", "-c", "import matplotlib.pyplot as plt\nplt.plot([1, 2])")
local picture
for _, output in ipairs(r.outputs or {}) do
  if output.data and output.data["image/png"] then picture = output end
end
tap.ok(picture, "a figure is displayed as image/png")
tap.is(r.output_files and r.output_files[1] and r.output_files[1].mime_type, "image/png", "and saved")

tap.no_leaks(before, "nothing is left behind")
tap.done()
