#!/usr/bin/env luajit
-- `kiln config`: files, includes, layers and their faults, from the outside.
local tap = require("tap")
local posix = tap.posix
local json = require("json")
local C = require("ffi").C

local folder = tap.tempdir()
local main = folder .. "/kiln.ini"

local function config(argv, env)
  local words = { "kiln", "config", cwd = folder }
  for _, word in ipairs(argv) do words[#words + 1] = word end
  words.env = env
  return tap.run(words)
end

-- The file is refused with exit 2 and this one line.
local function refused(text, line, what)
  tap.write(main, text)
  local r = config { "--config", main }
  tap.is(r.code, 2, what .. ": exit 2")
  tap.is(r.err, "kiln: " .. line:gsub("FOLDER", (folder:gsub("%%", "%%%%"))) .. "\n",
    what .. ": one line says it")
  tap.is(r.out, "", what .. ": nothing on stdout")
end

-- ---------------------------------------------------------------- what is in effect

local r = config { "limits" }
tap.is(r.code, 0, "without a file of one's own")
tap.contains(r.out, "[limits]\n# default\ntimeout = 60s\n", "the defaults, and that they are")
tap.is(r.err, "", "nothing on stderr")

tap.write(main, "[limits]\n\ntimeout = 90s\nmemory = 2G\ncpu = 5s\n")
local layered = { "--config", main, "--set", "limits.cpu=7s", "limits" }
r = config(layered, { KILN_LIMITS_MEMORY = "3G", KILN_LIMITS_CPU = "6s" })
tap.contains(r.out, "# " .. main .. ":3\ntimeout = 90s\n", "from the file, with its line")
tap.contains(r.out, "# environment KILN_LIMITS_MEMORY\nmemory = 3G\n", "the environment wins over it")
tap.contains(r.out, "cpu = 7s\n", "--set wins over both")

r = config({ "--json", "--config", main, "limits.timeout" })
local parsed = json.decode(r.out)
tap.is(#parsed, 1, "--json of one key")
tap.is(parsed[1].value, 90000, "a duration in milliseconds")
tap.is(parsed[1].unit, "ms", "and its unit")
tap.is(parsed[1].default, 60000, "its default")
tap.is(parsed[1].source, main .. ":3", "its source")

r = config { "--config", main, "limits.memory" }
tap.is(r.out, "2G\n", "SECTION.KEY: the value alone")
r = config({ "limits.timeout" }, { KILN_CONFIG = main })
tap.is(r.out, "90s\n", "KILN_CONFIG names the file")
r = config { "runtime.python.run" }
tap.like(r.out, "python3 %-u {file}\n$", "the shipped languages are there")

-- What it prints is a configuration: read back it is the same.
tap.write(main, '[sandbox]\nenv = A="x ; y" B=2\n[chain fast]\npolicies = audit\n' ..
  "[policy route]\non_failure = denied\n[engine]\nscripts = here\n")
local first = config { "--config", main }
tap.contains(first.out, "scripts = " .. folder .. "/here\n", "paths begin at the file's folder")
local copy = tap.write(folder .. "/copy.ini", first.out)
local second = config { "--config", copy }
tap.is(second.code, 0, "its own output can be read")
tap.is((second.out:gsub("#[^\n]*\n", "")), (first.out:gsub("#[^\n]*\n", "")),
  "and means the same")

r = config { "--reference" }
tap.is(r.out, tap.read("conf/kiln.ini"), "--reference is conf/kiln.ini")

-- ---------------------------------------------------------------------- includes

C.mkdir(folder .. "/conf.d", 448)
tap.write(main, "include = conf.d/*.ini\n[limits]\ntimeout = 5s\n")
r = config { "--config", main, "limits.timeout" }
tap.is(r.out, "5s\n", "a pattern may match nothing")
tap.write(folder .. "/conf.d/a.ini", "[limits]\nmemory = 3G\n[engine]\nscripts = s\n")
tap.write(folder .. "/conf.d/b.ini", "include = ../more.ini\n")
tap.write(folder .. "/more.ini", "[limits]\ncpu = 4s\n")
r = config { "--config", main }
tap.contains(r.out, ("# %s/conf.d/a.ini:2\nmemory = 3G"):format(folder), "a file that it matches")
tap.contains(r.out, ("# %s/conf.d/../more.ini:2\ncpu = 4s"):format(folder),
  "a file that that one includes")
tap.contains(r.out, ("scripts = %s/conf.d/s\n"):format(folder), "each with its own folder")
r = tap.run { "kiln", "config", "--config", "kiln.ini", "limits.memory", cwd = folder }
tap.is(r.out, "3G\n", "by a relative name, too")
tap.write(main, "include = no.d/*.ini\n")
tap.is(config({ "--config", main }).code, 0, "a pattern in a folder that is not there")

refused("include = conf.d/*.ini\n[limits]\nmemory = 1G\n",
  'FOLDER/kiln.ini:3: "memory" in [limits] again, it is set at FOLDER/conf.d/a.ini:2; keep one',
  "a key in the file and in what it includes")
refused("\ninclude = missing.ini\n",
  "FOLDER/kiln.ini:2: include FOLDER/missing.ini: cannot be read: No such file or directory",
  "an include that is missing")
refused("include = conf.d\n",
  "FOLDER/kiln.ini:1: include FOLDER/conf.d: is a folder, name a file in it",
  "an include that is a folder")
refused("include = kiln.ini\n",
  "FOLDER/kiln.ini:1: include FOLDER/kiln.ini: includes itself; take one include out",
  "an include of itself")
tap.write(folder .. "/other.ini", "# back\ninclude = kiln.ini\n")
refused("include = other.ini\n",
  "FOLDER/other.ini:2: include FOLDER/kiln.ini: includes itself by way of FOLDER/other.ini; " ..
  "take one include out", "an include loop")
refused("include = copy.ini\ninclude = more.ini\n",
  'FOLDER/kiln.ini:2: "include" again, it is set at line 1; name all files there',
  "include twice")
refused("include = \n", "FOLDER/kiln.ini:1: include names no file; name one or take it out",
  "an empty include")
refused('include = "a\n',
  'FOLDER/kiln.ini:1: include: a " that is never closed; close it, or write \\"',
  "an include with half a quote")
tap.write(folder .. "/bad.ini", "[limits]\nmemroy = 1G\n")
refused("include = more.ini bad.ini\n",
  'FOLDER/bad.ini:2: unknown key "memroy" in [limits], did you mean "memory"?',
  "a fault within an included file")
for i = 1, 10 do
  tap.write(("%s/d%d.ini"):format(folder, i), ("include = d%d.ini\n"):format(i + 1))
end
refused("include = d1.ini\n",
  "FOLDER/d7.ini:1: include FOLDER/d8.ini: is included 8 files deep; include it further up",
  "includes too deep")

-- ------------------------------------------------------------------------- faults

refused("[limits]\nmemory = 1G\nmemory = 2G\n",
  'FOLDER/kiln.ini:3: "memory" in [limits] again, it is set at FOLDER/kiln.ini:2; keep one',
  "a duplicate key")
refused("[limits]\n\n[limits]\n",
  "FOLDER/kiln.ini:3: [limits] again, it begins at line 1; put all its keys there",
  "a duplicate section")
refused("[limits]\nmemroy = 1G\n",
  'FOLDER/kiln.ini:2: unknown key "memroy" in [limits], did you mean "memory"?',
  "an unknown key")
refused("[limts]\n", "FOLDER/kiln.ini:1: unknown section [limts], did you mean [limits]?",
  "an unknown section")
refused("[limits\n", "FOLDER/kiln.ini:1: the section's name has no end, write [NAME]",
  "an unterminated section")
refused("[sandbox]\nenv = A=" .. ("x"):rep(10000) .. "\n",
  "FOLDER/kiln.ini:2: a line of 10008 bytes, at most 4096 are read; make it shorter",
  "a line of 10,000 bytes")
refused("[limits]\nmemory = 1\0G\n", "FOLDER/kiln.ini:2: a NUL byte; save the file as UTF-8 text",
  "a NUL")
refused(("# %s\n"):format(("x"):rep(1000)):rep(1100),
  "FOLDER/kiln.ini: is larger than 1048576 bytes, divide it with include", "a file of a megabyte")
refused("[runtime lua]\nextensions = .lua .py\n",
  'FOLDER/kiln.ini:2: [runtime lua] extensions: ".py" is [runtime python]\'s already; take one out',
  "an extension of two languages")

local function refused_file(path, why, what)
  local got = config { "--config", path }
  tap.is(got.code, 2, what .. ": exit 2")
  tap.is(got.err, ("kiln: %s: %s\n"):format(path, why), what .. ": one line says it")
end
refused_file(folder .. "/nothing.ini", "cannot be read: No such file or directory", "no file")
refused_file(folder, "is a folder, name a file in it", "a folder")
refused_file("/dev/null", "is no regular file", "a device")
os.execute(("mkfifo '%s/fifo.ini'"):format(folder))
refused_file(folder .. "/fifo.ini", "is no regular file", "a FIFO that nobody writes")
if C.getuid() == 0 then
  tap.skip("root may read every file (t/unit/config_test.c asks as another)", 2)
else
  tap.write(folder .. "/secret.ini", "")
  os.execute(("chmod 000 '%s/secret.ini'"):format(folder))
  refused_file(folder .. "/secret.ini", "cannot be read: Permission denied", "unreadable")
end
r = config({ "limits" }, { KILN_CONFIG = folder .. "/nothing.ini" })
tap.is(r.code, 2, "KILN_CONFIG of a file that is not there is no fall-back")

-- -------------------------------------------------------------------------- usage

for _, case in ipairs {
  { { "--bogus" }, "unknown option --bogus" },
  { { "--set" }, "a value is missing after --set" },
  { { "--config" }, "a value is missing after --config" },
  { { "--config", "" }, "--config names no file" },
  { { "a", "b" }, "not also b" },
  { { "limit" }, 'did you mean "limits"' },
  { { "limits.memroy" }, 'did you mean "limits.memory"' },
  { { "--set", "limits.memroy=1" }, 'did you mean "memory"' },
  { { "--set", "memory=1G" }, "write --set limits.memory=VALUE" },
} do
  local got = config(case[1])
  local name = table.concat(case[1], " ")
  tap.is(got.code, 2, name .. ": exit 2")
  tap.contains(got.err, case[2], name .. ": says why")
  tap.is(select(2, got.err:gsub("\n", "\n")), 1, name .. ": in one line")
  tap.is(got.out, "", name .. ": nothing on stdout")
end
r = config({}, { KILN_LIMIT_MEMORY = "1G" })
tap.is(r.code, 2, "a variable that is nearly ours is refused")
tap.contains(r.err, "did you mean KILN_LIMITS_MEMORY?", "and put right")
tap.is(config({}, { KILN_SOMETHING = "1" }).code, 0, "one that is somebody else's is not")

r = config { "--help" }
tap.is(r.code, 0, "--help")
tap.contains(r.out, "usage: kiln config", "on stdout")
r = tap.run { "/bin/sh", "-c", '"$0" config >/dev/full', tap.kiln }
tap.is(r.code, 125, "output that cannot be written is a failure")

tap.done()
