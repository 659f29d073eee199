-- template.lua: code for a scenario that has an instruction and no code (`kiln eval`), by a
-- template and nothing else: the same scenario gives the same code. A model would be asked
-- in its place, through kiln.run on a backend that reaches one.
--
-- The template is the first fenced block of the source of truth whose info string is
-- "LANGUAGE template", else [policy template] code. In it {{name}}, {{instruction}},
-- {{source_of_truth}} (the file's name) and {{inputs}} (names, a list) stand for string
-- literals, quoted as JSON does, which Python and JavaScript read as well.
kiln.options {
  code = { type = "string", default = "", help = "the template where the source of truth holds none" },
  language = { type = "string", default = "python", help = "the language of `code`" },
}

-- The block's text and language, or nil.
local function block_of(text)
  local fence, language, lines
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    line = line:gsub("\r$", "")
    if fence and line == fence then return table.concat(lines, "\n") .. "\n", language end
    if fence then
      lines[#lines + 1] = line
    else
      local marks, word = line:match("^(```+)%s*(%S+) template$")
      if marks then fence, language, lines = marks, word, {} end
    end
  end
  if fence then error("the template's block has no end: " .. fence, 0) end
end

return {
  instruct = function(scenario, ctx)
    local source = scenario.source_of_truth
    local code, language = block_of(source and source.text or "")
    if not code and ctx.options.code ~= "" then
      code, language = ctx.options.code, scenario.language or ctx.options.language
    end
    if not code then
      error("no template: neither a \"LANGUAGE template\" block in the source of truth nor [policy template] code", 0)
    end
    local values = {
      name = kiln.json(scenario.name), instruction = kiln.json(scenario.instruction),
      source_of_truth = kiln.json(source and source.name or ""), inputs = kiln.json(scenario.inputs),
    }
    code = code:gsub("{{([%w_]+)}}", function(word)
      return values[word] or error("the template asks for {{" .. word .. "}}, which there is not", 0)
    end)
    ctx:decide("instruct", language .. ", " .. #code .. " bytes")
    return code, language
  end,
}
