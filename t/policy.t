#!/usr/bin/env luajit
-- Policies, end to end: options from the INI, decisions in the result, failures that never run.
package.path = "t/lib/?.lua;" .. package.path
local tap = require("tap")
local json = require("json")
local attack = require("attack")

local dir = tap.tempdir()
local function write(name, text)
  local file = assert(io.open(dir .. "/" .. name, "w"))
  file:write(text)
  file:close()
  return dir .. "/" .. name
end

local function kiln(ini, ...)
  local config = write("kiln.ini", ini)
  local argv = { "kiln", "run", "--json", "--set", "engine.backend=noop", "--config", config }
  for _, word in ipairs { ... } do argv[#argv + 1] = word end
  local run = tap.run(argv)
  local ok, result = pcall(json.decode, run.out)
  return run, ok and result or {}
end

local function mine(body, more)
  write("mine.lua", body)
  return "[chain default]\npolicies = mine\n[policy mine]\nscript = " .. dir .. "/mine.lua\n" .. (more or "")
end

local tests = tap.run { "kiln", "test" }
tap.is(tests.code, 0, "kiln test passes on the shipped scripts")
tap.like(tests.out, "1%.%.%d+\n$", "and prints TAP with a plan")

write("bad_test.lua", "test.case('never', function() test.is(1, 2) end)")
local bad = tap.run { "kiln", "test", dir }
tap.is(bad.code, 1, "a failing test fails kiln test")
tap.like(bad.out, "not ok 1 %- bad: never\n#   .-got 1, want 2", "and is told")
write("bad_test.lua", "local x = 1")
tap.is(tap.run { "kiln", "test", dir .. "/bad_test.lua" }.code, 1, "a file without a test fails, too")
tap.is(tap.run { "kiln", "test", dir .. "/nowhere" }.code, 2, "a file that is not there is a usage error")

local run, result = kiln(mine "return function(input, ctx, next) return kiln.deny('not today') end", "-c", "1")
tap.is(run.code, 126, "denied: its exit status")
tap.is(result.status, "denied", "denied: its status")
tap.is(result.errors and result.errors[1].message, "not today", "denied: the reason")

run, result = kiln(mine "return function() while true do end end", "-c", "1")
tap.is(result.status, "unavailable", "an endless policy ends")
tap.is(result.errors and result.errors[1].name, "PolicyTimeout", "under its own name")

run, result = kiln(mine("return function() error('boom') end", "on_failure = denied\n"), "-c", "1")
tap.is(result.status, "denied", "on_failure = denied")
tap.like(result.errors and result.errors[1].message or "", "mine.lua:1: boom", "with script and line")

run, result = kiln(mine [[
  kiln.options { word = { type = "list", default = { "none" } }, wait = { type = "duration", default = "1ms" } }
  return function(input, ctx, next)
    ctx:decide("word", table.concat(ctx.options.word, "+") .. " " .. ctx.options.wait)
    kiln.sleep(ctx.options.wait)
    return next(input)
  end]], "-c", "1")
tap.is(result.status, "skipped", "the noop backend is reached")
tap.is(result.decisions and result.decisions[1].detail, "none 1", "an option's default")

local options = mine(io.open(dir .. "/mine.lua"):read("*a"), "word = a b\nwait = 2ms\n")
run, result = kiln(options, "-c", "1")
tap.is(result.decisions and result.decisions[1].detail, "a+b 2", "an option from the INI")
tap.is(result.decisions and result.decisions[1].policy, "mine", "the decision names its policy")

run = kiln(options .. "wrod = a\n", "-c", "1")
tap.is(run.code, 2, "a misspelt option is refused")
tap.like(run.err, "kiln.ini:7: .*wrod.*word", "with its line and the near word")

run = kiln("[chain default]\npolicies = audit rote\n", "-c", "1")
tap.is(run.code, 2, "a chain with a misspelt policy is refused")
tap.like(run.err, 'no policy "rote": .*/rote%.lua does not exist, did you mean "route"%?', "with the near name")

run = kiln(mine "return function(", "-c", "1")
tap.ok(run.code ~= 0, "a script with a syntax error is refused")
tap.like(run.err, "mine.lua:1: ", "with its line")

run, result = kiln("[policy route]\nlanguages = bash=noop\nbackend = nowhere\n", "-l", "bash", "-c", "1")
tap.is(result.backend, "noop", "route: by language")
run, result = kiln("[policy route]\nbackend = nowhere\n", "-c", "1")
tap.is(result.status, "unavailable", "route: a backend that is not there is no fall-through")
run, result = kiln("[policy deny]\nlanguages = bash\nmessage = Ask.\n", "-l", "bash", "-c", "1")
tap.is(result.errors and result.errors[1].message, "the language bash is refused. Ask.", "deny: the reason in the result")

-- ---- kiln test: coverage and JUnit
write("half.lua", "return function(input, ctx, next)\n  if input.code == 'x' then\n    return kiln.deny('x')\n" ..
  "  end\n  return next(input)\nend\n")
write("half_test.lua", "test.case('passes <&>', function() test.is(test.run{policy='half'}.result.status, 'ok') end)\n" ..
  "test.case('fails', function() error('no \"way\"') end)\n" ..
  "local function helper(x)\n  test.is(x, 1)\n  return x\nend\n" ..
  "test.case('by a helper', function()\n  helper(1)\n  helper(2)\n  helper(1)\nend)\n" ..
  "test.case('odd # SKIP\\n\\239\\191\\191\\255\\1', function() error({ why = 'odd' }) end)\n")
tests = tap.run { "kiln", "test", dir .. "/half_test.lua", "--coverage", "--junit", dir .. "/junit.xml" }
tap.is(tests.code, 1, "kiln test --coverage --junit: a failed test")
tap.like(tests.out, "# coverage [^\n]*/half%.lua: 2 of 3 lines %(66%%%), not run: 3\n", "the line that was not run")
local xml = tap.read(dir .. "/junit.xml")
local sums = ' tests="4" failures="3" errors="0" skipped="0" time="%d+%.%d+">'
tap.like(xml, '<testsuites name="kiln test"' .. sums, "JUnit: the sums")
tap.like(xml, '<testsuite name="half"' .. sums, "JUnit: a suite's sums")
tap.contains(xml, 'name="passes &lt;&amp;&gt;"', "JUnit: names are escaped")
tap.like(xml, '<failure type="failure" message="[^"]*half_test.-no &quot;way&quot;">[^<]*no &quot;way&quot;</failure>',
  "JUnit: why it failed, for readers of the attribute and of the text")
tap.is(tap.run({ "/usr/bin/python3", "-c", "import sys, xml.dom.minidom as m\n" ..
  "print([ascii(c.getAttribute('name')) for c in m.parse(sys.argv[1]).getElementsByTagName('testcase')][3])",
  dir .. "/junit.xml" }).out, "'odd # SKIP\\n\\ufffd\\ufffd\\ufffd'\n", "JUnit: what XML cannot hold is not in it")
tap.like(tests.out, "\n#   [^\n]*half_test%.lua:4: got 2, want 1\n#   called from [^\n]*half_test%.lua:9\n[^#]",
  "a helper's failure tells which call of it failed")
tap.like(xml, 'message="[^"]*half_test%.lua:4: got 2, want 1">[^<]*want 1&#10;called from [^<]*:9</failure>',
  "JUnit: the message is one line, the text all of them")
tap.like(tests.out, "\nnot ok 4 %- half: odd \\# SKIP%?[^\n]*%?\n#   an error object: {why = \"odd\"}\n",
  "TAP: a name is one line and no directive; an error that is a table is shown")
tap.write(dir .. "/never.lua", "return function(input, ctx, next) return next(input) end\n")
tap.write(dir .. "/never_test.lua", "test.case('nothing', function() test.ok(true, 'yes') end)\n")
tap.like(tap.run({ "kiln", "test", "--coverage", dir .. "/never_test.lua" }).out,
  "# coverage [^\n]*/never%.lua: 0 of 1 lines %(0%%%), not run: 1\n", "a policy that its tests never run")
tap.like(tap.run({ "kiln", "test", "--coverage" }).out, "# coverage scripts/deny%.lua: %d+ of %d+ lines %(100%%%)",
  "the shipped policies' lines")
tap.is(tap.run({ "kiln", "test", "--junit", dir .. "/no/where.xml", dir .. "/half_test.lua" }).code, 125,
  "a file that cannot be written is no success")

-- ---- several chains
local two = "[chain default]\npolicies =\n[chain strict]\npolicies = deny\n[policy deny]\nlanguages = bash\n"
run, result = kiln(two, "-l", "bash", "-c", "1")
tap.is(result.status, "skipped", "the default chain")
run, result = kiln(two, "--chain", "strict", "-l", "bash", "-c", "1")
tap.is(result.status, "denied", "another chain, chosen by the request")
run = kiln(two, "--chain", "strikt", "-c", "1")
tap.is(run.code, 2, "a chain that is not there is a usage error")
tap.contains(run.err, 'no chain "strikt", did you mean "strict"?', "with the near name")
run, result = kiln(two .. "[engine]\nchain = strict\n", "-l", "bash", "-c", "1")
tap.is(result.status, "denied", "[engine] chain")
for key, value in pairs { burst = "1ms", total = "soon", memory = "1K", awaits = "0", results = "1B" } do
  run = kiln(two .. "[chain third]\npolicies =\n" .. key .. " = " .. value .. "\n", "-c", "1")
  tap.is(run.code, 2, key .. " = " .. value .. " is refused")
  tap.like(run.err, "kiln.ini:9: .*" .. key, "with its line")
end

-- ---- kiln check
local checked = tap.run { "kiln", "check", "-s", "policy.retry.max_failures=many" }
tap.is(checked.code, 2, "kiln check: an option of the wrong type")
tap.contains(checked.out, "max_failures", "names it")
checked = tap.run { "kiln", "check", "-s", "policy.retry.fallbak=exec" }
tap.is(checked.code, 2, "kiln check: a misspelt option")
tap.contains(checked.out, 'did you mean "fallback"', "with the near name")
for _, example in ipairs { "quotas", "caching", "second-opinion", "stateless", "transactions" } do
  checked = tap.run { "kiln", "check", "--config", "conf/" .. example .. ".ini", "--json" }
  tap.is(json.decode(checked.out).policies.ok, true, "conf/" .. example .. ".ini loads")
end

-- ---- kiln trace
local function trace(...)
  local argv = { "kiln", "trace" }
  for _, word in ipairs { ... } do argv[#argv + 1] = word end
  return tap.run(argv)
end
run = trace("-s", "policy.deny.imports=socket", "-c", "import socket, os")
tap.is(run.code, 0, "kiln trace: what is refused is told, too")
tap.like(run.out, "^chain default\naudit\n  deny\n    %- analyze python\n    %- decide deny: the code imports socket\n" ..
  "    %- denied\n  deny gives denied\naudit gives denied\nresult: denied: deny: the code imports socket", "step by step")
run = trace("--json", "--result", "interpreter=crashed", "-s", "policy.retry.fallback=exec", "-s", "limits.memory=1G",
  "--limit", "memory=256M", "-c", "open('/tmp/kiln-trace-must-not-run', 'w')")
local traced = json.decode(run.out)
tap.is(traced.chain, "default", "kiln trace --json: the chain")
tap.is(traced.result.status, "ok", "the second backend's made-up answer")
local events = {}
for _, step in ipairs(traced.trace) do
  if step.event == "run" then events[#events + 1] = step.backend .. " " .. step.limits.memory end
  if step.event == "answer" then events[#events + 1] = step.status end
end
tap.is(table.concat(events, ", "), "interpreter 268435456, crashed, exec 268435456, ok", "each run and its answer")
tap.ok(not io.open("/tmp/kiln-trace-must-not-run"), "nothing has run")
tap.is(#traced.metrics.series, 0, "the metrics")
tap.is(trace("--result", "fine", "-c", "1").code, 2, "a status that is none")
tap.is(trace("--chain", "nowhere", "-c", "1").code, 2, "a chain that is none")
tap.is(trace("--result").code, 2, "a value that is missing")

local cells = tap.write(tap.tempdir() .. "/cells.ipynb", attack.notebook("python",
  { "import math", "import socket", " ", "never = 1" }))
run = trace("-s", "policy.deny.imports=socket", "--keep-going", cells)
tap.is(run.code, 0, "kiln trace: a notebook")
tap.like(run.out, "^chain default\n\ncell [%w-]+\naudit\n.*result: ok\n\ncell [%w-]+\naudit\n.*decide deny: the code " ..
  "imports socket.*result: denied.*\n\ncell .*result: ok\n$", "cell by cell")
run = trace("-s", "policy.deny.imports=socket", cells)
tap.like(run.out, "\n2 of 3 cells: kiln run would stop here, without %-%-keep%-going\n$", "it stops where a run would")
traced = json.decode(trace("--json", "-s", "chain.default.policies=quota", "-s", "policy.quota.rate=2/1h",
  "--keep-going", cells).out)
local statuses = {}
for i, cell in ipairs(traced.cells or {}) do statuses[i] = cell.result.status end
tap.is(table.concat(statuses, " "), "ok ok denied", "all in one session: its quota counts them")
tap.is(traced.notebook, cells, "--json: the notebook")

-- ---- who asks
local by_client = { "-s", "chain.default.policies=limits", "-s", "policy.limits.clients=guest:timeout=7s", "-s",
  "limits.timeout=90s" }
local user = tap.run({ "id", "-un" }).out:match("%S+")
local function asks(command, ...)
  local words = { "kiln", command, unpack(by_client) }
  for _, word in ipairs { ... } do words[#words + 1] = word end
  return tap.run { argv = words, stdin = "" }
end
tap.contains(asks("trace", "--client", "guest", "-c", "1").out, "timeout_ms=7000", "--client: who asks")
tap.unlike(asks("trace", "-c", "1").out, "timeout_ms=7000", "another is not meant")
by_client[4] = "policy.limits.clients=" .. user .. ":timeout=7s"
tap.contains(asks("trace", "-c", "1").out, "timeout_ms=7000", "without it the user's name")
tap.contains(asks("run", "-v", "-b", "noop", "-c", "1").err, "timeout 7000", "kiln run hands it on, too")
tap.is(asks("run", "--client", "", "-c", "1").code, 2, "an empty name")
tap.is(asks("repl", "--client", "").code, 2, "kiln repl: an empty name")
tap.like(trace("-b", "nowhere", "-c", "1").out, "result: unavailable: .*nowhere", "a backend that is not there")
tap.done()
