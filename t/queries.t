#!/usr/bin/python3
"""What front ends ask of a Python session: complete, inspect and is_complete, at cursors
where Jupyter's users have them; TAP."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from cells import done, ok, run, runner, same, skip  # noqa: E402


def ask(name, **arguments):
    return json.loads(runner.query(name, json.dumps(arguments)))


def at(code):
    """The code, and where | stands in it."""
    return {"code": code.replace("|", ""), "cursor_pos": code.index("|")}


def completes(code, *want):
    """The first matches, each put in its place."""
    spot = at(code)
    reply = ask("complete", **spot)
    start, end = reply["cursor_start"], reply["cursor_end"]
    whole = [spot["code"][:start] + match + spot["code"][end:] for match in reply["matches"]]
    same(whole[:len(want)] if want else whole, list(want), "completes %r" % code)


def inspects(code, part, level=0):
    reply = ask("inspect", detail_level=level, **at(code))
    text = reply["data"].get("text/plain", "")
    ok(reply["found"] == (part is not None) and (part or "") in text, "inspects %r" % code, reply)


run('''
import json, os, sys
alpha = {'key one': 1, 'key2': {'inner': 2}}
class K:
    """Doc of K."""
    attr = 1
    def __init__(self, x, y=2): self.inst = x
    def method(self, arg, *, kw=None):
        """Doc of method."""
    @property
    def prop(self):
        """Doc of prop."""
        raise RuntimeError('touched')
k = K(1)
def func(first, second=3, *args, named=None, **more):
    """Doc of func."""
lst, s = [1], 'text'
os.makedirs('folder/sub'); open('folder/file.txt', 'w').close()
class Frame:
    def _ipython_key_completions_(self): return ['col a', 'colb']
frame = Frame()
''')

# ---- complete
completes("al|", "all", "alpha")
completes("print(al|)", "print(all)", "print(alpha)")
completes("k.|", "k.attr", "k.inst", "k.method", "k.prop")
completes("k.prop.|")
completes("K(1).me|", "K(1).method")
completes("'a'.uppe|", "'a'.upper")
completes("func(fir|", "func(first=")
completes("func(1, na|)", "func(1, named=)")
completes("alpha['k|", "alpha['key one']", "alpha['key2']")
completes("alpha['k|']", "alpha['key one']", "alpha['key2']")
completes('alpha["key2"]["|', 'alpha["key2"]["inner"]')
completes("frame['col|", "frame['col a']", "frame['colb']")
completes("frame[['col a', 'colb|", "frame[['col a', 'colb'")
completes("open('fol|", "open('folder/")
completes("open('folder/f|')", "open('folder/file.txt')")
completes("%cd fo|", "%cd folder/")
completes("!ls fo|", "!ls folder/")
completes("%tim|", "%time", "%timeit", "%%time", "%%timeit")
completes("import js|", "import json")
completes("import os.pa|", "import os.path")
completes("from os import pathc|", "from os import pathconf", "from os import pathconf_names")
completes("äö = 1; alph|", "äö = 1; alpha")
completes("x = '''al|")
completes("# al|")
completes("1.|")
completes("f'{alph|", "f'{alpha")
try:
    import pandas  # noqa: F401
except ImportError:
    skip("columns", "no pandas")
else:
    run("import pandas; df = pandas.DataFrame({'col a': [1], 'colb': [2]})")
    completes("df['col|", "df['col a']", "df['colb']")
    completes("df[['colb', 'col|']]", "df[['colb', 'col a']]", "df[['colb', 'colb']]")
    completes("df.loc[:, 'col|", "df.loc[:, 'col a'", "df.loc[:, 'colb'")
    completes("df.col|", "df.colb")

# ---- inspect
inspects("alp|ha", "String form: {'key one': 1")
inspects("func|", "Signature: func(first, second=3, *args, named=None, **more)")
inspects("func|", "def func(first", 1)
inspects("func(1, 2|)", "Doc of func.")
inspects("func(alpha|", "Doc of func.")
inspects("x = func|(1)", "Doc of func.")
inspects("print(k.method(1, |", "Doc of method.")
inspects("nothere(func|", "Doc of func.")
inspects("K|", "Signature: K(x, y=2)")
inspects("k.prop|", "Doc of prop.")
inspects("os.path.jo|in", "Join two or more")
inspects("%ti|me x", "%time")
inspects("%%time|it\npass", "%timeit")
inspects("%time func|", "Doc of func.")
inspects("nothere|", None)
inspects("1|", None)
inspects("|", None)


# ---- is_complete
def complete(code, status, indent=None):
    want = {"status": status}
    if indent is not None:
        want["indent"] = indent
    same(ask("is_complete", code=code), want, "is_complete %r" % code)


complete("1", "complete")
complete("if True:", "incomplete", "    ")
complete("if True:\n    x", "incomplete", "    ")
complete("if True:\n    x\n", "complete")
complete("for i in x:\n  if i:", "incomplete", "      ")
complete("def f():\n    return 1", "incomplete", "")
complete("x = (1,\n  2)", "complete")
complete('"""abc', "incomplete", "")
complete("1 + \\", "incomplete", "")
complete("@decorated", "incomplete", "")
complete("x = = 1", "invalid")
complete("'abc", "invalid")
complete("%%bash\nls", "incomplete", "")
complete("%%bash\nls\n", "complete")
complete("!ls", "complete")
complete("x?", "complete")
complete("await x", "complete")
complete("", "complete")
done()
