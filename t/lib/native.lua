-- native.lua: native functions as code calls them; the same code and the same answers in an
-- interpreter session (t/native.t) and in a container (t/container.t).
local tap = require("tap")
local native = {}

-- The settings, as words of `--set`; what a policy refuses is in `dir`.
function native.settings(dir)
  local object = tap.build .. "/t/plugins/functions.so"
  local watch = tap.write(dir .. "/watch.lua", [[
return { on_call = function(call, ctx)
  if call.name == "zlib.crc32" then ctx:decide("call", call.name .. " " .. #call.arguments[2]) end
  if call.arguments[2] == "no" then return false, "not that" end
  if call.arguments[2] == "broken" then error("mine") end
end }
]])
  local words = { "chain.default.policies=watch", "policy.watch.script=" .. watch }
  local function add(name, library, symbol, signature, expose)
    for key, value in pairs { library = library, symbol = symbol, signature = signature,
      expose = expose or "code", timeout = "20s" } do
      words[#words + 1] = ("native.%s.%s=%s"):format(name, key, value)
    end
  end
  add("zlib.crc32", "libz.so.1", "crc32", "uint64(uint64, bytes)")
  add("hidden", "libz.so.1", "crc32", "uint64(uint64, bytes)", "policy")
  add("sha256", "libsodium.so.23", "crypto_hash_sha256", "int32(out bytes[32], bytes)")
  add("hypot", "libm.so.6", "hypot", "double(double, double)")
  for name, signature in pairs { add8 = "int8(int8, int8)", echo64 = "int64(int64)", widest = "uint64()",
    put_text = "uint64(out bytes&, string)", nothing = "string()", sum = "double(double[])",
    fail_with = "int32(int32) errno", crash = "void()", hang = "void()",
    fold = "int64(int32[], callback int64(int64, int32))" } do
    add("f." .. name, object, name, signature)
  end
  return words
end

native.code = [==[
from kiln import native
import array, hashlib, math, os, threading, zlib
text = b"kiln\0 " * 1000
def same(*pair):
    print("same" if pair[0] == pair[1] else pair)
def fails(f, *arguments):
    try:
        print("no failure:", f(*arguments))
    except Exception as error:
        kinds = (OverflowError, TypeError, AttributeError, PermissionError, RuntimeError)
        print([kind.__name__ for kind in kinds if isinstance(error, kind)][0], error)
same(native.zlib.crc32(0, text), zlib.crc32(text))
same(native.zlib.crc32(0, memoryview(bytearray(text))), zlib.crc32(text))
same(native.sha256(text), (0, hashlib.sha256(text).digest()))
same(native.hypot(3, 4.5), math.hypot(3, 4.5))
same(native.f.echo64(-2**63), -2**63)
same(native.f.widest(), 2**64 - 1)
same(native.f.put_text(10, "na\u00efve"), (6, "na\u00efve".encode()))
same(native.f.nothing(), None)
same(native.f.sum(array.array("d", [1, 2.5])), 3.5)
same(native.f.fail_with(13), (-1, 13))
fails(native.f.add8, 100, 1000)
fails(native.f.add8, 1, 2.0)
fails(native.f.add8, 1 << 70, 2)
fails(native.f.add8, 1)
fails(native.hidden, 0, b"")
fails(native.nowhere.x)
fails(native.zlib.crc32, 0, b"no")
fails(native.zlib.crc32, 0, b"broken")
fails(native.f.fold, [1], max)
fails(native.f.add8, object(), 2)
fails(native.f.crash)
same(native.f.add8(1, 2), 3)
thread = threading.Thread(target=fails, args=(native.f.add8, 1, 2))
thread.start()
thread.join()
if os.fork() == 0:
    try:
        native.f.add8(1, 2)
    except RuntimeError:
        os._exit(7)
    os._exit(0)
same(os.wait()[1] >> 8, 7)
]==]

native.out = [[
same
same
same
same
same
same
same
same
same
same
OverflowError NativeOverflow: native f.add8: argument 2: 1000 does not fit in int8
TypeError NativeType: native f.add8: argument 2: int8 expected, got a number
OverflowError NativeOverflow: an integer of more than 64 bits
TypeError NativeType: native f.add8: 2 arguments expected, got 1
AttributeError NativeUnknown: no native function "hidden"; add a section [native hidden]
AttributeError NativeUnknown: no native function "nowhere.x"; add a section [native nowhere.x]
PermissionError NativeDenied: policy watch: not that
PermissionError NativeDenied: policy watch failed: watch.lua:4: mine
TypeError NativeType: a function can be given by a policy only
TypeError NativeType: object cannot be given to C
RuntimeError NativeCrashed: native f.crash: its helper process died of signal 11 (SIGSEGV)
same
RuntimeError only the thread that runs the cell, in its own process, can call
same
]]

-- Interrupted in C: the state stays, and the next call is answered.
native.hanging = [[
from kiln import native
kept = 41
print("calling", flush=True)
native.f.hang()]]
native.after = "print(kept + native.f.add8(1, 0))"

return native
