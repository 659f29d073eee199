-- route: chooses the backend.
--
-- A backend that the caller asked for stays, unless `override` is set. Else, the first
-- that says something: what the code imports, how long it is, its language, `backend`,
-- and at last [engine] backend. If what was chosen does not speak the language, the
-- first of `fallback` that does is taken; if none does, the execution is refused as
-- unavailable, with the reason. A backend that is not there is an error, never skipped.
--
--   [policy route]
--   backend =                          ; empty: [engine] backend
--   languages = python=interpreter *=exec
--   imports = torch=container tensorflow=container   ; torch, and torch.x; parses the code
--   sizes = 64K=exec 1M=container      ; code of more bytes than that: the largest that applies
--   fallback = interpreter exec
--   override = false                   ; true: the rules also win over the caller's wish

kiln.options {
  backend = { type = "string", default = "", help = "The backend when no rule applies. Empty: [engine] backend." },
  languages = { type = "list", default = {}, help = "Rules LANGUAGE=BACKEND; * stands for any other language." },
  imports = { type = "list", default = {}, help = "Rules MODULE=BACKEND, the first that applies; they have the code parsed." },
  sizes = { type = "list", default = {}, help = "Rules SIZE=BACKEND for code of more bytes than SIZE (64K, 1M)." },
  fallback = { type = "list", default = { "interpreter", "exec" }, help = "Backends that are tried for a language that the chosen one does not speak." },
  override = { type = "boolean", default = false, help = "Whether the rules win over the backend that the caller asked for." },
}

local function rules(list)
  local pairs_of, i = {}, 0
  for _, rule in ipairs(list) do
    local key, backend = rule:match("^([^=]+)=([^=]+)$")
    if not key then error(("[policy route]: %q is no rule; write KEY=BACKEND"):format(rule), 0) end
    i = i + 1
    pairs_of[i] = { key = key, backend = backend }
  end
  return pairs_of
end

local function by_imports(options, input, ctx)
  if #options.imports == 0 then return nil end
  local analysis, failure = kiln.analyze(input.code, input.language)
  if not analysis then
    ctx:decide("analyze", "import rules were not applied: " .. failure)
    return nil
  end
  if analysis.error then return nil end -- it fails by itself, wherever it runs
  for _, rule in ipairs(rules(options.imports)) do
    for _, name in ipairs(analysis.imports or {}) do
      if name == rule.key or name:sub(1, #rule.key + 1) == rule.key .. "." then
        return rule.backend, "imports " .. name
      end
    end
  end
end

local function by_size(options, input)
  local chosen, largest
  for _, rule in ipairs(rules(options.sizes)) do
    local size = tonumber(rule.key) or kiln.size(rule.key)
    if not size then error(("[policy route]: %q is no size; write it like 64K or 1M"):format(rule.key), 0) end
    if #input.code > size and (not largest or size > largest) then
      chosen, largest = rule.backend, size
    end
  end
  return chosen, "code of " .. #input.code .. " bytes"
end

local function by_language(options, input)
  local any
  for _, rule in ipairs(rules(options.languages)) do
    if rule.key == input.language then return rule.backend, "language " .. rule.key end
    if rule.key == "*" then any = rule.backend end
  end
  return any, "language " .. input.language
end

local function speaks(backend, language)
  for _, spoken in ipairs(backend.languages) do
    if spoken == language or spoken == "*" then return true end
  end
  return false
end

-- The backend, and why; the reason is nil where it is the caller's or the default.
local function choose(options, input, ctx)
  if input.backend and not options.override then return input.backend end
  local chosen, why = by_imports(options, input, ctx)
  if not chosen then chosen, why = by_size(options, input) end
  if not chosen then chosen, why = by_language(options, input) end
  if chosen then return chosen, why end
  if input.backend then return input.backend end
  if options.backend ~= "" then return options.backend, "[policy route] backend" end
  return kiln.default_backend
end

return function(input, ctx, next)
  local options = ctx.options
  local chosen, why = choose(options, input, ctx)
  local backend = kiln.backends[chosen]
  if not backend then
    return kiln.unavailable(("no backend %q is loaded; see kiln plugins"):format(chosen))
  end
  if not speaks(backend, input.language) then
    local other
    for _, name in ipairs(options.fallback) do
      local candidate = kiln.backends[name]
      if candidate and speaks(candidate, input.language) then
        other = name
        break
      end
    end
    if not other then
      return kiln.unavailable(("backend %s does not run %s, and none of its fallbacks does (%s)"):format(
        chosen, input.language, table.concat(options.fallback, " ")))
    end
    chosen, why = other, ("%s does not run %s"):format(chosen, input.language)
  end
  ctx:decide("backend", why and chosen .. ": " .. why or chosen)
  if chosen == input.backend then return next(input) end
  local changed = kiln.copy(input)
  changed.backend = chosen
  return next(changed)
end
