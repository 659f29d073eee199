#!/usr/bin/env luajit
-- Backends that are wrong: each is refused in one line that says which file and why,
-- the others go on working; and one that breaks the rules of tickets harms itself alone.
local tap = require("tap")
local posix = tap.posix
local C = require("ffi").C
local before = tap.snapshot()

local bad = tap.build .. "/t/plugins/"
local code_end = { "-c", "print(1)" }

-- `kiln` with one backend more, from `file`.
local function with(name, file, command, ...)
  local argv = { "kiln", command, "--set", "engine.backends=noop " .. name, "--set", "engine.backend=noop",
    "--set", ("backend %s.plugin=%s"):format(name, file), ... }
  return tap.run(argv)
end

-- Run on a backend that cannot be loaded: 125 or 2, one line, and nothing of the
-- plugin has run.
local function refused(name, file, why, what)
  local r = with(name, file, "run", "-b", name, code_end[1], code_end[2])
  tap.ok(r.code == 125 or r.code == 2, what .. ": kiln run fails")
  tap.contains(r.err, file, what .. ": names the file")
  tap.contains(r.err, why, what .. ": says why")
  tap.is(select(2, r.err:gsub("\n", "\n")), 1, what .. ": in one line")
  tap.unlike(r.err, "constructor ran", what .. ": was never opened")
  tap.is(r.out, "", what .. ": no output")
end

for _, case in ipairs {
  { "wrong_major", "majors must be the same" },
  { "newer_minor", "newer than this engine's" },
  { "lying_note", "its struct says ABI" },
  { "no_note", "no Kiln note" },
  { "short_note", "damaged note" },
  { "short_struct", "kiln_plugin of " },
  { "short_worker", "kiln_worker of " },
  { "no_capability", "neither EXECUTE nor WORKER" },
  { "no_execute", "needs the callback execute" },
  { "no_session_close", "needs the callback session_close" },
  { "no_interrupt", "needs the callback interrupt" },
  { "no_worker", "needs the callback worker" },
  { "no_preload", "needs the callback worker.preload" },
  { "no_analyze", "needs the callback worker.analyze" },
  { "no_query", "needs the callback query" },
  { "bad_option", 'option "colour"' },
  { "other_name", 'calls itself "another"' },
  { "no_entry", "undefined symbol: kiln_plugin_entry" },
  { "null_entry", "its entry returned nothing" },
  { "undefined_symbol", "kiln_test_no_library_has_this" },
  { "missing_library", "libkiln-test-stub.so.1: cannot open shared object file" },
} do
  refused(case[1], bad .. case[1] .. ".so", case[2], case[1])
end

-- Files that no compiler makes.
local folder = tap.tempdir()
local good = tap.read(bad .. "misbehave.so")
local function patched(offset, byte)
  return good:sub(1, offset) .. string.char(byte) .. good:sub(offset + 2)
end
for name, case in pairs {
  text = { "int main(void) { return 0; }\n", "not an ELF shared object" },
  empty = { "", "not an ELF shared object" },
  narrow = { patched(4, 1), "not a shared object for this machine" },
  other_machine = { patched(18, 40), "not a shared object for this machine" },
  cut_header = { good:sub(1, 40), "not an ELF shared object" },
  cut_half = { good:sub(1, math.floor(#good / 2)), "cut" },
} do
  local file = tap.write(("%s/%s.so"):format(folder, name), case[1])
  refused(name, file, case[2], name)
end
C.mkdir(folder .. "/directory.so", 448)
refused("directory", folder .. "/directory.so", "not a regular file", "a directory")
C.mkfifo(folder .. "/fifo.so", 384)
refused("fifo", folder .. "/fifo.so", "not a regular file", "a FIFO")
refused("absent", folder .. "/absent.so", "No such file", "a file that is not there")

local r = with("failing_init", bad .. "failing_init.so", "run", "-b", "failing_init",
  code_end[1], code_end[2])
tap.contains(r.err, "the moon is in the wrong house", "a failing init says why")
tap.unlike(r.err, "fini was called", "and is not followed by fini")

-- `kiln plugins` tells of the bad one and of the good one beside it.
r = tap.run_json { "kiln", "plugins", "--json", "--set", "engine.backends=noop no_execute",
  "--set", "engine.backend=noop",
  "--set", "backend no_execute.plugin=" .. bad .. "no_execute.so" }
local seen = {}
for _, plugin in ipairs(r.json or {}) do seen[plugin.name] = plugin end
tap.ok(seen.noop and seen.noop.error == require("json").null, "kiln plugins: the good one is well")
tap.like(seen.no_execute and seen.no_execute.error, "needs the callback execute",
  "kiln plugins: the bad one has its reason")

-- Rules of tickets.
local function misbehave(what, ...)
  return tap.run_json { "kiln", "run", "--json", "-b", "misbehave",
    "--set", "engine.backends=misbehave", "--set", "engine.backend=misbehave",
    "--set", "chain default.policies=audit",
    "--set", "backend misbehave.plugin=" .. bad .. "misbehave.so",
    "--set", "backend misbehave.do=" .. what, "-c", "x", ... }
end
for _, what in ipairs { "well", "twice", "emit", "late", "inside", "foreign", "shape" } do
  r = misbehave(what)
  tap.is(r.json and r.json.status, "ok", what .. ": its own completion counts")
  tap.is(r.json and r.json.stdout, what == "inside" and "well\n" or "well\n", what .. ": output")
  tap.is(r.code, 0, what .. ": exit status")
end
for _, what in ipairs { "twice", "emit", "foreign" } do
  r = misbehave(what)
  if not tap.like(r.err, "stale", what .. ": is logged") then tap.diag(r.out) end
end
r = misbehave("refuse")
tap.is(r.json and r.json.status, "unavailable", "refuse: execute failed")
tap.is(r.code, 125, "refuse: exit status")
r = misbehave("both")
tap.ok(r.json and (r.json.status == "ok" or r.json.status == "unavailable"),
  "both: one end, not two")
r = misbehave("status")
tap.is(r.json and r.json.status, "unavailable", "status: one that there is not")
r = misbehave("never", "--timeout", "300ms")
tap.is(r.json and r.json.status, "timeout", "never: the engine ends it")
tap.is(r.code, 124, "never: exit status")

-- Worker halves.
local function worker(what, ...)
  return tap.run_json { "kiln", "run", "--json", "-b", "bad_worker",
    "--set", "engine.backends=bad_worker", "--set", "engine.backend=bad_worker",
    "--set", "chain default.policies=audit",
    "--set", "backend bad_worker.plugin=" .. bad .. "bad_worker.so",
    "--set", "backend bad_worker.do=" .. what, "--timeout", "2s", "-c", "echoed", ... }
end
r = worker("well")
tap.is(r.json and r.json.status, "ok", "a worker half that is well")
tap.is(r.json and r.json.stdout, "echoed", "and its output")
for what, want in pairs {
  ["preload-fails"] = "unavailable", ["preload-crashes"] = "unavailable",
  ["preload-hangs"] = "timeout unavailable",
  ["start-fails"] = "unavailable crashed", ["start-crashes"] = "unavailable crashed",
  ["start-hangs"] = "timeout unavailable",
  ["execute-crashes"] = "crashed", ["execute-exits"] = "crashed",
  ["execute-hangs"] = "timeout", ["execute-fails"] = "unavailable crashed error",
  verdict = "unavailable crashed error", garbage = "crashed unavailable",
} do
  r = worker(what)
  local status = r.json and r.json.status
  if not tap.ok(status and (" " .. want .. " "):find(" " .. status .. " ", 1, true) ~= nil,
    ("%s: %s is one of: %s"):format(what, tostring(status), want)) then
    tap.diag(r.out .. r.err)
  end
  tap.isnt(r.code, 0, what .. ": exit status")
  tap.ok(r.json and r.json.errors[1] ~= nil, what .. ": an error says why")
end
tap.contains(worker("preload-fails").out, "the moon is in the wrong house", "preload's own words")

tap.no_leaks(before)
tap.done()
