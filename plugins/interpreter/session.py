"""A session: runs cells one after another in one namespace, as a notebook does.

Shared by whatever can give it a `channel`, an object with
    stream(number, str or bytes)   output, at once; 1 stdout, 2 stderr
    emit(type, json) -> bool       an event of plugin.h; False: no cell runs here
    log(level, text)               a line for the engine's log
    option(name) -> str or None
    arm(bool) -> bool              interrupts raise KeyboardInterrupt, whatever handlers
                                   the code has left; did one come?
    unraisable(what)               optional: sys.unraisablehook, for interrupts
    code(name) -> code object      another file of this folder
    print_to(Stream) -> function   optional: a faster print
    emit_last(type, json) -> bool  optional: as emit, when only the cell's end follows
    call(bytes) -> bytes           optional: asks the engine, and waits for what it says
It is put into this module's globals before the module runs, and so is a copy of
the builtins: what the code does to its own builtins, to sys.stdout or to
sys.modules does not reach the runner. For the same reason nothing is imported
here that is not built in or loaded already, and later only by library().

Python 3.8 and newer. What a trivial cell does not need is in other files."""
import _ast
import _io
import _signal
import builtins as _builtins
import io
import os
import sys
from _frozen_importlib import ModuleSpec as _ModuleSpec

DISPLAY, RESULT, ERROR, UPDATE, CLEAR = 2, 3, 4, 5, 6
STATUS_OK, STATUS_ERROR, STATUS_INTERRUPTED = 0, 1, 5
LOG_WARNING = 1

RUNNER = "<kiln>/"  # file names of the runner's own code begin so
_ASYNC = _ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_PARSE = _ASYNC | _ast.PyCF_ONLY_AST
_COROUTINE = 0x80  # inspect.CO_COROUTINE

_main = sys.modules["__main__"]
_owner = None  # the process that runs cells; a fork of it does not go on
_sys_modules = sys.modules

# ------------------------------------------------------------------ the parts

_parts = {}


def part(name):
    """Another file of the runner, as a module that is in no sys.modules."""
    module = _parts.get(name)
    if module is None:
        module = type(sys)("kiln." + name)
        module.__dict__["__builtins__"] = __builtins__
        module.session = session
        exec(channel.code(name), module.__dict__)
        _parts[name] = module
    return module


class _Session:
    """This module, for the parts."""

    def __getattr__(self, name):
        try:
            return globals()[name]
        except KeyError:
            raise AttributeError(name) from None


session = _Session()


def library(name):
    """A module of the standard library, never one of the session's files."""
    return part("imports").library(name)


# ------------------------------------------------------------------- streams


Stream = part("streams").Stream
stdout = Stream(1)
stderr = Stream(2)


def _new_stdin(data):
    return io.TextIOWrapper(_io.BytesIO(data), encoding="utf-8", errors="surrogateescape")


_stdin = None  # what sys.stdin was set to
_stdin_fresh = False  # it holds no cell's data


def _restore_streams(data):
    global stdout, stderr, _stdin, _stdin_fresh
    if stdout.closed:
        stdout = Stream(1)
    if stderr.closed:
        stderr = Stream(2)
    sys.stdout = stdout
    sys.stderr = stderr
    if data is not None or not _stdin_fresh or _stdin.closed:
        _stdin = _new_stdin(data or b"")
        _stdin_fresh = data is None
    sys.stdin = _stdin


# --------------------------------------------------------------- environment

_arguments = None
_environment = {}  # name -> (value that the cell's env gave, what stood there before)


def _set_environment(env):
    """The cell's own variables, and away with the last cell's, unless the code has
    changed them since."""
    for name, (given, before) in _environment.items():
        if os.environ.get(name) == given:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before
    _environment.clear()
    for entry in env or ():
        name, equals, value = entry.partition("=")
        if name and equals:
            _environment[name] = (value, os.environ.get(name))
            os.environ[name] = value


# ------------------------------------------------------------------ compiling

compile_cell = part("compiling").compile_cell
_compiled = part("compiling").compiled
sources = {}  # file name -> source, for tracebacks


def file_name(count):
    return "Cell In[%d]" % count


def linecache_entry(filename):
    """What linecache.cache has for a name of ours."""
    source = sources[filename]
    return len(source), None, source.splitlines(True), filename


def keep_source(filename, source):
    """Lets tracebacks, and inspect, find the lines of what is run under that name."""
    if source[-1:] != "\n":
        source += "\n"  # without it traceback's marks are one column off
    sources[filename] = source
    cache = getattr(_sys_modules.get("linecache"), "cache", None)
    if type(cache) is dict:
        cache[filename] = linecache_entry(filename)


# --------------------------------------------------------------------- results

_count = 0  # execution count of the running cell
_quiet = False
_scalars = frozenset((int, float, bool, complex, bytes))


_emit_last = getattr(channel, "emit_last", channel.emit)


def displayhook(value):
    """Shows the value of a cell's last expression, and keeps it in _ and Out."""
    _show(value, channel.emit)


def _show(value, emit):
    if value is None or _quiet:
        return
    json = None
    if type(value) in _scalars:
        text = repr(value)
        if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
            json = '{"data":{"text/plain":"' + text + '"},"metadata":{}}'
    if json is None:
        json = part("display").result(value)
    _remember(value)
    if json is not None:
        emit(RESULT, json)


_last = [None, None, None]  # what stands in _, __ and ___ by us


def _remember(value):
    namespace = _main.__dict__
    out = namespace.get("Out")
    if type(out) is dict:
        if value is out:
            return
        out[_count] = value
        namespace["_%d" % _count] = value
    if namespace.get("_") is not _last[0] or "_" in _builtins.__dict__:
        return  # the code has a `_` of its own (gettext, a loop variable)
    namespace["___"], namespace["__"], namespace["_"] = _last[1], _last[0], value
    _last[2], _last[1], _last[0] = _last[1], _last[0], value


# ------------------------------------------------------------------- running

_RESERVE = 4 << 20  # pages that are never touched: it costs nothing until it is given up
_reserve = None  # so that the end of a cell which has used up its memory can be told
_loop = None
_events = None  # events.py, once the code wants to be called before or after cells
_trace = None  # the code's own sys.settrace, away while the runner works


def watch_cells():
    global _events
    _events = part("events")


def _await(coroutine):
    """Runs a cell with a top-level await; the loop, and the tasks that are left on
    it, go on in the next such cell."""
    global _loop
    asyncio = library("asyncio")
    if _loop is None or _loop.is_closed():
        _loop = asyncio.new_event_loop()
    asyncio.set_event_loop(_loop)
    task = _loop.create_task(coroutine)
    try:
        return _loop.run_until_complete(task)
    except BaseException:
        if not task.done():
            task.cancel()
            try:
                _loop.run_until_complete(task)
            except BaseException:
                pass
        raise


async def _in_loop(cell, namespace):
    """All of a cell that awaits somewhere, so that what does not can make tasks."""
    value = None
    for code in (cell.body, cell.tail):
        if code is not None:
            value = eval(code, namespace)
            if code.co_flags & _COROUTINE:
                value = await value
    return value


def value_of(cell):
    """Runs it: the value of its last expression, or None."""
    namespace = _main.__dict__
    if cell.in_loop:
        return _await(_in_loop(cell, namespace))
    if cell.body is not None:
        eval(cell.body, namespace)
    return eval(cell.tail, namespace) if cell.tail is not None else None


def _run(source, filename):
    global _quiet
    cell = _compiled(source, filename)
    value = value_of(cell)
    if cell.tail is not None:
        _quiet = cell.quiet
        if sys.displayhook is not displayhook:
            sys.displayhook(value)
        else:
            _show(value, channel.emit if "kiln_figures" in _sys_modules else _emit_last)


def _as_magic(source, error):
    """A cell that is one unknown name, which may be a magic's (`pwd`, `who`): what is
    left of the error."""
    name = part("lines").automagic(source) if source.strip().isidentifier() else None
    if name is None:
        return error
    try:
        sys.displayhook(part("magics").run_line(name, ""))
    except BaseException as failure:
        return failure
    return None


def _exit_code(error):
    """As the interpreter does: None is 0, a number itself, else a message."""
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code) & 0xFF
    try:
        stderr.write(str(code) + "\n")
    except Exception:
        pass
    return 1


def _leave_fork(error):
    """A child that the code forked has come to the end of the cell: ends it as a
    script's end would."""
    code = 0
    if isinstance(error, SystemExit):
        code = _exit_code(error)
    elif error is not None:
        code = 1
        part("tracebacks").report_to_stderr(error)
    threading = _sys_modules.get("threading")
    try:
        if threading is not None:
            threading._shutdown()
    finally:
        os._exit(code)


def _prepare(source, count, filename, stdin, arguments, env):
    global _count, _quiet, _arguments
    _count = count
    _quiet = False
    _restore_streams(stdin)
    sys.displayhook = displayhook
    sys.modules["sys"] = sys
    sys.modules["builtins"] = _builtins
    sys.modules["__main__"] = _main
    namespace = _main.__dict__
    namespace["__builtins__"] = _builtins
    namespace.pop("__warningregistry__", None)  # once a cell, not once a session
    if arguments != _arguments:
        _arguments = arguments
        sys.argv = [""] + (arguments or [])
    if env or _environment:
        _set_environment(env)
    history = namespace.get("In")
    if type(history) is list:
        while len(history) < count and len(history) < 100000:
            history.append("")
        history.append(source)
        if "_i" in source:
            part("history").bind(source)
    keep_source(filename, source)


def _keep_reserve():
    global _reserve
    try:
        _reserve = bytes(_RESERVE)
    except MemoryError:
        pass


def execute(source, count, cell_id=None, stdin=None, arguments=None, env=None):
    """Runs one cell; (status, exit code or None)."""
    global _trace, _reserve
    if source[:1] == "\ufeff":
        source = source[1:]
    filename = file_name(count)
    status, code = STATUS_OK, None
    failure = None
    try:
        try:
            _prepare(source, count, filename, stdin, arguments, env)
            channel.arm(True)
            if _events is not None and count:
                _events.before(source)
            if _trace is not None:
                sys.settrace(_trace)
            try:
                _run(source, filename)
            finally:
                _trace = sys.gettrace()
                if _trace is not None:
                    sys.settrace(None)
        except NameError as error:
            failure = _as_magic(source, error)
        except BaseException as error:
            failure = error
            if isinstance(error, MemoryError):
                _reserve = None
        if os.getpid() != _owner:
            _leave_fork(failure)
        if failure is not None:
            if isinstance(failure, SystemExit):
                code = _exit_code(failure)
                if code:
                    status = STATUS_ERROR
            else:
                status = STATUS_ERROR
                part("tracebacks").report(failure)
        if _events is not None and count:
            _events.after(source, count, failure)
        if "kiln_figures" in _sys_modules:
            part("figures").flush()
    except BaseException as error:  # an interrupt while reporting or drawing
        status, code, failure = STATUS_ERROR, None, error
        part("tracebacks").report_briefly(error)
    if _reserve is None:
        _keep_reserve()
    if channel.arm(False) and isinstance(failure, KeyboardInterrupt):
        status = STATUS_INTERRUPTED
    return status, code


# --------------------------------------------------------------------- analysis


def analyze(source):
    """What Python's parser says of the code, as the JSON text of plugin.h."""
    return part("analyze").analyze(source)


def query(name, arguments):
    """Answers a question of a front end, as plugin.h says; None: it is not known."""
    return part("queries").query(name, arguments)


# ----------------------------------------------------------------------- start


def display(*objects, **options):
    """Shows objects in their richest forms: display(x, display_id=..., metadata=...,
    include=..., exclude=..., raw=..., transient=...)."""
    return part("display").display(*objects, **options)


def update_display(object, *, display_id, **options):
    """Shows an object in the place of the display with this display_id."""
    part("display").update_display(object, display_id=display_id, **options)


def clear_output(wait=False):
    """Forgets the outputs of the cell so far."""
    part("display").clear_output(wait)


def get_ipython():
    """The little of IPython's shell that code from notebooks asks for."""
    return part("shell").shell


def _fill_namespaces():
    for function in (display, update_display, clear_output, get_ipython):
        function.__module__ = "builtins"
        setattr(_builtins, function.__name__, function)
    _builtins.__IPYTHON__ = True
    print_to = getattr(channel, "print_to", None)
    if print_to is not None:
        _builtins.print = print_to(Stream)
    sites = __import__("_sitebuiltins")  # frozen in; what site.py would set
    sites.Quitter._ipython_display_ = lambda self: self()  # a cell that is `exit` alone
    _builtins.exit = sites.Quitter("exit", "Ctrl-D (i.e. EOF)")
    _builtins.quit = sites.Quitter("quit", "Ctrl-D (i.e. EOF)")
    _builtins.help = sites._Helper()
    namespace = _main.__dict__
    inputs, outputs = [""], {}
    namespace.update(In=inputs, Out=outputs, _ih=inputs, _oh=outputs, _=None, __=None, ___=None)
    namespace.pop("__annotations__", None)


def rehearsal(turn):
    """The code of a worker's turn while it waits for its session."""
    global _before_rehearsal
    if turn == 0:
        _before_rehearsal = dict(_main.__dict__)
    return part("rehearsal").source(turn)


def forget():
    """Takes back what rehearsals have left: nobody's cells, and no random state."""
    global _count, _quiet, _arguments, _before_rehearsal
    _count, _quiet, _arguments = 0, False, None
    cache = getattr(_sys_modules.get("linecache"), "cache", None)
    for filename in sources:
        if cache is not None:
            cache.pop(filename, None)
    sources.clear()
    part("compiling").forget()
    _last[:] = None, None, None
    namespace = _main.__dict__
    namespace.clear()
    namespace.update(_before_rehearsal or {})
    namespace.update(In=[""], Out={}, _=None, __=None, ___=None)
    _before_rehearsal = None
    for name in ("last_type", "last_value", "last_traceback"):
        sys.__dict__.pop(name, None)
    sys.argv = [""]
    part("preload").renew()
    gc = __import__("gc")
    gc.collect()
    gc.freeze()


_before_rehearsal = None
_preloaded = None  # preload.py, where a worker has something to do in it


def preload():
    """In the zygote, once."""
    sys.path[:] = [entry for entry in sys.path if entry]
    _restore_streams(None)
    for folder in ("/usr/local/lib/python%d.%d/dist-packages" % sys.version_info[:2],
                   "/usr/lib/python3/dist-packages"):
        if folder not in sys.path and os.path.isdir(folder):
            sys.path.append(folder)
    _fill_namespaces()
    imports = part("imports")
    imports.install()
    sys.meta_path.append(_Offer)
    names = (channel.option("preload") or "").replace(",", " ").split()
    gc = __import__("gc")
    if names:
        part("preload").preload(names)
        gc.collect()
        _warm()
    _settle()
    # Or a session's first gc.collect() would copy every page of what is shared.
    gc.freeze()


def _warm():
    """Runs cells in the zygote: what Python and the runner keep of a first one (method
    caches, specialised code) is there in each worker, and need not be copied."""
    global _owner, _before_rehearsal
    _owner = os.getpid()
    _before_rehearsal = dict(_main.__dict__)
    for _ in range(20):
        execute("1+1", 1)
    forget()


def _settle():
    """What is the same in every session: what is written here, a worker need not copy."""
    global _preloaded
    os.environ.setdefault("MPLBACKEND", "agg")  # for programs that the code starts
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.insert(0, "")
    _main._dh = [""]
    _restore_streams(None)
    sys.argv = [""]
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    sys.unraisablehook = getattr(channel, "unraisable", sys.unraisablehook)
    _keep_reserve()
    if "preload" in _parts or "random" in _sys_modules or channel.option("seed"):
        _preloaded = part("preload")
        _preloaded.settle()


class _Offer:
    """Finds `kiln`, by which code reaches the engine, after all else: a file of that name is
    the code's own."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        ours = name == "kiln" or (name == "kiln.native" and getattr(
            getattr(_sys_modules.get("kiln"), "__spec__", None), "loader", None) is cls)
        return _ModuleSpec(name, cls, is_package=name == "kiln") if ours else None

    @staticmethod
    def create_module(spec):
        return part("native").make_module() if spec.name == "kiln.native" else None

    @staticmethod
    def exec_module(module):
        if module.__name__ == "kiln":
            module.__doc__ = "What the engine offers to code: native."


def branched():
    """In a fork of a worker, between two cells: nothing random goes on as it does there."""
    global _owner
    _owner = os.getpid()
    part("preload").renew()


def touch():
    """What every cell does, without a trace."""
    history = _main.__dict__.get("In")
    length = len(history) if type(history) is list else 0
    count, filename = _count, file_name(0)
    execute("pass", 0, None, None, _arguments)
    if type(history) is list:
        del history[length:]
    sources.pop(filename, None)
    cache = getattr(_sys_modules.get("linecache"), "cache", None)
    if type(cache) is dict:
        cache.pop(filename, None)
    globals()["_count"] = count


def start():
    """In a fresh worker, after the fork."""
    global _owner
    _owner = os.getpid()
    sys.path[0] = _main._dh[0] = os.getcwd()
    if _preloaded is not None:
        _preloaded.start()
