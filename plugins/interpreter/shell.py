"""get_ipython(): the part of IPython's shell that code from notebooks asks for, and the
programs that !command starts. `session` is session.py."""
import sys


class UsageError(Exception):
    """A magic that is unknown, or used wrongly; shown in one line."""


UsageError.__module__ = "IPython.core.error"


def namespace():
    return session._main.__dict__


def _magic_file(source):
    """A name of its own for what a magic runs: the functions that it makes outlive it, and
    tracebacks are to show their lines."""
    first = name = "<magic of In[%d]>" % session._count
    number = 1
    while session.sources.get(name, source).rstrip("\n") != source.rstrip("\n"):
        number += 1
        name = "%s:%d>" % (first[:-1], number)
    return name


def run_code(source, filename=None, show=None):
    """Runs statements; the value of a last expression, or None when `show` took it."""
    filename = filename or _magic_file(source)
    cell = session.compile_cell(source, filename)
    session.keep_source(filename, source)
    value = session.value_of(cell)
    if cell.tail is not None:
        if cell.quiet:
            value = None
        elif show is not None:
            show(value)
            value = None
    return value


# --------------------------------------------------------------------- programs


def _writer(stream):
    """A function that writes bytes to a stream, which may be one of text alone."""
    binary = getattr(stream, "buffer", None)
    if binary is not None:
        return binary.write
    decoder = session.library("codecs").getincrementaldecoder("utf-8")("replace")
    return lambda data: stream.write(decoder.decode(data))


def stream_process(argv, text=None, out=None, err=None):
    """Runs a program; its output goes through sys.stdout and sys.stderr. One function for
    both gets them as one stream, in order. The exit status, negative: the signal that it
    died of."""
    together = out is not None and out is err
    subprocess, threading = session.library("subprocess"), session.library("threading")
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if together else subprocess.PIPE,
        stdin=subprocess.PIPE if text is not None else subprocess.DEVNULL)

    def copy(source, write):
        for piece in iter(lambda: source.read1(65536), b""):
            write(piece)

    readers = [threading.Thread(target=copy, args=(source, write), daemon=True)
               for source, write in ((process.stdout, out or _writer(sys.stdout)),
                                     (process.stderr, err or _writer(sys.stderr)))
               if source is not None]
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


def fill(command):
    """{expression} and $name of a line, where the session has such a variable; $$ is a
    dollar for the shell."""
    re = session.library("re")

    def value(match):
        if match.group(0) == "$$":
            return "$"
        name = match.group(1) or match.group(2)
        try:
            if match.group(1) and ("!" in name or ":" in name):  # {x!r}, {x:>5}
                return eval("f'''{" + name + "}'''", namespace())
            return str(eval(name, namespace()))
        except Exception:
            return match.group(0)

    return re.sub(r"\$\$|(?<![$\\{])\{([A-Za-z_][^{}]*)\}(?!\})|(?<![$\\])\$([A-Za-z_]\w*)",
                  value, command)


def _has_network():
    os = session.library("os")
    return any(os.environ.get(name) for name in ("https_proxy", "HTTPS_PROXY"))


_INSTALLERS = ("pip", "pip3", "conda", "mamba", "uv")


def refuse_install(words):
    """pip install and the like, where there is no network to install from."""
    words = [word for word in words if not word.startswith("-")]
    if words[:1] == ["python"] or words[:1] == ["python3"]:
        words = words[1:]
    if words[:1] == ["uv"]:
        words = words[1:]
    if len(words) > 1 and words[0] in _INSTALLERS and words[1] in (
            "install", "download", "update", "upgrade", "create") and not _has_network():
        raise UsageError("%%%s: packages cannot be installed in a session: it has no network and "
                         "its system is read-only. Ask the operator to install them."
                         % words[0])


class Lines(list):
    """The output of a command, by lines; as IPython's SList."""

    n = property("\n".join)
    s = property(" ".join)
    l = property(list)
    p = property(lambda self: [session.library("pathlib").Path(line) for line in self])
    get_nlstr = n.fget
    get_list = l.fget

    def grep(self, pattern, prune=False, field=None):
        if isinstance(pattern, str):
            search = session.library("re").compile(pattern, 2).search
        else:
            search = pattern

        def looked_at(line):
            return line if field is None else (line.split()[field:field + 1] or [""])[0]

        return Lines(line for line in self if bool(search(looked_at(line))) != bool(prune))

    def fields(self, *numbers):
        if not numbers:
            return [line.split() for line in self]
        rows = ([words[number] for number in numbers if -len(words) <= number < len(words)]
                for words in map(str.split, self))
        return Lines(" ".join(row) for row in rows if row)


# ------------------------------------------------------------------------ results


class ExecutionResult:
    """What run_cell() gives."""

    def __init__(self, count):
        self.execution_count = count
        self.error_before_exec = self.error_in_exec = self.result = None

    @property
    def success(self):
        return self.error_before_exec is None and self.error_in_exec is None

    def raise_error(self):
        for error in (self.error_before_exec, self.error_in_exec):
            if error is not None:
                raise error


class _Publisher:
    """get_ipython().display_pub"""

    is_publishing = property(lambda self: True)

    def publish(self, data, metadata=None, source=None, *, transient=None, update=False, **more):
        session.part("display").publish(data, metadata, transient, update)

    def clear_output(self, wait=False):
        session.part("display").clear_output(wait)


class _Manager:
    """get_ipython().magics_manager and .extension_manager"""

    def __init__(self, the_shell):
        self.shell = the_shell

    @property
    def magics(self):
        magics = session.part("magics")
        return {"line": magics._line_magics, "cell": magics._cell_magics}

    def register(self, *objects):
        self.shell.register_magics(*objects)

    def register_function(self, function, magic_kind="line", magic_name=None):
        self.shell.register_magic_function(function, magic_kind, magic_name)

    def load_extension(self, name):
        return session.part("magics").load_extension(name)

    reload_extension = load_extension

    def unload_extension(self, name):
        """What it has registered stays."""


class _Shell(type):
    """Setting InteractiveShell.ast_node_interactivity on the class counts, as in IPython."""

    def __setattr__(cls, name, value):
        type.__setattr__(cls, name, value)
        if name == "ast_node_interactivity":
            session.part("interactivity").set(value)


class InteractiveShell(metaclass=_Shell):
    ast_node_interactivity = "last_expr"

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)
        if name == "ast_node_interactivity":
            session.part("interactivity").set(value)

    @classmethod
    def initialized(cls):
        return True

    @classmethod
    def instance(cls, *arguments, **options):
        return shell


class ZMQInteractiveShell(InteractiveShell):
    """By its name, `kernel` and `config` libraries (pandas' widths, for one) tell a
    notebook from a terminal."""

    kernel = parent_header = None
    colors, colors_force = "NoColor", False
    banner1 = banner2 = ""
    autocall = 0
    config = {"IPKernelApp": {}}

    def __init__(self):
        self.display_pub = _Publisher()
        self.events = session.part("events").events
        self.magics_manager = self.extension_manager = _Manager(self)
        self.configurables = []
        self.ast_transformers = []
        self.input_transformers_cleanup, self.input_transformers_post = [], []
        self.meta = {}

    user_ns = property(lambda self: namespace())
    user_global_ns = user_ns
    user_ns_hidden = property(lambda self: dict.fromkeys(
        ("In", "Out", "_", "__", "___"), None))
    user_module = property(lambda self: session._main)
    execution_count = property(lambda self: session._count)
    display_formatter = property(lambda self: session.part("formatters").display_formatter)
    displayhook = property(lambda self: session.displayhook)
    history_manager = property(lambda self: session.part("history").manager)
    ns_table = property(lambda self: {"user_global": namespace(), "user_local": namespace()})
    automagic = property(lambda self: session.part("magics").automagic)

    def __setattr__(self, name, value):
        if name == "display_pub" and not isinstance(value, _Publisher):
            session.part("display").publisher = value  # IPython's capture_output
        elif name == "display_pub":
            session.part("display").publisher = None
        InteractiveShell.__setattr__(self, name, value)

    # ---- magics

    def find_line_magic(self, name):
        return session.part("magics").line_magics.get(name)

    def find_cell_magic(self, name):
        return session.part("magics").cell_magics.get(name)

    def find_magic(self, name, magic_kind="line"):
        return self.find_cell_magic(name) if magic_kind == "cell" else self.find_line_magic(name)

    def run_line_magic(self, name, line, _stack_depth=1):
        return session.part("magics").run_line(name, line)

    def run_cell_magic(self, name, line, cell):
        return session.part("magics").run_cell(name, line, cell)

    def magic(self, text):
        name, _, line = text.lstrip("%").partition(" ")
        return self.run_line_magic(name, line)

    def register_magic_function(self, func, magic_kind="line", magic_name=None):
        session.part("magics").register(magic_kind, magic_name or func.__name__, func)

    def register_magics(self, *objects):
        session.part("magics").register_objects(objects)

    define_magic = lambda self, name, func: self.register_magic_function(func, "line", name)

    # ---- programs

    def system(self, command):
        """!command"""
        command = fill(command)
        refuse_install(command.replace("&&", " ").split())
        namespace()["_exit_code"] = stream_process(["bash", "-c", command])

    system_piped = system_raw = system

    def getoutput(self, command, split=True, depth=0):
        """x = !command"""
        command = fill(command)
        refuse_install(command.replace("&&", " ").split())
        gathered = []
        gather = gathered.append
        namespace()["_exit_code"] = stream_process(
            ["bash", "-c", command], out=gather, err=gather)
        text = b"".join(gathered).decode("utf-8", "replace")
        return Lines(text.splitlines()) if split else text

    # ---- code

    def run_cell(self, raw_cell, store_history=False, silent=False, shell_futures=True,
                 cell_id=None):
        """Runs code as a cell; an error is told and kept in the result."""
        result = ExecutionResult(session._count if store_history else None)

        def show(value):
            result.result = value
            if not silent:
                sys.displayhook(value)

        try:
            session.compile_cell(raw_cell, "<magic>")
        except (SyntaxError, ValueError) as error:
            result.error_before_exec = error
        else:
            try:
                run_code(raw_cell, show=show)
            except Exception as error:
                result.error_in_exec = error
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            session.part("tracebacks").report_to_stderr(error)
        if store_history:
            session.part("history").add(raw_cell)
        return result

    run_code = lambda self, code, *more, **options: exec(code, namespace())
    run_ast_nodes = None

    def ex(self, cmd):
        exec(cmd, namespace())

    def ev(self, expr):
        return eval(expr, namespace())

    def push(self, variables, interactive=True):
        if isinstance(variables, str):
            variables = variables.split()
        if isinstance(variables, (list, tuple)):
            frame = sys._getframe(1)
            variables = {name: eval(name, frame.f_globals, frame.f_locals)
                         for name in variables}
        namespace().update(variables)

    def drop_by_id(self, variables):
        for name, value in variables.items():
            if namespace().get(name) is value:
                del namespace()[name]

    def del_var(self, varname, by_name=False):
        del namespace()[varname]

    def reset(self, new_session=True, aggressive=False):
        self.run_line_magic("reset", "-f")

    def transform_cell(self, raw_cell):
        """The cell as Python."""
        try:
            compile(raw_cell, "<cell>", "exec", session._PARSE, True)
        except SyntaxError as error:
            changed = session.part("lines").transform(
                raw_cell, "<cell>", session._PARSE, error)
            return raw_cell if changed is None else changed[0]
        return raw_cell

    def user_expressions(self, expressions):
        """{name: its value as a MIME bundle, or the error}, as kernels answer it."""
        answer = {}
        for name, expression in expressions.items():
            try:
                data, metadata = session.part("display").bundle(self.ev(expression))
                answer[name] = {"status": "ok", "data": data, "metadata": metadata}
            except Exception as error:
                tracebacks = session.part("tracebacks")
                answer[name] = {"status": "error", "ename": type(error).__name__,
                                "evalue": tracebacks._safe_str(error),
                                "traceback": tracebacks.lines(error)}
        return answer

    def showtraceback(self, *arguments, **options):
        error = sys.exc_info()[1]
        if error is not None:
            session.part("tracebacks").report_to_stderr(error)

    showsyntaxerror = showtraceback

    def var_expand(self, cmd, depth=0, formatter=None):
        return fill(cmd)

    # ---- what has no meaning here

    def set_custom_exc(self, exc_tuple, handler):
        """Exceptions are told by the engine."""

    def set_next_input(self, text, replace=False):
        """There is no next cell to be filled."""

    def set_hook(self, *arguments, **options):
        """No hook is called."""

    def ask_exit(self):
        raise SystemExit

    def enable_gui(self, gui=None):
        """There is no screen."""

    def enable_matplotlib(self, gui=None):
        session.part("magics").run_line("matplotlib", gui or "inline")
        return "inline", "module://kiln_figures"

    def enable_pylab(self, gui=None, import_all=True, welcome_message=False):
        session.part("magics").run_line("pylab", gui or "inline")

    def __repr__(self):
        return "<kiln shell>"


ZMQInteractiveShell.__module__ = InteractiveShell.__module__ = "ipykernel.zmqshell"
shell = ZMQInteractiveShell()
