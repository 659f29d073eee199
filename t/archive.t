#!/usr/bin/env luajit
-- `kiln archive`: one file that is named by its content, made and opened in a confined worker.
local tap = require("tap")
local dir = tap.tempdir()
local function sh(...) return tap.run { argv = { ... }, cwd = dir } end
local function kiln(...) return tap.run { argv = { "kiln", ... }, cwd = dir } end
local function python(code) return tap.run { argv = { "/usr/bin/python3", "-c", code }, cwd = dir } end
local before = tap.snapshot()

-- ---- the output files of an execution, and a whole session, there and back
sh("mkdir", "-p", "d/sub")
tap.write(dir .. "/d/a.txt", "a\n")
tap.write(dir .. "/d/sub/\195\188.bin", ("\0\1\255"):rep(10000))
local r = kiln("archive", "save", "-o", "store", "d/")
tap.is(r.code, 0, "save")
local path = r.out:match("^(store/%x+%.tar%.gz)\n$")
tap.ok(path, "prints the archive's name")
tap.is(sh("sha256sum", path).out:match("%x+"), path:match("%x%x%x%x%x%x%x%x+"), "which is the hash of its content")
sh("touch", "-d", "2001-01-01", "d/a.txt")
sh("chmod", "600", "d/a.txt")
tap.is(kiln("archive", "save", "-o", "store", "d/").out, path .. "\n", "the same files are the same archive, whatever their dates")
tap.is(kiln("archive", "save", "-o", "store", "x=d/a.txt").out == path .. "\n", false, "another name is another one")
r = kiln("archive", "restore", "-o", "back", path)
tap.is(r.code, 0, "restore")
tap.is(r.out, "2 files in back\n", "tells how many")
tap.is(sh("diff", "-r", "d", "back").out, "", "what was saved is there again")
r = kiln("archive", "restore", "-o", "back", path)
tap.is(r.code, 2, "a folder that holds files")
tap.contains(r.err, "name an empty folder or a new one", "is not written over")
tap.write(dir .. "/n.ipynb", [[{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[
  {"cell_type":"code","id":"a","metadata":{},"outputs":[],"execution_count":null,"source":"x = 6"},
  {"cell_type":"code","id":"b","metadata":{},"outputs":[],"execution_count":null,"source":"open('made', 'w').write(str(x * 7)); x"}]}]])
kiln("run", "-o", "session", "n.ipynb")
r = kiln("archive", "save", "session/")
kiln("archive", "restore", "-o", "again", (r.out:gsub("\n", "")))
tap.is(tap.read(dir .. "/again/made"), "42", "a session: its files")
r = kiln("run", "-i", "again/made", "-o", "third", "again/n.ipynb")
tap.is(r.code, 0, "and its notebook, which runs again")
local run = tap.run_json { argv = { "kiln", "archive", "save", "--json", "d/a.txt" }, cwd = dir }
tap.is(run.json.files, 1, "--json")

-- ---- an archive that a stranger made
python([[
import tarfile, io
def entry(name, **what):
    info = tarfile.TarInfo(name)
    info.size = 0
    for key, value in what.items():
        setattr(info, key, value)
    return info
with tarfile.open("hostile.tar.gz", "w:gz") as t:
    for name in ("../climbs", "/absolute", "a/../../b", "./dot", "good/file", "good/file", "good/file/below", "x\ny"):
        data = b"content of " + name.encode()
        t.addfile(entry(name, size=len(data)), io.BytesIO(data))
    t.addfile(entry("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"))
    t.addfile(entry("link/through", size=1), io.BytesIO(b"x"))
    t.addfile(entry("hard", type=tarfile.LNKTYPE, linkname="good/file"))
    t.addfile(entry("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3))
    t.addfile(entry("pipe", type=tarfile.FIFOTYPE))
with tarfile.open("bomb.tar.gz", "w:gz") as t:
    class Zero(io.RawIOBase):
        def readinto(self, b): return len(b)
        def read(self, n=-1): return bytes(n)
    t.addfile(entry("huge", size=400 << 20), Zero())
]])
r = kiln("archive", "restore", "-o", "hostile", "hostile.tar.gz")
tap.is(r.code, 0, "hostile entries")
tap.is(sh("find", "hostile", "-type", "f").out:gsub("hostile/good/file\n", "", 1):gsub("hostile/link/through\n", "", 1), "", "only plain files come out")
tap.is(tap.read(dir .. "/hostile/good/file"), "content of good/file", "the first of two of a name")
for _, what in ipairs { "../climbs: is not allowed as a name", "/absolute: is not allowed", "a/../../b: is not allowed",
  "link: is no regular file", "hard: is no regular file", "device: is no regular file", "pipe: is no regular file",
  "good/file: is there twice", "1 files: too large, or with names" } do
  tap.contains(r.err, what, "told: " .. what)
end
tap.is(tap.read(dir .. "/climbs"), nil, "nothing climbs")
r = kiln("archive", "restore", "-o", "bomb", "bomb.tar.gz")
tap.is(r.code, 125, "a bomb ends at the limit")
tap.like(r.err, "^kiln: bomb.tar.gz: [^\n]*\n$", "and says so")
tap.is(sh("find", "bomb", "-type", "f").out, "", "with nothing kept")
tap.write(dir .. "/garbage.tar.gz", "no archive")
r = kiln("archive", "restore", "-o", "g", "garbage.tar.gz")
tap.is(r.code, 125, "what is no archive")
tap.contains(r.err, "garbage.tar.gz: Unrecognized archive format", "is told")
local bytes = tap.read(dir .. "/" .. path)
tap.write(dir .. "/" .. path, bytes:sub(1, -2) .. "x")
r = kiln("archive", "restore", "-o", "changed", path)
tap.is(r.code, 2, "an archive that is not what its name says")
tap.contains(r.err, "its content is not what its name says", "is refused")

-- ---- a session of `kiln repl`: its cells, its state by running them again, its files as saved
local temporary = dir .. "/tmp"
sh("mkdir", temporary)
local function repl(text, ...)
  return tap.run { argv = { "kiln", "repl", ... }, stdin = text, cwd = dir, env = { TMPDIR = temporary } }
end
local function leaves_nothing(name)
  tap.is(sh("ls", "-A", temporary).out, "", name .. ": nothing is left")
end
tap.write(dir .. "/in.txt", "given")
r = repl([[
:archive sessions
:put in.txt data/in.txt
import os, random
os.makedirs("a/b")
open("a/b/deep", "w").write(open("data/in.txt").read())
open("gone", "w").write("x")
os.remove("gone")
if os.path.exists("again"): os.remove("data/in.txt")

log = open("log", "a")
log.write("one,"); log.flush()
drawn = os.urandom(8).hex(); open("random", "w").write(drawn)
os.makedirs("t/" + drawn); open("t/" + drawn + "/f", "w").write(drawn)
os.symlink("/etc/passwd", "link")
1/0
x = [1, 2]
x.append(3)
print("seen before")
:archive sessions
]], "-o", "made")
local saved = r.out:match("sessions/%x+%.tar%.gz")
tap.contains(r.err, "session repl has run no cell", "a session without a cell is not saved")
tap.like(r.out, "\nsessions/%x+%.tar%.gz: 15 cells, 5 files\n$", ":archive names the archive")
tap.contains(r.err, "left out: link: is a symbolic link", "tells what it holds not")
tap.is(sh("sha256sum", saved).out:match("%x+"), saved:match("%x%x%x%x%x%x%x%x+"), "which is named by its content")
kiln("archive", "restore", "-o", "opened", saved)
local files = [[
sorted(os.path.join(p, n)[2:] for p, _, ns in os.walk(".") for n in ns if n != "link")
]]
r = repl("x, 'seen', drawn == open('random').read()\nlog.write('two'); log.flush(); open('log').read()\nlen(os.listdir('t'))\n" .. files .. ":archive sessions\n",
  "--restore", saved, "-o", "made again")
tap.is(r.code, 0, "--restore: the cell that failed before may fail again")
tap.like(r.out, "^session repl: 15 cells run again, 5 files as they were saved\n", "says what it did, not what was seen before")
tap.contains(r.out, "([1, 2, 3], 'seen', False)", "the state is there again; files are as saved, not as made again")
tap.contains(r.out, "'one,two'", "a file that is the same is the one that a variable has open")
tap.contains(r.out, "\n1\n", "what only the second run made is removed, its folder too")
local name = sh("ls", "opened/work/t").out:match("%x+")
tap.contains(r.out, "['a/b/deep', 'data/in.txt', 'log', 'random', 't/" .. name .. "/f']", "every file, nested, and none that was deleted")
tap.contains(r.err, "left out: link", "and can be saved again")
leaves_nothing("save and restore")
kiln("archive", "restore", "-o", "opened2", (r.out:match("sessions/%x+%.tar%.gz")))
tap.is(tap.read(dir .. "/opened2/work/random"), tap.read(dir .. "/opened/work/random"), "the second archive has the first one's files")
r = repl("y = 1\n:restore " .. saved .. "\n:restore " .. saved .. " other\n:restore " .. saved .. " repl\nx\n:switch repl\ny\n")
tap.contains(r.err, "session repl is in use: name a new one", "a session in use is not written over")
tap.contains(r.err, "session repl is there already", "nor one of that name")
tap.is(r.out, "session other: 15 cells run again, 5 files as they were saved\n[1, 2, 3]\nswitched to session repl\n1\n", ":restore into a new session")

tap.write(dir .. "/opened/session.ipynb", (tap.read(dir .. "/opened/session.ipynb"):gsub("x.append%(3%)", "x.no(3)")))
sh("tar", "-C", "opened", "-czf", "fails.tar.gz", "session.ipynb", "work")
r = repl("x\n", "--restore", "fails.tar.gz")
tap.is(r.code, 1, "a cell that fails where it did not")
tap.contains(r.err, "AttributeError", "is shown")
tap.contains(r.err, "fails.tar.gz: stopped, cell 14 of 15 failed or was stopped: session repl has the state and the files of the cells up to it",
  "and ends it, with words")
tap.is(r.out, "[1, 2]\n", "what was run is there")

-- ---- what is no session of ours is refused whole, before anything is run
python([[
import tarfile, io, json
def entry(name, data=b"", **what):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in what.items():
        setattr(info, key, value)
    return info, io.BytesIO(data)
def session(source="print('ran')", language="python"):
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": {"name": "x", "language": language},
        "language_info": {"name": language}, "kiln": {"given": {"../../x": True, "/etc/passwd": True}}},
        "cells": [{"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None, "source": source}] if source else []}).encode()
class Zero(io.RawIOBase):
    def read(self, n=-1): return bytes(n)
def make(name, *entries):
    with tarfile.open(name + ".tar.gz", "w:gz") as t:
        for info, data in entries:
            t.addfile(info, data)
def ours(): return entry("session.ipynb", session())
make("climbs", ours(), entry("work/../../climbed", b"x"))
make("link", entry("work/l", type=tarfile.SYMTYPE, linkname="/etc"), entry("work/l/passwd", b"x"), ours())
make("hard", ours(), entry("work/h", type=tarfile.LNKTYPE, linkname="session.ipynb"))
make("device", ours(), entry("work/d", type=tarfile.CHRTYPE, devmajor=1, devminor=3))
make("pipe", ours(), entry("work/p", type=tarfile.FIFOTYPE))
make("other", ours(), entry("elsewhere", b"x"))
make("control", ours(), entry("work/a\x1b[2Jb", b"x"))
make("bare", entry("work/f", b"x"))
make("empty", entry("session.ipynb", session(None)))
make("broken", entry("session.ipynb", b"{"))
make("bash", entry("session.ipynb", session(language="bash")))
huge = tarfile.TarInfo("work/huge")
huge.size = 400 << 20
make("huge", ours(), (huge, Zero()))
]])
for _, case in ipairs {
  { "climbs", "work/../../climbed: is not allowed as a name" }, { "link", "work/l: is no regular file" },
  { "hard", "work/h: is no regular file" }, { "device", "work/d: is no regular file" }, { "pipe", "work/p: is no regular file" },
  { "other", "it holds elsewhere" }, { "control", "control.tar.gz: is refused: 1 files: too large, or with names" }, { "bare", "it has no session.ipynb" },
  { "empty", "has no code cell" }, { "broken", "broken.tar.gz: session.ipynb" }, { "bash", "another language: kiln repl -l bash" },
  { "huge", "huge.tar.gz: " }, { "garbage", "Unrecognized archive format" }, { "nowhere", "No such file" },
} do
  r = repl("print('went on')\n", "--restore", case[1] .. ".tar.gz")
  tap.is(r.code, 2, case[1] .. " is refused")
  tap.contains(r.err, case[2], "with the reason")
  tap.like(r.err, "^kiln: [^\n]*\n$", "in one line")
  tap.is(r.out, "", "and nothing is run")
end
r = repl(":restore link.tar.gz new\n:switch new\n:files\n")
tap.contains(r.out, "opened session new\n", "a refused one leaves no session")
bytes = tap.read(dir .. "/" .. saved)
tap.write(dir .. "/" .. saved, bytes .. "x")
r = repl("1\n", "--restore", saved)
tap.is(r.code, 2, "a session that is not what its name says")
tap.contains(r.err, "its content is not what its name says", "is refused")
leaves_nothing("refused ones")

-- ---- usage
for _, case in ipairs { {}, { "save" }, { "restore" }, { "frob", "x" }, { "save", "nowhere" }, { "restore", "nowhere" }, { "restore", "a", "b" } } do
  r = kiln("archive", unpack(case))
  tap.is(r.code, 2, "usage: archive " .. table.concat(case, " "))
  tap.like(r.err, "^kiln: [^\n]*\n$", "one line")
end
tap.contains(kiln("archive", "--help").out, "usage: kiln archive save", "--help")
tap.no_leaks(before)
tap.done()
