"""%magic and %%magic: what they do. Those that make no sense here say so; unknown ones,
too, with one that is spelt alike. `session` is session.py."""
import sys

shell_part = session.part("shell")
UsageError, namespace, fill = shell_part.UsageError, shell_part.namespace, shell_part.fill
shell = shell_part.shell
arguments, timing, workspace = map(session.part, ("arguments", "timing", "workspace"))

automagic = True  # a single line may be a magic without its %


def _output(text):
    sys.stdout.write(text)


# --------------------------------------------------------------------- programs


def _script(program):
    def run(line, body=None):
        """Runs the cell with a program, as its standard input: --no-raise-error, --out NAME,
        --err NAME."""
        words = [program] + arguments.split(line) if program else arguments.split(line)
        names, keep, raises = {}, [], True
        while words:
            word = words.pop(0)
            option, equals, value = word.partition("=")
            if option in ("--out", "--err"):
                names[option] = value if equals else words.pop(0) if words else ""
            elif word == "--no-raise-error":
                raises = False
            elif word not in ("--raise-error", "--bg"):
                keep.append(word)
        if not keep:
            raise UsageError("%%script wants a program")
        gathered = {name: [] for name in names}
        try:
            code = shell_part.stream_process(
                keep, body or "", out=gathered["--out"].append if "--out" in names else None,
                err=gathered["--err"].append if "--err" in names else None)
        except FileNotFoundError:
            raise UsageError("no program %s here" % keep[0]) from None
        for option, name in names.items():
            namespace()[name] = b"".join(gathered[option]).decode("utf-8", "replace")
        namespace()["_exit_code"] = code
        if code and raises:
            raise session.library("subprocess").CalledProcessError(
                code, (body or "").encode("utf-8", "surrogateescape"))

    return run


def _command(name):
    def run(line):
        shell.system((name + " " + line).rstrip())

    run.__doc__ = "%%%s: !%s" % (name.split()[0], name)
    return run


def _install(tool):
    def run(line):
        """Packages cannot be installed here; what needs no network works: %pip list."""
        shell_part.refuse_install([tool] + line.split())
        program = "/usr/bin/python3 -m pip" if tool == "pip" else tool
        shell.system("%s %s" % (program, line))

    return run


def _system(line, body=None):
    """%sx command, %%sx: its output as a list of lines."""
    return shell.getoutput(line if body is None else line + "\n" + body)


def _bang(line, body=None):
    """%%!: runs the cell in a shell; its output as a list of lines."""
    return shell.getoutput((line + "\n" if line else "") + (body or ""))


# ---------------------------------------------------------------------- capture


class Captured:
    """What %%capture keeps."""

    def __init__(self, stdout, stderr, outputs):
        self.stdout, self.stderr, self.outputs = stdout, stderr, outputs

    def __str__(self):
        return self.stdout

    def show(self):
        sys.stdout.write(self.stdout)
        sys.stderr.write(self.stderr)
        for output in self.outputs:
            output.display()

    __call__ = show


def _capture(line, body=None):
    """%%capture [NAME]: runs the cell and keeps its stdout, stderr and displays;
    --no-stdout, --no-stderr, --no-display let them through."""
    io, display = session.library("io"), session.part("display")
    words = line.split()
    left = {word[5:] for word in words if word in ("--no-stdout", "--no-stderr", "--no-display")}
    names = [word for word in words if not word.startswith("--")]
    if len(names) > 1 or len(words) - len(names) != len(left):
        raise UsageError("%%capture wants at most one name, and --no-stdout, --no-stderr or "
                         "--no-display")
    out, err, capture = io.StringIO(), io.StringIO(), display.Capture()
    before = sys.stdout, sys.stderr
    if "stdout" not in left:
        sys.stdout = out
    if "stderr" not in left:
        sys.stderr = err
    try:
        if "display" in left:
            shell_part.run_code(body or "", show=sys.displayhook)
        else:
            with capture:
                shell_part.run_code(body or "", show=capture.value)
                if "kiln_figures" in sys.modules:
                    session.part("figures").flush()
    finally:
        sys.stdout, sys.stderr = before
        if names:
            namespace()[names[0]] = Captured(out.getvalue(), err.getvalue(), capture.outputs)


def _as_mime(mime):
    def show(line, body=None):
        """Shows the cell as this type of data."""
        # As IPython's classes, whose text/plain is their repr.
        isolated = {mime: {"isolated": True}} if line.strip() == "--isolated" else {}
        session.part("display").publish({
            mime: body if body is not None else line,
            "text/plain": "<IPython.core.display.%s object>" % _CLASS_NAMES[mime]}, isolated)

    return show


_CLASS_NAMES = {"text/html": "HTML", "text/markdown": "Markdown", "text/latex": "Latex",
                "image/svg+xml": "SVG", "application/javascript": "Javascript"}


# ---------------------------------------------------------------------- matplotlib


def _matplotlib(line):
    """%matplotlib inline: figures are shown at the end of the cell. Any other GUI needs a
    screen."""
    words = line.split()
    if words in (["--list"], ["-l"]):
        _output("Available matplotlib backends: ['agg', 'inline']\n")
        return
    gui = words[0] if words else "inline"
    if session.channel.option("matplotlib") == "false":
        raise UsageError("%matplotlib: the operator has switched off matplotlib's figures "
                         "([backend interpreter] matplotlib)")
    try:
        if gui in ("inline", "auto", "widget", "ipympl", "notebook", "nbagg"):
            # Interactive ones are shown as pictures: what a cell draws is seen.
            if "matplotlib" in sys.modules:
                session.part("figures").use()
        elif gui == "agg":
            __import__("matplotlib").use("agg")
        else:
            raise UsageError("%%matplotlib %s: there is no screen here; %%matplotlib inline "
                             "shows figures as pictures" % gui)
    except ImportError:
        raise UsageError("%matplotlib: matplotlib is not installed") from None


def _pylab(line):
    """%pylab: numpy's and matplotlib's names, all of them."""
    exec("import numpy\nimport matplotlib\nfrom matplotlib import pylab, mlab, pyplot\n"
         "np = numpy\nplt = pyplot\nfrom pylab import *\nfrom numpy import *\n", namespace())


def _config(line):
    """%config InlineBackend.figure_format = 'svg': reads or sets a setting. Of other
    classes than InlineBackend, settings are accepted and mean nothing here."""
    line = line.strip()
    if not line:
        _output("Available objects for config:\n    InlineBackend\n    InteractiveShell\n")
        return None
    target, equals, value = line.partition("=")
    owner, _, name = target.strip().partition(".")
    if owner == "InlineBackend":
        thing = session.part("figures").settings
    elif owner in ("InteractiveShell", "ZMQInteractiveShell"):
        thing = shell
    else:
        thing = None
    if not equals:
        if thing is None:
            raise UsageError("Invalid config statement: %r" % line)
        if name:
            return getattr(thing, name)
        _output("".join("%s.%s = %r\n" % (owner, key, held)
                        for key, held in sorted(vars(thing).items())))
        return None
    if not name:
        raise UsageError("Invalid config statement: %r, should be `Class.trait = value`" % line)
    value = eval(value.strip(), namespace())
    if thing is not None:
        try:
            setattr(thing, name, value)
        except (ValueError, AttributeError) as error:
            raise UsageError("%%config %s: %s" % (line, error)) from None
    return None


def _precision(line):
    """%precision 3, %precision %.3e, %precision: how floats are shown."""
    formatter = shell.display_formatter.formatters["text/plain"]
    try:
        formatter.float_precision = line.strip()
    except ValueError as error:
        raise UsageError(str(error)) from None
    if "numpy" in sys.modules:
        digits = line.strip()
        sys.modules["numpy"].set_printoptions(precision=int(digits) if digits.isdigit() else 8)
    return formatter.float_precision


def _xmode(line):
    """%xmode Minimal|Plain|Context|Verbose: Minimal shows exceptions without a traceback;
    all others show Python's own."""
    wanted = line.strip().capitalize()
    if wanted not in ("Minimal", "Plain", "Context", "Verbose"):
        raise UsageError("%xmode takes Minimal, Plain, Context or Verbose")
    session.part("tracebacks").minimal = wanted == "Minimal"
    _output("Exception reporting mode: %s\n" % wanted)


def _automagic(line):
    """%automagic [on|off]: whether a single line may be a magic without its %."""
    global automagic
    word = line.strip().lower()
    if word not in ("", "on", "off", "1", "0", "true", "false"):
        raise UsageError("%automagic takes on or off")
    automagic = not automagic if not word else word in ("on", "1", "true")
    _output("\nAutomagic is %s, %% prefix %s needed for line magics.\n" % (
        ("ON", "IS NOT") if automagic else ("OFF", "IS")))


# ----------------------------------------------------------------------- extensions


_loaded = {"autoreload", "matplotlib", "storemagic"}  # what needs no loading


def load_extension(name):
    """An extension of IPython that is installed, or a file of the session."""
    if name in _loaded:
        return "already loaded"
    __import__(name)
    module = sys.modules[name]
    function = getattr(module, "load_ipython_extension", None)
    if function is None:
        raise UsageError("%%load_ext: the %s module is not an IPython extension: it has no "
                         "load_ipython_extension()" % name)
    function(shell)
    _loaded.add(name)
    return None


def _load_ext(line):
    """%load_ext MODULE: loads an extension of IPython."""
    name = line.strip()
    if not name:
        raise UsageError("Missing module name.")
    if load_extension(name) == "already loaded" and name not in (
            "autoreload", "matplotlib", "storemagic"):
        _output("The %s extension is already loaded. To reload it, use:\n  %%reload_ext %s\n"
                % (name, name))


def _reload_ext(line):
    """%reload_ext MODULE"""
    if line.strip() not in ("autoreload", "matplotlib", "storemagic"):
        _loaded.discard(line.strip())
        module = sys.modules.get(line.strip())
        if module is not None:
            session.library("importlib").reload(module)
    _load_ext(line)


def _reloading(name):
    def run(line):
        getattr(session.part("autoreload"), name)(line)

    run.__doc__ = getattr(session.part("autoreload"), name).__doc__
    return run


def _ignored(line, body=None):
    """Accepted; it means nothing here."""


def _refused(name, why):
    def run(line, body=None):
        raise UsageError("%%%s: %s" % (name, why))

    run.__doc__ = "Not here: " + why
    return run


# ------------------------------------------------------------------------- help


def _lsmagic(line):
    """%lsmagic: all magics."""
    _output("Available line magics:\n%s\n\nAvailable cell magics:\n%s\n\nAutomagic is %s\n" % (
        "  ".join("%" + name for name in sorted(_line_magics)),
        "  ".join("%%" + name for name in sorted(_cell_magics)),
        "ON, % prefix IS NOT needed for line magics." if automagic else
        "OFF, % prefix IS needed for line magics."))


def _magic(line):
    """%magic: what each magic does."""
    for sign, table in (("%", _line_magics), ("%%", _cell_magics)):
        for name in sorted(table):
            text = " ".join((table[name].__doc__ or "").split())
            _output("%s%s\n    %s\n" % (sign, name, text or "no documentation"))


def _described(function):
    def run(line):
        getattr(session.part("describe"), function)(line.strip())

    run.__doc__ = "%%%s NAME" % function
    return run


_NO_TERMINAL = "nobody can type into a running cell"
_NO_FRONT_END = "a cell cannot fill the next one"

_line_magics = {
    "time": timing.timed, "timeit": timing.timeit, "prun": timing.prun,
    "sx": _system, "system": _system, "pip": _install("pip"), "conda": _install("conda"),
    "mamba": _install("mamba"), "uv": _install("uv"), "ls": _command("ls --color=never"),
    "run": workspace.run_file, "hist": workspace.history, "who_ls": workspace.who_names,
    "tb": workspace.show_traceback,
    "matplotlib": _matplotlib, "pylab": _pylab, "config": _config, "precision": _precision,
    "xmode": _xmode, "automagic": _automagic, "load_ext": _load_ext, "reload_ext": _reload_ext,
    "unload_ext": _ignored, "autoreload": _reloading("autoreload"),
    "aimport": _reloading("aimport"), "lsmagic": _lsmagic, "magic": _magic,
    "pinfo": _described("info"), "pinfo2": _described("source_info"), "pdoc": _described("doc"),
    "pdef": _described("signature"), "psource": _described("source"),
    "pfile": _described("source"), "psearch": _described("search"),
    "colors": _ignored, "doctest_mode": _ignored, "autosave": _ignored, "pprint": _ignored,
    "gui": _ignored, "autocall": _ignored, "autoawait": _ignored, "logstart": _ignored,
    "logstop": _ignored, "killbgscripts": _ignored,
    "pdb": _refused("pdb", "there is no debugger: " + _NO_TERMINAL),
    "debug": _refused("debug", "there is no debugger: " + _NO_TERMINAL),
    "edit": _refused("edit", "there is no editor: " + _NO_TERMINAL),
    "load": _refused("load", _NO_FRONT_END + "; %run FILE runs it"),
    "loadpy": _refused("loadpy", _NO_FRONT_END + "; %run FILE runs it"),
    "recall": _refused("recall", _NO_FRONT_END + "; %rerun runs it"),
    "macro": _refused("macro", "a function does it"),
    "store": _refused("store", "a session's variables do not outlive it; write a file"),
    "connect_info": _refused("connect_info", "a session has no Jupyter connection file"),
    "qtconsole": _refused("qtconsole", "there is no screen"),
}
for _name in ("cd", "pwd", "pushd", "popd", "dhist", "env", "set_env", "who", "whos", "reset",
              "reset_selective", "xdel", "history", "rerun"):
    _line_magics[_name] = getattr(workspace, _name)
for _name in ("cat", "cp", "mv", "rm", "mkdir", "rmdir", "less", "more", "man"):
    _line_magics[_name] = _command({"less": "cat", "more": "cat"}.get(_name, _name))
for _name, _flags in (("ll", "-l"), ("la", "-la"), ("lf", "-l"), ("ldir", "-ld */")):
    _line_magics[_name] = _command("ls --color=never " + _flags)

_cell_magics = {
    "time": timing.timed, "timeit": timing.timeit, "prun": timing.prun, "capture": _capture,
    "writefile": workspace.writefile, "file": workspace.writefile, "script": _script(None),
    "!": _bang, "sx": _bang, "system": _bang, "html": _as_mime("text/html"), "HTML": _as_mime("text/html"),
    "markdown": _as_mime("text/markdown"), "latex": _as_mime("text/latex"),
    "svg": _as_mime("image/svg+xml"), "SVG": _as_mime("image/svg+xml"),
    "javascript": _as_mime("application/javascript"), "js": _as_mime("application/javascript"),
    "debug": _line_magics["debug"],
}
for _name in ("bash", "sh", "perl", "ruby", "pypy", "python", "python2", "python3"):
    _cell_magics[_name] = _script({"python": "python3"}.get(_name, _name))
# The line is a path or a command: variables are put in, as IPython does for all.
_as_written = frozenset(("time", "timeit", "prun", "sx", "system", "config", "env", "set_env",
                         "pinfo", "pinfo2", "psearch", "precision", "pip", "conda", "mamba"))


def _unknown(kind, name, table, other, also):
    """UsageError for a magic that there is not, with what may have been meant."""
    sign = "%%" if kind == "Cell" else "%"
    text = "%s magic %s`%s%s` not found" % (
        kind, "function " if kind == "Line" else "", sign, name)
    if name in other:
        text += " (But %s magic `%s%s` exists, did you mean that instead?)" % (
            "line" if kind == "Cell" else "cell", also, name)
    else:
        near = session.library("difflib").get_close_matches(name, table, 1, 0.6)
        if near:
            text += ": did you mean `%s%s`?" % (sign, near[0])
            return UsageError(text)
    return UsageError(text + ".")


def run_line(name, line):
    magic = _line_magics.get(name)
    if magic is None:
        raise _unknown("Line", name, _line_magics, _cell_magics, "%%")
    return magic(line if name in _as_written else fill(line))


def run_cell(name, line, body):
    magic = _cell_magics.get(name)
    if magic is None:
        raise _unknown("Cell", name, _cell_magics, _line_magics, "%")
    return magic(line if name in _as_written else fill(line), body)


# ---------------------------------------------------------------------- registering


def register(kind, name, function):
    """A magic of the code's own."""
    if kind in ("line", "line_cell"):
        _line_magics[name] = function
    if kind in ("cell", "line_cell"):
        _cell_magics[name] = function


def register_objects(objects):
    """Classes or instances whose `magics` says {"line": {name: method}, "cell": ...}."""
    for one in objects:
        if isinstance(one, type):
            # IPython's own wants a shell that it can configure.
            options = {"parent": None} if hasattr(one, "class_traits") else {}
            one = one(shell=shell, **options)
        for kind in ("line", "cell"):
            for name, method in one.magics.get(kind, {}).items():
                register(kind, name, getattr(one, method) if isinstance(method, str) else method)
