#!/usr/bin/env luajit
-- The container backend against an engine of our own that is absent, refuses, hangs, closes,
-- or answers wrongly at each step of a session: one clear line, and kiln goes on. Also the
-- configuration, which needs no engine at all.
local tap = require("tap")
local json = require("json")
local posix = tap.posix
local before = tap.snapshot()
local dir = tap.tempdir()

local function words(socket, more)
  local argv = { "kiln", "run", "--json", "-b", "container", "-s",
    "engine.backends=exec container", "-s", "engine.backend=exec", "-s",
    "backend container.pull=never" }
  if socket then
    argv[#argv + 1] = "-s"
    argv[#argv + 1] = "backend container.socket=" .. socket
  end
  for _, word in ipairs(more or { "-l", "bash", "-c", "true" }) do argv[#argv + 1] = word end
  return argv
end

local function message(result)
  local last = result and result.errors and result.errors[#result.errors]
  return last and last.message or ""
end

-- ---- absent, refusing

local r = tap.run_json { argv = words(dir .. "/none.sock") }
tap.is(r.json.status, "unavailable", "no socket: unavailable")
tap.like(message(r.json), "container engine at .-/none.sock: GET /images/.-: cannot reach it: No such file",
  "and says where it looked, and why")
tap.write(dir .. "/file.sock", "")
r = tap.run_json { argv = words(dir .. "/file.sock") }
tap.like(message(r.json), "cannot reach it: Connection refused", "a socket that refuses")
r = tap.run { argv = words(nil), env = { DOCKER_HOST = "tcp://127.0.0.1:2375" } }
tap.like(r.err, "DOCKER_HOST = tcp://127.0.0.1:2375: it is no Unix socket", "DOCKER_HOST that is none")
r = tap.run_json { argv = words(nil), env = { DOCKER_HOST = "unix://" .. dir .. "/none.sock" } }
tap.contains(message(r.json), dir .. "/none.sock", "DOCKER_HOST is taken")
tap.is(tap.run({ "kiln", "run", "-s", "engine.backends=exec container", "-s",
  "engine.backend=exec", "-b", "exec", "-l", "bash",
  "-c", "echo other" }).out, "other\n", "another backend does not care")

r = tap.run { argv = { "kiln", "repl", "--json", "--set", "engine.backends=exec container", "--set",
  "engine.backend=container", "--set", "backend container.socket=" .. dir .. "/none.sock" }, stdin = "1\n2\n" }
local cells = {}
for line in r.out:gmatch("[^\n]+") do cells[#cells + 1] = (json.decode(line) or {}).status end
tap.is(table.concat(cells, " "), "unavailable unavailable", "kiln repl: each cell is told so")

-- ---- configuration

for _, bad in ipairs {
  { "user=root", "user = root: it is not UID:GID" },
  { "user=0:0", "user = 0:0: code does not run as root" },
  { "files=magic", "files = magic: it is one of auto, direct, archive" },
  { "pull=often", "pull = often: it is one of missing, never, always" },
  { "mounts=data:/data", "mounts = data:/data: it is SOURCE:TARGET" },
  { "mounts=/data:/data:rx", "mounts = /data:/data:rx: it is SOURCE:TARGET" },
  { "env=NAME", "env = NAME: it is NAME=value" },
  { "images=node", "images = node: it is LANGUAGE=IMAGE" },
  { "pool=1000", "pool = 1000: it is a number from 0 to 64" },
  { "socket=relative", "socket = relative: it is no Unix socket" },
  { "auth_file=/none/x.json", "auth_file = /none/x.json: No such file" },
} do
  r = tap.run { argv = words(nil, { "-s", "backend container." .. bad[1], "-c", "1" }),
    env = { DOCKER_HOST = "unix:///none" } }
  tap.ok(r.code == 125 or r.code == 2, bad[1] .. " is refused")
  tap.contains(r.err, bad[2], "in one line")
end

-- ---- wrong answers, at each step

local number = 0
local function against(mode, more, judgement)
  number = number + 1
  local socket = ("%s/%d.sock"):format(dir, number)
  local fake = tap.start { argv = { "/usr/bin/python3", "t/container/fake.py", socket, mode } }
  fake:wait_for("listening\n")
  local process = tap.start { argv = words(socket, more), timeout = 120, cwd = tap.tempdir() }
  return function()
    local ran = process:wait()
    fake:pump(0.1)
    fake:kill(9)
    judgement(json.decode(ran.out) or {}, ran, fake:output())
    fake:wait()
  end
end

local waiting = {}
local function run(mode, more, judgement)
  if #waiting >= 6 then table.remove(waiting, 1)() end
  waiting[#waiting + 1] = against(mode, more, judgement)
end

for _, step in ipairs { "image", "create", "attach", "start", "inspect" } do
  for _, kind in ipairs { "close", "reset", "garbage", "half", "halfchunk", "badchunk", "headers",
    "json", "type", "list", "500" } do
    -- What is right for a step is no fault there.
    local right = (step == "image" and (kind == "type" or kind == "list")) or
      (step == "start" and (kind == "type" or kind == "list"))
    if not right then
      run(step .. ":" .. kind, nil, function(result, ran)
        local text = message(result)
        local good = result.status == "unavailable" and ran.code == 125 and #text > 10 and
          not text:find("%c")
        if not tap.ok(good, step .. ": " .. kind .. ": unavailable, in one line") then
          tap.diag(("%s %s %s"):format(tostring(ran.code), tostring(result.status), text), ran.err)
        end
      end)
    end
  end
end
run("image:huge", nil, function(result)
  tap.contains(message(result), "its answer is longer than 8 MB", "an answer without end")
end)
run("create:500", nil, function(result)
  tap.contains(message(result), "POST /containers/create: 500: no space left on device", "a full disk")
end)
run("create:hang", { "-l", "bash", "--timeout", "1s", "-c", "true" }, function(result)
  tap.is(result.status, "timeout", "an engine that hangs: the deadline holds")
end)

run("none", { "-s", "backend container.files=direct", "-l", "bash", "-c", "true" },
function(result, _, log)
  tap.contains(message(result), "the session's files cannot be reached: its processes cannot be seen from here",
    "an engine whose containers are none of this machine's")
  tap.contains(log, "remove", "the container is removed")
end)

run("attach:late", { "-l", "bash", "--timeout", "500ms", "-c", "true" }, function(result, _, log)
  tap.is(result.status, "timeout", "streams that come when the container is being removed")
  tap.unlike(log, "\nstart\n", "do not start it")
end)
run("attach:ends", { "-s", "backend container.files=archive", "-l", "python", "-c", "1" }, function(result, ran)
  tap.is(result.status, "unavailable", "streams that end before the container is known to")
  tap.contains(message(result), "the container ended while it started", "it is told as an end")
  tap.is(ran.code, 125, "and kiln goes on")
end)
run("runtime", { "-s", "backend container.files=archive", "-s", "backend container.runtime=runsc", "-l", "bash", "-c", "true" },
function(result, _, log)
  tap.is(result.status, "unavailable", "a runtime that the engine does not take")
  tap.contains(message(result), "runtime = runsc: the container engine took runc", "is told, and nothing is run")
  tap.unlike(log, "\nexec\n", "indeed")
end)
run("list:engines", { "-s", "backend container.files=archive", "-l", "bash", "-c", "sleep 1" }, function(_, _, log)
  local removed = {}
  for id in log:gmatch("removed (%w+)\n") do removed[id] = true end
  tap.ok(removed[("dead"):rep(3)], "an engine that is gone: its container is removed, though another has its number")
  tap.ok(removed[("e0de"):rep(3)], "and one of another boot that has ended")
  tap.ok(not removed[("ab"):rep(6)] and not removed[("f00d"):rep(3)], "not those of engines that live, or may")
  tap.ok(not removed[("cafe"):rep(3)] and not log:find("removed cd", 1, true), "nor anything else")
end)

-- ---- files, from an engine that is nobody's friend

local function fetched(kind, judgement)
  local out = tap.tempdir()
  run(kind == "none" and kind or "get:" .. kind, { "-s", "backend container.files=archive", "--limit", "files=100",
    "--limit", "disk=1M", "-o", out .. "/out", "-l", "bash", "-c", "true" },
  function(result, ran)
    judgement(result, ran)
    tap.is(posix.read_file(dir .. "/escaped"), nil, kind .. ": nothing is written elsewhere")
  end)
end
for _, kind in ipairs { "dotdot", "absolute", "elsewhere", "through", "self", "garbled", "cut",
  "endless", "500", "close", "halfchunk" } do
  fetched(kind, function(result, ran)
    local text = message(result)
    if not tap.ok(result.status == "unavailable" and text:find("the session's files: fetching them: ", 1, true)
      and not text:find("%c"), "files: " .. kind .. ": no success") then
      tap.diag(tostring(result.status), text, ran.err)
    end
  end)
end
fetched("many", function(result)
  tap.is(result.status .. " " .. result.errors[#result.errors].name, "limit files", "files: too many")
end)
fetched("swollen", function(result)
  tap.is(result.status .. " " .. result.errors[#result.errors].name, "limit disk", "files: too large")
end)
for _, kind in ipairs { "devices", "sparse", "long", "none" } do
  fetched(kind, function(result, ran)
    local names = {}
    for _, file in ipairs(result.output_files or {}) do names[#names + 1] = file.name end
    tap.is(tostring(result.status) .. " " .. table.concat(names, " "), "ok a",
      "files: " .. kind .. ": plain ones alone are taken")
    tap.is(result.stdout, "ran\n", "and what it wrote is kept")
    local told = ran.out:find("entries were left out", 1, true) ~= nil
    tap.is(told, kind ~= "none", "and what was left out is told")
  end)
end

-- ---- what a container is made with, and images that are pulled

local function encode(value)
  if value == nil or value == json.null then return "null" end
  if type(value) == "string" then return '"' .. value .. '"' end
  if type(value) ~= "table" then
    return type(value) == "number" and ("%.0f"):format(value) or tostring(value)
  end
  local parts = {}
  for _, item in ipairs(value) do parts[#parts + 1] = encode(item) end
  if #parts > 0 or next(value) == nil then return "[" .. table.concat(parts, ",") .. "]" end
  for key, item in pairs(value) do parts[#parts + 1] = '"' .. key .. '":' .. encode(item) end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end
local function word(log, name)
  local found = {}
  for text in log:gmatch(name .. " ([^\n]+)") do found[#found + 1] = text end
  return found
end
run("none", { "-s", "backend container.files=archive", "-s", "backend container.devices=/dev/fuse /dev/null:/dev/other",
  "-s", "backend container.runtime=crun", "-s", "backend container.mounts=/srv:/data /opt:/opt:rw",
  "-s", "backend container.env=A=1", "--limit", "memory=100M", "--limit", "processes=20",
  "--limit", "disk=8M", "--limit", "open_files=100", "--limit", "file_size=4M",
  "--limit", "files=500", "-l", "bash", "-c", "true" }, function(_, ran, log)
  local spec = json.decode(word(log, "spec")[1] or "") or { HostConfig = {} }
  local host = spec.HostConfig
  local function is(got, want, title)
    if not tap.is(encode(got), want, "spec: " .. title) then tap.diag(ran.err) end
  end
  is(host.CapDrop, '["ALL"]', "no capabilities")
  is(host.SecurityOpt, '["no-new-privileges"]', "no new privileges")
  is(host.ReadonlyRootfs, "true", "a read-only root")
  is(host.NetworkMode, '"none"', "no network")
  is(host.IpcMode, '"private"', "no shared memory of others")
  is(host.Memory, "104857600", "memory")
  is(host.MemorySwap, "104857600", "no swap beside it")
  is(host.PidsLimit, "23", "processes")
  is(host.Devices, '[{"CgroupPermissions":"rw","PathInContainer":"/dev/fuse","PathOnHost":"/dev/fuse"},' ..
    '{"CgroupPermissions":"rw","PathInContainer":"/dev/other","PathOnHost":"/dev/null"}]', "devices")
  is(host.Runtime, '"crun"', "the runtime")
  is(host.Binds, '["/srv:/data:ro","/opt:/opt:rw"]', "folders, read-only unless they say so")
  is(host.Privileged, "null", "and nothing privileged")
  local exec = json.decode(word(log, "spec%-exec")[1] or "") or {}
  is(exec.User, '"65534:65534"', "programs run as a user that is not root")
  is(exec.Privileged, "null", "with no privileges either")
  tap.like(spec.User, "^6553[34]:65534$", "spec: a user that is not root")
  tap.like(encode(host.Mounts), "size=8388608", "spec: a bounded work directory")
  for place, options in pairs(host.Tmpfs or {}) do
    tap.like(options, "nosuid,nodev,size=%d+", "spec: " .. place .. " is bounded")
  end
  tap.like(host.Tmpfs["/tmp"], "nosuid,nodev,size=2097152", "spec: a bounded /tmp")
  tap.like(encode(host.Ulimits), '"Name":"nofile"', "spec: descriptors")
  tap.like(encode(host.Mounts), "nr_inodes=502", "spec: files")
end)

local auth = tap.write(dir .. "/auth.json", [[{"auths": {
  "registry.test:5000": {"auth": "dXNlcjpzZWNyZXQ="},
  "https://index.docker.io/v1/": {"identitytoken": "token"}}}]])
local function pulled(kind, image, judgement)
  run("pull:" .. kind, { "-s", "backend container.pull=missing", "-s", "backend container.image=" .. image,
    "-s", "backend container.auth_file=" .. auth, "-s", "engine.log_level=info", "-l", "bash", "-c", "true" }, judgement)
end
pulled("good", "registry.test:5000/team/x", function(result, ran, log)
  tap.is(result.status, "ok", "an image that is not there is pulled")
  tap.contains(ran.err, "pulling registry.test:5000/team/x: Downloading", "its progress is told")
  tap.is(select(2, ran.err:gsub("Downloading", "")), 1, "a line a step, not one a percent")
  tap.contains(ran.err, "pulled registry.test:5000/team/x", "and its end")
  tap.contains(word(log, "pull")[1] or "", "fromImage=registry.test%3A5000%2Fteam%2Fx&tag=latest", "one tag alone")
  tap.is(word(log, "auth")[1], '{"username":"user","password":"secret","serveraddress":"registry.test:5000"}',
    "with the registry's password")
  tap.unlike(ran.err .. ran.out, "secret", "which is in no log")
end)
pulled("good", "library/x:2", function(_, _, log)
  tap.is(word(log, "auth")[1], '{"identitytoken":"token","serveraddress":"docker.io"}', "Docker's own registry, by a token")
end)
pulled("good", "other.test/x@sha256:" .. ("a"):rep(64), function(_, _, log)
  tap.is(word(log, "auth")[1], nil, "no password for a registry that has none")
  tap.unlike(word(log, "pull")[1] or "", "tag=", "a digest needs no tag")
end)
pulled("denied", "x", function(result)
  tap.contains(message(result), "image x cannot be pulled: denied: requested access", "a registry that refuses")
  tap.unlike(message(result), "%c", "in one line")
end)
pulled("rubbish", "x", function(result) tap.is(result.status, "ok", "progress that is none is passed over") end)
do -- on a terminal
  local socket = dir .. "/slow.sock"
  local fake = tap.start { argv = { "/usr/bin/python3", "t/container/fake.py", socket, "slowpull:good" } }
  fake:wait_for("listening\n")
  local argv = words(socket, { "-s", "backend container.pull=missing", "-s", "backend container.image=library/x",
    "-s", "backend container.files=archive", "-l", "bash", "-c", "true" })
  table.remove(argv, 3) -- --json
  local shown = tap.start { argv = argv, terminal = true, cwd = tap.tempdir() }
  tap.ok(shown:expect("pulling library/x: Downloading"), "kiln run: how far a pull is, on a terminal")
  tap.ok(shown:expect("ran"), "and then what the code says")
  shown:wait()
  tap.unlike(shown:output(), "\27%[31", "as plain text")
  fake:kill(9)
  fake:wait()
end
for _, kind in ipairs { "500", "close", "halfchunk", "badchunk" } do
  pulled(kind, "x", function(result)
    tap.is(result.status, "unavailable", "pull: " .. kind)
    tap.contains(message(result), "image x cannot be pulled: ", "says so")
  end)
end

run("put:500", { "-s", "backend container.files=archive", "-l", "bash", "-c", "true" },
function(result)
  tap.contains(message(result), "the session's files: sending them: ", "files that cannot be sent")
end)
run("auto", { "-i", tap.write(dir .. "/given.txt", "given"), "-l", "bash", "-c", "true" },
function(result, _, log)
  tap.is(result.status, "ok", "files = auto: where they cannot be reached they are copied")
  tap.like(log, "put [%w. ]*given.txt", "into the container")
  tap.like(log, "\nget\n", "and out of it")
end)
for _, judge in ipairs(waiting) do judge() end

-- ---- kiln check

local function checked(mode, more, code, ...)
  local socket = ("%s/check%d.sock"):format(dir, number)
  number = number + 1
  local fake = mode and tap.start { argv = { "/usr/bin/python3", "t/container/fake.py", socket, mode } }
  if fake then fake:wait_for("listening\n") end
  local argv = { "kiln", "check", "-s", "engine.backends=exec container", "-s", "engine.backend=exec",
    "-s", "backend container.socket=" .. socket, "-s", "backend container.image=x:1",
    "-s", "backend container.images=bash=x:1 node=y:2", "-s", "backend container.pool=1" }
  for _, word in ipairs(more) do argv[#argv + 1], argv[#argv + 2] = "-s", "backend container." .. word end
  local ran = tap.run(argv)
  tap.is(ran.code, code, "kiln check: " .. tostring(mode) .. ": exit status")
  local told = ran.out:match("\nbackends\n(.-)\npolicies\n") or ""
  for _, line in ipairs { ... } do tap.contains(told, line:gsub("SOCKET", socket), "kiln check: " .. line) end
  tap.is(select(2, told:gsub(" image ", "")), select(2, (" " .. table.concat({ ... }, " ")):gsub(" image ", "")), "each image once")
  if fake then
    fake:pump(0.1)
    fake:kill(9)
    fake:wait()
    tap.unlike(fake:output(), "create", "nothing is made, not for a pool either")
    tap.unlike(fake:output(), "pull", "nothing is pulled")
  end
end
checked("none", {}, 0, "ok       container        engine: Docker 1.0 at SOCKET",
  "ok       container        image x:1: is there", "ok       container        image y:2: is there")
checked("none", { "runtime=crun" }, 0, "ok       container        runtime crun: is there", "image x:1: ", "image y:2: ")
checked("none", { "runtime=runsc" }, 125, "FAULT    container        runtime runsc: not what the engine would take: its own is runc",
  "image x:1: ", "image y:2: ")
checked("info:500", { "runtime=crun" }, 125, "FAULT    container        runtime crun: GET /info: 500", "image x:1: ", "image y:2: ")
checked("pull:good", {}, 0, "missing  container        image x:1: not there yet", "missing  container        image y:2: ")
checked("pull:good", { "pull=never" }, 125, "FAULT    container        image x:1: not found: pull it", "FAULT    container        image y:2: ")
checked("version:close", {}, 125, "FAULT    container        engine: container engine at SOCKET: GET /version: it closed")
checked("version:500", {}, 125, "FAULT    container        engine: GET /version: 500: no space left on device")
checked("image:json", {}, 125, "FAULT    container        image x:1: GET /images/x%3A1/json: the answer is no JSON",
  "FAULT    container        image y:2: ")
checked(nil, {}, 125, "FAULT    container        engine: container engine at SOCKET: GET /version: cannot reach it")

-- ---- what is sent into images: their Python may be 3.8

r = tap.run { "/usr/bin/python3", "-c", [[
import ast, re, sys
names = re.findall(r'"(\w+\.py)"', open("plugins/interpreter/parts.h").read())
for path in ["plugins/container/agent.py", "plugins/container/boot.py"] + ["plugins/interpreter/" + name for name in names]:
    ast.parse(open(path).read(), path, feature_version=(3, 8))
print(len(names) > 20)
]] }
tap.is(r.out .. r.err, "True\n", "the agent and the runner keep to the grammar of Python 3.8")

tap.no_leaks(before)
tap.done()
