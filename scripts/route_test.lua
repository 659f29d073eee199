local backends = {
  interpreter = { stateful = true, languages = { "python" } },
  exec = { languages = { "python", "bash", "c" } },
  container = { languages = { "*" } },
}

local function route(options, input, analyze)
  return test.run { policy = "route", options = options, input = input, backends = backends, analyze = analyze }
end

test.case("nothing configured: the engine's default, and nothing decided", function()
  local run = route({}, { code = "1" })
  test.is(run.ran, { "interpreter" })
  test.is(run.decisions, { { policy = "route", action = "backend", detail = "interpreter" } })
  test.is(run.analyzed, 0)
end)

test.case("the caller's wish stays", function()
  test.is(route({ languages = "python=interpreter" }, { backend = "exec" }).ran, { "exec" })
end)

test.case("unless override is set", function()
  local options = { languages = "python=interpreter", override = true }
  test.is(route(options, { backend = "exec" }).ran, { "interpreter" })
  test.is(route({ override = true }, { backend = "exec" }).ran, { "exec" }, "no rule applies")
end)

test.case("by language", function()
  local options = { languages = "python=interpreter *=container" }
  test.is(route(options, { language = "python" }).ran, { "interpreter" })
  local run = route(options, { language = "bash" })
  test.is(run.ran, { "container" })
  test.decided(run, "backend", "container: language bash")
end)

test.case("by import, before language", function()
  local options = { languages = "python=interpreter", imports = { "torch=container", "numpy=exec" } }
  test.is(route(options, {}, { imports = { "torch.nn" } }).ran, { "container" })
  test.is(route(options, {}, { imports = { "os", "numpy" } }).ran, { "exec" })
  test.is(route(options, {}, { imports = { "torchvision" } }).ran, { "interpreter" })
  test.is(route(options, {}, { error = { name = "SyntaxError" } }).ran, { "interpreter" })
end)

test.case("by size: the largest that applies", function()
  local options = { sizes = { "1K=container", "10=exec" } }
  test.is(route(options, { code = ("x"):rep(10) }).ran, { "interpreter" })
  test.is(route(options, { code = ("x"):rep(11) }).ran, { "exec" })
  test.is(route(options, { code = ("x"):rep(1025) }).ran, { "container" })
end)

test.case("[policy route] backend", function()
  local run = route({ backend = "exec" }, {})
  test.is(run.ran, { "exec" })
  test.decided(run, "backend", "exec: [policy route] backend")
end)

test.case("a language that the chosen backend does not speak goes to one that does", function()
  local run = route({}, { language = "bash" })
  test.is(run.ran, { "exec" })
  test.decided(run, "backend", "exec: interpreter does not run bash")
  test.is(route({}, { language = "c", backend = "interpreter" }).ran, { "exec" })
end)

test.case("or to none, with the reason", function()
  local run = route({}, { language = "cobol" })
  test.is(run.ran, {})
  test.is(run.result.status, "unavailable")
  test.like(run.result.errors[1].message, "interpreter does not run cobol")
end)

test.case("a backend that is not there is an error", function()
  local run = route({ backend = "nowhere" }, {})
  test.is(run.ran, {})
  test.is(run.result.status, "unavailable")
  test.like(run.result.errors[1].message, 'no backend "nowhere"')
end)

test.case("a malformed rule fails, and says so", function()
  local run = route({ languages = "python" }, {})
  test.is(run.ran, {})
  test.is(run.result.errors[1].name, "PolicyError")
  test.like(run.result.errors[1].message, '"python" is no rule')
end)

test.case("import rules say so when nobody can parse the language", function()
  local run = test.run {
    policy = "route", options = { imports = "torch=container" }, input = { language = "bash" }, backend = "exec",
    analyze = function() return nil, "no backend can analyze bash" end,
  }
  test.is(run.ran, { "exec" })
  test.decided(run, "analyze", "import rules were not applied: no backend can analyze bash")
end)
