#!/usr/bin/env luajit
-- What README.md shows is true: its files are made and its commands run as they stand.
local tap = require("tap")
local before = tap.snapshot()
local readme = tap.read("README.md")
local folder = tap.tempdir()
local root = tap.root

-- ```lua, c and ini blocks whose first line names the file.
local made = {}
for block in readme:gmatch("\n```%l+\n(.-\n)```") do
  local name = block:match("^%-%- (%S+%.lua)\n") or block:match("^/%* (%S+%.c) %*/\n") or
    block:match("^# (%S+%.ini)\n")
  if name then
    made[name] = true
    tap.write(folder .. "/" .. name, block)
  end
end
tap.ok(made["quiet.lua"] and made["shout.c"] and made["kiln.ini"], "an example for each user")

-- The ```sh blocks, in order, in that folder, which looks like the tree's root.
for _, name in ipairs { "engine", "conf", "scripts", "plugins" } do
  tap.posix.symlink(root .. "/" .. name, folder .. "/" .. name)
end
tap.posix.symlink(tap.build, folder .. "/build")
local results = {}
for block in readme:gmatch("\n```sh\n(.-)```") do
  local whole = block:gsub("\\\n%s*", "")
  for command in whole:gmatch("[^\n]+") do
    local r = tap.run { "sh", "-c", "exec " .. command, cwd = folder }
    r.command = command
    results[#results + 1] = r
  end
end
tap.is(#results, 5, "five commands")
local quiet, compile, shout, check, numpy = unpack(results)
tap.is(quiet.code, 126, "operator: denied")
tap.contains(quiet.out .. quiet.err, "no network here: socket", "operator: with the reason")
tap.is(compile.code, 0, "plugin author: it compiles")
tap.is(compile.err, "", "plugin author: without a warning")
tap.is(shout.code, 0, "plugin author: it runs")
tap.is(shout.out, "HELLO", "plugin author: and answers")
tap.is(check.code, 0, "deployment: kiln check")
tap.is(numpy.code, 0, "deployment: kiln run")
tap.contains(numpy.out, "array([0, 1, 2])", "deployment: and its result")
for _, r in ipairs(results) do
  if r.code ~= 0 and r ~= quiet then tap.diag(r.command .. "\n" .. r.out .. r.err) end
end

-- Every make goal that is named exists.
local goals = {}
for goal in readme:gmatch("`make (%l+)[` ]") do goals[goal] = true end
for goal in readme:gmatch("\n    make (%l+)") do goals[goal] = true end
tap.ok(goals.run and goals.test and goals.install, "the README names make's goals")
for goal in pairs(goals) do
  local r = tap.run { "make", "-n", "-s", goal }
  tap.is(r.code, 0, "make " .. goal .. " exists")
end
tap.no_leaks(before)
tap.done()
