#!/usr/bin/python3
"""What cells display, as Jupyter would: displays and their updates, _repr_*_ methods,
registered formatters, IPython.display with IPython and without, figures, and the libraries
that show themselves; TAP."""
import base64
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from cells import channel, done, main, ok, run, runner, same, skip  # noqa: E402
from cells import ERROR, MARKS, OK  # noqa: E402


def bundles(ran):
    return [event["data"] for kind, event in ran.events if kind in ("display", "result", "update")]


def order(ran):
    """The kinds of events; what one print() wrote is one."""
    kinds = ran.kinds
    return [kind for index, kind in enumerate(kinds)
            if not (index and kind == kinds[index - 1] and kind.startswith("std"))]


def mimes(ran):
    return [sorted(set(data) - {"text/plain"}) for data in bundles(ran)]


# ---- display(), handles, updates
r = run("print('a')\nh = display('one', display_id=True)\nprint('b')\nh.update('two')\n"
        "h.display('three')\ndisplay()\ndisplay('x', 'y')\n5")
same(order(r), ["stdout", "display", "stdout", "update", "display", "display", "display", "result"],
     "displays in their place among the streams")
ids = {event["transient"]["display_id"] for kind, event in r.events
       if kind in ("display", "update") and "transient" in event}
same((len(ids), len(main.h.display_id)), (1, 32), "one display_id")
same(run("display('q')").events[0][1].get("transient"), None, "none without being asked")
r = run("e = display(display_id='empty')\ne.update(1)")
same([(kind, event["data"]) for kind, event in r.events],
     [("display", {}), ("update", {"text/plain": "1"})], "a place to be filled later")
r = run("class M(type):\n    def _repr_html_(cls): return 'of ' + cls.__name__\n"
        "class C(metaclass=M):\n    def _repr_latex_(self): return 'an object'\nC")
same(r.results, [{"text/html": "of C", "text/plain": "__main__.C"}], "a class that shows itself")
same(run("update_display(1)").error["name"], "TypeError", "update_display wants a display_id")
r = run("display({'text/html': '<b>'}, raw=True, metadata={'text/html': {'isolated': True}})")
same(r.events[0][1], {"data": {"text/html": "<b>"}, "metadata": {"text/html": {"isolated": True}}},
     "raw")
same(run("display(1, include=['text/html'])").events, [], "nothing of what is wanted: nothing shown")
r = run("display(1)\nclear_output()\ndisplay(2, clear=True)\nclear_output(wait=True)")
same([(kind, event.get("wait")) for kind, event in r.events],
     [("display", None), ("clear", False), ("clear", True), ("display", None), ("clear", True)],
     "clear_output")

# ---- _repr_*_
r = run("""class All:
    def _repr_html_(self): return '<p>'
    def _repr_markdown_(self): return '*m*'
    def _repr_svg_(self): return '<svg/>'
    def _repr_png_(self): return b'png', {'width': 3}
    def _repr_pdf_(self): return b'pdf'
    def _repr_jpeg_(self): return b'jpeg'
    def _repr_latex_(self): return '$x$'
    def _repr_json_(self): return {'a': [1]}, {'expanded': True}
    def _repr_javascript_(self): return '1;'
All()""")
same(mimes(r)[0], ["application/javascript", "application/json", "application/pdf", "image/jpeg",
                   "image/png", "image/svg+xml", "text/html", "text/latex", "text/markdown"],
     "every _repr_*_")
same(r.events[0][1]["metadata"], {"image/png": {"width": 3}, "application/json": {"expanded": True}},
     "with metadata")
same(mimes(run("display(All(), exclude=['image/png', 'text/html', 'application/pdf'])"))[0],
     ["application/javascript", "application/json", "image/jpeg", "image/svg+xml", "text/latex",
      "text/markdown"], "exclude")
r = run("""class Bundle:
    def __init__(self, mime): self.mime = mime
    def _repr_mimebundle_(self, include=None, exclude=None):
        return {self.mime: {'spec': 1}, 'text/html': '<own>'}, {self.mime: {'k': 2}}
    def _repr_html_(self): return '<method>'
Bundle('application/vnd.vegalite.v4+json')""")
same((r.results[0]["text/html"], r.results[0]["application/vnd.vegalite.v4+json"],
      r.events[0][1]["metadata"]),
     ("<own>", {"spec": 1}, {"application/vnd.vegalite.v4+json": {"k": 2}}),
     "_repr_mimebundle_ goes before methods")
same(mimes(run("display(Bundle('a/b'), include=['text/html'])"))[0], ["text/html"],
     "include holds for a bundle that does not look at it")
r = run("class Empty:\n    def _repr_mimebundle_(self, **kw): return None\nEmpty()")
ok(r.status == OK and "Empty " in r.text, "a bundle of None")
r = run("class Answers:\n    def __getattr__(self, name): return lambda *a, **k: 'no'\nAnswers()")
ok(r.status == OK and mimes(r) == [[]], "an object that answers to every name", r.events)
r = run("class Raises:\n    def __getattr__(self, name): raise RuntimeError(name)\nRaises()")
ok(r.status == OK and "Raises " in r.text, "and one that raises for each")
r = run("class Loop:\n    def _repr_html_(self): return self._repr_html_()\nLoop()")
ok(r.status == OK and "Loop " in r.text and "RecursionError" in r.err, "endless recursion")
r = run("class Shows:\n    def _ipython_display_(self): display('mine'); print('p')\n[display(Shows()), 1]")
same(order(r), ["display", "stdout", "result"], "_ipython_display_ in its place")
r = run("class No:\n    def _ipython_display_(self): raise NotImplementedError\nNo()")
ok("No " in r.text, "one that declines")

# ---- registered formatters
run("f = get_ipython().display_formatter.formatters\n"
    "class Thing: pass\nclass Sub(Thing): pass\n"
    "f['text/html'].for_type(Thing, lambda t: '<thing>')\n"
    "f['text/plain'].for_type(Thing, lambda t, p, cycle: p.text('a thing'))")
same(run("Sub()").results, [{"text/plain": "a thing", "text/html": "<thing>"}], "for_type")
same(run("[Thing()]").text, "[a thing]", "within other values")
same(run("f['text/html'].lookup_by_type(Sub)(1), Sub in f['text/html'], int in f['text/html']").text,
     "('<thing>', True, False)", "lookups")
run("f['text/html'].for_type(int, lambda n: '<%d>' % n)")
same(run("7").results[0].get("text/html"), "<7>", "of numbers, too")
run("f['text/html'].pop(int)")
same(run("7").results, [{"text/plain": "7"}], "pop")
run("f['text/html'].for_type('__main__.Late', lambda t: '<late>')\nclass Late: pass")
same(mimes(run("Late()")), [["text/html"]], "by name, before there is such a type")
run("f['text/html'].enabled = False")
same(mimes(run("Sub()")), [[]], "a formatter that is switched off")
run("f['text/html'].enabled = True")
run("get_ipython().display_formatter.mimebundle_formatter.for_type(Thing, "
    "lambda t, include=None, exclude=None: ({'x/y': 1}, {}))")
same(mimes(run("Thing()")), [["text/html", "x/y"]], "a bundle and a formatter")
same(run("get_ipython().display_formatter.format(3)").text, "({'text/plain': '3'}, {})", "format()")

# ---- streams
r = run("print('a', end='')\nprint('\\rb', end='')\nprint('\\x1b[31mred\\x1b[0m')")
same(r.out, "a\rb\x1b[31mred\x1b[0m\n", "carriage returns and colours go through as they are")
r = run("import logging\nlogging.warning('w')\nlogging.getLogger('x').error('e')")
same((r.out, r.err), ("", "WARNING:root:w\nERROR:x:e\n"), "logging goes to stderr")
same(run("logging.warning('again')").err, "WARNING:root:again\n", "in later cells, too")
r = run("import sys\nprint('o'); print('e', file=sys.stderr); display('d'); print('o2')")
same(order(r), ["stdout", "stderr", "display", "stdout"], "in order")
r = run("import warnings\ndef w(): warnings.warn('same place')\nw(); w()\nwarnings.warn('other')")
same((r.err.count("UserWarning: same place"), r.err.count("UserWarning: other")), (1, 1),
     "a warning once a place")
r = run("print('x' * 3000000)")
same(len(r.out), 3000001, "a very long line")
r = run("list(range(100000))")
ok(r.text.endswith(" ...]") and r.text.count("\n") == 1000, "a very long list is cut")

# ---- errors
r = run("def outer():\n    try:\n        1/0\n    except ZeroDivisionError:\n        {}['k']\nouter()")
same([line for line in r.error["traceback"] if not line.startswith(" ") and line],
     ["Traceback (most recent call last):", "ZeroDivisionError: division by zero",
      "During handling of the above exception, another exception occurred:",
      "Traceback (most recent call last):", "KeyError: 'k'"], "an exception while handling another")
if MARKS:
    r = run("raise ExceptionGroup('g', [ValueError(1), ExceptionGroup('h', [TypeError('t')])])")
    ok("TypeError: t" in r.trace and r.error["value"] == "g (2 sub-exceptions)", "groups within groups")
r = run("x = 1\nif x:\n    y = (1,\nz")
ok(r.error["name"] == "SyntaxError" and "^" in r.trace and
   ("'(' was never closed" in r.trace or sys.version_info < (3, 10)), "a syntax error has its caret", r.trace)
r = run("  x = 1\n y = 2")
same(r.error["name"], "IndentationError", "an indentation error")
r = run("print('then')\ndisplay(1)\nraise ValueError('end')\nprint('never')")
same(order(r), ["stdout", "display", "error"], "an error after outputs, and nothing more")
ok("\x1b" not in r.trace, "tracebacks are plain text")

# ---- IPython.display
SAMPLES = """HTML('<b>x</b>', metadata={'isolated': True}); Markdown('*x*'); Latex('$x$')
Math('x^2'); SVG('<?xml version="1.0"?><svg><g/></svg>'); Pretty('p'); Javascript('x', lib='l.js', css=['c'])
JSON({'a': 1}); JSON([1], expanded=True, root='r', k=2); GeoJSON({'type': 'Feature'})
Image('dot.png'); Image('dot.png', width=5, height=6, alt='a"b'); Image(b'\\xff\\xd8rest')
Image(url='http://x/y.png', width=3, unconfined=True); Image(open('dot.png', 'rb').read(), retina=True)
Image(filename='dot.png', format='png', metadata={'width': 9}); Image('dot.gif'); Image('dot.jpg', retina=True)
Audio([0, 0.5, -1], rate=8000); Audio([[0, 0.5], [1, 0]], rate=8000, autoplay=True)
Audio(b'RIFFdata', element_id='e'); Audio('s.mp3'); Audio(url='http://x/s.ogg')
Audio([0.1, -0.2], rate=100, normalize=False)
Video('v.mp4'); Video('v.mp4', embed=True, width=3); Video('http://x/v.mp4', html_attributes='loop')
Video(b'data', embed=True, mimetype='video/webm')
IFrame('http://x', 1, '2'); IFrame('http://x', 1, 2, extras=['a="b"'], q='a b', r=1)
YouTubeVideo('id', start=3, allow_autoplay=True); VimeoVideo('id'); ScribdDocument('id', page=2)
FileLink('a&b.txt'); FileLink('nosuch'); FileLink('a&b.txt', url_prefix='/u/', result_html_prefix='<i>')
FileLinks('linked'); FileLinks('linked', included_suffixes=['.a'], recursive=False)
Code('x = 1', language='python'); Code('<a>', language='html'); ProgressBar(4)"""
os.makedirs("linked/deep")
for name in ("a&b.txt", "linked/one.a", "linked/two.b", "linked/deep/three.a"):
    open(name, "w").close()
with open("linked/c.py", "w") as file:
    file.write("def f(): pass\n")
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAoAAAAUCAYAAAC07w7bAAAADklEQVR4nGNgGAWjYBQAAAPo"
                       "AAFGzXkAAAAAAElFTkSuQmCC")
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffc0000b080014000a01011100ffd9")
for name, data in (("dot.png", PNG), ("dot.gif", b"GIF89a\x0a\x00\x14\x00\x80"), ("dot.jpg", JPEG),
                   ("s.mp3", b"ID3"), ("v.mp4", b"\0\0\0\x18ftyp")):
    with open(name, "wb") as file:
        file.write(data)


def shown(module):
    """What each sample shows, by the classes of a module IPython.display."""
    namespace = {name: getattr(module, name) for name in dir(module)}
    answer = {}
    for sample in SAMPLES.replace("\n", "; ").split("; "):
        channel.events = []
        try:
            value = eval(sample, namespace)
            text = runner.part("display").result(value)
            answer[sample] = eval(text, {"true": True, "false": False, "null": None}) if text \
                else channel.events
        except Exception as error:
            answer[sample] = "%s: %s" % (type(error).__name__, error)
    return answer


def equal(value):
    """Without what is not the same each time, or in each version."""
    if isinstance(value, dict):
        return {key: equal(item.replace("\n", "") if key in ("image/png", "image/jpeg", "image/gif")
                           and isinstance(item, str) else item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [equal(item) for item in value]
    if isinstance(value, str):
        return re.sub("0x[0-9a-f]+", "ADDRESS", value.replace(os.getcwd(), "HERE"))
    return value


try:
    import IPython.display
    real = IPython.display
except ImportError:
    real = None
if real is not None:
    theirs = shown(real)
    r = run("from IPython.display import display as d, HTML, clear_output, publish_display_data\n"
            "from IPython import get_ipython as g\n"
            "h = d(HTML('<i>'), display_id=True)\nh.update(1)\nclear_output(True)\n"
            "publish_display_data({'a/b': 1})\ng() is get_ipython()")
    same((order(r), r.text), (["display", "update", "clear", "display", "result"], "True"),
         "with IPython: displays and the shell are the session's")
    r = run("from IPython.core.interactiveshell import InteractiveShell as I\n"
            "I.initialized(), I.instance() is get_ipython()")
    same(r.text, "(True, True)", "InteractiveShell.instance()")
    run("I.ast_node_interactivity = 'all'")
    same(len(run("1\n2").results), 2, "ast_node_interactivity on the class")
    run("I.ast_node_interactivity = 'last_expr'")
    r = run("from IPython.utils.capture import capture_output\nwith capture_output() as c:\n"
            "    print('p'); display('d')\nc.stdout, [o.data for o in c.outputs]")
    same((order(r), r.text), (["result"], "('p\\n', [{'text/plain': \"'d'\"}])"), "capture_output")
    r = run("from IPython.core.magic import register_line_magic, Magics, magics_class, line_magic\n"
            "@register_line_magic\ndef shout(line): return line.upper()\n"
            "@magics_class\nclass M(Magics):\n    @line_magic\n    def lower(self, line): return line.lower()\n"
            "get_ipython().register_magics(M)\na = %shout x\nb = %lower Y\na + b")
    same(r.text, "'Xy'", "IPython.core.magic")

finder = runner.part("imports")._Finder
others = finder._others
installed = {name: sys.modules.pop(name) for name in list(sys.modules)
             if name.partition(".")[0] == "IPython"}
finder._others = staticmethod(lambda name, path, target: (
    None if name.partition(".")[0] == "IPython" else others(name, path, target)))
import IPython.display  # noqa: E402,F811
ours = shown(IPython.display)
failures = [sample for sample, value in ours.items() if isinstance(value, str)]
same(failures, [], "every class of IPython.display has a stand-in")
if real is None:
    skip("as IPython's own", "no IPython")
else:
    different = ["%s\n  %.400s\n  %.400s" % (sample, equal(ours[sample]), equal(theirs[sample]))
                 for sample in ours if equal(ours[sample]) != equal(theirs[sample])]
    ok(not different, "%d samples show as IPython's own classes do" % len(ours), *different)
    missing = sorted(name for name in dir(real) if not name.startswith("_")
                     and not hasattr(IPython.display, name))
    same(missing, [], "and no name of the module is missing")
r = run("from IPython.display import *\nfrom IPython import get_ipython as g, display as m\n"
        "import IPython.core.display, IPython.lib.pretty\n"
        "display_html('<x>', raw=True); display_latex(Math('x'))\n"
        "for i in ProgressBar(2): pass\n(m.HTML is HTML, g() is get_ipython(), IPython.lib.pretty.pretty(1))")
same((order(r), r.text), (["display"] * 3 + ["update"] * 3 + ["result"], "(True, True, '1')"),
     "functions of IPython without it")
same([sorted(data) for data in bundles(r)[:2]], [["text/html"], ["text/latex"]], "show one type alone")
r = run("from IPython.core.magic import register_line_cell_magic, Magics, magics_class, cell_magic\n"
        "@register_line_cell_magic\ndef both(line, cell=None): return line, cell\n"
        "@magics_class\nclass M(Magics):\n    @cell_magic('named')\n    def f(self, line, cell): return cell\n"
        "get_ipython().register_magics(M)\na = %both x\na")
same((r.text, run("%%named\nbody").text), ("('x', None)", r"'body\n'"), "its decorators")
r = run("from IPython.utils.capture import capture_output\nwith capture_output() as c:\n"
        "    print('p'); display('d')\nc.stdout, len(c.outputs)")
same((order(r), r.text), (["result"], r"('p\n', 1)"), "its capture_output")
r = run("from IPython.core.interactiveshell import InteractiveShell\n"
        "InteractiveShell.ast_node_interactivity = 'all'")
same(len(run("1\n2").results), 2, "its InteractiveShell")
run("InteractiveShell.ast_node_interactivity = 'last_expr'")
for name in list(sys.modules):
    if name.partition(".")[0] == "IPython":
        del sys.modules[name]
sys.modules.update(installed)
finder._others = staticmethod(others)

# ---- cell magics that display
for magic, mime in (("html", "text/html"), ("markdown", "text/markdown"), ("latex", "text/latex"),
                    ("svg", "image/svg+xml"), ("javascript", "application/javascript")):
    r = run("%%" + magic + "\n<x/>")
    same((mimes(r), bundles(r)[0].get(mime)), ([[mime]], "<x/>\n"), "%%" + magic)


# ---- libraries that show themselves
def available(name):
    try:
        return __import__(name)
    except ImportError:
        skip(name, "no " + name)
        return None


if available("matplotlib"):
    import matplotlib
    matplotlib.use("module://kiln_figures")  # loaded by this test: the import hook has not run
    PLOT = "plt.plot([1, 2]); plt.title('t')\n"

    def size(data):
        raw = base64.b64decode(data["image/png"])
        return tuple(int.from_bytes(raw[k:k + 4], "big") for k in (16, 20))

    r = run("import matplotlib.pyplot as plt\n" + PLOT + "plt.figure(figsize=(2, 1)); plt.plot([1]);")
    same([(kind, event["data"]["text/plain"]) for kind, event in r.events],
         [("display", "<Figure size 640x480 with 1 Axes>"), ("display", "<Figure size 200x100 with 1 Axes>")],
         "open figures are shown at the cell's end, in order")
    normal = size(bundles(r)[0])
    ok(500 < normal[0] < 640 and 380 < normal[1] < 480, "within a tight bounding box", normal)
    same(run("plt.get_fignums()").text, "[]", "and closed")
    same(run("1;").events, [], "and shown no more")
    r = run("fig, ax = plt.subplots(); ax.plot([1]); print('before')\nfig")
    same(order(r), ["stdout", "result", "display"], "a figure that is the value is shown at the end, too, "
         "as in Jupyter")
    same(mimes(run("fig")), [["image/png"]], "and in a later cell as the value alone")
    r = run("plt.ioff()\nplt.plot([1])\nplt.ion();")
    same([kind for kind in r.kinds if kind != "result"], [], "plt.ioff(): not shown")
    same(run("plt.plot([1]); plt.close('all');").events, [], "nor what was closed")
    r = run("plt.plot([1]); plt.savefig('f.png'); plt.savefig('f.pdf');\n1/0")
    ok(os.path.getsize("f.png") and r.kinds == ["error", "display"], "after an error, too", r.kinds)
    with open("f.png", "rb") as file:
        head = file.read(24)
    same(tuple(int.from_bytes(head[k:k + 4], "big") for k in (16, 20)), (640, 480),
         "savefig is untouched")
    same(run("plt.figure();").events[0][1]["data"], {"text/plain": "<Figure size 640x480 with 0 Axes>"},
         "an empty figure has no picture")
    run("%config InlineBackend.figure_format = 'svg'")
    same(mimes(run(PLOT)), [[], ["image/svg+xml"]], "svg")
    ok(bundles(run("plt.plot([1]);"))[0]["image/svg+xml"].lstrip().startswith("<?xml"), "as text")
    run("%config InlineBackend.figure_format = 'retina'")
    r = run(PLOT + "None")
    double, said = size(bundles(r)[0]), r.events[0][1]["metadata"]["image/png"]
    ok(abs(double[0] - 2 * normal[0]) < 4 and said == {"width": double[0] // 2, "height": double[1] // 2},
       "retina: twice the size, shown at half", double, said)
    run("from matplotlib_inline.backend_inline import set_matplotlib_formats as smf\nsmf('png', 'pdf')")
    same(mimes(run(PLOT + "None")), [["application/pdf", "image/png"]], "set_matplotlib_formats")
    same(run("smf('bmp')").error["name"], "ValueError", "of a format that there is not")
    run("smf('png')\n%config InlineBackend.print_figure_kwargs = {'bbox_inches': None}")
    same(size(bundles(run(PLOT + "None"))[0]), (640, 480), "print_figure_kwargs")
    run("%config InlineBackend.print_figure_kwargs = {'bbox_inches': 'tight'}")
    run("%config InlineBackend.close_figures = False\nplt.plot([1]);")
    same((run("plt.get_fignums()").text, run("2;").events), ("[1]", []), "close_figures = False")
    same(mimes(run("plt.plot([3]);")), [["image/png"]], "shown again when it is drawn upon")
    run("%config InlineBackend.close_figures = True\nplt.close('all')")
    r = run("plt.figure(facecolor='none'); plt.plot([1]);")
    same(r.events[0][1]["metadata"], {"needs_background": "light"}, "a transparent figure")
    same(order(run(PLOT + "plt.gcf().show(); print('after')")), ["stdout", "display"],
         "figure.show() shows it once")
    r = run("%matplotlib inline\n" + PLOT + "plt.show(); print('after')")
    same(order(r), ["display", "stdout"], "%matplotlib inline and plt.show()")
    same(mimes(run("%%capture shown\nplt.plot([1]);")), [], "%%capture keeps figures")
    same(mimes(run("shown.outputs[0]")), [["image/png"]], "to be shown later")
    run("matplotlib = __import__('matplotlib')\n"
        "matplotlib.use('module://matplotlib_inline.backend_inline')")
    same(mimes(run("plt.plot([1]);")), [["image/png"]], "matplotlib_inline's name for the backend")
    run("%matplotlib inline")
    channel.options["dpi"] = "20"
    ok(size(bundles(run("plt.plot([1]);"))[0])[0] < 140, "the dpi option")
    del channel.options["dpi"]

if available("pandas"):
    r = run("import pandas as pd\nframe = pd.DataFrame({'a': [1, 2]})\nframe")
    ok(mimes(r) == [["text/html"]] and "<table" in r.results[0]["text/html"]
       and r.text == "   a\n0  1\n1  2", "a DataFrame is a table", r.text)
    same(mimes(run("frame['a']")), [[]], "a Series is text")
    r = run("pd.DataFrame({str(n): [n] * 100 for n in range(30)})")
    ok("..." in r.text and "100 rows × 30 columns" in r.results[0]["text/html"], "a large one is cut")
    if available("jinja2"):
        ok("<style" in run("frame.style.highlight_max()").results[0]["text/html"], "a Styler")
if available("PIL"):
    r = run("from PIL import Image\nImage.new('RGB', (3, 2), 'red')")
    same(mimes(r), [["image/png"]], "a PIL image")
if available("sympy"):
    r = run("import sympy\nx = sympy.Symbol('x')\nsympy.sqrt(x) / 2")
    same((r.text, r.results[0]["text/latex"]), ("sqrt(x)/2", r"$\displaystyle \frac{\sqrt{x}}{2}$"),
         "sympy as LaTeX")
    r = run("sympy.init_printing(use_latex='mathjax')\nsympy.sqrt(x) / 2")
    ok("√x" in r.text and "sqrt{x}" in r.results[0]["text/latex"], "init_printing()", r.results)
if available("tqdm"):
    r = run("from tqdm import tqdm\nfor i in tqdm(range(3)): pass")
    ok("3/3" in r.err and "\r" in r.err and r.status == OK, "tqdm", r.err)
    r = run("from tqdm.auto import tqdm as auto\nfor i in auto(range(3)): pass")
    ok(r.status == OK, "tqdm.auto", r.trace, r.err)
if available("plotly"):
    r = run("import plotly.graph_objects as go\ngo.Figure(go.Bar(y=[1, 2]))")
    ok("application/vnd.plotly.v1+json" in bundles(r)[-1], "plotly", mimes(r), r.trace)
    r = run("import plotly.io as pio\nf = go.Figure(go.Bar(y=[1]))\nf.show(renderer='notebook_connected')")
    ok("text/html" in bundles(r)[0], "plotly's notebook renderer", mimes(r), r.trace)
if available("altair"):
    r = run("import altair as alt\n"
            "alt.Chart(alt.Data(values=[{'a': 1}])).mark_bar().encode(x='a:Q')")
    ok(any("vegalite" in mime or mime == "text/html" for mime in mimes(r)[0]), "altair", mimes(r))
    r = run("alt.renderers.enable('mimetype')\n"
            "alt.Chart(alt.Data(values=[{'a': 1}])).mark_bar().encode(x='a:Q')")
    ok(any("vnd.vegalite" in mime for mime in mimes(r)[0]), "altair's mimetype renderer", mimes(r))

done()
