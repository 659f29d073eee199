#!/usr/bin/env luajit
-- `kiln check` and `kiln plugins`.
local tap = require("tap")
local json = require("json")
local dir = tap.tempdir()

local function kiln(...) return tap.run { argv = { "kiln", ... }, cwd = dir } end

local r = kiln("check")
tap.is(r.code, 0, "everything is there")
for _, title in ipairs { "configuration", "plugins", "policies", "sandbox", "runtimes" } do
  tap.like("\n" .. r.out, "\n" .. title .. "\n", "tells of " .. title)
end
tap.contains(r.out, "Everything that is required is there.", "and sums up")
tap.is(r.err, "", "nothing on stderr")

local report = json.decode(kiln("check", "--json").out)
tap.is(report.ok, true, "--json: ok")
tap.is(report.configuration.ok, true, "the configuration")
tap.ok(#report.plugins >= 3, "the plugins")
tap.is(report.policies.ok, true, "the policies")
local layers = {}
for _, layer in ipairs(report.sandbox) do layers[layer.layer] = layer end
for _, name in ipairs { "namespaces", "seccomp", "no_new_privs" } do
  tap.is(layers[name] and layers[name].required, true, name .. " is required")
  tap.is(layers[name] and layers[name].available, true, name .. " is there")
end
local runtimes = {}
for _, runtime in ipairs(report.runtimes) do runtimes[runtime.language] = runtime end
tap.is(runtimes.bash and runtimes.bash.available, true, "a runtime that is there")

r = kiln("check", "-s", "limits.memroy=1G")
tap.is(r.code, 2, "a misspelt key")
tap.contains(r.out, 'did you mean "memory"', "with the near match")
tap.contains(r.out, "Not ready", "and the verdict")
tap.write(dir .. "/bad.ini", "[limits]\ntimeout = 10 parsecs\n")
r = kiln("check", "--config", "bad.ini", "--json")
tap.is(r.code, 2, "a bad value")
tap.contains(json.decode(r.out).configuration.error, "bad.ini:2", "with its line")

tap.write(dir .. "/broken.lua", "return function(input, ctx, next)\n  retrun next(input)\nend\n")
tap.write(dir .. "/broken.ini",
  "[chain default]\npolicies = broken\n[policy broken]\nscript = " .. dir .. "/broken.lua\n")
r = kiln("check", "--config", "broken.ini")
tap.is(r.code, 2, "a policy with a syntax error")
tap.contains(r.out, "broken.lua:2", "with its line")

tap.write(dir .. "/nothere.ini", "[engine]\nbackends = interpreter nothere\n")
r = kiln("check", "--config", "nothere.ini")
tap.is(r.code, 125, "a plugin that is not there")
tap.contains(r.out, "nothere", "is named")
tap.write(dir .. "/runtime.ini", "[runtime nolang]\nextensions = .nolang\nrun = /nowhere/nolang {file}\n")
r = kiln("check", "--config", "runtime.ini")
tap.is(r.code, 0, "a runtime that is missing is no fault")
tap.contains(r.out, "/nowhere/nolang", "but told")

r = kiln("plugins")
tap.is(r.code, 0, "plugins")
for _, name in ipairs { "interpreter", "exec", "noop" } do
  tap.like("\n" .. r.out, "\n" .. name .. " ", "lists " .. name)
end
local plugins = json.decode(kiln("plugins", "--json").out)
tap.is(plugins[1].error, json.null, "--json: no error")
tap.is(kiln("plugins", "--config", "nothere.ini").code, 125, "one that is not there")
for _, name in ipairs { "check", "plugins" } do
  tap.is(kiln(name, "--help").code, 0, name .. " --help")
  r = kiln(name, "extra")
  tap.is(r.code, 2, name .. ": an argument too many")
  tap.like(r.err, "^kiln: [^\n]*\n$", name .. ": one line")
end
tap.done()
