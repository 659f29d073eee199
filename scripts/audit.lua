-- audit: one line of JSON in the log for each execution, refused ones included.
--
-- It stands outermost, so that it sees what the others made of the execution. The line
-- never holds code, input, output or the environment: the code's length and, if wanted,
-- its SHA-256.
--
--   [policy audit]
--   level = info     ; error, warning, info or debug: shown from [engine] log_level on
--   hash = true      ; the code's SHA-256

kiln.options {
  level = { type = "string", default = "info", help = "Level of the line in the log: error, warning, info or debug." },
  hash = { type = "boolean", default = true, help = "Whether the line holds the SHA-256 of the code." },
}

return function(input, ctx, next)
  if not kiln.logging(ctx.options.level) then return next(input) end
  local code, language = input.code, input.language
  local result = next(input)
  local names = {}
  for i, err in ipairs(result.errors) do names[i] = err.name end
  kiln.log(ctx.options.level, kiln.json {
    session = ctx.session_id,
    execution = ctx.execution_id,
    count = ctx.execution_count,
    language = language,
    backend = result.backend,
    status = result.status,
    exit_code = result.exit_code,
    signal = result.signal,
    duration_ms = result.duration_ms,
    errors = names,
    code_bytes = #code,
    code_sha256 = ctx.options.hash and kiln.sha256(code) or nil,
  })
  return result
end
