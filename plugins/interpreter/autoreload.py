"""%autoreload: modules of the session whose files have changed are loaded again before the
next cell, and functions and classes that were taken from them are what they are now.
`session` is session.py."""
import os
import sys

_mode = "off"
_chosen = set()  # by %aimport
_olds = {}  # (module's name, name in it) -> weak references to what it was
_seen = {}  # module's name -> (its file, the file's time and size) as it was loaded


def _mark(module):
    """Of a module that the session can change: the system is read-only."""
    path = getattr(module, "__file__", None)
    if not isinstance(path, str) or not path.endswith(".py") or path.startswith("/usr/"):
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return path, found.st_mtime_ns, found.st_size


def note():
    """After a cell: modules that it has loaded."""
    for name, module in list(sys.modules.items()):
        if name not in _seen and name != "__main__":
            mark = _mark(module)
            if mark is not None:
                _seen[name] = mark


def check(every=False):
    """Before a cell: loads again what has changed."""
    if _mode == "off" and not every:
        return
    for name, before in list(_seen.items()):
        module = sys.modules.get(name)
        mark = None if module is None else _mark(module)
        if mark is None or mark == before or not (
                every or _mode == "all" or name in _chosen):
            continue
        _seen[name] = mark
        try:
            _reload(module)
        except Exception as error:  # a file that is half written: the cell runs all the same
            session.stderr.write("[autoreload of %s failed:]\n" % name)
            session.part("tracebacks").report_to_stderr(error)


def _reload(module):
    weakref, name = session.library("weakref").ref, module.__name__
    for key, value in module.__dict__.items():
        if type(value) is type(_reload) or isinstance(value, type) and value.__module__ == name:
            _olds.setdefault((name, key), []).append(weakref(value))
    session.library("importlib").reload(module)
    for (owner, key), references in _olds.items():
        if owner == name and key in module.__dict__:
            references[:] = [one for one in references if one() is not None]
            for old in [one() for one in references]:
                if old is not module.__dict__[key]:
                    _update(old, module.__dict__[key], name)


def _update(old, new, module):
    """What others hold of the old one behaves as the new one does."""
    function = type(_update)
    if type(old) is type(new) is function:
        if len(old.__code__.co_freevars) == len(new.__code__.co_freevars):
            for name in ("__code__", "__defaults__", "__kwdefaults__", "__doc__", "__dict__"):
                setattr(old, name, getattr(new, name))
    elif isinstance(old, type) and isinstance(new, type) and old.__module__ == module:
        for name in set(old.__dict__) - set(new.__dict__):
            if not name.startswith("__"):
                delattr(old, name)
        for name, value in list(new.__dict__.items()):
            present = old.__dict__.get(name)
            if type(present) is type(value) is function:
                _update(present, value, module)
            elif name not in ("__dict__", "__weakref__"):
                try:
                    setattr(old, name, value)
                except (AttributeError, TypeError):
                    pass  # a slot
        for instance in session.library("gc").get_referrers(old):
            if type(instance) is old:
                try:
                    instance.__class__ = new  # so that super() of new methods takes it
                except TypeError:
                    pass


def autoreload(line):
    """%autoreload [2|all|1|explicit|0|off|now]: before each cell, loads again the modules
    whose files have changed: all, those that %aimport names, none; now: once."""
    global _mode
    word = line.strip().split(" ")[0].lower()
    mode = {"0": "off", "off": "off", "1": "explicit", "explicit": "explicit", "2": "all",
            "all": "all", "3": "all", "complete": "all"}.get(word)
    if word in ("", "now"):
        check(every=True)
    elif mode is None:
        raise session.part("shell").UsageError("%autoreload takes 0, 1, 2 or now")
    else:
        _mode = mode
    note()
    session.watch_cells()


def aimport(line):
    """%aimport [MODULE...]: imports modules and has %autoreload 1 watch them; -MODULE: no
    more."""
    for name in line.replace(",", " ").split():
        if name.startswith("-"):
            _chosen.discard(name[1:])
            continue
        __import__(name)
        _chosen.add(name)
        top = name.partition(".")[0]
        session._main.__dict__[top] = sys.modules[top]
    if not line.strip():
        session.stdout.write("Modules to reload:\n%s\n" % (
            "all" if _mode == "all" else " ".join(sorted(_chosen))))
    note()
