"""inspect_request: what a name at a cursor is. `session` is session.py."""

_TEXT_MAX = 100000  # characters of a docstring or source


def inspect(code, cursor_pos, detail_level):
    """The reply, as plain text: what `name?` shows, or `name??` at detail level 1."""
    for name in _candidates(code, cursor_pos):
        try:
            value = session.part("lookup").evaluate(name)
        except Exception:
            continue
        return {"found": True, "data": {"text/plain": report(name, value, detail_level)},
                "metadata": {}}
    return {"found": False, "data": {}, "metadata": {}}


def _candidates(code, cursor_pos):
    """The name that the cursor touches, then those that are called around it."""
    lookup = session.part("lookup")
    end = cursor_pos
    while end < len(code) and (code[end].isalnum() or code[end] == "_"):
        end += 1
    name = lookup.expression_before(code[:end])
    if name:
        yield name
    for opened in reversed(lookup.place(code[:cursor_pos]).brackets):
        if code[opened] == "(":
            name = lookup.expression_before(code[:opened])
            if name:
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
