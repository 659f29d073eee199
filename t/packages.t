#!/usr/bin/env luajit
-- .make/packages against a Debian of our own making: dpkg-query, apt-get, id and sudo are
-- scripts here that write down what they were asked.
local tap = require("tap")

-- `installed`: packages that are there; `uid`; `sudo`: is it there?
local function install(installed, uid, sudo, ...)
  local bin = tap.tempdir()
  local function command(name, body)
    tap.write(bin .. "/" .. name, "#!/bin/sh\n" .. body .. "\n")
    tap.posix.chmod(bin .. "/" .. name)
  end
  command("dpkg-query", "echo query >>$LOG\nfor p in " .. installed ..
    "; do echo \"installed $p\"; done\necho 'config-files removed-one'\nexit 1")
  command("apt-get", "echo \"apt-get $DEBIAN_FRONTEND $*\" >>$LOG")
  command("id", "echo " .. uid)
  command("env", "exec /usr/bin/env \"$@\"")
  command("sed", "exec /usr/bin/sed \"$@\"")
  if sudo then command("sudo", "echo sudo >>$LOG; exec \"$@\"") end
  local log = tap.write(bin .. "/log", "")
  local r = tap.run { argv = { "/bin/sh", ".make/packages", ... },
    env = { PATH = bin, LOG = log } }
  r.log = tap.read(log)
  return r
end

local r = install("gcc make", 0, true, "gcc", "make")
tap.is(r.code, 0, "nothing is missing: well")
tap.is(r.log, "query\n", "one look-up, and no apt")
tap.is(r.out .. r.err, "", "and not a word")

r = install("gcc make", 0, false, "gcc", "luajit", "make", "removed-one")
tap.is(r.code, 0, "as root")
tap.is(r.log, "query\napt-get noninteractive update -q\n" ..
  "apt-get noninteractive install -q -y --no-install-recommends luajit removed-one\n",
  "what is missing is installed, what was removed and only configured too")

r = install("gcc", 1000, true, "gcc", "luajit")
tap.like(r.log, "^query\nsudo\napt%-get noninteractive update.-\nsudo\napt%-get noninteractive install",
  "not root: by sudo")

r = install("gcc", 1000, false, "gcc", "luajit")
tap.is(r.code, 1, "neither root nor sudo: fails")
tap.like(r.err, "^kiln: packages: missing: luajit; become root [^\n]+\n$", "with one clear line")
tap.is(r.log, "query\n", "and tries nothing")

r = install("libfoo", 0, false, "foo")
tap.like(r.log, "install .- foo\n", "a name inside another's does not count as installed")
tap.done()
