-- quorum: runs it on several backends and answers only if enough of them agree.
--
-- Against a backend that is broken or was tampered with, not against code that is wrong:
-- all run the same code. Compared are the fields of `compare`, texts after `normalise`.
-- The answer is the result of the first backend, in the order of `backends`, among those
-- that agree; where not enough do, it is unavailable and says in what they differ. The
-- code runs as often as there are backends, whatever it does to the outside; backends
-- that keep state keep one each. Those that do not speak the language are left out.
--
--   [policy quorum]
--   backends = interpreter exec       ; empty: off
--   agree = 0                         ; how many must; 0: all
--   compare = status exit_code stdout ; stderr and error (the name of the first one), too
--   normalise = space addresses       ; also: numbers (to six digits), case
--   languages =                       ; empty: every language

kiln.options {
  backends = { type = "list", default = {}, help = "Backends that it runs on, all at once. Empty: this policy does nothing." },
  agree = { type = "integer", default = 0, help = "How many of them must agree. 0: all." },
  compare = { type = "list", default = { "status", "exit_code", "stdout" }, help = "What must be equal: status exit_code stdout stderr error." },
  normalise = { type = "list", default = { "space", "addresses" }, help = "What makes no difference: space (at the end of lines and of the text), addresses (0x7f..), numbers (past six digits), case." },
  languages = { type = "list", default = {}, help = "Languages for which it is done. Empty: all." },
}

local function contains(list, word)
  for _, entry in ipairs(list) do
    if entry == word then return true end
  end
  return false
end

local normalisers = {
  space = function(text) return (text:gsub("[ \t\r]+\n", "\n"):gsub("%s+$", "")) end,
  addresses = function(text) return (text:gsub("0x%x+", "0x")) end,
  numbers = function(text)
    return (text:gsub("%-?%d+%.%d+[eE]?[-+]?%d*", function(number)
      return tonumber(number) and ("%.6g"):format(tonumber(number))
    end))
  end,
  case = function(text) return text:lower() end,
}

local fields = {
  status = function(result) return result.status end,
  exit_code = function(result) return tostring(result.exit_code or 0) end,
  stdout = function(result) return result.stdout end,
  stderr = function(result) return result.stderr end,
  error = function(result) return result.errors[1] and result.errors[1].name or "" end,
}

local function view(result, options)
  local seen = {}
  for _, name in ipairs(options.compare) do
    local text = fields[name](result)
    for _, how in ipairs(options.normalise) do text = normalisers[how](text) end
    seen[name] = text
  end
  return seen
end

local function difference(a, b, options)
  for _, name in ipairs(options.compare) do
    if a[name] ~= b[name] then return name end
  end
end

local function check(options)
  for key, known in pairs { compare = fields, normalise = normalisers } do
    for _, word in ipairs(options[key]) do
      if not known[word] then error(("[policy quorum] %s: no %q"):format(key, word), 0) end
    end
  end
end

local function short(text)
  return ("%q"):format(#text <= 60 and text or text:sub(1, 57) .. "...")
end

return function(input, ctx, next)
  local options = ctx.options
  if #options.backends == 0 or (#options.languages > 0 and not contains(options.languages, input.language)) then
    return next(input)
  end
  check(options)
  local list = {}
  for _, name in ipairs(options.backends) do
    local backend = kiln.backends[name]
    if not backend then return kiln.unavailable(("no backend %q is loaded; see kiln plugins"):format(name)) end
    if contains(backend.languages, input.language) or contains(backend.languages, "*") then
      list[#list + 1] = { name, input }
    end
  end
  local needed = options.agree > 0 and options.agree or #list
  if #list < 2 or needed > #list then
    return kiln.unavailable(("a quorum of %d is asked for, and %d backends speak %s"):format(
      math.max(2, needed), #list, input.language))
  end
  local results = kiln.all(list)
  local views = {}
  for i, result in ipairs(results) do views[i] = view(result, options) end
  for i, mine in ipairs(views) do
    local agreeing = {}
    for j, other in ipairs(views) do
      if not difference(mine, other, options) then agreeing[#agreeing + 1] = list[j][1] end
    end
    if #agreeing >= needed then
      ctx:decide("quorum", ("%d of %d agree: %s"):format(#agreeing, #list, table.concat(agreeing, " ")))
      return results[i]
    end
  end
  local reason = "the backends disagree"
  for i = 2, #views do
    local name = difference(views[1], views[i], options)
    if name then
      reason = ("%s and %s disagree in %s: %s, %s"):format(list[1][1], list[i][1], name, short(views[1][name]),
        short(views[i][name]))
      break
    end
  end
  ctx:decide("quorum", reason)
  kiln.metric.count("quorum_failed")
  return kiln.unavailable(reason)
end
