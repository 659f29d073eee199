#!/usr/bin/env luajit
-- ATTACKS.md, Python against its runner: cells that replace, break or walk into what
-- runs them, code that is hard to read, and processes and threads that do not end with
-- their cell. The interpreter harms itself at most; the engine and the next execution
-- go on.
local tap = require("tap")
local json = require("json")
local attack = require("attack")

-- Not small: gcc, pools and 10 MB of code are wanted here.
local set = { "limits.memory=1G", "limits.output=1M" }

-- ---- replacing what the runner could use; the session goes on

attack.run {
  "runner", backend = "interpreter", set = set,
  { "sys.stdout that raises", status = "error", error = "ZeroDivisionError",
    code = "import sys\nprint('so far')\nclass Out:\n    def write(self, text): 1 / 0\n    flush = write\n"
      .. "sys.stdout = sys.stderr = Out()\nprint('x')", keeps = "so far\n" },
  { "sys.stdout that is closed", status = "error", error = "ValueError",
    code = "import sys\nsys.stdout.close()\nprint('x')" },
  { "every name of sys.modules that is not needed deleted",
    code = "import sys\nfor name in list(sys.modules):\n"
      .. "    if name not in ('sys', 'builtins', '__main__'): del sys.modules[name]\n{'a': [1]}",
    check = function(r) return #r.outputs == 1, "no value" end },
  { "sys.modules['json'] and traceback replaced", status = "error", error = "KeyError",
    code = "import sys\nfor name in 'json traceback linecache tokenize base64 ast types'.split():\n"
      .. "    sys.modules[name] = None\ndisplay({'a': 1})\n{}['missing']" },
  { "and put back", code = "import sys\nfor name in 'json traceback linecache tokenize base64 ast types'.split():\n"
      .. "    sys.modules.pop(name, None)" },
  { "sys.displayhook and excepthook", status = "error", error = "ZeroDivisionError",
    code = "import sys\nsys.displayhook = sys.excepthook = lambda *a: 1 / 0\n42" },
  { "a trace function that raises", status = "error", error = "ZeroDivisionError",
    code = "import sys\ndef trace(*a): 1 / 0\nsys.settrace(trace)\n(lambda: 0)()" },
  { "a trace function that stays", code = "import sys\nseen = set()\ndef trace(frame, *a):\n"
      .. "    seen.add(frame.f_code.co_filename)\n    return trace\nsys.settrace(trace)\n(lambda: 0)()" },
  { "and sees the cells", code = "import sys\nsys.settrace(None)\nprint(len(seen) > 1)", keeps = "True" },
  { "a profile function that raises", status = { "error", "ok" },
    code = "import sys\ndef profile(*a): 1 / 0\nsys.setprofile(profile)\nlen('x')" },
  { "gc callbacks that raise", code = "import gc\ndef callback(*a): 1 / 0\ngc.callbacks.append(callback)\n"
      .. "gc.collect()\ngc.callbacks.clear()" },
  { "gc at every allocation", code = "import gc\ngc.set_threshold(1)\nlist({} for _ in range(100))\n"
      .. "gc.set_threshold(700)\ngc.freeze()\ngc.unfreeze()" },
  { "what gc finds", code = "import gc\nn = 0\nfor o in gc.get_objects():\n    try:\n        n += len(dir(o)) > 0\n"
      .. "    except Exception:\n        pass\nprint(n > 0)", keeps = "True" },
  { "SystemExit in a thread", code = "import sys, threading\nt = threading.Thread(target=sys.exit, args=(7,))\n"
      .. "t.start()\nt.join()\nprint('on')", keeps = "on" },
  { "an exception in a thread", err = "ZeroDivisionError",
    code = "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()" },
  { "sys.exit(3)", code = "import sys\nsys.exit(3)", status = "error", exit_code = 3 },
  { "raise SystemExit of an odd kind", code = "raise SystemExit([1, 2])", status = "error", exit_code = 1,
    err = "%[1, 2%]" },
  { "an exception that cannot be shown", status = "error",
    code = "class Bad(Exception):\n    def __str__(self): raise self\n    __repr__ = __str__\n    args = property(__str__)\n"
      .. "    __traceback__ = property(__str__)\nraise Bad()" },
  { "an exception whose class lies", status = "error",
    code = "class Meta(type):\n    __name__ = property(lambda c: 1 / 0)\n    __module__ = property(lambda c: 1 / 0)\n"
      .. "    __qualname__ = 7\nclass Bad(Exception, metaclass=Meta): pass\nraise Bad('x')" },
  { "a chain of causes that is a ring", status = "error", error = "ValueError",
    code = "a, b = ValueError('a'), ValueError('b')\na.__cause__, b.__cause__ = b, a\nraise a" },
  { "In and Out replaced", code = "In = Out = 7\n_ = '_'\n41 + 1" },
  { "__builtins__ replaced", code = "__builtins__ = {}\n1" },
  { "__name__ guard", code = "if __name__ == '__main__': print('main')", keeps = "main" },
  { "top-level await, and a task that stays",
    code = "import asyncio\ntask = asyncio.create_task(asyncio.sleep(3600))\nawait asyncio.sleep(0)\nprint('waited')",
    keeps = "waited" },
  { "await that raises", status = "error", error = "CancelledError",
    code = "import asyncio\ntask.cancel()\nawait task" },
  { "asyncio.run in a cell", code = "import asyncio\nprint(asyncio.run(asyncio.sleep(0, 'ran')))", keeps = "ran" },
  { "magic-like lines that are none", code = "x = 7\nprint(x\n%2)", keeps = "1" },
  { "a magic that is not there", code = "%nosuchmagic 1", status = "error" },
  { "a shell line", code = "!echo from a shell", keeps = "from a shell" },
  { "a pipe that nobody reads", status = "error", error = "BrokenPipeError",
    code = "import os\nread, write = os.pipe()\nos.close(read)\nos.write(write, b'x')" },
  { "a program that does not read", keeps = "1",
    code = "import subprocess\nr = subprocess.run(['true'], input=b'x' * 10**6)\nprint(r.returncode + 1)" },
  { "pickle of a cell's class, function and named tuple", keeps = "True True (1, 2)",
    code = "import pickle, collections\nclass P: pass\ndef f(): pass\nN = collections.namedtuple('N', 'a b')\n"
      .. "again = lambda o: pickle.loads(pickle.dumps(o))\n"
      .. "print(again(P) is P and type(again(P())) is P, again(f) is f, tuple(again(N(1, 2))))" },
  { "pickle that runs code", keeps = "echoed",
    code = "import os, pickle\nclass P:\n    def __reduce__(self): return os.system, ('echo echoed',)\n"
      .. "pickle.loads(pickle.dumps(P()))" },
  { "the frames above it", keeps = "no harm",
    code = [[
import sys
frame = sys._getframe()
while frame.f_back: frame = frame.f_back
channel = frame.f_globals['channel']
for call in (lambda: channel.emit(2, 'no JSON'), lambda: channel.emit(2, '{"data": 7}'), lambda: channel.emit(3, '[' * 9999),
             lambda: channel.emit(99, '{}'), lambda: channel.emit(-1, '{}'), lambda: channel.emit(4, '{"name": 1}'),
             lambda: channel.stream(7, b'x'), lambda: channel.stream(1, None), lambda: channel.log(99, 'x'),
             lambda: channel.code('../../etc/passwd'), lambda: channel.option('x' * 100000),
             lambda: channel.emit(2, '\0'), lambda: channel.arm(None), lambda: type(channel)()):
    try: call()
    except (ValueError, TypeError, OverflowError, LookupError, OSError, RuntimeError, ImportError): pass
print('no harm')]] },
  { "descriptors 1 and 2 closed", code = "import os\nos.close(1)\nos.close(2)\n'value'",
    -- It stays so for what writes there itself; sys.stdout has another way.
    check = function(r) return r.outputs[1] and r.outputs[1].type == "execute_result", "no value" end },
}

attack.run { "runner", backend = "interpreter", set = set,
  probe = "import builtins\nif 'old' in globals(): builtins.len, builtins.isinstance, builtins.open = old\n"
    .. "builtins.print, builtins.compile, builtins.exec, builtins.repr = kept\n"
    .. "print('alive', 6 * 7, 'others 0')",
  { "builtins.print, compile, exec, repr replaced",
    code = "import builtins\nkept = print, compile, exec, repr\ndef broken(*a, **k): 1 / 0\n"
      .. "builtins.print = builtins.compile = builtins.exec = builtins.repr = broken\n{'a': [42]}",
    check = function(r) return #r.outputs == 1 and r.outputs[1].data and r.outputs[1].data["text/plain"] == "{'a': [42]}", "no value" end },
  { "and an error while they are", status = "error", error = "KeyError",
    code = "import builtins\ndef broken(*a, **k): 1 / 0\nbuiltins.print = builtins.compile = broken\n{}['missing']" },
  -- The standard library that the runner uses needs these: the cell fails, and says so.
  { "builtins.len, isinstance, open replaced", status = { "ok", "error" },
    code = "import builtins\ndef broken(*a, **k): 1 / 0\nold = len, isinstance, open\n"
      .. "builtins.len = builtins.isinstance = builtins.open = broken\n{'a': [42]}" } }

-- ---- time, threads and processes that outlast their cell

attack.run {
  "outlasting", backend = "interpreter", timeout = "1500ms", set = set,
  { "a handler for SIGINT that returns", status = "timeout", keeps = "so far",
    code = "import signal, time\nsignal.signal(signal.SIGINT, lambda *a: print('no'))\nprint('so far')\n"
      .. "while True: time.sleep(0.1)" },
  { "KeyboardInterrupt caught for ever", status = "timeout", keeps = "so far",
    code = "print('so far')\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass" },
  { "SIGINT blocked", status = "timeout",
    code = "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: time.sleep(0.1)" },
  { "SIGINT in C that does not look", status = "timeout", code = "9 ** 9 ** 9" },
  { "a thread that prints on and on",
    code = "import threading, time\nstop = False\ndef run():\n    while not stop:\n        print('late')\n        time.sleep(0.01)\n"
      .. "thread = threading.Thread(target=run)\nthread.start()" },
  { "and is ended by a later cell", code = "stop = True\nthread.join()\nprint('joined')", keeps = "joined" },
  { "a thousand threads", status = { "ok", "error" },
    code = "import threading\ndone = threading.Event()\nthreads = []\ntry:\n    for _ in range(1000):\n"
      .. "        threads.append(threading.Thread(target=done.wait))\n        threads[-1].start()\nexcept RuntimeError: pass\n"
      .. "done.set()\nfor t in threads:\n    if t.ident: t.join()\nprint('so many', len(threads) > 20)", keeps = "so many True" },
  { "fork, and both go on", keeps = "parent", code = "import os\npid = os.fork()\nprint('parent' if pid else 'child')\n"
      .. "if pid: os.waitpid(pid, 0)" },
  { "a fork in a thread", keeps = "parent",
    code = "import os, threading\ndef run():\n    pid = os.fork()\n    if pid: os.waitpid(pid, 0)\n    else: os._exit(0)\n"
      .. "t = threading.Thread(target=run)\nt.start()\nt.join()\nprint('parent')" },
  { "a pool of forks, its function made in the cell", keeps = "[0, 1, 4, 9]",
    code = "import multiprocessing\ndef square(x): return x * x\n"
      .. "with multiprocessing.get_context('fork').Pool(2) as pool: print(pool.map(square, range(4)))" },
  { "atexit that sleeps", code = "import atexit, time\natexit.register(time.sleep, 1000)\nprint('set')", keeps = "set" },
  { "fork without waiting", keeps = "parent",
    code = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\nelse:\n    print('parent')", others = 1 },
}

attack.run(
  {
    "spawning", backend = "interpreter", timeout = "30s", set = set,
    { "a pool of fresh processes", keeps = "[0.0, 1.0, 2.0]",
      code = "import math, multiprocessing\nwith multiprocessing.get_context('spawn').Pool(2) as pool:\n"
        .. "    print(pool.map(math.sqrt, [0, 1, 4]))", others = 1 },
    { "a function of the cell, which these cannot find", status = "error", error = "BrokenProcessPool",
      code = "import multiprocessing, concurrent.futures\ndef square(x): return x * x\n"
        .. "with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:\n"
        .. "    print(list(pool.map(square, range(4))))", others = 1 },
  },
  {
    "script", backend = "exec", timeout = "30s", set = set,
    { "a pool of forks", keeps = "[0, 1, 4, 9]",
      code = "import multiprocessing\ndef square(x): return x * x\nif __name__ == '__main__':\n"
        .. "    with multiprocessing.get_context('fork').Pool(2) as pool: print(pool.map(square, range(4)))" },
    { "a pool of fresh processes", keeps = "[0, 1, 4, 9]",
      code = "import multiprocessing\ndef square(x): return x * x\nif __name__ == '__main__':\n"
        .. "    with multiprocessing.get_context('spawn').Pool(2) as pool: print(pool.map(square, range(4)))" },
    -- Not by print, which writes the text and its end of line apart: between those the
    -- other process has its turn.
    { "fork, and both go on", out = "here\nhere\n",
      code = "import os\npid = os.fork()\nos.write(1, b'here\\n')\nif pid: os.waitpid(pid, 0)" },
    { "SystemExit in a thread", keeps = "on", code = "import sys, threading\nt = threading.Thread(target=sys.exit, args=(7,))\n"
        .. "t.start()\nt.join()\nprint('on')" },
    { "atexit that prints", keeps = "at exit", code = "import atexit\natexit.register(print, 'at exit')" },
    { "sys deleted", keeps = "on", code = "import sys\ndel sys.modules['sys'], sys\nprint('on')" },
    { "sys.stdout closed", code = "import sys\nsys.stdout.close()" },
  })

-- ---- code that is hard to read, as files: neither engine nor analysis falls over it

local before = tap.snapshot()
local dir = tap.tempdir()
local codes = {
  { "NUL", "print('a')\0\nprint('b')\n", interpreter = "refused", exec = "refused" },
  { "byte order mark", "\239\187\191print('a')\n", interpreter = "ok", exec = "ok", out = "a\n" },
  { "CRLF", "if 1:\r\n    print('a')\r\nprint('b')\r\n", interpreter = "ok", exec = "ok", out = "a\nb\n" },
  { "CR alone", "print('a')\rprint('b')\r", interpreter = "ok", exec = "ok", out = "a\nb\n" },
  { "tabs", "if 1:\n\tprint('a')\n", interpreter = "ok", exec = "ok", out = "a\n" },
  { "tabs and blanks", "if 1:\n\tprint('a')\n        print('b')\n", interpreter = "error", exec = "error",
    name = "TabError" },
  { "no UTF-8", "print('\255')\n", interpreter = "refused", exec = "refused" },
  { "nothing", "", interpreter = "ok", exec = "ok" },
  { "blanks", "   \n\t\n  ", interpreter = "ok", exec = "ok" },
  { "comments", "# a\n#", interpreter = "ok", exec = "ok" },
  { "10 MB", "text = '''" .. ("x" .. ("y"):rep(98) .. "\n"):rep(100000) .. "'''\nprint(len(text))\n",
    interpreter = "ok", exec = "ok", out = "10000000\n" },
  { "100,000 parentheses", ("("):rep(100000) .. "1" .. (")"):rep(100000), interpreter = "error", exec = "error",
    name = "SyntaxError" },
  { "100,000 open brackets", ("["):rep(100000), interpreter = "error", exec = "error", name = "SyntaxError" },
  { "100,000 signs", ("-"):rep(100000) .. "1", interpreter = "error|crashed", exec = "error|crashed" },
  { "100,000 terms", "x = 1" .. (" + 1"):rep(100000), interpreter = "ok|error|crashed", exec = "ok|error|crashed" },
  { "100,000 attributes", "x = 1" .. (".real"):rep(100000), interpreter = "ok|error|crashed",
    exec = "ok|error|crashed" },
  { "1,000 nested blocks", (function()
    local lines = {}
    for depth = 0, 999 do lines[#lines + 1] = (" "):rep(depth) .. "if 1:" end
    return table.concat(lines, "\n") .. " pass\n"
  end)(), interpreter = "error", exec = "error", name = "IndentationError" },
  { "one line of 1 MB", "x = [" .. ("1,"):rep(500000) .. "]\nprint(len(x))\n", interpreter = "ok", exec = "ok",
    out = "500000\n" },
  { "a source in another encoding", "# -*- coding: utf-7 -*-\nprint('a')\n", interpreter = "ok", exec = "ok",
    out = "a\n" },
  { "a source in an encoding that is not there", "# -*- coding: nosuch -*-\nprint('a')\n",
    interpreter = "ok|error", exec = "error" },
}
for number, code in ipairs(codes) do
  local path = tap.write(("%s/%d.py"):format(dir, number), code[2])
  local runs = {}
  for _, backend in ipairs { "interpreter", "exec" } do
    runs[backend] = tap.start { "kiln", "run", "--json", "-b", backend, "--set", "limits.memory=2G", path, cwd = dir }
  end
  local bad = {}
  for backend, process in pairs(runs) do
    local ran = process:wait()
    local result = json.decode(ran.out)
    local status = result and result.status or ran.code == 2 and "refused" or "no result"
    local function need(condition, ...)
      if not condition then bad[#bad + 1] = backend .. ": " .. (...):format(select(2, ...)) end
    end
    need(("|" .. code[backend] .. "|"):find("|" .. status .. "|", 1, true), "%s, not %s; %s", status,
      code[backend], ran.err:sub(1, 300))
    if result and code.out then need(result.stdout == code.out, "printed %q", result.stdout:sub(1, 200)) end
    if result and code.name and backend == "interpreter" then
      need(result.errors[1] and result.errors[1].name == code.name, "%s, not %s",
        result.errors[1] and result.errors[1].name, code.name)
    end
  end
  if not tap.ok(#bad == 0, "code: " .. code[1]) then tap.diag(table.concat(bad, "\n")) end
end
tap.no_leaks(before, "code: nothing is left behind")

-- ---- what breaks the session for good: the engine says so, and begins another. Three
-- cells later at the latest: some find out only when the next cell runs.

for _, brutal in ipairs {
  { "the runner's globals cleared", "import sys\nframe = sys._getframe()\n"
    .. "while frame.f_back: frame = frame.f_back\nframe.f_globals.clear()" },
  { "sys cleared", "import sys\nsys.__dict__.clear()" },
  { "builtins cleared", "import builtins\nbuiltins.__dict__.clear()" },
  { "memory of the interpreter overwritten", "import ctypes\nctypes.memset(id(None), 0, 16)\nNone" },
  { "every descriptor closed", "import os\nos.closerange(0, 4096)" },
  { "the frames' socket filled with garbage", "import os, stat\nfor fd in range(3, 256):\n    try:\n"
    .. "        if stat.S_ISSOCK(os.fstat(fd).st_mode): os.write(fd, b'garbage' * 1000)\n    except OSError: pass" },
  { "another program in its place", "import os\nos.execv('/bin/echo', ['echo', 'in its place'])" },
  { "the end without a word", "import os\nos._exit(0)" },
} do
  local path = tap.write(dir .. "/brutal.ipynb", attack.notebook("python",
    { "kept = 1", brutal[2], "print(6 * 7)", "print(6 * 7)", "print(6 * 7)" }))
  local ran = tap.run { "kiln", "run", "--json", "--keep-going", "-b", "interpreter", "--timeout", "5s", "-o", dir .. "/out", path,
    cwd = dir }
  local results = (json.decode(ran.out) or {}).results or {}
  local good = #results == 5 and results[1].status == "ok"
  good = good and results[5].status == "ok" and results[5].stdout == "42\n"
  if not tap.ok(good, "brutal: " .. brutal[1]) then
    for i, result in ipairs(results) do tap.diag(i .. ": " .. attack.summary(result)) end
    tap.diag(ran.err)
  end
end
tap.no_leaks(before, "brutal: nothing is left behind")

tap.done()
