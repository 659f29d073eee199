"""name?, name??, %pdoc and the like: what a name is. `session` is session.py."""
import sys

_TEXT_MAX = 100000  # characters of a docstring or source
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


def _source_of(value):
    try:
        return session.library("inspect").getsource(value)[:_TEXT_MAX]
    except Exception:
        return None


def _signature_of(name, value):
    try:
        return name + str(session.library("inspect").signature(value))
    except Exception:
        return None


def _doc_of(value):
    try:
        text = session.library("inspect").getdoc(value)
    except Exception:
        return None
    return text[:_TEXT_MAX] if isinstance(text, str) else None


def _report(name, with_source):
    found, value = (False, None) if name.startswith("%") else _value(name)
    if not found:
        magic = _magic(name)
        if magic is None:
            _missing(name)
        else:
            _output(_doc_of(magic) or "no documentation")
        return
    inspect = session.library("inspect")
    report = []
    if callable(value):
        signature = _signature_of(name, value)
        if signature:
            report.append("Signature: %s" % signature)
    report.append("Type: %s" % type(value).__name__)
    if not callable(value):
        report.append("String form: %s" % (session.part("display").plain(value) or "")[:400])
        try:
            report.append("Length: %d" % len(value))
        except Exception:
            pass
    try:
        report.append("File: %s" % inspect.getsourcefile(value))
    except Exception:
        pass
    source = _source_of(value) if with_source else None
    if source:
        report.append("Source:\n%s" % source)
    else:
        report.append("Docstring: %s" % (_doc_of(value) or "<no docstring>"))
    _output("\n".join(report))


def info(name):
    """name?"""
    _report(name, False)


def source_info(name):
    """name??"""
    _report(name, True)


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
