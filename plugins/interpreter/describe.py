"""name?, name??, %pdoc and the like: what a name is. `session` is session.py."""
import sys

_NAMES_MAX = 500


def _output(text):
    sys.stdout.write(text.rstrip("\n") + "\n")


def _value(name):
    """(found, value) of an expression: names, attributes and items of them."""
    namespace = session._main.__dict__
    try:
        return True, eval(name, namespace)
    except Exception:
        pass
    loaded = sys.modules.get(name)
    return loaded is not None, loaded


def _magic(name):
    """A magic by its name, with or without its signs; None: there is none."""
    magics = session.part("magics")
    bare = name.lstrip("%")
    tables = {"": (magics._line_magics, magics._cell_magics), "%": (magics._line_magics,),
              "%%": (magics._cell_magics,)}.get(name[:len(name) - len(bare)], ())
    return next((table[bare] for table in tables if bare in table), None)


def _missing(name):
    _output("Object `%s` not found." % name)


def _signature_of(name, value):
    try:
        return name + str(session.library("inspect").signature(value))
    except Exception:
        return None


def _doc_of(value):
    return session.part("inspect")._document(value)


def _source_of(value):
    try:
        return session.part("inspect")._source(value)
    except Exception:
        return None


def _report(name, detail_level):
    found, value = (False, None) if name.startswith("%") else _value(name)
    if found:
        _output(session.part("inspect").report(name, value, detail_level))
        return
    magic = _magic(name)
    if magic is None:
        _missing(name)
    else:
        _output(_doc_of(magic) or "no documentation")


def info(name):
    """name?"""
    _report(name, 0)


def source_info(name):
    """name??"""
    _report(name, 1)


def _one(name, find, nothing):
    found, value = _value(name)
    if not found:
        _missing(name)
        return
    text = find(value)
    _output(text if text else nothing % name)


def doc(name):
    """%pdoc"""
    _one(name, _doc_of, "No documentation found for %s")


def signature(name):
    """%pdef"""
    _one(name, lambda value: _signature_of(name, value), "No definition header found for %s")


def source(name):
    """%psource"""
    _one(name, _source_of, "No source found for %s")


def search(pattern):
    """*pattern*?: the names, or the attributes of a name, that match."""
    owner, dot, last = pattern.rpartition(".")
    if dot:
        found, value = _value(owner)
        if not found:
            _missing(owner)
            return
        names = dir(value)
    else:
        names = set(session._main.__dict__) | set(dir(session._builtins))
    match = session.library("fnmatch").fnmatchcase
    matching = sorted(name for name in names if match(name, last) and (
        last.startswith("_") or not name.startswith("_")))
    _output("\n".join(owner + dot + name for name in matching[:_NAMES_MAX]))
