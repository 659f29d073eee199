#!/usr/bin/env luajit
-- Container sessions with the Python of another release of Debian (RELEASE), as `make releases`
-- runs it for each: the runner's own tests inside its image, and sessions of kiln's there.
local tap = require("tap")
local json = require("json")
local attack = require("attack")
local container = require("container")
local release = assert(os.getenv("RELEASE"), "which RELEASE of Debian?")
container.start(release)
local before = tap.snapshot()
local image = ("kiln-%s:1"):format(release)
local tree = tap.run({ "pwd" }).out:gsub("\n", "")

local function inside(...)
  return container.podman("run", "--rm", "--network", "none", "--tmpfs", "/tmp", "-v",
    tree .. ":/kiln:ro", "-w", "/kiln", image, ...)
end

local version = inside("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
tap.diag(release .. " has Python " .. version.out)
for _, test in ipairs { "session", "display", "magics" } do
  local ran = inside("python3", "t/" .. test .. ".t")
  if not tap.ok(ran.code == 0 and ran.out:find("1%.%.%d+\n$") ~= nil, "the runner's own: t/" .. test .. ".t") then
    for line in ran.out:gmatch("not ok[^\n]*") do tap.diag(line) end
    tap.diag(ran.err)
  end
end

-- ---- sessions

local function session(sources, more)
  local dir = tap.tempdir()
  local argv = container.argv("--keep-going", "-s", "backend container.image=" .. image, "-o", dir .. "/out", unpack(more))
  argv[#argv + 1] = tap.write(dir .. "/n.ipynb", attack.notebook("python", sources))
  local ran = tap.run_json { argv = argv, cwd = dir }
  if not (ran.json and ran.json.results) then tap.diag(ran.err) end
  return ran.json and ran.json.results or {}, dir
end

local function value(text)
  return { check = function(result)
    for _, output in ipairs(result.outputs) do
      if output.type == "execute_result" then return output.data["text/plain"] == text, output.data["text/plain"] end
    end
    return false, "no value"
  end }
end

local given = tap.write(tap.tempdir() .. "/given.txt", "given")
local typed = tap.write(tap.tempdir() .. "/in", "one\ntwo\n")
for _, files in ipairs { "direct", "archive" } do
  local function judge(result, want, title) attack.judge(result, want, files .. ": " .. title) end
  local results, dir = session({
    "x = 20\nprint('out')\nimport sys\nprint('err', file=sys.stderr)",
    "x + 22",
    "def f(n):\n    return 1 / n\nf(0)",
    "import os\nos.write(1, b'raw\\n')\nos.system('echo child')\nNone",
    "input('? ') + '|' + input()",
    "from IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))\n" ..
      "class Rich:\n    def _repr_html_(self): return '<i>r</i>'\nRich()",
    "open('made.txt', 'w').write('made ' + open('given.txt').read())",
    "sys.exit(3)",
    "print('before', flush=True)\nwhile True: pass",
    "x",
    "import time\ntime.sleep(60)",
    "await __import__('asyncio').sleep(0, x)",
    "%%bash\necho magic",
    "y = !echo shell\ny",
    "1 +",
    "import threading\nt = threading.Thread(target=lambda: print('thread'))\nt.start()\nt.join()",
    "import multiprocessing\nmultiprocessing.get_context('fork').Process(target=print, args=('forked',)).start()\n" ..
      "[p.join() for p in multiprocessing.active_children()] and None",
    "import warnings\nwarnings.warn('careful')",
    "sys.version_info[:2]",
    "print('kept')\nos.kill(os.getpid(), 11)",
    "'next'",
  }, { "-s", "backend container.files=" .. files, "-i", given, "--stdin", typed, "--timeout", "10s" })
  judge(results[1], { out = "^out\n$", err = "^err\n$" }, "streams")
  judge(results[2], value("42"), "state")
  judge(results[3], { status = "error", error = "ZeroDivisionError", check = function(r)
    local text = table.concat(r.outputs[1].traceback, "\n")
    return text:find('File "Cell In[3]", line 3, in <module>\n    f(0)', 1, true) and
      text:find("line 2, in f\n    return 1 / n\n", 1, true) and not text:find("<kiln>", 1, true), text
  end }, "a traceback of the user's lines")
  judge(results[4], { keeps = "raw", out = "child\n" }, "descriptors and children")
  judge(results[5], value("'one|two'"), "input()")
  judge(results[6], { check = function(r)
    return r.outputs[1].data["text/html"] == "<b>x</b>" and r.outputs[2].data["text/html"] == "<i>r</i>"
  end }, "rich output")
  judge(results[7], { check = function(r) return r.output_files[1].name == "made.txt" end }, "files")
  tap.is(tap.read(dir .. "/out/made.txt"), "made given", files .. ": in and out")
  judge(results[8], { status = "error", exit_code = 3 }, "sys.exit")
  judge(results[9], { status = "timeout", out = "^before\n$" }, "an interrupt")
  judge(results[10], value("20"), "keeps the state")
  judge(results[11], { status = "timeout" }, "of a sleep, too")
  judge(results[12], value("20"), "top-level await")
  judge(results[13], { out = "^magic\n$" }, "magics")
  judge(results[14], value("['shell']"), "shell lines")
  judge(results[15], { status = "error", error = "SyntaxError" }, "a syntax error")
  judge(results[16], { out = "^thread\n$" }, "a thread")
  judge(results[17], { out = "^forked\n$" }, "a fork")
  judge(results[18], { err = "careful" }, "a warning")
  judge(results[19], value("(" .. version.out:gsub("%.", ", "):gsub("\n", "") .. ")"), "and it is that release's Python")
  judge(results[20], { status = "crashed", signal = 11, keeps = "kept" }, "death")
  judge(results[21], value("'next'"), "and the next cell")
end

-- ---- what a front end asks

local repl = tap.start { "kiln", "repl", "--config", container.config, "--set", "backend container.image=" .. image,
  terminal = true, cwd = tap.tempdir(), env = { XDG_STATE_HOME = tap.tempdir(), TERM = "xterm", NO_COLOR = "1" } }
local function says(text, name) return tap.ok(repl:expect(text), name or text) end
says("In [1]: ")
repl:type("x = {'alpha': 1}\n")
says("In [2]: ")
repl:type("x['al\t")
says("x['alpha']", "completion")
repl:type("\n")
says("Out[2]: 1")
repl:type("def double(a):\n")
says("   ...:     ", "a block goes on")
repl:type("return a * 2\n")
says("   ...: ")
repl:type("\n")
says("In [4]: ")
repl:type("double?\n")
says("double(a)", "inspection")
says("In [4]: ")
repl:type(":vars\n")
says("function", "variables")
says("In [4]: ")
repl:type("\4")
repl:wait()

container.no_leaks(before)
container.stop()
tap.done()
