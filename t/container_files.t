#!/usr/bin/env luajit
-- Files of containers by the archive API, and the limit on their number, against Podman: what
-- kiln does where it cannot open a container's work directory.
local tap = require("tap")
local json = require("json")
local attack = require("attack")
local container = require("container")
container.start()
local before = tap.snapshot()
local archive = { "--set", "backend container.files=archive" }

local function names(result)
  local list = {}
  for _, file in ipairs(result and result.output_files or {}) do list[#list + 1] = file.name end
  return table.concat(list, " ")
end

local function told(result)
  local lines = {}
  for _, decision in ipairs(result and result.decisions or {}) do
    lines[#lines + 1] = decision.action .. ": " .. decision.detail
  end
  return table.concat(lines, "\n")
end

local function start(language, sources, more)
  local dir = tap.tempdir()
  local argv = container.argv("--keep-going", "--timeout", "5m", "-o", dir .. "/out", unpack(more))
  argv[#argv + 1] = tap.write(dir .. "/n.ipynb", attack.notebook(language, sources))
  local process = tap.start { argv = argv, cwd = dir }
  return function()
    local ran = process:wait()
    local document = json.decode(ran.out) or {}
    if not document.results then tap.diag(ran.err) end
    return document.results or {}, dir .. "/out/", document
  end
end

local function with(more)
  local words = { unpack(archive) }
  for _, word in ipairs(more) do words[#words + 1] = word end
  return words
end

local given = tap.write(tap.tempdir() .. "/given.txt", "given")
local python = start("python", {
  "import os\nos.mkdir('d')\nopen('d/made.txt', 'w').write('made ' + open('given.txt').read())\n" ..
    "open('same', 'w').write('same')",
  "open('d/made.txt', 'a').write('!')\nopen('same', 'w').write('same')\nos.stat('given.txt').st_uid",
  "import shutil\nshutil.rmtree('d')\nopen('d', 'w').write('a file')\nos.rename('same', 'e')\n" ..
    "os.symlink('/etc/passwd', 'link')\nos.link('e', 'hard')\nos.mkfifo('fifo')\nos.mkdir('empty')",
  "print(input())\n1/0",
  "print('kept')\nos.truncate(os.open('holes', os.O_CREAT | os.O_RDWR), 1 << 42)",
  "os.unlink('holes')\n'goes on'",
  "sorted(os.listdir('.'))",
}, with { "-i", given, "--stdin", tap.write(tap.tempdir() .. "/in", "input\n") })
local stopped = start("python", { "x = 'state'\nopen('f', 'w').close()\nprint('kept', flush=True)\nwhile True: pass",
  "x" }, with { "--limit", "cpu=1s" })
local programs = start("ash", { "cat given.txt; echo made >made.txt; ls -ln made.txt | cut -c1-10; exit 3",
  "cat made.txt; kill -SEGV $$", "rm given.txt; tail /dev/zero", "ls" }, with { "-i", given })
local files = start("python", {
  "for i in range(300): open('f%d' % i, 'w').close()",
  "import os\nlen(os.listdir('.')) < 300",
}, { "--limit", "files=200" })
local counted = start("python", { "for i in range(300): open('f%d' % i, 'w').close()" },
  with { "--limit", "files=200" })

local results, out = python()
attack.judge(results[1], { check = function(r) return names(r) == "d/made.txt same", names(r) end },
  "an input file goes in, what was made comes out")
attack.judge(results[2], { check = function(r)
  return names(r) == "d/made.txt" and r.outputs[1].data["text/plain"] == "65534", names(r)
end }, "what has not changed is no output; files are the code's own")
attack.judge(results[3], { check = function(r)
  return names(r):find("^e?%s?h?a?r?d?$") and told(r):find("files: 3 entries were left out", 1, true), names(r) .. told(r)
end }, "a folder that became a file; links and a FIFO are left out, which is told")
tap.is(tap.read(out .. "same"), "same", "what was made is there")
attack.judge(results[4], { status = "error", out = "^input\n$" }, "input(), and an exception")
attack.judge(results[5], { status = "limit", error = "disk", keeps = "kept" }, "a file of holes is the limit on disk")
attack.judge(results[6], { check = function(r) return r.outputs[1].data["text/plain"] == "'goes on'" end },
  "and the session goes on")
attack.judge(results[7], { check = function(r)
  return r.outputs[1].data["text/plain"] ==
    "['d', 'e', 'empty', 'fifo', 'given.txt', 'hard', 'link']",
    r.outputs[1].data["text/plain"]
end }, "what it made and removed")
tap.is(results[7] and results[7].usage.disk_bytes, json.null, "what this machine's disk holds is not told as the session's")

results = stopped()
attack.judge(results[1], { status = "timeout", error = "cpu", keeps = "kept", check = function(r)
  return names(r) == "f", names(r)
end }, "a cell that is stopped keeps its output, and its files")
attack.judge(results[2], { check = function(r) return r.outputs[1].data["text/plain"] == "'state'" end },
  "and the session its state")

results = programs()
attack.judge(results[1], { status = "error", exit_code = 3, out = "^given%-rw%-r%-%-r%-%-\n$", check = function(r)
  return names(r) == "made.txt", names(r)
end }, "a program: files in and out, exit code")
attack.judge(results[2], { status = "crashed", signal = 11, out = "^made\n$" }, "files stay")
attack.judge(results[3], { status = "limit", error = "memory" }, "its limits")
attack.judge(results[4], { check = function(r)
  return r.stdout:find("made.txt", 1, true) and not r.stdout:find("given", 1, true), r.stdout
end }, "what it has removed stays removed")

results = files()
attack.judge(results[1], { status = "limit", error = "files" }, "direct: the limit on files is the kernel's")
attack.judge(results[2], { check = function(r) return r.outputs[1].data["text/plain"] == "True" end },
  "and there were no more")
attack.judge(counted()[1], { status = "limit", error = "files" }, "by archive: they are counted")

-- ---- kiln as a user to whom the containers' processes are another's

local UID = 65533
local other = tap.tempdir()
os.execute("chmod 666 " .. container.socket .. "; chmod 711 " .. container.dir .. "; chmod 777 " .. other)
local kiln = os.getenv("KILN")
local ran = tap.run_json { argv = { "setpriv", "--reuid=" .. UID, "--regid=" .. UID, "--clear-groups",
  kiln, "run", "--json", "--config", tap.write(other .. "/kiln.ini", tap.read(container.config)),
  "-l", "ash", "-c", "echo made >made; id -u" }, cwd = other, env = { HOME = other, TMPDIR = other } }
attack.judge(ran.json, { out = "^65534\n$" }, "files = auto: another user's containers")

container.no_leaks(before)
container.stop()
tap.done()
