local function refused(run, reason)
  test.is(run.ran, {})
  test.is(run.result.status, "denied")
  test.is(run.result.success, false)
  test.is(run.result.errors[1].kind, "policy")
  test.is(run.result.errors[1].name, "deny")
  test.is(run.result.errors[1].message, reason)
  test.decided(run, "deny")
end

test.case("lets everything through as it ships, and parses nothing", function()
  local run = test.run { policy = "deny", input = { code = "import os" } }
  test.is(run.result.status, "ok")
  test.is(run.analyzed, 0)
end)

test.case("languages", function()
  local options = { languages = "bash c" }
  refused(test.run { policy = "deny", options = options, input = { language = "c" } }, "the language c is refused")
  test.is(test.run { policy = "deny", options = options }.result.status, "ok")
end)

test.case("text, as it is and not as a pattern", function()
  local options = { patterns = { "a.c", "%" } }
  refused(test.run { policy = "deny", options = options, input = { code = "x = 'a.c'" } }, 'the code holds "a.c"')
  test.is(test.run { policy = "deny", options = options, input = { code = "abc" } }.result.status, "ok")
end)

test.case("imports, with their submodules", function()
  local options = { imports = { "os", "socket" } }
  refused(test.run { policy = "deny", options = options, analyze = { imports = { "sys", "os.path" } } },
    "the code imports os.path")
  test.is(test.run { policy = "deny", options = options, analyze = { imports = { "ossaudiodev" } } }.ran, { "interpreter" })
end)

test.case("calls, with endings", function()
  local options = { calls = { "eval", "os.exec*" } }
  refused(test.run { policy = "deny", options = options, analyze = { calls = { "print", "os.execvp" } } },
    "the code calls os.execvp")
  test.is(test.run { policy = "deny", options = options, analyze = { calls = { "evaluate" } } }.result.status, "ok")
end)

test.case("code that cannot be parsed does not slip through", function()
  local broken = { error = { name = "SyntaxError", message = "invalid syntax", line = 3 } }
  refused(test.run { policy = "deny", options = { imports = "os" }, analyze = broken },
    "the code cannot be inspected: SyntaxError: invalid syntax, line 3")
  refused(test.run { policy = "deny", options = { calls = "eval" },
    analyze = function() return nil, "no analysis for bash" end }, "the code cannot be inspected: no analysis for bash")
  local run = test.run { policy = "deny", options = { imports = "os", uninspected = "allow" }, analyze = broken }
  test.is(run.result.status, "ok")
end)

test.case("the operators' message follows the reason", function()
  refused(test.run { policy = "deny", options = { languages = "c", message = "Ask us." }, input = { language = "c" } },
    "the language c is refused. Ask us.")
end)
