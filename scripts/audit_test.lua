local code = "print('secret')"

test.case("one line tells of an execution", function()
  local run = test.run {
    policy = "audit", session_id = "s1", execution_count = 3, input = { code = code },
    backends = { exec = function() return { status = "error", exit_code = 3, duration_ms = 1.5, stdout = "hidden" } end },
  }
  test.is(#run.log, 1)
  test.is(run.log[1].level, "info")
  for _, part in ipairs { '"session":"s1"', '"count":3', '"status":"error"', '"exit_code":3', '"backend":"exec"',
    '"language":"python"', '"code_bytes":15', '"duration_ms":1.5' } do
    test.ok(run.log[1].text:find(part, 1, true), part)
  end
end)

test.case("code and output stay out of it", function()
  local run = test.run {
    policy = "audit", input = { code = code, env = { KEY = "topsecret" }, stdin = "answer" },
    backends = { exec = function() return { stdout = "hidden" } end },
  }
  for _, word in ipairs { "print", "hidden", "topsecret", "answer" } do
    test.ok(not run.log[1].text:find(word, 1, true), word)
  end
  -- as sha256sum says
  test.ok(run.log[1].text:find("3c59a50dd5ce110cef3866a3abbf0d1cb0a7e5760ade35eb69a2a1bee5605075", 1, true), "hash")
end)

test.case("the hash can be left out, the level chosen", function()
  local run = test.run { policy = "audit", options = { hash = false, level = "warning" }, input = { code = code } }
  test.ok(not run.log[1].text:find("sha256", 1, true))
  test.is(run.log[1].level, "warning")
end)

test.case("a refused execution has its line, too", function()
  local run = test.run {
    policies = { "audit", "deny" }, options = { deny = { patterns = "secret" } }, input = { code = code },
  }
  test.is(run.ran, {})
  test.ok(run.log[1].text:find('"status":"denied"', 1, true))
end)
