"""From a cell's source to its code. `session` is session.py."""
import _ast
from _imp import _fix_co_filename

_ASYNC, _PARSE = session._ASYNC, session._PARSE
_COROUTINE = session._COROUTINE
_FUTURES = 0x1FE0000  # __future__ flags in co_flags


class Cell:
    """A compiled cell: its statements, and its last expression apart."""

    __slots__ = ("body", "tail", "quiet", "filename", "in_loop")

    def __init__(self, body, tail, quiet, filename, in_loop=False):
        self.body = body
        self.tail = tail
        self.quiet = quiet
        self.filename = filename
        # Its code runs in the event loop: it awaits, or wants to find the loop running.
        self.in_loop = in_loop or any(code is not None and code.co_flags & _COROUTINE
                                      for code in (body, tail))


interactivity = None  # interactivity.py, where not the last expression is to be shown
_futures = 0  # `from __future__` of earlier cells holds for later ones
_cells = {}  # source -> Cell, oldest first
_CELLS_MAX = 256
_CELL_SOURCE_MAX = 16384


def _ends_quietly(source, last):
    """Whether a `;` follows the last expression, which keeps its value unshown."""
    lines = source.splitlines()[last.end_lineno - 1:]
    if not lines:
        return False
    lines[0] = lines[0].encode("utf-8", "surrogatepass")[last.end_col_offset:].decode(
        "utf-8", "surrogatepass")
    return "".join(line.partition("#")[0] for line in lines).rstrip().endswith(";")


_STATEMENTS = frozenset((
    "import", "from", "def", "class", "for", "while", "if", "with", "try", "async", "del",
    "raise", "return", "pass", "global", "nonlocal", "assert", "break", "continue"))


def _compile_expression(source, filename):
    """A line that looks like one expression, compiled as such at half the cost of the way
    through a syntax tree; None when it is something else after all."""
    if ("\n" in source or "=" in source or ";" in source or source[:1].isspace()
            or source.partition(" ")[0] in _STATEMENTS
            or "create_task" in source or "get_running_loop" in source):
        return None
    try:
        tail = compile(source, filename, "eval", _ASYNC | _futures, True)
    except SyntaxError:
        return None
    return Cell(None, tail, False, filename)


_LOOP_CALLS = ("create_task", "get_running_loop")
_LOOP_STARTS = ("asyncio.run(", "Runner(", "run_until_complete(", "run_forever(")


def _wants_loop(source, tree):
    """Whether it makes tasks without awaiting anything, as it can in Jupyter, whose loop
    always runs. What starts a loop itself is to find none running."""
    if not any(name in source for name in _LOOP_CALLS) or any(
            name in source for name in _LOOP_STARTS):
        return False
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (_ast.FunctionDef, _ast.AsyncFunctionDef, _ast.Lambda)):
            continue  # it may be called later
        if isinstance(node, _ast.Call) and getattr(
                node.func, "attr", getattr(node.func, "id", None)) in _LOOP_CALLS:
            return True
        for field in node._fields:
            value = getattr(node, field, None)
            waiting += value if type(value) is list else (value,)
        waiting = [one for one in waiting if isinstance(one, _ast.AST)]
    return False


def compile_cell(source, filename):
    global _futures
    cell = _compile_expression(source, filename)
    if cell is not None:
        return cell
    flags = _PARSE | _futures
    try:
        tree = compile(source, filename, "exec", flags, True)
    except SyntaxError as error:
        changed = session.part("lines").transform(source, filename, flags, error)
        if changed is None:
            raise
        source, tree = changed
    if interactivity is not None:
        tree = interactivity(tree)
    in_loop = _wants_loop(source, tree)
    flags = _ASYNC | _futures
    body = tail = None
    quiet = False
    statements = tree.body
    if statements and isinstance(statements[-1], _ast.Expr):
        last = statements.pop()
        quiet = ";" in source and _ends_quietly(source, last)
    else:
        last = None
    if statements:
        body = compile(tree, filename, "exec", flags, True)
        _futures |= body.co_flags & _FUTURES
        flags |= _futures
    if last is not None:
        tail = compile(_ast.Expression(last.value), filename, "eval", flags, True)
    return Cell(body, tail, quiet, filename, in_loop)


def compiled(source, filename):
    """As compile_cell; a cell that was seen before is not compiled again."""
    if interactivity is not None:
        return compile_cell(source, filename)
    cell = _cells.pop(source, None)
    if cell is None:
        cell = compile_cell(source, filename)
        if len(source) > _CELL_SOURCE_MAX:
            return cell
        if len(_cells) >= _CELLS_MAX:
            del _cells[next(iter(_cells))]
    elif cell.filename != filename:
        # Seen before under another number: tracebacks shall tell this one.
        if cell.body is not None:
            _fix_co_filename(cell.body, filename)
        if cell.tail is not None:
            _fix_co_filename(cell.tail, filename)
        cell.filename = filename
    _cells[source] = cell
    return cell


def futures():
    return _futures


def forget():
    """No cell was compiled yet."""
    global _futures
    _futures = 0
    _cells.clear()
