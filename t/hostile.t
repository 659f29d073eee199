#!/usr/bin/env luajit
-- A worker that sends every wrong thing (t/plugins/hostile.c): what the engine makes of
-- each, that it stays up, that the next execution works, and that nothing is left.
local tap = require("tap")
local json = require("json")
local attack = require("attack")
local before = tap.snapshot()

local function settings(start, more)
  local words = { "--set", "engine.backends=hostile", "--set", "engine.backend=hostile",
    "--set", "chain default.policies=" .. (more or ""),
    "--set", "backend hostile.plugin=" .. tap.build .. "/t/plugins/hostile.so" }
  if start then
    words[#words + 1] = "--set"
    words[#words + 1] = "backend hostile.start=" .. start
  end
  return words
end

-- ---- in a cell. "leave" before it: a DONE that is recorded is one of a first cell.

local bad = { status = "unavailable", error = "WorkerFailed" }
local gone = { status = "crashed", error = "WorkerExited" }
local late = { status = "timeout", error = "timeout" }
local fine = { status = "ok" }

local function counted(stream, total)
  return function(result)
    return #result[stream] + result.truncated[stream] == total and result.truncated[stream] > 0,
      ("%d kept, %d dropped"):format(#result[stream], result.truncated[stream])
  end
end

local table_of_attacks = {
  { "length of 4 GiB", bad, "type 0x41 with 4294967295 bytes" },
  { "length one over the bound", bad, "type 0x41 with 33554433 bytes" },
  { "length 0 where there must be some", bad, "type 0x43 with 0 bytes" },
  { "DONE of 4,097 bytes", bad, "0x50" },
  { "READY with a payload", bad, "type 0x52 with 1 bytes" },
  { "a frame without end", late },
  { "type 0", bad, "type 0x00" },
  { "type 255", bad, "type 0xff" },
  { "EXECUTE", bad, "type 0x01" },
  { "ANALYZE", bad, "type 0x02" },
  { "version 0", bad, "version 0" },
  { "version 2", bad, "version 2" },
  { "reserved byte", bad, "reserved 1 0" },
  { "other reserved byte", bad, "reserved 0 128" },
  { "READY", bad, "a second time" },
  { "FAILED", bad, "a second time" },
  { "ANALYSIS", bad, "nobody asked for" },
  { "REPLY", bad, "nobody asked for" },
  { "DONE empty", bad, "0x50" },
  { "DONE of garbage", bad, "DONE" },
  { "DONE one byte short", bad, "DONE" },
  { "DONE eight bytes short", bad, "DONE" },
  { "DONE one byte long", bad, "DONE" },
  { "DONE of another cell", bad, "DONE of another" },
  -- What a worker says of its own cell is its own affair. That it then goes on is found
  -- out: at once, or by its next cell, which then ends and has another worker after it.
  { "DONE and no end", fine, next = { "ok", "unavailable", "timeout" } },
  { "DONE twice", fine, next = { "ok", "unavailable" } },
  { "DONE before its time", fine, next = { "ok", "unavailable" } },
  { "output after DONE", fine, next = { "ok", "unavailable", "timeout" } },
  { "outputs of no shape", { status = "ok", error = "OutputRefused" } },
  { "half a header, then the end", gone },
  { "half a frame, then the end", { status = "crashed", error = "WorkerExited", exit_code = 7 } },
  -- Its cell goes on, and nothing can be heard of it: as with any that does not end.
  { "socket closed", late },
  { "socket shut down", late },
  { "socket shut for reading", fine, next = { "ok", "crashed" } },
  { "socket shut for writing", late },
  { "garbage", bad, "bad frame" },
  { "the end without a word", gone },
  { "nothing, for ever", late },
  { "a frame byte by byte", { status = "ok", keeps = "slow\n" } },
  { "flood of output", { status = "ok", check = counted("stdout", 256 * 2 ^ 20) } },
  { "flood of empty frames", { status = "ok", out = "^$" } },
  { "flood of displays", { status = "ok", check = function(result)
    return (result.truncated.display or 0) > 0 and #result.outputs > 0, #result.outputs .. " outputs"
  end } },
  { "descriptors", fine },
  { "output between cells", fine, next_out = true },
}

local function make_group(name, timeout)
  return { "hostile worker" .. name, backend = "hostile", timeout = timeout, probe = false,
    more = settings(), set = { "limits.memory=256M", "limits.output=1M", "engine.grace=100ms" } }
end
-- Apart: those whose end is the clock's need a quick one, the floods need time.
local quick, slow = make_group(" and the clock", "1s"), make_group("", "60s")
local function add(group, name, cell)
  cell[1] = name
  group[#group + 1] = cell
end
for _, one in ipairs(table_of_attacks) do
  local name, want, says = one[1], one[2], one[3]
  local hangs = want == late or one.next and table.concat(one.next):find("timeout")
  local group = hangs and quick or slow
  add(group, name .. ": a worker of its own", { code = "the end without a word", status = "crashed" })
  local cell = { code = name }
  for key, value in pairs(want) do cell[key] = value end
  if says then
    cell.check = function(result)
      local message = result.errors[#result.errors].message
      return message:find(says, 1, true), message
    end
  end
  add(group, name, cell)
  local follows = { code = "alive", status = one.next or "ok" }
  if not one.next and not one.next_out then follows.out = "^alive$" end
  add(group, name .. ": the next one", follows)
  if one.next then add(group, name .. ": the one after it", { code = "alive", out = "^alive$" }) end
end
attack.run(quick, slow)
if not tap.ok(slow.ran.peak > 0 and slow.ran.peak < 120 * 2 ^ 20 or os.getenv("KILN_SANITIZE") ~= nil,
  "the engine stays small") then
  tap.diag(("peak: %.1f MB"):format(slow.ran.peak / 2 ^ 20))
end

-- An engine with few descriptors to lose has all of them still.
local argv = { "prlimit", "--nofile=64:64", tap.kiln, "run", "--json", "--keep-going", "-b", "hostile",
  unpack(settings()) }
local dir = tap.tempdir()
argv[#argv + 1] = tap.write(dir .. "/n.ipynb", attack.notebook("python",
  { "descriptors", "descriptors", "descriptors", "alive" }))
argv[#argv + 1] = "-o"
argv[#argv + 1] = dir .. "/out"
local ran = tap.run { argv = argv, cwd = dir }
local results = (json.decode(ran.out) or {}).results or {}
tap.is(results[4] and results[4].stdout, "alive", "4,000 descriptors sent: the engine took none")

-- ---- before the first cell

local function one(start, ...)
  local words = { "kiln", "run", "--json", "--timeout", "1500ms", "-b", "hostile",
    "--set", "engine.grace=100ms" }
  for _, word in ipairs(settings(start)) do words[#words + 1] = word end
  for _, word in ipairs { "-c", "alive", ... } do words[#words + 1] = word end
  return tap.start { argv = words }
end
local starts = {
  { "socket closed", late },
  { "socket shut for writing", late },
  { "nothing, for ever", late },
  { "a frame without end", late },
  { "READY before its time", bad, "a second time" }, -- the worker's own comes after it
  { "FAILED", bad, "it was not me" },
  { "output after DONE", bad, "before READY" },
  { "outputs of no shape", bad, "before READY" },
  { "DONE at once", fine }, -- no attack of that name: it starts well
  { "DONE empty", bad },
  { "ANALYSIS", bad, "before READY" },
  { "garbage", bad },
  { "type 255", bad, "type 0xff" },
  { "length of 4 GiB", bad },
  { "half a header, then the end", gone },
  { "half a frame, then the end", gone },
  { "the end without a word", gone },
  { "garbage to the engine while it preloads", { status = "unavailable" } },
  { "READY while it preloads", { status = "unavailable" } },
  { "control socket closed while it preloads", { status = "unavailable" } },
}
local running = {}
for i, start in ipairs(starts) do
  running[i] = one(start[1])
  if i % 4 == 0 or i == #starts then -- some at a time
    for k = i - (i - 1) % 4, i do
      local result = json.decode(running[k]:wait().out)
      local cell = { check = starts[k][3] and function(r)
        local message = r.errors[#r.errors].message
        return message:find(starts[k][3], 1, true), message
      end }
      for key, value in pairs(starts[k][2]) do cell[key] = value end
      attack.judge(result, cell, "at the start: " .. starts[k][1])
    end
  end
end

-- ---- asked for an analysis

local policy = tap.write(dir .. "/ask.lua", [[
return function(input, ctx, next)
  local ok, answer, why = pcall(kiln.analyze, input.code)
  ctx:decide("analysis", ok and type(answer) == "table" and not answer.error and "answer"
    or ok and type(answer) == "table" and answer.error.name or tostring(ok and why or answer))
  local copy = {}
  for key, value in pairs(input) do copy[key] = value end
  copy.code = "alive"
  return next(copy)
end
]])
local analyses = {
  { "{}", "answer" }, { '{"imports":["os"]}', "answer" },
  { "{", "" }, { "[]", "" }, { "7", "" }, { '{"imports":7}', "" }, { '{"imports":[7]}', "" },
  { '{"error":{}}', "" }, { '{"imports":[],"imports":[]}', "" }, { "{},\"more\":1", "" },
  { ("["):rep(5000), "" }, { "DONE empty", "" }, { "DONE of garbage", "" }, { "ANALYSIS", "answer" }, -- its own, after all
  { "READY", "" }, { "outputs of no shape", "" }, { "garbage", "" }, { "half a frame, then the end", "" },
  { "length of 4 GiB", "" },
}
local sources = {}
for i, analysis in ipairs(analyses) do sources[i] = analysis[1] end
argv = { "kiln", "run", "--json", "--keep-going", "-b", "hostile", "--timeout", "10s",
  unpack(settings(nil, "ask")) }
for _, word in ipairs { "--set", "policy ask.script=" .. policy, "-o", dir .. "/asked",
  tap.write(dir .. "/ask.ipynb", attack.notebook("python", sources)) } do
  argv[#argv + 1] = word
end
ran = tap.run { argv = argv, cwd = dir }
results = (json.decode(ran.out) or {}).results or {}
for i, analysis in ipairs(analyses) do
  local told
  for _, decision in ipairs(results[i] and results[i].decisions or {}) do
    if decision.action == "analysis" then told = decision.detail end
  end
  local good = told and (analysis[2] == "answer") == (told == "answer")
    and results[i].status == "ok" and results[i].stdout == "alive"
  if not tap.ok(good, "an analysis: " .. analysis[1]:sub(1, 40)) then
    tap.diag("told: " .. tostring(told) .. " " .. attack.summary(results[i]))
    tap.diag(ran.err:sub(1, 500))
  end
end

tap.no_leaks(before, "nothing is left behind by all of it")
tap.done()
