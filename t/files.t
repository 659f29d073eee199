#!/usr/bin/env luajit
-- Files in and out of `kiln run`.
local tap = require("tap")
local json = require("json")
local dir = tap.tempdir()

local function run(...) return tap.run { argv = { "kiln", "run", ... }, cwd = dir } end
local function tree(path)
  return tap.run { "sh", "-c", "cd '" .. path .. "' && find . -mindepth 1 | sort" }.out
end
local function read(name) return tap.read(dir .. "/" .. name) end

tap.write(dir .. "/data.csv", "1,2\n")
local r = run("-i", "data.csv", "-i", "sub/renamed.txt=data.csv", "-c",
  "print(open('data.csv').read() + open('sub/renamed.txt').read(), end='')")
tap.is(r.out, "1,2\n1,2\n", "input files, under their name and another")
tap.is(tree(dir), "./data.csv\n", "unchanged inputs are no outputs, and nothing is made here")

tap.write(dir .. "/plot.py", [[
import os
open("made.txt", "w").write("hello")
os.makedirs("a/b")
open("a/b/c.json", "w").write("{}")
open("data.csv", "a").write("3,4\n")
os.symlink("/etc/passwd", "link")
os.mkfifo("fifo")
open("odd\nname", "w").write("x")
os.link("made.txt", "second")
os.unlink("second")
]])
r = run("-i", "data.csv", "plot.py")
tap.is(r.code, 0, "it ran")
tap.is(tree(dir .. "/plot_files"), "./a\n./a/b\n./a/b/c.json\n./data.csv\n./made.txt\n",
  "what was made or changed is in NAME_files")
tap.is(read("plot_files/made.txt"), "hello", "with its content")
tap.is(read("plot_files/data.csv"), "1,2\n3,4\n", "a changed input file is an output")
tap.is(read("data.csv"), "1,2\n", "and the original is as it was")
tap.contains(r.err, "text/plain saved as plot_files/made.txt", "the files are named")
tap.contains(r.err, "link: is a symbolic link", "a link is refused and told")
tap.contains(r.err, "fifo: is a FIFO", "so is a FIFO")
tap.contains(r.err, "odd\\x0aname", "and an odd name, printable")
run("-i", "data.csv", "plot.py")
tap.is(tree(dir .. "/plot_files"), "./a\n./a/b\n./a/b/c.json\n./data.csv\n./made.txt\n",
  "a second run replaces")

r = run("--json", "-o", "out", "-c", "open('x.txt', 'w').write('hello')")
local file = json.decode(r.out).output_files[1]
tap.is(file.name, "x.txt", "name in the Result")
tap.is(file.path, "out/x.txt", "path")
tap.is(file.mime_type, "text/plain", "type")
tap.is(file.size, 5, "size")
tap.is(file.sha256, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "hash")
tap.is(read("out/x.txt"), "hello", "-o DIR is made and holds it")
tap.is(tree(dir .. "/out"), "./x.txt\n", "and nothing else")

tap.write(dir .. "/picture.py", [[
import base64
png = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
class Picture:
    def _repr_png_(self):
        return png
display(Picture())
]])
r = run("picture.py")
local saved = r.err:match("image/png saved as (%S+)")
tap.ok(saved, "a displayed picture becomes a file that is named")
tap.like(saved and read(saved), "^\137PNG\r\n", "which is one")

-- A sparse giant costs nothing and stops nothing.
r = run("-c", "open('small', 'w').write('x')\nopen('huge', 'w').truncate(1 << 50)")
tap.is(r.code, 0, "a sparse file of 1024 TiB")
tap.contains(r.err, "huge: is too large", "is refused")
tap.is(read("kiln_files/small"), "x", "and its neighbour given back")
tap.is(tree(dir):find("%.kiln%-"), nil, "no hidden folder is left")
tap.done()
