-- imports: puts the notebook's imports before the code where the backend keeps no state.
--
-- In a session on a backend without state a cell would miss what earlier cells
-- imported. The import lines of the session's earlier cells that succeeded, found by
-- Python's own parser, go in front of the code, `from __future__` first, all in one
-- line: line numbers in tracebacks are one higher than in the cell. Where the code
-- begins with `from __future__` of its own, they go behind that.
-- Backends that keep state, and languages other than Python, are left alone.

local function future(line)
  return line:find("^from%s+__future__%s") ~= nil
end

-- Where ordinary imports may stand: behind the code's own `from __future__`.
local function insertion_point(code)
  local at = 1
  for start, line, stop in code:gmatch("()(from%s+__future__%s+import[^\n]*)()") do
    if start == 1 or code:sub(start - 1, start - 1) == "\n" then
      if line:find("(", 1, true) and not line:find(")", 1, true) then
        stop = (code:find(")", stop, true) or #code) + 1
      end
      at = (code:find("\n", stop, true) or #code) + 1
    end
  end
  return at
end

return function(input, ctx, next)
  local backend = kiln.backends[input.backend or kiln.default_backend]
  if input.language ~= "python" or ctx.execution_count == 1 or not backend or backend.stateful then
    return next(input)
  end
  local lines, failure = ctx.notebook:get_imports()
  if not lines then
    return kiln.unavailable("the notebook's imports cannot be told: " .. failure)
  end
  if #lines == 0 then return next(input) end
  local first, others, single = {}, {}, true
  for _, line in ipairs(lines) do
    local into = future(line) and first or others
    into[#into + 1] = line
    single = single and not line:find("\n", 1, true)
  end
  local between = single and "; " or "\n"
  local changed = kiln.copy(input)
  local at = insertion_point(input.code)
  local head = input.code:sub(1, at - 1)
  if head ~= "" and head:sub(-1) ~= "\n" then head = head .. "\n" end
  if #first > 0 then head = table.concat(first, between) .. (at > 1 and "\n" or between) .. head end
  changed.code = head .. table.concat(others, between) .. "\n" .. input.code:sub(at)
  ctx:decide("imports", ("%d lines"):format(#lines))
  return next(changed)
end
