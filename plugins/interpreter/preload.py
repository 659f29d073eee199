"""What the zygote imports for all sessions, and what a worker then has to make its
own. `session` is session.py."""
import os
import sys

_MATPLOTLIB_FOLDER = "/tmp/matplotlib"  # exists in sessions only


def preload(names, hooks):
    """Imports modules. at-fork hooks are noted in `hooks` and not registered: they
    would run in each worker's start and cost 8 ms of page faults; after_fork does
    what matters of them."""
    os.environ.setdefault("MPLBACKEND", "agg")
    # Threads do not survive a fork: what starts them at import must not.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    # matplotlib wants a folder that it can write; in the zygote there is none, so
    # it gets the name of one that each session makes.
    os.environ["MPLCONFIGDIR"] = _MATPLOTLIB_FOLDER
    real_register = os.register_at_fork
    os.register_at_fork = lambda **functions: hooks.append(functions)
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
        session.channel.log(session.LOG_WARNING, "[backend interpreter] preload: " + text)
    except BaseException as error:
        session.channel.log(
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
                session.channel.log(
                    session.LOG_WARNING,
                    "[backend interpreter] preload: thread %s does not end; sessions are "
                    "forked without it" % thread.name)


def _reseed(random, seed):
    """numpy's seed(None) does the same by way of a SeedSequence, which writes to a hundred
    pages more."""
    if seed is None:
        words = memoryview(os.urandom(4 * 624)).cast("I").tolist()
        try:
            random.set_state(("MT19937", words, 624, 0, 0.0))
            return
        except (TypeError, ValueError):
            pass  # the code has put another generator in its place
    random.seed(seed)


def after_fork(hooks):
    """In a worker: nothing random may be shared with its siblings, unless it has to."""
    loaded = sys.modules.get
    seed = session.channel.option("seed")
    seed = int(seed) if seed else None
    if seed is not None:
        __import__("random")  # or the code's own import would take it from the kernel
    if loaded("random"):
        loaded("random").seed(seed)
    if loaded("numpy.random"):
        _reseed(loaded("numpy.random"), seed)
    if loaded("tempfile"):
        # Keyed by the process id, which is the same in each session's namespace.
        loaded("tempfile")._name_sequence = None
        loaded("tempfile").tempdir = None
    if loaded("multiprocessing.process"):
        process = loaded("multiprocessing.process")
        process._current_process.authkey = os.urandom(32)
    if loaded("threading"):
        main = loaded("threading").main_thread()
        if hasattr(main, "_set_native_id"):
            main._set_native_id()
    if loaded("matplotlib"):
        os.environ.setdefault("MPLCONFIGDIR", _MATPLOTLIB_FOLDER)
        try:
            os.mkdir(_MATPLOTLIB_FOLDER)
        except OSError:
            pass  # only its caches want it
    # The code's own forks run the hooks as anywhere else.
    for functions in hooks:
        os.register_at_fork(**functions)
    if hooks:
        del hooks[:]
