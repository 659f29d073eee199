#!/usr/bin/env luajit
-- scripts/kiln.d.lua says what policies and their tests see: every name that it declares is
-- there, and every name that is there it declares.
local tap = require("tap")
local json = require("json")
local before = tap.snapshot()
local dir = tap.tempdir()

-- What each class declares: its @field lines, and the functions of the table after it.
local declared, class, tables = {}, nil, {}
for line in io.lines("scripts/kiln.d.lua") do
  class = line:match("^%-%-%-@class ([%w.]+)") or class
  declared[class or ""] = declared[class or ""] or {}
  local field = line:match("^%-%-%-@field ([%w_]+)")
  local name = line:match("^local ([%w_]+) = {}$") or line:match("^([%w_]+) = {}$")
  local owner, func = line:match("^function ([%w_]+)[.:]([%w_]+)%(")
  if field then declared[class][field] = true end
  if name then tables[name] = class end
  if func then declared[tables[owner]][func] = true end
end
tap.ok(declared["kiln"].run and declared["kiln.Store"].hold and declared["kiln.Context"].decide and
  declared["kiln.Result"].usage and declared["kiln.Test"].metric, "the declarations are read")

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end
local function literal(list)
  local words = {}
  for _, name in ipairs(list) do words[#words + 1] = ("%q"):format(name) end
  return "{" .. table.concat(words, ",") .. "}"
end

-- In the policy: the names that a table has, and those of the declared that are an error or,
-- where none may be nil, not there.
local look = [[
local function has(t)
  local list = {}
  for name in pairs(t) do list[#list + 1] = name end
  return list
end
local function lacks(t, names, optional)
  local list = {}
  for _, name in ipairs(names) do
    local ok, value = pcall(function() return t[name] end)
    if not ok or (value == nil and not optional) then list[#list + 1] = name end
  end
  return list
end
]]
local policy = look .. ([[
return function(input, ctx, next)
  local result = next(input)
  local known = { kiln = kiln, store = kiln.store, metric = kiln.metric, ctx = ctx, input = input, limits = input.limits }
  local found = { has = {}, lacks = {} }
  for name, t in pairs(known) do found.has[name] = has(t) end
  found.lacks.kiln = lacks(kiln, @kiln@)
  found.lacks.store = lacks(kiln.store, @kiln.Store@)
  found.lacks.metric = lacks(kiln.metric, @kiln.Metric@)
  found.lacks.ctx = lacks(ctx, @kiln.Context@)
  found.lacks.notebook = lacks(ctx.notebook, @kiln.Notebook@)
  found.lacks.input = lacks(input, @kiln.Input@, true)
  found.lacks.limits = lacks(input.limits, @kiln.Limits@, true)
  found.lacks.result = lacks(result, @kiln.Result@, true)
  found.unknown = lacks(result, { "no_such_field" }, true)
  return kiln.deny(kiln.json(found))
end
]]):gsub("@([%w.]+)@", function(name) return literal(sorted(declared[name])) end)

local function run(...)
  local argv = { "kiln", "run", "--json", "--client", "somebody", "--stdin", tap.write(dir .. "/in", "x"), ... }
  local r = tap.run(argv)
  local ok, result = pcall(json.decode, r.out)
  if not ok then tap.diag(r.out, r.err) end
  return ok and result or {}
end
local result = run("-b", "noop", "--limit", "cpus=1", "-s", "policy look.script=" .. tap.write(dir .. "/look.lua", policy),
  "-s", "chain default.policies=look", "-c", "1")
local ok, found = pcall(json.decode, result.errors and result.errors[1].message or "")
if not tap.ok(ok and type(found) == "table", "a policy looks at what it sees") then
  tap.diag(json.encode(result))
  found = { has = {}, lacks = {}, unknown = {} }
end
for name, missing in pairs(found.lacks) do
  tap.is(table.concat(missing, " "), "", name .. ": what is declared is there")
end
local class_of = { kiln = "kiln", store = "kiln.Store", metric = "kiln.Metric", ctx = "kiln.Context", input = "kiln.Input",
  limits = "kiln.Limits" }
local function undeclared(names, name)
  local list = {}
  for _, key in ipairs(names) do
    if not declared[name][key] then list[#list + 1] = key end
  end
  return table.concat(list, " ")
end
for name, names in pairs(found.has) do
  tap.ok(#names > 0, name .. ": has something")
  tap.is(undeclared(names, class_of[name]), "", name .. ": what is there is declared")
end
tap.is(found.unknown[1], "no_such_field", "an unknown field of a result is an error")

-- A result's fields are those of its JSON.
result = run("-b", "noop", "-s", "chain default.policies=", "-c", "1")
tap.is(undeclared(sorted(result), "kiln.Result"), "", "result: what JSON has is declared")
tap.is(undeclared(sorted(result.errors and result.errors[1] or { kind = 1 }), "kiln.Error"), "", "error: likewise")

-- NAME_test.lua
tap.write(dir .. "/seen.lua", "return function(input, ctx, next) return next(input) end\n")
tap.write(dir .. "/seen_test.lua", look .. ([[
test.case("declared", function()
  test.is(table.concat(lacks(test, @kiln.Test@), " "), "", "what is declared is there")
  local known, extra = {}, {}
  for _, name in ipairs(@kiln.Test@) do known[name] = true end
  for name in pairs(test) do if not known[name] then extra[#extra + 1] = name end end
  test.is(table.concat(extra, " "), "", "what is there is declared")
  local run = test.run { policy = "seen" }
  test.is(table.concat(lacks(run, @kiln.Run@), " "), "", "of a run")
  extra = {}
  known = {}
  for _, name in ipairs(@kiln.Run@) do known[name] = true end
  for name in pairs(run) do if not known[name] then extra[#extra + 1] = name end end
  test.is(table.concat(extra, " "), "", "and no more")
end)
]]):gsub("@([%w.]+)@", function(name) return literal(sorted(declared[name])) end))
local r = tap.run { "kiln", "test", dir .. "/seen_test.lua" }
if not tap.is(r.code, 0, "kiln test: what tests see") then tap.diag(r.out, r.err) end
tap.contains(r.out, "ok 1 - seen: declared\n", "was looked at")

tap.no_leaks(before, "nothing is left behind")
tap.done()
