#!/usr/bin/env luajit
-- [sandbox] root: a folder's system in place of this machine's; what can be used as one.
local tap = require("tap")
local json = require("json")
local ffi = require("ffi")
local posix = tap.posix
ffi.cdef [[ int chown(const char *, unsigned, unsigned); ]]

local UID = 65534 -- an ordinary user that every machine has
local is_root = ffi.C.getuid() == 0
local before = tap.snapshot()
local top = tap.tempdir()
posix.chmod(top)

-- A busybox and no more; links that lead out of it, were they followed as the host's.
local made = tap.run { "sh", "-c", [[set -e; mkdir -p "$1/bin" "$1/etc" "$1/usr" "$1/opt/here" "$1/srv/secret"
  cp /usr/bin/busybox "$1/bin/busybox"; for name in sh ls cat id touch dd; do ln -s busybox "$1/bin/$name"; done
  echo 'ID=an-image' >"$1/etc/os-release"; echo none >"$1/etc/shadow"; echo image-host >"$1/etc/hostname"
  ln -s ../../../../../../etc/passwd "$1/etc/timezone"; ln -s /proc/self/root/etc/passwd "$1/etc/magic"
  ln -s /home "$1/lib"; ln -s /dev/zero "$1/etc/services"; mkfifo "$1/etc/protocols"
  ln -s /etc "$1/etc/fonts"; chmod -R go+rX "$1"]], "sh", top .. "/busybox" }
if not tap.is(made.code, 0, "an image of busybox") then tap.diag(made.err) end

local runtime = { "-s", "runtime ash.extensions=.ash", "-s", "runtime ash.run=/bin/sh {file}" }

local function kiln(spec, ...)
  local argv = {}
  if spec.user then
    argv = { "setpriv", "--reuid=" .. UID, "--regid=" .. UID, "--clear-groups" }
  end
  argv[#argv + 1] = spec.kiln or "kiln"
  for _, word in ipairs { ... } do argv[#argv + 1] = word end
  argv[#argv + 1] = "-s"
  argv[#argv + 1] = "sandbox.root=" .. spec.root
  for _, word in ipairs(spec.more or {}) do argv[#argv + 1] = word end
  return tap.run { argv = argv, cwd = spec.cwd or top, env = spec.env }
end

local look = [[
. /etc/os-release; echo "$ID"
for folder in / /etc /dev /opt; do echo "$folder:" $(ls "$folder"); done
cat /etc/timezone /etc/magic /etc/services /etc/protocols /etc/shadow /etc/hostname 2>/dev/null
for path in /x /bin/x /usr/x /etc/x /opt/here/x /dev/x; do touch $path 2>/dev/null && echo "written: $path"; done
echo mine >/work/mine && cat /work/mine
dd if=/dev/zero of=/work/fill bs=64k 2>/dev/null || echo full]]

local function judge(name, ran)
  local function has(text, what)
    if not tap.contains(ran.out, text, name .. what) then tap.diag(ran.err) end
  end
  has("an-image\n", ": the image's os-release")
  has("\n/: bin code dev etc home lib opt proc run tmp usr var work\n", ": its folders and Kiln's own")
  has("\n/etc: fonts group hosts mtab nsswitch.conf os-release passwd resolv.conf ssl timezone\n",
    ": of its /etc what programs need")
  has("\n/dev: fd full null random shm stderr stdin stdout urandom zero\n", ": this machine's devices")
  has("\n/opt: here\n", ": and /opt")
  tap.unlike(ran.out, "/root:", name .. ": its links do not lead to this machine's files")
  tap.unlike(ran.out, "written:", name .. ": nothing of it can be written")
  has("mine\nfull\n", ": but the work directory, which is bounded")
end

local spec = { root = top .. "/busybox", more = runtime }
local words = { "run", "-b", "exec", "-l", "ash", "-s", "limits.disk=1M", "-c", look }
-- Its own absolute links stay inside: /etc/timezone is the image's /etc/passwd, which is
-- not there; what is copied may only be that.
tap.write(top .. "/busybox/etc/passwd", "image:x:7:7::/:\n")
posix.chmod(top .. "/busybox/etc/passwd", 420)
local ran = kiln(spec, unpack(words))
judge("exec", ran)
tap.contains(ran.out, "image:x:7:7::/:\n", "exec: a link of the image leads to the image's file")
tap.is(tap.run { "sh", "-c", "find \"$1\" -newer \"$1/etc/passwd\" | head", "sh", top .. "/busybox" }.out, "",
  "exec: the image is as it was")

-- One program that asks for others: an image's own names, found as code finds them.
local check = kiln(spec, "check", "--json")
local report = json.decode(check.out)
tap.is(check.code, 125, "kiln check: an image without Python is no home for the interpreter")
for _, plugin in ipairs(report.plugins) do
  if plugin.name == "interpreter" then
    tap.like(tostring(plugin.error), "no /usr/lib/python3%.%d+ %(no Python 3 at all%).*libpython3%.%d+%-stdlib",
      "kiln check: and says what is missing")
  else
    tap.is(plugin.error, json.null, "kiln check: " .. plugin.name .. " can be used")
  end
end
tap.is(report.root, spec.root, "kiln check: the root")
for _, runs in ipairs(report.runtimes) do
  if runs.language == "ash" then tap.is(runs.program, "/bin/sh", "kiln check: a program of the image") end
  if runs.language == "python" then tap.is(runs.available, false, "kiln check: one that it has not") end
end
ran = kiln(spec, "run", "--json", "-b", "interpreter", "-c", "print(1)")
local result = json.decode(ran.out) or {}
tap.is(result.status, "unavailable", "interpreter without its library: unavailable")
tap.like(ran.out, "needs its standard library", "interpreter without its library: says so")
ran = kiln(spec, "run", "-b", "exec", "-l", "c", "-c", "int main(void) { return 0; }")
tap.like(ran.err, "gcc: No such file", "exec: a compiler that is not there is told")
ran = kiln(spec, "check")
tap.like(ran.out, "root +" .. spec.root:gsub("%p", "%%%0") .. "\n", "kiln check: for people, too")

-- ---- an image with Python: as much of this machine's as python3 needs

local version = tap.run { "/usr/bin/python3", "-c",
  "import sys; print('%d.%d' % sys.version_info[:2])" }.out:gsub("%s", "")
made = tap.run { "sh", "-c", [[set -e; mkdir -p "$1/usr/bin" "$1/usr/lib" "$1/etc"; cp /usr/bin/python3 "$1/usr/bin/python3"
  mkdir "$1/usr/lib/python$2"; cd "/usr/lib/python$2"; tar --exclude=./test --exclude='./config-*' --exclude=./dist-packages \
    --exclude=./idlelib --exclude=./lib2to3 --exclude=./__pycache__ -cf - . | tar -C "$1/usr/lib/python$2" -xf -
  ldd /usr/bin/python3 | sed -n 's/.*\(=> \|^\t\)\(\/[^ ]*\) (.*/\2/p' | while read -r library; do
    mkdir -p "$1$(dirname "$library")"; cp -L "$library" "$1$library"; done
  mkdir -p "$1/usr/lib/python$2/dist-packages"; echo "where = 'image'" >"$1/usr/lib/python$2/image_only.py"
  chmod -R go+rX "$1"]], "sh", top .. "/python", version }
if not tap.is(made.code, 0, "an image of python3") then tap.diag(made.err) end
local python = { root = top .. "/python", more = { "-s", "chain.default.policies=" } }
local code = "import image_only, json, os\nprint(image_only.where, json.dumps({}), os.path.exists('/bin/sh'), os.path.exists('/usr/bin/env'))"
for _, backend in ipairs { "exec", "interpreter" } do
  ran = kiln(python, "run", "-b", backend, "-c", code)
  tap.is(ran.out, "image {} False False\n", backend .. ": runs on the image's library, and has no other program")
  if ran.code ~= 0 then tap.diag(ran.err) end
end
check = json.decode(kiln(python, "check", "--json").out)
for _, plugin in ipairs(check.plugins) do
  tap.is(plugin.error, json.null, "kiln check: with Python " .. plugin.name .. " can be used")
end
tap.run { "sh", "-c", "mv \"$1/usr/lib/python$2\" \"$1/usr/lib/python3.99\"", "sh", top .. "/python", version }
ran = kiln(python, "run", "-b", "interpreter", "-c", "print(1)")
tap.like(ran.err, "it has /usr/lib/python3%.99", "a library of another version is told")
tap.is(ran.code, 125, "and nothing runs on it")

-- ---- what is no root

local function refused(name, root, pattern, more)
  local run = kiln({ root = root }, "run", "-b", "exec", "-c", "print('ran')")
  if not tap.ok(run.code ~= 0 and run.out == "" and run.err:find("^kiln: [^\n]*\n$") and run.err:find(pattern),
    name .. ": refused in one line") then
    tap.diag(run.err)
  end
  local report_ = kiln({ root = root }, "check")
  tap.ok(report_.code ~= 0 and report_.out:find(pattern), name .. ": and kiln check says so")
  if more then more() end
end
refused("absent", top .. "/nowhere", "root: [^\n]*/nowhere: No such file")
refused("a file", tap.write(top .. "/file", "x"), "root: [^\n]*/file: Not a directory")
posix.chmod(top .. "/busybox/bin", 511)
refused("written by everybody", top .. "/busybox", "busybox/bin can be written by everybody.*chmod o%-w")
posix.chmod(top .. "/busybox/bin")
ffi.C.mkdir(top .. "/empty", 493)
refused("nothing in it", top .. "/empty", "neither /usr nor /bin.*debootstrap")
refused("too long", "/" .. ("n/"):rep(1500), "longer than 1023 bytes")
if is_root then
  posix.chmod(top .. "/busybox/bin", 448)
  refused("closed to sessions", top .. "/busybox", "busybox/bin cannot be read by.*chmod o%+rx")
  posix.chmod(top .. "/busybox/bin")
  ffi.C.chown(top .. "/busybox", 1900000005, 0)
  refused("a session's own", top .. "/busybox", "busybox belongs to one of the users.*chown")
  ffi.C.chown(top .. "/busybox", 0, 0)
else
  tap.skip("only root gives sessions users of their own", 4)
end

-- ---- as an ordinary user

if not is_root then
  tap.skip("an ordinary user tests already", 9)
elseif tap.run { "setpriv", "--reuid=" .. UID, "--regid=" .. UID, "--clear-groups", "unshare", "--user", "true" }.code ~= 0 then
  tap.skip("no user namespaces for an ordinary user", 9)
else
  local copied = tap.run { "sh", "-c", [[set -e; mkdir -p "$1/kiln/build"; cd "$1/kiln"; cp "$2" build/kiln
    mkdir build/plugins; cp "$3"/plugins/*.so "$3"/plugins/*.worker build/plugins/
    cp -r "$4/conf" "$4/scripts" .; chmod -R a+rX .; chown -R "$5:$5" "$1/busybox"; mkdir "$1/home"; chown "$5:$5" "$1/home"]],
    "sh", top, tap.kiln, tap.kiln:match("^(.*)/"), tap.root, UID }
  if not tap.is(copied.code, 0, "kiln for an ordinary user") then tap.diag(copied.err) end
  judge("ordinary user", kiln({ root = top .. "/busybox", more = runtime, user = true,
    kiln = top .. "/kiln/build/kiln", cwd = top .. "/home", env = { HOME = top .. "/home" } }, unpack(words)))
end

tap.no_leaks(before, "nothing is left behind")
tap.done()
