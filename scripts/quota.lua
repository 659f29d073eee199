-- quota: how many executions a session or a client may begin in a time, and how many of
-- them may run at once.
--
-- A window begins at a fixed time (each full minute of the engine's clock, say), so that
-- at most twice the number can fall around its edge. What was refused does not count. A
-- place is given back when the execution ends, however it ends. Counters live in the
-- engine's memory: all chains share them, a reload keeps them, a restart forgets them.
-- Clients are named by the door that they come through; without a name all are one.
--
--   [policy quota]
--   per = session                ; client, or all: everybody together
--   rate = 60/1m 1000/1d         ; each of them must be kept; empty: as many as one likes
--   concurrency = 2              ; 0: as many as one likes
--   wait = 5s                    ; how long it waits for a place before it is refused

kiln.options {
  per = { type = "string", default = "session", help = "Who is counted: session, client or all." },
  rate = { type = "list", default = {}, help = "Executions in a time, N/TIME: 60/1m 1000/1d." },
  concurrency = { type = "integer", default = 0, help = "Executions at once. 0: no such bound." },
  wait = { type = "duration", default = "0s", help = "How long an execution waits for its turn before it is refused." },
}

local function who(options, ctx)
  if options.per == "session" then return "session " .. ctx.session_id end
  if options.per == "all" then return "all" end
  if options.per ~= "client" then
    error(("[policy quota] per: %q: session, client or all expected"):format(options.per), 0)
  end
  local client = ctx.client or ""
  return "client " .. (#client <= 100 and not client:find("%z") and client or kiln.sha256(client))
end

local function windows(options, name)
  local list, now = {}, kiln.now()
  for i, word in ipairs(options.rate) do
    local count, time = word:match("^(%d+)/(.+)$")
    local length = count and kiln.duration(time)
    if not length or length == 0 then
      error(("[policy quota] rate: %q is no rate; write N/TIME, as 60/1m"):format(word), 0)
    end
    list[i] = {
      text = word, most = tonumber(count), left = length - now % length, length = length,
      key = ("quota %s %d %s"):format(time, math.floor(now / length), name),
    }
  end
  return list
end

-- Why it may not begin, or nil; then it is counted. Nothing comes between: no await.
local function begin(options, name)
  local list = windows(options, name)
  for _, window in ipairs(list) do
    if (kiln.store.get(window.key) or 0) >= window.most then
      return ("the quota of %s for %s is used up; again in %d s"):format(
        window.text, name, math.ceil(window.left / 1000))
    end
  end
  for _, window in ipairs(list) do kiln.store.incr(window.key, 1, window.length) end
end

local function take_place(options, name)
  if options.concurrency == 0 then return true end
  local until_, pause = kiln.now() + options.wait, 10
  while not kiln.store.hold("quota " .. name, options.concurrency) do
    local left = until_ - kiln.now()
    if left <= 0 then return false end
    kiln.sleep(math.min(pause, left))
    pause = math.min(2 * pause, 250)
  end
  return true
end

return function(input, ctx, next)
  local options = ctx.options
  local name = who(options, ctx)
  local reason
  if not take_place(options, name) then
    reason = ("%d executions of %s are running already"):format(options.concurrency, name)
  else
    reason = begin(options, name)
  end
  if not reason then return next(input) end
  ctx:decide("quota", reason)
  kiln.metric.count("quota_refused", 1, { per = options.per })
  return kiln.deny(reason)
end
