-- transaction: a failed cell leaves the session as it was.
--
-- Variables and files become what they were before the cell when it raises, exits
-- non-zero, is cut off or dies, and also when a policy further out turns its result into
-- anything but `ok`. Where that cannot be promised (threads, shared memory or processes
-- that earlier cells left; a backend that cannot undo), the cell is refused and does not
-- run. What a cell sent elsewhere is sent.
--
--   [policy transaction]
--   backends = interpreter      ; those that can undo; on others cells run as they do without

kiln.options {
  backends = { type = "list", default = { "interpreter" }, help = "Backends whose cells are undone when they fail. On another that the request or a policy names, cells run without." },
}

local function contains(list, word)
  for _, entry in ipairs(list) do
    if entry == word then return true end
  end
  return false
end

return function(input, ctx, next)
  if input.backend and not contains(ctx.options.backends, input.backend) then
    ctx:decide("without", input.backend)
    return next(input)
  end
  local undoable = kiln.copy(input)
  undoable.transaction = true
  return next(undoable)
end
