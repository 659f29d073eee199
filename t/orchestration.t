#!/usr/bin/env luajit
-- What policies await, on real backends: next, kiln.run, kiln.all, kiln.race, kiln.sleep,
-- kiln.analyze, each under cancel, timeout and death of what it waits for.
package.path = "t/lib/?.lua;" .. package.path
local tap = require("tap")
local json = require("json")

local before = tap.snapshot()
local dir = tap.tempdir()
local scripts = 0

-- Starts `kiln run` with one policy of these lines; judge(result, run) comes later.
local waiting = {}
local function start(lines, words, signal_at)
  scripts = scripts + 1
  local path = ("%s/mine%d.lua"):format(dir, scripts)
  tap.write(path, "return function(input, ctx, next)\n" .. lines .. "\nend\n")
  tap.write(path .. ".ini", "[chain default]\npolicies = mine\n[policy mine]\nscript = " .. path .. "\n")
  local argv = { "kiln", "run", "--json", "--config", path .. ".ini" }
  for _, word in ipairs(words) do argv[#argv + 1] = word end
  return tap.start { argv = argv, cwd = tap.tempdir() }
end
local function later(lines, words, judge, signal)
  local process = start(lines, words)
  if signal then signal(process) end
  waiting[#waiting + 1] = function()
    local run = process:wait()
    local ok, result = pcall(json.decode, run.out)
    if not ok then tap.diag(run.err) end
    judge(ok and result or { errors = {}, decisions = {} }, run)
  end
  if #waiting >= 3 then table.remove(waiting, 1)() end
end
local function finish()
  while #waiting > 0 do table.remove(waiting, 1)() end
end
-- kiln.log of the policy is what says that it is there: [engine] log_level.
local function interrupt(process)
  process:wait_for("policy mine: now", "err")
  process:kill(2)
end
local INFO = { "-s", "engine.log_level=info" }
local function with(words, more)
  local all = {}
  for _, list in ipairs { words, more } do
    for _, word in ipairs(list) do all[#all + 1] = word end
  end
  return all
end

local SLOW = "import time\nprint('begun', flush=True)\ntime.sleep(300)"

-- ---- race: the first one counts, the others are stopped before the result is there
later([[
  local slow = kiln.copy(input)
  slow.code = "import time; time.sleep(300)"
  local result, winner = kiln.race { { "exec", slow }, { "interpreter", input } }
  ctx:decide("winner", winner .. " " .. result.backend)
  return result]], { "-c", "print('fast')" }, function(result, run)
  tap.is(result.status, "ok", "race: the fast one's status")
  tap.is(result.stdout, "fast\n", "race: its output")
  tap.is(result.decisions[1] and result.decisions[1].detail, "2 interpreter", "race: who it was")
  tap.is(run.code, 0, "race: the exit status")
end)

-- the session is usable at once after it: the loser is gone before the cell ends
later([[
  local slow = kiln.copy(input)
  slow.code = "import time; time.sleep(300)"
  kiln.race { { "exec", slow }, { "interpreter", input } }
  return kiln.run("exec", input)]], { "-c", "print('again')" }, function(result)
  tap.is(result.stdout, "again\n", "race: a backend whose run was stopped runs again")
end)

-- ---- all: each its own end, death of one does not touch the other
later([[
  local dying = kiln.copy(input)
  dying.code = "import os; os.kill(os.getpid(), 11)"
  local results = kiln.all { { "exec", dying }, { "interpreter", input }, { "nowhere", input } }
  for _, r in ipairs(results) do ctx:decide("end", r.status) end
  return results[2] ]], { "-c", "print(1)" }, function(result)
  local ends = {}
  for i, decision in ipairs(result.decisions) do ends[i] = decision.detail end
  tap.is(table.concat(ends, " "), "crashed ok unavailable", "all: each its own end")
  tap.is(result.stdout, "1\n", "all: the one that was chosen")
end)

later("return kiln.all({ { 'exec', input }, { 'interpreter', input } })[1]",
  { "--timeout", "300ms", "-c", SLOW }, function(result, run)
    tap.is(result.status, "timeout", "all: a timeout ends each of them")
    tap.is(run.code, 124, "all: its exit status")
  end)

later([[
  kiln.log("info", "now")
  local results = kiln.all { { "exec", input }, { "interpreter", input } }
  for _, r in ipairs(results) do ctx:decide("end", r.status) end
  return results[1] ]], with(INFO, { "-c", SLOW }), function(result, run)
  tap.is(result.status, "interrupted", "all: cancelled")
  tap.is(result.decisions[2] and result.decisions[1].detail .. " " .. result.decisions[2].detail,
    "interrupted interrupted", "all: every one of them")
  tap.is(run.code, 130, "all: the exit status says so")
end, interrupt)

later([[
  kiln.log("info", "now")
  return (kiln.race { { "exec", input }, { "interpreter", input } })]], with(INFO, { "-c", SLOW }),
  function(result) tap.is(result.status, "interrupted", "race: cancelled") end, interrupt)

later("return (kiln.race { { 'exec', input }, { 'interpreter', input } })", { "--timeout", "300ms", "-c", SLOW },
  function(result) tap.is(result.status, "timeout", "race: a timeout ends it") end)

later([[
  local dying = kiln.copy(input)
  dying.code = "import os; os.kill(os.getpid(), 9)"
  local result, winner = kiln.race { { "interpreter", input }, { "exec", dying } }
  ctx:decide("winner", winner)
  return result]], { "-c", SLOW }, function(result)
  tap.is(result.status, "crashed", "race: death is an end, too")
  tap.is(result.decisions[1] and result.decisions[1].detail, "2", "race: of the one that died")
end)

-- ---- next and kiln.run
for _, call in ipairs { "next(input)", "kiln.run('exec', input)" } do
  later("return " .. call, { "--timeout", "300ms", "-c", SLOW }, function(result)
    tap.is(result.status, "timeout", call .. ": timeout")
  end)
  later("kiln.log('info', 'now') return " .. call, with(INFO, { "-c", SLOW }), function(result)
    tap.is(result.status, "interrupted", call .. ": cancelled")
  end, interrupt)
  later("return " .. call, { "-c", "import os; os.kill(os.getpid(), 9)" }, function(result)
    tap.is(result.status, "crashed", call .. ": death")
  end)
end

-- ---- what is no run: a cancel ends it at once, and nothing has run
later("kiln.log('info', 'now') kiln.sleep('1h') return next(input)", with(INFO, { "-c", "1" }), function(result)
  tap.is(result.status, "interrupted", "kiln.sleep: cancelled")
  tap.is(result.backend, json.null or nil, "kiln.sleep: nothing ran")
end, interrupt)

-- A timeout is the code's: what a policy waits for does not take from it.
later("kiln.sleep('1s') return next(input)", { "--timeout", "600ms", "-c", "print(1)", "-b", "noop" }, function(result)
  tap.is(result.status, "skipped", "kiln.sleep: is not the code's time")
end)

-- More than its parser can take in the time that it has.
local big = tap.write(dir .. "/big.py", ("x=1\n"):rep(19e5))
local analyze = "kiln.log('info', 'now') local analysis, why = kiln.analyze(input.code) ctx:decide('why', why) return next(input)"
later(analyze, with(INFO, { "-b", "noop", big }), function(result)
  tap.is(result.status, "interrupted", "kiln.analyze: cancelled")
end, interrupt)
later(analyze, { "-b", "noop", big }, function(result)
  tap.is(result.status, "skipped", "kiln.analyze: one that takes too long, or all memory")
  tap.like(result.decisions[1] and result.decisions[1].detail, "%w", "says why")
end)

later([[
  local analysis, failure = kiln.analyze(input.code)
  ctx:decide("imports", analysis and table.concat(analysis.imports, " ") or failure)
  local none, why = kiln.analyze("x", "bash")
  ctx:decide("none", why)
  local broken = kiln.analyze("def (")
  ctx:decide("broken", broken.error.name)
  return next(input)]], { "-c", "import os, json" }, function(result)
  tap.is(result.decisions[1] and result.decisions[1].detail, "os json", "kiln.analyze")
  tap.like(result.decisions[2] and result.decisions[2].detail or "", "bash", "kiln.analyze: a language that nobody parses")
  tap.is(result.decisions[3] and result.decisions[3].detail, "SyntaxError", "kiln.analyze: code that is none")
end)
finish()

-- ---- outputs are shown once, and they are those of the result
local function shown(lines, code, more)
  scripts = scripts + 1
  local path = ("%s/mine%d.lua"):format(dir, scripts)
  tap.write(path, (more or "") .. "return function(input, ctx, next)\n" .. lines .. "\nend\n")
  tap.write(path .. ".ini", "[chain default]\npolicies = mine\n[policy mine]\nscript = " .. path .. "\n")
  return tap.run { argv = { "kiln", "run", "--config", path .. ".ini", "-c", code }, cwd = tap.tempdir() }
end
local run = shown([[return kiln.all({ { "exec", input }, { "interpreter", input } })[2] ]],
  "import sys; print('once'); print('err', file=sys.stderr)\n1/0")
tap.is(run.out, "once\n", "of several runs the outputs of one are shown")
local _, tracebacks = run.err:gsub("ZeroDivisionError: division by zero", "")
tap.ok(run.err:find("err\n", 1, true) and tracebacks >= 1, "with its error")
tap.unlike(run.err, "Traceback.*Traceback", "and not the other's")

run = shown([[
  local r = kiln.store.recall("k")
  if not r then
    next(input)
    r = next(input)
    kiln.store.remember("k", r)
    r = kiln.store.recall("k")
  end
  return r]], "print('shown')")
tap.is(run.out, "shown\nshown\nshown\n", "what is remembered is shown, too")
tap.no_leaks(before, "nothing is left behind")
tap.done()
