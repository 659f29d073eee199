"""Values of expressions that stand before a cursor, found without running code: names,
attributes and items that are there, no calls, no properties. `session` is session.py."""
import _ast
import sys

# Their properties and items do nothing but tell.
_TRUSTED = ("numpy", "pandas", "builtins")


class Unknown(Exception):
    """It cannot be told without running something."""


class Instance:
    """Stands for what calling a class would give."""

    def __init__(self, kind):
        self.kind = kind


_instance_dict = object.__getattribute__


def _type_dict(kind):
    return type.__dict__["__dict__"].__get__(kind)


def _mro(kind):
    return type.__dict__["__mro__"].__get__(kind)


def static(value, name):
    """The attribute as it lies there, a property unasked; AttributeError."""
    if isinstance(value, Instance):
        return _of_type(value.kind, name)
    if isinstance(value, type):
        for base in _mro(value):
            if name in _type_dict(base):
                return _type_dict(base)[name]
        return _of_type(type(value), name)
    try:
        own = _instance_dict(value, "__dict__")
    except Exception:
        own = None
    if type(own) is dict and name in own:
        return own[name]
    return _of_type(type(value), name)


def _of_type(kind, name):
    for base in _mro(kind):
        if name in _type_dict(base):
            return _type_dict(base)[name]
    raise AttributeError(name)


def trusted(value):
    module = type(value).__module__
    return isinstance(module, str) and module.partition(".")[0] in _TRUSTED


def attribute(value, name):
    """As getattr, where that runs nothing of the code's; Unknown elsewhere."""
    if trusted(value) and not isinstance(value, type):
        return getattr(value, name)
    found = static(value, name)
    kind = type(found)
    if kind.__name__ in ("member_descriptor", "getset_descriptor") and not isinstance(
            value, Instance):
        return getattr(value, name)
    if kind in (staticmethod, classmethod):
        return found.__func__
    if isinstance(found, property) or (
            hasattr(kind, "__get__") and kind.__name__ not in (
                "function", "builtin_function_or_method", "method_descriptor",
                "wrapper_descriptor", "type", "classmethod_descriptor")
            and not isinstance(found, type)):
        raise Unknown(name)
    if kind.__name__ == "function" and not isinstance(value, (type, Instance, type(sys))):
        return found.__get__(value)
    return found


def names():
    """What the session's code finds, without the builtins."""
    return session._main.__dict__


def name(text):
    namespace = names()
    if text in namespace:
        return namespace[text]
    builtins = session._builtins.__dict__
    if text in builtins:
        return builtins[text]
    raise Unknown(text)


def evaluate(text):
    """The value of an expression, or Unknown; what the code's own methods raise comes
    through."""
    if len(text) > 2000:
        raise Unknown(text)
    try:
        tree = compile(text.strip(), "<query>", "eval", _ast.PyCF_ONLY_AST, True)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise Unknown(text) from None
    return _value(tree.body, 0)


_DISPLAYS = ((_ast.List, []), (_ast.ListComp, []), (_ast.Dict, {}), (_ast.DictComp, {}),
             (_ast.Set, set()), (_ast.SetComp, set()), (_ast.Tuple, ()), (_ast.JoinedStr, ""))


def _value(node, depth):
    if depth > 50:
        raise Unknown
    if isinstance(node, _ast.Name):
        return name(node.id)
    if isinstance(node, _ast.Attribute):
        return attribute(_value(node.value, depth + 1), node.attr)
    if isinstance(node, _ast.Constant):
        return node.value
    if isinstance(node, _ast.Subscript):
        return _item(_value(node.value, depth + 1), node.slice)
    if isinstance(node, _ast.Call):
        kind = _value(node.func, depth + 1)
        if isinstance(kind, type):
            return Instance(kind)
    for kind, value in _DISPLAYS:
        if isinstance(node, kind):
            return value
    raise Unknown


def _item(value, key):
    if type(key).__name__ == "Index":  # Python 3.8
        key = key.value
    if isinstance(key, _ast.UnaryOp) and isinstance(key.op, _ast.USub) and isinstance(
            key.operand, _ast.Constant) and isinstance(key.operand.value, int):
        key = -key.operand.value
    elif isinstance(key, _ast.Constant):
        key = key.value
    else:
        raise Unknown
    if type(value) in (list, tuple, dict, str, bytes) or trusted(value):
        return value[key]
    raise Unknown


# ------------------------------------------------------------------ before a cursor

_OPENING, _CLOSING = "([{", ")]}"


class Place:
    """Where a cursor stands: in code, a string or a comment, and in which brackets."""

    def __init__(self):
        self.comment = False
        self.quote = None  # of the string it is in: ' " ''' \"\"\"
        self.prefix = ""  # of that string
        self.string = 0  # where its text begins
        self.brackets = []  # positions of those that are open, the innermost last


def place(text):
    """The Place at the end of the text."""
    here = Place()
    at, end = 0, len(text)
    while at < end:
        char = text[at]
        if char == "#":
            line = text.find("\n", at)
            if line < 0:
                here.comment = True
                return here
            at = line
        elif char in "'\"":
            at = _string(text, at, here)
            if here.quote is not None:
                return here
            continue
        elif char in _OPENING:
            here.brackets.append(at)
        elif char in _CLOSING and here.brackets:
            here.brackets.pop()
        at += 1
    return here


def _string(text, at, here):
    """Behind the string that begins at `at`; sets here.quote when it does not end."""
    quote = text[at:at + 3] if text[at:at + 3] in ("'''", '"""') else text[at]
    start = at
    while start > 0 and text[start - 1] in "rRbBfFuU" and at - start < 2:
        start -= 1
    prefix = text[start:at].lower()
    if start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_"):
        prefix = ""
    begin = at = at + len(quote)
    while at < len(text):
        if text.startswith(quote, at):
            return at + len(quote)
        if text[at] == "\\":
            at += 1
        elif text[at] == "\n" and len(quote) == 1:
            return at  # it is not closed: what follows is code again
        at += 1
    here.quote, here.prefix, here.string = quote, prefix, begin
    return at


def expression_before(text):
    """The expression that ends where the text does: names, attributes, calls, items and
    literals that hang together. "" when there is none."""
    at = len(text)
    while at > 0:
        char = text[at - 1]
        if char.isalnum() or char in "_.":
            at -= 1
        elif char in _CLOSING:
            opened = _opening(text, at - 1)
            if opened < 0:
                break
            at = opened
        elif char in "'\"":
            opened = _string_start(text, at)
            if opened < 0:
                break
            return text[opened:]
        else:
            break
    return text[at:].lstrip(".")


def _opening(text, close):
    depth = 0
    for at in range(close, max(-1, close - 2000), -1):
        if text[at] in _CLOSING:
            depth += 1
        elif text[at] in _OPENING:
            depth -= 1
            if depth == 0:
                return at
    return -1


def _string_start(text, end):
    quote = text[end - 1]
    at = text.rfind(quote, 0, end - 1)
    if at < 0 or "\n" in text[at:end] or text[max(0, at - 2):at] == quote * 2:
        return -1
    return at


def identifier_start(text):
    at = len(text)
    while at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_"):
        at -= 1
    return at


def loaded(module):
    """A module that is imported already, or None."""
    return sys.modules.get(module)
