#!/usr/bin/env luajit
-- ATTACKS.md, files: what code leaves in the place of an output file, and inputs that
-- would be more than files.
local tap = require("tap")
local attack = require("attack")
local posix = tap.posix
local before = tap.snapshot()
local backends = { "exec", "interpreter" }

local function sorted(list)
  table.sort(list)
  return table.concat(list, " ")
end

-- Exactly these output files, and as many refusals as told.
local function files(names, refusals)
  return function(result)
    local got, refused = {}, {}
    for _, file in ipairs(result.output_files) do
      -- exec's code file counts when the code changed it
      got[#got + 1] = file.name
    end
    for _, e in ipairs(result.errors) do
      if e.name == "OutputFileRefused" then refused[#refused + 1] = e.message end
    end
    local same = sorted(got) == sorted { unpack(names) }
    if refusals and #refused ~= refusals then same = false end
    return same, ("files: %s; refused: %s"):format(table.concat(got, ", "), table.concat(refused, "; "))
  end
end

-- ---- things that are no regular files of the code's own

local links = [[
import os
for target, name in (('/etc/shadow', 'shadow'), ('/proc/1/root', 'root'), ('/proc/self/mem', 'mem'),
                     ('.', 'loop'), ('/', 'folder'), ('good.txt', 'inside'), ('absent', 'dangling')):
    os.symlink(target, name)
open('good.txt', 'w').write('good')]]
local hard = [[
import os
open('a', 'w').write('a')
os.link('a', 'b')
for target in ('/etc/passwd', '/usr/bin/python3', '/proc/self/exe'):
    try:
        os.link(target, 'c', follow_symlinks=False)
        print('linked', target)
    except OSError:
        pass]]
local special = [[
import os, socket, stat
os.mkfifo('plot.png')
s = socket.socket(socket.AF_UNIX)
s.bind('socket.png')
os.mkdir('folder.png')
for kind in (stat.S_IFBLK, stat.S_IFCHR):
    try:
        os.mknod('device', 0o666 | kind, os.makedev(8, 0))
        print('made a device')
    except OSError:
        pass]]
local names = [[
import os
for name in (b'new\nline', b'not-utf8-\xff', b'\x1b[2J', b'n' * 255, b'-rf', b'..hidden', b'two words',
             b'$(id)', b'.dot'):
    open(name, 'w').close()
os.makedirs('deep/er')
open('deep/er/..', 'w') if False else open('deep/er/file', 'w').close()]]
local deep = [[
import os
for _ in range(1000):
    os.mkdir('d')
    os.chdir('d')
open('bottom', 'w').close()
os.chdir('/work')]]
local remove = "import shutil, os\nos.chdir('/work')\nfor n in os.listdir('.'):\n"
  .. "    if os.path.isdir(n) and not os.path.islink(n): shutil.rmtree(n)\n"
  .. "    elif n != 'main.py': os.remove(n)"
local sparse = "f = open('sparse', 'w')\nf.truncate(1 << 50)"
local groups = {}
for i, backend in ipairs(backends) do
  groups[i] = {
    "output", backend = backend, set = { "limits.files=5000", "limits.disk=8M" },
    { "symbolic links", code = links, check = files({ "good.txt" }, 7) },
    { "hard links", code = remove .. "\n" .. hard, out = "^$", check = files({}, 2) },
    { "FIFO, socket, folder, device", code = remove .. "\n" .. special, out = "^$", check = files({}, 2) },
    { "names", code = remove .. "\n" .. names, check = files({ ("n"):rep(255), "-rf", "..hidden",
      "two words", "$(id)", ".dot", "deep/er/file" }, 3) },
    { "1,000 folders deep", code = deep, status = { "ok" } },
    { "and taken away", code = "import os, subprocess\n"
      .. "subprocess.run(['/bin/rm', '-rf', '--'] + [n for n in os.listdir('/work') if n != 'main.py'])" },
    { "a sparse file of 1024 TiB", code = sparse, status = { "ok", "error" }, check = files({}) },
  }
end
attack.run(unpack(groups))

-- ---- a disk that is full, in bytes and in files

local fill = [[
import os
print('so far', flush=True)
with open('big', 'wb', buffering=0) as f:
    while True:
        f.write(bytes(1 << 16))]]
local fill_tmp = fill:gsub("'big'", "'/tmp/big'")
local fill_inodes = [[
import os
print('so far', flush=True)
n = 0
while True:
    open('f%d' % n, 'w').close()
    n += 1]]
local fill_caught = [[
try:
    with open('big2', 'wb', buffering=0) as f:
        while True:
            f.write(bytes(1 << 16))
except OSError as error:
    print('full', error.errno)]]
groups = {}
for _, backend in ipairs(backends) do
  for _, one in ipairs {
    { "the work directory filled", code = fill, status = "limit", error = "disk", keeps = "so far\n" },
    { "/tmp filled", code = fill_tmp, status = "limit", error = "disk", keeps = "so far\n" },
    { "every inode taken", code = fill_inodes, status = "limit", error = "files", keeps = "so far\n" },
    { "a full disk that the code deals with", code = fill_caught, status = "ok", out = "full 28" },
    { "a full disk and nothing else", code = fill_caught .. "\nraise SystemExit(3)", status = "limit",
      error = "disk", exit_code = 3 },
  } do
    local long = { "a long program after it", code = "x = '" .. ("y"):rep(20000) .. "'\nprint('long')",
      out = "^long\n$" }
    if backend == "exec" and one.error ~= "files" then
      -- exec's code is a file, too. A short one fits where the last one lay, so that code
      -- can make room; of a long one it is told what is in the way.
      long.status, long.error, long.out = "limit", "disk", "^$"
    end
    local room = { "room is made", code = "import os\nfor folder in ('/work', '/tmp'):\n"
      .. "    for name in os.listdir(folder): os.remove(folder + '/' + name)" }
    groups[#groups + 1] = { "disk", backend = backend, one, long, room,
      { "a long program on a disk with room", code = long.code, out = "^long\n$" } }
  end
end
attack.run(unpack(groups))

local many = {}
for i, backend in ipairs(backends) do
  many[i] = {
    "50,000 output files", backend = backend, set = { "limits.files=60000" }, timeout = "30s",
    { "are cut and counted", code = "for n in range(50000): open('f%d' % n, 'w').close()",
      status = "ok", error = "OutputFileRefused",
      check = function(result) return #result.output_files > 100 and #result.output_files < 50000,
        #result.output_files .. " files" end },
  }
end
attack.run(unpack(many))

-- ---- the work directory and the code's own file taken from under the engine

local function on(code) return "import os\nos.chdir('/work')\n" .. code end
attack.run({
  "work directory", backend = "exec",
  { "chmod 000", code = on("os.chmod('/work', 0)") },
  { "the code's file a symbolic link", code = on("os.remove('main.py')\nos.symlink('/etc/passwd', 'main.py')") },
  { "the code's file a link to a file of its own", code = on("os.remove('main.py')\n"
    .. "open('other', 'w').write('other')\nos.symlink('other', 'main.py')") },
  { "the code's file a FIFO", code = on("os.remove('main.py')\nos.mkfifo('main.py')") },
  { "the code's file a folder", code = on("os.remove('main.py')\nos.makedirs('main.py/full')") },
  { "the code's file not to be read", code = on("os.chmod('main.py', 0)") },
  { "everything removed", code = on("import subprocess\nsubprocess.run('rm -rf /work/* /tmp/* /code/* /dev/shm/*', "
    .. "shell=True, stderr=subprocess.DEVNULL)") },
}, {
  "work directory", backend = "interpreter",
  { "chmod 000", code = on("os.chmod('/work', 0)") },
  { "everything removed", code = on("import subprocess\n"
    .. "subprocess.run('rm -rf /work/* /tmp/* /code/* /dev/shm/*', shell=True, stderr=subprocess.DEVNULL)") },
})

-- ---- files that change while they are read: a child goes on when the cell has ended

local swap = [[
import os, time
if os.fork() == 0:
    end = time.time() + 2
    os.symlink('/etc/passwd', 'link')
    open('file', 'w').write('mine')
    while time.time() < end:
        os.rename('file', 'swapped')
        os.rename('link', 'swapped')
        os.symlink('/etc/passwd', 'link')
        open('file', 'w').write('mine')
    os._exit(0)
time.sleep(0.2)]]
local grow = [[
import os, time
if os.fork() == 0:
    end = time.time() + 2
    with open('grows', 'w', buffering=1) as f:
        while time.time() < end:
            f.write('line\n' * 1000)
    os._exit(0)
time.sleep(0.2)]]
local function sha256(path)
  local r = tap.run { "sha256sum", path }
  return r.out:match("^%x+")
end
for _, one in ipairs { { "swapped for a link", swap }, { "that grows", grow } } do
  local group = { one[1], backend = "interpreter", probe = false,
    { "x", code = one[2] }, { "y", code = "1" }, { "z", code = "2" } }
  local results = attack.finish(attack.start(group))
  local good, last = #results == 3, {}
  for _, result in ipairs(results) do
    good = good and result.status == "ok"
    for _, file in ipairs(result.output_files) do last[file.name] = file end
  end
  tap.ok(good, "a file " .. one[1] .. " while it is read: the cells run")
  local wrong = {}
  for name, file in pairs(last) do
    local path = group.dir .. "/" .. name
    local text = posix.read_file(path) or ""
    if text:find("root:", 1, true) or #text ~= file.size or sha256(path) ~= file.sha256 then
      wrong[#wrong + 1] = name
    end
  end
  tap.is(table.concat(wrong, " "), "", "a file " .. one[1] .. ": what is told is what was written")
end
-- Later changes in the session are not changes of what was handed out.
local group = { "later", backend = "interpreter", probe = false,
  { "made", code = "open('f', 'w').write('one')" },
  { "changed and taken away", code = "open('f', 'w').write('two')\nimport os\nos.remove('f')" } }
attack.finish(attack.start(group))
tap.is(posix.read_file(group.dir .. "/f"), "one", "a file changed after it was collected stays as it was")

-- ---- inputs

local dir = tap.tempdir()
local evil = tap.write(dir .. "/evil", "raise SystemExit('shadowed')")
for _, name in ipairs { "../up", "/etc/up", "a/../../up", "a\n", "..", "", "." , "a//b/../..", ("n"):rep(300) } do
  local r = tap.run { "kiln", "run", "-i", name .. "=" .. evil, "-c", "print('ran')" }
  tap.ok(r.code == 2 and r.out == "" and r.err:find("^kiln: [^\n]*\n$") ~= nil,
    ("input name %q is refused before anything runs"):format(name))
end
local twice = tap.run { "kiln", "run", "-i", "a=" .. evil, "-i", "a=" .. evil, "-c", "print('ran')" }
tap.ok(twice.code == 2 and twice.out == "", "the same input name twice is refused")
local shadows = {}
for _, name in ipairs { "json.py", "sitecustomize.py", "usercustomize.py", "kiln.py", "os.py", "traceback.py",
  "encodings/__init__.py", "base64.py", "_json.py", "session.py", "ast.py", "io.py", "linecache.py" } do
  shadows[#shadows + 1] = "-i"
  shadows[#shadows + 1] = name .. "=" .. evil
end
for _, backend in ipairs(backends) do
  attack.run { "shadowing inputs", backend = backend, more = { unpack(shadows) },
    probe = "print('alive', 6 * 7, 'others 0')",
    { "a value", code = "print('so far')\n[1, {'a': 2}]", status = "ok", keeps = "so far\n" },
    { "an error", code = "def f():\n    return 1 / 0\nf()", status = "error",
      error = { "ZeroDivisionError", "ExitStatus" } } }
end
local own = tap.run { "kiln", "run", "-b", "exec", "-i", "main.py=" .. evil, "-c", "print('ran')" }
tap.ok(own.code ~= 0 and not own.out:find("ran"), "an input in the place of the code's own file is refused")

tap.no_leaks(before, "nothing is left behind by all of it")
tap.done()
