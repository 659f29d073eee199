"""What the zygote imports for all sessions, and what a worker then has to make its
own. `session` is session.py."""
import os
import sys
from _thread import get_native_id as _native_id
from collections import namedtuple

channel = session.channel

_MATPLOTLIB_FOLDER = "/tmp/matplotlib"  # exists in sessions only
_TWISTER = 4 * 624  # bytes of a Mersenne twister's state
_USED_UP = (624).to_bytes(4, sys.byteorder)  # so many of its words: it makes new ones

_hooks = []  # os.register_at_fork calls that were made while preloading
_child_hooks = []  # of those, what is for the child
_Unraisable = namedtuple(
    "UnraisableHookArgs", "exc_type exc_value exc_traceback err_msg object")
_seed = None
# For start(), of what no code has touched yet:
_generator = None  # the random module's
_seed_random = None  # the function of C below its seed()
_legacy = None  # numpy.random's generator,
_bits = None  # what it takes its bits from,
_twister = None  # and the memory of the state of that, and of how much of it is used up
_main_thread = None


def preload(names):
    """Imports modules. at-fork hooks do not run in a worker's start, where they would
    cost 8 ms of page faults; start does what matters of them."""
    os.environ.setdefault("MPLBACKEND", "agg")
    # Threads do not survive a fork: what starts them at import must not.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    # matplotlib wants a folder that it can write; in the zygote there is none, so
    # it gets the name of one that each session makes.
    os.environ["MPLCONFIGDIR"] = _MATPLOTLIB_FOLDER
    real_register = os.register_at_fork
    os.register_at_fork = lambda **functions: _hooks.append(functions)
    tempfile = __import__("tempfile")
    real_mkdtemp = tempfile.mkdtemp

    def mkdtemp(suffix=None, prefix=None, dir=None):
        if prefix == "matplotlib-":
            return _MATPLOTLIB_FOLDER
        return real_mkdtemp(suffix, prefix, dir)

    tempfile.mkdtemp = mkdtemp
    logging = __import__("logging")
    logging.disable(logging.WARNING)  # matplotlib's, about that folder
    try:
        for name in names:
            _import(name)
        for name in ("traceback", "linecache", "binascii", "io"):
            session.library(name)  # what a first error or picture needs
    finally:
        logging.disable(logging.NOTSET)
        os.register_at_fork = real_register
        tempfile.mkdtemp = real_mkdtemp
        os.environ.pop("OMP_NUM_THREADS", None)
    for name in ("display", "pretty", "tracebacks"):
        session.part(name)
    session.part("display").encode({})
    _end_threads()


def _import(name):
    try:
        __import__(name)
    except ImportError as error:
        missing = getattr(error, "name", None)
        if isinstance(error, ModuleNotFoundError) and missing and (
                name == missing or name.startswith(missing + ".")):
            text = "module not found: %s" % name
        else:
            text = "module %s: %s" % (name, error)
        channel.log(session.LOG_WARNING, "[backend interpreter] preload: " + text)
    except BaseException as error:
        channel.log(
            session.LOG_WARNING,
            "[backend interpreter] preload: module %s: %s: %s"
            % (name, type(error).__name__, error))


def _end_threads():
    """Waits for threads that an import has started and that end by themselves
    (matplotlib's font timer); tells of others."""
    threading = sys.modules.get("threading")
    for thread in threading.enumerate() if threading else ():
        if thread is not threading.main_thread():
            thread.join(2)
            if thread.is_alive():
                channel.log(
                    session.LOG_WARNING,
                    "[backend interpreter] preload: thread %s does not end; sessions are "
                    "forked without it" % thread.name)


def _find_twister(legacy):
    """None where numpy keeps its state otherwise than we know."""
    global _legacy, _bits
    try:
        ctypes = __import__("ctypes")
        kind, words, used, has_gauss, _ = legacy.get_state()
        _legacy, _bits = legacy, legacy._bit_generator
        address = _bits.ctypes.state_address
        state = memoryview((ctypes.c_ubyte * (_TWISTER + 4)).from_address(address)).cast("B")
        known = words.tobytes() + int(used).to_bytes(4, sys.byteorder)
        return state if kind == "MT19937" and not has_gauss and state == known else None
    except Exception:
        return None


def settle():
    """In the zygote, when all is there. What start() uses is looked up here: a page that a
    worker writes to, if only to count a reference, is copied, which takes 4 us."""
    global _seed, _generator, _seed_random, _twister, _main_thread
    loaded = sys.modules.get
    if _hooks:
        os.register_at_fork(before=_register_hooks)
    if loaded("threading"):
        _main_thread = loaded("threading").main_thread()
    if loaded("tempfile"):
        _forget_names(loaded("tempfile"))
    if loaded("matplotlib"):
        os.environ.setdefault("MPLCONFIGDIR", _MATPLOTLIB_FOLDER)
    if channel.option("seed"):
        _seed = int(channel.option("seed"))
        return
    if loaded("random") and loaded("random")._inst.gauss_next is None:
        _generator = loaded("random")._inst
        _seed_random = super(loaded("random").Random, _generator).seed
    if loaded("numpy.random"):
        _twister = _find_twister(loaded("numpy.random").mtrand._rand)


def _register_hooks():
    """When the code itself forks: from then on the hooks run as anywhere else."""
    hooks = _hooks[:]
    del _hooks[:]
    for functions in hooks:
        _child_hooks.append(functions.pop("after_in_child", None))
        if functions:
            os.register_at_fork(**functions)
    os.register_at_fork(after_in_child=_run_child_hooks)
    for functions in reversed(hooks):
        if functions.get("before"):
            functions["before"]()


def _run_child_hooks():
    """Not in a branch: that is a fork between two cells, without other threads; renew() does
    what matters in it, and the hooks would write to more than a hundred pages."""
    if channel.branching():
        return
    for function in _child_hooks:
        try:
            if function is not None:
                function()
        except BaseException as error:  # as Python does
            sys.unraisablehook(_Unraisable(type(error), error, error.__traceback__, None, function))


def _forget_names(tempfile):
    """They are keyed by the process id, which is the same in each session's namespace."""
    tempfile._name_sequence = None
    tempfile.tempdir = None


def _reseed(random, seed):
    """numpy's seed(None) does the same by way of a SeedSequence, which writes to a hundred
    pages more."""
    if seed is None:
        words = sys.modules["numpy"].frombuffer(os.urandom(_TWISTER), "=u4")
        try:
            random.set_state(("MT19937", words, 624, 0, 0.0))
            return
        except (TypeError, ValueError):
            pass  # the code has put another generator in its place
    random.seed(seed)


def start():
    """In a fresh worker: nothing random may be shared with its siblings, unless it has to."""
    loaded = sys.modules.get
    if _seed is not None:
        __import__("random")  # or the code's own import would take it from the kernel
    if _seed_random is not None:
        _seed_random()
    elif loaded("random"):
        loaded("random").seed(_seed)
    if _twister is not None:
        _twister[:] = os.urandom(_TWISTER) + _USED_UP
    elif loaded("numpy.random"):
        _reseed(loaded("numpy.random"), _seed)
    if _main_thread is not None:
        _main_thread._native_id = _native_id()
    if loaded("multiprocessing.process"):
        loaded("multiprocessing.process")._current_process.authkey = os.urandom(32)
    if loaded("matplotlib"):
        try:
            os.mkdir(_MATPLOTLIB_FOLDER)
        except OSError:
            pass  # only its caches want it


def renew():
    """The same in a worker that has run code: it may have changed all that start() knows."""
    global _seed_random, _twister, _main_thread
    loaded = sys.modules.get
    if _seed_random is not None:
        if getattr(loaded("random"), "_inst", None) is _generator:
            _generator.gauss_next = None
        else:
            _seed_random = None
    if _twister is not None:
        if _legacy._bit_generator is _bits:
            _legacy.seed(0)  # forgets the other one of a pair of normal numbers
        else:
            _twister = None
    _main_thread = None
    start()
    if loaded("tempfile"):
        _forget_names(loaded("tempfile"))
    if loaded("threading"):
        loaded("threading").main_thread()._native_id = _native_id()
