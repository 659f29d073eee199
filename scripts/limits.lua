-- limits: smaller limits than the configuration's, by language, backend or client.
--
-- [limits] of the INI are the ceilings of everything; this policy lowers them for some.
-- Of all rules that apply, and of what the request asks for, the smallest counts. The
-- backend is the one that is known so far: put this behind `route`.
--
--   [policy limits]
--   all = timeout=30s memory=512M         ; every execution
--   languages = c:processes=16 bash:timeout=5s
--   backends = exec:memory=256M exec:cpus=0.5
--   clients = guest:timeout=2s
--   over = clamp                          ; deny: a request that asks for more is refused

kiln.options {
  all = { type = "list", default = {}, help = "Limits of every execution: NAME=VALUE, as in [limits]." },
  languages = { type = "list", default = {}, help = "Rules LANGUAGE:NAME=VALUE." },
  backends = { type = "list", default = {}, help = "Rules BACKEND:NAME=VALUE." },
  clients = { type = "list", default = {}, help = "Rules CLIENT:NAME=VALUE; clients are named by the door that they come through." },
  over = { type = "string", default = "clamp", help = "What becomes of a request that asks for more: clamp or deny." },
}

local readers = {
  timeout = kiln.duration, cpu = kiln.duration, memory = kiln.size, output = kiln.size, disk = kiln.size,
  file_size = kiln.size, processes = tonumber, files = tonumber, open_files = tonumber, cpus = tonumber,
}

local function read(word, key)
  local name, text = word:match("^([^=]+)=(.+)$")
  local reader = readers[name]
  local value = reader and reader(text)
  if not value or value <= 0 then
    error(("[policy limits] %s: %q is no limit; write NAME=VALUE, as memory=256M"):format(key, word), 0)
  end
  return name, value
end

-- Puts the smallest of each into `found`.
local function lower(found, name, value)
  if not found[name] or value < found[name] then found[name] = value end
end

local function collect(options, input, ctx)
  local found = {}
  for _, word in ipairs(options.all) do lower(found, read(word, "all")) end
  local subjects = {
    languages = input.language, backends = input.backend or kiln.default_backend, clients = ctx.client,
  }
  for key, subject in pairs(subjects) do
    for _, rule in ipairs(options[key]) do
      local who, word = rule:match("^([^:]+):(.+)$")
      if not who then error(("[policy limits] %s: %q is no rule; write NAME:LIMIT=VALUE"):format(key, rule), 0) end
      if who == subject then lower(found, read(word, key)) end
    end
  end
  return found
end

return function(input, ctx, next)
  local over = ctx.options.over
  if over ~= "clamp" and over ~= "deny" then
    error(("[policy limits] over: %q: clamp or deny expected"):format(over), 0)
  end
  local changed, lowered
  for name, value in pairs(collect(ctx.options, input, ctx)) do
    changed = changed or kiln.copy(input)
    local asked = name == "timeout" and input.timeout_ms or input.limits[name]
    if asked and asked > value and over == "deny" then
      return kiln.deny(("%s %s is more than the %s that is allowed here"):format(name, asked, value))
    end
    if not asked or asked > value then
      if name == "timeout" then changed.timeout_ms = value else changed.limits[name] = value end
      lowered = lowered or {}
      lowered[#lowered + 1] = ("%s %s"):format(name, value)
    end
  end
  if not lowered then return next(input) end
  table.sort(lowered)
  ctx:decide("limit", table.concat(lowered, ", "))
  return next(changed)
end
