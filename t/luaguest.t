#!/usr/bin/env luajit
-- t/plugins/luaguest.c: that the worker half of another language is little, and that it
-- gets all that the interpreter has: sessions, confinement, limits, interrupts, queries.
local tap = require("tap")

local before = tap.snapshot()
local directory = tap.tempdir()
local plugin = {
  "--set", "engine.backends=luaguest", "--set", "engine.backend=luaguest",
  "--set", "backend.luaguest.plugin=" .. tap.build .. "/t/plugins/luaguest.so",
}

local function repl(text, ...)
  local spec = { "kiln", "repl", "-l", "lua", stdin = text, cwd = directory }
  for _, word in ipairs(plugin) do spec[#spec + 1] = word end
  for _, word in ipairs { ... } do spec[#spec + 1] = word end
  return tap.run(spec)
end

local p = repl("x = 20\nfunction double(a)\n  return a * 2\nend\ndouble(x) + 2\nprint('a', nil, 3)\n")
tap.is(p.out, "42\na\tnil\t3\n", "state from cell to cell, values, print")
tap.is(p.err, "", "and nothing else: a block ends where it is whole")
tap.is(p.code, 0, "status 0")

p = repl("io.write('a') io.write('b')\n'\\255 \\195\\164 \\0 \"'\nio.write('x\\n') error('\\255')\n")
tap.is(p.out, "ab\239\191\189 \195\164 \0 \"\nx\n", "io.write is shown; a value that is not UTF-8")
tap.contains(p.err, "cell 3:1: \239\191\189", "and an error that is not")
p = repl("setmetatable({}, {__tostring = function() error('no text') end})\n")
tap.contains(p.err, "no text", "a value without a text is an error")

p = repl("function f() error('on purpose') end\nf()\nx ==\n)\nprint('lives on')\n")
tap.contains(p.err, "cell 1:1: on purpose", "an error")
tap.contains(p.err, "in function 'error'", "with its traceback")
tap.contains(p.err, "unexpected symbol", "a syntax error")
tap.is(p.out, "lives on\n", "and the session goes on")
tap.is(p.code, 1, "the status of the first that failed")

p = repl("kept = 7\nwhile true do end\nkept\n", "--timeout", "300ms")
tap.is(p.out, "7\n", "a loop that takes too long is interrupted, and the state is kept")
tap.contains(p.err, "wall time of 300 ms was up; it was interrupted", "which is told")
tap.is(p.code, 124, "as a timeout")

p = repl("n = 1\n:fork two\nn = 2\n:switch repl\nn\n:switch two\nn\n")
tap.like(p.out, "repl\n1\n.*two\n2\n", "a branch has the state and goes on by itself")
p = repl("n = 1\nn = 2 error('undone')\nn\n", "--set", "chain default.policies=transaction")
tap.is(p.out, "1\n", "a cell that failed is undone")
tap.contains(p.err, "undone", "and told")

p = repl("local f = io.open('a.txt', 'w') f:write('made') f:close()\nio.open('a.txt'):read('*a')\n"
  .. "io.open('/etc/hostile', 'w')\n", "-o", directory .. "/made")
tap.contains(p.out, "made\n", "files in a work directory of its own")
tap.unlike(p.out, "file %(0x", "and none outside of it")
p = repl("big = ('x'):rep(200 * 1024 * 1024)\n1 + 1\n", "--set",
  "limits.memory=64M", "--set", "limits.disk=16M")
tap.contains(p.err, "memory", "its memory has a limit")
tap.is(p.out, "2\n", "that ends its worker alone")
p = repl("os.exit(3)\nx\n")
tap.contains(p.err, "the session's state is lost", "a worker that exits")

-- Tab at a terminal: its own completion
local spec = {
  "kiln", "repl", "-l", "lua", terminal = true, cwd = directory,
  env = { TERM = "xterm", NO_COLOR = "1" },
}
for _, word in ipairs(plugin) do spec[#spec + 1] = word end
local screen = tap.start(spec)
tap.ok(screen:expect("In [1]: "), "a prompt")
screen:type("string.rev\t")
tap.ok(screen:expect("string.reverse"), "Tab asks the plugin")
screen:type("('abc')\n")
tap.ok(screen:expect("Out[1]: cba"), "and the cell runs")
screen:expect("In [2]: ")
screen:type("('äöü'):rep(2), string.rev\t")
tap.ok(screen:expect("string.reverse"), "also behind letters of several bytes")
screen:type("\3")
screen:expect("In [2]: ")
screen:type("\4")
tap.is(screen:wait().code, 0, "Ctrl-D leaves")

tap.no_leaks(before, "nothing is left behind")
tap.done()
