#!/usr/bin/env luajit
-- kiln plugin-check: the shipped backends pass, each bad one fails with the right line; and
-- kiln new-plugin writes one that passes.
local tap = require("tap")
local before = tap.snapshot()
local bad = tap.build .. "/t/plugins/"
local sanitized = os.getenv("KILN_SANITIZE")
-- A sanitizer ends a process before the fault does.
local CRASH = sanitized and "ended its process" or "died of SIGSEGV"

local function checked(file, words)
  local argv = { "kiln", "plugin-check", "--seed", "1" }
  for _, word in ipairs(words or {}) do argv[#argv + 1] = word end
  argv[#argv + 1] = file
  return tap.run(argv)
end

for _, name in ipairs { "noop", "exec", "interpreter", "container" } do
  local file = tap.build .. "/plugins/" .. name .. ".so"
  if io.open(file) then
    -- No container engine is to be reached.
    local r = checked(file, name == "container" and { "-s", "socket=/nowhere/s" } or nil)
    if not tap.is(r.code, 0, name .. " passes") then tap.diag(r.out) end
    tap.unlike(r.out, "not ok", name .. ": every line")
    tap.like(r.out, "\n1%.%.%d+\n$", name .. ": with a plan")
    tap.unlike(r.out, "SKIP it is not whole", name .. ": is whole")
    tap.contains(r.out, name == "interpreter" and "ok 22 - its worker in a sandbox: a branch\n" or
      "ok 7 - executions complete, once each\n", name .. ": something was run")
  end
end
local shipped = checked(bad .. "luaguest.so")
if not tap.is(shipped.code, 0, "luaguest passes") then tap.diag(shipped.out) end

-- The test that must fail, and its reason.
local function fails(name, test, why, words)
  local r = checked(bad .. name .. ".so", words)
  tap.is(r.code, 1, name .. (words and " " .. words[2] or "") .. " fails")
  local found = false
  for line, reason in r.out:gmatch("not ok %d+ %- ([^\n]+)\n#   ([^\n]*)") do
    found = found or (line:find(test, 1, true) and reason:find(why, 1, true) and true)
  end
  if not tap.ok(found, ("%s: %s: %s"):format(name, test, why)) then tap.diag(r.out) end
end
for name, why in pairs {
  wrong_major = "majors must be the same", newer_minor = "newer than this engine's", lying_note = "its struct says ABI",
  no_note = "no Kiln note", short_note = "damaged note", short_struct = "kiln_plugin of ",
  short_worker = "kiln_worker of ", no_capability = "neither EXECUTE nor WORKER",
  no_execute = "needs the callback execute", no_session_close = "needs the callback session_close",
  no_interrupt = "needs the callback interrupt", no_worker = "needs the callback worker",
  no_preload = "needs the callback worker.preload", no_analyze = "needs the callback worker.analyze",
  other_name = 'calls itself "another"', bad_option = 'option "colour"', no_entry = "undefined symbol: kiln_plugin_entry",
  null_entry = "its entry returned nothing", undefined_symbol = "kiln_test_no_library_has_this",
  missing_library = "libkiln-test-stub.so.1",
} do
  fails(name, "its note, struct, name, options and callbacks are whole", why)
end
fails("talkative", "exports its entry alone", "exports talkative_helper")
fails("failing_init", "init and fini", "init failed: the moon is in the wrong house")
if sanitized then
  tap.skip("the sanitizer's allocator does not tell what it holds", 2)
else
  fails("leaky", "init and fini a hundred times", "leaks 1")
end
fails("careless", "each allocation fails once", CRASH)
fails("fragile", "odd values of its options", CRASH)
fails("threaded", "init and fini", "host->log was called from a thread of its own")

for what, case in pairs {
  twice = { "executions complete, once each", "host->complete after its execution had completed" },
  late = { "executions complete, once each", "host->emit after its execution had completed" },
  emit = { "executions complete, once each", "host->emit after its execution had completed" },
  never = { "executions complete, once each", "never completed" },
  refuse = { "executions complete, once each", "execute failed: Input/output error" },
  both = { "executions complete, once each", "must do one of both" },
  foreign = { "executions complete, once each", "a ticket that it was never given" },
  shape = { "executions complete, once each", "host->emit: " },
  status = { "executions complete, once each", "status 4711" },
} do
  fails("misbehave", case[1], case[2], { "-s", "do=" .. what })
end
for what, why in pairs {
  ["preload-fails"] = "preload failed: the moon is in the wrong house", ["preload-crashes"] = CRASH,
  ["start-fails"] = "start failed", ["start-crashes"] = CRASH, ["execute-crashes"] = CRASH,
  ["execute-exits"] = "ended its process", ["execute-fails"] = "execute of an empty cell failed", verdict = "status 4711",
} do
  fails("bad_worker", "its worker half", why, { "-s", "do=" .. what })
end
local once = "executions complete, once each"
for what, case in pairs {
  fails = { once, "session_prepare or execute failed: Input/output error" },
  twice = { once, "kiln.files: prepared, and no session_prepare waits" },
  nothing = { once, "prepared with no place, and without saying why" },
  both = { once, "session_prepare told of a place and failed: it must do one of both" },
  file = { once, "is no directory" },
  lines = { once, "its error is not one line" },
  never = { once, "a session_prepare was never answered" },
  closed = { "a random sequence", "prepared for a session that is not open" },
  deaf = { "its programs are killed", "never completed when its programs were killed" },
  reply = { once, "host->reply with the ticket of an execution" },
} do
  fails("misplaced", case[1], case[2], { "-s", "do=" .. what })
end
for what, why in pairs {
  ["preload-fails"] = "unavailable: preload: the moon is in the wrong house",
  ["start-crashes"] = "crashed: the process " .. (sanitized and "" or "died of signal "), ["execute-exits"] = "exited with status 0 before the cell ended",
  garbage = "bad frame: ", forged = "bad frame: ", -- at once, or before the next cell
} do
  fails("bad_worker", "its worker in a sandbox: cells, and a restart", why, { "-s", "do=" .. what })
end
local r
for _, name in ipairs { "misbehave=well", "misbehave=inside", "misplaced=well", "misplaced=inside", "misplaced=refuse", "bad_worker=well" } do
  local plugin, what = name:match("(.*)=(.*)")
  r = checked(bad .. plugin .. ".so", { "-s", "do=" .. what })
  if not tap.is(r.code, 0, name .. " passes") then tap.diag(r.out) end
end

-- A failure of a random sequence can be seen again.
r = checked(bad .. "misbehave.so", { "-s", "do=twice" })
local seed, reason = r.out:match("not ok %d+ %- a random sequence %(%-%-reproduce (%d+)%)\n#   ([^\n]+)")
tap.ok(seed, "a random sequence finds it, too")
r = tap.run { "kiln", "plugin-check", "-s", "do=twice", "--reproduce", seed or "1", bad .. "misbehave.so" }
tap.is(r.code, 1, "--reproduce fails again")
tap.contains(r.out, reason or "?", "with the same words")
tap.like(r.err, "# 0: %w+", "and tells each step")

r = tap.run { "kiln", "plugin-check", "-q", "-s", "do=well", bad .. "misbehave.so" }
tap.like(r.out, "^1%.%.%d+\n$", "--quiet: failures only")
tap.is(tap.run({ "kiln", "plugin-check" }).code, 2, "without a file")
tap.is(tap.run({ "kiln", "plugin-check", "--seed", "x", "f" }).code, 2, "a seed that is none")
tap.is(tap.run({ "kiln", "plugin-check", bad .. "nothing.so" }).code, 2, "a file that is not there")

-- ---- kiln new-plugin
local dir = tap.tempdir()
local function kiln(...) return tap.run { argv = { "kiln", ... }, cwd = dir } end
r = kiln("new-plugin", "mine")
tap.is(r.code, 0, "kiln new-plugin")
local source = tap.read(dir .. "/mine/mine.c")
tap.unlike(source, "@NAME@", "its name is filled in")
tap.ok(select(2, source:gsub("\n", "\n")) < 100, "under a hundred lines")
local include = "KILN_CFLAGS=-Werror -I" .. tap.root .. "/engine/include"
r = tap.run { argv = { "make", "-C", dir .. "/mine", "KILN=" .. tap.kiln, include, "test" }, cwd = dir }
if not tap.is(r.code, 0, "it builds without warnings, and its test passes") then tap.diag(r.out .. r.err) end
tap.is(kiln("plugin-check", "--quiet", "mine/mine.so").code, 0, "it passes kiln plugin-check")
tap.is(kiln("new-plugin", "mine").code, 125, "what is there is not written over")
for _, name in ipairs { "", "Mine", "a-b", "../x", "1x" } do
  tap.is(kiln("new-plugin", name).code, 2, ("a name that is none: %q"):format(name))
end
-- as installed
r = tap.run { argv = { "make", "-s", "-C", tap.root, "-n", "install", "DESTDIR=" .. dir, "PREFIX=/opt/k" } }
tap.contains(r.out, "lib/pkgconfig/kiln.pc", "make install has kiln.pc")
tap.no_leaks(before, "nothing is left behind")
tap.done()
