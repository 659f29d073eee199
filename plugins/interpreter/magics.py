"""Lines that are IPython's and not Python's: %magic, %%magic, !command, name?.

A cell is looked at only when Python does not parse it, and then only the lines
that the parser stops at, so that no string or expression is mistaken for one.
`session` is session.py."""
import sys

_LINES_MAX = 1000  # such lines in one cell


class UsageError(Exception):
    """A magic that is unknown, or used wrongly; shown in one line."""


UsageError.__module__ = "IPython.core.error"

# -------------------------------------------------------------------- transform


def transform(source, filename, flags, error):
    """(source, tree) of the cell as Python, or None when the fault is Python's."""
    # Line ends as the parser counts them; splitlines() knows others too.
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = 0
    while first < len(lines) and not lines[first].strip():
        first += 1
    if first < len(lines) and lines[first].startswith("%%"):
        name, _, line = lines[first][2:].partition(" ")
        body = "\n".join(lines[first + 1:])
        if body:
            body += "\n"
        source = "\n" * first + "get_ipython().run_cell_magic(%r, %r, %r)" % (
            name.strip(), line.strip(), body)
        return source, compile(source, filename, "exec", flags, True)
    changed = False
    for _ in range(_LINES_MAX):
        if changed:
            source = "\n".join(lines)
            try:
                return source, compile(source, filename, "exec", flags, True)
            except SyntaxError as again:
                error = again
        number = _magic_line(lines, error.lineno or 0)
        if number is None:
            if changed:
                raise error
            return None
        changed = True
    raise error


def _magic_line(lines, number):
    """Rewrites the line that the parser stopped at, or the ones before it that it
    may have read into that one; returns its number, None: there is nothing to
    rewrite."""
    for candidate in (number, number - 1):
        if not 1 <= candidate <= len(lines):
            continue
        index = candidate - 1
        whole = lines[index]
        last = index
        stripped = whole.lstrip()
        if stripped[:1] in ("%", "!") or "= %" in whole or "=!" in whole or "= !" in whole:
            while whole.endswith("\\") and last + 1 < len(lines):
                last += 1
                whole = whole[:-1] + lines[last]
        new = _rewrite(whole)
        if new is not None:
            lines[index] = new
            for extra in range(index + 1, last + 1):
                lines[extra] = ""
            return candidate
    return None


def _rewrite(line):
    stripped = line.lstrip()
    indent = line[:len(line) - len(stripped)]
    stripped = stripped.rstrip()
    call = "get_ipython()."
    if stripped.startswith("%") and not stripped.startswith("%%"):
        name, _, rest = stripped[1:].partition(" ")
        if name:
            return "%s%srun_line_magic(%r, %r)" % (indent, call, name, rest.strip())
    if stripped.startswith("!!"):
        return "%s%sgetoutput(%r)" % (indent, call, stripped[2:].strip())
    if stripped.startswith("!"):
        return "%s%ssystem(%r)" % (indent, call, stripped[1:].strip())
    target, equals, rest = stripped.partition("=")
    rest = rest.strip()
    if equals and rest[:1] in ("%", "!") and len(rest) > 1 and _is_target(target.strip()):
        if rest[0] == "!":
            value = "getoutput(%r)" % rest[1:].strip()
        else:
            name, _, arguments = rest[1:].partition(" ")
            value = "run_line_magic(%r, %r)" % (name, arguments.strip())
        return "%s%s = %s%s" % (indent, target.strip(), call, value)
    if stripped.endswith("?") or stripped.startswith("?"):
        name = stripped.strip("?").strip().rstrip(";")
        if name and all(piece.isidentifier() for piece in name.lstrip("%").split(".")):
            return "%s%srun_line_magic('pinfo', %r)" % (indent, call, name)
    return None


def _is_target(text):
    return all(piece.strip().isidentifier() for part in text.split(",") if part.strip()
               for piece in part.split(".")) and bool(text)


# ------------------------------------------------------------------------ magics


def _namespace():
    return session._main.__dict__


def _output(text):
    session.stdout.write(text)


def _run_code(source, filename="<magic>"):
    """Statements, and the value of a last expression."""
    cell = session.compile_cell(source, filename)
    session.sources[filename] = source
    value = None
    if cell.body is not None:
        value = eval(cell.body, _namespace())
        if cell.body.co_flags & session._COROUTINE:
            value = session._await(value)
        value = None
    if cell.tail is not None:
        value = eval(cell.tail, _namespace())
        if cell.tail.co_flags & session._COROUTINE:
            value = session._await(value)
        if cell.quiet:
            value = None
    return value


def _duration(seconds):
    if seconds >= 60:
        minutes, seconds = divmod(int(seconds), 60)
        return "%dmin %ds" % (minutes, seconds)
    for unit, scale in (("s", 1), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9)):
        if seconds * scale >= 1:
            break
    return "%.3g %s" % (seconds * scale, unit)


def _time(line, body=None):
    """Runs it and tells its CPU and wall time."""
    time, os = session.library("time"), session.library("os")
    source = line if body is None else (line + "\n" if line else "") + body
    before, wall = os.times(), time.perf_counter()
    try:
        return _run_code(source)
    finally:
        wall = time.perf_counter() - wall
        after = os.times()
        user, system = after[0] - before[0], after[1] - before[1]
        _output("CPU times: user %s, sys: %s, total: %s\nWall time: %s\n" % (
            _duration(user), _duration(system), _duration(user + system), _duration(wall)))


def _timeit(line, body=None):
    """Runs it often and tells the mean; -n loops, -r repetitions, -q, -o."""
    shlex_words = line.split(" ")
    loops, repeat, quiet, keep = 0, 7, False, False
    while shlex_words and shlex_words[0].startswith("-"):
        word = shlex_words.pop(0)
        letter, value = word[1:2], word[2:]
        if letter in "nr":
            if not value:
                value = shlex_words.pop(0) if shlex_words else ""
            if not value.isdigit():
                raise UsageError("%%timeit -%s wants a number" % letter)
            if letter == "n":
                loops = int(value)
            else:
                repeat = max(1, int(value))
        elif letter == "q":
            quiet = True
        elif letter == "o":
            keep = True
        elif letter not in "ptc":
            raise UsageError("%%timeit has no option %s" % word)
    statement = " ".join(shlex_words)
    setup = "pass"
    if body is not None:
        setup, statement = statement.strip() or "pass", body
    timeit = session.library("timeit")
    timer = timeit.Timer(statement, setup, globals=_namespace())
    if not loops:
        loops = 1
        while timer.timeit(loops) < 0.2 and loops < 10 ** 9:
            loops *= 10
    runs = [one / loops for one in timer.repeat(repeat, loops)]
    mean = sum(runs) / len(runs)
    deviation = (sum((one - mean) ** 2 for one in runs) / len(runs)) ** 0.5
    if not quiet:
        _output("%s ± %s per loop (mean ± std. dev. of %d run%s, %s loop%s each)\n" % (
            _duration(mean), _duration(deviation), repeat, "" if repeat == 1 else "s",
            format(loops, ","), "" if loops == 1 else "s"))
    return runs if keep else None


def _stream_process(argv, text=None):
    """Runs a program; its output goes through sys.stdout and sys.stderr."""
    subprocess, threading = session.library("subprocess"), session.library("threading")
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               stdin=subprocess.PIPE if text is not None else None)

    def copy(source, target):
        for piece in iter(lambda: source.read1(65536), b""):
            target.buffer.write(piece)

    readers = [threading.Thread(target=copy, args=pair, daemon=True) for pair in (
        (process.stdout, sys.stdout), (process.stderr, sys.stderr))]
    try:
        for reader in readers:
            reader.start()
        if text is not None:
            try:
                process.stdin.write(text.encode("utf-8", "surrogateescape"))
                process.stdin.close()
            except BrokenPipeError:
                pass
        code = process.wait()
        for reader in readers:
            reader.join()
    except BaseException:
        process.kill()
        process.wait()
        raise
    return code


def _fill(command):
    """{name} and $name of a shell line, where the session has such a variable."""
    namespace = _namespace()
    re = session.library("re")

    def value(match):
        name = match.group(1) or match.group(2)
        try:
            return str(eval(name, namespace))
        except Exception:
            return match.group(0)

    return re.sub(r"(?<![$\\])\{([A-Za-z_][^{}]*)\}|(?<![$\\])\$([A-Za-z_]\w*)", value, command)


def _refuse_install(line, tool="pip"):
    raise UsageError("%%%s: packages cannot be installed in a session: it has no network and "
                     "its system is read-only. Ask the operator to install them." % tool)


def _is_install(command):
    words = command.replace("&&", " ").split()
    return len(words) > 1 and words[0] in ("pip", "pip3", "conda", "mamba") and (
        words[1] == "install")


def _script(program):
    def run(line, body=None):
        """Runs the cell with a program, as its standard input."""
        words = session.library("shlex").split(line)
        words = [word for word in words if word != "--no-raise-error"]
        code = _stream_process([program] + words, body or "")
        if code and "--no-raise-error" not in line:
            raise session.library("subprocess").CalledProcessError(code, [program] + words)

    return run


def _script_any(line, body=None):
    words = session.library("shlex").split(line)
    if not words:
        raise UsageError("%%script wants a program")
    return _script(words[0])(" ".join(map(session.library("shlex").quote, words[1:])), body)


def _capture(line, body=None):
    """Runs the cell and keeps its stdout and stderr."""
    io, name = session.library("io"), line.split("-")[0].strip()
    out, err = io.StringIO(), io.StringIO()
    sys.stdout, sys.stderr = out, err
    try:
        _run_code(body or "")
    finally:
        sys.stdout, sys.stderr = session.stdout, session.stderr
    if name:
        _namespace()[name] = Captured(out.getvalue(), err.getvalue())


class Captured:
    def __init__(self, stdout, stderr):
        self.stdout, self.stderr = stdout, stderr

    def __str__(self):
        return self.stdout

    def show(self):
        sys.stdout.write(self.stdout)
        sys.stderr.write(self.stderr)

    __call__ = show


def _writefile(line, body=None):
    words = line.split()
    append = "-a" in words
    names = [word for word in words if word != "-a"]
    if len(names) != 1 or body is None:
        raise UsageError("%%writefile wants one file name")
    os = session.library("os")
    verb = "Appending to" if append else "Overwriting" if os.path.exists(names[0]) else "Writing"
    with open(names[0], "a" if append else "w", encoding="utf-8") as file:
        file.write(body)
    _output("%s %s\n" % (verb, names[0]))


def _as_mime(mime):
    def show(line, body=None):
        session.part("display").publish({mime: body or line, "text/plain": "<%s>" % mime})

    return show


def _cd(line):
    os = session.library("os")
    os.chdir(os.path.expanduser(line.strip().strip("'\"") or "~"))
    _output(os.getcwd() + "\n")


def _env(line):
    os = session.library("os")
    if not line:
        return dict(os.environ)
    name, equals, value = line.partition("=")
    if not equals:
        name, equals, value = line.partition(" ")
    name = name.strip()
    if not equals:
        if name not in os.environ:
            raise UsageError("Environment does not have key: %s" % name)
        return os.environ[name]
    os.environ[name] = _fill(value.strip())
    _output("env: %s=%s\n" % (name, os.environ[name]))


def _who_names():
    hidden = {"In", "Out", "_", "__", "___"}
    return sorted(name for name, value in _namespace().items()
                  if not name.startswith("_") and name not in hidden
                  and type(value) is not type(sys))


def _who(line):
    names = _who_names()
    _output("\t ".join(names) + "\n" if names else "Interactive namespace is empty.\n")


def _reset(line):
    for name in _who_names():
        del _namespace()[name]


def _run_file(line):
    words = session.library("shlex").split(line)
    words = [word for word in words if word != "-i"]
    if not words:
        raise UsageError("%run wants a file name")
    before = sys.argv
    sys.argv = words
    try:
        result = session.library("runpy").run_path(words[0], run_name="__main__")
    finally:
        sys.argv = before
    _namespace().update((name, value) for name, value in result.items()
                        if not name.startswith("__"))


def _precision(line):
    digits = line.strip()
    if "numpy" in sys.modules and digits.isdigit():
        sys.modules["numpy"].set_printoptions(precision=int(digits))


def _pylab(line):
    exec("import numpy\nimport matplotlib\nfrom matplotlib import pylab, mlab, pyplot\n"
         "np = numpy\nplt = pyplot\nfrom pylab import *\nfrom numpy import *\n", _namespace())


def _pinfo(line):
    """Signature and documentation of a name."""
    name = line.strip()
    if name.startswith("%"):
        magic = _line_magics.get(name.lstrip("%")) or _cell_magics.get(name.lstrip("%"))
        text = (magic.__doc__ or "no documentation") if magic else None
        _output("%s\n" % (text or "Object `%s` not found." % name))
        return
    try:
        value = eval(name, _namespace())
    except Exception:
        _output("Object `%s` not found.\n" % name)
        return
    inspect = session.library("inspect")
    report = []
    if callable(value):
        try:
            report.append("Signature: %s%s" % (name, inspect.signature(value)))
        except (ValueError, TypeError):
            pass
    else:
        report.append("String form: %s" % (session.part("display").plain(value) or "")[:400])
    report.append("Type: %s" % type(value).__name__)
    report.append("Docstring: %s" % (inspect.getdoc(value) or "<no docstring>"))
    _output("\n".join(report) + "\n")


def _ignored(line, body=None):
    """Means nothing here."""


def _load_ext(line):
    """IPython's own extensions have no use here; others cannot be loaded."""
    name = line.strip()
    if name not in ("autoreload", "matplotlib", "storemagic", "line_profiler",
                    "memory_profiler", "watermark", "tensorboard", "lab_black", "nb_black"):
        raise UsageError("%%load_ext: IPython extensions cannot be loaded here: %s" % name)


def _bang(line, body=None):
    shell.system(body if body is not None else line)


_line_magics = {
    "matplotlib": _ignored, "config": _ignored, "autoreload": _ignored, "colors": _ignored,
    "xmode": _ignored, "doctest_mode": _ignored, "autosave": _ignored, "pprint": _ignored,
    "load_ext": _load_ext, "reload_ext": _load_ext, "unload_ext": _ignored,
    "precision": _precision, "time": _time, "timeit": _timeit, "pinfo": _pinfo,
    "pinfo2": _pinfo, "cd": _cd, "env": _env, "set_env": _env, "who": _who,
    "who_ls": lambda line: _who_names(), "whos": _who, "reset": _reset, "run": _run_file,
    "pylab": _pylab, "sx": lambda line: shell.getoutput(line),
    "system": lambda line: shell.getoutput(line),
    "pwd": lambda line: session.library("os").getcwd(),
    "ls": lambda line: shell.system("ls " + line), "cat": lambda line: shell.system("cat " + line),
    "mkdir": lambda line: shell.system("mkdir " + line),
    "pip": _refuse_install, "conda": lambda line: _refuse_install(line, "conda"),
    "mamba": lambda line: _refuse_install(line, "mamba"),
}
_cell_magics = {
    "time": _time, "timeit": _timeit, "capture": _capture, "writefile": _writefile,
    "file": _writefile, "bash": _script("bash"), "sh": _script("sh"), "perl": _script("perl"),
    "script": _script_any, "!": _bang, "sx": _bang, "system": _bang,
    "html": _as_mime("text/html"), "HTML": _as_mime("text/html"),
    "markdown": _as_mime("text/markdown"), "latex": _as_mime("text/latex"),
    "svg": _as_mime("image/svg+xml"), "SVG": _as_mime("image/svg+xml"),
    "javascript": _as_mime("application/javascript"),
    "js": _as_mime("application/javascript"),
}


class Lines(list):
    """The output of a command, by lines."""

    n = property("\n".join)
    s = property(" ".join)
    l = property(list)


class ZMQInteractiveShell:
    """What get_ipython() gives: the little of IPython's shell that is here. By its
    name, `kernel` and `config` libraries (pandas' widths, for one) tell a notebook
    from a terminal."""

    user_ns = property(lambda self: _namespace())
    kernel = None
    config = {"IPKernelApp": {}}

    def run_line_magic(self, name, line):
        magic = _line_magics.get(name)
        if magic is None:
            also = " (But cell magic `%%%%%s` exists, did you mean that instead?)" % name
            raise UsageError("Line magic function `%%%s` not found%s." % (
                name, also if name in _cell_magics else ""))
        return magic(_fill(line) if name in ("cd", "run", "load_ext") else line)

    def run_cell_magic(self, name, line, cell):
        magic = _cell_magics.get(name)
        if magic is None:
            raise UsageError("Cell magic `%%%%%s` not found." % name)
        return magic(line, cell)

    def magic(self, text):
        name, _, line = text.lstrip("%").partition(" ")
        return self.run_line_magic(name, line)

    def system(self, command):
        """!command"""
        if _is_install(command):
            _refuse_install(command, command.split()[0])
        command = _fill(command)
        _namespace()["_exit_code"] = _stream_process(["bash", "-c", command])

    def getoutput(self, command):
        """x = !command"""
        if _is_install(command):
            _refuse_install(command, command.split()[0])
        done = session.library("subprocess").run(
            ["bash", "-c", _fill(command)], stdout=-1, stderr=-2)
        return Lines(done.stdout.decode("utf-8", "replace").splitlines())

    def run_cell(self, source, *arguments, **options):
        value = _run_code(source)
        sys.displayhook(value)

    def __repr__(self):
        return "<kiln shell>"


shell = ZMQInteractiveShell()
