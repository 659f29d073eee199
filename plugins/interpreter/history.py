"""In, Out and the names that IPython derives from them: _i, _ii, _iii, _i3, _ih, _oh,
_dh. `session` is session.py."""

def inputs():
    """The cells so far; the running one is the last."""
    given = session._main.__dict__.get("In")
    return given if type(given) is list else [""]


def bind(source):
    """Before a cell that may name one of them."""
    namespace = session._main.__dict__
    cells = inputs()
    before = [text for text in cells[1:-1]][-3:]
    for name in ("_i", "_ii", "_iii"):
        namespace[name] = before.pop() if before else ""
    for match in session.library("re").finditer(r"\b_i(\d{1,6})\b", source):
        number = int(match.group(1))
        if 0 < number < len(cells):
            namespace["_i%d" % number] = cells[number]


def add(source):
    cells = inputs()
    if cells[-1:] != [source]:
        cells.append(source)


def numbers(ranges):
    """The cell numbers of 3 4-6 ~0/2-; all but the running one when none is given."""
    last = len(inputs()) - 2
    if not ranges:
        return list(range(1, last + 1))
    chosen = []
    for word in ranges:
        match = session.library("re").fullmatch(r"(?:~?0/)?(\d+)?(-)?(\d+)?", word)
        if match is None or not (match.group(1) or match.group(2)):
            raise session.part("shell").UsageError(
                "%r is no range of cells: 3, or 4-6" % word)
        first, dash, end = match.groups()
        first = int(first or 1)
        chosen += range(first, (int(end) if end else last if dash else first) + 1)
    return [number for number in chosen if 0 < number <= last + 1]


class _Manager:
    """get_ipython().history_manager"""

    session_number = 1
    input_hist_parsed = input_hist_raw = property(lambda self: inputs())
    output_hist = property(lambda self: session._main.__dict__.get("Out", {}))
    dir_hist = property(lambda self: session._main.__dict__.get("_dh", []))

    def get_range(self, session_number=0, start=1, stop=None, raw=True, output=False):
        cells = inputs()
        for number in range(start, min(stop or len(cells), len(cells))):
            line = cells[number]
            yield 1, number, (line, self.output_hist.get(number)) if output else line

    def get_tail(self, n=10, raw=True, output=False, include_latest=False):
        last = len(inputs()) - (0 if include_latest else 1)
        return list(self.get_range(0, max(1, last - n), last, raw, output))


manager = _Manager()
