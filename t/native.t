#!/usr/bin/env luajit
-- Native functions: C called from policies and from code, in helper processes. What real
-- libraries give is compared with what Python's own modules say.
package.path = "t/lib/?.lua;" .. package.path
local tap = require("tap")
local json = require("json")

local dir = tap.tempdir()
local object = tap.build .. "/t/plugins/functions.so"

local function write(name, text)
  local file = assert(io.open(dir .. "/" .. name, "w"))
  file:write(text)
  file:close()
  return dir .. "/" .. name
end

-- JSON again, of lists, to be compared.
local function text_of(value)
  if type(value) ~= "table" then
    return type(value) == "string" and ('"%s"'):format(value) or
      type(value) == "number" and ("%.15g"):format(value) or tostring(value)
  end
  local parts = {}
  for i, part in ipairs(value) do parts[i] = text_of(part) end
  return "[" .. table.concat(parts, ",") .. "]"
end

-- Functions of the test's own object: name = signature, or { signature, more lines }.
local function sections(functions, group)
  local text = {}
  for name, given in pairs(functions) do
    local signature, more = given, ""
    if type(given) == "table" then signature, more = given[1], given[2] end
    text[#text + 1] = ("[native %s%s]\nlibrary = %s\nsignature = %s\n%s\n"):format(group or "f.", name,
      object, signature, more)
  end
  return table.concat(text)
end

local function policy(body)
  write("mine.lua", body)
  return "[engine]\nbackend = noop\n[chain default]\npolicies = mine\n[policy mine]\nscript = " .. dir .. "/mine.lua\n"
end

-- Runs a policy whose `answer` is denied as JSON, and gives it decoded.
local function ask(body, ini, ...)
  local config = write("kiln.ini", policy(
    "return function(input, ctx, next)\nlocal native = kiln.native\nlocal answer = {}\n" .. body ..
    "\nreturn kiln.deny(kiln.json(answer))\nend") .. ini)
  local argv = { "kiln", "run", "--json", "--config", config, ... }
  argv[#argv + 1], argv[#argv + 2] = "-c", "1"
  local run = tap.run(argv)
  local ok, result = pcall(json.decode, run.out)
  local message = ok and result.errors and result.errors[1] and result.errors[1].message or run.err
  if ok and result.status == "denied" then return json.decode(message), result end
  return message, ok and result
end

local function python(code)
  local run = tap.run { "/usr/bin/python3", "-c", code }
  if run.code ~= 0 then tap.diag(run.err) end
  return run.out
end

-- ------------------------------------------------------------------- real libraries

local libraries = tap.read("conf/native.ini") .. [[
[native zlib.version]
library = libz.so.1
symbol = zlibVersion
signature = string()
[native math.cbrtf]
library = libm.so.6
signature = float(float)
]]

local answer = ask([[
local text = ("kiln "):rep(1000)
local _, packed = native.zlib.compress2(8192, text, 9)
local _, unpacked = native.zlib.uncompress(5000, packed)
answer = { native.zlib.crc32(0, text), native.zlib.adler32(1, text), #packed, unpacked == text,
  native.zlib.version(), native.math.hypot(3, 4.5), { native.math.frexp(10) }, native.math.cbrtf(2),
  { native.math.log(0.5) }, select(2, native.math.log(-1)), kiln.sha256(packed) }
local function hex(s) return (s:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end
local _, sha = native.sodium.sha256(text)
local _, blake = native.sodium.blake2b(48, text, "a key of sixteen")
answer[#answer + 1] = hex(sha)
answer[#answer + 1] = hex(blake)
answer[#answer + 1] = native.qsort({ 5, -3, 9, 0 }, 4, function(a, b) return a[1] - b[1] end)
answer[#answer + 1] = native.ldiv(-17, 5)
]], libraries)
local expected = json.decode(python([==[
import ctypes, ctypes.util, hashlib, json, math, zlib
text = b"kiln " * 1000
packed = zlib.compress(text, 9)
f = ctypes.CDLL("libm.so.6").cbrtf
f.restype, f.argtypes = ctypes.c_float, [ctypes.c_float]
print(json.dumps([zlib.crc32(text), zlib.adler32(text, 1), len(packed), True, zlib.ZLIB_RUNTIME_VERSION,
  math.hypot(3, 4.5), list(math.frexp(10)), f(2), [math.log(0.5), 0], 33, hashlib.sha256(packed).hexdigest(),
  hashlib.sha256(text).hexdigest(), hashlib.blake2b(text, digest_size=48, key=b"a key of sixteen").hexdigest(),
  sorted([5, -3, 9, 0]), [-3, -2]]))
]==]))
local names = { "zlib crc32", "zlib adler32", "length of compress2", "uncompress", "zlib version", "libm hypot",
  "libm frexp: an out parameter", "libm cbrtf: float", "errno of what went well", "EDOM of log(-1)",
  "the very bytes of compress", "libsodium sha256: out bytes[32]", "libsodium blake2b: out bytes",
  "libc qsort with a function of the policy", "libc ldiv: a struct by value" }
for i, name in ipairs(names) do
  tap.is(text_of(type(answer) == "table" and answer[i] or answer), text_of(expected[i]),
    name .. ": as Python has it")
end

-- Code calls them, too, and Python itself is what they are compared with.
local calls = write("same.py", [==[
from kiln import native
import hashlib, math, zlib
text = b"kiln " * 1000
code, packed = native.zlib.compress2(8192, text, 9)
print([code, packed == zlib.compress(text, 9), native.zlib.uncompress(5000, packed) == (0, text),
  native.zlib.crc32(7, text) == zlib.crc32(text, 7), native.zlib.adler32(1, text) == zlib.adler32(text),
  native.math.frexp(10.0) == math.frexp(10.0), native.math.hypot(3, 4.5) == math.hypot(3, 4.5),
  native.math.log(0.5) == (math.log(0.5), 0), native.math.log(-1.0)[1],
  native.sodium.sha256(text)[1] == hashlib.sha256(text).digest(),
  native.sodium.blake2b(48, text, b"k" * 16)[1] == hashlib.blake2b(text, digest_size=48, key=b"k" * 16).digest(),
  native.sodium.blake2b(32, text, b"")[1] == hashlib.blake2b(text, digest_size=32).digest(), native.ldiv(-17, 5)])
]==])
local called = tap.run { "kiln", "run", "--config", "conf/native.ini", calls }
tap.is(called.out, "[0, True, True, True, True, True, True, True, 33, True, True, True, [-3, -2]]\n",
  "conf/native.ini: what code calls is what Python has")
tap.is(called.err, "", "and nothing is complained of")
tap.is(tap.run({ "kiln", "check", "--config", "conf/native.ini" }).code, 0, "kiln check finds all of it")

-- ------------------------------------------------------------------- every shape

local shapes = sections {
  add8 = "int8(int8, int8)", widest = "uint64()", echo64 = "int64(int64)", counter = "int32()",
  mixed = "uint16(uint8, int16, uint32, float, double, bool)", negate = "bool(bool)",
  mirror = "{int8, double, {float, uint16}}({int8, double, {float, uint16}})",
  move_point = "void(inout {int8, double, {float, uint16}}, double)",
  fail_with = "int32(int32) errno", nothing = "string()",
  put_text = "uint64(out bytes&, string)", sum = "double(double[])", twice = "void(inout int32[])",
  narrow = "uint32(bytes:uint8)", fold = "int64(int32[], callback int64(int64, int32))",
  each_word = "void(string, callback void(null, string), null)",
  crash = "void()", hang = { "void()", "timeout = 300ms" }, leave = "void()", smash = "void(uint32)",
  eat = { "int32(uint64)", "memory = 32M" }, from_thread = "int32(callback int32(int32))",
  reach_out = "int32(string)", missing = "void()", forge = "int32(bytes)",
} .. "[native nolibrary]\nlibrary = libdoes-not-exist.so.9\nsignature = void()\n" ..
  "[native off]\nlibrary =\nsignature = void()\n[native coded]\nlibrary = " .. object ..
  "\nsymbol = add8\nsignature = int8(int8, int8)\nexpose = code\n"

-- Each line is an expression: its values, or the error that it raises.
local function try(lines, more)
  local body = {}
  for i, line in ipairs(lines) do
    body[i] = ("answer[%d] = { pcall(function() local f = native.f return %s end) }"):format(i, line)
  end
  local got = ask(table.concat(body, "\n"), shapes .. (more or ""))
  if type(got) ~= "table" then tap.diag(tostring(got)) return {} end
  return got
end

local function values(got) return got and text_of(got) or "nothing" end

local got = try {
  "f.add8(-100, 27)", "f.widest()", "f.echo64('-9223372036854775808')", "f.echo64(f.echo64('9007199254740993'))",
  "f.mixed(1, -2, 3, 4.5, 5.5, true)", "f.negate(false)", "f.mirror({ 1, 2.5, { 0.5, 7 } })",
  "f.move_point({ 1, 2.5, { 0.5, 7 } }, 3)", "f.fail_with(2)", "f.nothing()", "f.put_text(4, 'abcdefg')",
  "f.put_text(100, 'abc')", "f.sum({ 1, 2.5, 3 })", "f.sum({})", "f.twice({ 1, -2 })", "f.narrow('abc')",
  "f.fold({ 1, 2, 3 }, function(all, n) return all + n * n end)",
  "(function() local w = {} f.each_word('a bc d', function(x) w[#w + 1] = x end) return w end)()",
  "f.counter(), f.counter()",
}
local want = { "[true,-73]", '[true,"18446744073709551615"]', '[true,"-9223372036854775808"]', '[true,"9007199254740993"]',
  "[true,12]", "[true,true]", "[true,[-1,-2.5,[1,8]]]", "[true,[1,5.5,[0.5,7]]]", "[true,-1,2]", "[true]",
  '[true,7,"abcd"]', '[true,3,"abc"]', "[true,6.5]", "[true,0]", "[true,[2,-4]]", "[true,99]", "[true,14]",
  '[true,["a","bc","d"]]', "[true,1,2]" }
for i, text in ipairs(want) do
  tap.is((values(got[i]):gsub("%.0([^%d])", "%1")), text, "shape " .. i .. ": " .. text)
end

-- ------------------------------------------------------------------- what is refused

local refused = {
  { "f.add8(100, 1000)", "NativeOverflow: native f.add8: argument 2: 1000 does not fit in int8" },
  { "f.add8(1)", "NativeType: native f.add8: 2 arguments expected, got 1" },
  { "f.add8(1, 2, 3)", "2 arguments expected, got 3" },
  { "f.add8(1, 2.5)", "argument 2: int8 expected, got a number" },
  { "f.add8(1, '2')", "argument 2: int8 expected, got bytes" },
  { "f.echo64('9223372036854775808')", "does not fit in int64" },
  { "f.mixed(-1, 0, 0, 0, 0, true)", "argument 1: -1 does not fit in uint8" },
  { "f.mixed(0, 0, 0, 1e300, 0, true)", "argument 4: 1e+300 does not fit in float" },
  { "f.mixed(0, 0, 0, 0, 0, 1)", "argument 6: bool expected, got an integer" },
  { "f.negate(nil)", "bool expected, got nothing" },
  { "f.sum({ 1, 'x' })", "argument 1: number 2: double expected, got bytes" },
  { "f.sum(1)", "argument 1: a list of double expected, got an integer" },
  { "f.mirror({ 1, 2, { 3 } })", "argument 1: member 3: a struct of 2 members expected, got 1" },
  { "f.narrow(('x'):rep(256))", "256 does not fit in uint8" },
  { "f.put_text(4, 'a\\0b')", "a string that holds a NUL" },
  { "f.put_text(1e9, 'a')", "room for more than 8 MiB" },
  { "f.fold({ 1 }, 1)", "a function expected, got an integer" },
  { "f.fold({ 1 }, function() return 'x' end)", "a number, bool or nothing expected" },
  { "f.fold({ 1 }, function() return 0.5 end)", "int64 expected, got a number" },
  { "f.fold({ 1 }, function() error('mine') end)", "mine.lua:%d+: mine" },
  { "f.fold({ 1 }, function() kiln.sleep(1) end)", "not possible here" },
  { "f.fold({ 1 }, function() while true do end end)", "ran longer than" },
  { "f.add8(1, {})", "int8 expected, got a list" },
  { "f.add8(1, print)", "argument 2: int8 expected, got a function" },
  { "f.missing()", "NativeError: native f.missing: library .- has no function missing" },
  { "native.nolibrary()", "NativeError: native nolibrary: library: libdoes%-not%-exist.so.9" },
  { "native.off()", "kiln.native has no 'off'" },
  { "native.coded(1, 2)", "kiln.native has no 'coded'" },
  { "native.nowhere.x", "kiln.native has no 'nowhere'" },
  { "f.nowhere()", "kiln.native has no 'f.nowhere'" },
  { "rawset(native, 'x', 1)", "" },
}
local lines = {}
for i, entry in ipairs(refused) do lines[i] = entry[1] end
got = try(lines)
for i, entry in ipairs(refused) do
  local said = values(got[i]):gsub('\\"', '"')
  tap.ok(said:find(entry[2], 1, true) or said:find(entry[2]), "refused: " .. entry[1] .. ": " .. entry[2])
end

-- ------------------------------------------------------------------- a helper that dies

got = try {
  "f.counter()", "f.crash()", "f.counter()", "f.leave()", "f.hang()", "f.counter()", "f.smash(64)",
  "f.eat(600 * 1024 * 1024)", "f.add8(1, 2)",
  "f.from_thread(function() return 7 end)", "f.reach_out('/etc/passwd'), f.reach_out('" .. dir .. "')",
}
tap.is(values(got[1]), "[true,1]", "a helper lives from call to call")
tap.like(values(got[2]), "NativeCrashed: native f.crash: its helper process died of signal 11 %(SIGSEGV%)", "one that crashes: named")
tap.is(values(got[3]), "[true,1]", "the next call gets another")
tap.like(values(got[4]), "NativeCrashed: native f.leave: its helper process died: it called exit", "one that exits: named")
tap.like(values(got[5]), "NativeTimeout: native f.hang: no answer within 300 ms", "one that hangs: ended")
tap.is(values(got[6]), "[true,1]", "and started again")
tap.like(values(got[7]), "NativeCrashed", "one that corrupts its memory costs that process")
tap.like(values(got[8]), "NativeLimit: native f.eat: its helper process reached its limit of memory", "one that eats memory: named")
tap.is(values(got[9]), "[true,3]", "and nothing else suffers")
tap.like(values(got[10]), "thread of its own", "a function that C calls from another thread is refused")
tap.like(values(got[11]), "%[true,%d,0%]", "a helper is confined: it sees nothing of this machine's")

-- One that speaks to the engine in its helper's place: the first request's id is 1.
local function lua(text) return ("'%s'"):format((text:gsub(".", function(c) return ("\\%03d"):format(c:byte()) end))) end
local function frame(kind, payload)
  return string.char(#payload, 0, 0, 0, kind, 1, 0, 0) .. payload
end
local function result_of(value) return frame(0x44, "\8\2\0\0\0\2\8\1\0\0\0" .. value) end
local DONE = frame(0x50, "\1\0\0\0" .. ("\0"):rep(20))
got = try {
  "f.forge(" .. lua(result_of("\3\5\0\0\0\0\0\0\0") .. DONE) .. ")",
  "f.crash()", "f.forge(" .. lua(result_of("\6\1\0\0\0x") .. DONE) .. ")",
  "f.crash()", "f.forge(" .. lua(result_of("\3\5\0\0\0\1\0\0\0") .. DONE) .. ")",
  "f.crash()", "f.forge(" .. lua(frame(0x44, "\8\255\255\255\255") .. DONE) .. ")",
  "f.crash()", "f.forge(" .. lua(frame(0x44, "\6\255\0\0\0x") .. DONE) .. ")",
  "f.crash()", "f.forge(" .. lua(frame(0x55, "\1\0\0\0\1\0\0\0\8\3\0\0\0\3\0\0\0\0\0\0\0\0\9\0\0\0\0\8\0\0\0\0")) .. ")",
  "f.crash()", "f.forge(" .. lua(frame(0x55, "\2\0\0\0\1\0\0\0\8\0\0\0\0")) .. ")",
  "f.add8(1, 2)",
}
tap.is(values(got[1]), "[true,5]", "forged: a right answer is as good as the helper's")
tap.like(values(got[3]), "a wrong answer: int32 expected, got text", "forged: an answer of another type")
tap.like(values(got[5]), "4294967301 does not fit in int32", "forged: one that does not fit")
tap.like(values(got[7]), "a wrong answer: a list of more values", "forged: a list beyond its end")
tap.like(values(got[9]), "a wrong answer: bytes beyond its end", "forged: bytes beyond their end")
tap.like(values(got[11]), "a wrong callback: a callback that there is not", "forged: a callback that was not given")
tap.like(values(got[13]), "NativeCrashed: native f.forge: its helper process died: bad frame: CALL", "forged: a call of another request")
tap.is(values(got[14]), "[true,3]", "forged: the next helper is asked as ever")

-- Awaiting one blocks nobody: an execution that is cancelled meanwhile ends, and so does the helper.
local config = write("kiln.ini", policy([[
return function(input, ctx, next)
  kiln.log("info", "C is called")
  kiln.native.f.hang()
  return next(input)
end]]) .. "[native f.hang]\ntimeout = 60s\nsignature = void()\nlibrary = " .. object .. "\n")
local waiting = tap.start { "kiln", "run", "--json", "--set", "engine.log_level=info", "--config", config, "-c", "1" }
waiting:wait_for("C is called", "err")
waiting:kill(2)
local ended = waiting:wait()
local ok, result = pcall(json.decode, ended.out)
tap.is(ok and result.status, "interrupted", "cancelled while C hangs: the execution ends at once")

-- ------------------------------------------------------------------- code

local native = require("native")
local function words(...)
  local argv = { "kiln", ... }
  for _, word in ipairs(native.settings(dir)) do argv[#argv + 1], argv[#argv + 2] = "--set", word end
  return argv
end

local script = write("calls.py", native.code)
local argv = words("run", "--json", "-b", "interpreter")
argv[#argv + 1] = script
local run = tap.run(argv)
local ok, result = pcall(json.decode, run.out)
if not ok then tap.diag(run.err) end
tap.is(ok and (result.stdout:gsub("failed: [^ ]*watch.lua", "failed: watch.lua")), native.out, "code calls what is exposed to it")
tap.is(ok and result.decisions[1] and result.decisions[1].policy .. " " .. result.decisions[1].detail,
  "watch zlib.crc32 6000", "past the chain's on_call")

local notebook = write("n.ipynb", require("attack").notebook("python", { native.hanging, native.after }))
argv = words("run", "--json", "-b", "interpreter", "--keep-going", "--timeout", "3s", "-o", dir .. "/out")
argv[#argv + 1] = notebook
run = tap.run(argv)
ok, result = pcall(json.decode, run.out)
local first, second = ok and result.results[1] or {}, ok and result.results[2] or {}
tap.is(first.status, "timeout", "a cell that waits for C is interrupted")
tap.is(second.stdout, "42\n", "and keeps its state; the next call gets another helper")

-- A plugin's own functions, in the same words.
write("kiln.ini", policy("return function() return kiln.deny(tostring(kiln.native.functions.add(2, 3))) end"))
run = tap.run { "kiln", "run", "--json", "--config", dir .. "/kiln.ini", "--set", "engine.backends=noop functions",
  "--set", "backend functions.plugin=" .. object, "-c", "1" }
ok, result = pcall(json.decode, run.out)
tap.is(ok and result.errors[1] and result.errors[1].message or run.err, "5", "a plugin exports functions")
run = tap.run { "kiln", "run", "--config", dir .. "/kiln.ini", "--set", "engine.backends=noop functions",
  "--set", "backend functions.plugin=" .. object, "--set", "native.functions.library=libz.so.1",
  "--set", "native.functions.signature=void()", "-c", "1" }
tap.like(run.err, "there is functions already", "two of one name are refused")

-- ------------------------------------------------------------------- kiln check

local function check(text)
  return tap.run { "kiln", "check", "--config", write("check.ini", text) }
end
local cases = {
  { "uint64(uint64, bytez)", "column 16: unknown type \"bytez\", did you mean \"bytes\"?" },
  { "int32(int32", "column 12: \")\" expected or \",\" after a type, and it ends here" },
  { "int32 int32)", "column 7: \"(\" expected after the result's type, not \"i\"" },
  { "int32(void)", "column 7: void is for results" },
  { "bytes(int32)", "column 1: bytes are for parameters; as a result, bytes[N]" },
  { "int32(out string)", "column 7: string is for what goes in" },
  { "int32(bytes[0])", "column 13: a number from 1 to 1048576 expected" },
  { "int32(bytes&)", "column 12: \"&\" is for the length of out bytes" },
  { "int32(bytes:float)", "column 13: an integer type for the length" },
  { "int32(callback string(int32))", "a callback gives a number, a bool or void" },
  { "int32() errnr", "column 9: the end, or errno, expected" },
  { "{int32,bytes}()", "column 8: bytes are for parameters" },
}
for _, case in ipairs(cases) do
  local run = check("[native x]\nlibrary = libz.so.1\nsignature = " .. case[1] .. "\n")
  tap.is(run.code, 2, "kiln check: " .. case[1])
  tap.ok((run.out .. run.err):find("check.ini:3: signature", 1, true) and (run.out .. run.err):find(case[2], 1, true),
    "points at it: " .. case[2])
end
local odd = check("[native 9x]\nlibrary = a\nsignature = void()\n")
tap.like(odd.out .. odd.err, "no name for a native function", "a name that is none")
local there = check("[native x]\nlibrary = libz.so.1\nsymbol = crc32\nsignature = uint64(uint64, bytes)\n" ..
  "[native y]\nlibrary = libz.so.1\nsignature = void()\n[native z]\nlibrary = /dev/null\nsignature = void()\n")
tap.like(there.out, "native functions\n  ok       x +uint64", "kiln check shows the functions")
tap.like(there.out, "FAULT    y +native y: library libz.so.1 has no function y", "and looks for each in its library")
tap.like(there.out, "FAULT    z +native z: library /dev/null: no file", "which must be a file")
tap.is(there.code, 2, "or the configuration is at fault")
tap.like(check("[native x]\nlibrary = libz.so.1\n").err .. check("[native x]\nlibrary = libz.so.1\n").out, "signature", "a signature is needed")
tap.done()
