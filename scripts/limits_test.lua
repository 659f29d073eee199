local function ran(options, input, spec)
  spec = spec or {}
  local run = test.run {
    policy = "limits", options = options, input = input, client = spec.client, backend = spec.backend,
  }
  return run.calls[1] and run.calls[1].input, run
end

test.case("as it ships it changes nothing", function()
  local input, run = ran({}, { timeout_ms = 5000 })
  test.is(input.timeout_ms, 5000)
  test.is(run.decisions, {})
end)

test.case("for every execution, with units", function()
  local input, run = ran { all = "timeout=30s memory=512M processes=8 cpus=0.5" }
  test.is(input.timeout_ms, 30000)
  test.is(input.limits.memory, 512 * 2 ^ 20)
  test.is(input.limits.processes, 8)
  test.is(input.limits.cpus, 0.5)
  test.decided(run, "limit", "cpus 0.5, memory 536870912, processes 8, timeout 30000")
end)

test.case("the smallest of the rules and the request counts", function()
  local options = { all = "timeout=30s", languages = { "bash:timeout=5s", "c:timeout=1s" } }
  test.is(ran(options, { language = "bash" }).timeout_ms, 5000)
  test.is(ran(options, { language = "bash", timeout_ms = 100 }).timeout_ms, 100)
  test.is(ran(options, { language = "bash", timeout_ms = 9000 }).timeout_ms, 5000)
  test.is(ran(options, { language = "python", timeout_ms = 9000 }).timeout_ms, 9000)
end)

test.case("by backend and by client", function()
  local options = { backends = "exec:memory=1M", clients = "guest:memory=2M" }
  test.is(ran(options, {}, { backend = "exec", client = "guest" }).limits.memory, 2 ^ 20)
  test.is(ran(options, {}, { client = "guest" }).limits.memory, 2 ^ 21)
  test.is(ran(options, { backend = "exec" }).limits.memory, 2 ^ 20)
  test.is(ran(options, {}, { client = "other" }).limits, {})
end)

test.case("asking for more is refused where that is wanted", function()
  local input, run = ran({ all = "memory=1M", over = "deny" }, { limits = { memory = 2 ^ 21 } })
  test.is(input, nil)
  test.is(run.result.status, "denied")
  test.like(run.result.errors[1].message, "memory 2097152 is more than the 1048576")
  test.is(ran({ all = "memory=1M", over = "deny" }).limits.memory, 2 ^ 20)
end)

test.case("a rule that is none is told, and nothing runs", function()
  for _, options in ipairs { { all = "memroy=1M" }, { all = "memory" }, { all = "memory=much" }, { all = "cpus=0" },
    { languages = "timeout=5s" }, { over = "ignore" } } do
    local input, run = ran(options)
    test.is(input, nil)
    test.is(run.result.status, "unavailable")
    test.like(run.result.errors[1].message, "%[policy limits%]")
  end
end)
