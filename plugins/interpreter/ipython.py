"""IPython: connected to the session where it is installed, stood in for where it is not.
IPython's own shell is never started. `session` is session.py."""
import sys


def _shell():
    return session.part("shell").shell


# ---------------------------------------------------------- where it is installed


def connect(module):
    """A module of IPython was imported that asks for the shell."""
    name = module.__name__.rpartition(".")[2]
    if name == "getipython":
        module.get_ipython = _shell
    elif name == "interactiveshell":
        _connect_class(module.InteractiveShell)
    else:
        _connect_display(module)


def _connect_class(shell_class):
    """InteractiveShell stays what it is, for those who derive from it; its instance is
    the session's."""
    shell_class.initialized = classmethod(lambda cls: True)
    shell_class.instance = classmethod(lambda cls, *arguments, **options: _shell())
    kind = type(shell_class)

    class Kind(kind):
        def __setattr__(cls, name, value):
            kind.__setattr__(cls, name, value)
            if name == "ast_node_interactivity":
                session.part("interactivity").set(value)

    shell_class.__class__ = Kind


def _connect_display(module):
    """Without a shell, display() of IPython.core.display_functions would print.
    IPython.display takes its names from there."""
    display = session.part("display")

    def publish_display_data(data, metadata=None, source=None, *, transient=None, update=False,
                             **kwargs):
        display.publish(data, metadata, transient, update)

    def show(*objs, include=None, exclude=None, metadata=None, transient=None,
             display_id=None, raw=False, clear=False, **options):
        handle = display.display(
            *objs, include=include, exclude=exclude, metadata=metadata,
            transient=transient, display_id=display_id, raw=raw, clear=clear, **options)
        return module.DisplayHandle(handle.display_id) if handle else None

    show.__name__ = "display"
    module.publish_display_data = publish_display_data
    module.display = show
    module.update_display = display.update_display
    module.clear_output = display.clear_output


# ---------------------------------------------------------- where there is none


def _fill_ipython(module):
    module.__version__ = "8.0.0"
    module.version_info = (8, 0, 0, "")
    module.get_ipython = _shell
    module.display = __import__("IPython.display").display
    module.InteractiveShell = session.part("shell").InteractiveShell


def _fill_display(module):
    display, classes = session.part("display"), session.part("display_classes")
    for one in classes.classes + [display.DisplayHandle]:
        setattr(module, one.__name__, one)
    for name, function in classes.functions.items():
        setattr(module, name, function)
    module.display = display.display
    module.update_display = display.update_display
    module.clear_output = display.clear_output
    module.publish_display_data = lambda data, metadata=None, *, transient=None, update=False, \
        **options: display.publish(data, metadata, transient, update)
    figures = session.part("figures")
    module.set_matplotlib_formats = figures.set_matplotlib_formats
    module.set_matplotlib_close = figures.set_matplotlib_close


def _fill_getipython(module):
    module.get_ipython = _shell


def _fill_shell(module):
    module.InteractiveShell = session.part("shell").InteractiveShell
    module.ExecutionResult = session.part("shell").ExecutionResult


def _fill_error(module):
    class IPythonCoreError(Exception):
        pass

    module.IPythonCoreError = IPythonCoreError
    module.UsageError = session.part("shell").UsageError
    module.StdinNotImplementedError = type(
        "StdinNotImplementedError", (IPythonCoreError, NotImplementedError), {})
    module.TryNext = type("TryNext", (IPythonCoreError,), {})


def _fill_pretty(module):
    pretty = session.part("pretty")
    module.pretty = pretty.pretty
    module.PrettyPrinter = module.RepresentationPrinter = pretty.Printer
    module.pprint = lambda value: print(pretty.pretty(value))
    module.for_type = lambda kind, function: pretty._printers.__setitem__(kind, function)
    module.for_type_by_name = lambda module_name, name, function: (
        pretty._printers_by_name.__setitem__((module_name, name), function))


def _fill_magic(module):
    """Decorators and a base class for magics of the code's own."""
    def register(kind):
        def decorator(given):
            name = given if isinstance(given, str) else given.__name__

            def take(function):
                _shell().register_magic_function(function, kind, name)
                return function

            return take if isinstance(given, str) else take(given)

        return decorator

    def mark(kind):
        def decorator(given):
            name = given if isinstance(given, str) else given.__name__

            def take(function):
                function._kiln_magics = getattr(function, "_kiln_magics", ()) + ((kind, name),)
                return function

            return take if isinstance(given, str) else take(given)

        return decorator

    def magics_class(cls):
        table = {"line": {}, "cell": {}}
        for attribute in dir(cls):
            for kind, name in getattr(getattr(cls, attribute), "_kiln_magics", ()):
                for one in ("line", "cell"):
                    if one in kind:
                        table[one][name] = attribute
        cls.magics = table
        return cls

    class Magics:
        magics = {"line": {}, "cell": {}}

        def __init__(self, shell=None, **kwargs):
            self.shell = shell

    for kind in ("line", "cell", "line_cell"):
        setattr(module, "register_%s_magic" % kind, register(kind))
        setattr(module, "%s_magic" % kind, mark(kind))
    module.Magics, module.magics_class = Magics, magics_class
    module.needs_local_scope = module.no_var_expand = lambda function: function


class _CaptureOutput:
    """IPython.utils.capture.capture_output: a `with` block's stdout, stderr, displays."""

    def __init__(self, stdout=True, stderr=True, display=True):
        self._wanted = stdout, stderr, display

    def __enter__(self):
        io = session.library("io")
        self._before = sys.stdout, sys.stderr, sys.displayhook
        capture = session.part("display").Capture()
        self._captured = session.part("magics").Captured("", "", capture.outputs)
        self._streams = io.StringIO(), io.StringIO()
        if self._wanted[0]:
            sys.stdout = self._streams[0]
        if self._wanted[1]:
            sys.stderr = self._streams[1]
        self._capture = capture if self._wanted[2] else None
        if self._capture:
            self._capture.__enter__()
            sys.displayhook = capture.value
        return self._captured

    def __exit__(self, *error):
        sys.stdout, sys.stderr, sys.displayhook = self._before
        if self._capture:
            self._capture.__exit__()
        self._captured.stdout, self._captured.stderr = (
            one.getvalue() for one in self._streams)


def _fill_capture(module):
    module.capture_output = _CaptureOutput
    module.CapturedIO = session.part("magics").Captured
    module.RichOutput = session.part("display").RichOutput


_FILL = {
    "IPython": _fill_ipython, "IPython.display": _fill_display,
    "IPython.core.display": _fill_display, "IPython.core.display_functions": _fill_display,
    "IPython.lib.display": _fill_display, "IPython.core.getipython": _fill_getipython,
    "IPython.core.interactiveshell": _fill_shell, "IPython.core.error": _fill_error,
    "IPython.core.magic": _fill_magic, "IPython.lib.pretty": _fill_pretty,
    "IPython.utils.capture": _fill_capture,
}


def supply(module):
    """Fills one of the stand-in modules; some are packages and hold nothing else."""
    fill = _FILL.get(module.__name__)
    if fill is not None:
        fill(module)
