"""Lines that are IPython's and not Python's: %magic, %%magic, !command, name?; cells that
are indented as a whole or pasted with their prompts.

A cell is looked at only when Python does not parse it, and then only the lines
that the parser stops at, so that no string or expression is mistaken for one.
`session` is session.py."""

_LINES_MAX = 1000  # such lines in one cell
_CALL = "get_ipython()."


def transform(source, filename, flags, error):
    """(source, tree) of the cell as Python, or None when the fault is Python's."""
    # Line ends as the parser counts them; splitlines() knows others too.
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = 0
    while first < len(lines) and not lines[first].strip():
        first += 1
    if first == len(lines):
        return None
    changed = _clean(lines, first)
    if lines[first].startswith("%%") and not lines[first].rstrip().endswith("?"):
        name, line = _words(lines[first][2:])
        body = "\n".join(lines[first + 1:])
        if body:
            body += "\n"
        source = "\n" * first + _CALL + "run_cell_magic(%r, %r, %r)" % (name, line, body)
        return source, compile(source, filename, "exec", flags, True)
    automagic = all(not line.strip() for line in lines[first + 1:])
    for _ in range(_LINES_MAX):
        if changed:
            source = "\n".join(lines)
            try:
                return source, compile(source, filename, "exec", flags, True)
            except SyntaxError as again:
                error = again
        if not _rewrite_at(lines, error.lineno or 0, automagic):
            if changed:
                raise error
            return None
        changed = True
    raise error


def automagic(source):
    """A cell that is one name and nothing else: the name of a magic, or None."""
    name = source.strip()
    magics = session.part("magics")
    return name if magics.automagic and name in magics._line_magics else None


def _words(text):
    """The first word of a text, and what follows it."""
    words = text.split(None, 1)
    return words[0] if words else "", words[1].rstrip() if len(words) > 1 else ""


# ------------------------------------------------------------------- whole cells


def _clean(lines, first):
    """Takes prompts, or the first line's indentation, off the lines; whether it did."""
    re = session.library("re")
    for prompt in (r"(>>>|\.\.\.)( |$)", r"(In \[\d+\]: ?|\s*\.\.\.+: ?)"):
        pattern = re.compile(prompt)
        if pattern.match(lines[first]) and not lines[first].startswith("..."):
            lines[:] = [pattern.sub("", line, count=1) if pattern.match(line) else
                        # what a prompt session printed is no code
                        line if prompt.startswith("(In") else "" for line in lines]
            return True
    indent = lines[first][:len(lines[first]) - len(lines[first].lstrip())]
    if indent:
        lines[:] = [line[len(indent):] if line.startswith(indent) else line for line in lines]
    return bool(indent)


# ------------------------------------------------------------------ single lines


def _rewrite_at(lines, number, automagic):
    """Rewrites the line that the parser stopped at, or one before it that it may have
    read into that one; False: there is nothing to rewrite."""
    for candidate in (number, number - 1):
        if 1 <= candidate <= len(lines) and _rewrite_line(lines, candidate - 1, automagic):
            return True
    # A bracket or a quote of a command is missed only further down.
    for index in range(min(number, len(lines)) - 2, -1, -1):
        if lines[index].lstrip()[:1] in ("%", "!") and _rewrite_line(lines, index, False):
            return True
    return False


def _rewrite_line(lines, index, automagic):
    whole, last = lines[index], index
    stripped = whole.lstrip()
    if stripped[:1] in ("%", "!") or "=%" in whole.replace(" ", "") or "=!" in whole.replace(
            " ", ""):
        while whole.endswith("\\") and last + 1 < len(lines):
            last += 1
            whole = whole[:-1] + lines[last]
    new = _rewrite(whole, automagic)
    if new is None:
        return False
    lines[index] = new
    for extra in range(index + 1, last + 1):
        lines[extra] = ""
    return True


def _rewrite(line, automagic):
    stripped = line.lstrip()
    indent = line[:len(line) - len(stripped)]
    stripped = stripped.rstrip()
    call = (_help(stripped) or _escape(stripped) or _assignment(stripped)
            or (_automagic(stripped) if automagic else None))
    return None if call is None else indent + call


def _help(text):
    """?name, name?, name??, %magic?, *pattern*?; also at the end of a longer line."""
    if "?" not in text:
        return None
    re = session.library("re")
    target = r"(%{0,2}(?!\d)[\w*]+(?:\.[\w*]+|\[[^\]]+\])*)"
    match = re.fullmatch(r"(\?\??)\s*" + target + ";?", text)
    if match:
        marks, name = match.groups()
    else:
        match = re.search(target + r"\s*(\?\??);?$", text)
        before = text[:match.start()] if match else "!"
        if before and before[0] in "!%" or any(mark in before for mark in "#'\""):
            return None
        name, marks = match.groups()
    magic = "psearch" if "*" in name else "pinfo2" if len(marks) == 2 else "pinfo"
    return _CALL + "run_line_magic(%r, %r)" % (magic, name)


def _escape(text):
    start = text[:1]
    if start == "%" and not text.startswith("%%"):
        name, rest = _words(text[1:])
        return _CALL + "run_line_magic(%r, %r)" % (name, rest) if name else None
    if text.startswith("!!"):
        return _CALL + "getoutput(%r)" % text[2:].strip()
    if start == "!":
        return _CALL + "system(%r)" % text[1:].strip()
    name, rest = _words(text[1:])
    if not name or not all(piece.isidentifier() for piece in name.split(".")):
        return None
    if start == "/":
        return "%s(%s)" % (name, ", ".join(rest.split()))
    if start == ",":
        return "%s(%s)" % (name, ", ".join(map(repr, rest.split())))
    if start == ";":
        return "%s(%r)" % (name, rest)
    return None


def _assignment(text):
    """x = !command, x = %magic"""
    re = session.library("re")
    for match in re.finditer(r"(?<![=!<>])=\s*([%!])(?=\S)", text):
        target, rest = text[:match.start()].strip(), text[match.end():].strip()
        try:
            compile(target + " = 0", "<target>", "exec", 0, True)
        except SyntaxError:
            continue
        if match.group(1) == "!":
            return "%s = %sgetoutput(%r)" % (target, _CALL, rest)
        return "%s = %srun_line_magic(%r, %r)" % ((target, _CALL) + _words(rest))
    return None


def _automagic(text):
    name, rest = _words(text)
    if not name.isidentifier():
        return None
    magics = session.part("magics")
    if not magics.automagic or name not in magics._line_magics or rest[:1] in ("=", "(", ","):
        return None
    if name in session._main.__dict__ or hasattr(session._builtins, name):
        return None
    return _CALL + "run_line_magic(%r, %r)" % (name, rest)
