#!/usr/bin/env luajit
-- `kiln run`: options, languages, exit statuses, bad input, signals.
local tap = require("tap")
local json = require("json")
local posix = tap.posix
local dir = tap.tempdir()

local function run(...)
  local argv = { "kiln", "run", ... }
  return tap.run { argv = argv, cwd = dir }
end
local function file(name, text)
  tap.write(dir .. "/" .. name, text)
  return name
end
local function listing()
  return tap.run { "ls", "-A", dir }.out
end
-- One line "kiln: ..." and the status.
local function refused(result, status, part, name)
  tap.is(result.code, status, name .. ": exit status")
  tap.is(result.out, "", name .. ": nothing on stdout")
  tap.like(result.err, "^kiln: [^\n]*\n$", name .. ": one line")
  tap.contains(result.err, part, name .. ": says what")
end

-- ---- the front door
local r = tap.run { "kiln", "--help" }
tap.is(r.code, 0, "--help")
for _, name in ipairs { "run", "check", "config", "plugins", "test" } do
  tap.contains(r.out, "\n  " .. name .. " ", "--help lists " .. name)
end
tap.unlike(r.out, "\n  worker ", "and hides what is not for people")
tap.like(tap.run { "kiln", "--version" }.out, "^kiln %d+%.%d+%.%d+\n$", "--version")
tap.contains(tap.run { "kiln", "help", "run" }.out, "usage: kiln run", "help SUBCOMMAND")
refused(tap.run { "kiln", "rnu" }, 2, 'did you mean "run"', "unknown subcommand")
tap.is(tap.run { "kiln" }.code, 2, "nothing asked")

-- ---- what runs
r = run("-c", "print('out'); import sys; print('err', file=sys.stderr); 40+2")
tap.is(r.code, 0, "code of -c")
tap.is(r.out, "out\n42\n", "stdout and the last value")
tap.is(r.err, "err\n", "stderr, and nothing of ours when all is well")
r = tap.run { "kiln", "run", "-", stdin = "print(6*7)", cwd = dir }
tap.is(r.out, "42\n", "code from standard input")
r = run(file("args.py", "import sys\nprint(sys.argv[1:], input())"), "--stdin",
  file("in.txt", "a line\n"), "--", "-x", "two words")
tap.is(r.out, "['-x', 'two words'] a line\n", "arguments after --, and --stdin")
tap.is(run(file("empty.py", "")).code, 0, "an empty file runs")
for _, case in ipairs {
  { "x.sh", "echo sh $1", "sh hi\n" },
  { "x.lua", "print('lua', ...)", "lua\thi\n" },
  { "x.js", "console.log('js', process.argv[2])", "js hi\n" },
  { "x.c", "#include <stdio.h>\nint main(int c, char **v) { printf(\"c %s\\n\", v[c - 1]); }",
    "c hi\n" },
  { "noextension", "#!/usr/bin/env -S bash -e\necho sh $1", "sh hi\n" },
} do
  r = run(file(case[1], case[2]), "--", "hi")
  tap.is(r.out, case[3], case[1] .. ": output")
  tap.is(r.code, 0, case[1] .. ": exit status")
end
tap.is(run("-l", "bash", "-c", "echo $((1+1))").out, "2\n", "-l")
tap.is(run("-l", "sh", "-c", "echo x").out, "x\n", "-l by a name that people use")
tap.is(run("-b", "exec", "-c", "print(1)").out, "1\n", "-b")
r = run("--decisions", "-b", "noop", "-c", "1")
tap.is(r.code, 0, "a plan is no failure")
tap.contains(r.err, "noop", "--decisions tells the backend")

-- ---- exit statuses
tap.is(run("-c", "raise SystemExit(3)").code, 3, "the code's own")
r = run("-c", "print('before')\n1/0")
tap.is(r.code, 1, "it raised")
tap.is(r.out, "before\n", "what came before is kept")
tap.contains(r.err, "ZeroDivisionError", "the traceback is on stderr")
tap.contains(r.err, "kiln: error: ZeroDivisionError", "and one line")
r = run("--timeout", "3s", "-c", "print('x', flush=True)\nwhile True: pass")
tap.is(r.code, 124, "timeout")
tap.is(r.out, "x\n", "output so far is kept")
tap.contains(r.err, "kiln: timeout:", "and told")
r = run("-c", "import os; os.kill(os.getpid(), 11)")
tap.is(r.code, 139, "died of a signal")
r = run("-s", "limits.output=1K", "-c", "print('y' * 100000)")
tap.like(r.err, "kiln: stdout: %d+ bytes over the limit were dropped", "dropped bytes are told")
tap.ok(#r.out >= 1000 and #r.out <= 1100, "and what came before is kept")

-- ---- JSON
r = run("--json", "-c", "print('x'); 1/0")
tap.is(r.code, 1, "--json keeps the exit status")
local result = json.decode(r.out)
tap.is(result.status, "error", "one Result")
tap.is(result.stdout, "x\n", "with the output")
tap.is(result.errors[1].name, "ZeroDivisionError", "and the error")
tap.is(r.err, "", "nothing on stderr")

-- ---- bad input
refused(run("missing.py"), 2, "missing.py: No such file", "missing file")
refused(run(dir), 2, "is a directory", "directory")
refused(run("-l", "pythno", "-c", "1"), 2, 'did you mean "python"', "unknown language")
refused(run(file("x.unknown", "")), 2, "-l", "unknown extension")
refused(run(file("odd", "#!/usr/bin/perl\n")), 2, "perl", "unknown #! line")
r = run("-b", "interpeter", "-c", "1")
tap.is(r.code, 125, "unknown backend: exit status")
tap.contains(r.err, "interpeter", "unknown backend: says which")
refused(run(file("nul.py", "a = 1\0")), 2, "NUL", "NUL in the code")
tap.run { "truncate", "-s", "100000000", dir .. "/big.py" }
refused(run("big.py"), 2, "100000000 bytes of code", "100 MB of code")
if tap.run({ "id", "-u" }).out ~= "0\n" then
  file("secret.py", "1")
  tap.run { "chmod", "000", dir .. "/secret.py" }
  refused(run("secret.py"), 2, "Permission denied", "unreadable file")
else
  tap.skip("root reads every file", 4)
end
refused(run("-i", "missing.csv", "-c", "1"), 2, "missing.csv", "missing input file")
refused(run("-i", dir, "-c", "1"), 2, "directory", "input file that is a directory")
refused(run("-i", "a=in.txt", "-i", "a=args.py", "-c", "1"), 2, '"a"', "duplicate input names")
refused(run("-i", "../x=in.txt", "-c", "1"), 2, "../x", "input name that climbs")
refused(run("-o", "in.txt", "-c", "1"), 2, "is not a directory", "-o that is a file")
refused(run("--jsn", "-c", "1"), 2, 'did you mean "--json"', "unknown option")
refused(run("--timeout", "5x", "-c", "1"), 2, "5x", "bad duration")
refused(run("-s", "limits.memroy=1G", "-c", "1"), 2, 'did you mean "memory"', "misspelt key")
refused(run("-l"), 2, "needs a value", "option without its value")
refused(run("args.py", "extra"), 2, "--", "arguments without --")
refused(run(), 2, "nothing to run", "nothing to run")
refused(run("-c", "1", "--config", "missing.ini"), 2, "missing.ini", "missing configuration")
refused(run("-", "--stdin", "-"), 2, "both", "standard input twice")

-- ---- signals
for _, case in ipairs { { 2, 130, "SIGINT" }, { posix.SIGTERM, 143, "SIGTERM" } } do
  local p = tap.start { "kiln", "run", "-c", "print('go', flush=True)\nwhile True: pass", cwd = dir }
  tap.is(p:wait_for("go"), "go", case[3] .. ": it runs")
  p:kill(case[1])
  tap.is(p:wait().code, case[2], case[3] .. " interrupts")
end
local p = tap.start { "kiln", "run", "-s", "engine.grace=60s", "-b", "exec", "-c",
  "import signal\nsignal.signal(2, signal.SIG_IGN)\nprint('go', flush=True)\nwhile True: pass",
  cwd = dir }
p:wait_for("go")
p:kill(2)
p:pump(0.2)
p:kill(2)
tap.is(p:wait().code, 130, "a second SIGINT kills")
r = tap.run { "sh", "-c", tap.kiln .. " run -c 'while True: print(1)' | head -n 1", cwd = dir }
tap.is(r.out, "1\n", "a reader that goes away ends it")
tap.unlike(listing(), "%.kiln%-", "no hidden folder is left")
tap.unlike(listing(), "kiln_files", "and none that is empty")
tap.done()
