#!/usr/bin/env luajit
-- The test helpers themselves: what they catch, and that a failure fails.
local tap = require("tap")
local posix = tap.posix
local C = require("ffi").C

-- A script that uses tap.lua, as prove would see it.
local function script(body, env)
  local path = tap.tempdir() .. "/inner.t"
  tap.write(path, 'local tap = require("tap")\n' .. body)
  env = env or {}
  env.LUA_PATH = "t/lib/?.lua;;"
  return tap.run { "luajit", path, env = env }
end

local r = script('tap.ok(true, "a"); tap.is(1, 1, "b"); tap.done()')
tap.is(r.out, "ok 1 - a\nok 2 - b\n1..2\n", "passing tests and a plan")
tap.is(r.code, 0, "exit 0 when all pass")
r = script('tap.ok(true); tap.is("x\\n", "y", "b"); tap.done()')
tap.is(r.code, 1, "exit 1 when one fails")
tap.like(r.out, "\nnot ok 2 %- b\n# failed at .-inner%.t:2\n# got:  \"x\\n\"\n", "a failure tells")
tap.is(script("tap.done()").code, 1, "no test at all fails")
tap.is(script("tap.plan(3); tap.ok(true); tap.done()").code, 1, "fewer tests than planned fail")
tap.is(script('error("oops")').code, 1, "an error fails")
tap.is(script('tap.skip_all("no moon")').out, "1..0 # SKIP no moon\n", "skip_all says why")
tap.like(script('tap.skip("no moon", 2); tap.done()').out, "ok 2 # SKIP no moon", "skip says why")
for _, bad in ipairs {
  'tap.like("abc", "^b")', 'tap.unlike("abc", "b")', 'tap.contains("a.c", "abc")',
  'tap.same({ 1, { x = 1 } }, { 1, { x = 2 } })', 'tap.same({ 1, 2 }, { 1 })',
  'tap.isnt(1, 1)', "tap.like(nil, '.')", 'tap.fail("x")',
} do
  tap.is(script(bad .. "; tap.done()").code, 1, bad .. " fails")
end

r = tap.run { "cat", stdin = "a\0b\n" }
tap.is(r.out, "a\0b\n", "stdin reaches the program, NUL and all")
r = tap.run { "sh", "-c", "echo out; echo err >&2; exit 3" }
tap.is(r.out .. r.err .. r.code, "out\nerr\n3", "streams apart, and the exit code")
r = tap.run { argv = { "sh", "-c", "kill -SEGV $$" } }
tap.is(r.signal, posix.SIGSEGV, "the signal")
tap.is(r.code, nil, "and no code with it")
r = tap.run { { "head", "-c", "3000000", "/dev/zero" } }
tap.is(#r.out, 3000000, "much output")
r = tap.run { "head", "-c", "1", stdin = ("x"):rep(3000000) }
tap.is(r.out, "x", "a program that does not read its input")
r = tap.run { "sleep", "100", timeout = 0.2 }
tap.ok(r.timeout and r.signal == posix.SIGKILL, "a program that runs too long is killed")
r = tap.run { "/nonexistent" }
tap.ok(r.code == nil and r.error, "a program that is not there")
r = tap.run { "sh", "-c", "sleep 100 &" }
tap.ok(r.held, "a stream held by a grandchild is told")

r = tap.run { "env", env = { A = "1", PATH = false, "B=2" } }
tap.like("\n" .. r.out, "\nA=1\n.*B=2\n", "environment is added to, in either form")
tap.unlike(r.out, "\nPATH=", "and taken from")
tap.unlike("\n" .. r.out, "\nKILN", "no KILN_* reaches a program unasked")

local p = tap.start { "sh", "-c", "echo ready; read line; echo got $line", stdin_open = true }
tap.is(p:wait_for("ready"), "ready", "wait_for sees output as it comes")
p.stdin = "word\n"
tap.is(p:wait().out, "ready\ngot word\n", "stdin can be written later")
p = tap.start { "sleep", "100" }
p:kill(posix.SIGTERM)
tap.is(p:wait().signal, posix.SIGTERM, "kill")

-- Leaks: each kind is seen, and a clean run is clean.
local sleeper -- the orphan from the `held` test above is in the snapshot's past
for pid, name in pairs(tap.snapshot().process) do
  if name == "sleep" then sleeper = pid end
end
tap.ok(sleeper, "an orphan is found among the processes")
local before = tap.snapshot()
tap.run { "true" }
tap.same(tap.leaks(before), {}, "a clean run leaves nothing")
tap.run { "sh", "-c", "setsid sleep 50 >/dev/null 2>&1 </dev/null & exit 0" }
tap.like(table.concat(tap.leaks(before, nil, 0.2)), "process %d+ %(", "a daemon is a leak")
for pid in pairs(tap.snapshot().process) do C.kill(pid, posix.SIGKILL) end
tap.same(tap.leaks(before), {}, "and none once it is dead and reaped")
tap.run { "sh", "-c", "mkdir -p $XDG_RUNTIME_DIR/kiln/s && : >$XDG_RUNTIME_DIR/kiln/s/f" }
tap.like(table.concat(tap.leaks(before, nil, 0)), "file .*/run/kiln/s/f", "a file in the state is one")
tap.run { "sh", "-c", "rm -r $XDG_RUNTIME_DIR/kiln; : >$TMPDIR/x" }
tap.like(table.concat(tap.leaks(before, nil, 0)), "file .*/tmp/x", "a file in TMPDIR is one")
tap.run { "sh", "-c", "rm $TMPDIR/x" }

local made = script([[
  local d = tap.tempdir()
  tap.write(d .. "/f", "x")
  io.stderr:write(d)
  error("oops")
]])
local path = made.err:match("^(%S*/kiln%-test%-%w%w%w%w%w%w)")
tap.ok(path and posix.read_file(path .. "/f") == nil and #posix.list(path) == 0,
  "temporary directories go also when a script fails")

local json = require("json")
tap.same(json.decode('{"a":[1,2.5,"x",true,false],"b":{}}'),
  { a = { 1, 2.5, "x", true, false }, b = {} }, "JSON")
tap.is(json.decode("null"), json.null, "null")
tap.is(json.decode('{"a":1,}'), nil, "what is not JSON is refused")
tap.done()
