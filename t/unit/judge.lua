-- For transaction_test: refuses what was printed, once it has been.
return function(input, ctx, next)
  local result = next(input)
  if result.stdout:find("secret", 1, true) then
    return kiln.deny("it printed the secret")
  end
  return result
end
