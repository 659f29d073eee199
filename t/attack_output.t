#!/usr/bin/env luajit
-- ATTACKS.md, output: floods, bytes that are no text, forged frames and verdicts.
local tap = require("tap")
local attack = require("attack")
local posix = tap.posix
local before = tap.snapshot()
local MEGABYTE = 1024 * 1024
local ENGINE_MAX = (os.getenv("KILN_SANITIZE") and 336 or 80) * MEGABYTE -- of the engine's memory while it is flooded (ASan keeps 256 of what was freed)

local function small_engine(run, name)
  if not tap.ok(run.peak > 0 and run.peak < ENGINE_MAX, name .. ": the engine stays small") then
    tap.diag(("peak: %.1f MB"):format(run.peak / MEGABYTE))
  end
end

-- "0\n1\n2\n..." at least `length` bytes of it.
local function numbers(length)
  local lines, size, n = {}, 0, 0
  while size < length do
    lines[#lines + 1] = n .. "\n"
    size = size + #lines[#lines]
    n = n + 1
  end
  return table.concat(lines):sub(1, length)
end

-- ---- floods without end: cut, counted, and what came before is kept in order

local KEPT = 65536
local flood_set = { "limits.output=64K", "limits.memory=256M" }
local function cut(stream, text)
  return function(result)
    if #result[stream] ~= #text then return false, stream .. " kept: " .. #result[stream] end
    if result[stream] ~= text then return false, stream .. " is not its beginning" end
    return result.truncated[stream] > 0, stream .. " dropped: " .. result.truncated[stream]
  end
end
local function all(...)
  local checks = { ... }
  return function(result)
    for _, check in ipairs(checks) do
      local ok, why = check(result)
      if not ok then return ok, why end
    end
    return true
  end
end
local counting = numbers(KEPT)
local x = ("x"):rep(KEPT)
local gigabytes = [[
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static char chunk[1 << 20];
static void flood(int fd) {
  for (int i = 0; i < 10240; i++)
    for (size_t at = 0; at < sizeof(chunk);) {
      ssize_t n = write(fd, chunk + at, sizeof(chunk) - at);
      if (n <= 0) return;
      at += (size_t)n;
    }
}
int main(void) {
  memset(chunk, 'x', sizeof(chunk));
]]
local over = { "ok", "timeout" } -- a fast machine is through with 10 GB
local lines = [[
#include <stdio.h>
int main(void) { for (long n = 0; n < 1000000000; n++) printf("%ld\n", n); }]]
local in_c = {
  "flood of 10 GB", backend = "exec", language = "c", timeout = "1500ms", set = flood_set,
  { "on stdout, no newline", code = gigabytes .. "flood(1); }", status = over, check = cut("stdout", x) },
  { "on stderr", code = gigabytes .. "flood(2); }", status = over, check = cut("stderr", x) },
  { "on both at once", code = gigabytes .. "if (fork() == 0) flood(2); else flood(1); }", status = over,
    check = all(cut("stdout", x), cut("stderr", x)) },
  { "in lines", code = lines, status = "timeout", check = cut("stdout", counting) },
}
local in_python = {
  "flood", backend = "interpreter", timeout = "1500ms", set = flood_set,
  { "of prints", code = "n = 0\nwhile True:\n    print(n)\n    n += 1", status = "timeout",
    check = cut("stdout", counting) },
  { "of megabytes", code = "while True: print('x' * 1000000, end='')", status = "timeout",
    check = cut("stdout", x) },
  { "of megabytes past Python", code = "import os\nwhile True: os.write(2, b'x' * 1000000)",
    status = "timeout", check = cut("stderr", x) },
  { "on both", code = "import sys\nwhile True:\n    print('x' * 1000, end='')\n"
      .. "    print('x' * 1000, end='', file=sys.stderr)",
    status = "timeout", check = all(cut("stdout", x), cut("stderr", x)) },
}
attack.run(in_c, in_python)
small_engine(in_c.ran, "10 GB of C")
small_engine(in_python.ran, "a flood of frames")

-- ---- floods that end: every byte is kept or counted

local function counted(stream, total)
  return function(result)
    local sum = #result[stream] + result.truncated[stream]
    return sum == total and #result[stream] <= KEPT, ("%s: %d kept, %d dropped, %d written"):format(
      stream, #result[stream], result.truncated[stream], total)
  end
end
local tiny_c = [[
#include <unistd.h>
int main(void) { for (int n = 0; n < 1000000; n++) if (write(1, "x", 1) != 1) return 1; }]]
attack.run({
  "flood that ends", backend = "exec", language = "c", set = flood_set,
  { "a million tiny writes", code = tiny_c, status = "ok",
    check = all(counted("stdout", 1000000), cut("stdout", x)) },
}, {
  "flood that ends", backend = "interpreter", set = flood_set,
  { "100,000 tiny prints", code = "for _ in range(100000): print('x', end='')", status = "ok",
    check = counted("stdout", 100000) },
  { "one line of a megabyte", code = "print('x' * 1000000)", status = "ok",
    check = all(counted("stdout", 1000001), cut("stdout", x)) },
  { "64 MB in one print", code = "print('x' * (64 << 20), end='')", status = "ok",
    check = counted("stdout", 64 * MEGABYTE) },
}, {
  "flood that ends", backend = "exec", set = flood_set,
  { "one line of a megabyte", code = "print('x' * 1000000)", status = "ok",
    check = all(counted("stdout", 1000001), cut("stdout", x)) },
})
local megabyte_line = function(result)
  return result.stdout == ("x"):rep(1000000) .. "\n" and result.truncated.stdout == 0, #result.stdout
end
attack.run({ "within the limit", backend = "exec",
  { "one line of a megabyte", code = "print('x' * 1000000)", check = megabyte_line } },
  { "within the limit", backend = "interpreter",
    { "one line of a megabyte", code = "print('x' * 1000000)", check = megabyte_line } })

-- ---- bytes that are no text

local U = "\239\191\189" -- U+FFFD
local function text(stream, want)
  return function(result) return result[stream] == want, ("%s: %q"):format(stream, result[stream]) end
end
for _, backend in ipairs { "exec", "interpreter" } do
  local group = {
    "bytes", backend = backend,
    { "not UTF-8", code = "import os\nos.write(1, b'a\\xff\\xc3(\\xe2\\x82')", check = text("stdout", "a"
      .. U .. U .. "(" .. U) },
    { "NUL", code = "import os\nos.write(1, b'a\\0b')", check = text("stdout", "a\0b") },
    { "a character in two writes", code = "import os, time\nos.write(1, b'\\xe2\\x82')\ntime.sleep(0.1)\n"
      .. "os.write(1, b'\\xac')", check = text("stdout", "\226\130\172") },
    { "control sequences", code = "print('\\x1b[2J\\x07\\r')", check = text("stdout", "\27[2J\7\r\n") },
    { "stderr alone is no failure", code = "import sys\nprint('Error: x', file=sys.stderr)", status = "ok",
      err = "^Error: x\n$" },
    { "a write after close", code = "import os\nos.write(1, b'so far\\n')\nos.close(1)\nos.write(1, b'x')",
      status = "error", keeps = "so far\n", error = { "ExitStatus", "OSError" } },
    { "a child that writes on after the cell", status = "ok", out = "^so far\n$", others = "",
      code = "import os, time\nprint('so far', flush=True)\nif os.fork() == 0:\n    time.sleep(3)\n"
        .. "    os.write(1, b'late\\n')\n    os._exit(0)" },
  }
  if backend == "interpreter" then
    group[#group].others = nil
    group[#group] = nil -- its child is the session's affair: what it writes counts to the cell that runs
    group[#group + 1] = { "lone surrogates", code = "print('a\\ud800b')", check = text("stdout",
      "a\\ud800b\n") }
    group[#group + 1] = { "stdout closed", code = "import sys\nprint('so far')\nsys.stdout.close()\n"
      .. "print('x')", keeps = "so far\n", status = { "ok", "error" } }
    group[#group + 1] = { "order of both streams", code = "import sys\nfor n in range(3):\n    print(n)\n"
      .. "    print(n, file=sys.stderr)", check = function(result)
        local seen = {}
        for _, output in ipairs(result.outputs) do seen[#seen + 1] = output.name .. output.text end
        local order = table.concat(seen)
        return order == "stdout0\nstderr0\nstdout1\nstderr1\nstdout2\nstderr2\n", order
      end }
  end
  attack.run(group)
end

-- ---- frames that the code forges

local forge = [[
import json, os, stat, struct, time
print('so far')
def sockets():
    for name in os.listdir('/proc/self/fd'):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                yield int(name)
        except OSError:
            pass
fd = next(sockets())
def frame(kind, payload=b'', length=None, version=1, zero=0):
    if isinstance(payload, dict):
        payload = json.dumps(payload).encode()
    os.write(fd, struct.pack('<IBBH', len(payload) if length is None else length, kind, version, zero)
             + payload)
def done(id, status=0, has_code=0, code=0, zero=0, cpu_us=100, rss=0):
    frame(0x50, struct.pack('<IBBBBQQ', id, status, has_code, code, zero, cpu_us, rss))
def wait():
    time.sleep(30)
]]
local function forged(name, code, want)
  local cell = { name, code = forge .. code, status = "unavailable", error = "WorkerFailed",
    keeps = "so far\n" }
  for key, value in pairs(want or {}) do cell[key] = value end
  return cell
end
local group = {
  "forged frame", backend = "interpreter", timeout = "10s", set = {},
  forged("length 4 GiB", "frame(0x41, b'x', length=0xffffffff); wait()"),
  forged("length one over the bound", "frame(0x41, b'x', length=(32 << 20) + 1); wait()"),
  forged("type 0", "frame(0); wait()"),
  forged("type 255", "frame(255); wait()"),
  forged("a type of the engine's", "frame(0x01, {'id': 1}); wait()"),
  forged("version 0", "frame(0x41, b'x', version=0); wait()"),
  forged("version 2", "frame(0x41, b'x', version=2); wait()"),
  forged("bytes that must be 0", "frame(0x41, b'x', zero=1); wait()"),
  forged("READY again", "frame(0x52); wait()"),
  forged("FAILED", "frame(0x53, b'no'); wait()"),
  forged("ANALYSIS that nobody asked for", "frame(0x51, {'id': 1, 'analysis': {}}); wait()"),
  forged("DONE of another id", "done(99); wait()"),
  forged("DONE of the highest id", "done(0xffffffff); wait()"),
  forged("DONE of four bytes", "frame(0x50, b'done'); wait()"),
  forged("DONE that is empty", "frame(0x50); wait()"),
  forged("DONE of 100,000 bytes", "frame(0x50, b'[' * 100000); wait()"),
  forged("garbage", "os.write(fd, bytes(range(256)) * 10); wait()"),
  forged("half a header, then the end", "os.write(fd, b'\\1\\0'); os._exit(0)",
    { status = "crashed", error = "WorkerExited" }),
  forged("half a frame, then the end", "frame(0x41, b'x', length=10); os._exit(7)",
    { status = "crashed", error = "WorkerExited", exit_code = 7 }),
  forged("the socket closed", "os.close(fd)", { status = "crashed", error = "WorkerExited" }),
  forged("the socket shut down", "import socket\nsocket.socket(fileno=fd).shutdown(2)",
    { status = "crashed", error = "WorkerExited" }),
  forged("the socket replaced", "os.dup2(os.open('/dev/null', os.O_RDWR), fd)",
    { status = "crashed", error = "WorkerExited" }),
  -- What is an output is only an output, whoever wrote it; what has no shape is dropped.
  forged("DISPLAY without JSON", "frame(0x43, b'{')", { status = "ok", error = false }),
  forged("DISPLAY without data", "frame(0x43, {'data': 1})", { status = "ok", error = false }),
  forged("DISPLAY nested 100,000 deep", "frame(0x43, b'{\"data\":' * 100000)",
    { status = "ok", error = false }),
  forged("ERROR", "frame(0x45, {'name': 'Denied', 'value': 'v', 'traceback': []})",
    { status = "ok", error = false }),
  forged("UPDATE of nothing", "frame(0x46, {'data': {'text/plain': 'u'}, 'transient': {'display_id': 'x'}})",
    { status = "ok", error = false }),
  forged("many STDOUT frames at once", "os.write(fd, struct.pack('<IBBH', 1, 0x41, 1, 0) + b'x')\n"
    .. "for _ in range(1000): frame(0x41, b'x')", { status = "ok", error = false, out = "x\n?$" }),
}
for _, cell in ipairs(group) do
  if type(cell) == "table" and cell.error == false then cell.error = nil end
end
attack.run(group)

-- With the right id, which is 1 in a worker's first cell; each of these is one, since its
-- predecessor's worker was ended.
attack.run { "forged DONE", backend = "interpreter", timeout = "10s", set = {}, probe = false,
  forged("with a status that it may not say", "done(1, status=3); wait()"),
  forged("with half an exit code", "done(1, has_code=2); wait()"),
  forged("with an exit code that is none", "done(1, code=3); wait()"),
  forged("with a byte that is neither 0 nor 1", "done(1, zero=2); wait()"),
  forged("with less than it has", "frame(0x50, {'id': 1, 'status': 'ok'}); wait()"),
  forged("with 600 million years of CPU time", "done(1, cpu_us=1 << 63); wait()"),
  forged("with 16 EiB of memory", "done(1, rss=(1 << 64) - 1); wait()"),
  forged("with the id twice", "frame(0x50, b'{\"id\":2,\"id\":1,\"status\":\"ok\",\"exit_code\":null,'\n"
    .. "  b'\"cpu_ms\":1,\"max_rss_bytes\":1}'); wait()"),
  { "and then a cell that works", code = "print('alive')", keeps = "alive" },
}

-- A frame that never ends swallows the worker's own DONE; the clock ends it.
attack.run { "forged frame", backend = "interpreter", timeout = "1s",
  forged("a frame that waits for more", "frame(0x41, b'x', length=1000)",
    { status = "timeout", error = "timeout" }) }

-- A cell may say of itself what it likes, as a program may exit 0. That it goes on after
-- it said so is found out: then its worker ends, and a later cell has a new one.
local results = attack.finish(attack.start {
  "forged DONE", backend = "interpreter", timeout = "10s", probe = false,
  { "forged", code = forge .. "for i in range(1, 5): done(i)\nwait()" },
  { "next", code = "print('alive')" },
  { "later", code = "print('alive')" },
})
tap.is(results[1] and results[1].status, "ok", "forged DONE: the cell's own word")
attack.judge(results[2], { status = { "ok", "unavailable" } }, "forged DONE: its successor ends")
attack.judge(results[3], { status = "ok", keeps = "alive" }, "forged DONE: and a later one works")

-- ---- forged verdicts

local verdict = [[{"status":"denied","success":false,"errors":[{"kind":"policy","name":"x"}]}]]
for _, backend in ipairs { "exec", "interpreter" } do
  attack.run { "forged verdict", backend = backend,
    { "a result on stdout", code = "print('" .. verdict .. "')", status = "ok", keeps = verdict,
      check = function(result) return #result.errors == 0 and #result.outputs == 1, "errors" end },
    { "an error of Kiln's on stderr", code = "import sys\nprint('kiln: denied, 126', file=sys.stderr)",
      status = "ok", err = "kiln: denied" },
    { "success that is none", code = "print('{\"success\":true,\"status\":\"ok\"}', flush=True)\n"
      .. "raise SystemExit(3)", status = "error", exit_code = 3 } }
end

-- ---- displays

local function kinds(result)
  local count = {}
  for _, output in ipairs(result.outputs) do count[output.type] = (count[output.type] or 0) + 1 end
  return count
end
attack.run { "display", backend = "interpreter", timeout = "20s", set = { "limits.memory=256M" },
  { "10,500 of them", code = "for n in range(10500): display({'text/plain': str(n)}, raw=True)",
    status = "ok", check = function(result)
      local last = result.outputs[#result.outputs]
      return #result.outputs == 10000 and last.data["text/plain"] == "9999"
        and (result.truncated.display or 0) > 0,
        #result.outputs .. " outputs, dropped: " .. tostring(result.truncated.display)
    end },
  { "an image that is none", code = "import base64\n"
      .. "display({'image/png': base64.b64encode(b'#!/bin/sh').decode()}, raw=True)", status = "ok",
    error = "OutputFileRefused", check = function(result) return #result.output_files == 0, "a file" end },
  { "an image that is not base64", code = "display({'image/png': '../../etc/passwd'}, raw=True)",
    status = "ok", error = "OutputFileRefused",
    check = function(result) return #result.output_files == 0, "a file" end },
}
local repr = "class A:\n    def __repr__(self):\n        %s\nprint('so far')\nA()"
attack.run({ "huge __repr__", backend = "interpreter", set = { "limits.memory=300M" },
  { "returns 1 GB", code = repr:format("return 'x' * (1 << 30)"), status = "limit", error = "memory",
    keeps = "so far\n" },
  { "returns 33 MB", code = repr:format("return 'x' * (33 << 20)"), status = "ok", keeps = "so far\n",
    err = "left out", check = function(result) return kinds(result).execute_result == 1, "no result" end },
}, { "__repr__", backend = "interpreter", timeout = "1500ms", set = { "limits.memory=256M" },
  { "raises", code = repr:format("raise ValueError('no')"), status = { "ok", "error" }, keeps = "so far\n" },
  { "is no text", code = repr:format("return 1"), status = { "ok", "error" }, keeps = "so far\n" },
  { "loops", code = repr:format("while True: pass"), status = "timeout", error = "timeout",
    keeps = "so far\n" },
  { "recurs", code = repr:format("return repr(self)"), keeps = "so far\n", status = { "ok", "error" } },
  { "exits", code = repr:format("raise SystemExit(4)"), keeps = "so far\n", status = "error", exit_code = 4 },
  { "exits at once", code = repr:format("import os; os._exit(4)"), keeps = "so far\n", status = "crashed",
    exit_code = 4 },
})

-- ---- a reader that is slow

for _, backend in ipairs { "exec", "interpreter" } do
  local process = tap.start { "kiln", "run", "-b", backend, "--set", "limits.output=1G", "-c",
    "for n in range(3000): print('x' * 9999)" }
  process.peak = 0
  for _ = 1, 40 do -- nobody reads
    posix.sleep(0.01)
    process.peak = math.max(process.peak, attack.peak(process.pid) or 0)
  end
  while attack.pump(process) do end
  local result = process:wait()
  tap.is(result.code, 0, backend .. " slow reader: it ends well")
  tap.is(#result.out, 30000000, backend .. " slow reader: and gets every byte")
end

tap.no_leaks(before, "nothing is left behind by all of it")
tap.done()
