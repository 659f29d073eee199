#!/usr/bin/env luajit
-- `kiln run` of notebooks.
local tap = require("tap")
local json = require("json")
local dir = tap.tempdir()

local function run(...) return tap.run { argv = { "kiln", "run", ... }, cwd = dir } end
local function read(name) return tap.read(dir .. "/" .. name) end
local function notebook(name, text) return tap.write(dir .. "/" .. name, text) and name end
local function valid(name)
  local r = tap.run { "/usr/bin/python3", "-W", "error", "-c",
    "import nbformat, sys; nbformat.validate(nbformat.read(sys.argv[1], 4))", dir .. "/" .. name }
  tap.is(r.code, 0, name .. " is valid")
  if r.code ~= 0 then tap.diag(r.err) end
end

local text = [[
{"nbformat": 4, "nbformat_minor": 5,
 "metadata": {"zz": {"b": 0.1, "a": 1}, "kernelspec": {"name": "python3", "display_name": "P", "language": "python"}},
 "cells": [
 {"cell_type": "markdown", "id": "m", "metadata": {"x": 1}, "source": ["# t"],
  "attachments": {"a.png": {"image/png": "AA=="}}},
 {"cell_type": "code", "id": "one", "metadata": {}, "source": ["x = 1\n", "print('one')\n", "x + 1"],
  "outputs": [], "execution_count": 99},
 {"cell_type": "code", "id": "blank", "metadata": {}, "source": " \n", "outputs": [],
  "execution_count": 98},
 {"cell_type": "code", "id": "skipped", "metadata": {"tags": ["skip-execution"]},
  "source": "1/0", "outputs": [], "execution_count": 97},
 {"cell_type": "code", "id": "expected", "metadata": {"tags": ["raises-exception"]},
  "source": "1/0", "outputs": [], "execution_count": null},
 {"cell_type": "code", "id": "fails", "metadata": {}, "source": "undefined_name", "outputs": [],
  "execution_count": null},
 {"cell_type": "raw", "id": "r", "metadata": {}, "source": "raw"},
 {"cell_type": "code", "id": "last", "metadata": {}, "source": "print(x)",
  "outputs": [{"output_type": "stream", "name": "stdout", "text": "stale"}],
  "execution_count": 5}]}
]]
notebook("n.ipynb", text)
local r = run("n.ipynb")
tap.is(r.code, 1, "exit status of the first cell that failed")
tap.contains(r.out, "one\n2\n", "outputs as they come")
tap.contains(r.err, "n.executed.ipynb", "the executed notebook is named")
valid("n.executed.ipynb")
local made = json.decode(read("n.executed.ipynb"))
local cells = made.cells
tap.is(cells[2].execution_count, 1, "execution count")
tap.is(cells[2].outputs[1].output_type, "stream", "stream")
tap.is(cells[2].outputs[1].text[1], "one\n", "its text, by lines")
tap.is(cells[2].outputs[2].output_type, "execute_result", "last value")
tap.is(cells[2].outputs[2].data["text/plain"][1], "2", "and what it is")
tap.is(cells[2].outputs[2].execution_count, 1, "with its count")
tap.is(cells[3].execution_count, json.null, "a blank cell is not run")
tap.is(cells[4].execution_count, 97, "nor one tagged skip-execution, which stays as it was")
tap.is(cells[5].outputs[1].ename, "ZeroDivisionError", "an expected error is shown")
tap.is(cells[6].outputs[1].ename, "NameError", "and stops nothing, as the next one does")
tap.is(#cells[8].outputs, 0, "a cell that was not reached holds nothing stale")
tap.is(cells[8].execution_count, json.null, "nor a count")
tap.is(cells[1].attachments["a.png"]["image/png"], "AA==", "attachments stay")
tap.like(read("n.executed.ipynb"), '"zz": {\n   "b": 0%.1,\n   "a": 1\n  }', "unknown keys stay, in order")
tap.is(read("n.ipynb"), text, "the source is untouched")

r = run("--keep-going", "--json", "-o", "out", "n.ipynb")
tap.is(r.code, 1, "--keep-going keeps the exit status")
local report = json.decode(r.out)
tap.is(report.notebook, "out/n.ipynb", "--json: where it is")
tap.is(report.success, false, "success")
tap.is(report.status, "error", "status of the first failure")
tap.is(#report.results, 4, "a Result for each cell that ran")
tap.is(report.results[1].cell_id, "one", "with its id")
tap.is(report.results[4].stdout, "1\n", "the session's state is kept over a failure")
valid("out/n.ipynb")

notebook("updates.ipynb", [[{"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [
 {"cell_type": "code", "metadata": {}, "source": "h = display('a', display_id='i'); display('b', display_id='i');", "outputs": [], "execution_count": null},
 {"cell_type": "markdown", "metadata": {}, "source": ""},
 {"cell_type": "code", "metadata": {}, "source": "update_display('c', display_id='i', metadata={'m': 1}); print('x'); display('d', display_id='i');", "outputs": [], "execution_count": null},
 {"cell_type": "code", "metadata": {}, "source": "h.update('e'); update_display('f', display_id='unknown')", "outputs": [], "execution_count": null}]}]])
tap.is(run("updates.ipynb").code, 0, "displays that later cells update")
valid("updates.executed.ipynb")
local updated = json.decode(read("updates.executed.ipynb")).cells
local function shows(cell)
  local texts = {}
  for _, output in ipairs(updated[cell].outputs) do
    texts[#texts + 1] = output.data and output.data["text/plain"][1] or output.text[1]
  end
  return table.concat(texts, " ")
end
tap.is(shows(1), "'e' 'e'", "each display of the id shows the last")
tap.is(shows(3), "x\n 'e'", "also the later one, and the update is not shown where it was made")
tap.is(shows(4), "'f'", "but one of no display is")

notebook("old.ipynb", [[{"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": [
 {"cell_type": "code", "metadata": {}, "source": "1", "outputs": [], "execution_count": null}]}]])
tap.is(run("old.ipynb").code, 0, "an older minor version")
valid("old.executed.ipynb")
tap.is(json.decode(read("old.executed.ipynb")).nbformat_minor, 2, "keeps it")
tap.is(json.decode(read("old.executed.ipynb")).cells[1].id, nil, "and gets no ids")

notebook("slow.ipynb", [[{"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": [
 {"cell_type": "code", "metadata": {}, "source": "print('so far', flush=True)\nwhile True: pass",
  "outputs": [], "execution_count": null}]}]])
tap.is(run("--timeout", "300ms", "slow.ipynb").code, 124, "a cell that does not end")
valid("slow.executed.ipynb")
tap.contains(read("slow.executed.ipynb"), "so far", "is written with what it said")

notebook("bash.ipynb", [[{"nbformat": 4, "nbformat_minor": 2, "metadata":
 {"kernelspec": {"name": "bash", "display_name": "Bash", "language": "bash"}}, "cells": [
 {"cell_type": "code", "metadata": {}, "source": "echo $((40 + 2))", "outputs": [],
  "execution_count": null}]}]])
tap.is(run("bash.ipynb").out, "42\n", "a notebook in another language")
notebook("none.ipynb", '{"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": []}')
tap.is(run("none.ipynb").code, 0, "a notebook without cells")
valid("none.executed.ipynb")

for _, case in ipairs {
  { "not JSON", "print(1)", "not JSON" },
  { "a list", "[]", "not an object" },
  { "version 3", '{"nbformat": 3, "nbformat_minor": 0, "worksheets": []}', "nbformat 3" },
  { "no version", "{}", "nbformat" },
  { "no cells", '{"nbformat": 4, "nbformat_minor": 2, "metadata": {}}', "cells" },
  { "empty", "", "not JSON" },
  { "unknown language", [[{"nbformat": 4, "nbformat_minor": 2, "cells": [],
    "metadata": {"kernelspec": {"name": "x", "language": "pyhton3"}}}]], "unknown language" },
} do
  notebook("bad.ipynb", case[2])
  r = run("bad.ipynb")
  tap.is(r.code, 2, case[1] .. ": exit status")
  tap.like(r.err, "^kiln: [^\n]*\n$", case[1] .. ": one line")
  tap.contains(r.err, case[3], case[1] .. ": says what")
  tap.is(tap.read(dir .. "/bad.executed.ipynb"), nil, case[1] .. ": nothing is written")
end
tap.done()
