#!/usr/bin/python3
"""The cell runner, plugins/interpreter/session.py, on its own; TAP. What it displays is in
display.t, IPython's lines in magics.t."""
import base64
import json
import os
import signal
import subprocess
import sys
import time
import types

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from cells import channel, done, main, ok, run, runner, same, skip  # noqa: E402
from cells import ERROR, INTERRUPTED, MARKS, OK  # noqa: E402

# ---- values and state
r = run("1+1")
same((r.status, r.code, r.text), (OK, None, "2"), "the last expression's value is the result")
same(run("x = 5").events, [], "an assignment shows nothing")
same(run("x").text, "5", "state is kept from cell to cell")
same(run("x;").events, [], "a semicolon keeps the value unshown")
same(run("x;  # why").events, [], "also before a comment")
same(run("'a;'").text, "'a;'", "a semicolon in a string does not")
same(run("(x\n);").events, [], "a semicolon after a closing bracket")
same(run("None").events, [], "None is not shown")
same(run("").status, OK, "an empty cell")
same(run("# only a comment").events, [], "a comment")
run("10")
same(run("_ + 1").text, "11", "_ is the last value")
same(run("__").text, "10", "__ the one before")
run("'seven'")
same(run("Out[%d], In[%d]" % (run.count, run.count)).text, "('seven', \"'seven'\")", "Out and In")
run("_ = 'mine'")
run("99")
same(run("_").text, "'mine'", "a _ of the code's own stays")
run("del _")
same(run("if True:\n    7\n8").text, "8", "only the last expression's value is shown")
same(run("__name__").text, "'__main__'", "the namespace is __main__")
same(run("import pickle\nclass P: pass\ntype(pickle.loads(pickle.dumps(P()))) is P").text,
     "True", "a class of a cell can be pickled")
same(run("from __future__ import annotations").status, OK, "a __future__ import")
same(run("def f(a: nowhere): pass\nf.__annotations__").text, "{'a': 'nowhere'}",
     "holds for later cells")
same(run("\ufeffx").text, "5", "a byte order mark is skipped")
same(run("if x:\r\n\ty = 1\r\ny").text, "1", "CRLF and tabs")

# ---- streams
r = run("import sys\nprint('a', end='')\nprint('b', file=sys.stderr)\nprint('c')\n1")
same([(kind, data) for kind, data in r.events if kind != "result" and data.strip()],
     [("stdout", b"a"), ("stderr", b"b"), ("stdout", b"c")], "streams come in order, unbuffered")
same(r.kinds[-1], "result", "and the result after them")
r = run("print('\\ud800', '\\udc80')")
ok(r.status == OK and r.out, "lone surrogates do not raise")
r = run("sys.stdout.buffer.write(b'\\xff'), sys.stdout.write('é')")
same((r.events[0], r.text), (("stdout", b"\xff"), "(1, 1)"), "bytes go through .buffer")
same(run("sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.fileno(), "
         "sys.stderr.fileno(), sys.stdout.writable()").text,
     "(False, 'utf-8', 1, 2, True)", "what a stream says of itself")
ok("must be str" in run("sys.stdout.write(1)").error["value"], "only str is written")
run("sys.stdout.close()")
same(run("print('again')").out, "again\n", "a closed stdout is replaced for the next cell")
r = run("import threading, time\n"
        "def late():\n    time.sleep(.05); print('late')\n"
        "t = threading.Thread(target=late); t.start()")
main.t.join()
ok(("stdout", b"late") in channel.events or ("stdout", b"late\n") in channel.events,
   "a thread prints after its cell")

# ---- input
r = run("a = input('name? '); b = input(); (a, b)", stdin=b"Ada\nB\xc3\xa9\n")
same((r.out, r.text), ("name? ", "('Ada', 'Bé')"), "input() reads the cell's stdin")
same(run("input()").error["name"], "EOFError", "and raises EOFError at its end")
same(run("sys.stdin.buffer.read()", stdin=b"\x00\xff").text, r"b'\x00\xff'", "stdin as bytes")
same(run("import getpass; getpass.getpass('key: ')", stdin=b"s3\n").text, "'s3'", "getpass")
same(run("sys.argv[1:], __import__('os').environ['K']", arguments=["a b"], env=["K=v=1"]).text,
     "(['a b'], 'v=1')", "arguments and environment")
same(run("sys.argv[1:], __import__('os').environ.get('K')").text, "([], None)",
     "and not in the next cell")

# ---- errors
r = run("def f(x):\n    return 1/x\n\nf(0)")
same((r.status, r.error["name"], r.error["value"]),
     (ERROR, "ZeroDivisionError", "division by zero"), "an exception")
# Which frames have marks is each Python's own: since 3.11, and since 3.13 whole calls, too.
same([line for line in r.error["traceback"] if line.strip(" ~^")],
     ["Traceback (most recent call last):",
      '  File "Cell In[%d]", line 4, in <module>' % run.count, "    f(0)",
      '  File "Cell In[%d]", line 2, in f' % run.count, "    return 1/x",
      "ZeroDivisionError: division by zero"], "its traceback has the user's frames alone")
same("           ~^~" in r.error["traceback"], MARKS, "with marks beneath what failed")
r = run("f(0)")
ok("Cell In[%d]" % (run.count - 1) in r.trace and "return 1/x" in r.trace,
   "a frame of an earlier cell has its line", r.trace)
r = run("1/0")
same(r.error["traceback"][2:-1], ["    1/0", "    ~^~"][:1 + MARKS], "the marks beneath a cell's last line")
r = run("def g(x):\n    return 1/x")
same(run("g(0)").error["traceback"][-2 - MARKS:-1], ["    return 1/x", "           ~^~"][:1 + MARKS],
     "and beneath one of an earlier cell")
r = run("1 +* 2")
ok(r.error["name"] == "SyntaxError" and "session.py" not in r.trace
   and "Traceback" not in r.trace and "1 +* 2" in r.trace, "a syntax error", r.trace)
same(run("print('x')\n)").out, "", "nothing of a cell that does not parse is run")
r = run("try:\n    1/0\nexcept Exception as e:\n    raise KeyError('k') from e")
ok("direct cause" in r.trace and "<kiln>" not in r.trace, "chained exceptions", r.trace)
if MARKS:
    r = run("raise ExceptionGroup('g', [ValueError(1), TypeError(2)])")
    ok("ValueError: 1" in r.trace and "TypeError: 2" in r.trace, "an exception group", r.trace)
r = run("class Bad(Exception):\n    def __str__(self): 1/0\nraise Bad()")
same((r.status, r.error["name"], r.error["value"]),
     (ERROR, "Bad", "<exception str() failed>"), "an exception whose __str__ raises")
r = run("def deep(): deep()\ndeep()")
ok(r.error["name"] == "RecursionError" and len(r.error["traceback"]) < 40, "deep recursion")
r = run("(" * 100000 + ")" * 100000)
ok(r.status == ERROR and r.error["name"] in ("SyntaxError", "MemoryError", "RecursionError"),
   "100,000 nested parentheses")
if MARKS:  # an older compiler's own stack ends there, and with it the process
    r = run("-" * 100000 + "1")
    ok(r.status == ERROR and r.error["name"] in ("SyntaxError", "MemoryError", "RecursionError"),
       "100,000 unary operators")
same(run("big = 0\n" + "big += 1\n" * 100000 + "big").text, "100000", "a long cell")
r = run("raise ValueError('a\\0b \\ud800')")
ok("\0" not in r.error["value"] and r.error["name"] == "ValueError", "a NUL in a message")
r = run("import warnings\nfor i in range(3): warnings.warn('careful')")
ok(r.status == OK and r.err.count("careful") == 1 + r.err.count("warnings.warn('careful')")
   and "Cell In[%d]:2: UserWarning" % run.count in r.err, "a warning is told once a cell", r.err)
ok("careful" in run("warnings.warn('careful')").err, "and again in another cell")

# ---- sys.exit
for source, code, status in (("sys.exit()", 0, OK), ("sys.exit(0)", 0, OK), ("sys.exit(3)", 3, ERROR),
                             ("exit(4)", 4, ERROR), ("sys.exit(-1)", 255, ERROR),
                             ("raise SystemExit", 0, OK)):
    r = run(source)
    same((r.status, r.code, r.errors), (status, code, []), source)
r = run("sys.exit('no disk')")
same((r.code, r.err, r.errors), (1, "no disk\n", []), "sys.exit(text) writes it to stderr")
same(run("x").text, "5", "the session lives on")

# ---- await
r = run("import asyncio\nasync def g(v):\n    await asyncio.sleep(0)\n    return v\nawait g(3)")
same(r.text, "3", "a top-level await")
run("task = asyncio.get_event_loop_policy().get_event_loop().create_task(g(8))")
same(run("await task").text, "8", "the loop persists over cells")
r = run("task = asyncio.create_task(g(6)); await task")
same(r.text, "6", "tasks are made in a cell that awaits")
run("task = asyncio.create_task(g(7))")
same(run("await task").text, "7", "and in one that does not")
same(run("asyncio.get_running_loop() is task.get_loop()").text, "True", "in the loop of both")
same(run("def make():\n    asyncio.create_task\nasyncio.run(g(9))").text, "9",
     "asyncio.run() finds none running")
r = run("async def bad(): 1/0\nawait bad()")
ok("base_events" not in r.trace and "1/0" in r.trace, "no frames of the loop", r.trace)
same(run("asyncio.run(g(4))").text, "4", "asyncio.run() in a cell")
same(run("await g(5)").text, "5", "and an await after it")
same(run("[i async for i in (lambda: (yield_ for yield_ in []))()] if 0 else 6").text, "6",
     "an async comprehension")

# ---- interrupts
def interrupted(source, after=0.2):
    child = subprocess.Popen(["/bin/sh", "-c", "sleep %s; kill -INT %d" % (after, os.getpid())])
    try:
        return run(source)
    finally:
        child.wait()


r = interrupted("kept = 1\nwhile True: pass")
same((r.status, r.error["name"]), (INTERRUPTED, "KeyboardInterrupt"), "SIGINT stops a busy loop")
same(run("kept").text, "1", "and keeps the state")
same(interrupted("time.sleep(30)").status, INTERRUPTED, "a sleep")
same(interrupted("await asyncio.sleep(30)").status, INTERRUPTED, "an await")
same(interrupted("try:\n    time.sleep(30)\nexcept KeyboardInterrupt:\n    7\n").status, OK,
     "code that catches it goes on")
r = interrupted("class Slow:\n    def __repr__(self): time.sleep(30)\nSlow()")
same(r.status, INTERRUPTED, "a __repr__ that takes too long")
run("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)")
same(interrupted("time.sleep(30)").status, INTERRUPTED,
     "a handler that an earlier cell left does not matter")
os.kill(os.getpid(), signal.SIGINT)
same(run("x").text, "5", "SIGINT between cells is ignored")
same(run("raise KeyboardInterrupt").status, ERROR, "raised by the code it is an error")

# ---- display
r = run("display(1, 'b')")
same([event["data"] for _, event in r.events], [{"text/plain": "1"}, {"text/plain": "'b'"}],
     "display()")
r = run("h = display({'a': 1}, display_id='d', metadata={'k': 1})\nh.update(2)\n"
        "update_display(3, display_id='d')\nclear_output(wait=True)")
same([(kind, event.get("transient")) for kind, event in r.events],
     [("display", {"display_id": "d"}), ("update", {"display_id": "d"}),
      ("update", {"display_id": "d"}), ("clear", None)], "updates and clear_output")
same(r.events[0][1]["metadata"], {"k": 1}, "metadata")
r = run("""class Rich:
    def _repr_html_(self): return '<b>x</b>', {'isolated': True}
    def _repr_png_(self): return b'\\x89PNG'
    def _repr_json_(self): return {'n': float('nan'), 1: [2**70, None, True]}
    def _repr_latex_(self): raise ValueError('no latex')
    def _repr_svg_(self): return None
    def __repr__(self): return 'rich'
Rich()""")
same(r.results[0], {"text/plain": "rich", "text/html": "<b>x</b>",
                    "image/png": base64.b64encode(b"\x89PNG").decode(),
                    "application/json": {"n": None, "1": [str(2 ** 70), None, True]}},
     "_repr_*_ methods")
ok("no latex" in r.err and r.status == OK, "one that raises is told on stderr")
r = run("""class Mime:
    def _repr_mimebundle_(self, include=None, exclude=None):
        return {'application/vnd.plotly.v1+json': {'data': []}, 'text/plain': 'm'}, {'x': 1}
Mime()""")
same(r.results[0], {"application/vnd.plotly.v1+json": {"data": []}, "text/plain": "m"},
     "_repr_mimebundle_")
same(run("Rich").text, "__main__.Rich", "a class is not asked for its instances' methods")
same(run("display(Rich(), include=['text/html'])").events[0][1]["data"],
     {"text/html": "<b>x</b>"}, "include")
r = run("class Broken:\n    def __repr__(self): raise ValueError('no')\nBroken()")
ok(r.status == OK and not r.results and "ValueError: no" in r.err, "a __repr__ that raises")
r = run("class One:\n    def __repr__(self): return 1\nOne()")
ok(r.status == OK and "TypeError" in r.err, "a __repr__ that returns no string")
r = run("class Exits:\n    def __repr__(self): sys.exit(5)\nExits()")
same((r.status, r.code), (ERROR, 5), "a __repr__ that exits ends the cell")
r = run("class Itself:\n    def _ipython_display_(self): print('me')\nItself()")
same((r.out.strip(), r.results), ("me", []), "_ipython_display_")

# ---- the code against its runner
r = run("import builtins, sys\nsys.stdout = sys.stderr = None\nbuiltins.compile = None\n"
        "builtins.eval = None\nbuiltins.id = builtins.repr = None\nsys.displayhook = None\n"
        "sys.modules['json'] = None\nsys.modules['linecache'] = None\n"
        "sys.modules['__main__'] = None\ndel sys.modules['sys']\ndel sys, builtins")
ok(r.status == OK, "replaces what it can", r.trace)
same(run("[1, 'a']").text, "[1, 'a']", "values are still shown")
ok("ZeroDivisionError: division by zero" in run("1/0").trace, "errors are still told")
same(run("import sys; print('p')").out, "p\n", "and streams are back")
run("import builtins\nfor n in ('compile', 'eval', 'id', 'repr'):\n"
    "    setattr(builtins, n, display.__globals__['__builtins__'][n])")
for name in ("json", "linecache"):
    sys.modules.pop(name, None)
import json  # noqa: E402
for name in ("json", "traceback", "ast", "kiln", "sitecustomize", "binascii"):
    with open(name + ".py", "w") as file:
        file.write("raise SystemError('a file of the session')\n")
runner.part("imports")._libraries.clear()
for name in ("traceback",):
    sys.modules.pop(name, None)
r = run("undefined_name")
ok(r.error["name"] == "NameError" and "SystemError" not in r.trace,
   "files in the work directory do not shadow the runner's modules", r.trace)
same(run("import kiln").error["name"], "SystemError", "but they are the code's to import")
for name in ("json", "traceback", "ast", "kiln", "sitecustomize", "binascii"):
    os.unlink(name + ".py")
same(run("seen = []\nsys.settrace(lambda *a: seen.append(a[0].f_code.co_filename))").status, OK,
     "settrace")
run("y = 1")
r = run("sys.settrace(None)\n[name for name in seen if '<kiln>' in name and 'arm' in name]")
same(r.text, "[]", "the runner is not traced")
run("import os\npid = os.fork()\nif not pid: os.close(1)")
ok(os.waitpid(main.pid, 0)[1] == 0, "a forked child ends with the cell")
run("pid = os.fork()\nif not pid: sys.exit(9)")
same(os.waitstatus_to_exitcode(os.waitpid(main.pid, 0)[1]), 9, "and with its own exit code")
r = run("from multiprocessing import get_context\n"
        "with get_context('fork').Pool(2) as pool: values = pool.map(abs, [-1, -2])\nvalues")
same(r.text, "[1, 2]", "multiprocessing")

# ---- analysis
a = json.loads(runner.analyze(
    "import numpy as np, os.path\nfrom a.b import c, d as e\nfrom . import f\n"
    "try:\n    import g\nexcept ImportError: pass\nimport numpy as np\n"
    "def h():\n    import i\n    local = 1\nj = os.system('x'); k: int = 2\n"
    "open('f').read(); (l := 1)\nfrom __future__ import annotations"))
same(a["imports"], ["numpy", "os", "a", "g", "i"], "imports, in order, once")
same(a["import_lines"], ["from __future__ import annotations", "import numpy as np, os.path",
                         "from a.b import c, d as e", "from . import f", "import numpy as np"],
     "import lines of the module's level")
same([name for name in "np os c e g h j k l".split() if name not in a["names"]], [], "names")
ok("local" not in a["names"] and "i" not in a["names"], "no local names")
ok({"os.system", "open"} <= set(a["calls"]), "calls", a["calls"])
a = json.loads(runner.analyze("x = (1\ny"))
ok(a["error"]["name"] == "SyntaxError" and a["error"]["line"] == (1 if MARKS else 2), "a syntax error", a)
same(json.loads(runner.analyze("%matplotlib inline\nimport os"))["imports"], ["os"],
     "after a magic line")
ok("get_ipython.system" in json.loads(runner.analyze("!rm x"))["calls"], "a shell line is a call")
if MARKS:
    ok(json.loads(runner.analyze("-" * 100000 + "1"))["error"], "code that is too complex")

# ---- layout
channel.options = {}
try:
    from IPython.lib.pretty import pretty as ipython_pretty
except ImportError:
    ipython_pretty = None
if ipython_pretty is None:
    skip("layout as IPython's", "no IPython")
else:
    import collections
    import datetime
    import re

    class Plain:
        pass

    class Custom(list):
        def __repr__(self):
            return "custom\nrepr"

    class Array:
        def __repr__(self):
            return "array([%s,\n       %s])" % ((", ".join(["-0.26719942"] * 5),) * 2)

    class Sub(dict):
        pass

    class Pretty:
        def _repr_pretty_(self, p, cycle):
            with p.group(4, "Pretty(", ")"):
                for index in range(20):
                    if index:
                        p.text(",")
                        p.breakable()
                    p.pretty("item %d" % index)

    loop = [1]
    loop.append(loop)
    Point = collections.namedtuple("Point", "x y")
    samples = [
        1, 1.5, "text", b"bytes", None, True, ..., 10 ** 50, 1j, "a\nb" * 50,
        [], (), {}, set(), frozenset(), [1], (1,), {1}, {"a": 1}, frozenset([1]),
        list(range(100)), tuple(range(100)), set(range(100)), dict.fromkeys(range(100)),
        list(range(1500)), {str(n): list(range(n)) for n in range(30)},
        [["x" * n for n in range(12)], {"k" * 30: ["v" * 30] * 4}], {"a": {"b": {"c": [{}] * 40}}},
        {3, "a", 1}, ["x" * 78], ["x" * 79], ["x" * 100, "y"], [("a" * 40, "b" * 40)] * 3,
        loop, Custom(), [Custom(), Custom()], Sub(a=1), Point(1, 2), [Point(n, n) for n in range(20)],
        int, Plain, collections.OrderedDict, [int, str, Plain], len, print, json.dumps, [].append,
        same, os.path.join, slice(1, 2), range(3), re.compile("a.*b", re.I), re.compile(r"\d\\"),
        re.compile(b"x"), ValueError("x", 2), [KeyError("k" * 50), OSError(2, "no" * 40)],
        collections.defaultdict(list, {"a": [1]}), collections.OrderedDict(a=1, b=2),
        collections.OrderedDict((str(n), n) for n in range(40)), collections.deque([1, 2], 5),
        collections.deque(range(60)), collections.Counter("abracadabra"), collections.Counter(),
        collections.UserList([1]), types.SimpleNamespace(a=1, b=list(range(50))),
        types.MappingProxyType({"a": 1}), vars(Plain), datetime.datetime(2020, 1, 1),
        [datetime.date(2020, 1, n) for n in range(1, 9)], datetime.timedelta(1), Pretty(),
        [Pretty()], super(Sub, Sub()), {"é" * 30: "ü" * 60}, [[]] * 50, [[[[["deep" * 20] * 3]]]],
        {(0.05, True): (Array(), Array())}, [[Array()] * 3, {"a": Array(), "b": [Array()]}],
        Plain(), [Plain()] * 3, (x for x in ()), open, sys, sys.flags, {1: {2, 3}, (4, 5): None},
    ]
    bad = []
    for value in samples:
        mine, theirs = runner.part("pretty").pretty(value), ipython_pretty(value)
        if mine != theirs:
            bad.append("%.300s\n is not\n%.300s" % (mine, theirs))
    ok(not bad, "%d values are laid out as IPython does" % len(samples), *bad)

done()
