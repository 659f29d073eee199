-- cache: the same question gets the same answer, without running it again.
--
-- Only where it was declared that the answer depends on the question alone: code whose
-- first line holds `marker` in a comment, or every code of `languages`. Of the same
-- question are: language, backend, code, stdin, arguments, environment, limits, and the
-- names and contents of the input files. Not of it: the clock, chance, the network, and
-- what earlier executions of the session left behind; who declares says that none counts.
--
-- Kept are results with a status of `keep` whose output was not cut and that made no
-- files (a file would have to be there for the next cell, too), up to 1M each and 64M in
-- all, the oldest first; in the engine's memory, until `ttl` is over or a reload. Never
-- asked, never filled: backends that keep state, because a cell that did not run would
-- leave nothing behind. Put it behind `route`, which sets the backend.
--
--   [policy cache]
--   marker = kiln: deterministic
--   languages = c lua           ; all of their code is
--   ttl = 10m
--   keep = ok error

kiln.options {
  marker = { type = "string", default = "kiln: deterministic", help = "Text in the first line of code that declares it deterministic. Empty: none." },
  languages = { type = "list", default = {}, help = "Languages all of whose code is deterministic." },
  ttl = { type = "duration", default = "10m", help = "How long a result is kept." },
  keep = { type = "list", default = { "ok", "error" }, help = "Statuses of results that are kept." },
}

local function contains(list, word)
  for _, entry in ipairs(list) do
    if entry == word then return true end
  end
  return false
end

local function declared(options, input)
  if contains(options.languages, input.language) then return true end
  local first = input.code:match("^[^\n]*")
  return options.marker ~= "" and first:find(options.marker, 1, true) ~= nil
end

local function told(ctx, outcome, detail)
  ctx:decide("cache", detail or outcome)
  kiln.metric.count("cache", 1, { outcome = outcome })
end

return function(input, ctx, next)
  local options = ctx.options
  if not declared(options, input) then return next(input) end
  local question = kiln.copy(input)
  question.backend = input.backend or kiln.default_backend
  local backend = kiln.backends[question.backend]
  if not backend or backend.stateful then
    told(ctx, "passed", ("passed: %s keeps state"):format(question.backend))
    return next(input)
  end
  local key, why = kiln.fingerprint(question)
  if not key then
    told(ctx, "passed", "passed: " .. why)
    return next(input)
  end
  local result = kiln.store.recall("cache " .. key)
  if result then
    told(ctx, "hit")
    return result
  end
  result = next(input)
  if not contains(options.keep, result.status) then
    told(ctx, "missed", "not kept: " .. result.status)
    return result
  end
  local kept
  kept, why = kiln.store.remember("cache " .. key, result, options.ttl)
  told(ctx, "missed", kept and "kept" or "not kept: " .. why)
  return result
end
