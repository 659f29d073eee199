"""Imports: the runner's own, the session's extra search paths, and what happens
after certain modules are first imported. `session` is session.py."""
import os
import sys

_STANDARD = os.path.dirname(os.__file__)
_trusted_path = [entry for entry in sys.path if entry.startswith(_STANDARD)
                 and "-packages" not in entry]
_libraries = {}


class _OwnBuiltins:
    """Puts the builtins back that the code has replaced, as long as the import system
    works for the runner."""

    def __enter__(self):
        shared = session._builtins.__dict__
        self._changed = {
            name: shared.get(name, self) for name, value in __builtins__.items()
            if shared.get(name) is not value and name not in ("print", "_")}
        for name in self._changed:
            shared[name] = __builtins__[name]

    def __exit__(self, *error):
        shared = session._builtins.__dict__
        for name, value in self._changed.items():
            if value is self:
                del shared[name]
            else:
                shared[name] = value


def _is_standard(module):
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None)
    return origin in ("built-in", "frozen") or (
        isinstance(origin, str) and origin.startswith(_STANDARD) and "-packages" not in origin)


def library(name):
    """A module of the standard library. Files of the session that have a standard
    module's name are out of the way while it, and what it needs, is imported."""
    module = _libraries.get(name)
    if module is not None:
        return module
    module = sys.modules.get(name)
    if module is None or not _is_standard(module):
        standard = getattr(sys, "stdlib_module_names", None)
        hidden = {
            entry: sys.modules.pop(entry)
            for entry, held in list(sys.modules.items())
            if entry != "__main__"
            and (standard is None or entry.partition(".")[0] in standard)
            and not _is_standard(held)
        }
        path = sys.path
        sys.path = list(_trusted_path)
        try:
            with _OwnBuiltins():
                __import__(name)
                module = sys.modules[name]
        finally:
            sys.path = path
            sys.modules.update(hidden)
    _libraries[name] = module
    return module


# ----------------------------------------------------------------- search paths

_sites_done = False


def _add_sites():
    """What site.py does at the start of the python3 command: .pth files. Put off
    until something outside the standard library is imported."""
    global _sites_done
    _sites_done = True
    path = sys.path[:]
    known = set(path)
    try:
        site = library("site")
        for folder in path:
            if folder.endswith("-packages") and os.path.isdir(folder):
                site.addsitedir(folder, known)
    except Exception as error:
        session.channel.log(session.LOG_WARNING, "interpreter: site packages: %r" % error)


# ---------------------------------------------------------- after certain imports


def _after_linecache(module):
    for filename in session.sources:
        module.cache[filename] = session.linecache_entry(filename)


def _after_getpass(module):
    def getpass(prompt="Password: ", stream=None):
        """Reads a line of the cell's standard input."""
        sys.stdout.write(str(prompt))
        line = sys.stdin.readline()
        if not line:
            raise EOFError("EOF when reading a line")
        return line.rstrip("\n")

    module.getpass = getpass


def _after_subprocess(module):
    """Pythons that multiprocessing starts (and joblib, and others): this one is isolated and
    has no site, for its own good; they are to find the packages."""
    flags = module._args_from_interpreter_flags

    def _args_from_interpreter_flags():
        return [flag for flag in flags() if flag not in ("-I", "-S")]

    module._args_from_interpreter_flags = _args_from_interpreter_flags


def _after_matplotlib(module):
    if session.channel.option("matplotlib") == "false":
        return
    if os.environ.get("MPLBACKEND", "agg") in ("agg", "inline"):
        module.use("module://kiln_figures")


def _after_ipython(module):
    session.part("ipython").connect(module)


_after = {
    "linecache": _after_linecache,
    "getpass": _after_getpass,
    "subprocess": _after_subprocess,
    "matplotlib": _after_matplotlib,
    "IPython.core.display_functions": _after_ipython,
    "IPython.core.getipython": _after_ipython,
    "IPython.core.interactiveshell": _after_ipython,
}
# Modules that the runner supplies: name -> part; the IPython ones only where
# there is no IPython.
_supplied = dict.fromkeys(("kiln_figures", "matplotlib_inline", "matplotlib_inline.config",
                           "matplotlib_inline.backend_inline"), "figures")
_STAND_INS = ("IPython", "IPython.display", "IPython.core", "IPython.core.display",
              "IPython.core.display_functions", "IPython.core.getipython",
              "IPython.core.magic", "IPython.core.interactiveshell", "IPython.core.error",
              "IPython.lib", "IPython.lib.display", "IPython.lib.pretty", "IPython.utils",
              "IPython.utils.capture")
_PACKAGES = ("IPython", "IPython.core", "IPython.lib", "IPython.utils", "matplotlib_inline")


class _Loader:
    """Another loader, and then a function of ours."""

    def __init__(self, loader, function):
        self._loader = loader
        self._function = function

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._function(module)

    def __getattr__(self, name):
        return getattr(self._loader, name)


class _Supply:
    """Fills a module from a part of the runner."""

    def __init__(self, part):
        self._part = part

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        session.part(self._part).supply(module)


class _Finder:
    """First in sys.meta_path; finds nothing itself but what the runner supplies."""

    _busy = False

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if not _sites_done and "." not in name and not cls._busy:
            standard = getattr(sys, "stdlib_module_names", ())
            if name not in standard:
                _add_sites()
        if name in _supplied:
            return cls._spec(name, _Supply(_supplied[name]), name in _PACKAGES)
        function = _after.get(name)
        if function is None and name not in _STAND_INS:
            return None
        spec = cls._others(name, path, target)
        if spec is None:
            if name in _STAND_INS:
                return cls._spec(name, _Supply("ipython"), name in _PACKAGES)
            return None
        if function is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, function)
        return spec

    @staticmethod
    def _spec(name, loader, package=False):
        return type(sys.__spec__)(name, loader, origin="kiln", is_package=package)

    @classmethod
    def _others(cls, name, path, target):
        for finder in list(sys.meta_path):
            if finder is not cls and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None


def install():
    sys.meta_path.insert(0, _Finder)
