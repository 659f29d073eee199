-- attack.lua: hostile code through `kiln run`, as the cells of one notebook, each
-- followed by a cell that must work: the next execution of the same engine and session.
--
--   attack.run{ "what it is about", backend = "exec", language = "c", set = { ... },
--     { "division by zero", code = "...", status = "crashed", error = "Signal" }, ... }
--
-- What a cell's result must be: status; error: name of the errors' last one; signal;
-- exit_code; out, err: patterns of stdout, stderr; keeps: plain text in stdout; check:
-- function(result). kind follows from status. Many attacks share a run, since what costs
-- is the start; a test file runs a few of them.
local tap = require("tap")
local json = require("json")
local posix = tap.posix

local attack = {}

-- Small, so that reaching them is quick; the default ones of a group.
attack.limits = { "limits.memory=64M", "limits.processes=16", "limits.disk=8M", "limits.files=200" }

local kinds = {
  error = "user", timeout = "limit", limit = "limit", crashed = "user",
  interrupted = "user", denied = "policy", unavailable = "system",
}

-- The next execution, by language. It also tells how many processes it finds beside
-- its own and the supervisor (a zombie is none): what an earlier one left running.
local probes = {
  python = [[
import os
def state(pid):
    try:
        return open('/proc/%s/stat' % pid).read().rpartition(')')[2].split()[0]
    except OSError:
        return 'Z'
print('alive', 6 * 7, 'others', sum(state(p) != 'Z' for p in os.listdir('/proc')
      if p.isdigit() and int(p) not in (1, os.getpid())))]],
  bash = [[
n=0
for p in /proc/[0-9]*; do
  [ "$p" = /proc/1 ] || [ "$p" = /proc/$$ ] || n=$((n + 1))
done
echo alive $((6 * 7)) others $n]],
  c = '#include <stdio.h>\nint main(void) { printf("alive %d\\n", 6 * 7); }',
}

local function quote(text)
  local escaped = text:gsub('[%c"\\\127]', function(c) return ("\\u%04x"):format(c:byte()) end)
  return '"' .. escaped .. '"'
end

function attack.notebook(language, sources)
  local cells = {}
  for i, source in ipairs(sources) do
    cells[i] = ('{"cell_type":"code","id":"c%d","metadata":{},"execution_count":null,'
      .. '"outputs":[],"source":%s}'):format(i, quote(source))
  end
  return ('{"nbformat":4,"nbformat_minor":5,"metadata":{"kernelspec":{"name":"k",'
    .. '"display_name":"k","language":%s}},"cells":[%s]}'):format(quote(language),
    table.concat(cells, ","))
end

local function first_lines(text)
  return (tostring(text):sub(1, 300))
end

-- What of a result says how it ended, in one line for a test that failed.
function attack.summary(result)
  if type(result) ~= "table" then return "no result" end
  local errors = {}
  for _, e in ipairs(result.errors or {}) do
    errors[#errors + 1] = ("%s/%s: %s"):format(tostring(e.kind), tostring(e.name),
      first_lines(e.message))
  end
  return ("status=%s exit_code=%s signal=%s errors={%s} stdout=%q stderr=%q"):format(
    tostring(result.status), tostring(result.exit_code), tostring(result.signal),
    table.concat(errors, "; "), first_lines(result.stdout), first_lines(result.stderr))
end

local function equal(got, want)
  if type(want) == "table" then
    for _, one in ipairs(want) do
      if got == one then return true end
    end
    return false
  end
  return got == want
end

local function words(want)
  return type(want) == "table" and table.concat(want, " or ") or tostring(want)
end

-- Every way in which the result is not what the cell wants, as text.
local function faults(result, want)
  local found = {}
  local function need(condition, ...)
    if not condition then found[#found + 1] = (...):format(select(2, ...)) end
  end
  if type(result) ~= "table" then return { "it did not run" } end
  local last = result.errors[#result.errors]
  need(equal(result.status, want.status or "ok"), "status is not %s", words(want.status or "ok"))
  need(result.success == (result.status == "ok"), "success does not follow from status")
  local kind = kinds[result.status]
  local told = kind == nil
  for _, e in ipairs(result.errors) do told = told or e.kind == kind end
  need(told, "no error of kind %s", tostring(kind))
  if want.error then
    need(last and equal(last.name, want.error), "last error is not %s", words(want.error))
  end
  if want.signal then need(equal(result.signal, want.signal), "signal is not %s", words(want.signal)) end
  if want.exit_code then
    need(result.exit_code == want.exit_code, "exit_code is not %s", tostring(want.exit_code))
  end
  if want.out then need(result.stdout:find(want.out), "stdout does not match %s", want.out) end
  if want.err then need(result.stderr:find(want.err), "stderr does not match %s", want.err) end
  if want.keeps then
    need(result.stdout:find(want.keeps, 1, true), "stdout does not keep %q", want.keeps)
  end
  if want.check then
    local ok, why = want.check(result)
    need(ok, "%s", tostring(why or "check failed"))
  end
  return found
end
attack.faults = faults

-- One test: the result is what is wanted.
function attack.judge(result, want, name)
  local found = faults(result, want)
  if tap.ok(#found == 0, name) then return true end
  for _, fault in ipairs(found) do tap.diag(fault) end
  tap.diag(attack.summary(result))
  return false
end

local function arguments(group, target)
  local argv = { "kiln", "run", "--json", "--keep-going", "-b", group.backend }
  for _, setting in ipairs(group.set or attack.limits) do
    if os.getenv("KILN_SANITIZE") then -- ASan's shadow and quarantine are charged, too
      setting = setting:gsub("^(limits%.memory=)(%d+)M", function(key, size)
        return key .. size * 8 .. "M"
      end)
    end
    argv[#argv + 1] = "--set"
    argv[#argv + 1] = setting
  end
  if group.timeout then
    -- Enough for what is printed before it, also where everything takes its time.
    local number, unit = group.timeout:match("^(%d+)(%a+)$")
    argv[#argv + 1] = "--timeout"
    argv[#argv + 1] = number * (os.getenv("KILN_SANITIZE") and 3 or 1) * (group.slowly or 1) .. unit
  end
  for _, more in ipairs(group.more or {}) do argv[#argv + 1] = more end
  for _, word in ipairs { "-o", group.dir, target } do argv[#argv + 1] = word end
  return argv
end

-- Peak resident memory of a process that runs, in bytes, or nil.
function attack.peak(pid)
  local text = posix.read_file("/proc/" .. pid .. "/status") or ""
  local kilobytes = text:match("VmHWM:%s*(%d+)")
  return kilobytes and tonumber(kilobytes) * 1024
end

-- Starts a group; attack.finish takes it up.
function attack.start(group)
  local language = group.language or "python"
  local dir = tap.tempdir()
  local sources = {}
  for _, cell in ipairs(group) do
    if type(cell) == "table" then
      sources[#sources + 1] = cell.code
      if group.probe ~= false then sources[#sources + 1] = group.probe or probes[language] end
    end
  end
  local path = tap.write(dir .. "/n.ipynb", attack.notebook(language, sources))
  group.dir = dir .. "/out"
  local process = tap.start { argv = arguments(group, path), cwd = dir, env = group.env,
    timeout = tap.timeout * (group.slowly or 1) }
  process.peak = 0
  return process
end

-- Moves its bytes on; true while there is something to wait for.
function attack.pump(process)
  process:pump(0.01)
  process.peak = math.max(process.peak, process.pid and attack.peak(process.pid) or 0)
  return not process.ended and posix.now() < process.deadline
end

-- Waits for its end. The cells' results, and code, err, peak (of the engine's memory).
function attack.finish(process)
  while attack.pump(process) do end
  local ran = process:wait()
  local document, why = json.decode(ran.out)
  if document == nil then
    tap.diag(("no JSON (%s): code %s, signal %s, stderr: %s"):format(tostring(why),
      tostring(ran.code), tostring(ran.signal), first_lines(ran.err)))
  end
  return document and document.results or {},
    { code = ran.code, err = ran.err, peak = process.peak }
end

local PROBED = "alive 42"

-- A loaded machine may not come to what a cell prints before its time is up.
local function came_in_time(group, results)
  local at = 0
  for _, cell in ipairs(group) do
    if type(cell) == "table" then
      at = at + 1
      if #faults(results[at], cell) > 0 then return false end
      if group.probe ~= false then
        at = at + 1
        if #faults(results[at], { status = "ok", keeps = PROBED }) > 0 then return false end
      end
    end
  end
  return true
end

-- Two tests a cell: what it came to, and that the next one works.
local function judge_all(group, results)
  local title = ("%s %s: "):format(group.backend, group[1])
  local at = 0
  for _, cell in ipairs(group) do
    if type(cell) == "table" then
      at = at + 1
      attack.judge(results[at], cell, title .. cell[1])
      if group.probe ~= false then
        at = at + 1
        local others = group.language ~= "c" and " others " .. (cell.others or 0) or ""
        attack.judge(results[at], { status = "ok", keeps = PROBED .. others },
          title .. cell[1] .. ": the next one works")
      end
    end
  end
end

-- Runs and judges groups, at the same time; then one test that nothing was left.
-- Returns results and run of the last one; group.ran is each one's.
function attack.run(...)
  local groups = { ... }
  local before, running = tap.snapshot(), {}
  for i, group in ipairs(groups) do running[i] = attack.start(group) end
  repeat
    local busy = false
    for _, process in ipairs(running) do busy = attack.pump(process) or busy end
  until not busy
  local results, run
  for i, group in ipairs(groups) do
    results, run = attack.finish(running[i])
    if group.timeout and not came_in_time(group, results) then
      tap.diag(group[1] .. ": again, with more time")
      group.slowly = 5
      results, run = attack.finish(attack.start(group))
    end
    group.ran = run
    judge_all(group, results)
  end
  local last = groups[#groups]
  tap.no_leaks(before, ("%s: nothing is left behind"):format(last[1]))
  return results, run
end

return attack
