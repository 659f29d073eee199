#!/usr/bin/env luajit
-- kiln repl: at a terminal, as a person uses it, and from a pipe.
local tap = require("tap")
local json = require("json")
local posix = require("posix")

local before = tap.snapshot()
local directory = tap.tempdir()
local state = directory .. "/state"

-- ---- at a terminal
local repl = tap.start {
  "kiln", "repl", "-s", "mine", "-o", directory .. "/made",
  terminal = true, cwd = directory,
  env = { XDG_STATE_HOME = state, TERM = "xterm", NO_COLOR = "1" },
}
local function says(text, name) return tap.ok(repl:expect(text), name or text) end
local function enter(line) repl:type(line .. "\n") end
local function clear(number)
  repl:type("\3")
  says("^C\nIn [" .. number .. "]: ", "Ctrl-C at the prompt clears the line")
end

says("session mine, python. :help lists commands.", "a greeting")
says("In [1]: ", "a prompt")
enter("x = {'alpha': 1, 'beta': 2}")
says("In [2]: ")
repl:type("x['al\t")
says("x['alpha']", "Tab completes a key")
enter("")
says("Out[2]: 1", "the value")

enter("def double(a):")
says("   ...:     ", "a block goes on, indented")
enter("return a * 2")
says("   ...: ")
enter("")
says("In [4]: ", "an empty line ends it")
enter("double(21)")
says("Out[4]: 42")
says("In [5]: ")
repl:type("double.__na\t")
says("double.__name__", "Tab completes an attribute")
clear(5)
repl:type("dou\t")
says("double", "a name")
clear(5)
enter("import os, time")
says("In [6]: ")
repl:type("os.pa\t")
says("pardir", "several matches are listed")
says("pathsep")
clear(6)

enter("print('begun'); time.sleep(60)")
says("begun\n", "output comes at once")
repl:type("\3")
says("KeyboardInterrupt", "Ctrl-C stops the cell")
says("In [7]: ")
enter("double(4)")
says("Out[7]: 8", "and the state is kept")
enter("double?")
says("Signature: double(a)", "NAME?")
enter("double??")
says("return a * 2", "NAME?? has the source")
enter("double.__name__?")
says("Type: str", "NAME.NAME?")
says("In [8]: ", "neither is a cell")

-- What code prints must not drive the terminal.
enter("print('a\\033]0;title\\007b\\033[2Jc\\033[6nd')")
says("abcd\n", "control sequences are taken out")
enter("print('half', end='')")
says("half\nIn [10]: ", "the prompt has a line of its own")
enter("1/0")
says("ZeroDivisionError: division by zero\nIn [11]: ", "a traceback says all there is")
enter("raise SystemExit(3)")
says("exited with status 3")
says("In [12]: ")

-- what a completion would put into the line must not drive the terminal either
enter("d = {'esc\\033]0;x\\007': 1, 'escape': 2}")
says("In [13]: ")
repl:type("d['esc\t")
says("d['escape']", "a match with control characters is not offered")
clear(13)

-- a pasted function, empty line and all
repl:type("\27[200~def pasted(a):\n    b = a\n\n    return b\n\27[201~")
enter("")
enter("")
enter("pasted(5)")
says("]: 5", "pasted text is one cell")

enter(":vars")
says("double", ":vars")
says("double(a)")
says("{'alpha': 1, 'beta': 2}")
enter("from os.path import join; long_text = 'x' * 300")
enter(":vars")
says("long_text  str", "with room for their names")
says("xxx...\n", "and what is too long for the terminal cut")
tap.unlike(repl:output(), "join +function", "without what was imported")
enter("open('out.txt', 'w').write('made inside')")
says("text/plain saved as " .. directory .. "/made/out.txt", "an output file is saved and named")
enter(":files")
says("out.txt", ":files")
tap.write(directory .. "/in.txt", "from outside")
enter(":put in.txt there.txt")
says("there.txt is in the session's work directory", ":put")
enter("open('there.txt').read()")
says("'from outside'")
enter(":get there.txt back.txt")
says("back.txt: 12B", ":get")
tap.is(tap.read(directory .. "/back.txt"), "from outside", "the file is there")
enter(":get ../../etc/passwd")
says("..", "no way out of the work directory")
enter(":get nothing.txt")
says("nothing.txt: No such file", "a file that is not there")

enter("from IPython.display import Image, display; import base64")
enter("display(Image(base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==')))")
says("image/png saved as " .. directory .. "/made/display-", "a picture is saved and named")

enter(":hlep")
says('unknown command ":hlep", did you mean ":help"?', "a near match")
enter(":get")
says("write it :get FILE [TO]", "arguments that are missing")
enter(":switch other")
says("opened session other")
says("In [1]: ", "another session counts on its own")
enter("'double' in globals()")
says("Out[1]: False", "and has its own state")
enter(":sessions")
says("  mine")
says("* other", ":sessions")
enter(":switch mine")
says("switched to session mine")
enter("double(50)")
says("100", "which is where it was")
enter(":fork trial")
says("session trial goes on from where mine is", ":fork")
enter("before = double(3); x = None; open('there.txt', 'w').write('trial'); before")
says("6", "a branch begins with the state")
enter(":switch mine")
enter("x, 'before' in globals(), open('there.txt').read()")
says("({'alpha': 1, 'beta': 2}, False, 'from outside')", "and changes its own alone")
enter(":fork trial")
says("trial", "a name that is taken is refused")
enter("None")
enter(":save saved.ipynb")
says("saved.ipynb: ", ":save")
local saved = json.decode(tap.read(directory .. "/saved.ipynb"))
tap.is(saved.nbformat, 4, "a notebook")
tap.is(saved.cells[4].source, "double(21)", "with the cells")
tap.same(saved.cells[4].outputs[1].data["text/plain"], { "42" }, "and their outputs")
enter(":time on")
says("each cell's time is told")
enter("None")
says(" ms\n", ":time")
enter(":restart")
says("state is gone, files are kept", ":restart")
says("In [1]: ")
enter("'double' in globals(), open('there.txt').read()")
says("(False, 'from outside')")
tap.write(directory .. "/three.ipynb", [[{"metadata":{},"nbformat":4,"nbformat_minor":4,"cells":[
  {"cell_type":"code","metadata":{},"execution_count":null,"outputs":[],"source":["a = 5\n","a * 3"]},
  {"cell_type":"code","metadata":{},"execution_count":null,"outputs":[],"source":"nothing_here"},
  {"cell_type":"code","metadata":{},"execution_count":null,"outputs":[],"source":"a = 6"}]}]])
enter(":load three.ipynb")
says("Out[2]: 15", ":load runs a notebook's cells")
says(":load: stopped, cells that were not run: 1", "up to the first that fails")

-- The state is lost: said, each time.
enter("import os; os._exit(3)")
says("the session's state is lost", "a worker that exited")
enter("import signal, time; signal.signal(2, signal.SIG_IGN); print('deaf'); time.sleep(60)")
says("deaf\n")
repl:type("\3\3")
says("its processes were killed and the session's state is lost", "a second Ctrl-C kills")
enter("6 * 7")
says("42", "and the session goes on")

says("\nIn [")
repl:type("\4")
local ended = repl:wait()
tap.is(ended.code, 0, "Ctrl-D leaves")
local history = tap.read(state .. "/kiln/history")
tap.contains(history or "", "double(21)", "the history is kept")
tap.contains(history or "", "def double(a):\n    return a * 2\n", "cells of several lines whole")
local stat = io.popen("stat -c '%a' " .. state .. "/kiln/history " .. state .. "/kiln"):read("*a")
tap.is(stat, "600\n700\n", "and only ours to read")

-- again, with the history; the arrow recalls a cell
tap.write(directory .. "/k.ini", "[limits]\ntimeout = 60s\n")
repl = tap.start {
  "kiln", "repl", "--config", directory .. "/k.ini", terminal = true, cwd = directory,
  env = { XDG_STATE_HOME = state, TERM = "xterm" },
}
says("session repl, python")
says("In [1]: ")
tap.contains(repl:output(), "\27[32m", "the prompt has a colour")
repl:type("\18double(21")
says("double(21)", "Ctrl-R finds what an earlier run typed")
clear(1)
tap.write(directory .. "/k.ini", "[limits]\ntimeout = 0.3\n")
repl:kill(posix.SIGHUP)
says("k.ini:2", "SIGHUP reads the configuration again, and says what is wrong with it")
tap.write(directory .. "/k.ini", "[limits]\ntimeout = 300ms\n")
repl:kill(posix.SIGHUP)
says("policies and limits were read again", "then what is right counts")
enter("import time; time.sleep(60)")
says("wall time of 300 ms was up")
tap.write(directory .. "/k.ini", "[limits]\ntimeout = 60s\n")
repl:kill(posix.SIGHUP)
says("policies and limits were read again")
enter("while True: pass")
posix.sleep(0.3)
repl:kill(posix.SIGTERM)
ended = repl:wait()
tap.is(ended.code, 143, "SIGTERM while a cell runs")

repl = tap.start {
  "kiln", "repl", terminal = true, cwd = directory, env = { XDG_STATE_HOME = state, TERM = "xterm" },
}
says("In [1]: ")
enter("exit()")
tap.is(repl:wait().code, 0, "exit() leaves, as in other interpreters")

-- The terminal goes away.
repl = tap.start {
  "kiln", "repl", terminal = true, cwd = directory, env = { XDG_STATE_HOME = state, TERM = "xterm" },
}
says("In [1]: ")
repl:hang_up()
ended = repl:wait()
tap.is(ended.code, 0, "a terminal that went away ends it")

-- ---- from a pipe
local function pipe(text, ...)
  local spec = { "kiln", "repl", stdin = text, cwd = directory }
  for _, word in ipairs({ ... }) do spec[#spec + 1] = word end
  return tap.run(spec)
end

local p = pipe("x = 20\ndef f(a):\n    return a + 1\n\nf(x)\nprint('end')\n")
tap.is(p.out, "21\nend\n", "cells from a pipe: values and output alone")
tap.is(p.err, "", "and nothing else")
tap.is(p.code, 0, "status 0")
p = pipe("1/0\nprint('goes on')")
tap.is(p.code, 1, "the status of the first that failed")
tap.is(p.out, "goes on\n", "the last line needs no newline")
p = pipe("if True:\n    print('whole')")
tap.is(p.out, "whole\n", "nor does a block at the end")
p = pipe(":vras\n:quit\nprint(1)\n")
tap.contains(p.err, 'did you mean ":vars"', "commands are read from a pipe, too")
tap.is(p.out, "", ":quit leaves")

p = pipe("x = 2\nx\nimport os; os._exit(3)\nx\n", "--json")
local results = {}
for line in p.out:gmatch("[^\n]+") do results[#results + 1] = json.decode(line) end
tap.is(#results, 4, "--json: a line a cell")
tap.is(results[2].outputs[1].data["text/plain"], "2", "each a Result")
tap.is(results[3].status, "crashed", "a crash")
tap.contains(results[3].errors[1].message, "the session's state is lost", "which tells of the loss")
tap.is(results[4].errors[1].name, "NameError", "and the session goes on without its state")

p = pipe("echo one\necho two\n\necho three\n\n", "-b", "exec", "-l", "bash")
tap.is(p.out, "one\ntwo\nthree\n", "a language that is not asked: an empty line ends a cell")
p = pipe("while True: pass\n", "--timeout", "300ms")
tap.is(p.code, 124, "--timeout")
p = pipe("\255\254 = 1\n")
tap.ok(p.code == 2 and p.err ~= "", "what is no text is refused")
p = pipe("1\n", "--session", "../x")
tap.contains(p.err, 'session id "../x"', "a bad name")
tap.is(p.code, 2, "is usage")
p = pipe("1\n", "file.py")
tap.contains(p.err, "takes no argument", "an argument")
p = pipe("1\n", "-l", "pyton")
tap.contains(p.err, 'did you mean "python"', "a language that is not there")
p = tap.run { "kiln", "repl", "--help" }
tap.contains(p.out, "usage: kiln repl", "--help")

-- `kiln run` does not load what only a person needs.
local running = tap.start { "kiln", "run", "-c", "import time; time.sleep(60)" }
posix.sleep(0.5)
local loaded = tap.read("/proc/" .. running.pid .. "/maps") or ""
tap.unlike(loaded, "readline", "kiln run does not load readline")
running:kill(posix.SIGTERM)
running:wait()

tap.no_leaks(before, "nothing is left behind")
tap.done()
