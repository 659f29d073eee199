local function crash() return { status = "crashed", signal = 11 } end
local function fine() return { stdout = "fine\n" } end

test.case("what succeeds runs once", function()
  local run = test.run { policy = "retry", options = { fallback = { "exec" } } }
  test.is(run.result.status, "ok")
  test.is(run.ran, { "interpreter" })
  test.is(run.decisions, {})
end)

test.case("goes elsewhere when its worker died", function()
  local run = test.run {
    policy = "retry", options = { fallback = { "exec", "container" } }, backend = "interpreter",
    backends = { interpreter = crash, exec = fine, container = fine }, input = { code = "x" },
  }
  test.is(run.result.status, "ok")
  test.is(run.result.stdout, "fine\n")
  test.is(run.ran, { "interpreter", "exec" })
  test.is(run.calls[2].input.code, "x")
  test.decided(run, "retry", "exec")
end)

test.case("tries all, and tells the last one's end", function()
  local run = test.run {
    policy = "retry", options = { fallback = "exec container" }, backend = "interpreter",
    backends = { interpreter = crash, exec = function() return { status = "unavailable" } end, container = crash },
  }
  test.is(run.ran, { "interpreter", "exec", "container" })
  test.is(run.result.status, "crashed")
end)

test.case("the code's own failures are not tried again", function()
  for _, status in ipairs { "error", "timeout", "limit", "interrupted", "skipped" } do
    local run = test.run {
      policy = "retry", options = { fallback = { "exec" } }, backend = "interpreter",
      backends = { interpreter = function() return { status = status } end, exec = fine },
    }
    test.is(run.ran, { "interpreter" }, status)
    test.is(run.result.status, status)
  end
end)

test.case("gives up on a session that keeps failing", function()
  local run = test.run {
    policy = "retry", options = { fallback = { "exec" }, max_failures = 2 }, failures = 2, backend = "interpreter",
    backends = { interpreter = crash, exec = fine },
  }
  test.is(run.ran, { "interpreter" })
  test.decided(run, "stop")
end)

test.case("a backend that does not speak the language is left out, one that is not there is told", function()
  local run = test.run {
    policy = "retry", options = { fallback = { "interpreter", "nowhere" } }, backend = "exec",
    input = { language = "bash" },
    backends = { exec = crash, interpreter = { languages = { "python" } } },
  }
  test.is(run.ran, { "exec" })
  test.is(run.result.status, "unavailable")
  test.like(run.result.errors[1].message, "nowhere")
end)
