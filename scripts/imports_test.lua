local function ran(spec)
  local run = test.run {
    policy = "imports", backend = "exec", execution_count = spec.count or 2, imports = spec.imports,
    backends = { exec = { stateful = spec.stateful or false } },
    input = { code = spec.code, language = spec.language },
  }
  test.is(run.result.status, "ok")
  return run.calls[1].input.code, run
end
local numpy = { "import numpy as np", "from math import pi" }

test.case("before the code, in order, in one line", function()
  local code, run = ran { code = "print(np.pi)\n", imports = numpy }
  test.is(code, "import numpy as np; from math import pi\nprint(np.pi)\n")
  test.decided(run, "imports", "2 lines")
end)

test.case("not in the first cell, nor where there are none", function()
  test.is(ran { code = "x", imports = numpy, count = 1 }, "x")
  local code, run = ran { code = "x", imports = {} }
  test.is(code, "x")
  test.is(run.decisions, {})
end)

test.case("not where the backend keeps state", function()
  test.is(ran { code = "x", imports = numpy, stateful = true }, "x")
end)

test.case("not in other languages", function()
  test.is(ran { code = "x", imports = numpy, language = "bash" }, "x")
end)

test.case("from __future__ comes first", function()
  test.is(ran { code = "x", imports = { "import os", "from __future__ import annotations" } },
    "from __future__ import annotations; import os\nx")
end)

test.case("the code's own from __future__ stays in front", function()
  test.is(ran { code = "from __future__ import annotations\nx\n", imports = numpy },
    "from __future__ import annotations\nimport numpy as np; from math import pi\nx\n")
  test.is(ran { code = "'''doc'''\nfrom __future__ import (\n  annotations,\n)\nx", imports = { "import os" } },
    "'''doc'''\nfrom __future__ import (\n  annotations,\n)\nimport os\nx")
  test.is(ran { code = "from __future__ import annotations", imports = { "import os" } },
    "from __future__ import annotations\nimport os\n")
end)

test.case("the caller's input stays as it was for the policies around", function()
  local run = test.run {
    policies = { "audit", "imports" }, options = { audit = { hash = false } }, backend = "exec",
    backends = { exec = {} }, execution_count = 2, imports = numpy, input = { code = "12345" },
  }
  test.ok(run.log[1].text:find('"code_bytes":5', 1, true))
end)

test.case("imports that cannot be told: it does not run without them", function()
  local run = test.run {
    policy = "imports", backend = "exec", backends = { exec = {} }, execution_count = 2, imports = "no analyzer",
  }
  test.is(run.ran, {})
  test.is(run.result.status, "unavailable")
  test.is(run.result.errors[1].message, "the notebook's imports cannot be told: no analyzer")
end)
