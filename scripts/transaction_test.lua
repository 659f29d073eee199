test.case("asks for a transaction, and changes nothing else", function()
  local run = test.run { policy = "transaction", input = { code = "x = 1" } }
  test.is(run.result.status, "ok")
  test.is(run.calls[1].input.transaction, true)
  test.is(run.calls[1].input.code, "x = 1")
  test.is(run.decisions, {})
end)

test.case("a failure is handed on as it is", function()
  local run = test.run {
    policy = "transaction", backends = { interpreter = function() return { status = "error" } end },
  }
  test.is(run.result.status, "error")
  test.is(run.ran, { "interpreter" })
end)

test.case("not on a backend that cannot undo", function()
  local run = test.run {
    policy = "transaction", input = { code = "x", backend = "exec" },
    backends = { exec = function() return { stdout = "" } end },
  }
  test.is(run.calls[1].input.transaction, false)
  test.decided(run, "without", "exec")
end)

test.case("unless it is told that it can", function()
  local run = test.run {
    policy = "transaction", options = { backends = { "exec" } }, input = { code = "x", backend = "exec" },
    backends = { exec = function() return { stdout = "" } end },
  }
  test.is(run.calls[1].input.transaction, true)
end)
