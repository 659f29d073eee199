"""inspect_request: what a name at a cursor is. `session` is session.py."""

_TEXT_MAX = 100000  # characters of a docstring or source


def inspect(code, cursor_pos, detail_level):
    """The reply, as plain text: what `name?` shows, or `name??` at detail level 1."""
    magic = _magic(code, cursor_pos)
    if magic:
        return _found(magic)
    for name in _candidates(code, cursor_pos):
        try:
            value = _value(name)
        except Exception:
            continue
        return _found(report(name, value, detail_level))
    return {"found": False, "data": {}, "metadata": {}}


def _found(text):
    return {"found": True, "data": {"text/plain": text}, "metadata": {}}


def _magic(code, cursor_pos):
    """Of a magic that the cursor touches, its documentation."""
    line = code[code.rfind("\n", 0, cursor_pos) + 1:].partition("\n")[0]
    name = line.strip().partition(" ")[0].rstrip("?")
    place = cursor_pos - code.rfind("\n", 0, cursor_pos) - 1
    if not name.startswith("%") or place > line.index(name) + len(name):
        return None
    magic = session.part("describe")._magic(name)
    return magic and (_document(magic) or "no documentation") + "\n"


def _value(name):
    """What it is, or, of an attribute that something would have to be run for, what lies
    there: the property itself."""
    lookup = session.part("lookup")
    try:
        return lookup.evaluate(name)
    except lookup.Unknown:
        owner, dot, attribute = name.rpartition(".")
        if not dot:
            raise
        return lookup.static(lookup.evaluate(owner), attribute)


def _candidates(code, cursor_pos):
    """What is called around the cursor, as Jupyter's front ends expect it, then the name that
    it touches. A number or a text by itself is none."""
    lookup = session.part("lookup")
    for opened in reversed(lookup.place(code[:cursor_pos]).brackets):
        if code[opened] == "(":
            name = lookup.expression_before(code[:opened])
            if name:
                yield name
    end = cursor_pos
    while end < len(code) and (code[end].isalnum() or code[end] == "_"):
        end += 1
    name = lookup.expression_before(code[:end])
    if name and not name[0].isdigit() and name[-1] not in "'\"":
        yield name


def report(name, value, detail_level=0):
    lookup = session.part("lookup")
    if isinstance(value, lookup.Instance):
        value = value.kind
    inspect = session.library("inspect")
    lines = []
    if callable(value):
        try:
            lines.append("Signature: %s%s" % (name, inspect.signature(value)))
        except Exception:
            pass
    kind = type(value)
    if not callable(value) and kind is not type(inspect):
        lines.append("String form: %s" % session.part("variables").short(value, 400))
    lines.append("Type: %s" % kind.__name__)
    for label, find in (("File", inspect.getsourcefile), ("Source", _source)):
        if label == "Source" and not detail_level:
            continue
        try:
            found = find(value)
        except Exception:
            continue
        if found:
            lines.append("%s:%s%s" % (label, "\n" if label == "Source" else " ", found))
    if "Source:" not in "".join(line[:7] for line in lines):
        lines.append("Docstring: %s" % (_document(value) or "<no docstring>"))
    return "\n".join(lines) + "\n"


def _document(value):
    try:
        text = session.library("inspect").getdoc(value)
    except Exception:
        return None
    return text[:_TEXT_MAX] if isinstance(text, str) else None


def _source(value):
    return session.library("inspect").getsource(value)[:_TEXT_MAX].rstrip()
