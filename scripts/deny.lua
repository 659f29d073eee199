-- deny: refuses code by language, by what it imports or calls, or by its text.
--
-- Imports and calls are those that the language's own parser finds, in a confined
-- process; it is asked only when `imports` or `calls` is set. This keeps honest code
-- within a house rule. It is no boundary: names can be built at run time. The sandbox is
-- the boundary.
--
--   [policy deny]
--   languages = bash c               ; refused altogether
--   imports = socket requests        ; socket, and socket.x
--   calls = eval os.system os.exec*  ; names as written; * at the end stands for any ending
--   patterns = rm -rf /proc/         ; words that the text must not hold, as they are
--   uninspected = deny               ; allow: what cannot be parsed may run
--   message = Ask the operators.     ; put behind the reason

kiln.options {
  languages = { type = "list", default = {}, help = "Languages that are refused." },
  imports = { type = "list", default = {}, help = "Modules that must not be imported, with their submodules." },
  calls = { type = "list", default = {}, help = "Functions that must not be called, as the code names them; a * at the end stands for any ending." },
  patterns = { type = "list", default = {}, help = "Words that the code must not hold, as plain text." },
  uninspected = { type = "string", default = "deny", help = "What happens to code that cannot be parsed, when imports or calls are to be looked for: deny or allow." },
  message = { type = "string", default = "", help = "Text put behind the reason." },
}

local function imported(names, module)
  for _, name in ipairs(names) do
    if name == module or name:sub(1, #module + 1) == module .. "." then return name end
  end
end

local function called(names, wanted)
  local prefix = wanted:match("^(.*)%*$")
  for _, name in ipairs(names) do
    if name == wanted or (prefix and name:sub(1, #prefix) == prefix) then return name end
  end
end

-- Why it must not run, or nil.
local function forbidden(input, options)
  for _, language in ipairs(options.languages) do
    if input.language == language then return "the language " .. language .. " is refused" end
  end
  for _, word in ipairs(options.patterns) do
    if input.code:find(word, 1, true) then return "the code holds \"" .. word .. "\"" end
  end
  if #options.imports == 0 and #options.calls == 0 then return nil end
  local analysis, failure = kiln.analyze(input.code, input.language)
  if analysis and analysis.error then
    failure = ("%s: %s, line %s"):format(analysis.error.name or "error", analysis.error.message or "?",
      tostring(analysis.error.line or "?"))
  end
  if failure then
    if options.uninspected == "allow" then return nil end
    return "the code cannot be inspected: " .. failure
  end
  for _, module in ipairs(options.imports) do
    local name = imported(analysis.imports or {}, module)
    if name then return "the code imports " .. name end
  end
  for _, wanted in ipairs(options.calls) do
    local name = called(analysis.calls or {}, wanted)
    if name then return "the code calls " .. name end
  end
end

return function(input, ctx, next)
  local reason = forbidden(input, ctx.options)
  if not reason then return next(input) end
  ctx:decide("deny", reason)
  if ctx.options.message ~= "" then reason = reason .. ". " .. ctx.options.message end
  return kiln.deny(reason)
end
