-- A container engine of a test's own: Podman's API service, with its storage in the test's
-- temporary folder, and images that are made once in the build folder (t/container/images).
local tap = require("tap")
local posix = tap.posix
local container = {}

local CONF = [[
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
]]

-- Skips the whole test, with what is lacking, where containers cannot be run. With a release of
-- Debian: with its image, too.
function container.require(release)
  local made = tap.run { "t/container/images", (tap.build:gsub("/sanitize$", "")) .. "/images", release, timeout = 900 }
  local lacks = made.out:match("lacks: ([^\n]+)")
  if lacks then tap.skip_all("lacks " .. lacks) end
  if made.code ~= 0 then tap.skip_all("the images could not be made: " .. made.err) end
  container.store = made.out:match("([^\n]+)\n$")
end

local function podman(...)
  return tap.run { argv = { "podman", "--root", container.dir .. "/root", "--runroot",
    container.dir .. "/run", "--tmpdir", container.dir .. "/tmp", "--storage-driver", "overlay",
    "--storage-opt", "additionalimagestore=" .. container.store, ... },
    env = { CONTAINERS_CONF = container.dir .. "/containers.conf" } }
end
container.podman = podman

-- Starts the service, or starts it again; container.socket is where it listens.
function container.serve()
  container.socket = container.dir .. "/engine.sock"
  os.remove(container.socket)
  container.service = tap.start { argv = { "podman", "--root", container.dir .. "/root",
    "--runroot", container.dir .. "/run", "--tmpdir", container.dir .. "/tmp",
    "--storage-driver", "overlay", "--storage-opt",
    "additionalimagestore=" .. container.store, "system", "service", "--time=0",
    "unix://" .. container.socket },
    env = { CONTAINERS_CONF = container.dir .. "/containers.conf" }, timeout = 600,
    cwd = container.dir } -- its conmon writes a file "oom" where it is
  local deadline = posix.now() + 30
  while tap.run({ "curl", "-sf", "--unix-socket", container.socket, "http://d/_ping" }).code ~= 0 do
    if posix.now() > deadline or container.service.ended then
      tap.skip_all("Podman's service does not start: " .. container.service:output("err"))
    end
    container.service:pump(0.05)
  end
end

function container.start(release)
  container.require(release)
  container.dir = tap.tempdir()
  tap.write(container.dir .. "/containers.conf", CONF)
  container.serve()
  local ran = podman("run", "--rm", "--network", "none", "--init", "kiln-busybox:1", "true")
  if ran.code ~= 0 then
    container.stop()
    tap.skip_all("this machine runs no containers: " .. ran.err:gsub("\n", " "))
  end
  container.config = tap.write(container.dir .. "/kiln.ini", ([[
[engine]
backends = interpreter exec container
backend = container
[backend container]
socket = %s
image = kiln-python:1
images = bash=kiln-busybox:1 ash=kiln-busybox:1 make=kiln-busybox:1
pull = never
[runtime ash]
extensions = .ash
run = sh {file}
[runtime make]
extensions = .mk
compile = sh -c "cat {file} >{out} && chmod 755 {out} && head -n 1 {file} | grep -q '^#!'"
run = {out}
[limits]
memory = 256M
]]):format(container.socket))
end

function container.stop()
  podman("rm", "-a", "-f", "-t", "0")
  if container.service then
    container.service:kill()
    container.service:wait()
  end
  tap.run { "umount", container.dir .. "/root/overlay" }
end

-- Nothing of kiln's is left. Podman keeps what watches an exec for five minutes, so that
-- it can be asked for its end, and has its storage mounted on itself.
function container.no_leaks(before)
  local left = tap.leaks(before, function(line)
    return line:find("(conmon)", 1, true) or line:find("/root/overlay", 1, true)
  end, 60) -- conmon starts a podman that cleans up behind it
  tap.same(left, {}, "no process, mount or file is left behind")
  tap.same(container.list(), {}, "and no container")
end

-- Names of the containers that there are.
function container.list()
  local names = {}
  for name in podman("ps", "-a", "--format", "{{.Names}}").out:gmatch("[^\n]+") do
    names[#names + 1] = name
  end
  return names
end

-- Waits until there is one; its name.
function container.await()
  local deadline = posix.now() + 60
  while posix.now() < deadline do
    local names = container.list()
    if names[1] then return names[1] end
  end
end

-- kiln run --json on the container backend; more words go before the code.
function container.run(code, ...)
  return tap.run_json { argv = { "kiln", "run", "--config", container.config, "--json", ..., } ,
    stdin = code }
end

function container.argv(...)
  return { "kiln", "run", "--config", container.config, "--json", ... }
end

return container
