-- retry: runs it again elsewhere when its worker died.
--
-- Only where the engine or the backend is to blame: code that raised, was refused, ran
-- into a limit or was cancelled is not run twice. What the first try did to the outside
-- it has done; the backends of `fallback` should be such that this does not matter.
--
--   [policy retry]
--   fallback = exec container   ; tried in this order; empty: never again
--   on = crashed unavailable    ; statuses that are tried again
--   max_failures = 3            ; not any more when the session failed so often in a row; 0: always

kiln.options {
  fallback = { type = "list", default = {}, help = "Backends that are tried in this order. Empty: nothing is tried again." },
  on = { type = "list", default = { "crashed", "unavailable" }, help = "Statuses after which it is tried again." },
  max_failures = { type = "integer", default = 3, help = "Stops trying when the session has failed so often in a row. 0: never stops." },
}

local function contains(list, word)
  for _, entry in ipairs(list) do
    if entry == word then return true end
  end
  return false
end

local function speaks(backend, language)
  local known = kiln.backends[backend]
  return known and (contains(known.languages, language) or contains(known.languages, "*"))
end

return function(input, ctx, next)
  local options = ctx.options
  local result = next(input)
  for _, backend in ipairs(options.fallback) do
    if not contains(options.on, result.status) then break end
    if options.max_failures > 0 and ctx.failures >= options.max_failures then
      ctx:decide("stop", ("%d failures in a row"):format(ctx.failures))
      break
    end
    if not kiln.backends[backend] or (backend ~= result.backend and speaks(backend, input.language)) then
      ctx:decide("retry", backend) -- one that is not there is an error, and says so
      result = kiln.run(backend, input)
    end
  end
  return result
end
