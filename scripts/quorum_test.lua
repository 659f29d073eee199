local function run(options, answers, input)
  local backends = {}
  for name, answer in pairs(answers) do
    backends[name] = { languages = answer.languages, run = function() return answer end }
  end
  return test.run { policy = "quorum", options = options, backends = backends, backend = "a", input = input }
end

test.case("as it ships it does nothing", function()
  local done = run({}, { a = { stdout = "1" }, b = { stdout = "2" } })
  test.is(done.result.status, "ok")
  test.is(done.ran, { "a" })
end)

test.case("two that agree: the first one's result", function()
  local done = run({ backends = "a b" }, { a = { stdout = "1\n" }, b = { stdout = "1\n" } })
  test.is(done.result.status, "ok")
  test.is(done.result.backend, "a")
  test.is(done.ran, { "a", "b" })
  test.decided(done, "quorum", "2 of 2 agree: a b")
end)

test.case("two that do not: unavailable, and in what they differ", function()
  local done = run({ backends = "a b" }, { a = { stdout = "1\n" }, b = { stdout = "2\n" } })
  test.is(done.result.status, "unavailable")
  test.is(done.result.errors[1].message, 'a and b disagree in stdout: "1", "2"')
  test.is(done.result.stdout, "")
  test.is(test.metric(done, "quorum_failed"), 1)
  done = run({ backends = "a b" }, { a = {}, b = { status = "crashed" } })
  test.is(done.result.errors[1].message, 'a and b disagree in status: "ok", "crashed"')
  done = run({ backends = "a b" }, { a = { status = "error", exit_code = 1 }, b = { status = "error", exit_code = 2 } })
  test.is(done.result.errors[1].message, 'a and b disagree in exit_code: "1", "2"')
end)

test.case("two of three outvote the third, even the first", function()
  local done = run({ backends = "a b c", agree = 2 }, { a = { stdout = "x" }, b = { stdout = "1" }, c = { stdout = "1" } })
  test.is(done.result.status, "ok")
  test.is(done.result.backend, "b")
  test.decided(done, "quorum", "2 of 3 agree: b c")
  done = run({ backends = "a b c" }, { a = { stdout = "x" }, b = { stdout = "1" }, c = { stdout = "1" } })
  test.is(done.result.status, "unavailable")
end)

test.case("what makes no difference", function()
  local a, b = { stdout = "<f at 0x7f12>  \r\n0.30000000000000004\n\n" }, { stdout = "<f at 0x55ab>\n0.3" }
  test.is(run({ backends = "a b", normalise = "space addresses numbers" }, { a = a, b = b }).result.status, "ok")
  test.is(run({ backends = "a b", normalise = "space addresses" }, { a = a, b = b }).result.status, "unavailable")
  test.is(run({ backends = "a b", normalise = "space numbers" }, { a = a, b = b }).result.status, "unavailable")
  test.is(run({ backends = "a b", normalise = "case" }, { a = { stdout = "A" }, b = { stdout = "a" } }).result.status, "ok")
end)

test.case("what is compared can be chosen", function()
  local a = { status = "error", stderr = "1", errors = { { kind = "user", name = "E", message = "1" } } }
  local b = { status = "error", stderr = "2", errors = { { kind = "user", name = "F", message = "2" } } }
  test.is(run({ backends = "a b" }, { a = a, b = b }).result.status, "error")
  test.is(run({ backends = "a b", compare = "stderr" }, { a = a, b = b }).result.status, "unavailable")
  test.is(run({ backends = "a b", compare = "error" }, { a = a, b = b }).result.status, "unavailable")
end)

test.case("languages: some only, and backends that speak them", function()
  local answers = { a = { languages = { "python" } }, b = { languages = { "*" } }, c = { languages = { "bash", "python" } } }
  test.is(run({ backends = "a b c", languages = "python" }, answers, { language = "bash" }).ran, { "a" })
  test.is(run({ backends = "a b c" }, answers, { language = "bash" }).ran, { "b", "c" })
  local done = run({ backends = "a b" }, answers, { language = "bash" })
  test.is(done.result.errors[1].message, "a quorum of 2 is asked for, and 1 backends speak bash")
  test.is(done.ran, {})
end)

test.case("a backend that is not there, or an option that is none, is told", function()
  test.like(run({ backends = "a x" }, { a = {} }).result.errors[1].message, 'no backend "x"')
  test.like(run({ backends = "a b", compare = "mood" }, { a = {}, b = {} }).result.errors[1].message, 'compare: no "mood"')
end)
