#!/usr/bin/env luajit
-- Policies, end to end: options from the INI, decisions in the result, failures that never run.
package.path = "t/lib/?.lua;" .. package.path
local tap = require("tap")
local json = require("json")

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

run = kiln(mine "return function(", "-c", "1")
tap.ok(run.code ~= 0, "a script with a syntax error is refused")
tap.like(run.err, "mine.lua:1: ", "with its line")

run, result = kiln("[policy route]\nlanguages = bash=noop\nbackend = nowhere\n", "-l", "bash", "-c", "1")
tap.is(result.backend, "noop", "route: by language")
run, result = kiln("[policy route]\nbackend = nowhere\n", "-c", "1")
tap.is(result.status, "unavailable", "route: a backend that is not there is no fall-through")
run, result = kiln("[policy deny]\nlanguages = bash\nmessage = Ask.\n", "-l", "bash", "-c", "1")
tap.is(result.errors and result.errors[1].message, "the language bash is refused. Ask.", "deny: the reason in the result")
tap.done()
