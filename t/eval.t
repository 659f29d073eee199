#!/usr/bin/env luajit
-- `kiln eval`: scenarios, comparison, reports, and the shipped governance example.
local tap = require("tap")
local json = require("json")
local dir = tap.tempdir()

local function sh(...) return tap.run { ... } end
local function eval(...)
  return tap.run { argv = { "kiln", "eval", ... }, cwd = dir }
end
local function file(name, text)
  local folder = name:match("^(.*)/")
  if folder then sh("mkdir", "-p", dir .. "/" .. folder) end
  tap.write(dir .. "/" .. name, text)
  return name
end
-- One scenario whose canonical files are given, run.
local serial = 0
local function scenario(keys, files, ...)
  serial = serial + 1
  local folder = "s" .. serial
  sh("mkdir", "-p", dir .. "/" .. folder .. "/canonical")
  for name, text in pairs(files) do file(folder .. "/" .. name, text) end
  file(folder .. "/s.ini", "[scenario one]\nexpected = canonical\n" .. keys .. "\n")
  return eval(folder .. "/s.ini", ...), folder
end
local function passes(keys, files, name)
  local r = scenario(keys, files)
  if not tap.is(r.code, 0, name) then tap.diag(r.out .. r.err) end
  return r
end
local function fails(keys, files, part, name)
  local r = scenario(keys, files)
  if not (tap.is(r.code, 1, name .. ": fails")) then tap.diag(r.out .. r.err) end
  tap.like(r.out, "^not ok 1 ", name .. ": not ok")
  tap.contains(r.out, part, name .. ": says why")
  return r
end

-- ---- the shipped example, and what must not pass
local example = "conf/examples/governance"
local before = tap.snapshot()
local r = tap.run { "kiln", "eval", example }
tap.is(r.code, 0, "the governance bundle is the canonical one")
tap.is(r.out, "ok 1 - Mosaic End-to-End Governance Generation\n1..1\n# 1 passed, 0 failed\n",
  "as TAP")
tap.is(r.err, "", "and nothing else")
local function varied(name, change)
  local folder = dir .. "/" .. name
  sh("cp", "-r", example, folder)
  change(folder)
  return eval(name)
end
r = varied("byte", function(folder)
  local path = folder .. "/canonical/roles.md"
  tap.write(path, (tap.read(path):gsub("Keys, backups", "Keys, backupz")))
end)
tap.is(r.code, 1, "a single byte: fails")
tap.like(r.out, "^not ok 1 .*differs: roles.md: from byte %d+ on: (%d+) bytes, expected are %1\n",
  "says which file, and where")
tap.contains(r.out, "\n# -Keys, backupz and access to production.\n# +Keys, backups and access", "a unified diff")
tap.unlike(r.out, "decision%-log", "and of no other")
r = varied("missing", function(folder) tap.write(folder .. "/canonical/policies/POL-006.md", "x\n") end)
tap.is(r.code, 1, "a file that is not made: fails")
tap.contains(r.out, "# missing: policies/POL-006.md: was not made; 2 bytes are expected\n", "says which")
r = varied("extra", function(folder) os.remove(folder .. "/canonical/responsibilities.csv") end)
tap.is(r.code, 1, "a file that is not expected: fails")
tap.contains(r.out, "# extra: responsibilities.csv: 136 bytes that the canonical bundle does not have\n", "says which")
r = varied("canon", function(folder)
  local path = folder .. "/META_GOVERNANCE_CANON_MVP_v1.0.md"
  tap.write(path, (tap.read(path):gsub("Owner: Steward", "Owner: Stewart")))
end)
tap.is(r.code, 1, "a canon that contradicts itself: fails")
tap.contains(r.out, "POL-001: no role Stewart", "with what the generator says")

-- ---- how code is named
local print_code = 'with open("a.txt", "w") as f: f.write("hello\\n")\n'
passes("code = make.py", { ["make.py"] = print_code, ["canonical/a.txt"] = "hello\n" }, "code")
passes("command = echo hello | tee a.txt b/c.txt; mkdir b; echo x > b/c.txt",
  { ["canonical/a.txt"] = "hello\n", ["canonical/b/c.txt"] = "x\n" }, "command, and folders")
passes("notebook = n.ipynb", {
  ["n.ipynb"] = [[{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[
    {"cell_type":"code","id":"a","metadata":{},"outputs":[],"execution_count":null,"source":"x = 7\nopen('first', 'w').write('1')"},
    {"cell_type":"code","id":"b","metadata":{},"outputs":[],"execution_count":null,"source":"open('second', 'w').write(str(x))"}]}]],
  ["canonical/first"] = "1", ["canonical/second"] = "7",
}, "notebook, one session for all cells")
passes("command = cat > copied; cat one extra >> copied\nstdin = in\ninputs = data/, extra=other\nargs = a",
  { ["in"] = "typed\n", ["data/one"] = "1\n", ["other"] = "2\n", ["canonical/copied"] = "typed\n1\n2\n" },
  "stdin, inputs: a folder's files, and one under another name") 
passes("command = echo out; echo $1-$2\nstdout = log/out.txt\nargs = x \"y z\"",
  { ["canonical/log/out.txt"] = "out\nx-y z\n" }, "stdout as a file, args")
passes("command = echo x > a; exit 3\nexit_status = 3", { ["canonical/a"] = "x\n" }, "an exit status that is expected")
passes("command = mkdir out; echo x > out/a; echo y > elsewhere\nbundle = out", { ["canonical/a"] = "x\n" },
  "bundle: one folder counts")
fails("command = echo x > a; exit 3", { ["canonical/a"] = "x\n" }, "exit status 3, 0 is expected", "another exit status")
fails("command = sleep 60\ntimeout = 200ms", {}, "timeout: wall time of 200 ms was up", "a timeout")
fails("command = true\nbackend = intepreter", {}, 'unavailable: no backend "intepreter"', "a backend that is not there")
fails("command = echo why >&2; false", {}, "# its standard error ends with:\n# why\n", "standard error is told")

-- ---- an instruction alone: the chain's instruct gives the code
local sot = "# Canon\n\n```python template\nopen('made.txt', 'w').write({{instruction}} + ' / ' + {{source_of_truth}})\n```\n"
local instructed = { ["canon.md"] = sot, ["canonical/made.txt"] = "Make it. / canon.md" }
local keys = "instruction = Make it.\nsource_of_truth = canon.md\nchain = made"
r = scenario(keys, instructed, "--set", "chain.made.policies=audit template route")
tap.is(r.code, 0, "instruct: the shipped template")
r = scenario(keys, instructed, "--set", "chain.made.policies=deny template", "--set", "policy.deny.calls=open")
tap.is(r.code, 1, "instruct: the other policies see its code")
tap.contains(r.out, "denied: ", "and may refuse it")
r = scenario(keys, instructed, "--set", "chain.made.policies=audit route")
tap.contains(r.out, "unavailable: no policy of chain made has an instruct function", "instruct: a chain without one")
file("model.lua", [[
return { instruct = function(scenario, ctx)
  -- as one would ask a model: code of a backend's output
  local answer = kiln.run("exec", { language = "bash", code = "cat", stdin = "echo -n '" .. scenario.instruction .. " / canon.md' > made.txt" })
  return answer.stdout, "bash"
end }]])
r = scenario(keys, instructed, "--set", "chain.made.policies=model route", "--set", "policy.model.script=" .. dir .. "/model.lua")
tap.is(r.code, 0, "instruct: a policy that awaits an answer")
file("bad.lua", "return { instruct = function() return 7 end }")
r = scenario(keys, instructed, "--set", "chain.made.policies=bad", "--set", "policy.bad.script=" .. dir .. "/bad.lua")
tap.contains(r.out, "policy bad failed: instruct: code expected, got number", "instruct: no code")
file("loop.lua", "return { instruct = function() while true do end end }")
r = scenario(keys, instructed, "--set", "chain.made.policies=loop", "--set", "policy.loop.script=" .. dir .. "/loop.lua")
tap.contains(r.out, "ran longer than 50 ms of CPU time", "instruct: a loop is stopped")

-- ---- every file, whatever it is
fails("command = ln -s /etc/passwd a", { ["canonical/a"] = "x" }, "odd: a:", "a symbolic link is no file")
fails("command = mkfifo p", {}, "odd: p:", "nor is a pipe")
fails("command = echo x > a; echo y > $'odd\\nname'", { ["canonical/a"] = "x\n" }, "odd\\x0aname",
  "a name with a newline")
fails("command = printf '\\033]0;owned\\007\\302\\205' > a", { ["canonical/a"] = "x" }, "# +?]0;owned??",
  "control characters in a diff are not passed on")
fails("command = seq 100000 > a", { ["canonical/a"] = "x" }, "more lines; --json has them", "a long diff is cut")
fails("command = printf 'a\\0b' > a", { ["canonical/a"] = "a\0c" }, "differs: a: from byte 3 on: 3 bytes, expected are 3",
  "no diff of what is no text")
local _, folder = scenario("command = true", {})
sh("ln", "-s", "/etc/passwd", dir .. "/" .. folder .. "/canonical/link")
r = eval(folder)
tap.is(r.code, 1, "a link in the expected folder")
tap.contains(r.out, "odd: link: is a symbolic link in the expected folder", "is not followed")

-- ---- normalisation, only where it is declared
local crlf = { ["canonical/a.txt"] = "one\ntwo\n" }
fails("command = printf 'one\\r\\ntwo\\r\\n' > a.txt", crlf, "differs: a.txt", "line ends count")
passes("command = printf 'one\\r\\ntwo' > a.txt\nnormalise = lines:*.txt", crlf, "unless lines:")
fails("command = printf 'one\\r\\ntwos' > a.txt\nnormalise = lines:*.txt", crlf, "(normalised)", "and text still does")
local object = { ["canonical/d/o.json"] = '{"a": 1, "b": [1.50, "\\u00e9"]}\n' }
passes("command = mkdir d; echo '{\"b\":[1.5,\"é\"],\"a\":1}' > d/o.json\nnormalise = json:*.json", object, "json: by value")
fails("command = mkdir d; echo '{\"b\":[1.5,\"é\"],\"a\":2}' > d/o.json\nnormalise = json:*.json", object, '+ "a": 2', "another value")
fails("command = mkdir d; echo '{\"a\":1,\"a\":1' > d/o.json\nnormalise = json:*.json", object, "it is no JSON", "what is no JSON")
local dated = { ["canonical/r.md"] = "made on 2020-01-01, total 5\n" }
passes("command = echo made on $(date +%F), total 5 > r.md\nnormalise = mask:r.md\nmask = '\\d{4}-\\d\\d-\\d\\d'", dated, "mask: dates")
fails("command = echo made on $(date +%F), total 6 > r.md\nnormalise = mask:r.md\nmask = '\\d{4}-\\d\\d-\\d\\d'", dated,
  "total 6", "and nothing but them")
fails("command = head -c 200000 /dev/zero | tr '\\0' a > r.md\nnormalise = mask:r.md\nmask = '(?:a|aa)+[b-d]'", dated,
  "a mask could not be applied", "a mask that would take for ever is stopped")

-- ---- pictures by their points, decoded in a confined worker
local png = [[
import struct, zlib, sys
def png(name, level, pixel, size=(3, 2), kind=2):
    def chunk(tag, data): return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
    row = b"\0" + bytes([10, 20, 30]) * (size[0] - 1) + bytes(pixel)
    open(name, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, kind, 0, 0, 0)) +
        (chunk(b"tEXt", b"Software\0x") if level else b"") + chunk(b"IDAT", zlib.compress(row * size[1], level)) + chunk(b"IEND", b""))
]]
tap.run { argv = { "/usr/bin/python3", "-c", png .. 'png("p.png", 0, [1, 2, 3])' }, cwd = dir }
local picture = tap.read(dir .. "/p.png")
local function drawn(call) return { ["canonical/p.png"] = picture, ["d.py"] = png .. call } end
passes("code = d.py\nnormalise = pixels:*.png", drawn('png("p.png", 9, [1, 2, 3])'), "pixels: another compression, another comment")
fails("code = d.py", drawn('png("p.png", 9, [1, 2, 3])'), "differs: p.png", "unless declared, bytes count")
fails("code = d.py\nnormalise = pixels:*.png", drawn('png("p.png", 9, [1, 2, 4])'), "differs: p.png: as a picture: from the point 2,0 on", "another point")
fails("code = d.py\nnormalise = pixels:*.png", drawn('png("p.png", 9, [1, 2, 3], (3, 3))'), "3 x 3 points, expected are 3 x 2", "another size")
fails("code = d.py\nnormalise = pixels:*.png", drawn('open("p.png", "wb").write(b"\\x89PNG garbage")'), "as a picture: ", "what is no picture")

-- ---- the same surroundings each time
local around = "import os; open('e','w').write(repr([os.environ[k] for k in " ..
  "('SOURCE_DATE_EPOCH','TZ','LC_ALL','PYTHONHASHSEED')]) + str(hash('x')))\n"
file("around/a.py", around)
file("around/r.py", around .. "import random; open('r','w').write(str(random.random()))\n")
file("around/s.ini", "[scenario interpreter]\ncode = r.py\nexpected = one\n[scenario exec]\ncode = a.py\nbackend = exec\nexpected = two\n")
eval("around", "--update", "--yes")
r = eval("around", "--repeat", "3", "--jobs", "3")
tap.is(r.code, 0, "clock, locale, hash and random seed are the same in six sessions") 
tap.contains(tap.read(dir .. "/around/one/e"), "['946684800', 'UTC', 'C.UTF-8', '0']", "as documented")
tap.is(eval("around", "--seed", "7").code, 1, "--seed changes them")

-- ---- what is not deterministic
r = scenario("code = r.py\nnormalise = mask:id", { ["r.py"] = "import uuid\nopen('id','w').write(str(uuid.uuid4()))\nopen('same','w').write('s')",
  ["canonical/id"] = "x", ["canonical/same"] = "s" }, "--repeat", "3")
tap.is(r.code, 1, "--repeat: not the same each time")
tap.like(r.out, "run %d of 3:", "says which run failed first")
tap.contains(r.out, "# not the same in each run: id\n", "and which file is not stable")
tap.unlike(r.out, "each run: same", "and no other")

-- ---- several, in a folder, in parallel: told in order
file("many/b.ini", "[scenario slow]\ncommand = sleep 0.3; echo 1 > f\nexpected = c\n[scenario quick]\ncommand = echo 1 > f\nexpected = c\n")
file("many/a.ini", "[scenario]\nname = first # of all\ncommand = echo 2 > f\nexpected = c\n")
file("many/c/f", "1\n")
r = eval("many", "--jobs", "4", "--junit", "junit.xml")
tap.is(r.code, 1, "one of three fails")
tap.like(r.out, "^not ok 1 %- first \\# of all\n.*\nok 2 %- slow\nok 3 %- quick\n1%.%.3\n# 2 passed, 1 failed\n$", "in their order")
local python = [[
import sys, xml.dom.minidom as m
d = m.parse(sys.argv[1])
s = d.getElementsByTagName('testsuite')[0]
print(s.getAttribute('tests'), s.getAttribute('failures'), s.getAttribute('errors'))
for c in d.getElementsByTagName('testcase'):
    print(c.getAttribute('name'), [(n.tagName, n.getAttribute('message')) for n in c.childNodes if n.nodeType == 1])
]]
local parsed = tap.run { "/usr/bin/python3", "-c", python, dir .. "/junit.xml" }
tap.is(parsed.out, "3 1 0\nfirst # of all [('failure', '1 file is not as the canonical bundle has it')]\nslow []\nquick []\n", "JUnit")
tap.is(eval("many", "--only", "q*").code, 0, "--only")
local result = tap.run_json { argv = { "kiln", "eval", "many", "--json" }, cwd = dir }
tap.is(result.json.failed, 1, "--json: failed")
tap.is(result.json.scenarios[1].differences[1].file, "f", "--json: which file")
tap.contains(result.json.scenarios[1].differences[1].diff, "-1\n+2\n", "--json: its diff")
-- names and texts that XML cannot hold
file("xml/s.ini", "[scenario x]\nname = <a> & \"b\"\ncommand = printf '\\001]]>\\357\\277\\277' | tee f >&2\nexpected = c\n")
file("xml/c/f", "1\n")
eval("xml", "--junit", "odd.xml")
tap.contains(tap.run { "/usr/bin/python3", "-c", python, dir .. "/odd.xml" }.out, '<a> & "b"', "JUnit of odd names and texts is XML")

-- ---- accepting
r, folder = scenario("command = mkdir n; echo new > n/f; echo same > s", { ["canonical/s"] = "same\n", ["canonical/old/o"] = "o" }, "--update")
tap.is(r.code, 2, "--update asks; without a terminal it is refused")
tap.contains(r.err, "add --yes", "and says so")
r = eval(folder, "--update", "--yes")
tap.is(r.code, 0, "--update --yes")
tap.contains(r.out, "# +new\n", "shows the diff first")
tap.is(tap.read(dir .. "/" .. folder .. "/canonical/n/f"), "new\n", "writes what was made")
tap.is(tap.read(dir .. "/" .. folder .. "/canonical/old/o"), nil, "removes what was not")
tap.is(eval(folder).code, 0, "then it passes")
r, folder = scenario("command = echo x > f; false", {}, "--update", "--yes")
tap.is(r.code, 1, "a run that failed is not accepted")
tap.is(tap.read(dir .. "/" .. folder .. "/canonical/f"), nil, "and nothing is written")

-- ---- bad input: one line, where and what
local function refused(text, part, name)
  file("bad.ini", text)
  r = eval("bad.ini")
  tap.is(r.code, 2, name .. ": 2")
  tap.like(r.err, "^kiln: [^\n]*\n$", name .. ": one line")
  tap.contains(r.err, part, name .. ": says what")
end
refused("[scenario a]\nexpcted = x\n", 'bad.ini:2: unknown key "expcted" in [scenario a], did you mean "expected"?', "a key")
refused("[senario a]\n", "bad.ini:1: unknown section [senario a], did you mean [scenario NAME]?", "a section")
refused("[scenario a]\ncode = x\ncommand = y\nexpected = e\n", "bad.ini:3: [scenario a] has both code and command", "two ways")
refused("[scenario a]\nexpected = e\n", "bad.ini:1: [scenario a] says nothing to run", "no way")
refused("[scenario a]\ncommand = x\n", 'bad.ini:1: [scenario a] lacks "expected"', "nothing expected")
refused("[scenario a]\ncommand = x\nexpected = e\nnormalise = jsn:*\n", 'bad.ini:4: normalise: "jsn" is no way to compare, did you mean "json"?', "a way to compare")
refused("[scenario a]\ncommand = x\nexpected = e\nmask = '['\n", "bad.ini:4: mask:", "a mask")
refused("[scenario a]\ncommand = x\nexpected = e\nstdout = ../x\n", "bad.ini:4: stdout:", "a name that climbs")
refused("[scenario a]\ncode = not-there.py\nexpected = e\n", "bad.ini:2: code:", "code that is not there")
refused("[scenario a]\ncommand = x\ncommand = y\n", 'bad.ini:3: "command" again', "a key twice")
refused("[scenario a]\ncommand = x\nexpected = e\ntimeout = 5\n", "bad.ini:4: timeout", "a time without a unit")
refused("", "holds no [scenario NAME]", "an empty file")
for _, case in ipairs { { "--jobs", "0", "many" }, { "--frobnicate" }, {}, { "--yes", "many" }, { "nowhere" } } do
  r = eval(unpack(case))
  tap.is(r.code, 2, "usage: " .. table.concat(case, " "))
end
tap.contains(eval("--help").out, "usage: kiln eval", "--help")
file("reference.ini", (eval("--reference").out:gsub("\nexpected =", "\nexpected = many/c"):gsub("\ncommand =", "\ncommand = echo 1 > f")))
tap.is(eval("reference.ini").code, 0, "--reference is a scenario")
tap.no_leaks(before)
tap.done()
