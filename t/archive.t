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
  "good/file: is there twice" } do
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

-- ---- usage
for _, case in ipairs { {}, { "save" }, { "restore" }, { "frob", "x" }, { "save", "nowhere" }, { "restore", "nowhere" }, { "restore", "a", "b" } } do
  r = kiln("archive", unpack(case))
  tap.is(r.code, 2, "usage: archive " .. table.concat(case, " "))
  tap.like(r.err, "^kiln: [^\n]*\n$", "one line")
end
tap.contains(kiln("archive", "--help").out, "usage: kiln archive save", "--help")
tap.no_leaks(before)
tap.done()
