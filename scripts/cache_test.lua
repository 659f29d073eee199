local runs
local function run(spec)
  return test.run {
    policy = "cache", options = spec.options, backend = "exec", session_id = spec.session,
    input = spec.input or { code = "# kiln: deterministic\nprint(1)" },
    backends = {
      exec = { languages = { "*" }, run = function(input, number)
        runs = runs + 1
        return spec.answer or { stdout = "1\n", duration_ms = 70 }
      end },
      interpreter = { stateful = true, languages = { "python" }, run = function() runs = runs + 1 return {} end },
    },
  }
end

test.case("what was declared deterministic runs once", function()
  runs = 0
  local first, second = run {}, run { session = "other" }
  test.is(runs, 1)
  test.is(second.result.stdout, "1\n")
  test.is(second.result.status, "ok")
  test.is(second.result.backend, "exec")
  test.is(second.result.session_id, "other")
  test.decided(first, "cache", "kept")
  test.decided(second, "cache", "hit")
  test.is(test.metric(second, "cache", { outcome = "hit" }), 1)
end)

test.case("nothing else is kept", function()
  runs = 0
  for _ = 1, 2 do run { input = { code = "print(1) # not in the first line\n# kiln: deterministic" } } end
  test.is(runs, 2)
  for _ = 1, 2 do run { options = { marker = "" } } end
  test.is(runs, 4)
end)

test.case("a language can be declared as a whole", function()
  runs = 0
  for _ = 1, 2 do run { options = { languages = "c" }, input = { code = "x", language = "c" } } end
  test.is(runs, 1)
end)

test.case("another question is another answer", function()
  runs = 0
  local code = "# kiln: deterministic"
  local questions = {
    { code = code }, { code = code .. " " }, { code = code, language = "lua" }, { code = code, stdin = "x" },
    { code = code, args = { "a" } }, { code = code, args = { "a", "" } }, { code = code, env = { A = "b" } },
    { code = code, timeout_ms = 5 }, { code = code, limits = { memory = 2 ^ 20 } },
    { code = code, input_files = { { name = "a", content = "x" } } },
    { code = code, input_files = { { name = "a", content = "y" } } },
    { code = code, input_files = { { name = "b", content = "y" } } },
  }
  for _ = 1, 2 do
    for _, input in ipairs(questions) do run { input = input } end
    test.is(runs, #questions)
  end
end)

test.case("not where a backend keeps state", function()
  runs = 0
  local input = { code = "# kiln: deterministic", backend = "interpreter" }
  for _ = 1, 2 do test.decided(run { input = input }, "cache", "passed: interpreter keeps state") end
  test.is(runs, 2)
end)

test.case("until its time is over", function()
  runs = 0
  run { options = { ttl = "1m" } }
  test.advance(59999)
  run { options = { ttl = "1m" } }
  test.is(runs, 1)
  test.advance(1)
  run { options = { ttl = "1m" } }
  test.is(runs, 2)
end)

test.case("failures of the machine, files and cut output are not kept", function()
  for reason, answer in pairs {
    ["not kept: crashed"] = { status = "crashed" },
    ["not kept: timeout"] = { status = "timeout" },
    ["not kept: it made files, which are not kept"] = { output_files = { { name = "a.png", size = 1 } } },
    ["not kept: it is too large"] = { stdout = ("x"):rep(2 ^ 20) },
  } do
    runs = 0
    test.decided(run { answer = answer }, "cache", reason)
    run { answer = answer }
    test.is(runs, 2, reason)
  end
end)

test.case("an error of the code is an answer, unless that is not wanted", function()
  runs = 0
  local answer = { status = "error", exit_code = 3, stderr = "no\n", errors = { { kind = "user", name = "E", message = "m" } } }
  local first, second = run { answer = answer }, run { answer = answer }
  test.is(runs, 1)
  test.is(second.result.exit_code, 3)
  test.is(second.result.stderr, "no\n")
  test.is(second.result.errors, first.result.errors)
  for _ = 1, 2 do run { answer = answer, options = { keep = "ok" }, input = { code = "# kiln: deterministic 2" } } end
  test.is(runs, 3)
end)

test.case("a question that cannot be told apart is asked", function()
  runs = 0
  local input = { code = "# kiln: deterministic", input_files = { { name = "a", path = "/nowhere/at/all" } } }
  local told = run { input = input }
  run { input = input }
  test.is(runs, 2)
  test.like(told.decisions[1].detail, "^passed: /nowhere/at/all: ")
end)
