local function run(options, spec)
  spec = spec or {}
  return test.run {
    policy = "quota", options = options, session_id = spec.session, client = spec.client, backends = spec.backends,
  }
end

test.case("as it ships everything may run", function()
  for _ = 1, 20 do test.is(run({}).result.status, "ok") end
end)

test.case("a rate, and when it is new again", function()
  local options = { rate = "3/1m" }
  for _ = 1, 3 do test.is(run(options).result.status, "ok") end
  test.advance(20000)
  local refused = run(options)
  test.is(refused.result.status, "denied")
  test.is(refused.result.errors[1].message, "the quota of 3/1m for session test is used up; again in 40 s")
  test.decided(refused, "quota")
  test.is(refused.ran, {})
  test.is(test.metric(refused, "quota_refused", { per = "session" }), 1)
  test.advance(40000)
  test.is(run(options).result.status, "ok")
end)

test.case("each of several rates; what is refused counts for none", function()
  local options = { rate = "2/1s 5/1h" }
  local ok = 0
  for _ = 1, 10 do
    for _ = 1, 4 do
      if run(options).result.success then ok = ok + 1 end
    end
    test.advance(1000)
  end
  test.is(ok, 5)
end)

test.case("sessions are counted apart, clients are, or all together", function()
  test.is(run({ rate = "1/1m" }, { session = "a" }).result.status, "ok")
  test.is(run({ rate = "1/1m" }, { session = "b" }).result.status, "ok")
  test.is(run({ rate = "1/1m" }, { session = "a" }).result.status, "denied")
  local options = { rate = "1/1m", per = "client" }
  test.is(run(options, { session = "c", client = "x" }).result.status, "ok")
  test.is(run(options, { session = "d", client = "x" }).result.status, "denied")
  test.is(run(options, { session = "d", client = "y" }).result.status, "ok")
  test.is(run(options, { session = "d", client = ("z"):rep(5000) }).result.status, "ok")
  test.is(run(options, { session = "d" }).result.status, "ok")
  options = { rate = "1/1m", per = "all" }
  test.is(run(options, { session = "e" }).result.status, "ok")
  test.is(run(options, { session = "f" }).result.status, "denied")
end)

test.case("so many at once, and a place is free again when one ended", function()
  local inner
  local options = { concurrency = 1 }
  local function nested() inner = run(options) return {} end
  local outer = run(options, { backends = { interpreter = nested } })
  test.is(outer.result.status, "ok")
  test.is(inner.result.status, "denied")
  test.is(inner.result.errors[1].message, "1 executions of session test are running already")
  test.is(run(options).result.status, "ok")
end)

test.case("it waits for its turn", function()
  local inner
  local options = { concurrency = 1, wait = "2s" }
  local function nested() inner = run(options) return {} end
  run(options, { backends = { interpreter = nested } })
  test.is(inner.result.status, "denied")
  test.is(inner.slept, 2000)
end)

test.case("a place is given back by one that failed, too", function()
  local options = { concurrency = 1 }
  run(options, { backends = { interpreter = function() return { status = "crashed" } end } })
  test.is(run(options).result.status, "ok")
end)

test.case("what is no quota is told, and nothing runs", function()
  for _, options in ipairs { { rate = "many" }, { rate = "3/0s" }, { per = "planet" } } do
    local failed = run(options)
    test.is(failed.result.status, "unavailable")
    test.like(failed.result.errors[1].message, "%[policy quota%]")
    test.is(failed.ran, {})
  end
end)
