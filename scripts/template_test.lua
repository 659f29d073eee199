local sot = "# Canon\n\n```python\nprint('no template')\n```\n\n```python template\nwhat = {{instruction}}\n" ..
  "print(what, {{source_of_truth}}, {{inputs}})\n```\n"
local function scenario(text)
  return {
    name = "n", instruction = 'say "hi" \\ there', inputs = { "a.md", "b" },
    source_of_truth = text and { name = "canon.md", text = text } or nil,
  }
end

test.case("the source of truth's template gives the code", function()
  local run = test.run { policy = "template", scenario = scenario(sot) }
  test.is(#run.calls, 1)
  test.is(run.calls[1].input.code, 'what = "say \\"hi\\" \\\\ there"\nprint(what, "canon.md", ["a.md","b"])\n')
  test.is(run.calls[1].input.language, "python")
  test.decided(run, "instruct")
end)

test.case("the same scenario gives the same code", function()
  local first = test.run { policy = "template", scenario = scenario(sot) }
  local second = test.run { policy = "template", scenario = scenario(sot) }
  test.is(first.calls[1].input.code, second.calls[1].input.code)
end)

test.case("the option is the template where there is no block", function()
  local run = test.run { policy = "template", options = { code = "echo {{name}}", language = "bash" }, scenario = scenario() }
  test.is(run.calls[1].input.code, 'echo "n"')
  test.is(run.calls[1].input.language, "bash")
end)

test.case("no template, a word that there is not, a block without end: nothing runs", function()
  for _, case in ipairs { "", "```python template\n{{frob}}\n```\n", "```python template\nprint(1)\n" } do
    local run = test.run { policy = "template", scenario = scenario(case) }
    test.is(run.result.status, "unavailable")
    test.is(#run.calls, 0)
  end
end)

test.case("policies around it see the code, also those before it", function()
  local run = test.run {
    policies = { "deny", "template" }, options = { deny = { imports = { "socket" } } },
    scenario = scenario("```python template\nimport socket\n```\n"), analyze = { imports = { "socket" } },
  }
  test.is(run.result.status, "denied")
  test.is(#run.calls, 0)
end)

test.case("code that is there is left alone", function()
  local run = test.run { policy = "template", input = { code = "print(1)" } }
  test.is(run.calls[1].input.code, "print(1)")
end)
