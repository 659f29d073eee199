#!/usr/bin/env luajit
-- Code and files from connected repositories: ARNs, a real Git HTTP server with
-- authentication, one that is slow, dies or is away, hostile repositories, the cache.
local tap = require("tap")
local dir = tap.tempdir()
local python = "/usr/bin/python3"
local function sh(...) return tap.run { ... } end

-- ---- ARNs: the seed's own, and every wrong form
local arns = {
  "arn:aws:codeconnections:us-west-2:666177983324:connection/a5825793-51a8-4848-b461-9c6235b263b6",
  "arn:aws:codeconnections:us-west-2:666177983324:connection/32a74ddc-b035-4435-9694-35805a5a1097",
  "arn:aws-cn:codeconnections:cn-north-1:666177983324:connection/5f385cce-a038-4e00-8cb4-20a221f7e034",
  "arn:aws-cn:codeconnections:cn-north-1:666177983324:connection/315e2197-4c12-4217-9195-26a992520668",
  "arn:aws-us-gov:codestar-connections:us-gov-west-1:666177983324:connection/5f385cce-a038-4e00-8cb4-20a221f7e034",
}
local function check(text)
  return tap.run_json { "kiln", "check", "--json", "--config", tap.write(dir .. "/check.ini", text) }
end
local all = {}
for i, arn in ipairs(arns) do all[i] = ("[connection c%d]\narn = %s\n"):format(i, arn) end
local r = check(table.concat(all))
tap.is(r.json.configuration.ok, true, "kiln check takes the seed's ARNs")
tap.same(r.json.connections[3], { name = "c3", ok = true, endpoint = "https://codeconnections.cn-north-1.amazonaws.com.cn/git-http/" ..
  "666177983324/cn-north-1/5f385cce-a038-4e00-8cb4-20a221f7e034/", credential_helper = false }, "and tells the endpoint that follows")
tap.contains(r.json.connections[1].endpoint, "https://codeconnections.us-west-2.amazonaws.com/git-http/", "in each partition")
tap.contains(r.json.connections[5].endpoint, "https://codestar-connections.us-gov-west-1.amazonaws.com/git-http/", "and service")
for _, case in ipairs {
  { "^arn", "Arn", 'does not begin with "arn:"' },
  { "aws:", "awss:", 'its partition is "awss", did you mean "aws"?' },
  { "aws:", ":", 'its partition is ""' },
  { "codeconnections", "codeconnection", 'its service is "codeconnection", did you mean "codeconnections"?' },
  { "codeconnections", "s3", 'its service is "s3", it must be codeconnections or codestar' },
  { "us%-west%-2", "us-west", 'its region is "us-west", write one like us-west-2' },
  { "us%-west%-2", "", 'its region is ""' },
  { "us%-west%-2", "US-WEST-2", 'its region is "US-WEST-2"' },
  { "us%-west%-2", "cn-north-1", "is in the partition aws-cn and not in aws" },
  { "666177983324", "66617798332", 'its account is "66617798332", it must be 12 digits' },
  { "666177983324", "6661779833245", "it must be 12 digits" },
  { "666177983324", "66617798332x", "it must be 12 digits" },
  { "connection/", "host/", 'its resource is "host/' },
  { "connection/", "", "it must be connection/ID" },
  { "b263b6$", "b263b", "it must be a UUID in lower case" },
  { "a5825793", "A5825793", "it must be a UUID in lower case" },
  { "%-51a8", "51a8-", "it must be a UUID" },
  { "b263b6$", "b263b6:x", "it must be a UUID" },
  { ":connection.*", "", "5 of 6 fields" },
  { ".*", "arn:", "2 of 6 fields" },
} do
  r = check("[connection c]\narn = " .. arns[1]:gsub(case[1], case[2], 1) .. "\n")
  tap.contains(r.json.configuration.error, "check.ini:2: arn = ", "place: " .. case[3])
  tap.contains(r.json.configuration.error, case[3], "what: " .. case[3])
end
for _, case in ipairs {
  { "[connection c]\n", "check.ini:1: [connection c] has neither arn nor endpoint" },
  { "[connection c]\nendpoint = ssh://h/x\n", "check.ini:2: endpoint: is no address" },
  { "[connection c]\nendpoint = https://user:hunter2@h/x\n", "holds a user or a password" },
  { "[connection c]\nendpoint = https://h/../x\n", 'holds "." or ".."' },
  { "[connection c]\nendpoint = http://h/x\ncredential_helper = x\n", "check.ini:3: [connection c] credential_helper: its secret would go over http://" },
  { "[connection c]\nendpoint = https://h/x\nmax_sise = 1M\n", 'did you mean "max_size"?' },
} do
  r = check(case[1])
  tap.contains(r.json.configuration.error, case[2], case[2])
  tap.unlike(r.json.configuration.error, "hunter2", "a password is not told")
end

-- ---- a server
local root = dir .. "/git"
sh("mkdir", "-p", root .. "/org", root .. "/private/org")
tap.is(sh(python, "t/lib/hostile_repository.py", root .. "/org/repo.git").code, 0, "a hostile repository")
sh("cp", "-r", root .. "/org/repo.git", root .. "/private/org/repo.git")
local password = "s3cret-tr0ub4dor"
tap.write(root .. "/password", password)
local server = tap.start { python, "t/lib/githttp.py", root, timeout = 600 }
local port = server:wait_for("(%d+)\n")
tap.ok(port, "a Git HTTP server")
local function commit(branch) return (sh("git", "-C", root .. "/org/repo.git", "rev-parse", branch).out:gsub("\n", "")) end
local function helper(name, text)
  tap.write(dir .. "/" .. name, "#!/bin/sh\n" .. text)
  sh("chmod", "755", dir .. "/" .. name)
  return dir .. "/" .. name
end
local asked = dir .. "/asked"
local answer = helper("helper", ('echo "$@" >%s; cat >>%s; env | grep -c "^KILN_" >>%s; echo noise with %s >&2; printf "username=kiln\\npassword=%s\\n"\n')
  :format(asked, asked, asked, password, password))
local function section(name, folder, rest)
  return ("[connection %s]\nendpoint = http://127.0.0.1:%s/%s\ncache = %s/cache\n%s\n"):format(name, port, folder, dir, rest or "")
end
local ini = tap.write(dir .. "/kiln.ini", section("main", "") ..
  section("private", "private/", "credential_helper = " .. answer) ..
  section("wrong", "private/", "credential_helper = " .. helper("wrong", 'echo username=kiln; echo password=wrong-pass\n')) ..
  section("broken", "private/", "credential_helper = " .. helper("broken", "echo " .. password .. " >&2; exit 3\n")) ..
  section("hanging", "private/", "timeout = 700ms\ncredential_helper = " .. helper("hanging", "sleep 100\n")) ..
  section("bare", "private/") ..
  section("echo", "~echo/", "credential_helper = " .. answer) ..
  section("redirect", "~redirect/") ..
  section("slow", "~slow/", "timeout = 700ms") ..
  section("dying", "~dying/") ..
  section("small", "", "max_size = 300K"))
local function run(...)
  return tap.run { argv = { "kiln", "run", "--config", ini, ... }, cwd = dir, env = { KILN_LIMITS_MEMORY = "1G" } }
end
local function refused(origin, part, name)
  local result = run("-i", origin, "-c", "1")
  tap.is(result.code, 2, name .. ": refused")
  tap.like(result.err, "^kiln: [^\n]*\n$", name .. ": one line")
  tap.contains(result.err, part, name .. ": says why")
  tap.unlike(result.err, "s3cret", name .. ": without the secret")
  return result
end
local before = tap.snapshot()

r = run("connection:main/org/repo@good:main.py")
tap.is(r.out, "from the repository\n", "a script, by branch")
tap.is(r.err, "", "and nothing else")
tap.is(run("connection:main/org/repo:main.py").out, "from the repository\n", "the default branch")
tap.is(run("connection:main/org/repo.git@v1:main.py").out, "from the repository\n", "a tag that is an object")
tap.is(run("connection:main/org/repo@refs/heads/good:main.py").out, "from the repository\n", "a whole name of a ref")
local list = "import os; print(sorted(os.path.join(d, f) for d, _, n in os.walk('.') for f in n), sorted(x for x in os.listdir('.') if os.path.islink(x)))"
r = run("-i", "connection:main/org/repo@good:", "-c", list)
tap.is(r.out, "['./.gitattributes', './.gitmodules', './README', './Readme', './folder/inner.txt', './main.py', './post-checkout'] []\n",
  "a folder: regular files alone, both cases of a name")
tap.contains(r.err, "link was left out: it is a symbolic link", "a link is told")
tap.contains(r.err, "s was left out: it is a submodule", "a submodule is told")
tap.is(run("-i", "connection:main/org/repo@good:", "-c", "print(open('main.py', 'rb').read())").out, "b\"print('from the repository')\\n\"\n",
  "no filter of .gitattributes")
tap.is(run("-i", "connection:main/org/repo@good:folder/", "-i", "connection:main/org/repo@good:README", "-c", list).out,
  "['./README', './inner.txt'] []\n", "a folder in it, and a file")
tap.is(run("-i", "sub=connection:main/org/repo@good:folder/", "-c", list).out, "['./sub/inner.txt'] []\n", "under another name")
local id = commit("inner")
tap.is(run("-i", "connection:main/org/repo@" .. id .. ":inner.txt", "-c", "print(open('inner.txt').read())").out, "inner\n\n", "a commit by its id")
refused("connection:main/org/repo@good:link", "link is a symbolic link, and is not followed", "a link by name")
refused("connection:main/org/repo@good:s", "is a submodule", "a submodule by name")
refused("connection:main/org/repo@good:folder", 'is a folder: end its name with "/"', "a folder as a file")
refused("connection:main/org/repo@good:nowhere.py", 'has no "nowhere.py" at good', "a file that is not there")
refused("connection:main/org/repo@nowhere:main.py", 'has no branch, tag or commit "nowhere"', "a branch that is not there")
refused("connection:main/org/repo@" .. id:sub(1, 8) .. ":main.py", "a commit is named by its whole id", "a part of a commit's id")
refused("connection:main/org/nowhere@x:main.py", "asking the host", "a repository that is not there")
refused("connection:mian/org/repo@good:main.py", 'there is no [connection mian], did you mean "main"?', "a connection that is not there")
for _, case in ipairs {
  { "connection:main", "write connection:NAME/OWNER/REPO" }, { "connection:main/repo:x", "is no OWNER/REPO" },
  { "connection:main/../repo:x", "is no OWNER/REPO" }, { "connection:main/org/re po:x", "letters, digits" },
  { "connection:main/org/repo@--upload-pack=x:x", "its REF" }, { "connection:main/org/repo@+good:x", "its REF" },
  { "connection:main/org/repo@a..b:x", "its REF" }, { "connection:main/org/repo@:x", "its REF is empty" },
  { "connection:main/org/repo@good:../x", "its PATH" }, { "connection:main/org/repo@good:/x", "its PATH" },
  { "git+http://h/x.git:y", "git+https:// is what is spoken" }, { "git+https://u:s3cret@h/x.git:y", "holds a user or a password" },
  { "git+https://h:y", "names no repository" }, { "git+https://-h/x/../y.git:z", '".."' }, { "file:", "names no file" },
} do refused(case[1], case[2], case[1]) end
r = tap.run { argv = { "kiln", "run", "file:" .. dir .. "/f.py" }, cwd = (tap.write(dir .. "/f.py", "print('file')") and dir) }
tap.is(r.out, "file\n", "file:")

-- ---- secrets
r = run("--json", "-i", "connection:private/org/repo@good:main.py", "-c",
  "import os; print(open('main.py').read(), dict(os.environ), open('/proc/self/cmdline').read())")
tap.is(r.code, 0, "a repository that wants a password")
tap.is(tap.read(asked), ("get\nprotocol=http\nhost=127.0.0.1:%s\npath=private/org/repo.git\n\n0\n"):format(port),
  "the helper is asked as git asks, and does not see KILN_ variables")
local found = sh("grep", "-r", "-a", "-l", "-e", password, "-e", (sh("sh", "-c", "printf kiln:" .. password .. " | base64").out:gsub("\n", "")), dir .. "/cache")
tap.is(found.out, "", "the cache does not hold the secret")
tap.unlike(r.out .. r.err, "s3cret", "nor does the result, or what is printed")
refused("connection:wrong/org/repo@good:main.py", "asking the host", "a wrong password")
refused("connection:bare/org/repo@inner:inner.txt", "asking the host", "no password: git does not ask")
refused("connection:broken/org/repo@inner:inner.txt", "credential_helper: gave no answer: exit status 3", "a helper that fails")
refused("connection:hanging/org/repo@inner:inner.txt", "credential_helper: gave no answer: its time was up", "a helper that hangs")
r = refused("connection:echo/org/repo@inner:inner.txt", "asking the host", "a server that tells the secret back")
tap.unlike(r.err, (sh("sh", "-c", "printf kiln:" .. password .. " | base64").out:gsub("\n", "")), "in any form")
refused("connection:redirect/org/repo@good:main.py", "redirect", "a redirect is not followed")

-- ---- hosts that do not behave
local function offline(origin, name, part)
  local result = run("-i", origin, "-c", list)
  tap.is(result.code, 2, name .. ": refused")
  tap.contains(result.err, part, name .. ": says why")
end
offline("connection:slow/org/repo@good:main.py", "a slow server", "no end within [connection slow] timeout")
offline("connection:dying/org/repo@good:main.py", "a server that dies", "asking the host")
for _, case in ipairs { { "dotdot", "hasDotdot" }, { "dotgit", "hasDotgit" }, { "slash", "fullPathname" }, { "twice", "duplicateEntries" } } do
  refused("connection:main/org/repo@" .. case[1] .. ":", "fetching", "a tree with " .. case[2])
end
r = run("-i", "connection:main/org/repo@newline:", "-c", list)
tap.is(r.out, "['./main.py'] []\n", "a name with a newline")
tap.contains(r.err, "a\\x0ab was left out: it has a name that is not allowed", "is left out and told")
refused("connection:small/org/repo@huge:main.py", "is larger than [connection small] max_size", "a huge pack, whatever is wanted of it")
refused("connection:small/org/repo@bomb:bomb", "more than max_size", "a small pack of a huge file")
tap.is(run("-i", "connection:small/org/repo@bomb:main.py", "-c", list).out, "['./main.py'] []\n", "what is small of it may be had")
refused("connection:main/org/repo@many:", "has more than 10000 files", "too many files")
tap.is(tap.read("/tmp/kiln-hook-ran"), nil, "no hook and no filter ran")

-- ---- the cache
local function requests()
  local _, count = (tap.read(root .. "/requests") or ""):gsub("\n", "")
  return count
end
local count = requests()
tap.is(run("-i", "connection:main/org/repo@" .. id .. ":", "-c", list).out, "['./inner.txt'] []\n", "a commit that was fetched before")
tap.is(requests(), count, "needs no network")
run("connection:main/org/repo@good:main.py")
tap.is(requests() - count, 2, "a branch is looked up, and not fetched again")
tap.is(sh("sh", "-c", "ls -d " .. dir .. "/cache/*/new-* 2>/dev/null | wc -l").out, "0\n", "what failed leaves nothing in the cache")
server:kill(9)
server:wait()
r = run("connection:main/org/repo@good:main.py")
tap.is(r.out, "from the repository\n", "offline: what the branch was when it was last seen")
tap.contains(r.err, "the host does not answer", "and that is told")
tap.is(run("connection:main/org/repo@" .. id .. ":inner.txt", "-l", "bash").err:match("host does not"), nil, "a commit is the same offline")
refused("connection:main/org/repo@newer:main.py", "Failed to connect", "offline: what was never seen")

-- ---- a scenario's
tap.write(dir .. "/s.ini", "[scenario c]\ncode = connection:main/org/repo@good:main.py\ninputs = connection:main/org/repo@good:folder/\nexpected = e\nstdout = o\n")
sh("mkdir", "-p", dir .. "/e")
tap.write(dir .. "/e/o", "from the repository\n")
r = tap.run { argv = { "kiln", "eval", "--config", ini, "s.ini" }, cwd = dir }
tap.is(r.code, 0, "kiln eval: code and inputs from a connection")
sh("chmod", "777", (sh("sh", "-c", "ls -d " .. dir .. "/cache/* | head -1").out:gsub("\n", "")))
sh("sh", "-c", "chmod 777 " .. dir .. "/cache/*")
refused("connection:main/org/repo@good:main.py", "that nobody else can write", "a cache that others can write")
tap.no_leaks(before)
tap.done()
