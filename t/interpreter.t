#!/usr/bin/env luajit
-- Python sessions end to end: a notebook's cells in one session, through the
-- engine, the zygote and the confinement. What the cell runner does on its own is
-- in session.t.
local tap = require("tap")
local json = require("json")

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n" }
local function quote(text) return '"' .. text:gsub('["\\\n]', escapes) .. '"' end

local before = tap.snapshot()
local directory = tap.tempdir()

local function run(...)
  local argv = { "kiln", "run", "--json", "-b", "interpreter" }
  for _, word in ipairs({ ... }) do argv[#argv + 1] = word end
  local process = tap.run_json(argv)
  return process.json or { errors = {}, outputs = {} }, process
end

-- The values of the data outputs, as their text.
local function texts(result)
  local list = {}
  for _, output in ipairs(result.outputs or {}) do
    if output.data then list[#list + 1] = output.data["text/plain"] end
  end
  return table.concat(list, "|")
end

-- A notebook of these cells, executed; its cells' outputs, by cell.
local number = 0
local function notebook(cells, ...)
  number = number + 1
  local path = ("%s/n%d.ipynb"):format(directory, number)
  local made = ("%s/out%d"):format(directory, number)
  local list = {}
  for i, source in ipairs(cells) do
    list[i] = ('{"cell_type":"code","execution_count":null,"id":"c%d","metadata":{},"outputs":[],'
      .. '"source":%s}'):format(i, quote(source))
  end
  tap.write(path, '{"metadata":{},"nbformat":4,"nbformat_minor":5,"cells":['
    .. table.concat(list, ",") .. "]}")
  local argv = { "kiln", "run", "-b", "interpreter", "-o", made, path }
  for _, word in ipairs({ ... }) do table.insert(argv, 3, word) end
  local process = tap.run(argv)
  local text = tap.read(made .. "/n" .. number .. ".ipynb")
  if not tap.ok(text, "notebook " .. number .. " is written") then
    tap.diag(process.err)
    return {}, process
  end
  local outputs = {}
  for i, cell in ipairs(json.decode(text).cells) do
    local all = ""
    for _, output in ipairs(cell.outputs) do
      local part = output.text or output.ename or (output.data and output.data["text/plain"]) or ""
      all = all .. (type(part) == "table" and table.concat(part) or part)
    end
    outputs[i] = all
  end
  return outputs, process
end

-- ---- values, streams, errors
local r = run("-c", "print('a')\ndisplay({'k': 1})\n[1, 2]")
tap.is(texts(r), "{'k': 1}|[1, 2]", "displays and the value")
tap.is(r.outputs[1].text, "a\n", "after what was printed before")

r = run("-c", "import inspect; str(inspect.signature(print)), print.__self__")
tap.is(texts(r), [[("(*args, sep=' ', end='\\n', file=None, flush=False)",]] .. "\n <module 'builtins' (built-in)>)",
  "print is Python's to whoever looks at it")

r = run("-c", "import subprocess, sys; from multiprocessing.util import _args_from_interpreter_flags as flags\n"
  .. "subprocess.run([sys.executable, *flags(), '-c', 'import sys; print(\"site\" in sys.modules, sys.flags.isolated)'])")
tap.contains(r.stdout, "True 0", "a Python that multiprocessing starts finds the packages")

if os.getenv("KILN_SANITIZE") then
  tap.skip("the sanitizer's allocator keeps what is freed", 1)
else
  r = run("-c", "import resource\ndef faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
    .. "def fill():\n    block = bytearray(512 << 10)\n    block[::4096] = b'x' * 128\n"
    .. "for i in range(5): fill()\nbefore = faults()\nfor i in range(200): fill()\n"
    .. "'%d faults' % (faults() - before) if faults() - before > 5000 else 'few'")
  tap.is(texts(r), "'few'", "memory is used again, in place of being mapped for each array")
end

r = run("-c", "import os; os.write(1, b'raw\\n'); os.system('echo sub; echo bad >&2'); print('p')")
tap.contains(r.stdout, "raw\n", "bytes written past sys.stdout")
tap.contains(r.stdout, "sub\n", "output of programs")
tap.contains(r.stderr, "bad\n", "on stderr, too")

r = run("-c", "import os, subprocess\nfor i in range(60):\n  os.write(1, b'r%d ' % i); print('p', i, end=' ')\n"
  .. "  if i % 20 == 0: subprocess.run(['echo', '-n', 's ']); os.write(2, b'e')\nsubprocess.run(['echo', 'last']).returncode")
local want = {}
for i = 0, 59 do
  want[#want + 1] = ("r%d p %d "):format(i, i) .. (i % 20 == 0 and "s " or "")
end
tap.is(r.stdout, table.concat(want) .. "last\n", "of programs and of print(), in the order of their writing")
tap.is(r.outputs and r.outputs[#r.outputs].type, "execute_result", "and before the value")

r = run("-c", "import asyncio\nawait asyncio.sleep(0.01, 'awaited')")
tap.is(texts(r), "'awaited'", "top-level await")

tap.write(directory .. "/in.txt", "Ada\n")
r = run("--stdin", directory .. "/in.txt", "-c", "print('hello', input('name? '))", "--", "x", "y")
tap.is(r.stdout, "name? hello Ada\n", "input()")
r = run("-c", "import sys; sys.argv[1:]", "--", "x", "y z")
tap.is(texts(r), "['x', 'y z']", "arguments")

r = run("-c", "import sys; sys.exit('no disk')")
tap.is(r.exit_code, 1, "sys.exit(text)")
tap.is(r.stderr, "no disk\n", "says the text")

-- ---- against the runner
r = run("-c", "import builtins, sys\nbuiltins.isinstance = lambda *a: False\nbuiltins.len = None\n"
  .. "builtins.compile = None\nsys.stdout = None\ndel sys.modules['sys']\n{'still': 'shown'}")
tap.is(r.status, "ok", "broken builtins end no cell")
tap.is(texts(r), "{'still': 'shown'}", "and its value is shown")

for _, name in ipairs { "json.py", "traceback.py", "sitecustomize.py", "kiln.py", "encodings.py" } do
  tap.write(directory .. "/" .. name, "raise SystemExit('shadowed')\n")
end
r = run("-i", directory .. "/json.py", "-i", directory .. "/traceback.py", "-i",
  directory .. "/sitecustomize.py", "-i", directory .. "/kiln.py", "-i",
  directory .. "/encodings.py", "-c", "display(1)\n1 / 0")
tap.is(r.errors[1] and r.errors[1].name, "ZeroDivisionError", "input files shadow nothing of the runner")
tap.is(texts(r), "1", "nor of displays")

r = run("-c", "import os\npid = os.fork()\nprint('child' if pid == 0 else 'parent')\n"
  .. "if pid: os.waitpid(pid, 0)")
tap.is(r.status, "ok", "os.fork in a cell")
tap.contains(r.stdout, "child\n", "the child prints")
local _, parents = r.stdout:gsub("parent\n", "")
tap.is(parents, 1, "and only the parent goes on")

r = run("--timeout", "1s", "-c", "print('so far')\nimport signal, time\n"
  .. "signal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)")
tap.is(r.status, "timeout", "a cell that ignores the interrupt is ended")
tap.is(r.stdout, "so far\n", "with its output kept")

-- ---- sessions
local out, process = notebook {
  "x = 20\nprint('one')", "x + 1", "_ + 1",
  "class P: pass\nimport pickle; type(pickle.loads(pickle.dumps(P()))) is P",
  "def f(): return 1 / 0\nx", "open('kept.txt', 'w').write('abc')", "open('kept.txt').read()",
  "%matplotlib inline\n!echo from a shell", "import sys; sys.stdout = None", "print('back')",
}
tap.is(process.code, 0, "a notebook runs")
tap.is(table.concat(out, "|"), "one\n|21|22|True|20|3|'abc'|from a shell\n||back\n",
  "state, values, files and streams from cell to cell")

out, process = notebook({ "y = 1", "1 / 0", "y" }, "--keep-going")
tap.is(out[2], "ZeroDivisionError", "an error in the middle")
tap.is(out[3], "1", "and the session lives on")

-- ---- two sessions share nothing random
local function random()
  return (run("--set", "backend interpreter.preload=random tempfile", "-c",
    "import random, tempfile; print(random.random(), tempfile.mktemp())")).stdout
end
tap.isnt(random(), random(), "random numbers and temporary names differ between sessions")
local own_fork = run("--set", "backend interpreter.preload=random logging", "-c", [[
import os, random
theirs, ours = os.pipe()
if os.fork() == 0:
    os.write(ours, repr(random.random()).encode())
    os._exit(0)
os.wait()
print(os.read(theirs, 99).decode() != repr(random.random()))]])
tap.is(own_fork.stdout, "True\n", "what a preloaded module does at a fork is done at the code's own")

r, process = run("--set", "backend interpreter.preload=nosuch_module", "-c", "1")
tap.is(r.status, "ok", "an absent module in preload is not fatal")
tap.contains(process.err, "module not found: nosuch_module", "but told")

tap.no_leaks(before, "nothing is left behind")
tap.done()
