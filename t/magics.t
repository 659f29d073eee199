#!/usr/bin/python3
"""IPython's lines in cells: %magic, !command, name?, In and Out; TAP."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from cells import channel, done, main, ok, run, runner, same  # noqa: E402
from cells import ERROR, MARKS, OK  # noqa: E402


def refused(source, part):
    r = run(source)
    ok(r.status == ERROR and r.error["name"] == "UsageError" and part in r.error["value"]
       and len(r.error["traceback"]) == 1, "%r: %s" % (source, part), r.error)


# ---- where a line is one of IPython's
lines = runner.part("lines")


def becomes(source, want):
    try:
        compile(source, "<cell>", "exec", runner._PARSE)
        got = "Python"
    except SyntaxError as error:
        changed = lines.transform(source, "<cell>", runner._PARSE, error)
        got = changed and changed[0]
    same(got, want, "%r" % source)


CALL = "get_ipython()."
becomes("%time x", CALL + "run_line_magic('time', 'x')")
becomes("a = %time x", "a = " + CALL + "run_line_magic('time', 'x')")
becomes("d['a=%b'] = !ls -l", "d['a=%b'] = " + CALL + "getoutput('ls -l')")
becomes("a, b.c = !x", "a, b.c = " + CALL + "getoutput('x')")
becomes("!!ls", CALL + "getoutput('ls')")
becomes("if 1:\n    !echo {\n    x = 1\n", "if 1:\n    " + CALL + "system('echo {')\n    x = 1\n")
becomes("!echo (\ny = [1]\nz = 2", CALL + "system('echo (')\ny = [1]\nz = 2")
becomes("!echo \"it's\ny = 1", CALL + "system('echo \"it\\'s')\ny = 1")
becomes("!a \\\n  b\nx = 1", CALL + "system('a   b')\n\nx = 1")
becomes("%%bash -e\necho %x\n", CALL + "run_cell_magic('bash', '-e', 'echo %x\\n\\n')")
becomes("\n%%time\n1", "\n" + CALL + "run_cell_magic('time', '', '1\\n')")
becomes("x?", CALL + "run_line_magic('pinfo', 'x')")
becomes("??a.b", CALL + "run_line_magic('pinfo2', 'a.b')")
becomes("y = a[0].b??", CALL + "run_line_magic('pinfo2', 'a[0].b')")
becomes("%time?", CALL + "run_line_magic('pinfo', '%time')")
becomes("%%time?", CALL + "run_line_magic('pinfo', '%%time')")
becomes("str.*find*?", CALL + "run_line_magic('psearch', 'str.*find*')")
becomes("    x = 1\n    y = 2", "x = 1\ny = 2")
becomes(">>> x = 1\n>>> if x:\n...     y = 2\n4\n", "x = 1\nif x:\n    y = 2\n\n")
becomes("In [3]: x = 1\n   ...: y = 2", "x = 1\ny = 2")
becomes("/f a b", "f(a, b)")
becomes(",f a b", "f('a', 'b')")
becomes(";f a b", "f('a b')")
becomes("x = 1 +* 2  # why?", None)
becomes("print 'is it?", None)
becomes("x = (1\n%z)", "Python")
becomes("s = '''\n!ls\n%%x\n'''", "Python")
becomes("x ! y", None)
becomes("cd ..", CALL + "run_line_magic('cd', '..')")
becomes("cd ..\nx = 1", None)

# ---- what there is not
refused("%matplotlb inline", "not found: did you mean `%matplotlib`?")
refused("%qqqqq", "Line magic function `%qqqqq` not found.")
refused("%%bsh\nx", "not found: did you mean `%%bash`?")
refused("%bash x", "cell magic `%%bash` exists")
refused("%debug", "no debugger")
refused("%pdb", "no debugger")
refused("%load x.py", "cannot fill the next one")
same(run("%load_ext nosuch_extension").trace.splitlines()[-1],
     "ModuleNotFoundError: No module named 'nosuch_extension'", "%load_ext of what is not there")
refused("%load_ext json", "not an IPython extension")
refused("%matplotlib qt", "no screen")
refused("%pip install numpy", "no network")
refused("!pip3 install -q numpy", "no network")
refused("%conda install x", "no network")
refused("%timeit -n x 1", "wants a number")
refused("%cd nosuch", "No such file or directory")
refused("%run nosuch.py", "not found")
refused("%env NOSUCH_NAME", "does not have key")
refused("%%script nosuch-program\n", "no program nosuch-program")
FILE = "open('changing.py', 'w').write"
run(FILE + "('def f(): return 1\\nclass C:\\n    def g(self): return 1\\nv = 1')\n"
    "import changing; from changing import f, C; c = C()")
run(FILE + "('def f(): return 22\\nclass C:\\n    def g(self): return 22\\nv = 22')")
same(run("f(), c.g(), changing.v").text, "(1, 1, 1)", "modules stay as they were loaded")
run("%autoreload 2")
run(FILE + "('def f(): return 333\\nclass C:\\n    def g(self): return 333\\nv = 333')")
same(run("f(), c.g(), changing.v").text, "(333, 333, 333)", "%autoreload 2: and are loaded again")
run(FILE + "('def f(')")
r = run("f()")
ok(r.text == "333" and "autoreload of changing failed" in r.err, "one that is broken is told", r.err)
run("%autoreload 0")
run(FILE + "('def f(): return 4444')")
same(run("f()").text, "333", "%autoreload 0")
same(run("%autoreload\nf()").text, "4444", "%autoreload")
run("%autoreload 1\n%aimport changing")
run(FILE + "('def f(): return 5')")
same(run("f()").text, "5", "%aimport")
run("%autoreload 0")
refused("%autoreload sometimes", "takes 0, 1, 2")
same(run("%load_ext autoreload\n%reload_ext autoreload\n%colors Linux\n%autosave 60").events, [], "what means nothing here")

# ---- programs
r = run("name = 'a b'\n!echo {name} $name $HOME_OF_NOBODY $$x '{print $1}' {name!r}")
ok(r.out.startswith("a b a b "), "{name} and $name are filled in", r.out)
ok(r.out.endswith("a b\n"), "and {name!r}", r.out)
same(run("!echo \"{name:>5}{len(name):03d}\"").out, "  a b003\n", "and formatted")
same(run("paths = !echo x.py\npaths.p[0].suffix").text, "'.py'", "lines as paths")
same(run("!echo '{\"k\": 1}'").out, '{"k": 1}\n', "what is no variable stays")
same(run("!exit 3\n_exit_code").text, "3", "_exit_code")
r = run("out = !printf 'a 1\\nb 2\\n'; echo err >&2\nout, out.s, out.n, out.fields(1), out.grep('b')")
ok("['a 1', 'b 2', 'err']" in r.text and "'a 1 b 2 err'" in r.text and "['b 2']" in r.text,
   "lines of output", r.text)
same(run("!!echo x").text, "['x']", "!!")
same(run("%sx echo y").text, "['y']", "%sx")
r = run("%%bash --out got --err bad\necho o; echo e >&2")
same((r.events, main.got, main.bad), ([], "o\n", "e\n"), "%%bash --out --err")
r = run("%%bash\necho before; exit 4")
same((r.out, r.error["name"]), ("before\n", "CalledProcessError"), "%%bash that fails")
same(run("%%bash --no-raise-error\nexit 4").status, OK, "--no-raise-error")
same(run("%%script python3 -c 'import sys; print(sys.stdin.read().upper())'\nabc").out,
     "ABC\n\n", "%%script")
same(run("%%python3\nprint(1 + 1)").out, "2\n", "%%python3")
same(run("!echo in | cat; read x; echo \"[$x]\"").out, "in\n[]\n", "a command has no input")
ok(run("!seq 100000").out.endswith("99999\n100000\n"), "long output of a command")

# ---- tracebacks
run("%%time\ndef broken():\n    return 1/0")
r = run("%time 1 +\\\n 2")
r = run("%time broken()")
ok("    %time broken()" in r.trace and "    return 1/0\n" + "           ~^~" * MARKS in r.trace,
   "what a magic has run keeps its lines", r.trace)

# ---- time
r = run("%%time\nx = 5\nx * 2")
ok(r.text == "10" and "CPU times: user" in r.out and "Wall time: " in r.out, "%%time", r.out)
r = run("%time [0] * 10000000;")
ok("total: 0 ns" not in r.out, "its CPU time is not told in ticks", r.out)
same(run("%%html --isolated\n<b>").events[0][1]["metadata"], {"text/html": {"isolated": True}},
     "%%html --isolated")
same(run("v = %time 3 + 4\nv").text, "7", "x = %time")
r = run("%%timeit -n 3 -r 2 y = 5\ny + 1")
ok("per loop (mean ± std. dev. of 2 runs, 3 loops each)" in r.out, "%%timeit", r.out)
r = run("t = %timeit -q -o -n 2 -r 3 1 + 1\nt.loops, t.repeat, len(t.timings)")
same((r.out, r.text), ("", "(2, 3, 3)"), "%timeit -o -q")
ok("function calls" in run("%prun sum([1, 2])").out, "%prun")
r = run("%%time\n1 / 0")
ok(r.error["name"] == "ZeroDivisionError" and "Wall time" in r.out and "<kiln>" not in r.trace,
   "%%time of what fails", r.trace)

# ---- capture
r = run("%%capture kept\nimport sys\nprint('o'); print('e', file=sys.stderr)\ndisplay('d')\n7")
same(r.events, [], "%%capture keeps all outputs")
r = run("print(kept.stdout, kept.stderr, [one.data for one in kept.outputs])")
same(r.out, "o\n e\n [{'text/plain': \"'d'\"}, {'text/plain': '7'}]\n", "by kind")
r = run("kept.show()")
same([kind for kind, _ in r.events], ["stdout", "stderr", "display", "display"], "and shows them")
r = run("%%capture --no-stdout\nprint('through')\n!echo also")
same(r.out, "through\nalso\n", "--no-stdout")
run("%%capture shell_out\n!echo captured")
same(run("shell_out.stdout").text, r"'captured\n'", "programs, too")
r = run("%%capture failed\nprint('so far')\n1/0")
same((r.error["name"], main.failed.stdout), ("ZeroDivisionError", "so far\n"), "up to an error")
same(run("print('back')").out, "back\n", "and streams are back")

# ---- files and folders
same(run("%%writefile -a made.txt\nmore\n").out, "Writing made.txt\n", "%%writefile -a of none")
same(run("%%writefile -a made.txt\nmore\n").out, "Appending to made.txt\n", "and of one")
run("%%writefile script.py\nimport sys\nprint(sys.argv, __name__)\nvalue = 6\n")
same(run("%run script.py a 'b c'\nvalue").out, "['script.py', 'a', 'b c'] __main__\n", "%run")
same(run("%run script\nvalue").text, "6", "keeps its names")
run("%%writefile small.ipynb\n{\"cells\": [{\"cell_type\": \"code\", \"source\": "
    "[\"inside = 3\\n\", \"inside + 1\"]}]}")
same(run("%run small.ipynb\ninside").text, "4", "%run of a notebook shows its values")
os.mkdir("sub")
here = os.getcwd()
same(run("%cd sub").out, here + "/sub\n", "%cd")
same(run("pwd").text, repr(here + "/sub"), "pwd without its %")
same(run("cd ..").out, here + "\n", "cd without its %")
same(run("_dh == ['%s', '%s/sub', '%s']" % (here, here, here)).text, "True", "_dh")
same(run("%cd -q -\n%pwd").text, repr(here + "/sub"), "%cd -")
run("%cd -q ..")
ok("script.py" in run("%ls").out and "script.py" in run("ls *.py").out, "%ls")
same(run("%cat script.py").out.splitlines()[0], "import sys", "%cat")

# ---- environment, variables
same(run("%env KILN_T=a b").out, "env: KILN_T=a b\n", "%env NAME=VALUE")
same(run("%env KILN_T").text, "'a b'", "%env NAME")
same(run("%set_env KILN_T=$name").out, "env: KILN_T=a b\n", "%set_env")
same(run("%env KILN_SECRET_KEY=x\nd = %env\nd['KILN_SECRET_KEY']").text, "'<hidden>'",
     "%env hides secrets")
run("%reset -f")
same(run("%who").out, "Interactive namespace is empty.\n", "%reset and %who")
run("number, text, values = 1, 'abc', [1, 2]\nimport os")
same(run("who").out, "number\t text\t values\n", "who")
same(run("%who int").out, "number\n", "%who of a type")
same(run("%who_ls").text, "['number', 'text', 'values']", "%who_ls")
same(run("%whos").out, "Variable   Type   Data/Info\n" + "-" * 27 + "\nnumber     int    1\n"
     "text       str    'abc'\nvalues     list   n=2\n", "%whos")
run("%reset_selective -f ^t")
run("%xdel number")
same(run("%who").out, "values\n", "%reset_selective and %xdel")

# ---- the cells so far
run("10 + 1")
run("'two'")
first = run.count - 1
same(run("_i, _ii").text, "(\"'two'\", '10 + 1')", "_i and _ii")
same(run("_i%d" % first).text, "'10 + 1'", "_i and a number")
same(run("_ih is In, _oh is Out, _ih[%d], _oh[%d]" % (first, first)).text,
     "(True, True, '10 + 1', 11)", "_ih and _oh")
same(run("_%d" % first).text, "11", "_ and a number")
same(run("%history -n " + "%d-%d" % (first, first + 1)).out,
     "%4d: 10 + 1\n%4d: 'two'\n" % (first, first + 1), "%history")
r = run("%rerun " + str(first))
ok("=== Executing: ===" in r.out and r.text == "11", "%rerun", r.out)
same((run("exit").status, run("exit").code, run("quit()").code), (OK, 0, 0), "exit and quit()")

# ---- help
r = run("def f(a, b=1):\n    'What f does.'\n    return a\nf?")
ok("Signature: f(a, b=1)" in r.out and "What f does." in r.out, "name?", r.out)
ok("return a" in run("f??").out, "name?? has the source")
ok("What f does." in run("%pdoc f").out and "f(a, b=1)" in run("%pdef f").out
   and "return a" in run("%psource f").out, "%pdoc, %pdef, %psource")
same(run("str.*find*?").out, "str.find\nstr.rfind\n", "*pattern*?")
same(run("nosuch?").out, "Object `nosuch` not found.\n", "of no name")
ok("CPU and wall time" in run("%time?").out, "of a magic")
ok("%%bash" in run("%lsmagic").out and "%timeit" in run("%magic").out, "%lsmagic and %magic")

# ---- settings
run("%precision 2")
same(run("3.14159").text, "3.14", "%precision")
run("%precision")
same(run("3.5").text, "3.5", "and back")
run("%xmode Minimal")
same(run("1/0").error["traceback"], ["ZeroDivisionError: division by zero"], "%xmode Minimal")
run("%xmode Context")
ok(len(run("1/0").error["traceback"]) > 1, "and back")
ok("division by zero" in run("%tb").err, "%tb")
run("%automagic off")
same(run("pwd").error["name"], "NameError", "%automagic off")
run("%automagic on")
run("%config InteractiveShell.ast_node_interactivity = 'all'")
same([data["text/plain"] for data in run("1\nx = 2\n3\nx").results], ["1", "3", "2"],
     "ast_node_interactivity: all expressions")
run("get_ipython().ast_node_interactivity = 'last_expr_or_assign'")
same(run("y = 4").text, "4", "an assignment's value")
run("get_ipython().ast_node_interactivity = 'last_expr'")
same(run("y = 4").results, [], "and as ever")

# ---- the shell's own calls
same(run("ip = get_ipython()\nip.user_ns['z'] = 5\nip.run_line_magic('time', 'z').__class__").text,
     "int", "run_line_magic")
same(run("ip.run_cell_magic('bash', '', 'echo c')").out, "c\n", "run_cell_magic")
r = run("r = ip.run_cell('1 + 1')\nr.result, r.success")
same([data["text/plain"] for data in r.results], ["2", "(2, True)"], "run_cell")
r = run("r = ip.run_cell('1/0', silent=True)\nr.success, type(r.error_in_exec).__name__")
same(r.text, "(False, 'ZeroDivisionError')", "run_cell of what fails")
r = run("ip.user_expressions({'a': 'z + 1', 'b': '1/0'})")
ok("'text/plain': '6'" in r.text and "'ename': 'ZeroDivisionError'" in r.text,
   "user_expressions", r.text)
same(run("ip.push({'pushed': 1})\npushed").text, "1", "push")
same(run("ip.ev('pushed + 1')").text, "2", "ev")
run("seen = []\ndef before(info): seen.append(info.raw_cell)\n"
    "def after(result): seen.append(result.success)\ndef bad(): 1/0")
run("ip.events.register('pre_run_cell', before); ip.events.register('post_run_cell', after)")
run("1/0")
same(run("ip.events.register('post_execute', bad); seen").text, "[True, '1/0', False, "
     "\"ip.events.register('post_execute', bad); seen\"]", "functions before and after cells")
r = run("ip.events.unregister('post_execute', bad)\nseen.clear()")
ok("division" not in r.err, "unregister", r.err)
r = run("ip.events.register('post_execute', bad)")
ok(r.status == OK and "Error in callback" in r.err and "1/0" in r.err, "one that fails", r.err)
run("ip.events.unregister('post_execute', bad)")
runner.touch()
same(run("ip.events.unregister('pre_run_cell', before); ip.events.unregister('post_run_cell', after)"
         "\nlen(seen)").text, "6", "no other cell than the code's")
same(run("ip.events.register('nosuch', print)").error["name"], "KeyError", "events by their names")
run("ip.register_magic_function(lambda line: 'got ' + line, 'line', 'mine')")
same(run("%mine a b").text, "'got a b'", "a magic of the code's own")
with open("own_extension.py", "w") as file:
    file.write("def load_ipython_extension(ip):\n"
               "    ip.register_magic_function(lambda line, cell: print(cell, end=''), 'cell', 'say')\n")
run("%load_ext own_extension")
same(run("%%say\nhello").out, "hello\n", "%load_ext of a file of the session")
same(run("ip.getoutput('echo a; echo b')").text, "['a', 'b']", "getoutput")

done()
