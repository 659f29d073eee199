"""The session's variables: type, size and a short value of each. `session` is
session.py."""
import sys

_ENTRIES_MAX = 2000
_VALUE_MAX = 120  # characters
_ITEMS_MAX = 6  # of a container
_DEPTH_MAX = 3

_asking = True  # False once an interrupt came: the rest is told without asking objects


def variables():
    global _asking
    _asking = True
    found = []
    for name, value in sorted(
            (item for item in list(session._main.__dict__.items()) if _is_shown(*item)),
            key=lambda item: item[0])[:_ENTRIES_MAX]:
        found.append(_describe(name, value))
    return found


def _is_shown(name, value):
    return (type(name) is str and not name.startswith("_") and name not in ("In", "Out")
            and type(value) is not type(sys) and not _is_imported(value))


def _is_imported(value):
    """A function or a class that is another module's."""
    lookup, kind = session.part("lookup"), type(value)
    if kind in (type(_is_shown), type(len)):
        module = value.__module__
    elif type in lookup._mro(kind):
        module = lookup._type_dict(value).get("__module__")
    else:
        return False
    return module not in ("__main__", None)


def _describe(name, value):
    kind = type(value)
    entry = {"name": name, "type": _type_name(kind), "size": None, "value": ""}
    for key, find in (("size", _size), ("shape", _shape), ("value", short)):
        found = _ask(find, value)
        if found is not None:
            entry[key] = found
    return entry


def _ask(find, value):
    """One question to one object: it may raise whatever it wants. An interrupt means
    that it took too long."""
    global _asking
    try:
        return find(value)
    except KeyboardInterrupt:
        _asking = False
        return "<took too long>" if find is short else None
    except BaseException as error:
        return "<%s>" % type(error).__name__ if find is short else None


def _type_name(kind):
    name, module = type.__dict__["__name__"].__get__(kind), None
    try:
        module = kind.__module__
    except BaseException:
        pass
    if not isinstance(module, str) or module in ("builtins", "__main__"):
        return name
    return "%s.%s" % (module.partition(".")[0], name)


def _is_own(kind, method):
    """Whether a class of Python's own defines it: then calling it runs no code of the
    session's."""
    for base in type.__dict__["__mro__"].__get__(kind):
        found = type.__dict__["__dict__"].__get__(base).get(method)
        if found is not None:
            return type(found).__name__ in ("wrapper_descriptor", "method_descriptor",
                                            "builtin_function_or_method")
    return False


def _size(value):
    if session.part("lookup").trusted(value):
        for name in ("nbytes", "memory_usage"):
            size = getattr(value, name, None)
            if callable(size):
                size = size()
                size = size.sum() if hasattr(size, "sum") else size
            if size is not None:
                return int(size)
    if _asking or _is_own(type(value), "__sizeof__"):
        return int(sys.getsizeof(value))
    return None


def _shape(value):
    if session.part("lookup").trusted(value) and hasattr(value, "shape"):
        return str(value.shape)
    if type(value) in (list, dict, set, frozenset, tuple):
        return "%d item%s" % (len(value), "" if len(value) == 1 else "s")
    return None


# ------------------------------------------------------------------ short values

def short(value, limit=_VALUE_MAX):
    """One line of at most `limit` characters, put together from no more of the value
    than that takes."""
    text = _text(value, 0, limit)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[:limit - 3] + "..."


_BRACKETS = {list: "[]", tuple: "()", set: "{}", frozenset: "{}"}


def _text(value, depth, limit):
    kind = type(value)
    if kind in (str, bytes, bytearray):
        return repr(value[:limit]) + ("..." if len(value) > limit else "")
    if kind is int and value.bit_length() > 4 * limit:
        return "<integer of %d bits>" % value.bit_length()
    if kind in _BRACKETS or kind is dict:
        return _container(value, kind, depth, limit)
    if kind.__name__ == "function" and _is_own(kind, "__repr__"):
        try:
            return "%s%s" % (value.__name__, session.library("inspect").signature(value))
        except Exception:
            return repr(value)
    if kind.__name__ == "DataFrame" and session.part("lookup").trusted(value):
        return "%d rows: %s" % (len(value), ", ".join(map(str, value.columns[:10])))
    if not _asking and not _is_own(kind, "__repr__"):
        return "<not asked>"
    return repr(value)


def _container(value, kind, depth, limit):
    if depth >= _DEPTH_MAX:
        return "..."
    pieces, left = [], limit
    for item in value.items() if kind is dict else value:
        if len(pieces) >= _ITEMS_MAX or left <= 0:
            pieces.append("...")
            break
        if kind is dict:
            piece = "%s: %s" % (_text(item[0], depth + 1, left), _text(item[1], depth + 1, left))
        else:
            piece = _text(item, depth + 1, left)
        left -= len(piece)
        pieces.append(piece)
    opening, closing = "{}" if kind is dict else _BRACKETS[kind]
    if kind is tuple and len(value) == 1:
        closing = ",)"
    return opening + ", ".join(pieces) + closing
